"""Skirts are found in photographs of drawn people, where it is known, and hang as the pose's own picture has them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from pocold.densepose.completion import complete, complete_body
from pocold.densepose.correspondence import BESIDE, HIDDEN, Photograph, Surface, uv_steps
from pocold.densepose.relighting import complete_relit
from pocold.densepose.skirts import hang, parts_of, skirt_of, with_skirts, without_skirt
from pocold.imaging.images import from_uint8
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SKIRT, LONG, DRESS, TROUSERS = 2, 8, 6, 1  # people of the first seed by what they wear
POSES = ("stand:front", "walk:quarter", "contrapposto:back", "sit:front")
GARMENTS = (6, 7)  # skirt, dress


@pytest.fixture(scope="module")
def people():
    """For each of some people a photograph in every pose and where cloth is, bool ``(H, W)``."""
    shots = [Shot(pose.pose, pose.view, pose.crop) for pose in map(parse_pose, POSES)]
    found = {}
    for number in (SKIRT, LONG, DRESS, TROUSERS):
        pictures = random_person(1, number).draw(shots, (256, 176))
        found[number] = [(photographed(p), np.isin(p.garments, GARMENTS)) for p in pictures]
    return found


def photographed(picture):
    maps = picture.densepose
    return Photograph(
        torch.from_numpy(np.asarray(picture.image).copy()).permute(2, 0, 1).contiguous(),
        torch.from_numpy(maps.labels.astype(np.uint8)),
        uv_steps(torch.from_numpy(maps.uv)),
    )


def surface(*photographs):
    return Surface(((1.0, photographs),))


def agreement(one, other):
    """Intersection over union."""
    return (one & other).sum() / (one | other).sum()


def below_hips(photo, cloth):
    """The part of it beside the legs: what is above the crotch is the body's."""
    rows = np.flatnonzero(np.isin(photo.labels.numpy(), (7, 8, 9, 10)).any(1))
    return cloth & (np.arange(len(cloth)) > rows[0] + 12)[:, None]


@pytest.mark.parametrize(
    ("number", "agreeing"),
    # the spots of the second have the backdrop's colour, and before the third's backdrop is one like her legs
    [(SKIRT, 0.85), (LONG, 0.7), (DRESS, 0.6)],
)
def test_a_skirt_is_found_where_it_is(people, number, agreeing):
    photo, cloth = people[number][0]
    skirt = skirt_of(photo)
    beside = below_hips(photo, cloth) & (photo.labels.numpy() == 0)
    assert agreement(below_hips(photo, skirt.beside), beside) > agreeing


def test_trousers_and_a_sitting_person_have_none(people):
    assert all(skirt_of(photo) is None for photo, _ in people[TROUSERS])
    assert skirt_of(people[SKIRT][3][0]) is None


@pytest.mark.parametrize("number", [SKIRT, LONG, DRESS])
@pytest.mark.parametrize("pose", [1, 2])
def test_it_hangs_where_another_pose_has_it(people, number, pose):
    photo, _ = people[number][0]
    target, cloth = people[number][pose]
    colours, share = hang(skirt_of(photo), target.labels, target.uv)
    drawn = share.numpy() > 0.5
    assert agreement(below_hips(target, drawn), below_hips(target, cloth)) > 0.7
    # in its colours: those in the pose's own photograph, in other light
    both = torch.from_numpy(drawn & cloth)
    own = from_uint8(target.picture)[:, both].mean(1)
    assert (colours[:, both].mean(1) - own).abs().max() < 0.2


def test_in_its_own_pose_it_stays(people):
    photo, _ = people[SKIRT][0]
    skirt = skirt_of(photo)
    colours, share = hang(skirt, photo.labels, photo.uv)
    assert agreement(share.numpy() > 0, skirt.covers) > 0.85
    both = (share > 0.9) & torch.from_numpy(skirt.covers)
    assert (colours - from_uint8(photo.picture)).abs().mean(0)[both].mean() < 0.1


def test_hands_and_feet_are_never_covered(people):
    skirt = skirt_of(people[LONG][0][0])
    for photo, _ in people[LONG]:
        _, share = hang(skirt, photo.labels, photo.uv)
        assert not share[torch.isin(photo.labels, torch.tensor((3, 4, 5, 6, 19, 20, 21, 22), dtype=torch.uint8))].any()


def test_with_a_lifted_knee_or_without_hips_nothing_hangs(people):
    skirt = skirt_of(people[SKIRT][0][0])
    sitting, _ = people[SKIRT][3]
    nobody = torch.zeros_like(sitting.labels)
    head = torch.where(sitting.labels >= 23, sitting.labels, 0)
    for labels in (sitting.labels, nobody, head):
        _, share = hang(skirt, labels, sitting.uv)
        assert not share.any()


def test_it_leaves_nothing_in_the_backdrop(people):
    """The person goes away and far from her: no cloth is left where it was."""
    photo, cloth = people[LONG][0]
    hidden = without_skirt(photo)
    beside = cloth & (photo.labels.numpy() == 0)
    assert (hidden.labels.numpy()[beside] == HIDDEN).mean() > 0.7
    assert torch.equal(hidden.labels[photo.labels > 0], photo.labels[photo.labels > 0])
    nobody = torch.zeros_like(photo.labels)
    picture, _ = complete(surface(photo), nobody, photo.uv)
    colour = from_uint8(photo.picture)[:, torch.from_numpy(beside)].median(1).values
    left = (picture - colour[:, None, None]).abs().amax(0)[torch.from_numpy(beside)] < 0.1
    assert left.float().mean() < 0.05
    trousers, _ = people[TROUSERS][0]
    assert without_skirt(trousers) is trousers


def test_a_mask_tells_it_whatever_the_colours(people):
    photo, cloth = people[SKIRT][0]
    labels = photo.labels.masked_fill(torch.from_numpy(cloth) & (photo.labels == 0), BESIDE)
    grey = torch.full_like(photo.picture, 128)
    assert skirt_of(replace(photo, picture=grey)) is None
    skirt = skirt_of(replace(photo, picture=grey, labels=labels))
    assert agreement(below_hips(photo, skirt.beside), below_hips(photo, cloth) & (photo.labels.numpy() == 0)) > 0.85
    assert torch.equal(without_skirt(replace(photo, picture=grey, labels=labels)).labels, labels)  # it is known already


def test_it_is_handed_over_with_the_legs_and_stays_with_nobody_else(people):
    photo, _ = people[SKIRT][0]
    legs, rest = range(7, 15), (0, 1, 2, *range(15, 25))
    whole, alone = skirt_of(photo), skirt_of(parts_of(photo, legs))
    assert agreement(alone.beside, whole.beside) > 0.8
    assert not torch.isin(parts_of(photo, legs).labels, torch.tensor((0, 1, 2), dtype=torch.uint8)).any()
    without = parts_of(photo, rest)
    assert skirt_of(without) is None
    assert (without.labels[torch.from_numpy(whole.beside)] == HIDDEN).all()  # and it is no backdrop either
    trousers, _ = people[TROUSERS][0]
    dressed = surface(parts_of(trousers, rest), parts_of(photo, legs))
    target, cloth = people[SKIRT][1]
    _, share = with_skirts(dressed, target.labels, target.uv, torch.zeros(3, 256, 176), torch.zeros(256, 176))
    assert agreement(below_hips(target, share.numpy() > 0.5), below_hips(target, cloth)) > 0.7


@pytest.mark.parametrize("completion", [complete, complete_relit])
def test_completing_hangs_it(people, completion):
    photo, _ = people[SKIRT][0]
    target, _ = people[SKIRT][1]
    picture, confidence = completion(surface(photo), target.labels, target.uv)
    colours, share = hang(skirt_of(photo), target.labels, target.uv)
    whole = share == 1
    assert torch.equal(picture[:, whole], colours[:, whole])
    assert (confidence[whole] == 1).all()
    # what is not near it is as without
    if completion is complete:
        bare, _ = complete_body(surface(without_skirt(photo)), target.labels, target.uv)
        assert torch.equal(picture[:, share == 0], bare[:, share == 0])


def test_of_several_photographs_the_one_that_shows_most_tells_it(people):
    photo, _ = people[LONG][0]
    cut = replace(photo, labels=photo.labels.clone())
    cut.labels[150:] = HIDDEN  # only the upper part of it is seen
    target, _ = people[LONG][2]
    zeros = torch.zeros(3, 256, 176), torch.zeros(256, 176)
    alone = with_skirts(surface(photo), target.labels, target.uv, *zeros)
    for photographs in ((cut, photo), (photo, cut)):
        both = with_skirts(surface(*photographs), target.labels, target.uv, *zeros)
        assert torch.equal(both[0], alone[0])


def test_of_a_blend_each_hangs_by_its_share(people):
    skirt, trousers = people[SKIRT][0][0], people[TROUSERS][0][0]
    target, _ = people[SKIRT][1]
    blend = Surface(((0.25, (skirt,)), (0.75, (trousers,))))
    picture, confidence = with_skirts(blend, target.labels, target.uv, torch.zeros(3, 256, 176), torch.zeros(256, 176))
    colours, share = hang(skirt_of(skirt), target.labels, target.uv)
    assert torch.allclose(picture, 0.25 * share * colours)
    assert torch.allclose(confidence, 0.25 * share)


def test_twice_as_large_it_is_the_same(people):
    photo, _ = people[SKIRT][0]
    pose = parse_pose(POSES[0])
    large = photographed(random_person(1, SKIRT).draw([Shot(pose.pose, pose.view, pose.crop)], (512, 352))[0])
    target, _ = people[SKIRT][2]
    small = hang(skirt_of(photo), target.labels, target.uv)[1].numpy() > 0.5
    other = hang(skirt_of(large), target.labels, target.uv)[1].numpy() > 0.5
    assert agreement(small, other) > 0.85


def test_a_person_alone_in_the_picture_is_enough(people):
    """No backdrop is seen, or none of the legs: nothing is told, and nothing breaks."""
    photo, _ = people[SKIRT][0]
    body = binary_dilation(photo.labels.numpy() > 0, iterations=12)
    rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    inside = slice(rows[0], rows[-1]), slice(columns[0], columns[-1])
    close = Photograph(photo.picture[:, *inside], photo.labels[inside], photo.uv[:, *inside])
    complete(surface(close), photo.labels, photo.uv)
    top = slice(0, int(np.flatnonzero(np.isin(photo.labels.numpy(), (7, 8, 9, 10)).any(1))[0]) + 4)
    assert skirt_of(Photograph(photo.picture[:, top], photo.labels[top], photo.uv[:, top])) is None
