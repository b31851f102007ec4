"""Photo and map as one: the box around a person, the way to the model's size, and the way back."""

import numpy as np
import pytest
from PIL import Image

from pocold.densepose.formats.writing import write_pose
from pocold.densepose.framing import PersonFrame, person_box
from pocold.densepose.maps import DensePose
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import POSES


def body(height, width, top, left, bottom, right, label=2):
    labels = np.zeros((height, width), np.uint8)
    labels[top:bottom, left:right] = label
    return labels


def noise(height, width, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def pixels(picture):
    return np.asarray(picture).astype(int)


# -- the box -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "box"),
    [(0, (10, 30, 50, 45)), (0.1, (6, 26, 54, 49)), (0.5, (-10, 10, 70, 65)), (1, (-30, -10, 90, 85))],
)
def test_the_box_is_widened_by_a_share_of_the_longer_side(margin, box):
    assert person_box(body(100, 80, 10, 30, 50, 45), margin) == box


def test_every_body_pixel_counts():
    labels = np.zeros((9, 7))
    labels[2, 5], labels[7, 1] = 24, 1
    assert person_box(labels, 0) == (2, 1, 8, 6)


@pytest.mark.parametrize("margin", [-0.1, 10, float("nan")])
def test_impossible_margins_are_refused(margin):
    with pytest.raises(ValueError, match=r"margin must lie in \[0, 10\), got"):
        person_box(body(9, 9, 1, 1, 5, 5), margin)


def test_nobody_cannot_be_framed():
    with pytest.raises(ValueError, match="the map shows nobody to frame"):
        person_box(np.zeros((5, 5)))


@pytest.mark.parametrize(
    ("labels", "size", "box"),
    [
        (body(100, 80, 10, 30, 50, 45), (40, 20), (10, 27, 50, 47)),  # wider, about the same middle
        (body(100, 80, 10, 30, 50, 45), (40, 15), (10, 30, 50, 45)),  # as it is
        (body(100, 80, 10, 30, 30, 70), (80, 40), (0, 30, 80, 70)),  # taller: pushed down from the upper border
        (body(100, 80, 10, 60, 50, 75), (40, 40), (10, 40, 50, 80)),  # pushed left
        (body(100, 80, 60, 5, 100, 20), (40, 40), (60, 0, 100, 40)),  # pushed right
        (body(100, 80, 0, 10, 100, 70), (100, 100), (0, -10, 100, 90)),  # there is no room: sticks out on both sides
        (body(100, 80, 0, 0, 100, 20), (100, 100), (0, -20, 100, 80)),  # as much of the photo as there is
    ],
)
def test_the_box_takes_the_models_shape_inside_the_photo(labels, size, box):
    assert PersonFrame.around(labels, size=size, margin=0).box == box


def test_the_box_holds_source_and_target():
    source, target = body(100, 80, 10, 30, 50, 45), body(100, 80, 20, 50, 70, 60)
    assert PersonFrame.around(source, target, size=(60, 30), margin=0).box == (10, 30, 70, 60)


# -- there -------------------------------------------------------------------------------------------------------


def test_photo_and_map_are_cut_alike():
    """A photo that shows its labels still does so when both were framed."""
    labels = draw_densepose(POSES["wave"], 20, "full", (128, 88)).labels
    wide = np.zeros((150, 400), np.uint8)
    wide[10:138, 250:338] = labels
    photo = Image.fromarray(np.repeat((wide > 0)[..., None] * np.uint8(255), 3, -1))
    for size in ((256, 176), (64, 44), (100, 100), (64, 128)):
        frame = PersonFrame.around(wide, size=size)
        framed, seen = frame.labels(wide), pixels(frame.image(photo))[..., 0]
        assert framed.shape == seen.shape == size
        assert ((framed > 0) == (seen > 127)).mean() > 0.99
        rows, columns = np.nonzero(framed)
        assert min(rows.min(), columns.min()) > 0  # the margin
        assert (framed > 0).any(1).mean() > 0.75 or (framed > 0).any(0).mean() > 0.75  # and no more than it


def test_u_and_v_are_cut_like_their_labels():
    labels = body(60, 50, 5, 20, 40, 30)
    rows, columns = np.mgrid[:60, :50]
    uv = np.stack([rows / 64, columns / 64]).astype(np.float32)
    frame = PersonFrame.around(labels, size=(32, 24))
    cut = frame.uv(uv)
    assert cut.shape == (2, 32, 24)
    np.testing.assert_array_equal(cut[0], frame.labels(uv[0]))
    np.testing.assert_array_equal(cut[1], frame.labels(uv[1]))
    assert (np.diff(cut[0], axis=0) >= 0).all()


def test_what_sticks_out_continues_the_photo_and_is_background():
    labels = body(20, 10, 0, 0, 20, 10)
    frame = PersonFrame.around(labels, size=(20, 20), margin=0)
    photo = noise(20, 10)
    photo.paste((10, 20, 30), (0, 0, 1, 20))
    photo.paste((200, 100, 0), (9, 0, 10, 20))
    seen = pixels(frame.image(photo))
    assert (seen[:, 5:15] == pixels(photo)).all()
    assert (seen[:, :5] == (10, 20, 30)).all()
    assert (seen[:, 15:] == (200, 100, 0)).all()
    framed = frame.labels(labels)
    assert framed[:, 5:15].all()
    assert not framed[:, :5].any()
    assert not framed[:, 15:].any()


# -- and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feather", [0, 3, None])
def test_outside_the_box_the_photo_stays_as_it_is(feather):
    photo, result = noise(100, 80), noise(60, 30, 1)
    frame = PersonFrame((100, 80), (20, 30, 80, 60), (60, 30))
    pasted = pixels(frame.paste(result, photo, feather))
    outside = body(100, 80, 20, 30, 80, 60) == 0
    assert (pasted[outside] == pixels(photo)[outside]).all()
    inner = slice(23, 77), slice(33, 57)
    assert (pasted[inner] == pixels(result)[3:57, 3:27]).all()


def test_the_seam_blends_inside_the_box():
    photo, result = Image.new("RGB", (80, 100)), Image.new("RGB", (30, 60), (250, 250, 250))
    row = pixels(PersonFrame((100, 80), (20, 30, 80, 60), (60, 30)).paste(result, photo, 4))[50, 28:38, 0]
    assert row.tolist() == [0, 0, 50, 100, 150, 200, 250, 250, 250, 250]


def test_there_is_no_seam_along_the_photos_border():
    photo, result = Image.new("RGB", (40, 60)), Image.new("RGB", (40, 60), (200, 200, 200))
    whole = PersonFrame((60, 40), (0, 0, 60, 40), (60, 40)).paste(result, photo, 5)
    assert (pixels(whole) == 200).all()
    right = pixels(PersonFrame((60, 40), (0, 20, 60, 60), (60, 40)).paste(result, photo, 4))[..., 0]
    assert (right[:, 25:] == 200).all()
    assert (right[:, 20:24] == [40, 80, 120, 160]).all()


def test_there_and_back_is_nearly_the_photo():
    x, y = np.meshgrid(np.linspace(0, 1, 90), np.linspace(0, 1, 120))
    photo = Image.fromarray((np.stack([x, y, x * y], -1) * 255).astype(np.uint8))
    for size in ((120, 60), (240, 160), (64, 64)):
        frame = PersonFrame.around(body(120, 90, 5, 40, 118, 80), size=size)
        back = pixels(frame.paste(frame.image(photo), photo))
        assert np.abs(back - pixels(photo)).max() <= 6


def test_a_result_goes_back_to_its_place():
    """A mark in the result is where the frame showed the photo's."""
    photo, labels = noise(90, 120), body(90, 120, 30, 70, 60, 90)
    frame = PersonFrame.around(labels, size=(128, 96))
    mark = np.repeat((frame.labels(labels) > 0)[..., None] * np.uint8(255), 3, -1)
    pasted = pixels(frame.paste(Image.fromarray(mark), photo, 0))
    assert (pasted[31:59, 71:89] > 200).all()


@pytest.mark.parametrize(("result", "photo"), [((60, 31), (100, 80)), ((60, 30), (80, 100)), ((100, 80), (100, 80))])
def test_other_sizes_cannot_be_pasted(result, photo):
    frame = PersonFrame((100, 80), (20, 30, 80, 60), (60, 30))
    with pytest.raises(ValueError, match=r"expected a result of \(60, 30\) and a photo of \(100, 80\)"):
        frame.paste(noise(*result), noise(*photo))


def test_feather_cannot_be_negative():
    frame = PersonFrame((100, 80), (20, 30, 80, 60), (60, 30))
    with pytest.raises(ValueError, match="feather must be at least 0, got -1"):
        frame.paste(noise(60, 30), noise(100, 80), -1)


def test_a_frame_is_for_one_size():
    frame = PersonFrame((100, 80), (20, 30, 80, 60), (60, 30))
    for use in (lambda: frame.image(noise(80, 100)), lambda: frame.labels(np.zeros((80, 100)))):
        with pytest.raises(ValueError, match=r"for a photo of size \(100, 80\) \(height, width\), got \(80, 100\)"):
            use()


def test_maps_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match=r"expected maps of one size, that of the photo, got \[\(9, 9\), \(9, 10\)\]"):
        PersonFrame.around(body(9, 9, 1, 1, 5, 5), body(9, 10, 1, 1, 5, 5), size=(8, 8))
    with pytest.raises(ValueError, match="expected maps of one size, that of the photo, got none"):
        PersonFrame.around(size=(8, 8))


@pytest.mark.parametrize("box", [(20, 30, 20, 60), (80, 30, 20, 60)])
def test_boxes_need_an_area(box):
    with pytest.raises(ValueError, match="sizes and box must have an area"):
        PersonFrame((100, 80), box, (60, 30))


@pytest.mark.parametrize("box", [(100, 0, 110, 10), (-9, 0, 0, 10), (0, 80, 10, 90), (0, -9, 10, 0)])
def test_boxes_beside_the_photo_are_refused(box):
    with pytest.raises(ValueError, match="lies beside a photo of"):
        PersonFrame((100, 80), box, (60, 30))


def test_a_person_in_a_large_photo_from_end_to_end(tmp_path, toy):
    """As docs/densepose.md tells it; the pose comes from a file of another format."""
    source = np.zeros((200, 300), np.uint8)
    source[30:158, 180:268] = draw_densepose(POSES["stand"], 0, "full", (128, 88)).labels
    frame = PersonFrame.around(source, size=(64, 48))
    write_pose(DensePose(frame.labels(source)), tmp_path / "target.npz")
    photo = noise(200, 300)
    picture = toy(frame.image(photo), tmp_path / "target.npz", num_inference_steps=2).images[0]
    whole = frame.paste(picture, photo)
    assert whole.size == photo.size
    top, left, bottom, right = frame.box
    changed = np.argwhere((pixels(whole) != pixels(photo)).any(-1))
    assert (changed.min(0) >= [top, left]).all()
    assert (changed.max(0) < [bottom, right]).all()
    assert len(changed) > 0.9 * (bottom - top) * (right - left)
