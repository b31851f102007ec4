"""NTED's network: any picture size, textures once for all poses, the attention's correctness, folders."""

import pytest
import torch

from pocold.models.baselines.loading import load_baseline
from pocold.models.baselines.nted import NTED

SIZE = (40, 30)


def inputs(size=SIZE, count=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, *size, generator=generator) * 2 - 1, torch.rand(count, 20, *size, generator=generator)


@pytest.mark.parametrize("size", [(40, 30), (33, 41), (8, 9)])
def test_any_size(size):
    source, pose = inputs(size)
    with torch.no_grad():
        drawn = NTED.from_preset("toy")(source, pose)
    assert drawn.shape == source.shape
    assert drawn.abs().max() < 1


def test_it_sees_both_inputs():
    model, (source, pose) = NTED.from_preset("toy"), inputs()
    with torch.no_grad():
        drawn = model(source, pose)
        for other in (model(-source, pose), model(source, 1 - pose)):
            assert (other - drawn).abs().amax((1, 2, 3)).min() > 1e-3


def test_textures_of_one_person_serve_all_poses():
    model, (source, pose) = NTED.from_preset("toy"), inputs()
    with torch.no_grad():
        textures = model.textures(model.features(source[:1]))
        together = model.draw(textures, pose)
        torch.testing.assert_close(together[1:], model(source[:1], pose[1:]))
    assert [one.shape for one in textures] == [(1, 2, 4, 8), (1, 2, 4, 8)]


def test_every_parameter_learns_and_checkpointing_changes_nothing():
    gradients = []
    for checkpointing in (False, True):
        model = NTED.from_preset("toy").train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        model(*inputs()).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        # softmax does not see a constant added to all keys
        assert gradient.abs().max() > 0 or name.endswith("attention.norm.bias"), name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_correctness_is_that_of_textures_put_back_one_by_one():
    model, (source, _) = NTED.from_preset("toy"), inputs(count=1)
    features = model.features(source)
    errors = []
    for attention, feature in zip(model.decoder.attentions, features, strict=True):
        tokens = feature[0].flatten(1).T.double()  # (M, C)
        tokens = tokens - tokens.mean(1, keepdim=True)
        tokens = tokens / (tokens.square().mean(1, keepdim=True) + 1e-5).sqrt()
        probabilities = attention.double().extraction_probabilities(feature.double())[0]  # (A, M, K)
        own = []
        for head in probabilities:
            textures = [sum(head[m, k] * tokens[m] for m in range(len(tokens))) for k in range(head.shape[1])]
            for m in range(len(tokens)):
                restored = sum(head[m, k] / head[m].sum() * textures[k] for k in range(head.shape[1]))
                own.append((restored - tokens[m]).abs().mean())
        errors.append(torch.stack(own).mean())
    model.float()
    expected = torch.stack(errors).mean().float()
    torch.testing.assert_close(model.attention_correctness(features), expected, rtol=1e-4, atol=1e-6)


def test_correctness_falls_when_filters_learn_and_teaches_the_attention_alone():
    model, (source, _) = NTED.from_preset("toy"), inputs()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    before = model.attention_correctness(model.features(source))
    before.backward()
    learning = {name for name, p in model.named_parameters() if p.grad is not None}
    assert all(".attentions." in name for name in learning)
    assert any("extraction_filters" in name for name in learning)
    for _ in range(30):
        optimizer.zero_grad()
        loss = model.attention_correctness(model.features(source))
        loss.backward()
        optimizer.step()
    assert loss < 0.95 * before


def test_a_folder_gives_the_same_pictures(tmp_path):
    model = NTED.from_preset("toy", seed=3)
    model.save_pretrained(tmp_path / "nted")
    loaded = load_baseline(tmp_path / "nted")
    assert isinstance(loaded, NTED)
    with torch.no_grad():
        assert torch.equal(loaded(*inputs()), model(*inputs()))


def test_impossible_settings_and_shapes():
    with pytest.raises(ValueError, match="two or more widths that num_heads=3 and norm_num_groups=4 divide"):
        NTED.from_preset("toy", num_heads=3)
    with pytest.raises(ValueError, match="unknown preset 'base': expected one of nted, narrow, small, toy"):
        NTED.from_preset("base")
    model, (source, pose) = NTED.from_preset("toy"), inputs()
    with pytest.raises(ValueError, match=r"expected a pose \(B, 20, H, W\), got \(2, 19, 40, 30\)"):
        model(source, pose[:, 1:])
    with pytest.raises(ValueError, match=r"source: expected pictures \(B, 3, H, W\) in \[-1, 1\]"):
        model(source[:, :2], pose)
