"""The work of a request: read, plan, have drawn, answer. Each calls what a command calls."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from secrets import token_urlsafe
from threading import Event, Lock

from PIL import Image

from pocold.apps.animate.motions import Asked, Length
from pocold.apps.animate.plan import plan_animation
from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.drawing.results import Report, picture_paths
from pocold.apps.drawing.sources import (
    CODE_ENDING,
    Person,
    chosen_frame,
    cut_out,
    encode_person,
    frame_mode,
    named_parts,
    read_person,
    tell_doubts,
    with_map,
    with_maps,
    working_size,
)
from pocold.apps.drawing.targets import pose_label, warn_of_missing
from pocold.apps.edit import plan_edit
from pocold.apps.serve.batching import Job
from pocold.apps.serve.command import ServeOptions
from pocold.apps.serve.exchange import Answer, Exchange, exchange
from pocold.apps.serve.problems import ProblemError
from pocold.apps.serve.requests import AnimateBody, DrawingBody, EditBody, EncodeBody, File, PoseBody, TransferBody
from pocold.apps.serve.stages import Steps
from pocold.apps.transfer import asked_size, plan_transfer
from pocold.imaging.animations import write_animation
from pocold.imaging.metadata import png_bytes
from pocold.people.body.camera import parse_size
from pocold.people.body.fitting import fit_pose
from pocold.people.body.keypoint_maps import load_any_pose
from pocold.people.body.posing import draw_densepose
from pocold.people.poses import parse_pose
from pocold.photographs import read_photo

MOVING = {"webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4", "webm": "video/webm"}  # media types


_KEEPS_NONE = "this server keeps no appearance codes"


class Codes:
    """Appearance codes by id, as the bytes of their files, in memory alone. Safe in threads.

    Args:
        limit: most codes; the one used longest ago goes first. 0 keeps none, and says so.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, Lock()
        self._codes: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._codes)

    def check(self) -> None:
        """A problem 422 if none are kept, before a code is computed in vain."""
        if self._limit == 0:
            raise ProblemError(422, f"{_KEEPS_NONE}; ask for format=safetensors, and send that file as code")

    def keep(self, content: bytes) -> str:
        """An id that nobody can guess."""
        name = token_urlsafe(16)
        with self._lock:
            self._codes[name] = content
            while len(self._codes) > self._limit:
                self._codes.popitem(last=False)
        return name

    def get(self, name: str) -> bytes:
        """The code's file; a problem 404 if it is not known, or no longer."""
        with self._lock:
            if name in self._codes:
                self._codes.move_to_end(name)
                return self._codes[name]
        if self._limit == 0:
            raise ProblemError(404, f"{_KEEPS_NONE}; send the file that /v1/encode gives with format=safetensors")
        raise ProblemError(404, "there is no code of this id, or no longer; encode the photograph again")

    def forget(self, name: str) -> None:
        """Remove a code; a problem 404 if it is not known."""
        self.get(name)
        with self._lock:
            self._codes.pop(name, None)


class Work:
    """The bodies of the routes, as steps; what they yield is drawn until ``stop`` is set.

    Args:
        options: limits.
        model: with which everything is drawn; it has an estimator.
    """

    def __init__(self, options: ServeOptions, model: Model) -> None:
        self._options, self._model = options, model
        self.codes = Codes(options.codes)

    def transfer(self, body: TransferBody, stop: Event) -> Steps:
        """Pictures of one person in some poses."""
        with self._request() as request:
            count = max(1, len(body.pose)) * max(1, body.num_images)
            options = self._draw_options(body, count)
            maps = [request.files.save(file) for file in body.source_pose]
            person = self._person(request, body.photo, body.code, maps)
            poses = [request.pose(pose) for pose in body.pose]
            like = _like(request, body.like)
            report = Report(self._model, options, ["transfer", *(file.name for file in person.files)])
            plan = plan_transfer(report, person, poses, maps, like, body.frame, body.paste_back)
            self._check_size(plan.size)
            tell_doubts([(target.text, target.pose) for target in plan.targets], request.tell)
            warn_of_missing(plan.person, plan.targets, request.tell)
            jobs = [Job(task, options, plan.size, plan.mode, stop) for task in plan.tasks()]
            pictures = [plan.finished(i, picture) for i, picture in enumerate((yield jobs))]
            names = [
                path.name
                for path in picture_paths(request.files.folder, [pose_label(p) for p in poses], options.num_images)
            ]
            settings = [plan.settings(i, name) for i, name in enumerate(names)]
            return request.pictures(names, pictures, settings, body.format)

    def encode(self, body: EncodeBody, stop: Event) -> Steps:
        """The id of a person's code, or the code."""
        yield from ()  # nothing is drawn
        if body.format == "id":
            self.codes.check()
        with self._request() as request:
            maps = [request.files.save(file) for file in body.source_pose]
            person = self._person(request, body.photo, None, maps)
            pipeline = self._model.pipeline
            asked = None if body.size is None else parse_size(body.size)
            size = working_size(pipeline, asked, person.photos[0].size)
            self._check_size(size)
            frame = chosen_frame(body.frame, [person])
            person = cut_out(person, size, frame)
            code = encode_person(pipeline, person, size, frame_mode(frame), named_parts(body.parts) or None)
            path = request.files.folder / f"code{CODE_ENDING}"
            code.save(path)
            content = path.read_bytes()
            if body.format == "safetensors":
                return request.answer(content, "application/octet-stream", path.name)
            told = {"code": self.codes.keep(content), "photographs": person.about(), "warnings": request.told}
            return Answer(json.dumps(told).encode(), "application/json", {})

    def edit(self, body: EditBody, stop: Event) -> Steps:
        """A photograph with one region in another appearance."""
        with self._request() as request:
            options = self._draw_options(body, max(1, body.num_images))
            given = (body.source_pose, body.like_pose, body.garments, body.mask)
            own_map, like_map, garments, mask = (None if file is None else request.files.save(file) for file in given)
            if body.photo is None or body.like is None:
                raise ValueError("expected a photograph as photo, and whose appearance its region gets as like")
            photo = with_map(read_photo(request.files.save(body.photo), own_map), self._model.pipeline, request.tell)
            tell_doubts([(photo.path, photo.pose)], request.tell)
            likes = [body.like] if isinstance(body.like, File) else []
            code = body.like if isinstance(body.like, str) else None
            other = self._person(request, likes, code, [] if like_map is None else [like_map])
            report = Report(self._model, options, ["edit", photo.path.name])
            plan = plan_edit(
                report, photo, other, other.files[0], body.region, mask, (own_map, like_map), garments,
                body.grow, body.feather,
            )  # fmt: skip
            self._check_size(plan.size)
            jobs = [Job(task, options, plan.size, "pad", stop, plan.editing) for task in plan.tasks()]
            pictures = [plan.finished(picture) for picture in (yield jobs)]
            numbers = [f"-{i + 1}" for i in range(len(jobs))] if len(jobs) > 1 else [""]
            names = [f"edited{number}.png" for number in numbers]
            settings = [plan.settings(i, name) for i, name in enumerate(names)]
            return request.pictures(names, pictures, settings, body.format)

    def animate(self, body: AnimateBody, stop: Event) -> Steps:
        """A person who moves."""
        with self._request() as request:
            options = self._draw_options(body, 1)
            asked = self._asked(request, body)
            maps = [request.files.save(file) for file in body.source_pose]
            person = self._person(request, body.photo, body.code, maps)
            report = Report(self._model, options, ["animate", *(file.name for file in person.files)])
            plan = plan_animation(
                report, person, asked, noise=body.noise, steady=body.steady, maps=maps, like=_like(request, body.like),
                frame=body.frame, with_map=body.with_map, tell=request.tell,
            )  # fmt: skip
            self._check_size(plan.size)
            jobs = [Job(task, options, plan.size, plan.mode, stop) for task in plan.tasks()]
            drawn: list[Image.Image] = []
            for i in range(0, len(jobs), self._options.batch):  # between them other requests have their turn
                drawn += yield jobs[i : i + self._options.batch]
            frames = plan.finished(drawn)
            if body.format == "zip":
                names = [f"frame-{i:04d}.png" for i in range(1, len(frames) + 1)]
                settings = [{**plan.settings("frames"), "frame_number": i} for i in range(1, len(frames) + 1)]
                return request.pictures(names, frames, settings, "zip")
            path = request.files.folder / f"animation.{body.format}"
            write_animation(frames, path, asked.length.fps, plan.settings(path.name))
            return request.answer(path.read_bytes(), MOVING[body.format], path.name)

    def _asked(self, request: Exchange, body: AnimateBody) -> Asked:
        """The motion, once it is known to be within the limits."""
        folder = None
        if body.poses:
            folder = request.files.folder / "poses"
            folder.mkdir()
            for i, file in enumerate(body.poses):
                saved = request.files.save(file)
                saved.rename(folder / f"{i:06d}-{saved.name}")
        length = Length(body.fps, body.frames, body.seconds)
        asked = Asked(body.turn, body.walk, tuple(body.between), folder, body.pose, body.view, length, body.loop)
        asked.check()
        count = asked.count() or len(body.poses)
        if count > self._options.frames:
            raise ValueError(f"expected at most {self._options.frames} frames in one animation, got {count}")
        return asked

    def pose(self, body: PoseBody, stop: Event) -> Steps:
        """The map of a photograph, of a named pose, or of keypoints."""
        yield from ()  # nothing is drawn
        with self._request() as request:
            if (body.photo is None) == (body.pose is None):
                raise ValueError("expected either a photo whose map is wanted, or the name or file of a pose")
            size = None if body.size is None else parse_size(body.size)
            self._check_size(size or (1, 1))
            picture = None
            if body.photo is not None:
                path = request.files.save(body.photo)
                photo = read_photo(path)
                picture = photo.picture
                estimator = self._model.pipeline.densepose_estimator
                assert estimator is not None  # the server sees to it
                drawn = photo.found(estimator).need_pose("its map")
            elif isinstance(body.pose, File):
                path = request.files.save(body.pose)
                drawn = load_any_pose(path)
                tell_doubts([(path, drawn)], request.tell)
            else:
                named = parse_pose(str(body.pose))
                if body.like is None:
                    drawn = draw_densepose(named.pose, named.view, named.crop, size or (256, 176))
                else:
                    drawn = fit_pose(named, load_any_pose(request.files.save(body.like)))
            if body.show:
                shown = drawn.to_image() if picture is None else drawn.over(picture)
                return request.answer(png_bytes(shown, {"command": "pose"}), "image/png", "look.png")
            path = request.files.folder / "pose.iuv.png"
            drawn.write(path)
            return request.answer(path.read_bytes(), "image/png", path.name)

    def _request(self) -> AbstractContextManager[Exchange]:
        return exchange(self._options.max_megapixels * 1e6)

    def _person(
        self, request: Exchange, photos: Sequence[File], code: str | File | None, maps: Sequence[Path]
    ) -> Person:
        """Whom a request is about, with maps."""
        if (code is None) == (not photos):
            raise ValueError("expected photographs of one person as photo, or a code, one of the two")
        if isinstance(code, str):
            files = [request.files.folder / f"code{CODE_ENDING}"]
            files[0].write_bytes(self.codes.get(code))
        elif code is not None:
            files = [request.files.save(code, CODE_ENDING)]
            if files[0].suffix != CODE_ENDING:
                raise ValueError(f"code: expected an id, or a file ending in {CODE_ENDING}, got {files[0].name}")
        else:
            files = [request.files.save(photo) for photo in photos]
        person = read_person(files, maps)
        tell_doubts([(photo.path, photo.pose) for photo in person.photos], request.tell)
        return with_maps(person, self._model.pipeline, request.tell)

    def _draw_options(self, body: DrawingBody, count: int) -> DrawOptions:
        """How to draw, once it is known to be within the limits."""
        own = self._options
        options = body.options(model=own.model, precision=own.precision, device=own.device, scheduler=own.scheduler)
        options.check()
        if options.steps is not None and options.steps > own.max_steps:
            raise ValueError(f"steps: expected at most {own.max_steps}, got {options.steps}")
        if count > own.pictures:
            raise ValueError(f"expected at most {own.pictures} pictures in one request, got {count}")
        self._check_size(asked_size(options) or (1, 1))
        return options

    def _check_size(self, size: tuple[int, int]) -> None:
        if max(size) > self._options.max_size:
            raise ValueError(
                f"size: pictures of {size[0]}x{size[1]} (height x width) are too large for this server; give a size of "
                f"at most {self._options.max_size} a side"
            )


def _like(request: Exchange, like: str | File) -> str:
    """Whose build a body gets: a word, or the path of a file that was sent."""
    if isinstance(like, File):
        return str(request.files.save(like))
    if like not in ("source", "none"):
        raise ValueError(f"like: expected source, none or a file, got {like!r}")
    return like
