"""The model card that every trained pipeline and autoencoder carries: what it is, made of what, measured how."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from pocold.imaging.files import atomic_write
from pocold.training.checkpoints import Progress
from pocold.training.config_files import to_toml


def write_card(folder: Path, text: str) -> None:
    """Put a card into a model folder, as ``README.md``."""
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def pipeline_card(config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any) -> str:
    """The card of a pipeline trained by ``pocold train``."""
    use = (
        "```python\nfrom pocold import PoseTransferPipeline\n\n"
        'pipeline = PoseTransferPipeline.from_pretrained("PATH OF THIS FOLDER")\n'
        'picture = pipeline("person.png", "pose.png").images[0]\n```'
    )
    what = (
        "A pipeline of pocold: from a photograph of a person and a DensePose map it draws the same person in that pose."
    )
    return _card("Pose transfer", what, use, config, parts, progress, data)


def autoencoder_card(config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any) -> str:
    """The card of an autoencoder trained by ``pocold train-autoencoder``."""
    use = "```\npocold train CONFIG.toml --model.vae PATH OF THIS FOLDER\n```"
    return _card(
        "Autoencoder", "An autoencoder of pictures, for pocold's pipelines.", use, config, parts, progress, data
    )


def estimator_card(config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any) -> str:
    """The card of an estimator trained by ``pocold train-estimator``."""
    use = "```\npocold pose photo.jpg --estimator PATH OF THIS FOLDER -o pose.png\n```"
    what = "A small network that finds the DensePose map of the person in a photograph, for pocold's pipelines."
    return _card("DensePose estimator", what, use, config, parts, progress, data)


def refiner_card(config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any) -> str:
    """The card of a refiner trained by ``pocold train-refiner``."""
    use = (
        "```python\nfrom pathlib import Path\n\nfrom pocold import PoseTransferPipeline\n"
        "from pocold.models.refiner import load_refiner\n\n"
        'pipeline = PoseTransferPipeline.from_pretrained("PATH OF A PIPELINE")\n'
        'pipeline.register_modules(refiner=load_refiner(Path("PATH OF THIS FOLDER")))\n```'
    )
    what = "A network that repairs what pocold's pipelines draw, at full resolution, with what the photograph shows."
    return _card("Refiner", what, use, config, parts, progress, data)


def baseline_card(kind: str, config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any) -> str:
    """The card of PIDM or NTED trained by ``pocold train``."""
    use = "```\npocold evaluate PATH OF THIS FOLDER DATA -o out\n```"
    what = f"{kind}, written afresh from its paper for comparison with pocold's pipelines, steered by keypoints."
    return _card(kind, what, use, config, parts, progress, data)


def _card(
    title: str, what: str, use: str, config: Any, parts: Mapping[str, nn.Module], progress: Progress, data: Any
) -> str:
    sizes = [f"| {name} | {sum(p.numel() for p in part.parameters()) / 1e6:.2f} M |" for name, part in parts.items()]
    run = config.run
    skipped = len(getattr(data, "skipped", {}))  # people that are drawn on the fly cannot be broken
    data_lines = [
        f"- data: {config.data.path or config.data.layout}, split {config.data.split}",
        f"- pairs seen: {progress.samples:,}"
        + (f" of {len(data):,} different ones" if hasattr(data, "__len__") else ""),
        f"- pictures left out as broken: {skipped}",
    ]
    steps = [
        f"- steps: {progress.step:,} of {run.max_steps:,}, of which {progress.skipped} were skipped as not finite",
        f"- time: {progress.seconds / 3600:.2f} hours on {platform.machine()}, {platform.system()}",
        f"- versions: pocold {version('pocold')}, torch {version('torch')}, diffusers {version('diffusers')}",
    ]
    metrics = [f"| {name} | {value:.4f} |" for name, value in progress.metrics.items()]
    measured = (
        "\n".join(["| metric | validation subset |", "| --- | --- |", *metrics])
        if metrics
        else "This run measured nothing on a validation subset."
    )
    return f"""# {title}

{what}

{use}

## Size

| part | parameters |
| --- | --- |
{chr(10).join(sizes)}

## Training

{chr(10).join([*data_lines, *steps])}

## Metrics

{measured}

Of the last validation, at step {progress.step} or before; the best checkpoint by the configured metric was that of step
{progress.best_step if progress.best_step is not None else "-"}. For numbers that can be compared: `pocold evaluate`.

## Config

```toml
{to_toml(config).rstrip()}
```
"""
