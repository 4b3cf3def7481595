"""Rows of a journal as lines of JSON, as they are in a store: the same on every system, and validated when read.

Anybody who may write to the store may have written a line, so lines are untrusted: they must have the types, sizes and
structure that the journal and the report rely on.
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
from c2p_core.errors import Malformed

_MAX_LINE_BYTES = 16 << 20  # the line of a photo of a crowd is much shorter
_INTEGER_LIMIT = 2**63  # the first number that SQLite can't hold
_ROW_TYPES: Mapping[str, tuple[type, ...]] = {
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
_RESULT_FIELDS = ("result_digest", "result_size", "result_mtime_ns")
_FORBIDDEN_PARTS = frozenset({"", ".", ".."})
# Characters that ``os.fsdecode`` never returns for a name on a system whose names are bytes.
_INVALID_NAME = re.compile(r"[\0\ud800-\udc7f\udd00-\udfff]")
_HEX = re.compile(r"[0-9a-f]*")
# The fields of a similarity that the report uses.
_SIMILARITY_TYPES: Mapping[str, tuple[type, ...]] = {
    "recogniser": (str,),
    "held_out": (bool,),
    "before": (float, int),
    "after": (float, int),
    "verdict": (str,),
    "other_photos": (str, type(None)),
}


def format_row(row: Row) -> bytes:
    """A row as a line of JSON; names that are not text keep their bytes as lone surrogates, places have slashes."""
    values = {name: value for name, value in asdict(replace(row, number=None)).items() if name in _ROW_TYPES}
    values["place"] = row.place.replace(os.sep, "/")
    values["target"] = None if row.target is None else row.target.replace(os.sep, "/")
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def parse_row(line: bytes) -> Row:
    """Parse an untrusted line.

    Raises:
        ValueError: it is not a valid row, is too long, or names a path outside the folder of results.
    """
    if len(line) > _MAX_LINE_BYTES:
        raise Malformed("row-too-long")
    values: Any = json.loads(line)
    if not isinstance(values, dict) or set(values) != set(_ROW_TYPES):
        raise Malformed("row-fields-differ")
    _check_fields(values, _ROW_TYPES)
    for name in ("seconds", "finished"):
        if not math.isfinite(values[name]):
            raise Malformed("row-value-wrong", name=name)
    if values["state"] not in ("done", "without-face", "failed"):
        raise Malformed("row-value-wrong", name="state")
    done = values["state"] == "done"
    if done != (values["target"] is not None) or (done and any(values[name] is None for name in _RESULT_FIELDS)):
        raise Malformed("row-result-incomplete")
    for name in ("settings", "digest", "result_digest", "thumbnails"):
        if values[name] is not None and not _HEX.fullmatch(values[name]):
            raise Malformed("row-value-wrong", name=name)
    # The journal must be able to encode these: text as UTF-8, and names as bytes.
    values["program"].encode()
    for name in ("place", "target", "source"):
        if values[name] is not None and _INVALID_NAME.search(values[name]):
            raise Malformed("row-value-wrong", name=name)
    for name in ("place", "target"):
        if values[name] is not None:
            if not _FORBIDDEN_PARTS.isdisjoint(values[name].replace(os.sep, "/").split("/")):
                raise Malformed("row-path-outside", name=name)
            values[name] = values[name].replace("/", os.sep)
    _check_report(values["report"], done)
    return Row(**{field.name: values[field.name] for field in fields(Row) if field.name in _ROW_TYPES})


def _check_fields(values: Any, types: Mapping[str, tuple[type, ...]]) -> None:
    """Check that these fields exist with the right types, and that SQLite can hold their integers; ignores others."""
    if not isinstance(values, dict):
        raise Malformed("row-fields-differ")
    for name, allowed in types.items():
        value = values.get(name)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise Malformed("row-value-wrong", name=name)
        if isinstance(value, int) and not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            raise Malformed("row-value-wrong", name=name)


def _check_report(entry: dict[str, Any], done: bool) -> None:
    """Check that the report can be made from a photo's entry."""
    if not done:
        _check_fields(entry, {"error": (dict,)})
        _check_fields(entry["error"], {"text": (str,)})
        return
    _check_fields(entry, {"faces": (list,), "warnings": (list,), "protected": (str, type(None))})
    for face in entry["faces"]:
        _check_fields(face, {"sentence": (str,), "similarities": (list,)})
        for similarity in face["similarities"]:
            _check_fields(similarity, _SIMILARITY_TYPES)
    for warning in entry["warnings"]:
        _check_fields(warning, {"text": (str,)})
