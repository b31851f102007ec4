"""Colours between pixels: along the smooth way from a photograph to a pose, and never from elsewhere."""

import numpy as np
import torch

from pocold.densepose.correspondence import Photograph, Surface, uv_steps
from pocold.densepose.resampling import resample
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

HEAD = (23, 24)


def waves(row, column):
    """A smooth picture ``(3, ...)`` that can be asked between pixels."""
    return torch.stack([torch.sin(row / 3), torch.cos(column / 4), torch.sin((row + column) / 5)]) * 0.8


def grid(height, width):
    return torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")


def test_a_pose_that_is_the_photographs_own_gives_its_very_pixels():
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(3, 40, 30, generator=generator) * 2 - 1
    labels = torch.randint(4, (40, 30), generator=generator)
    index = torch.arange(40 * 30).view(40, 30)
    shown = labels > 0
    assert torch.equal(resample(picture, labels, index, labels, shown, shown), picture[:, shown])


def test_pixels_that_jump_to_and_fro_are_put_in_their_places():
    generator = torch.Generator().manual_seed(1)
    row, column = grid(224, 80)
    true_row, true_column = 8 + 0.3 * row + 0.1 * column, 10 + 0.4 * column - 0.02 * row
    jumps = torch.randint(-1, 2, (2, 224, 80), generator=generator)
    index = (60 * (true_row.round() + jumps[0]) + true_column.round() + jumps[1]).long()
    picture, part = waves(*grid(100, 60)), torch.ones(100, 60, dtype=torch.uint8)
    labels = torch.ones(224, 80, dtype=torch.uint8)
    expected = waves(true_row, true_column)
    found = resample(picture, part, index, labels, labels > 0, labels == 0).view(3, 224, 80)
    nearest = picture.flatten(1)[:, index.flatten()].view(3, 224, 80)
    assert (found - expected).abs().mean() < 0.4 * (nearest - expected).abs().mean()


def test_what_lies_elsewhere_is_not_drawn_nearer():
    """The right half of a part is seen thirty pixels further to the right."""
    row, column = grid(28, 20)
    columns = column + 30 * (column >= 10)
    index = (row * 60 + columns).long()
    picture = torch.ones(3, 28, 60)
    picture[:, :, 10:] = -1
    picture[..., 15:35] = 0  # between the halves
    ones = torch.ones(28, 20, dtype=torch.uint8)
    found = resample(picture, torch.ones(28, 60, dtype=torch.uint8), index, ones, ones > 0, ones == 0).view(3, 28, 20)
    assert (found[..., :9] == 1).all()
    assert (found[..., 11:] == -1).all()


def test_another_parts_colours_stay_with_it():
    labels = torch.ones(28, 20, dtype=torch.uint8)
    labels[:, 10:] = 2
    picture = torch.where(labels == 1, 0.5, -0.5).expand(3, -1, -1)
    row, column = grid(28, 20)
    moved = (column + (column < 9)).long()  # to the last pixel before the other part
    index = (row.long() * 20 + moved).clamp(max=28 * 20 - 1)
    found = resample(picture, labels, index, labels, labels > 0, labels == 0).view(3, 28, 20)
    assert torch.equal(found[:, :, :10], torch.full((3, 28, 10), 0.5))
    assert torch.equal(found[:, :, 10:], torch.full((3, 28, 10), -0.5))


def test_a_face_that_comes_nearer_keeps_its_eyes():
    """A person 256 pixels high, seen three times as near: compared with the true picture, light and all."""
    person = random_person(1, 0)
    poses = [parse_pose(name) for name in ("relaxed:front", "relaxed:front:portrait")]
    far, near = person.draw([Shot(p.pose, p.view, p.crop) for p in poses], (256, 176))
    steps = [uv_steps(torch.from_numpy(p.densepose.uv)) for p in (far, near)]
    labels = [torch.from_numpy(p.densepose.labels.copy()) for p in (far, near)]
    photograph = Photograph(torch.from_numpy(far.image.copy()).permute(2, 0, 1), labels[0], steps[0])
    truth = torch.from_numpy(near.image.copy()).permute(2, 0, 1) / 127.5 - 1
    surface = Surface(((1.0, (photograph,)),))
    head = torch.isin(labels[1], torch.tensor(HEAD, dtype=labels[1].dtype))
    errors = []
    for between in (False, True):
        picture, visible = surface.warp(labels[1], steps[1], between=between)
        errors.append((picture - truth).abs()[:, head & (visible == 1)].mean())
    assert np.isfinite(errors).all()
    assert errors[1] < 0.9 * errors[0]
