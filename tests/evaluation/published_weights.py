"""Random weights with the names and shapes of published files; the same numbers for every machine and module order."""

import zlib

import torch

ALEXNET = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}


def random_values(name, shape):
    """Of a size that keeps activations near 1 through many layers."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith(("running_var", "bn.weight")):
        return torch.rand(shape, generator=generator) + 0.5
    if len(shape) > 1:
        fan_in = torch.Size(shape[1:]).numel()
        return torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return torch.randn(shape, generator=generator) * 0.1


def random_state(shapes):
    return {name: random_values(name, shape) for name, shape in shapes.items()}


def alexnet_state():
    """Names and shapes of torchvision's file; the classifier, which is not read, is small."""
    shapes = {f"features.{i}.weight": shape for i, shape in ALEXNET.items()}
    shapes |= {f"features.{i}.bias": shape[:1] for i, shape in ALEXNET.items()}
    return random_state({**shapes, "classifier.1.weight": (4, 4), "classifier.1.bias": (4,)})


def heads_state():
    shapes = {f"lin{i}.model.1.weight": (1, shape[0], 1, 1) for i, shape in enumerate(ALEXNET.values())}
    return {name: values.abs() for name, values in random_state(shapes).items()}


_WAVES = ((5, 1, 0), (2, 7, 1), (9, 4, 2), (1, 3, 3), (6, 6, 4), (3, 8, 5))


def wave_pictures():
    """(2, 3, 70, 50) in [-1, 1]: smooth, so that all layers of the networks have something to see."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 70), torch.linspace(0, 2, 50), indexing="ij")
    waves = [torch.sin(a * y + b * x + c) for a, b, c in _WAVES]
    return torch.stack(waves).view(2, 3, 70, 50)
