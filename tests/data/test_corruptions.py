"""Corruptions: repeatable, in range, nothing at strength 0, and maps that stay true to what is seen."""

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.data.backdrops import Scenery, draw_backdrop
from pocold.data.corruptions import CORRUPTIONS, SHARES, Example, corrupt, nobody, resampled
from pocold.data.photographs import find_photographs
from pocold.data.synthetic import SyntheticConfig, draw_view
from pocold.imaging.images import to_tensor

UNTOUCHED = {"light", "colour", "grey", "low_resolution", "blur", "noise", "jpeg", "background", "texture", "clutter",
             "cut_out"}  # fmt: skip


@pytest.fixture(scope="module")
def person():
    picture, _ = draw_view(SyntheticConfig(seed=3, size=(128, 88), supersample=1), 0, 0)
    return Example(
        to_tensor(Image.fromarray(picture.image))[0],
        torch.from_numpy(picture.densepose.labels),
        torch.from_numpy(picture.densepose.uv),
        torch.from_numpy(picture.garments.copy()),
    )


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("photo", "labels", "uv", "garments"))


def test_every_corruption_has_its_share_in_training():
    assert SHARES.keys() == CORRUPTIONS.keys()
    assert all(0 < share < 1 for share in SHARES.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_repeatable_in_range_and_does_something(person, name):
    once, again = (CORRUPTIONS[name](person, 1.0, seeded(5)) for _ in range(2))
    assert same(once, again)
    assert once.photo.shape == person.photo.shape
    assert once.photo.dtype == torch.float32
    assert once.photo.min() >= -1
    assert once.photo.max() <= 1
    assert once.labels.dtype == torch.uint8
    assert once.uv.min() >= 0
    assert once.uv.max() <= 1
    assert (once.photo - person.photo).abs().mean() > 0.004
    other = CORRUPTIONS[name](person, 1.0, seeded(6))
    assert name in ("grey", "jpeg", "low_resolution") or not torch.equal(once.photo, other.photo)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_0_changes_nothing(person, name):
    for seed in range(3):
        calm = CORRUPTIONS[name](person, 0.0, seeded(seed))
        torch.testing.assert_close(calm.photo, person.photo, atol=1e-4, rtol=0)
        assert torch.equal(calm.labels, person.labels)
        torch.testing.assert_close(calm.uv, person.uv)


@pytest.mark.parametrize("name", sorted(UNTOUCHED))
def test_what_neither_moves_nor_hides_the_person_leaves_the_map(person, name):
    for seed in range(3):
        made = CORRUPTIONS[name](person, 1.0, seeded(seed))
        assert torch.equal(made.labels, person.labels)
        assert torch.equal(made.uv, person.uv)


@pytest.mark.parametrize("name", ["background", "clutter"])
def test_what_stands_behind_leaves_the_person(person, name):
    """But for the outermost pixel, where the old background would shine through."""
    whole = torch.nn.functional.avg_pool2d((person.garments > 0).float()[None], 3, 1, 1)[0] == 1
    assert whole.sum() > 800
    for seed in range(4):
        made = CORRUPTIONS[name](person, 1.0, seeded(seed))
        torch.testing.assert_close(made.photo[:, whole], person.photo[:, whole])
        assert (made.photo - person.photo)[:, person.garments == 0].abs().max() > 0.05


@pytest.mark.parametrize("name", ["background", "texture", "clutter"])
def test_without_garment_maps_nothing_is_known_to_be_background(person, name):
    bare = Example(person.photo, person.labels, person.uv)
    assert torch.equal(CORRUPTIONS[name](bare, 1.0, seeded()).photo, person.photo)


def test_behind_an_occluder_the_map_is_background(person):
    for seed in range(5):
        made = CORRUPTIONS["occluder"](person, 1.0, seeded(seed))
        gone = (person.labels > 0) & (made.labels == 0)
        changed = (made.photo != person.photo).any(0)
        assert 20 < gone.sum() < (person.labels > 0).sum()
        assert torch.equal(made.labels[~changed], person.labels[~changed])
        assert not made.uv[:, gone].any()
        assert not made.garments[gone].any()
        assert changed[gone].float().mean() > 0.9


def test_a_crop_takes_the_maps_along():
    """A picture that shows its own coordinates as colours: photo and maps must still agree after any move."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 64), indexing="ij")
    labels = torch.full((96, 64), 2, dtype=torch.uint8)
    example = Example(torch.stack([2 * y - 1, 2 * x - 1, y * 0]), labels, torch.stack([y, x]), labels)
    zooms = []
    for seed in range(8):
        made = CORRUPTIONS["crop"](example, 1.0, seeded(seed))
        inside = torch.nn.functional.avg_pool2d((made.labels == 2).float()[None], 5, 1, 2)[0] == 1
        assert inside.any()
        off = (made.photo[:2] / 2 + 0.5 - made.uv)[:, inside].abs().max()
        assert off < 0.03
        steps = (made.uv[:, 1:] - made.uv[:, :-1])[:, (inside[1:] & inside[:-1])].square().sum(0).sqrt().mean()
        zooms.append(float(steps))
    assert max(zooms) > 1.8 * min(zooms)


def test_a_turn_is_a_rotation():
    generator = seeded()
    labels = torch.randint(0, 25, (16, 16), generator=generator).to(torch.uint8)
    uv = torch.rand(2, 16, 16, generator=generator)
    example = Example(torch.rand(3, 16, 16, generator=generator), labels, uv)
    turned = resampled(example, (16, 16), turn=90.0)
    for values, before in ((turned.photo, example.photo), (turned.labels, labels), (turned.uv, uv)):
        torch.testing.assert_close(values, before.rot90(1, (-2, -1)), atol=1e-4, rtol=0)


def test_a_larger_picture_stays_sharp_where_a_crop_comes_close():
    checks = ((torch.arange(256)[:, None] // 2 + torch.arange(176) // 2) % 2).float() * 2 - 1
    labels = torch.ones(256, 176, dtype=torch.uint8)
    example = Example(checks.expand(3, -1, -1), labels, torch.zeros(2, 256, 176), labels)
    near = resampled(example, (128, 88), zoom=2.0)
    assert near.photo.abs().mean() > 0.9
    assert near.labels.shape == (128, 88)
    far = resampled(example, (70, 48))
    assert far.photo.abs().mean() < 0.1  # averaged, not picked


def test_the_mixture_is_repeatable_and_of_the_size_asked_for(person):
    kinds = set()
    for seed in range(60):
        made = corrupt(person, seeded(seed), (64, 44))
        assert made.size == (64, 44)
        assert made.labels.shape == made.uv.shape[1:] == (64, 44)
        assert made.photo.min() >= -1
        assert made.photo.max() <= 1
        assert torch.isfinite(made.photo).all()
        kinds.add(bool((made.labels > 0).any()))
    assert kinds == {True, False}  # sometimes nobody is there
    assert same(corrupt(person, seeded(1)), corrupt(person, seeded(1)))
    calm = corrupt(person, seeded(1), strength=0.0)
    torch.testing.assert_close(calm.photo, person.photo, atol=1e-5, rtol=0)
    assert torch.equal(calm.labels, person.labels)


def test_nobody_is_a_picture_with_an_empty_map(person):
    made = nobody(person, seeded())
    assert made.size == person.size
    assert not made.labels.any()
    assert not made.garments.any()


def test_backdrops_differ_and_stay_in_range(person):
    drawn = [draw_backdrop(person.photo, seeded(seed)) for seed in range(20)]
    assert all(picture.shape == person.photo.shape for picture in drawn)
    assert min(float(picture.min()) for picture in drawn) >= -1
    assert max(float(picture.max()) for picture in drawn) <= 1
    spreads = np.array([float(picture.std((1, 2)).mean()) for picture in drawn])
    assert spreads.min() < 1e-6  # plain ones
    assert spreads.max() > 0.2


def test_parts_of_photographs_stand_behind_people_and_before_them(person, tmp_path):
    Image.new("RGB", (300, 400), (255, 0, 255)).save(tmp_path / "plain.png")
    scenery = Scenery(find_photographs((str(tmp_path),)))
    behind = person.garments == 0
    magenta = torch.tensor([1.0, -1.0, 1.0])[:, None]
    backdrops, occluded = 0, 0
    for seed in range(12):
        made = CORRUPTIONS["background"](person, 1.0, seeded(seed), scenery)
        backdrops += bool(((made.photo[:, behind] - magenta).abs() < 0.02).all(0).float().mean() > 0.9)
        hidden = CORRUPTIONS["occluder"](person, 1.0, seeded(seed), scenery)
        gone = (hidden.labels == 0) & (person.labels > 0)
        occluded += bool(gone.any() and ((hidden.photo[:, gone] - magenta).abs() < 0.02).all())
    assert 5 <= backdrops < 12
    assert 5 <= occluded < 12
    empty = [nobody(person, seeded(seed), scenery) for seed in range(12)]
    assert sum(bool(((it.photo - magenta[..., None]).abs() < 0.02).all(0).float().mean() > 0.2) for it in empty) > 4
    corrupted = [corrupt(person, seeded(seed), scenery=scenery) for seed in range(6)]
    assert not all(same(it, corrupt(person, seeded(seed))) for seed, it in enumerate(corrupted))


def test_folders_without_photographs(tmp_path):
    (tmp_path / "small.png").write_bytes(b"no picture")
    with pytest.raises(
        ValueError, match=rf"the setting: {tmp_path} holds no pictures \(\.jpg, \.jpeg, \.png, \.webp\)"
    ):
        find_photographs((str(tmp_path),), "the setting")
    with pytest.raises(ValueError, match="photographs: no such folder: /nowhere"):
        find_photographs(("/nowhere",))
