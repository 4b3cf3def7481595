"""The worker's log: its actions and errors, never pixels or prompts."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

LOG = logging.getLogger("c2p_core.worker")
_MAX_BYTES = 1_000_000
_OLD_FILES = 2


def open_log(folder: Path) -> Path:
    """Open ``worker.log`` for writing, at most three files of 1 MB; returns its path."""
    path = folder / "worker.log"
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_MAX_BYTES, backupCount=_OLD_FILES, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    # A full disk must not end the worker.
    logging.raiseExceptions = False
    return path
