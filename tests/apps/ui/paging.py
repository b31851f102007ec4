"""Pages of a toy model, without a browser."""

from contextlib import contextmanager

from estimators import constant_estimator
from pocold.apps.drawing.models import open_for
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.ui.example import write_example
from pocold.apps.ui.sessions import Sessions


def toy_model(folder):
    """The toy model of 128x88, whose estimator finds nobody."""
    model = open_for(DrawOptions(model=folder / "sized"))
    model.pipeline.register_modules(densepose_estimator=constant_estimator(0))
    return model


def opened(root, size, max_pixels=1e6):
    """The sessions of a server, and one of a page that was just loaded."""
    sessions = Sessions(root, write_example(root / "example", size), max_pixels)
    return sessions, sessions.open("page")


@contextmanager
def kept_files(root):
    """Nothing but the example is left of what the block wrote."""
    yield
    left = [path for path in root.rglob("*") if path.is_file() and "example" not in path.parts]
    assert left == []
