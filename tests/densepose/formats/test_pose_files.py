"""``pocold pose`` with files: conversion, the person of a dump, the picture with the map over the photo."""

import numpy as np
import pytest
from PIL import Image

from dump_fixtures import detectron2, entry, someone, write, write_street
from estimators import constant_estimator
from pocold.cli import main
from pocold.densepose.formats.reading import read_pose
from pocold.densepose.maps import DensePose
from pocold.models import densepose_estimator
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import POSES

pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # as outside of pytest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the command runs: a map, and a photo of its size."""
    monkeypatch.chdir(tmp_path)
    draw_densepose(POSES["wave"], 20, "full", (96, 66)).write("map.png")
    Image.fromarray(np.random.default_rng(0).integers(60, 200, (96, 66, 3), np.uint8)).save("photo.png")
    return tmp_path


def pose(*arguments):
    main(["pose", *map(str, arguments)])


def failing(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        pose(*arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_map_goes_through_all_formats(folder, capsys):
    pose("map.png", "-o", "a.pkl", "--photo", "photo.png")
    pose("a.pkl", "-o", "b.npz")
    pose("b.npz", "-o", "c.npy")
    pose("c.npy", "-o", "d.png", "--write-as", "vui")
    pose("d.png", "-o", "e.png", "--write-as", "parula")
    assert capsys.readouterr().err == ""
    pose("e.png", "-o", "f.png")
    error = capsys.readouterr().err
    assert error.startswith("pocold: warning: e.png: labels were read from parula colours")
    assert error.count("\n") == 1
    assert np.array_equal(DensePose.read("f.png").labels, DensePose.read("map.png").labels)
    assert np.asarray(Image.open("d.png"))[..., 2].max() < 25
    assert DensePose.read("d.png").uv is not None


def test_the_person_of_a_dump(folder, capsys):
    write_street(folder / "dump.pkl", someone(9, 7), someone(20, 10, top=8, left=9, seed=1))
    pose("dump.pkl", "--size", "40x30", "-o", "one.png")
    assert capsys.readouterr().err == (
        "pocold: warning: dump.pkl: street.jpg shows 2 people; the largest is taken (pocold pose FILE --person 2 takes "
        "the next)\n"
    )
    pose("dump.pkl", "--size", "40x30", "--person", 2, "--picture", "street.jpg", "-o", "two.png")
    assert capsys.readouterr().err == ""
    assert np.array_equal(DensePose.read("one.png").labels[8:28, 9:19], someone(20, 10, seed=1).labels)
    assert np.array_equal(DensePose.read("two.png").labels[3:12, 5:12], someone(9, 7).labels)


def test_all_pictures_of_a_dump(folder, capsys):
    (folder / "photos").mkdir()
    (folder / "maps").mkdir()
    for name in ("one.jpg", "two.jpg"):
        Image.new("RGB", (30, 40)).save(folder / "photos" / name)
    with detectron2():
        several = [someone(4, 3), someone(seed=1)]
        content = [entry([someone()], "/x/one.jpg"), entry(several, "two.jpg"), entry([], "empty.jpg")]
        write(content, folder / "dump.pkl")
    pose("dump.pkl", "-o", "maps", "--photo", "photos")
    assert capsys.readouterr().out == (
        "maps: 2 maps; nobody was found in empty.jpg; of several people the largest was taken (--person) in two.jpg\n"
    )
    assert sorted(path.name for path in (folder / "maps").iterdir()) == ["one.iuv.png", "two.iuv.png"]
    assert np.array_equal(DensePose.read("maps/two.iuv.png").labels[3:15, 5:13], someone(seed=1).labels)


def test_show_draws_the_map_over_the_photo(folder):
    pose("map.png", "--show", "show.png", "--photo", "photo.png")
    shown, photo = (np.asarray(Image.open(name)).astype(int) for name in ("show.png", "photo.png"))
    labels = DensePose.read("map.png").labels
    assert (shown[labels == 0] == photo[labels == 0].mean(-1).astype(int)[:, None]).all()
    assert np.abs(shown - photo)[labels > 0].mean() > 20
    pose("wave:20", "--size", "96x66", "--show", "plain.png")
    assert np.array_equal(np.asarray(Image.open("plain.png")), np.asarray(DensePose.read("map.png").to_image()))
    assert not (folder / "pose.png").exists()


def test_colours_over_a_photo(folder, capsys, monkeypatch):
    constant_estimator(0).save_pretrained("blind/densepose_estimator")
    monkeypatch.setattr(densepose_estimator, "BUNDLED", folder / "blind")
    labels, photo = DensePose.read("map.png").labels, np.asarray(Image.open("photo.png"))
    pose("map.png", "-o", "colours.png", "--write-as", "parula")
    blended = 0.3 * photo + 0.7 * np.asarray(Image.open("colours.png"))
    picture = np.where((labels > 0)[..., None], blended, photo).astype(np.uint8)
    Image.fromarray(picture).save("blend.png")
    error = failing(capsys, "blend.png", "-o", "x.png")
    assert "--read-as parula or viridis" in error
    assert "no person was found" in error
    pose("blend.png", "--read-as", "parula", "--photo", "photo.png", "-o", "back.png")
    assert "in a test all of the body came out right" in capsys.readouterr().err
    assert (DensePose.read("back.png").labels == labels).mean() > 0.999


def test_like_takes_any_format_and_warns_of_what_is_not_seen(folder, capsys):
    pose("map.png", "-o", "map.npz")
    pose("hips:back", "--like", "map.npz", "-o", "back.png")
    error = capsys.readouterr().err
    assert error.startswith("pocold: warning: ")
    assert "has to be invented: the source does not show torso back" in error
    assert error.count("\n") == 1
    pose("walk:20", "--like", "map.npz", "-o", "walk.png")
    assert capsys.readouterr().err == ""
    assert read_pose("walk.png").size == (96, 66)


def test_a_pose_is_meant_where_a_file_has_its_name(folder):
    (folder / "stand").write_bytes(b"no map")
    pose("stand", "-o", "pose.png")
    assert DensePose.read("pose.png").size == (256, 176)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.pkl", "-o", "x.png"), "no such DensePose file: nothing.pkl"),
        (("map.png",), "expected a file to write, such as -o pose.png"),
        (("map.png", "-o", "x.jpg"), "a map is written as .png, .npz, .npy, .pkl, got x.jpg"),
        (("map.png", "--show", "x.jpg"), "--show: expected a file name ending in .png, got x.jpg"),
        (("map.png", "-o", "nowhere/x.png"), "the folder nowhere does not exist"),
        (("map.png", "-o", "x.npz", "--write-as", "vui"), "the layout 'vui' is one of .png files"),
        (("map.png", "-o", "x.png", "--like", "map.png"), "--like fits a named pose to a person; map.png is a file"),
        (
            ("map.png", "-o", "x.png", "--person", "2"),
            "map.png shows one person, or people who touch, there is no person 2",
        ),
        (("stand", "-o", "x.png", "--person", "2"), "--person is for files; stand is a named pose"),
        (("stand", "-o", "x.png", "--picture", "a"), "--picture is for files; stand is a named pose"),
        (("stand", "-o", "x.png", "--read-as", "vui"), "--read-as is for files; stand is a named pose"),
        (("stand", "-o", "x.png", "--photo", "photo.png"), "expected one of the map's size 256x176"),
        (("map.png", "-o", "."), "only all pictures of a dump, of a list of keypoints, or of a clip, go into a folder"),
        (("map.png", "-o", ".", "--show", "x.png"), "--show is not for a whole dump"),
        (("map.png", "-o", "x.png", "--photo", "no.png"), "--photo: no such file: no.png"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(folder, capsys, arguments, message):
    before = sorted(folder.iterdir())
    line = failing(capsys, *arguments)
    assert line.startswith("pocold: error: ")
    assert message in line
    assert sorted(folder.iterdir()) == before


def test_the_photos_of_a_whole_dump_are_a_folder(folder, capsys):
    write_street(folder / "dump.pkl", someone())
    assert "expected the folder of the dump's photos" in failing(capsys, "dump.pkl", "-o", ".", "--photo", "photo.png")


def test_a_hostile_dump_ends_in_one_line(folder, capsys):
    (folder / "dump.pkl").write_bytes(b"\x80\x02cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.")
    assert "dump.pkl is refused: it names os.system" in failing(capsys, "dump.pkl", "-o", "x.png")
    assert not (folder / "executed").exists()
