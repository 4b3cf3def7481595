"""Writes files so that a killed run leaves the old or the new one, never a part of it."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, body: bytes, mode: int = 0o644) -> None:
    """Write ``body`` to a temporary file beside ``path``, give it its permissions, and rename it.

    Raises:
        OSError: it can't be written.
    """
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_bytes(body)
    temporary.chmod(mode)
    temporary.replace(path)
