"""Watching a run on a fixed subset: the loss at fixed noise, metrics of drawn pictures, and a sheet to look at.

Everything here is a function of the weights: the same pairs, noise and time steps each time, whatever the number of
processes, which share the pairs among themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from pocold.data.pairs import collate
from pocold.densepose.encoding import encode_pose
from pocold.densepose.maps import DensePose
from pocold.diffusion.losses import training_loss
from pocold.diffusion.sampling import SamplingDefaults, denoise
from pocold.evaluation import metrics
from pocold.imaging import images
from pocold.imaging.sheets import sheet_of_rows
from pocold.models import autoencoder
from pocold.models.perceptual import load_st_lpips
from pocold.pipeline import PoseTransferPipeline
from pocold.training.config import ValidationConfig
from pocold.training.inputs import Inputs
from pocold.training.loader import first_samples, open_validation_data
from pocold.training.results import write_preview

_TIMESTEPS = 4  # at which the loss of a pair is measured, spread evenly
_AT_ONCE = 8


Distance = Callable[[Tensor, Tensor], Tensor]
Losses = Callable[[PoseTransferPipeline, dict[str, Tensor], Sequence[int]], Tensor]
Row = tuple[int, dict[str, float], Image.Image]


def find_distance(settings: ValidationConfig, device: torch.device) -> Distance | None:
    """ST-LPIPS; None where its weights are not installed, which is an error if it is to tell the best checkpoint."""
    try:
        return load_st_lpips("alex").to(device)
    except ValueError:
        if settings.best_metric == "st_lpips":
            raise
        return None


def picture_metrics(drawn: Tensor, truth: Tensor, distance: Distance | None) -> dict[str, Tensor]:
    """PSNR, SSIM, L1 and, with a distance, ST-LPIPS of pictures ``(B, 3, H, W)`` in [-1, 1]: each ``(B,)``."""
    columns = {
        "psnr": metrics.psnr(drawn, truth),
        "ssim": metrics.ssim_gaussian(drawn, truth),
        "l1": metrics.l1(drawn, truth),
    }
    return columns if distance is None else {**columns, "st_lpips": distance(drawn, truth)}


def rows_of(numbers: Sequence[int], columns: Mapping[str, Tensor], drawn: Tensor) -> list[Row]:
    """What was measured of each picture: its number in the subset, its metrics, itself."""
    values = [{name: float(column[k]) for name, column in columns.items()} for k in range(len(numbers))]
    return list(zip(numbers, values, images.to_pil(drawn), strict=True))


def gathered(rows: list[Row]) -> tuple[list[Row], dict[str, float]]:
    """The rows of all processes in order, and the mean of every metric; every process has to call it."""
    rows = sorted(gather_object(rows), key=lambda row: row[0])
    return rows, {name: sum(row[1][name] for row in rows) / len(rows) for name in rows[0][1]}


def pair_sheet(
    samples: Sequence[Mapping[str, Any]],
    shown: Sequence[tuple[int, Image.Image]],
    pose_of: Callable[[Mapping[str, Any]], Image.Image],
) -> Image.Image:
    """Source, pose, truth and result, a row per pair.

    Args:
        samples: the subset.
        shown: number in it, and what was drawn.
        pose_of: the picture of a sample's pose.
    """
    rows = []
    for i, drawn in shown:
        sample = samples[i]
        source, truth = images.to_pil(torch.stack([sample["source"], sample["target"]]))
        rows.append([source, pose_of(sample), truth, drawn])
    return sheet_of_rows(rows, ["source", "pose", "truth", "result"])


def spread_timesteps(total: int) -> Tensor:
    """The time steps at which the loss of a pair is measured, of a schedule of ``total``; int64."""
    return (torch.arange(_TIMESTEPS) * 2 + 1) * total // (2 * _TIMESTEPS)


def seeded_noise(like: Tensor, part: Sequence[int]) -> Tensor:
    """Noise ``(B, C, h, w)`` like latents, each row seeded by its number in the subset."""
    shape = like.shape[1:]
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in part]).to(like)


def noise_losses(pipeline: PoseTransferPipeline, inputs: dict[str, Tensor], part: Sequence[int]) -> Tensor:
    """Noise loss per pair ``(B,)``: the mean over fixed time steps, both conditions kept."""
    total = pipeline.scheduler.config.num_train_timesteps
    losses = []
    for row, i in enumerate(part):
        generator = torch.Generator().manual_seed(i)
        one: dict[str, Any] = {
            name: value[row : row + 1].repeat_interleave(_TIMESTEPS, 0) for name, value in inputs.items()
        }
        timesteps = spread_timesteps(total).to(inputs["latents"].device)
        loss = training_loss(
            pipeline.unet, pipeline.appearance_encoder, pipeline.scheduler, **one, penalty_weight=0.0,
            timesteps=timesteps, generator=generator,
        )  # fmt: skip
        losses.append(loss.noise)
    return torch.stack(losses)


class Validation:
    """The fixed subset of a run.

    Args:
        config: of the run.
        accelerator: its processes.
        folder: of the run; sheets are written to ``previews`` in it.
        sampling: how it is drawn.
        losses: (pipeline, inputs, numbers in the subset) -> loss of each pair ``(B,)``.
        **needs: what the model needs of each sample; see :func:`pocold.training.loader.open_validation_data`.

    Raises:
        ValueError: if there is no validation data, or the best metric cannot be computed.
    """

    def __init__(
        self,
        config: Any,
        accelerator: Any,
        folder: Path,
        sampling: SamplingDefaults,
        losses: Losses,
        **needs: bool,
    ) -> None:
        self.config, self.accelerator, self.folder = config, accelerator, folder / "previews"
        self.sampling, self._losses = sampling, losses
        self.samples = first_samples(open_validation_data(config.data, **needs), config.validation.pairs)
        self.distance = find_distance(config.validation, accelerator.device)

    @torch.no_grad()
    def __call__(self, pipeline: PoseTransferPipeline, step: int) -> tuple[dict[str, float], Image.Image | None]:
        """Metrics, and the preview sheet in the main process."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        mine = list(range(rank, len(self.samples), processes))
        own: list[Row] = []
        for start in range(0, len(mine), _AT_ONCE):
            own += self._measure(pipeline, mine[start : start + _AT_ONCE])
        rows, means = gathered(own)
        if not self.accelerator.is_main_process:
            return means, None
        shown = rows[: self.config.validation.preview_pairs]
        return means, self._sheet([(i, picture) for i, _, picture in shown], step) if shown else None

    def _measure(self, pipeline: PoseTransferPipeline, part: list[int]) -> list[Row]:
        batch = collate([self.samples[i] for i in part])
        device = pipeline.vae.device
        inputs = Inputs(pipeline.vae, pipeline.unet, device)(batch)
        drawn = self._draw(pipeline, inputs, part)
        losses = {"loss": self._losses(pipeline, inputs, part)}
        return rows_of(part, losses | picture_metrics(drawn, batch["target"].to(device), self.distance), drawn)

    def _draw(self, pipeline: PoseTransferPipeline, inputs: dict[str, Tensor], part: list[int]) -> Tensor:
        """Pictures ``(B, 3, H, W)`` in [-1, 1]."""
        how = self.sampling
        features = pipeline.appearance_encoder(inputs["source_latents"])
        code = pipeline.unet.extract_appearance(features, fingerprint=pipeline.fingerprint())
        formula = pipeline.guidance_formula("pose_first")
        weights = formula(how.pose_guidance_scale, how.appearance_guidance_scale)
        pipeline.scheduler.set_timesteps(how.num_inference_steps, device=inputs["latents"].device)
        shape = inputs["latents"].shape[1:]
        pose = encode_pose(inputs["labels"], inputs.get("uv"), (shape[1], shape[2]))
        latents = denoise(
            pipeline.unet,
            pipeline.scheduler,
            seeded_noise(inputs["latents"], part),
            pose,
            code,
            lambda timestep: weights,
            hint=inputs.get("hint"),
        )
        return autoencoder.decode(pipeline.vae, latents).float().clamp(-1, 1)

    def _sheet(self, shown: list[tuple[int, Image.Image]], step: int) -> Image.Image:
        sheet = pair_sheet(self.samples, shown, lambda sample: DensePose(sample["target_pose"].numpy()).to_image())
        write_preview(sheet, self.folder, step)
        return sheet
