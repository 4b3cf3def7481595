"""The training of the embedded generator, with networks small enough for a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from c2p_core.priors.stylegan2 import EncoderShape, GeneratorShape

CPU = torch.device("cpu")


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[2] / "bundle" / "train" / "stylegan2.py"
    spec = importlib.util.spec_from_file_location("stylegan2_training", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "stylegan2_training", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "GENERATOR", GeneratorShape((16, 16, 8, 8), style=16, mapping=2))
    monkeypatch.setattr(module, "ENCODER", EncoderShape(8, 16, 32, (16, 20, 24, 32), (1, 1, 1, 1), 8))
    return module


@pytest.fixture
def faces() -> Tensor:
    return torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_resumed_run_goes_on_as_an_unbroken_one(training: ModuleType, faces: Tensor, tmp_path: Path) -> None:
    plan = training.Plan(batch=4, grow=((0, 16), (1, 32)), adversary=2, lazy=2)
    unbroken = training.Training(plan, 0, CPU)
    wanted = [unbroken.advance(faces, None) for _ in range(5)]
    first = training.Training(plan, 0, CPU)
    for _ in range(3):
        first.advance(faces, None)
    torch.save(first.state(), tmp_path / "state.pt")
    second = training.Training(plan, 0, CPU)
    second.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [second.advance(faces, None) for _ in range(2)] == wanted[3:]
    assert {"judge", "adversarial", "path"} <= set(wanted[4])


def test_it_learns_to_reconstruct(training: ModuleType) -> None:
    run = training.Training(training.Plan(batch=6, grow=((0, 16),), adversary=1000), 0, CPU)
    faces = torch.tensor([230, 60, 20], dtype=torch.uint8)[None, :, None, None].expand(6, 3, 32, 32)
    losses = [run.advance(faces, None)["reconstruction"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
