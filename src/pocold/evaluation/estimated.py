"""What a user without DensePose maps gets: the same pictures, drawn from maps found in the photographs."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pocold.data.pairs import View
from pocold.evaluation.baselines import Painter, Size, fingerprint
from pocold.imaging.images import FrameMode
from pocold.models.densepose_estimator import DensePoseEstimator, estimate_densepose

_VIEWS_KEPT = 64


class EstimationWarning(UserWarning):
    """Nobody was found in a photograph that shows somebody."""


class EstimatedPoses:
    """A painter that does not get to see the maps of the data set, neither the source's nor the target's.

    Where nobody is found it gets an empty map, with a warning: such pictures count like all others.

    Args:
        painter: who draws.
        estimator: finds the maps.
    """

    def __init__(self, painter: Painter, estimator: DensePoseEstimator) -> None:
        self.painter, self.estimator = painter, estimator
        self.size, self.synthetic = painter.size, painter.synthetic
        self._seen = lru_cache(_VIEWS_KEPT)(self._estimated)

    def settings(self) -> dict[str, Any]:
        own = {"poses": "estimated, source and target", "estimator": fingerprint(self.estimator)}
        return {**self.painter.settings(), **own}

    def __call__(self, pairs: Sequence[tuple[View, View]], size: Size, frame: FrameMode) -> list[Image.Image]:
        return self.painter([(self._seen(source), self._seen(target)) for source, target in pairs], size, frame)

    def _estimated(self, view: View) -> View:
        try:
            found = estimate_densepose(view.photo, self.estimator, view.name)
        except ValueError as error:
            warnings.warn(f"{error}; drawn with an empty map", EstimationWarning, stacklevel=2)
            height, width = view.size
            return replace(
                view,
                labels=np.zeros((height, width), np.uint8),
                uv=np.zeros((2, height, width), np.float32),
                keypoints=None,
            )
        return replace(view, labels=found.labels, uv=found.uv, keypoints=None)  # it does not get to see the true ones


class LabelFinder:
    """Pictures ``(B, 3, H, W)`` in [-1, 1] -> labels ``(B, H, W)``, found at the size the estimator was trained for.

    Args:
        estimator: finds them.
    """

    def __init__(self, estimator: DensePoseEstimator) -> None:
        self.estimator = estimator

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        size = pictures.shape[-2:]
        seen = F.interpolate(pictures, self.estimator.size, mode="bilinear", antialias=True)
        return F.interpolate(self.estimator(seen).labels, size, mode="bilinear").argmax(1)
