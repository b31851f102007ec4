import pytest
import torch

from pocold.appearance import AppearanceCode
from pocold.densepose.encoding import one_hot
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.attention import DoubleAttention
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.presets import build_models, preset
from pocold.models.unet import UNet


@pytest.fixture(scope="module")
def models():
    return build_models("toy", seed=1)


def inputs(batch=2, size=(9, 7), seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, 4, *size, generator=generator)
    labels = torch.randint(25, (batch, *size), generator=generator)
    source = torch.randn(batch, 4, *size, generator=generator)
    return latents, torch.tensor([3, 700])[:batch], one_hot(labels, size), source


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_published_size():
    with torch.device("meta"):
        unet, encoder = UNet(**preset("base")["unet"]), AppearanceEncoder(**preset("base")["appearance_encoder"])
    # The published UNet has 108,980,889, its channel mapper 104. Ours has the mapper inside, and a second scale in each
    # of its 21 attentions.
    assert parameters(unet) == 108_980_889 + 104 + 21
    assert parameters(encoder) == 14_923_904
    assert len(list(unet.attentions())) == 21
    assert sum(parameters(attention) for _, attention in unet.attentions()) == 14_162_069 + 21


def test_base_autoencoder_is_stable_diffusions():
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(**preset("base")["vae"])
    assert parameters(vae) == 83_653_863


def test_every_parameter_gets_a_gradient(models):
    unet, encoder = models["unet"], models["appearance_encoder"]
    latents, timesteps, pose, source = inputs()
    constraint = PoseConstraint(pose.argmax(1), pose.argmax(1).flip(1))
    output = unet(latents, timesteps, pose, encoder(source), pose_constraint=constraint)
    (output.sample.square().mean() + output.pose_penalty.sum()).backward()
    without = [
        name
        for model in (unet, encoder)
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    for model in (unet, encoder):
        model.zero_grad()
    assert without == []


@pytest.mark.parametrize("size", [(1, 1), (8, 6), (9, 7), (11, 16)])
@torch.no_grad()
def test_any_latent_size(models, size):
    latents, timesteps, pose, source = inputs(size=size)
    output = models["unet"](latents, timesteps, pose, models["appearance_encoder"](source))
    assert output.sample.shape == latents.shape
    assert output.pose_penalty is None


@torch.no_grad()
def test_source_of_another_size(models):
    latents, timesteps, pose, _ = inputs()
    features = models["appearance_encoder"](torch.randn(2, 4, 5, 12))
    assert models["unet"](latents, timesteps, pose, features).sample.shape == latents.shape


@torch.no_grad()
def test_encoding_once_equals_encoding_each_time(models):
    unet, encoder = models["unet"], models["appearance_encoder"]
    latents, timesteps, pose, source = inputs()
    code = unet.extract_appearance(encoder(source), fingerprint=torch.zeros(1))
    for step in (timesteps, timesteps - 2):  # one code, several steps
        expected = unet(latents, step, pose, encoder(source)).sample
        torch.testing.assert_close(unet(latents, step, pose, code).sample, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_without_appearance_are_left_alone(models):
    unet, encoder = models["unet"], models["appearance_encoder"]
    latents, timesteps, pose, source = inputs()
    features = encoder(source)
    rows = torch.tensor([1])
    mixed = unet(latents, timesteps, pose, [f[1:] for f in features], appearance_rows=rows).sample
    torch.testing.assert_close(mixed[:1], unet(latents, timesteps, pose).sample[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1:], unet(latents, timesteps, pose, features).sample[1:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mixed[1:], unet(latents, timesteps, pose).sample[1:], atol=1e-3)


@torch.no_grad()
def test_no_rows_is_no_appearance(models):
    unet = models["unet"]
    latents, timesteps, pose, source = inputs()
    features = [feature[:0] for feature in models["appearance_encoder"](source)]
    output = unet(latents, timesteps, pose, features, appearance_rows=torch.tensor([], dtype=torch.int64))
    torch.testing.assert_close(output.sample, unet(latents, timesteps, pose).sample)


def test_without_appearance_no_attention_runs(models, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("an attention ran")

    monkeypatch.setattr(DoubleAttention, "distribute", fail)
    monkeypatch.setattr(DoubleAttention, "forward", fail)
    latents, timesteps, pose, _ = inputs()
    with torch.no_grad():
        models["unet"](latents, timesteps, pose)


@torch.no_grad()
def test_dropped_pose_keeps_the_projections_bias(models):
    unet = models["unet"]
    latents, timesteps, pose, _ = inputs()
    before = unet(latents, timesteps, torch.zeros_like(pose)).sample
    unet.pose_projection.bias += 1
    after = unet(latents, timesteps, torch.zeros_like(pose)).sample
    unet.pose_projection.bias -= 1
    assert not torch.allclose(before, after, atol=1e-4)


@torch.no_grad()
def test_penalty_has_one_row_per_attention_and_sample(models):
    unet, encoder = models["unet"], models["appearance_encoder"]
    latents, timesteps, pose, source = inputs()
    labels = pose.argmax(1)
    output = unet(latents, timesteps, pose, encoder(source), pose_constraint=PoseConstraint(labels, labels))
    attentions = list(unet.attentions())
    assert output.pose_penalty.shape == (len(attentions), 2)
    # each row is that attention's own: the first by hand
    level, attention = attentions[0]
    features = encoder(source)[level]
    hidden = []
    hook = unet.down_blocks[0].resnets[0].register_forward_hook(lambda module, args, result: hidden.append(result))
    unet(latents, timesteps, pose)
    hook.remove()
    product = attention.attention_map(hidden[0], features)
    differ = labels.flatten(1)[:, None, :, None] != labels.flatten(1)[:, None, None, :]
    expected = (product.square() * differ).mean((1, 2, 3))
    torch.testing.assert_close(output.pose_penalty[0], expected, atol=1e-7, rtol=1e-4)


def test_save_and_load_give_the_same_network(models, tmp_path):
    unet = models["unet"]
    unet.save_pretrained(tmp_path)
    loaded = UNet.from_pretrained(tmp_path)
    latents, timesteps, pose, _ = inputs()
    with torch.no_grad():
        assert torch.equal(loaded(latents, timesteps, pose).sample, unet(latents, timesteps, pose).sample)


def test_toy_models_depend_on_the_seed_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_models("toy", seed)["unet"].conv_in.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(2, 3, 9, 7)}, r"latents must have shape \(B, 4, H, W\), got \(2, 3, 9, 7\)"),
        ({"pose": torch.zeros(2, 24, 9, 7)}, r"one-hot pose must have shape \(2, 25, 9, 7\) .* got \(2, 24, 9, 7\)"),
        ({"appearance": [torch.zeros(2, 16, 9, 7)]}, r"expected appearance features of \(16, 16, 32, 32\) channels"),
        ({"appearance_rows": torch.tensor([0])}, "expected the features of 1 sources, got 2"),
        ({"appearance": None, "pose_constraint": "labels"}, "a pose constraint compares target and source"),
        ({"pose_constraint": "labels of one"}, "expected the labels of 2 sources, got 1"),
        ({"appearance": "code", "pose_constraint": "labels"}, "needs the source's features, not an appearance code"),
        ({"appearance": "other code"}, "belongs to a UNet of another shape"),
        ({"appearance": "code of 3"}, "expected the appearance code of 1 or 2 people, got 3"),
    ],
)
def test_wrong_inputs_are_named(models, change, message):
    unet, encoder = models["unet"], models["appearance_encoder"]
    latents, timesteps, pose, source = inputs()
    with torch.no_grad():
        features = encoder(source)
        code = unet.extract_appearance(features, fingerprint=torch.zeros(1))
    arguments = {"latents": latents, "timestep": timesteps, "pose": pose, "appearance": features, **change}
    stand_in = {
        "code": code,
        "code of 3": AppearanceCode.stack([code[:1]] * 3),
        "other code": AppearanceCode(code.values[1:], code.mass[1:], code.fingerprint),
        "labels": PoseConstraint(pose.argmax(1), pose.argmax(1)),
        "labels of one": PoseConstraint(pose.argmax(1)[:1], pose.argmax(1)[:1]),
    }
    arguments = {k: stand_in[v] if isinstance(v, str) else v for k, v in arguments.items()}
    with pytest.raises(ValueError, match=message):
        unet(**arguments)


def test_per_level_settings_must_match_the_levels():
    with pytest.raises(ValueError, match=r"num_filters must be one number or one per level \(4\), got \(8, 8\)"):
        UNet(**{**preset("toy")["unet"], "num_filters": (8, 8)})


def test_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match="unknown preset 'huge': expected one of base, toy"):
        build_models("huge")


def test_guidance_scales_count_for_nothing_at_first_and_then_for_something():
    torch.manual_seed(0)
    told = UNet(**{**preset("toy")["unet"], "guidance_embedding": True}).eval()
    plain = UNet(**preset("toy")["unet"]).eval()
    kept = {name: tensor for name, tensor in told.state_dict().items() if not name.startswith("scale_")}
    plain.load_state_dict(kept)
    latents, timesteps, pose, _ = inputs()
    one, other = torch.tensor([3.0, 2.0]), torch.tensor([[3.0, 2.0], [2.0, 3.0]])
    with torch.no_grad():
        assert torch.equal(
            told(latents, timesteps, pose, guidance_scales=one).sample, plain(latents, timesteps, pose).sample
        )
        torch.nn.init.normal_(told.scale_embedding.linear_2.weight, std=0.1)
        first, second = (told(latents, timesteps, pose, guidance_scales=scales).sample for scales in (one, other))
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1], atol=1e-3)  # which scale is the pose's counts
    with pytest.raises(ValueError, match="this UNet has its guidance distilled: it needs guidance_scales"):
        told(latents, timesteps, pose)
    with pytest.raises(ValueError, match="this UNet takes no guidance_scales; pocold distill makes one that does"):
        plain(latents, timesteps, pose, guidance_scales=one)
    with pytest.raises(ValueError, match=r"guidance_scales must have shape \(2,\) or \(2, 2\), got \(3,\)"):
        told(latents, timesteps, pose, guidance_scales=torch.ones(3))
