"""Polishes the encoder of the embedded StyleGAN2, whose generator stays as it is.

    python bundle/train/encoder.py FACES WEIGHTS OUT      WEIGHTS as stylegan2.py export wrote them

Trained together, generator and encoder soon know the training faces by heart. Here the encoder alone goes on, on more
faces (turned heads and more padding too) that are bent, toned and lit anew in every step, against the squared error
that its figure is made of, while its rate falls to nothing. Every random draw follows from the number of the step.
May be stopped and started again: it goes on from OUT.state, which it keeps until it is done.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from stylegan2 import augmented, benchmark_names, load_faces, psnr, training_names
from torch import Tensor

from c2p_core.priors.checkpoints import load_encoder, load_generator, save
from c2p_core.priors.stylegan2 import Encoder, Generator

_MAX_PADDING, _MAX_YAW = 0.2, 0.8
_BATCH, _RATE, _WARM, _DECAY, _LARGEST = 16, 1e-3, 50, 0.995, 1.0
_LOOK_EVERY = 50
_CHANGED = 0.7  # share of faces that each kind of change happens to
_BEND = 0.035  # of half a side, at each of 5 x 5 points
_GAIN, _GAMMA, _SIDE_LIGHT = 0.12, 0.2, 0.15


def bent(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """(B, 3, h, h) with every picture bent smoothly in its own way."""
    count = len(pictures)
    shift = F.interpolate(
        _BEND * torch.randn(count, 2, 5, 5, generator=draw), pictures.shape[2:], mode="bicubic", align_corners=True
    )
    still = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), list(pictures.shape), align_corners=False)
    grid = still + shift.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def lit(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """(B, 3, h, h) in -1..1 with another white balance, exposure, contrast and light from another side."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(pictures), *shape, generator=draw)

    tint, gamma = torch.exp(_GAIN * normal(3, 1, 1)), torch.exp(_GAMMA * normal(1, 1, 1))
    side = F.interpolate(_SIDE_LIGHT * normal(1, 3, 3), pictures.shape[2:], mode="bicubic", align_corners=True)
    light = ((pictures + 1) / 2).clamp(1e-3, 1) ** gamma * tint * torch.exp(side)
    return 2 * light.clamp(0, 1) - 1


def batch(faces: Tensor, step: int) -> Tensor:
    """(B, 3, h, h) -1..1: what step ``step`` learns from, of (N, 3, h, h) uint8 faces."""
    draw = torch.Generator().manual_seed(77_000_003 + step)
    pictures = augmented(faces[torch.randint(len(faces), (_BATCH,), generator=draw)], draw)
    for change in (bent, lit):
        some = torch.rand(_BATCH, generator=draw) < _CHANGED
        pictures[some] = change(pictures[some], draw)
    return pictures.contiguous(memory_format=torch.channels_last)


def rate(step: int, steps: int) -> float:
    """Adam's: soon at its height, then along a cosine to nothing."""
    return _RATE * min(1.0, (step + 1) / _WARM) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


@torch.no_grad()
def quality(generator: Generator, encoder: Encoder, faces: Tensor) -> Tensor:
    """(N,) dB of (N, 3, h, h) uint8 faces by the encoder alone."""
    made = []
    for some in faces.split(8):
        wanted = some.to(generator.mean_w.device).float() / 127.5 - 1
        codes = encoder(F.avg_pool2d(wanted, faces.shape[2] // encoder.shape.size))
        made.append((generator(codes).clamp(-1, 1).cpu() + 1) / 2)
    return psnr(torch.cat(made), faces)


def polish(faces: Path, weights: Path, out: Path, steps: int) -> None:
    """Trains, tells how it goes on the benchmark's faces, and writes the averaged weights to ``out``.

    Raises:
        SystemExit: what was begun was to take another number of steps, by which the rate goes.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, encoder = load_generator(weights), load_encoder(weights).train().requires_grad_()
    for network in (generator, encoder):
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = copy.deepcopy(encoder).requires_grad_(False).eval()
    pictures = load_faces(faces, training_names(faces, _MAX_PADDING, _MAX_YAW))
    shown = load_faces(faces, benchmark_names(faces))
    print(f"{len(pictures)} faces; before: {_told(quality(generator, mean, shown))}", flush=True)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    state = out.with_name(f"{out.name}.state")
    first = _resumed(state, encoder, mean, optimiser, steps)
    began = time.monotonic()
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, steps)
        wanted = batch(pictures, step).to(device)
        codes = encoder(F.avg_pool2d(wanted, wanted.shape[2] // encoder.shape.size))
        loss = F.mse_loss(generator(codes), wanted)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), _LARGEST)
        optimiser.step()
        _average(mean, encoder, min(_DECAY, (1 + step) / (10 + step)))
        if (step + 1) % _LOOK_EVERY == 0 or step + 1 == steps:
            told = _told(quality(generator, mean, shown))
            print(f"{step + 1} {time.monotonic() - began:.0f} s: {told}", flush=True)
            save(out, generator, mean)
            _keep(state, encoder, mean, optimiser, step + 1, steps)
    state.unlink(missing_ok=True)


def _keep(path: Path, encoder: Encoder, mean: Encoder, optimiser: torch.optim.Optimizer, step: int, steps: int) -> None:
    aside = path.with_name(f"{path.name}.part")
    networks = {"encoder": encoder.state_dict(), "mean": mean.state_dict()}
    torch.save({**networks, "optimiser": optimiser.state_dict(), "step": step, "steps": steps}, aside)
    aside.replace(path)


def _resumed(path: Path, encoder: Encoder, mean: Encoder, optimiser: torch.optim.Optimizer, steps: int) -> int:
    """The step to go on with; 0 where nothing was begun."""
    if not path.exists():
        return 0
    kept = torch.load(path, map_location="cpu", weights_only=True)
    if kept["steps"] != steps:
        raise SystemExit(f"{path} was begun for {kept['steps']} steps, not {steps}; delete it to start afresh.")
    encoder.load_state_dict(kept["encoder"])
    mean.load_state_dict(kept["mean"])
    optimiser.load_state_dict(kept["optimiser"])
    step: int = kept["step"]
    return step


@torch.no_grad()
def _average(mean: Encoder, current: Encoder, decay: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), list(current.parameters()), 1 - decay)
    for kept, buffer in zip(mean.buffers(), current.buffers(), strict=True):
        kept.copy_(buffer)


def _told(values: Tensor) -> str:
    return f"{values.mean():.2f} dB, worst {values.min():.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("faces", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    polish(arguments.faces, arguments.weights, arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
