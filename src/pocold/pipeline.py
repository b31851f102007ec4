"""The pipeline: a photograph (or an appearance code) and poses in, pictures out (PoCoLD, method.md 5).

Legend: B pictures, C latent channels, h w latent size, H W picture size.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from torch import Tensor

from pocold import images
from pocold.appearance import AppearanceCode
from pocold.checkpoints import load_component, weights_fingerprint
from pocold.densepose import PoseInput, one_hot
from pocold.editing import EditedImage
from pocold.files import atomic_folder, read_json
from pocold.formats.reading import load_pose
from pocold.guidance import WITH_APPEARANCE, BranchWeights, decayed, guidance_formula
from pocold.images import Frame, FrameMode, ImageInput, MaskInput
from pocold.inputs import check_finite, check_one_of, check_whole, listed, load_poses, starting_noise, token_masks
from pocold.models import autoencoder
from pocold.models.appearance_encoder import AppearanceEncoder
from pocold.models.presets import build_models
from pocold.models.unet import UNet
from pocold.sampling import Generator, denoise
from pocold.schedulers import load_scheduler, make_scheduler

OutputType = Literal["pil", "np", "pt", "latent"]
StepCallback = Callable[["PoseTransferPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


class PoseTransferPipeline(DiffusionPipeline):
    """Draws the person of a photograph in other poses, or edits part of a picture in that person's appearance.

    Args:
        vae: KL autoencoder.
        appearance_encoder: source latents -> features.
        unet: the denoiser.
        scheduler: any diffusers scheduler; see :meth:`set_scheduler` for those with names.
    """

    model_cpu_offload_seq = "appearance_encoder->unet->vae"
    _callback_tensor_inputs = ("latents",)

    def __init__(self, vae: AutoencoderKL, appearance_encoder: AppearanceEncoder, unet: UNet, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(vae=vae, appearance_encoder=appearance_encoder, unet=unet, scheduler=scheduler)
        self._interrupt = False
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
    def from_preset(cls, name: str, seed: int = 0) -> "PoseTransferPipeline":
        """An untrained pipeline: ``base`` (the published size) or ``toy``; one seed gives one set of weights."""
        return cls(**build_models(name, seed), scheduler=make_scheduler("ddim"))

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None, **components: Any
    ) -> "PoseTransferPipeline":
        """Load a pipeline folder written by :meth:`save_pretrained`. Local and strict; nothing is downloaded.

        Args:
            folder: holds ``model_index.json``.
            dtype: of all networks; None keeps what the files have.
            **components: to use instead of the folder's: ``vae``, ``appearance_encoder``, ``unet``, ``scheduler``.

        Raises:
            ValueError: if a file is missing, truncated, of another class, or has missing or unknown keys.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ValueError(f"no such model folder: {folder}")
        index = read_json(folder / "model_index.json")
        if index.get("_class_name") != cls.__name__:
            raise ValueError(f"{folder} holds a {index.get('_class_name')}, expected a {cls.__name__}")
        load: dict[str, Callable[[Path], Any]] = {
            "vae": lambda path: autoencoder.load_autoencoder(path, dtype),
            "appearance_encoder": lambda path: load_component(AppearanceEncoder, path, dtype),
            "unet": lambda path: load_component(UNet, path, dtype),
            "scheduler": lambda path: load_scheduler(index.get("scheduler"), path),
        }
        unknown = components.keys() - load.keys()
        if unknown:
            raise ValueError(
                f"unknown components: {', '.join(sorted(unknown))}; there are {', '.join(load)} (and dtype=...)"
            )
        return cls(**{name: components[name] if name in components else load[name](folder / name) for name in load})

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
        """Swap the scheduler by name (``ddim``, ``pndm``, ``dpm++``, ``dpm++-karras``, ``unipc``); its noise stays."""
        self.register_modules(scheduler=make_scheduler(name, self.scheduler.config))

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
    ) -> AppearanceCode:
        """The appearance code of one person: computed once, used for any number of poses.

        Args:
            source: a photograph, or several of one person: their code is that of all their pixels together.
            source_pose: their DensePose maps, of the photographs' sizes; needed for ``parts`` only.
            parts: body parts (names or labels) to extract from, all others are left out.
            height, width: size the photographs are framed to; by default the model's, or their own.
            frame: how; see :class:`pocold.images.Frame`.
            generator: draw the latent from the autoencoder's distribution, as published; None takes its mean, which
                makes the code repeatable.

        Raises:
            ValueError: for pictures or maps that cannot be used, or if a map shows none of ``parts``.
        """
        sources, maps = listed(source), listed(source_pose)
        if not sources:
            raise ValueError("source: expected at least one photograph, got none")
        if parts is not None and len(maps) != len(sources):
            raise ValueError(f"parts need one source_pose for each of the {len(sources)} photographs")
        codes = []
        for i, item in enumerate(sources):
            picture = images.load_image(item, "source" if len(sources) == 1 else f"source {i}")
            size = self._size(height, width, default=self._own_size(picture.size[::-1]))
            placed = Frame(picture.size[::-1], size, frame)
            labels = None
            if parts is not None:
                labels = torch.from_numpy(placed.labels(load_pose(maps[i], "source_pose").labels))[None]
            codes.append(self.encode_tensors(images.to_tensor(placed.image(picture)), labels, parts, generator))
        return codes[0] if len(codes) == 1 else AppearanceCode.union(codes)

    @torch.no_grad()
    def encode_tensors(
        self,
        pictures: Tensor,
        labels: Tensor | None = None,
        parts: str | int | Sequence[str | int] | None = None,
        generator: Generator = None,
    ) -> AppearanceCode:
        """The inner door of :meth:`encode_appearance`: a batch of people, one photograph each.

        Args:
            pictures: float ``(B, 3, H, W)`` in [-1, 1], sizes multiples of the autoencoder's factor.
            labels: body labels ``(B, H, W)``, needed for ``parts``.
            parts: see :meth:`encode_appearance`.
            generator: likewise.

        Returns:
            The codes of B people.
        """
        pictures = pictures.to(self._execution_device)
        latents = autoencoder.encode(self.vae, pictures, sample=generator is not None, generator=generator)
        features = self.appearance_encoder(latents.to(self.appearance_encoder.dtype))
        masks = None
        if parts is not None:
            if labels is None:
                raise ValueError("parts need the labels of the photographs")
            masks = token_masks(labels.to(self._execution_device), [feature.shape[-2:] for feature in features], parts)
        return self.unet.extract_appearance(features, fingerprint=self.fingerprint(), token_masks=masks)

    # -- pictures ------------------------------------------------------------------------------------------------

    @property
    def interrupt(self) -> bool:
        """Set ``pipeline._interrupt = True`` in a step callback to stop: the batch is returned as it is then."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        source: ImageInput | Sequence[ImageInput] | AppearanceCode | None = None,
        pose: PoseInput | Sequence[PoseInput] | None = None,
        *,
        image: ImageInput | None = None,
        mask: MaskInput | None = None,
        height: int | None = None,
        width: int | None = None,
        frame: FrameMode = "pad",
        num_inference_steps: int = 50,
        guidance: str = "pose_first",
        pose_guidance_scale: float = 5.0,
        appearance_guidance_scale: float = 5.0,
        guidance_floor: float | None = 3.0,
        eta: float = 0.0,
        batch_size: int = 4,
        generator: Generator = None,
        latents: Tensor | None = None,
        feather: int | None = 8,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Any:
        """Draw one picture per pose.

        Args:
            source: a photograph, several of one person, or an appearance code (of one person for all poses, or of one
                person per pose). May be left out with guidance that ignores it (``pose_only``).
            pose: a DensePose map, or several.
            image: a picture to edit, with ``mask``: bool or 0/255, True where it is generated, of the picture's size.
            height, width: of the result, multiples of the autoencoder's factor; by default the model's size, or the
                first pose's. Photographs, poses and the edited picture are framed to it.
            frame: how; see :class:`pocold.images.Frame`.
            num_inference_steps: denoising steps.
            guidance: formula by name; see ``pocold.guidance``.
            pose_guidance_scale, appearance_guidance_scale: w_p and w_s.
            guidance_floor: scales decay with the noise, down to this (or to the scale itself where that is lower); None
                keeps them constant.
            eta: 0 is deterministic DDIM, 1 is DDPM; other schedulers ignore it.
            batch_size: pictures drawn at once; a matter of memory, not of results.
            generator: one for all pictures, or a list with one each: then a picture does not depend on its batch.
            latents: starting noise ``(B, C, h, w)`` instead of random draws.
            feather: with ``image``: after decoding, paste the kept pixels back to the bit, blending over this many
                pixels inside the mask; None leaves them as the autoencoder renders them.
            output_type: ``pil``, ``np`` ((B, H, W, 3) in [0, 1]), ``pt`` ((B, 3, H, W) in [0, 1]) or ``latent``.
            return_dict: False returns a tuple.
            callback_on_step_end: called as ``(pipeline, step, timestep, {"latents": ...})``, may return new latents.
            callback_on_step_end_tensor_inputs: names it gets; only ``latents`` exists.

        Returns:
            ``images`` of an :class:`ImagePipelineOutput`, in the order of the poses; fewer than poses if interrupted.

        Raises:
            ValueError: for any input that cannot be used; the message says what was expected.
        """
        formula = guidance_formula(guidance)
        check_whole("num_inference_steps", num_inference_steps, 1, self.scheduler.config.num_train_timesteps)
        check_whole("batch_size", batch_size, 1)
        check_one_of("output_type", output_type, get_args(OutputType))
        if feather is not None:
            check_whole("feather", feather, 0)
        if guidance_floor is not None:
            check_finite("guidance_floor", guidance_floor)
        check_finite("pose_guidance_scale", pose_guidance_scale)
        check_finite("appearance_guidance_scale", appearance_guidance_scale)
        check_finite("eta", eta, 0, 1)
        for name in callback_on_step_end_tensor_inputs:
            check_one_of("callback_on_step_end_tensor_inputs", name, self._callback_tensor_inputs)
        self._interrupt = False
        maps = load_poses(pose)
        size = self._size(height, width, default=self._own_size(maps[0].size))
        factor = autoencoder.downsampling_factor(self.vae)
        latent_size = (size[0] // factor, size[1] // factor)
        labels = torch.stack([torch.from_numpy(Frame(map.size, size, frame).labels(map.labels)) for map in maps])
        poses = one_hot(labels.to(self._execution_device), latent_size, self.unet.dtype)
        code = None
        # Decay keeps a scale of zero, so what needs no source now needs none at any time step.
        if WITH_APPEARANCE & set(formula(pose_guidance_scale, appearance_guidance_scale).needed):
            code = self._code(source, len(maps), size, frame)

        def weights_at(timestep: float) -> BranchWeights:
            scales = pose_guidance_scale, appearance_guidance_scale
            if guidance_floor is None:
                return formula(*scales)
            steps = self.scheduler.config.num_train_timesteps
            # never above the scale that was asked for, which the published rule would raise to the floor
            return formula(*(decayed(w, timestep, min(w, guidance_floor), steps) for w in scales))

        shape = (len(maps), self.unet.config.latent_channels, *latent_size)
        noise = starting_noise(shape, generator, latents, self._execution_device)
        edited = None
        if image is not None and mask is not None:
            edited = EditedImage.load(image, mask, self.vae, size, frame, self._execution_device)
        elif image is not None or mask is not None:
            raise ValueError("editing needs both image and mask")

        results = []
        self._set_timesteps(num_inference_steps)
        batches = range(0, len(maps), batch_size)
        with self.progress_bar(total=len(batches) * len(self.scheduler.timesteps)) as progress:

            def on_step(step: int, timestep: Tensor, latents: Tensor) -> tuple[Tensor, bool]:
                progress.update()
                if callback_on_step_end is not None:
                    changed = callback_on_step_end(self, step, int(timestep), {"latents": latents})
                    latents = (changed or {}).get("latents", latents)
                return latents, not self._interrupt

            for start in batches:
                rows = slice(start, start + batch_size)
                # again for every batch: solvers keep a history of steps
                self._set_timesteps(num_inference_steps)
                final = denoise(
                    self.unet,
                    self.scheduler,
                    noise[rows],
                    poses[rows],
                    code if code is None or len(code) == 1 else code[rows],
                    weights_at,
                    kept=edited.kept(noise[rows]) if edited else None,
                    eta=eta,
                    generator=generator[rows] if isinstance(generator, list) else generator,
                    on_step=on_step,
                )
                results.append(final if output_type == "latent" else self._decode(final, edited, feather))
                if self._interrupt:
                    break
        output = _convert(torch.cat(results), output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=output) if return_dict else (output,)

    # -- preparing inputs ----------------------------------------------------------------------------------------

    def _set_timesteps(self, steps: int) -> None:
        self.scheduler.set_timesteps(steps, device=self._execution_device)
        last, reached = self.scheduler.config.num_train_timesteps, float(self.scheduler.timesteps.max())
        if reached >= last:
            # schedules with an offset, as the published one, overrun when every time step is used
            raise ValueError(
                f"num_inference_steps: {steps} are too many for {type(self.scheduler).__name__}, "
                f"whose time steps would reach {reached:g} of 0..{last - 1}; take at most {last - 1}"
            )

    def _own_size(self, fallback: tuple[int, int]) -> tuple[int, int]:
        """The picture size the model was trained for, or ``fallback``."""
        factor = autoencoder.downsampling_factor(self.vae)
        sample_size = self.unet.config.sample_size
        return fallback if sample_size is None else (sample_size[0] * factor, sample_size[1] * factor)

    def _size(self, height: int | None, width: int | None, default: tuple[int, int]) -> tuple[int, int]:
        size = (default[0] if height is None else height, default[1] if width is None else width)
        for name, side in zip(("height", "width"), size, strict=True):
            check_whole(name, side, 1)
        factor = autoencoder.downsampling_factor(self.vae)
        if any(side < factor or side % factor for side in size):
            near = tuple(max(factor, round(side / factor) * factor) for side in size)
            raise ValueError(
                f"height and width must be multiples of {factor}, got {size[0]}x{size[1]}; "
                f"pass height={near[0]}, width={near[1]} to frame everything to that"
            )
        return size

    def _code(
        self,
        source: ImageInput | Sequence[ImageInput] | AppearanceCode | None,
        pictures: int,
        size: tuple[int, int],
        frame: FrameMode,
    ) -> AppearanceCode:
        """The code for ``pictures`` pictures."""
        if source is None:
            raise ValueError("source: expected a photograph or an appearance code (this guidance sees the appearance)")
        if any(isinstance(item, AppearanceCode) for item in listed(source)) and not isinstance(source, AppearanceCode):
            raise ValueError("source: several appearance codes are given as one: AppearanceCode.stack([...])")
        if not isinstance(source, AppearanceCode):
            return self.encode_appearance(source, height=size[0], width=size[1], frame=frame)
        source.check_model(self.fingerprint(), self.unet.code_shapes())
        if len(source) not in (1, pictures):
            raise ValueError(
                f"expected the appearance code of 1 person or of one per pose ({pictures}), got {len(source)}"
            )
        return source.to(self._execution_device, self.unet.dtype)

    def _decode(self, latents: Tensor, edited: EditedImage | None, feather: int | None) -> Tensor:
        pictures = autoencoder.decode(self.vae, latents).float().clamp(-1, 1)
        if edited is None or feather is None:
            return pictures
        return edited.paste_back(pictures, feather)


def _convert(result: Tensor, output_type: OutputType) -> Any:
    """Pictures in [-1, 1], or latents, as the caller wants them."""
    if output_type == "pil":
        return images.to_pil(result)
    if output_type == "np":
        return images.to_numpy(result)
    return result / 2 + 0.5 if output_type == "pt" else result
