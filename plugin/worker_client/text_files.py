# -*- coding: utf-8 -*-
"""Text files at paths from the host."""

from __future__ import unicode_literals

import io
import os

from worker_client.texts import as_text


def to_host_path(path):
    # type: (str | bytes) -> str | bytes
    """A path from the host in the form that Python needs.

    GIMP 2.10 uses bytes of UTF-8, which Python 2.7 on Windows would read in the system's code page.
    """
    return as_text(path) if os.name == "nt" else path


def write_text(path, text):
    # type: (str | bytes, str) -> None
    """Writes a file of UTF-8.

    Raises:
        IOError, OSError: it can't be written there.
    """
    with io.open(to_host_path(path), "w", encoding="utf-8") as stream:
        stream.write(text)
