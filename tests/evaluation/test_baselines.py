"""Who draws: the model through its own door, and the baselines."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from pocold.data.opening import open_data
from pocold.densepose.correspondence import HIDDEN, surface_correspondence
from pocold.densepose.maps import DensePose
from pocold.diffusion.settings import DrawSettings
from pocold.evaluation.baselines import CompleteSource, CopySource, ModelPainter, RoundTrip, WarpSource, pair_seed
from pocold.evaluation.selection import Selection
from pocold.imaging.images import to_tensor
from pocold.models import autoencoder

SIZE = (64, 48)


@pytest.fixture(scope="module")
def pairs(people):
    selection = Selection(open_data(people, "test"))
    return [selection.views(pair) for pair in selection.pairs[:3]]


def arrays(pictures):
    return [np.asarray(picture) for picture in pictures]


def test_the_model_draws_what_its_pipeline_draws(toy, pairs):
    painter = ModelPainter(toy, DrawSettings(steps=2, seed=7, guidance_floor=None))
    drawn = painter(pairs, SIZE, "pad")
    source, target = pairs[1]
    alone = toy(
        source.photo, DensePose(target.labels), height=64, width=48, num_inference_steps=2, guidance_floor=None,
        generator=torch.Generator().manual_seed(pair_seed(7, source.name, target.name)),
    ).images[0]  # fmt: skip
    difference = np.asarray(drawn[1], int) - np.asarray(alone, int)
    assert abs(difference).max() <= 1  # batches of other sizes may round differently
    again = ModelPainter(toy, DrawSettings(steps=2, seed=8, guidance_floor=None))(pairs, SIZE, "pad")
    assert (np.asarray(again[1]) != np.asarray(drawn[1])).any()


def test_seeds_belong_to_pairs(toy):
    seeds = {
        pair_seed(0, "a", "b"),
        pair_seed(0, "b", "a"),
        pair_seed(1, "a", "b"),
        pair_seed(0, "a", "c"),
        pair_seed(0, "a", "b"),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    with pytest.raises(ValueError, match="--seed: expected a number of at least 0, got -1"):
        ModelPainter(toy, DrawSettings(seed=-1))


def test_a_photograph_is_encoded_once(toy, pairs, monkeypatch):
    encoded = []
    own = type(toy).encode_appearance
    monkeypatch.setattr(
        type(toy), "encode_appearance", lambda self, *a, **k: encoded.append(1) or own(self, *a, **k)
    )  # fmt: skip
    painter = ModelPainter(toy, DrawSettings(steps=1))
    painter(pairs, SIZE, "pad")
    painter(pairs, SIZE, "pad")
    assert len(encoded) == len({source.name for source, _ in pairs})
    painter(pairs, (32, 24), "pad")  # another size is another code
    assert len(encoded) == 2 * len({source.name for source, _ in pairs})


def test_the_native_size_is_the_unets(toy):
    assert toy.native_size is None
    toy.unet.register_to_config(sample_size=(8, 6))
    try:
        assert toy.native_size == ModelPainter(toy).size == (64, 48)
    finally:
        toy.unet.register_to_config(sample_size=None)


def test_copying_gives_the_photograph(pairs):
    for drawn, (source, _) in zip(arrays(CopySource()(pairs, SIZE, "pad")), pairs, strict=True):
        np.testing.assert_array_equal(drawn, np.asarray(source.photo))
    assert CopySource()(pairs, (32, 40), "stretch")[0].size == (40, 32)


def test_warping_into_the_own_pose_changes_little_and_into_another_gains_much(pairs):
    own = [(source, source) for source, _ in pairs]
    for drawn, (source, _) in zip(arrays(WarpSource()(own, SIZE, "pad")), own, strict=True):
        body = source.labels > 0
        assert (drawn[body] == np.asarray(source.photo)[body]).mean() > 0.9

    def error(pictures):
        truths = [np.asarray(target.photo, float) for _, target in pairs]
        bodies = [target.labels > 0 for _, target in pairs]
        return np.mean([abs(p - t)[b].mean() for p, t, b in zip(pictures, truths, bodies, strict=True)])

    assert error(arrays(WarpSource()(pairs, SIZE, "pad"))) < 0.7 * error(arrays(CopySource()(pairs, SIZE, "pad")))

    assert error(arrays(CompleteSource()(pairs, SIZE, "pad"))) < error(arrays(WarpSource()(pairs, SIZE, "pad")))


def test_completing_keeps_what_the_warp_shows(pairs):
    """But for what lies at the rim of the body in the photograph, or where one part of it may lie over another."""
    warped, completed = (arrays(painter()(pairs, SIZE, "pad")) for painter in (WarpSource, CompleteSource))
    for before, after, (source, target) in zip(warped, completed, pairs, strict=True):
        beside = [np.roll(source.labels, *by) != source.labels for by in ((1, 0), (-1, 0), (1, 1), (-1, 1))]
        rim = (binary_dilation(source.labels == 0, np.ones((3, 3))) | np.any(beside, axis=0)) & (source.labels > 0)
        shown, wanted = ((torch.from_numpy(view.labels), torch.from_numpy(view.uv)) for view in (source, target))
        inner = torch.from_numpy(np.where(rim, HIDDEN, source.labels))
        index, _ = surface_correspondence(*wanted, *shown)
        index_within, visible = surface_correspondence(*wanted, inner, shown[1])
        # beside the body there can be what stands off it
        shown_body = visible & (index == index_within) & (wanted[0] > 0)
        assert shown_body.any()
        # read between pixels, of so small a picture mostly the very same ones; feet are told by more than U and V
        shown_body &= ~torch.isin(wanted[0], torch.tensor([5, 6], dtype=wanted[0].dtype))
        difference = np.abs(before[shown_body].astype(int) - after[shown_body]).max(-1)
        assert np.median(difference) < 1
        assert difference.mean() < 6
        assert (before != after).any()


def test_warping_needs_u_and_v(pairs):
    bare = [(source, type(target)(target.name, target.person, target.photo, target.labels)) for source, target in pairs]
    with pytest.raises(ValueError, match=f"{pairs[0][1].name}.*the baseline 'warp'"):
        WarpSource()(bare, SIZE, "pad")
    with pytest.raises(ValueError, match=f"{pairs[0][1].name}.*the baseline 'completed'"):
        CompleteSource()(bare, SIZE, "pad")


def test_the_round_trip_is_the_autoencoders(toy, pairs):
    drawn = RoundTrip(toy.vae)(pairs[:1], SIZE, "pad")
    with torch.no_grad():
        latents = autoencoder.encode(toy.vae, to_tensor(pairs[0][1].photo))
        expected = autoencoder.decode(toy.vae, latents).clamp(-1, 1)
    difference = to_tensor(drawn[0]) - expected
    assert difference.abs().max() < 1.01 / 255
    with pytest.raises(ValueError, match=r"multiples of 8, got \(60, 48\); set --size"):
        RoundTrip(toy.vae)(pairs, (60, 48), "pad")


def test_settings_tell_painters_apart(toy):
    model = ModelPainter(toy, DrawSettings(steps=3, scheduler="dpm++")).settings()
    assert [model[name] for name in ("steps", "pose_scale", "appearance_scale")] == [3, 5.0, 5.0]
    assert model["painter"] == "model"
    assert model["scheduler"] == "DPMSolverMultistepScheduler"
    assert model["steps"] == 3
    assert RoundTrip(toy.vae).settings()["weights"] != model["weights"]
    assert CopySource().settings() != WarpSource().settings()


def test_a_model_with_a_surface_hint_gets_u_and_v(toy, pairs):
    hinted = type(toy).from_preset("toy", surface_hint=True, pose_encoding="iuv")
    painter = ModelPainter(hinted, DrawSettings(steps=1))
    assert [picture.size for picture in painter(pairs, SIZE, "pad")] == [(48, 64)] * 3
    bare = [(type(source)(source.name, source.person, source.photo, source.labels), t) for source, t in pairs]
    with pytest.raises(ValueError, match="needs U and V"):
        ModelPainter(hinted, DrawSettings(steps=1))(bare, SIZE, "pad")
