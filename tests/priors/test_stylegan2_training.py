"""The training of the embedded generator and its encoder, with networks small enough for a test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from c2p_core.priors.checkpoints import load_encoder, load_generator, save
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape

CPU = torch.device("cpu")
GENERATOR = GeneratorShape((16, 16, 8, 8), style=16, mapping=2)
ENCODER = EncoderShape(8, 16, 32, (16, 20, 24, 32), (1, 1, 1, 1), 8)


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script of bundle/train, which finds the others beside it."""
    path = Path(__file__).parents[2] / "bundle" / "train" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("stylegan2", monkeypatch)
    monkeypatch.setattr(module, "GENERATOR", GENERATOR)
    monkeypatch.setattr(module, "ENCODER", ENCODER)
    return module


@pytest.fixture
def polishing(training: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("encoder", monkeypatch)


@pytest.fixture
def faces() -> Tensor:
    return torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_resumed_run_is_identical_to_an_uninterrupted_one(
    training: ModuleType, faces: Tensor, tmp_path: Path
) -> None:
    plan = training.TrainingPlan(batch=4, grow=((0, 16), (1, 32)), adversary=2, lazy=2)
    unbroken = training.Training(plan, 0, CPU)
    expected = [unbroken.advance(faces, None) for _ in range(5)]
    first = training.Training(plan, 0, CPU)
    for _ in range(3):
        first.advance(faces, None)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = training.Training(plan, 0, CPU)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [second.advance(faces, None) for _ in range(2)] == expected[3:]
    assert {"judge", "adversarial", "path"} <= set(expected[4])


def test_training_improves_reconstruction(training: ModuleType) -> None:
    run = training.Training(training.TrainingPlan(batch=6, grow=((0, 16),), adversary=1000), 0, CPU)
    faces = torch.tensor([230, 60, 20], dtype=torch.uint8)[None, :, None, None].expand(6, 3, 32, 32)
    losses = [run.advance(faces, None)["reconstruction"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture
def unpolished(polishing: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Tensor]:
    """Weights of a generator and an encoder that knows nothing of it, and faces that the generator made."""
    torch.manual_seed(0)
    before, maker = tmp_path / "before.safetensors", Generator(GENERATOR)
    save(before, maker, Encoder(ENCODER))
    with torch.no_grad():
        faces = (maker(maker.map(torch.randn(6, 16))).clamp(-1, 1) * 127.5 + 127.5).byte()
    monkeypatch.setattr(polishing, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(polishing, "list_training_names", lambda folder, *limits: [])
    monkeypatch.setattr(polishing, "list_benchmark_names", lambda folder: [])
    monkeypatch.setattr(polishing, "load_faces", lambda folder, names: faces)
    return before, faces


def test_fine_tuning_improves_the_encoder_and_keeps_the_generator(
    polishing: ModuleType, unpolished: tuple[Path, Tensor], tmp_path: Path
) -> None:
    (before, faces), after = unpolished, tmp_path / "after.safetensors"
    polishing.polish(tmp_path, before, after, steps=25)
    generator, tuned = load_generator(before), load_generator(after)
    assert all(torch.equal(a, b) for a, b in zip(generator.parameters(), tuned.parameters(), strict=True))
    quality = [float(polishing.measure_psnr(generator, load_encoder(path), faces).mean()) for path in (before, after)]
    assert quality[1] > quality[0] + 1.0


def test_resumed_fine_tuning_is_identical_to_an_uninterrupted_run(
    polishing: ModuleType, unpolished: tuple[Path, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before, _ = unpolished
    monkeypatch.setattr(polishing, "EVALUATE_EVERY", 2)
    uninterrupted, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    polishing.polish(tmp_path, before, uninterrupted, steps=6)
    batch = polishing.draw_batch

    def until_killed(faces: Tensor, step: int) -> Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return batch(faces, step)

    monkeypatch.setattr(polishing, "draw_batch", until_killed)
    with pytest.raises(KeyboardInterrupt):
        polishing.polish(tmp_path, before, stopped, steps=6)
    steps: list[int] = []
    monkeypatch.setattr(polishing, "draw_batch", lambda faces, step: steps.append(step) or batch(faces, step))
    polishing.polish(tmp_path, before, stopped, steps=6)
    assert steps == [2, 3, 4, 5]
    assert stopped.read_bytes() == uninterrupted.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in (before, stopped, uninterrupted))


def test_fine_tuning_refuses_to_resume_with_another_number_of_steps(
    polishing: ModuleType, unpolished: tuple[Path, Tensor], tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    torch.save({"steps": 6}, tmp_path / "out.safetensors.state")
    with pytest.raises(SystemExit, match="begun for 6 steps, not 7; delete it"):
        polishing.polish(tmp_path, unpolished[0], out, steps=7)


def test_every_step_of_fine_tuning_has_its_own_reproducible_batch(polishing: ModuleType, faces: Tensor) -> None:
    first, again, next_one = (
        polishing.draw_batch(faces, 3),
        polishing.draw_batch(faces, 3),
        polishing.draw_batch(faces, 4),
    )
    assert torch.equal(first, again) and not torch.equal(first, next_one)
    assert float(first.abs().max()) <= 1.0
