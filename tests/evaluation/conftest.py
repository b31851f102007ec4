import pytest
import torch
from published_weights import alexnet_state, heads_state, random_state

from pocold.data.synthetic import SyntheticConfig
from pocold.data.writing import write_people
from pocold.evaluation.features import FIDInceptionV3
from pocold.models.perceptual import STLPIPS
from pocold.pipeline import PoseTransferPipeline


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Synthetic people at 64x48: 12 identities, 3 pictures each; 2 of them, 12 pairs, in the test split."""
    folder = tmp_path_factory.mktemp("people") / "data"
    write_people(SyntheticConfig(seed=0, identities=12, per_identity=3, size=(64, 48)), folder)
    return folder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "toy"
    PoseTransferPipeline.from_preset("toy", seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def weight_files(tmp_path_factory):
    """Random weights in the formats of the published files."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(alexnet_state(), folder / "alexnet.pth")
    torch.save(heads_state(), folder / "alex.pth")
    for convention in ("torchvision", "pytorch-fid"):
        shapes = {name: tuple(value.shape) for name, value in FIDInceptionV3(convention).state_dict().items()}
        torch.save(random_state(shapes), folder / f"{convention}.pth")
    state = STLPIPS("alex").state_dict()
    st_lpips = random_state({name: tuple(value.shape) for name, value in state.items()})
    st_lpips |= {name: values.abs() for name, values in st_lpips.items() if name.startswith("lin")}
    st_lpips |= {name: values for name, values in state.items() if name.startswith("scaling") or "filt" in name}
    torch.save(st_lpips, folder / "st_lpips.pth")
    return folder
