"""The z-buffer against a loop over pixels and triangles."""

import pytest
import torch

from pocold.people.body.mesh import Smoother, boundary_vertices, cut, vertex_normals
from pocold.people.rendering.raster import rasterize, snap

SIZE = (19, 23)


def random_scene(seed: int, count: int = 30):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(1, count * 3, 2, generator=generator) * torch.tensor([30.0, 26.0]) - 3
    depth = torch.rand(1, count * 3, generator=generator) * 3 + 1
    return points, depth, torch.arange(count * 3).view(count, 3)


def brute_force(points, depth, triangles, two_sided):
    """Nearest triangle, its depth and weights at each pixel, one triangle and one pixel at a time, in float64."""
    points = snap(points, SIZE)[0].double()
    result = {}
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            pixel = torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)
            for t, corners in enumerate(triangles.tolist()):
                a, b, c = (points[i] for i in corners)
                area = (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]
                if area >= 0 and not two_sided:
                    continue
                inverse = torch.linalg.solve(torch.stack([a - c, b - c], 1), pixel - c)
                weights = torch.stack([inverse[0], inverse[1], 1 - inverse.sum()])
                if weights.min() < 0:
                    continue
                shares = weights / depth[0, corners].double()
                z = float(1 / shares.sum())
                if (row, column) not in result or z < result[row, column][1]:
                    result[row, column] = (t, z, shares / shares.sum())
    return result


@pytest.mark.parametrize("two_sided", [False, True])
def test_equals_brute_force(two_sided):
    points, depth, triangles = random_scene(1)
    seen = rasterize(points, depth, triangles, SIZE, two_sided=torch.full((len(triangles),), two_sided))
    expected = brute_force(points, depth, triangles, two_sided)
    places = list(zip(seen.row.tolist(), seen.column.tolist(), strict=True))
    assert set(places) == set(expected)
    for i, place in enumerate(places):
        triangle, z, weights = expected[place]
        assert int(seen.triangle[i]) == triangle
        assert float(seen.depth[i]) == pytest.approx(z, rel=1e-4)
        assert torch.allclose(seen.barycentric[i].double(), weights, atol=1e-3)


def test_batches_and_layers_equal_single_runs():
    scenes = [random_scene(seed) for seed in (2, 3)]
    points, depth = torch.cat([s[0] for s in scenes]), torch.cat([s[1] for s in scenes])
    triangles = scenes[0][2]
    layer = (torch.arange(len(triangles)) % 2).long()
    together = rasterize(points, depth, triangles, SIZE, layer=layer, num_layers=2)
    for picture in (0, 1):
        for number in (0, 1):
            alone = rasterize(
                points[picture : picture + 1], depth[picture : picture + 1], triangles[layer == number], SIZE
            )
            part = together.select((together.picture == picture) & (together.layer == number))
            own = torch.arange(len(triangles))[layer == number][alone.triangle]
            assert torch.equal(part.triangle, own)
            assert torch.equal(part.row, alone.row)
            assert torch.equal(part.barycentric, alone.barycentric)


def test_bias_decides_only_comparisons():
    points = torch.tensor([[[2.0, 2], [2, 18], [18, 2]] * 2])
    depth = torch.tensor([[2.0] * 3 + [2.01] * 3])
    triangles = torch.arange(6).view(2, 3)
    seen = rasterize(points, depth, triangles, SIZE, bias=torch.tensor([0.05, 0.0]))
    assert set(seen.triangle.tolist()) == {1}
    assert seen.depth.max() == pytest.approx(2.01)


def test_nothing_behind_the_camera():
    points, depth, triangles = random_scene(4)
    assert len(rasterize(points, -depth, triangles, SIZE)) == 0


def test_interpolation_is_exact_for_planes():
    points, depth, triangles = random_scene(5)
    seen = rasterize(points, depth, triangles, SIZE)
    assert torch.allclose(seen.interpolate(depth[0][:, None], triangles[seen.triangle])[:, 0], seen.depth, rtol=1e-4)


def square(side: int = 8):
    """A flat unit square as a grid."""
    line = torch.linspace(0, 1, side + 1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    vertices = torch.stack([x.flatten(), y.flatten(), torch.zeros((side + 1) ** 2)], 1)
    corner = (torch.arange(side)[:, None] * (side + 1) + torch.arange(side)).flatten()
    a, b, c, d = corner, corner + 1, corner + side + 2, corner + side + 1
    return vertices, torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])


def area(vertices, triangles):
    p = vertices[triangles]
    return float(torch.linalg.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])[:, 2].sum() / 2)


def test_cut_keeps_the_positive_part():
    vertices, triangles = square()
    field = vertices @ torch.tensor([1.0, 0.5, 0.0]) - 0.66
    kept, points = cut(triangles, field)
    other, points_of_other = cut(triangles, -field)
    assert points.of(field[:, None]).min() > -1e-6
    assert area(points.of(vertices), kept) + area(points_of_other.of(vertices), other) == pytest.approx(1, abs=1e-5)
    # right of the line x + y / 2 = 0.66: all but the trapezoid left of it
    assert area(points.of(vertices), kept) == pytest.approx(1 - (0.66 + 0.16) / 2, abs=1e-5)


def test_cutting_away_everything_or_nothing():
    vertices, triangles = square()
    assert len(cut(triangles, torch.full((len(vertices),), -1.0))[0]) == 0
    assert len(cut(triangles, torch.ones(len(vertices)))[0]) == len(triangles)


def test_smoothing_flattens_the_middle_and_pins_the_border():
    vertices, triangles = square()
    border = boundary_vertices(triangles, len(vertices))
    assert int(border.sum()) == 32
    noisy = vertices + 0.05 * torch.randn(vertices.shape, generator=torch.Generator().manual_seed(0))
    smoother = Smoother.of(triangles, len(vertices))
    smooth = smoother.laplace(noisy, 20)
    assert torch.equal(smooth[border], noisy[border])
    assert smooth[~border, 2].std() < 0.5 * noisy[~border, 2].std()


def test_normals_of_a_square():
    vertices, triangles = square()
    assert torch.allclose(vertex_normals(vertices, triangles), torch.tensor([0.0, 0, 1]).expand_as(vertices))
