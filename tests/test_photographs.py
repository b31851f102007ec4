"""A photograph as one value: which map it has, which part is meant, and picture and map brought to a size together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from estimators import colour_estimator, constant_estimator, photo_of
from pocold import DensePose
from pocold.densepose.framing import PersonFrame, framed
from pocold.imaging.images import Frame, to_tensor
from pocold.models.densepose_estimator import estimate_densepose
from pocold.photographs import Photo, map_of, map_tensors, read_photo

SIZE = (64, 48)


def body(size=SIZE, label=2, uv=True):
    labels = np.zeros(size, np.uint8)
    labels[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = label
    coordinates = np.stack([np.tile(np.linspace(0, 1, size[1], dtype=np.float32), (size[0], 1))] * 2) * (labels > 0)
    return DensePose(labels, coordinates if uv else None, ("a doubt",))


def photo():
    return Photo(Path("anna.png"), photo_of(), body())


def test_a_map_that_is_named_comes_before_the_one_beside_it(tmp_path):
    photo_of().save(tmp_path / "anna.png")
    assert read_photo(tmp_path / "anna.png").pose is None
    body(label=3).write(tmp_path / "anna.iuv.png")
    body(label=4).write(tmp_path / "other.png")
    assert map_of(tmp_path / "anna.png") == (tmp_path / "anna.iuv.png", "auto")
    assert read_photo(tmp_path / "anna.png").pose.visible_parts == {3}
    assert read_photo(tmp_path / "anna.png", tmp_path / "other.png").pose.visible_parts == {4}


def test_the_layout_of_synthetic_data_is_known(tmp_path):
    for folder in ("img", "iuv"):
        (tmp_path / folder).mkdir()
    photo_of().save(tmp_path / "img" / "1.png")
    body(label=5).write(tmp_path / "iuv" / "1.png")
    assert read_photo(tmp_path / "img" / "1.png").pose.visible_parts == {5}


def test_a_map_of_another_size_is_refused(tmp_path):
    photo_of().save(tmp_path / "anna.png")
    body((32, 48)).write(tmp_path / "anna.iuv.png")
    with pytest.raises(ValueError, match=r"anna\.iuv\.png is 32x48 .*anna\.png 64x48: a map has the size of its"):
        read_photo(tmp_path / "anna.png")


def test_what_is_found_takes_the_place_of_the_map_and_the_picture_stays():
    found = photo().found(colour_estimator())
    expected = estimate_densepose(photo_of(), colour_estimator())
    np.testing.assert_array_equal(found.pose.labels, expected.labels)
    np.testing.assert_array_equal(found.pose.uv, expected.uv)
    assert (found.path, found.picture.size) == (Path("anna.png"), SIZE[::-1])
    with pytest.raises(ValueError, match=r"anna\.png: no person was found"):
        photo().found(constant_estimator(0))


@pytest.mark.parametrize("frame", [Frame(SIZE, (32, 32)), PersonFrame(SIZE, (10, 5, 42, 37), (16, 16))])
def test_picture_and_map_go_through_a_frame_together(frame):
    seen = photo().through(frame)
    np.testing.assert_array_equal(np.asarray(seen.picture), np.asarray(frame.image(photo_of())))
    np.testing.assert_array_equal(seen.pose.labels, frame.labels(body().labels))
    np.testing.assert_array_equal(seen.pose.uv, frame.uv(body().uv))
    assert seen.pose.doubts == ("a doubt",)
    assert seen.size == seen.pose.size == (frame.size if isinstance(frame, PersonFrame) else frame.target)


def test_a_photograph_without_a_map_goes_through_too():
    seen = Photo(Path("anna.png"), photo_of()).through(Frame(SIZE, (32, 24)))
    assert (seen.size, seen.pose) == ((32, 24), None)
    assert framed(body(uv=False), Frame(SIZE, (32, 24))).uv is None


def test_the_part_around_the_person_is_cut_out():
    seen = photo().cut_out((32, 32))
    frame = PersonFrame.around(body().labels, size=(32, 32))
    np.testing.assert_array_equal(seen.pose.labels, frame.labels(body().labels))
    assert (seen.pose.labels > 0).mean() > 2 * (body().labels > 0).mean()
    with pytest.raises(ValueError, match=r"anna\.png: cutting out the person needs the DensePose map"):
        Photo(Path("anna.png"), photo_of()).cut_out((32, 32))


def test_tensors():
    frame = Frame(SIZE, (32, 24))
    assert (photo().tensor(frame) == to_tensor(frame.image(photo_of()))).all()
    labels, uv = map_tensors(body(), frame, "anna", "a test")
    np.testing.assert_array_equal(labels.numpy(), frame.labels(body().labels))
    np.testing.assert_array_equal(uv.numpy(), frame.uv(body().uv))
    assert map_tensors(body(uv=False), frame, "anna", None)[1] is None
    with pytest.raises(ValueError, match="anna: its DensePose map has labels only, but a test needs U and V"):
        map_tensors(body(uv=False), frame, "anna", "a test")


def test_metadata_tell_the_file_and_who_found_the_map(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "anna.png")
    given = Photo(tmp_path / "anna.png", Image.new("RGB", (8, 8)))
    assert set(given.about()) == {"file", "sha256"}
    assert Photo(given.path, given.picture, found_by="abc").about() == {**given.about(), "map": "estimated by abc"}


def test_labels_alone_get_the_coordinates_that_are_found_in_the_picture():
    given = replace(photo(), pose=body(uv=False))
    known, told = given.with_uv(colour_estimator())
    found = estimate_densepose(photo_of(), colour_estimator())
    assert np.array_equal(known.pose.labels, given.pose.labels)
    both = (given.pose.labels == found.labels) & (found.labels > 0)
    assert both.any()
    assert np.array_equal(known.pose.uv[:, both], found.uv[:, both])
    assert told == "anna.png: its map has labels only, so U and V were taken from the map that is found in the picture"
    assert known.found_by is None
    assert known.uv_by is not None
    _, told = replace(photo(), pose=body(label=9, uv=False)).with_uv(colour_estimator())
    assert told.endswith("; that does not show right upper leg front, which will have one colour each")
    with pytest.raises(ValueError, match=r"anna\.png: no person was found"):
        given.with_uv(constant_estimator(0))
