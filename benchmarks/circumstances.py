"""The circumstances of a measurement, stored beside its figures."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.fingerprint import fingerprint_code
from c2p_core.search import SearchSettings


def describe_circumstances() -> dict[str, Any]:
    """The code, the number of cores, and the load average of the last minute."""
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {"code": fingerprint_code(), "cores": os.cpu_count(), "load": load}


def resolve_steps(steps: int | None) -> int:
    """The given steps of a search, or the product's current default, which may change later."""
    return SearchSettings().steps if steps is None else steps
