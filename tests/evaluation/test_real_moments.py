"""What is kept of real pictures: the same numbers without looking again, and never those of other pictures."""

import pytest

from pocold.data.opening import open_data
from pocold.evaluation.baselines import CopySource
from pocold.evaluation.evaluate import EvaluationConfig, evaluate
from pocold.evaluation.measuring import WeightFiles


@pytest.fixture
def run(people, weight_files, tmp_path):
    """Evaluate; the distance, and how many real pictures were looked at."""

    def run(out, **config):
        looked = []
        config = EvaluationConfig(
            **{"weights": WeightFiles(weight_files / "st_lpips.pth"), "device": "cpu", "limit": 3, "real_limit": 4}
            | config
        )
        report = evaluate(
            CopySource(), open_data(people, "test"), tmp_path / out, config, real=lambda: open_data(people, "train"),
            real_kept=tmp_path / "kept", progress=lambda what, done, of_all: looked.append((what, done)),
        )  # fmt: skip
        seen = max(done for what, done in looked if what == "measuring") - 3
        return report["metrics"]["fd_stlpips"]["value"], report["real"], seen

    return run


def test_a_second_evaluation_does_not_look_again_and_says_the_same(run):
    first, second = run("first"), run("second")
    assert first[2] == 4
    assert second == (*first[:2], 0)


@pytest.mark.parametrize("config", [{"real_limit": 3}, {"size": (64, 44)}])
def test_what_was_kept_of_others_does_not_count(run, config, tmp_path):
    run("first")
    assert run("second", **config)[2] == config.get("real_limit", 4)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_cannot_be_read_is_computed_anew(run, tmp_path):
    first = run("first")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])
    assert run("second") == first
    assert run("third")[2] == 0
