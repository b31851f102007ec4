"""Names, grammar, kinematics, random poses, and poses in motion."""

import numpy as np
import pytest

from pocold.people.body.body import load_body
from pocold.people.body.skeleton import Pose, bone_transforms, smallest_rotation, touches_itself
from pocold.people.poses import (
    CROPS,
    POSES,
    VIEWS,
    interpolate,
    parse_pose,
    random_pose,
    random_view,
    turntable,
    walk_cycle,
)


def joints(pose: Pose) -> dict[str, np.ndarray]:
    body = load_body()
    heads = body.rest()[1]
    moved = bone_transforms(pose, body, heads)
    places = (moved[..., :3] @ heads[:, :, None])[..., 0] + moved[..., 3]
    return dict(zip(body.bone_names, places, strict=True))


def test_there_are_enough_poses():
    assert len(POSES) >= 30
    for name in (
        "stand",
        "contrapposto",
        "walk",
        "hips",
        "pockets",
        "crossed",
        "arms-up",
        "wave",
        "sit",
        "kneel",
        "run",
        "dance",
    ):
        assert name in POSES


@pytest.mark.parametrize(
    ("text", "name", "view", "crop"),
    [("walk:side", "walk", 90, "full"), ("hips:back", "hips", 180, "full"), ("wave:30:upper", "wave", 30, "upper"),
     ("stand", "stand", 0, "full"), ("Run:-400", "run", -40, "full"), ("sit:quarter:portrait", "sit", 35, "portrait")],
)  # fmt: skip
def test_grammar(text, name, view, crop):
    named = parse_pose(text)
    assert (named.name, named.crop, named.pose) == (name, crop, POSES[name])
    assert (named.view - view) % 360 == pytest.approx(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("wallk", "did you mean walk"), ("walk:sideways", "unknown view 'sideways'.*side"), ("walk:nan", "unknown view"),
     ("walk:side:belly", f"unknown crop 'belly'.*{CROPS[0]}"), ("walk:0:full:x", "expected NAME"), ("", "known poses")],
)  # fmt: skip
def test_mistakes_are_explained(text, message):
    with pytest.raises(ValueError, match=message):
        parse_pose(text)


def test_views_are_angles():
    assert all(-180 <= angle <= 180 for angle in VIEWS.values())
    assert VIEWS["front"] == 0


def test_poses_do_what_they_say():
    stand, up, tpose = joints(POSES["stand"]), joints(POSES["arms-up"]), joints(POSES["tpose"])
    assert up["wrist.L"][2] > up["head"][2] + 0.2
    assert stand["wrist.L"][2] < stand["spine03"][2]
    assert abs(tpose["wrist.R"][2] - tpose["upperarm01.R"][2]) < 0.06
    walk = joints(POSES["walk"])
    assert walk["foot.L"][1] < -0.2 < 0.2 < walk["foot.R"][1]  # forward is -y
    assert joints(POSES["sit"])["lowerleg01.L"][1] < -0.3
    assert joints(POSES["kneel"])["lowerleg01.R"][2] < joints(POSES["kneel"])["lowerleg01.L"][2] - 0.25
    wave = joints(POSES["wave"])
    assert wave["wrist.L"][2] > wave["upperarm01.L"][2] + 0.15 > wave["wrist.R"][2]


def test_bones_keep_their_length():
    for pose in POSES.values():
        places, rest = joints(pose), joints(POSES["stand"])
        for a, b in (("upperarm01.L", "lowerarm01.L"), ("upperleg01.R", "lowerleg01.R"), ("spine03", "spine02")):
            own = np.linalg.norm(places[a] - places[b])
            assert own == pytest.approx(np.linalg.norm(rest[a] - rest[b]), abs=1e-4)


def test_mirroring_swaps_sides():
    mirrored, pose = joints(POSES["walk"].mirrored()), joints(POSES["walk"])
    assert np.allclose(mirrored["wrist.R"], pose["wrist.L"] * [-1, 1, 1], atol=1e-5)
    assert POSES["dance"].mirrored().mirrored() == POSES["dance"]


def test_smallest_rotation_turns_without_twist():
    turn = smallest_rotation(np.array([0, 0, -1.0]), np.array([0, -1.0, 0]))
    assert np.allclose(turn @ [0, 0, -1], [0, -1, 0], atol=1e-5)
    assert np.allclose(turn @ [1, 0, 0], [1, 0, 0], atol=1e-5)


def test_interpolation_ends_at_its_ends_and_moves_evenly():
    start, end = POSES["stand"], POSES["star"]
    for t, pose in ((0, start), (1, end)):
        assert np.allclose(joints(interpolate(start, end, t))["wrist.L"], joints(pose)["wrist.L"], atol=1e-6)
    heights = [joints(interpolate(start, end, t))["wrist.L"][2] for t in np.linspace(0, 1, 9)]
    assert (np.diff(heights) > 0).all()
    with pytest.raises(ValueError, match=r"t in \[0, 1\]"):
        interpolate(start, end, 1.5)


def test_the_walk_cycle_loops():
    poses = walk_cycle(24)
    feet = np.array([joints(pose)["foot.L"] for pose in [*poses, poses[0]]])
    steps = np.linalg.norm(np.diff(feet, axis=0), axis=1)
    assert steps.max() < 0.16  # metres: no jump, the last step included
    assert np.ptp(feet[:, 1]) > 0.4
    other = np.array([joints(pose)["foot.R"] for pose in poses])
    assert np.allclose(np.roll(other, 12, 0) * [-1, 1, 1], feet[:-1], atol=2e-2)  # half a stride later
    with pytest.raises(ValueError, match="at least 2 frames"):
        walk_cycle(1)


def test_the_turntable_goes_around_once():
    assert turntable(4) == [0, 90, -180, -90]
    with pytest.raises(ValueError, match="at least 1 frame"):
        turntable(0)


def test_random_poses_do_not_touch_themselves_and_repeat():
    body = load_body()
    heads = body.rest()[1]
    for seed in range(40):
        pose = random_pose(np.random.default_rng(seed))
        assert not touches_itself(bone_transforms(pose, body, heads), body, heads)
    assert random_pose(np.random.default_rng(7)) == random_pose(np.random.default_rng(7))
    assert random_pose(np.random.default_rng(7)) != random_pose(np.random.default_rng(8))


def test_a_hand_in_the_belly_is_noticed():
    body = load_body()
    heads = body.rest()[1]
    arm = POSES["stand"].left_arm
    inwards = Pose(type(arm)((0.2, 0.1, -1.0), (-1.0, 0.0, 0.0)), arm)
    assert touches_itself(bone_transforms(inwards, body, heads), body, heads)


def test_calm_poses_keep_the_feet_together():
    widest = max(
        np.linalg.norm(places["foot.L"] - places["foot.R"])
        for places in (joints(random_pose(np.random.default_rng(seed), calm=True)) for seed in range(25))
    )
    assert widest < 0.75


def test_random_views_cover_all_sides():
    views = np.array([random_view(np.random.default_rng(seed)) for seed in range(200)])
    assert ((views >= -180) & (views < 180)).all()
    assert 0.3 < (np.abs(views) < 25).mean() < 0.6
    assert (np.abs(views) > 140).any()
