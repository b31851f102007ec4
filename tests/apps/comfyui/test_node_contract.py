"""What ComfyUI and saved workflows rely on: ids, inputs, outputs, widgets."""

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from graphs import is_widget

import pocold.apps.comfyui as package
from pocold.apps.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from pocold.apps.comfyui.model_nodes import GUIDANCE, SCHEDULERS

SIZE = "height: INT, width: INT"
DRAW = "seed: INT, steps: INT"
# A saved workflow names its nodes by id and their inputs by name, and counts outputs and widgets: this only grows.
CONTRACT = {
    "PocoldLoadModel": ("folder: STRING, precision: COMBO, device: COMBO, scheduler: COMBO", "model: POCOLD_PIPELINE"),
    "PocoldSettings": (
        "guidance: COMBO, pose_scale: FLOAT, appearance_scale: FLOAT, guidance_floor: FLOAT, eta: FLOAT, "
        f"batch_size: INT, {SIZE}",
        "settings: POCOLD_SETTINGS",
    ),
    "PocoldFindBody": ("model: POCOLD_PIPELINE, image: IMAGE", "map: POCOLD_MAP, preview: IMAGE"),
    "PocoldCutOut": ("model: POCOLD_PIPELINE, image: IMAGE, map: POCOLD_MAP", "image: IMAGE, map: POCOLD_MAP"),
    "PocoldPoseByName": (
        f"poses: STRING, {SIZE}, [like: POCOLD_MAP], [before: POCOLD_MAP]", "pose: POCOLD_MAP, preview: IMAGE"
    ),
    "PocoldPoseFromFile": ("path: STRING, person: INT, [before: POCOLD_MAP]", "pose: POCOLD_MAP, preview: IMAGE"),
    "PocoldPoseFromKeypoints": (
        "keypoints: POSE_KEYPOINT, person: INT, [before: POCOLD_MAP]", "pose: POCOLD_MAP, preview: IMAGE"
    ),
    "PocoldMotion": (
        f"motion: COMBO, poses: STRING, view: STRING, frames: INT, loop: BOOLEAN, {SIZE}, [like: POCOLD_MAP]",
        "pose: POCOLD_MAP, preview: IMAGE",
    ),
    "PocoldPartMask": ("map: POCOLD_MAP, parts: STRING, grow: INT", "mask: MASK"),
    "PocoldEncode": (
        f"model: POCOLD_PIPELINE, image: IMAGE, parts: STRING, frame: COMBO, {SIZE}, [map: POCOLD_MAP], "
        "[more: POCOLD_CODE]",
        "code: POCOLD_CODE",
    ),
    "PocoldMix": (
        f"model: POCOLD_PIPELINE, parts: STRING, weight: FLOAT, frame: COMBO, {SIZE}, [first_image: IMAGE], "
        "[first_map: POCOLD_MAP], [first_code: POCOLD_CODE], [second_image: IMAGE], [second_map: POCOLD_MAP], "
        "[second_code: POCOLD_CODE]",
        "code: POCOLD_CODE",
    ),
    "PocoldTransfer": (
        f"model: POCOLD_PIPELINE, code: POCOLD_CODE, pose: POCOLD_MAP, {DRAW}, num_images: INT, frame: COMBO, "
        "[settings: POCOLD_SETTINGS]",
        "image: IMAGE",
    ),
    "PocoldEdit": (
        f"model: POCOLD_PIPELINE, image: IMAGE, mask: MASK, {DRAW}, num_images: INT, grow: INT, feather: INT, "
        "[map: POCOLD_MAP], [like_image: IMAGE], [like_map: POCOLD_MAP], [like_code: POCOLD_CODE], "
        "[settings: POCOLD_SETTINGS]",
        "image: IMAGE",
    ),
    "PocoldAnimate": (
        f"model: POCOLD_PIPELINE, code: POCOLD_CODE, pose: POCOLD_MAP, {DRAW}, noise: COMBO, frame: COMBO, "
        "[settings: POCOLD_SETTINGS]",
        "frames: IMAGE",
    ),
}  # fmt: skip
NODES = pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS.values(), ids=NODE_CLASS_MAPPINGS)


def described(node):
    inputs = []
    for group, form in (("required", "{}: {}"), ("optional", "[{}: {}]")):
        for name, (kind, _) in node.INPUT_TYPES().get(group, {}).items():
            inputs.append(form.format(name, "COMBO" if isinstance(kind, list) else kind))
    outputs = [f"{name}: {kind}" for name, kind in zip(node.RETURN_NAMES, node.RETURN_TYPES, strict=True)]
    return ", ".join(inputs), ", ".join(outputs)


def test_ids_inputs_and_outputs_stay():
    assert {name: described(node) for name, node in NODE_CLASS_MAPPINGS.items()} == CONTRACT
    assert NODE_DISPLAY_NAME_MAPPINGS.keys() == CONTRACT.keys()
    assert len(set(NODE_DISPLAY_NAME_MAPPINGS.values())) == len(CONTRACT)


@NODES
def test_every_widget_can_be_shown(node):
    types = node.INPUT_TYPES()
    json.dumps(types)
    assert node.CATEGORY == "pocold"
    assert node.DESCRIPTION
    for name, (kind, options) in [item for group in types.values() for item in group.items()]:
        assert options["tooltip"].endswith("."), name
        if isinstance(kind, list):
            assert options["default"] in kind
        elif kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], name
        assert is_widget(kind) == ("default" in options), name


@NODES
def test_what_runs_takes_the_inputs(node):
    """ComfyUI calls it by keywords, and leaves out optional inputs that are not connected."""
    parameters = dict(inspect.signature(getattr(node, node.FUNCTION)).parameters)
    parameters.pop("self")
    types = node.INPUT_TYPES()
    assert list(parameters) == [*types["required"], *types.get("optional", {})]
    for name in types.get("optional", {}):
        assert parameters[name].default is None


def test_choices_are_those_that_there_are():
    from pocold.diffusion.guidance import GUIDANCE as FORMULAS
    from pocold.diffusion.schedulers import SCHEDULERS as SAMPLERS

    assert list(SAMPLERS) == SCHEDULERS
    assert set(GUIDANCE) == set(FORMULAS)


def load_as_comfyui(path, name):
    place = path / "__init__.py" if path.is_dir() else path
    spec = importlib.util.spec_from_file_location(name, place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def test_custom_nodes_by_two_lines_or_by_the_folder(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "comfyui.md").read_text()
    line = "from pocold.apps.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS"
    assert line in page
    (tmp_path / "pocold_nodes.py").write_text(f'"""PoCoLD."""\n{line}\n')
    (tmp_path / "linked").symlink_to(Path(package.__file__).parent)
    for place in ("pocold_nodes.py", "linked"):
        module = load_as_comfyui(tmp_path / place, f"custom_nodes.{place}")
        assert module.NODE_CLASS_MAPPINGS is NODE_CLASS_MAPPINGS
        assert module.NODE_DISPLAY_NAME_MAPPINGS is NODE_DISPLAY_NAME_MAPPINGS


def test_comfyui_starts_without_loading_networks():
    code = "import sys, pocold.apps.comfyui; print(*{'torch', 'diffusers', 'PIL', 'comfy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
