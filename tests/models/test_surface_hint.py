"""The surface hint and the pose encodings in the networks, the loss and the sampling loop, at toy size."""

import json

import pytest
import torch
from torch.nn.functional import avg_pool2d

from pocold.checkpoints import load_component
from pocold.densepose.encoding import encode_pose, one_hot
from pocold.diffusion.guidance import BRANCHES
from pocold.diffusion.losses import ConditionDropout, training_loss
from pocold.diffusion.sampling import predict_branches
from pocold.diffusion.schedulers import make_scheduler
from pocold.models import autoencoder
from pocold.models.presets import build_models
from pocold.models.unet import UNet

SIZE = (9, 7)


@pytest.fixture(scope="module")
def models():
    return build_models("toy", seed=1, surface_hint=True, pose_encoding="iuv")


def inputs(batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(25, (batch, 36, 28), generator=generator)
    uv = torch.rand(batch, 2, 36, 28, generator=generator)
    return {
        "latents": torch.randn(batch, 4, *SIZE, generator=generator),
        "timestep": torch.tensor([3, 700])[:batch],
        "pose": encode_pose(labels, uv, SIZE),
        "hint": torch.randn(batch, 5, *SIZE, generator=generator),
    }


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "latents": torch.randn(4, 4, *SIZE, generator=generator),
        "source_latents": torch.randn(4, 4, *SIZE, generator=generator),
        "labels": torch.randint(25, (4, 36, 28), generator=generator),
        "source_labels": torch.randint(25, (4, 36, 28), generator=generator),
        "uv": torch.rand(4, 2, 36, 28, generator=generator),
        "hint": torch.randn(4, 5, *SIZE, generator=generator),
        "timesteps": torch.tensor([10, 300, 600, 990]),
        "noise": torch.randn(4, 4, *SIZE, generator=generator),
    }


def loss_of(models, data, dropout=None):
    return training_loss(models["unet"], models["appearance_encoder"], make_scheduler("ddim"), **data, dropout=dropout)


class Keep(ConditionDropout):
    """Keeps one condition of all, or none."""

    def __init__(self, pose, appearance):
        super().__init__()
        object.__setattr__(self, "kept", (pose, appearance))

    def draw(self, batch, generator=None):
        return tuple(torch.full((batch,), kept) for kept in self.kept)


def test_every_input_channel_gets_a_gradient(models):
    unet = models["unet"]
    assert unet.conv_in.in_channels == 4 + 4 + 5
    assert unet.pose_projection.in_channels == 27
    assert unet.conv_in.weight.abs().amax((0, 2, 3)).min() > 0  # new weights start as usual, not at zero
    loss_of(models, batch()).total.backward()
    for layer in (unet.conv_in, unet.pose_projection):
        assert layer.weight.grad.abs().amax((0, 2, 3)).min() > 0
    for model in models.values():
        model.zero_grad()


@torch.no_grad()
def test_no_hint_is_a_hint_of_zeros(models):
    data = inputs()
    zeros = {**data, "hint": torch.zeros_like(data["hint"])}
    without = {**data, "hint": None}
    assert torch.equal(models["unet"](**zeros).sample, models["unet"](**without).sample)
    assert not torch.allclose(models["unet"](**data).sample, models["unet"](**without).sample, atol=1e-3)


@torch.no_grad()
def test_a_dropped_appearance_drops_the_hint(models):
    data = batch()
    unseen = {**data, "hint": torch.zeros_like(data["hint"])}
    assert loss_of(models, data).total != loss_of(models, unseen).total
    dropped = Keep(pose=True, appearance=False)
    assert loss_of(models, data, dropped).total == loss_of(models, unseen, dropped).total


@torch.no_grad()
def test_each_sample_keeps_its_own_hint(models):
    """Samples that keep their source keep their hint, whatever the others do."""

    class Some(ConditionDropout):
        def draw(self, batch, generator=None):
            return torch.ones(batch, dtype=torch.bool), torch.tensor([True, False, False, True])

    data = batch()
    expected = {**data, "hint": data["hint"] * torch.tensor([1.0, 0, 0, 1]).view(-1, 1, 1, 1)}
    other = {**data, "hint": data["hint"] * torch.tensor([1.0, 0, 0, 0]).view(-1, 1, 1, 1)}
    assert loss_of(models, data, Some()).total == loss_of(models, expected, Some()).total
    assert loss_of(models, data, Some()).total != loss_of(models, other, Some()).total


@torch.no_grad()
def test_a_dropped_pose_drops_u_and_v(models):
    data = batch()
    turned = {**data, "uv": 1 - data["uv"]}
    assert loss_of(models, data).noise != loss_of(models, turned).noise
    dropped = Keep(pose=False, appearance=True)
    assert loss_of(models, data, dropped).noise == loss_of(models, turned, dropped).noise


def test_u_and_v_are_zero_in_the_background():
    labels = torch.tensor([[[0, 3], [24, 0]]])
    uv = torch.full((1, 2, 2, 2), 0.5)
    uv[:, 1] = 0.25
    encoded = encode_pose(labels, uv, (2, 2))
    assert encoded.shape == (1, 27, 2, 2)
    assert torch.equal(encoded[:, :25], one_hot(labels, (2, 2)))
    assert encoded[0, 25].tolist() == [[0, 0.5], [0.5, 0]]
    assert encoded[0, 26].tolist() == [[0, 0.25], [0.25, 0]]
    assert torch.equal(encode_pose(labels, None, (2, 2)), one_hot(labels, (2, 2)))


@torch.no_grad()
def test_branches_without_appearance_or_without_pose_get_no_hint(models):
    unet, data = models["unet"], inputs()
    code = unet.extract_appearance(models["appearance_encoder"](data["latents"]), fingerprint=torch.zeros(1))
    pose, hint, none = data["pose"], data["hint"], torch.zeros_like(data["pose"])
    predicted = predict_branches(unet, data["latents"], torch.tensor(500), pose, code, BRANCHES, hint)
    expected = {
        "unconditional": unet(data["latents"], 500, none),
        "pose": unet(data["latents"], 500, pose),
        "appearance": unet(data["latents"], 500, none, code),  # the hint shows the pose, too
        "full": unet(data["latents"], 500, pose, code, hint=hint),
    }
    for branch, output in expected.items():
        torch.testing.assert_close(predicted[branch], output.sample, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_hint_is_the_mean_latent_and_the_visible_share(models):
    vae = models["vae"]
    warped = torch.rand(2, 3, 32, 24) * 2 - 1
    visible = torch.rand(2, 32, 24) < 0.3
    hint = autoencoder.encode_hint(vae, warped, visible)
    assert hint.shape == (2, 5, 4, 3)
    assert torch.equal(hint[:, :4], autoencoder.encode(vae, warped))
    torch.testing.assert_close(hint[:, 4:], avg_pool2d(visible[:, None].float(), 8))
    torch.testing.assert_close(autoencoder.encode_hint(vae, warped, visible.float()), hint)


def test_checkpointing_keeps_the_hints_gradient():
    gradients = []
    for checkpointed in (False, True):
        unet = build_models("toy", seed=1, surface_hint=True)["unet"]
        if checkpointed:
            unet.enable_gradient_checkpointing()
        data = inputs()
        unet(
            data["latents"], data["timestep"], data["pose"][:, :25], hint=data["hint"]
        ).sample.square().sum().backward()
        gradients.append(unet.conv_in.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_published_networks_are_as_ever():
    """The options are off by default, and leave weights and seeds alone."""
    plain, with_hint = build_models("toy", seed=1), build_models("toy", seed=1, surface_hint=True)
    assert plain["unet"].conv_in.in_channels == 8
    assert plain["unet"].pose_projection.in_channels == 25
    assert torch.equal(plain["unet"].pose_projection.weight, with_hint["unet"].pose_projection.weight)


@torch.no_grad()
def test_the_linear_path_counts_for_nothing_at_first_and_then_adds_what_its_weights_say():
    data = inputs()
    data["pose"] = data["pose"][:, :25]
    plain, unet = (
        build_models("toy", seed=1, surface_hint=True, hint_skip=skip)["unet"].requires_grad_(False)
        for skip in (False, True)
    )
    assert torch.equal(unet(**data).sample, plain(**data).sample)
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(5))
    unet.skip_weights.bias.copy_(matrix.flatten())
    expected = torch.einsum("oi,bihw->bohw", matrix, torch.cat([data["latents"], data["hint"]], 1))
    torch.testing.assert_close(unet(**data).sample - plain(**data).sample, expected, rtol=1e-4, atol=1e-4)
    # the weights depend on the time step, each row on its own
    unet.skip_weights.weight.normal_(generator=torch.Generator().manual_seed(6))
    together = unet(**data).sample
    for i in range(2):
        alone = unet(**{name: value[i : i + 1] for name, value in data.items()}).sample
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)
    data["timestep"] = torch.tensor([3, 3])
    assert not torch.allclose(unet(**data).sample[1], together[1], atol=1e-2)


def test_the_linear_path_learns_and_needs_a_hint():
    models = build_models("toy", seed=1, surface_hint=True, hint_skip=True)
    data = batch()
    del data["uv"]
    loss_of(models, data).total.backward()
    assert models["unet"].skip_weights.weight.grad.abs().amax() > 0
    with pytest.raises(ValueError, match="hint_skip is a path for the surface hint: it needs surface_hint=True"):
        build_models("toy", hint_skip=True)


@pytest.mark.parametrize(
    "options", [{}, {"surface_hint": True, "pose_encoding": "iuv"}, {"surface_hint": True, "hint_skip": True}]
)
@torch.no_grad()
def test_the_options_are_saved(tmp_path, options):
    unet = build_models("toy", seed=1, **options)["unet"]
    unet.save_pretrained(tmp_path)
    loaded = load_component(UNet, tmp_path)
    for option, default in (("surface_hint", False), ("pose_encoding", "labels"), ("hint_skip", False)):
        assert loaded.config[option] == options.get(option, default)
    data = inputs()
    if "pose_encoding" not in options:
        data["pose"] = data["pose"][:, :25]
    if "surface_hint" not in options:
        data["hint"] = None
    assert torch.equal(loaded(**data).sample, unet(**data).sample)


def test_folders_written_before_the_options_load_with_the_published_meaning(tmp_path):
    unet = build_models("toy", seed=1)["unet"]
    unet.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert UNet.later_config_keys <= config.keys()
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in UNet.later_config_keys}))
    loaded = load_component(UNet, tmp_path)
    assert (loaded.config.surface_hint, loaded.config.pose_encoding) == (False, "labels")
    assert torch.equal(loaded.conv_in.weight, unet.conv_in.weight)
    # weights of a model with a hint are not mistaken for one without
    build_models("toy", surface_hint=True)["unet"].save_pretrained(tmp_path)
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in UNet.later_config_keys}))
    with pytest.raises(
        ValueError, match=r"of another shape: conv_in.weight \(16, 13, 3, 3\) instead of \(16, 8, 3, 3\)"
    ):
        load_component(UNet, tmp_path)


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({}, {"hint": torch.zeros(2, 5, *SIZE)}, "takes no surface hint; make it with surface_hint=True"),
        (
            {"surface_hint": True},
            {"hint": torch.zeros(2, 4, *SIZE)},
            r"surface hint must have shape \(2, 5, 9, 7\) like the latents, got \(2, 4, 9, 7\)",
        ),
        (
            {"pose_encoding": "iuv"},
            {},
            r"must have shape \(2, 27, 9, 7\) like the latents \(encoding 'iuv'\), got \(2, 25, 9, 7\)",
        ),
    ],
)
def test_wrong_inputs_are_named(options, change, message):
    unet, data = build_models("toy", **options)["unet"], inputs()
    with pytest.raises(ValueError, match=message):
        unet(**{**data, "pose": data["pose"][:, :25], "hint": None, **change})


def test_unknown_pose_encoding():
    with pytest.raises(ValueError, match="unknown pose_encoding 'uv': expected one of labels, iuv"):
        build_models("toy", pose_encoding="uv")
