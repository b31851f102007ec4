"""One pipeline, many threads: the same pictures as one after the other, and stops that reach their own run alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pocold import PoseTransferPipeline
from pocold._pipeline_inputs import require_finite


@pytest.fixture(scope="module")
def toy():
    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def code(toy):
    pictures = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return toy.encode_tensors(pictures)


def figure(part):
    labels = np.zeros((64, 48), np.uint8)
    labels[10:50, 10:40] = part
    return labels


def draw(pipeline, code, part, steps, **options):
    generator = torch.Generator().manual_seed(part)
    options = {"num_inference_steps": steps, "generator": generator, "output_type": "np", **options}
    return pipeline(code, figure(part), **options).images


@pytest.mark.parametrize(
    "scheduler",
    ["pndm", "dpm++", pytest.param("ddim", marks=pytest.mark.slow), pytest.param("unipc", marks=pytest.mark.slow)],
)
def test_threads_draw_what_one_after_the_other_does(toy, code, scheduler):
    toy.set_scheduler(scheduler)
    jobs = [(part, steps) for part in (2, 7, 23) for steps in (4, 9)]
    alone = [draw(toy, code, *job) for job in jobs]
    assert np.abs(alone[0] - alone[2]).max() > 0.01  # else any mixture would pass
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda job: draw(toy, code, *job), jobs * 2))
    for picture, expected in zip(together, alone * 2, strict=True):
        np.testing.assert_array_equal(picture, expected)


def test_a_run_leaves_nothing_on_the_scheduler(toy, code):
    toy.set_scheduler("dpm++")
    before = {name: repr(value) for name, value in vars(toy.scheduler).items()}
    draw(toy, code, 2, 3)
    assert {name: repr(value) for name, value in vars(toy.scheduler).items()} == before


def test_a_callback_stops_its_own_run_alone(toy, code):
    toy.set_scheduler("ddim")
    both_run, counts = threading.Barrier(2, timeout=60), {}

    def run(name, stops):
        def callback(pipeline, step, timestep, tensors):
            if step == 0:
                both_run.wait()
            counts[name] = step + 1
            if stops:
                pipeline._interrupt = True

        draw(toy, code, 2, 6, callback_on_step_end=callback)

    threads = [threading.Thread(target=run, args=job) for job in (("stopped", True), ("other", False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"stopped": 1, "other": 6}


def test_a_thread_that_draws_nothing_stops_all_runs(toy, code):
    toy.set_scheduler("ddim")
    counts, started, stopped = [], threading.Event(), threading.Event()

    def callback(pipeline, step, timestep, tensors):
        counts.append(step)
        started.set()
        stopped.wait(60)

    thread = threading.Thread(target=lambda: draw(toy, code, 2, 6, callback_on_step_end=callback))
    thread.start()
    started.wait(60)
    toy._interrupt = True  # a stop button
    stopped.set()
    thread.join()
    assert counts == [0]


def test_what_is_not_finite_is_an_error_that_says_where_and_what_helps():
    require_finite(torch.zeros(2), "the latents", torch.float16)
    broken = torch.tensor([1.0, float("nan")])
    with pytest.raises(
        ValueError, match=r"the decoded picture hold NaN or infinity, computed in float16: .*--precision"
    ):
        require_finite(broken, "the decoded picture", torch.float16)
    with pytest.raises(ValueError, match="computed in float32: the weights or the input may be broken"):
        require_finite(broken, "the latents", torch.float32)


@pytest.mark.parametrize("broken", [lambda p: p.vae.encoder, lambda p: p.vae.decoder, lambda p: p.unet])
def test_no_picture_is_made_of_nan(broken):
    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        next(broken(pipeline).parameters()).fill_(float("inf"))
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        pipeline(np.full((64, 48, 3), 90, np.uint8), figure(2), num_inference_steps=2)
