"""Ray for the apps that draw on it: what they connect to, and how. Imports no Ray by itself."""

import logging
import os
from typing import Any

LOCAL = "local"  # instead of an address: a cluster in this machine, for this run


def silence_statistics() -> None:
    """Have Ray tell nothing to anyone unless ``RAY_USAGE_STATS_ENABLED`` says otherwise; call it before its import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def connect(ray: Any, address: str, cores: int, library: str) -> None:
    """Connect to a cluster, or start one in this machine, without a dashboard.

    Args:
        ray: the module.
        address: of the cluster (``auto``, ``ray://HOST:PORT``), or :data:`LOCAL`.
        cores: that a cluster in this machine has at least.
        library: of Ray, such as ``ray.data``, that is told to say errors alone.

    Raises:
        ValueError: if there is no cluster at the address.
    """
    how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == LOCAL:
        how |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": 512 * 2**20}
        how |= {"num_cpus": max(os.cpu_count() or 1, cores)}
    logging.getLogger(library).setLevel(logging.ERROR)
    try:
        ray.init(address=address, **how)
    except Exception as error:  # one that does not start raises no more than that
        raise ValueError(f"--ray: no cluster at {address}: {str(error).splitlines()[0]}") from None
