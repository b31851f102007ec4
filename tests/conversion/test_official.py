"""Official-layout checkpoints: what is understood converts exactly, what is not is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pocold.conversion.official import convert_appearance_encoder, convert_checkpoint, convert_unet
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.unet import UNet

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
CONFIGS = {
    "unet": MANIFEST["unet_config"],
    "rie": MANIFEST["rie_config"],
    "channel_mapper": MANIFEST["channel_mapper_config"],
}
WEIGHTS = load_file(GOLDEN / "weights.safetensors")
STATES = {
    part: {name.removeprefix(f"{part}."): value for name, value in WEIGHTS.items() if name.startswith(f"{part}.")}
    for part in CONFIGS
}
SMALL = {"block_out_channels": (8, 16), "appearance_channels": (8, 16), "num_filters": 4, "norm_num_groups": 4}


def prefixed(states):
    """The form ``convert_unet`` takes: both parts in one."""
    return {f"{part}.{name}": value for part in ("unet", "channel_mapper") for name, value in states[part].items()}


def same_weights(module, other):
    state, expected = module.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


def write_checkpoint(folder, kind="safetensors", configs=CONFIGS, states=STATES):
    for part, config in configs.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        path = folder / part / f"diffusion_pytorch_model.{kind}"
        save = save_file if kind == "safetensors" else torch.save
        save(dict(states[part]), path)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "official")


def official(unet):
    """Our UNet's weights under the official names, written here a second time and not taken from the table."""
    states = {"unet": {}, "channel_mapper": {}}
    for name, value in unet.state_dict().items():
        if name.startswith("pose_projection."):
            states["channel_mapper"][name.replace("pose_projection", "cond_conv")] = value
        elif name.endswith(".residual_scale"):
            continue  # the published layer has one scalar for both, written below
        else:
            states["unet"][name.replace(".logit_scale", ".scale")] = value
    return states


def unet_inputs(unet, size=(6, 5)):
    """Arguments of a forward pass with every condition, at a size that halves unevenly."""
    generator = torch.Generator().manual_seed(3)
    widths = unet.config.appearance_channels
    widths = [widths] * len(unet.config.block_out_channels) if isinstance(widths, int) else widths
    features = [
        torch.randn(2, width, -(-size[0] // 2**i), -(-size[1] // 2**i), generator=generator)
        for i, width in enumerate(widths)
    ]
    latents = torch.randn(2, unet.config.latent_channels, *size, generator=generator)
    labels = torch.randint(25, (2, *size), generator=generator)
    return latents, 17, torch.nn.functional.one_hot(labels, 25).permute(0, 3, 1, 2).float(), features


# -- whole checkpoints -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_checkpoint_folder_equals_direct_conversion(tmp_path, kind):
    unet, encoder = convert_checkpoint(str(write_checkpoint(tmp_path, kind)))
    assert same_weights(unet, convert_unet(CONFIGS["unet"], CONFIGS["channel_mapper"], prefixed(STATES)))
    assert same_weights(encoder, convert_appearance_encoder(CONFIGS["rie"], STATES["rie"]))


def test_every_official_weight_is_read(checkpoint):
    unet, encoder = convert_checkpoint(checkpoint)
    back = {**official(unet), "rie": encoder.state_dict()}
    for part, state in STATES.items():
        assert back[part].keys() == state.keys()
        assert all(torch.equal(back[part][name], state[name]) for name in state)


def test_the_one_published_scale_is_read_into_both(checkpoint):
    unet, _ = convert_checkpoint(checkpoint)
    for name, value in STATES["unet"].items():
        if name.endswith(".scale"):
            attention = unet.get_submodule(name.removesuffix(".scale"))
            assert torch.equal(attention.logit_scale, value)
            assert torch.equal(attention.residual_scale, value)
    assert attention.logit_scale is not attention.residual_scale


def test_the_source_state_is_not_shared(checkpoint):
    state = prefixed(STATES)
    unet = convert_unet(CONFIGS["unet"], CONFIGS["channel_mapper"], state)
    before = STATES["unet"]["conv_in.bias"].clone()
    with torch.no_grad():
        unet.conv_in.bias += 1
    assert torch.equal(STATES["unet"]["conv_in.bias"], before)


@pytest.mark.parametrize("part", CONFIGS)
def test_missing_folder_is_named(checkpoint, part):
    (checkpoint / part).rename(checkpoint / "elsewhere")
    with pytest.raises(ValueError, match=f"is not an official PoCoLD checkpoint: it has no folder '{part}'"):
        convert_checkpoint(checkpoint)


def test_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="missing is not an official PoCoLD checkpoint"):
        convert_checkpoint(tmp_path / "missing")


@pytest.mark.parametrize("part", CONFIGS)
def test_missing_config_is_named(checkpoint, part):
    (checkpoint / part / "config.json").unlink()
    with pytest.raises(ValueError, match=rf"no such file: .*{part}/config\.json"):
        convert_checkpoint(checkpoint)


@pytest.mark.parametrize("part", CONFIGS)
def test_missing_weight_file_is_named(checkpoint, part):
    (checkpoint / part / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"{part} holds no weights"):
        convert_checkpoint(checkpoint)


# -- what is not understood --------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", CONFIGS)
def test_unknown_config_key_is_named(tmp_path, part):
    configs = {**CONFIGS, part: {**CONFIGS[part], "colour": "red"}}
    with pytest.raises(ValueError, match=f"{part} config: unknown key 'colour' .value 'red'.; .* not understood"):
        convert_checkpoint(write_checkpoint(tmp_path, configs=configs))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("unet", "flip_sin_to_cos", False),
        ("unet", "freq_shift", 1),
        ("unet", "act_fn", "gelu"),
        ("unet", "center_input_sample", True),
        ("unet", "resnet_time_scale_shift", "scale_shift"),
        ("unet", "class_embed_type", "timestep"),
        ("unet", "downsample_padding", 0),
        ("unet", "mid_block_scale_factor", 2.0),
        ("rie", "act_fn", "gelu"),
        ("rie", "downsample_padding", 0),
        ("channel_mapper", "concat", False),
        ("channel_mapper", "in_channels", 18),
    ],
)
def test_unsupported_value_is_refused_by_name(tmp_path, part, key, value):
    configs = {**CONFIGS, part: {**CONFIGS[part], key: value}}
    with pytest.raises(ValueError, match=rf"{part} config: {key} is {value!r}, but only .* is understood"):
        convert_checkpoint(write_checkpoint(tmp_path, configs=configs))


@pytest.mark.parametrize(
    "more",
    [
        {"flip_sin_to_cos": True, "freq_shift": 0, "act_fn": "silu", "mid_block_scale_factor": 1.0},
        {"sample_size": 64, "use_constraint_penalty": False, "mid_block_type": "anything"},
        {"_class_name": "anything", "_diffusers_version": "0.12.1"},
    ],
    ids=["values we build", "without influence", "notes"],
)
def test_understood_keys_change_nothing(checkpoint, tmp_path, more):
    configs = {**CONFIGS, "unet": {**CONFIGS["unet"], **more}}
    unet, _ = convert_checkpoint(write_checkpoint(tmp_path / "other", configs=configs))
    assert same_weights(unet, convert_checkpoint(checkpoint)[0])


def test_time_embedded_encoder_is_refused_by_name(tmp_path):
    configs = {**CONFIGS, "rie": {**CONFIGS["rie"], "use_time_emb": True}}
    with pytest.raises(ValueError, match="rie config: use_time_emb is True, but only False is understood"):
        convert_checkpoint(write_checkpoint(tmp_path, configs=configs))


def test_time_embedded_encoder_is_refused_by_its_weights():
    # A config that does not say so: the weights do.
    state = {**STATES["rie"], "time_embedding.linear_1.weight": torch.zeros(128, 32)}
    with pytest.raises(ValueError, match=r"unknown: time_embedding\.linear_1\.weight"):
        convert_appearance_encoder(CONFIGS["rie"], state)


@pytest.mark.parametrize(
    ("part", "name", "shown"),
    [
        ("unet", "conv_in.weight", "conv_in.weight"),
        ("unet", "mid_block.attentions.0.scale", "mid_block.attentions.0.logit_scale"),
        ("channel_mapper", "cond_conv.bias", "pose_projection.bias"),
        ("rie", "conv_in.bias", "conv_in.bias"),
    ],
)
def test_missing_weight_is_named(tmp_path, part, name, shown):
    states = {**STATES, part: {n: value for n, value in STATES[part].items() if n != name}}
    assert len(states[part]) == len(STATES[part]) - 1
    with pytest.raises(ValueError, match=rf"the official checkpoint does not fit .*; missing: .*{shown}"):
        convert_checkpoint(write_checkpoint(tmp_path, states=states))


@pytest.mark.parametrize(
    ("part", "shown"), [("unet", "unet.more"), ("channel_mapper", "channel_mapper.more"), ("rie", "more")]
)
def test_unknown_weight_is_named(tmp_path, part, shown):
    states = {**STATES, part: {**STATES[part], "more": torch.zeros(1)}}
    with pytest.raises(ValueError, match=f"the official checkpoint does not fit .*; unknown: {shown}$"):
        convert_checkpoint(write_checkpoint(tmp_path, states=states))


@pytest.mark.parametrize("name", ["pose_projection.weight", "mid_block.attentions.0.logit_scale"])
def test_our_own_names_are_not_official_ones(name):
    with pytest.raises(ValueError, match=f"unknown: .*{name}"):
        convert_unet(CONFIGS["unet"], CONFIGS["channel_mapper"], {**prefixed(STATES), name: torch.zeros(1)})


def test_weight_of_another_shape_is_named(tmp_path):
    states = {**STATES, "rie": {**STATES["rie"], "conv_in.bias": torch.zeros(5)}}
    with pytest.raises(ValueError, match=r"of another shape: conv_in\.bias \(5,\) instead of \(32,\)"):
        convert_checkpoint(write_checkpoint(tmp_path, states=states))


@pytest.mark.parametrize(
    ("part", "change", "expected"),
    [("channel_mapper", {"out_channels": 3}, 7), ("unet", {"in_channels": 9}, 8), ("unet", {"out_channels": 3}, 7)],
)
def test_mapper_and_input_channels_must_add_up(tmp_path, part, change, expected):
    configs = {**CONFIGS, part: {**CONFIGS[part], **change}}
    got = configs["unet"]["in_channels"]
    with pytest.raises(ValueError, match=rf"in_channels is {got}, expected latents \+ pose = {expected}"):
        convert_checkpoint(write_checkpoint(tmp_path, configs=configs))


# -- other architectures: our UNet, renamed to the official layout and converted back ----------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_heads": (1, 4), "num_filters": (4, 6)},
        {"layers_per_block": 1},
        {"layers_per_block": (1, 3)},
        {"appearance_channels": (12, 20)},
        {"appearance_channels": 8},
        {"latent_channels": 3, "pose_channels": 2},
        {"norm_num_groups": 2, "norm_eps": 1e-3},
        {"block_out_channels": (8, 8, 16), "appearance_channels": (8, 8, 16), "num_heads": (2, 1, 4)},
    ],
    ids=str,
)
@torch.no_grad()
def test_other_architectures_convert(options):
    torch.manual_seed(0)
    ours = {**SMALL, "num_heads": 2, **options}
    unet = UNet(**ours).eval()
    for _, attention in unet.attentions():
        attention.logit_scale.fill_(float(torch.rand(()) + 0.5))
        attention.residual_scale.copy_(attention.logit_scale)
    names = {
        "block_out_channels": "block_out_channels",
        "appearance_channels": "cross_attention_channels",
        "layers_per_block": "layers_per_block",
        "num_heads": "attn_heads_nums",
        "num_filters": "num_filters",
        "norm_num_groups": "norm_num_groups",
        "norm_eps": "norm_eps",
    }
    config = {official_name: ours[name] for name, official_name in names.items() if name in ours}
    latent, pose = unet.config.latent_channels, unet.config.pose_channels
    config |= {"in_channels": latent + pose, "out_channels": latent}
    config = json.loads(json.dumps(config))  # lists, as they come from a file
    mapper = {"in_channels": 25, "out_channels": pose, "concat": True}
    converted = convert_unet(config, mapper, prefixed(official(unet))).eval()
    inputs = unet_inputs(unet)
    expected = unet(*inputs).sample
    assert torch.equal(converted(*inputs).sample, expected)
    # The appearance has a say in the result, so heads and filters are compared too.
    assert not torch.allclose(unet(*inputs[:3]).sample, expected, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"block_out_channels": (8, 16), "layers_per_block": 2},
        {"block_out_channels": (8, 8, 16), "latent_channels": 3},
        {"block_out_channels": (8, 16), "norm_eps": 1e-3},
    ],
    ids=str,
)
@torch.no_grad()
def test_other_encoders_convert(options):
    torch.manual_seed(0)
    encoder = AppearanceEncoder(norm_num_groups=4, **options).eval()
    names = {"latent_channels": "in_channels", "layers_per_block": "num_layers"}
    config = {names.get(key, key): value for key, value in options.items()} | {"norm_num_groups": 4}
    converted = convert_appearance_encoder(json.loads(json.dumps(config)), encoder.state_dict()).eval()
    latents = torch.randn(1, encoder.config.latent_channels, 7, 5)
    for feature, expected in zip(converted(latents), encoder(latents), strict=True):
        assert torch.equal(feature, expected)


def test_wrong_number_of_levels_is_refused():
    config = {**CONFIGS["unet"], "attn_heads_nums": [4, 4]}
    with pytest.raises(ValueError, match=r"num_heads must be one number or one per level \(4\), got \[4, 4\]"):
        convert_unet(config, CONFIGS["channel_mapper"], prefixed(STATES))


def test_number_of_heads_is_not_guessed(tmp_path):
    """Nothing in the weights shows it."""
    folder = tmp_path / "official"
    write_checkpoint(folder)
    path = folder / "unet" / "config.json"
    config = json.loads(path.read_text())
    del config["attn_heads_nums"]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="unet config: 'attn_heads_nums' is missing, and the weights do not show it"):
        convert_checkpoint(folder)
