"""``pocold distill``: a pipeline that draws like another one, with fewer evaluations of its UNet.

What is learned is told in :mod:`pocold.diffusion.distillation`. Legend: B pairs per process and backward pass, C latent
channels, h w latent size.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocold.checkpoints import weights_hash
from pocold.densepose.encoding import encode_pose
from pocold.diffusion.distillation import step_times, taught_velocity, velocity
from pocold.diffusion.guidance import guide
from pocold.diffusion.sampling import predict_branches
from pocold.diffusion.schedulers import make_scheduler
from pocold.pipeline import PoseTransferPipeline
from pocold.training.distillation_config import BUNDLED_TEACHER, DistillationConfig, DistillTrainConfig
from pocold.training.inputs import Inputs
from pocold.training.loader import open_training_data
from pocold.training.start import first_batch, first_losses, made_of_data, start_run
from pocold.training.transfer import ResultPipeline, check_latents, extended, needs_of
from pocold.training.validation import Validation, seeded_noise, spread_timesteps

LOSSES = ("loss",)


class DistilledModel(nn.Module):
    """The student: a UNet that is told the guidance scales, and its appearance encoder.

    Args:
        teacher: the pipeline to learn from, on its device; it is not part of the module, and stays as it is.
        settings: what is learned.
    """

    def __init__(self, teacher: PoseTransferPipeline, settings: DistillationConfig) -> None:
        super().__init__()
        self.unet = extended(teacher.unet, guidance_embedding=True)
        self.appearance_encoder = copy.deepcopy(teacher.appearance_encoder)
        self.settings = settings
        self.scheduler = make_scheduler("ddim", teacher.scheduler.config)
        self._teacher = [teacher]  # not registered: its weights are neither trained nor kept with the student's

    def forward(self, inputs: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The mean of :meth:`errors`, float32 ``(1,)``.

        Args:
            inputs: of :class:`pocold.training.inputs.Inputs`.
            generator: of time steps, noise and scales, on the CPU.
        """
        batch, total = len(inputs["latents"]), self.scheduler.config.num_train_timesteps
        settings = self.settings
        drawn = torch.rand(3, generator=generator)
        scales = settings.lowest_scale + (settings.highest_scale - settings.lowest_scale) * drawn[:2]
        if drawn[2] >= settings.scales_apart:
            scales[1] = scales[0]
        following = None
        if settings.steps:
            times = step_times(settings.steps, total)
            which = torch.randint(settings.steps, (batch,), generator=generator)
            timesteps, following = times[which], times[which + 1]
        else:
            timesteps = torch.randint(total, (batch,), generator=generator)
        noise = torch.randn(inputs["latents"].shape, generator=generator)
        errors = self.errors(self.unet, self.appearance_encoder, inputs, timesteps, following, noise, scales)
        return errors.mean()[None]

    def errors(
        self,
        unet: nn.Module,
        appearance_encoder: nn.Module,
        inputs: Mapping[str, Tensor],
        timesteps: Tensor,
        following: Tensor | None,
        noise: Tensor,
        scales: Tensor,
    ) -> Tensor:
        """Mean squared error of a student for each pair, float32 ``(B,)``: of v where steps are learned.

        Args:
            unet, appearance_encoder: the student.
            inputs: of :class:`pocold.training.inputs.Inputs`.
            timesteps: int64 ``(B,)``.
            following: where the student's steps lead, ``(B,)``; None for guidance alone.
            noise: ``(B, C, h, w)``.
            scales: w_p and w_s, ``(2,)``.
        """
        latents = inputs["latents"]
        timesteps, noise = timesteps.to(latents.device), noise.to(latents)
        following = None if following is None else following.to(latents.device)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        pose = encode_pose(inputs["labels"], inputs.get("uv"), (latents.shape[-2], latents.shape[-1]), latents.dtype)
        extra = {} if "hint" not in inputs else {"hint": inputs["hint"].to(latents)}
        taught = self._taught(inputs, noisy, timesteps, following, pose, scales, **extra)
        features = appearance_encoder(inputs["source_latents"])
        predicted = unet(noisy, timesteps, pose, features, guidance_scales=scales, **extra).sample
        if following is not None:
            predicted = velocity(self.scheduler, predicted, noisy, timesteps)
        return F.mse_loss(predicted.float(), taught, reduction="none").mean((1, 2, 3))

    @torch.no_grad()
    def _taught(
        self,
        inputs: Mapping[str, Tensor],
        noisy: Tensor,
        timesteps: Tensor,
        following: Tensor | None,
        pose: Tensor,
        scales: Tensor,
        hint: Tensor | None = None,
    ) -> Tensor:
        teacher = self._teacher[0]
        code = teacher.unet.extract_appearance(
            teacher.appearance_encoder(inputs["source_latents"]), fingerprint=noisy.new_zeros(1)
        )
        weights = teacher.guidance_formula("pose_first")(float(scales[0]), float(scales[1]))

        def guided(latents: Tensor, at: Tensor) -> Tensor:
            branches = predict_branches(teacher.unet, latents, at, pose, code, weights.needed, hint, weights.scales)
            return guide(branches, weights)

        if following is None:
            return guided(noisy, timesteps)

        def guided_velocity(latents: Tensor, at: Tensor) -> Tensor:
            return velocity(self.scheduler, guided(latents, at), latents, at)

        return taught_velocity(self.scheduler, guided_velocity, noisy, timesteps, following, self.settings.substeps)

    def losses(self, pipeline: PoseTransferPipeline, inputs: dict[str, Tensor], part: Sequence[int]) -> Tensor:
        """Loss of each validation pair ``(B,)``: the mean over all steps, with the scales that the teacher draws with.

        Args:
            pipeline: holds the student.
            inputs: of the pairs.
            part: their numbers, which seed the noise.
        """
        how, total = self._teacher[0].sampling, self.scheduler.config.num_train_timesteps
        scales = torch.tensor([how.pose_guidance_scale, how.appearance_guidance_scale])
        noise, count = seeded_noise(inputs["latents"], part), len(part)
        networks = pipeline.unet, pipeline.appearance_encoder
        found = []
        for now, then in self._measured_at(total):
            following = None if then is None else then.expand(count)
            found.append(self.errors(*networks, inputs, now.expand(count), following, noise, scales))
        return torch.stack(found).mean(0)

    def _measured_at(self, total: int) -> list[tuple[Tensor, Tensor | None]]:
        """Time steps of the validation, each with where it leads."""
        if self.settings.steps:
            return list(pairwise(step_times(self.settings.steps, total)))
        return [(timestep, None) for timestep in spread_timesteps(total)]


def open_teacher(name: str, device: torch.device) -> PoseTransferPipeline:
    """The pipeline to learn from, in float32.

    Raises:
        ValueError: for a folder that holds none.
    """
    if name == BUNDLED_TEACHER:
        teacher = PoseTransferPipeline.from_bundled()
    else:
        teacher = PoseTransferPipeline.from_pretrained(Path(name), dtype=torch.float32)
    for part in (teacher.vae, teacher.unet, teacher.appearance_encoder):
        part.eval().requires_grad_(False).to(device)
    return teacher


def distill(config: DistillTrainConfig) -> Path:
    """Distill, or go on, until ``run.max_steps``; the same config resumes.

    Returns:
        The folder of the resulting pipeline; of the last one if the run was stopped before its end.

    Raises:
        ValueError: as :func:`pocold.training.transfer.train`.
    """
    start = start_run(config)
    accelerator, folder, progress = start.accelerator, start.folder, start.progress

    teacher, settings = open_teacher(config.distillation.teacher, accelerator.device), config.distillation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        model = DistilledModel(teacher, settings)
    unet, encoder = model.unet.requires_grad_().train(), model.appearance_encoder.requires_grad_().train()
    if config.run.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        encoder.enable_gradient_checkpointing()
    prepare, needs = Inputs(teacher.vae, unet, accelerator.device), needs_of(unet)
    data = open_training_data(config.data, config.run.seed, **needs)
    check_latents(data, teacher.vae, "the vae of distillation.teacher")
    taught = nn.ModuleList([teacher.vae, teacher.unet, teacher.appearance_encoder])
    start.hold({"teacher": weights_hash(taught), **made_of_data(data)})
    report = start.open_report(config, "distill")
    try:
        names = ("vae", "densepose_estimator", "refiner")
        others = {name: getattr(teacher, name) for name in names if getattr(teacher, name) is not None}
        networks = {**others, "unet": unet, "appearance_encoder": encoder}
        sampling, scheduler = teacher.sampling, teacher.scheduler
        if settings.steps:
            sampling = sampling.filled(settings.steps, None, None)
            scheduler = make_scheduler("ddim-trailing", scheduler.config)
        pipelines = ResultPipeline(config, networks, scheduler, folder, sampling)
        watch = None
        if config.validation.every:
            watch = pipelines.watch(Validation(config, accelerator, folder, sampling, model.losses, **needs))
        _check_before_start(model.to(accelerator.device), prepare, data, config, report)
        weights = start.learn(model, [unet, encoder], data, config, prepare, LOSSES, watch, report)
        write = partial(pipelines.write, weights, progress, data)
        start.finish(write, f"{pipelines.folder}: the pipeline", data, config, report)
    finally:
        report.close()
    return pipelines.folder


def _check_before_start(model: DistilledModel, prepare: Inputs, data: Any, config: Any, report: Any) -> None:
    """One forward and backward pass on real data, and a word on what will be learned."""
    batch = first_batch(data, config, min(2, config.run.batch_size))
    losses = first_losses(model, prepare(batch, torch.Generator().manual_seed(0)))
    settings, teacher = config.distillation, model._teacher[0]
    if settings.steps:
        aim = f"{settings.steps} evaluation{'s' * (settings.steps != 1)}, each for {settings.substeps} of the teacher"
    else:
        aim = "guidance in one prediction"
    count = sum(p.numel() for p in model.unet.parameters()) / 1e6
    report.say(
        f"{aim}; teacher {settings.teacher} ({teacher.sampling.num_inference_steps} steps), UNet of {count:.1f} M "
        f"parameters, device {prepare.device}, first loss {losses[0].item():.4f}"
    )
