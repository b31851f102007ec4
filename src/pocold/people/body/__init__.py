"""The body: adult shape space, skeleton, skinning, poses before a camera, and fitting them to a map."""
