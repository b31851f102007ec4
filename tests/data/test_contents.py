"""Checksums by content: what changes them, and what does not."""

import shutil

import pytest
from PIL import Image

from pocold.data.contents import Contents, bytes_checksum, data_checksum, files_checksum, require_same
from pocold.data.folder import photographs_of
from pocold.data.opening import open_data, open_splits
from pocold.data.packing import write_shards
from pocold.data.synthetic import SyntheticConfig
from pocold.data.writing import write_people
from pocold.densepose.maps import DensePose


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contents") / "people"
    write_people(SyntheticConfig(seed=1, identities=2, per_identity=2, size=(64, 48), supersample=1), folder, workers=1)
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "copy")


def of(folder, split="train"):
    return data_checksum(open_data(folder, split))


def test_a_copy_and_its_shards_are_the_same_data(drawn, folder, tmp_path):
    write_shards(open_splits(folder), tmp_path / "shards", 2)
    assert of(folder) == of(drawn) == of(tmp_path / "shards")
    assert len(of(folder)) == 16


def _photo(folder):
    path = sorted((folder / "img").glob("*.jpg"))[0]
    Image.new("RGB", (48, 64), (0, 200, 0)).save(path)


def _map(folder):
    path = sorted((folder / "iuv").glob("*.png"))[0]
    DensePose.read(path).hflip().write(path)


def _garments(folder):
    path = sorted((folder / "garments").glob("*.png"))[0]
    with Image.open(path) as picture:
        picture.point(lambda value: min(value + 1, 2)).save(path)


def _pairs(folder):
    path = folder / "pairs-train.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


@pytest.mark.parametrize("change", [_photo, _map, _garments, _pairs])
def test_every_file_counts(drawn, folder, change):
    change(folder)
    assert of(folder) != of(drawn)


def test_order_does_not_count_but_channels_do(drawn):
    data = open_data(drawn)
    raws = [data.pictures[name].read() for name in sorted({name for pair in data.pairs for name in pair})]
    forth, back, other = Contents(), Contents(), Contents()
    for contents, rows in ((forth, raws), (back, raws[::-1]), (other, raws)):
        for raw in rows:
            contents.picture(raw)
        contents.pairs(data.pairs)
    assert forth.checksum() == back.checksum() == data_checksum(data)
    other.picture(type(raws[0])(**{**vars(raws[0]), "channels": "vui"}))
    assert other.checksum() != forth.checksum()


def test_files_by_their_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert files_checksum([tmp_path / "a", tmp_path / "b"]) == bytes_checksum([b"two", b"one"])
    assert bytes_checksum([b"onetwo"]) != bytes_checksum([b"one", b"two"])


def test_what_differs_is_named():
    require_same({"size": [1, 2], "seed": 0}, {"seed": 0, "size": (1, 2)}, "here", "do that")
    with pytest.raises(ValueError, match=r"^here \(seed: 0 there, 1 now; steps: None there, 4 now\); do that$"):
        require_same({"seed": 0}, {"seed": 1, "steps": 4}, "here", "do that")


def test_maps_are_no_photographs(drawn, tmp_path):
    assert photographs_of(drawn) == sorted((drawn / "img").glob("*.jpg"))
    person = tmp_path / "ann"
    person.mkdir()
    for name in ("a.jpg", "a.iuv.png", "a.garments.png", "b.png", "b_IUV.png", "b_densepose.png"):
        Image.new("RGB", (8, 8)).save(person / name)
    assert [path.name for path in photographs_of(tmp_path)] == ["a.jpg", "b.png"]
