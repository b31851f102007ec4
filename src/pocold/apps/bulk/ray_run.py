"""Units drawn by actors of a Ray cluster, with Ray Data. The outcomes come in the order of the rows."""

import pickle
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Any

from pocold.apps.bulk.jobs import Unit
from pocold.apps.bulk.painter import How, Outcome, Painter
from pocold.apps.ray_clusters import connect, silence_statistics

_BLOCKS = 20_000  # more would burden the scheduler


def paint_on_ray(
    how: How, units: Iterable[Unit], rows: int, address: str, workers: int | None
) -> Generator[list[Outcome], None, None]:
    """The outcomes of unit after unit, drawn by actors, one for each GPU, or for each ``how.threads`` cores.

    The rows lie in the cluster's object store, which moves to disk what does not fit. Photographs and poses must lie at
    the same paths on every node, and pocold be installed there; pictures are written by this process alone.

    Args:
        how: rows are drawn.
        units: to draw.
        rows: about so many.
        address: of the cluster (``auto``, ``ray://HOST:PORT``), or ``local``.
        workers: number of actors; None takes the whole cluster.

    Raises:
        ValueError: if Ray is not installed, there is no cluster at the address, or an actor fails.
    """
    silence_statistics()
    try:
        import pyarrow
        import ray
        import ray.data
    except ImportError as error:
        raise ValueError(f'--ray needs the extra "ray": pip install "pocold[ray]" ({error})') from None
    connect(ray, address, how.threads * (workers or 1), "ray.data")
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        stream, size = iter(units), 1 + rows // (8 * _BLOCKS)
        blocks = []
        while some := list(islice(stream, size)):
            blocks.append(ray.put(pyarrow.table({"unit": [pickle.dumps(unit) for unit in some]})))
        if not blocks:
            return
        cluster = ray.cluster_resources()
        gpus = int(cluster.get("GPU", 0)) if how.options.device in ("auto", "cuda") else 0
        count = workers or gpus or max(1, int(cluster.get("CPU", 1)) // how.threads)
        drawn = ray.data.from_arrow_refs(blocks).map_batches(
            _Actor,
            fn_constructor_args=(how,),
            compute=ray.data.ActorPoolStrategy(size=min(count, len(blocks))),
            batch_size=1,
            num_cpus=how.threads,
            num_gpus=1 if gpus else 0,
        )
        for row in drawn.iter_rows():
            yield pickle.loads(row["outcomes"])
    except ray.exceptions.RayError as error:
        raise ValueError(f"the work on Ray failed: {_cause(error)}") from error
    finally:
        ray.shutdown()


def _cause(error: BaseException) -> str:
    """The last line of what an actor said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


class _Actor:
    """A model at work; Ray Data makes one for each worker."""

    def __init__(self, how: How) -> None:
        self._painter = Painter(how)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"outcomes": [pickle.dumps(self._outcomes(pickle.loads(unit))) for unit in batch["unit"]]}

    def _outcomes(self, unit: Unit) -> list[Outcome]:
        return [outcome for batch in unit for outcome in self._painter.paint(batch)]
