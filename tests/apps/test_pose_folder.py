"""``pocold pose`` of clips: videos and folders of frames, of people, of keypoints, of a visualiser's colours."""

import json

import numpy as np
import pytest
from PIL import Image

from dotted_people import blazepose, dots
from estimators import colour_estimator, photo_of
from pocold import DensePose, finding
from pocold.apps.drawing.clips import open_clip
from pocold.cli import main
from pocold.densepose.formats.colours import paint
from pocold.imaging.animations import read_notes, write_animation
from pocold.models import densepose_estimator
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose

FPS = 10


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(finding, "open_blazepose", lambda folder=None: None if folder else blazepose())


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    colour_estimator().save_pretrained(tmp_path / "weights" / "densepose_estimator")
    monkeypatch.setattr(densepose_estimator, "BUNDLED", tmp_path / "weights")


def failure(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(["pose", *map(str, words)])
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    return said.err


def street(frames=4, step=6):
    """Two people of dots, who walk to the right."""
    return [dots((200, 300), [(75 + step * i, 105, 85, 0), (225 + step * i, 105, 85, 0)])[0] for i in range(frames)]


def where(path):
    return np.nonzero(DensePose.read(path).labels)[1].mean()


def written(folder, pictures, first=1):
    folder.mkdir()
    for number, picture in enumerate(pictures, first):
        picture.save(folder / f"f{number}.png")
    return folder


@pytest.mark.slow
def test_a_person_is_followed(installed, tmp_path, capsys):
    frames = written(tmp_path / "frames", street())
    for person, start in ((1, 75), (2, 225)):
        folder = tmp_path / f"maps{person}"
        main(["pose", str(frames), "-o", str(folder), "--person", str(person)])
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == [f"f{i}.iuv.png" for i in range(1, 5)]
        assert DensePose.read(files[0]).uv is not None
        assert [where(file) for file in files] == pytest.approx([start + 6 * i for i in range(4)], abs=6)
    assert capsys.readouterr().out == f"{tmp_path / 'maps1'}: 4 maps\n{tmp_path / 'maps2'}: 4 maps\n"


def test_a_folder_of_pictures_and_a_look(installed, tmp_path, capsys):
    written(tmp_path / "frames", [*street(2), Image.new("RGB", (300, 200), (200, 180, 160))], 9)
    main(["pose", str(tmp_path / "frames"), "-o", str(tmp_path / "maps"), "--show", str(tmp_path / "look.gif")])
    assert sorted(file.name for file in (tmp_path / "maps").iterdir()) == ["f10.iuv.png", "f9.iuv.png"]
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'maps'}: 2 maps; nobody was found in 1 of 3\n")
    notes = read_notes(tmp_path / "look.gif")
    assert (notes["command"], notes["from"], notes["synthetic"]) == ("pose", "frames", True)
    with Image.open(tmp_path / "look.gif") as look:
        assert (look.n_frames, look.size) == (3, (300, 200))
    main(["pose", str(tmp_path / "frames"), "--show", str(tmp_path / "look.gif")])  # its own file is replaced
    assert "look.gif: 3 pictures; nobody was found in 1 of 3" in capsys.readouterr().out


def test_without_blazepose_the_network_looks(bundled, tmp_path):
    (tmp_path / "frames").mkdir()
    for number in range(2):
        photo_of((128, 96), (12, 20 + 5 * number, 116, 76)).save(tmp_path / "frames" / f"{number}.png")
    main(["pose", str(tmp_path / "frames"), "-o", str(tmp_path / "maps")])
    assert where(tmp_path / "maps" / "0.iuv.png") < where(tmp_path / "maps" / "1.iuv.png")


def test_an_estimator_that_is_named_is_used(installed, bundled, tmp_path):
    """The dots' BlazePose would find nobody in these pictures."""
    photo = photo_of((128, 96), (12, 20, 116, 76))
    frames = written(tmp_path / "frames", [photo])
    network = tmp_path / "weights" / "densepose_estimator"
    main(["pose", str(frames), "-o", str(tmp_path / "maps"), "--estimator", str(network)])
    assert DensePose.read(tmp_path / "maps" / "f1.iuv.png").visible_parts == {1, 2}


def openpose(points):
    return {"people": [{"pose_keypoints_2d": [value for x, y in points for value in (x, y, 0.9)]}]}


def test_a_folder_of_openpose_files(tmp_path):
    from exact_points import seen

    folder = tmp_path / "walk"
    folder.mkdir()
    for number in range(3):
        content = openpose(seen("stand")[1]) | {"canvas_height": 128, "canvas_width": 88}
        (folder / f"walk_00{number}_keypoints.json").write_text(json.dumps(content))
    (folder / "walk_003_keypoints.json").write_text(json.dumps({"people": []}))
    main(["pose", str(folder), "-o", str(tmp_path / "maps")])
    assert len(list((tmp_path / "maps").iterdir())) == 3
    maps = [DensePose.read(tmp_path / "maps" / f"walk_00{i}_keypoints.iuv.png") for i in range(3)]
    assert maps[0].size == (128, 88)
    assert (maps[0].labels == maps[2].labels).mean() > 0.99


@pytest.mark.filterwarnings("always::UserWarning")  # as outside of pytest
@pytest.mark.parametrize("colours", ["parula", "viridis"])
def test_videos_of_a_visualiser(colours, tmp_path, capsys):
    poses = [draw_densepose(parse_pose(name).pose, parse_pose(name).view) for name in ("walk:20", "walk:40")]
    write_animation([paint(pose, colours) for pose in poses], tmp_path / "maps.mp4", FPS, {})
    main(["pose", str(tmp_path / "maps.mp4"), "-o", str(tmp_path / "maps")])
    told = capsys.readouterr().err
    assert told.count(f"labels were guessed from {colours} colours") == 1  # once, not for each picture
    for number, pose in enumerate(poses, 1):
        found = DensePose.read(tmp_path / "maps" / f"frame-000{number}.iuv.png")
        body = (pose.labels > 0) | (found.labels > 0)
        assert (found.labels == pose.labels)[body].mean() > 0.8


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ".webp"])
def test_a_videos_own_rate_or_another(tmp_path, ending):
    path = tmp_path / f"walk{ending}"
    write_animation(street(), path, FPS, {})
    assert open_clip(path).fps == pytest.approx(FPS)
    first, *_, last = open_clip(path).pictures()
    assert first.size == last.size == (300, 200)
    for fps, frames in ((10, 4), (5, 2), (20, 8)):
        assert len(list(open_clip(path, fps=fps).pictures())) == frames
    assert len(list(open_clip(path, limit=3).pictures())) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{clip}", "has many maps: expected a folder for them, such as -o maps/, or --show look.mp4"),
        ("{clip} -o map.png", "has many maps: expected a folder for them, such as -o maps/, got map.png"),
        ("{clip} -o {clip}", "is the folder that is read; write the maps into another one"),
        ("{clip} -o no/such/folder", "the folder no/such does not exist; create it first"),
        ("{clip} -o maps --like walk", "--like is not for a whole clip"),
        ("{clip} -o maps --size 64x64", "--size is not for a whole clip"),
        ("{clip} -o maps --estimator x --pose-model y", "--pose-model and --estimator are two ways to find a person"),
        ("{clip} -o maps --fps 0", "--fps: expected frames per second above 0 and at most 120, got 0"),
        ("{clip} --show look.jpg", "--show: animations are written as .mp4, .webm, .gif, .webp"),
        ("{clip} -o maps --person 3", "clip: none of its pictures shows 3 people"),
        ("{empty} -o maps", "empty is empty: expected a folder of maps, keypoints or pictures of a person"),
        ("{grey} -o maps", "grey: no person was found in any of its 1 pictures"),
        ("missing.mp4 -o maps", "no such video: missing.mp4"),
        ("walk:side -o map.png --fps 3", "--fps is for videos and folders; walk:side is none"),
    ],
)
def test_bad_input(words, message, installed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, pictures in (
        ("clip", street(2)),
        ("empty", []),
        ("grey", [Image.new("RGB", (300, 200), (200, 180, 160))]),
    ):
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            picture.save(tmp_path / name / f"{number}.png")
    before = sorted(tmp_path.rglob("*"))
    places = {name: tmp_path / name for name in ("clip", "empty", "grey")}
    assert message in failure(capsys, *words.format(**places).split())
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_videos_and_files_of_others_are_told(installed, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert "broken.mp4 cannot be read as a video" in failure(capsys, tmp_path / "broken.mp4", "-o", tmp_path / "maps")
    (tmp_path / "clip").mkdir()
    street(1)[0].save(tmp_path / "clip" / "a.png")
    (tmp_path / "maps").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "maps" / "a.iuv.png")
    said = failure(capsys, tmp_path / "clip", "-o", tmp_path / "maps")
    assert "a.iuv.png exists and was not written by this command; write elsewhere, or replace it with" in said
    street(1)[0].save(tmp_path / "clip" / "a.jpg")
    assert "holds several files called a" in failure(capsys, tmp_path / "clip", "-o", tmp_path / "maps")
    (tmp_path / "clip" / "a.jpg").unlink()
    dots((100, 100), [(50, 55, 40, 0)])[0].save(tmp_path / "clip" / "b.png")
    said = failure(capsys, tmp_path / "clip", "-o", tmp_path / "other")
    assert "expected pictures of one size, got 100x100, 200x300 (height x width)" in said
