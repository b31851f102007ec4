"""Counters of the server in the text format of Prometheus."""

from collections import Counter
from collections.abc import Callable
from threading import Lock

_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # seconds
_HELP = {
    "pocold_requests_total": "Requests answered, by path and status.",
    "pocold_pictures_total": "Pictures drawn.",
    "pocold_batches_total": "Batches drawn.",
    "pocold_stopped_total": "Requests stopped before their end, by reason.",
    "pocold_memory_released_total": "Times that memory was given back to the system because no request was running.",
}
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, one histogram, and gauges that are asked when they are read. Safe in threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, _Labels]] = Counter()
        self._seconds: Counter[float] = Counter()
        self._sum, self._number = 0.0, 0
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        for name in ("pocold_pictures_total", "pocold_batches_total", "pocold_memory_released_total"):
            self.count(name, 0)

    def count(self, name: str, number: int = 1, **labels: str) -> None:
        """Count up."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += number

    def value(self, name: str, **labels: str) -> int:
        """What a counter stands at."""
        with self._lock:
            return self._counts[name, tuple(sorted(labels.items()))]

    def observe(self, seconds: float) -> None:
        """A request that was worked on took so long."""
        with self._lock:
            self._sum, self._number = self._sum + seconds, self._number + 1
            for bound in _BOUNDS:
                self._seconds[bound] += seconds <= bound

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A value asked for when it is read."""
        self._gauges[name] = (text, value)

    def render(self) -> str:
        """All of it as text."""
        gauges = [(name, text, value()) for name, (text, value) in self._gauges.items()]
        with self._lock:
            lines = []
            for name, text in _HELP.items():
                lines += [f"# HELP {name} {text}", f"# TYPE {name} counter"]
                for (counted, labels), number in sorted(self._counts.items()):
                    if counted == name:
                        lines.append(f"{name}{_braces(labels)} {number}")
            for name, text, level in gauges:
                lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {level:g}"]
            name = "pocold_request_seconds"
            lines += [f"# HELP {name} Time of the requests under /v1.", f"# TYPE {name} histogram"]
            lines += [f'{name}_bucket{{le="{bound:g}"}} {self._seconds[bound]}' for bound in _BOUNDS]
            lines += [f'{name}_bucket{{le="+Inf"}} {self._number}', f"{name}_sum {self._sum:g}"]
            lines += [f"{name}_count {self._number}"]
        return "\n".join(lines) + "\n"


def _braces(labels: _Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""
