"""Pictures in and out: conversions, value ranges, masks, frames, pasting back, and the mark of generated pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from pocold.imaging.images import (
    MAX_PIXELS,
    Frame,
    extended,
    load_image,
    load_mask,
    paste_back,
    to_numpy,
    to_pil,
    to_tensor,
    to_uint8,
)
from pocold.imaging.metadata import read_png_metadata, write_png

SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)
MODES = ["pad", "crop", "stretch"]


def noise(height=12, width=10, channels=3, seed=0):
    """A random uint8 picture, so that no two pixels can be exchanged unnoticed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width, height, colour_type):
    """A PNG whose header promises a size and whose data hold nothing: decoding it fails, reading its size does not."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    empty = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + empty


def pixels(image):
    assert image.mode == "RGB"
    return np.asarray(image)


# -- load_image: modes -------------------------------------------------------------------------------------------


def test_rgb_is_kept_to_the_bit():
    assert np.array_equal(pixels(load_image(Image.fromarray(noise()))), noise())


def test_the_callers_picture_is_left_alone():
    picture = Image.fromarray(noise(channels=4))
    load_image(picture)
    assert picture.mode == "RGBA"
    assert np.array_equal(np.asarray(picture), noise(channels=4))


def test_grey_gives_three_equal_channels():
    grey = noise()[..., 0]
    assert np.array_equal(pixels(load_image(Image.fromarray(grey))), np.stack([grey] * 3, axis=-1))


def test_one_bit_is_black_and_white():
    bits = noise()[..., 0] > 127
    expected = np.where(bits, 255, 0)[..., None].repeat(3, axis=-1)
    assert np.array_equal(pixels(load_image(Image.fromarray(bits))), expected)


@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 0), (128, 127)])
def test_transparency_is_laid_over_white(alpha, expected):
    image = load_image(Image.new("RGBA", (8, 8), (0, 0, 0, alpha)))
    assert image.getpixel((3, 3)) == (expected,) * 3


def test_grey_with_transparency_is_laid_over_white():
    assert load_image(Image.new("LA", (8, 8), (10, 0))).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_a_transparent_colour_is_laid_over_white(tmp_path):
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([200, 0, 0, 0, 0, 200])
    picture.putpixel((5, 5), 1)
    picture.save(tmp_path / "a.png", transparency=0)
    image = load_image(tmp_path / "a.png")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((5, 5)) == (0, 0, 200)


def test_palette_without_transparency_becomes_its_colours():
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([200, 0, 0, 10, 20, 30])
    assert load_image(picture).getpixel((0, 0)) == (10, 20, 30)


def test_grey_with_one_transparent_value_is_laid_over_white(tmp_path):
    picture = Image.new("L", (8, 8), 7)
    picture.putpixel((5, 5), 8)
    picture.save(tmp_path / "a.png", transparency=7)
    image = load_image(tmp_path / "a.png")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((5, 5)) == (8, 8, 8)


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = load_image(tmp_path / "a.jpg").getpixel((4, 4))
    assert red > 250
    assert max(green, blue) < 5


XYZ_OF_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
XYZ_OF_SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def display_p3() -> bytes:
    """The profile of Display P3, made of that of sRGB: other primaries, the same curve."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    content = content.replace("sRGB".encode("utf-16-be"), "a P3".encode("utf-16-be"))
    for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), XYZ_OF_P3.T, strict=True):
        offset = struct.unpack(">I", content[(place := content.find(tag, 128)) + 4 : place + 8])[0]
        content[offset + 8 : offset + 20] = struct.pack(">3i", *(round(value * 65536) for value in column))
    return bytes(content)


def srgb_of_p3(colour) -> np.ndarray:
    values = np.array(colour) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = (np.linalg.inv(XYZ_OF_SRGB) @ XYZ_OF_P3 @ linear).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_colours_of_a_profile_become_those_of_srgb(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    colour = (200, 90, 60)
    options = {"lossless": True} if ending == ".webp" else {"quality": 100, "subsampling": 0}
    Image.new("RGB", (16, 16), colour).save(path, icc_profile=display_p3(), **options)
    loaded = load_image(path)
    assert np.abs(srgb_of_p3(colour) - colour).max() > 10
    np.testing.assert_allclose(np.asarray(loaded)[8, 8], srgb_of_p3(colour), atol=2.5)
    assert "icc_profile" not in loaded.info  # what is saved of it is sRGB


def test_a_profile_and_transparency(tmp_path):
    picture = Image.new("RGBA", (16, 16), (200, 90, 60, 255))
    picture.putpixel((0, 0), (200, 90, 60, 0))
    picture.save(tmp_path / "a.png", icc_profile=display_p3())
    values = np.asarray(load_image(tmp_path / "a.png"))
    assert tuple(values[0, 0]) == (255, 255, 255)
    np.testing.assert_allclose(values[8, 8], srgb_of_p3((200, 90, 60)), atol=2)


def test_a_profile_of_srgb_changes_no_bit(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(values).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(load_image(tmp_path / "a.png")), values)


def test_a_broken_profile_is_told(tmp_path):
    Image.new("RGB", (16, 16), (200, 90, 60)).save(tmp_path / "a.png", icc_profile=b"no profile")
    with pytest.warns(UserWarning, match=r"colour profile cannot be used .*; its colours are taken as sRGB"):
        assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (200, 90, 60)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (65535, 255), (257 * 100 - 128, 100), (257 * 100 + 128, 100)])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, value, expected):
    Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (expected,) * 3


def test_big_endian_sixteen_bits_are_scaled_to_eight():
    picture = Image.frombytes("I;16B", (8, 8), b"\x80\x00" * 64)
    assert load_image(picture).getpixel((0, 0)) == (128, 128, 128)


def test_float_pictures_are_not_turned_black():
    # A float TIFF in [0, 1]: Pillow would cut every value to 0 without a word.
    with pytest.raises(ValueError, match=r"image: .*F"):
        load_image(Image.fromarray(np.full((8, 8), 0.5, np.float32)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_rotation_is_applied(tmp_path, orientation):
    array = noise(12, 10)
    # What each orientation tells a viewer to do, from the EXIF standard: flips, then a transposition for 5 to 8.
    shown = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, -1),
        7: array[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(array, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(load_image(tmp_path / "a.png")), shown)


# -- load_image: files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_path_is_read(tmp_path, kind):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    assert np.array_equal(pixels(load_image(kind(tmp_path / "a.png"))), noise())


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"source 2: no such file: .*a\.png"):
        load_image(tmp_path / "a.png", "source 2")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "signature"])
def test_file_that_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"image: .*a\.png cannot be read as a picture"):
        load_image(tmp_path / "a.png")


def test_folder_instead_of_a_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        load_image(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_file_is_refused(tmp_path, kind, share):
    content = encoded(Image.fromarray(noise(64, 48)), kind)
    (tmp_path / "a").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"image: .*(truncated|cannot be read)"):
        load_image(tmp_path / "a")


def test_truncated_picture_opened_by_the_caller_is_refused():
    content = encoded(Image.fromarray(noise(64, 48)), "PNG")
    picture = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(ValueError, match=r"image: the picture cannot be decoded .* it may be truncated"):
        load_image(picture)


def test_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "a.png").write_bytes(png_of_size(side, side, colour_type=2))
    # Decoding would fail with another message, for there are no pixels in the file.
    with pytest.raises(ValueError, match=f"image: {side}x{side} is more than 64 megapixels; scale it down"):
        load_image(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # for the first; the second raises
@pytest.mark.parametrize("side", [11_000, 60_000])
def test_picture_that_pillow_calls_a_bomb_is_refused(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_of_size(side, side, colour_type=2))
    with pytest.raises(ValueError, match=r"image: .*(more than 64 megapixels|exceeds limit)"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 100), (100, 7)])
def test_tiny_picture_is_refused(width, height):
    with pytest.raises(ValueError, match=f"image: expected at least 8 pixels a side, got {width}x{height}"):
        load_image(Image.new("RGB", (width, height)))


def test_smallest_picture_is_accepted():
    assert load_image(Image.new("RGB", (8, 8))).size == (8, 8)


# -- load_image: arrays and tensors ------------------------------------------------------------------------------


def test_uint8_array_is_taken_as_it_is():
    assert np.array_equal(pixels(load_image(noise())), noise())


def test_array_views_are_read_in_their_own_order():
    assert np.array_equal(pixels(load_image(noise()[::-1, ::-1])), noise()[::-1, ::-1])


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1)])
def test_grey_array_gives_three_equal_channels(shape):
    grey = noise(channels=1)
    assert np.array_equal(pixels(load_image(grey.reshape(shape))), grey.repeat(3, axis=-1))


def test_array_with_alpha_is_laid_over_white():
    assert load_image(np.zeros((8, 8, 4), np.uint8)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_array_round_trips_every_level(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=-1)
    assert np.array_equal(pixels(load_image((levels / 255).astype(dtype))), levels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [False, True])
def test_tensor_between_0_and_1_round_trips_every_level(dtype, batch):
    levels = torch.arange(256).reshape(1, 16, 16).expand(3, 16, 16)
    tensor = (levels / 255).to(dtype)
    image = load_image(tensor[None] if batch else tensor)
    assert np.array_equal(pixels(image), levels.permute(1, 2, 0))


def test_tensor_that_requires_gradients_is_accepted():
    assert load_image(torch.full((3, 8, 8), 1.0, requires_grad=True)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_array_with_nan_or_infinity_is_refused(value):
    array = np.zeros((8, 8, 3))
    array[2, 3, 1] = value
    with pytest.raises(ValueError, match="image: the array holds NaN or infinity"):
        load_image(array)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 255), (0, 1.001), (-0.001, 1)])
def test_float_array_outside_its_range_is_refused(low, high):
    array = np.linspace(low, high, 192).reshape(8, 8, 3)
    with pytest.raises(ValueError, match=rf"must lie in \[0, 1\], got values from {low:g} to {high:g}"):
        load_image(array)


def test_tensor_in_the_inner_range_is_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got values from -1 to 1"):
        load_image(torch.linspace(-1, 1, 192).view(3, 8, 8))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.bool_])
def test_array_of_another_dtype_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"expected an array of uint8 or of floats in \[0, 1\], got {dtype.__name__}"):
        load_image(np.zeros((8, 8, 3), dtype))


@pytest.mark.parametrize("shape", [(8,), (3, 8, 8), (8, 8, 2), (8, 8, 5), (1, 8, 8, 3), ()])
def test_array_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected an array of shape \(H, W\) or \(H, W, 1\|3\|4\), got"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(0, 8, 3), (8, 0, 3), (0, 0)])
def test_empty_array_is_refused(shape, dtype):
    with pytest.raises(ValueError, match="image: "):
        load_image(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(8, 8, 3), torch.zeros(2, 3, 8, 8), torch.zeros(1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)],
    ids=["HWC", "batch", "grey", "uint8"],
)
def test_tensor_of_another_shape_or_dtype_is_refused(tensor):
    with pytest.raises(ValueError, match=r"image: expected a float tensor of shape \(3, H, W\) in \[0, 1\], got"):
        load_image(tensor)


@pytest.mark.parametrize("value", [None, 3, [1, 2], b"bytes"])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match="source: expected a PIL image, path, numpy array or tensor, got"):
        load_image(value, "source")


# -- ranges ------------------------------------------------------------------------------------------------------


def all_levels():
    return np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=-1)


def test_tensor_has_batch_first_channels_second_and_lies_between_minus_1_and_1():
    tensor = to_tensor(Image.fromarray(all_levels()))
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (tensor[0, :, 0, 0].tolist(), tensor[0, :, -1, -1].tolist()) == ([-1] * 3, [1] * 3)
    torch.testing.assert_close(tensor[0, 1].flatten(), torch.linspace(-1, 1, 256))


def test_uint8_round_trip_is_exact():
    array = all_levels()
    array[..., 1] = array[::-1, :, 0]  # channels that differ, so that their order shows
    array[..., 2] = array[:, ::-1, 0]
    assert np.array_equal(to_uint8(to_tensor(Image.fromarray(array)))[0], array)


def test_uint8_is_rounded_to_nearest_and_clamped():
    values = torch.tensor([-3.0, -1, 0.2 / 127.5 - 1, 0.8 / 127.5 - 1, 254.6 / 127.5 - 1, 1, 3])
    pictures = to_uint8(values.view(1, 1, 1, 7).expand(1, 3, 1, 7))
    assert pictures[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


def test_uint8_of_half_precision_that_requires_gradients():
    assert to_uint8(torch.ones(1, 3, 2, 2, dtype=torch.bfloat16, requires_grad=True)).min() == 255


def test_numpy_output_lies_between_0_and_1():
    values = torch.tensor([-2.0, -1, 0, 1, 2]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    pictures = to_numpy(values)
    assert (pictures.shape, pictures.dtype) == ((1, 1, 5, 3), np.float32)
    assert pictures[0, 0, :, 2].tolist() == [0, 0, 0.5, 1, 1]


def test_pil_output_gives_one_picture_per_row():
    batch = torch.cat([to_tensor(Image.fromarray(noise(seed=seed))) for seed in (1, 2)])
    pictures = to_pil(batch)
    assert [np.array_equal(pixels(p), noise(seed=seed)) for p, seed in zip(pictures, (1, 2), strict=True)] == [True] * 2


# -- masks -------------------------------------------------------------------------------------------------------

BITS = np.random.default_rng(5).random((12, 10)) > 0.5


@pytest.mark.parametrize(
    "mask",
    [
        BITS,
        BITS.astype(np.uint8),
        BITS.astype(np.uint8) * 255,
        BITS.astype(np.float32),
        BITS.astype(np.int64)[None],
        BITS[..., None],
        torch.from_numpy(BITS),
        torch.from_numpy(BITS)[None].float(),
        torch.from_numpy(BITS).bfloat16(),
        torch.from_numpy(BITS.astype(np.uint8) * 255),
        Image.fromarray(BITS),
        Image.fromarray(BITS.astype(np.uint8)),
        Image.fromarray(BITS.astype(np.uint8) * 255),
        Image.fromarray(BITS.astype(np.uint8) * 255).convert("RGB"),
        Image.fromarray(BITS.astype(np.uint8) * 255).convert("RGBA"),
        Image.fromarray(BITS.astype(np.uint8) * 255).convert("P"),
        Image.fromarray(BITS.astype(np.uint16) * 65535),
    ],
    ids=[
        "bool",
        "0/1",
        "0/255",
        "float",
        "(1, H, W)",
        "(H, W, 1)",
        "tensor bool",
        "tensor (1, H, W)",
        "tensor bfloat16",
        "tensor 0/255",
        "PIL 1",
        "PIL L 0/1",
        "PIL L 0/255",
        "PIL RGB",
        "PIL RGBA",
        "PIL P",
        "PIL I;16",
    ],
)
def test_binary_mask_is_understood(mask):
    loaded = load_mask(mask)
    assert loaded.dtype == np.bool_
    assert np.array_equal(loaded, BITS)


def test_mask_is_read_from_a_file(tmp_path):
    Image.fromarray(BITS).save(tmp_path / "mask.png")
    assert np.array_equal(load_mask(str(tmp_path / "mask.png")), BITS)


@pytest.mark.parametrize("value", [False, True])
def test_mask_of_one_value_is_understood(value):
    assert np.array_equal(load_mask(np.full((4, 4), value)), np.full((4, 4), value))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0, 128, 255], "0, 128, 255;"),
        ([0, 1, 255], "0, 1, 255;"),
        ([0, 0.5], "0, 0.5;"),
        ([-1, 0], "-1, 0;"),
        ([0, 2], "0, 2;"),
        ([0, np.nan], "0, nan;"),
        (list(range(10)), r"0, 1, 2, 3, 4, 5, \.\.\.;"),
    ],
)
def test_mask_that_is_not_binary_is_refused_with_its_values(values, shown):
    with pytest.raises(ValueError, match=rf"mask: expected a binary mask .*, got the values {shown} threshold it"):
        load_mask(np.array([values]))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 3), (2, 4, 4), (1, 1, 4, 4)])
def test_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"mask: expected shape \(H, W\), got"):
        load_mask(np.zeros(shape))


@pytest.mark.parametrize("mask", [None, 1, [[0, 1]]])
def test_mask_of_another_type_is_refused(mask):
    with pytest.raises(ValueError, match="hole: expected a PIL image, path, numpy array or tensor, got"):
        load_mask(mask, "hole")


def test_colour_picture_is_no_mask():
    with pytest.raises(ValueError, match="expected a binary mask"):
        load_mask(Image.fromarray(noise()))


def test_brush_strokes_on_a_transparent_layer_do_not_select_everything():
    # What drawing tools give: white where the user painted, transparent elsewhere. Over white all of it is white.
    layer = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    layer.paste((255, 255, 255, 255), (4, 4, 8, 8))
    expected = np.zeros((16, 16), bool)
    expected[4:8, 4:8] = True
    try:
        mask = load_mask(layer)
    except ValueError:
        return  # to refuse it is as good
    assert np.array_equal(mask, expected)


def test_missing_mask_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="mask: no such file"):
        load_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_truncated_mask_file_is_refused(tmp_path, mode):
    content = encoded(Image.fromarray(noise(64, 64)).convert(mode), "PNG")
    (tmp_path / "mask.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"mask: .* it may be truncated"):
        load_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("colour_type", [0, 2], ids=["grey", "rgb"])
def test_huge_mask_is_refused_before_it_is_decoded(tmp_path, colour_type):
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "mask.png").write_bytes(png_of_size(side, side, colour_type))
    with pytest.raises(ValueError, match=f"mask: {side}x{side} is more than 64 megapixels"):
        load_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_mask_is_turned_like_the_photograph_beside_it(tmp_path, mode):
    # The same orientation tag must turn both or neither, or the mask covers another place than was painted.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(BITS).convert(mode)
    picture.save(tmp_path / "mask.png", exif=exif)
    assert load_mask(tmp_path / "mask.png").shape == load_image(tmp_path / "mask.png").size[::-1]


# -- frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(source=SIZES, target=SIZES)
def test_frame_gives_the_target_size(mode, source, target):
    frame = Frame(source, target, mode)
    assert frame.image(Image.new("RGB", source[::-1])).size == target[::-1]
    assert frame.labels(np.zeros(source, np.uint8)).shape == target


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(source=SIZES, target=SIZES)
def test_scaled_picture_fits_or_covers(mode, source, target):
    scaled = Frame(source, target, mode).scaled
    sides = list(zip(scaled, target, strict=True))
    assert any(side == wanted for side, wanted in sides)
    if mode == "pad":
        assert all(side <= wanted for side, wanted in sides)
    else:
        assert all(side >= wanted for side, wanted in sides)


@pytest.mark.parametrize(("mode", "scaled"), [("pad", (75, 50)), ("crop", (120, 80)), ("stretch", (75, 80))], ids=MODES)
def test_scaled_size(mode, scaled):
    assert Frame((150, 100), (75, 80), mode).scaled == scaled


@pytest.mark.parametrize("mode", MODES)
def test_same_size_changes_nothing(mode):
    frame = Frame((12, 10), (12, 10), mode)
    assert np.array_equal(np.asarray(frame.image(Image.fromarray(noise()))), noise())
    assert np.array_equal(frame.labels(noise()[..., 0]), noise()[..., 0])


def shifts(photo, labels):
    """How far the bounding box of a white square differs between a framed photo and its framed labels, in pixels."""
    found = []
    for shown in (np.asarray(photo)[..., 0] > 127, labels > 0):
        rows, columns = np.nonzero(shown.any(1))[0], np.nonzero(shown.any(0))[0]
        found.append(np.array([rows[0], rows[-1], columns[0], columns[-1]]))
    return np.abs(found[0] - found[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("source", "target"),
    [((64, 48), (96, 96)), ((65, 47), (33, 51)), ((200, 150), (64, 64)), ((31, 63), (64, 32)), ((97, 61), (256, 176))],
)
def test_photo_and_labels_stay_aligned(mode, source, target):
    height, width = source
    square = np.zeros(source, np.uint8)
    square[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5] = 255
    frame = Frame(source, target, mode)
    photo = frame.image(Image.fromarray(square).convert("RGB"))
    assert shifts(photo, frame.labels(square)).max() <= 1


@pytest.mark.parametrize("mode", MODES)
def test_labels_lean_to_neither_side_when_reduced(mode):
    # Taking the first of three pixels, not the middle one, would shift the map against the photo.
    labels = np.zeros((39, 39), np.uint8)
    labels[13:26, 13:26] = 1
    framed = Frame((39, 39), (13, 13), mode).labels(labels)
    assert np.array_equal(framed, framed[::-1, ::-1])


@settings(max_examples=60, deadline=None)
@given(source=SIZES, target=SIZES)
def test_labels_are_never_mixed(source, target):
    labels = np.where(np.random.default_rng(0).random(source) > 0.5, 7, 24).astype(np.uint8)
    framed = Frame(source, target, "crop").labels(labels)
    assert framed.dtype == np.uint8
    assert set(np.unique(framed)) <= {7, 24}


def test_bool_masks_stay_bool():
    framed = Frame((12, 10), (24, 24)).labels(BITS)
    assert framed.dtype == np.bool_
    assert np.array_equal(framed[:, 2:22], BITS.repeat(2, axis=0).repeat(2, axis=1))


def test_padding_keeps_the_photo_and_continues_a_plain_border():
    array = noise(8, 8)
    array[:, 0], array[:, -1] = (10, 20, 30), (200, 100, 0)
    framed = np.asarray(Frame((8, 8), (8, 13), "pad").image(Image.fromarray(array)))
    assert np.array_equal(framed[:, 2:10], array)
    assert (framed[:, :2] == (10, 20, 30)).all()
    assert (framed[:, 10:] == (200, 100, 0)).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_padding_draws_no_stripes(axis):
    array = np.zeros((64, 64, 3), np.uint8)
    array[::8, ::8] = array[1::8, 1::8] = array[:, -1] = array[-1] = 255
    array[::4, -1] = array[-1, ::4] = 0  # stripes, if the last line were repeated
    framed = extended(array, axis, 0, 64).swapaxes(0, axis)
    assert np.array_equal(framed[:64].swapaxes(0, axis), array)
    contrast = np.ptp(framed[64:, 8:-8].astype(int), axis=1).max(-1)
    assert contrast[0] > 100  # right at the border it still goes on
    assert (np.diff(contrast) <= 1).all()
    assert contrast[16:].max() < 20


def test_padding_by_one_line_or_none():
    array = noise(8, 8)
    assert np.array_equal(extended(array, 0, 0, 0), array)
    assert extended(array, 0, 1, 0).shape == (9, 8, 3)


def test_padding_of_labels_is_background():
    framed = Frame((8, 8), (13, 8), "pad").labels(np.full((8, 8), 5, np.uint8))
    assert framed[:, 0].tolist() == [0] * 2 + [5] * 8 + [0] * 3


def test_cropping_keeps_the_centre():
    array = noise(8, 13)
    frame = Frame((8, 13), (8, 8), "crop")
    assert np.array_equal(np.asarray(frame.image(Image.fromarray(array))), array[:, 2:10])
    assert np.array_equal(frame.labels(array[..., 0]), array[:, 2:10, 0])


def test_stretching_keeps_every_corner():
    corners = np.array([[1, 2], [3, 4]], np.uint8)
    framed = Frame((2, 2), (5, 3), "stretch").labels(corners)
    assert framed[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [1, 2, 3, 4]


def test_reduction_of_a_photo_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    framed = np.asarray(Frame((64, 64), (8, 8)).image(Image.fromarray(stripes)))
    assert np.abs(framed[:, 1:-1].astype(int) - 127).max() < 12


def test_unknown_frame_mode_lists_the_modes():
    with pytest.raises(ValueError, match="unknown frame mode 'fit': expected one of pad, crop, stretch"):
        Frame((8, 8), (8, 8), "fit")


@pytest.mark.parametrize(("source", "target"), [((0, 8), (8, 8)), ((8, 8), (8, -1))])
def test_impossible_sizes_are_refused(source, target):
    with pytest.raises(ValueError, match="sizes must be positive, got"):
        Frame(source, target)


def test_photo_of_another_size_than_the_frame_is_refused():
    with pytest.raises(ValueError, match=r"for a picture of size \(8, 9\) \(height, width\), got \(9, 8\)"):
        Frame((8, 9), (8, 8)).image(Image.new("RGB", (8, 9)))


def test_labels_of_another_size_than_the_frame_are_refused():
    with pytest.raises(ValueError, match=r"for a map of size \(8, 9\) \(height, width\), got \(9, 8\)"):
        Frame((8, 9), (8, 8)).labels(np.zeros((9, 8)))


# -- paste_back --------------------------------------------------------------------------------------------------


def painted(height=40, width=32, batch=1, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def box(rows, columns, height=40, width=32):
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[:, :, rows, columns] = True
    return mask


def shares(mask, feather):
    """The share of the generated picture in each pixel, read off two constant pictures."""
    original = torch.zeros(1, 3, *mask.shape[-2:])
    return paste_back(original + 1, original, mask, feather)[0, 0]


@pytest.mark.parametrize("feather", [0, 1, 4, 8, 50])
def test_outside_the_mask_the_original_is_kept_to_the_bit(feather):
    mask = box(slice(8, 30), slice(5, 32))
    generated, original = painted(seed=1, batch=2), painted(seed=2)
    result = paste_back(generated, original, mask, feather)
    kept = ~mask.expand_as(result)
    assert torch.equal(result[kept], original.expand_as(result)[kept])


def test_broken_pixels_outside_the_mask_do_not_leak_in():
    mask = box(slice(8, 30), slice(5, 20))
    generated, original = torch.where(mask, painted(seed=1), torch.nan), painted(seed=2)
    result = paste_back(generated, original, mask, 4)
    assert torch.isfinite(result).all()


def test_no_feather_is_a_hard_edge():
    mask = box(slice(8, 30), slice(5, 20))
    generated, original = painted(seed=1), painted(seed=2)
    torch.testing.assert_close(
        paste_back(generated, original, mask, 0), torch.where(mask, generated, original), atol=2e-7, rtol=0
    )


@pytest.mark.parametrize("feather", [1, 2, 5, 8])
def test_ramp_rises_inside_the_mask_to_the_generated_picture(feather):
    row = shares(box(slice(None), slice(4, 32), width=60), feather)[20]
    assert (row[:4] == 0).all()
    ramp = row[4 : 4 + feather + 3]
    assert (ramp.diff() >= 0).all()
    assert 0 < ramp[0] < 1
    assert ramp[-1] == 1  # "at about feather pixels"
    assert row[17] == 1


@pytest.mark.parametrize("feather", [4, 8])
def test_ramp_is_linear(feather):
    row = shares(box(slice(None), slice(4, 32), width=60), feather)[20]
    rising = row[3:18][row[3:18] < 1]
    torch.testing.assert_close(rising.diff(), rising.diff()[:1].expand(len(rising) - 1))
    assert abs(len(rising) - 1 - feather) <= 1


def test_no_ramp_at_the_edge_of_the_picture():
    # Nothing is kept beyond it that the generated picture would have to meet.
    share = shares(box(slice(None), slice(16, 32)), 6)
    assert (share[:, -1] == 1).all()
    assert torch.equal(share[0], share[20])


def test_mask_of_the_whole_picture_gives_the_generated_one():
    generated, original = painted(seed=1), painted(seed=2)
    result = paste_back(generated, original, box(slice(None), slice(None)), 8)
    torch.testing.assert_close(result, generated, atol=2e-7, rtol=0)


@pytest.mark.parametrize("width", [1, 4, 8])
def test_narrow_mask_still_shows_the_generated_picture(width):
    # Asked to redraw a strap, the pipeline must not return the picture it was given.
    share = shares(box(slice(5, 35), slice(10, 10 + width)), 8)
    assert share[20, 10 : 10 + width].min() > 0


@pytest.mark.parametrize("feather", [3, 8])
def test_ramp_falls_along_with_the_distance_to_a_corner(feather):
    share = shares(box(slice(0, 25), slice(0, 25)), feather)
    diagonal = share.diagonal()[: 25 + 2]
    assert (diagonal.diff() <= 0).all()
    assert diagonal[0] == 1
    assert diagonal[24] > 0


def test_each_row_of_a_batch_has_its_own_mask():
    mask = torch.cat([box(slice(0, 20), slice(None)), box(slice(20, 40), slice(None))])
    generated, original = painted(seed=1, batch=2), painted(seed=2, batch=2)
    together = paste_back(generated, original, mask, 4)
    for row in (0, 1):
        one = slice(row, row + 1)
        assert torch.equal(together[one], paste_back(generated[one], original[one], mask[one], 4))


# -- png ---------------------------------------------------------------------------------------------------------


def test_written_png_is_lossless_and_marked_as_synthetic(tmp_path):
    write_png(Image.fromarray(noise()), tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), noise())
    assert read_png_metadata(tmp_path / "a.png") == {"synthetic": True}


def test_settings_are_kept_with_the_picture(tmp_path):
    settings = {"seed": 7, "guidance": "pose_first", "größe": [64, 48], "floor": None}
    write_png(Image.fromarray(noise()), str(tmp_path / "a.PNG"), settings)
    assert read_png_metadata(str(tmp_path / "a.PNG")) == {"synthetic": True, **settings}


def test_the_mark_cannot_be_overridden(tmp_path):
    write_png(Image.fromarray(noise()), tmp_path / "a.png", {"synthetic": False})
    assert read_png_metadata(tmp_path / "a.png")["synthetic"] is True


@pytest.mark.parametrize("name", ["a.jpg", "a", "png"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"generated pictures are written as \.png .*, got {name}"):
        write_png(Image.fromarray(noise()), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        write_png(Image.fromarray(noise()), tmp_path / "missing" / "a.png")


def test_failed_write_leaves_the_old_picture(tmp_path):
    write_png(Image.fromarray(noise()), tmp_path / "a.png", {"seed": 1})
    with pytest.raises(TypeError):
        write_png(Image.fromarray(noise(seed=1)), tmp_path / "a.png", {"seed": object()})
    assert read_png_metadata(tmp_path / "a.png")["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_foreign_picture_carries_no_metadata(tmp_path, kind):
    (tmp_path / "a").write_bytes(encoded(Image.fromarray(noise()), kind))
    with pytest.raises(ValueError, match="a carries no pocold metadata"):
        read_png_metadata(tmp_path / "a")


@pytest.mark.parametrize("text", ["hello", "[1, 2]"])
def test_metadata_of_another_form_are_refused_with_the_path(tmp_path, text):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("pocold", text)
    Image.fromarray(noise()).save(tmp_path / "a.png", pnginfo=notes)
    with pytest.raises(ValueError, match=r"a\.png"):
        read_png_metadata(tmp_path / "a.png")


def test_metadata_of_a_truncated_picture_are_refused(tmp_path):
    write_png(Image.fromarray(noise(64, 64)), tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.png"):
        read_png_metadata(tmp_path / "a.png")


def test_metadata_of_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_png_metadata(tmp_path / "a.png")
