"""Inception and LPIPS with random weights of the published names, against numbers of the published packages.

The golden numbers were computed once with the same weights by torchvision 0.28.0 (``inception_v3``, transform_input),
pytorch-fid 0.3.0 and lpips 0.1.4.
"""

import hashlib

import numpy as np
import pytest
import torch
from published_weights import alexnet_state, heads_state, random_state, wave_pictures

from pocold.evaluation.features import FIDInceptionV3, load_inception, load_lpips, st_lpips_features
from pocold.models.perceptual import STLPIPS

GOLDEN = {
    "torchvision": ([7.9014091, 0.1850215, 0.0, 0.7843111, 1.0671355], 0.9013, 1.2789),
    "pytorch-fid": ([23.1256981, 0.5001990, 0.0, 1.6782459, 5.3163338], 2.7723, 4.0104),
}


@pytest.fixture(scope="module")
def inception_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    paths = {}
    for convention in ("torchvision", "pytorch-fid"):
        model = FIDInceptionV3(convention)
        state = random_state({name: tuple(value.shape) for name, value in model.state_dict().items()})
        if convention == "torchvision":  # as torchvision's file: with the auxiliary head, without counters
            state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
            state["AuxLogits.fc.weight"] = torch.zeros(1000, 768)
        paths[convention] = folder / f"{convention}.pth"
        torch.save(state, paths[convention])
    return paths


@pytest.mark.parametrize("convention", ["torchvision", "pytorch-fid"])
def test_inception_gives_the_numbers_of_the_published_packages(convention, inception_files):
    model, path = load_inception(convention, inception_files[convention])
    assert path == inception_files[convention]
    with torch.inference_mode():
        features = model(wave_pictures())
    some, mean, deviation = GOLDEN[convention]
    assert features.shape == (2, 2048)
    np.testing.assert_allclose(features[0, ::500].numpy(), some, rtol=1e-4, atol=1e-5)
    assert float(features.mean()) == pytest.approx(mean, rel=1e-3)
    assert float(features.std()) == pytest.approx(deviation, rel=1e-3)


def test_weights_of_the_other_convention_are_refused_by_name(inception_files, monkeypatch):
    with pytest.raises(ValueError, match=r"torchvision\.pth has 1000 classes, so it is of torchvision; expected"):
        load_inception("pytorch-fid", inception_files["torchvision"])
    monkeypatch.setenv("POCOLD_FID_WEIGHTS", str(inception_files["pytorch-fid"]))
    with pytest.raises(ValueError, match=r"has 1008 classes.*such as inception_v3_google-0cc3c7bd\.pth"):
        load_inception("torchvision")
    assert load_inception("pytorch-fid")[1] == inception_files["pytorch-fid"]
    with pytest.raises(ValueError, match="unknown convention of FID 'clean'"):
        FIDInceptionV3("clean")


def test_missing_files_are_named_with_their_flag(tmp_path, monkeypatch):
    monkeypatch.delenv("POCOLD_FID_WEIGHTS", raising=False)
    with pytest.raises(ValueError, match=r"inception_v3_google-0cc3c7bd\.pth.*--inception-weights or POCOLD_FID"):
        load_inception("torchvision")
    with pytest.raises(ValueError, match=r"--inception-weights: there is no file .*absent\.pth"):
        load_inception("torchvision", tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth and .*alex\.pth.*--lpips-weights"):
        load_lpips(None)
    with pytest.raises(ValueError, match=r"--lpips-weights: expected two files.*got 1"):
        load_lpips([tmp_path / "alex.pth"])
    with pytest.raises(ValueError, match=r"--lpips-weights: there is no file .*one\.pth"):
        load_lpips([tmp_path / "one.pth", tmp_path / "two.pth"])


def test_a_file_whose_name_has_a_checksum_must_have_it(tmp_path):
    state = alexnet_state()
    torch.save(state, tmp_path / "alexnet.pth")
    torch.save(heads_state(), tmp_path / "alex.pth")
    digest = hashlib.sha256((tmp_path / "alexnet.pth").read_bytes()).hexdigest()
    good = (tmp_path / "alexnet.pth").rename(tmp_path / f"alexnet-{digest[:8]}.pth")
    load_lpips([good, tmp_path / "alex.pth"])
    bad = good.rename(tmp_path / "alexnet-0123abcd.pth")
    with pytest.raises(ValueError, match="is damaged: by its name its checksum begins with 0123abcd, not"):
        load_lpips([bad, tmp_path / "alex.pth"])


def test_lpips_gives_the_numbers_of_the_published_package(tmp_path):
    torch.save(alexnet_state(), tmp_path / "trunk.pth")
    torch.save(heads_state(), tmp_path / "heads.pth")
    model, files = load_lpips([tmp_path / "trunk.pth", tmp_path / "heads.pth"])
    assert [path.name for path in files] == ["trunk.pth", "heads.pth"]
    pictures = wave_pictures()
    np.testing.assert_allclose(model(pictures, pictures.flip(0)).numpy(), [0.22495162] * 2, rtol=1e-5)
    np.testing.assert_allclose(model(pictures, pictures / 2).numpy(), [0.00790347, 0.00686224], rtol=1e-4)
    with pytest.raises(ValueError, match=r"does not fit LPIPS; missing: lin0\.model\.1\.weight"):
        load_lpips([tmp_path / "trunk.pth", tmp_path / "trunk.pth"])
    torch.save({**alexnet_state(), "stray": torch.zeros(1)}, tmp_path / "trunk.pth")
    with pytest.raises(ValueError, match=r"trunk\.pth with .*heads\.pth does not fit LPIPS; unknown: stray"):
        load_lpips([tmp_path / "trunk.pth", tmp_path / "heads.pth"])


def test_features_of_st_lpips_are_averages_of_three_layers():
    model = STLPIPS("alex")
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    pictures = wave_pictures()
    features = st_lpips_features(model, pictures)
    assert features.shape == (2, 192 + 384 + 256)
    maps = model.features(pictures)
    torch.testing.assert_close(features[:, 192:576], maps[2].mean((2, 3)))
    torch.testing.assert_close(features[:, 576:], maps[4].mean((2, 3)))
