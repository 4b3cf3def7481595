"""torchvision imports everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_torchvision_imports_and_transforms_pictures_once_missing_operators_are_defined() -> None:
    code = """
from c2p_core import torchvision_ops
torchvision_ops.define_missing_operators()
import torch
from torchvision.transforms import Resize
assert Resize((2, 3))(torch.zeros(3, 8, 8)).shape == (3, 2, 3)
"""
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
