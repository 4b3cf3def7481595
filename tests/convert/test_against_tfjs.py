"""The executor compared with TensorFlow.js, on the models that are converted with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.convert.published import find_published, import_script

TFJS = "@tensorflow/tfjs@4.22.0"
SCRIPT = Path(__file__).with_name("tfjs_reference.cjs")

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """TensorFlow.js, installed once per machine."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("NOT CHECKED against TensorFlow.js: there is no Node.js on this machine")
    folder = Path(tempfile.gettempdir()) / f"protect-face-{TFJS.replace('/', '-')}"
    done = folder / "installed"
    if not done.exists():
        command = [npm, "install", TFJS, "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if run.returncode != 0:
            pytest.skip(f"NOT CHECKED against TensorFlow.js: npm could not install it: {run.stderr[:300]}")
        done.touch()
    return folder / "node_modules"


@pytest.mark.parametrize(
    ("name", "node", "size", "offset"),
    [
        ("mobileface", "batchnorm0/add_1", 112, 0.0),
        ("faceres", "global_pooling/Mean", 224, -117.0),
        ("faceres-deep", "global_pooling/Mean", 224, -117.0),
    ],
)
def test_outputs_are_those_of_tensorflow_js(
    name: str, node: str, size: int, offset: float, node_modules: Path, tmp_path: Path
) -> None:
    model = find_published("mobileface" if name == "mobileface" else "faceres") / f"{name}.json"
    pixels = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32) + np.float32(offset)
    pixels.tofile(tmp_path / "input.f32")
    subprocess.run(
        ["node", str(SCRIPT), str(model), str(tmp_path / "input.f32"), str(size), str(tmp_path / "output.f32"), node],
        env={**os.environ, "NODE_PATH": str(node_modules)},
        check=True,
        timeout=300,
    )
    expected = np.fromfile(tmp_path / "output.f32", dtype=np.float32)
    result = import_script("tfjs_graph").load_tfjs_graph(model, node)(torch.from_numpy(pixels))[0].numpy()
    np.testing.assert_allclose(result, expected, atol=1e-4 * np.abs(expected).max())
