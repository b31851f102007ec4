"""DensePose maps: values, files in both channel orders, symmetry, and names."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.densepose.labels import BODY_PARTS, LABEL_NAMES, MIRRORED_LABEL, NUM_LABELS, body_part_labels
from pocold.densepose.maps import DensePose
from pocold.imaging.images import MAX_PIXELS


def every_label(height=10, width=10, seed=0):
    """A shuffled map that holds each label; random, so that no mix-up of rows and columns goes unnoticed."""
    labels = np.arange(height * width, dtype=np.uint8) % NUM_LABELS
    return np.random.default_rng(seed).permutation(labels).reshape(height, width)


def random_uv(height=10, width=10, seed=1):
    """Both coordinates reach 0 and 1, so that neither channel could be taken for labels."""
    uv = np.random.default_rng(seed).random((2, height, width)).astype(np.float32)
    uv[:, 0, 0], uv[:, 0, 1] = 0, 1
    return uv


def same(pose, labels):
    return pose.labels.dtype == np.uint8 and np.array_equal(pose.labels, labels)


# -- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float32, np.float64])
def test_whole_labels_of_any_dtype_become_uint8(dtype):
    assert same(DensePose(every_label().astype(dtype)), every_label())


def test_uv_becomes_float32():
    uv = random_uv().astype(np.float64)
    pose = DensePose(every_label(), uv)
    assert pose.uv.dtype == np.float32
    assert np.array_equal(pose.uv, uv.astype(np.float32))


def test_size_is_height_then_width():
    assert DensePose(every_label(10, 12)).size == (10, 12)


def test_visible_parts_leave_out_the_background():
    assert DensePose(np.array([[0, 3], [24, 3]])).visible_parts == {3, 24}


@pytest.mark.parametrize("shape", [(), (4,), (2, 4, 4), (0, 4), (4, 0)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"DensePose labels must have shape \(H, W\), got"):
        DensePose(np.zeros(shape))


@pytest.mark.parametrize(("values", "shown"), [([0, 25], "0 to 25"), ([-1, 3], "-1 to 3"), ([7, 255], "7 to 255")])
def test_labels_outside_their_range_are_refused(values, shown):
    with pytest.raises(ValueError, match=rf"must lie in 0\.\.24, got values from {shown}; a picture of a map"):
        DensePose(np.array([values]))


@pytest.mark.parametrize("value", [0.5, 1e-6, np.nan, np.inf, -np.inf])
def test_labels_that_are_no_whole_numbers_are_refused(value):
    with pytest.raises(ValueError, match=r"must be whole numbers 0\.\.24, got fractions, NaN or infinity"):
        DensePose(np.array([[0, value]]))


@pytest.mark.parametrize("labels", [np.array([["a"]]), np.array([[1 + 1j]]), np.array([[None]])], ids=str)
def test_labels_that_are_no_numbers_are_refused(labels):
    with pytest.raises(ValueError, match="DensePose labels must"):
        DensePose(labels)


@pytest.mark.parametrize("shape", [(10, 10), (10, 10, 2), (3, 10, 10), (2, 10, 9)])
def test_uv_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"uv must have shape \(2, H, W\) = \(2, 10, 10\), got"):
        DensePose(every_label(), np.zeros(shape))


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_uv_outside_its_range_is_refused(value):
    uv = random_uv()
    uv[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"uv must be finite and lie in \[0, 1\]"):
        DensePose(every_label(), uv)


# -- files -------------------------------------------------------------------------------------------------------


def test_labels_survive_a_file(tmp_path):
    DensePose(every_label(9, 13)).write(tmp_path / "pose.png")
    pose = DensePose.read(tmp_path / "pose.png")
    assert same(pose, every_label(9, 13))
    assert pose.uv is None


def test_labels_are_written_as_one_channel(tmp_path):
    DensePose(every_label()).write(tmp_path / "pose.png")
    with Image.open(tmp_path / "pose.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")


@pytest.mark.parametrize("name", [str, lambda path: path], ids=["str", "Path"])
def test_uv_survive_a_file_within_rounding(tmp_path, name):
    path = name(tmp_path / "pose.PNG")
    DensePose(every_label(9, 13), random_uv(9, 13)).write(path)
    pose = DensePose.read(path)
    assert same(pose, every_label(9, 13))
    assert np.abs(pose.uv - random_uv(9, 13)).max() <= 0.5 / 255 + 1e-6


def test_uv_that_look_like_labels_survive_a_file(tmp_path):
    # The file itself says which channel is which, where the values alone could not.
    uv = np.full((2, 10, 10), 3 / 255, np.float32)
    uv[1] = 5 / 255
    DensePose(every_label(), uv).write(tmp_path / "pose.png")
    pose = DensePose.read(tmp_path / "pose.png")
    assert same(pose, every_label())
    np.testing.assert_allclose(pose.uv, uv, atol=1e-6)


def test_uv_of_an_empty_map_survive_a_file(tmp_path):
    # Three equal channels, as in a grey picture; but the file says what they are.
    DensePose(np.zeros((4, 4)), np.zeros((2, 4, 4))).write(tmp_path / "pose.png")
    assert DensePose.read(tmp_path / "pose.png").uv is not None


def foreign_iuv(order):
    """(labels, U, V as bytes, RGB picture without any notes) in the given channel order."""
    labels, (u, v) = every_label(), np.round(random_uv() * 255).astype(np.uint8)
    channels = {"i": labels, "u": u, "v": v}
    return labels, u, v, Image.fromarray(np.stack([channels[name] for name in order], axis=-1))


@pytest.mark.parametrize(
    ("order", "asked"), [(o, "given") for o in ("iuv", "vui", "ivu", "uvi")] + [("iuv", "auto"), ("vui", "auto")]
)
def test_all_channel_orders_are_understood(tmp_path, order, asked):
    labels, u, v, picture = foreign_iuv(order)
    picture.save(tmp_path / "pose.png")
    pose = DensePose.read(tmp_path / "pose.png", "auto" if asked == "auto" else order)
    assert same(pose, labels)
    np.testing.assert_allclose(pose.uv, np.stack([u, v]) / 255, atol=1e-6)


def test_ambiguous_channel_order_asks(tmp_path):
    labels = every_label()
    Image.fromarray(np.stack([labels, labels, labels[::-1]], axis=-1)).save(tmp_path / "pose.png")
    with pytest.raises(ValueError, match=r"pose\.png: both the first and the last channel .* channels='iuv' or 'vui'"):
        DensePose.read(tmp_path / "pose.png")


@pytest.mark.parametrize("order", ["iuv", "vui"])
def test_labels_are_where_the_whole_body_is(order):
    """Two channels lie in 0..24, but U and V are 0 on some of the body, where labels are not."""
    labels = every_label()
    small = (np.random.default_rng(3).integers(0, 25, labels.shape) * (labels > 0)).astype(np.uint8)
    channels = {"i": labels, "u": np.zeros_like(labels), "v": small}
    picture = Image.fromarray(np.stack([channels[name] for name in order], axis=-1))
    assert same(DensePose.from_image(picture), labels)


@pytest.mark.parametrize(("order", "channel"), [("iuv", 0), ("vui", 2)])
def test_ambiguous_channel_order_can_be_given(order, channel):
    values = np.stack([every_label(), every_label(), every_label(seed=4)], axis=-1)
    assert same(DensePose.from_image(Image.fromarray(values), order), values[..., channel])


def test_wrong_channel_order_is_refused():
    with pytest.raises(ValueError, match=r"must lie in 0\.\.24, got values from 0 to 255"):
        DensePose.from_image(foreign_iuv("vui")[-1], "iuv")


def test_unknown_channel_order_lists_them():
    with pytest.raises(ValueError, match="unknown channel order 'uiv': expected one of auto, iuv, ivu, vui, uvi"):
        DensePose.from_image(Image.new("L", (4, 4)), "uiv")


def test_colour_picture_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"photo\.png: expected a DensePose map, but .* looks like a colour picture"):
        DensePose.read(tmp_path / "photo.png")


def test_picture_of_a_map_is_refused():
    with pytest.raises(ValueError, match="looks like a colour picture"):
        DensePose.from_image(DensePose(every_label()).to_image())


def test_three_equal_channels_are_labels():
    pose = DensePose.from_image(Image.fromarray(every_label()).convert("RGB"))
    assert same(pose, every_label())
    assert pose.uv is None


def test_palette_picture_is_refused(tmp_path):
    """Its numbers may be labels or, as in a quantised colour picture, anything."""
    path = tmp_path / "pose.png"
    DensePose(every_label()).to_image().quantize(25).save(path)
    with pytest.raises(ValueError, match=r"pose\.png: got a palette picture, whose numbers may be labels or colours"):
        DensePose.read(path)
    with Image.open(path) as picture:
        DensePose(np.asarray(picture))  # the way out that the message names


def test_sixteen_bit_picture_holds_labels(tmp_path):
    Image.fromarray(every_label().astype(np.uint16)).save(tmp_path / "pose.png")
    assert same(DensePose.read(tmp_path / "pose.png"), every_label())


def test_values_outside_the_labels_are_refused_with_the_path(tmp_path):
    Image.fromarray(np.full((4, 4), 25, np.uint8)).save(tmp_path / "pose.png")
    with pytest.raises(ValueError, match=r"pose\.png: DensePose labels must lie in 0\.\.24"):
        DensePose.read(tmp_path / "pose.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "1", "CMYK", "F"])
def test_pictures_of_other_modes_are_refused(mode):
    with pytest.raises(ValueError, match=rf"one channel\) or an IUV map .*, got a picture of mode {mode}"):
        DensePose.from_image(Image.new(mode, (4, 4)))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such DensePose file: .*pose\.png"):
        DensePose.read(tmp_path / "pose.png")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path, share):
    DensePose(every_label(64, 64)).write(tmp_path / "pose.png")
    content = (tmp_path / "pose.png").read_bytes()
    (tmp_path / "pose.png").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"pose\.png cannot be read as a DensePose picture"):
        DensePose.read(tmp_path / "pose.png")


def test_huge_file_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = int(MAX_PIXELS**0.5) + 1
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    empty = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "pose.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + empty)
    # Decoding it would fail with another message, for there are no pixels in the file.
    with pytest.raises(ValueError, match="megapixels"):
        DensePose.read(tmp_path / "pose.png")


@pytest.mark.parametrize("name", ["pose.jpg", "pose", "pose.npy"])
def test_lossy_and_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"written as \.png \(lossless\), got {name}"):
        DensePose(every_label()).write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        DensePose(every_label()).write(tmp_path / "missing" / "pose.png")


# -- load: every kind of input -----------------------------------------------------------------------------------


def test_a_map_loads_as_itself():
    pose = DensePose(every_label())
    assert DensePose.load(pose) is pose


@pytest.mark.parametrize("name", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_loaded(tmp_path, name):
    DensePose(every_label()).write(tmp_path / "pose.png")
    assert same(DensePose.load(name(tmp_path / "pose.png")), every_label())


@pytest.mark.parametrize(
    "pose",
    [
        every_label(),
        every_label().astype(np.float32),
        torch.from_numpy(every_label()),
        torch.from_numpy(every_label()).long(),
        torch.from_numpy(every_label()).float().requires_grad_(),
        torch.from_numpy(every_label()).bfloat16(),
        Image.fromarray(every_label()),
    ],
    ids=["uint8", "float32", "tensor", "tensor int64", "tensor with gradients", "tensor bfloat16", "PIL"],
)
def test_arrays_tensors_and_pictures_are_loaded(pose):
    assert same(DensePose.load(pose), every_label())


def test_a_picture_with_uv_is_loaded():
    labels, _, _, picture = foreign_iuv("vui")
    pose = DensePose.load(picture)
    assert same(pose, labels)
    assert pose.uv is not None


@pytest.mark.parametrize(
    "pose",
    [np.full((4, 4), 30), torch.zeros(1, 4, 4), Image.new("RGBA", (4, 4)), np.full((4, 4), np.nan)],
    ids=["values", "shape", "mode", "NaN"],
)
def test_what_is_no_map_is_refused_by_its_name(pose):
    with pytest.raises(ValueError, match=r"^pose 3: "):
        DensePose.load(pose, "pose 3")


@pytest.mark.parametrize("pose", [None, 3, [[0, 1]], b"bytes"])
def test_anything_else_is_refused(pose):
    with pytest.raises(
        ValueError, match=r"source_pose: expected a DensePose, path, PIL image, or labels \(H, W\), got"
    ):
        DensePose.load(pose, "source_pose")


def test_truncated_picture_opened_by_the_caller_is_refused():
    buffer = io.BytesIO()
    Image.fromarray(every_label(64, 64)).save(buffer, "PNG")
    content = buffer.getvalue()
    picture = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(ValueError, match="pose: "):
        DensePose.load(picture)


# -- symmetry and names ------------------------------------------------------------------------------------------


def test_flipping_twice_is_the_identity():
    pose = DensePose(every_label(9, 13))
    assert same(pose.hflip().hflip(), pose.labels)


def test_flipping_mirrors_columns_and_exchanges_left_and_right():
    right_hand, left_hand, torso = (LABEL_NAMES.index(name) for name in ("right hand", "left hand", "torso front"))
    flipped = DensePose(np.array([[right_hand, torso, 0], [0, 0, left_hand]])).hflip()
    assert flipped.labels.tolist() == [[0, torso, left_hand], [right_hand, 0, 0]]


def test_flipping_turns_u_and_v_around_where_charts_do():
    """U on head, hands and feet, V on the torso, nothing on limbs: left and right limbs have equal charts."""
    labels = np.array([[3, 2, 9]])
    flipped = DensePose(labels, np.array([[[0.1, 0.2, 0.3]], [[0.6, 0.7, 0.8]]])).hflip()
    assert flipped.labels.tolist() == [[10, 2, 4]]
    np.testing.assert_allclose(flipped.uv, [[[0.3, 0.2, 0.9]], [[0.8, 0.3, 0.6]]], atol=1e-6)
    np.testing.assert_allclose(flipped.hflip().uv[0], [[0.1, 0.2, 0.3]], atol=1e-6)


def test_mirroring_labels_is_an_involution():
    assert np.array_equal(MIRRORED_LABEL[MIRRORED_LABEL], np.arange(NUM_LABELS))


def test_mirroring_exchanges_left_and_right_in_the_names():
    for label, name in enumerate(LABEL_NAMES):
        swapped = {"left": "right", "right": "left"}
        expected = " ".join(swapped.get(word, word) for word in name.split())
        assert LABEL_NAMES[MIRRORED_LABEL[label]] == expected


def test_names_are_in_the_published_order():
    # The 24 parts as detectron2's DensePose documents them.
    sides = {"left": {4, 5, 8, 10, 12, 14, 15, 17, 19, 21, 24}, "right": {3, 6, 7, 9, 11, 13, 16, 18, 20, 22, 23}}
    for side, labels in sides.items():
        assert {label for label, name in enumerate(LABEL_NAMES) if name.startswith(side)} == labels
    limbs = ["torso"] * 2 + ["hand"] * 2 + ["foot"] * 2 + ["upper leg"] * 4 + ["lower leg"] * 4
    limbs += ["upper arm"] * 4 + ["lower arm"] * 4 + ["head"] * 2
    for name, limb in zip(LABEL_NAMES[1:], limbs, strict=True):
        assert limb in name


def test_every_label_has_a_name_of_its_own():
    assert len(set(LABEL_NAMES)) == len(LABEL_NAMES) == NUM_LABELS


def test_limbs_are_grouped_as_they_are_named():
    for group, words in {
        "torso": "torso",
        "hands": "hand",
        "feet": "foot",
        "upper_legs": "upper leg",
        "lower_legs": "lower leg",
        "upper_arms": "upper arm",
        "lower_arms": "lower arm",
        "head": "head",
        "background": "background",
    }.items():
        assert BODY_PARTS[group] == {label for label, name in enumerate(LABEL_NAMES) if words in name}


@pytest.mark.parametrize("group", BODY_PARTS)
def test_groups_are_symmetric(group):
    assert {MIRRORED_LABEL[label] for label in BODY_PARTS[group]} == BODY_PARTS[group]


def test_larger_groups_are_unions_of_smaller_ones():
    parts = BODY_PARTS
    assert parts["arms"] == parts["upper_arms"] | parts["lower_arms"]
    assert parts["legs"] == parts["trousers"] == parts["upper_legs"] | parts["lower_legs"]
    assert parts["top"] == parts["torso"] | parts["arms"]
    assert parts["body"] == set(range(1, NUM_LABELS))


@pytest.mark.parametrize(
    ("parts", "labels"),
    [
        ("hands", {3, 4}),
        (24, {24}),
        (0, {0}),
        (["hands", "feet"], {3, 4, 5, 6}),
        (["hands", 3, 23], {3, 4, 23}),
        (("head",), {23, 24}),
        (np.array([1, 2]), {1, 2}),
        (range(5, 7), {5, 6}),
    ],
    ids=repr,
)
def test_parts_by_name_and_label(parts, labels):
    assert body_part_labels(parts) == labels


def test_a_single_numpy_integer_is_a_label():
    assert body_part_labels(np.uint8(7)) == {7}


@pytest.mark.parametrize(
    "part", ["hand", "", "Hands", 25, -1, 3.7, np.nan, None], ids=lambda part: repr(part) or "empty"
)
def test_unknown_parts_are_refused_with_the_names(part):
    with pytest.raises(ValueError, match=r"unknown body part .*: expected a DensePose label 0\.\.24 or one of backgr"):
        body_part_labels(["torso", part])


@pytest.mark.parametrize("parts", [[], (), np.array([], dtype=int)], ids=repr)
def test_no_parts_at_all_are_refused(parts):
    with pytest.raises(ValueError, match="expected at least one body part, got none"):
        body_part_labels(parts)


# -- for people to look at ---------------------------------------------------------------------------------------


def test_picture_for_people_has_a_clearly_distinct_colour_for_each_label():
    picture = DensePose(np.arange(NUM_LABELS, dtype=np.uint8)[None]).to_image()
    assert (picture.mode, picture.size) == ("RGB", (NUM_LABELS, 1))
    colours = np.asarray(picture)[0].astype(int)
    distance = np.abs(colours[:, None] - colours[None]).max(-1) + 999 * np.eye(NUM_LABELS, dtype=int)
    assert distance.min() >= 10
    assert colours[0].tolist() == [0, 0, 0]


def test_picture_for_people_shows_each_pixel_in_place():
    labels = every_label(4, 9)
    colours = np.asarray(DensePose(np.arange(NUM_LABELS)[None]).to_image())[0]
    assert np.array_equal(np.asarray(DensePose(labels).to_image()), colours[labels])


def test_a_map_over_its_photo():
    labels = np.array([[0, 2], [24, 0]])
    photo = np.array([[[10, 20, 60], [90, 90, 90]], [[0, 0, 0], [255, 255, 255]]], np.uint8)
    shown = np.asarray(DensePose(labels).over(Image.fromarray(photo))).astype(float)
    colours = np.asarray(DensePose(labels).to_image())
    assert shown[0, 0].tolist() == [30, 30, 30]
    assert shown[1, 1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(shown[0, 1], 0.35 * 90 + 0.65 * colours[0, 1], atol=1)
    np.testing.assert_allclose(shown[1, 0], 0.65 * colours[1, 0], atol=1)


def test_a_photo_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the photo is 4x3 \(height x width\), its map 10x10"):
        DensePose(every_label()).over(Image.new("RGB", (3, 4)))
