"""Workflows for tests: read, checked as ComfyUI checks them, and run by the example that runs them."""

import json
import runpy
from importlib.resources import files
from pathlib import Path

from pocold.apps.comfyui import NODE_CLASS_MAPPINGS

ROOT = Path(__file__).parents[3]
WORKFLOWS = Path(str(files("pocold.apps.comfyui"))) / "workflows"
CORE = {  # ComfyUI's own: inputs that are sockets, inputs that are widgets, outputs
    "LoadImage": ({}, ["image"], ("IMAGE", "MASK")),
    "SaveImage": ({"images": "IMAGE"}, ["filename_prefix"], ()),
    "PreviewImage": ({"images": "IMAGE"}, [], ()),
}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")


def is_widget(kind):
    return isinstance(kind, list) or kind in WIDGETS


def workflow(name):
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())


def run_workflow(graph, inputs, output):
    return runpy.run_path(str(ROOT / "examples" / "comfyui_workflow.py"))["run_workflow"](graph, inputs, output)


def inputs_of(kind):
    """All inputs of a node of ours, by name, with whether they are required."""
    types = NODE_CLASS_MAPPINGS[kind].INPUT_TYPES()
    assert types.keys() <= {"required", "optional"}
    return {
        name: (*spec, group == "required")
        for group in ("required", "optional")
        for name, spec in types.get(group, {}).items()
    }


def check_graph(graph):
    """What ComfyUI checks before it runs a workflow: links of the right type, allowed values, nothing missing."""
    for number, node in graph.items():
        kind, given = node["class_type"], node["inputs"]
        if kind in CORE:
            sockets, widgets, _ = CORE[kind]
            types = {name: (of, {}, True) for name, of in sockets.items()}
            types |= {name: ("STRING", {}, True) for name in widgets}
        else:
            types = inputs_of(kind)
        assert given.keys() <= types.keys(), number
        for name, (of, options, required) in types.items():
            where = f"{number} {kind} {name}"
            if name not in given:
                assert not required, where
            elif isinstance(given[name], list):
                source, slot = given[name]
                returns = graph[source]["class_type"]
                returns = CORE[returns][2] if returns in CORE else NODE_CLASS_MAPPINGS[returns].RETURN_TYPES
                assert returns[slot] == of, where
            elif isinstance(of, list):
                assert given[name] in of, where
            else:
                assert isinstance(
                    given[name], {"INT": int, "FLOAT": int | float, "STRING": str, "BOOLEAN": bool}[of]
                ), where
                assert options.get("min", given[name]) <= given[name] <= options.get("max", given[name]), where


def api_of(drawn):
    """The API format of a workflow as ComfyUI's page saves it."""
    sources = {link[0]: [str(link[1]), link[2]] for link in drawn["links"]}
    graph = {}
    for node in drawn["nodes"]:
        kind, values = node["type"], list(node["widgets_values"])
        links = {entry["name"]: sources[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        inputs = {}
        if kind in CORE:
            names = [*CORE[kind][0], *CORE[kind][1]]
            inputs = {name: links[name] if name in links else values.pop(0) for name in names}
            assert values == (["image"] if kind == "LoadImage" else [])  # the button that uploads
        else:
            for name, (of, options, _) in inputs_of(kind).items():
                if name in links:
                    inputs[name] = links[name]
                elif is_widget(of):
                    inputs[name] = values.pop(0)
                    if options.get("control_after_generate"):
                        assert values.pop(0) in ("fixed", "increment", "decrement", "randomize")
            assert values == []
        graph[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return graph
