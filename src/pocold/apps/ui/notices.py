"""What a page says, as HTML. Everything that is not ours to write is escaped."""

from collections.abc import Sequence
from html import escape

from pocold.apps.ui.drawing import State


def note(sentence: str) -> str:
    """Something to know; nothing for an empty sentence."""
    return f'<p class="note">{escape(sentence)}</p>' if sentence else ""


def error(sentence: str) -> str:
    """Why something cannot be done."""
    return f'<p class="error" role="alert">{escape(sentence)}</p>'


def warnings(sentences: Sequence[str]) -> str:
    """What a person should know."""
    return "".join(f'<p class="warning">{escape(sentence)}</p>' for sentence in sentences)


def drawing(state: State) -> str:
    """How far a drawing is, or how it ended."""
    if not state.ended:
        return (
            f'<progress max="1" value="{state.done / max(1, state.total):.3f}"></progress>'
            f'<p class="note" role="status">{_doing(state)}</p>'
        )
    told = warnings(state.told)
    if state.error is not None:
        return error(state.error) + told
    count = len(state.files)
    if state.stopped:
        kept = f"what was drawn before is below ({count})" if count else "nothing was drawn"
        return note(f"Stopped after {_time(state.seconds)}; {kept}.") + told
    return note(f"Drawn in {_time(state.seconds)}.") + told


def _doing(state: State) -> str:
    if not state.total:
        return f"Reading the photograph, {_time(state.seconds)}"
    pictures = f"picture {min(int(state.done + 1e-6) + 1, state.total)} of {state.total}"
    left = state.seconds_left
    return f"Drawing {pictures}" + (f", about {_time(left)} left" if left is not None else "")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
