"""What each protocol compares, and at which size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pocold.evaluation.evaluate import drawn_size
from pocold.evaluation.protocols import PROTOCOLS, find_protocol, fit
from pocold.imaging.images import to_tensor


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "sigma", "lpips", "resize"),
    [
        ("pocold", "ssim_gaussian_1.5", "lpips", "pillow-bicubic"),
        ("pidm", "ssim_gaussian_1.2", "lpips", "cv2-linear"),
        ("cfld", "ssim_gaussian_1.5", "lpips", "pillow-bicubic"),
        ("pcdms", "ssim_gaussian_1.2", "lpips_unit_range", "cv2-cubic"),
    ],
)
def test_the_published_protocols_are_as_tabled(name, sigma, lpips, resize):
    protocol = PROTOCOLS[name]
    assert protocol.metrics((256, 176)) == ["l1", "psnr", "ssim_51", sigma, lpips, "fid_torchvision"]
    assert f"mask_{lpips}" in protocol.metrics((128, 64))
    assert protocol.resize == resize
    assert protocol.frame == "stretch"
    assert protocol.pixels_as_drawn == (name == "pidm")
    assert any("partial batch" in note for note in protocol.notes) == (name != "cfld")


def test_ours_has_nothing_of_a_published_name():
    names = PROTOCOLS["ours"].metrics((256, 176))
    assert names[3:] == ["st_lpips", "fd_stlpips", "colour_top", "colour_trousers", "fid"]
    assert "lpips" not in names


def test_sizes():
    ours, pocold = find_protocol("ours"), find_protocol("pocold")
    assert drawn_size(ours, (64, 48), None) == (64, 48)
    assert drawn_size(ours, (64, 48), (32, 24)) == (32, 24)
    assert drawn_size(ours, None, None) is None
    assert ours.size((64, 48), None) == (64, 48)
    assert drawn_size(pocold, (512, 384), (256, 176)) == (512, 384)
    assert drawn_size(pocold, None, None) == (256, 176)
    assert pocold.size((512, 384), None) == (256, 176)
    assert pocold.size((512, 352), None) == (512, 352)
    assert pocold.size((512, 384), (512, 352)) == (512, 352)
    with pytest.raises(ValueError, match="pocold compares at 256x176, 512x352, 128x64, not at 100x80"):
        pocold.size((512, 384), (100, 80))
    with pytest.raises(ValueError, match="unknown protocol 'leffa': expected one of ours, pocold"):
        find_protocol("leffa")


@pytest.mark.parametrize("how", ["pad", "pillow-bicubic", "cv2-linear", "cv2-cubic"])
def test_pictures_of_the_right_size_stay_as_they_are(how, picture):
    assert torch.equal(fit(picture, (40, 30), how), to_tensor(picture))


@pytest.mark.parametrize("how", ["pillow-bicubic", "cv2-linear", "cv2-cubic"])
def test_stretching_has_the_size_and_the_steps_of_8_bits(how, picture):
    fitted = fit(picture, (20, 20), how)
    assert fitted.shape == (1, 3, 20, 20)
    levels = (fitted + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


def test_opencv_does_not_antialias_and_pillow_does():
    """Stripes of one pixel, halved: Pillow's wide filter makes them grey, OpenCV's kernels meet in the middle too."""
    stripes = Image.fromarray(np.tile(np.array([[0], [255]], np.uint8)[..., None], (40, 40, 3)))
    thirds = {how: fit(stripes, (20, 10), how) for how in ("pillow-bicubic", "cv2-linear", "cv2-cubic")}
    assert all(abs(float(values.mean())) < 0.02 for values in thirds.values())
    narrow = Image.fromarray(np.tile(np.array([[0], [0], [0], [255]], np.uint8)[..., None], (10, 40, 3)))
    quarter = {how: fit(narrow, (10, 10), how).mean() for how in ("pillow-bicubic", "cv2-linear")}
    assert float(quarter["pillow-bicubic"]) == pytest.approx(-0.5, abs=0.03)  # a quarter is white
    assert float(quarter["cv2-linear"]) == -1  # pixels 1 and 2 of each four are looked at, and both are black


def test_opencv_cubic_has_its_own_kernel():
    """One white column, doubled: OpenCV's kernel (a = -0.75) undershoots more than Pillow's (a = -0.5)."""
    values = np.full((8, 8, 3), 128, np.uint8)
    values[:, 4:] = 192
    picture = Image.fromarray(values)
    row = ((fit(picture, (8, 16), "cv2-cubic") + 1) * 127.5)[0, 0, 4]
    # weights of a = -0.75 at distances 1.25, 0.25, 0.75, 1.75
    near = [1.25 * d**3 - 2.25 * d**2 + 1 for d in (0.25, 0.75)]
    far = [-0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 for d in (1.25, 1.75)]
    assert float(row[7]) == round(128 + 64 * (near[1] + far[1]))
    assert float(row[6]) == round(128 + 64 * far[0]) < 128


def test_the_documented_table_is_that_of_the_code():
    lines = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| | `ours`"))
    header, _, *rows = (line.strip("| ").split(" | ") for line in lines[start : start + 12])
    table = {row[0].strip("` "): [cell.strip() for cell in row[1:]] for row in rows if len(row) == 6}
    spoken = {
        "pad": "padded (Lanczos)", "pillow-bicubic": "Pillow bicubic", "cv2-linear": "OpenCV linear",
        "cv2-cubic": "OpenCV cubic", None: "no LPIPS",
    }  # fmt: skip
    protocols = [PROTOCOLS[name.strip(" `")] for name in header if "`" in name]
    assert len(protocols) == len(PROTOCOLS)
    for i, protocol in enumerate(protocols):
        assert table["resizing"][i].startswith(spoken[protocol.resize])
        assert table["ssim_51"][i] == ("yes" if protocol.ssim_51 else "no")
        assert table["Gaussian SSIM, sigma"][i] == str(protocol.ssim_sigma)
        assert table["LPIPS (Alex) gets"][i].startswith(
            ("**" if protocol.lpips == "[0, 1]" else "") + spoken.get(protocol.lpips, str(protocol.lpips))
        )
        assert table["SSIM, PSNR, L1 at"][i].endswith("unresized") == (protocol.name == "pidm")
