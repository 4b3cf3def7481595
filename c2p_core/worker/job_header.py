"""Reads the header of a job; the only place where its values are validated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from c2p_core.api import Box
from c2p_core.errors import BadRequest

_TEXT_LIMIT = 1000
_LIST_LIMIT = 1000
_SIDE_LIMIT = 262_144


@dataclass(frozen=True)
class KnownFace:
    """A face from an earlier detection."""

    number: int
    box: Box


FaceRequest = Literal["all", "largest"] | tuple[int, ...] | tuple[KnownFace, ...]


class JobHeader:
    """A header with typed access to its values; raises ``BadRequest`` for invalid ones."""

    def __init__(self, header: dict[str, Any]) -> None:
        self._header = header

    def read_text(self, key: str, default: str) -> str:
        value = self._header.get(key, default)
        if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
            raise _reject(key, value)
        return value

    def read_choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        value = self.read_text(key, default)
        if value not in allowed:
            raise BadRequest("setting-unknown", setting=key, value=value[:40], known=list(allowed))
        return value

    def read_flag(self, key: str, default: bool = False) -> bool:
        value = self._header.get(key, default)
        if not isinstance(value, bool):
            raise _reject(key, value)
        return value

    def read_number(self, key: str, default: float, low: float, high: float) -> float:
        value = self._header.get(key, default)
        if not _is_number(value) or not low <= value <= high:
            raise BadRequest("setting-out-of-range", setting=key, value=str(value)[:40], low=low, high=high)
        return float(value)

    def read_integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self._header.get(key)
        if value is None:
            return default
        if not isinstance(value, int):
            raise _reject(key, value)
        return int(self.read_number(key, default, low, high))

    def read_size(self, key: str) -> tuple[int, int] | None:
        """Width and height."""
        value = self._header.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != 2 or not all(_is_number(v) for v in value):
            raise _reject(key, value)
        if not all(1 <= v <= _SIDE_LIMIT for v in value):
            raise _reject(key, value)
        return int(value[0]), int(value[1])

    def read_area(self, key: str) -> tuple[int, int, int, int]:
        """x, y, width and height, in whole pixels."""
        value = self._header.get(key)
        if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
            raise _reject(key, value)
        x, y, width, height = (int(v) for v in value)
        if not (1 <= width <= _SIDE_LIMIT and 1 <= height <= _SIDE_LIMIT):
            raise _reject(key, value)
        return x, y, width, height

    def requests_all(self, key: str) -> bool:
        """Whether the value requests everything rather than names."""
        return self._header.get(key) is True

    def read_names(self, key: str) -> tuple[str, ...]:
        """Names; () where the value is missing, false or "auto"."""
        value = self._header.get(key)
        if value in (None, False, "auto"):
            return ()
        if not isinstance(value, list) or len(value) > _LIST_LIMIT or not all(isinstance(v, str) for v in value):
            raise _reject(key, value)
        return tuple(value)

    def read_choices(self, key: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Choices among ``allowed``, in that order and without repeats; () where the value is missing."""
        value = self._header.get(key, [])
        if not isinstance(value, list) or len(value) > len(allowed) or not all(isinstance(v, str) for v in value):
            raise _reject(key, value)
        unknown = next((v for v in value if v not in allowed), None)
        if unknown is not None:
            raise BadRequest("setting-unknown", setting=key, value=unknown[:40], known=list(allowed))
        return tuple(word for word in allowed if word in value)

    def read_face_choice(self) -> Literal["all", "largest", "selected"] | tuple[int, ...]:
        """Which of the detected faces get an area."""
        value = self._header.get("choose", "all")
        if value in ("all", "largest", "selected"):
            return value  # type: ignore[no-any-return]
        return _read_numbers("choose", value)

    def read_faces(self) -> FaceRequest:
        """The faces that a job works on."""
        value = self._header.get("faces", "all")
        if value in ("all", "largest"):
            return value  # type: ignore[no-any-return]
        if isinstance(value, list) and value and all(isinstance(face, dict) for face in value):
            return tuple(_read_known_face(face) for face in value[:_LIST_LIMIT])
        return _read_numbers("faces", value)


def _read_numbers(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or len(value) > _LIST_LIMIT:
        raise _reject(key, value)
    if not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise _reject(key, value)
    return tuple(value)


def _read_known_face(face: dict[str, Any]) -> KnownFace:
    number, box = face.get("number"), face.get("box")
    if not isinstance(number, int) or not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise _reject("faces", face)
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x0 < x1 and y0 < y1 and all(abs(v) <= 4 * _SIDE_LIMIT for v in box)):
        raise _reject("faces", face)
    return KnownFace(number, (x0, y0, x1, y1))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**53 and math.isfinite(value)


def _reject(key: str, value: Any) -> BadRequest:
    return BadRequest("setting-unclear", setting=key, value=str(value)[:60])
