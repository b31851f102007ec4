"""What stands off the body goes where the body's outline goes, and a backdrop does not."""

import pytest
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt, uniform_filter

from pocold.densepose import chart
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import HIDDEN, Photograph, Surface
from pocold.densepose.outline import _strips, carry_outline
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

BACKDROP, COAT, SKIN = (180, 180, 180), (150, 20, 30), (220, 180, 150)
WIDTH = 4  # pixels that the coat stands off


@pytest.fixture(scope="module")
def views():
    """Labels ``(H, W)`` and U, V ``(2, H, W)`` in 0..255 of one person in two poses."""
    person = random_person(1, 0)
    shots = [Shot(p.pose, p.view, p.crop) for p in map(parse_pose, ("tpose:front", "arms-up:front"))]
    maps = [picture.densepose for picture in person.draw(shots, (256, 176))]
    return [(torch.from_numpy(p.labels.copy()), (torch.from_numpy(p.uv) * 255).round().to(torch.uint8)) for p in maps]


def beside(labels, width):
    """Pixels up to ``width`` from the body that are nearer to the trunk than to anything else."""
    far, nearest = distance_transform_edt(labels.numpy() == 0, return_indices=True)
    trunk = torch.isin(labels, torch.tensor([1, 2], dtype=labels.dtype)).numpy()
    return torch.from_numpy((far > 0) & (far <= width) & trunk[*nearest])


def photographed(view, width=WIDTH, backdrop=BACKDROP):
    """The person in a coat that stands ``width`` pixels off the trunk."""
    labels, uv = view
    picture = torch.tensor(backdrop, dtype=torch.uint8)[:, None, None].expand(3, *labels.shape).clone()
    picture[:, labels > 0] = torch.tensor(SKIN, dtype=torch.uint8)[:, None]
    if width:
        picture[:, beside(labels, width)] = torch.tensor(COAT, dtype=torch.uint8)[:, None]
    return Photograph(picture, labels.clone(), uv)


def away_from(colours, colour):
    """Largest difference of a channel in 0..255, ``(N,)``."""
    return ((colours + 1) * 127.5 - torch.tensor(colour)[:, None]).abs().amax(0)


def test_a_coat_goes_with_the_body(views):
    colours, certain = carry_outline([photographed(views[0])], *views[1])
    covered = certain > 0
    expected = beside(views[1][0], WIDTH)
    assert not (covered & (views[1][0] > 0)).any()
    assert (covered & expected).sum() > 0.85 * expected.sum()
    assert (covered & ~beside(views[1][0], WIDTH + 2)).sum() < 0.15 * expected.sum()
    assert (away_from(colours[:, covered], COAT) < 2).float().mean() > 0.9


def test_a_photograph_is_looked_at_once_for_all_poses(views):
    photo = photographed(views[0])
    before = _strips.cache_info().misses
    first = carry_outline([photo], *views[1])
    again = carry_outline([photo], *views[1])
    carry_outline([photo], *views[0])
    assert _strips.cache_info().misses == before + 1
    assert torch.equal(first[0], again[0])
    other = carry_outline([photographed(views[0], width=2)], *views[1])  # another photograph has its own
    assert not torch.equal(first[1], other[1])


def test_a_hem_has_no_thorns(views):
    """Strips of uneven length, as another photograph's pixels give them: the outline in another pose is even."""
    photo = photographed(views[0])
    ragged = photo.picture.clone()
    ragged[:, ::3] = photographed(views[0], width=0).picture[:, ::3]  # every third row shows no coat
    _, certain = carry_outline([Photograph(ragged, photo.labels, photo.uv)], *views[1])
    covered = ((certain > 0) & beside(views[1][0], WIDTH)).numpy()
    thorns = covered & (uniform_filter(covered.astype(float), 3) < 0.4)
    assert covered.sum() > 0.5 * int(beside(views[1][0], WIDTH).sum())
    assert thorns.sum() < 0.08 * covered.sum()


def test_in_the_same_pose_it_is_where_it_was(views):
    _, certain = carry_outline([photographed(views[0])], *views[0])
    expected = beside(views[0][0], WIDTH)
    assert ((certain > 0) & expected).sum() > 0.9 * expected.sum()
    assert certain[(certain > 0) & expected].median() == 1


def test_tight_clothes_carry_nothing(views):
    _, certain = carry_outline([photographed(views[0], width=0)], *views[1])
    assert (certain > 0).sum() == 0


def test_twice_as_large_a_photograph_says_the_same(views):
    person = random_person(1, 0)
    pose = parse_pose("tpose:front")
    large = person.draw([Shot(pose.pose, pose.view, pose.crop)], (512, 352))[0].densepose
    view = torch.from_numpy(large.labels.copy()), (torch.from_numpy(large.uv) * 255).round().to(torch.uint8)
    _, certain = carry_outline([photographed(view, width=2 * WIDTH)], *views[1])
    expected = beside(views[1][0], WIDTH)
    assert ((certain > 0) & expected).sum() > 0.85 * expected.sum()
    assert ((certain > 0) & ~beside(views[1][0], WIDTH + 2)).sum() < 0.15 * expected.sum()


def test_a_busy_backdrop_is_not_taken_for_clothes(views):
    noise = torch.randint(0, 256, (3, 256, 176), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels, uv = views[0]
    _, certain = carry_outline([Photograph(torch.where(labels > 0, 128, noise).to(torch.uint8), labels, uv)], *views[1])
    assert (certain > 0).sum() < 0.02 * beside(views[1][0], WIDTH).sum()


def test_shadows_at_feet_stay_where_they_are(views):
    labels = views[0][0]
    photograph = photographed(views[0], width=0)
    feet = torch.isin(labels, torch.tensor([5, 6], dtype=labels.dtype)).numpy()
    shadow = torch.from_numpy(binary_dilation(feet, iterations=3)) & (labels == 0)
    photograph.picture[:, shadow] = 20
    _, certain = carry_outline([photograph], *views[1])
    asked = torch.isin(views[1][0], torch.tensor([5, 6], dtype=labels.dtype)).numpy()
    assert not (certain > 0)[torch.from_numpy(binary_dilation(asked))].any()


@pytest.mark.parametrize("shoe", [(150, 20, 30), (10, 10, 10)], ids=["red", "black as a shadow"])
def test_shoes_go_with_feet(views, shoe):
    labels = views[0][0]
    photograph = photographed(views[0], width=0)
    feet = torch.isin(labels, torch.tensor([5, 6], dtype=labels.dtype))
    _, nearest = distance_transform_edt(labels == 0, return_indices=True)
    floor = (labels == 0) & feet[*nearest]  # shadows lie on it, and not beside shins
    shadow, sole = (torch.from_numpy(binary_dilation(feet, iterations=n)) & floor for n in (8, 2))
    photograph.picture[:, shadow] = torch.tensor([channel * 3 // 5 for channel in BACKDROP], dtype=torch.uint8)[:, None]
    photograph.picture[:, feet | sole] = torch.tensor(shoe, dtype=torch.uint8)[:, None]
    colours, certain = carry_outline([photograph], *views[1])
    asked = torch.isin(views[1][0], torch.tensor([5, 6], dtype=labels.dtype))
    expected = torch.from_numpy(binary_dilation(asked, iterations=2)) & (views[1][0] == 0)
    covered = (certain > 0) & torch.from_numpy(binary_dilation(asked, iterations=9))
    assert (covered & expected).sum() > 0.7 * expected.sum()
    assert (covered & ~torch.from_numpy(binary_dilation(asked, iterations=4))).sum() < 0.1 * expected.sum()
    assert (away_from(colours[:, covered], shoe) < 2).float().mean() > 0.9


def test_what_the_body_leans_on_is_left_behind(views):
    _, certain = carry_outline([photographed(views[0], width=12)], *views[1])  # beyond the reach, so no cloth
    assert (certain > 0).sum() < 0.15 * beside(views[1][0], WIDTH).sum()


def test_of_several_photographs_the_nearest_rim_counts(views):
    labels, uv = views[0]
    coat, plain = photographed(views[0]), photographed(views[0], width=0)
    hidden = Photograph(plain.picture, labels.masked_fill(labels > 0, HIDDEN), uv)
    _, certain = carry_outline([hidden, coat], *views[1])
    _, alone = carry_outline([coat], *views[1])
    assert torch.equal(certain, alone)


@pytest.mark.parametrize("what", ["nobody", "everywhere", "no backdrop"])
def test_maps_without_a_rim_carry_nothing(views, what):
    labels, uv = views[0]
    photograph = photographed(views[0])
    if what == "nobody":
        _, certain = carry_outline([photograph], torch.zeros_like(labels), uv)
    elif what == "everywhere":
        _, certain = carry_outline([photograph], torch.ones_like(labels), uv)
    else:
        whole = Photograph(photograph.picture, torch.ones_like(labels), uv)
        _, certain = carry_outline([whole], *views[1])
    assert certain.shape == labels.shape
    assert (certain > 0).sum() == 0


def test_completion_takes_it_along_and_blends_it(views):
    coat, plain = photographed(views[0]), photographed(views[0], width=0)
    picture, confidence = complete(Surface(((1.0, (coat,)),)), *views[1])
    _, certain = carry_outline([coat], *views[1])
    sure = (certain > 0.9) & beside(views[1][0], WIDTH - 1)
    assert (away_from(picture[:, sure], COAT) < 2).float().mean() > 0.9
    assert confidence[sure].min() > 0.4
    assert confidence[sure].max() <= 0.5
    half, _ = complete(Surface(((0.5, (coat,)), (0.5, (plain,)))), *views[1])
    between = [(a + b) / 2 for a, b in zip(COAT, BACKDROP, strict=True)]
    assert (away_from(half[:, sure], between) < 3).float().mean() > 0.85


def test_metres_of_a_pixel(views):
    whole, half = (chart.step_length(views[0][0][::n, ::n].numpy(), views[0][1][:, ::n, ::n].numpy()) for n in (1, 2))
    assert 0.007 < whole < 0.015  # a person of 1.7 m in about 175 rows, partly seen at an angle
    assert half == pytest.approx(2 * whole, rel=0.25)
    assert chart.step_length(torch.zeros(4, 4, dtype=torch.uint8).numpy(), views[0][1][:, :4, :4].numpy()) == 0.01
