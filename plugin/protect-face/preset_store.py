"""The user's presets: settings under a name, optionally with a thumbnail.

Each is a JSON file in a folder of the user, with a PNG beside it. Files are written completely or not at all; what is
read is limited in size and checked, because it may have been edited, damaged or copied from elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_client.errors import Malformed, Refused
from worker_client.messages import Message
from worker_client.settings import AMOUNTS, LOCKS, MAX_AMOUNT, MODES, OUTPUTS, PRIORS

MAX_NAME_LENGTH = 60
MAX_PRESETS = 100
MAX_SIDE = 256
"""The longest side of a thumbnail, in pixels."""
_MAX_FILE_BYTES = 16_384  # bytes of JSON
_MAX_THUMBNAIL_BYTES = 400_000  # bytes of PNG
_VERSION = 1
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE_IN_PNG = slice(16, 24)
_MAX_PROMPT_LENGTH = 300
# Bounds of numbers, and the values of choices. Which faces are protected depends on the photo, so it is not saved.
_NUMBERS = {"strength": (0.0, 1.0), **{name: (0, MAX_AMOUNT) for name, _label, _blurb in AMOUNTS}}
_WHOLE_NUMBERS = {"steps": (0, 10_000), "seed": (0, 2**31 - 1)}
_CHOICES = {name: {value for value, _label in values} for name, values in
            (("prior", PRIORS), ("mode", MODES), ("output", OUTPUTS))}  # fmt: skip
_SWITCHES = ("keep_expression", *(name for name, _part, _label in LOCKS))
PRESET_SETTINGS = ("prompt", *_NUMBERS, *_WHOLE_NUMBERS, *_CHOICES, *_SWITCHES)
"""The settings that a preset holds, as ``run_settings.RunSettings`` names them."""


@dataclass(frozen=True)
class Preset:
    """A preset as it is stored.

    Attributes:
        name: what the user calls it.
        settings: some of ``PRESET_SETTINGS``; those that it lacks keep their values.
        thumbnail: a PNG file of at most ``MAX_SIDE`` pixels a side; None without one.
    """

    name: str
    settings: dict[str, Any]
    thumbnail: Path | None


class PresetStore:
    """The presets in a folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list_presets(self) -> tuple[list[Preset], list[Message]]:
        """The presets sorted by name, and messages on damaged files."""
        presets, damaged = [], []
        for file in sorted(self.folder.glob("*.json"))[: 2 * MAX_PRESETS]:
            try:
                presets.append(self._read(file))
            except (OSError, ValueError) as error:
                damaged.append(Message("preset-damaged", path=str(file), reason=_get_reason(error)))
        return sorted(presets, key=lambda preset: preset.name.casefold()), damaged

    def contains(self, name: str) -> bool:
        """Whether there is a preset with this name."""
        return self._get_file(_check_name(name)).exists()

    def save(self, name: str, settings: Mapping[str, Any], thumbnail: bytes | None = None) -> None:
        """Store a preset, replacing an earlier one with this name.

        Args:
            name: up to ``MAX_NAME_LENGTH`` characters.
            settings: has those of ``PRESET_SETTINGS``; others are left out.
            thumbnail: a PNG; None for none, even if the earlier preset had one.

        Raises:
            Refused: the name is unusable, there are too many presets, or the folder can't be written to.
        """
        name = _check_name(name)
        file = self._get_file(name)
        if not file.exists() and len(list(self.folder.glob("*.json"))) >= MAX_PRESETS:
            raise Refused("presets-too-many", limit=MAX_PRESETS)
        stored = {key: settings[key] for key in PRESET_SETTINGS if key in settings}
        text = json.dumps({"version": _VERSION, "name": name, "settings": _check_settings(stored)}, indent=1)
        picture = file.with_suffix(".png")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if thumbnail is None:
                picture.unlink(missing_ok=True)
            else:
                _check_png(thumbnail[: _SIZE_IN_PNG.stop], len(thumbnail))
                _write_whole(picture, thumbnail)
            _write_whole(file, text.encode("utf-8"))
        except OSError as error:
            raise _make_write_error(self.folder, error) from error

    def rename(self, old: str, new: str) -> None:
        """Give a preset another name.

        Raises:
            Refused: the name is unusable or taken, the preset has gone, or the folder can't be written to.
        """
        new = _check_name(new)
        old_file, new_file = self._get_file(old), self._get_file(new)
        if old_file == new_file:
            return
        if new_file.exists():
            raise Refused("preset-exists", name=new)
        try:
            preset = self._read(old_file)
        except (OSError, ValueError) as error:
            raise Refused("preset-gone", name=old) from error
        picture = None if preset.thumbnail is None else preset.thumbnail.read_bytes()
        self.save(new, preset.settings, picture)
        self.delete(old)

    def delete(self, name: str) -> None:
        """Delete a preset and its thumbnail; does nothing if there is none.

        Raises:
            Refused: the folder can't be written to.
        """
        file = self._get_file(name)
        try:
            # The picture first: it shows a face, and without the other file nothing would lead to it any more.
            file.with_suffix(".png").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        except OSError as error:
            raise _make_write_error(self.folder, error) from error

    def _get_file(self, name: str) -> Path:
        # Names may have characters that file systems don't allow, or differ only in case.
        digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode("utf-8", "surrogatepass"))
        return self.folder / f"{digest.hexdigest()[:24]}.json"

    def _read(self, file: Path) -> Preset:
        """Raises ``OSError`` or ``ValueError`` if the file is not a preset."""
        data = _read_bounded(file, _MAX_FILE_BYTES)
        try:
            content = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Malformed("preset-not-json") from error
        if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
            raise Malformed("preset-without-settings")
        name = content.get("name")
        if not isinstance(name, str) or self._get_file(name) != file:
            raise Malformed("preset-renamed")
        settings = {key: value for key, value in content["settings"].items() if key in PRESET_SETTINGS}
        picture: Path | None = file.with_suffix(".png")
        try:
            _check_png(_read_bounded(file.with_suffix(".png"), _MAX_THUMBNAIL_BYTES)[: _SIZE_IN_PNG.stop])
        except (OSError, ValueError):
            picture = None
        return Preset(name, _check_settings(settings), picture)


def _get_reason(error: Exception) -> Message | str:
    """Why a preset can't be read: our message, or the words of the system."""
    return error.message if isinstance(error, Malformed) else str(error)


def _check_name(name: str) -> str:
    """The name without spaces around it.

    Raises:
        Refused: nothing is left, it is too long, or it has more than one line.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise Refused("preset-name-unusable", limit=MAX_NAME_LENGTH)
    return name


def _check_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings.

    Raises:
        Malformed: one of them is not valid.
    """
    for key, value in settings.items():
        if not _is_usable(key, value):
            raise Malformed("setting-value-wrong", key=key, value=str(value)[:40])
    return settings


def _is_usable(key: str, value: Any) -> bool:
    if key == "prompt":
        return isinstance(value, str) and len(value) <= _MAX_PROMPT_LENGTH
    if key in _SWITCHES:
        return isinstance(value, bool)
    if key in _CHOICES:
        return isinstance(value, str) and value in _CHOICES[key]
    if isinstance(value, bool) or not isinstance(value, int if key in _WHOLE_NUMBERS else (int, float)):
        return False
    low, high = (_WHOLE_NUMBERS if key in _WHOLE_NUMBERS else _NUMBERS)[key]
    return low <= value <= high


def _check_png(start: bytes, size: int = 0) -> None:
    """Raises ``ValueError`` unless it is the beginning of a small PNG; nothing else of the file is checked."""
    if not start.startswith(_PNG) or len(start) < _SIZE_IN_PNG.stop or size > _MAX_THUMBNAIL_BYTES:
        raise ValueError("the thumbnail is no small PNG")
    if not all(1 <= side <= MAX_SIDE for side in struct.unpack(">II", start[_SIZE_IN_PNG])):
        raise ValueError("the thumbnail is too large")


def _read_bounded(file: Path, limit: int) -> bytes:
    """Reads a file; raises ``ValueError`` if it is larger than ``limit``, or ``OSError``."""
    with file.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Malformed("object-too-large")
    return data


def _write_whole(file: Path, data: bytes) -> None:
    """Write a file that only the user can read, completely or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _make_write_error(folder: Path, error: OSError) -> Refused:
    return Refused("preset-not-written", path=str(folder), reason=error.strerror or str(error))
