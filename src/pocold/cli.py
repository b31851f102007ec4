"""The ``pocold`` command. Heavy imports stay inside the command functions, so that ``--help`` needs no torch."""

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from pocold.apps.commands import animate, bulk, edit, encode, mix, show, transfer
from pocold.apps.pose import pose
from pocold.apps.serve.command import serve
from pocold.apps.ui.command import ui
from pocold.data.commands import check, shards, synth
from pocold.evaluation.commands import compare, evaluate
from pocold.training.commands import CONFIGURED, latents, run_configured
from pocold.usage import OUTPUT, option_names, told_in_one_line


def demo(
    output: Annotated[Path, OUTPUT] = Path("out/demo.png"),
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Draw synthetic people in several poses, end to end, with the bundled model.

    Args:
        output: The picture to write; its parts (person.png, person.iuv.png, pose-1.png, ...) are written beside it.
        steps: Denoising steps; the model's own number if not given.
        seed: Seed of the first picture; the next ones count up.
        device: Such as cpu or cuda; auto takes a GPU where there is one.
        overwrite: Replace existing files even if pocold did not write them.
    """
    from pocold.apps.demo import run_demo

    drawn = run_demo(output, steps, seed, device, overwrite)
    print(f"{drawn.sheet} ({drawn.notice})")
    print("beside it:", ", ".join(path.name for path in drawn.parts))


def convert(
    checkpoint: Positional[Path],
    vae: Path,
    output: Annotated[Path, OUTPUT],
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
) -> None:
    """Convert a checkpoint of the official PoCoLD release into a pocold model folder.

    Args:
        checkpoint: Folder with unet, rie and channel_mapper.
        vae: Folder of the autoencoder it was trained with, such as sd-vae-ft-mse.
        output: Model folder to write.
        precision: Of the weights that are written.
    """
    from pocold.conversion.official import convert_pipeline
    from pocold.devices import PRECISIONS

    convert_pipeline(checkpoint, vae, PRECISIONS[precision]).save_pretrained(output)
    print(output)


def export_estimator(estimator: Positional[Path], output: Annotated[Path, OUTPUT], overwrite: bool = False) -> None:
    """Write a DensePose estimator as ONNX, for programs without torch: photo (B, 3, H, W) in [-1, 1] to labels, logits
    (B, 25, H, W), and uv (B, 2, H, W), for any H and W.

    Args:
        estimator: Folder of the estimator.
        output: File to write, such as estimator.onnx.
        overwrite: Replace an existing file.
    """
    from pocold.conversion.onnx import export_estimator as export
    from pocold.imaging.files import check_replaceable

    check_replaceable([output], [], overwrite, lambda _: False)
    export(estimator, output)
    print(output)


_Check = Annotated[Any, tyro.conf.subcommand(name="check", constructor=check)]
_Shards = Annotated[Any, tyro.conf.subcommand(name="shards", constructor=shards)]
_Latents = Annotated[Any, tyro.conf.subcommand(name="latents", constructor=latents)]


def data(action: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[_Check | _Shards | _Latents]]) -> None:
    """Look through a data set, pack it into shards, or encode it into latents."""


_BELOW_DATA: dict[str, Callable[..., Any]] = {"check": check, "shards": shards, "latents": latents}
COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": demo,
    "transfer": transfer,
    "encode": encode,
    "edit": edit,
    "mix": mix,
    "animate": animate,
    "bulk": bulk,
    "show": show,
    "pose": pose,
    "ui": ui,
    "serve": serve,
    "synth": synth,
    "data": data,
    **CONFIGURED,
    "evaluate": evaluate,
    "compare": compare,
    "convert": convert,
    "export-estimator": export_estimator,
}


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Our own warnings in one line, as errors are; those of other packages as ever."""
    if category.__module__.startswith("pocold."):
        print(f"pocold: warning: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``pocold``; a user's mistake ends in one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # redirected on Windows it is cp1252, and an arrow in a table would end the command after all its work
            stream.reconfigure(errors="replace")
    # put back at the end: tests, and whoever else calls this, have their own
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        _run(arguments)


def _run(arguments: Sequence[str] | None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] and arguments[0] in CONFIGURED and arguments[1:2] not in (["--help"], ["-h"]):
            return run_configured(arguments[0], arguments[1:])
        with _told_in_one_line(arguments):
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="pocold",
                description="Controllable person image synthesis with pose-constrained latent diffusion.",
                args=arguments,
            )
    except BrokenPipeError:  # whoever reads has enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be flushed at the end goes nowhere
        raise SystemExit(141) from None
    except (ValueError, OSError) as error:
        print(f"pocold: error: {_sentence(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("pocold: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


def _told_in_one_line(arguments: Sequence[str]) -> AbstractContextManager[None]:
    """See :func:`pocold.usage.told_in_one_line`, of the command that is called, or of all."""
    words, below = arguments[:1], dict[str, Callable[..., Any]](COMMANDS)
    if arguments[:1] == ["data"]:
        words, below = arguments[:2], _BELOW_DATA
    name = words[-1].replace("_", "-") if words else ""
    if name not in below or name == "data":
        prog = "pocold data" if below is _BELOW_DATA else "pocold"
        return told_in_one_line(prog, list, list(below))
    return told_in_one_line(" ".join(["pocold", *words]), lambda: list(option_names(below[name])))


def _sentence(error: Exception) -> str:
    """An error for people: of the system's, what it is about and not its number."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        return f"expected a folder, but {error.filename} is a file"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    main()
