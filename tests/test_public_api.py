"""What a newcomer meets first: the public names, and an import that costs nothing."""

import subprocess
import sys

import pytest

import pocold


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_neither_torch_nor_diffusers():
    loaded = run_python(
        "import sys, pocold; print([m for m in ('torch', 'diffusers', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_public_names():
    assert pocold.__all__ == ["AppearanceCode", "DensePose", "PoseTransferPipeline"]
    for name in pocold.__all__:
        assert getattr(pocold, name).__name__ == name
    assert set(pocold.__all__) <= set(dir(pocold))
    assert pocold.__version__ == "0.1.0"


def test_unknown_name_lists_the_public_ones():
    with pytest.raises(
        AttributeError, match=r"no attribute 'Pipeline'; public names are AppearanceCode, DensePose, Pose"
    ):
        _ = pocold.Pipeline
