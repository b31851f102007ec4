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
    labels, uv = np.zeros((side, side), np.uint8), np.zeros((2, side, side), np.uint8)
    depth, truth = np.full((side, side), np.inf), np.full((side, side, 3), np.nan)
    steps = np.arange(256)
    middle = surface_chart()[list(parts)].mean((0, 1, 2)) @ (FRONT @ turn.T).T
    for part in parts:
        u, v = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
        place = surface_chart()[part, u // 4, v // 4] @ (FRONT @ turn.T).T
        normals = resting_normals()[part, u // 4, v // 4] @ (FRONT @ turn.T).T
        x, y = ((place - middle)[:, :2] * side + side / 2).round().astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < side) & (y < side) & (normals[:, 2] < 0)
        for i in np.flatnonzero(inside):
            if place[i, 2] < depth[y[i], x[i]]:
                at = y[i], x[i]
                depth[at], labels[at], uv[:, *at] = place[i, 2], part, (u[i], v[i])
                truth[at] = normals[i] * [1, 1, -1]
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
