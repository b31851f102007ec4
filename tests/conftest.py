import os

import pytest
import torch

from pocold.pipeline import PoseTransferPipeline

# pytest-xdist runs one process per core; commands that tests start get one thread too
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What is installed for the user who runs the tests must not change them; tests of BlazePose ask for it by themselves.
os.environ["POCOLD_POSE_MODEL"] = "none"


@pytest.fixture(scope="session")
def toy_session() -> PoseTransferPipeline:
    pipeline = PoseTransferPipeline.from_preset("toy", seed=0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def toy(toy_session: PoseTransferPipeline) -> PoseTransferPipeline:
    """The toy pipeline with its first scheduler, whatever an earlier test did."""
    toy_session.set_scheduler("ddim")
    return toy_session
