"""A recogniser of a user's own, with random weights: an installed module, and an entry of a manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

MODULE = """
from torch import nn
from c2p_core.recognition.alignment import five_point_template

TEMPLATE = five_point_template(32, 1.0)


class NETWORK(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 7 * 7, 16))

    def forward(self, chips):
        return self.layers(chips - 0.5)
"""
DEFAULT = 'default = { threshold = 0.9, says = "made up" }'


def install_toy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the module importable and write the weights; returns the folder of models, whose manifest lists it."""
    packages, root = folder / "packages", folder / "models"
    packages.mkdir()
    (packages / "toy_recogniser.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(packages))
    from toy_recogniser import NETWORK  # type: ignore[import-not-found]

    (root / "toy").mkdir(parents=True)
    torch.manual_seed(0)
    save_file(NETWORK().state_dict(), root / "toy" / "toy.safetensors")
    list_toy(root)
    return root


def list_toy(root: Path, extra: str = DEFAULT, **changed: str) -> None:
    """Write the manifest.

    Args:
        root: folder of models.
        extra: a line of the entry.
        changed: other values of its keys.
    """
    weights = (root / "toy" / "toy.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    keys = {
        "name": "toy",
        "role": "recogniser",
        "module": "toy_recogniser",
        "family": "toys",
        "licence": "MIT",
    } | changed
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    lines += ['origin = "random numbers"', extra, "sources = []"]
    lines += [f'files = [{{ name = "toy.safetensors", sha256 = "{digest}", size = {len(weights)} }}]']
    (root / "manifest.toml").write_text("\n".join(["[[model]]", *lines]))
