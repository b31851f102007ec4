"""Draws the attention: which points of the source a point of the target takes, with the pose constraint and without.

A row per point: source, target with the point, then for each run the attention of the second level, averaged over its
heads and layers, over the source. Needs runs of ``constraint`` and ``no-constraint`` of ``train``.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks.comparison.runs import add_shared_arguments, run_folder
from pocold.data.opening import open_data
from pocold.data.pairs import Sample
from pocold.densepose.encoding import one_hot, resize_labels
from pocold.imaging.images import to_pil
from pocold.imaging.metadata import write_png
from pocold.imaging.sheets import sheet_of_rows
from pocold.models import autoencoder
from pocold.models.attention import DoubleAttention
from pocold.pipeline import PoseTransferPipeline

NAME = "figure"
_HEIGHT = 256  # of a picture in the figure, at least about
RUNS = {"constraint": "constraint", "no-constraint": "without"}
PARTS = {"torso": (1, 2), "right arm": (16, 18, 20, 22), "left leg": (8, 10, 12, 14), "head": (23, 24)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared_arguments(parser)
    parser.add_argument("--pair", type=int, default=0, help="number in the test split")
    parser.add_argument("--level", type=int, default=0, help="of the UNet, 0 is the finest")
    parser.add_argument("--timestep", type=int, default=400)
    parser.add_argument("--figure", type=Path, default=Path("attention.png"))


def run(arguments: argparse.Namespace) -> None:
    """Draw the figure."""
    sample = open_data(arguments.data, "test")[arguments.pair]
    maps = {}
    for name, title in RUNS.items():
        folder = run_folder(arguments, name, arguments.seeds[0]) / "pipeline"
        if not folder.is_dir():
            raise ValueError(f"{folder} is not there: train {', '.join(RUNS)} first (--only {' '.join(RUNS)})")
        pipeline = PoseTransferPipeline.from_pretrained(folder, dtype=torch.float32)
        maps[title] = attention_of(pipeline, sample, arguments.level, arguments.timestep)
    scale = max(1, _HEIGHT // sample["target_pose"].shape[0])
    pictures = to_pil(torch.stack([sample["source"], sample["target"]]))
    source, target = (p.resize((p.width * scale, p.height * scale), Image.Resampling.BICUBIC) for p in pictures)
    rows = []
    for labels in PARTS.values():
        found = _middle_of(sample["target_pose"], labels)
        if found is None:
            continue
        row = [source, _marked(target, found, scale)]
        for weights, grid in maps.values():
            height, width = sample["target_pose"].shape
            place = found[0] * grid[0] // height, found[1] * grid[1] // width
            own = weights[place[0] * grid[1] + place[1]].view(1, 1, *grid)
            row.append(_heat(source, own))
        rows.append(row)
    for title, (weights, grid) in maps.items():
        share = same_part_share(weights, sample, grid)
        even = same_part_share(torch.full_like(weights, 1 / weights.shape[1]), sample, grid)
        print(f"{title}: {share:.3f} of the attention goes to the point's own part (spread evenly: {even:.3f})")
    write_png(sheet_of_rows(rows, ["source", "target", *maps]), arguments.figure, {"picture": "attention"})
    print(arguments.figure)


@torch.no_grad()
def attention_of(
    pipeline: PoseTransferPipeline, sample: Sample, level: int, timestep: int
) -> tuple[Tensor, tuple[int, int]]:
    """The attention map ``(N, M)`` of a level, mean over its heads and layers, and (h, w) of its tokens.

    The target's own latent, noised to the time step, goes through the UNet: what it looks at in training.
    """
    latents, source = (autoencoder.encode(pipeline.vae, sample[role][None]).float() for role in ("target", "source"))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([timestep])
    noisy = pipeline.scheduler.add_noise(latents, noise, steps)
    size = (latents.shape[-2], latents.shape[-1])
    found: list[tuple[Tensor, tuple[int, int]]] = []

    def keep(layer: Any, inputs: tuple[Tensor, ...], _: Any) -> None:
        hidden, features = inputs[:2]
        assert isinstance(layer, DoubleAttention)
        found.append((layer.attention_map(hidden, features)[0].mean(0), (hidden.shape[-2], hidden.shape[-1])))

    handles = [layer.register_forward_hook(keep) for own, layer in pipeline.unet.attentions() if own == level]
    try:
        features = pipeline.appearance_encoder(source)
        pipeline.unet(noisy, steps, one_hot(sample["target_pose"][None], size), features)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(f"the UNet has no attention at level {level}")
    return torch.stack([weights for weights, _ in found]).mean(0), found[0][1]


def same_part_share(weights: Tensor, sample: Sample, grid: tuple[int, int]) -> float:
    """How much of the attention of body points goes to points of their own part, where the source shows that part."""
    target, source = (resize_labels(sample[f"{role}_pose"], grid).flatten() for role in ("target", "source"))  # type: ignore[literal-required]
    same = target[:, None] == source[None]
    shown = (target > 0) & same.any(1)
    return float((weights * same).sum(1)[shown].mean())


def _middle_of(pose: Tensor, labels: tuple[int, ...]) -> tuple[int, int] | None:
    """Row and column of the pixel of these parts that is nearest to their middle."""
    places = torch.isin(pose, torch.tensor(labels, dtype=pose.dtype)).nonzero().float()
    if not len(places):
        return None
    row, column = places[(places - places.mean(0)).square().sum(1).argmin()].int().tolist()
    return row, column


def _marked(picture: Image.Image, place: tuple[int, int], scale: int) -> Image.Image:
    marked = picture.copy()
    row, column = (scale * i + scale // 2 for i in place)
    size = 3 * scale
    ImageDraw.Draw(marked).ellipse([column - size, row - size, column + size, row + size], outline="red", width=3)
    return marked


def _heat(picture: Image.Image, weights: Tensor) -> Image.Image:
    """The picture in grey, and in red where the attention is: all red from eight times an even share on."""
    size = (picture.height, picture.width)
    heat = F.interpolate(((weights * weights.numel() - 1) / 7).clamp(0, 1), size, mode="bilinear")[0, 0].numpy()[
        ..., None
    ]
    grey = np.asarray(picture.convert("L"), float)[..., None].repeat(3, -1) * 0.6 + 60
    return Image.fromarray((grey * (1 - heat) + np.array([255.0, 30.0, 0.0]) * heat).astype(np.uint8))
