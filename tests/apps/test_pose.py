"""``pocold pose`` on photographs, beside the files and named poses that it always took."""

import json

import numpy as np
import pytest
from PIL import Image

from estimators import SIZE, colour_estimator, constant_estimator, photo_of
from pocold import DensePose
from pocold.cli import main
from pocold.models import densepose_estimator
from pocold.models.densepose_estimator import estimate_densepose


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "densepose_estimator"
    colour_estimator().save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path):
    photo_of((128, 96), (12, 20, 116, 76)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def bundled(folder, monkeypatch):
    monkeypatch.setattr(densepose_estimator, "BUNDLED", folder.parent)


def failure(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pose", *(str(argument) for argument in arguments)])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_the_map_of_a_photograph(photo, folder, tmp_path):
    main(["pose", str(photo), "--estimator", str(folder), "-o", str(tmp_path / "pose.png")])
    found = DensePose.read(tmp_path / "pose.png")
    expected = estimate_densepose(photo, colour_estimator())
    assert found.size == (128, 96)
    assert found.visible_parts == {1, 2}
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.uv, expected.uv, atol=0.5 / 255 + 1e-6)


def test_a_picture_that_is_no_map_is_taken_for_a_photograph(photo, bundled, tmp_path, capsys):
    main(["pose", str(photo), "-o", str(tmp_path / "pose.npz"), "--show", str(tmp_path / "look.png")])
    warning = capsys.readouterr().err
    assert warning.startswith(f"pocold: warning: taken for a photograph, its map estimated; if it is a map: {photo}")
    assert warning.count("\n") == 1
    assert (tmp_path / "pose.npz").is_file()
    shown = np.asarray(Image.open(tmp_path / "look.png")).astype(int)
    assert shown.shape == (128, 96, 3)
    assert np.ptp(shown[2, 2]) == 0  # grey background: the map lies over the photograph


def test_a_map_stays_a_map(bundled, tmp_path):
    labels = np.zeros(SIZE, dtype=np.uint8)
    labels[10:50, 10:30] = 9
    DensePose(labels).write(tmp_path / "map.png")
    main(["pose", str(tmp_path / "map.png"), "-o", str(tmp_path / "again.png")])
    np.testing.assert_array_equal(DensePose.read(tmp_path / "again.png").labels, labels)


def test_what_is_neither_says_both(bundled, tmp_path, capsys):
    green = np.full((64, 48, 3), (60, 120, 40), dtype=np.uint8)
    Image.fromarray(green).save(tmp_path / "lawn.png")
    told = failure([tmp_path / "lawn.png", "-o", tmp_path / "pose.png"], capsys)
    assert "this looks like a colour picture" in told
    assert "and as a photograph: " in told
    assert "no person was found" in told
    assert told.count("\n") == 1
    Image.fromarray(green[..., 1]).save(tmp_path / "grey.png")
    assert "must lie in 0..24" in failure([tmp_path / "grey.png", "-o", tmp_path / "pose.png"], capsys)
    assert not (tmp_path / "pose.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walk", "--estimator", "x"], "--estimator is for files; walk is a named pose"),
        (["photo.png", "--estimator", "x", "--person", "2"], "--person is for files that hold a map; with --estimator"),
        (["photo.png", "--estimator", "x", "--size", "64x48"], "--size is for files that hold a map"),
        (["photo.png", "--estimator", "x"], "no such file: x/config.json"),
        (["missing.png"], "no such DensePose file: missing.png"),
    ],
)
def test_mistakes(photo, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(photo.parent)
    assert message in failure([*arguments, "-o", "pose.png"], capsys)


def test_an_estimator_that_finds_nobody(photo, tmp_path, capsys):
    constant_estimator(0).save_pretrained(tmp_path / "blind")
    assert f"{photo}: no person was found" in failure(
        [photo, "--estimator", tmp_path / "blind", "-o", tmp_path / "pose.png"], capsys
    )


def test_inputs_and_foreign_files_are_not_replaced(photo, folder, tmp_path, capsys):
    before = photo.read_bytes()
    assert "is an input of this command" in failure([photo, "--estimator", folder, "-o", photo], capsys)
    foreign = tmp_path / "foreign.png"
    foreign.write_bytes(before)
    assert "was not written by this command" in failure(["walk:side", "-o", foreign], capsys)
    assert "was not written by this command" in failure(["walk:side", "--show", foreign], capsys)
    assert photo.read_bytes() == foreign.read_bytes() == before
    main(["pose", "walk:side", "-o", str(foreign), "--overwrite"])
    assert DensePose.read(foreign).size == (256, 176)


def test_its_own_files_are_replaced(tmp_path):
    for pose in ("walk:side", "hips:back"):
        main(["pose", pose, "-o", str(tmp_path / "pose.png"), "--show", str(tmp_path / "look.png")])
    assert 1 in DensePose.read(tmp_path / "pose.png").visible_parts


def test_output_and_show_are_two_files(tmp_path, capsys):
    same = tmp_path / "same.png"
    assert "would both write" in failure(["walk:side", "-o", same, "--show", same], capsys)
    assert not same.exists()


def openpose(path, points):
    flat = [number for x, y in points for number in (x, y, 0.9)]
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": flat}]}))
    return path


# nose, neck, right arm, left arm, right leg, left leg, right eye, left eye, ears: someone who stands
STANDING = [
    (44, 20), (44, 34), (35, 34), (32, 48), (31, 60), (53, 34), (56, 48), (57, 60), (39, 62), (38, 84), (37, 106),
    (49, 62), (50, 84), (51, 106), (42, 18), (46, 18), (39, 20), (49, 20),
]  # fmt: skip


def test_keypoints_become_a_map(tmp_path):
    path = openpose(tmp_path / "points.json", STANDING)
    main(["pose", str(path), "--size", "128x88", "-o", str(tmp_path / "map.png"), "--show", str(tmp_path / "look.png")])
    found = DensePose.read(tmp_path / "map.png")
    assert found.size == (128, 88)
    assert found.uv is not None
    assert found.visible_parts >= {2, 5, 6, 9, 10, 23, 24}
    rows = np.flatnonzero((found.labels > 0).any(1))
    assert 5 <= rows[0] <= 18
    assert 106 <= rows[-1] <= 118
    assert Image.open(tmp_path / "look.png").size == (88, 128)


@pytest.mark.filterwarnings("always::UserWarning")  # as outside of pytest
def test_keypoints_take_the_size_of_their_photograph(photo, tmp_path, capsys):
    path = openpose(tmp_path / "points.json", STANDING)
    main(["pose", str(path), "--photo", str(photo), "-o", str(tmp_path / "map.png")])
    assert DensePose.read(tmp_path / "map.png").size == (128, 96)
    assert capsys.readouterr().err == ""
    main(["pose", str(path), "-o", str(tmp_path / "framed.png")])
    assert DensePose.read(tmp_path / "framed.png").size == (256, 176)
    assert "does not say the size of its picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--estimator", "x"], "--estimator is for maps and photographs"),
        (["--read-as", "iuv"], "--read-as is for maps and photographs"),
        (["--person", "2"], "shows 1 person, there is no person 2"),
        (["--picture", "a.jpg"], "holds no picture a.jpg"),
        (["--size", "20x20"], "keypoints lie outside a picture of 20x20"),
    ],
)
def test_what_keypoints_refuse(tmp_path, capsys, options, message):
    path = openpose(tmp_path / "points.json", STANDING)
    error = failure([path, "-o", tmp_path / "map.png", *options], capsys)
    assert message in error
    assert error.count("\n") == 1


def test_a_list_of_keypoints_goes_into_a_folder(tmp_path, capsys):
    columns = [[round(point[i] * 2) for point in STANDING] for i in (1, 0)]
    rows = [f"{name}.jpg: {columns[0]}: {columns[1]}" for name in ("a", "b")]
    nobody = f"c.jpg: {[-1] * 18}: {[-1] * 18}"
    (tmp_path / "list.csv").write_text("\n".join(["name:keypoints_y:keypoints_x", *rows, nobody]))
    main(["pose", str(tmp_path / "list.csv"), "-o", str(tmp_path / "maps")])
    assert "2 maps; nobody was found in c.jpg" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["a.iuv.png", "b.iuv.png"]
    found = DensePose.read(tmp_path / "maps" / "a.iuv.png")
    assert found.size == (256, 176)
    assert {2, 23, 24} <= found.visible_parts
    error = failure([tmp_path / "list.csv", "-o", tmp_path / "one.png"], capsys)
    assert "keypoints of 3 pictures; say which (--picture): a.jpg, b.jpg, c.jpg" in error


def test_the_sheet_replaces_only_a_sheet(photo, tmp_path, capsys, monkeypatch):
    before = photo.read_bytes()
    assert "photo.png exists and was not written by this command" in failure(["--sheet", photo], capsys)
    assert photo.read_bytes() == before
    monkeypatch.setattr("pocold.people.sheets.pose_sheet", lambda: Image.new("RGB", (8, 8)))
    for _ in range(2):  # the second time over its own
        main(["pose", "--sheet", str(tmp_path / "sheet.png")])
    main(["pose", "--sheet", str(photo), "--overwrite"])
    assert Image.open(photo).size == (8, 8)


def test_a_device_that_there_is_not(photo, folder, tmp_path, capsys):
    message = failure([photo, "--estimator", folder, "--device", "nowhere", "-o", tmp_path / "pose.png"], capsys)
    assert "the device 'nowhere' cannot be used" in message
