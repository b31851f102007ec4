import pytest
import torch

from pocold.models.discriminator import PatchDiscriminator


@pytest.mark.parametrize(("channels", "size"), [((8, 8), (8, 6)), ((8, 8, 16), (4, 3))])
def test_one_score_per_patch(channels, size):
    assert PatchDiscriminator(channels, groups=4)(torch.rand(2, 3, 32, 24)).shape == (2, 1, *size)


def test_a_score_sees_38_pixels_a_side():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((8, 16, 16), groups=4)
    # GroupNorm sees the whole picture, so the convolutions alone are asked
    for i, layer in enumerate(discriminator.levels):
        if isinstance(layer, torch.nn.GroupNorm):
            discriminator.levels[i] = torch.nn.Identity()
    images = torch.rand(1, 3, 96, 96, requires_grad=True)
    discriminator(images)[0, 0, 6, 6].backward()
    seen = images.grad.abs().sum((0, 1))
    assert [(seen.sum(dim) > 0).sum().item() for dim in (0, 1)] == [38, 38]


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    discriminator = PatchDiscriminator((8, 16), groups=4)
    discriminator(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in discriminator.parameters())


@pytest.mark.parametrize(("channels", "groups"), [((), 4), ((8, 10), 4), ((8, 0), 4), ((8, 8), 0)])
def test_impossible_widths_are_refused(channels, groups):
    with pytest.raises(ValueError, match=r"one width or more, those after the first multiples of groups="):
        PatchDiscriminator(channels, groups)


@pytest.mark.parametrize("shape", [(1, 3, 7, 24), (1, 4, 24, 24), (3, 24, 24)])
def test_pictures_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected pictures \(B, 3, H, W\) of at least 8x8, got "):
        PatchDiscriminator()(torch.zeros(shape))
