"""Engines for inference: which is chosen and why, and that they draw what torch draws."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch

from pocold import PoseTransferPipeline, devices
from pocold.diffusion import engines
from pocold.diffusion.engines import OpenVINOUNet, choose_engine

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def needs_openvino(test):
    """A test that runs with make test-apps: every conversion takes seconds."""
    return pytest.mark.apps(pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")(test))


@pytest.fixture
def machine(monkeypatch):
    """What the machine has."""

    def having(units, installed):
        has = "has bfloat16 units" if units else "has no bfloat16 units"
        monkeypatch.setattr(engines, "fast_bf16", lambda: (units, has))
        monkeypatch.setattr(engines, "find_spec", lambda name: object() if installed else None)

    return having


@pytest.mark.parametrize(
    ("units", "installed", "device", "expected", "reason"),
    [
        (False, False, CPU, ("torch", torch.float32), "this CPU has no bfloat16 units; OpenVINO is not installed"),
        (False, True, CPU, ("openvino", torch.float32), "this CPU has no bfloat16 units; OpenVINO is installed"),
        (True, False, CPU, ("torch", torch.bfloat16), "this CPU has bfloat16 units; OpenVINO is not installed"),
        (True, True, CPU, ("openvino", torch.bfloat16), "this CPU has bfloat16 units; OpenVINO is installed"),
        (False, True, GPU, ("torch", torch.bfloat16), "this CUDA has bfloat16 units; OpenVINO is for"),
    ],
)
def test_auto_picks_by_what_the_machine_has(machine, units, installed, device, expected, reason):
    machine(units, installed)
    chosen = choose_engine("auto", None, device)
    assert (chosen.name, chosen.dtype) == expected
    assert chosen.reason.startswith(reason)


def test_a_dtype_that_is_asked_for_is_taken(machine):
    machine(units=True, installed=False)
    assert choose_engine("auto", torch.float32, CPU).dtype == torch.float32
    assert choose_engine("torch", torch.bfloat16, CPU) == engines.Engine("torch", torch.bfloat16, "as asked for")
    machine(units=True, installed=True)
    assert choose_engine("auto", torch.float16, CPU).name == "torch"


@pytest.mark.parametrize(
    ("arguments", "installed", "message"),
    [
        (("onnx", None, CPU), True, "unknown engine 'onnx': expected one of auto, torch, openvino, compile"),
        (("torch", torch.int8, CPU), True, r"expected torch\.float32, bfloat16 or float16, got torch\.int8"),
        (("openvino", None, CPU), False, r"needs OpenVINO: pip install 'pocold\[openvino\]'; or use torch"),
        (("openvino", torch.float16, CPU), True, r"float32 or bfloat16 on a CPU, got torch\.float16 on cpu; use torch"),
        (("openvino", torch.float32, GPU), True, r"float32 or bfloat16 on a CPU, got torch\.float32 on cuda; use"),
    ],
)
def test_what_cannot_be_used(machine, arguments, installed, message):
    machine(units=False, installed=installed)
    with pytest.raises(ValueError, match=message):
        choose_engine(*arguments)


@pytest.fixture
def processor(monkeypatch):
    """Of a processor's abilities and speed in bfloat16 what is said of it."""

    def of(speed=None, **able):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
        monkeypatch.setattr(devices, "_bf16_speed", lambda: speed)  # None: not to be timed
        devices.fast_bf16.cache_clear()
        return devices.fast_bf16()

    yield of
    devices.fast_bf16.cache_clear()


def test_units_are_those_of_the_processor(processor, monkeypatch):
    assert processor(avx2=True, avx512_bf16=False) == (False, "has no bfloat16 units")
    assert processor(avx512_bf16=True, amx_bf16=True) == (True, "has bfloat16 units")
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as before torch 2.10
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    devices.fast_bf16.cache_clear()
    assert devices.fast_bf16()[0]


def test_units_that_are_slower_are_not_used(processor):
    assert processor(0.5, avx512_bf16=True) == (False, "has bfloat16 units that are no faster than its float32")
    assert processor(1.9, avx512_bf16=True) == (True, "has bfloat16 units")


def test_speed_is_timed():
    assert 0.001 < devices._bf16_speed() < 1000


LABELS = torch.randint(0, 25, (3, 48, 40), generator=torch.Generator().manual_seed(1)).numpy()


def draw(pipeline, poses=1, **options):
    settings = {"num_inference_steps": 3, "output_type": "pt", "generator": torch.Generator().manual_seed(2), **options}
    photo = torch.rand(3, 48, 40, generator=torch.Generator().manual_seed(0))
    return pipeline(photo, list(LABELS[:poses]), **settings).images


def make(**unet_options):
    pipeline = PoseTransferPipeline.from_preset("toy", **unet_options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_nothing_changes_unless_it_is_asked_for():
    pipeline = make()
    before = draw(pipeline)
    assert pipeline.engine == engines.Engine("torch", torch.float32, "as loaded")
    assert pipeline.optimize("torch", torch.float32).name == "torch"
    assert torch.equal(draw(pipeline), before)


def test_half_precision_is_of_all_networks():
    pipeline = make()
    exact = draw(pipeline)
    assert pipeline.optimize("torch", torch.bfloat16) == pipeline.engine
    assert {pipeline.vae.dtype, pipeline.appearance_encoder.dtype, pipeline.unet.dtype} == {torch.bfloat16}
    assert 0 < (draw(pipeline) - exact).abs().mean() < 0.02


def test_compile_marks_the_unet_and_torch_takes_it_back():
    pipeline = make()
    assert pipeline.optimize("compile", torch.float32).name == "compile"
    assert pipeline.unet._compiled_call_impl is not None  # compiled at the first call, in minutes
    pipeline.optimize("torch", torch.float32)
    assert pipeline.unet._compiled_call_impl is None
    assert draw(pipeline).shape == (1, 3, 48, 40)


@needs_openvino
@pytest.mark.parametrize(
    "options",
    [
        {"poses": 2, "batch_size": 2},
        {"pose_guidance_scale": 4.0, "appearance_guidance_scale": 6.0},  # three branches, then two
    ],
)
def test_openvino_draws_what_torch_draws(options):
    pipeline = make()
    expected = draw(pipeline, **options)
    chosen = pipeline.optimize("openvino", torch.float32)
    assert (chosen.name, chosen.dtype) == ("openvino", torch.float32)
    calls = []
    call = OpenVINOUNet.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenVINOUNet, "__call__", lambda *a, **k: calls.append(1) or call(*a, **k))
        drawn = draw(pipeline, **options)
    assert calls
    assert (drawn - expected).abs().max() < 1e-3


@needs_openvino
def test_openvino_in_threads_and_after_another_unet():
    pipeline = make()
    expected = [draw(pipeline, poses) for poses in (1, 2, 1, 2)]
    pipeline.optimize("openvino", torch.float32)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda poses: draw(pipeline, poses), (1, 2, 1, 2)))
    for mine, theirs in zip(drawn, expected, strict=True):
        assert (mine - theirs).abs().max() < 1e-3
    assert len(pipeline._denoiser._compiled) == engines._KEPT == 2
    other = PoseTransferPipeline.from_preset("toy", seed=1)
    pipeline.register_modules(unet=other.unet)
    assert pipeline._denoiser is other.unet


@needs_openvino
def test_openvino_takes_a_surface_hint_and_guidance_scales():
    unet = make(surface_hint=True, hint_skip=True, guidance_embedding=True).unet.eval()
    generator = torch.Generator().manual_seed(3)
    for layer in (unet.skip_weights, unet.scale_embedding.linear_2):
        torch.nn.init.normal_(layer.weight, std=0.1, generator=generator)
    latents, hint = torch.randn(2, 4, 6, 5, generator=generator), torch.randn(2, 5, 6, 5, generator=generator)
    pose = torch.rand(2, 25, 6, 5, generator=generator)
    network, results = OpenVINOUNet(unet, torch.float32), []
    for scales in (torch.tensor([3.0, 2.0]), torch.tensor([5.0, 1.0])):
        extra = {"hint": hint, "guidance_scales": scales}
        with torch.no_grad():
            expected = unet(latents, torch.tensor(501), pose, **extra).sample
        results.append(network(latents, torch.tensor(501), pose, **extra).sample)
        torch.testing.assert_close(results[-1], expected, rtol=0, atol=1e-4)
    assert not torch.allclose(*results, atol=1e-2)  # one conversion, other scales
    assert len(network._compiled) == 1
