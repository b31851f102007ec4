"""Pictures of visualisers and their inversion, on drawn people."""

import io

import numpy as np
import pytest
from PIL import Image

from pocold.densepose.formats.colours import COLOURS, OPACITY, invert_blended, invert_plain, paint, recognise
from pocold.densepose.labels import NUM_LABELS
from pocold.densepose.maps import DensePose
from pocold.people.rendering.render import random_person

MAPS = sorted(COLOURS)


@pytest.fixture(scope="module")
def pictures():
    """(photo uint8 (H, W, 3), DensePose) of three people."""
    drawn = []
    for identity in range(3):
        person, rng = random_person(3, identity), np.random.default_rng(identity)
        drawn += [(p.image, p.densepose) for p in person.draw([person.random_shot(rng)], size=(192, 132))]
    return drawn


def blend(photo, pose, colour_map):
    """What the visualiser draws: colours over the body, the photo elsewhere."""
    body = (pose.labels > 0)[..., None]
    mixed = (1 - OPACITY) * photo + OPACITY * COLOURS[colour_map][pose.labels].astype(np.float32)
    return np.where(body, mixed, photo).astype(np.uint8)


def as_jpeg(picture, quality):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def right(pairs):
    """Shares of the body's and of the background's pixels with the right label."""
    found = np.concatenate([one.labels.ravel() for one, _ in pairs])
    wanted = np.concatenate([other.labels.ravel() for _, other in pairs])
    same, body = found == wanted, wanted > 0
    return same[body].mean(), same[~body].mean()


def test_colours_are_those_of_the_visualiser():
    """VITON-HD's torso, and both ends of the colour maps, which MATLAB and matplotlib publish."""
    assert COLOURS["parula"][2].tolist() == [20, 80, 194]
    assert (COLOURS["parula"][0].tolist(), COLOURS["parula"][24].tolist()) == ([53, 42, 135], [249, 251, 14])
    assert (COLOURS["viridis"][0].tolist(), COLOURS["viridis"][24].tolist()) == ([68, 1, 84], [253, 231, 37])
    for colours in COLOURS.values():
        assert colours.shape == (NUM_LABELS, 3)
        assert len(np.unique(colours, axis=0)) == NUM_LABELS


@pytest.mark.parametrize("colour_map", MAPS)
@pytest.mark.parametrize("dimmed", [False, True])
def test_plain_colours_are_inverted_exactly(pictures, colour_map, dimmed):
    for _, pose in pictures:
        picture = np.asarray(paint(pose, colour_map))
        if dimmed:  # drawn with its opacity over black
            picture = (OPACITY * COLOURS[colour_map] * (np.arange(NUM_LABELS) > 0)[:, None])[pose.labels].astype(
                np.uint8
            )
        colours = recognise(picture)
        assert colours.colour_map == colour_map
        assert colours.exact
        assert np.array_equal(invert_plain(picture, colours).labels, pose.labels)


@pytest.mark.parametrize(
    ("colour_map", "quality", "body"), [(m, q, b) for m in MAPS for q, b in ((95, 0.78), (75, 0.65))]
)
def test_plain_colours_in_a_jpeg_are_mostly_right(pictures, colour_map, quality, body):
    pairs = []
    for _, pose in pictures:
        picture = as_jpeg(paint(pose, colour_map), quality)
        colours = recognise(picture)
        assert colours.colour_map == colour_map
        assert not colours.exact
        pairs.append((invert_plain(picture, colours), pose))
    shares = right(pairs)
    assert shares[0] > body
    assert shares[1] > 0.98


@pytest.mark.parametrize("colour_map", MAPS)
def test_the_given_photo_makes_the_inversion_exact(pictures, colour_map):
    pairs = [(invert_blended(blend(photo, pose, colour_map), colour_map, photo), pose) for photo, pose in pictures]
    body, background = right(pairs)
    assert body > 0.999
    assert background > 0.999


@pytest.mark.parametrize(("colour_map", "least"), [("parula", 0.65), ("viridis", 0.45)])
def test_over_a_lost_photo_most_are_right(pictures, colour_map, least):
    pairs = [(invert_blended(blend(photo, pose, colour_map), colour_map, None), pose) for photo, pose in pictures]
    body, background = right(pairs)
    assert body > least
    assert background > 0.95


def test_over_a_grey_photo_all_are_right():
    labels = np.random.default_rng(0).integers(0, NUM_LABELS, (40, 40))
    photo = np.full((40, 40, 3), 128, np.uint8)
    found = invert_blended(blend(photo, DensePose(labels), "parula"), "parula", None)
    body = labels > 0
    assert np.array_equal(found.labels[body], labels[body])


def test_nothing_else_is_taken_for_colours(pictures):
    for photo, pose in pictures:
        on_black = np.where((pose.labels > 0)[..., None], photo, 0).astype(np.uint8)
        u, v = np.round(pose.uv * 255).astype(np.uint8)
        others = [photo, on_black, np.asarray(pose.to_image()), np.stack([pose.labels, u, v], -1)]
        others += [np.stack([v, u, pose.labels], -1), blend(photo, pose, "parula"), np.zeros_like(photo)]
        for picture in others:
            assert recognise(picture) is None


def test_a_colour_map_can_be_asked_for(pictures):
    picture = np.asarray(paint(pictures[0][1], "parula"))
    assert recognise(picture, "parula") is not None
    assert recognise(picture, "viridis") is None


def test_a_photo_of_another_size_is_refused(pictures):
    photo, pose = pictures[0]
    with pytest.raises(ValueError, match=r"the photo is 10x20 \(width x height\), the picture of its map 132x192"):
        invert_blended(blend(photo, pose, "parula"), "parula", np.zeros((20, 10, 3), np.uint8))
