"""Light on fragments: relief, key light with soft shadows, fill, ambient occlusion, highlights, shadow on the floor.

Everything is in camera space (x right, y away, z up) and per fragment. Legend: B pictures, N fragments, h w
supersampled size.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.people.body.camera import Camera
from pocold.people.rendering.raster import Fragments, rasterize
from pocold.people.rendering.studio import Light

_SHADOW_SIDE = 176
_TAPS = ((0.0, 0.0), (1.0, 0.2), (-0.6, 0.8), (-0.9, -0.4), (0.3, -1.0), (0.6, 0.9), (-0.2, 0.35), (0.1, -0.45))


def relief(
    normals: Tensor, height: Tensor, fragments: Fragments, piece: Tensor, index: Tensor, cameras: list[Camera]
) -> Tensor:
    """Bend normals ``(N, 3)`` by a height field ``(N,)``, compared with neighbouring pixels of the same piece.

    Args:
        piece: ``(N,)``, id of the piece of each fragment.
        index: ``(B, h + 2, w + 2)``, fragment at each pixel of a picture with a border, -1 where none.
    """
    stride = index.shape[2]
    here = (fragments.picture * index.shape[1] + fragments.row + 1) * stride + fragments.column + 1
    flat = index.flatten()

    def slope(step: int) -> Tensor:
        total = torch.zeros_like(height)
        for sign in (1, -1):
            other = flat[here + sign * step]
            same = (other >= 0) & (piece[other] == piece) & ((fragments.depth[other] - fragments.depth).abs() < 0.03)
            total += sign * torch.where(same, height[other] - height, 0.0)
        return total / 2

    pixel = torch.tensor([c.distance / c.focal for c in cameras], device=height.device)[fragments.picture]
    across, down = ((slope(s) / pixel).clamp(-0.8, 0.8) for s in (1, stride))
    bent = torch.stack([normals[:, 0] - across, normals[:, 1], normals[:, 2] + down], 1)
    return F.normalize(bent, dim=1)


def light_direction(light: Light) -> tuple[float, float, float]:
    """Unit vector to the key light, camera space."""
    azimuth, elevation = math.radians(light.azimuth), math.radians(light.elevation)
    return math.sin(azimuth) * math.cos(elevation), -math.cos(azimuth) * math.cos(elevation), math.sin(elevation)


@dataclass(frozen=True)
class ShadowMap:
    """What the key light sees.

    Attributes:
        depth: ``(B, side, side)``, distance to the nearest surface along the light, large where there is none.
        right, up, towards: ``(3,)``, axes of the light's picture in camera space.
        low, scale: ``(B, 2)`` and ``(B, 1)``, from those axes to texels.
    """

    depth: Tensor
    right: Tensor
    up: Tensor
    towards: Tensor
    low: Tensor
    scale: Tensor

    @classmethod
    def of(cls, vertices: Tensor, triangles: Tensor, two_sided: Tensor, light: Light) -> "ShadowMap":
        """Draw the shadow map of posed vertices ``(B, V, 3)``."""
        towards = vertices.new_tensor(light_direction(light))
        right = F.normalize(torch.linalg.cross(towards, vertices.new_tensor([0.0, 0.0, 1.0])), dim=0)
        up = torch.linalg.cross(right, towards)
        flat = torch.stack([vertices @ -right, vertices @ up], -1)
        low, high = flat.amin(1), flat.amax(1)
        scale = (_SHADOW_SIDE - 4) / (high - low).amax(1, keepdim=True)
        texels = (flat - low[:, None]) * scale[:, None] + 2
        texels[..., 1] = _SHADOW_SIDE - texels[..., 1]
        size = (_SHADOW_SIDE, _SHADOW_SIDE)
        seen = rasterize(texels, 10 - vertices @ towards, triangles, size, two_sided=two_sided)
        depth = vertices.new_full((len(vertices), *size), 99.0)
        depth[seen.picture, seen.row, seen.column] = seen.depth
        return cls(depth, -right, up, towards, low, scale)

    def texel(self, points: Tensor, picture: Tensor) -> Tensor:
        """Column and row ``(N, 2)`` of points ``(N, 3)``."""
        flat = torch.stack([points @ self.right, points @ self.up], 1)
        texels = (flat - self.low[picture]) * self.scale[picture] + 2
        return torch.stack([texels[:, 0], _SHADOW_SIDE - texels[:, 1]], 1)

    def lit(self, points: Tensor, picture: Tensor, softness: float) -> Tensor:
        """Share of the key light that reaches points ``(N, 3)``, ``(N,)`` in [0, 1]."""
        texels = self.texel(points, picture)
        distance = 10 - points @ self.towards - 0.028
        total = torch.zeros_like(distance)
        flat, base = self.depth.flatten(), picture * _SHADOW_SIDE**2
        for dx, dy in _TAPS:
            column = (texels[:, 0] + dx * softness).long().clamp(0, _SHADOW_SIDE - 1)
            row = (texels[:, 1] + dy * softness).long().clamp(0, _SHADOW_SIDE - 1)
            total += (distance < flat[base + row * _SHADOW_SIDE + column]).float()
        return total / len(_TAPS)


def occlusion(depth: Tensor, fragments: Fragments) -> Tensor:
    """Screen-space ambient occlusion at fragments.

    Args:
        depth: ``(B, h, w)``, infinite where there is nothing.
        fragments: where it is wanted.

    Returns:
        ``(N,)`` in about [0.4, 1], lower where the surroundings are nearer to the camera.
    """
    height, width = depth.shape[1:]
    covered = torch.isfinite(depth)
    stacked = torch.stack([torch.where(covered, depth, 0.0), covered.to(depth.dtype)], 1)
    small = F.avg_pool2d(stacked, 4)
    means = []
    for side in (2, 5):
        size = 2 * side + 1
        blurred = F.avg_pool2d(F.avg_pool2d(small, (size, 1), 1, (side, 0)), (1, size), 1, (0, side))
        means.append(blurred[:, 0] / (blurred[:, 1] + 1e-4))
    surroundings = torch.stack(means, 1)  # (B, 2, h / 4, w / 4)
    shift = depth.new_tensor([width, height])
    where = (torch.stack([fragments.column, fragments.row], 1) + 0.5) / shift * 2 - 1
    mean = depth.new_empty(2, len(fragments))
    for picture in range(len(depth)):
        own = fragments.picture == picture
        points = where[own].view(1, 1, -1, 2)
        mean[:, own] = F.grid_sample(
            surroundings[picture : picture + 1], points, padding_mode="border", align_corners=False
        )[0, :, 0]
    reach = depth.new_tensor([[0.05], [0.12]])
    return 1 - 0.3 * ((fragments.depth - mean) / reach).clamp(0, 1).sum(0)


def illuminate(
    colour: Tensor, normals: Tensor, gloss: Tensor, is_skin: Tensor, lit: Tensor, open_sky: Tensor, light: Light
) -> Tensor:
    """Lit colours.

    Args:
        colour: ``(N, 3)``, sRGB of the surface.
        normals: ``(N, 3)``, unit, camera space.
        gloss, is_skin, lit, open_sky: ``(N,)``; skin glows a little where light fades.

    Returns:
        ``(N, 3)``, sRGB in [0, 1].
    """
    towards = normals.new_tensor(light_direction(light))
    facing = (normals @ towards).clamp(min=0)
    fill_from = F.normalize(normals.new_tensor([-float(towards[0]), -0.8, 0.2]), dim=0)
    fill = light.fill * (normals @ fill_from).clamp(min=0)
    ambient = (light.ambient + 0.13 * normals[:, 2]) * open_sky
    tint = 1 + light.warmth * normals.new_tensor([0.03, 0.0, -0.04])
    strength = (light.key * facing * lit)[:, None] * tint + (fill + ambient)[:, None]
    linear = colour.pow(2.2) * strength * 1.25
    glow = is_skin * (1 - facing * lit)
    linear = linear * (1 + glow[:, None] * normals.new_tensor([0.10, 0.0, -0.03]))
    half = F.normalize(towards + normals.new_tensor([0.0, -1.0, 0.0]), dim=0)
    highlight = gloss * (normals @ half).clamp(min=0) ** 20 * (0.25 + 0.75 * lit)
    rim = 0.05 * (1 + normals[:, 1].clamp(max=0)).pow(3) * open_sky
    linear = linear + (0.33 * highlight)[:, None] + rim[:, None] * colour
    bright = 0.55 + 0.45 * (1 - torch.exp(-(linear - 0.55).clamp(min=0) / 0.45))  # a film's shoulder: white keeps folds
    return torch.where(linear > 0.55, bright, linear).clamp(0, 1).pow(1 / 2.2)


def floor_shadow(vertices: Tensor, shadow: ShadowMap, cameras: list[Camera], size: tuple[int, int]) -> Tensor:
    """How much the floor is darkened by cast shadow and by contact, ``(B, H, W)`` in [0, 1].

    Worked out at a quarter of the size: both shadows are soft.

    Args:
        vertices: ``(B, V, 3)``, camera space.
        size: (height, width) of the result; the cameras' own.
    """
    rows, columns = max(4, size[0] // 4), max(4, size[1] // 4)
    pictures = []
    cast = F.avg_pool2d((shadow.depth < 90).float()[:, None], 7, 1, 3)
    cast = F.avg_pool2d(cast, 5, 1, 2)
    for b, camera in enumerate(cameras):
        points, visible = _floor_points(camera, rows, columns, vertices)
        texel = shadow.texel(points, torch.full((len(points),), b, device=points.device)) / _SHADOW_SIDE * 2 - 1
        far = F.grid_sample(cast[b : b + 1], texel.view(1, rows, columns, 2), align_corners=False)[0, 0]
        near = _contact(vertices[b], points, camera).view(rows, columns)
        pictures.append((0.2 * far + 0.5 * near).clamp(0, 0.75) * visible.view(rows, columns))
    return F.interpolate(torch.stack(pictures)[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _floor_frame(camera: Camera, like: Tensor) -> tuple[Tensor, Tensor]:
    """A point of the floor and its normal in camera space."""
    sine, cosine = math.sin(camera.pitch), math.cos(camera.pitch)
    up = like.new_tensor([0.0, -sine, cosine])
    return up * (camera.floor - camera.target[2]), up


def _floor_points(camera: Camera, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Where the line of sight of each pixel meets the floor ``(rows * columns, 3)``, and whether it does."""
    height, width = camera.size
    y, x = torch.meshgrid(
        (torch.arange(rows, device=like.device) + 0.5) * height / rows,
        (torch.arange(columns, device=like.device) + 0.5) * width / columns, indexing="ij",
    )  # fmt: skip
    ray = torch.stack([(x - width / 2) / camera.focal, torch.ones_like(x), -(y - height / 2) / camera.focal], -1).view(
        -1, 3
    )
    eye = like.new_tensor([0.0, -camera.distance, 0.0])
    origin, up = _floor_frame(camera, like)
    slope = ray @ up
    t = ((origin - eye) @ up) / torch.where(slope < -1e-4, slope, -1e-4)
    visible = (slope < -1e-4) & (t > 0) & (t < camera.distance + 4)
    return eye + ray * t.clamp(max=camera.distance + 4)[:, None], visible


def _contact(vertices: Tensor, points: Tensor, camera: Camera) -> Tensor:
    """Darkening right under what touches the floor, ``(N,)``: a blurred map of the lowest vertices."""
    origin, up = _floor_frame(camera, vertices)
    forward = torch.linalg.cross(up, vertices.new_tensor([1.0, 0.0, 0.0]))
    axes = torch.stack([vertices.new_tensor([1.0, 0.0, 0.0]), forward], 1)
    height = (vertices - origin) @ up
    cells, span = 96, 1.9
    low = vertices[height < 0.05] @ axes / span * cells + cells / 2
    grid = vertices.new_zeros(cells * cells)
    cell = low.long()
    inside = ((cell >= 0) & (cell < cells)).all(1)
    grid[cell[inside, 1] * cells + cell[inside, 0]] = 1.0
    blurred = F.avg_pool2d(F.avg_pool2d(grid.view(1, 1, cells, cells), 5, 1, 2), 3, 1, 1)
    where = points @ axes / span * 2
    return F.grid_sample(blurred, where.view(1, 1, -1, 2), align_corners=False).flatten().clamp(max=1)
