"""What a target pose shows and its source does not."""

import warnings

import numpy as np
import pytest

from pocold.densepose.coverage import Coverage, CoverageWarning, missing_parts, warn_if_missing
from pocold.densepose.maps import DensePose
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose


def drawn(name, size=(128, 88)):
    named = parse_pose(name)
    return draw_densepose(named.pose, named.view, named.crop, size)


def bands(**counts):
    """A map with so many pixels of each label: ``p2=40``."""
    labels = [np.full(count, int(name[1:])) for name, count in counts.items()]
    return DensePose(np.concatenate([*labels, np.zeros(10)])[None])


def test_shares_are_of_the_targets_body():
    report = missing_parts(bands(p2=100), bands(p2=60, p9=25, p10=5, p24=10))
    assert report.absent == pytest.approx({"upper legs": 0.3, "head": 0.1})
    assert report.turned == {}
    assert report.missing == pytest.approx(0.4)


def test_another_side_is_told_apart_from_nothing():
    report = missing_parts(bands(p2=50, p9=50), bands(p1=60, p7=20, p11=20))
    assert report.turned == pytest.approx({"torso back": 0.6, "upper leg back": 0.2})
    assert report.absent == pytest.approx({"lower legs": 0.2})


def test_the_mirror_image_of_a_part_will_do():
    assert missing_parts(bands(p2=50, p3=10, p15=10), bands(p2=50, p4=10, p16=10)).missing == 0


def test_slivers_do_not_count():
    """A front photo shows some pixels of the back along its outline."""
    needed = bands(p1=50, p24=50)
    assert missing_parts(bands(p1=12, p2=38, p23=50), needed).missing == pytest.approx(0.5)
    assert missing_parts(bands(p1=13, p2=37, p23=50), needed).missing == 0


def test_size_does_not_matter():
    small, large = drawn("stand", (64, 44)), drawn("stand", (256, 176))
    assert missing_parts(small, large).missing < 0.01
    back = drawn("stand:back")
    assert missing_parts(small, back).missing == pytest.approx(missing_parts(large, back).missing, abs=0.02)


@pytest.mark.parametrize(
    ("source", "target", "low", "high"),
    [
        ("stand", "stand", 0, 0),
        ("stand", "wave:25", 0, 0.05),
        ("stand:25", "walk:side", 0.3, 0.4),
        ("stand", "stand:back", 0.8, 0.95),
        ("stand:back", "hips", 0.8, 0.95),
        ("stand:front:upper", "stand", 0.4, 0.5),
        ("stand", "stand:front:upper", 0, 0.01),
    ],
)
def test_drawn_people(source, target, low, high):
    report = missing_parts(drawn(source), drawn(target))
    assert low <= report.missing <= high
    assert (report.warning() is None) == (high <= 0.4)


def test_a_back_asked_of_a_front_photo():
    message = missing_parts(drawn("stand"), drawn("stand:back")).warning()
    assert message.startswith(
        "89% of the body in the target pose has to be invented: the source does not show torso back"
    )
    assert "upper leg back (2" in message
    assert "\n" not in message


def test_legs_asked_of_a_half_length_photo():
    message = missing_parts(drawn("stand:front:upper"), drawn("stand")).warning()
    assert "does not show upper legs (2" in message
    assert "lower legs (1" in message
    assert "torso" not in message


def test_small_shares_are_not_named():
    assert "hands" not in Coverage({"hands": 0.004, "torso": 0.6}, {}).warning()


def test_the_warning():
    with pytest.warns(CoverageWarning, match=r"^8\d% of the body in the target pose has to be invented") as caught:
        warn_if_missing(drawn("stand"), drawn("stand:back"))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_missing(drawn("stand"), drawn("stand:25"))


@pytest.mark.parametrize("who", ["source", "target"])
def test_a_map_of_nobody_is_refused(who):
    maps = {"source": bands(p2=9), "target": bands(p2=9), who: bands(p0=9)}
    with pytest.raises(ValueError, match=f"the {who}'s map shows nobody"):
        missing_parts(**maps)
