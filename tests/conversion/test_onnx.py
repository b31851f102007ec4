"""ONNX: the same numbers without torch."""

import numpy as np
import pytest
import torch

from pocold.cli import main
from pocold.conversion import onnx as export
from pocold.models.densepose_estimator import DensePoseEstimator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(1)
    estimator = DensePoseEstimator(
        channels=(8, 16, 16), encoder_layers=(0, 1, 1), decoder_layers=(1, 1), sample_size=(64, 44)
    )
    folder = tmp_path_factory.mktemp("estimator") / "densepose_estimator"
    estimator.save_pretrained(folder)
    return folder


def test_onnxruntime_says_the_same_at_any_size(folder, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "estimator.onnx"
    main(["export-estimator", str(folder), "-o", str(path)])
    assert capsys.readouterr().out.strip().endswith(str(path))
    with pytest.raises(SystemExit):
        main(["export-estimator", str(folder), "-o", str(path)])
    assert "estimator.onnx exists and was not written by this command" in capsys.readouterr().err
    main(["export-estimator", str(folder), "-o", str(path), "--overwrite"])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    estimator = DensePoseEstimator.from_pretrained(folder).eval()
    for shape in ((1, 3, 64, 44), (2, 3, 128, 88), (1, 3, 61, 47)):
        photo = torch.rand(shape) * 2 - 1
        labels, uv = session.run(["labels", "uv"], {"photo": photo.numpy()})
        with torch.no_grad():
            expected = estimator(photo)
        assert labels.shape == (shape[0], 25, *shape[2:])
        np.testing.assert_allclose(labels, expected.labels.numpy(), atol=1e-3)
        np.testing.assert_allclose(uv, expected.uv.numpy(), atol=1e-3)


def test_what_cannot_be_exported_is_told(folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"file name ending in .onnx, got estimator.pt"):
        export.export_estimator(folder, tmp_path / "estimator.pt")
    with pytest.raises(ValueError, match=r"no such file: .*config.json"):
        export.export_estimator(tmp_path, tmp_path / "estimator.onnx")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx is not installed: pip install 'pocold\[onnx\]'"):
        export.export_estimator(folder, tmp_path / "estimator.onnx")
    assert list(tmp_path.iterdir()) == []
