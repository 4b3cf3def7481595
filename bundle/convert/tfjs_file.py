"""Reads TensorFlow.js graph models (``model.json`` and its binary weights) into nodes and numpy constants.

Source: the format as the TensorFlow.js converter documents it (weights manifest, quantisation) and TensorFlow's
NodeDef in JSON form: integers are strings, byte strings are base64.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_JSON = 16 * 1024 * 1024
_MAX_WEIGHTS = 512 * 1024 * 1024
_STORED = {"float32": "<f4", "int32": "<i4", "bool": "|b1"}
_QUANTISED = {"float16": "<f2", "uint8": "|u1", "uint16": "<u2"}


class UnreadableGraph(Exception):
    """A file is missing, damaged or has unsupported content; the message says which."""


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: unique in the graph.
        op: TensorFlow's name of the operation.
        inputs: names of the nodes whose first output it reads.
        attributes: TensorFlow's attributes, as in the file.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def get_text(self, key: str, default: str) -> str:
        value = self.attributes.get(key)
        return _decode(value["s"]) if value is not None else default

    def get_texts(self, key: str) -> list[str]:
        value = self.attributes.get(key, {"list": {}})
        return [_decode(item) for item in value["list"].get("s", [])]

    def get_integers(self, key: str) -> list[int]:
        value = self.attributes.get(key, {"list": {}})
        return [int(item) for item in value["list"].get("i", [])]

    def get_flag(self, key: str) -> bool:
        return bool(self.attributes.get(key, {}).get("b", False))


def _decode(value: str) -> str:
    return base64.b64decode(value, validate=True).decode("ascii")


@dataclass(frozen=True)
class Graph:
    """Operations by name, and the values of constants among them (float32 or integer)."""

    nodes: dict[str, Node]
    constants: dict[str, NDArray[Any]]


def _read_weight(spec: dict[str, Any], data: memoryview, offset: int) -> tuple[NDArray[Any], int]:
    shape = tuple(int(size) for size in spec["shape"])
    quantisation = spec.get("quantization")
    dtype = np.dtype(_QUANTISED[quantisation["dtype"]] if quantisation else _STORED[spec["dtype"]])
    count = math.prod(shape)
    end = offset + count * dtype.itemsize
    if count < 0 or end > len(data):
        raise ValueError(f"the weights end within {spec['name']}")
    values: NDArray[Any] = np.frombuffer(data[offset:end], dtype=dtype).reshape(shape)
    if quantisation:
        values = values.astype(np.float32) * np.float32(quantisation.get("scale", 1))
        values = values + np.float32(quantisation.get("min", 0))
    elif spec["dtype"] == "int32":
        values = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{spec['name']} is not finite")
    return np.array(values), end


def _read_constants(manifest: list[dict[str, Any]], folder: Path) -> dict[str, NDArray[Any]]:
    constants: dict[str, NDArray[Any]] = {}
    for group in manifest:
        parts = []
        for name in group["paths"]:
            if Path(name).name != name:
                raise ValueError(f"the weight file {name!r} lies elsewhere")
            if (folder / name).stat().st_size > _MAX_WEIGHTS:
                raise ValueError(f"{name} is too large")
            parts.append((folder / name).read_bytes())
        data, offset = memoryview(b"".join(parts)), 0
        for spec in group["weights"]:
            constants[spec["name"]], offset = _read_weight(spec, data, offset)
        if offset != len(data):
            raise ValueError(f"{len(data) - offset} bytes follow the last weight")
    return constants


def _read_graph(path: Path) -> Graph:
    if path.stat().st_size > _MAX_JSON:
        raise ValueError("the description is too large")
    model = json.loads(path.read_bytes())
    if model.get("format") != "graph-model":
        raise ValueError("no graph model")
    nodes = [
        Node(
            name=node["name"],
            op=node["op"],
            # "name:0" is the first output; "^name" only orders execution.
            inputs=tuple(i.removesuffix(":0") for i in node.get("input", []) if not i.startswith("^")),
            attributes=node.get("attr", {}),
        )
        for node in model["modelTopology"]["node"]
    ]
    return Graph({node.name: node for node in nodes}, _read_constants(model["weightsManifest"], path.parent))


def read_tfjs_graph(path: Path) -> Graph:
    """Read ``path`` (a ``.json``) and the weight files beside it that it names.

    Raises:
        UnreadableGraph: a file is missing, truncated or of another kind.
    """
    try:
        return _read_graph(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise UnreadableGraph(f"{path} is not a readable TensorFlow.js model ({error}).") from error
