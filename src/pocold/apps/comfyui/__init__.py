"""Nodes for ComfyUI (docs/comfyui.md): ``model_nodes``, ``pose_nodes``, ``drawing_nodes``; ``work`` is what they do.

ComfyUI needs the two names below, from a file in its ``custom_nodes`` that imports them or from this folder itself.
"""

from pocold.apps.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
