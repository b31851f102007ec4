"""Completing a photograph on the body: what is seen stays, what is hidden comes from the nearest place of its kind."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from pocold.densepose import chart
from pocold.densepose.completion import complete
from pocold.densepose.correspondence import HIDDEN, Photograph, Surface, uv_steps
from pocold.people.poses import parse_pose
from pocold.people.rendering.render import Shot, random_person

SKIN, HAIR, SHIRT, TROUSERS, BACKDROP = (200, 150, 120), (30, 25, 20), (20, 60, 200), (90, 90, 90), (0, 255, 0)
HANDS, FEET, HEAD, TORSO = (3, 4), (5, 6), (23, 24), (1, 2)


@pytest.fixture(scope="module")
def views():
    """Labels ``(H, W)`` and U, V ``(2, H, W)`` in 0..255 of one person from the front and from behind."""
    return [drawn("relaxed:front"), drawn("hips:back")]


def drawn(name):
    """Labels ``(H, W)`` and U, V ``(2, H, W)`` in 0..255 of one person."""
    pose = parse_pose(name)
    densepose = random_person(1, 0).draw([Shot(pose.pose, pose.view, pose.crop)], (256, 176))[0].densepose
    return torch.from_numpy(densepose.labels.copy()), (torch.from_numpy(densepose.uv) * 255).round().to(torch.uint8)


def places(labels, uv):
    """Metres ``(H, W, 3)`` on the resting body."""
    return torch.from_numpy(chart.places(labels.numpy(), uv.numpy()))


def among(labels, parts):
    return torch.isin(labels, torch.tensor(parts, dtype=labels.dtype))


def trunk(labels, uv):
    """The torso well above the legs."""
    return among(labels, TORSO) & (places(labels, uv)[..., 2] > 0.2)


def outermost(labels):
    """The body's pixels beside the backdrop."""
    return torch.from_numpy(binary_dilation(labels.numpy() == 0, np.ones((3, 3)))) & (labels > 0)


def painted(labels, uv, rim=None):
    """A photograph whose colours say what a point is; ``rim``: another colour for the outermost pixels."""
    hair = among(labels, HEAD) & (places(labels, uv)[..., 2] > 0.93)
    picture = torch.tensor(BACKDROP, dtype=torch.uint8)[:, None, None].expand(3, *labels.shape).clone()
    for where, colour in (
        (labels > 0, TROUSERS),
        (among(labels, (*TORSO, 15, 16, 17, 18, 19, 20, 21, 22)), SHIRT),
        (among(labels, (*HANDS, *HEAD, *FEET)), SKIN),
        (hair, HAIR),
    ):
        picture[:, where] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    if rim is not None:
        picture[:, outermost(labels)] = torch.tensor(rim, dtype=torch.uint8)[:, None]
    return Photograph(picture, labels.clone(), uv)


def completed(photograph, view):
    """Completed colours in 0..255 ``(3, H, W)``, confidence, and what the plain warp gives."""
    surface = Surface(((1.0, (photograph,)),))
    picture, confidence = complete(surface, *view)
    return (picture + 1) * 127.5, confidence, surface.warp(*view)


def away_from(colours, colour):
    """Largest difference of a channel, ``(N,)``."""
    return (colours - torch.tensor(colour)[:, None]).abs().amax(0)


def test_the_rim_of_a_photograph_makes_no_spots(views):
    """A rim holds some of the backdrop; in another pose it lies amid the body."""
    for view in (views[0], views[1]):
        picture, _, (warped, _) = completed(painted(*views[0], rim=(255, 0, 255)), view)
        body = view[0] > 0
        assert (away_from((warped[:, body] + 1) * 127.5, (255, 0, 255)) < 2).any()
        assert not (away_from(picture[:, body], (255, 0, 255)) < 60).any()


def test_what_is_seen_stays_to_the_bit(views):
    surface = Surface(((1.0, (painted(*views[0]),)),))
    picture, confidence = complete(surface, *views[1])
    labels, uv = views[0]
    inner = Photograph(painted(labels, uv).picture, torch.where(outermost(labels), HIDDEN, labels).to(torch.uint8), uv)
    warped, visible = Surface(((1.0, (inner,)),)).warp(*views[1], between=True)
    seen = (visible == 1) & ~among(views[1][0], FEET)  # of them the charts do not tell enough
    assert seen.any()
    assert torch.equal(picture[:, seen], warped[:, seen])
    assert torch.equal(confidence[seen], visible[seen])
    hidden = (views[1][0] > 0) & (visible < 1)
    assert ((confidence[hidden] > 0) & (confidence[hidden] < 1)).all()


def test_in_its_own_pose_a_photograph_is_itself():
    pose = parse_pose("relaxed:front")
    picture = random_person(1, 0).draw([Shot(pose.pose, pose.view, pose.crop)], (256, 176))[0]
    labels = torch.from_numpy(picture.densepose.labels.copy())
    uv = uv_steps(torch.from_numpy(picture.densepose.uv))
    photograph = Photograph(torch.from_numpy(picture.image.copy()).permute(2, 0, 1), labels, uv)
    colours, confidence, _ = completed(photograph, (labels, uv))
    sure = (confidence == 1) & (labels > 0)
    assert sure.sum() > 0.7 * (labels > 0).sum()
    difference = (colours - photograph.picture)[:, sure].abs().amax(0)
    assert (difference < 0.01).float().mean() > 0.9  # the rest has the U, V of another pixel, or is nearly at an edge


def test_shoes_go_around_heels(views):
    """U and V are the same at the top of a foot, which may be bare, and at its sole."""
    labels, uv = views[0]
    photograph, shoe = painted(labels, uv), (255, 0, 255)

    def parts_of_feet(labels):
        """Up to 7 pixels above the lowest, and from 12 on."""
        for foot in FEET:
            above = (labels == foot).nonzero()[:, 0].max() - torch.arange(256)[:, None]
            yield (labels == foot) & (above < 7), (labels == foot) & (above >= 12)

    for low, _ in parts_of_feet(labels):
        photograph.picture[:, low] = torch.tensor(shoe, dtype=torch.uint8)[:, None]
    colours, _, _ = completed(photograph, views[1])
    for low, high in parts_of_feet(views[1][0]):
        assert low.sum() > 20
        assert high.sum() > 2
        assert away_from(colours[:, low], shoe).median() < 20
        assert away_from(colours[:, high], SKIN).median() < 20


def test_a_back_has_the_colour_of_the_front(views):
    colours, _, (warped, visible) = completed(painted(*views[0]), views[1])
    back = trunk(*views[1]) & (visible < 1)
    assert back.sum() > 500
    assert away_from(colours[:, back], SHIRT).max() < 2
    assert away_from((warped[:, back] + 1) * 127.5, SHIRT).max() > 2  # the warp alone does not know it


def test_the_back_of_a_head_is_hair_and_its_neck_skin(views):
    colours, _, (_, visible) = completed(painted(*views[0]), views[1])
    place, head = places(*views[1]), among(views[1][0], HEAD) & (visible < 1)
    behind = head & (place[..., 1] > -0.03) & (place[..., 2] > 0.82)
    assert behind.sum() > 30
    assert away_from(colours[:, behind], HAIR).median() < 2
    assert away_from(colours[:, behind], SKIN).min() > 60


def test_no_cloth_is_drawn_onto_hands(views):
    labels, uv = views[0]
    both = painted(labels, uv)
    one_hand = Photograph(both.picture, labels.masked_fill(labels == 3, HIDDEN), uv)
    colours, _, _ = completed(one_hand, views[1])
    hand = views[1][0] == 3
    assert hand.sum() > 10
    assert away_from(colours[:, hand], SKIN).max() < 2


def test_the_backdrop_at_the_rim_is_not_taken_along(views):
    colours, _, (_, visible) = completed(painted(*views[0], rim=BACKDROP), views[1])
    hidden = trunk(*views[1]) & (visible < 1)
    assert away_from(colours[:, hidden], SHIRT).max() < 2


def test_a_limb_of_which_only_the_rim_is_seen_is_better_than_nothing(views):
    labels, uv = views[0]
    photograph = painted(labels, uv, rim=SHIRT)
    outermost = torch.from_numpy(binary_dilation(labels.numpy() == 0, np.ones((3, 3)))) & (labels > 0)
    only_rim = Photograph(photograph.picture, labels.masked_fill(~outermost, HIDDEN), uv)
    colours, confidence, (_, visible) = completed(only_rim, views[1])
    hidden = (views[1][0] > 0) & (visible < 1)
    assert away_from(colours[:, hidden], SHIRT).max() < 2
    assert (confidence[hidden] > 0).all()


def test_nearer_is_more_certain(views):
    _, confidence, (_, visible) = completed(painted(*views[0]), views[1])
    place, torso = places(*views[1]), among(views[1][0], TORSO) & (visible < 1)
    side = confidence[torso & (place[..., 0].abs() > 0.12)].mean()
    middle = confidence[torso & (place[..., 0].abs() < 0.05)].mean()
    assert side > middle


def test_blends_are_blended_and_layers_that_show_nothing_do_not_count(views):
    first = painted(*views[0])
    white = Photograph(torch.full_like(first.picture, 255), first.labels, first.uv)
    nobody = Photograph(first.picture, torch.zeros_like(first.labels), first.uv)
    back = trunk(*views[1])
    mixed, _ = complete(Surface(((0.25, (first,)), (0.75, (white,)))), *views[1])
    hidden = back & (Surface(((1.0, (first,)),)).warp(*views[1])[1] < 1)
    expected = [0.25 * channel + 0.75 * 255 for channel in SHIRT]
    assert away_from((mixed[:, hidden] + 1) * 127.5, expected).max() < 2
    alone, _ = complete(Surface(((0.25, (first,)), (0.75, (nobody,)))), *views[1])
    assert away_from((alone[:, hidden] + 1) * 127.5, SHIRT).max() < 2


def test_of_nobody_nothing_is_known(views):
    photograph = painted(*views[0])
    nobody = Photograph(photograph.picture, torch.zeros_like(photograph.labels), photograph.uv)
    _, confidence, _ = completed(nobody, views[1])
    assert (confidence[views[1][0] > 0] == 0).all()


def test_a_hidden_arm_is_taken_from_the_other_arm(views):
    labels, uv = views[0]
    photograph, left = painted(labels, uv), among(labels, (15, 17, 19, 21))
    photograph.picture[:, among(labels, range(15, 23))] = torch.tensor(HAIR, dtype=torch.uint8)[:, None]
    one_arm = Photograph(photograph.picture, labels.masked_fill(left, HIDDEN), uv)
    colours, _, _ = completed(one_arm, views[1])
    arm = among(views[1][0], (19, 21))
    assert arm.sum() > 100
    assert away_from(colours[:, arm], HAIR).median() < 2


def test_an_arm_over_the_body_leaves_nothing_of_its_edges(views):
    """Sleeves are wider than arms: beside an arm that lies over a shirt are pixels of the sleeve."""
    labels, uv = drawn("crossed:front")
    photograph, arms = painted(labels, uv), among(labels, (3, 4, *range(15, 23)))
    beside = torch.from_numpy(binary_dilation(arms.numpy(), iterations=2)) & among(labels, TORSO)
    far = (places(labels, uv)[..., 0].abs() < 0.1) & (places(labels, uv)[..., 2] < 0.5)  # not where arms begin
    photograph.picture[:, beside & far] = torch.tensor((255, 0, 255), dtype=torch.uint8)[:, None]
    assert (beside & far).sum() > 50
    colours, _, (warped, _) = completed(photograph, views[0])
    trunk_only = among(views[0][0], TORSO)
    assert (away_from((warped[:, trunk_only] + 1) * 127.5, (255, 0, 255)) < 2).sum() > 50
    assert not (away_from(colours[:, trunk_only], (255, 0, 255)) < 60).any()


def test_a_print_stays_on_the_chest(views):
    labels, uv = views[0]
    photograph, place = painted(labels, uv), places(labels, uv)
    # a square, its sides softened
    square = among(labels, (2,)) & ((place[..., 2] - 0.5).abs() < 0.05)
    star, edge = (square & (place[..., 0].abs() < half) for half in (0.05, 0.06))
    photograph.picture[:, edge] = torch.tensor([channel + 15 for channel in SHIRT], dtype=torch.uint8)[:, None]
    photograph.picture[:, star] = torch.tensor((255, 255, 255), dtype=torch.uint8)[:, None]
    assert star.sum() > 100
    behind, _, _ = completed(photograph, views[1])
    assert away_from(behind[:, trunk(*views[1])], SHIRT).max() < 2
    front, _, _ = completed(photograph, views[0])
    assert away_from(front[:, star], (255, 255, 255)).median() < 2


def test_stripes_go_around_at_one_height(views):
    """Seen from the side, the middle of a chest is taken from its flank: in the colour of a point lies its height."""
    labels, uv = drawn("relaxed:side")
    photograph, shirt = painted(labels, uv), among(labels, (*TORSO, *range(15, 23)))
    photograph.picture[:, shirt] = (places(labels, uv)[..., 2][shirt] * 255).clamp(0, 255).to(torch.uint8)
    colours, _, (_, visible) = completed(photograph, views[0])
    height = places(*views[0])[..., 2]
    hidden = trunk(*views[0]) & (visible < 1) & (height < 0.7)
    assert hidden.sum() > 1000
    assert ((colours[0, hidden] / 255 - height[hidden]).abs() > 0.02).float().mean() < 0.1
