"""Reads models in ONNX that nobody has vouched for: bounded, and nothing outside of their own folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2p_core.errors import ModelUnavailable, first_line

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

LARGEST_FILE = 1 << 30
"""Bytes of a model with its external data. The largest recognisers have a quarter of that."""
_MOST_NODES = 20_000
MOST_ELEMENTS = 1 << 28
"""Values of one tensor, whether stored or computed."""
# What could run for ever.
_LOOPS = {"Loop", "Scan"}


@dataclass(frozen=True)
class OnnxFile:
    """A model in ONNX.

    Attributes:
        path: of its file.
        model: with all of its data.
        sha256: in hex, of the file and of the external data that it names.
        input: its one input.
        shape: of the input; None for an extent that is not fixed.
    """

    path: Path
    model: ModelProto
    sha256: str
    input: str
    shape: tuple[int | None, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Read a model, with the data that it keeps in other files of its folder.

    Raises:
        ModelUnavailable: the package onnx is missing; the file can't be read, is too large, names data outside of its
            folder or holds something that is not one network with one input.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelUnavailable("extra-missing", what=path.name, package="onnx", extra="onnx") from error
    data = _read_bounded(path, LARGEST_FILE, path)
    digest = hashlib.sha256(data)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own, which says no more than that
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=first_line(error)) from error
    nodes = list(_all_nodes(model))
    if not nodes or len(nodes) > _MOST_NODES:
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=f"{len(nodes)} operators")
    if loop := next((node.op_type for node in nodes if node.op_type in _LOOPS), None):
        raise ModelUnavailable("onnx-loops", path=str(path), operator=loop)
    left = LARGEST_FILE - len(data)
    for tensor in _all_tensors(model, nodes):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = _read_external(path, tensor, left)
            left -= len(content)
            digest.update(content)
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = content
        _check_tensor(path, tensor)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in stored]
    if len(inputs) != 1 or not model.graph.output:
        raise ModelUnavailable("onnx-inputs-wrong", path=str(path), count=len(inputs))
    shape = tuple(
        entry.dim_value if entry.WhichOneof("value") == "dim_value" and entry.dim_value > 0 else None
        for entry in inputs[0].type.tensor_type.shape.dim
    )
    return OnnxFile(path, model, digest.hexdigest(), inputs[0].name, shape)


def check_sizes(file: OnnxFile, shape: tuple[int, ...]) -> None:
    """Refuse a model in which a tensor would become too large, as far as shapes can be told in advance.

    Args:
        file: the model.
        shape: of the input that it will get.

    Raises:
        ModelUnavailable: a tensor would be too large, or shapes contradict each other.
    """
    import onnx

    outline = onnx.ModelProto()
    outline.CopyFrom(_without_weights(file.model))
    for entry in outline.graph.input:
        if entry.name == file.input:
            entry.type.tensor_type.shape.ClearField("dim")
            for extent in shape:
                entry.type.tensor_type.shape.dim.add().dim_value = extent
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, data_prop=True)
    except Exception as error:  # whatever the checker makes of a hostile file
        raise ModelUnavailable("onnx-unreadable", path=str(file.path), reason=first_line(error)) from error
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        extents = [entry.dim_value for entry in value.type.tensor_type.shape.dim]
        if math.prod(extents) > MOST_ELEMENTS:
            raise ModelUnavailable("onnx-tensor-too-large", path=str(file.path), name=value.name)


def _without_weights(model: ModelProto) -> ModelProto:
    """The model with its larger tensors as mere shapes, which is all that is asked of them and takes no memory."""
    import onnx

    outline = onnx.ModelProto(ir_version=model.ir_version)
    outline.opset_import.extend(model.opset_import)
    outline.functions.extend(model.functions)
    outline.graph.name = model.graph.name
    outline.graph.node.extend(model.graph.node)
    outline.graph.output.extend(model.graph.output)
    stored = {tensor.name for tensor in model.graph.initializer}
    outline.graph.input.extend(entry for entry in model.graph.input if entry.name not in stored)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= 64:  # shapes, axes and the like, on whose values shapes depend
            outline.graph.initializer.append(tensor)
        else:
            outline.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return outline


def _read_bounded(path: Path, limit: int, model: Path) -> bytes:
    """Read a regular file of the user's, of at most ``limit`` bytes."""
    try:
        if not path.is_file():
            raise ModelUnavailable("onnx-missing", path=str(path))
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(path), reason=error.strerror) from error
    if len(data) > limit:
        raise ModelUnavailable("onnx-too-large", path=str(model), limit=LARGEST_FILE >> 20)
    return data


def _all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """The operators of the model, of what they contain, and of its own functions."""
    waiting: list[NodeProto] = [*model.graph.node]
    for function in model.functions:
        waiting += function.node
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in _graphs(attribute):
                waiting += graph.node


def _graphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _all_tensors(model: ModelProto, nodes: list[NodeProto]) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in _graphs(attribute):
                yield from graph.initializer


def _read_external(model: Path, tensor: TensorProto, limit: int) -> bytes:
    """The bytes of a tensor that lie in another file beside the model."""
    named = {entry.key: entry.value for entry in tensor.external_data}
    location = named.get("location", "")
    folder = model.parent.resolve()
    try:
        inside = (folder / location).resolve()
        offset, length = (int(named.get(key, default)) for key, default in (("offset", "0"), ("length", "-1")))
    except (OSError, ValueError) as error:
        raise ModelUnavailable("onnx-unreadable", path=str(model), reason=first_line(error)) from error
    if not location or Path(location).is_absolute() or not inside.is_relative_to(folder) or inside == model.resolve():
        raise ModelUnavailable("onnx-data-outside", path=str(model), location=location)
    if offset < 0 or length > limit:
        raise ModelUnavailable("onnx-too-large", path=str(model), limit=LARGEST_FILE >> 20)
    try:
        if not inside.is_file():
            raise ModelUnavailable("onnx-missing", path=str(inside))
        with inside.open("rb") as file:
            file.seek(offset)
            content: bytes = file.read(length if length >= 0 else limit + 1)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(inside), reason=error.strerror) from error
    if len(content) > limit:
        raise ModelUnavailable("onnx-too-large", path=str(model), limit=LARGEST_FILE >> 20)
    return content


def _check_tensor(path: Path, tensor: TensorProto) -> None:
    """Refuse a stored tensor whose extents and data do not belong together."""
    import onnx

    elements = math.prod(tensor.dims)
    if any(extent < 0 for extent in tensor.dims) or elements > MOST_ELEMENTS:
        raise ModelUnavailable("onnx-tensor-too-large", path=str(path), name=tensor.name)
    try:
        if onnx.numpy_helper.to_array(tensor).size != elements:
            raise ValueError(f"{tensor.name} has not {elements} values")
    # A hostile file may have any type and any number of values.
    except (ValueError, TypeError, KeyError) as error:
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=first_line(error)) from error
