"""Drawing for a page: the bodies of the commands in a thread of their own, watched while they run."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

from pocold.apps.animate.command import run_animate
from pocold.apps.animate.motions import Asked, Length
from pocold.apps.drawing.draw import Progress
from pocold.apps.drawing.front import FrontEnd
from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.drawing.results import Report
from pocold.apps.edit import run_edit
from pocold.apps.mix import run_mix
from pocold.apps.serve.problems import ProblemError
from pocold.apps.transfer import run_transfer
from pocold.apps.ui.sessions import Session

Body = Callable[[Path, FrontEnd], None]  # a command, its folder for what it draws, and whom it works for
_LOOK = 0.25  # seconds between two looks at the progress


class StoppedError(Exception):
    """The page does not want the pictures any more."""


@dataclass
class State:
    """What a page shows of a drawing.

    Attributes:
        done, total: pictures, the first a fraction.
        seconds: since it began.
        ended: whether that is all.
        stopped: whether it was stopped before all was drawn.
        error: why nothing more came.
        files: what was drawn, with metadata; shown first, then what is to be downloaded beside it.
        again: command lines that draw the same again.
        told: what a person should know.
    """

    done: float = 0.0
    total: int = 0
    seconds: float = 0.0
    ended: bool = False
    stopped: bool = False
    error: str | None = None
    files: list[Path] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take; None until that can be told."""
        return self.seconds * (self.total / self.done - 1) if self.done > 0 else None


def draw(session: Session, model: Model, body: Body) -> Iterator[State]:
    """Run the body of a command, and say how far it is until it has ended.

    Args:
        session: of the page. Setting its ``stop`` ends the drawing at the next step; what was drawn before is kept.
        model: draws.
        body: of the command.

    Yields:
        States; the last has ``ended``. Errors that a command line would tell are in it, word for word.
    """
    session.stop = stop = Event()  # of this drawing alone
    state, start = State(), time.monotonic()
    steps: SimpleQueue[tuple[float, int] | BaseException | None] = SimpleQueue()
    folder = session.results()
    front = _front(model, state, stop, steps)

    def work() -> None:
        try:
            body(folder, front)
            steps.put(None)
        except BaseException as error:  # whatever it is, the page must hear of it
            steps.put(error)

    Thread(target=work, name="pocold-ui-drawing", daemon=True).start()
    try:
        while True:
            try:
                step = steps.get(timeout=_LOOK)
                while isinstance(step, tuple) and not steps.empty():
                    step = steps.get()
            except Empty:
                step = state.done, state.total
            state.seconds = time.monotonic() - start
            if not isinstance(step, tuple):
                break
            state.done, state.total = step
            yield replace(state)
        yield _ended(state, step, session, folder)
    finally:
        stop.set()  # a page that was closed waits for nothing


def _front(
    model: Model, state: State, stop: Event, steps: "SimpleQueue[tuple[float, int] | BaseException | None]"
) -> FrontEnd:
    @contextmanager
    def progress(pictures: int) -> Iterator[Progress]:
        def on_step(done: float) -> None:
            if stop.is_set():
                raise StoppedError
            steps.put((done, pictures))

        on_step(0.0)
        yield on_step

    def take(report: Report) -> None:
        state.again = list(dict.fromkeys(settings["again"] for settings in report.files.values()))

    return FrontEnd(lambda _: model, state.told.append, progress, take)


def _ended(state: State, error: BaseException | None, session: Session, folder: Path) -> State:
    state.ended = True
    state.stopped = isinstance(error, StoppedError)
    found = [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []  # gone with a closed page
    state.files = sorted(found, key=lambda file: file.stat().st_mtime_ns)
    state.told = [session.plain(sentence) for sentence in dict.fromkeys(state.told)]
    if isinstance(error, ValueError | OSError):
        state.error = session.plain(str(error))
    elif isinstance(error, ProblemError):
        state.error = session.plain(error.detail)
    elif error is not None and not state.stopped:
        raise error
    return state


@dataclass(frozen=True)
class How:
    """What all parts of the page share.

    Attributes:
        options: of the commands.
        frame: how photographs and poses of another size are brought to the model's.
        paste_back: whether what is drawn is put back into the photograph.
    """

    options: DrawOptions
    frame: FrameName = "pad"
    paste_back: bool = False


def transfer(session: Session, how: How) -> Body:
    """``pocold transfer``: the person in the chosen pose."""
    photos, maps, pose = _photos(session), session.maps, session.pose

    def body(folder: Path, front: FrontEnd) -> None:
        run_transfer(photos, [pose], folder, None, maps, "source", how.frame, how.paste_back, how.options, front)

    return body


def edit(session: Session, how: How, regions: Sequence[str], mask: Path | None, grown: int, feather: int) -> Body:
    """``pocold edit``: a region of the first photograph like another person's."""
    photo, extras = _photos(session)[0], session.extras
    like = session.second.get("edit")
    if like is None:
        raise ValueError("expected a photograph whose clothes the region gets: drop one beside the region")
    maps = session.maps[0] if session.maps else None, extras.get("like_pose")

    def body(folder: Path, front: FrontEnd) -> None:
        _tell_of_first(session, front)
        run_edit(
            photo, like, folder, regions, mask, maps, extras.get("garments"), grown, feather, how.options, front
        )  # fmt: skip

    return body


def mix(session: Session, how: How, parts: Sequence[str], weight: float, own_pose: bool) -> Body:
    """``pocold mix``: the first photograph with a share of another person."""
    photo, other = _photos(session)[0], session.second.get("mix")
    if other is None:
        raise ValueError("expected a photograph of the second person: drop one beside the first")
    maps = [*session.maps[:1], *([session.extras["mix_pose"]] if "mix_pose" in session.extras else [])]
    poses = [] if own_pose else [session.pose]

    def body(folder: Path, front: FrontEnd) -> None:
        _tell_of_first(session, front)
        run_mix(
            (photo, other), folder, poses, parts, weight, None, maps, "source", how.frame, how.options, front
        )  # fmt: skip

    return body


def animate(
    session: Session, how: How, motion: str, seconds: float, fps: float, kind: str, with_map: bool
) -> Body:  # fmt: skip
    """``pocold animate``: the person turns, walks, goes to the chosen pose and back, or follows a video."""
    photos, maps = _photos(session), session.maps
    if motion == "between" and session.pose_file is not None:
        raise ValueError("between two poses needs a named pose: choose one under Pose")
    video = session.extras.get("video")
    if motion == "poses" and video is None:
        raise ValueError("expected a video of somebody whose movement is taken: drop one")
    asked = Asked(
        turn=motion == "turn", walk=motion == "walk",
        between=("stand:front", session.pose) if motion == "between" else (),
        poses=video if motion == "poses" else None,
        pose=session.pose if session.pose_file is None else "relaxed", view=f"{session.view:g}",
        length=Length(fps, None, seconds),
    )  # fmt: skip
    options = replace(how.options, num_images=1)

    def body(folder: Path, front: FrontEnd) -> None:
        run_animate(
            photos, folder / f"{motion}.{kind}", asked, with_map, "shared", maps, "source", how.frame, options, front
        )

    return body


def _photos(session: Session) -> list[Path]:
    if not session.photos:
        raise ValueError("expected a photograph of a person: drop one on the left, or take one with the camera")
    return session.photos


def _tell_of_first(session: Session, front: FrontEnd) -> None:
    if len(session.photos) > 1:
        front.tell("of several photographs only the first is taken here")
