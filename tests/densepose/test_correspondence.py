"""Surface correspondence by U, V: against the literal nearest neighbour, and on drawn people."""

import numpy as np
import pytest
import torch

from pocold.densepose.correspondence import (
    HIDDEN,
    Photograph,
    Surface,
    correspondence_with,
    surface_correspondence,
    warp_by_surface,
)
from pocold.densepose.holes import fill_holes
from pocold.densepose.maps import DensePose
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person


def random_map(seed, size=(24, 17), parts=5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(parts, size, generator=generator)
    return labels, torch.randint(256, (2, *size), generator=generator).to(torch.uint8)


@pytest.fixture(scope="module")
def pictures():
    """One person in three poses: picture (3, H, W) in [-1, 1] and map."""
    person = random_person(1, 0)
    shots = [Shot(p.pose, p.view, p.crop) for p in map(parse_pose, ("relaxed:front", "walk:quarter", "hips:back"))]
    drawn = person.draw(shots, (128, 88))
    return [(torch.from_numpy(p.image.copy()).permute(2, 0, 1).float() / 127.5 - 1, p.densepose) for p in drawn]


def maps(pose):
    return torch.from_numpy(pose.labels), torch.from_numpy(pose.uv)


def test_of_equally_near_points_it_is_the_first_of_the_lowest_u():
    """Few values of U and V, so that most points have several neighbours at one distance."""
    generator = torch.Generator().manual_seed(3)
    source_uv, target_uv = (torch.randint(40, (2, *size), generator=generator) for size in ((9, 8), (12, 11)))
    ones = [torch.ones(uv.shape[1:], dtype=torch.int64) for uv in (target_uv, source_uv)]
    index, _ = surface_correspondence(ones[0], target_uv.byte(), ones[1], source_uv.byte(), 1.0)
    points = list(zip(*source_uv.flatten(1).tolist(), strict=True))
    for found, (u, v) in zip(index.flatten().tolist(), zip(*target_uv.flatten(1).tolist(), strict=True), strict=True):
        order = [((a - u) ** 2 + (b - v) ** 2, a, place) for place, (a, b) in enumerate(points)]
        assert found == min(order)[2]


@pytest.mark.parametrize("max_distance", [0.05, 0.2])
def test_nearest_point_of_the_same_part_literally(max_distance):
    (target, target_uv), (source, source_uv) = random_map(0), random_map(1, (19, 26))
    source[source == 3] = 1  # a part that the source does not show
    index, visible = surface_correspondence(target, target_uv, source, source_uv, max_distance)
    assert index.dtype == torch.int64
    for row in range(24):
        for column in range(17):
            label, found = int(target[row, column]), int(index[row, column])
            if label == 0:
                place = (row * 19 // 24, column * 26 // 17)
                expected = place[0] * 26 + place[1] if source[place] == 0 else -1
                assert found == expected
                assert bool(visible[row, column]) == (expected >= 0)
                continue
            same = (source == label).flatten()
            if not same.any():
                assert found == -1
                assert not visible[row, column]
                continue
            offsets = source_uv.flatten(1).double() - target_uv[:, row, column, None].double()
            distance = offsets.norm(dim=0).where(same, torch.tensor(torch.inf, dtype=torch.float64))
            assert source.flatten()[found] == label
            assert distance[found] == distance.min()
            assert bool(visible[row, column]) == bool(distance.min() <= 255 * max_distance)


@pytest.mark.parametrize("spread", [256, 90, 3])
def test_large_parts_are_searched_exactly(spread):
    """Many pixels of one part, in the source on a small piece of it: most targets have nothing nearby."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.full((40, 41), 7)
    target, source = (torch.randint(high, (2, 40, 41), generator=generator).byte() for high in (256, spread))
    index, visible = surface_correspondence(labels, target, labels, source + (256 - spread) // 2)
    distance = torch.cdist(target.flatten(1).T.double(), (source + (256 - spread) // 2).flatten(1).T.double())
    found = distance.gather(1, index.view(-1, 1))[:, 0]
    assert torch.equal(found, distance.amin(1))
    assert torch.equal(visible.flatten(), distance.amin(1) <= 0.05 * 255)


def test_the_own_pose_gives_the_own_picture(pictures):
    for picture, pose in pictures:
        index, visible = surface_correspondence(*maps(pose), *maps(pose))
        assert visible.all()
        warped = warp_by_surface(picture, index)
        body = torch.from_numpy(pose.labels) > 0
        # pixels of one part whose U, V are equal at 8 bits are one point
        same = (warped == picture).all(0)
        assert same[~body].all()
        assert same[body].float().mean() > 0.95
        assert (warped - picture).abs().mean() < 0.01


def test_the_warped_picture_is_close_to_the_truth(pictures):
    (source, pose), (target, target_pose) = pictures[:2]
    index, visible = surface_correspondence(*maps(target_pose), *maps(pose))
    body = torch.from_numpy(target_pose.labels) > 0
    warped = warp_by_surface(source, index)
    seen = body & visible
    assert seen.float().sum() > 0.4 * body.float().sum()
    error, unmoved = ((picture - target).abs().mean(0)[seen].mean() for picture in (warped, source))
    assert error < 0.75 * unmoved
    # what is only filled in is worse
    assert (warped - target).abs().mean(0)[body & ~visible].mean() > 1.2 * error


def test_floats_and_bytes_are_one(pictures):
    (_, a), (_, b) = pictures[:2]
    floats = surface_correspondence(*maps(b), *maps(a))
    coarse = [(torch.from_numpy(p.labels), torch.from_numpy(np.round(p.uv * 255).astype(np.uint8))) for p in (b, a)]
    for first, second in zip(floats, surface_correspondence(*coarse[0], *coarse[1]), strict=True):
        assert torch.equal(first, second)


def test_mirroring_both_mirrors_the_warped_picture():
    labels, uv = random_map(0, parts=25)
    source, source_uv = random_map(1, parts=25)
    picture = torch.rand(3, 24, 17)
    index, visible = surface_correspondence(labels, uv, source, source_uv)
    flipped = []
    for map_labels, map_uv in ((labels, uv), (source, source_uv)):
        pose = DensePose(map_labels.numpy(), map_uv.numpy() / np.float32(255)).hflip()
        flipped += maps(pose)
    mirrored_index, mirrored_visible = surface_correspondence(*flipped)
    body = labels.flip(-1) > 0
    plain, mirrored = warp_by_surface(picture, index).flip(-1), warp_by_surface(picture.flip(-1), mirrored_index)
    assert torch.equal(visible.flip(-1)[body], mirrored_visible[body])
    assert (plain == mirrored).all(0)[body].float().mean() > 0.97  # but for ties


def test_hidden_pixels_are_not_used():
    labels, uv = random_map(0)
    hidden = torch.where(labels == 2, HIDDEN, labels)
    index, visible = surface_correspondence(labels, uv, hidden, uv)
    assert (index[labels == 2] == -1).all()
    assert not visible[labels == 2].any()
    assert visible[labels != 2].all()


def test_several_photographs_give_the_nearest_of_all():
    target, (first, second) = random_map(0), (random_map(1, (19, 26)), random_map(2, (30, 8)))
    index, _ = correspondence_with(*target, [first, second])
    pictures = [uv.flatten(1).float() for _, uv in (first, second)]
    joint = warp_by_surface(torch.cat(pictures, 1), index)
    errors = []
    for (labels, uv), picture in zip((first, second), pictures, strict=True):
        single = warp_by_surface(picture, surface_correspondence(*target, labels, uv)[0])
        errors.append((single - target[1].float()).norm(dim=0))
    body = target[0] > 0
    error = (joint - target[1].float()).norm(dim=0)
    torch.testing.assert_close(error[body], torch.minimum(*errors)[body])
    assert (index >= first[0].numel()).any()
    assert ((index >= 0) & (index < first[0].numel())).any()
    # background: of the first that has some there
    one, two = (surface_correspondence(*target, *source)[0] for source in (first, second))
    expected = torch.where(one >= 0, one, torch.where(two >= 0, two + first[0].numel(), -1))
    assert torch.equal(index[~body], expected[~body])


def test_what_is_not_found_is_filled_with_the_given_value():
    index = torch.tensor([[0, -1], [2, 1]])
    warped = warp_by_surface(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), index, fill=0.5)
    assert warped.tolist() == [[[1.0, 0.5], [3.0, 2.0]]]


def test_holes_get_the_colours_of_their_kind():
    labels = torch.zeros(48, 32, dtype=torch.uint8)
    labels[10:40, 10:22] = 2
    picture = torch.where(labels > 0, 0.8, -0.6).expand(3, -1, -1).clone()
    found = torch.rand(48, 32, generator=torch.Generator().manual_seed(0)) < 0.5
    found[0:8, 0:8] = True  # background that is far from every hole
    found[20:26, 10:22] = False
    broken = torch.where(found, picture, torch.zeros(()))
    torch.testing.assert_close(fill_holes(broken, found, labels), picture)


def test_background_beside_a_hole_is_filled_anew():
    """Clothes that stood off the source's body are no background."""
    labels, found = torch.zeros(48, 48, dtype=torch.uint8), torch.ones(48, 48, dtype=torch.bool)
    found[16:32, 16:32] = False
    picture = torch.zeros(3, 48, 48)
    picture[:, 15:33, 15:33] = 1.0
    assert (fill_holes(picture, found, labels) == 0).all()


def test_nothing_to_fill_from():
    labels = torch.zeros(8, 8, dtype=torch.uint8)
    labels[4:] = 2
    picture, nothing = torch.rand(3, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
    assert torch.equal(fill_holes(picture, nothing, labels), picture)
    filled = fill_holes(torch.full((3, 8, 8), 0.25), labels > 0, labels)  # no background found: taken from the body
    assert (filled == 0.25).all()


def test_maps_must_have_one_size():
    labels, uv = random_map(0)
    with pytest.raises(ValueError, match=r"source: expected labels \(H, W\) and uv \(2, H, W\), got \(24, 17\) and"):
        surface_correspondence(labels, uv, labels, uv[:, 1:])
    with pytest.raises(ValueError, match=r"target: expected labels"):
        surface_correspondence(labels, uv[:1], labels, uv)


def test_shrinking_averages_colours_and_leaves_small_photographs_alone():
    labels, uv = random_map(2, (8, 6))
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(256, (3, 8, 6), generator=generator).to(torch.uint8)
    surface = Surface(((1.0, (Photograph(picture, labels.to(torch.uint8), uv),)),))
    (half,) = surface.shrunk(2).layers[0][1]
    literal = picture.float().unflatten(1, (4, 2)).unflatten(3, (3, 2)).mean((2, 4)).round()
    torch.testing.assert_close(half.picture.float(), literal)
    assert (half.labels == labels[1::2, 1::2]).all()
    assert (half.uv == uv[:, 1::2, 1::2]).all()
    assert surface.shrunk(1) is surface
    assert surface.shrunk(2, least=5).layers[0][1][0] is surface.layers[0][1][0]  # 4 rows would be too few
    assert surface.shrunk(2, least=4).layers[0][1][0].labels.shape == (4, 3)
