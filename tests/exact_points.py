"""Points of bodies in named poses, exact to the pixel, and how far maps agree."""

import torch

from pocold.people.body.body import AVERAGE, load_body
from pocold.people.body.posing import pose_body
from pocold.people.body.skeleton import bone_transforms
from pocold.people.labels import keypoints_3d
from pocold.people.poses import parse_pose

SIZE = (128, 88)


def seen(text, shape=AVERAGE, size=SIZE):
    """The true map of a named pose, its points ``(18, 2)``, which are inside, and their depth in pixels."""
    named = parse_pose(text)
    body = pose_body(named.pose, named.view, named.crop, size, shape)
    heads = load_body().rest(shape)[1]
    moves = torch.from_numpy(bone_transforms(named.pose, load_body(), heads))[None].float()
    world = keypoints_3d(body.bodies.vertices, heads, moves)[0]
    points, depth = body.camera.project(body.camera.to_camera(world))
    points = points.double().numpy()
    inside = ((points >= 0) & (points < [size[1], size[0]])).all(1)
    return body.densepose(), points, inside, depth.double().numpy() * body.camera.focal / body.camera.distance


def agreement(a, b):
    body = (a.labels > 0) | (b.labels > 0)
    return (a.labels == b.labels)[body].mean()
