"""The appearance code of a person: computed once per photograph, reused for every pose, step and guidance branch.

Legend: B people, A heads, K filters, D head width; one layer per attention of the UNet, in the order they are called.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pocold.densepose.correspondence import Photograph, Surface
from pocold.imaging.files import atomic_write

# The second one also holds surfaces; codes without are written as ever.
_FORMATS = ("pocold-appearance-code-1", "pocold-appearance-code-2")
_PHOTOGRAPH = ("picture", "labels", "uv")


@dataclass(frozen=True, eq=False)
class AppearanceCode:
    """What the extraction half of every attention gathers from one or more photographs.

    Attributes:
        values: per layer ``(B, A, K, D)``, the code ``E v`` (method.md 3).
        mass: per layer float32 ``(B, A, K)``, logarithms of the softmax denominators of E. With them codes of several
            sources merge exactly (:meth:`union`). ``-inf`` where nothing was extracted.
        fingerprint: float32 ``(F,)``, a sample of the weights that made the code; see :meth:`check_model`.
        surface: the photographs themselves, of each of the B people, for models that take a surface hint; they stay on
            the CPU, where they are brought into poses. None for other models.

    Raises:
        ValueError: on construction, if the layers' shapes do not belong together.
    """

    values: tuple[Tensor, ...]
    mass: tuple[Tensor, ...]
    fingerprint: Tensor
    surface: tuple[Surface, ...] | None = None

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.mass):
            raise ValueError(
                f"an appearance code needs as many values as masses, got {len(self.values)} and {len(self.mass)}"
            )
        for layer, (values, mass) in enumerate(zip(self.values, self.mass, strict=True)):
            if values.ndim != 4 or values.shape[:3] != mass.shape or len(values) != len(self.values[0]):
                raise ValueError(
                    f"appearance code, layer {layer}: expected values (B, A, K, D) and mass (B, A, K), "
                    f"got {tuple(values.shape)} and {tuple(mass.shape)}"
                )
        if self.surface is not None and len(self.surface) != len(self):
            raise ValueError(f"appearance code: expected a surface for each of {len(self)}, got {len(self.surface)}")

    def __len__(self) -> int:
        """Number of people B."""
        return len(self.values[0])

    def __getitem__(self, rows: int | slice) -> "AppearanceCode":
        """The code of one of the people, or of several."""
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"person {rows} of {len(self)}")
            rows = slice(rows % len(self), rows % len(self) + 1)
        return AppearanceCode(
            values=tuple(tensor[rows] for tensor in self.values),
            mass=tuple(tensor[rows] for tensor in self.mass),
            fingerprint=self.fingerprint,
            surface=None if self.surface is None else self.surface[rows],
        )

    def __repr__(self) -> str:
        layers = len(self.values)
        return f"AppearanceCode(people={len(self)}, layers={layers}, dtype={self.dtype}, device='{self.device}')"

    @property
    def device(self) -> torch.device:
        return self.values[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.values[0].dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "AppearanceCode":
        """Move to a device; ``dtype`` applies to the values, masses stay float32, surfaces stay where they are."""
        return AppearanceCode(
            values=tuple(tensor.to(device=device, dtype=dtype) for tensor in self.values),
            mass=tuple(tensor.to(device=device) for tensor in self.mass),
            fingerprint=self.fingerprint,
            surface=self.surface,
        )

    def check_model(self, fingerprint: Tensor, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise a ValueError unless this code was made by the model with this fingerprint and these layer shapes.

        Args:
            fingerprint: float32 ``(F,)`` of the model.
            shapes: (A, K, D) of each of its attentions.
        """
        own = [tuple(values.shape[1:]) for values in self.values]
        if own != list(shapes):
            raise ValueError(
                f"this appearance code was made by another model: it has {len(own)} layers, the first of shape "
                f"{own[0]}, the model {len(shapes)}, the first of shape {shapes[0]}; encode the photograph again"
            )
        mine, theirs = self.fingerprint.cpu(), fingerprint.cpu()
        # Samples of the same weights differ only by rounding (at most 2^-8 in bfloat16), of others by about their size.
        same = mine.shape == theirs.shape and (mine - theirs).norm() <= 2**-6 * theirs.norm()
        if not same:
            raise ValueError(
                "this appearance code was made by a model with other weights; encode the photograph again with this one"
            )

    @classmethod
    def stack(cls, codes: Sequence["AppearanceCode"]) -> "AppearanceCode":
        """Several people's codes as one batch, for one picture each. All must come from one model."""
        first = _same_model(codes)
        return cls(
            values=tuple(torch.cat([code.values[i] for code in codes]) for i in range(len(first.values))),
            mass=tuple(torch.cat([code.mass[i] for code in codes]) for i in range(len(first.mass))),
            fingerprint=first.fingerprint,
            surface=None if first.surface is None else sum((code.surface or () for code in codes), ()),
        )

    @classmethod
    def union(cls, codes: Sequence["AppearanceCode"]) -> "AppearanceCode":
        """The code of several sources seen together, as if extracted from all their tokens at once. Exact.

        The sources may be photographs of one person, or parts of different people (extracted with ``parts``): the
        softmax over the union of tokens is the average of the sources' softmaxes, weighted by their denominators. Of
        their surfaces the nearest point is taken, pixel by pixel.
        All must come from one model and have one number of people.
        """
        first = _compatible(codes)
        values, masses = [], []
        for layer in range(len(first.values)):
            mass = torch.stack([code.mass[layer] for code in codes])  # (S, B, A, K)
            total = mass.logsumexp(0)
            # A filter that saw nothing in any source has no share to give: 0 instead of exp(-inf + inf).
            share = (mass - total.masked_fill(total == -torch.inf, 0)).exp()
            stacked = torch.stack([code.values[layer].float() for code in codes])  # (S, B, A, K, D)
            values.append((stacked * share[..., None]).sum(0).to(first.dtype))
            masses.append(total)
        surface = None
        if first.surface is not None:
            surface = tuple(map(Surface.union, zip(*(code.surface or () for code in codes), strict=True)))
        return cls(tuple(values), tuple(masses), first.fingerprint, surface)

    def blend(self, other: "AppearanceCode", weight: float) -> "AppearanceCode":
        """Interpolate towards another person's code: 0 gives this one, 1 gives ``other``, both exactly.

        Where only one of the two has seen anything (codes restricted to parts), its value is taken. Pictures warped
        from their surfaces are blended by the same weights.

        Raises:
            ValueError: if ``weight`` is not in [0, 1], or the codes come from different models.
        """
        if not 0 <= weight <= 1:
            raise ValueError(f"a blending weight must lie in [0, 1], got {weight}")
        _compatible([self, other])
        if weight in (0, 1):
            return other if weight else self
        values, masses = [], []
        for mine, theirs, my_mass, their_mass in zip(self.values, other.values, self.mass, other.mass, strict=True):
            mine_only = (their_mass == -torch.inf)[..., None]
            theirs_only = (my_mass == -torch.inf)[..., None]
            theirs = theirs.to(mine)
            mixed = torch.lerp(mine, theirs, weight)
            values.append(torch.where(mine_only, mine, torch.where(theirs_only, theirs, mixed)))
            log_weights = torch.tensor([1 - weight, weight]).log().tolist()
            masses.append(torch.logaddexp(my_mass + log_weights[0], their_mass + log_weights[1]))
        surface = None
        if self.surface is not None and other.surface is not None:
            surface = tuple(mine.blend(its, weight) for mine, its in zip(self.surface, other.surface, strict=True))
        return AppearanceCode(tuple(values), tuple(masses), self.fingerprint, surface)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, atomically.

        Raises:
            ValueError: if the name does not end in ``.safetensors`` or the folder does not exist.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ValueError(f"appearance codes are written as .safetensors, got {path.name}")
        tensors = {"fingerprint": self.fingerprint}
        for layer, (values, mass) in enumerate(zip(self.values, self.mass, strict=True)):
            tensors[f"layers.{layer}.values"] = values
            tensors[f"layers.{layer}.mass"] = mass
        tensors |= _surface_tensors(self.surface or ())
        with atomic_write(path) as temporary:
            # not save_file: it would replace the file by one that nobody but its owner may read
            content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
            temporary.write_bytes(save(content, {"format": _FORMATS[self.surface is not None]}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "AppearanceCode":
        """Read a file that :meth:`save` wrote.

        Raises:
            ValueError: if it is missing, truncated, or holds something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("format") not in _FORMATS:
                    raise ValueError(
                        f"{path} is not an appearance code written by pocold (expected format {' or '.join(_FORMATS)})"
                    )
                names = file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            layers = range(sum(name.startswith("layers.") for name in tensors) // 2)
            return cls(
                values=tuple(tensors[f"layers.{layer}.values"] for layer in layers),
                mass=tuple(tensors[f"layers.{layer}.mass"] for layer in layers),
                fingerprint=tensors["fingerprint"],
                surface=_surfaces(tensors),
            )
        except FileNotFoundError:
            raise ValueError(f"no such appearance code: {path}") from None
        except (SafetensorError, OSError, LookupError) as error:
            raise ValueError(f"{path} cannot be read as an appearance code: {error}") from error


def _surface_tensors(surfaces: Sequence[Surface]) -> dict[str, Tensor]:
    """Surfaces as named tensors: every photograph once, and of each person the layers' weights and photographs."""
    photographs: dict[Photograph, int] = {}
    tensors: dict[str, Tensor] = {}
    for person, surface in enumerate(surfaces):
        weights = [weight for weight, _ in surface.layers]
        tensors[f"surface.{person}.weights"] = torch.tensor(weights, dtype=torch.float64)
        for layer, (_, shown) in enumerate(surface.layers):
            numbers = [photographs.setdefault(photograph, len(photographs)) for photograph in shown]
            tensors[f"surface.{person}.{layer}"] = torch.tensor(numbers)
    for photograph, number in photographs.items():
        for part in _PHOTOGRAPH:
            tensors[f"photographs.{number}.{part}"] = getattr(photograph, part)
    return tensors


def _surfaces(tensors: Mapping[str, Tensor]) -> tuple[Surface, ...] | None:
    """The surfaces that :func:`_surface_tensors` named; None if there are none."""
    count = sum(name.startswith("photographs.") for name in tensors) // len(_PHOTOGRAPH)
    photographs = [Photograph(*(tensors[f"photographs.{n}.{part}"] for part in _PHOTOGRAPH)) for n in range(count)]
    surfaces: list[Surface] = []
    while (weights := tensors.get(f"surface.{len(surfaces)}.weights")) is not None:
        numbers = [tensors[f"surface.{len(surfaces)}.{layer}"].tolist() for layer in range(len(weights))]
        layers = zip(weights.tolist(), numbers, strict=True)
        surfaces.append(Surface(tuple((weight, tuple(photographs[n] for n in shown)) for weight, shown in layers)))
    return tuple(surfaces) or None


def _compatible(codes: Sequence[AppearanceCode]) -> AppearanceCode:
    """The first of ``codes``, once all are known to come from its model and to hold as many people."""
    first = _same_model(codes)
    people = {len(code) for code in codes}
    if len(people) > 1:
        raise ValueError(f"codes that are mixed must hold one number of people, got {sorted(people)}")
    return first


def _same_model(codes: Sequence[AppearanceCode]) -> AppearanceCode:
    """The first of ``codes``, once all are known to come from its model."""
    if not codes:
        raise ValueError("expected at least one appearance code, got none")
    for code in codes[1:]:
        code.check_model(codes[0].fingerprint, [tuple(values.shape[1:]) for values in codes[0].values])
        if (code.surface is None) != (codes[0].surface is None):
            raise ValueError("of codes that are mixed either all hold surfaces or none; encode the photographs again")
    return codes[0]
