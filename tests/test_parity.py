"""Equality with the published method, number by number.

The data (``tests/golden/README.md``) comes from the folder in ``POCOLD_PARITY_DIR``, all configuration from its
``manifest.json``. Where pocold differs on purpose, the published behaviour is written out here in a few lines.

Tolerances are those of two runs of the same formulas in another order of summation, with room for other kernels.
"""

import functools
import json
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, PNDMScheduler
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from safetensors.torch import load_file

from pocold.conversion.official import convert_appearance_encoder, convert_unet
from pocold.densepose.maps import one_hot, resize_labels
from pocold.diffusion.guidance import appearance_first, conditional, decayed, independent, joint, pose_first, pose_only
from pocold.diffusion.sampling import denoise
from pocold.models.attention import DoubleAttention
from pocold.models.blocks import ResidualBlock
from pocold.models.pose_constraint import PoseConstraint

FOLDER = Path(os.environ.get("POCOLD_PARITY_DIR") or Path(__file__).parent / "golden" / "parity")
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
FORMULAS = {
    "no": conditional,
    "cat_only": pose_only,
    "cat_ref": pose_first,
    "ref_cat": appearance_first,
    "dis": independent,
    "and": joint,
}


def cases(kind):
    names = [name for name, case in MANIFEST["cases"].items() if case["kind"] == kind]
    assert names, f"the manifest has no case of kind {kind}"
    return names


@pytest.fixture(scope="module")
def weights():
    return load_file(FOLDER / "weights.safetensors")


@pytest.fixture(scope="module")
def tensors():
    """{case: {name: tensor}}"""
    grouped = {}
    for name, tensor in load_file(FOLDER / "cases.safetensors").items():
        case, _, leaf = name.rpartition("/")
        grouped.setdefault(case, {})[leaf] = tensor
    return grouped


@pytest.fixture
def unet(weights):
    state = {name: value for name, value in weights.items() if name.startswith(("unet.", "channel_mapper."))}
    return convert_unet(MANIFEST["unet_config"], MANIFEST["channel_mapper_config"], state)


@pytest.fixture
def encoder(weights):
    state = {name.removeprefix("rie."): value for name, value in weights.items() if name.startswith("rie.")}
    return convert_appearance_encoder(MANIFEST["rie_config"], state)


def time_conditioned(encoder, weights):
    """The published encoder's other variant, with time embedding. pocold does not build it: its features, and so the
    appearance code, would change with every step."""
    first = encoder.config.block_out_channels[0]
    embedding = TimestepEmbedding(first, 4 * first)
    for block in encoder.down_blocks:
        for j, plain in enumerate(block.resnets):
            inputs, outputs = plain.conv1.in_channels, plain.conv1.out_channels
            timed = ResidualBlock(inputs, outputs, 4 * first, plain.norm1.num_groups, plain.norm1.eps)
            timed.load_state_dict(plain.state_dict(), strict=False)
            block.resnets[j] = timed
    extra = {n.removeprefix("rie_time."): value for n, value in weights.items() if n.startswith("rie_time.")}
    own = {**encoder.state_dict(), **{f"time_embedding.{n}": v for n, v in embedding.state_dict().items()}}
    assert extra.keys() <= own.keys()
    embedding.load_state_dict({n.removeprefix("time_embedding."): v for n, v in extra.items() if n[:5] == "time_"})
    encoder.load_state_dict({**encoder.state_dict(), **{n: v for n, v in extra.items() if n[:5] != "time_"}})

    def forward(latents, timesteps):
        time = embedding(get_timestep_embedding(timesteps, first, flip_sin_to_cos=True, downscale_freq_shift=0))
        hidden, features = encoder.conv_in(latents), []
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                hidden = resnet(hidden, time)
            for downsampler in block.downsamplers:
                hidden = downsampler(hidden)
            features.append(hidden)
        return tuple(features)

    return forward


def skip_forward(attention, hidden, source=None, constraint=None):
    """The published layer without a reference when it is told not to skip: queries straight to the output."""
    tokens = attention.to_out(attention.to_q(hidden.flatten(2).transpose(1, 2)))
    return tokens.transpose(1, 2).view_as(hidden), None


def close(actual, expected, atol, rtol=0.0):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol)


def test_order_of_attentions(unet):
    names = {id(module): name for name, module in unet.named_modules() if isinstance(module, DoubleAttention)}
    assert [names[id(attention)] for _, attention in unet.attentions()] == MANIFEST["attention_layers_call_order"]


@pytest.mark.parametrize("case", cases("attention"))
@torch.no_grad()
def test_attention(case, unet, tensors):
    data = tensors[case]
    attention = unet.get_submodule(MANIFEST["cases"][case]["layer"])
    hidden, source = data["hidden_states"], data["encoder_hidden_states"]
    close(attention(hidden, source)[0], data["out"], atol=1e-5)
    close(attention.distribute(hidden, attention.extract(source)), data["out"], atol=1e-5)
    extraction = attention.extraction_probabilities(source).transpose(-1, -2).flatten(0, 1)
    close(extraction, data["extraction_probs"], atol=1e-5)
    distribution = attention.distribution_probabilities(hidden).transpose(-1, -2).flatten(0, 1)
    close(distribution, data["distribution_probs"], atol=1e-5)
    close(skip_forward(attention, hidden)[0], data["skip_forward_out"], atol=1e-5)

    hidden, source = data["pen_hidden_states"], data["pen_encoder_hidden_states"]
    target_labels, source_labels = data["pen_constraint_maps"].long().unbind(1)
    level = PoseConstraint(target_labels, source_labels).level(tuple(hidden.shape[-2:]), tuple(source.shape[-2:]))
    result, penalty = attention(hidden, source, level)
    close(result, data["pen_out"], atol=1e-5)
    close(penalty.mean(0, keepdim=True), data["pen_value"], atol=0, rtol=1e-4)


@pytest.mark.parametrize("case", cases("forward"))
@torch.no_grad()
def test_forward(case, unet, encoder, weights, tensors, monkeypatch):
    data = dict(tensors[case])
    latents, timesteps, source = data.pop("noisy_latents"), data.pop("timesteps"), data.pop("ref_latents")
    data.pop("from_labels")  # only the penalty looks at them
    pose = one_hot(data.pop("cat_labels"), tuple(latents.shape[-2:]))
    null = torch.zeros_like(pose)
    features = encoder(source)
    results = {
        "mapper_out": torch.cat([latents, unet.pose_projection(pose)], dim=1),
        "mapper_out_uncond": torch.cat([latents, unet.pose_projection(null)], dim=1),
        "unet_ref": unet(latents, timesteps, pose, features).sample,
        "unet_noref": unet(latents, timesteps, pose).sample,
        "unet_null": unet(latents, timesteps, null).sample,
        "unet_ref_uncondcat": unet(latents, timesteps, null, features).sample,
        "unet_ref_scalar_t": unet(latents, timesteps[1], pose, features).sample,
    }
    results |= {f"rie_{level}": feature for level, feature in enumerate(features)}
    timed = time_conditioned(encoder, weights)(source, timesteps)
    results |= {f"rie_time_{level}": feature for level, feature in enumerate(timed)}
    with monkeypatch.context() as patch:
        patch.setattr(DoubleAttention, "forward", skip_forward)
        results["unet_noref_skip_if_none_false"] = unet(latents, timesteps, pose, features).sample
    assert results.keys() == data.keys()
    for name, expected in data.items():
        close(results[name], expected, atol=5e-5)


@pytest.mark.parametrize("case", cases("train"))
def test_training_step(case, unet, encoder, tensors):
    data = tensors[case]
    target_labels, source_labels = data["constraint_maps"].long().unbind(1)
    size = tuple(data["noisy_latents"].shape[-2:])

    def step():
        return unet(
            data["noisy_latents"],
            data["timesteps"],
            one_hot(data["cat_labels"], size),
            encoder(data["ref_latents"]),
            pose_constraint=PoseConstraint(target_labels, source_labels),
        )

    output = step()
    close(output.sample, data["sample"], atol=5e-5)
    per_layer = output.pose_penalty.mean(1)
    mse, penalty = F.mse_loss(output.sample, data["target_noise"]), per_layer.sum()
    close(mse, data["mse"].squeeze(), atol=0, rtol=1e-4)
    close(per_layer, data["attn_penalty_per_layer"], atol=0, rtol=1e-4)
    close(penalty, data["attn_penalty"].squeeze(), atol=0, rtol=1e-4)

    (mse + penalty).backward()
    check_gradients(official_gradients(unet, encoder), data, "grad.", MANIFEST["cases"][case]["grad_l2"])
    for module in (unet, encoder):
        module.zero_grad()
    step().pose_penalty.mean(1).sum().backward()
    expected = MANIFEST["cases"][case]["grad_l2_penalty_only"]
    check_gradients(official_gradients(unet, encoder), data, "pengrad.", expected)


def official_gradients(unet, encoder):
    """Our gradients under the official names; the published single scale gets what our two scales get together."""
    gradients = {f"rie.{name}": parameter.grad for name, parameter in encoder.named_parameters()}
    for name, parameter in unet.named_parameters():
        if name.startswith("pose_projection."):
            official = name.replace("pose_projection.", "channel_mapper.cond_conv.")
        else:
            official = "unet." + name.replace("logit_scale", "scale").replace("residual_scale", "scale")
        grad = parameter.grad
        if gradients.get(official) is not None and grad is not None:
            grad = grad + gradients[official]
        elif grad is None:
            grad = gradients.get(official)
        gradients[official] = grad
    return gradients


def check_gradients(gradients, data, prefix, norms):
    for name, expected in data.items():
        if name.startswith(prefix):
            actual = gradients[name.removeprefix(prefix)]
            close(actual, expected, atol=1e-3 * float(expected.abs().max()))
    assert norms.keys() <= gradients.keys()
    # Gradients that are zero in exact arithmetic (a bias before its own normalisation) hold rounding errors only.
    floor = 1e-6 * max(norm for norm in norms.values() if norm is not None)
    for name, gradient in gradients.items():
        actual = 0.0 if gradient is None else float(gradient.norm())
        assert actual == pytest.approx(norms.get(name) or 0.0, rel=1e-3, abs=floor), name


@pytest.mark.parametrize("case", cases("train"))
def test_same_part_masks(case, tensors):
    data = tensors[case]
    maps = data["constraint_maps"]
    for name in [name for name in data if name.startswith("same_part_mask_level")]:
        level = int(name.removeprefix("same_part_mask_level"))
        # The published reduction: by a factor, which rounds down, from the full-size map.
        reduced = F.interpolate(maps, scale_factor=0.5**level, mode="nearest")
        target, source = reduced.flatten(2).unbind(1)
        same = (target[:, :, None] == source[:, None, :]).to(torch.uint8)
        torch.testing.assert_close(same, data[name], atol=0, rtol=0)
        # Ours reduces to the level's own size; the same where everything divides.
        size = tuple(-(-side // 2**level) for side in maps.shape[-2:])
        if size == tuple(reduced.shape[-2:]):
            torch.testing.assert_close(resize_labels(maps, size), reduced, atol=0, rtol=0)


def test_add_noise(tensors):
    data = tensors["add_noise"]
    scheduler = DDIMScheduler(**MANIFEST["scheduler"]["ddim"])
    close(scheduler.alphas_cumprod, data["alphas_cumprod"], atol=1e-6)
    close(scheduler.add_noise(data["x0"], data["noise"], data["timesteps"]), data["noisy"], atol=1e-5)


def published_weights(case):
    """Branch weights per time step, decay included where the published code has it."""
    formula = FORMULAS[case["cfg_type"]]
    pose_scale, appearance_scale, floor = (
        case["cat_guidance_scale"],
        case["ref_guidance_scale"],
        case["end_cfg"],
    )

    def weights_at(timestep):
        if not case.get("cfg_decay"):
            return formula(pose_scale, appearance_scale)
        if case["cfg_type"] == "cat_ref":
            return formula(decayed(pose_scale, timestep, floor), decayed(appearance_scale, timestep, floor))
        if case["cfg_type"] == "cat_only":  # ends at 2 whatever was asked for
            return formula(decayed(pose_scale, timestep, 2), appearance_scale)
        return formula(pose_scale, appearance_scale)

    return weights_at


def record_steps(scheduler):
    """Everything that goes into and comes out of ``scheduler.step``."""
    predictions, latents = [], []
    step = scheduler.step

    @functools.wraps(step)
    def recorded(model_output, timestep, sample, **options):
        result = step(model_output, timestep, sample, **options)
        predictions.append(model_output)
        latents.append(result.prev_sample)
        return result

    scheduler.step = recorded
    return predictions, latents


def step_generator(name):
    """The seed of the noise that the scheduler adds stands in the case's name: ``...:eta1_gen7``."""
    seed = re.search(r"gen(\d+)$", name)
    return torch.Generator().manual_seed(int(seed[1])) if seed else None


@pytest.mark.parametrize("name", cases("sample"))
@torch.no_grad()
def test_sampling_trace(name, unet, encoder, weights, tensors):
    case, inputs = MANIFEST["cases"][name], tensors["sample:inputs"]
    scheduler_class = {"ddim": DDIMScheduler, "pndm": PNDMScheduler}[case["scheduler"]]
    scheduler = scheduler_class(**MANIFEST["scheduler"][case["scheduler"]])
    pose = one_hot(inputs["cat_labels"], tuple(inputs["init_latents"].shape[-2:]))

    if "raises" in case:  # the published code fails on these arguments; they are valid ones here
        case = {**MANIFEST["guidance"], **case}
        scheduler.set_timesteps(2)
        code = unet.extract_appearance(encoder(inputs["ref_latents"]), fingerprint=torch.zeros(1))
        latents = denoise(unet, scheduler, inputs["init_latents"], pose, code, published_weights(case))
        assert torch.isfinite(latents).all()
        return

    scheduler.set_timesteps(case["num_inference_steps"])
    assert scheduler.timesteps.tolist() == case["timesteps"]
    if case.get("rie_calls") == 1:
        features = time_conditioned(encoder, weights)(inputs["ref_latents"], scheduler.timesteps[:1])
    else:
        features = encoder(inputs["ref_latents"])
    code = unet.extract_appearance(features, fingerprint=torch.zeros(1))

    def published_composition(step, timestep, latents):
        """Kept latents at the noise of the step just left, with new noise each time."""
        noise = tensors[name]["edit_noise"][step]
        known = scheduler.add_noise(inputs["source_latents"], noise, timestep.reshape(1))
        return torch.where(inputs["edit_mask"].bool(), latents, known), True

    predictions, latents = record_steps(scheduler)
    result = denoise(
        unet,
        scheduler,
        inputs["init_latents"],
        pose,
        code,
        published_weights(case),
        eta=case["eta"],
        generator=step_generator(name),
        on_step=published_composition if case["edit"] else None,
    )
    expected = tensors[name]
    close(torch.stack(predictions), expected["noise_pred"], atol=2e-3)
    close(torch.stack(latents), expected["latents"], atol=2e-3)
    image = (result / 0.18215 / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    close(image, expected["image"], atol=4e-3)
