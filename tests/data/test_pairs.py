"""The contract's own checks, the paired transform and batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.data.pairs import PairedTransform, View, check_sample, collate, hflip
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface, surface_correspondence, warp_by_surface
from pocold.densepose.holes import fill_holes
from pocold.densepose.labels import MIRRORED_LABEL
from pocold.densepose.maps import DensePose
from pocold.imaging.images import to_bytes


def view(name: str, height: int = 16, width: int = 12, garments: bool = True, uv: bool = False) -> View:
    """Noise whose every row and column can be told apart."""
    rng = np.random.default_rng(len(name) + height)
    photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    labels = rng.integers(0, 25, (height, width), dtype=np.uint8)
    classes = rng.integers(0, 11, (height, width), dtype=np.uint8) if garments else None
    coordinates = rng.integers(0, 256, (2, height, width)).astype(np.float32) / 255 if uv else None
    return View(name, "anna", photo, labels, classes, coordinates)


def sample(**changes):
    return {**PairedTransform()(view("a"), view("bb")), **changes}


def hinted(transform=None, **changes):
    transform = transform or PairedTransform(surface_hint=True, uv=True)
    return {**transform(view("a", uv=True), view("bb", uv=True)), **changes}


def test_a_sample_holds_the_contract():
    check_sample(sample())
    check_sample(sample(), (16, 12))
    check_sample(PairedTransform()(view("a", garments=False), view("b")))  # garments of one alone are left out
    check_sample(hinted(), (16, 12))
    assert hinted().keys() - sample().keys() == {"warped", "visible", "source_uv", "target_uv"}
    assert hinted(PairedTransform(uv=True)).keys() - sample().keys() == {"source_uv", "target_uv"}
    assert hinted(PairedTransform(surface_hint=True)).keys() - sample().keys() == {"warped", "visible"}
    assert hinted(PairedTransform()).keys() == sample().keys()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("text", "must be a dict, got str"),
        ({k: v for k, v in sample().items() if k != "target_pose"}, r"missing \['target_pose'\]"),
        (sample(extra=1), r"unknown \['extra'\]"),
        (sample(person=""), "person must be a text"),
        (sample(source_name=7), "source_name must be a text"),
        ({k: v for k, v in sample().items() if k != "source_garments"}, "garment maps must come for source and target"),
        (sample(source=torch.zeros(3, 16, 12, dtype=torch.float64)), r"source must be torch.float32 \(3, H, W\)"),
        (sample(source=torch.zeros(1, 16, 12)), r"got torch.float32 \(1, 16, 12\)"),
        (sample(target=np.zeros((3, 16, 12), dtype=np.float32)), "target must be a tensor .* got ndarray"),
        (sample(source=torch.full((3, 16, 12), 1.5)), r"source must lie in \[-1, 1\], got values from 1.5 to 1.5"),
        (sample(source=torch.full((3, 16, 12), float("nan"))), r"must lie in \[-1, 1\]"),
        (sample(target_pose=torch.zeros(16, 12, dtype=torch.int64)), r"target_pose must be torch.uint8 \(H, W\)"),
        (sample(target_pose=torch.full((16, 12), 25, dtype=torch.uint8)), "labels 0..24, got 25"),
        (sample(source_garments=torch.zeros(1, 16, 12, dtype=torch.uint8)), r"source_garments must be torch.uint8"),
        (sample(warped=torch.zeros(3, 16, 12)), "'warped' and 'visible' must come together"),
        (sample(source_uv=torch.zeros(2, 16, 12)), "'source_uv' and 'target_uv' must come together"),
        (hinted(warped=torch.full((3, 16, 12), 2.0)), r"warped must lie in \[-1, 1\], got values from 2 to 2"),
        (
            hinted(visible=torch.ones(16, 12, dtype=torch.uint8)),
            r"visible must be torch.bool \(H, W\), got torch.uint8",
        ),
        (hinted(visible=torch.full((16, 12), 1.1)), r"visible must lie in \[0, 1\]"),
        (hinted(visible=torch.full((16, 12), float("nan"))), r"visible must lie in \[0, 1\]"),
        (hinted(target_uv=torch.full((2, 16, 12), -0.5)), r"target_uv must lie in \[0, 1\], got values from -0.5"),
        (hinted(target_uv=torch.zeros(3, 16, 12)), r"target_uv must be torch.float32 \(2, H, W\), got .*\(3, 16, 12\)"),
        (sample(target_pose=torch.zeros(8, 12, dtype=torch.uint8)), r"expected the size \(16, 12\).*'target_pose'"),
    ],
)
def test_samples_that_break_the_contract(broken, message):
    with pytest.raises(ValueError, match=message):
        check_sample(broken)


def test_a_sample_of_another_size_than_asked_for():
    with pytest.raises(ValueError, match=r"expected the size \(32, 24\)"):
        check_sample(sample(), (32, 24))


def test_source_and_target_of_different_sizes():
    pair = PairedTransform()(view("a"), view("b", 20, 12))
    with pytest.raises(ValueError, match="set a size to frame to"):
        check_sample(pair)
    check_sample(PairedTransform((24, 24))(view("a"), view("b", 20, 12)), (24, 24))


def test_maps_of_another_size_than_their_picture():
    photo = Image.new("RGB", (12, 16))
    with pytest.raises(ValueError, match=r"x: its DensePose map is 16x12, but the picture is 12x16"):
        View("x", "p", photo, np.zeros((12, 16), dtype=np.uint8))
    with pytest.raises(ValueError, match="x: its garment map is 12x8"):
        View("x", "p", photo, np.zeros((16, 12), dtype=np.uint8), np.zeros((8, 12), dtype=np.uint8))


def test_flips_turn_everything_and_swap_sides():
    plain, mirrored = PairedTransform()(view("a"), view("b")), PairedTransform(flip=1.0)(view("a"), view("b"))
    for key in ("source", "target", "source_garments", "target_garments"):
        assert torch.equal(mirrored[key], plain[key].flip(-1))
    for key in ("source_pose", "target_pose"):
        assert np.array_equal(mirrored[key].numpy(), MIRRORED_LABEL[plain[key].numpy()[:, ::-1]])
        assert mirrored[key].dtype == torch.uint8
    for key, value in hflip(hflip(plain)).items():
        assert torch.equal(value, plain[key]) if torch.is_tensor(value) else value == plain[key]


@pytest.mark.parametrize("settings", [{}, {"size": (20, 20)}, {"size": (20, 20), "mode": "crop"}])
def test_warped_pictures_are_those_of_the_framed_pair(settings):
    made = hinted(PairedTransform(**settings, surface_hint=True, uv=True))
    reverse = PairedTransform(**settings, uv=True)(view("bb", uv=True), view("a", uv=True))
    assert torch.equal(reverse["target"], made["source"])
    index, visible = surface_correspondence(
        made["target_pose"], made["target_uv"], made["source_pose"], reverse["target_uv"]
    )
    assert torch.equal(made["visible"], visible)
    warped = warp_by_surface(made["source"], index)
    assert torch.equal(made["warped"], fill_holes(warped, index >= 0, made["target_pose"]))
    assert 0 < visible.float().mean() < 1


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_completed_hints_are_those_of_the_framed_pair(flip):
    transform = PairedTransform((20, 20), surface_hint=True, hint_completed=True, uv=True)
    made = hinted(transform)
    check_sample(made, (20, 20))
    shown = Photograph(to_bytes(made["source"]), made["source_pose"], (made["source_uv"] * 255).round().byte())
    picture, confidence = complete(Surface(((1.0, (shown,)),)), made["target_pose"], made["target_uv"])
    turned = hinted(replace(transform, flip=flip))
    assert torch.equal(turned["warped"], picture.flip(-1) if flip else picture)
    assert torch.equal(turned["visible"], confidence.flip(-1) if flip else confidence)
    _, visible = (hinted(replace(transform, hint_completed=False))[key] for key in ("warped", "visible"))
    seen = confidence[visible]  # but for the rim of the source, which is completed from beside it
    assert (seen > 0.5).all()
    assert (seen == 1).float().mean() > 0.5
    unseen = confidence[~visible & (made["target_pose"] > 0)]
    assert (unseen < 1).float().mean() > 0.9
    assert (unseen > 0).any()


def test_a_completed_hint_needs_a_hint():
    with pytest.raises(ValueError, match=r"hint_completed says how surface hints are made: it needs surface_hint"):
        PairedTransform(hint_completed=True)


def test_u_and_v_are_framed_like_their_labels():
    labels, uv = np.zeros((40, 20), dtype=np.uint8), np.zeros((2, 40, 20), dtype=np.float32)
    labels[10:30, 5:15] = 2
    uv[:, 10:30, 5:15] = np.array([0.25, 0.75])[:, None, None]
    photo = Image.fromarray(np.repeat((labels[..., None] > 0) * np.uint8(255), 3, -1))
    for mode in ("pad", "crop", "stretch"):
        views = (View(n, "p", photo, labels, uv=uv) for n in "ab")
        made = PairedTransform((32, 32), mode, surface_hint=True, uv=True)(*views)
        body = made["target_pose"] > 0
        assert torch.equal(made["target_uv"], torch.tensor([0.25, 0.75]).view(2, 1, 1) * body)
        assert made["visible"].all()


def test_the_hint_of_a_mirrored_pair_is_the_mirrored_hint():
    plain, mirrored = hinted(), hinted(PairedTransform(flip=1.0, surface_hint=True, uv=True))
    check_sample(mirrored, (16, 12))
    for key in ("warped", "visible"):
        assert torch.equal(mirrored[key], plain[key].flip(-1))
    for role in ("source", "target"):
        expected = DensePose(plain[f"{role}_pose"].numpy(), plain[f"{role}_uv"].numpy()).hflip()
        assert np.array_equal(mirrored[f"{role}_uv"].numpy(), expected.uv)
        assert np.array_equal(mirrored[f"{role}_pose"].numpy(), expected.labels)
    assert not torch.equal(mirrored["target_uv"], plain["target_uv"].flip(-1))
    # and computed anew from the mirrored maps it is the same
    source = PairedTransform(flip=1.0, uv=True)(view("bb", uv=True), view("a", uv=True))
    index, visible = surface_correspondence(
        mirrored["target_pose"], mirrored["target_uv"], mirrored["source_pose"], source["target_uv"]
    )
    body = mirrored["target_pose"] > 0
    assert torch.equal(visible[body], mirrored["visible"][body])
    warped = fill_holes(warp_by_surface(mirrored["source"], index), index >= 0, mirrored["target_pose"])
    same = (warped == mirrored["warped"]).all(0)
    assert same[body].float().mean() > 0.97  # but for ties


@pytest.mark.parametrize("option", ["surface_hint", "uv"])
def test_maps_without_u_and_v_are_named(option):
    transform = PairedTransform(**{option: True})
    for pair in ((view("a"), view("bb", uv=True)), (view("bb", uv=True), view("a"))):
        with pytest.raises(
            ValueError, match=f"a: its DensePose map has labels only, but the option {option} needs U and V"
        ):
            transform(*pair)


def test_flips_are_drawn_per_pair_and_epoch():
    transform, plain = PairedTransform(flip=0.5), PairedTransform()

    def flipped(number: int, epoch: int, seed: int = 0) -> bool:
        pair = view(f"{number:03d}"), view(f"{number + 1:03d}")
        drawn = PairedTransform(flip=0.5, seed=seed)(*pair, epoch)
        both = [not torch.equal(drawn[key], plain(*pair)[key]) for key in ("source", "target")]
        assert both[0] == both[1], "source and target must flip together"
        return both[0]

    first = [flipped(number, 0) for number in range(60)]
    assert 15 < sum(first) < 45
    assert first == [flipped(number, 0) for number in range(60)]
    assert first != [flipped(number, 1) for number in range(60)]
    assert first != [flipped(number, 0, seed=1) for number in range(60)]
    assert transform == PairedTransform(flip=0.5)


def test_picture_and_map_stay_aligned_when_framed():
    labels = np.zeros((40, 20), dtype=np.uint8)
    labels[10:30, 5:15] = 2
    photo = Image.fromarray(np.repeat((labels[..., None] > 0) * np.uint8(255), 3, -1))
    for mode in ("pad", "crop", "stretch"):
        framed = PairedTransform((32, 32), mode)(*(View(n, "p", photo, labels, labels) for n in "ab"))
        bright = framed["source"][0] > 0
        for key in ("source_pose", "source_garments"):
            assert (bright != (framed[key] > 0)).float().mean() < 0.04, (mode, key)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"flip": 1.5}, "flip is a probability"), ({"seed": -1}, "seed must not be negative"),
     ({"mode": "zoom"}, "unknown frame mode"), ({"size": (0, 8)}, "sizes must be positive")],
)  # fmt: skip
def test_impossible_transforms(settings, message):
    with pytest.raises(ValueError, match=message):
        PairedTransform(**settings)


def test_batches():
    batch = collate([sample(), sample()])
    assert batch["source"].shape == (2, 3, 16, 12)
    assert batch["source_pose"].shape == batch["target_garments"].shape == (2, 16, 12)
    assert batch["person"] == ["anna", "anna"]
    mixed = collate([sample(), PairedTransform()(view("a", garments=False), view("b"))])
    assert "source_garments" not in mixed
    assert "target_garments" not in mixed
    with_hint = collate([hinted(), hinted()])
    assert with_hint["warped"].shape == (2, 3, 16, 12)
    assert with_hint["visible"].dtype == torch.bool
    assert with_hint["target_uv"].shape == (2, 2, 16, 12)
    assert not collate([hinted(), sample()]).keys() & {"warped", "visible", "source_uv", "target_uv"}
    with pytest.raises(ValueError, match=r"different sizes .*\(16, 12\), \(32, 12\).* set a size"):
        collate([sample(), PairedTransform()(view("a", 32), view("b", 32))])
    with pytest.raises(ValueError, match="no samples"):
        collate([])
