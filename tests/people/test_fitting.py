"""A named pose drawn for the person of another map; contact sheets."""

from dataclasses import replace

import numpy as np
import pytest

from pocold.densepose.maps import DensePose
from pocold.imaging.metadata import read_png_metadata
from pocold.people.body.body import AVERAGE
from pocold.people.body.camera import parse_size
from pocold.people.body.fitting import fit_pose
from pocold.people.body.posing import draw_densepose, pose_body
from pocold.people.poses import POSES, parse_pose
from pocold.people.sheets import write_pose_sheet

SIZE = (256, 176)


def extent(labels, parts):
    rows = np.flatnonzero(np.isin(labels, parts).any(1))
    return rows[0], rows[-1]


@pytest.mark.parametrize("name", ["stand", "walk:side", "wave:20", "hips:back"])
def test_the_same_height_at_the_same_place(name):
    small = pose_body(POSES["stand"], 0, "full", SIZE)
    camera = replace(small.camera, focal=small.camera.focal * 0.7, target=(0.2, 0.0, small.camera.target[2] - 0.1))
    reference = small.densepose(camera)
    fitted = fit_pose(parse_pose(name), reference)
    assert fitted.size == reference.size
    top, _ = extent(fitted.labels, (23, 24))
    wanted_top, _ = extent(reference.labels, (23, 24))
    assert (
        abs(int(np.flatnonzero((fitted.labels > 0).any(1))[-1]) - np.flatnonzero((reference.labels > 0).any(1))[-1])
        <= 1
    )
    assert abs(top - wanted_top) <= 6  # a step lowers the head a little
    middle = [np.nonzero(np.isin(p.labels, (1, 2)))[1].mean() for p in (fitted, reference)]
    assert middle[0] == pytest.approx(middle[1], abs=2)


def test_a_waist_up_reference_keeps_its_head():
    reference = draw_densepose(POSES["stand"], 0, "upper", SIZE)
    fitted = fit_pose(parse_pose("crossed:25"), reference)
    for fit, wanted in zip(extent(fitted.labels, (23, 24)), extent(reference.labels, (23, 24)), strict=True):
        assert abs(fit - wanted) <= 3
    assert not {5, 6} & fitted.visible_parts


def test_build_is_read_off_the_torso():
    widths = []
    for weight in (0.2, 0.85):
        reference = draw_densepose(POSES["stand"], 0, "full", SIZE, replace(AVERAGE, weight=weight))
        fitted = fit_pose(parse_pose("stand:20"), reference)
        rows = np.isin(fitted.labels, (1, 2)).sum(1)
        widths.append(rows[rows > 0].mean())
    assert widths[1] > widths[0] + 2


def test_a_map_without_head_is_refused():
    labels = np.zeros(SIZE, np.uint8)
    labels[100:200, 60:100] = 2
    with pytest.raises(ValueError, match="shows no head"):
        fit_pose(parse_pose("stand"), DensePose(labels))


def test_the_pose_sheet_is_marked_synthetic(tmp_path):
    write_pose_sheet(tmp_path / "poses.png")
    assert read_png_metadata(tmp_path / "poses.png")["synthetic"] is True


def test_sizes_as_text():
    assert parse_size("256x176") == (256, 176)
    for text in ("256", "256x", "axb", "1x2x3"):
        with pytest.raises(ValueError, match="HEIGHTxWIDTH"):
            parse_size(text)
