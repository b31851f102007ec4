"""What is particular to each layout on disk: names, lists, places and their mistakes."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from trees import CATEGORIES, FILES, TREES, flat, png, raw, vui, write, write_list

from pocold.data.deepfashion import DeepFashionPairs, flat_name, person_of, raw_path
from pocold.data.folder import FolderPairs
from pocold.data.market1501 import MarketPairs
from pocold.data.market1501 import person_of as market_person
from pocold.data.opening import detect_layout, open_data, open_splits
from pocold.data.pairs import PairedTransform, collate
from pocold.data.pictures import list_photos, open_lmdb
from pocold.densepose.beside import Maps
from pocold.densepose.labels import NUM_LABELS


def named(dataset) -> set[tuple[str, str]]:
    return {(sample["source_name"], sample["target_name"]) for sample in dataset}


# --- DeepFashion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["WOMEN/Tees_Tanks/id_00000002/02_1_front.jpg", "img/WOMEN/Tees_Tanks/id_00000002/02_1_front.png",
     "fashionWOMENTees_Tanksid0000000202_1front.jpg", "train_highres/fashionWOMENTees_Tanksid0000000202_1front",
     r"img\WOMEN\Tees_Tanks\id_00000002\02_1_front.jpg"],
)  # fmt: skip
def test_the_flat_name_of_a_path(path):
    assert flat_name(path) == "fashionWOMENTees_Tanksid0000000202_1front"


def test_only_the_first_underscore_of_a_file_name_stays():
    assert flat_name("MEN/Denim/id_00000001/01_7_additional_2.jpg") == "fashionMENDenimid0000000101_7additional2"


def test_flat_names_and_raw_paths_are_inverse():
    for i in range(len(CATEGORIES)):
        for v in range(2):
            assert flat_name(raw(i, v) + ".jpg") == flat(i, v)
            assert raw_path(flat(i, v)) == raw(i, v)
    assert person_of(flat(1, 0)) == "id_00000003"


@pytest.mark.parametrize("name", ["photo.jpg", "WOMEN/id_00000002/02_1_front.jpg", "fashionWOMENTees_Tanks.jpg", ""])
def test_names_that_are_none_of_deepfashion(name):
    with pytest.raises(ValueError, match=r"is no picture of DeepFashion"):
        flat_name(name)
    with pytest.raises(ValueError, match="is no flat name"):
        raw_path(name)


def test_the_first_name_of_a_txt_line_is_the_target(tmp_path, people):
    for v in range(2):
        write(tmp_path / "img" / f"{raw(0, v)}.jpg", people[0][v].photo)
        write(tmp_path / "img" / f"{raw(0, v)}.iuv.png", people[0][v].pose.encode())
    (tmp_path / "train_pairs.txt").write_text(f"img/{raw(0, 0)}.jpg,img/{raw(0, 1)}.jpg\n\n")
    (sample,) = DeepFashionPairs(tmp_path)
    assert sample["target_name"] == flat(0, 0)
    assert sample["source_name"] == flat(0, 1)
    # several sources of one target are several pairs
    (tmp_path / "train_pairs.txt").write_text(f"img/{raw(0, 0)}.jpg,img/{raw(0, 1)}.jpg,img/{raw(0, 0)}.jpg\n")
    assert named(DeepFashionPairs(tmp_path)) == {(flat(0, 1), flat(0, 0)), (flat(0, 0), flat(0, 0))}
    (tmp_path / "train_pairs.txt").write_text(f"img/{raw(0, 0)}.jpg\n")
    with pytest.raises(ValueError, match="line 1: expected 'target,source'"):
        DeepFashionPairs(tmp_path)


def test_the_place_of_the_pictures_can_be_named(tmp_path, people):
    tree = TREES["deepfashion_flat"](tmp_path / "data", people)
    assert named(tree.open("train")) == tree.pairs("train")
    with pytest.raises(ValueError, match="no picture file"):  # the raw tree beside holds other files
        list(tree.open("train", pictures=".", on_error="raise", maps=[Maps("{split}_densepose/{name}.png", "vui")]))
    assert named(tree.open("train", pictures="{split}")) == tree.pairs("train")
    with pytest.raises(ValueError, match="there is no folder"):
        tree.open("train", pictures="img_highres")


def test_maps_with_the_label_last_need_no_telling(tmp_path, people):
    """Where U, V and the label could all be labels, the layout decides."""
    tree = TREES["deepfashion_flat"](tmp_path / "data", people)
    name = min(tree.pairs("train"))[0]
    labels = people[0][0].pose.labels
    iuv = np.stack([labels, labels // 2, np.where(labels > 0, NUM_LABELS - labels, 0).astype(np.uint8)], -1)
    write(tree.poses[name], png(np.ascontiguousarray(iuv[..., ::-1])))
    found = next(s for s in tree.open("train") if s["source_name"] == name)
    assert np.array_equal(found["source_pose"].numpy(), labels)
    with pytest.raises(ValueError, match="both the first and the last channel"):
        list(tree.open("train", maps=[Maps("{split}_densepose/{name}.png")]))


def test_maps_that_say_their_order_are_believed(tmp_path, people):
    tree = TREES["deepfashion_flat"](tmp_path / "data", people)
    name = min(tree.pairs("train"))[0]
    write(tree.poses[name], tree.drawn(name).pose.encode())  # written by pocold: I first
    found = next(s for s in tree.open("train") if s["source_name"] == name)
    assert np.array_equal(found["source_pose"].numpy(), tree.drawn(name).pose.labels)


def test_keys_of_an_lmdb(whole_trees):
    tree = whole_trees["deepfashion_lmdb"]
    with pytest.raises(ValueError, match=r"6 pictures are missing, in 6 of 6 pairs.*no such picture"):
        tree.open("train", lmdb_key="{name}.png")
    with pytest.raises(ValueError, match="cannot be filled in"):
        tree.open("train", lmdb_key="{size}/{path}")
    assert named(tree.open("train", pictures="64-44", lmdb_key="img/{path}.png")) == tree.pairs("train")


def test_an_lmdb_survives_workers(whole_trees):
    """Read in this process first, then in forked ones, then here again."""
    dataset = whole_trees["deepfashion_lmdb"].open("train")
    before = dataset[0]["source"]
    batches = list(DataLoader(dataset, batch_size=1, num_workers=2, collate_fn=collate))
    assert open_lmdb.cache_info().currsize == 0, "an environment must not be used on both sides of a fork"
    assert torch.equal(batches[0]["source"][0], before)
    assert torch.equal(dataset[0]["source"], before)


def test_broken_entries_of_an_lmdb(tmp_path, people):
    import lmdb

    tree = TREES["deepfashion_lmdb"](tmp_path / "data", people)
    name = min(tree.pairs("train"))[0]
    with lmdb.open(str(tree.root / "64-44"), map_size=2**24) as env, env.begin(write=True) as transaction:
        transaction.put(f"img/{raw_path(name)}.png".encode(), b"\x89PNG broken")
    dataset = tree.open("train", on_error="skip")
    assert len(list(dataset)) == 4
    assert "its picture" in dataset.skipped[name]
    (tree.root / "64-44" / "data.mdb").write_bytes(b"no lmdb")
    with pytest.raises(ValueError, match="cannot be read as lmdb"):
        tree.copy(tmp_path / "broken").open("train")


def test_deepfashion_without_lists_or_pictures(tmp_path):
    with pytest.raises(ValueError, match=r"expected one of fasion-resize-pairs-test.csv, .*test_pairs.txt"):
        DeepFashionPairs(tmp_path, "test")
    (tmp_path / "train_pairs.txt").write_text(f"{raw(0, 0)}.jpg,{raw(0, 1)}.jpg")
    with pytest.raises(ValueError, match=r"expected pictures in one of train_highres, train, img.*found 0 of these"):
        DeepFashionPairs(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        DeepFashionPairs(tmp_path / "nowhere")


# --- Market-1501 -----------------------------------------------------------------------------------------------------


def test_people_of_market():
    assert market_person("0002_c1s1_000451_03") == "0002"
    assert market_person("-1_c1s1_000401_03") == "-1"
    for name in ("2_c1s1_000451_03", "Thumbs", "0002_000451_03"):
        with pytest.raises(ValueError, match="is no picture of Market-1501"):
            market_person(name)


def test_folders_of_market_under_their_first_names(tmp_path, people):
    tree = TREES["market"](tmp_path / "data", people)
    for split in ("train", "test"):
        (tree.root / split).rename(tree.root / f"bounding_box_{split}")
    assert named(tree.open("test")) == tree.pairs("test")
    (tree.root / "bounding_box_train").rename(tree.root / "elsewhere")
    with pytest.raises(ValueError, match="expected pictures in train or bounding_box_train"):
        tree.open("train")


def test_market_pictures_of_another_size(tmp_path, people):
    tree = TREES["market"](tmp_path / "data", people)
    name = min(tree.pairs("train"))[0]
    write(tree.photos[name], people[0][0].photo)
    write(tree.poses[name], vui(people[0][0].pose))
    with pytest.raises(ValueError, match=f"{name}: expected a picture of 64x128 .* got 44x64"):
        list(tree.open("train"))
    dataset = tree.open("train", on_error="skip")
    assert len(list(dataset)) == 4


def test_market_without_lists(tmp_path):
    with pytest.raises(ValueError, match=r"no such list of pairs: .*market-pairs-train.csv"):
        MarketPairs(tmp_path)


# --- folders of people -----------------------------------------------------------------------------------------------


def crowd(root, people, count: int, pictures: int = 2):
    for person in range(count):
        for v in range(pictures):
            write(root / f"person{person}" / f"{v}.jpg", people[0][v].photo)
            write(root / f"person{person}" / f"{v}.iuv.png", people[0][v].pose.encode())


def people_of(dataset) -> set[str]:
    return {dataset.pictures[name].person for pair in dataset.pairs for name in pair}


def test_people_are_split_by_their_names_alone(tmp_path, people):
    crowd(tmp_path / "a", people, 30)
    before = {split: people_of(FolderPairs(tmp_path / "a", split)) for split in ("train", "test")}
    assert not before["train"] & before["test"]
    assert len(before["train"] | before["test"]) == 30
    # written out: the split of a folder must not change with a version
    assert before["test"] == {"person4", "person14", "person17", "person20", "person23"}
    crowd(tmp_path / "a", people, 50)
    after = {split: people_of(FolderPairs(tmp_path / "a", split)) for split in ("train", "test")}
    assert before["train"] <= after["train"]
    assert before["test"] <= after["test"]


def test_too_few_people_or_pictures(tmp_path, people):
    crowd(tmp_path / "a", people, 1)
    chosen = FolderPairs(tmp_path / "a", "train")
    assert len(chosen) == 2
    with pytest.raises(ValueError, match=r"nobody of 1 people has two pictures in the split 'test'.*folders train/"):
        FolderPairs(tmp_path / "a", "test")
    crowd(tmp_path / "single", people, 3, pictures=1)
    with pytest.raises(ValueError, match="nobody of 3 people has two pictures"):
        FolderPairs(tmp_path / "single")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected folders of people"):
        FolderPairs(tmp_path / "empty")
    crowd(tmp_path / "half" / "train", people, 2)
    with pytest.raises(ValueError, match="has no folder test/"):
        FolderPairs(tmp_path / "half", "test")


def test_two_files_of_one_name(tmp_path, people):
    crowd(tmp_path, people, 1)
    write(tmp_path / "person0" / "0.png", people[0][0].photo)
    with pytest.raises(ValueError, match="same name but for the ending"):
        FolderPairs(tmp_path)


@pytest.mark.parametrize("tree", ["synth_folder", "deepfashion_flat", "deepfashion_txt", "market"], indirect=True)
def test_two_files_of_one_name_in_every_layout(tree):
    """``X.jpg`` and ``X.png``: neither is taken silently."""
    photo = tree.open("train").pictures[tree.open("train").pairs[0][0]].photo
    other = ".png" if photo.suffix == ".jpg" else ".jpg"
    with Image.open(photo) as picture:
        picture.convert("L").save(photo.with_suffix(other))
    with pytest.raises(ValueError, match=rf"{photo.stem}.* have the same name but for the ending; rename or remove"):
        tree.open("train")


def test_a_map_is_no_picture(tmp_path, people):
    """Neither one whose picture is gone, nor one that differs from its picture in the ending alone."""
    crowd(tmp_path / "a" / "train", people, 1, pictures=2)
    write(tmp_path / "a" / "train" / "person0" / "gone.iuv.png", people[0][0].pose.encode())
    write(tmp_path / "a" / "train" / "person0" / "gone.garments.png", people[0][0].pose.encode())
    assert FolderPairs(tmp_path / "a").pictures.keys() == {"person0/0", "person0/1"}
    for v in range(2):
        write(tmp_path / "b" / "train" / "eve" / f"{v}.jpg", people[0][v].photo)
        write(tmp_path / "b" / "train" / "eve" / f"{v}.png", people[0][v].pose.encode())
    dataset = FolderPairs(tmp_path / "b", maps=[Maps("{folder}/{stem}.png")])
    assert named(dataset) == {("eve/0", "eve/1"), ("eve/1", "eve/0")}


@pytest.mark.parametrize(
    ("content", "message"),
    [("a,b\nx,y\n", "expected the columns 'from' and 'to', got"), ("", "expected the columns"),
     ("from,to\nx\n", "line 2: expected two names"), ("from,to\n", "there are no pairs"),
     ("from,to\nx,y\nx,z\n", r"3 pictures are missing, in 2 of 2 pairs: x: no such picture; y: .*on_error='skip'")],
)  # fmt: skip
def test_broken_lists(whole_trees, tmp_path, content, message):
    tree = whole_trees["synth_folder"].copy(tmp_path / "data")
    (tree.root / "pairs-train.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        tree.open("train")
    if "missing" in message:
        with pytest.raises(ValueError, match=message):  # nothing would be left
            tree.open("train", on_error="skip")
    (tree.root / "pairs-train.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as a list of pairs"):
        tree.open("train")
    (tree.root / "pairs-train.csv").unlink()
    with pytest.raises(ValueError, match="no such list of pairs"):
        tree.open("train")


def test_broken_garment_maps(whole_trees, tmp_path, people):
    tree = whole_trees["folder_listed"].copy(tmp_path / "data")
    write(tree.root / "p0" / "0.garments.png", png(np.zeros((64, 44, 3), dtype=np.uint8)))
    with pytest.raises(ValueError, match="p0/0: its garment map cannot be used: expected one 8-bit channel"):
        list(tree.open("train"))


# --- what all of them share ------------------------------------------------------------------------------------------


def test_an_index_beyond_the_end(whole_trees):
    dataset = whole_trees["folder"].open("train")
    with pytest.raises(IndexError):
        dataset[6]
    assert dataset[-1]["target_name"] == dataset.pairs[-1][1]


def test_training_replaces_a_broken_pair_and_workers_report_it(whole_trees, tmp_path):
    tree = whole_trees["folder"].copy(tmp_path / "data")
    name = min(tree.pairs("train"))[0]
    write(tree.photos[name], b"")
    dataset = tree.open("train", on_error="skip")
    batches = list(DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate))
    assert [len(batch["person"]) for batch in batches] == [2, 2, 2]
    assert all(name not in batch["source_name"] + batch["target_name"] for batch in batches)
    assert list(dataset.skipped) == [name]
    assert len(list(dataset)) == 4  # where it counts, nothing comes twice
    for photo in tree.photos.values():
        photo.write_bytes(b"")
    with pytest.raises(ValueError, match="not one of 6 pairs can be read"):
        dataset[0]


def test_living_workers_see_a_new_epoch(whole_trees):
    dataset = whole_trees["folder"].open("train", transform=PairedTransform(flip=0.5))
    loader = DataLoader(dataset, batch_size=6, num_workers=1, persistent_workers=True, collate_fn=collate)
    drawn = []
    for epoch in (0, 1, 2, 3, 0):
        dataset.set_epoch(epoch)
        (batch,) = loader
        drawn.append(batch["source"])
    assert torch.equal(drawn[0], drawn[4])
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:4])


@pytest.mark.parametrize("name", FILES)
def test_data_sets_can_be_copied_and_pickled(whole_trees, name):
    dataset = whole_trees[name].open("test")
    for clone in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert torch.equal(clone[0]["source"], dataset[0]["source"])


def test_unknown_placeholders():
    with pytest.raises(ValueError, match=r"'\{root\}/x.png' cannot be filled in .*\{folder\}, \{stem\}, \{path\}"):
        Maps("{root}/x.png")


LAYOUTS = {
    "folder": "folder", "folder_listed": "folder", "synth_folder": "folder", "market": "market1501",
    "synth_shards": "shards", "packed_shards": "shards",
    **dict.fromkeys((n for n in TREES if n.startswith("deepfashion")), "deepfashion"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_recognised(whole_trees, name):
    tree = whole_trees[name]
    assert detect_layout(tree.root) == LAYOUTS[name]
    maps = [Maps("maps/{path}/iuv.png")] if name == "deepfashion_highres" else None
    for split, dataset in open_splits(tree.root, maps=maps).items():
        assert named(dataset) == tree.pairs(split)


def test_settings_that_a_layout_does_not_know(whole_trees, tmp_path):
    with pytest.raises(ValueError, match="shards hold their maps"):
        open_data(whole_trees["synth_shards"].root, maps=[Maps("{name}")])
    with pytest.raises(ValueError, match="'pictures' and 'lmdb_key' are settings of deepfashion"):
        open_data(whole_trees["folder"].root, pictures="img")
    with pytest.raises(ValueError, match="unknown layout 'coco'"):
        open_data(whole_trees["folder"].root, layout="coco")
    with pytest.raises(ValueError, match="there is no folder"):
        open_data(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no such list.*market-pairs-train.csv; no such list.*market-pairs-test.csv"):
        open_splits(tmp_path, "market1501")


def test_lists_of_one_split_alone(whole_trees, tmp_path):
    tree = whole_trees["market"].copy(tmp_path / "data")
    (tree.root / "market-pairs-train.csv").unlink()
    assert list(open_splits(tree.root)) == ["test"]
    write_list(tree.root / "market-pairs-train.csv", [("photo.jpg", "photo2.jpg")])
    with pytest.raises(ValueError, match="is no picture of Market-1501"):
        open_splits(tree.root)


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path):
    (tmp_path / "people" / "anna").mkdir(parents=True)
    (tmp_path / "people" / "anna" / "1.jpg").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2.jpg").touch()
    (tmp_path / "people" / "all").symlink_to(".")
    (tmp_path / "people" / "anna" / "up").symlink_to(tmp_path / "people")
    (tmp_path / "people" / "bert").symlink_to(tmp_path / "elsewhere")  # links to other folders are followed as before
    names = [path.relative_to(tmp_path).as_posix() for path in list_photos(tmp_path / "people")]
    assert names == ["people/anna/1.jpg", "people/bert/2.jpg"]


@pytest.mark.parametrize("order", ["iuv", "vui"])
def test_what_a_map_shows_counts_more_than_what_its_layout_expects(tmp_path, people, order):
    tree = TREES["deepfashion_flat"](tmp_path / "data", people)
    name = min(tree.pairs("train"))[0]
    pose = tree.drawn(name).pose
    planes = {"i": pose.labels, **dict(zip("uv", np.round(pose.uv * 255).astype(np.uint8), strict=True))}
    write(tree.poses[name], png(np.stack([planes[channel] for channel in order], -1)))
    found = next(s for s in tree.open("train") if s["source_name"] == name)
    assert np.array_equal(found["source_pose"].numpy(), pose.labels)
