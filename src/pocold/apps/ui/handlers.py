"""What happens when something on the page is used. Every method gets values of the page and gives it new ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import DrawOptions, FrameName
from pocold.apps.serve.problems import ProblemError
from pocold.apps.ui import drawing, looking, notices
from pocold.apps.ui.drawing import Body, How
from pocold.apps.ui.sessions import Session, Sessions
from pocold.people.poses import POSES
from pocold.photographs import Photo

Values = tuple[Any, ...]


class Handlers:
    """The page's handlers.

    Args:
        model: draws.
        sessions: the opened pages.
        options: of the commands, but for what a page chooses.
    """

    def __init__(self, model: Model, sessions: Sessions, options: DrawOptions) -> None:
        self._model, self._sessions, self._options = model, sessions, options
        self.own_steps: int = model.pipeline.sampling.filled(None, None, None).num_inference_steps

    # -- the page itself ---------------------------------------------------------------------------------------------

    def opened(self, request: gr.Request) -> None:
        """A page was loaded."""
        self._sessions.open(_key(request))

    def closed(self, request: gr.Request) -> None:
        """A page was closed."""
        self._sessions.leave(_key(request))

    def stop(self, request: gr.Request) -> None:
        """Stop what is being drawn."""
        self._session(request).stop.set()

    # -- the person --------------------------------------------------------------------------------------------------

    def person(
        self, photo: str | None, more: list[str] | None, maps: list[str] | None, request: gr.Request
    ) -> Values:  # fmt: skip
        """Photographs were given: the found maps, a sentence, the picture to paint on, its regions, a frame."""
        session = None
        try:
            session = self._session(request)
            photos = [*session.save_all([photo] if photo else []), *session.save_all(more)]
            told = looking.look(session, self._model, photos, session.save_all(maps))
        except (ValueError, OSError, ProblemError) as problem:
            if session is not None:
                session.photos, session.maps, session.person = [], [], None
            return None, notices.error(_said(session, problem)), None, gr.update(choices=[], value=[]), gr.skip()
        session.extras.pop("garments", None)
        said = notices.note(looking.found_sentence(session.person))
        said += notices.warnings([session.plain(sentence) for sentence in told])
        frame = looking.suggested_frame(session.person, self._model)
        choices = looking.regions(_first(session))
        painted = editor_value(_first(session))
        return looking.found_picture(session.person), said, painted, gr.update(choices=choices, value=[]), frame

    # -- the pose ----------------------------------------------------------------------------------------------------

    def target(self, frame: FrameName, paste_back: bool, request: gr.Request) -> Values:
        """The chosen pose as a picture, and what of it the photograph shows."""
        return self._target(frame, paste_back, request, lambda session: None)

    def named(self, frame: FrameName, paste_back: bool, event: gr.SelectData, request: gr.Request) -> Values:
        """A named pose was chosen."""

        def change(session: Session) -> None:
            session.name, session.pose_file = list(POSES)[int(event.index)], None

        return self._target(frame, paste_back, request, change)

    def turned(self, view: float, frame: FrameName, paste_back: bool, request: gr.Request) -> Values:
        """Another view of the named pose."""

        def change(session: Session) -> None:
            session.view, session.pose_file = float(view), None

        return self._target(frame, paste_back, request, change)

    def pose_file(self, path: str | None, frame: FrameName, paste_back: bool, request: gr.Request) -> Values:
        """A map or keypoints were given as the pose, or taken away."""

        def change(session: Session) -> None:
            session.pose_file = None
            session.pose_file = session.save(path)

        return self._target(frame, paste_back, request, change)

    def pose_photo(self, path: str | None, frame: FrameName, paste_back: bool, request: gr.Request) -> Values:
        """A photograph was given whose pose is taken, or taken away."""

        def change(session: Session) -> None:
            session.pose_file = None
            photo = session.save(path)
            if photo is not None:
                session.pose_file = looking.take_pose(session, self._model, photo)

        return self._target(frame, paste_back, request, change)

    def _target(
        self, frame: FrameName, paste_back: bool, request: gr.Request, change: Callable[[Session], None]
    ) -> Values:
        session = None
        try:
            session = self._session(request)
            change(session)
            picture, sentence = looking.target(session, self._model, How(self._options, frame, paste_back))
        except (ValueError, OSError, ProblemError) as problem:
            return None, notices.error(_said(session, problem))
        return picture, notices.note(sentence)

    # -- others ------------------------------------------------------------------------------------------------------

    def second(self, part: str) -> Callable[..., str]:
        """A handler of photographs of others, for one part of the page: what is wrong with them."""
        return self._keeper(part, lambda session: session.second)

    def extra(self, part: str) -> Callable[..., str]:
        """A handler of further files, likewise."""
        return self._keeper(part, lambda session: session.extras)

    def garments(self, path: str | None, request: gr.Request) -> Values:
        """A garment map of the photograph was given: what is wrong with it, and the regions that it has."""
        said = self.extra("garments")(path, request)
        try:
            session = self._session(request)
            return said, gr.update(choices=looking.regions(_first(session), session.extras.get("garments")))
        except (ValueError, OSError) as problem:
            return notices.error(_said(None, problem)), gr.skip()

    def _keeper(self, part: str, where: Callable[[Session], dict[str, Path]]) -> Callable[..., str]:
        def keep(path: str | None, request: gr.Request) -> str:
            session = None
            try:
                session = self._session(request)
                where(session).pop(part, None)
                kept = session.save(path)
            except (ValueError, OSError, ProblemError) as problem:
                return notices.error(_said(session, problem))
            if kept is not None:
                where(session)[part] = kept
            return ""

        return keep

    # -- drawing -----------------------------------------------------------------------------------------------------

    def transfer(
        self, seed: float, steps: float, count: float, frame: FrameName, paste_back: bool, request: gr.Request
    ) -> Iterator[Values]:  # fmt: skip
        """Draw the person in the chosen pose."""
        yield from self._draw((seed, steps, count, frame, paste_back), request, drawing.transfer)

    def edit(
        self, seed: float, steps: float, count: float, frame: FrameName, paste_back: bool, editor: dict[str, Any],
        regions: Sequence[str], grown: float, feather: float, request: gr.Request,
    ) -> Iterator[Values]:  # fmt: skip
        """Draw a region like another person's."""

        def plan(session: Session, how: How) -> Body:
            mask = looking.painted_mask(session, editor)
            # what was painted by hand is meant, whatever was chosen before
            return drawing.edit(session, how, regions if mask is None else [], mask, int(grown), int(feather))

        yield from self._draw((seed, steps, count, frame, paste_back), request, plan)

    def mix(
        self, seed: float, steps: float, count: float, frame: FrameName, paste_back: bool, parts: Sequence[str],
        weight: float, own_pose: bool, request: gr.Request,
    ) -> Iterator[Values]:  # fmt: skip
        """Draw a mixture of two people."""

        def plan(session: Session, how: How) -> Body:
            return drawing.mix(session, how, parts, float(weight), own_pose)

        yield from self._draw((seed, steps, count, frame, paste_back), request, plan)

    def animate(
        self, seed: float, steps: float, count: float, frame: FrameName, paste_back: bool, motion: str,
        seconds: float, fps: float, kind: str, with_map: bool, request: gr.Request,
    ) -> Iterator[Values]:  # fmt: skip
        """Draw the person in motion."""

        def plan(session: Session, how: How) -> Body:
            return drawing.animate(session, how, motion, float(seconds), float(fps), kind, with_map)

        yield from self._draw((seed, steps, count, frame, paste_back), request, plan)

    def _draw(
        self, settings: Sequence[Any], request: gr.Request, plan: Callable[[Session, How], Body]
    ) -> Iterator[Values]:
        """The states of a drawing, as: status, pictures, files, command lines, the stop button."""
        session, skip = None, gr.skip()
        try:
            session = self._session(request)
            body = plan(session, self._how(*settings))
            for state in drawing.draw(session, self._model, body):
                if not state.ended:
                    yield notices.drawing(state), skip, skip, skip, gr.update(visible=True)
                    continue
                files = [str(path) for path in state.files]
                again = "\n".join(state.again)
                if state.error is not None and not files:
                    yield notices.drawing(state), skip, skip, skip, gr.update(visible=False)
                else:
                    shown = (gr.update(value=value, visible=bool(value)) for value in (files, again))
                    # the first one whole, the others below it: a grid of one would cut off its feet
                    pictures = gr.update(value=files, selected_index=0 if files else None)
                    yield notices.drawing(state), pictures, *shown, gr.update(visible=False)
        except (ValueError, OSError, ProblemError) as problem:
            yield notices.error(_said(session, problem)), skip, skip, skip, gr.update(visible=False)

    def _how(self, seed: float | None, steps: float, count: float, frame: FrameName, paste_back: bool) -> How:
        if seed is None:
            raise ValueError("--seed: expected a number of at least 0, got none")
        own = None if int(steps) == self.own_steps else int(steps)
        return How(replace(self._options, seed=int(seed), steps=own, num_images=int(count)), frame, paste_back)

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.get(_key(request))


def editor_value(photo: Photo | None) -> dict[str, Any] | None:
    """What the field to paint on shows of a photograph."""
    if photo is None:
        return None
    picture = looking.shown(photo.picture)
    return {"background": picture, "layers": [], "composite": picture}


def _first(session: Session) -> Photo | None:
    return session.person.photos[0] if session.person is not None and session.person.photos else None


def _key(request: gr.Request) -> str:
    return str(request.session_hash)


def _said(session: Session | None, problem: Exception) -> str:
    sentence = problem.detail if isinstance(problem, ProblemError) else str(problem)
    return sentence if session is None else session.plain(sentence)
