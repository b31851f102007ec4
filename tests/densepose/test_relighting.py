"""Light on a person: found in a photograph whose light is known, taken along into other poses."""

import numpy as np
import pytest
import torch

from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface
from pocold.densepose.normals import surface_normals
from pocold.densepose.relighting import complete_relit, fitted_light, shading
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SIZE = (256, 176)
FROM_THE_LEFT = np.array([-0.5, -0.1, 0.1, 0, 0, 0, 0, 0])
SHIRT, TROUSERS, SKIN, BACKDROP = (40, 90, 160), (60, 60, 60), (150, 110, 90), (30, 200, 30)
TRUNK, LEGS = (1, 2, 15, 16, 17, 18), range(7, 15)


@pytest.fixture(scope="module")
def views():
    """Labels and U, V in 0..255 of one person from the front, turned, and from behind."""
    poses = map(parse_pose, ("relaxed:front", "relaxed:70", "hips:back"))
    maps = [found.densepose for found in random_person(1, 0).draw([Shot(p.pose, p.view, p.crop) for p in poses], SIZE)]
    return [(torch.from_numpy(p.labels.copy()), (torch.from_numpy(p.uv) * 255).round().to(torch.uint8)) for p in maps]


def lit(view, light=FROM_THE_LEFT):
    """A photograph of someone in this light."""
    labels, uv = view
    parts = labels.numpy()
    colours = np.full((*parts.shape, 3), BACKDROP, float)
    for where, colour in ((parts > 0, SKIN), (np.isin(parts, TRUNK), SHIRT), (np.isin(parts, LEGS), TROUSERS)):
        colours[where] = colour
    shade = shading(parts, uv.numpy(), light)
    picture = (colours * np.exp(shade / 2.2)[..., None]).round().clip(0, 255).astype(np.uint8)
    return Photograph(torch.from_numpy(picture).permute(2, 0, 1).contiguous(), labels.clone(), uv)


def surface(*photographs):
    return Surface(((1.0, photographs),))


def test_the_light_of_a_photograph_is_found(views):
    photo = lit(views[0])
    maps = photo.labels.numpy(), photo.uv.numpy()
    body = np.isfinite(surface_normals(*maps)[..., 0])
    truth, found = (shading(*maps, light)[body] for light in (FROM_THE_LEFT, fitted_light(photo)))
    assert truth.std() > 0.15
    off = (found - truth) - (found - truth).mean()  # how bright colours are by themselves cannot be told
    assert off.std() < 0.25 * truth.std()


@pytest.mark.parametrize("target", [1, 2])
def test_another_pose_is_lit_as_a_photograph_of_it_would_be(views, target):
    truth = lit(views[target]).picture.float()
    body = torch.isin(views[target][0], torch.tensor([*TRUNK, *LEGS], dtype=torch.uint8))
    plain, relit = (how(surface(lit(views[0])), *views[target])[0] for how in (complete, complete_relit))
    off = [((picture + 1) * 127.5 - truth).abs().mean(0)[body].mean() for picture in (plain, relit)]
    assert off[1] < 0.7 * off[0]


def test_the_photographs_own_pose_is_the_photograph(views):
    photo = lit(views[0])
    picture, confidence = complete_relit(surface(photo), *views[0])
    plain, expected = complete(surface(photo), *views[0])
    assert torch.equal(confidence, expected)
    assert ((picture - plain) * 127.5).abs().quantile(0.99) < 3  # the rest is at rims, taken from further inside


def test_what_lies_beside_the_body_is_not_touched(views):
    photo = lit(views[0])
    picture, _ = complete_relit(surface(photo), *views[2])
    plain, _ = complete(surface(photo), *views[2])
    beside = views[2][0] == 0
    assert torch.equal(picture[:, beside], plain[:, beside])
    assert not torch.equal(picture[:, ~beside], plain[:, ~beside])


def test_maps_in_steps_and_in_shares_are_the_same(views):
    photo = surface(lit(views[0]))
    labels, uv = views[1]
    assert torch.equal(complete_relit(photo, labels, uv)[0], complete_relit(photo, labels, uv.float() / 255)[0])


def test_of_several_photographs_each_has_its_own_light(views):
    """Both are brought into one light, so that no seam runs where one photograph ends and the other begins."""
    other = lit(views[2], -FROM_THE_LEFT)
    labels, uv = views[1]
    trunk = torch.isin(labels, torch.tensor(TRUNK, dtype=torch.uint8))
    spread = []
    for how in (complete, complete_relit):
        picture, _ = how(surface(lit(views[0]), other), labels, uv)
        dull = torch.log((picture + 1) * 127.5 + 1).mean(0)[trunk]
        spread.append(dull.std())
    assert spread[1] < 0.8 * spread[0]


def test_without_a_body_there_is_no_light_to_be_found(views):
    photo = lit(views[0])
    nobody = Photograph(photo.picture, torch.zeros_like(photo.labels), photo.uv)
    picture, confidence = complete_relit(surface(nobody), *views[1])
    assert torch.isfinite(picture).all()
    assert (confidence[views[1][0] > 0] == 0).all()
    assert (shading(nobody.labels.numpy(), nobody.uv.numpy(), FROM_THE_LEFT) == 0).all()


def test_no_pixel_gets_more_than_twice_as_bright(views):
    labels, uv = (tensor.numpy() for tensor in views[0])
    assert np.abs(shading(labels, uv, 10 * FROM_THE_LEFT)).max() == pytest.approx(0.7)
