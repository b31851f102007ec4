import pytest
import torch

from pocold.pipeline import PoseTransferPipeline

# pytest-xdist runs one process per core
torch.set_num_threads(1)


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
