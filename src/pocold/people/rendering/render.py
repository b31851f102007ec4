"""Draw a person: one call from a look, a shoot and poses to pictures with all their labels.

Legend: B shots, P vertices and T triangles of the figure, N fragments, H W picture size, h w supersampled size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocold.densepose.maps import DensePose
from pocold.people.body.anatomy import Canonical
from pocold.people.body.body import skin
from pocold.people.body.camera import Camera, check_size, frame_person
from pocold.people.body.mesh import vertex_normals
from pocold.people.body.posing import Bodies
from pocold.people.body.seat import SEAT_VERTICES, seat_corners
from pocold.people.body.skeleton import Pose, bone_transforms
from pocold.people.labels import densepose_of, keypoint_visibility, keypoints_3d
from pocold.people.poses import Crop, random_crop, random_pose, random_view
from pocold.people.rendering.figure import SOFT, SOLID, Figure, Wearer
from pocold.people.rendering.raster import Fragments, rasterize
from pocold.people.rendering.shading import ShadowMap, floor_shadow, illuminate, occlusion, relief
from pocold.people.rendering.studio import Backdrop, Shoot, draw_backdrop, expose, random_backdrop, random_shoot
from pocold.people.rendering.surface import CLASS_ID, Surface
from pocold.people.wardrobe.dressing import dress
from pocold.people.wardrobe.looks import Look, random_look
from pocold.people.wardrobe.makehuman import Garment, choose_garments


@dataclass(frozen=True)
class Shot:
    """One picture to take.

    Attributes:
        pose: what the person does.
        view: degrees, see :data:`pocold.people.poses.VIEWS`.
        crop: how much of the person is shown.
        seed: of wrinkles' sway and sensor noise.
        backdrop: instead of the shoot's own, or None.
        shift: share of the height the person is moved right and up.
    """

    pose: Pose
    view: float = 0.0
    crop: Crop = "full"
    seed: int = 0
    backdrop: Backdrop | None = None
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Picture:
    """One drawn picture and its labels.

    Attributes:
        image: uint8 ``(H, W, 3)``, sRGB.
        densepose: labels and U, V of the body under the clothes.
        garments: uint8 ``(H, W)``, classes of :data:`pocold.people.rendering.surface.CLASSES`.
        keypoints: float32 ``(18, 3)``: x, y in pixels (pixel centres at .5) and 1 if visible, else 0; see
            :data:`pocold.people.labels.KEYPOINT_NAMES`.
    """

    image: np.ndarray
    densepose: DensePose
    garments: np.ndarray
    keypoints: np.ndarray

    @property
    def silhouette(self) -> np.ndarray:
        """Bool ``(H, W)``: the clothed person."""
        return self.garments > 0


class Person:
    """Someone with a look, in a studio. Pictures of one person share light, backdrop, lens and film.

    Attributes:
        look, shoot: see there.
        garments: MakeHuman garments worn instead of the look's own, by kind; see
            :mod:`pocold.people.wardrobe.makehuman`.
        wearer: the build at rest.
        device: where drawing happens.
    """

    def __init__(
        self,
        look: Look,
        shoot: Shoot | None = None,
        device: torch.device | str = "cpu",
        garments: Mapping[str, Garment] | None = None,
    ) -> None:
        self.look, self.shoot = look, shoot or Shoot()
        self.garments = dict(garments or {})
        self.wearer = Wearer(look.shape)
        self.device = torch.device(device)

    @cached_property
    def figure(self) -> Figure:
        """The dressed body; built on first use."""
        return dress(self.look, self.wearer, self.garments).to(self.device)

    def draw(self, shots: list[Shot], size: tuple[int, int] = (256, 176), supersample: int = 2) -> list[Picture]:
        """Draw pictures.

        Args:
            shots: what to take.
            size: (height, width) in pixels.
            supersample: samples per pixel and side.

        Raises:
            ValueError: for an impossible size or no shots.
        """
        check_size(size)
        if not shots:
            raise ValueError("expected at least one shot, got none")
        stage = _Stage.set(self, shots, size)
        bodies = stage.body_fragments()
        maps = densepose_of(bodies, size, len(shots))
        keypoints = stage.keypoints(bodies)
        images, garments = _paint(stage, supersample)
        return [
            Picture(image, densepose, garment, points)
            for image, densepose, garment, points in zip(images, maps, garments, keypoints, strict=True)
        ]

    def random_shot(self, rng: np.random.Generator, vary_backdrop: bool = False) -> Shot:
        """A plausible pose, view and crop for this person."""
        crop = random_crop(rng)
        pose = random_pose(rng, self.wearer.heads, calm=self.look.calm)
        view = random_view(rng)
        shift = float(rng.normal() * 0.008), float(rng.normal() * 0.006)
        seed = int(rng.integers(2**31))
        return Shot(pose, view, crop, seed, random_backdrop(rng) if vary_backdrop else None, shift)


def random_person(seed: int, identity: int, device: torch.device | str = "cpu", wardrobe: str | None = None) -> Person:
    """The person with this number in the population of a seed; a pure function of both.

    With ``wardrobe``, a folder of MakeHuman garments, some of these are worn instead of the built-in ones.
    """
    rng = np.random.default_rng([seed, identity])
    look, shoot = random_look(rng), random_shoot(rng)
    garments = {}
    if wardrobe is not None:
        garments = choose_garments(np.random.default_rng([seed, identity, 3]), wardrobe, look.shape.gender > 0.5)
    return Person(look, shoot, device, garments)


def _place_seats(wearer: Wearer, shots: list[Shot], moves: np.ndarray, vertices: Tensor) -> Tensor:
    """Put the figure's seat under seated people, in place; for others it stays a point. Returns its vertices."""
    index = wearer.anatomy.body.bone_index
    joints = (moves[..., :3] @ wearer.heads[:, :, None])[..., 0] + moves[..., 3]
    for b, shot in enumerate(shots):
        corners = torch.zeros(SEAT_VERTICES, 3)
        if shot.pose.seated:
            hip = float(joints[b, [index["upperleg01.L"], index["upperleg01.R"]], 2].mean())
            floor = float(vertices[b, :-SEAT_VERTICES, 2].min())
            corners = seat_corners(joints[b, index["root"]], hip, floor)
        vertices[b, -SEAT_VERTICES:] = corners.to(vertices)
    return vertices[:, -SEAT_VERTICES:]


@dataclass(frozen=True)
class _Stage:
    """Posed person and cameras of some shots."""

    person: Person
    shots: list[Shot]
    cameras: list[Camera]
    transforms: Tensor
    body: Bodies
    vertices: Tensor  # (B, P, 3), world

    @classmethod
    def set(cls, person: Person, shots: list[Shot], size: tuple[int, int]) -> "_Stage":
        wearer = person.wearer
        skeleton = wearer.anatomy.body
        moves = np.stack([bone_transforms(shot.pose, skeleton, wearer.heads) for shot in shots])
        transforms = torch.from_numpy(moves).float().to(person.device)
        figure = person.figure
        vertices = skin(figure.vertices, figure.weights, transforms)
        seats = _place_seats(wearer, shots, moves, vertices)
        cameras = [
            frame_person(
                vertices[b, :-SEAT_VERTICES].cpu(), moves[b], wearer.heads, skeleton, view=shot.view, crop=shot.crop,
                size=size, lens=person.shoot.lens, standing=wearer.standing, shift=shot.shift,
            )
            for b, shot in enumerate(shots)
        ]  # fmt: skip
        body = Bodies.of(wearer, moves, person.device, seats)
        return cls(person, shots, cameras, transforms, body, vertices)

    def body_fragments(self) -> Fragments:
        return self.body.fragments(self.cameras)

    def keypoints(self, bodies: Fragments) -> list[np.ndarray]:
        """Float32 ``(18, 3)`` per shot: x, y, visible."""
        points = keypoints_3d(self.body.vertices, self.person.wearer.heads, self.transforms)
        surface = torch.full((len(self.shots), *self.cameras[0].size), float("inf"), device=points.device)
        surface[bodies.picture, bodies.row, bodies.column] = bodies.depth
        projected = [c.project(c.to_camera(p)) for c, p in zip(self.cameras, points, strict=True)]
        pixels, depth = torch.stack([p for p, _ in projected]), torch.stack([d for _, d in projected])
        visible = keypoint_visibility(pixels, depth, surface)
        return list(torch.cat([pixels, visible[..., None].float()], -1).cpu().numpy())


def _paint(stage: _Stage, supersample: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures uint8 ``(H, W, 3)`` and garment maps uint8 ``(H, W)`` of all shots."""
    figure, shoot, batch = stage.person.figure, stage.person.shoot, len(stage.shots)
    size = stage.cameras[0].size
    cameras = [c.scaled(supersample) for c in stage.cameras]
    vertices = torch.stack([c.to_camera(v) for c, v in zip(cameras, stage.vertices, strict=True)])
    projected = [c.project(v) for c, v in zip(cameras, vertices, strict=True)]
    points, depth = torch.stack([p for p, _ in projected]), torch.stack([d for _, d in projected])
    fragments = rasterize(
        points, depth, figure.triangles, cameras[0].size, two_sided=figure.two_sided, layer=figure.layer, num_layers=2,
        bias=figure.bias,
    )  # fmt: skip
    # by piece, so that each material sees one slice
    fragments = fragments.select(torch.argsort(figure.piece_of[fragments.triangle], stable=True))
    painted = _Painted.of(stage, fragments, vertices, points, cameras)
    shadow = ShadowMap.of(vertices, figure.triangles, figure.two_sided, shoot.light)
    lit = shadow.lit(painted.position, fragments.picture, shoot.light.softness)
    sky = occlusion(painted.depth_image, fragments)
    colour = illuminate(painted.colour, painted.normals, painted.gloss, painted.is_skin, lit, sky, shoot.light)

    height, width = cameras[0].size
    canvas = torch.zeros(batch * height * width, 4, device=colour.device)
    kind = torch.zeros(batch * height * width, dtype=torch.int64, device=colour.device)
    pixel = (fragments.picture * height + fragments.row) * width + fragments.column
    solid, soft = fragments.layer == SOLID, painted.visible_hair
    for chosen, alpha in ((solid, None), (soft, painted.alpha)):
        place = pixel[chosen]
        share = torch.ones_like(colour[chosen, :1]) if alpha is None else alpha[chosen, None]
        canvas[place] = canvas[place] * (1 - share) + torch.cat([colour[chosen], torch.ones_like(share)], 1) * share
        kind[place] = torch.where(share[:, 0] > 0.5, painted.garment[chosen], kind[place])
    canvas = canvas.view(batch, height, width, 4).permute(0, 3, 1, 2)
    small = F.avg_pool2d(canvas, supersample)
    darkening = floor_shadow(vertices, shadow, stage.cameras, size)
    images: list[np.ndarray] = []
    for b, shot in enumerate(stage.shots):
        background = draw_backdrop(shot.backdrop or shoot.backdrop, size, _horizon(stage.cameras[b])).to(colour.device)
        background = background * (1 - darkening[b])
        picture = small[b, :3] + (1 - small[b, 3:]) * background
        images.append(expose(picture, shoot.film, np.random.default_rng(shot.seed)))
    garments = _most_frequent(kind.view(batch, height, width), supersample).to(torch.uint8).cpu().numpy()
    return images, list(garments)


def _horizon(camera: Camera) -> float:
    """Row where a wall 1.4 m behind the person stands on the floor."""
    below = camera.target[2] - camera.floor
    drop = below * np.cos(camera.pitch) - 1.4 * np.sin(camera.pitch)
    return camera.size[0] / 2 + camera.focal * float(drop) / (camera.distance + 1.4)


def _most_frequent(kind: Tensor, side: int) -> Tensor:
    """The class most samples of each pixel have: ``(B, h, w)`` to ``(B, H, W)``."""
    samples = kind.unfold(1, side, side).unfold(2, side, side).flatten(3)  # (B, H, W, samples)
    result = samples[..., 0].clone()
    mixed = samples.amax(3) != samples.amin(3)
    undecided = samples[mixed]  # (M, samples)
    votes = (undecided[:, :, None] == undecided[:, None]).sum(2)
    result[mixed] = undecided.gather(1, votes.argmax(1, keepdim=True))[:, 0]
    return result


@dataclass(frozen=True)
class _Painted:
    """Fragments with their materials applied; all ``(N, ...)`` but the depth image ``(B, h, w)``."""

    colour: Tensor
    normals: Tensor
    gloss: Tensor
    alpha: Tensor
    garment: Tensor
    is_skin: Tensor
    position: Tensor
    visible_hair: Tensor
    depth_image: Tensor

    @classmethod
    def of(
        cls, stage: _Stage, fragments: Fragments, vertices: Tensor, points: Tensor, cameras: list[Camera]
    ) -> "_Painted":
        figure = stage.person.figure
        batch, (height, width) = len(cameras), cameras[0].size
        corners = figure.triangles[fragments.triangle]
        attributes = fragments.interpolate(figure.attributes, corners)
        vectors = torch.cat([vertex_normals(vertices, figure.triangles), vertices], -1)
        corners = corners + fragments.picture[:, None] * len(figure.vertices)
        vectors = fragments.interpolate(vectors.flatten(0, 1), corners)
        normals, position = F.normalize(vectors[:, :3], dim=1), vectors[:, 3:]
        away = _facing_away(points, figure.triangles)
        away = away.flatten()[fragments.picture * len(figure.triangles) + fragments.triangle]
        normals = torch.where(away[:, None], -normals, normals)

        piece = figure.piece_of[fragments.triangle]
        sway = torch.stack([_sway(shot.seed) for shot in stage.shots]).to(normals.device)[fragments.picture]
        colour, relief_height = torch.empty_like(normals), torch.empty_like(normals[:, 0])
        gloss, alpha = torch.empty_like(relief_height), torch.ones_like(relief_height)
        garment = torch.empty_like(piece)
        ends = torch.bincount(piece, minlength=len(figure.pieces)).cumsum(0).tolist()
        for part, start, end in zip(figure.pieces, [0, *ends], ends, strict=False):
            own, at = attributes[start:end], slice(start, end)
            shade = part.material(Surface(Canonical(own[:, :10]), own[:, 10], away[at], own[:, 11], sway[at]))
            colour[at], relief_height[at], gloss[at] = shade.colour, shade.height, shade.gloss
            garment[at] = part.garment if shade.garment is None else shade.garment
            if shade.alpha is not None and part.layer == SOFT:
                alpha[at] = shade.alpha

        order = torch.arange(len(fragments), device=normals.device)
        index = torch.full((batch, height + 2, width + 2), -1, dtype=torch.int64, device=normals.device)
        solid = fragments.layer == SOLID
        index[fragments.picture[solid], fragments.row[solid] + 1, fragments.column[solid] + 1] = order[solid]
        below = index[fragments.picture, fragments.row + 1, fragments.column + 1]
        behind = (below >= 0) & (fragments.depth > fragments.depth[below] + 0.006)
        visible_hair = ~solid & ~behind & (alpha > 0.004)
        over = visible_hair & (alpha > 0.5)
        index[fragments.picture[over], fragments.row[over] + 1, fragments.column[over] + 1] = order[over]
        normals = relief(normals, relief_height, fragments, piece, index, cameras)
        depth_image = torch.full((batch, height, width), float("inf"), device=normals.device)
        depth_image[fragments.picture[solid], fragments.row[solid], fragments.column[solid]] = fragments.depth[solid]
        is_skin = ((garment == CLASS_ID["skin"]) | (garment == CLASS_ID["face"])).to(normals.dtype)
        return cls(colour, normals, gloss, alpha, garment, is_skin, position, visible_hair, depth_image)


def _sway(seed: int) -> Tensor:
    """A small shift of the wrinkles: cloth falls differently in every picture."""
    return torch.from_numpy(np.random.default_rng([seed, 1]).normal(size=3) * 0.02).float()


def _facing_away(points: Tensor, triangles: Tensor) -> Tensor:
    """Bool ``(B, T)``: seen from behind."""
    corners = points[:, triangles]
    edge1, edge2 = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    return edge1[..., 0] * edge2[..., 1] - edge1[..., 1] * edge2[..., 0] > 0
