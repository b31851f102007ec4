"""``pocold animate``, end to end with a toy model."""

import json
import math
import shutil

import numpy as np
import pytest
from drawing_helpers import fails, pixels, pocold
from PIL import Image, ImageSequence

from pocold import PoseTransferPipeline
from pocold.apps.animate.motions import Length, between, from_files, turn, walk
from pocold.imaging.animations import read_notes
from pocold.people.body.fitting import Stage, fit_pose
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose

SIZE = (128, 88)


@pytest.fixture(scope="module")
def stage():
    return Stage.of(None, SIZE)


def same(a, b):
    return np.array_equal(a.labels, b.labels) and np.array_equal(a.uv, b.uv)


# -- motions ---------------------------------------------------------------------------------------------------------


def test_the_average_body_stands_where_its_pose_is_drawn(stage):
    pose = parse_pose("stand")
    drawn = draw_densepose(pose.pose, 0, "full", SIZE)
    assert (stage.draw(pose.pose, 0).labels == drawn.labels).mean() > 0.999


def test_a_person_keeps_build_and_place():
    reference = draw_densepose(parse_pose("relaxed").pose, 0, "full", SIZE)
    own = Stage.of(reference, SIZE)
    assert (own.draw(parse_pose("stand").pose, 0).labels == fit_pose(parse_pose("stand"), reference).labels).all()
    heights, middles, feet = [], [], []
    for view in range(0, 360, 30):
        labels = own.draw(parse_pose("stand").pose, view).labels
        rows, columns = np.nonzero(labels)[0], np.nonzero(np.isin(labels, (1, 2)))[1]
        heights.append(np.ptp(rows))
        middles.append(columns.mean())
        feet.append(rows.max())
    assert np.ptp(heights) <= 4
    assert np.ptp(middles) <= 8  # the torso's middle is not its axis when seen from the side
    assert np.ptp(feet) <= 3


def test_a_turn_goes_once_round(stage):
    motion = turn(stage, "stand:back", Length(frames=8))
    assert len(motion.maps) == 8
    assert same(motion.maps[0], stage.draw(parse_pose("stand").pose, -180))
    assert same(motion.maps[4], stage.draw(parse_pose("stand").pose, 0))
    assert len(turn(stage, "stand", Length(fps=2, seconds=3)).maps) == 6
    assert len(turn(stage, "stand", Length(fps=2)).maps) == 6


def test_a_walk_is_drawn_once_and_shown_again(stage):
    motion = walk(stage, "side", Length(fps=5, seconds=3.6))
    assert (len(motion.maps), motion.repeats) == (6, 3)
    assert not same(motion.maps[0], motion.maps[3])
    assert (len(walk(stage, "side", Length(frames=4)).maps), walk(stage, "side", Length(frames=4)).repeats) == (4, 1)


def test_between_poses_goes_through_them(stage):
    stops = ["stand:front", "wave:30", "hips:back"]
    drawn = [stage.draw(parse_pose(text).pose, parse_pose(text).view) for text in stops]
    looping = between(stage, stops, Length(frames=12), loop=True).maps
    assert len(looping) == 12
    for i, stop in enumerate(drawn):
        assert same(looping[4 * i], stop)
    straight = between(stage, stops, Length(frames=9), loop=False).maps
    for i, stop in enumerate(drawn):
        assert same(straight[4 * i], stop)
    for a, b in zip(looping, looping[1:] + looping[:1], strict=True):
        assert not same(a, b)


def test_files_come_in_the_order_of_their_numbers(tmp_path, stage):
    maps = {}
    for number in (10, 9, 1):
        maps[number] = stage.draw(parse_pose("stand").pose, number * 10)
        maps[number].write(tmp_path / f"frame-{number}.png")
    (tmp_path / ".hidden").write_text("not seen")
    motion = from_files(tmp_path, Length(), pytest.fail, pytest.fail)
    assert [np.array_equal(a.labels, maps[n].labels) for a, n in zip(motion.maps, (1, 9, 10), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (Length(fps=0), "--fps: expected frames per second above 0 and at most 120, got 0"),
        (Length(fps=math.nan), "--fps"),
        (Length(frames=1), "--frames: expected at least 2, got 1"),
        (Length(frames=5, seconds=1), "--frames and --seconds both say"),
        (Length(seconds=-1), "--seconds: expected a number above 0"),
    ],
)
def test_lengths_that_cannot_be_meant(length, message):
    with pytest.raises(ValueError, match=message):
        length.check()


# -- the command -----------------------------------------------------------------------------------------------------


def shown(path):
    with Image.open(path) as picture:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


def test_frames_are_those_that_transfer_draws(here, capsys):
    pocold("animate a.png --turn --pose stand --frames 2 --steady 0 -o out --like none --steps 2", model="sized")
    Stage.of(None, SIZE).draw(parse_pose("stand").pose, -180).write(here / "back.png")
    pocold("transfer a.png --pose back.png -o single.png", model="sized")
    assert sorted(file.name for file in (here / "out").iterdir()) == ["frame-0001.png", "frame-0002.png"]
    np.testing.assert_array_equal(pixels(here / "out" / "frame-0002.png"), pixels(here / "single.png"))
    notes = read_notes(here / "out")
    assert notes["again"].startswith(
        "pocold animate a.png --turn --pose stand --fps 12 --frames 2 --steady 0 --like none -o out"
    )
    assert notes["again"].endswith("--steps 2 --seed 0")
    assert notes["source"][0]["file"] == "a.png"
    capsys.readouterr()
    pocold("animate a.png --turn --pose stand --frames 2 -o out --like none --steps 2 --json", model="sized")
    report = json.loads(capsys.readouterr().out)
    assert report["pictures drawn"] == 2
    assert report["files"][0]["frames"] == 2


def test_noise_is_one_for_all_or_another_for_each(here):
    flags = "--walk --view front --frames 2 --like none --steps 2"
    for noise in ("shared", "surface", "fresh"):
        pocold(f"animate a.png {flags} --noise {noise} -o {noise}", model="sized")
    first, second = (
        {n: pixels(here / n / f"frame-000{i}.png") for n in ("shared", "surface", "fresh")} for i in (1, 2)
    )
    np.testing.assert_array_equal(first["shared"], first["fresh"])
    assert (second["shared"] != second["fresh"]).any()
    assert (first["shared"] != first["surface"]).any()


def test_unseen_parts_are_kept_from_frame_to_frame_unless_told_otherwise(here):
    flags = "animate a.png --turn --pose stand --frames 6 --steps 1"
    pocold(f"{flags} -o kept", model="sized")
    pocold(f"{flags} --steady 0 -o anew", model="sized")
    kept, anew = ([pixels(here / name / f"frame-000{i}.png") for i in range(1, 7)] for name in ("kept", "anew"))
    np.testing.assert_array_equal(kept[0], anew[0])
    assert all((one != other).any() for one, other in zip(kept[2:4], anew[2:4], strict=True))
    assert (read_notes(here / "kept")["steady"], read_notes(here / "anew")["steady"]) == (0.8, 0.0)


def test_a_model_that_does_not_know_what_is_seen_draws_each_frame_anew(here):
    PoseTransferPipeline.from_preset("toy").save_pretrained(here / "model")
    pocold("animate a.png --turn --frames 2 --steps 1 --size 128x88 -o out", model="model")
    assert read_notes(here / "out")["steady"] == 0


def test_maps_beside_and_a_repeated_walk(here):
    pocold("animate a.png --walk --fps 2 --seconds 2.4 --with-map -o walk.gif --steps 1", model="sized")
    frames = shown(here / "walk.gif")
    assert len(frames) == 4
    assert frames[0].shape == (128, 176, 3)
    np.testing.assert_array_equal(frames[0], frames[2])
    assert (frames[0][0, 0] == 0).all()  # the map's background
    pocold("animate a.png --walk --fps 2 -o walk.gif --steps 1", model="sized")  # its own file is replaced
    assert len(shown(here / "walk.gif")) == 2


def test_maps_of_another_size_are_framed(here):
    (here / "maps").mkdir()
    for i in range(2):
        draw_densepose(parse_pose("stand").pose, 90 * i, "full", (64, 64)).write(here / "maps" / f"{i}.png")
    pocold("animate a.png --poses maps -o out.webp --steps 1 --noise surface", model="sized")
    assert [frame.shape for frame in shown(here / "out.webp")] == [(128, 88, 3)] * 2
    assert read_notes(here / "out.webp")["motion"] == "files"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("-o out.gif", "expected one motion: --turn, --walk, --between POSE POSE ... or --poses PATH, got none"),
        ("--turn --walk -o out.gif", "got --turn and --walk"),
        ("--turn", "expected a file to write, such as -o out.mp4"),
        ("--turn -o out.png", "animations are written as .mp4"),
        ("--turn -o a.gif", "a.gif exists and was not written by this command"),
        ("--between stand -o out.gif", "--between: expected at least two poses"),
        ("--between stand walk hips --frames 3 -o out.gif", "3 poses need more than 3 frames, got 3"),
        ("--between stand nowhere -o out.gif", "unknown pose 'nowhere'"),
        ("--walk --view above -o out.gif", "unknown view 'above'"),
        ("--turn --steady 1 -o out.gif", "--steady: expected a share of at least 0 and below 1, got 1"),
        ("--turn --num-images 2 -o out.gif", "--num-images: an animation is drawn once"),
        ("--poses empty -o out.gif", "empty is empty: expected a folder of maps, keypoints or pictures of a person"),
        ("--poses empty --frames 3 -o out.gif", "a folder has one frame per file"),
        ("--poses a.png -o out.gif", "expected a folder of maps, keypoints or pictures, or a video, got a.png"),
        ("--poses no.mp4 -o out.gif", "no such video: no.mp4"),
        ("--poses still.mp4 -o out.gif", "no person was found in any of its 4 pictures"),
    ],
)
def test_what_cannot_be_animated(here, capsys, command, message):
    (here / "empty").mkdir()
    shutil.copy(here / "a.png", here / "a.gif")
    if "still" in command:
        from pocold.imaging.animations import write_animation

        pytest.importorskip("av")
        write_animation([Image.open(here / "a.png")] * 4, here / "still.mp4", 12, {})
    before = sorted(here.iterdir())
    assert message in fails(capsys, f"animate a.png {command}", model="sized")
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("name", ["out.webp", "out.gif", "out.mp4", "out"])
def test_an_animation_says_how_it_was_made(here, capsys, name):
    if name.endswith("mp4"):
        pytest.importorskip("av")
    pocold(f"animate a.png --walk --frames 2 --steps 1 -o {name}", model="sized")
    capsys.readouterr()
    pocold(f"show {name}", model=None)
    again = "again: pocold animate a.png --walk --view quarter --fps 12 --frames 2 --steps 1"
    assert sorted(again.split()) == sorted(set(again.split()) & set(capsys.readouterr().out.split()))


def test_what_says_nothing(here, capsys):
    (here / "empty").mkdir()
    (here / "broken.webp").write_bytes(b"RIFF")
    assert "empty carries no pocold metadata" in fails(capsys, "show empty", model=None)
    assert "broken.webp carries no pocold metadata" in fails(capsys, "show broken.webp", model=None)
    assert "no such file: none.mp4" in fails(capsys, "show none.mp4", model=None)


def test_the_poses_of_a_video(here, capsys):
    pytest.importorskip("av")
    from estimators import constant_estimator
    from pocold.imaging.animations import write_animation

    write_animation([Image.open(here / "a.png")] * 4, here / "person.mp4", 4, {})
    constant_estimator(2).save_pretrained(here / "sized" / "densepose_estimator")
    index = json.loads((here / "sized" / "model_index.json").read_text())
    index["densepose_estimator"] = ["pocold.models.densepose_estimator", "DensePoseEstimator"]
    (here / "sized" / "model_index.json").write_text(json.dumps(index))
    pocold("animate a.png --poses person.mp4 --fps 2 -o out.gif --steps 1", model="sized")
    assert read_notes(here / "out.gif")["motion"] == "video"
    assert read_notes(here / "out.gif")["frames"] == 2
