"""Dumps in detectron2's layout, written with stand-ins under its module names, gone before anything is read."""

import pickle
import sys
from contextlib import contextmanager
from dataclasses import dataclass, make_dataclass
from types import ModuleType

import torch

STRUCTURES = "densepose.structures"  # where classes were until August 2020
CHARTS = f"{STRUCTURES}.chart_result"
CSE = f"{STRUCTURES}.cse"
FORMS = ("pickle 2", "pickle 4", "pickle 5", "torch", "torch legacy")


@contextmanager
def detectron2(within=""):
    """The classes of DensePose's results, importable as where detectron2's project is installed, or a copy of it."""
    names = [within + name for name in ("densepose", STRUCTURES, CHARTS, CSE)]
    names += [within[:end] for end, letter in enumerate(within) if letter == "."]
    classes = {
        (CHARTS, "DensePoseChartResult"): ("labels", "uv"),
        (CHARTS, "DensePoseChartResultWithConfidences"): ("labels", "uv", "sigma_u", "sigma_v"),
        (CHARTS, "DensePoseChartResultQuantized"): ("labels_uv_uint8",),
        (CHARTS, "DensePoseChartResultCompressed"): ("shape_chw", "labels_uv_str"),
        (CSE, "DensePoseEmbeddingPredictorOutput"): ("embedding", "coarse_segm"),
        (STRUCTURES, "DensePoseResult"): ("boxes_xywh", "results"),
    }
    assert not any(name in sys.modules for name in names)
    modules = {name: ModuleType(name) for name in names}
    found = {}
    for (module, name), fields in classes.items():
        found[name] = make_dataclass(name, fields)
        found[name].__module__ = within + module
        setattr(modules[within + module], name, found[name])
    sys.modules |= modules
    try:
        yield found
    finally:
        for name in names:
            del sys.modules[name]


def write(content, path, form="torch"):
    with path.open("wb") as file:
        if form.startswith("pickle"):
            pickle.dump(content, file, protocol=int(form[-1]))
        else:
            torch.save(content, file, _use_new_zipfile_serialization=form == "torch")
    return path


@dataclass
class Someone:
    """A person to be dumped: labels and uv of a box, and where it is."""

    labels: torch.Tensor
    uv: torch.Tensor
    top: int
    left: int
    score: float = 0.9

    @property
    def box(self):
        height, width = self.labels.shape
        # the detector's boxes are no whole numbers
        return [self.left + 0.4, self.top + 0.4, self.left + width + 0.3, self.top + height + 0.3]


def someone(height=12, width=8, top=3, left=5, seed=0, score=0.9):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 25, (height, width), generator=generator)
    uv = torch.rand(2, height, width, generator=generator) * (labels > 0)
    return Someone(labels, uv, top, left, score)


def entry(people, file_name="/data/photos/street.jpg", kind="DensePoseChartResultWithConfidences"):
    """One picture of a dump; only inside of ``detectron2()``."""
    cls = getattr(sys.modules[CHARTS], kind)
    extra = (None, None) if "Confidences" in kind else ()
    return {
        "file_name": file_name,
        "scores": torch.tensor([person.score for person in people]),
        "pred_boxes_XYXY": torch.tensor([person.box for person in people]),
        "pred_densepose": [cls(person.labels, person.uv, *extra) for person in people],
    }


def write_street(path, *people, form="torch", file_name="/data/photos/street.jpg"):
    """A dump of one picture with these people."""
    with detectron2():
        return write([entry(people, file_name)], path, form)
