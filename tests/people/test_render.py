"""Drawn people: repeatable, labelled exactly, dressed, and the same person in every picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pocold.people.labels import KEYPOINT_NAMES
from pocold.people.poses import POSES
from pocold.people.rendering.figure import Wearer
from pocold.people.rendering.render import Person, Shot, random_person
from pocold.people.rendering.studio import BACKGROUNDS, Backdrop, Film, draw_backdrop, expose, random_shoot
from pocold.people.rendering.surface import CLASS_ID, CLASSES
from pocold.people.wardrobe.dressing import dress
from pocold.people.wardrobe.fabric import PATTERNS, Fabric, random_palette
from pocold.people.wardrobe.garments import Shoes, Top, Trousers
from pocold.people.wardrobe.grids import Skirt
from pocold.people.wardrobe.hair import STYLES
from pocold.people.wardrobe.looks import random_look

SIZE = (64, 44)
GREY = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def tight():
    """Someone in tight clothes with a shaven head: the silhouette is the body's."""
    look = random_look(np.random.default_rng(5))
    return Person(replace(
        look, hair=replace(look.hair, style="buzz"), jacket=None, socks=None, dress=False,
        top=Top(Fabric("solid", ((0.7, 0.1, 0.1), GREY, GREY)), loose=0.0),
        bottom=Trousers(Fabric("solid", ((0.1, 0.1, 0.6), GREY, GREY)), cut="slim"),
        shoes=Shoes("flat", GREY, GREY, GREY, 0.01),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def front(tight):
    return tight.draw([Shot(POSES["apose"])], (128, 88))[0]


def test_shapes_and_ranges(front):
    assert front.image.shape == (128, 88, 3)
    assert front.image.dtype == np.uint8
    assert front.densepose.size == (128, 88)
    assert front.densepose.labels.max() <= 24
    assert front.garments.dtype == np.uint8
    assert set(np.unique(front.garments)) <= set(range(len(CLASSES)))
    assert front.keypoints.shape == (18, 3)


def test_drawing_repeats_to_the_byte():
    first, second = (random_person(3, 4).draw([Shot(POSES["walk"], 30, seed=9)], SIZE)[0] for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.densepose.uv, second.densepose.uv)
    assert np.array_equal(first.garments, second.garments)
    other = random_person(3, 5).draw([Shot(POSES["walk"], 30, seed=9)], SIZE)[0]
    assert not np.array_equal(first.image, other.image)


def test_a_batch_draws_what_single_calls_draw():
    person = random_person(0, 2)
    shots = [Shot(POSES["stand"]), Shot(POSES["sit"], 60), Shot(POSES["wave"], 180, "upper")]
    for together, shot in zip(person.draw(shots, SIZE), shots, strict=True):
        alone = person.draw([shot], SIZE)[0]
        assert (together.densepose.labels == alone.densepose.labels).mean() > 0.999
        assert np.abs(together.image.astype(int) - alone.image).mean() < 0.5


def grown(mask):
    """The mask and its neighbouring pixels."""
    return binary_neighbours(mask).any(0)


def binary_neighbours(mask):
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.stack([padded[r : r + height, c : c + width] for r in range(3) for c in range(3)])


@pytest.mark.parametrize(
    ("pose", "view", "crop", "overlap"),
    [("stand", 0, "upper", 0.95), ("stand", 30, "upper", 0.95), ("stand", 180, "upper", 0.95),
     ("apose", 0, "full", 0.95), ("stand", 0, "full", 0.95), ("stand", 180, "full", 0.95), ("walk", 60, "full", 0.95)],
)  # fmt: skip
def test_labels_lie_under_the_pixels(tight, pose, view, crop, overlap):
    """In tight clothes; looser ones stand off the body by what they are looser."""
    picture = tight.draw([Shot(POSES[pose], view, crop)], (256, 176))[0]
    body, person = picture.densepose.labels > 0, picture.silhouette
    assert (body & person).sum() / (body | person).sum() >= overlap
    assert person[body].mean() > 0.99
    assert (person & ~grown(grown(body))).sum() < 0.01 * person.sum()  # nothing two pixels away from the body


def test_the_garment_map_is_what_is_seen(tight):
    white = Backdrop("white", (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    person = Person(tight.look, replace(tight.shoot, backdrop=white, film=Film(0, 0)))
    picture = person.draw([Shot(POSES["apose"])], (128, 88))[0]
    red, green, blue = picture.image.astype(int).transpose(2, 0, 1)
    inside = picture.garments == CLASS_ID["top"]
    assert (red - blue)[inside].mean() > 60
    assert (blue - red)[picture.garments == CLASS_ID["trousers"]].mean() > 30
    assert picture.image[:20, :20].mean() > 240  # the empty corner
    assert np.abs(red - green)[picture.garments == CLASS_ID["shoes"]].mean() < 25


def test_nobody_shows_what_clothes_cover():
    """Torso and hips are covered in any pose: by a top and trousers or skirt, or a dress."""
    rng = np.random.default_rng(0)
    for identity in range(12):
        person = random_person(11, identity)
        shots = [replace(person.random_shot(rng), crop="full"), Shot(POSES["stand"]), Shot(POSES["stand"], 180)]
        for picture in (person.draw([shot], (96, 66))[0] for shot in shots):
            labels, garments = picture.densepose.labels, picture.garments
            torso = np.isin(labels, (1, 2))
            rows = np.flatnonzero(torso.any(1))
            lower = torso.copy()
            lower[: rows[0] + round(0.45 * len(rows))] = False  # under the deepest neckline
            # a bare forearm or hand in front of the torso is labelled as such; what is left must be cloth
            bare = np.isin(garments, (CLASS_ID["skin"], CLASS_ID["background"])) & lower
            assert bare.sum() <= 0.04 * lower.sum() + 2, (identity, person.look)


def test_everyone_is_an_adult_and_dressed():
    for seed in range(60):
        look = random_look(np.random.default_rng(seed))
        assert look.shape.age >= 2 / 3 - 1e-6
        assert look.top.hem <= 0.17 < look.bottom.waist  # the top overlaps what is below it
        assert isinstance(look.bottom, Skirt | Trousers)
        names = {CLASSES[piece.garment] for piece in dress(look).pieces} if seed < 6 else None
        assert names is None or "dress" in names or {"top"} < names & {"top", "trousers", "skirt"}


def test_a_dress_needs_a_skirt():
    look = next(x for x in (random_look(np.random.default_rng(s)) for s in range(50)) if isinstance(x.bottom, Trousers))
    with pytest.raises(ValueError, match="a dress needs a Skirt"):
        replace(look, dress=True)


def test_one_person_keeps_light_and_backdrop():
    person = random_person(0, 7)
    pictures = [person.draw([Shot(POSES["stand"], view, seed=view)], SIZE)[0] for view in (0, 90, 180)]
    corners = np.array([picture.image[:10, :8].reshape(-1, 3).mean(0) for picture in pictures])
    assert np.ptp(corners, axis=0).max() < 3
    varied = person.random_shot(np.random.default_rng(1), vary_backdrop=True)
    assert varied.backdrop is not None
    assert person.random_shot(np.random.default_rng(1)).backdrop is None


def test_one_person_keeps_colours_in_front_and_back():
    person = random_person(0, 1)
    means = []
    for view in (10, 190):
        picture = person.draw([Shot(POSES["stand"], view)], (96, 66))[0]
        means.append(picture.image[picture.garments == CLASS_ID["top"]].mean(0))
    assert np.abs(means[0] - means[1]).max() < 40


def test_keypoints_of_a_front_view(front):
    points = dict(zip(KEYPOINT_NAMES, front.keypoints, strict=True))
    assert all(points[name][2] == 1 for name in ("nose", "neck", "left wrist", "right ankle", "left eye"))
    assert points["left wrist"][0] > points["neck"][0] > points["right wrist"][0]
    assert points["nose"][1] < points["neck"][1] < points["left hip"][1] < points["left knee"][1]
    for name, labels in (
        ("left knee", (10, 14)),
        ("right wrist", (3, 20, 22)),
        ("nose", (23, 24)),
        ("neck", (2, 23, 24)),
    ):
        x, y, _ = points[name]
        around = front.densepose.labels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
        assert np.isin(around, labels).any(), name


def test_keypoints_that_cannot_be_seen(tight):
    behind = tight.draw([Shot(POSES["stand"], 180)], (128, 88))[0].keypoints
    seen = dict(zip(KEYPOINT_NAMES, behind[:, 2], strict=True))
    assert not seen["nose"]
    assert not seen["left eye"]
    assert seen["left knee"]
    cropped = tight.draw([Shot(POSES["stand"], 0, "upper")], (128, 88))[0].keypoints
    assert not dict(zip(KEYPOINT_NAMES, cropped[:, 2], strict=True))["right ankle"]
    side = tight.draw([Shot(POSES["stand"], 90)], (128, 88))[0].keypoints
    assert dict(zip(KEYPOINT_NAMES, side[:, 2], strict=True))["right ear"]
    assert not dict(zip(KEYPOINT_NAMES, side[:, 2], strict=True))["left ear"]


def test_a_seat_carries_and_hides(tight):
    leg = replace(POSES["sit"].left_leg, spread=-4, turn=0)
    pose = replace(POSES["sit"], left_leg=leg, right_leg=leg)
    picture = tight.draw([Shot(pose, 180)], (128, 88))[0]
    calves = np.isin(picture.densepose.labels, (11, 12, 13, 14)).sum()
    free = tight.draw([Shot(replace(pose, seated=False), 180)], (128, 88))[0]
    assert calves < 0.5 * np.isin(free.densepose.labels, (11, 12, 13, 14)).sum()


@pytest.mark.parametrize("style", STYLES)
def test_hair_styles(tight, style):
    person = Person(replace(tight.look, hair=replace(tight.look.hair, style=style)))
    hair = (person.draw([Shot(POSES["stand"], 180, "portrait")], SIZE)[0].garments == CLASS_ID["hair"]).sum()
    assert hair == 0 if style == "bald" else hair > 60


@pytest.mark.parametrize("kind", ["sneaker", "hightop", "boot", "loafer", "flat"])
def test_shoes_cover_the_feet(tight, kind):
    person = Person(replace(tight.look, shoes=Shoes(kind, GREY, GREY, GREY)))
    picture = person.draw([Shot(POSES["stand"])], (128, 88))[0]
    feet = np.isin(picture.densepose.labels, (5, 6))
    allowed = [CLASS_ID[name] for name in ("shoes", "trousers")] + (
        [CLASS_ID["skin"]] if kind in ("flat", "loafer") else []
    )
    assert np.isin(picture.garments[feet], allowed).mean() > 0.9
    assert (picture.garments == CLASS_ID["shoes"]).sum() > 0.4 * feet.sum()


@pytest.mark.parametrize("length", [0.55, 1.0, 1.7])
def test_skirts_end_where_they_should(tight, length):
    skirt = Skirt(Fabric("plaid", ((0.5, 0.2, 0.2), GREY, GREY)), length)
    picture = Person(replace(tight.look, bottom=skirt)).draw([Shot(POSES["stand"])], (128, 88))[0]
    rows = np.flatnonzero((picture.garments == CLASS_ID["skirt"]).any(1))
    knee = picture.keypoints[KEYPOINT_NAMES.index("left knee"), 1]
    hip = picture.keypoints[KEYPOINT_NAMES.index("left hip"), 1]
    ankle = picture.keypoints[KEYPOINT_NAMES.index("left ankle"), 1]
    expected = hip + (knee - hip) * length if length < 1 else knee + (ankle - knee) * (length - 1)
    assert rows[-1] == pytest.approx(expected, abs=5)


def test_patterns_are_told_apart(tight):
    colours = ((0.9, 0.9, 0.9), (0.1, 0.1, 0.5), (0.7, 0.2, 0.1))
    means, spreads = {}, {}
    for pattern in PATTERNS:
        look = replace(tight.look, top=replace(tight.look.top, fabric=Fabric(pattern, colours)))
        picture = Person(look).draw([Shot(POSES["stand"], 0, "upper")], (128, 88))[0]
        top = picture.image[picture.garments == CLASS_ID["top"]].astype(float)
        means[pattern], spreads[pattern] = top.mean(0), top.std(0).mean()
    assert spreads["hstripe"] > 1.5 * spreads["solid"]
    assert all(
        spreads[p] > 1.05 * spreads["solid"] for p in ("vstripe", "plaid", "dots", "floral", "logo", "letters", "block")
    )
    with pytest.raises(ValueError, match="unknown pattern"):
        Fabric("tartan", colours)


def test_palettes_have_contrast():
    for seed in range(50):
        palette = random_palette(np.random.default_rng(seed))
        assert np.abs(np.array(palette.main) - palette.accent).sum() > 0.25
        assert all(0 <= c <= 1 for colour in vars(palette).values() for c in colour)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backdrops(kind):
    picture = draw_backdrop(Backdrop(kind, (0.5, 0.6, 0.7), (0.4, 0.4, 0.4), 3), SIZE, 50.0)
    assert picture.shape == (3, *SIZE)
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert torch.equal(picture, draw_backdrop(Backdrop(kind, (0.5, 0.6, 0.7), (0.4, 0.4, 0.4), 3), SIZE, 50.0))


def test_film_effects():
    picture = torch.zeros(3, 32, 24)
    picture[:, 16:] = 0.8
    plain = expose(picture, Film(0, 0), np.random.default_rng(0))
    assert set(np.unique(plain)) == {0, 204}
    blurred = expose(picture, Film(blur=4.0, noise=0), np.random.default_rng(0))
    assert 10 < blurred[15, 5, 0] < blurred[16, 5, 0] < 200
    warm = expose(picture, Film(0, 0, (1.1, 1.0, 0.9)), np.random.default_rng(0))
    assert warm[20, 5, 0] > warm[20, 5, 1] > warm[20, 5, 2]
    noisy = expose(picture, Film(0, 0.02), np.random.default_rng(0))
    assert 2 < noisy[16:].astype(float).std() < 8


def test_shoots_differ_and_repeat():
    assert random_shoot(np.random.default_rng(1)) == random_shoot(np.random.default_rng(1))
    assert random_shoot(np.random.default_rng(1)) != random_shoot(np.random.default_rng(2))


def test_covered_skin_is_cut_away(tight):
    wearer = Wearer(tight.look.shape)
    skin = next(piece for piece in dress(tight.look, wearer).pieces if piece.garment == CLASS_ID["skin"])
    z, x = skin.canonical[:, 2], skin.canonical[:, 0]
    assert not ((z > 0.2) & (z < 0.5) & (x.abs() < 0.1)).any()  # no belly under a top
    assert ((z > 0.8) & (x.abs() < 0.1)).any()


@pytest.mark.parametrize("size", [(8, 8), (64,), (64, 9000)])
def test_impossible_sizes_and_no_shots(tight, size):
    with pytest.raises(ValueError, match="expected a size HEIGHTxWIDTH"):
        tight.draw([Shot(POSES["stand"])], size)
    with pytest.raises(ValueError, match="at least one shot"):
        tight.draw([], SIZE)


def test_odd_sizes_and_supersampling(tight):
    for size, samples in (((65, 43), 2), ((40, 64), 1), ((48, 33), 3)):
        picture = tight.draw([Shot(POSES["tpose"], 20)], size, samples)[0]
        assert picture.image.shape == (*size, 3)
        assert picture.garments.shape == size
