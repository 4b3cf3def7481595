"""Fine-tunes the encoder of the embedded StyleGAN2 with a fixed generator.

    python bundle/train/encoder.py FACES WEIGHTS OUT      WEIGHTS as stylegan2.py export wrote them

Trained together, generator and encoder soon overfit the training faces. Here only the encoder is trained further, on
more faces (including turned heads and more padding) with random warps, tones and lighting in every step, on the squared
error by which it is evaluated, while the learning rate decays to 0. Random draws depend only on the step number. Can be
interrupted and resumed: it stores its state in OUT.state until it is done.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from stylegan2 import augment, list_benchmark_names, list_training_names, load_faces, psnr
from torch import Tensor

from c2p_core.priors.checkpoints import load_encoder, load_generator, save
from c2p_core.priors.stylegan2 import Encoder, Generator

_MAX_PADDING, _MAX_YAW = 0.2, 0.8
_BATCH, _RATE, WARM_UP_STEPS, _DECAY, _MAX_GRADIENT_NORM = 16, 1e-3, 50, 0.995, 1.0
EVALUATE_EVERY = 50
_AUGMENT_PROBABILITY = 0.7  # probability of each kind of augmentation
_WARP_STD = 0.035  # standard deviation of 5 x 5 random shifts, relative to half a side
_GAIN, _GAMMA, _SIDE_LIGHT = 0.12, 0.2, 0.15


def warp_randomly(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Warp every picture of (B, 3, h, h) smoothly and randomly."""
    count = len(pictures)
    shift = F.interpolate(
        _WARP_STD * torch.randn(count, 2, 5, 5, generator=rng), pictures.shape[2:], mode="bicubic", align_corners=True
    )
    identity = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), list(pictures.shape), align_corners=False)
    grid = identity + shift.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def relight_randomly(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Change white balance, exposure, contrast and direction of light of (B, 3, h, h) pictures in -1..1 randomly."""

    def draw_normal(*shape: int) -> Tensor:
        return torch.randn(len(pictures), *shape, generator=rng)

    tint, gamma = torch.exp(_GAIN * draw_normal(3, 1, 1)), torch.exp(_GAMMA * draw_normal(1, 1, 1))
    side = F.interpolate(_SIDE_LIGHT * draw_normal(1, 3, 3), pictures.shape[2:], mode="bicubic", align_corners=True)
    light = ((pictures + 1) / 2).clamp(1e-3, 1) ** gamma * tint * torch.exp(side)
    return 2 * light.clamp(0, 1) - 1


def draw_batch(faces: Tensor, step: int) -> Tensor:
    """Draw the (B, 3, h, h) training batch of a step, in -1..1, from (N, 3, h, h) uint8 faces."""
    rng = torch.Generator().manual_seed(77_000_003 + step)
    pictures = augment(faces[torch.randint(len(faces), (_BATCH,), generator=rng)], rng)
    for change in (warp_randomly, relight_randomly):
        selected = torch.rand(_BATCH, generator=rng) < _AUGMENT_PROBABILITY
        pictures[selected] = change(pictures[selected], rng)
    return pictures.contiguous(memory_format=torch.channels_last)


def learning_rate(step: int, steps: int) -> float:
    """Learning rate: warm-up, then cosine decay to 0."""
    return _RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


@torch.no_grad()
def measure_psnr(generator: Generator, encoder: Encoder, faces: Tensor) -> Tensor:
    """(N,) PSNR in dB of (N, 3, h, h) uint8 faces reconstructed by encoder and generator."""
    reconstructions = []
    for batch in faces.split(8):
        target = batch.to(generator.mean_w.device).float() / 127.5 - 1
        codes = encoder(F.avg_pool2d(target, faces.shape[2] // encoder.shape.size))
        reconstructions.append((generator(codes).clamp(-1, 1).cpu() + 1) / 2)
    return psnr(torch.cat(reconstructions), faces)


def polish(faces: Path, weights: Path, out: Path, steps: int) -> None:
    """Train, print the PSNR on the benchmark's faces, and write the averaged weights to ``out``.

    Raises:
        SystemExit: the stored state is of a run with another number of steps, which determines the learning rate.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator, encoder = load_generator(weights), load_encoder(weights).train().requires_grad_()
    for network in (generator, encoder):
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = copy.deepcopy(encoder).requires_grad_(False).eval()
    pictures = load_faces(faces, list_training_names(faces, _MAX_PADDING, _MAX_YAW))
    benchmark_faces = load_faces(faces, list_benchmark_names(faces))
    print(f"{len(pictures)} faces; before: {_format_psnr(measure_psnr(generator, mean, benchmark_faces))}", flush=True)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    state = out.with_name(f"{out.name}.state")
    first = _restore_state(state, encoder, mean, optimiser, steps)
    start = time.monotonic()
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        target = draw_batch(pictures, step).to(device)
        codes = encoder(F.avg_pool2d(target, target.shape[2] // encoder.shape.size))
        loss = F.mse_loss(generator(codes), target)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), _MAX_GRADIENT_NORM)
        optimiser.step()
        _update_average(mean, encoder, min(_DECAY, (1 + step) / (10 + step)))
        if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == steps:
            scores = _format_psnr(measure_psnr(generator, mean, benchmark_faces))
            print(f"{step + 1} {time.monotonic() - start:.0f} s: {scores}", flush=True)
            save(out, generator, mean)
            _save_state(state, encoder, mean, optimiser, step + 1, steps)
    state.unlink(missing_ok=True)


def _save_state(
    path: Path, encoder: Encoder, mean: Encoder, optimiser: torch.optim.Optimizer, step: int, steps: int
) -> None:
    temporary = path.with_name(f"{path.name}.part")
    networks = {"encoder": encoder.state_dict(), "mean": mean.state_dict()}
    torch.save({**networks, "optimiser": optimiser.state_dict(), "step": step, "steps": steps}, temporary)
    temporary.replace(path)


def _restore_state(path: Path, encoder: Encoder, mean: Encoder, optimiser: torch.optim.Optimizer, steps: int) -> int:
    """Restore a stored state; returns the step to continue with, 0 if there is none."""
    if not path.exists():
        return 0
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if stored["steps"] != steps:
        raise SystemExit(f"{path} was begun for {stored['steps']} steps, not {steps}; delete it to start afresh.")
    encoder.load_state_dict(stored["encoder"])
    mean.load_state_dict(stored["mean"])
    optimiser.load_state_dict(stored["optimiser"])
    step: int = stored["step"]
    return step


@torch.no_grad()
def _update_average(mean: Encoder, current: Encoder, decay: float) -> None:
    torch._foreach_lerp_(list(mean.parameters()), list(current.parameters()), 1 - decay)
    for mean_buffer, buffer in zip(mean.buffers(), current.buffers(), strict=True):
        mean_buffer.copy_(buffer)


def _format_psnr(values: Tensor) -> str:
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
