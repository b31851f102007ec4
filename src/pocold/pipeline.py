"""The pipeline: a photograph (or an appearance code) and poses in, pictures out (PoCoLD, method.md 5).

Legend: B pictures, C latent channels, h w latent size, H W picture size.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, fields, replace
from pathlib import Path
from threading import get_ident
from typing import Any, ClassVar, get_args

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from torch import Tensor

from pocold import _pipeline_inputs as inputs
from pocold._pipeline_folder import load_parts
from pocold.appearance import AppearanceCode
from pocold.checkpoints import BUNDLED, weights_fingerprint
from pocold.densepose.encoding import encode_pose
from pocold.densepose.maps import PoseInput
from pocold.diffusion.editing import EditedImage
from pocold.diffusion.engines import Denoiser, Engine, OpenVINOUNet, choose_engine
from pocold.diffusion.guidance import WITH_APPEARANCE, BranchWeights, decaying, guidance_formula
from pocold.diffusion.refining import refine as repair
from pocold.diffusion.sampling import Generator, OnStep, SamplingDefaults, denoise
from pocold.diffusion.schedulers import make_scheduler
from pocold.imaging import images
from pocold.imaging.files import atomic_folder
from pocold.imaging.images import Frame, FrameMode, ImageInput, MaskInput, OutputType
from pocold.models import autoencoder
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.densepose_estimator import DensePoseEstimator
from pocold.models.presets import build_models
from pocold.models.refiner import Refiner
from pocold.models.unet import UNet
from pocold.people.body.label_keypoints import with_fitted_coordinates
from pocold.usage import EngineName

_HINT, _ENCODING = "the model's surface hint", "the model's pose encoding 'iuv'"
_REFINER = "the pipeline's refiner (refine=False leaves it out)"
StepCallback = Callable[["PoseTransferPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


class PoseTransferPipeline(DiffusionPipeline):
    """Draws the person of a photograph in other poses, or edits part of a picture in that person's appearance.

    Args:
        vae: diffusers' ``AutoencoderKL`` or ``AutoencoderTiny`` (TAESD), or our ``PatchAutoencoder``.
        appearance_encoder: source latents -> features.
        unet: the denoiser.
        scheduler: any diffusers scheduler; see :meth:`set_scheduler` for those with names.
        densepose_estimator: finds the map of a photograph that comes without one; None asks for maps.
        refiner: repairs the drawn pictures with what the photographs show; None leaves them as they are.
        sampling: fields of :class:`pocold.diffusion.sampling.SamplingDefaults`: how the model draws unless told
            otherwise. It is written to ``model_index.json``. None, or what is not named, is as published.

    Raises:
        ValueError: if the components do not fit together, or ``sampling`` cannot be used.
    """

    model_cpu_offload_seq = "appearance_encoder->unet->vae->refiner"
    _callback_tensor_inputs = ("latents",)
    _optional_components: ClassVar[list[str]] = ["densepose_estimator", "refiner"]
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["densepose_estimator"]  # small, and needed before all others

    def __init__(
        self,
        vae: autoencoder.Autoencoder,
        appearance_encoder: AppearanceEncoder,
        unet: UNet,
        scheduler: Any,
        densepose_estimator: DensePoseEstimator | None = None,
        refiner: Refiner | None = None,
        sampling: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, appearance_encoder=appearance_encoder, unet=unet, scheduler=scheduler,
            densepose_estimator=densepose_estimator, refiner=refiner,
        )  # fmt: skip
        self.set_sampling(**(sampling or {}))
        self._engine: tuple[Engine, OpenVINOUNet | None] | None = None
        self._stops: dict[int, bool] = {}  # by thread, whether its run is to stop
        self._running: set[int] = set()
        channels = {
            "vae": vae.config.latent_channels,
            "appearance_encoder": appearance_encoder.config.latent_channels,
            "unet": unet.config.latent_channels,
        }
        if len(set(channels.values())) > 1:
            raise ValueError(f"the components disagree on the number of latent channels: {channels}")
        widths = tuple(appearance_encoder.config.block_out_channels), unet.appearance_channels
        if widths[0] != widths[1]:
            raise ValueError(f"the appearance encoder gives {widths[0]} channels, the UNet expects {widths[1]}")

    # -- making, loading, saving ---------------------------------------------------------------------------------

    @classmethod
    def from_preset(cls, name: str, seed: int = 0, **unet_options: Any) -> "PoseTransferPipeline":
        """An untrained pipeline: ``base`` (the published size) or ``toy``; one seed gives one set of weights.

        ``unet_options`` are used instead of the preset's, such as ``surface_hint=True``.
        """
        return cls(**build_models(name, seed, **unet_options), scheduler=make_scheduler("ddim"))

    @classmethod
    def from_bundled(cls, dtype: torch.dtype = torch.float32) -> "PoseTransferPipeline":
        """The model that comes with pocold, trained on synthetic people alone; see MODEL_CARD.md.

        ``dtype`` is that of all networks: on most CPUs float32 is the fastest, whatever the files have.
        """
        return cls.from_pretrained(BUNDLED, dtype=dtype)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None, **components: Any
    ) -> "PoseTransferPipeline":
        """Load a pipeline folder written by :meth:`save_pretrained`. Local and strict; nothing is downloaded.

        Args:
            folder: holds ``model_index.json``.
            dtype: of all networks; None keeps what the files have.
            **components: to use instead of the folder's: ``vae``, ``appearance_encoder``, ``unet``, ``scheduler``,
                ``densepose_estimator``, ``refiner``.

        Raises:
            ValueError: if a file is missing, truncated, of another class, or has missing or unknown keys.
        """
        parts, sampling = load_parts(Path(folder), cls.__name__, dtype, components)
        return cls(**parts, sampling=sampling)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the pipeline as a folder, atomically: a folder that stood there is replaced only by a whole one.

        One safetensors file per component, in the components' own dtypes; there are no variants and no shards.

        Raises:
            ValueError: if ``folder`` exists and is not a pipeline folder, so that nothing else is lost.
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "model_index.json").is_file():
            raise ValueError(f"{folder} exists and is not a pipeline folder; choose another name")
        with atomic_folder(folder) as temporary:
            super().save_pretrained(str(temporary), max_shard_size="100GB")

    def set_scheduler(self, name: str) -> None:
        """Swap the scheduler by name (see :data:`pocold.diffusion.schedulers.SCHEDULERS`); its noise stays."""
        self.register_modules(scheduler=make_scheduler(name, self.scheduler.config))

    @property
    def sampling(self) -> SamplingDefaults:
        """How the model draws unless told otherwise."""
        return self._sampling

    def set_sampling(self, **values: float) -> None:
        """Change how the model draws unless told otherwise; it is saved with the pipeline.

        Args:
            **values: fields of :class:`pocold.diffusion.sampling.SamplingDefaults`; the others are as published.

        Raises:
            ValueError: for unknown fields or impossible values.
        """
        unknown = values.keys() - {field.name for field in fields(SamplingDefaults)}
        if unknown:
            raise ValueError(f"sampling: unknown settings {', '.join(sorted(unknown))}")
        sampling = SamplingDefaults(**values)  # type: ignore[arg-type]
        self._check_sampling(sampling)
        self._sampling = sampling
        self.register_to_config(sampling=asdict(sampling))

    def _check_sampling(self, sampling: SamplingDefaults) -> None:
        steps = self.scheduler.config.num_train_timesteps
        inputs.check_whole("num_inference_steps", sampling.num_inference_steps, 1, steps)
        inputs.check_finite("pose_guidance_scale", sampling.pose_guidance_scale)
        inputs.check_finite("appearance_guidance_scale", sampling.appearance_guidance_scale)

    # -- speed ---------------------------------------------------------------------------------------------------

    def optimize(self, engine: EngineName = "auto", dtype: torch.dtype | None = None) -> Engine:
        """Draw faster: choose what computes the networks, and in which precision.

        Call it before drawing, and again after moving to another device. Nothing is optimized unless this is called;
        docs/pipeline.md says what it is worth.

        Args:
            engine: ``torch``; ``openvino`` for the UNet on a CPU (needs the extra of that name; equal to torch to
                rounding; compiles for a few seconds at the first picture of each size); ``compile``, which is
                ``torch.compile`` for the UNet; or ``auto``, which takes OpenVINO on a CPU where it is installed.
            dtype: of all networks: float32, bfloat16 or float16. None is bfloat16 on a GPU and on a CPU with bfloat16
                units, else float32. Weights that were rounded stay so: for more precision load the pipeline again.

        Returns:
            What was chosen, and why.

        Raises:
            ValueError: for an engine that is unknown, not installed, or not for this device and ``dtype``.
        """
        chosen = choose_engine(engine, dtype, self.device)
        by_openvino = chosen.name == "openvino"
        for network in (self.vae, self.appearance_encoder, self.refiner, self.unet):
            if network is not None:
                # OpenVINO rounds by itself, from weights in float32
                rounded = torch.float32 if by_openvino and network is self.unet else chosen.dtype
                torch.nn.Module.to(network, rounded)
        self.unet._compiled_call_impl = None
        if chosen.name == "compile":
            self.unet.compile()
        self._engine = chosen, OpenVINOUNet(self.unet, chosen.dtype) if by_openvino else None
        return chosen

    @property
    def engine(self) -> Engine:
        """What computes the networks; see :meth:`optimize`."""
        return Engine("torch", self.unet.dtype, "as loaded") if self._engine is None else self._engine[0]

    @property
    def _denoiser(self) -> Denoiser:
        """The UNet, or the engine that computes it as long as it is the same one."""
        engine = None if self._engine is None else self._engine[1]
        return self.unet if engine is None or engine.unet is not self.unet else engine

    # -- appearance ----------------------------------------------------------------------------------------------

    def fingerprint(self) -> Tensor:
        """A sample of the weights that make appearance codes, float32 ``(F,)``; see ``AppearanceCode.check_model``."""
        return weights_fingerprint(self.vae, self.appearance_encoder, self.unet)

    def encode_appearance(
        self,
        source: ImageInput | Sequence[ImageInput],
        *,
        source_pose: PoseInput | Sequence[PoseInput] | None = None,
        parts: str | int | Sequence[str | int] | None = None,
        height: int | None = None,
        width: int | None = None,
        frame: FrameMode = "pad",
        generator: torch.Generator | None = None,
        refine: bool = True,
    ) -> AppearanceCode:
        """The appearance code of one person: computed once, used for any number of poses.

        Args:
            source: a photograph, or several of one person: their code is that of all their pixels together.
            source_pose: their DensePose maps, of the photographs' sizes; needed for ``parts``, and with U and V by
                models that take a surface hint or have a refiner. Without any the pipeline's estimator finds them, if
                it has one.
            parts: body parts (names or labels) to extract from, all others are left out.
            height, width: size the photographs are framed to, as in :meth:`__call__`; by default the model's, or their
                own.
            frame: how; see :class:`pocold.imaging.images.Frame`.
            generator: draw the latent from the autoencoder's distribution, as published; None takes its mean, which
                makes the code repeatable.
            refine: keep what the refiner needs, should the pipeline have one; False asks for no U and V on its behalf.

        Raises:
            ValueError: for pictures or maps that cannot be used, or if a map shows none of ``parts``.
        """
        refined = refine and self.refiner is not None
        shrink = self._enlarges if refined else 1
        photographs = inputs.load_photographs(
            source,
            source_pose,
            lambda own: self._size(height, width, self._default_size(refined) or own, shrink),
            frame,
            labels_for=None if parts is None else "parts",
            uv_for=_HINT if self.takes_surface_hint else _REFINER if refined else None,
            estimator=self.densepose_estimator,
        )
        codes = [
            self.encode_tensors(picture, labels, parts, generator, uv, shrink) for picture, labels, uv in photographs
        ]
        return codes[0] if len(codes) == 1 else AppearanceCode.union(codes)

    @torch.no_grad()
    def encode_tensors(
        self,
        pictures: Tensor,
        labels: Tensor | None = None,
        parts: str | int | Sequence[str | int] | None = None,
        generator: Generator = None,
        uv: Tensor | None = None,
        shrink: int = 1,
    ) -> AppearanceCode:
        """The inner door of :meth:`encode_appearance`: a batch of people, one photograph each.

        Args:
            pictures: float ``(B, 3, H, W)`` in [-1, 1], sizes multiples of the autoencoder's factor.
            labels: body labels ``(B, H, W)``, needed for ``parts`` and for a surface hint.
            parts: see :meth:`encode_appearance`.
            generator: likewise.
            uv: U and V ``(B, 2, H, W)`` in [0, 1], needed for a surface hint, and to refine what is drawn of the code.
            shrink: how many times smaller the pictures are for the autoencoder than for the refiner.

        Returns:
            The codes of B people.
        """
        pictures = pictures.to(self._execution_device)
        seen = F.avg_pool2d(pictures, shrink) if shrink > 1 else pictures
        latents = autoencoder.encode(self.vae, seen, sample=generator is not None, generator=generator)
        inputs.require_finite(latents, "the photograph's latents", self.vae.dtype)
        features = self.appearance_encoder(latents.to(self.appearance_encoder.dtype))
        masks = None
        if parts is not None:
            if labels is None:
                raise ValueError("parts need the labels of the photographs")
            masks = inputs.token_masks(
                labels.to(self._execution_device), [feature.shape[-2:] for feature in features], parts
            )
        code = self.unet.extract_appearance(features, fingerprint=self.fingerprint(), token_masks=masks)
        for values in code.values:
            inputs.require_finite(values, "the appearance code", self.unet.dtype)
        if not self.takes_surface_hint and (self.refiner is None or labels is None or uv is None):
            return code
        if labels is None or uv is None:
            raise ValueError("this model takes a surface hint: it needs labels and uv of the photographs")
        return replace(code, surface=inputs.photographed(pictures, labels, uv, parts))

    # -- pictures ------------------------------------------------------------------------------------------------

    @property
    def interrupt(self) -> bool:
        """Set ``pipeline._interrupt = True`` in a step callback to stop: the batch is returned as it is then.

        That stops the run of the callback's own thread. Set from a thread that draws nothing, it stops all runs.
        """
        return self._stops.get(get_ident(), False)

    @property
    def _interrupt(self) -> bool:
        return self.interrupt

    @_interrupt.setter
    def _interrupt(self, value: bool) -> None:
        own = get_ident()
        for thread in [own] if own in self._running else [own, *self._running]:
            self._stops[thread] = value

    @torch.no_grad()
    def __call__(
        self,
        source: ImageInput | Sequence[ImageInput] | AppearanceCode | None = None,
        pose: PoseInput | Sequence[PoseInput] | None = None,
        *,
        source_pose: PoseInput | Sequence[PoseInput] | None = None,
        image: ImageInput | None = None,
        mask: MaskInput | None = None,
        height: int | None = None,
        width: int | None = None,
        frame: FrameMode = "pad",
        num_inference_steps: int | None = None,
        guidance: str = "pose_first",
        pose_guidance_scale: float | None = None,
        appearance_guidance_scale: float | None = None,
        guidance_floor: float | None = 3.0,
        eta: float = 0.0,
        batch_size: int = 4,
        generator: Generator = None,
        latents: Tensor | None = None,
        feather: int | None = 8,
        refine: bool = True,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Draw one picture per pose.

        Args:
            source: a photograph, several of one person, or an appearance code (of one person for all poses, or of one
                person per pose). May be left out with guidance that ignores it (``pose_only``).
            pose: a DensePose map, or several. Of one that has labels only, U and V are those of a body in that pose, if
                a model needs them; a warning says so.
            source_pose: maps of the photographs, with U and V, for models that take a surface hint; see
                :meth:`encode_appearance`.
            image: a picture to edit, with ``mask``: bool or 0/255, True where it is generated, of the picture's size.
            height, width: of the result, multiples of the autoencoder's factor (times that by which a refiner
                enlarges); by default the model's size, or the first pose's. Photographs, poses and the edited picture
                are framed to it.
            frame: how; see :class:`pocold.imaging.images.Frame`.
            num_inference_steps: denoising steps; None takes the model's own (:attr:`sampling`).
            guidance: formula by name; see ``pocold.diffusion.guidance``. A model that ``pocold distill`` has made knows
                ``pose_first`` and ``conditional``.
            pose_guidance_scale, appearance_guidance_scale: w_p and w_s; None likewise.
            guidance_floor: scales decay with the noise, down to this (or to the scale itself where that is lower); None
                keeps them constant.
            eta: 0 is deterministic DDIM, 1 is DDPM; other schedulers ignore it.
            batch_size: pictures drawn at once; a matter of memory, not of results.
            generator: one for all pictures, or a list with one each: then a picture does not depend on its batch.
            latents: starting noise ``(B, C, h, w)`` instead of random draws.
            feather: with ``image``: after decoding, paste the kept pixels back to the bit, blending over this many
                pixels inside the mask; None leaves them as the autoencoder renders them.
            refine: let the refiner, if the pipeline has one, repair the pictures; it sees the source's photographs, so
                guidance that ignores the source, and latents, are not refined.
            output_type: ``pil``, ``np`` ((B, H, W, 3) in [0, 1]), ``pt`` ((B, 3, H, W) in [0, 1]) or ``latent``.
            return_dict: False returns a tuple.
            callback_on_step_end: called as ``(pipeline, step, timestep, {"latents": ...})``, may return new latents.
            callback_on_step_end_tensor_inputs: names it gets; only ``latents`` exists.

        Returns:
            ``images`` of an :class:`ImagePipelineOutput`, in the order of the poses; fewer than poses if interrupted.

        Raises:
            ValueError: for any input that cannot be used; the message says what was expected.
        """
        inputs.check_whole("batch_size", batch_size, 1)
        inputs.check_one_of("output_type", output_type, get_args(OutputType))
        if feather is not None:
            inputs.check_whole("feather", feather, 0)
        for name in callback_on_step_end_tensor_inputs:
            inputs.check_one_of("callback_on_step_end_tensor_inputs", name, self._callback_tensor_inputs)
        self._stops[get_ident()] = False
        how = self.sampling.filled(num_inference_steps, pose_guidance_scale, appearance_guidance_scale)
        guided = self._guidance(guidance, how, guidance_floor, eta)
        refine = refine and guided.sourced and output_type != "latent"
        targets = self._targets(pose, (height, width), frame, refine, guided.sourced)
        code = self._code(source, source_pose, targets, frame) if guided.sourced else None
        shape = (len(targets), self.unet.config.latent_channels, *targets.latent_size)
        device = targets.poses.device
        noise = inputs.starting_noise(shape, generator, latents, device)
        edited = self._edited(image, mask, targets, frame)

        results = []
        batches = range(0, len(targets), batch_size)
        evaluations = len(self.scheduler_for(how.num_inference_steps, device).timesteps)
        with self._run(), self.progress_bar(total=len(batches) * evaluations) as progress:

            def on_step(step: int, timestep: Tensor, latents: Tensor) -> tuple[Tensor, bool]:
                progress.update()
                if callback_on_step_end is not None:
                    changed = callback_on_step_end(self, step, int(timestep), {"latents": latents})
                    latents = (changed or {}).get("latents", latents)
                return latents, not self._interrupt

            for start in batches:
                rows = slice(start, start + batch_size)
                people = code if code is None or len(code) == 1 else code[rows]
                some = targets[rows]
                own = generator[rows] if isinstance(generator, list) else generator
                final = self._denoised(guided, some, people, noise[rows], edited, own, on_step)
                if output_type != "latent":
                    final = self._decoded(final, some, people, edited, feather)
                results.append(final)
                if self._interrupt:
                    break
        output = images.to_output(torch.cat(results), output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=output) if return_dict else (output,)

    def _denoised(
        self,
        guided: inputs.Guided,
        targets: inputs.Targets,
        people: AppearanceCode | None,
        noise: Tensor,
        edited: EditedImage | None,
        generator: Generator,
        on_step: OnStep,
    ) -> Tensor:
        """Noise ``(B, C, h, w)`` -> latents of B pictures."""
        latents = denoise(
            self._denoiser,
            self.scheduler_for(guided.steps, noise.device),  # anew for every batch: solvers keep a history
            noise,
            targets.poses,
            people,
            guided.weights_at,
            hint=self._hint(people, targets),
            kept=edited.kept(noise) if edited else None,
            eta=guided.eta,
            generator=generator,
            on_step=on_step,
        )
        inputs.require_finite(latents, "the denoised latents", self.unet.dtype)
        return latents

    def _decoded(
        self,
        latents: Tensor,
        targets: inputs.Targets,
        people: AppearanceCode | None,
        edited: EditedImage | None,
        feather: int | None,
    ) -> Tensor:
        """Latents ``(B, C, h, w)`` -> pictures ``(B, 3, H, W)`` in [-1, 1], repaired and pasted back."""
        pictures = autoencoder.decode(self.vae, latents).float()
        inputs.require_finite(pictures, "the decoded picture", self.vae.dtype)
        pictures = pictures.clamp(-1, 1)
        if targets.refined and people is not None and people.surface is not None:
            assert self.refiner is not None
            assert targets.uv is not None
            pictures = repair(self.refiner, pictures, people.surface, targets.labels, targets.uv, edited)
            inputs.require_finite(pictures, "the refined picture", self.refiner.dtype)
        return pictures if edited is None or feather is None else edited.paste_back(pictures, feather)

    # -- preparing inputs ----------------------------------------------------------------------------------------

    @contextmanager
    def _run(self) -> Iterator[None]:
        """A run of this thread, for as long as the block lasts."""
        own = get_ident()
        self._running.add(own)
        try:
            yield
        finally:
            self._running.discard(own)

    def scheduler_for(self, num_inference_steps: int, device: torch.device | None = None) -> Any:
        """A copy of the scheduler with its time steps set: what a run changes is never on the pipeline.

        So one pipeline can draw in several threads at once, with different steps and schedulers.

        Args:
            num_inference_steps: denoising steps.
            device: of the time steps; the pipeline's if not given. (Looking for that one goes through all modules.)

        Raises:
            ValueError: for more steps than the schedule has.
        """
        scheduler = deepcopy(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=device or self._execution_device)
        last, reached = scheduler.config.num_train_timesteps, float(scheduler.timesteps.max())
        if reached >= last:
            # schedules with an offset, as the published one, overrun when every time step is used
            raise ValueError(
                f"num_inference_steps: {num_inference_steps} are too many for {type(scheduler).__name__}, "
                f"whose time steps would reach {reached:g} of 0..{last - 1}; take at most {last - 1}"
            )
        return scheduler

    @property
    def takes_surface_hint(self) -> bool:
        """Whether the UNet sees the source brought into the target's pose (docs/method.md)."""
        return bool(self.unet.config.surface_hint)

    @property
    def native_size(self) -> tuple[int, int] | None:
        """(height, width) of the pictures that the model was trained for; None if its files do not say."""
        return self._default_size(self.refiner is not None)

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the latents of a picture of this size, as a refiner of the pipeline enlarges it.

        Raises:
            ValueError: for a size that cannot be drawn.
        """
        factor = self._enlarges * autoencoder.downsampling_factor(self.vae)
        height, width = inputs.picture_size(height, width, (height, width), factor)
        return height // factor, width // factor

    @property
    def _enlarges(self) -> int:
        return 1 if self.refiner is None else int(self.refiner.config.enlarges)

    def _default_size(self, refined: bool) -> tuple[int, int] | None:
        factor, latent = autoencoder.downsampling_factor(self.vae), self.unet.config.sample_size
        factor *= self._enlarges if refined else 1
        return None if latent is None else (latent[0] * factor, latent[1] * factor)

    def _size(self, height: int | None, width: int | None, default: tuple[int, int], shrink: int) -> tuple[int, int]:
        return inputs.picture_size(height, width, default, shrink * autoencoder.downsampling_factor(self.vae))

    def guidance_formula(self, name: str) -> Callable[[float, float], BranchWeights]:
        """A formula by name, as this UNet computes it: see :func:`pocold.diffusion.guidance.guidance_formula`."""
        return guidance_formula(name, distilled=bool(self.unet.config.guidance_embedding))

    def _guidance(self, name: str, how: SamplingDefaults, guidance_floor: float | None, eta: float) -> inputs.Guided:
        """How a run is guided, checked."""
        formula = self.guidance_formula(name)
        self._check_sampling(how)
        if guidance_floor is not None:
            inputs.check_finite("guidance_floor", guidance_floor)
        inputs.check_finite("eta", eta, 0, 1)
        scales = how.pose_guidance_scale, how.appearance_guidance_scale
        weights_at = decaying(formula, *scales, guidance_floor, self.scheduler.config.num_train_timesteps)
        # decay keeps a scale of zero, so what needs no source now needs none at any time step
        sourced = bool(WITH_APPEARANCE & set(formula(*scales).needed))
        return inputs.Guided(how.num_inference_steps, weights_at, sourced, eta)

    def _targets(
        self,
        pose: PoseInput | Sequence[PoseInput] | None,
        asked: tuple[int | None, int | None],
        frame: FrameMode,
        refine: bool,
        sourced: bool,
    ) -> inputs.Targets:
        """The poses of a run, framed to the size of the result and to that at which the networks draw."""
        maps = inputs.load_poses(pose)
        refined = refine and self.refiner is not None
        shrink = self._enlarges if refined else 1
        size = self._size(*asked, self._default_size(refined) or maps[0].size, shrink)
        drawn = (size[0] // shrink, size[1] // shrink)
        sees_uv = self.unet.config.pose_encoding == "iuv"
        purpose = _HINT if sourced and self.takes_surface_hint else _ENCODING if sees_uv else None
        purpose = purpose or (_REFINER if refined else None)
        names = inputs.numbered("pose", len(maps))
        if purpose is not None:
            maps = [with_fitted_coordinates(*one, purpose) for one in zip(maps, names, strict=True)]
        (labels, uv), (drawn_labels, drawn_uv) = (
            inputs.frame_maps(maps, [Frame(m.size, to, frame) for m in maps], names, purpose) for to in (size, drawn)
        )
        factor = autoencoder.downsampling_factor(self.vae)
        latent_size = (drawn[0] // factor, drawn[1] // factor)
        encoded = encode_pose(drawn_labels, drawn_uv if sees_uv else None, latent_size, self.unet.dtype)
        poses = encoded.to(self._execution_device)
        return inputs.Targets(labels, uv, drawn_labels, drawn_uv, poses, shrink, refined)

    def _edited(
        self, image: ImageInput | None, mask: MaskInput | None, targets: inputs.Targets, frame: FrameMode
    ) -> EditedImage | None:
        if image is None and mask is None:
            return None
        if image is None or mask is None:
            raise ValueError("editing needs both image and mask")
        return EditedImage.load(image, mask, self.vae, targets.size, frame, targets.poses.device, targets.shrink)

    def _code(
        self,
        source: ImageInput | Sequence[ImageInput] | AppearanceCode | None,
        source_pose: PoseInput | Sequence[PoseInput] | None,
        targets: inputs.Targets,
        frame: FrameMode,
    ) -> AppearanceCode:
        """The code of the person, or people, whom a run draws."""
        if source is None:
            raise ValueError("source: expected a photograph or an appearance code (this guidance sees the appearance)")
        if not isinstance(source, AppearanceCode):
            if any(isinstance(item, AppearanceCode) for item in inputs.listed(source)):
                raise ValueError("source: several appearance codes are given as one: AppearanceCode.stack([...])")
            height, width = targets.size
            return self.encode_appearance(
                source, source_pose=source_pose, height=height, width=width, frame=frame, refine=targets.refined
            )
        if source_pose is not None:
            raise ValueError("source_pose is the map of a photograph, but source is an appearance code; leave it out")
        source.check_model(self.fingerprint(), self.unet.code_shapes())
        if self.takes_surface_hint and source.surface is None:
            raise ValueError("this model takes a surface hint, but the appearance code holds no surface; encode again")
        if targets.refined and source.surface is None:
            raise ValueError(
                "this pipeline has a refiner, but the appearance code holds no surface; encode again, with maps that "
                "have U and V, or pass refine=False"
            )
        if len(source) not in (1, len(targets)):
            raise ValueError(
                f"expected the appearance code of 1 person or of one per pose ({len(targets)}), got {len(source)}"
            )
        return source.to(targets.poses.device, self.unet.dtype)

    def _hint(self, people: AppearanceCode | None, targets: inputs.Targets) -> Tensor | None:
        """The surface hint for each target, in the UNet's dtype; None for a UNet or a guidance without one."""
        if people is None or not self.takes_surface_hint:
            return None
        assert people.surface is not None  # checked when the code came in
        assert targets.drawn_uv is not None
        where = targets.drawn_labels, targets.drawn_uv, targets.poses.device, targets.shrink
        completed = bool(self.unet.config.hint_completed)
        return inputs.surface_hint(self.vae, people.surface, *where, completed=completed).to(self.unet.dtype)
