"""The paper's claims re-measured in short, equal runs on synthetic people; results in docs/results.md.

    python -m benchmarks.ablation DATA --vae VAE --out OUT [--steps 500] [--only labels no-penalty ...]

DATA is a folder of ``pocold synth`` (it has the keypoints), VAE an autoencoder of ``pocold train-autoencoder``. Every
variant is the same narrow network, trained by ``pocold.training.transfer.train`` from the same seed on the same pairs,
and measured on the same held-out pairs with the same noise.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

import pocold.models.blocks
from pocold.data.opening import open_data
from pocold.data.pairs import PairedTransform
from pocold.densepose.maps import DensePose
from pocold.imaging.files import atomic_folder
from pocold.models.autoencoder import load_autoencoder
from pocold.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    ValidationConfig,
)
from pocold.training.latents import cache_latents
from pocold.training.transfer import train

LIMBS = (
    ("neck", "nose"), ("neck", "right shoulder"), ("right shoulder", "right elbow"), ("right elbow", "right wrist"),
    ("neck", "left shoulder"), ("left shoulder", "left elbow"), ("left elbow", "left wrist"), ("neck", "right hip"),
    ("right hip", "right knee"), ("right knee", "right ankle"), ("neck", "left hip"), ("left hip", "left knee"),
    ("left knee", "left ankle"), ("nose", "right eye"), ("right eye", "right ear"), ("nose", "left eye"),
    ("left eye", "left ear"),
)  # fmt: skip


class PlainCrossAttention(nn.Module):
    """Ordinary cross-attention from target to source, with DoubleAttention's projections and interface.

    Its code is the keys and values of every source token, so its shape depends on the source's size.
    """

    extraction_filters: Tensor

    def __init__(self, channels: int, source_channels: int, num_heads: int, num_filters: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(source_channels)
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source_channels, channels, bias=False)
        self.to_v = nn.Linear(source_channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        self.residual_scale = nn.Parameter(torch.ones(1))
        # not learned: says what shape its codes have, as many tokens as the last source
        self.register_buffer("extraction_filters", torch.zeros(0, 2 * channels), persistent=False)

    def forward(self, hidden: Tensor, source: Tensor, constraint: Any = None) -> tuple[Tensor, None]:
        return self.distribute(hidden, self.extract(source)), None

    def extract(self, source: Tensor, token_mask: Tensor | None = None) -> Tensor:
        tokens = self.norm(source.flatten(2).transpose(1, 2))
        self.extraction_filters = tokens.new_zeros(tokens.shape[1], self.extraction_filters.shape[1])
        return torch.cat([self._heads(self.to_k(tokens)), self._heads(self.to_v(tokens))], -1)

    def extraction_mass(self, source: Tensor, token_mask: Tensor | None = None) -> Tensor:
        return torch.zeros(len(source), self.num_heads, source.shape[-2] * source.shape[-1])

    def distribute(self, hidden: Tensor, code: Tensor) -> Tensor:
        key, value = code.expand(len(hidden), -1, -1, -1).chunk(2, -1)
        query = self._heads(self.to_q(hidden.flatten(2).transpose(1, 2)))
        attended = F.scaled_dot_product_attention(query, key.to(query.dtype), value.to(query.dtype))
        tokens = self.to_out(attended.transpose(1, 2).flatten(2))
        return tokens.transpose(1, 2).contiguous().view_as(hidden) + self.residual_scale * hidden

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


@contextmanager
def plain_cross_attention() -> Any:
    """UNets built inside have plain cross-attention."""
    before = pocold.models.blocks.DoubleAttention
    pocold.models.blocks.DoubleAttention = PlainCrossAttention  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        pocold.models.blocks.DoubleAttention = before  # type: ignore[misc]


def with_skeletons(data: Path, out: Path) -> Path:
    """A copy of a data set whose label maps are stick figures: 17 limbs of the 18 keypoints, one label each."""
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as new:
        shutil.copytree(data, new, copy_function=shutil.copy, dirs_exist_ok=True)
        _draw_skeletons(new)
    return out


def _draw_skeletons(folder: Path) -> None:
    for path in sorted((folder / "keypoints").glob("*.json")):
        points = json.loads(path.read_text())["keypoints"]
        target = folder / "iuv" / f"{path.stem}.png"
        size = Image.open(target).size
        picture = Image.new("L", size)
        pen = ImageDraw.Draw(picture)
        for label, (a, b) in enumerate(LIMBS, 1):
            pen.line([*points[a][:2], *points[b][:2]], fill=label, width=max(2, size[1] // 42))
        DensePose(np.asarray(picture)).write(target)


def run(config: TrainConfig, attention: Callable[[], Any]) -> dict[str, float]:
    """Train, and the metrics of the last validation."""
    with attention():
        folder = train(config).parent
    last = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return dict(json.loads((last / "state.json").read_text())["metrics"])


@contextmanager
def double_attention() -> Any:
    yield


def main() -> None:
    variants: dict[str, tuple[str, dict[str, Any], dict[str, Any], Callable[[], Any]]] = {
        # name: (what is measured, model settings, loss settings, attention)
        "labels": ("the published conditions: I labels, pose penalty", {}, {}, double_attention),
        "no-penalty": ("without the pose penalty", {}, {"penalty_weight": 0.0}, double_attention),
        "cross-attention": ("plain cross-attention instead", {}, {"penalty_weight": 0.0}, plain_cross_attention),
        "skeleton": ("18 keypoints instead of DensePose", {}, {"penalty_weight": 0.0}, double_attention),
        "iuv": ("I, U and V", {"pose_encoding": "iuv"}, {}, double_attention),
        "hint": ("I and the surface hint", {"surface_hint": True}, {}, double_attention),
        "hint-skip": (
            "I and the hint, with a linear path to the output",
            {"surface_hint": True, "hint_skip": True},
            {},
            double_attention,
        ),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--only", nargs="*", choices=list(variants), default=list(variants))
    options = parser.parse_args()
    rows = ["| variant | what | loss ↓ | PSNR ↑ | SSIM ↑ | st_lpips ↓ |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for name in options.only:
        what, model, loss, attention = variants[name]
        data = with_skeletons(options.data, options.out / "skeletons") if name == "skeleton" else options.data
        kind = name.removesuffix("-skip")
        latents = options.out / f"latents-{kind if kind in ('skeleton', 'iuv', 'hint') else 'labels'}"
        if not latents.exists():
            transform = PairedTransform(surface_hint=kind == "hint", uv=name == "iuv")
            vae = load_autoencoder(options.vae, torch.float32)
            cache_latents({"train": open_data(data)}, vae, latents, transform, mirrored=False)
        metrics = run(
            TrainConfig(
                DataConfig(path=str(data), latents=str(latents), flip=0.0, workers=0),
                ModelConfig(
                    vae=str(options.vae), block_out_channels=(128, 192, 256), appearance_channels=(64, 96, 128),
                    layers_per_block=1, num_heads=4, **model,
                ),
                LossConfig(prediction_type="v_prediction", min_snr_gamma=5.0, **loss),
                OptimizerConfig(learning_rate=5e-4, schedule="linear", warmup_steps=50, ema_decay=0.99),
                RunConfig(
                    output=str(options.out / name), max_steps=options.steps, batch_size=32, precision="bf16",
                    device="cpu", checkpoint_every=options.steps,
                ),
                ValidationConfig(every=options.steps, pairs=48, steps=12),
            ),
            attention,
        )  # fmt: skip
        values = " | ".join(f"{metrics[key]:.4f}" for key in ("loss", "psnr", "ssim", "st_lpips"))
        rows.append(f"| {name} | {what} | {values} |")
        print("\n".join(rows), flush=True)


if __name__ == "__main__":
    main()
