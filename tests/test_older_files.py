"""Files that were written when every module still lay at the top of the package are read, and drawn from, as before."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pocold import AppearanceCode, DensePose, PoseTransferPipeline
from pocold.imaging.metadata import read_png_metadata

OLDER = Path(__file__).parent / "golden" / "before-the-rooms"


def test_a_pipeline_folder_draws_the_picture_it_drew_then():
    pipeline = PoseTransferPipeline.from_pretrained(OLDER / "pipeline", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    code = AppearanceCode.load(OLDER / "code.safetensors")
    drawn = pipeline(
        code, OLDER / "target.iuv.png", height=64, width=48, generator=torch.Generator().manual_seed(5)
    ).images[0]
    then = np.asarray(Image.open(OLDER / "drawn.png"), dtype=int)
    assert then.std() > 5  # else any flat picture would pass
    assert np.abs(np.asarray(drawn, dtype=int) - then).max() <= 1  # kernels may round a value the other way


def test_a_code_is_what_the_pipeline_makes_of_the_photograph():
    pipeline = PoseTransferPipeline.from_pretrained(OLDER / "pipeline", dtype=torch.float32)
    older = AppearanceCode.load(OLDER / "code.safetensors")
    newer = pipeline.encode_appearance(OLDER / "source.png", source_pose=OLDER / "source.iuv.png", height=64, width=48)
    older.check_model(pipeline.fingerprint(), pipeline.unet.code_shapes())
    for old, new in zip(older.values, newer.values, strict=True):
        torch.testing.assert_close(old, new, rtol=1e-4, atol=1e-5)


def test_maps_and_metadata_are_read():
    pose = DensePose.read(OLDER / "source.iuv.png")
    assert pose.uv is not None
    assert pose.size == (64, 48)
    assert pose.visible_parts >= {2, 23, 24}
    assert read_png_metadata(OLDER / "drawn.png") == {"seed": 5, "synthetic": True}
