"""ST-LPIPS: the structure with any weights, and the behaviour with the published ones."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pocold.imaging.images import to_tensor
from pocold.models.perceptual import INSTALL_WEIGHTS, STLPIPS, Blur, _directions, load_st_lpips

needs_weights = pytest.mark.skipif(
    find_spec("stlpips_pytorch") is None, reason=f"the weights of ST-LPIPS are not installed: {INSTALL_WEIGHTS}"
)


def randomised(variant, seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = STLPIPS(variant)
    for name, parameter in model.named_parameters():
        scale = 1.0 if name.startswith("lin") else (2 / parameter[0].numel()) ** 0.5
        parameter.copy_(torch.randn(parameter.shape, generator=generator).mul(scale))
        if name.startswith("lin"):
            parameter.abs_()
    return model


@pytest.fixture(scope="module")
def photos():
    """Two photographs, (2, 3, 256, 176)."""
    skimage_data = pytest.importorskip("skimage.data")
    pictures = []
    for values in (skimage_data.astronaut(), skimage_data.camera()):
        picture = Image.fromarray(values).convert("RGB")
        left = (picture.width - picture.height * 176 // 256) // 2
        picture = picture.crop((left, 0, picture.width - left, picture.height))
        pictures.append(to_tensor(picture.resize((176, 256), Image.Resampling.LANCZOS)))
    return torch.cat(pictures)


def blurred(images, sigma):
    reach = round(4 * sigma)
    row = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    kernel = (torch.outer(row, row) / row.sum() ** 2).repeat(3, 1, 1, 1)
    return F.conv2d(F.pad(images, (reach,) * 4, mode="reflect"), kernel, groups=3)


def test_blur_is_the_binomial_filter_at_every_second_pixel():
    picture = torch.randn(1, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    result = Blur(2)(picture)
    assert result.shape == (1, 2, 6, 7)
    row = torch.tensor([0.25, 0.5, 0.25])
    expected = torch.einsum("bcij,i,j->bc", picture[..., 2:5, 4:7], row, row)
    torch.testing.assert_close(result[..., 2, 3], expected)  # with two pixels of border, 2 is over 2..4 and 3 over 4..6


@pytest.mark.parametrize(
    ("variant", "sizes"),
    [
        ("alex", [(64, 30, 22), (192, 15, 11), (384, 8, 6), (256, 8, 6), (256, 8, 6)]),
        ("vgg", [(64, 64, 48), (128, 33, 25), (256, 17, 13), (512, 9, 7), (512, 5, 4)]),
    ],
)
def test_features_have_the_documented_shapes_and_are_not_negative(variant, sizes):
    maps = randomised(variant).features(torch.zeros(2, 3, 64, 48))
    assert [tuple(layer.shape[1:]) for layer in maps] == sizes
    assert all((layer >= 0).all() for layer in maps)


def test_the_distance_is_the_published_formula():
    model = randomised("alex").double()
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3, 40, 40, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(2))
    expected = torch.zeros(2, dtype=torch.float64)
    for i, (x, y) in enumerate(zip(model.features(a), model.features(b), strict=True)):
        channel_weights = dict(model.named_parameters())[f"lin{i}.model.1.weight"].flatten()
        for n in range(2):
            terms = []
            for u, v in zip(x[n].flatten(1).T, y[n].flatten(1).T, strict=True):
                difference = u / (u.norm() + 1e-10) - v / (v.norm() + 1e-10)
                terms.append((channel_weights * difference**2).sum())
            expected[n] += torch.stack(terms).mean()
    torch.testing.assert_close(model(a, b), expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(model(a, b), model(b, a))
    assert (model(a, a) == 0).all()


def test_gradients_reach_the_pictures_and_not_the_weights():
    model = randomised("alex").train()
    assert not model.training
    a = torch.zeros(1, 3, 32, 32, requires_grad=True)  # a flat picture: layers where nothing fires
    b = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model(a, b).sum().backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().max() > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_where_nothing_fires_the_gradient_is_finite():
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    _directions(features).sum().backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(2, 3, 64, 64), "need one shape"),
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), r"\(B, 3, H, W\) in \[-1, 1\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8),) * 2 + ("got torch.uint8",),
        (torch.zeros(1, 3, 31, 64), torch.zeros(1, 3, 31, 64), "at least 32 pixels"),
    ],
)
def test_wrong_pictures_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        STLPIPS("alex")(a, b)


def test_weights_are_loaded_strictly(tmp_path):
    model = randomised("alex")
    torch.save(model.state_dict(), tmp_path / "own.pth")
    loaded = load_st_lpips("alex", tmp_path / "own.pth")
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())
    with pytest.raises(ValueError, match=r"own.pth does not fit STLPIPS; missing: .*net.slice1.2.weight"):
        load_st_lpips("vgg", tmp_path / "own.pth")
    with pytest.raises(ValueError, match=r"no such weight file: .*absent\.pth"):
        load_st_lpips("alex", tmp_path / "absent.pth")
    (tmp_path / "broken.pth").write_bytes((tmp_path / "own.pth").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"broken.pth cannot be read"):
        load_st_lpips("alex", tmp_path / "broken.pth")
    with pytest.raises(ValueError, match="unknown variant of ST-LPIPS 'squeeze': expected one of alex, vgg"):
        load_st_lpips("squeeze")


def test_missing_weights_name_the_file_the_command_and_the_flag(monkeypatch):
    monkeypatch.setattr("pocold.models.perceptual.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"alex_shift_tolerant\.pth.*pip install --no-deps stlpips-pytorch==0\.0\.2"):
        load_st_lpips()
    with pytest.raises(ValueError, match="--st-lpips-weights"):
        load_st_lpips()


@pytest.mark.slow
@needs_weights
def test_the_package_with_the_weights_is_not_imported():
    code = "import sys; from pocold.models.perceptual import load_st_lpips; load_st_lpips(); "
    code += "print('stlpips_pytorch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


@needs_weights
@pytest.mark.parametrize(
    ("variant", "soft", "blurry", "moved", "other"),
    [("alex", (0.12, 0.25), (0.40, 0.60), (0.002, 0.012), (0.5, 0.9)),
     pytest.param("vgg", (0.15, 0.40), (0.42, 0.66), (0.005, 0.035), (0.5, 0.9), marks=pytest.mark.slow)],
)  # fmt: skip
def test_it_forgives_shifts_and_punishes_blur(variant, soft, blurry, moved, other, photos):
    model = load_st_lpips(variant)
    with torch.inference_mode():
        measured = {
            "same": model(photos, photos),
            "soft": model(photos, blurred(photos, 1)),
            "blurry": model(photos, blurred(photos, 2)),
            "moved": model(photos, photos.roll(1, -1)),
            "other": model(photos, photos.flip(0)),
        }
    assert (measured["same"] == 0).all()
    for name, (low, high) in {"soft": soft, "blurry": blurry, "moved": moved, "other": other}.items():
        assert (measured[name] > low).all(), (name, measured[name])
        assert (measured[name] < high).all(), (name, measured[name])
    assert (measured["soft"] > 5 * measured["moved"]).all()
