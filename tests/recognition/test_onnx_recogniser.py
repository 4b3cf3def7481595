"""Recognisers that a user brings in ONNX: what is read, what is refused, who computes, and whole runs with them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skimage.data
import torch
from click.testing import CliRunner
from onnx import NodeProto, helper, numpy_helper
from PIL import Image

from c2p_core import Photo, ProtectRequest, check, cli, protect, recognition
from c2p_core.commands.options import add_recognisers
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.faces import find_faces
from c2p_core.models.loaded import WarmModels, get_recognisers, name_recognisers, split_hold_out
from c2p_core.models.store import ModelStore
from c2p_core.models.user_recognisers import OnnxInput, OnnxName, parse_user_recogniser
from c2p_core.recognition import (
    Recogniser,
    impostors,
    load_network,
    load_recognisers,
    onnx_file,
    user_recogniser_loader,
)
from c2p_core.recognition.impostors import Impostors, save_own_thresholds
from c2p_core.recognition.onnx_operators import OPERATORS
from c2p_core.recognition.onnx_recogniser import OnnxRecogniser, load_onnx
from tests.error_assertions import raising
from tests.recognition.onnx_models import model, recogniser, run, save, weights

CPU = torch.device("cpu")
# It compares greatest with the rest, which torch has no such function for.
STRANGE = [helper.make_node("Hardmax", ["f"], ["e"]), helper.make_node("Add", ["f", "e"], ["h"])]


def chips(count: int = 2, side: int = 112) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def check_no_gradients(network: OnnxRecogniser, pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        descriptors: torch.Tensor = network(pictures)
    return descriptors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(recogniser(), tmp_path / "tiny.onnx")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", offline=True)


def test_onnxruntime_judges_and_torch_has_the_gradients(file: Path) -> None:
    network = load_onnx(file, OnnxInput())
    pictures = chips().requires_grad_()
    expected, descriptors = check_no_gradients(network, pictures), network(pictures)
    np.testing.assert_array_equal(expected.numpy(), run(onnx.load(file), (pictures.detach() * 2 - 1).numpy()))
    torch.testing.assert_close(descriptors, expected, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(descriptors.square().sum(), pictures)
    assert float(gradient.abs().min(1).values.mean()) > 0 and network.judges_only is None


def test_range_and_channel_order_follow_the_options_in_the_name(file: Path) -> None:
    network = load_onnx(file, OnnxInput(low=0.0, high=255.0, order="bgr"))
    expected = run(onnx.load(file), chips().flip(1).numpy() * np.float32(255))
    np.testing.assert_allclose(check_no_gradients(network, chips()).numpy(), expected, rtol=1e-5)


def test_a_model_with_channels_last_gets_them_last(tmp_path: Path) -> None:
    onnx_model = recogniser(shape=("n", 112, 112, 3))
    onnx_model.graph.node[0].input[0] = "t"
    onnx_model.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]))
    network = load_onnx(save(onnx_model, tmp_path / "last.onnx"), OnnxInput())
    assert network.judges_only is None
    expected = run(onnx_model, (chips().permute(0, 2, 3, 1).contiguous() * 2 - 1).numpy())
    np.testing.assert_allclose(check_no_gradients(network, chips()).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("fixed", [True, False], ids=["said by the input", "only inside"])
def test_a_model_for_one_picture_gets_a_batch_one_picture_at_a_time(fixed: bool, tmp_path: Path) -> None:
    onnx_model = recogniser(shape=(1 if fixed else "n", 3, 112, 112))
    flatten = next(node for node in onnx_model.graph.node if node.op_type == "Flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("one")
    onnx_model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "one"))
    network = load_onnx(save(onnx_model, tmp_path / "one.onnx"), OnnxInput())
    assert network.judges_only is None
    expected = torch.cat([check_no_gradients(network, chip[None]) for chip in chips(3)])
    torch.testing.assert_close(check_no_gradients(network, chips(3)), expected)
    torch.testing.assert_close(network(chips(3).requires_grad_()), expected, atol=1e-4, rtol=1e-4)


def test_the_picture_size_is_the_models_the_users_or_the_default(tmp_path: Path) -> None:
    assert load_onnx(save(recogniser(96), tmp_path / "a.onnx"), OnnxInput()).size == 96
    free = save(recogniser(112, ("n", 3, "h", "w")), tmp_path / "b.onnx")
    assert load_onnx(free, OnnxInput()).size == 112
    free = save(recogniser(96, ("n", 3, "h", "w")), tmp_path / "c.onnx")
    assert load_onnx(free, OnnxInput(96)).size == 96
    with raising(ModelUnavailable, "onnx-size-differs", size=96, given=112):
        load_onnx(tmp_path / "a.onnx", OnnxInput(112))


def test_a_model_with_an_operator_that_does_not_convert_judges_only(tmp_path: Path) -> None:
    onnx_model = recogniser(more=STRANGE)
    network = load_onnx(save(onnx_model, tmp_path / "strange.onnx"), OnnxInput())
    assert network.judges_only == Message("onnx-not-convertible", operators=["Hardmax"])
    pictures = chips().requires_grad_()
    np.testing.assert_array_equal(network(pictures).numpy(), run(onnx_model, (pictures.detach() * 2 - 1).numpy()))


def test_a_conversion_with_different_results_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(OPERATORS["PRelu"], make=lambda node: lambda x, slope: x.abs())
    monkeypatch.setitem(OPERATORS, "PRelu", wrong)
    network = load_onnx(file, OnnxInput())
    assert network.judges_only == Message("onnx-conversion-differs") and network.network is None


def move_weights(onnx_model: onnx.ModelProto, location: str, **more: str) -> onnx.ModelProto:
    """The model with its largest weights in another file, as its entry says."""
    tensor = next(tensor for tensor in onnx_model.graph.initializer if tensor.name == "m")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return onnx_model


def test_data_in_other_files_of_the_folder_is_read_and_counts_for_the_hash(tmp_path: Path) -> None:
    content = next(tensor for tensor in recogniser().graph.initializer if tensor.name == "m").raw_data
    onnx_model = move_weights(recogniser(), "data.bin", offset="8", length=str(len(content)))
    path = save(onnx_model, tmp_path / "two.onnx")
    (tmp_path / "data.bin").write_bytes(b"before.." + content + b"after")
    network = load_onnx(path, OnnxInput())
    expected = run(recogniser(), (chips() * 2 - 1).numpy())
    np.testing.assert_array_equal(check_no_gradients(network, chips()).numpy(), expected)
    (tmp_path / "data.bin").write_bytes(b"before.." + content[::-1])
    other = onnx_file.read_onnx(path)
    assert other.sha256 != network.sha256


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "link", "sub/../../secret", ""])
def test_data_outside_of_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1 << 16))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    path = save(move_weights(recogniser(), location), folder / "m.onnx")
    with raising(ModelUnavailable, "onnx-data-outside", location=location):
        load_onnx(path, OnnxInput())


def test_the_hash_is_of_the_file_and_then_of_its_data_in_their_order(tmp_path: Path) -> None:
    # Thresholds that users have measured belong to it.
    onnx_model, content = recogniser(), b""
    for tensor in onnx_model.graph.initializer:
        raw = tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": "data.bin", "offset": str(len(content)), "length": str(len(raw))}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        content += raw
    path = save(onnx_model, tmp_path / "m.onnx")
    (tmp_path / "data.bin").write_bytes(content)
    assert onnx_file.read_onnx(path).sha256 == hashlib.sha256(path.read_bytes() + content).hexdigest()


def test_external_data_that_is_missing_or_of_another_length_is_refused(tmp_path: Path) -> None:
    path = save(move_weights(recogniser(), "data.bin"), tmp_path / "m.onnx")
    with raising(ModelUnavailable, "onnx-missing", path=str(tmp_path / "data.bin")):
        load_onnx(path, OnnxInput())
    (tmp_path / "data.bin").write_bytes(b"short")
    with raising(ModelUnavailable, "onnx-unreadable", path=str(path)):
        load_onnx(path, OnnxInput())


def test_a_file_and_its_data_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(move_weights(recogniser(), "data.bin"), tmp_path / "m.onnx")
    (tmp_path / "data.bin").write_bytes(bytes(1 << 14))
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", path.stat().st_size + 100)
    with raising(ModelUnavailable, "onnx-too-large", path=str(path)):
        load_onnx(path, OnnxInput())
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", path.stat().st_size - 1)
    with raising(ModelUnavailable, "onnx-too-large", path=str(path)):
        load_onnx(path, OnnxInput())


def make_growing(extents: list[int]) -> onnx.ModelProto:
    """A recogniser that makes a tensor of these extents on its way."""
    nodes = [
        helper.make_node("ConstantOfShape", ["extents"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0),
        helper.make_node("Add", ["f", "most"], ["h"]),
    ]
    onnx_model = recogniser(more=nodes)
    onnx_model.graph.initializer.append(numpy_helper.from_array(np.array(extents), "extents"))
    return onnx_model


def test_tensors_that_would_become_too_large_are_refused_before_the_model_runs(tmp_path: Path) -> None:
    with raising(ModelUnavailable, "onnx-tensor-too-large", name="large"):
        load_onnx(save(make_growing([1 << 20, 1 << 20]), tmp_path / "m.onnx"), OnnxInput())
    assert load_onnx(save(make_growing([4, 4]), tmp_path / "n.onnx"), OnnxInput()).judges_only is None


def test_a_stored_tensor_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    onnx_model = recogniser()
    onnx_model.graph.initializer[0].dims[0] = 1 << 40
    with raising(ModelUnavailable, "onnx-tensor-too-large", name="w"):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


def test_a_loop_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("on", 9, [])],
    )
    onnx_model = recogniser(
        more=[helper.make_node("Loop", ["", ""], [], body=body), helper.make_node("Identity", ["f"], ["h"])]
    )
    with raising(ModelUnavailable, "onnx-loops", operator="Loop"):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


def expect_refusal(onnx_model: onnx.ModelProto, tmp_path: Path, code: str, **fields: Any) -> None:
    with raising(ModelUnavailable, code, **fields):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


@pytest.mark.parametrize("more", [{"offset": str(1 << 70)}, {"offset": "-1"}, {"length": str(1 << 70)}])
def test_impossible_offsets_into_other_files_are_refused(more: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(100))
    expect_refusal(
        move_weights(recogniser(), "data.bin", **more), tmp_path, "onnx-too-large", path=str(tmp_path / "m.onnx")
    )


def test_data_behind_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    expect_refusal(move_weights(recogniser(), "a/data.bin"), tmp_path, "onnx-unreadable")


def make_sparse(dims: list[int]) -> onnx.SparseTensorProto:
    """One value in a tensor of these extents, which onnxruntime would fill up with zeros."""
    value = numpy_helper.from_array(np.float32([1]), "few")
    return helper.make_sparse_tensor(value, numpy_helper.from_array(np.array([0]), "at"), dims)


@pytest.mark.parametrize("place", ["weights", "attribute"])
def test_sparse_weights_are_refused(place: str, tmp_path: Path) -> None:
    onnx_model = recogniser()
    if place == "weights":
        onnx_model.graph.sparse_initializer.append(make_sparse([1 << 40]))
    else:
        onnx_model.graph.node.append(helper.make_node("Constant", [], ["large"], sparse_value=make_sparse([1 << 40])))
    expect_refusal(onnx_model, tmp_path, "onnx-sparse", path=str(tmp_path / "m.onnx"))


def make_with_functions(functions: dict[str, list[NodeProto]], more: Sequence[NodeProto]) -> onnx.ModelProto:
    """A recogniser with functions of its own from ``a`` to ``b``."""
    onnx_model = recogniser(more=more)
    onnx_model.opset_import.append(helper.make_opsetid("own", 1))
    imports = list(onnx_model.opset_import)
    onnx_model.functions.extend(
        helper.make_function("own", name, ["a"], ["b"], nodes, imports) for name, nodes in functions.items()
    )
    return onnx_model


def call(name: str, source: str, target: str) -> NodeProto:
    return helper.make_node(name, [source], [target], domain="own")


def test_functions_of_a_model_are_converted(tmp_path: Path) -> None:
    onnx_model = make_with_functions({"twice": [helper.make_node("Add", ["a", "a"], ["b"])]}, [call("twice", "f", "h")])
    network = load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())
    assert network.judges_only is None
    expected = run(onnx_model, (chips() * 2 - 1).numpy())
    np.testing.assert_allclose(check_no_gradients(network, chips()).numpy(), expected, rtol=1e-5)


def test_functions_that_grow_exponentially_when_inlined_are_refused(tmp_path: Path) -> None:
    # Each calls the next one twice: 2^40 operators of 80.
    calls = {f"n{level}": [call(f"n{level + 1}", "a", "c"), call(f"n{level + 1}", "c", "b")] for level in range(40)}
    calls["n40"] = [helper.make_node("Identity", ["a"], ["b"])]
    expect_refusal(make_with_functions(calls, [call("n0", "f", "h")]), tmp_path, "onnx-too-many-operators")


def test_a_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    onnx_model = make_with_functions({"n": [call("n", "a", "b")]}, [call("n", "f", "h")])
    expect_refusal(onnx_model, tmp_path, "onnx-too-many-operators")


def test_a_function_that_would_repeat_its_weights_many_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.ones(1 << 18, np.float32)))
    body = [weight, helper.make_node("ReduceMax", ["w"], ["m"], keepdims=0), helper.make_node("Add", ["a", "m"], ["b"])]
    onnx_model = make_with_functions({"n": body}, [call("n", "f", "g"), call("n", "g", "h")])
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", onnx_model.ByteSize() + (1 << 19))
    expect_refusal(onnx_model, tmp_path, "onnx-too-large", path=str(tmp_path / "m.onnx"))


def make_borrowing(operator: str, target: str, attribute: str, argument: str, kind: int) -> NodeProto:
    """An operator without inputs that takes its attribute ``attribute`` from its function's argument ``argument``."""
    node = helper.make_node(operator, [], [target])
    node.attribute.append(onnx.AttributeProto(name=attribute, ref_attr_name=argument, type=kind))
    return node


@pytest.mark.parametrize("kind", [onnx.AttributeProto.TENSOR, onnx.AttributeProto.FLOATS])
def test_a_function_that_uses_a_tensor_argument_is_refused_before_inlining(
    kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = [make_borrowing("Constant", f"w{index}", "value", "v", kind) for index in range(100)]
    onnx_model = make_with_functions({"n": [*body, helper.make_node("Identity", ["a"], ["b"])]}, [call("n", "f", "h")])
    onnx_model.functions[0].attribute.append("v")
    tensor = numpy_helper.from_array(np.ones(1 << 18, np.float32))
    next(node for node in onnx_model.graph.node if node.domain == "own").attribute.append(
        helper.make_attribute("v", tensor)
    )
    monkeypatch.setattr("onnx.inliner.inline_local_functions", None)
    expect_refusal(onnx_model, tmp_path, "onnx-function-takes-parts", path=str(tmp_path / "m.onnx"))


def test_an_attribute_that_a_function_uses_many_times_counts_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = onnx.AttributeProto.FLOATS
    body = [make_borrowing("Constant", f"w{index}", "value_floats", "v", kind) for index in range(100)]
    onnx_model = make_with_functions({"n": [*body, helper.make_node("Identity", ["a"], ["b"])]}, [call("n", "f", "h")])
    onnx_model.functions[0].attribute.append("v")
    numbers = helper.make_attribute("v", [1.0] * 1000)
    next(node for node in onnx_model.graph.node if node.domain == "own").attribute.append(numbers)
    assert load_onnx(save(onnx_model, tmp_path / "a.onnx"), OnnxInput()).judges_only is None
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", onnx_model.ByteSize() + 50 * 4000)
    expect_refusal(onnx_model, tmp_path, "onnx-too-large", path=str(tmp_path / "m.onnx"))


@pytest.mark.parametrize(("domain", "code"), [("own", "onnx-loops"), ("ai.onnx", "onnx-function-takes-parts")])
def test_a_function_named_if_must_not_take_a_graph(domain: str, code: str, tmp_path: Path) -> None:
    repeat = make_borrowing("Loop", "b", "body", "body", onnx.AttributeProto.GRAPH)
    repeat.input.extend(["", "", "a"])
    inner = recogniser().graph
    onnx_model = make_with_functions(
        {"If": [repeat]}, [helper.make_node("If", ["f"], ["h"], domain=domain, body=inner)]
    )
    onnx_model.functions[0].attribute.append("body")
    onnx_model.functions[0].domain = "" if domain == "ai.onnx" else domain
    expect_refusal(onnx_model, tmp_path, code, path=str(tmp_path / "m.onnx"))


def test_functions_in_the_onnx_domain_are_counted_under_both_of_its_names(tmp_path: Path) -> None:
    body = [helper.make_node("n", ["a"], ["b"], domain="ai.onnx")]
    onnx_model = make_with_functions({"n": body}, [helper.make_node("n", ["f"], ["h"], domain="ai.onnx")])
    onnx_model.functions[0].domain = ""
    expect_refusal(onnx_model, tmp_path, "onnx-too-many-operators")


def test_inlined_functions_are_checked_like_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_model = make_with_functions({"twice": [helper.make_node("Add", ["a", "a"], ["b"])]}, [call("twice", "f", "h")])
    repeating = recogniser(more=[helper.make_node("Loop", ["", "", "f"], ["h"], body=recogniser().graph)])
    monkeypatch.setattr("onnx.inliner.inline_local_functions", lambda model: repeating)
    expect_refusal(onnx_model, tmp_path, "onnx-loops", operator="Loop")


def test_model_parts_other_than_operators_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST_PARTS", 10)
    expect_refusal(recogniser(), tmp_path, "onnx-too-many-parts", limit=10)


def make_large(source: str, target: str) -> list[NodeProto]:
    """Makes 2^40 values on the way from one name to another."""
    extents = numpy_helper.from_array(np.array([1 << 20, 1 << 20]))
    return [
        helper.make_node("Constant", [], ["extents"], value=extents),
        helper.make_node("ConstantOfShape", ["extents"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0),
        helper.make_node("Add", [source, "most"], [target]),
    ]


def test_a_tensor_too_large_within_a_function_is_refused(tmp_path: Path) -> None:
    onnx_model = make_with_functions({"n": make_large("a", "b")}, [call("n", "f", "h")])
    expect_refusal(onnx_model, tmp_path, "onnx-tensor-too-large", name=re.compile("large"))


def test_a_function_that_cannot_be_inlined_is_refused(tmp_path: Path) -> None:
    onnx_model = make_with_functions({"n": make_large("a", "b")}, [call("n", "f", "h")])
    next(entry for entry in onnx_model.functions[0].opset_import if not entry.domain).version = 16
    expect_refusal(onnx_model, tmp_path, "onnx-functions-differ", path=str(tmp_path / "m.onnx"))


def branch(nodes: Sequence[NodeProto]) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [helper.make_tensor_value_info("z", 1, None)])


def test_a_tensor_too_large_in_one_of_two_branches_is_refused(tmp_path: Path) -> None:
    other = branch([helper.make_node("Identity", ["f"], ["z"])])
    onnx_model = recogniser(
        more=[helper.make_node("If", ["yes"], ["h"], then_branch=branch(make_large("f", "z")), else_branch=other)]
    )
    onnx_model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    expect_refusal(onnx_model, tmp_path, "onnx-tensor-too-large", name="large")


def test_a_zero_extent_does_not_hide_another_one(tmp_path: Path) -> None:
    onnx_model = recogniser()
    onnx_model.graph.initializer[0].dims[:] = [0, 1 << 60]
    expect_refusal(onnx_model, tmp_path, "onnx-tensor-too-large", name="w")


@pytest.mark.parametrize("place", ["function", "training"])
def test_external_data_outside_of_the_folder_is_refused_in_any_part_of_the_model(place: str, tmp_path: Path) -> None:
    tensor = move_weights(recogniser(), "../secret").graph.initializer[3]
    assert tensor.external_data
    hidden = helper.make_node("Constant", [], ["s"], value=tensor)
    if place == "function":
        onnx_model = make_with_functions({"n": [helper.make_node("Identity", ["a"], ["b"])]}, [call("n", "f", "h")])
        default = helper.make_attribute("kept", hidden.attribute[0].t)
        onnx_model.functions[0].attribute_proto.append(default)
    else:
        onnx_model = recogniser()
        onnx_model.training_info.add().algorithm.node.append(hidden)
    expect_refusal(onnx_model, tmp_path, "onnx-data-outside", location="../secret")


@pytest.mark.parametrize("data", [b"", b"no model", os.urandom(1000), b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_file_without_a_model_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with raising(ModelUnavailable, "onnx-unreadable", path=str(tmp_path / "m.onnx")):
        load_onnx(tmp_path / "m.onnx", OnnxInput())


@pytest.mark.parametrize(
    "shape", [("n", 1, 112, 112), ("n", 3, 112, 96), (3, 112, 112), ("n", 3, 8, 8), ("n", 3, 4096, 4096)]
)
def test_a_model_with_another_input_than_a_square_colour_picture_is_refused(
    shape: tuple[Any, ...], tmp_path: Path
) -> None:
    onnx_model = model([helper.make_node("Flatten", ["x"], ["y"])], {}, shape)
    with raising(ModelUnavailable, "onnx-input-wrong"):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


def test_a_model_of_two_inputs_is_refused(tmp_path: Path) -> None:
    onnx_model = recogniser()
    onnx_model.graph.input.append(helper.make_tensor_value_info("more", 1, [1]))
    with raising(ModelUnavailable, "onnx-inputs-wrong", count=2):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


def test_a_model_without_a_descriptor_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["g"])]
    onnx_model = model([*nodes, helper.make_node("Flatten", ["g"], ["y"])], weights(w=(2, 3, 1, 1)))
    with raising(ModelUnavailable, "onnx-output-wrong", shape="2"):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


@pytest.mark.parametrize("kind", [onnx.TensorProto.STRING, onnx.TensorProto.BOOL])
def test_a_model_with_integer_descriptors_is_refused(kind: int, tmp_path: Path) -> None:
    onnx_model = recogniser()
    onnx_model.graph.node[-1].output[0] = "g"
    onnx_model.graph.node.append(helper.make_node("Cast", ["g"], ["y"], to=kind))
    onnx_model.graph.output[0].type.tensor_type.elem_type = kind
    expect_refusal(onnx_model, tmp_path, "onnx-output-type-wrong", type=re.compile("tensor"))


def test_a_model_that_onnxruntime_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    onnx_model = recogniser(more=[helper.make_node("Identity", ["nowhere"], ["h"])])
    with raising(ModelUnavailable, "onnx-failed", path=str(tmp_path / "m.onnx")):
        load_onnx(save(onnx_model, tmp_path / "m.onnx"), OnnxInput())


# With thresholds, in the program


def load(store: ModelStore, *names: str) -> tuple[Recogniser, ...]:
    return load_recognisers(names, store, CPU)


def test_without_a_threshold_a_model_is_refused_with_instructions(file: Path, store: ModelStore) -> None:
    name = f"onnx:{file}"
    with raising(ModelUnavailable, "brought-without-threshold", given=name):
        load(store, name)


def test_the_name_of_a_model_depends_on_the_file_and_the_input_options(file: Path, store: ModelStore) -> None:
    rgb, bgr = load(store, f"onnx:{file}?threshold=0.3", f"onnx:{file}?order=bgr&threshold=0.4")
    assert rgb.name.startswith("onnx:tiny-") and bgr.name.startswith("onnx:tiny-") and rgb.name != bgr.name
    assert (rgb.family, rgb.far1, rgb.far01, rgb.measured_by) == ("tiny", 0.3, 0.3, "vendor")
    assert (bgr.far1, bgr.requested_name) == (0.4, f"onnx:{file}?order=bgr&threshold=0.4")
    (same,) = load(store, f"onnx:{file}?size=112&range=-1..1&threshold=0.3")
    assert same.name == rgb.name


def test_thresholds_belong_to_the_content_of_the_file_and_its_use(file: Path, store: ModelStore) -> None:
    loaded = load_network(f"onnx:{file}", store, CPU)
    save_own_thresholds({loaded.name: Impostors(9000, 0.4, 0.6, 0.1, 0.2)}, store, {loaded.name: loaded.key})
    moved = file.rename(file.parent / "moved.onnx")
    (measured,) = load(store, f"onnx:{moved}")
    assert (measured.far1, measured.far01, measured.impostor_std, measured.measured_by) == (0.4, 0.6, 0.2, "user")
    (lower,) = load(store, f"onnx:{moved}?threshold=0.3")
    assert lower.far1 == 0.3
    with raising(ModelUnavailable, "brought-without-threshold"):
        load(store, f"onnx:{moved}?range=0..255")
    save(recogniser(more=STRANGE), moved)
    with raising(ModelUnavailable, "brought-without-threshold"):
        load(store, f"onnx:{moved}")


def test_auto_among_the_names_means_the_usual_ones(file: Path, store: ModelStore) -> None:
    names = [r.name for r in load(store, "auto", f"onnx:{file}?threshold=0.3")]
    assert names[:-1] == [r.name for r in load_recognisers("auto", store, CPU)] and names[-1].startswith("onnx:tiny-")


def astronaut() -> Photo:
    return Photo(skimage.data.astronaut()[:256, 96:352])


def test_a_photo_is_protected_from_an_onnx_model_and_another_one_judges(file: Path, store: ModelStore) -> None:
    judge = save(recogniser(more=STRANGE), file.parent / "judge.onnx")
    names = (f"onnx:{file}?threshold=0.9", f"onnx:{judge}?threshold=0.9&range=0..255")
    result = protect(ProtectRequest(astronaut(), recognisers=names, steps=4, device="cpu"), store=store)
    searched, held_out = result.faces[0].similarities
    assert (searched.held_out, held_out.held_out) == (False, True)
    assert 1 - searched.after > 5 * (1 - searched.before)
    reason = Message("onnx-not-convertible", operators=["Hardmax"])
    assert Message("recogniser-judges-only", name=held_out.recogniser, why=reason) in result.warnings
    assert "nothing-left-to-hold-out" not in {warning.code for warning in result.warnings}


def test_an_onnx_model_may_be_held_out(file: Path, store: ModelStore) -> None:
    held_out = f"onnx:{file}?threshold=0.9"
    request = ProtectRequest(astronaut(), recognisers=("mobileface",), hold_out=held_out)
    recognisers, _ = get_recognisers(name_recognisers(request), store, CPU, WarmModels())
    assert [r.family for r in recognisers] == ["mobileface", "tiny"]
    assert [r.family for r in split_hold_out(recognisers, request, [])] == ["mobileface"]
    by_file = ProtectRequest(astronaut(), recognisers=("mobileface", held_out), hold_out="tiny")
    assert [r.family for r in split_hold_out(recognisers, by_file, [])] == ["mobileface"]


def test_a_judge_leaves_the_usual_recogniser_held_out_too(tmp_path: Path, store: ModelStore) -> None:
    judge = save(recogniser(more=STRANGE), tmp_path / "judge.onnx")
    names = ("mobilenet", "mobileface", f"onnx:{judge}?threshold=0.9")
    recognisers = load(store, *names)
    request = ProtectRequest(astronaut(), recognisers=names)
    assert [r.name for r in split_hold_out(recognisers, request, [])] == ["mobilenet"]


def test_judging_recognisers_alone_cannot_guide_a_search(tmp_path: Path, store: ModelStore) -> None:
    judge = save(recogniser(more=STRANGE), tmp_path / "judge.onnx")
    request = ProtectRequest(astronaut(), recognisers=(f"onnx:{judge}?threshold=0.9",))
    recognisers = load(store, *request.recognisers)
    with raising(BadRequest, "nothing-to-search-with", names=[recognisers[0].name]):
        split_hold_out(recognisers, request, [])


def test_check_compares_with_an_onnx_model_too(file: Path, store: ModelStore) -> None:
    names = ("mobileface", f"onnx:{file}?threshold=0.9")
    (face,) = check(astronaut(), astronaut(), store=store, device="cpu", recognisers=names)
    assert [s.family for s in face.similarities] == ["mobileface", "tiny"]
    assert face.similarities[1].after == pytest.approx(1)


def command(store: ModelStore, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.c2p, ["--models", str(store.root), *arguments], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.exit_code, result.output


def test_the_command_measures_thresholds_of_an_onnx_model_for_later_runs(
    file: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    Image.fromarray(astronaut().pixels).save(faces / "many.png")
    (face,) = find_faces(astronaut(), store)
    # 630 pairs, as each face counts as another person.
    detected = [replace(face, mesh=face.mesh + np.float32(offset)) for offset in range(36)]
    monkeypatch.setattr(impostors, "find_faces_in", lambda view, models: detected)
    name = f"onnx:{file}"
    _, output = command(store, "thresholds", "--faces", str(faces), "--recogniser", name, "--save", "--json")
    (measured,) = json.loads(output)["recognisers"].values()
    (loaded,) = load(store, name)
    assert (loaded.far1, loaded.measured_by) == (measured["far1"], "user")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("onnx:{}.not", "onnx-missing"),
        ("onnx:~nobody/{}", "onnx-missing"),
        ("onnx:" + "long" * 100, "onnx-missing"),
        ("onnx:{}\0", "onnx-missing"),
        ("onnx:{}?sise=112", "brought-option-unknown"),
        ("onnx:{}?size=0", "brought-option-wrong"),
        ("onnx:{}?size=1e2", "brought-option-wrong"),
        ("onnx:{}?range=1..-1", "brought-option-wrong"),
        ("onnx:{}?range=0", "brought-option-wrong"),
        ("onnx:{}?range=nan..1", "brought-option-wrong"),
        ("onnx:{}?order=gbr", "brought-option-wrong"),
        ("onnx:{}?zoom=9", "brought-option-wrong"),
        ("onnx:{}?threshold=1", "brought-option-wrong"),
        ("frbench:irse-50_arcface_ms1m?size=112", "brought-option-unknown"),
    ],
)
@pytest.mark.parametrize("option", ["--recogniser", "--hold-out"])
def test_an_invalid_name_is_refused_before_any_photo_is_read(
    name: str, code: str, option: str, file: Path, store: ModelStore, tmp_path: Path
) -> None:
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.png")
    with raising(BadRequest, code):
        command(store, "protect", str(tmp_path / "a.png"), option, name.format(file))


def test_options_in_the_name_describe_the_models_input(file: Path) -> None:
    name = f"onnx:{file}?size=96&range=0..255&order=bgr&zoom=0.9&threshold=0.3"
    assert parse_user_recogniser(name) == OnnxName(name, file, OnnxInput(96, 0.0, 255.0, "bgr"), 0.9, 0.3)


def test_an_onnx_model_is_placed_on_a_device_like_the_shipped_ones(
    file: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[torch.device] = []

    def note(network: OnnxRecogniser, device: torch.device) -> OnnxRecogniser:
        placed.append(device)
        return network

    monkeypatch.setattr(user_recogniser_loader, "move_network", note)
    load_network(f"onnx:{file}", store, CPU)
    assert placed == [CPU]


def test_a_recogniser_that_is_named_beside_the_usual_ones_is_loaded_once(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(
        recognition, "load_network", lambda name, *arguments: loaded.append(name) or load_network(name, *arguments)
    )
    load(store, "auto", "mobileface")
    assert sorted(loaded) == sorted(recognition.list_recognisers(store))


def test_more_recognisers_are_added_to_those_that_are_listed(file: Path) -> None:
    assert add_recognisers("auto", ()) == "auto"
    assert add_recognisers("auto", ("x",)) == ("auto", "x")
    assert add_recognisers(("a", "x"), ("x", "y")) == ("a", "x", "y")
