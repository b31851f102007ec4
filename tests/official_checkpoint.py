"""A checkpoint as the published code writes it, of toy size."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parent / "golden" / "parity"


def write_official_checkpoint(folder):
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    weights = load_file(GOLDEN / "weights.safetensors")
    for part in ("unet", "rie", "channel_mapper"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(manifest[f"{part}_config"]))
        state = {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}
        save_file(state, folder / part / "diffusion_pytorch_model.safetensors")
