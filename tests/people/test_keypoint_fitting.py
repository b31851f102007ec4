"""Bodies fitted to keypoints: exact points give the map back, in every view, whole or in part."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from exact_points import SIZE, agreement, seen
from pocold.densepose.keypoints import COCO_18, NAMES, Keypoints
from pocold.people.body.body import AVERAGE, load_body
from pocold.people.body.keypoint_fitting import fit_body
from pocold.people.body.keypoint_maps import (
    KeypointWarning,
    draw_keypoints,
    load_any_pose,
    pose_size,
    read_keypoint_pose,
)
from pocold.people.body.posing import draw_body
from pocold.people.body.skeleton import bone_transforms
from pocold.people.body.stick_figure import (
    ARMS,
    HEAD,
    LEGS,
    NUM_NUMBERS,
    SPINE,
    StickFigure,
    as_pose,
)
from pocold.people.labels import keypoints_3d, load_chart
from pocold.people.poses import parse_pose, random_pose


def test_the_stick_figure_is_the_skeleton():
    body = load_body()
    figure = StickFigure(body, load_chart().face_points.tolist())
    rest, heads = body.rest()
    for seed in range(3):
        pose = random_pose(np.random.default_rng(seed))
        numbers = np.zeros((1, NUM_NUMBERS))
        numbers[0, SPINE], numbers[0, HEAD] = pose.spine, pose.head
        for part, arm in zip(ARMS, (pose.left_arm, pose.right_arm), strict=True):
            numbers[0, part] = (*arm.upper, *arm.lower)
        for part, leg in zip(LEGS, (pose.left_leg, pose.right_leg), strict=True):
            numbers[0, part] = (leg.spread, leg.thigh, leg.thigh - leg.shin, leg.turn, leg.tiptoe)
        moves = bone_transforms(pose, body, heads)
        skull = moves[body.bone_index["head"]]
        found = figure.points(numbers)[0][0]
        wanted = keypoints_3d(rest[None], heads, torch.from_numpy(moves)[None].float())[0].double().numpy()
        wanted[[0, *range(14, 18)]] = rest[load_chart().face_points].double().numpy() @ skull[:, :3].T + skull[:, 3]
        np.testing.assert_allclose(found[:18], wanted, atol=1e-3)
        again = as_pose(numbers[0], ((0.0, 12.0), (0.0, 12.0)))
        assert again.spine == pytest.approx(pose.spine)
        assert again.right_leg.shin == pytest.approx(pose.right_leg.shin)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("walk:side", 0.85),
        ("hips", 0.88),
        ("wave:back", 0.88),
        ("squat:quarter", 0.8),
        ("stand:left", 0.85),
        ("hips:20:upper", 0.85),
    ],
)
def test_exact_points_give_the_map_back(text, least):
    true, points, inside, _ = seen(text)
    shape, pose, camera = fit_body(points, 1.0 * inside, size=SIZE)
    assert abs(math.remainder(camera.view - parse_pose(text).view, 360)) < 25
    assert agreement(true, draw_body(shape, pose, camera)) > least


def test_depth_settles_what_a_picture_leaves_open():
    true, points, inside, depth = seen("boxing")  # an arm stretched towards the camera
    mirrored = 2 * depth.mean() - depth
    maps = []
    for far in (depth, mirrored):
        shape, pose, camera = fit_body(points, 1.0 * inside, depth=far, size=SIZE)
        maps.append(pose.right_arm.lower[1] * math.cos(math.radians(camera.view)))
        if far is depth:
            assert agreement(true, draw_body(shape, pose, camera)) > 0.85
    assert maps[0] > maps[1] + 0.5


def test_left_and_right_of_the_names_decide_facing():
    _, points, inside, _ = seen("stand")
    swapped = [COCO_18.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in COCO_18]
    sure = 1.0 * inside
    sure[[0, *range(14, 18)]] = 0  # no face
    front = fit_body(points, sure, size=SIZE)[2].view
    back = fit_body(points[swapped], sure, size=SIZE)[2].view
    assert abs(front) < 45
    assert abs(back) > 135


def test_missing_points_stay_natural():
    true, points, inside, _ = seen("stand:15")
    sure = 1.0 * inside
    sure[[COCO_18.index(n) for n in ("left wrist", "right elbow", "left knee", "left ankle", "nose")]] = 0
    shape, pose, camera = fit_body(points, sure, size=SIZE)
    drawn = draw_body(shape, pose, camera)
    assert drawn.visible_parts >= {2, 3, 4, 5, 6, 23, 24}
    assert agreement(true, drawn) > 0.7


def test_a_mask_makes_the_body_heavier():
    weights = []
    for weight in (0.2, 0.85):
        true, points, inside, _ = seen("stand", replace(AVERAGE, weight=weight))
        shape, _, _ = fit_body(points, 1.0 * inside, mask=true.labels > 0, size=SIZE)
        weights.append(shape.weight)
    assert weights[0] < 0.35
    assert weights[1] > 0.65
    with pytest.raises(ValueError, match="mask must be of the picture's size 128x88"):
        fit_body(points, 1.0 * inside, mask=np.ones((4, 4), bool), size=SIZE)


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"expected keypoints of shape \(18, 2\) or \(25, 2\)"):
        fit_body(np.zeros((17, 2)), np.ones(17), size=SIZE)
    with pytest.raises(ValueError, match="one value for each of 18"):
        fit_body(np.zeros((18, 2)), np.ones(17), size=SIZE)
    with pytest.raises(ValueError, match="at least 4 keypoints that are not missing, got 2"):
        fit_body(np.ones((18, 2)), np.array([1.0, 1.0] + [0.0] * 16), size=SIZE)


def keypoints_of(text, **changes):
    true, points, inside, _ = seen(text)
    return true, Keypoints(COCO_18, points, 1.0 * inside, **changes)


def test_large_pictures_are_drawn_small_and_enlarged():
    true, found = keypoints_of("hips", size=SIZE)
    large = Keypoints(found.names, found.points * 20, found.confidence, None, (2560, 1760))
    drawn = draw_keypoints(large)
    assert drawn.size == (2560, 1760)
    assert agreement(true, type(true)(drawn.labels[10::20, 10::20])) > 0.85
    with pytest.raises(ValueError, match="sides from 16 and at most 64 million pixels, got 20000x20000"):
        draw_keypoints(replace(found, size=(20000, 20000)))


def test_an_unknown_size_frames_the_person():
    _, found = keypoints_of("walk:20")
    drawn = draw_keypoints(Keypoints(found.names, found.points * 3 + 400, found.confidence))
    assert drawn.size == (256, 176)
    rows, columns = np.nonzero(drawn.labels)
    assert 2 < rows.min() < 30
    assert 225 < rows.max() < 256
    assert columns.min() > 0
    assert columns.max() < 175
    with pytest.raises(ValueError, match="keypoints lie outside a picture of 128x88"):
        draw_keypoints(Keypoints(found.names, found.points + 400, found.confidence, size=SIZE))
    with pytest.raises(ValueError, match="shares of width and height"):
        draw_keypoints(Keypoints(found.names, found.points / 128, found.confidence, relative=True))


def test_files_say_what_was_assumed(tmp_path):
    _, found = keypoints_of("stand")
    flat = [number for (x, y), sure in zip(found.points, found.confidence, strict=True) for number in (x, y, sure)]
    small = [number / 2 for number in flat]
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": small}, {"pose_keypoints_2d": flat}]}))
    with pytest.warns(KeypointWarning) as caught:
        drawn = load_any_pose(path)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "shows 2 people; the largest is taken" in messages
    assert "does not say the size of its picture" in messages
    assert drawn.size == pose_size(path) == (256, 176)
    chosen = read_keypoint_pose(path, person=2, size=SIZE)
    rows = np.flatnonzero((chosen.labels > 0).any(1))
    assert np.ptp(rows) < 75  # the smaller one
    assert len(NAMES) == 25


def test_points_that_are_no_body_end_in_a_map_or_one_sentence():
    with pytest.raises(ValueError, match="no body fits these keypoints"):
        draw_keypoints(Keypoints(COCO_18, np.full((18, 2), 50.0), np.ones(18), size=SIZE))
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert draw_keypoints(Keypoints(COCO_18, rng.uniform(0, 88, (18, 2)), np.ones(18), size=SIZE)).visible_parts
    points = rng.uniform(0, 88, (18, 2))
    points[3:5] = np.nan
    unknown = Keypoints(COCO_18, points, np.ones(18), np.full(18, np.nan), SIZE)
    assert draw_keypoints(unknown).visible_parts


def test_a_face_alone_is_a_head():
    names = ("nose", "right eye", "left eye", "right ear", "left ear")
    points = np.array([[44, 70], [35, 60], [53, 60], [25, 63], [63, 63]])
    drawn = draw_keypoints(Keypoints(names, points, np.ones(5), size=SIZE))
    assert drawn.labels[70, 44] in (23, 24)
    assert {23, 24} <= drawn.visible_parts
    assert drawn.labels[60, 35] == 23  # the person's right half is on the left of the picture
