"""`c2p` with an engine that only darkens, as a program; if C2P_FILE_LIMIT is set, no file may get more bytes."""

from __future__ import annotations

import os
import resource
import sys

from c2p_core import cli
from c2p_core.commands import batch
from tests.batch.darken import darken

if __name__ == "__main__":
    if limit := os.environ.get("C2P_FILE_LIMIT"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    batch.pick_engine = lambda count: darken  # type: ignore[assignment]
    sys.exit(cli.main())
