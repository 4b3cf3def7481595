"""Files in folders of other programs, and a record of them, so that only what is ours is ever replaced or removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from installer.atomic_files import replace_file
from installer.folders import data_home, is_there
from installer.problems import Stop

RECORD = "integrations.json"

# "foreign" is a file that is not ours, or that somebody has changed since; it stays.
Placed = Literal["written", "unchanged", "foreign"]


@dataclass
class Record:
    """What was put where, kept in the data folder.

    Attributes:
        path: of the record.
        files: for each file the SHA-256 of every content that it was given: a killed run leaves the old or the new one.
        lines: for each file of the user's the line that it was given.
    """

    path: Path
    files: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Record:
        """The record of this user; an empty one where there is none, or it can't be understood."""
        path = data_home() / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(content["files"]), dict(content["lines"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return cls(path)

    def put(self, path: Path, body: bytes, *, executable: bool = False) -> Placed:
        """Write a file unless there is one that is not ours, or that somebody has changed since.

        Raises:
            Stop: it can't be written.
        """
        known_digests = self.files.get(str(path), [])
        digest = _hash(body)
        try:
            if path.exists() or path.is_symlink():
                if path.is_symlink() or not path.is_file() or _hash(path.read_bytes()) not in known_digests:
                    return "foreign"
                if _hash(path.read_bytes()) == digest and _is_executable(path) == executable:
                    return "unchanged"
            self.files[str(path)] = [*(other for other in known_digests if other != digest), digest]
            self._write()
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, body, 0o755 if executable else 0o644)
        except OSError as error:
            raise _make_stop(path, error) from error
        return "written"

    def add_line(self, path: Path, line: str, needed: str) -> Placed:
        """Append a line to a file of the user's, which is made if it is missing, unless one has what is ``needed``.

        Raises:
            Stop: it can't be read or written.
        """
        try:
            target = path.resolve()  # of those who keep their settings elsewhere
            body = target.read_bytes() if target.exists() else b""
            if any(needed in existing for existing in _split_lines(body)):
                return "unchanged"
            self.lines[str(path)] = line
            self._write()
            end = b"" if not body or body.endswith(b"\n") else b"\n"
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
            replace_file(target, body + end + line.encode() + b"\n", mode)
        except OSError as error:
            raise _make_stop(path, error) from error
        return "written"

    def describe(self) -> list[tuple[Path, str]]:
        """Each file and each file with a line of ours, with what became of it; "" where it is as it was written."""
        states = []
        for name, digests in self.files.items():
            path = Path(name)
            state = "" if path.is_file() and _hash(path.read_bytes()) == digests[-1] else "changed"
            states.append((path, state if path.exists() else "gone"))
        for name, line in self.lines.items():
            path = Path(name)
            has_line = path.is_file() and line in _split_lines(path.read_bytes())
            states.append((path, "" if has_line else "without our line"))
        return states

    def remove(self) -> list[str]:
        """Remove all of it; returns lines on what was removed and what stays.

        Raises:
            Stop: something can't be removed; what is left stays in the record.
        """
        lines = []
        for name, digests in list(self.files.items()):
            path = Path(name)
            try:
                if is_there(path) and path.is_file() and not path.is_symlink() and _hash(path.read_bytes()) in digests:
                    path.unlink()
                    lines.append(f"Removed '{path}'.")
                elif path.exists() or path.is_symlink():
                    lines.append(f"'{path}' was changed by somebody and stays.")
            except OSError as error:
                raise _make_stop(path, error) from error
            self._forget(self.files, name)
        for name, line in list(self.lines.items()):
            if _remove_line(Path(name), line):
                lines.append(f"Removed a line from '{name}'.")
            self._forget(self.lines, name)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        return lines

    def _forget(self, part: dict[str, list[str]] | dict[str, str], name: str) -> None:
        del part[name]
        self._write()

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            content = {"files": self.files, "lines": self.lines}
            replace_file(self.path, (json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:
            raise _make_stop(self.path, error) from error


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of the folders that are empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_line(path: Path, line: str) -> bool:
    """Remove a line from a file, and the file if nothing is left of it; returns whether it was there."""
    try:
        target = path.resolve()
        if not (is_there(target) and target.is_file()):
            return False
        body = target.read_bytes()
        remaining = b"".join(
            existing for existing in body.splitlines(keepends=True) if existing.strip() != line.encode()
        )
        if remaining == body:
            return False
        if remaining or path.is_symlink():
            replace_file(target, remaining, target.stat().st_mode & 0o777)
        else:
            target.unlink()
    except OSError as error:
        raise _make_stop(path, error) from error
    return True


def _split_lines(body: bytes) -> list[str]:
    return body.decode("utf-8", "replace").splitlines()


def _is_executable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _make_stop(path: Path, error: OSError) -> Stop:
    return Stop("file-not-changeable", 5, path=path, reason=error.strerror)
