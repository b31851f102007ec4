"""Holes in a picture: filled with averages, or by what is mirrored at their edges."""

import torch

from pocold.densepose.correspondence import BESIDE, Photograph, Surface
from pocold.densepose.holes import fill_holes
from pocold.imaging.images import from_uint8

SIZE = (48, 40)


def scene():
    """A horizon: every row another grey, a pole at one side."""
    picture = torch.linspace(-1, 1, SIZE[0])[None, :, None].expand(3, *SIZE).clone()
    picture[:, :, 12:14] = 1.0
    return picture


def hole(left, right):
    found = torch.ones(SIZE, dtype=torch.bool)
    found[:, left:right] = False
    return found


def test_a_horizon_goes_through_a_mirrored_hole():
    picture, found, labels = scene(), hole(18, 28), torch.zeros(SIZE, dtype=torch.uint8)
    mirrored = fill_holes(picture * found, found, labels, 0, mirrored=True)
    assert torch.equal(mirrored[:, found], picture[:, found])
    rows = torch.linspace(-1, 1, SIZE[0])[None, :, None].expand(3, *SIZE)
    other = [column for column in range(18, 28) if column not in (21, 22)]
    assert (mirrored - rows)[:, :, other].abs().max() < 1e-5
    # the pole, 4 and 5 pixels before the edge, comes again behind it, and of the other side's row a part
    share = (28 - 21) / (28 - 17)
    torch.testing.assert_close(mirrored[:, :, 21], share + (1 - share) * rows[:, :, 21])


def test_a_hole_at_the_side_has_one_edge():
    picture, found, labels = scene(), hole(32, 40), torch.zeros(SIZE, dtype=torch.uint8)
    mirrored = fill_holes(picture * found, found, labels, 0, mirrored=True)
    torch.testing.assert_close(mirrored[:, :, 32:], picture[:, :, 24:32].flip(2))


def test_nothing_of_the_body_is_mirrored():
    labels = torch.zeros(SIZE, dtype=torch.uint8)
    labels[:, :16] = 2
    picture, found = scene(), hole(16, 40)
    filled = fill_holes(picture * found, found, labels, 0, mirrored=True)
    plain = fill_holes(picture * found, found, labels, 0)
    assert torch.equal(filled, plain)  # there is no background to mirror


def test_the_margin_is_a_share_of_the_height_unless_told():
    picture, found, labels = scene(), hole(16, 30), torch.zeros(SIZE, dtype=torch.uint8)
    broken = picture.clone()
    broken[:, :, 14:16] = 9.0  # what stands off the body, right beside the hole
    assert fill_holes(broken, found, labels).max() < 2
    assert fill_holes(broken, found, labels, 0).max() == 9


def test_what_of_a_person_has_no_part_is_no_backdrop():
    labels, uv = torch.zeros(SIZE, dtype=torch.uint8), torch.zeros(2, *SIZE, dtype=torch.uint8)
    labels[10:40, 16:24] = 2
    picture = torch.full((3, *SIZE), 200, dtype=torch.uint8)
    picture[:, 10:40, 8:32] = 20  # a wide dark coat
    told = labels.clone()
    told[10:40, 8:16] = told[10:40, 24:32] = BESIDE
    nobody = torch.zeros(SIZE, dtype=torch.uint8)
    for known, darkest in ((labels, 30), (told, 190)):
        warped, _ = Surface(((1.0, (Photograph(picture, known, uv),)),)).warp(nobody, uv)
        least = (warped.amin() + 1) * 127.5
        assert least < darkest if darkest == 30 else least > darkest
    assert from_uint8(picture).min() < -0.8
