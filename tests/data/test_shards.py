"""Shards: every pair once for any number of processes and workers, the same order for one seed, broken ones told."""

import itertools
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch
import webdataset
from torch.utils.data import DataLoader
from trees import folder, folder_listed, png, rewrite_shard, shard_json, write, write_list

import pocold.data.shards as shards_module
from pocold.data.folder import FolderPairs
from pocold.data.packing import write_shards
from pocold.data.pairs import PairedTransform, collate
from pocold.data.shards import ShardPairs
from pocold.data.skipping import share_of_work
from pocold.data.synthetic import SyntheticPeople


def names(dataset) -> list[tuple[str, str]]:
    return [(sample["source_name"], sample["target_name"]) for sample in dataset]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory, people):
    """Nine people with two pictures each in shards of one or of four people."""
    root = tmp_path_factory.mktemp("crowd")
    for person in range(9):
        for v in range(2):
            drawn = people[person % 3][v]
            write(root / "data" / "train" / f"p{person}" / f"{v}.jpg", drawn.photo)
            write(root / "data" / "train" / f"p{person}" / f"{v}.iuv.png", drawn.pose.encode())
    dataset = folder(root / "data", {}).open("train")
    return {size: pack(dataset, root / f"shards{size}", size) for size in (2, 8)}, set(dataset.pairs)


def pack(dataset, out, pictures_per_shard):
    write_shards({"train": dataset}, out, pictures_per_shard)
    return out


@pytest.mark.parametrize("pictures_per_shard", [2, 8])  # 9 or 3 shards: more and fewer than workers
@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 2), (3, 2), (5, 1)])
@pytest.mark.parametrize("shuffle", [0, 4])
def test_every_pair_comes_exactly_once(crowd, monkeypatch, pictures_per_shard, processes, workers, shuffle):
    roots, pairs = crowd
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    seen = Counter()
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        dataset = ShardPairs(roots[pictures_per_shard], shuffle=shuffle)
        if workers == 2 and processes == 3 and rank:  # real workers once, it is slow; then their arithmetic
            for worker in range(2):
                monkeypatch.setattr(shards_module, "share_of_work", lambda w=worker, r=rank: (r * 2 + w, 6))
                seen.update(names(dataset))
            monkeypatch.setattr(shards_module, "share_of_work", share_of_work)
        else:
            for batch in DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=collate):
                seen.update(zip(batch["source_name"], batch["target_name"], strict=True))
    assert seen == Counter(pairs)


def test_the_share_of_a_process(monkeypatch):
    assert share_of_work() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert share_of_work() == (3, 4)


def test_processes_draw_different_people(monkeypatch, people):
    from trees import PEOPLE

    monkeypatch.setenv("WORLD_SIZE", "2")
    drawn = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        drawn += names(SyntheticPeople(PEOPLE))
    assert len(drawn) == len(set(drawn)) == 6


def test_the_order_depends_on_seed_and_epoch(crowd):
    root = crowd[0][2]
    plain = names(ShardPairs(root))
    shuffled = ShardPairs(root, shuffle=6, seed=1)
    first = names(shuffled)
    assert first == names(ShardPairs(root, shuffle=6, seed=1))
    assert sorted(first) == sorted(plain)
    assert first != plain
    assert first != names(ShardPairs(root, shuffle=6, seed=2))
    shuffled.set_epoch(1)
    second = names(shuffled)
    assert second != first
    assert sorted(second) == sorted(first)
    shuffled.set_epoch(0)
    assert names(shuffled) == first
    people = [target.split("/")[0] for _, target in first]
    assert people != sorted(people, key=people.index), "pairs of a person must not stay together"


def test_shards_are_permuted_anew_in_each_epoch(crowd):
    stream = ShardPairs(crowd[0][2], shuffle=1)  # a buffer of one keeps the order of the shards
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append([target for _, target in names(stream)])
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_endless_goes_through_the_epochs(crowd):
    root, pairs = crowd[0][2], crowd[1]
    stream = ShardPairs(root, shuffle=6, endless=True)
    twice = names(itertools.islice(stream, 2 * len(pairs)))
    epoch = ShardPairs(root, shuffle=6)
    assert twice[: len(pairs)] == names(epoch)
    epoch.set_epoch(1)
    assert twice[len(pairs) :] == names(epoch)


def test_endless_shares_without_a_pair_stop(crowd, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "20")
    monkeypatch.setenv("RANK", "19")
    with pytest.raises(ValueError, match="no readable pair in this worker's share"):
        next(iter(ShardPairs(crowd[0][8], endless=True)))


def test_flips_are_those_of_the_folder(whole_trees):
    """Whether a pair flips depends on its names alone, not on the layout or the order."""
    transform = PairedTransform(flip=0.5, seed=3)
    samples = [
        {sample["target_name"]: sample for sample in whole_trees[name].open("train", transform=transform)}
        for name in ("synth_folder", "synth_shards")
    ]
    plain = {sample["target_name"]: sample for sample in whole_trees["synth_folder"].open("train")}
    assert samples[0].keys() == samples[1].keys()
    assert all(torch.equal(samples[0][name]["target_pose"], samples[1][name]["target_pose"]) for name in samples[0])
    assert any(not torch.equal(samples[0][name]["target"], plain[name]["target"]) for name in plain)


# --- packing ---------------------------------------------------------------------------------------------------------


def test_packed_pairs_are_the_listed_ones(tmp_path, people):
    """A list that leaves pairs out, of pictures with dots and slashes in their names."""
    tree = folder_listed(tmp_path / "data", people)
    for ending in (".jpg", "_densepose.png"):
        (tree.root / "p0" / f"0{ending}").rename(tree.root / "p0" / f"0.v2{ending}")
    pairs = {("p0/0.v2", "p0/1"), ("p2/1", "p2/0")}
    write_list(tree.root / "pairs-train.csv", pairs)
    assert write_shards({"train": tree.open("train")}, tmp_path / "out") == {"train": 2}
    assert set(names(ShardPairs(tmp_path / "out"))) == pairs
    again = {"train": ShardPairs(tmp_path / "out")}
    assert write_shards(again, tmp_path / "again", pictures_per_shard=1) == {"train": 2}
    assert set(names(ShardPairs(tmp_path / "again"))) == pairs
    assert len(list((tmp_path / "again" / "shards").iterdir())) == 2


def test_packing_keeps_photos_to_the_byte_and_is_repeatable(tmp_path, people, whole_trees):
    tree = whole_trees["deepfashion_txt"]
    for out in ("a", "b"):
        write_shards({s: tree.open(s) for s in ("train", "test")}, tmp_path / out)
    shard = tmp_path / "a" / "shards" / "test-000000.tar"
    assert shard.read_bytes() == (tmp_path / "b" / "shards" / "test-000000.tar").read_bytes()
    (group,) = ShardPairs(tmp_path / "a", "test").people()
    for name, picture in group.pictures.items():
        drawn = tree.drawn(name)
        assert picture.photo == drawn.photo
        assert np.abs(picture.densepose().uv - drawn.pose.uv).max() < 1 / 255  # U and V come along
    assert group.person == "id_00000003"


def test_other_readers_understand_the_shards(crowd):
    shard = min((crowd[0][8] / "shards").iterdir())
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert len(samples) == 8
    for sample in samples:
        assert {"jpg", "iuv.png", "json"} <= sample.keys()
        assert json.loads(sample["json"])["name"].startswith("p")


def test_broken_pictures_are_not_packed(tmp_path, people, whole_trees):
    tree = whole_trees["folder_listed"].copy(tmp_path / "data")
    broken = min(tree.pairs("train"))[0]
    write(tree.poses[broken], png(np.full((64, 44), 99, dtype=np.uint8)))
    with pytest.raises(ValueError, match=f"{broken}: its DensePose map cannot be used"):
        write_shards({"train": tree.open("train")}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    dataset = tree.open("train", on_error="skip")
    assert write_shards({"train": dataset}, tmp_path / "out") == {"train": 4}
    assert list(dataset.skipped) == [broken]
    assert len(names(ShardPairs(tmp_path / "out"))) == 4
    for pose in tree.poses.values():
        write(pose, b"")
    with pytest.raises(ValueError, match="not one pair of the split 'train' can be packed"):
        write_shards({"train": tree.open("train", on_error="skip")}, tmp_path / "none")


def test_pictures_that_are_left_without_a_pair_are_not_packed(tmp_path, people):
    for v in range(4):
        write(tmp_path / "data" / "p0" / f"{v}.jpg", people[0][v % 2].photo)
        write(tmp_path / "data" / "p0" / f"{v}.iuv.png", people[0][v % 2].pose.encode())
    write(tmp_path / "data" / "p0" / "0.jpg", b"broken")
    write_list(tmp_path / "data" / "pairs-train.csv", [("p0/0", "p0/1"), ("p0/2", "p0/3")])
    write_shards({"train": FolderPairs(tmp_path / "data", on_error="skip")}, tmp_path / "out")
    (group,) = ShardPairs(tmp_path / "out").people()
    assert group.pictures.keys() == {"p0/2", "p0/3"}


def test_folders_that_cannot_be_packed_into(tmp_path, people, whole_trees):
    dataset = whole_trees["folder"].open("train")
    write(tmp_path / "full" / "file", b"")
    with pytest.raises(ValueError, match="full is not empty"):
        write_shards({"train": dataset}, tmp_path / "full")
    with pytest.raises(ValueError, match="at least one picture per shard"):
        write_shards({"train": dataset}, tmp_path / "out", 0)
    with pytest.raises(FileExistsError):  # one line and exit code 2 at the command line, as every OSError
        write_shards({"train": dataset}, tmp_path / "full" / "file" / "out")
    tree = whole_trees["folder_listed"].copy(tmp_path / "mixed")
    write_list(tree.root / "pairs-train.csv", [("p0/0", "p2/1")])
    (sample,) = tree.open("train")
    assert sample["person"] == "p2"
    with pytest.raises(ValueError, match=r"a pair shows two people \(p0 and p2\)"):
        write_shards({"train": tree.open("train")}, tmp_path / "out")


# --- broken shards ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(whole_trees, tmp_path):
    return whole_trees["synth_shards"].copy(tmp_path / "data").root / "shards"


def without_map(name, content):
    return None if name == "000000_01.iuv.png" else content


def without_photo(name, content):
    return None if name == "000000_01.jpg" else content


def broken_photo(name, content):
    return content[:200] if name == "000000_01.jpg" else content


def broken_json(name, content):
    return b"{" if name == "000000_01.json" else content


def list_as_json(name, content):
    return b"[]" if name == "000000_01.json" else content


def wrong_json(name, content):
    return shard_json(content, person=7) if name == "000000_01.json" else content


def unknown_source(name, content):
    if name == "000000_01.json":
        return shard_json(content, sources=["000009_00"])
    return shard_json(content, sources=[]) if name == "000000_00.json" else content


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (without_map, "000000_01", r"there is no DensePose map \(iuv.png\) among garments.png, jpg, json"),
        (without_photo, "000000_01", r"there is no picture \(jpg, jpeg, png, webp\)"),
        (broken_photo, "000000_01", "its picture cannot be used"),
        (broken_json, "000000_01", "000000_01.json cannot be read"),
        (list_as_json, "000000_01", "expected an object, got list"),
        (wrong_json, "000000_01", "expected texts as name and person"),
        (unknown_source, "000009_00", "a source of 000000_01, but not among the pictures of 000000"),
    ],
)
def test_broken_samples_stop_the_stream_or_are_counted(shards, change, name, message):
    rewrite_shard(shards / "train-000000.tar", change)
    with pytest.raises(ValueError, match=message):
        list(ShardPairs(shards.parent))
    dataset = ShardPairs(shards.parent, on_error="skip")
    left = names(DataLoader(dataset, batch_size=None, num_workers=1))
    assert {a for a, _ in left} == {f"{i:06d}_{v:02d}" for i in (2, 3) for v in (0, 1)}
    assert len(left) == 4
    assert list(dataset.skipped) == [name]


def test_a_shard_that_ends_early_keeps_what_came_before(shards):
    path = shards / "train-000000.tar"
    with tarfile.open(path) as tar:
        middle = next(entry for entry in tar if entry.name.startswith("000003"))
    path.write_bytes(path.read_bytes()[: middle.offset_data + 100])
    with pytest.raises(ValueError, match=r"train-000000.tar cannot be read to its end"):
        list(ShardPairs(shards))  # the folder itself may be named, too
    dataset = ShardPairs(shards, on_error="skip")
    assert {target[:6] for _, target in names(dataset)} == {"000000", "000002"}
    assert list(dataset.skipped) == ["train-000000.tar"]
    path.write_bytes(b"no tar at all")
    assert names(dataset) == []


def test_missing_shards(shards):
    (shards / "test-000000.tar").unlink()
    with pytest.raises(ValueError, match=r"no shards of the split 'test': expected test-000000.tar"):
        ShardPairs(shards.parent, "test")
    with pytest.raises(ValueError, match="must not be negative"):
        ShardPairs(shards.parent, shuffle=-1)
