"""Which pairs are looked at: none twice, none lost, the same from folders and shards."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pocold.data.opening import open_data, open_splits
from pocold.data.packing import write_shards
from pocold.evaluation.selection import RealPictures, Selection, evenly


def test_evenly():
    assert evenly(list(range(10)), 4) == [0, 2, 5, 7]
    assert evenly([1, 2], 5) == [1, 2]
    assert evenly([1, 2], None) == [1, 2]
    with pytest.raises(ValueError, match="a limit must be at least 1, got 0"):
        evenly([1], 0)


@pytest.fixture(scope="module")
def shards(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(open_splits(people), folder, 9)
    return folder


def test_folders_and_shards_give_the_same_selection(people, shards):
    ours, packed = Selection(open_data(people, "test")), Selection(open_data(shards, "test"))
    assert ours.pairs == packed.pairs
    assert len(ours.pairs) == ours.listed == packed.listed == 12
    assert ours.checksum == packed.checksum
    sources = [source for source, _ in ours.pairs]
    assert sources == sorted(sources)  # of one source next to each other
    a, b = ours.views(ours.pairs[5]), packed.views(ours.pairs[5])
    assert a[1].photo.tobytes() == b[1].photo.tobytes()
    assert len(Selection(open_data(people, "test"), 5).pairs) == 5


def test_real_pictures_are_those_of_the_pairs_or_of_a_folder(people, shards):
    listed = RealPictures(open_data(people, "train"))
    packed = RealPictures(open_data(shards, "train"))
    assert listed.names == packed.names
    assert len(listed.names) == 30
    assert [p.tobytes() for p in listed.photos()] == [p.tobytes() for p in packed.photos()]
    folder = RealPictures(people / "img", 7)
    assert folder.listed == 36
    assert len(list(folder.photos())) == len(folder.names) == 7
    with pytest.raises(ValueError, match="at least 2 real pictures, found 1"):
        RealPictures(people / "img", 1)


def test_broken_pictures_stop_the_run_or_are_listed(people, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(people, folder)
    source, target = Selection(open_data(folder, "test")).pairs[0]
    (folder / "img" / f"{target}.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{target}: its picture is no picture file"):
        Selection(open_data(folder, "test")).views((source, target))
    skipping = Selection(open_data(folder, "test", on_error="skip"))
    found = [skipping.views(pair) for pair in skipping.pairs]
    assert sum(views is None for views in found) == sum(target in pair for pair in skipping.pairs) == 4
    assert list(skipping.data.skipped) == [target]
    (folder / "img" / f"{target}.jpg").unlink()
    gone = Selection(open_data(folder, "test", on_error="skip"))
    assert (len(gone.pairs), gone.listed) == (8, 12)


def test_real_pictures_are_told_apart_by_their_bytes(people, shards, tmp_path):
    whole = RealPictures(people)
    assert whole.listed == 36  # its maps and garment maps are no pictures
    assert whole.checksum() == RealPictures(people / "img").checksum()
    assert RealPictures(open_data(people, "train")).checksum() == RealPictures(open_data(shards, "train")).checksum()
    for photo in (people / "img").iterdir():
        with Image.open(photo) as picture:
            picture.resize((24, 32)).save(tmp_path / photo.name, quality=30)
    other = RealPictures(tmp_path)
    assert [Path(name).name for name in other.names] == [Path(name).name for name in whole.names]
    assert other.checksum() != whole.checksum()
