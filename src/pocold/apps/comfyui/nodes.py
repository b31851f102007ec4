"""The nodes by id. Saved workflows know them by these ids and by the names of their inputs: neither changes."""

from pocold.apps.comfyui import drawing_nodes, model_nodes, pose_nodes
from pocold.apps.comfyui.widgets import Node

NODE_CLASS_MAPPINGS: dict[str, type[Node]] = {
    "PocoldLoadModel": model_nodes.LoadModel,
    "PocoldSettings": model_nodes.Settings,
    "PocoldFindBody": pose_nodes.FindBody,
    "PocoldCutOut": pose_nodes.CutOut,
    "PocoldPoseByName": pose_nodes.PoseByName,
    "PocoldPoseFromFile": pose_nodes.PoseFromFile,
    "PocoldPoseFromKeypoints": pose_nodes.PoseFromKeypoints,
    "PocoldMotion": pose_nodes.Motion,
    "PocoldPartMask": pose_nodes.PartMask,
    "PocoldEncode": drawing_nodes.Encode,
    "PocoldMix": drawing_nodes.Mix,
    "PocoldTransfer": drawing_nodes.Transfer,
    "PocoldEdit": drawing_nodes.Edit,
    "PocoldAnimate": drawing_nodes.Animate,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "PocoldLoadModel": "PoCoLD Load Model",
    "PocoldSettings": "PoCoLD Drawing Settings",
    "PocoldFindBody": "PoCoLD Find Body",
    "PocoldCutOut": "PoCoLD Cut Out Person",
    "PocoldPoseByName": "PoCoLD Pose by Name",
    "PocoldPoseFromFile": "PoCoLD Pose from File",
    "PocoldPoseFromKeypoints": "PoCoLD Pose from Keypoints",
    "PocoldMotion": "PoCoLD Motion",
    "PocoldPartMask": "PoCoLD Body Part Mask",
    "PocoldEncode": "PoCoLD Encode Appearance",
    "PocoldMix": "PoCoLD Mix People",
    "PocoldTransfer": "PoCoLD Transfer",
    "PocoldEdit": "PoCoLD Edit",
    "PocoldAnimate": "PoCoLD Animate",
}
