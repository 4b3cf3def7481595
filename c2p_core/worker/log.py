"""The worker's log: what it did and what went wrong, never a pixel and never a prompt."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

LOG = logging.getLogger("c2p_core.worker")
_BYTES = 1_000_000
_OLDER = 2


def open_log(folder: Path) -> Path:
    """Starts to write ``worker.log``, at most three files of 1 MB; gives its path."""
    path = folder / "worker.log"
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_BYTES, backupCount=_OLDER, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    # A full disk must not end the worker.
    logging.raiseExceptions = False
    return path
