"""The order of training data: complete, shared out, and the same from any position on."""

import itertools
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from runs import changed

from pocold.data.latents import LatentPairs
from pocold.data.opening import open_splits
from pocold.data.packing import write_shards
from pocold.data.pairs import PairedTransform
from pocold.densepose.maps import DensePose
from pocold.models.presets import build_models
from pocold.training.inputs import Inputs
from pocold.training.latents import cache_latents
from pocold.training.loader import (
    EpochBatches,
    first_samples,
    open_training_data,
    open_validation_data,
    training_batches,
)


def taken(batches, count):
    return list(itertools.islice(batches, count))


def test_every_index_comes_once_per_epoch_and_epochs_differ():
    places = [place for batch in taken(EpochBatches(7, 2, seed=1), 7) for place in batch]
    for epoch in (0, 1):
        assert sorted(index for e, index in places if e == epoch) == list(range(7))
    first, second = ([index for e, index in places if e == epoch] for epoch in (0, 1))
    assert first != second
    assert places != [place for batch in taken(EpochBatches(7, 2, seed=2), 7) for place in batch]


def test_processes_share_one_order():
    alone = [place for batch in taken(EpochBatches(7, 4, seed=1), 6) for place in batch]
    halves = [taken(EpochBatches(7, 2, seed=1, rank=rank, processes=2), 6) for rank in (0, 1)]
    together = [place for pair in zip(*halves, strict=True) for batch in pair for place in batch]
    assert together == alone


def test_going_on_in_the_middle_of_an_epoch_gives_what_would_have_come():
    straight = taken(EpochBatches(7, 2, seed=1, rank=1, processes=2), 8)
    assert taken(EpochBatches(7, 2, seed=1, rank=1, processes=2, start=3 * 4), 5) == straight[3:]


@pytest.fixture(scope="module")
def shards(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "shards"
    write_shards(open_splits(people), folder, pictures_per_shard=4)
    return folder


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "shards", "synthetic"])
def test_resume_gives_the_batches_that_would_have_come(config, shards, kind, workers):
    settings = {
        "folder": {},
        "shards": {"path": str(shards), "shuffle_buffer": 5},
        "synthetic": {"layout": "synthetic", "height": 64, "width": 48, "per_identity": 2},
    }[kind]
    data = changed(config, data={**settings, "workers": workers}).data

    def batches(start):
        return training_batches(open_training_data(data, seed=3), data, 2, 3, 0, 1, start)

    count = 4 if kind == "synthetic" else 14  # beyond an epoch of 18 pairs
    straight, later = taken(batches(0), count), taken(batches((count - 2) * 2), 2)
    for whole, resumed in zip(straight[-2:], later, strict=True):
        assert whole["target_name"] == resumed["target_name"]
        assert whole["source_name"] == resumed["source_name"]
        assert torch.equal(whole["source"], resumed["source"])


def test_flips_differ_from_epoch_to_epoch(config):
    data = open_training_data(config.data, seed=3)
    flipped = [torch.equal(data.at(0, epoch)["source"], data.at(0, 0)["source"]) for epoch in range(12)]
    assert 0 < sum(flipped) < 12


def test_samples_for_validation_are_spread_evenly(config):
    data = open_training_data(config.data, seed=3)
    names = [sample["target_name"] for sample in first_samples(data, 3)]
    assert len({name.split("_")[0] for name in names}) == 3
    assert len(first_samples(data, 1000)) == len(data)


@pytest.fixture(scope="module")
def cache(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    pairs = cache_latents(open_splits(people), build_models("toy")["vae"], folder, PairedTransform(), batch_size=5)
    assert pairs == {"train": 18, "test": 6}
    return folder


def test_cached_latents_are_those_of_the_pictures(config, people, cache):
    models = build_models("toy")
    make = Inputs(models["vae"], models["unet"], torch.device("cpu"))
    for flip in (0.0, 1.0):
        plain = open_training_data(changed(config, data={"flip": flip}).data, seed=0)
        cached = open_training_data(changed(config, data={"flip": flip, "latents": str(cache)}).data, seed=0)
        assert isinstance(cached, LatentPairs)
        order = {(str(s), str(t)): i for i, (s, t) in enumerate(cached_pairs(cached))}
        for index in (0, 7):
            sample = plain[index]
            other = cached[order[sample["source_name"], sample["target_name"]]]
            a = make({k: v[None] for k, v in sample.items() if torch.is_tensor(v)})
            b = make({k: v[None] for k, v in other.items()})
            assert torch.equal(a["labels"], b["labels"])
            assert torch.equal(a["source_labels"], b["source_labels"])
            for name in ("latents", "source_latents"):
                # kept in half precision
                torch.testing.assert_close(a[name], b[name], atol=2e-3, rtol=2e-3)


def cached_pairs(data):
    names = data.index["names"]
    return [(names[s], names[t]) for s, t in data._array("pairs.i32").tolist()]


def test_a_cache_that_does_not_fit_is_refused(config, people, cache, tmp_path):
    wrong_size = changed(config, data={"latents": str(cache), "height": 32, "width": 24}).data
    with pytest.raises(ValueError, match=r"holds latents of pictures of \(64, 48\), but data has the size \(32, 24\)"):
        open_training_data(wrong_size, seed=0)
    plain = tmp_path / "plain"
    cache_latents(open_splits(people), build_models("toy")["vae"], plain, PairedTransform(), mirrored=False)
    with pytest.raises(ValueError, match=r"has no mirrored pictures: set data.flip to 0, or cache with --mirrored"):
        open_training_data(changed(config, data={"latents": str(plain)}).data, seed=0)
    with pytest.raises(ValueError, match=r"no cached latents of the split 'train'"):
        open_training_data(changed(config, data={"latents": str(tmp_path)}).data, seed=0)
    for kind, flag in ((False, "--hint-completed"), (True, "--no-hint-completed")):
        hints = tmp_path / f"hints-{kind}"
        how = PairedTransform(surface_hint=True, hint_completed=kind)
        cache_latents(open_splits(people), build_models("toy")["vae"], hints, how, mirrored=False)
        settings = changed(config, data={"latents": str(hints), "flip": 0.0}).data
        assert "hint" in open_training_data(settings, seed=0, hint=True, completed=kind)[0]
        with pytest.raises(ValueError, match=f"but this model takes .*; cache the latents with --hint {flag}"):
            open_training_data(settings, seed=0, hint=True, completed=not kind)
    file = plain / "train" / "labels.u8"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"labels.u8 should have \d+ bytes: the cache is incomplete"):
        open_training_data(changed(config, data={"latents": str(plain), "flip": 0.0}).data, seed=0)


def test_pictures_of_different_sizes_are_not_cached_together(people, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(people, copy)
    name = next((copy / "img").rglob("*.jpg")).stem
    for path in copy.rglob(f"{name}.*"):
        if path.suffix in (".jpg", ".png"):
            Image.open(path).resize((40, 64), Image.Resampling.NEAREST).save(path)
    with pytest.raises(
        ValueError, match=r"has the size \(64, 40\), the ones before .* pictures of different sizes cannot"
    ):
        cache_latents(open_splits(copy), build_models("toy")["vae"], tmp_path / "out", PairedTransform())
    assert not (tmp_path / "out" / "train").exists()


def test_a_run_can_be_watched_on_its_own_training_pairs(config, shards, cache):
    """Whatever the split is called, what is watched is pictures as they are: no latents, no flips, an end."""
    for settings in ({"latents": str(cache)}, {"path": str(shards)}, {"path": str(shards), "flip": 1.0}, {"flip": 1.0}):
        settings["validation_split"] = "train"
        watched = list(open_validation_data(changed(config, data=settings).data))
        as_they_are = list(open_validation_data(changed(config, data={**settings, "flip": 0.0}).data))
        assert len(watched) == len(as_they_are) == 18
        assert torch.equal(watched[0]["source"], as_they_are[0]["source"])


def test_a_data_set_is_needed(config):
    with pytest.raises(ValueError, match=r"data.path: expected the folder of a data set"):
        open_training_data(changed(config, data={"path": ""}).data, seed=0)


def test_cached_latents_of_other_pictures_are_refused(config, people, tmp_path):
    folder = shutil.copytree(people, tmp_path / "people")
    cache_latents(open_splits(folder), build_models("toy")["vae"], tmp_path / "latents", PairedTransform())
    settings = changed(config, data={"path": str(folder), "latents": str(tmp_path / "latents")}).data
    open_training_data(settings, seed=0)
    with pytest.raises(ValueError, match=r"or of others framed .*frame: 'pad' there, 'stretch' now"):
        open_training_data(replace(settings, frame="stretch"), seed=0)
    path = next((folder / "iuv").glob("*.png"))
    DensePose.read(path).hflip().write(path)
    with pytest.raises(ValueError, match=r"holds latents of other pictures than .*\(pictures, maps and pairs: "):
        open_training_data(settings, seed=0)
    open_training_data(replace(settings, path=""), seed=0)  # nothing to compare with
