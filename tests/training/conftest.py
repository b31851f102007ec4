"""Runs of toy size on a few drawn people."""

import pytest

from pocold.data.synthetic import SyntheticConfig
from pocold.data.writing import write_people
from pocold.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    ValidationConfig,
)

SIZE = (64, 48)


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder of four people (one for testing) in three pictures each."""
    folder = tmp_path_factory.mktemp("people")
    write_people(SyntheticConfig(seed=4, identities=4, per_identity=3, size=SIZE, supersample=1), folder, workers=1)
    return folder


@pytest.fixture
def config(people, tmp_path):
    """Two steps, a checkpoint after each, no validation."""
    return TrainConfig(
        DataConfig(path=str(people), workers=0),
        ModelConfig(
            block_out_channels=(16, 32),
            appearance_channels=(16, 32),
            layers_per_block=1,
            num_heads=2,
            num_filters=8,
            norm_num_groups=8,
        ),
        LossConfig(prediction_type="v_prediction", min_snr_gamma=5.0),
        OptimizerConfig(learning_rate=1e-3, warmup_steps=2),
        RunConfig(
            output=str(tmp_path / "run"), max_steps=2, batch_size=2, device="cpu", checkpoint_every=1, log_every=1
        ),
        ValidationConfig(every=0, pairs=2, preview_pairs=1, steps=2),
    )
