"""Who draws the pictures: a pipeline, or a baseline that any model must beat (or, for one of them, cannot)."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from pocold.appearance import AppearanceCode
from pocold.checkpoints import weights_fingerprint
from pocold.data.pairs import View
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import Photograph, Surface, surface_correspondence, uv_steps, warp_by_surface
from pocold.densepose.holes import fill_holes
from pocold.diffusion.settings import DrawSettings
from pocold.imaging.images import Frame, FrameMode, to_bytes, to_pil
from pocold.models import autoencoder
from pocold.photographs import Photo, map_tensors
from pocold.pipeline import PoseTransferPipeline

_CODES_KEPT = 16
Size = tuple[int, int]


class Painter(Protocol):
    """Draws the targets of pairs.

    Attributes:
        size: (height, width) that it draws in; None if any.
        synthetic: whether its pictures are to be marked as synthetic.
    """

    size: Size | None
    synthetic: bool

    def settings(self) -> dict[str, Any]:
        """Everything that decides the pictures, JSON-serialisable."""
        ...

    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        """One RGB picture per pair of source and target, of ``size``; what it sees is framed to it.

        Raises:
            ValueError: for pairs or a size that it cannot draw.
        """
        ...


def pair_seed(seed: int, source: str, target: str) -> int:
    """The seed of one picture's generator."""
    digest = hashlib.sha256(f"{seed}\n{source}\n{target}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fingerprint(*modules: torch.nn.Module) -> str:
    """A short name for weights, for reports."""
    return hashlib.sha256(weights_fingerprint(*modules).numpy().tobytes()).hexdigest()[:16]


class ModelPainter:
    """A pipeline. A photograph that several pairs share in a row is encoded once.

    Args:
        pipeline: on its device.
        settings: how it draws.

    Raises:
        ValueError: for a scheduler that does not exist, or other impossible settings.
    """

    synthetic = True

    def __init__(self, pipeline: PoseTransferPipeline, settings: DrawSettings | None = None) -> None:
        self.pipeline, self._settings = pipeline, settings or DrawSettings()
        self._settings.check()
        if self._settings.scheduler is not None:
            pipeline.set_scheduler(self._settings.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        self.size = pipeline.native_size
        self._codes: OrderedDict[tuple[str, Size], AppearanceCode] = OrderedDict()

    def settings(self) -> dict[str, Any]:
        return {
            "painter": "model",
            "weights": fingerprint(self.pipeline.vae, self.pipeline.appearance_encoder, self.pipeline.unet),
            **({} if self.pipeline.refiner is None else {"refiner": fingerprint(self.pipeline.refiner)}),
            "dtype": str(self.pipeline.unet.dtype).removeprefix("torch."),
            **self._settings.resolved(self.pipeline),
        }

    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        how = self._settings
        seeds = [pair_seed(how.seed, source.name, target.name) for source, target in pairs]
        return self.pipeline(
            AppearanceCode.stack([self._code(source, size, frame) for source, _ in pairs]),
            [target.pose for _, target in pairs],
            height=size[0],
            width=size[1],
            frame=frame,
            **how.arguments(),
            batch_size=len(pairs),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images

    def _code(self, source: View, size: Size, frame: FrameMode) -> AppearanceCode:
        """Always of one photograph at a time, so that it does not depend on the batch."""
        key = source.name, size
        if key not in self._codes:
            self._codes[key] = self.pipeline.encode_appearance(
                source.photo,
                source_pose=source.pose,
                height=size[0],
                width=size[1],
                frame=frame,
            )
            if len(self._codes) > _CODES_KEPT:
                self._codes.popitem(last=False)
        self._codes.move_to_end(key)
        return self._codes[key]


class CopySource:
    """The photograph as it is: what a model gains over not moving at all.

    Args:
        size: (height, width) to compare at, such as a model's; None takes the data's own.
    """

    synthetic = False

    def __init__(self, size: Size | None = None) -> None:
        self.size = size

    def settings(self) -> dict[str, Any]:
        return {"painter": "copy"}

    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        return [_photo(source).through(Frame(source.size, size, frame)).picture for source, _ in pairs]


class WarpSource:
    """The photograph brought into the target's pose by DensePose's U and V: what needs no learning.

    A pixel of the body takes the colour of the nearest surface point of its part that the photograph shows, one of the
    background the colour of its own place; what is shown nowhere is filled from around it. Needs maps with U and V.

    Args:
        size: (height, width) to compare at, such as a model's; None takes the data's own.
    """

    synthetic = False

    def __init__(self, size: Size | None = None) -> None:
        self.size = size

    def settings(self) -> dict[str, Any]:
        return {"painter": "warp"}

    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        return [self._warp(source, target, size, frame) for source, target in pairs]

    def _warp(self, source: View, target: View, size: Size, frame: FrameMode) -> Image.Image:
        labels, uv = _maps(target, size, frame)
        index, _ = surface_correspondence(labels, uv, *_maps(source, size, frame))
        photo = _photo(source).tensor(Frame(source.size, size, frame))[0]
        return to_pil(fill_holes(warp_by_surface(photo, index), index >= 0, labels)[None])[0]


class CompleteSource(WarpSource):
    """The same, but what the photograph hides comes from the nearest place on the body that it shows.

    See :func:`pocold.densepose.completion.complete`.
    """

    def settings(self) -> dict[str, Any]:
        return {"painter": "completed"}

    def _warp(self, source: View, target: View, size: Size, frame: FrameMode) -> Image.Image:
        what = "the baseline 'completed'"
        labels, uv = _maps(source, size, frame, what)
        picture = to_bytes(_photo(source).tensor(Frame(source.size, size, frame))[0])
        photo = Photograph(picture, labels, uv_steps(uv))
        completed, _ = complete(Surface(((1.0, (photo,)),)), *_maps(target, size, frame, what))
        return to_pil(completed[None])[0]


def _maps(view: View, size: Size, frame: FrameMode, what: str = "the baseline 'warp'") -> tuple[Tensor, Tensor]:
    """Labels ``(H, W)`` and U, V ``(2, H, W)`` of a view, framed."""
    labels, uv = map_tensors(view.pose, Frame(view.size, size, frame), view.name, what)
    assert uv is not None  # they were asked for
    return labels, uv


def _photo(view: View) -> Photo:
    """A picture of a data set as the photograph that it is."""
    return Photo(Path(view.name), view.photo, view.pose)


class RoundTrip:
    """The truth through an autoencoder and back: no model in its latents can do better.

    Args:
        vae: of the model.
        size: (height, width) to compare at, such as the model's.
    """

    synthetic = True

    def __init__(self, vae: autoencoder.Autoencoder, size: Size | None = None) -> None:
        self.vae, self.size = vae, size

    def settings(self) -> dict[str, Any]:
        return {"painter": "autoencoder", "weights": fingerprint(self.vae)}

    @torch.no_grad()
    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        factor = autoencoder.downsampling_factor(self.vae)
        if any(side % factor for side in size):
            raise ValueError(f"the autoencoder needs sizes that are multiples of {factor}, got {size}; set --size")
        truth = torch.cat([_photo(target).tensor(Frame(target.size, size, frame)) for _, target in pairs])
        truth = truth.to(self.vae.device)
        return to_pil(autoencoder.decode(self.vae, autoencoder.encode(self.vae, truth)))
