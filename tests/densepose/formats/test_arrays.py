"""Maps as numpy files."""

import zipfile

import numpy as np
import pytest

from pocold.densepose.formats.arrays import read_array, write_array
from pocold.densepose.labels import NUM_LABELS
from pocold.densepose.maps import DensePose


def a_map(uv=True, height=10, width=12):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(height * width) % NUM_LABELS).reshape(height, width)
    return DensePose(labels, rng.random((2, height, width)) if uv else None)


def same(one, other, within=0.0):
    assert np.array_equal(one.labels, other.labels)
    assert (one.uv is None) == (other.uv is None)
    assert one.uv is None or np.abs(one.uv - other.uv).max() <= within
    return True


@pytest.mark.parametrize("uv", [True, False])
@pytest.mark.parametrize(("ending", "within"), [("npz", 0), ("npy", 0.5 / 255 + 1e-6)])
def test_what_is_written_is_read_back(tmp_path, ending, within, uv):
    write_array(a_map(uv), tmp_path / f"map.{ending}")
    assert same(read_array(tmp_path / f"map.{ending}"), a_map(uv), within)


def channels(order, first, kind):
    pose = a_map()
    parts = {"i": pose.labels, "u": pose.uv[0], "v": pose.uv[1]}
    stacked = np.stack([parts[name] for name in order]).astype(np.float32)
    if kind == "uint8":
        stacked = np.stack([parts[n] if n == "i" else np.round(parts[n] * 255) for n in order]).astype(np.uint8)
    return stacked if first else stacked.transpose(1, 2, 0)


@pytest.mark.parametrize("first", [True, False], ids=["3HW", "HW3"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("order", ["iuv", "vui", "ivu", "uvi"])
@pytest.mark.parametrize("asked", ["auto", "given"])
def test_channels_in_any_order_and_place(tmp_path, first, kind, order, asked):
    np.save(tmp_path / "map.npy", channels(order, first, kind))
    pose = read_array(tmp_path / "map.npy", "auto" if asked == "auto" else order)
    wanted = a_map()
    if asked == "auto" and order in ("ivu", "uvi"):  # which of the others is U cannot be told
        wanted = DensePose(wanted.labels, wanted.uv[::-1])
    assert same(pose, wanted, 0.5 / 255 + 1e-6)


def test_an_archive_of_one_array_is_that_array(tmp_path):
    np.savez(tmp_path / "map.npz", whatever=a_map().labels)
    assert same(read_array(tmp_path / "map.npz"), a_map(uv=False))


def test_fortran_order_and_other_types(tmp_path):
    np.save(tmp_path / "map.npy", np.asfortranarray(a_map().labels.astype(">i8")))
    assert same(read_array(tmp_path / "map.npy"), a_map(uv=False))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, "expected the arrays labels and uv, or a single one, got a, b"),
        ({}, "or a single one, got none"),
        ({"labels": np.full((4, 4), 30)}, r"must lie in 0\.\.24"),
        ({"labels": np.zeros((4, 4)), "uv": np.zeros((2, 3, 3))}, "uv must have shape"),
        ({"a": np.zeros((4, 4, 4))}, r"expected labels \(H, W\), or label, U and V .* got \(4, 4, 4\)"),
        ({"a": np.zeros((3, 0, 4))}, r"got \(0, 4, 3\)"),
        ({"a": np.full((3, 4, 4), 99.0)}, "this looks like a colour picture"),
        ({"a": np.full((3, 4, 4), np.nan)}, "this looks like a colour picture"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "map.npz", **arrays)
    with pytest.raises(ValueError, match=rf"map\.npz cannot be read as a DensePose array: .*{message}"):
        read_array(tmp_path / "map.npz")


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "map.npy", np.array([[None]]))
    with pytest.raises(ValueError, match=r"map\.npy cannot be read as a DensePose array: expected numbers, got object"):
        read_array(tmp_path / "map.npy")


def test_a_header_that_promises_too_much_is_refused_before_reading(tmp_path):
    with (tmp_path / "map.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(ValueError, match="is more than a map of 64 megapixels"):
        read_array(tmp_path / "map.npy")


@pytest.mark.parametrize("ending", ["npz", "npy"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_refused(tmp_path, ending, share):
    path = tmp_path / f"map.{ending}"
    write_array(a_map(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="cannot be read as a DensePose array"):
        read_array(path)


def test_a_corrupted_archive_is_refused(tmp_path):
    path = tmp_path / "map.npz"
    write_array(a_map(), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    content[start + 60 : start + 80] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a DensePose array"):
        read_array(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such DensePose file: .*map\.npy"):
        read_array(tmp_path / "map.npy")
