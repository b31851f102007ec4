import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D

from pocold.models.blocks import ResidualBlock


@pytest.mark.parametrize("time_channels", [None, 12])
@pytest.mark.parametrize(("channels", "out_channels"), [(8, 8), (8, 16)])
@pytest.mark.parametrize("gradients", [True, False])
def test_computes_what_diffusers_block_computes(channels, out_channels, time_channels, gradients):
    torch.manual_seed(0)
    ours = ResidualBlock(channels, out_channels, time_channels, groups=4, eps=1e-5)
    theirs = ResnetBlock2D(
        in_channels=channels, out_channels=out_channels, temb_channels=time_channels, groups=4, eps=1e-5
    )
    theirs.load_state_dict(ours.state_dict())  # strict: the names are the same
    hidden = torch.randn(2, channels, 6, 5, requires_grad=gradients)
    time = None if time_channels is None else torch.randn(2, time_channels)
    untouched = hidden.detach().clone()
    with torch.set_grad_enabled(gradients):
        actual, expected = ours(hidden, time), theirs(hidden, time)
    torch.testing.assert_close(actual, expected)
    assert torch.equal(hidden, untouched)
    if gradients:
        ours_gradient, their_gradient = (
            torch.autograd.grad(result.square().sum(), hidden) for result in (actual, expected)
        )
        torch.testing.assert_close(ours_gradient, their_gradient)
