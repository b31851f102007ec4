"""Normals of the body's surface, told by a map: against bodies turned by known rotations, and against drawn people."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pocold.densepose.chart import surface_chart
from pocold.densepose.normals import resting_normals, surface_normals
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

# of the resting body: left, backwards and up -> right, down and away, seen from the front
FRONT = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)


def turned_map(parts, turn, side=160):
    """Labels, U, V of limbs turned by a rotation and seen from far away, and their true normals."""
    part, u, v = (grid.ravel() for grid in np.meshgrid(parts, np.arange(256), np.arange(256), indexing="ij"))
    axes = (FRONT @ turn.T).T
    place, normals = (values[part, u // 4, v // 4] @ axes for values in (surface_chart(), resting_normals()))
    x, y = ((place - place.mean(0))[:, :2] * side + side / 2).round().astype(int).T
    shown = (x >= 0) & (y >= 0) & (x < side) & (y < side) & (normals[:, 2] < 0)
    order = np.flatnonzero(shown)[place[shown, 2].argsort()[::-1]]  # of points at one pixel the nearest is written last
    labels, uv = np.zeros((side, side), np.uint8), np.zeros((2, side, side), np.uint8)
    truth = np.full((side, side, 3), np.nan)
    at = y[order], x[order]
    labels[at], truth[at] = part[order], normals[order] * [1, 1, -1]
    uv[0][at], uv[1][at] = u[order], v[order]
    return labels, uv, truth


def drawn(name):
    """The map of a person in a pose."""
    pose = parse_pose(name)
    return random_person(1, 0).draw([Shot(pose.pose, pose.view, pose.crop)], (256, 176))[0].densepose


@pytest.mark.parametrize("angles", [(0, 0), (50, 0), (-120, 0), (20, 30)])
def test_they_are_those_of_the_turned_body(angles):
    turn = Rotation.from_euler("ZX", angles, degrees=True).as_matrix()
    labels, uv, truth = turned_map((1, 2), turn)
    found = surface_normals(labels, uv)
    body = labels > 0
    assert body.sum() > 2000
    assert np.degrees(np.arccos((found * truth)[body].sum(-1).clip(-1, 1))).mean() < 6


def test_they_are_unit_vectors_on_the_body_and_nothing_else():
    densepose = drawn("relaxed:front")
    normals = surface_normals(densepose.labels, (densepose.uv * 255).round().astype(np.uint8))
    known = np.isfinite(normals[..., 0])
    assert np.array_equal(known, ~np.isin(densepose.labels, (0, 3, 4, 5, 6)))
    assert np.allclose(np.linalg.norm(normals[known], axis=1), 1, atol=1e-3)
    front = normals[densepose.labels == 2].mean(0)
    assert front[2] > 0.7
    left, right = ((normals * (densepose.labels == 2)[..., None])[:, half] for half in (slice(0, 88), slice(88, None)))
    assert np.nanmean(left[..., 0]) < 0 < np.nanmean(right[..., 0])


@pytest.mark.parametrize("view", ["90", "-90"])
def test_a_chest_seen_from_the_side_faces_where_the_feet_point(view):
    densepose = drawn(f"relaxed:{view}")
    normals = surface_normals(densepose.labels, (densepose.uv * 255).round().astype(np.uint8))
    feet, legs = (np.nonzero(np.isin(densepose.labels, parts))[1].mean() for parts in ((5, 6), (11, 12, 13, 14)))
    sideways = normals[densepose.labels == 2][:, 0].mean()
    assert abs(sideways) > 0.4
    assert np.sign(sideways) == np.sign(feet - legs)


def test_few_pixels_tell_nothing():
    labels, uv = np.zeros((8, 8), np.uint8), np.zeros((2, 8, 8), np.uint8)
    labels[:2, :2] = 2
    assert np.isnan(surface_normals(labels, uv)).all()
