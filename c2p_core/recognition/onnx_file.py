"""Reads untrusted models in ONNX: with limits, and without reading anything outside of their folder."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2p_core.errors import Malformed, ModelUnavailable, get_reason

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

LARGEST_FILE = 1 << 30
"""Bytes of a model with its external data; the largest recognisers have a quarter of that."""
_MOST_NODES = 20_000
# Nodes, attributes, extents and the like.
MOST_PARTS = 1_000_000
MOST_ELEMENTS = 1 << 28
"""Values of one tensor, whether stored or computed."""
_MOST_AXES = 32
_OWN_DOMAIN = ("", "ai.onnx")  # of ONNX's own operators
# Values of shapes, axes and the like, on which other shapes depend.
_SMALL = 64


@dataclass(frozen=True)
class OnnxFile:
    """A model in ONNX.

    Attributes:
        path: of its file.
        model: with all of its data, and without functions of its own.
        sha256: in hex, of the file and its external data.
        input: its one input.
        shape: of the input; None for an extent that varies.
    """

    path: Path
    model: ModelProto
    sha256: str
    input: str
    shape: tuple[int | None, ...]


def read_onnx(path: Path) -> OnnxFile:
    """Read a model, with its external data from other files of its folder.

    Raises:
        ModelUnavailable: the package onnx is missing; the file can't be read, is too large, refers to data outside
            of its folder, or does not contain exactly one network with one input.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelUnavailable("extra-missing", what=path.name, package="onnx", extra="onnx") from error
    data = _read_bounded(path, LARGEST_FILE, path)
    digest = hashlib.sha256(data)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf has an uninformative class of its own
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=get_reason(error)) from error
    model = _resolve_parts(path, model, LARGEST_FILE - len(data), digest.update)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in stored]
    if len(inputs) != 1 or not model.graph.output:
        raise ModelUnavailable("onnx-inputs-wrong", path=str(path), count=len(inputs))
    shape = tuple(
        entry.dim_value if entry.WhichOneof("value") == "dim_value" and entry.dim_value > 0 else None
        for entry in inputs[0].type.tensor_type.shape.dim
    )
    return OnnxFile(path, model, digest.hexdigest(), inputs[0].name, shape)


def _resolve_parts(path: Path, model: ModelProto, limit: int, update_digest: Callable[[bytes], None]) -> ModelProto:
    """Check all parts of a model, load its external data and inline its functions.

    Args:
        path: of the model.
        model: as it was read; modified.
        limit: of the external data in bytes.
        update_digest: called with the external data.
    """
    import onnx
    from onnx import inliner

    for tensor in (part for part in _list_parts(path, model) if isinstance(part, onnx.TensorProto)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = _read_external(path, tensor, limit)
            limit -= len(content)
            update_digest(content)
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = content
        _check_tensor(path, tensor)
    if not model.functions:
        return model
    _check_functions(path, model)
    try:
        # Inlined, so that shape inference checks the tensors in functions too.
        inlined = inliner.inline_local_functions(model)
    except Exception as error:  # a hostile file may cause any error
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=get_reason(error)) from error
    if inlined.functions:
        raise ModelUnavailable("onnx-functions-differ", path=str(path))
    _list_parts(path, inlined)
    return inlined


def _list_parts(path: Path, model: ModelProto) -> list[Any]:
    """List all protobuf messages in a model; refuses too many, sparse tensors and loops."""
    import onnx

    # By reflection rather than field by field, so that none is missed.
    parts = list(itertools.islice(_iterate_parts(model), MOST_PARTS + 1))
    nodes = [part for part in parts if isinstance(part, onnx.NodeProto)]
    if len(nodes) > _MOST_NODES:
        raise ModelUnavailable("onnx-too-many-operators", path=str(path), limit=_MOST_NODES)
    if len(parts) > MOST_PARTS:
        raise ModelUnavailable("onnx-too-many-parts", path=str(path), limit=MOST_PARTS)
    if not nodes:
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason="0 operators")
    if any(isinstance(part, onnx.SparseTensorProto) for part in parts):
        raise ModelUnavailable("onnx-sparse", path=str(path))
    # All of ONNX's own operators that contain graphs repeat them, except If; those of other domains are unknown.
    if loop := next((node.op_type for node in nodes if not _is_if(node) and _has_graphs(node)), None):
        raise ModelUnavailable("onnx-loops", path=str(path), operator=loop)
    return parts


def check_sizes(file: OnnxFile, shape: tuple[int, ...]) -> None:
    """Refuse a model in which a tensor would become too large, as far as shapes can be inferred.

    Args:
        file: the model.
        shape: of its input.

    Raises:
        ModelUnavailable: a tensor would be too large, or shapes contradict each other.
    """
    import onnx

    outline = onnx.ModelProto()
    outline.CopyFrom(_drop_weights(file.model))
    for entry in outline.graph.input:
        if entry.name == file.input:
            entry.type.tensor_type.shape.ClearField("dim")
            for extent in shape:
                entry.type.tensor_type.shape.dim.add().dim_value = extent
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, data_prop=True)
    except Exception as error:  # a hostile file may cause any error
        raise ModelUnavailable("onnx-unreadable", path=str(file.path), reason=get_reason(error)) from error
    # Also those within operators.
    for value in (part for part in _iterate_parts(inferred) if isinstance(part, onnx.ValueInfoProto)):
        if not _is_bounded(max(entry.dim_value, 1) for entry in value.type.tensor_type.shape.dim):
            raise ModelUnavailable("onnx-tensor-too-large", path=str(file.path), name=value.name)


def _drop_weights(model: ModelProto) -> ModelProto:
    """Copy a model with only the shapes of its larger tensors, which suffice for shape inference and take no memory."""
    import onnx

    outline = onnx.ModelProto(ir_version=model.ir_version)
    outline.opset_import.extend(model.opset_import)
    outline.graph.name = model.graph.name
    outline.graph.node.extend(model.graph.node)
    outline.graph.output.extend(model.graph.output)
    stored = {tensor.name for tensor in model.graph.initializer}
    outline.graph.input.extend(entry for entry in model.graph.input if entry.name not in stored)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
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


def _iterate_parts(model: Any) -> Iterator[Any]:
    """Iterate over a protobuf message and all messages in it, in order, except for the content of tensors."""
    from onnx import TensorProto

    waiting = [model]
    while waiting:
        part = waiting.pop()
        yield part
        fields = [] if isinstance(part, TensorProto) else part.ListFields()
        for field, value in reversed(fields):
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "ListFields") else reversed(value)


def _has_graphs(node: NodeProto) -> bool:
    return any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _is_if(node: NodeProto) -> bool:
    return node.op_type == "If" and node.domain in _OWN_DOMAIN


def _check_functions(path: Path, model: ModelProto) -> None:
    """Refuse a model that would exceed its limits once its functions are inlined.

    A few functions that call each other twice suffice for that, and one that calls itself never ends. So does one that
    uses an argument many times: numbers and texts are counted once per use, tensors and operators are refused.
    """
    bodies: dict[tuple[str, str, str], list[NodeProto]] = {}
    for function in model.functions:
        # Of several functions with one name, all are counted.
        bodies.setdefault(_name_function(function.domain, function.name, function.overload), []).extend(
            _list_nodes(function)
        )

    def get_body(node: NodeProto) -> list[NodeProto]:
        return bodies.get(_name_function(node.domain, node.op_type, node.overload), [])

    all_nodes = [*_list_nodes(model.graph), *(node for body in bodies.values() for node in body)]
    arguments = [attribute for function in model.functions for attribute in function.attribute_proto]
    arguments += [attribute for node in all_nodes if get_body(node) for attribute in node.attribute]
    body_attributes = [attribute for body in bodies.values() for node in body for attribute in node.attribute]
    # Checked by content too: the declared type may be wrong.
    if any(_holds_messages(attribute) for attribute in arguments) or any(
        attribute.ref_attr_name and not _is_plain(attribute) for attribute in body_attributes
    ):
        raise ModelUnavailable("onnx-function-takes-parts", path=str(path))
    largest = max((attribute.ByteSize() for attribute in arguments), default=0)
    waiting, count, size = _list_nodes(model.graph), 0, 0
    while waiting:
        node = waiting.pop()
        uses = sum(bool(attribute.ref_attr_name) for attribute in node.attribute)
        count, size = count + 1, size + node.ByteSize() + uses * largest
        waiting += get_body(node)
        if count + len(waiting) > _MOST_NODES:
            raise ModelUnavailable("onnx-too-many-operators", path=str(path), limit=_MOST_NODES)
        if size > LARGEST_FILE:
            raise ModelUnavailable("onnx-too-large", path=str(path), limit=LARGEST_FILE >> 20)


def _name_function(domain: str, name: str, overload: str) -> tuple[str, str, str]:
    return "" if domain in _OWN_DOMAIN else domain, name, overload


def _holds_messages(attribute: AttributeProto) -> bool:
    return any(field.type == field.TYPE_MESSAGE for field, _ in attribute.ListFields())


def _is_plain(attribute: AttributeProto) -> bool:
    """Whether an attribute's declared type is numbers or texts."""
    from onnx import AttributeProto as Known

    return attribute.type in (Known.INT, Known.INTS, Known.FLOAT, Known.FLOATS, Known.STRING, Known.STRINGS)


def _list_nodes(part: GraphProto | FunctionProto) -> list[NodeProto]:
    from onnx import NodeProto

    return [inner for inner in _iterate_parts(part) if isinstance(inner, NodeProto)]


def _read_external(model: Path, tensor: TensorProto, limit: int) -> bytes:
    """Read the bytes of a tensor that are stored in another file beside the model."""
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    folder = model.parent.resolve()
    try:
        data_path = (folder / location).resolve()
        offset, length = (int(fields.get(key, default)) for key, default in (("offset", "0"), ("length", "-1")))
    # Circular links raise RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelUnavailable("onnx-unreadable", path=str(model), reason=get_reason(error)) from error
    if (
        not location
        or Path(location).is_absolute()
        or not data_path.is_relative_to(folder)
        or data_path == model.resolve()
    ):
        raise ModelUnavailable("onnx-data-outside", path=str(model), location=location)
    if not 0 <= offset <= LARGEST_FILE or length > limit:
        raise ModelUnavailable("onnx-too-large", path=str(model), limit=LARGEST_FILE >> 20)
    try:
        if not data_path.is_file():
            raise ModelUnavailable("onnx-missing", path=str(data_path))
        with data_path.open("rb") as file:
            file.seek(offset)
            content: bytes = file.read(length if length >= 0 else limit + 1)
    except OSError as error:
        raise ModelUnavailable("model-unreadable", path=str(data_path), reason=error.strerror) from error
    if len(content) > limit:
        raise ModelUnavailable("onnx-too-large", path=str(model), limit=LARGEST_FILE >> 20)
    return content


def _check_tensor(path: Path, tensor: TensorProto) -> None:
    """Refuse a stored tensor whose extents and data do not match."""
    import onnx

    if not _is_bounded(tensor.dims):
        raise ModelUnavailable("onnx-tensor-too-large", path=str(path), name=tensor.name)
    elements = math.prod(tensor.dims)
    try:
        if onnx.numpy_helper.to_array(tensor).size != elements:
            raise Malformed("onnx-tensor-size-wrong", name=tensor.name, count=elements)
    # A hostile file may declare any type and any number of values.
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ModelUnavailable("onnx-unreadable", path=str(path), reason=get_reason(error)) from error


def _is_bounded(extents: Iterable[int]) -> bool:
    """Whether a tensor of these extents is within the limits."""
    first_extents = list(itertools.islice(extents, _MOST_AXES + 1))
    # Also each on its own: an extent of 0 would hide the others in the product.
    each_bounded = len(first_extents) <= _MOST_AXES and all(0 <= extent <= MOST_ELEMENTS for extent in first_extents)
    return each_bounded and math.prod(first_extents) <= MOST_ELEMENTS
