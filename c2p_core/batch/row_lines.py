"""Rows of a journal as lines of JSON, as they are in a store: alike on every system, and checked when they are read.

Anybody who may write to the store may have written a line, so that it is data to be doubted: what is read back has the
types, the sizes and the form that the journal and the report rely on.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from c2p_core.batch.journal import Row

_LONGEST = 16 << 20  # bytes of a line; that of a photo of a crowd is much shorter
_MOST = 2**63  # the first number that SQLite can't hold
_TYPES: Mapping[str, tuple[type, ...]] = {
    "place": (str,),
    "settings": (str,),
    "digest": (str,),
    "source": (str,),
    "size": (int,),
    "mtime_ns": (int,),
    "state": (str,),
    "report": (dict,),
    "target": (str, type(None)),
    "result_digest": (str, type(None)),
    "result_size": (int, type(None)),
    "result_mtime_ns": (int, type(None)),
    "thumbnails": (str, type(None)),
    "faces": (int,),
    "seconds": (float, int),
    "program": (str,),
    "finished": (float, int),
}
_RESULT = ("result_digest", "result_size", "result_mtime_ns")
_NO_PARTS = frozenset({"", ".", ".."})
# What no name is that was read as ``os.fsdecode`` does, on a system that has names of bytes.
_NO_NAME = re.compile(r"[\0\ud800-\udc7f\udd00-\udfff]")
_HEX = re.compile(r"[0-9a-f]*")
# What the pages and the table of a report take from a similarity.
_SIMILARITY: Mapping[str, tuple[type, ...]] = {
    "recogniser": (str,),
    "held_out": (bool,),
    "before": (float, int),
    "after": (float, int),
    "verdict": (str,),
    "other_photos": (str, type(None)),
}


def format_row(row: Row) -> bytes:
    """A row as a line of JSON; names that are no text keep their bytes as lone surrogates, places have slashes."""
    told = {name: value for name, value in asdict(replace(row, number=None)).items() if name in _TYPES}
    told["place"] = row.place.replace(os.sep, "/")
    told["target"] = None if row.target is None else row.target.replace(os.sep, "/")
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def parse_row(line: bytes) -> Row:
    """The row of a line that anybody may have written.

    Raises:
        ValueError: it is none, it is too long, or it names something outside the folder of results.
    """
    if len(line) > _LONGEST:
        raise ValueError("a line is too long")
    told: Any = json.loads(line)
    if not isinstance(told, dict) or set(told) != set(_TYPES):
        raise ValueError("a line has other fields than a row")
    _check_fields(told, _TYPES)
    if not math.isfinite(told["seconds"]) or not math.isfinite(told["finished"]):
        raise ValueError("time is not finite")
    if told["state"] not in ("done", "without-face", "failed"):
        raise ValueError("unknown state")
    done = told["state"] == "done"
    if done != (told["target"] is not None) or (done and any(told[name] is None for name in _RESULT)):
        raise ValueError("a result has no place, digest, size or time")
    for name in ("settings", "digest", "result_digest", "thumbnails"):
        if told[name] is not None and not _HEX.fullmatch(told[name]):
            raise ValueError(f"{name} is no digest")
    # What the journal writes down: text, and names as their bytes.
    told["program"].encode()
    for name in ("place", "target", "source"):
        if told[name] is not None and _NO_NAME.search(told[name]):
            raise ValueError(f"{name} is no name")
    for name in ("place", "target"):
        if told[name] is not None:
            if not _NO_PARTS.isdisjoint(told[name].replace(os.sep, "/").split("/")):
                raise ValueError(f"{name} leads out of the folder")
            told[name] = told[name].replace("/", os.sep)
    _check_report(told["report"], done)
    return Row(**{field.name: told[field.name] for field in fields(Row) if field.name in _TYPES})


def _check_fields(told: Any, types: Mapping[str, tuple[type, ...]]) -> None:
    """Whether all of these are there, of their types, integers as SQLite holds them; others are of no interest."""
    if not isinstance(told, dict):
        raise ValueError("what should have fields has none")
    for name, kinds in types.items():
        value = told.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{name} is no {kinds[0].__name__}")
        if isinstance(value, int) and not -_MOST <= value < _MOST:
            raise ValueError(f"{name} is too large")


def _check_report(told: dict[str, Any], done: bool) -> None:
    """Whether the pages and the table of a report can be made of a photo's part."""
    if not done:
        _check_fields(told, {"error": (dict,)})
        _check_fields(told["error"], {"text": (str,)})
        return
    _check_fields(told, {"faces": (list,), "warnings": (list,), "protected": (str, type(None))})
    for face in told["faces"]:
        _check_fields(face, {"sentence": (str,), "similarities": (list,)})
        for similarity in face["similarities"]:
            _check_fields(similarity, _SIMILARITY)
    for warning in told["warnings"]:
        _check_fields(warning, {"text": (str,)})
