"""U, V of networks lie a little outside [0, 1]: clipped in arrays as in dumps, refused where it is more than that."""

import numpy as np
import pytest
import torch

from pocold.densepose.formats.dumps import _numbers
from pocold.densepose.formats.reading import read_pose


def arrays(high):
    labels = np.full((4, 3), 2, dtype=np.float32)
    return labels, np.stack([np.full((4, 3), high), np.full((4, 3), -0.01)]).astype(np.float32)


def test_a_little_is_clipped(tmp_path):
    labels, uv = arrays(1.01)
    np.save(tmp_path / "over.npy", np.concatenate([labels[None], uv]))
    np.savez(tmp_path / "over.npz", labels=labels, uv=uv)
    for name in ("over.npy", "over.npz"):
        pose = read_pose(tmp_path / name)
        assert (pose.uv[0] == 1).all()
        assert (pose.uv[1] == 0).all()


def test_more_is_refused(tmp_path):
    labels, uv = arrays(1.2)
    np.savez(tmp_path / "far.npz", labels=labels, uv=uv)
    with pytest.raises(ValueError, match=r"uv must be finite and lie in \[0, 1\]"):
        read_pose(tmp_path / "far.npz")


def test_a_tensor_that_wants_gradients_is_read():
    value = torch.ones(2, 3, requires_grad=True)
    assert _numbers(value, "uv").tolist() == [[1, 1, 1], [1, 1, 1]]
