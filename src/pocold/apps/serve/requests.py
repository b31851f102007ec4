"""What can be asked for: one model per route, read from a form (multipart) or from JSON, and described for OpenAPI."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema, models_json_schema
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from pocold.apps.drawing.options import STEADY, DrawOptions, FrameName
from pocold.apps.serve.problems import ProblemError

_REF = "#/components/schemas/{model}"
_MAX_FILES = 256  # of one form: an animation has one for each frame


class File(BaseModel):
    """An uploaded file: of JSON its content as base64, alone or with its name."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"description": "A file as base64, with its name."})
    name: str = Field("file", max_length=200, description="Its ending says what keypoints and codes are.")
    data: Annotated[bytes, BeforeValidator(lambda value: _decoded(value))] = Field(
        json_schema_extra={"format": "byte"}, description="Base64, or a data: URL."
    )


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except binascii.Error:
        raise ValueError("expected a file as base64") from None


def _as_file(value: Any) -> Any:
    return {"data": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


_File = Annotated[File, BeforeValidator(_as_file)]
_Files = Annotated[list[_File], BeforeValidator(_as_list)]
_Poses = Annotated[list[str | File], BeforeValidator(_as_list)]
_Words = Annotated[list[str], BeforeValidator(_as_list)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    form_example: ClassVar[dict[str, Any]] = {}


class DrawingBody(_Body):
    """How pictures are drawn; what these words mean is in docs/cli.md."""

    seed: int = Field(0, description="Of the first picture of each pose; its next ones count up.")
    steps: int | None = Field(None, description="Denoising steps; the model's own number if not given.")
    size: str | None = Field(None, description="HEIGHTxWIDTH; the model's own if not given.")
    guidance: str = "pose_first"
    pose_scale: float | None = None
    appearance_scale: float | None = None
    guidance_floor: float | None = 3.0

    def options(self, **server: Any) -> DrawOptions:
        """As the commands know them; ``server`` are those that a client does not choose."""
        names = {field.name for field in fields(DrawOptions)} & set(type(self).model_fields)
        return DrawOptions(**{name: getattr(self, name) for name in names}, **server)


class PicturesBody(DrawingBody):
    """How many pictures, and as what they are answered."""

    num_images: int = Field(1, description="Pictures of each pose.")
    format: Literal["png", "zip", "json"] | None = Field(
        None, description="png is one picture; several are a zip, or as JSON a list of base64 with their metadata."
    )


class TransferBody(PicturesBody):
    """A person, by photographs or by code, and poses."""

    photo: _Files = Field([], description="Photographs of one person.")
    code: str | _File | None = Field(None, description="Id of a code that /v1/encode gave, or its file, instead.")
    pose: _Poses = Field([], description="Names such as walk:side, or files: DensePose maps or keypoints.")
    source_pose: _Files = Field([], description="DensePose maps of the photographs; estimated if not given.")
    like: str | _File = Field("source", description="Whose build named poses get: source, none, or a map.")
    frame: FrameName = "auto"
    paste_back: bool = False
    form_example: ClassVar[dict[str, Any]] = {"photo": ["me.jpg"], "pose": ["walk:side"], "seed": 0}


class EncodeBody(_Body):
    """A person, by photographs."""

    photo: _Files = Field([], description="Photographs of one person.")
    source_pose: _Files = Field([], description="DensePose maps of the photographs; estimated if not given.")
    parts: _Words = Field([], description="Only these parts of the body, such as top or legs.")
    size: str | None = None
    frame: FrameName = "auto"
    format: Literal["id", "safetensors"] = Field("id", description="An id that /v1/transfer takes, or the code's file.")
    form_example: ClassVar[dict[str, Any]] = {"photo": ["me.jpg"]}


class EditBody(PicturesBody):
    """A photograph, a region of it, and whose appearance the region gets."""

    photo: _File | SkipJsonSchema[None] = None
    like: str | _File | None = Field(None, description="A photograph, or a code's file or id.")
    region: _Words = Field([], description="Such as top, legs or garment:skirt; or a mask instead.")
    mask: _File | None = Field(None, description="White where pixels may change.")
    source_pose: _File | None = None
    like_pose: _File | None = None
    garments: _File | None = None
    grow: int = 0
    feather: int = 2
    form_example: ClassVar[dict[str, Any]] = {"photo": "me.jpg", "like": "other.jpg", "region": ["top"]}


class AnimateBody(DrawingBody):
    """A person, by photographs or by code, and one motion: turn, walk, between, or poses."""

    photo: _Files = Field([], description="Photographs of one person.")
    code: str | _File | None = Field(None, description="Id of a code that /v1/encode gave, or its file, instead.")
    turn: bool = Field(False, description="Once round on the spot, in the pose named by pose.")
    walk: bool = Field(False, description="On the spot, seen from view.")
    between: _Words = Field([], description="Named poses to go through, such as stand:front and wave:30.")
    poses: _Files = Field([], description="DensePose maps or keypoints, one for each frame, in this order.")
    pose: str = Field("relaxed", description="Of a turn; its view is where the turn begins.")
    view: str = Field("quarter", description="Of a walk: degrees, or front, quarter, side, back.")
    fps: float = 12.0
    frames: int | None = None
    seconds: float | None = None
    loop: bool = Field(True, description="Let between end where it began.")
    with_map: bool = Field(False, description="Show the maps beside the pictures.")
    noise: Literal["shared", "surface", "fresh"] = "shared"
    steady: float = Field(STEADY, description="How much of the frame before the body keeps: 0 to below 1.")
    source_pose: _Files = Field([], description="DensePose maps of the photographs; estimated if not given.")
    like: str | _File = Field("source", description="Whose build the body gets: source, none, or a map.")
    frame: FrameName = "auto"
    format: Literal["webp", "gif", "mp4", "webm", "zip"] = Field("webp", description="zip holds the frames as PNG.")
    form_example: ClassVar[dict[str, Any]] = {"photo": ["me.jpg"], "turn": True, "frames": 12}


class PoseBody(_Body):
    """A photograph whose map is wanted; or a pose by name, or keypoints."""

    photo: _File | None = Field(None, description="Its map is estimated.")
    pose: str | File | None = Field(None, description="Instead: a name such as walk:side, or a map or keypoints.")
    like: _File | None = Field(None, description="A map whose build and place a named pose gets.")
    size: str | None = None
    show: bool = Field(False, description="Colours over the photograph, for people, instead of a map for programs.")
    form_example: ClassVar[dict[str, Any]] = {"photo": "me.jpg"}


B = TypeVar("B", TransferBody, EncodeBody, EditBody, AnimateBody, PoseBody)


async def read_body(request: Request, kind: type[B]) -> B:
    """What a request asks for.

    Raises:
        ProblemError: if it is neither a form nor JSON, cannot be read, or asks for what there is not.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == "application/json":
        try:
            return kind.model_validate_json(await request.body())
        except ValidationError as error:
            raise ProblemError(422, _sentence(error, kind)) from None
    if media not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise ProblemError(415, f"expected multipart/form-data or application/json, got {media or 'no content type'}")
    try:
        async with request.form(max_files=_MAX_FILES, max_fields=256, max_part_size=64 * 1024) as form:
            values: dict[str, list[Any]] = {}
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    values.setdefault(name, []).append(File(name=value.filename or "file", data=await value.read()))
                else:
                    values.setdefault(name, []).append(value)
    except HTTPException as error:
        raise ProblemError(400, f"the form cannot be read: {error.detail}") from None
    lists = {name for name, field in kind.model_fields.items() if field.annotation == list[str | File]}
    lists |= {name for name, field in kind.model_fields.items() if "list" in str(field.annotation)}
    given: dict[str, Any] = {}
    for name, found in values.items():
        wants_file = name in ("photo", "poses", "source_pose", "like_pose", "mask", "garments")
        if name in kind.model_fields and wants_file and any(isinstance(value, str) for value in found):
            raise ProblemError(422, f"{name}: expected a file (curl: -F {name}=@FILE), got text")
        if name not in lists and len(found) > 1:
            raise ProblemError(422, f"{name}: expected one, got {len(found)}")
        given[name] = found if name in lists else found[0]
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ProblemError(422, _sentence(error, kind)) from None


def _sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first thing that is wrong, in one sentence."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "the body"
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"unknown field {name}; there are {', '.join(kind.model_fields)}"
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['msg'].partition(': ')[2]}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = first.get("input")
    shown = f", got {given!r}" if isinstance(given, str | int | float) and len(str(given)) < 60 else ""
    return f"{name}: {message}{shown}"


def request_bodies() -> tuple[dict[str, Any], dict[type[BaseModel], dict[str, Any]]]:
    """The schemas of OpenAPI's components, and for each model its request body with both media types."""
    kinds: list[type[_Body]] = [TransferBody, EncodeBody, EditBody, AnimateBody, PoseBody]
    _, top = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REF)
    schemas: dict[str, Any] = top["$defs"]
    bodies: dict[type[BaseModel], dict[str, Any]] = {}
    for kind in kinds:
        schema = schemas[kind.__name__]
        form = {**schema, "title": f"{kind.__name__} as a form", "properties": _binary(schema["properties"])}
        example = {name: _sample(value) for name, value in kind.form_example.items()}
        bodies[kind] = {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form, "example": kind.form_example},
                "application/json": {"schema": {"$ref": _REF.format(model=kind.__name__)}, "example": example},
            },
        }
    return schemas, bodies


def _binary(schema: Any) -> Any:
    """A schema whose files are bytes of a form."""
    if isinstance(schema, Mapping):
        if schema.get("$ref") == _REF.format(model="File"):
            return {"type": "string", "format": "binary"}
        return {name: _binary(value) for name, value in schema.items()}
    return [_binary(value) for value in schema] if isinstance(schema, list) else schema


def _sample(value: Any) -> Any:
    """An example of a form's value as JSON has it."""
    if isinstance(value, list):
        return [_sample(item) for item in value]
    return {"name": value, "data": "/9j/4AAQSkZJRg=="} if str(value).endswith(".jpg") else value
