import pytest
import torch
from diffusers import DDIMScheduler

from pocold.densepose.encoding import one_hot
from pocold.diffusion.losses import ConditionDropout, min_snr_weights, prediction_target, training_loss
from pocold.diffusion.schedulers import make_scheduler
from pocold.models.pose_constraint import PoseConstraint
from pocold.models.presets import build_models

SCHEDULER = make_scheduler("ddim")


@pytest.fixture(scope="module")
def models():
    return build_models("toy")


def batch(size=3):
    generator = torch.Generator().manual_seed(0)
    return {
        "latents": torch.randn(size, 4, 8, 6, generator=generator),
        "source_latents": torch.randn(size, 4, 8, 6, generator=generator),
        "labels": torch.randint(25, (size, 64, 48), generator=generator),
        "source_labels": torch.randint(25, (size, 64, 48), generator=generator),
        "timesteps": torch.tensor([10, 500, 990])[:size],
        "noise": torch.randn(size, 4, 8, 6, generator=generator),
    }


@torch.no_grad()
def loss_of(models, data, dropout=None, **options):
    return training_loss(models["unet"], models["appearance_encoder"], SCHEDULER, **data, dropout=dropout, **options)


@torch.no_grad()
def test_loss_is_noise_error_plus_penalty(models):
    data = batch()
    noisy = SCHEDULER.add_noise(data["latents"], data["noise"], data["timesteps"])
    labels = data["labels"][:, ::8, ::8]
    output = models["unet"](
        noisy,
        data["timesteps"],
        one_hot(labels, (8, 6)),
        models["appearance_encoder"](data["source_latents"]),
        pose_constraint=PoseConstraint(data["labels"], data["source_labels"]),
    )
    loss = loss_of(models, data)
    torch.testing.assert_close(loss.noise, (output.sample - data["noise"]).square().mean())
    torch.testing.assert_close(loss.pose_penalty, output.pose_penalty.sum(0).mean())
    torch.testing.assert_close(loss.total, loss.noise + loss.pose_penalty)
    half = loss_of(models, data, penalty_weight=0.5)
    torch.testing.assert_close(half.total, half.noise + 0.5 * loss.pose_penalty)


@torch.no_grad()
def test_weight_zero_computes_no_penalty(models):
    loss = loss_of(models, batch(), penalty_weight=0.0)
    assert loss.pose_penalty == 0
    torch.testing.assert_close(loss.total, loss_of(models, batch()).noise)


class Fixed(ConditionDropout):
    """Drops what the test says."""

    def draw(self, batch, generator=None):
        return torch.tensor(self.keep_pose), torch.tensor(self.keep_appearance)

    @classmethod
    def of(cls, keep_pose, keep_appearance):
        drop = cls()
        object.__setattr__(drop, "keep_pose", keep_pose)
        object.__setattr__(drop, "keep_appearance", keep_appearance)
        return drop


@torch.no_grad()
def test_dropped_conditions_per_sample(models):
    """One batch with every combination equals the four predictions one by one, and only the full one is penalised."""
    data = {k: v[:1].repeat(4, *[1] * (v.ndim - 1)) for k, v in batch().items()}
    dropped = loss_of(models, data, Fixed.of([True, True, False, False], [True, False, True, False]))
    single = {k: v[:1] for k, v in data.items()}
    parts = [loss_of(models, single, Fixed.of([p], [a])) for p in (True, False) for a in (True, False)]
    torch.testing.assert_close(dropped.noise, torch.stack([part.noise for part in parts]).mean())
    assert parts[0].pose_penalty > 0
    assert all(part.pose_penalty == 0 for part in parts[1:])
    torch.testing.assert_close(dropped.pose_penalty, parts[0].pose_penalty / 4)
    assert len({round(float(part.noise), 6) for part in parts}) == 4


@torch.no_grad()
def test_penalties_are_those_of_the_samples_that_keep_both(models):
    data = batch()
    dropped = loss_of(models, data, Fixed.of([False, True, True], [True, True, True]))
    alone = loss_of(models, {k: v[1:] for k, v in data.items()}, Fixed.of([True] * 2, [True] * 2))
    torch.testing.assert_close(dropped.pose_penalty, alone.pose_penalty * 2 / 3)


def test_dropout_rates_per_sample():
    keep_pose, keep_appearance = ConditionDropout().draw(40_000, torch.Generator().manual_seed(0))
    counts = {
        "pose": (~keep_pose & keep_appearance).float().mean(),
        "appearance": (keep_pose & ~keep_appearance).float().mean(),
        "both": (~keep_pose & ~keep_appearance).float().mean(),
    }
    for name, expected in (("pose", 0.15), ("appearance", 0.15), ("both", 0.05)):
        assert abs(float(counts[name]) - expected) < 0.01, name


@pytest.mark.parametrize("rates", [(-0.1, 0.1, 0.1), (0.5, 0.5, 0.1)])
def test_impossible_rates(rates):
    with pytest.raises(ValueError, match="at least 0 and sum to at most 1"):
        ConditionDropout(*rates)


def test_v_target():
    data = batch()
    scheduler = DDIMScheduler(**{**SCHEDULER.config, "prediction_type": "v_prediction"})
    target = prediction_target(scheduler, data["latents"], data["noise"], data["timesteps"])
    alpha = SCHEDULER.alphas_cumprod[data["timesteps"]].view(-1, 1, 1, 1)
    torch.testing.assert_close(target, alpha.sqrt() * data["noise"] - (1 - alpha).sqrt() * data["latents"])


@torch.no_grad()
def test_v_loss_and_v_sampling_agree(models):
    """A perfect v prediction makes the loss zero and the scheduler's step reach the clean latent."""
    data = batch(1)
    scheduler = DDIMScheduler(**{**SCHEDULER.config, "prediction_type": "v_prediction", "set_alpha_to_one": True})
    target = prediction_target(scheduler, data["latents"], data["noise"], data["timesteps"])
    scheduler.set_timesteps(1)
    noisy = scheduler.add_noise(data["latents"], data["noise"], data["timesteps"])
    reached = scheduler.step(target, int(data["timesteps"][0]), noisy).pred_original_sample
    torch.testing.assert_close(reached, data["latents"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_schedulers_prediction_type_is_trained(models):
    scheduler = DDIMScheduler(**{**SCHEDULER.config, "prediction_type": "v_prediction"})
    loss = training_loss(models["unet"], models["appearance_encoder"], scheduler, **batch())
    assert loss.noise != loss_of(models, batch()).noise


def test_unknown_prediction_type(models):
    scheduler = DDIMScheduler(**{**SCHEDULER.config, "prediction_type": "sample"})
    with pytest.raises(ValueError, match="unknown prediction type 'sample': expected 'epsilon' or 'v_prediction'"):
        training_loss(models["unet"], models["appearance_encoder"], scheduler, **batch())


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@torch.no_grad()
def test_min_snr_weights_each_sample_by_the_literal_formula(models, prediction_type):
    scheduler, gamma, parts = DDIMScheduler(**{**SCHEDULER.config, "prediction_type": prediction_type}), 5.0, []
    for i in range(3):  # snr of about 110, 0.4 and 0.005
        one = {k: v[i : i + 1] for k, v in batch().items()}
        plain = training_loss(models["unet"], models["appearance_encoder"], scheduler, **one).noise
        alpha = float(scheduler.alphas_cumprod[one["timesteps"]])
        snr = alpha / (1 - alpha)
        parts.append(plain * min(snr, gamma) / (snr if prediction_type == "epsilon" else snr + 1))
    loss = training_loss(
        models["unet"], models["appearance_encoder"], scheduler, **batch(), min_snr_gamma=gamma, penalty_weight=2.0
    )
    torch.testing.assert_close(loss.noise, torch.stack(parts).mean())
    torch.testing.assert_close(loss.total, loss.noise + 2 * loss.pose_penalty)


def test_min_snr_of_pure_noise_is_finite():
    """Schedules that end in pure noise have an snr of zero there."""
    scheduler = DDIMScheduler(**{**SCHEDULER.config, "rescale_betas_zero_snr": True})
    assert min_snr_weights(scheduler, torch.tensor([999]), 5.0) == 1
    scheduler = DDIMScheduler(**{**scheduler.config, "prediction_type": "v_prediction"})
    assert min_snr_weights(scheduler, torch.tensor([999]), 5.0) == 0


@pytest.mark.parametrize("gamma", [0, -5.0, float("nan"), float("inf"), "5", True])
def test_nonsense_min_snr_gamma(models, gamma):
    with pytest.raises(ValueError, match=f"min_snr_gamma must be a positive finite number .* got {gamma!r}"):
        loss_of(models, batch(), min_snr_gamma=gamma)


def test_batches_must_agree(models):
    data = batch()
    with pytest.raises(ValueError, match=r"must have one batch size, got \{2, 3\}"):
        loss_of(models, {**data, "source_latents": data["source_latents"][:2]})


def test_one_seed_gives_one_loss(models):
    data = {k: v for k, v in batch().items() if k not in ("timesteps", "noise")}
    first, again, other = (
        loss_of(models, data, ConditionDropout(), generator=torch.Generator().manual_seed(seed)).total
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_training_lowers_noise_error_and_penalty():
    """A few steps on one batch with fixed noise: gradients point the right way, those of the penalty included."""
    models, data = build_models("toy"), batch()
    figure = torch.zeros(3, 64, 48, dtype=torch.int64)
    figure[:, 16:48, 12:36] = 2
    data |= {"labels": figure, "source_labels": figure.roll(8, dims=1)}
    parameters = [*models["unet"].parameters(), *models["appearance_encoder"].parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=4e-3)
    losses = []
    for _ in range(11):
        loss = training_loss(models["unet"], models["appearance_encoder"], SCHEDULER, **data, penalty_weight=10.0)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append((loss.noise.item(), loss.pose_penalty.item()))
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_training_in_mixed_precision(models):
    data = batch()
    expected = loss_of(models, data)
    with torch.autocast("cpu", torch.bfloat16):
        loss = training_loss(models["unet"], models["appearance_encoder"], SCHEDULER, **data)
        loss.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in models["unet"].parameters())
    for model in models.values():
        model.zero_grad()
    torch.testing.assert_close(loss.noise, expected.noise, atol=0, rtol=0.05)
    torch.testing.assert_close(loss.pose_penalty, expected.pose_penalty, atol=0, rtol=0.05)
