"""What pip gives somebody who has nothing of ours: a command that protects a photo with no further step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from c2p_core.models.store import ModelStore
from c2p_core.version import __version__
from c2p_core.worker.control import NoWorker
from installer.environment import CONSTRAINTS, make_child_environment
from installer.folders import Installation

ROOT = Path(__file__).resolve().parent.parent
# As sitecustomize.py, this runs first in every Python of an environment.
CABLE_OUT = """
import socket

def refuse(*_, **__):
    raise OSError("the network cable is out")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def run_pip(*arguments: object, python: str | Path = sys.executable) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=make_child_environment())
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", folder]
    run_pip("wheel", *options, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_the_command_line_of_the_wheel_asks_for_the_worker_with_the_client_inside(wheel: Path, tmp_path: Path) -> None:
    run_pip("install", "--no-index", "--no-deps", "--target", tmp_path / "packages", wheel)
    # Isolated, so that neither the checkout nor PYTHONPATH can lend what the wheel lacks.
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import worker_client; print(worker_client.__file__);"
        "from c2p_core.cli import main; sys.exit(main(['worker', 'status']))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "packages"],
        capture_output=True,
        text=True,
        env=make_child_environment(C2P_HOME=str(tmp_path / "home")),
    )
    assert Path(run.stdout.strip()) == tmp_path / "packages" / "worker_client" / "__init__.py"
    assert run.returncode == NoWorker.exit_code and run.stderr.startswith("c2p: No worker is running;")


def test_the_wheel_has_the_version_the_weights_what_is_compiled_for_the_plug_ins_and_the_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        (metadata,) = (archive.read(name).decode() for name in sizes if name.endswith(".dist-info/METADATA"))
    assert f"\nVersion: {__version__}\n" in metadata
    shipped = {
        f"c2p_core/_bundle/{path.relative_to(ROOT / 'bundle').as_posix()}": path.stat().st_size
        for folder in ("mini", "models")
        for path in (ROOT / "bundle" / folder).iterdir()
    }
    assert shipped and shipped.items() <= sizes.items()
    assert [name for name in sizes if name.endswith((".po", ".mo"))] == [
        "worker_client/locale/de/LC_MESSAGES/protect-face.mo"
    ]
    assert "c2p_core/batch/report.html.jinja" in sizes
    assert {f"worker_client/{name}" for name in ("help/en/gimp-help.xml", "help/en/gimp.html", "priors.json")} <= set(
        sizes
    )
    licences = {name.partition("/licenses/")[2] for name in sizes if "/licenses/" in name}
    assert {"LICENSE", "THIRD_PARTY.md", "bundle/models/mobilenet.LICENSE.txt"} <= licences


@pytest.mark.slow
@pytest.mark.skipif(bool(os.environ.get("C2P_OFFLINE")), reason="fetches packages")
def test_the_wheel_in_an_empty_environment_protects_a_photo_without_a_network(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, env=make_child_environment())
    installation = Installation(tmp_path / "venv", tmp_path / "models")
    run_pip("install", "--no-compile", "--constraint", CONSTRAINTS, wheel, python=installation.python)
    query = [installation.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(
        query, capture_output=True, text=True, check=True, env=make_child_environment()
    ).stdout.strip()
    Path(packages, "sitecustomize.py").write_text(CABLE_OUT)
    photo, report = tmp_path / "me.png", tmp_path / "report.json"
    Image.fromarray(data.astronaut()).save(photo)
    environment = make_child_environment(C2P_HOME=str(tmp_path / "home"), OMP_NUM_THREADS="1")
    environment.pop("C2P_MODELS", None)
    version = subprocess.run([installation.c2p, "--version"], capture_output=True, text=True, env=environment)
    assert version.stdout == f"c2p {__version__}\n"
    asked = subprocess.run([installation.c2p, "worker", "status"], capture_output=True, text=True, env=environment)
    assert (asked.returncode, asked.stderr[:27]) == (NoWorker.exit_code, "c2p: No worker is running; ")
    command = [installation.c2p, "protect", photo, "--prompt", "no makeup", "--steps", "2", "--report", report]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    changed = (np.asarray(Image.open(tmp_path / "me.protected.png")) != data.astronaut()).any(axis=2)
    assert 0 < changed.mean() < 0.15
    (face,) = json.loads(report.read_text())["photos"][0]["faces"]
    asked = {similarity["recogniser"] for similarity in face["similarities"]}
    assert asked == {entry.name for entry in ModelStore().entries() if entry.role == "recogniser"}
