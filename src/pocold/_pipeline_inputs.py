"""What the pipeline's outer door accepts, checked and brought to one form.

Legend: B pictures or people, C latent channels, h w latent size.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from pocold.densepose.completion import complete
from pocold.densepose.correspondence import BESIDE, Photograph, Surface, uv_steps
from pocold.densepose.encoding import resize_labels
from pocold.densepose.labels import body_part_labels
from pocold.densepose.maps import DensePose, PoseInput
from pocold.densepose.skirts import parts_of
from pocold.diffusion.guidance import BranchWeights
from pocold.diffusion.sampling import Generator
from pocold.imaging import images
from pocold.imaging.images import Frame, FrameMode, ImageInput
from pocold.models import autoencoder
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.people.body.keypoint_maps import load_any_pose
from pocold.photographs import InferredWarning, Photo, map_tensors


@dataclass(frozen=True)
class Guided:
    """How a run is guided.

    Attributes:
        steps: denoising steps.
        weights_at: the branch weights at a time step.
        sourced: whether any branch sees the source.
        eta: see :class:`pocold.pipeline.PoseTransferPipeline`.
    """

    steps: int
    weights_at: Callable[[float], BranchWeights]
    sourced: bool
    eta: float


@dataclass(frozen=True)
class Targets:
    """B poses, framed.

    Attributes:
        labels: uint8 ``(B, H, W)``, at the size of the result.
        uv: ``(B, 2, H, W)`` in [0, 1], or None where nothing needs them.
        drawn_labels, drawn_uv: the same at the size that the networks draw at.
        poses: the UNet's input ``(B, 25 or 27, h, w)``.
        shrink: how many times smaller the networks draw than the result is.
        refined: whether the refiner repairs what is drawn.
    """

    labels: Tensor
    uv: Tensor | None
    drawn_labels: Tensor
    drawn_uv: Tensor | None
    poses: Tensor
    shrink: int
    refined: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "Targets":
        return replace(
            self,
            labels=self.labels[rows],
            uv=None if self.uv is None else self.uv[rows],
            drawn_labels=self.drawn_labels[rows],
            drawn_uv=None if self.drawn_uv is None else self.drawn_uv[rows],
            poses=self.poses[rows],
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the result."""
        return self.labels.shape[-2], self.labels.shape[-1]

    @property
    def latent_size(self) -> tuple[int, int]:
        """(height, width) of the latents."""
        return self.poses.shape[-2], self.poses.shape[-1]


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise a ValueError unless ``value`` is a whole number (of any kind but bool) in low..high."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {bounds}, got {value!r}")


def check_finite(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise a ValueError unless ``value`` is a finite number in [low, high]."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}")


def check_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise a ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}: expected one of {', '.join(choices)}")


def require_finite(values: Tensor, what: str, dtype: torch.dtype) -> None:
    """Raise a ValueError if numbers that a network gave are not finite: a black picture says nothing of why.

    Args:
        values: any tensor.
        what: it is.
        dtype: of the network.
    """
    if bool(torch.isfinite(values).all()):
        return
    precision = str(dtype).removeprefix("torch.")
    cure = "the weights or the input may be broken"
    if dtype == torch.float16:
        cure = "float16 overflows beyond 65504; use bfloat16 or float32 (--precision bf16 or fp32)"
    raise ValueError(f"{what} hold NaN or infinity, computed in {precision}: {cure}")


def listed(value: Any) -> list[Any]:
    """One or several of something, as a list; None is none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def numbered(name: str, count: int) -> list[str]:
    """What errors call each of ``count`` inputs."""
    return [name] if count == 1 else [f"{name} {i}" for i in range(count)]


def load_poses(pose: PoseInput | Sequence[PoseInput] | None) -> list[DensePose]:
    """One pose or several, as maps; ValueError naming the one that is none."""
    poses = listed(pose)
    if not poses:
        raise ValueError("pose: expected a DensePose map, or several, got none")
    return [load_any_pose(item, name) for item, name in zip(poses, numbered("pose", len(poses)), strict=True)]


def picture_size(height: int | None, width: int | None, default: tuple[int, int], factor: int) -> tuple[int, int]:
    """(height, width), where None takes the default; ValueError unless both are multiples of ``factor``."""
    size = (default[0] if height is None else height, default[1] if width is None else width)
    for name, side in zip(("height", "width"), size, strict=True):
        check_whole(name, side, 1)
    if any(side < factor or side % factor for side in size):
        near = tuple(max(factor, round(side / factor) * factor) for side in size)
        raise ValueError(
            f"height and width must be multiples of {factor}, got {size[0]}x{size[1]}; "
            f"pass height={near[0]}, width={near[1]} to frame everything to that"
        )
    return size


def frame_maps(
    maps: Sequence[DensePose], frames: Sequence[Frame], names: Sequence[str], purpose: str | None
) -> tuple[Tensor, Tensor | None]:
    """Maps brought to one size.

    Args:
        maps: B of them.
        frames: of each, to one size.
        names: what errors call them.
        purpose: what needs U and V; None if nothing does.

    Returns:
        Labels uint8 ``(B, H, W)``, and U and V float32 ``(B, 2, H, W)`` or None.

    Raises:
        ValueError: if U and V are needed, and a map has none.
    """
    framed = [map_tensors(*one, purpose) for one in zip(maps, frames, names, strict=True)]
    uv = [values for _, values in framed if values is not None]
    return torch.stack([labels for labels, _ in framed]), torch.stack(uv) if uv else None


def load_photographs(
    source: ImageInput | Sequence[ImageInput],
    source_pose: PoseInput | Sequence[PoseInput] | None,
    size_for: Callable[[tuple[int, int]], tuple[int, int]],
    mode: FrameMode,
    *,
    labels_for: str | None,
    uv_for: str | None,
    estimator: DensePoseEstimator | None,
) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Photographs and their maps, framed together.

    Args:
        source: one or several.
        source_pose: maps of them.
        size_for: (height, width) of a photograph -> that it is framed to.
        mode: see :class:`pocold.imaging.images.Frame`.
        labels_for, uv_for: what needs their labels, and what their U and V; None if nothing does.
        estimator: finds the maps if there are none.

    Yields:
        For each ``(1, 3, H, W)`` in [-1, 1], labels uint8 ``(1, H, W)``, :data:`BESIDE` for what of a person has
        no part, and U, V ``(1, 2, H, W)``, or None.

    Warns:
        InferredWarning: if a map has labels only, and ``estimator`` finds their U and V.

    Raises:
        ValueError: for pictures or maps that cannot be used, or too few maps.
    """
    sources, poses = listed(source), listed(source_pose)
    purpose = labels_for or uv_for
    if not sources:
        raise ValueError("source: expected at least one photograph, got none")
    if purpose is not None and len(poses) != len(sources) and (poses or estimator is None):
        kind = "source_pose" if uv_for is None else "source_pose with U and V"
        hint = "" if poses else "; this pipeline has no densepose_estimator to find them"
        raise ValueError(
            f"{purpose} need one {kind} for each of the {len(sources)} photographs, got {len(poses)}{hint}"
        )
    names = zip(numbered("source", len(sources)), numbered("source_pose", len(sources)), strict=True)
    for i, (name, pose_name) in enumerate(names):
        photo = Photo(Path(name), images.load_image(sources[i], name))
        frame = Frame(photo.size, size_for(photo.size), mode)
        labels = uv = None
        if purpose is not None:
            if poses:
                pose = load_any_pose(poses[i], pose_name)
                if pose.uv is None and uv_for is not None and estimator is not None:
                    known, told = replace(photo, pose=pose).with_uv(estimator)
                    warnings.warn(told, InferredWarning, stacklevel=4)
                    pose = known.need_pose(uv_for)
            else:
                assert estimator is not None
                pose = photo.found(estimator).need_pose(purpose)
            labels, uv = frame_maps([pose], [frame], [pose_name], uv_for)
            if pose.person is not None:  # clothes far from the body are no backdrop
                person = torch.from_numpy(frame.labels(pose.person) > 0)
                labels = labels.masked_fill(person & (labels == 0), BESIDE)
        yield photo.tensor(frame), labels, uv


def photographed(
    pictures: Tensor, labels: Tensor, uv: Tensor, parts: str | int | Sequence[str | int] | None
) -> tuple[Surface, ...]:
    """The surface that each of B photographs shows.

    Args:
        pictures: ``(B, 3, H, W)`` in [-1, 1].
        labels: ``(B, H, W)``, body labels 0..24.
        uv: ``(B, 2, H, W)`` in [0, 1].
        parts: only these, None for the whole picture.
    """
    pixels = torch.from_numpy(images.to_uint8(pictures)).permute(0, 3, 1, 2).contiguous()
    rows = zip(pixels, labels.to(torch.uint8).cpu(), uv_steps(uv).cpu(), strict=True)
    photographs = [Photograph(*row) for row in rows]
    if parts is not None:
        wanted = body_part_labels(parts)
        photographs = [parts_of(photo, wanted) for photo in photographs]
    return tuple(Surface(((1.0, (photo,)),)) for photo in photographs)


def surface_hint(
    vae: autoencoder.Autoencoder,
    surfaces: Sequence[Surface],
    labels: Tensor,
    uv: Tensor,
    device: torch.device,
    shrink: int = 1,
    completed: bool = False,
) -> Tensor:
    """The hint for B poses.

    Args:
        vae: encodes the warped pictures.
        surfaces: of 1 or B people.
        labels: of the poses, ``(B, H, W)``.
        uv: ``(B, 2, H, W)``.
        device: where the autoencoder computes.
        shrink: how many times smaller the poses are than the surfaces' photographs should be. Photographs of the
            poses' size, as in codes of a pipeline that had no refiner, are left as they are.
        completed: complete what no photograph shows on the body.

    Returns:
        ``(B, C + 1, h, w)``, see :func:`pocold.models.autoencoder.encode_hint`.
    """
    surfaces = [surface.shrunk(shrink, least=labels.shape[-2]) for surface in surfaces]
    surfaces = surfaces * len(labels) if len(surfaces) == 1 else surfaces
    bring = complete if completed else Surface.warp
    warped = [bring(surface, *pose) for surface, *pose in zip(surfaces, labels, uv, strict=True)]
    pictures, visible = (torch.stack(tensors).to(device) for tensors in zip(*warped, strict=True))
    return autoencoder.encode_hint(vae, pictures, visible)


def token_masks(
    labels: Tensor, sizes: Sequence[tuple[int, int]], parts: str | int | Sequence[str | int]
) -> list[Tensor]:
    """Which source tokens belong to body parts.

    Args:
        labels: ``(B, H, W)``, body labels 0..24.
        sizes: (height, width) of each level.
        parts: names or labels, see ``densepose.body_part_labels``.

    Returns:
        Per level bool ``(B, h*w)``: tokens whose label, reduced to the level's size, is among ``parts``.

    Raises:
        ValueError: for an unknown part, or if the finest level shows none of them.
    """
    wanted = torch.tensor(sorted(body_part_labels(parts)), device=labels.device, dtype=labels.dtype)
    masks = [torch.isin(resize_labels(labels, size), wanted).flatten(1) for size in sizes]
    if not masks[0].any(-1).all():
        raise ValueError(f"parts: the source's map shows nothing of {parts!r}; it cannot be extracted from there")
    return masks


def starting_noise(
    shape: tuple[int, ...], generator: Generator, latents: Tensor | None, device: torch.device
) -> Tensor:
    """The noise all pictures start from, float32 ``(B, C, h, w)``: one draw, whatever the batches, or ``latents``.

    Raises:
        ValueError: if there are not as many generators as pictures, or ``latents`` have another shape or hold NaN.
    """
    if generator is not None and not isinstance(generator, torch.Generator | list):
        raise ValueError(f"generator must be a torch.Generator or a list of them, got {type(generator).__name__}")
    if isinstance(generator, list) and len(generator) != shape[0]:
        raise ValueError(f"expected one generator, or one per picture ({shape[0]}), got {len(generator)}")
    if latents is None:
        return randn_tensor(shape, generator=generator, device=device, dtype=torch.float32)
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        got = tuple(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ValueError(f"latents must be a tensor of shape {shape}, got {got}")
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinity")
    return latents.to(device, torch.float32)
