"""Light on a person: told from one photograph, taken off it, and put onto the person in another pose.

Who turns away from the lamp gets darker. A photograph's brightness is taken for colour times light, and the light for a
quadratic form of the way that the surface faces (as smooth light on a dull surface is but for a few per cent;
Ramamoorthi and Hanrahan 2001), the same all over the picture. A person has a few colours; they and the form are fitted
together. Light that a pose itself makes, as shadows of arms, is not known.

Legend: H W map size, N pixels, K colours, C terms of the form, 8.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, minimum_filter
from torch import Tensor

from pocold.densepose.completion import complete_body
from pocold.densepose.correspondence import BESIDE, Photograph, Surface, uv_steps
from pocold.densepose.normals import surface_normals
from pocold.densepose.skirts import with_skirts, without_skirt
from pocold.imaging.images import from_uint8, to_bytes

_COLOURS = 4
_ROUNDS = 8
_ENOUGH = 4000  # pixels, or a few more, to fit the light to
_OFF = 0.2  # natural logarithm of brightness from which a pixel counts a quarter: folds, prints, shadows
# Mean and deviation of the form over 125 pairs of drawn people: light comes from above and in front.
_MEAN = np.array([-0.01, -0.2, 0.01, 0.0, 0.02, -0.02, -0.22, 0.06])
_DEVIATION = np.array([0.13, 0.17, 0.11, 0.1, 0.15, 0.13, 0.16, 0.05])
_STRONGEST = 0.7  # natural logarithm: no more than twice as bright
_GAMMA = 2.2


def complete_relit(surface: Surface, labels: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`pocold.densepose.completion.complete`, in the light of the photographs.

    Args:
        surface: what is known of the person.
        labels: of the pose, integers 0..24, ``(H, W)``.
        uv: ``(2, H, W)`` in [0, 1], or uint8 in 0..255.

    Returns:
        float32 ``(3, H, W)`` in [-1, 1] and the confidence, float32 ``(H, W)``.
    """
    steps, layers, light = uv_steps(uv), [], np.zeros(len(_MEAN))
    for weight, photographs in surface.changed(without_skirt).layers:
        dull, lights = zip(*map(_without_light, photographs), strict=True)
        layers.append((weight, dull))
        light += weight * np.mean(lights, axis=0)
    picture, confidence = complete_body(Surface(tuple(layers)), labels, steps)
    picture = _lit(picture, torch.from_numpy(shading(labels.numpy(), steps.numpy(), light)))
    return with_skirts(surface, labels, steps, picture, confidence)  # not on the body: in the light that it has


def fitted_light(photo: Photograph) -> np.ndarray:
    """The light of a photograph: float64 ``(C,)``, for :func:`shading`."""
    labels, normals = photo.labels.numpy(), surface_normals(photo.labels.numpy(), photo.uv.numpy())
    known = (minimum_filter(labels, 3) > 0) & np.isfinite(normals[..., 0])
    precision = np.diag(_DEVIATION**-2)
    light = _MEAN
    y, x = np.nonzero(known)
    if len(y) < _COLOURS:
        return light
    some = slice(None, None, max(len(y) // _ENOUGH, 1))
    y, x = y[some], x[some]
    bright = np.log(_linear(photo.picture.numpy()[:, y, x].T / 255.0))  # (N, 3)
    form, mean = _form(normals[y, x]), bright.mean(1)
    order = mean.argsort()
    colours = (bright - (form @ light)[:, None])[order[np.linspace(0, len(order) - 1, _COLOURS + 2)[1:-1].astype(int)]]
    for _ in range(_ROUNDS):
        dull = bright - (form @ light)[:, None]
        nearest = np.square(dull[:, None] - colours).sum(-1).argmin(1)
        for own in np.unique(nearest):
            colours[own] = dull[nearest == own].mean(0)
        weights = 1 / (1 + ((dull - colours[nearest]).mean(1) / _OFF) ** 2) ** 2
        # colours are told with the light, or what the light of before put into them would stay there
        terms = np.concatenate([np.eye(_COLOURS)[nearest], form], axis=1)
        left, right = terms.T @ (terms * weights[:, None]), terms.T @ (weights * (mean - colours[nearest].mean(1)))
        left[_COLOURS:, _COLOURS:] += precision
        right[_COLOURS:] += precision @ _MEAN
        light = np.linalg.solve(left + 1e-6 * np.eye(len(left)), right)[_COLOURS:]
    return light


def shading(labels: np.ndarray, uv: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Natural logarithm of how much light falls onto the body, float32 ``(H, W)``, 0 in the background.

    Where it is not known which way the body faces it is as bright as nearby.

    Args:
        labels: integers ``(H, W)``.
        uv: uint8 ``(2, H, W)``.
        light: ``(C,)``, of :func:`fitted_light`.
    """
    body, shade = (labels > 0) & (labels < BESIDE), np.zeros(labels.shape, np.float32)
    rows, columns = (np.flatnonzero(body.any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        return shade
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    normals, own = surface_normals(labels[inside], uv[:, *inside]), shade[inside]
    known = np.isfinite(normals[..., 0])
    if known.any():
        own[known] = (_form(normals[known]) @ light).clip(-_STRONGEST, _STRONGEST)
        nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
        own[:] = np.where(body[inside], own[tuple(nearest)], 0)
    return shade


@lru_cache(maxsize=8)  # of the same photographs for every pose
def _without_light(photo: Photograph) -> tuple[Photograph, np.ndarray]:
    """The photograph as if light came from everywhere, and the light that was taken off it."""
    light = fitted_light(photo)
    shade = shading(photo.labels.numpy(), photo.uv.numpy(), light)
    dull = _lit(from_uint8(photo.picture), torch.from_numpy(-shade))
    return replace(photo, picture=to_bytes(dull)), light


def _lit(picture: Tensor, shade: Tensor) -> Tensor:
    """A picture ``(3, H, W)`` in [-1, 1], brighter by the logarithms ``(H, W)``; not touched where they are 0."""
    factor = torch.exp(shade / _GAMMA)
    return torch.where(shade == 0, picture, ((picture + 1) * factor - 1).clamp(-1, 1))


def _linear(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] of a picture -> light, never 0."""
    linear: np.ndarray = np.clip(values, 1 / 255, 1) ** _GAMMA
    return linear


def _form(normals: np.ndarray) -> np.ndarray:
    """``(N, C)``: the terms of first and second degree of unit normals ``(N, 3)``."""
    x, y, z = normals.T.astype(float)
    return np.stack([x, y, z, x * x - y * y, x * y, x * z, y * z, 3 * z * z - 1], axis=1)
