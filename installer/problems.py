"""The installer's error: a sentence that says what happened and what to do."""

from __future__ import annotations

import errno
import re
from pathlib import Path

# Patterns in pip's output when it can't reach its server.
_NETWORK = (
    "NewConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "name resolution",
    "ProxyError",
    "SSLError",
    "Connection (?:reset|refused|broken)",
)


class Stop(Exception):
    """Ends the installer with a sentence on stderr.

    Attributes:
        exit_code: as the `c2p` command uses them, 6 for something that could not be obtained.
    """

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def disk_problem(error: OSError, path: Path) -> Stop:
    """The error for a folder or file of ours that can't be written."""
    if error.errno == errno.ENOSPC:
        return Stop(f"No space left on the disk of '{path}'; free about 3 GB, or choose another --venv.", 5)
    return Stop(f"Can't write '{path}' ({error.strerror}); choose other folders with --venv and --models.", 5)


def read_problem(error: OSError) -> Stop:
    """The error for a folder or file that may not be looked at."""
    return Stop(f"'{error.filename}' can't be read ({error.strerror}); change its rights and repeat.", 5)


def pip_problem(output: str, offline: bool, log: Path) -> Stop:
    """The error for a failure of pip, derived from its output."""
    if "No space left" in output or "Errno 28" in output:
        return Stop(f"No space left on the disk; free about 3 GB and run the same command again (log: '{log}').", 5)
    if offline:
        return Stop("Packages are missing and --offline forbids fetching them; run once without --offline.", 6)
    if "Permission denied" in output:
        return Stop(f"pip may not write there; choose another folder with --venv (log: '{log}').", 5)
    if re.search("|".join(_NETWORK), output):
        return Stop("The package server can't be reached; check the network or proxy and run the command again.", 6)
    if match := re.search(r"No matching distribution found for (\S+)", output):
        return Stop(
            f"There is no {match[1]} for this Python or machine; try a Python from 3.10 to 3.13 (log: '{log}').",
            6,
        )
    return Stop(f"pip could not install the packages; its words are in '{log}'.", 6)
