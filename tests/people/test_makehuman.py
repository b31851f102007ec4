"""MakeHuman garments from a folder: a small made-up checkout, cut from the body's own helper meshes."""

import numpy as np
import pytest
import torch

from pocold.people.body.anatomy import load_anatomy
from pocold.people.body.body import AVERAGE, BodyShape
from pocold.people.poses import POSES
from pocold.people.rendering.figure import Wearer
from pocold.people.rendering.render import Shot, random_person
from pocold.people.rendering.surface import CLASS_ID
from pocold.people.wardrobe.makehuman import choose_garments, covered_by, load_garments


def write_garment(folder, name, triangles, offset=0.1):
    """An asset whose vertices sit ``offset`` decimetres in front of base vertices; every third one is bound to one."""
    used, faces = torch.unique(triangles, return_inverse=True)
    rest, _ = load_anatomy().body.rest()
    lines = ["# explicitly released as CC0", f"obj_file {name}.obj"]
    for axis, (first, second), column in (("x", (0, 4000), 0), ("y", (0, 10000), 2), ("z", (100, 8000), 1)):
        distance = abs(float(rest[first, column] - rest[second, column])) * 10
        lines.append(f"{axis}_scale {first} {second} {distance}")
    lines.append("verts 0")
    for i, vertex in enumerate(used.tolist()):
        if i % 3 == 2:
            lines.append(f"{vertex}")
        else:
            lines.append(f"{vertex} {vertex} {vertex} 0.5 0.25 0.25 0 0 {offset}")
    lines.append("delete_verts")
    lines.append("5 - 9")
    folder.mkdir(parents=True)
    (folder / f"{name}.mhclo").write_text("\n".join(lines))
    corners = "\n".join("f " + " ".join(f"{c + 1}/1" for c in face) for face in faces.tolist())
    (folder / f"{name}.obj").write_text("v 0 0 0\n" * len(used) + corners + "\n")
    return used


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    anatomy = load_anatomy()
    tights = anatomy.body.tights
    z = anatomy.position[tights, 2].mean(1)
    torso = (z > 0.1) & (z < 0.66) & (anatomy.skin_canonical.arm_share[tights].amax(1) < 0.5)
    feet = z < -0.72
    used = write_garment(folder / "base" / "clothes" / "suit", "female_suit", tights[torso | feet])
    write_garment(folder / "base" / "hair" / "bowl", "bowl", anatomy.body.hair)
    return folder, used


def test_an_outfit_is_split_by_height(checkout):
    garments = load_garments(str(checkout[0]))
    assert [(g.name, g.kind) for g in garments] == [("female_suit", "top"), ("female_suit", "shoes"), ("bowl", "hair")]


def test_garments_fit_the_build(checkout):
    top = load_garments(str(checkout[0]))[0]
    for shape in (AVERAGE, BodyShape(height=0.8, weight=0.7)):
        rest = Wearer(shape).rest
        vertices = top.vertices(rest)
        single = top.offset.abs().sum(1) == 0
        assert single.any()
        assert torch.allclose(vertices[single], rest[top.index[single, 0]], atol=1e-6)
        moved = vertices[~single] - rest[top.index[~single, 0]]
        assert torch.allclose(moved[:, [0, 2]], torch.zeros(len(moved), 2), atol=1e-6)
        assert -0.02 < float(moved[:, 1].mean()) < -0.005  # forward is -y; 1 cm, scaled with the body
        if shape == AVERAGE:
            assert torch.allclose(moved[:, 1], torch.full((len(moved),), -0.01), atol=1e-5)


def test_it_covers_the_torso_and_not_the_hands(checkout):
    wearer = Wearer(AVERAGE)
    covered = covered_by(wearer, load_garments(str(checkout[0]))[0])
    where = wearer.anatomy.skin_canonical
    skin = torch.zeros(len(covered), dtype=torch.bool)
    skin[wearer.anatomy.body.faces.flatten()] = True
    belly = skin & (where.z > 0.2) & (where.z < 0.5) & (where.x.abs() < 0.1) & (where.arm_share < 0.1)
    assert (covered[belly] > 0).float().mean() > 0.97
    assert (covered[skin & (where.arm > 2)] < 0).all()


def test_people_wear_them(checkout):
    folder = str(checkout[0])
    worn = None
    for identity in range(40):
        person = random_person(0, identity, wardrobe=folder)
        if "top" in person.garments and not person.look.dress and person.look.jacket is None:
            worn = person
            break
    assert worn is not None
    assert worn.look.shape.gender > 0.5  # "female_" outfits only
    picture = worn.draw([Shot(POSES["stand"])], (96, 66))[0]
    torso = np.isin(picture.densepose.labels, (2,))
    rows = np.flatnonzero(torso.any(1))
    torso[: rows[0] + len(rows) // 3] = False
    assert (picture.garments[torso] == CLASS_ID["skin"]).mean() < 0.04
    again = random_person(0, identity, wardrobe=folder).draw([Shot(POSES["stand"])], (96, 66))[0]
    assert np.array_equal(picture.image, again.image)
    assert choose_garments(np.random.default_rng(1), folder, woman=False).keys() <= {"shoes", "hair"}


def test_folders_without_garments(tmp_path):
    with pytest.raises(ValueError, match="no MakeHuman garments"):
        load_garments(str(tmp_path))


@pytest.mark.parametrize(
    ("binding", "mesh", "message"),
    [("obj_file a.obj\n", "f 1 2 3\n", "expected obj_file"),
     ("obj_file a.obj\nx_scale 1 2 1\ny_scale 1 2 1\nz_scale 1 2 1\nverts 0\n1\n2\n", "f 1 2 3\n", "more vertices"),
     ("obj_file a.obj\nx_scale 1 2 1\ny_scale 1 2 1\nz_scale 1 2 1\nverts 0\n1\n2\n", "version lfs\n", "LFS pointer"),
     ("obj_file b.obj\nx_scale 1 2 1\ny_scale 1 2 1\nz_scale 1 2 1\nverts 0\n1\n2\n", "", "is missing")],
)  # fmt: skip
def test_broken_assets(tmp_path, binding, mesh, message):
    (tmp_path / "a.mhclo").write_text(binding)
    (tmp_path / "a.obj").write_text(mesh)
    with pytest.raises(ValueError, match=message):
        load_garments(str(tmp_path))
