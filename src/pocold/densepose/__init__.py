"""DensePose: labels, maps, files of every kind, framing, coverage, and which pixel shows which point of the body.

:class:`DensePose` and the labels are imported from here; everything else from the modules.
"""

from pocold.densepose.labels import BODY_PARTS, LABEL_NAMES, NUM_LABELS, body_part_labels
from pocold.densepose.maps import DensePose

__all__ = ["BODY_PARTS", "LABEL_NAMES", "NUM_LABELS", "DensePose", "body_part_labels"]
