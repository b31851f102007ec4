"""Whom a command works for: who opens the model, hears warnings, watches the progress and takes the report."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pocold.apps.drawing.draw import Progress, progress_bar
from pocold.apps.drawing.models import Model, open_for
from pocold.apps.drawing.options import ModelOptions
from pocold.apps.drawing.results import Report
from pocold.apps.drawing.sources import Tell, warn


@dataclass(frozen=True)
class FrontEnd:
    """A terminal, unless told otherwise.

    Attributes:
        open: gives the model that the options name.
        tell: is told what a person should know, sentence by sentence.
        progress: shows the progress of so many pictures; an exception raised by what it gives ends the drawing.
        take: is given the report at the end.
    """

    open: Callable[[ModelOptions], Model] = open_for
    tell: Tell = warn
    progress: Callable[[int], AbstractContextManager[Progress]] = progress_bar
    take: Callable[[Report], None] = Report.tell


TERMINAL = FrontEnd()
