"""One door for all formats, in both directions."""

import warnings

import numpy as np
import pytest
from PIL import Image

from dump_fixtures import detectron2, entry, someone, write, write_street
from pocold.densepose.formats.colours import ColourMapWarning, paint
from pocold.densepose.formats.reading import is_dump, load_pose, read_people, read_pose
from pocold.densepose.formats.writing import write_pose
from pocold.densepose.maps import DensePose
from pocold.densepose.plausibility import PlausibilityWarning
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import POSES

SIZE = (40, 30)


@pytest.fixture(scope="module")
def drawn():
    return draw_densepose(POSES["wave"], 20, "full", (96, 66))


@pytest.fixture
def street(tmp_path):
    """A dump of two people, and its photo beside it."""
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "street.jpg")
    return write_street(tmp_path / "dump.pkl", someone(9, 7), someone(20, 10, top=8, left=9, seed=1))


# -- every format to every other ---------------------------------------------------------------------------------

EXACT = [("png", "auto"), ("png", "iuv"), ("png", "vui"), ("png", "ivu"), ("png", "uvi"), ("npz", "auto")]
EXACT += [("npy", "auto"), ("pkl", "auto")]
LABELS_ONLY = [("png", "labels"), ("png", "parula"), ("png", "viridis")]


@pytest.mark.parametrize(("ending", "layout"), EXACT + LABELS_ONLY)
@pytest.mark.parametrize("told", [True, False])
def test_what_is_written_is_read_back(tmp_path, drawn, ending, layout, told):
    path = tmp_path / f"map.{ending}"
    write_pose(drawn, path, layout)
    options = {"size": drawn.size} if ending == "pkl" else {}
    with warnings.catch_warnings():
        if layout in ("parula", "viridis"):
            warnings.simplefilter("ignore", ColourMapWarning)
        pose = read_pose(path, layout if told else "auto", **options)
    assert np.array_equal(pose.labels, drawn.labels)
    assert (pose.uv is None) == (layout not in ("auto", "iuv", "vui", "ivu", "uvi"))
    if pose.uv is not None:
        assert np.abs(pose.uv - drawn.uv).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("layout", ["auto", "labels"])
@pytest.mark.parametrize("ending", ["png", "npz", "npy"])
def test_labels_alone_are_written_without_uv(tmp_path, drawn, ending, layout):
    write_pose(DensePose(drawn.labels), tmp_path / f"map.{ending}", layout if ending == "png" else "auto")
    pose = read_pose(tmp_path / f"map.{ending}")
    assert np.array_equal(pose.labels, drawn.labels)
    assert pose.uv is None


@pytest.mark.parametrize("layout", ["iuv", "vui"])
def test_a_layout_with_uv_needs_them(tmp_path, drawn, layout):
    with pytest.raises(ValueError, match=rf"the layout '{layout}' needs U and V, which this map does not have"):
        write_pose(DensePose(drawn.labels), tmp_path / "map.png", layout)


@pytest.mark.parametrize("name", ["map.jpg", "map", "map.pth"])
def test_other_endings_are_not_written(tmp_path, drawn, name):
    with pytest.raises(ValueError, match=rf"a map is written as \.png, \.npz, \.npy, \.pkl, got {name}"):
        write_pose(drawn, tmp_path / name)


def test_a_layout_is_one_of_pictures(tmp_path, drawn):
    with pytest.raises(ValueError, match=r"the layout 'vui' is one of \.png files, got map\.npz"):
        write_pose(drawn, tmp_path / "map.npz", "vui")


def test_a_written_dump_names_its_photo(tmp_path, drawn):
    Image.new("RGB", drawn.size[::-1]).save(tmp_path / "photo.png")
    write_pose(drawn, tmp_path / "map.pkl", photo="photo.png")
    assert np.array_equal(read_pose(tmp_path / "map.pkl").labels, drawn.labels)


# -- dumps: photo, person, picture -------------------------------------------------------------------------------


def test_the_largest_person_is_read_by_default(street):
    with pytest.warns(PlausibilityWarning, match=r"dump\.pkl: street\.jpg shows 2 people; the largest is taken"):
        largest = read_pose(street)
    second = read_pose(street, person=2)
    assert largest.size == second.size == SIZE
    assert np.array_equal(largest.labels[8:28, 9:19], someone(20, 10, seed=1).labels)
    assert np.array_equal(second.labels[3:12, 5:12], someone(9, 7).labels)


@pytest.mark.parametrize("person", [0, 3, -1])
def test_a_person_who_is_not_there(street, person):
    with pytest.raises(ValueError, match=rf"street\.jpg shows 2 people, there is no person {person}"):
        read_pose(street, person=person)


def test_the_photo_may_lie_where_it_was(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "dumps").mkdir()
    Image.new("RGB", (31, 41)).save(tmp_path / "photos" / "street.png")
    path = write_street(tmp_path / "dumps" / "d.pkl", someone(), file_name=str(tmp_path / "photos" / "street.png"))
    assert read_pose(path).size == (41, 31)


def test_a_lost_photo_is_asked_for(tmp_path):
    path = write_street(tmp_path / "dump.pkl", someone())
    with pytest.raises(ValueError, match=r"dump\.pkl holds boxes in a photo whose size .* \(--photo\) or its size"):
        read_pose(path)
    assert read_pose(path, size=(50, 60)).size == (50, 60)
    assert read_pose(path, photo=Image.new("RGB", (33, 44))).size == (44, 33)
    with pytest.raises(ValueError, match=r"the photo is 44x33 \(height x width\), not 50x60"):
        read_pose(path, photo=Image.new("RGB", (33, 44)), size=(50, 60))
    with pytest.raises(
        ValueError, match=r"dump\.pkl: street\.jpg: the person's box, .* does not lie in a photo of 9x9"
    ):
        read_pose(path, size=(9, 9))


def test_the_rotation_of_a_photo_counts(tmp_path):
    photo, exif = Image.new("RGB", (50, 40)), Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "street.jpg", exif=exif)
    assert read_pose(write_street(tmp_path / "dump.pkl", someone())).size == (50, 40)


@pytest.fixture
def album(tmp_path):
    """A dump of four pictures; two have one name, one shows nobody."""
    with detectron2():
        names = ("/a/one.jpg", "/a/two.jpg", "/b/two.jpg", "/a/empty.jpg")
        content = [entry([someone(seed=i)] if i < 3 else [], name) for i, name in enumerate(names)]
        return write(content, tmp_path / "album.pkl")


def test_pictures_of_a_dump_are_chosen_by_name(album):
    for picture, seed in (("one.jpg", 0), ("/a/two.jpg", 1), ("/b/two.jpg", 2)):
        pose = read_pose(album, picture=picture, size=SIZE)
        assert np.array_equal(pose.labels[3:15, 5:13], someone(seed=seed).labels)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (None, r"holds 4 pictures; say which \(--picture\): /a/one\.jpg, /a/two\.jpg"),
        ("three.jpg", r"holds no picture three\.jpg; there are /a/one\.jpg"),
        ("two.jpg", r"holds several pictures called two\.jpg: /a/two\.jpg, /b/two\.jpg$"),
        ("empty.jpg", r"empty\.jpg shows nobody, there is no person 1"),
    ],
)
def test_the_picture_must_be_clear(album, picture, message):
    with pytest.raises(ValueError, match=rf"album\.pkl:? .*{message}"):
        read_pose(album, picture=picture, size=SIZE)


def test_all_pictures_of_a_dump(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, size in (("one.jpg", (30, 40)), ("two.png", (33, 44)), ("empty.jpg", (30, 30))):
        Image.new("RGB", size).save(tmp_path / "photos" / name)
    with detectron2():
        content = [entry([someone()], "/x/one.jpg"), entry([someone()], "/x/two.png"), entry([], "/x/empty.jpg")]
        path = write(content, tmp_path / "dump.pkl")
    found = {dumped.name: pose for dumped, pose in read_people(path, tmp_path / "photos")}
    assert [pose and pose.size for pose in found.values()] == [(40, 30), (44, 33), None]
    with pytest.raises(ValueError, match=r"one\.jpg shows 1 person, there is no person 2"):
        list(read_people(path, tmp_path / "photos", person=2))


@pytest.mark.parametrize("names", [("/a/two.jpg", "/b/two.png"), ("/a/one.jpg", "/a/")])
def test_all_pictures_need_names_of_their_own(tmp_path, names):
    with detectron2():
        path = write([entry([someone()], name) for name in names], tmp_path / "dump.pkl")
    with pytest.raises(ValueError, match=r"holds several pictures called '.*', or one without a name"):
        list(read_people(path))


def test_a_dump_has_no_layout(street):
    with pytest.raises(ValueError, match="is a dump: it says itself what it holds, leave out the layout 'vui'"):
        read_pose(street, "vui")


@pytest.mark.parametrize("form", ["pickle 2", "pickle 5", "torch", "torch legacy"])
def test_dumps_are_told_by_their_content(tmp_path, drawn, form):
    assert is_dump(write_street(tmp_path / "dump.bin", someone(), form=form))
    for ending in ("png", "npz", "npy"):
        write_pose(drawn, tmp_path / f"map.{ending}")
        assert not is_dump(tmp_path / f"map.{ending}")


# -- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour_map", "ending", "message"),
    [
        ("parula", "png", r"map\.png: labels were read from parula colours, all of them exact; U and V are lost"),
        ("viridis", "png", "labels were read from viridis colours, all of them exact"),
        ("parula", "jpg", r"labels were guessed from parula colours, blurred or compressed: .* 93% of the body"),
    ],
)
def test_plain_colours_are_detected_with_a_warning(tmp_path, drawn, colour_map, ending, message):
    paint(drawn, colour_map).save(tmp_path / f"map.{ending}", quality=95)
    with pytest.warns(ColourMapWarning, match=message):
        pose = read_pose(tmp_path / f"map.{ending}")
    assert (pose.labels == drawn.labels).mean() > (0.9 if ending == "jpg" else 0.99999)


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_colours_in_other_kinds_of_png(tmp_path, drawn, mode):
    paint(drawn, "parula").convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / "map.png")
    with pytest.warns(ColourMapWarning):
        assert np.array_equal(read_pose(tmp_path / "map.png").labels, drawn.labels)


def over_photo(drawn):
    photo = np.random.default_rng(0).integers(60, 200, (*drawn.size, 1), np.uint8).repeat(3, -1)
    mixed = np.where((drawn.labels > 0)[..., None], 0.3 * photo + 0.7 * np.asarray(paint(drawn, "parula")), photo)
    return Image.fromarray(photo), Image.fromarray(mixed.astype(np.uint8))


def test_colours_over_a_photo_must_be_told(tmp_path, drawn):
    photo, picture = over_photo(drawn)
    picture.save(tmp_path / "map.png")
    with pytest.raises(
        ValueError, match=r"map\.png: .* looks like a colour picture; .* \(--read-as parula or viridis\)"
    ):
        read_pose(tmp_path / "map.png")
    with pytest.warns(ColourMapWarning, match=r"over an unknown photo: in a test 73% .* give the photo \(--photo\)"):
        lost = read_pose(tmp_path / "map.png", "parula")
    with pytest.warns(ColourMapWarning, match="over the photo: in a test all of the body came out right"):
        given = read_pose(tmp_path / "map.png", "parula", photo=photo)
    assert (given.labels == drawn.labels).mean() > 0.999 > (lost.labels == drawn.labels).mean() > 0.75


@pytest.mark.parametrize("mode", ["P", "L"])
def test_palette_numbers_can_be_read_as_labels(tmp_path, drawn, mode):
    picture = Image.fromarray(drawn.labels)
    if mode == "P":
        picture.putpalette(list(range(256)) * 3)
    picture.save(tmp_path / "map.png")
    assert np.array_equal(read_pose(tmp_path / "map.png", "labels").labels, drawn.labels)


def test_different_channels_are_no_labels(tmp_path, drawn):
    drawn.write(tmp_path / "map.png")
    with pytest.raises(ValueError, match=r"map\.png: expected labels, one channel or equal ones, got .* mode RGB"):
        read_pose(tmp_path / "map.png", "labels")


# -- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"person": 2}, "shows one person, or people who touch, there is no person 2"),
        ({"picture": "a.jpg"}, "is no dump: it holds one map, so there is no picture to choose"),
    ],
)
@pytest.mark.parametrize("ending", ["png", "npz"])
def test_only_dumps_have_pictures_to_choose(tmp_path, drawn, option, message, ending):
    write_pose(drawn, tmp_path / f"map.{ending}")
    with pytest.raises(ValueError, match=message):
        read_pose(tmp_path / f"map.{ending}", **option)


def test_another_size_is_refused(tmp_path, drawn):
    write_pose(drawn, tmp_path / "map.png")
    with pytest.raises(ValueError, match=r"map\.png is 96x66 \(height x width\), not 96x64"):
        read_pose(tmp_path / "map.png", size=(96, 64))


def test_arrays_have_no_colours(tmp_path, drawn):
    write_pose(drawn, tmp_path / "map.npy")
    with pytest.raises(ValueError, match="is an array, which can be read as auto, iuv, ivu, vui, uvi, not parula"):
        read_pose(tmp_path / "map.npy", "parula")


def test_unknown_layouts_list_the_known(tmp_path):
    with pytest.raises(ValueError, match="unknown layout 'bgr': expected one of auto, iuv, ivu, vui, uvi, labels, par"):
        read_pose(tmp_path / "map.png", "bgr")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02", b"\x80\x04K", b"PK\x03\x04", b"\x93NUMPY"])
def test_broken_files_are_refused(tmp_path, content):
    (tmp_path / "map.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"map\.pkl cannot be read as a"):
        read_pose(tmp_path / "map.pkl")


def test_text_pickles_are_never_unpickled(tmp_path):
    """Protocol 0 looks like any text; no dump is written so."""
    (tmp_path / "map.pkl").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "executed") + b"'\ntR.")
    with pytest.raises(ValueError, match=r"map\.pkl cannot be read as a DensePose picture"):
        read_pose(tmp_path / "map.pkl")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_missing_files_and_folders_are_refused(tmp_path, make):
    make(tmp_path / "map.png")
    with pytest.raises(
        ValueError, match=r"(no such DensePose file: .*map\.png|map\.png cannot be read: Is a directory)"
    ):
        read_pose(tmp_path / "map.png")


def test_load_pose_takes_files_of_any_format_and_all_other_forms(tmp_path, drawn):
    write_pose(drawn, tmp_path / "map.npz")
    for pose in (tmp_path / "map.npz", str(tmp_path / "map.npz"), drawn, drawn.labels):
        assert np.array_equal(load_pose(pose).labels, drawn.labels)
    with pytest.raises(ValueError, match="pose 3: expected a DensePose, path"):
        load_pose(3, "pose 3")


def test_a_person_who_is_tiny_in_the_photo_beside_is_told(tmp_path, recwarn):
    """A dump of a small copy beside the large photo: the box fits, and the person would be put into a corner."""
    dump = write_street(tmp_path / "dump.pkl", someone(12, 8, top=3, left=5))
    Image.new("RGB", (40, 50)).save(tmp_path / "street.jpg")
    with pytest.warns(
        PlausibilityWarning, match=r"box is 12x8 \(height x width\) at row 3, column 5 of street\.jpg.*50x40"
    ):
        read_pose(dump)
    recwarn.clear()
    assert read_pose(dump, size=(50, 40)).size == (50, 40)  # who says the size knows it
    Image.new("RGB", (30, 40)).save(tmp_path / "street.jpg")
    read_pose(dump)
    assert not [warning for warning in recwarn if "box" in str(warning.message)]
