"""``pocold distill``: guidance into one prediction, many steps into few, and a pipeline that draws so."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import changed, log, weights

from pocold import PoseTransferPipeline
from pocold.cli import main
from pocold.training.config import PictureValidationConfig
from pocold.training.config_files import save_config
from pocold.training.distillation import DistilledModel, distill
from pocold.training.distillation_config import DistillationConfig, DistillTrainConfig

SIZE = (64, 48)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    """The folder of an untrained pipeline."""
    folder = tmp_path_factory.mktemp("teacher") / "pipeline"
    pipeline = PoseTransferPipeline.from_preset("toy", seed=3, surface_hint=True, sample_size=(8, 6))
    pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    pipeline.set_sampling(num_inference_steps=8, pose_guidance_scale=3.0, appearance_guidance_scale=3.0)
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def distill_config(config, teacher):
    """Two steps of guidance, a checkpoint after each, no validation."""
    return DistillTrainConfig(
        config.data,
        DistillationConfig(str(teacher)),
        replace(config.optimizer, ema_decay=0.9),
        replace(config.run, output=f"{config.run.output}-distilled"),
        PictureValidationConfig(every=0, pairs=2, preview_pairs=1),
    )


def drawn(pipeline, people, **options):
    """A picture in latents, and the rows of every call of the UNet for it."""
    rows = []
    handle = pipeline.unet.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    pipeline.set_progress_bar_config(disable=True)
    pictures = sorted((people / "img").rglob("*.jpg"))
    maps = sorted((people / "iuv").rglob("*.png"))
    latents = pipeline(
        pictures[0], maps[1], source_pose=maps[0], output_type="latent",
        generator=torch.Generator().manual_seed(0), **options,
    ).images  # fmt: skip
    handle.remove()
    return latents, rows


def batch(hint):
    """What a model learns from, without a data set."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(25, (2, *SIZE), generator=generator)
    latents, source = torch.randn(2, 2, 4, 8, 6, generator=generator)
    inputs = {"latents": latents, "source_latents": source, "labels": labels, "source_labels": labels}
    return inputs | ({"hint": torch.randn(2, 5, 8, 6, generator=generator)} if hint else {})


def test_a_student_comes_close_to_guidance():
    teacher = PoseTransferPipeline.from_preset("toy", seed=3)
    model = DistilledModel(teacher, DistillationConfig())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = model(batch(hint=False), torch.Generator().manual_seed(1))[0]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    assert model.unet.scale_embedding.linear_2.weight.any()  # it has begun to count
    assert not any(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_guidance_becomes_one_prediction_in_a_pipeline(distill_config, people):
    longer = changed(distill_config, run={"max_steps": 4, "checkpoint_every": 4}, validation={"every": 2})
    folder = distill(longer)
    entries = log(Path(longer.run.output))
    assert [entry["step"] for entry in entries if "validation/loss" in entry] == [2, 4]
    student = PoseTransferPipeline.from_pretrained(folder)
    assert student.unet.config.guidance_embedding
    assert type(student.scheduler).__name__ == "DDIMScheduler"
    latents, rows = drawn(student, people)
    assert rows == [1] * 8  # the teacher's steps, a single branch in each
    assert not torch.equal(latents, drawn(student, people, pose_guidance_scale=1.5)[0])
    with pytest.raises(ValueError, match="this model has its guidance distilled into it"):
        drawn(student, people, guidance="joint")
    assert "[distillation]" in (folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("hint", [False, True])
def test_without_guidance_a_new_student_is_its_teacher(kind, hint):
    teacher = PoseTransferPipeline.from_preset("toy", seed=3, surface_hint=hint)
    teacher.scheduler.register_to_config(prediction_type=kind)
    alone = DistillationConfig(lowest_scale=1.0, highest_scale=1.0)
    for settings, low, high in (
        (alone, 0.0, 1e-8),
        (replace(alone, steps=4, substeps=1), 0.0, 1e-8),
        (replace(alone, steps=4, substeps=3), 1e-7, 1.0),
        (replace(alone, highest_scale=5.0), 1e-7, 10.0),
    ):
        model = DistilledModel(teacher, settings)
        generator = torch.Generator().manual_seed(0)
        loss = model(batch(hint), generator).item()
        assert low <= loss <= high, settings


def test_few_steps_are_learned_of_a_distilled_teacher(distill_config, people, capsys):
    first = distill(distill_config)
    second = changed(
        distill_config,
        distillation={"teacher": str(first), "steps": 2},
        run={"output": f"{distill_config.run.output}-steps"},
        validation={"every": 2},
    )
    path = Path(distill_config.run.output).parent / "steps.toml"
    save_config(second, path, "")
    main(["distill", str(path)])
    told = capsys.readouterr()
    assert "2 evaluations, each for 2 of the teacher" in told.out + told.err
    student = PoseTransferPipeline.from_pretrained(f"{second.run.output}/pipeline")
    assert student.sampling.num_inference_steps == 2
    assert student.scheduler.config.timestep_spacing == "trailing"
    assert drawn(student, people)[1] == [1, 1]
    assert (Path(second.run.output) / "previews").is_dir()


def test_a_distillation_goes_on_to_the_bit_and_only_of_the_same_teacher(distill_config, tmp_path):
    straight = changed(distill_config, run={"max_steps": 4, "output": str(tmp_path / "straight")})
    distill(straight)
    distill(distill_config)
    on = changed(distill_config, run={"max_steps": 4})
    distill(on)
    for name in ("model", "ema"):
        a, b = (weights(Path(one.run.output), 4, name) for one in (straight, on))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert not any(key.startswith("_teacher") for key in a)
    PoseTransferPipeline.from_preset("toy", seed=4).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="holds a run on other data or weights"):
        distill(changed(on, distillation={"teacher": str(tmp_path / "other")}, run={"max_steps": 5}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "distillation.steps must be at least 0, got -1"),
        ({"substeps": 0}, "distillation.substeps must be at least 1, got 0"),
        ({"highest_scale": 0.5}, "distillation.highest_scale must be at least 1, got 0.5"),
        ({"scales_apart": 2.0}, r"distillation.scales_apart must lie in \[0, 1\], got 2.0"),
    ],
)
def test_settings_of_a_distillation(values, message):
    with pytest.raises(ValueError, match=message):
        DistillationConfig(**values)


def test_a_teacher_that_is_none(distill_config, tmp_path):
    with pytest.raises(ValueError, match="no such model folder"):
        distill(changed(distill_config, distillation={"teacher": str(tmp_path / "nobody")}))
