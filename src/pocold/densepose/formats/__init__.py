"""Foreign formats of DensePose maps: detectron2 dumps, arrays, other channel orders, pictures of visualisers."""
