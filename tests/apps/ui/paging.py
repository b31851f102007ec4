"""Pages of a toy model, without a browser."""

from estimators import constant_estimator
from pocold.apps.drawing.models import open_for
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.ui.example import copy_example
from pocold.apps.ui.sessions import Sessions


def toy_model(folder):
    """The toy model of 128x88, whose estimator finds nobody."""
    model = open_for(DrawOptions(model=folder / "sized"))
    model.pipeline.register_modules(densepose_estimator=constant_estimator(0))
    return model


def opened(root, **options):
    """The sessions of a server, and one of a page that was just loaded."""
    sessions = Sessions(root, copy_example(root / "example"), 1e6, **options)
    return sessions, sessions.open("page")
