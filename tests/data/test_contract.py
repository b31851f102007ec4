"""One contract, held by every data set."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from trees import FILES, ON_DISK, TREES

from pocold.data.pairs import PairedTransform, check_sample, collate, hflip
from pocold.densepose.correspondence import surface_correspondence, warp_by_surface
from pocold.densepose.holes import fill_holes
from pocold.densepose.maps import DensePose


@pytest.fixture(params=list(TREES))
def data(request, whole_trees):
    return whole_trees[request.param]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_listed_pair_comes_once_and_holds_the_contract(data, split):
    samples = list(data.open(split))
    for sample in samples:
        check_sample(sample, data.size)
        assert ("source_garments" in sample) == data.garments
    named = [(sample["source_name"], sample["target_name"]) for sample in samples]
    assert len(named) == len(set(named))
    assert set(named) == data.pairs(split)


def test_names_pictures_and_maps_belong_together(data):
    for sample in data.open("train"):
        for role in ("source", "target"):
            drawn = data.drawn(sample[f"{role}_name"])
            assert np.array_equal(sample[f"{role}_pose"].numpy(), drawn.pose.labels)
            photo = np.asarray(drawn.image, dtype=np.float32) / 127.5 - 1
            difference = np.abs(sample[role].permute(1, 2, 0).numpy() - photo)
            assert difference.mean() < 0.06  # what is drawn on the fly went through no JPEG
            if data.garments:
                assert np.array_equal(sample[f"{role}_garments"].numpy(), drawn.garments)


def test_people_of_the_splits_are_disjoint_and_pairs_show_one(data):
    people = {}
    for split in ("train", "test"):
        for sample in data.open(split):
            people.setdefault(split, {}).setdefault(sample["person"], set()).update(
                (sample["source_name"], sample["target_name"])
            )
    assert len(people["train"]) == 3
    assert len(people["test"]) == 1
    assert not people["train"].keys() & people["test"].keys()
    assert all(len(names) == 2 for split in people.values() for names in split.values())


def test_a_second_pass_gives_the_same(data):
    dataset = data.open("train")
    for first, second in zip(dataset, dataset, strict=True):
        assert first.keys() == second.keys()
        assert all(
            torch.equal(torch.as_tensor(first[k]), torch.as_tensor(second[k])) for k in ("source", "target_pose")
        )
        assert first["target_name"] == second["target_name"]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_loader_hold_every_pair_once(data, workers):
    loader = DataLoader(data.open("train"), batch_size=2, num_workers=workers, collate_fn=collate)
    named = []
    for batch in loader:
        assert batch["source"].shape[1:] == (3, *data.size)
        assert batch["target_pose"].shape == (len(batch["person"]), *data.size)
        named += zip(batch["source_name"], batch["target_name"], strict=True)
    assert sorted(named) == sorted(data.pairs("train"))


@pytest.mark.parametrize("name", ON_DISK)
def test_framed_and_flipped_together(whole_trees, name):
    data = whole_trees[name]
    framed = list(data.open("test", transform=PairedTransform((64, 64))))
    flipped = list(data.open("test", transform=PairedTransform((64, 64), flip=1.0)))
    for plain, mirrored in zip(framed, flipped, strict=True):
        check_sample(plain, (64, 64))
        check_sample(mirrored, (64, 64))
        for key, value in hflip(plain).items():
            assert torch.equal(value, mirrored[key]) if torch.is_tensor(value) else value == mirrored[key]
        assert not torch.equal(plain["source"], mirrored["source"])


def test_surface_hints_on_request(request, data):
    options = {"surface_hint": True, "uv": True}
    if request.node.callspec.params["data"] != "rendered":
        options = {"transform": PairedTransform(**options)}
    if not data.uv:
        with pytest.raises(ValueError, match="has labels only, but the option surface_hint needs U and V; give a map"):
            list(data.open("train", **options))
        return
    for sample in data.open("train", **options):
        check_sample(sample, data.size)
        assert sample.keys() >= {"warped", "visible", "source_uv", "target_uv"}
        source, target = (data.drawn(sample[f"{role}_name"]).pose for role in ("source", "target"))
        body = target.labels > 0
        assert np.abs(sample["target_uv"].numpy() - target.uv)[:, body].max() <= 0.5 / 255 + 1e-6
        index, visible = surface_correspondence(
            *(torch.from_numpy(v) for v in (target.labels, target.uv, source.labels, source.uv))
        )
        assert torch.equal(sample["visible"], visible)
        warped = warp_by_surface(sample["source"], index)
        assert torch.equal(sample["warped"], fill_holes(warped, index >= 0, sample["target_pose"]))


@pytest.mark.parametrize("tree", [name for name in FILES if name != "folder_listed"], indirect=True)
def test_maps_of_labels_alone_give_no_hint(tree):
    name = min(tree.pairs("train"))[0]
    tree.poses[name].write_bytes(DensePose(tree.drawn(name).stretched(*tree.size).pose.labels).encode())
    list(tree.open("train"))
    with pytest.raises(
        ValueError, match=f"{name}: its DensePose map has labels only, but the option surface_hint needs"
    ):
        list(tree.open("train", transform=PairedTransform(surface_hint=True)))
    dataset = tree.open("train", on_error="skip", transform=PairedTransform(surface_hint=True))
    left = {(s["source_name"], s["target_name"]) for s in dataset}
    assert left == {pair for pair in tree.pairs("train") if name not in pair}
    assert list(dataset.skipped) == [name]


@pytest.mark.parametrize("name", ON_DISK)
def test_unknown_splits_and_settings(whole_trees, name):
    with pytest.raises(ValueError, match="unknown split 'val': expected 'train' or 'test'"):
        whole_trees[name].open("val")
    with pytest.raises(ValueError, match="unknown on_error 'ignore'"):
        whole_trees[name].open("train", on_error="ignore")


@pytest.mark.parametrize("tree", FILES, indirect=True)
@pytest.mark.parametrize("damage", ["empty", "truncated", "other size", "no map file", "colour picture"])
def test_broken_files_stop_the_run_or_are_counted(tree, damage):
    name = min(tree.pairs("train"))[0]
    pose = tree.poses[name]
    message = {
        "empty": "no picture file", "truncated": "cannot be used", "other size": "made from the very picture",
        "no map file": "no DensePose map was found", "colour picture": "cannot be used",
    }[damage]  # fmt: skip
    if damage == "empty":
        pose.write_bytes(b"")
    elif damage == "truncated":
        pose.write_bytes(pose.read_bytes()[:-200])
    elif damage == "other size":
        pose.write_bytes(tree.drawn(name).stretched(32, 24).pose.encode())
    elif damage == "no map file":
        pose.unlink()
    else:
        tree.drawn(name).stretched(*tree.size).image.save(pose, format="PNG")
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        list(tree.open("train"))
    dataset = tree.open("train", on_error="skip")
    left = {(s["source_name"], s["target_name"]) for s in dataset}
    assert left == {pair for pair in tree.pairs("train") if name not in pair}
    assert list(dataset.skipped) == [name]
    assert message in dataset.skipped[name]
    assert dataset.listed == len(tree.pairs("train"))


@pytest.mark.parametrize("tree", [name for name in FILES if name not in ("folder", "deepfashion_lmdb")], indirect=True)
def test_missing_and_broken_photos(tree):
    broken, whole, gone = (names[0] for names in sorted({pair for pair in tree.pairs("train") if pair[0] < pair[1]}))
    tree.photos[broken].write_bytes(tree.photos[broken].read_bytes()[:300])
    tree.photos[gone].unlink()
    with pytest.raises(ValueError, match=rf"1 pictures are missing, in 2 of 6 pairs: {gone}: no such picture"):
        tree.open("train")
    dataset = tree.open("train", on_error="skip")
    assert len(dataset) == 4
    assert dataset.listed == 6
    assert {whole} < {name for sample in dataset for name in (sample["source_name"], sample["target_name"])}
    assert dataset.skipped.keys() == {gone, broken}
    assert len(list(dataset)) == 2
