"""Weights on disk: nothing is unpickled, nothing is loaded in part, and models are told apart."""

import json
import os
import pickle
import shutil

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn

from pocold.appearance import AppearanceCode
from pocold.checkpoints import load_component, load_strictly, read_weights, weights_fingerprint
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.presets import build_models
from pocold.models.unet import UNet

SAFETENSORS, BIN = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"
STATE = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def equal(state, expected):
    return state.keys() == expected.keys() and all(
        state[name].dtype == tensor.dtype and torch.equal(state[name], tensor) for name, tensor in expected.items()
    )


class Payload:
    """Runs code when it is unpickled: makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def encoder(toy):
    return toy.appearance_encoder


@pytest.fixture
def folder(encoder, tmp_path):
    """A saved appearance encoder, the smallest component."""
    encoder.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def change_config(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def change_weights(folder, change):
    state = load_file(folder / SAFETENSORS)
    save_file(change(state), folder / SAFETENSORS)


# -- read_weights ------------------------------------------------------------------------------------------------


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / SAFETENSORS)
    assert equal(read_weights(tmp_path), STATE)


@pytest.mark.parametrize("zipped", [True, False])
def test_bin_is_read(tmp_path, zipped):
    torch.save(STATE, tmp_path / BIN, _use_new_zipfile_serialization=zipped)
    assert equal(read_weights(str(tmp_path)), STATE)


def test_safetensors_are_preferred(tmp_path):
    save_file(STATE, tmp_path / SAFETENSORS)
    torch.save({"other": torch.zeros(1)}, tmp_path / BIN)
    assert equal(read_weights(tmp_path), STATE)


@pytest.mark.parametrize("name", [None, "pytorch_model.bin", "model.safetensors"])
def test_missing_weights_are_refused_with_the_expected_names(tmp_path, name):
    if name:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"holds no weights: expected {SAFETENSORS} or {BIN}"):
        read_weights(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_a_payload_is_refused_and_not_run(tmp_path, zipped):
    marker = tmp_path / "was run"
    torch.save({"a": Payload(marker)}, tmp_path / BIN, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"{BIN} cannot be read: it is truncated or not a plain state dict"):
        read_weights(tmp_path)
    assert not marker.exists()
    # The payload does work: the test would notice if it were run.
    torch.load(tmp_path / BIN, weights_only=False)
    assert marker.exists()


def test_bare_pickle_with_a_payload_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "was run"
    (tmp_path / BIN).write_bytes(pickle.dumps(Payload(marker), protocol=2))  # torch warns about others
    with pytest.raises(ValueError, match="cannot be read"):
        read_weights(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("name", [SAFETENSORS, BIN])
@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.9])
def test_truncated_weights_are_refused(tmp_path, name, share):
    save = save_file if name == SAFETENSORS else torch.save
    save(STATE, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.8, 0.95])
def test_truncated_weights_of_the_old_format_are_refused(tmp_path, share):
    torch.save(STATE, tmp_path / BIN, _use_new_zipfile_serialization=False)
    content = (tmp_path / BIN).read_bytes()
    (tmp_path / BIN).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{BIN} cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", [b"hello", b"<!DOCTYPE html>", b"a", b".", b"}", b"\x80\x02"], ids=repr)
def test_foreign_bytes_are_refused(tmp_path, content):
    # For example a page with an error message that was saved as weights.
    (tmp_path / BIN).write_bytes(content)
    with pytest.raises(ValueError, match=f"{BIN} cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "content",
    [{"state_dict": STATE}, [torch.zeros(1)], torch.zeros(1), {**STATE, "epoch": 3}],
    ids=["nested", "list", "tensor", "number"],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / BIN)
    with pytest.raises(ValueError, match="expected a state dict, a mapping of names to tensors"):
        read_weights(tmp_path)


# -- load_strictly -----------------------------------------------------------------------------------------------


def test_strict_loading_copies_every_weight():
    module = nn.Linear(3, 2)
    load_strictly(module, {"weight": STATE["a"], "bias": STATE["b"].float()}, "the file")
    assert torch.equal(module.weight, STATE["a"])
    assert torch.equal(module.bias, torch.ones(2))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bias": None}, "missing: bias"),
        ({"more": torch.zeros(1)}, "unknown: more"),
        ({"bias": torch.zeros(3)}, r"of another shape: bias \(3,\) instead of \(2,\)"),
        ({"bias": None, "more": torch.zeros(1)}, "missing: bias; unknown: more"),
    ],
)
def test_strict_loading_names_what_does_not_fit(change, problem):
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    state = {"weight": STATE["a"], "bias": torch.zeros(2), **change}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(ValueError, match=f"the file does not fit Linear; {problem}$"):
        load_strictly(module, state, "the file")
    assert torch.equal(module.weight, before)  # nothing was loaded in part


def test_strict_loading_names_five_and_counts_the_rest():
    module = nn.Sequential(*[nn.Linear(1, 1, bias=False) for _ in range(8)])
    with pytest.raises(ValueError, match=r"missing: 0\.weight, .*, 4\.weight and 3 more$"):
        load_strictly(module, {}, "the file")


# -- load_component ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "component"), [("vae", AutoencoderKL), ("appearance_encoder", AppearanceEncoder), ("unet", UNet)]
)
def test_every_component_loads_as_it_was_saved(toy, tmp_path, name, component):
    saved = getattr(toy, name)
    saved.save_pretrained(tmp_path)
    loaded = load_component(component, tmp_path)
    assert type(loaded) is component
    assert not loaded.training
    assert equal(loaded.state_dict(), saved.state_dict())
    own = {key: value for key, value in loaded.config.items() if not key.startswith("_")}
    assert own == {key: json.loads(json.dumps(saved.config[key])) for key in own}


def test_component_of_another_class_is_refused(folder):
    with pytest.raises(ValueError, match="encoder holds a AppearanceEncoder, expected a UNet"):
        load_component(UNet, folder)


def test_component_without_config_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no such file: .*config\.json"):
        load_component(AppearanceEncoder, folder)


def test_component_without_weights_is_refused(folder):
    (folder / SAFETENSORS).unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        load_component(AppearanceEncoder, folder)


def test_unknown_config_keys_are_refused_by_name(folder):
    change_config(folder, colour="red", layers=3)
    with pytest.raises(ValueError, match=r"config\.json has unknown keys: colour, layers$"):
        load_component(AppearanceEncoder, folder)


def test_private_config_keys_are_ignored(folder, encoder):
    change_config(folder, _somebodys_note="red")
    assert equal(load_component(AppearanceEncoder, folder).state_dict(), encoder.state_dict())


def test_missing_config_keys_are_refused_by_name(toy, tmp_path):
    # The number of heads shows in no weight: with the default in its place the model would draw something else.
    toy.unet.save_pretrained(tmp_path)
    change_config(tmp_path, num_heads=...)
    with pytest.raises(ValueError, match="num_heads"):
        load_component(UNet, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_num_groups": 0},
        {"block_out_channels": None},
        {"block_out_channels": 16},
        {"layers_per_block": "two"},
        {"block_out_channels": [16.5, 16, 32, 32]},
        {"norm_num_groups": 7},
    ],
    ids=str,
)
def test_impossible_config_values_are_refused_with_the_path(folder, changes):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match="encoder"):
        load_component(AppearanceEncoder, folder)


def test_missing_weight_is_named(folder):
    change_weights(folder, lambda state: {name: value for name, value in state.items() if name != "conv_in.bias"})
    with pytest.raises(ValueError, match=r"encoder does not fit AppearanceEncoder; missing: conv_in\.bias$"):
        load_component(AppearanceEncoder, folder)


def test_weights_of_another_size_are_refused(folder):
    change_config(folder, block_out_channels=[16, 16, 32, 64])
    with pytest.raises(ValueError, match="of another shape: "):
        load_component(AppearanceEncoder, folder)


def test_bin_weights_load_too(folder, encoder):
    torch.save(load_file(folder / SAFETENSORS), folder / BIN)
    (folder / SAFETENSORS).unlink()
    assert equal(load_component(AppearanceEncoder, folder).state_dict(), encoder.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_of_the_file_is_kept(folder, encoder, dtype):
    change_weights(folder, lambda state: {name: value.to(dtype) for name, value in state.items()})
    expected = {name: value.to(dtype) for name, value in encoder.state_dict().items()}
    assert equal(load_component(AppearanceEncoder, folder).state_dict(), expected)


def test_dtype_can_be_asked_for(folder, encoder):
    expected = {name: value.bfloat16() for name, value in encoder.state_dict().items()}
    assert equal(load_component(AppearanceEncoder, folder, torch.bfloat16).state_dict(), expected)


def test_files_of_several_dtypes_load_in_the_models_own(folder):
    dtypes = {"conv_in.bias": torch.bfloat16}
    change_weights(folder, lambda state: {n: value.to(dtypes.get(n, torch.float16)) for n, value in state.items()})
    assert load_component(AppearanceEncoder, folder).conv_in.bias.dtype == torch.float32


def test_loading_draws_no_random_numbers_that_matter(folder):
    torch.manual_seed(1)
    first = load_component(AppearanceEncoder, folder).state_dict()
    torch.manual_seed(2)
    assert equal(load_component(AppearanceEncoder, folder).state_dict(), first)


def test_loaded_weights_do_not_depend_on_the_file(folder, encoder):
    loaded = load_component(AppearanceEncoder, folder)
    shutil.rmtree(folder)
    assert equal(loaded.state_dict(), encoder.state_dict())


# -- weights_fingerprint -----------------------------------------------------------------------------------------


def code_of(fingerprint):
    """A code that carries this fingerprint, the smallest there is."""
    return AppearanceCode((torch.zeros(1, 1, 1, 1),), (torch.zeros(1, 1, 1),), fingerprint)


def models(seed=0):
    return build_models("toy", seed).values()


def test_fingerprint_is_a_small_float32_vector_on_the_cpu():
    fingerprint = weights_fingerprint(*models())
    assert (fingerprint.ndim, fingerprint.dtype, fingerprint.device.type) == (1, torch.float32, "cpu")
    assert len(fingerprint) < 2000
    assert not fingerprint.requires_grad


def test_fingerprint_is_repeatable():
    assert torch.equal(weights_fingerprint(*models()), weights_fingerprint(*models()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rounded", ["code", "model"])
def test_fingerprint_holds_across_dtypes(dtype, rounded):
    exact = weights_fingerprint(*models())
    coarse = weights_fingerprint(*(model.to(dtype) for model in models()))
    assert not torch.equal(exact, coarse)
    made_by, used_with = (coarse, exact) if rounded == "code" else (exact, coarse)
    code_of(made_by).check_model(used_with, [(1, 1, 1)])


def test_fingerprint_tells_another_seed():
    code = code_of(weights_fingerprint(*models(seed=0)))
    with pytest.raises(ValueError, match="made by a model with other weights; encode the photograph again"):
        code.check_model(weights_fingerprint(*models(seed=1)), [(1, 1, 1)])


@pytest.mark.parametrize("part", ["vae", "unet", "appearance_encoder"])
def test_fingerprint_tells_a_single_exchanged_component(part):
    parts = build_models("toy", seed=0)
    code = code_of(weights_fingerprint(*parts.values()))
    parts[part] = build_models("toy", seed=1)[part]
    with pytest.raises(ValueError, match="other weights"):
        code.check_model(weights_fingerprint(*parts.values()), [(1, 1, 1)])


def test_fingerprint_with_nan_fits_nothing():
    fingerprint = weights_fingerprint(*models())
    with pytest.raises(ValueError, match="other weights"):
        code_of(fingerprint * torch.nan).check_model(fingerprint, [(1, 1, 1)])
