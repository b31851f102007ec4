"""How the page looks, and which of its parts call which handler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pocold.apps.drawing.models import Model
from pocold.apps.drawing.options import DrawOptions
from pocold.apps.ui import looking, notices
from pocold.apps.ui.drawing import How
from pocold.apps.ui.example import Example, pose_pictures
from pocold.apps.ui.handlers import Handlers, editor_value
from pocold.densepose.labels import BODY_PARTS
from pocold.people.poses import POSES

CSS = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; }
.note, .warning, .error { margin: 2px 0; font-size: 14px; line-height: 1.4; overflow-wrap: anywhere; }
.warning { color: #92600a; } .dark .warning { color: #e8b454; }
.error { color: #b3261e; font-weight: 600; } .dark .error { color: #ff8a80; }
progress { width: 100%; height: 10px; accent-color: #4f46e5; }
#again textarea { font-family: ui-monospace, monospace; font-size: 13px; }
#poses .grid-wrap { padding: 4px; } #poses .caption-label { font-size: 11px; }
#poses .grid-container { grid-template-columns: repeat(6, minmax(0, 1fr)); }
@media (max-width: 640px) { #poses .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); } }
"""
# On a telephone the results are far below the button.
_SCROLL = """() => {
  const results = document.getElementById('results');
  if (results.getBoundingClientRect().top > window.innerHeight / 2) results.scrollIntoView({behavior: 'smooth'});
}"""
_KEEP_FILES = (600, 3600)  # seconds: how often Gradio's copies are looked through, and how old they get
_PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
_POSE_FILES = [".png", ".jpg", ".webp", ".npy", ".npz", ".json", ".csv"]
_MOTIONS = [("turn around", "turn"), ("walk", "walk"), ("stand, pose and back", "between"), ("as in a video", "poses")]
_FRAMES = [
    ("fit all of it in", "pad"), ("crop", "crop"), ("stretch", "stretch"), ("cut out the person", "person"),
]  # fmt: skip


def theme() -> gr.themes.Base:
    """Colours, and fonts that every computer has: none is fetched."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.themes.Default(primary_hue="indigo", neutral_hue="slate", **fonts)


@dataclass(frozen=True, eq=False)
class _Shared:
    """Parts of the page that several others use.

    Attributes:
        person: photograph, more photographs, maps.
        seen: found maps, what is said of them.
        target: the pose as a picture, what is said of it.
        frame: frame, paste back.
        settings: seed, steps, number, then frame.
        results: status, pictures, files, command lines, stop.
    """

    person: Sequence[Any]
    seen: Sequence[Any]
    target: Sequence[Any]
    frame: Sequence[Any]
    settings: Sequence[Any]
    results: Sequence[Any]


def build_page(handlers: Handlers, model: Model, example: Example) -> gr.Blocks:
    """The page, with an example on it. Every opened page begins with the session that ``handlers`` opens for it."""
    with gr.Blocks(title="pocold", analytics_enabled=False, delete_cache=_KEEP_FILES) as page:
        gr.HTML(
            "<h1 style='margin:0;font-size:24px'>pocold</h1><p class='note'>One photograph of a person, drawn in any "
            "pose. Everything stays on the computer that serves this page.</p>"
        )
        with gr.Row():
            with gr.Column(scale=6, min_width=340):
                person, seen = _person(example)
                tabs, target = _tabs(handlers, model, example)
            with gr.Column(scale=5, min_width=340):
                settings, results = _settings_and_results(handlers)
        shared = _Shared(person, seen, target, settings[3:], settings, results)
        _join_person(handlers, shared, tabs)
        _join_pose(handlers, shared, tabs)
        _join_drawing(handlers, shared, tabs)
        page.load(handlers.opened, queue=False, api_visibility="private")
        page.unload(handlers.closed)
    return page


# -- what is on it ---------------------------------------------------------------------------------------------------


def _picture(label: str, height: int, **options: Any) -> gr.Image:
    """A field for a photograph. The file is passed on as it came: what is wrong with it is ours to say."""
    field = gr.Image(
        label=label, height=height, type="filepath", sources=["upload", "webcam", "clipboard"], buttons=["fullscreen"],
        webcam_options=gr.WebcamOptions(mirror=False), **options,
    )  # fmt: skip
    component: Any = field  # gradio declares preprocess as a method; here it is replaced for this one field
    component.preprocess = lambda payload: None if payload is None else payload.path
    return field


def _shown(label: str, height: int, value: Any = None, **options: Any) -> gr.Image:
    return gr.Image(
        value, label=label, height=height, interactive=False, buttons=["fullscreen"], format="png", **options
    )


def _person(example: Example) -> tuple[list[Any], list[Any]]:
    with gr.Row():
        photo = _picture("Photograph", 260, value=str(example.photo), elem_id="photo", min_width=150)
        with gr.Column(min_width=150):
            found = _shown("The body found in it", 260, looking.found_picture(example.person))
    said = gr.HTML(notices.note(looking.found_sentence(example.person)), elem_id="found", padding=False)
    with gr.Accordion("More photographs of this person, and maps", open=False):
        more = gr.File(
            label="More photographs, from other sides", file_count="multiple", file_types=_PICTURES, height=120
        )
        maps = gr.File(
            label="DensePose maps, one for each photograph in their order; found by a network if not given",
            file_count="multiple", file_types=_POSE_FILES, height=120,
        )  # fmt: skip
    return [photo, more, maps], [found, said]


def _tabs(handlers: Handlers, model: Model, example: Example) -> tuple[dict[str, Any], list[Any]]:
    parts: dict[str, Any] = {}
    with gr.Tabs():
        with gr.Tab("Pose"):
            target = _pose_tab(parts, handlers, model, example)
        with gr.Tab("Edit"):
            _edit_tab(parts, example)
        with gr.Tab("Mix"):
            _mix_tab(parts, example)
        with gr.Tab("Animate"):
            _animate_tab(parts)
    return parts, target


def _pose_tab(parts: dict[str, Any], handlers: Handlers, model: Model, example: Example) -> list[Any]:
    name, view = example.pose
    with gr.Row(equal_height=True):
        picture, said = _example_target(model, example)
        with gr.Column(scale=1, min_width=120):
            shown = _shown("The pose to draw", 210, picture, show_label=False)  # it would lie on the head
        with gr.Column(scale=3, min_width=200):
            text = gr.HTML(said, elem_id="coverage", padding=False)
            parts["turn"] = gr.Slider(
                -180,
                180,
                view,
                step=5,
                label="Turn",
                info="degrees: 0 from the front, 90 from the side, 180 from behind",
            )
            parts["draw_pose"] = gr.Button("Draw this pose", variant="primary", elem_id="draw-pose")
    parts["poses"] = gr.Gallery(
        pose_pictures(), show_label=False, columns=6, height=270, allow_preview=False, object_fit="contain",
        selected_index=list(POSES).index(name), interactive=False, buttons=[], elem_id="poses",
    )  # fmt: skip
    with gr.Accordion("Another pose: from a file, or of somebody in a photograph", open=False), gr.Row():
        parts["pose_file"] = gr.File(
            label="DensePose map, or keypoints (OpenPose, COCO, MediaPipe)", file_types=_POSE_FILES, height=200,
            elem_id="pose-file", min_width=150,
        )  # fmt: skip
        parts["pose_photo"] = _picture("Photograph whose pose is taken", 200, min_width=150)
    return [shown, text]


def _example_target(model: Model, example: Example) -> tuple[Any, str]:
    name, view = example.pose
    picture, sentence = looking.target_of(
        example.person, f"{name}:{view:g}", (), model, How(DrawOptions())
    )  # fmt: skip
    return picture, notices.note(sentence)


def _edit_tab(parts: dict[str, Any], example: Example) -> None:
    photo = example.person.photos[0]
    gr.HTML(notices.note("Only the region changes; all other pixels stay as they are. Paint it, or name it below."))
    with gr.Row():
        with gr.Column(min_width=150):
            parts["editor"] = gr.ImageEditor(
                editor_value(photo), label="Paint what may change", type="pil", sources=(), transforms=(), height=380,
                brush=gr.Brush(default_size=12, colors=["#ff2d87"], color_mode="fixed"), layers=False, buttons=[],
                elem_id="editor",
            )  # fmt: skip
        with gr.Column(min_width=150):
            parts["like"] = _picture("In the clothes of", 300, value=str(example.other), elem_id="like")
            parts["like_said"] = gr.HTML()
    parts["regions"] = gr.Dropdown(
        looking.regions(photo), label="Region, where nothing is painted", multiselect=True, value=["garment:top"],
        elem_id="regions",
    )  # fmt: skip
    with gr.Accordion("Seam, maps", open=False):
        with gr.Row():
            parts["grow"] = gr.Slider(0, 30, 0, step=1, label="Widen the region, pixels", min_width=120)
            parts["feather"] = gr.Slider(0, 20, 2, step=1, label="Blend inside it, pixels", min_width=120)
        with gr.Row():
            parts["like_pose"] = gr.File(label="DensePose map of the other photograph", height=110, min_width=150)
            parts["garments"] = gr.File(label="Garment map of the photograph", height=110, min_width=150)
    parts["draw_edit"] = gr.Button("Draw the edit", variant="primary", elem_id="draw-edit")


def _mix_tab(parts: dict[str, Any], example: Example) -> None:
    with gr.Row():
        parts["mix_photo"] = _picture("The second person", 260, value=str(example.other), min_width=150)
        with gr.Column(min_width=150):
            parts["weight"] = gr.Slider(0, 1, 0.5, step=0.05, label="Share of the second person")
            named = [name for name in BODY_PARTS if name not in ("background", "body")]
            parts["mix_parts"] = gr.Dropdown(
                [(name.replace("_", " "), name) for name in named], label="Only these parts of the body",
                multiselect=True,
            )  # fmt: skip
            parts["own_pose"] = gr.Radio(
                [("as in the photograph", True), ("as chosen under Pose", False)], value=False, label="Pose"
            )
    parts["mix_said"] = gr.HTML()
    with gr.Accordion("Map", open=False):
        parts["mix_pose"] = gr.File(label="DensePose map of the second photograph", height=110)
    parts["draw_mix"] = gr.Button("Draw the mixture", variant="primary", elem_id="draw-mix")


def _animate_tab(parts: dict[str, Any]) -> None:
    parts["motion"] = gr.Radio(_MOTIONS, value="turn", label="Motion", info="pose and view are those under Pose")
    with gr.Row():
        parts["seconds"] = gr.Slider(0.5, 10, 2, step=0.1, label="Seconds", min_width=120)
        parts["fps"] = gr.Slider(2, 30, 6, step=1, label="Frames per second", min_width=120)
    with gr.Row():
        parts["kind"] = gr.Radio(["webp", "gif", "mp4", "webm"], value="webp", label="File", min_width=150)
        parts["with_map"] = gr.Checkbox(label="Show the maps beside it", min_width=120)
    with gr.Accordion("A video whose movement is taken", open=False):
        parts["video"] = gr.File(label="Video of somebody", height=110, file_types=["video", ".gif", ".webp"])
        parts["video_said"] = gr.HTML()
    gr.HTML(notices.note("Every frame takes as long as a picture."))
    parts["draw_animation"] = gr.Button("Draw the animation", variant="primary", elem_id="draw-animation")


def _settings_and_results(handlers: Handlers) -> tuple[list[Any], list[Any]]:
    with gr.Column(elem_id="results"):
        with gr.Row(equal_height=True):
            status = gr.HTML(notices.note("Nothing is drawn yet."), elem_id="status", min_height=24, padding=False)
            stop = gr.Button("Stop", visible=False, elem_id="stop", size="sm", scale=0, min_width=90)
        pictures = gr.Gallery(
            label="Drawn", columns=2, height=520, object_fit="contain", interactive=False, buttons=["fullscreen"],
            elem_id="drawn", preview=True,
        )  # fmt: skip
        files = gr.File(
            label="Download: every file says how it was made (pocold show FILE)", file_count="multiple",
            interactive=False, visible=False, elem_id="files",
        )  # fmt: skip
        again = gr.Textbox(
            label="The same on a command line, in the folder of the photographs", lines=2, buttons=["copy"],
            interactive=False, visible=False, elem_id="again",
        )  # fmt: skip
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, min_width=90, elem_id="seed")
        count = gr.Slider(1, 8, 1, step=1, label="Pictures", min_width=110, elem_id="pictures")
        steps = gr.Slider(1, max(50, handlers.own_steps), handlers.own_steps, step=1, label="Steps", min_width=110,
                          elem_id="steps")  # fmt: skip
    with gr.Row():
        frame = gr.Dropdown(_FRAMES, value="pad", label="A photograph of another shape", min_width=150)
        paste_back = gr.Checkbox(label="Paste into the photograph", min_width=150, container=True)
    stop.click(handlers.stop, queue=False, show_progress="hidden", api_visibility="private")
    return [seed, steps, count, frame, paste_back], [status, pictures, files, again, stop]


# -- what calls what -------------------------------------------------------------------------------------------------


def _on(event: Callable[..., Any], handler: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Any:
    return event(handler, inputs, outputs, api_visibility="private", **options)


def _changed(field: Any, handler: Callable[..., Any], inputs: Any, outputs: Any) -> Any:
    """Have a handler see every change of a field, the last one too if it comes while the one before is looked at.

    ``change`` alone comes with the new value: ``input`` and ``clear`` of a picture that is taken away still show it.
    """
    return _on(field.change, handler, inputs, outputs, trigger_mode="always_last")


def _join_person(handlers: Handlers, shared: _Shared, parts: dict[str, Any]) -> None:
    photo, more, maps = shared.person
    outputs = [*shared.seen, parts["editor"], parts["regions"], shared.frame[0]]
    for field in (photo, more, maps):
        seen = _changed(field, handlers.person, shared.person, outputs)
        _on(seen.then, handlers.target, shared.frame, shared.target)
    for event in (shared.frame[0].input, shared.frame[1].input):
        _on(event, handlers.target, shared.frame, shared.target)


def _join_pose(handlers: Handlers, shared: _Shared, parts: dict[str, Any]) -> None:
    _on(parts["poses"].select, handlers.named, shared.frame, shared.target)
    _on(parts["turn"].input, handlers.turned, [parts["turn"], *shared.frame], shared.target, trigger_mode="always_last")
    for name, handler in (("pose_file", handlers.pose_file), ("pose_photo", handlers.pose_photo)):
        _changed(parts[name], handler, [parts[name], *shared.frame], shared.target)


def _join_drawing(handlers: Handlers, shared: _Shared, parts: dict[str, Any]) -> None:
    for field, part, said in (("like", "edit", "like_said"), ("mix_photo", "mix", "mix_said")):
        _changed(parts[field], handlers.second(part), parts[field], parts[said])
    for field, said in (("like_pose", "like_said"), ("mix_pose", "mix_said"), ("video", "video_said")):
        _changed(parts[field], handlers.extra(field), parts[field], parts[said])
    _changed(parts["garments"], handlers.garments, parts["garments"], [parts["like_said"], parts["regions"]])
    draws: dict[str, tuple[Callable[..., Any], list[str]]] = {
        "draw_pose": (handlers.transfer, []),
        "draw_edit": (handlers.edit, ["editor", "regions", "grow", "feather"]),
        "draw_mix": (handlers.mix, ["mix_parts", "weight", "own_pose"]),
        "draw_animation": (handlers.animate, ["motion", "seconds", "fps", "kind", "with_map"]),
    }
    for button, (handler, own) in draws.items():
        parts[button].click(None, js=_SCROLL)
        # one drawing at a time for all pages; the others wait and are told so
        _on(
            parts[button].click, handler, [*shared.settings, *(parts[name] for name in own)], shared.results,
            show_progress="minimal", show_progress_on=[shared.results[0]], concurrency_limit=1, concurrency_id="draw",
        )  # fmt: skip
