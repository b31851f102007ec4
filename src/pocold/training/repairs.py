"""Making the pairs that a refiner learns from: completing each on the body, and drawing it with a frozen pipeline.

Legend: B pairs drawn at once, H W picture size.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from pocold.checkpoints import weights_hash
from pocold.data.latents import LatentPairs
from pocold.data.photographs import find_photographs
from pocold.data.repairs import change_backdrop, completed_rows
from pocold.densepose.maps import DensePose
from pocold.models.refiner import enlarged
from pocold.pipeline import PoseTransferPipeline
from pocold.training.config import DataConfig
from pocold.training.loader import Data
from pocold.training.refiner_config import RepairConfig

_BLUR = 8  # an autoencoder's factor: what is left when nothing finer survives
Rows = dict[str, Tensor]


class Drawer:
    """Draws pairs, as the refiner will find them: with a frozen pipeline, or without one by blurring the completion.

    Args:
        config: says which.
        device: where the pipeline draws.

    Raises:
        ValueError: for a folder that holds no pipeline.
    """

    def __init__(self, config: RepairConfig, device: torch.device) -> None:
        self.config = config
        self.pipeline: PoseTransferPipeline | None = None
        if config.pipeline is not None:
            self.pipeline = PoseTransferPipeline.from_pretrained(config.pipeline, dtype=torch.float32).to(device)
            self.pipeline.set_progress_bar_config(disable=True)

    def about(self) -> dict[str, Any]:
        """What decides how the pictures look."""
        if self.pipeline is None:
            return {"drawn": "completed picture, blurred", "enlarges": self.config.enlarges}
        how, config = self.pipeline.sampling, self.config
        networks = (self.pipeline.vae, self.pipeline.appearance_encoder, self.pipeline.unet)
        return {
            "drawn": "sampled",
            "weights": [weights_hash(network) for network in networks],
            "steps": config.steps or how.num_inference_steps,
            "enlarges": config.enlarges,
            "scales": [how.pose_guidance_scale, how.appearance_guidance_scale],
        }

    def __call__(self, rows: Mapping[str, Tensor], seeds: list[int]) -> Tensor:
        """uint8 ``(B, 3, H, W)``, enlarged where they are drawn smaller.

        Args:
            rows: of :func:`pocold.data.repairs.completed_rows`, stacked.
            seeds: of the noise of each.
        """
        if self.pipeline is None:
            return blurred(rows["completed"])
        shrink, (height, width) = self.config.enlarges, rows["labels"].shape[-2:]
        pictures = F.avg_pool2d(rows["source"].float() / 127.5 - 1, shrink)
        middle = slice(shrink // 2, None, shrink)  # as Surface.shrunk does
        labels, uv = (rows[f"source_{name}"][..., middle, middle] for name in ("labels", "uv"))
        code = self.pipeline.encode_tensors(pictures, labels, uv=uv.float() / 255)
        maps = zip(rows["labels"].numpy(), (rows["uv"].float() / 255).numpy(), strict=True)
        poses = [DensePose(labels, uv) for labels, uv in maps]
        drawn = self.pipeline(
            code, poses, height=height // shrink, width=width // shrink, num_inference_steps=self.config.steps,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds], batch_size=len(poses), refine=False,
            output_type="pt",
        ).images  # fmt: skip
        drawn = enlarged(drawn.cpu().float(), (height, width))
        return (drawn * 255).round().clamp(0, 255).to(torch.uint8)


def blurred(completed: Tensor) -> Tensor:
    """What a coarse autoencoder might leave of uint8 pictures ``(B, 3, H, W)``: averages of 8x8 pixels, smoothed."""
    coarse = F.avg_pool2d(completed.float(), _BLUR, ceil_mode=True, count_include_pad=False)
    smooth = F.interpolate(coarse, completed.shape[-2:], mode="bilinear", align_corners=False)
    return smooth.round().to(torch.uint8)


class _Completed(Dataset[Rows]):
    """Pairs of a data set, completed; some before another backdrop."""

    def __init__(self, data: Any, indices: list[int], config: RepairConfig, seed: int) -> None:
        self.data, self.indices, self.config, self.seed = data, indices, config, seed
        self.photographs = find_photographs(config.photographs, "pairs.photographs")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Rows:
        return self.rows(self.data[self.indices[place]], self.indices[place])

    def rows(self, sample: Any, number: int) -> Rows:
        """Of the ``number``-th sample of the data."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        if float(torch.rand((), generator=generator)) < self.config.backdrop_share:
            sample = change_backdrop(sample, self.photographs, generator)
        return completed_rows(sample, self.config.relit)


def repair_batches(
    data: Data, data_config: DataConfig, config: RepairConfig, drawer: Drawer, count: int, seed: int, start: int = 0
) -> Iterator[Rows]:
    """Rows of ``count`` pairs, spread evenly over the data (the first of a stream), from the ``start``-th on.

    Args:
        data: with U and V.
        data_config: says how many workers complete pairs.
        config: how they are made.
        drawer: draws them.
        count: of the pairs.
        seed: of backdrops and of the noise that drawing begins with.
        start: pairs to leave out.

    Yields:
        uint8 tensors ``(B, ...)`` named as in ``pocold.data.repairs.CHANNELS``.
    """
    assert not isinstance(data, LatentPairs)
    if isinstance(data, IterableDataset):
        maker = _Completed(data, [], config, seed)
        numbered = enumerate(islice(data, start, count), start)
        loader: Any = map(default_collate, _chunks((maker.rows(sample, i) for i, sample in numbered), config.at_once))
    else:
        indices = [i * len(data) // count for i in range(start, count)]
        maker = _Completed(data, indices, config, seed)
        loader = DataLoader(maker, config.at_once, num_workers=data_config.workers)
    for rows in loader:
        seeds = list(range(start, start + len(rows["labels"])))
        start += len(seeds)
        rows["drawn"] = drawer(rows, [seed * 1_000_003 + number for number in seeds])
        yield rows


def _chunks(items: Iterator[Rows], size: int) -> Iterator[list[Rows]]:
    while chunk := list(islice(items, size)):
        yield chunk


def pairs_folder(config: RepairConfig, run: Path) -> Path:
    """Where the pairs of a run lie."""
    return Path(config.folder) if config.folder else run / "pairs"
