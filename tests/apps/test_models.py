"""What decides how a picture looks is part of the model's hash, and has the precision that was asked for."""

import torch

from pocold import PoseTransferPipeline
from pocold.apps.drawing.models import open_model
from pocold.models.refiner import Refiner


def test_the_refiner_belongs_to_the_model(tmp_path):
    pipeline = PoseTransferPipeline.from_preset("toy", surface_hint=True)
    pipeline.save_pretrained(tmp_path / "plain")
    hashes = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        pipeline.register_modules(refiner=Refiner(channels=(8, 8), layers=(1, 1)))
        pipeline.save_pretrained(tmp_path / f"refined-{seed}")
        hashes.add(open_model(tmp_path / f"refined-{seed}").sha256)
    assert len(hashes | {open_model(tmp_path / "plain").sha256}) == 3
    half = open_model(tmp_path / "refined-0", "bf16")
    assert half.pipeline.refiner.dtype == half.pipeline.unet.dtype == torch.bfloat16
    assert half.sha256 in hashes
