"""The installer's error: a code with fields, which ``messages.py`` has words for."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from installer.messages import MESSAGES

# What pip prints when it can't reach its server. It has neither error codes nor translations.
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
    """Ends the installer, with its message on stderr.

    Attributes:
        code: a key of ``MESSAGES``.
        exit_code: as the `c2p` command uses them, 6 for something that could not be obtained.
        fields: the values of the message's placeholders.
    """

    def __init__(self, code: str, exit_code: int = 1, **fields: object) -> None:
        super().__init__(code)
        self.code = code
        self.exit_code = exit_code
        self.fields = fields

    def __str__(self) -> str:
        return MESSAGES[self.code].format(**self.fields)


def explain_disk_error(error: OSError, path: Path) -> Stop:
    """The error for a folder or file of ours that can't be written."""
    if error.errno == errno.ENOSPC:
        return Stop("disk-full", 5, path=path)
    return Stop("not-writable", 5, path=path, reason=error.strerror)


def explain_read_error(error: OSError) -> Stop:
    """The error for a folder or file that may not be read."""
    return Stop("not-readable", 5, path=error.filename, reason=error.strerror)


def explain_pip_error(output: str, offline: bool, log: Path) -> Stop:
    """The error for a failure of pip, derived from its output."""
    if "No space left" in output or "Errno 28" in output:
        return Stop("pip-disk-full", 5, log=log)
    if offline:
        return Stop("pip-offline", 6)
    if "Permission denied" in output:
        return Stop("pip-not-permitted", 5, log=log)
    if re.search("|".join(_NETWORK), output):
        return Stop("pip-no-network", 6)
    if match := re.search(r"No matching distribution found for (\S+)", output):
        return Stop("pip-no-distribution", 6, requirement=match[1], log=log)
    return Stop("pip-failed", 6, log=log)
