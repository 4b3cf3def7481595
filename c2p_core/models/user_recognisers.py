"""Recognisers that a user names instead of listing: ``onnx:FILE?size=112&range=-1..1&order=rgb``, ``frbench:MODEL``.

Imports no torch, so that names are checked before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from c2p_core.errors import BadRequest

_ONNX, _FRBENCH = "onnx:", "frbench:"
_INPUT_OPTIONS = ("size", "range", "order")
_OPTIONS = (*_INPUT_OPTIONS, "zoom", "threshold")
_LARGEST_VALUE = 1e4  # of a pixel
SMALLEST, LARGEST = 32, 512
"""Limits of the side of a chip in pixels, of a model in ONNX."""
Names = Literal["auto"] | Sequence[str]
"""Recognisers as requests name them: "auto", which stands for the usual ones, or names, which may have "auto" among
them."""
_EXAMPLES = {
    "size": "size=112",
    "range": "range=-1..1",
    "order": "order=rgb",
    "zoom": "zoom=1",
    "threshold": "threshold=0.3",
}


@dataclass(frozen=True)
class OnnxInput:
    """The input of a model in ONNX.

    Attributes:
        size: side of the square chip in pixels; None for the model's own, else the usual one.
        low, high: values of black and white.
        order: of the channels.
    """

    size: int | None = None
    low: float = -1.0
    high: float = 1.0
    order: Literal["rgb", "bgr"] = "rgb"


@dataclass(frozen=True)
class OnnxName:
    """A file in ONNX and how its network is used.

    Attributes:
        requested_name: as the user wrote it.
        file: the path of the file.
        input: of its network.
        zoom: of the five-point template, see ``alignment.five_point_template``.
        threshold: cosine similarity from which two faces match, according to its maker; None if the user gave none.
    """

    requested_name: str
    file: Path
    input: OnnxInput = OnnxInput()
    zoom: float = 1.0
    threshold: float | None = None

    @property
    def family(self) -> str:
        """The file's name, by which a user can hold it out."""
        return self.file.stem


@dataclass(frozen=True)
class FrbenchName:
    """A model of the package frbench.

    Attributes:
        requested_name: as the user wrote it.
        model: its key there: kind of network, loss and data, such as ``irse-50_arcface_ms1m``.
        threshold: as of ``OnnxName``.
    """

    requested_name: str
    model: str
    threshold: float | None = None

    @property
    def family(self) -> str:
        """The kind of network, such as ``irse``: sizes of one kind are alike."""
        return self.model.partition("_")[0].partition("-")[0]


UserRecogniserName = OnnxName | FrbenchName


def expand_names(names: Names, usual: Sequence[str]) -> tuple[str, ...]:
    """Replace "auto" by the usual recognisers; returns each name once."""
    requested = ("auto",) if names == "auto" else names
    return tuple(dict.fromkeys(expanded for name in requested for expanded in (usual if name == "auto" else (name,))))


def add_names(names: Names, *more: str) -> tuple[str, ...]:
    """Add further recognisers to the names."""
    return expand_names((*expand_names(names, ("auto",)), *more), ("auto",))


def is_user_recogniser(name: str) -> bool:
    """Whether a recogniser's name is a location rather than an entry of a manifest."""
    return name.startswith((_ONNX, _FRBENCH))


def parse_user_recogniser(name: str) -> UserRecogniserName:
    """Parse a name for which ``is_user_recogniser`` holds.

    Raises:
        BadRequest: there is no such file, or an option is unknown or not valid.
    """
    kind, rest = (_ONNX, name[len(_ONNX) :]) if name.startswith(_ONNX) else (_FRBENCH, name[len(_FRBENCH) :])
    location, _, options = rest.rpartition("?") if "?" in rest else (rest, "", "")
    if kind == _FRBENCH:
        return _set_options(FrbenchName(name, location), options, ("threshold",))
    file = _find_file(location)
    if file is None:
        raise BadRequest("onnx-missing", path=location)
    return _set_options(OnnxName(name, file), options, _OPTIONS)


def _find_file(location: str) -> Path | None:
    try:
        file = Path(location).expanduser()
        return file if file.is_file() else None
    # Unknown user, invalid name, or unreadable folder.
    except (RuntimeError, OSError, ValueError):
        return None


def _set_options(parsed: UserRecogniserName, text: str, known: tuple[str, ...]) -> UserRecogniserName:
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            raise BadRequest("brought-option-unknown", option=key, name=parsed.requested_name, known=list(known))
        try:
            fields = _READERS[key](value)
        except ValueError as error:
            raise BadRequest(
                "brought-option-wrong", option=part, name=parsed.requested_name, example=_EXAMPLES[key]
            ) from error
        if key in _INPUT_OPTIONS and isinstance(parsed, OnnxName):
            fields = {"input": replace(parsed.input, **fields)}  # type: ignore[arg-type]
        parsed = replace(parsed, **fields)  # type: ignore[arg-type]
    return parsed


def _parse_number(text: str, low: float, high: float) -> float:
    value = float(text)
    if not low <= value <= high:
        raise ValueError(text)
    return value


def _read_size(text: str) -> dict[str, object]:
    if not re.fullmatch(r"[0-9]{1,4}", text):
        raise ValueError(text)
    return {"size": int(_parse_number(text, SMALLEST, LARGEST))}


def _read_range(text: str) -> dict[str, object]:
    low, dots, high = text.partition("..")
    ends = [_parse_number(end, -_LARGEST_VALUE, _LARGEST_VALUE) for end in (low, high)]
    if not dots or ends[0] >= ends[1]:
        raise ValueError(text)
    return {"low": ends[0], "high": ends[1]}


def _read_order(text: str) -> dict[str, object]:
    if text not in ("rgb", "bgr"):
        raise ValueError(text)
    return {"order": text}


_READERS: dict[str, Callable[[str], dict[str, object]]] = {
    "size": _read_size,
    "range": _read_range,
    "order": _read_order,
    "zoom": lambda text: {"zoom": _parse_number(text, 0.5, 2.0)},
    "threshold": lambda text: {"threshold": _parse_number(text, -0.999, 0.999)},
}
