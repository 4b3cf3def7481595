"""Trains the embedded StyleGAN2 and its encoder on synthetic faces.

    python bundle/train/stylegan2.py train FACES WORK --steps N      resumes from WORK/state.pt
    python bundle/train/stylegan2.py check FACES WORK                figures on benchmark40.txt, WORK/samples.png
    python bundle/train/stylegan2.py export WORK OUT                 float16 weights, for encoder.py to polish

FACES is a folder with aligned256/ and faces.csv. Generator and encoder learn as one auto-encoder from the first step,
at 32 px, then 64, then 128, which gives meaningful codes early even on a small machine: a third of each batch uses only
the code shared by all layers, which trains W, the rest W+. The mapping network is trained to match the distribution of
the shared codes (sliced Wasserstein). At full size a discriminator with adaptive augmentation (Karras et al., NeurIPS
2020) joins, and judges reconstructions and mixed random styles; path length regularisation keeps codes evenly spaced.
Random draws depend only on the seed and the step number, so a resumed run is identical to an uninterrupted one.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoints import save
from c2p_core.priors.inversion import InversionSettings, invert
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.stylegan2 import Encoder, EncoderShape, Generator, GeneratorShape, ToRgb

GENERATOR = GeneratorShape((192, 192, 192, 96, 48, 24), style=256, mapping=4)
ENCODER = EncoderShape(
    codes=GENERATOR.codes, style=256, size=64, channels=(32, 64, 128, 192), units=(2, 3, 4, 2), heads=96
)
_MAX_PADDING = 0.08
_MAX_YAW = 0.6


@dataclass(frozen=True)
class TrainingPlan:
    """Training schedule.

    Attributes:
        batch: pictures per step.
        grow: (first step, side in pixels) of each stage.
        adversary: the step at which the discriminator joins.
        rate: learning rate of generator and discriminator; the encoder has half of it.
        decay: of the averaged weights, which ship.
        lazy: steps between two regularisations of the discriminator and of the path length.
    """

    batch: int = 16
    grow: tuple[tuple[int, int], ...] = ((0, 32), (500, 64), (1400, 128))
    adversary: int = 4300
    rate: float = 2e-3
    decay: float = 0.998
    lazy: int = 16

    def size(self, step: int) -> int:
        """Side of the pictures at a step."""
        return next(size for first, size in reversed(self.grow) if step >= first)


# Weights of the losses.
_GRADIENT, _PERCEPTUAL, _OFFSETS, _ADVERSARIAL, _R1, _PATH = 1.0, 0.3, 1e-3, 0.02, 2.0, 1.0
_INITIAL_RGB_SCALE = 0.1
# Relative learning rate of the mapping network: it has to follow the encoder's codes, which change fast.
_MAPPING_RATE = 20
_ADVERSARIAL_RAMP = 200  # steps over which the adversarial loss is phased in
_TARGET_SIGN = 0.6  # target of augmentation: mean sign of the discriminator's output on real pictures


class Discriminator(nn.Module):
    """Maps pictures to logits: a small residual network with minibatch standard deviation."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = channels[::-1]
        self.from_rgb = nn.Conv2d(3, widths[0], 1)
        self.first = nn.ModuleList(nn.Conv2d(a, a, 3, padding=1) for a in widths[:-1])
        self.second = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.skips = nn.ModuleList(nn.Conv2d(a, b, 1, bias=False) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.dense = nn.Linear(16 * widths[-1], widths[-1])
        self.verdict = nn.Linear(widths[-1], 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, size, size) -1..1 to (B,)."""
        x = F.leaky_relu(self.from_rgb(pictures), 0.2)
        for first, second, skip in zip(self.first, self.second, self.skips, strict=True):
            change = F.avg_pool2d(F.leaky_relu(first(x), 0.2), 2)
            x = (F.leaky_relu(second(change), 0.2) + skip(F.avg_pool2d(x, 2))) / math.sqrt(2)
        spread = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean().to(x.dtype)
        x = torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], 1)
        x = F.leaky_relu(self.dense(F.leaky_relu(self.last(x), 0.2).flatten(1)), 0.2)
        verdicts: Tensor = self.verdict(x)[:, 0].float()
        return verdicts


class Training:
    """The complete training state, which can be stored and restored."""

    def __init__(self, plan: TrainingPlan, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.plan, self.seed, self.device = plan, seed, device
        self.generator = Generator(GENERATOR)
        for rgb in self.generator.rgbs:
            assert isinstance(rgb, ToRgb)
            # A resolution added later must not overwhelm the trained ones.
            rgb.weight.data *= _INITIAL_RGB_SCALE
        self.encoder = Encoder(ENCODER)
        self.discriminator = Discriminator(GENERATOR.channels)
        for network in (self.generator, self.encoder, self.discriminator):
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean_generator = copy.deepcopy(self.generator).requires_grad_(False)
        self.mean_encoder = copy.deepcopy(self.encoder).requires_grad_(False).eval()
        groups: list[dict[str, Any]] = [
            {"params": [p for n, p in self.generator.named_parameters() if not n.startswith("mapping.")]},
            {"params": self.generator.mapping.parameters(), "lr": _MAPPING_RATE * plan.rate},
            {"params": self.encoder.parameters(), "lr": plan.rate / 2},
        ]
        self.optimiser = torch.optim.Adam(groups, lr=plan.rate, betas=(0.9, 0.99))
        self.judge_optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=plan.rate, betas=(0.0, 0.99))
        self.step = 0
        self.seconds = 0.0
        self.augmentation = torch.zeros((), device=device)
        self.path_length = torch.zeros((), device=device)

    def state_dict(self) -> dict[str, object]:
        """The state for ``load_state_dict``."""
        parts = {name: part.state_dict() for name, part in self._list_modules().items()}
        numbers = {name: getattr(self, name) for name in ("step", "seconds", "augmentation", "path_length")}
        return {**parts, **numbers}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Restore a state from ``state_dict``."""
        for name, part in self._list_modules().items():
            part.load_state_dict(state_dict[name])  # type: ignore[arg-type]
        for name in ("step", "seconds", "augmentation", "path_length"):
            setattr(self, name, state_dict[name])

    def _list_modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        names = ("generator", "encoder", "discriminator", "mean_generator", "mean_encoder", "optimiser")
        return {name: getattr(self, name) for name in (*names, "judge_optimiser")}

    def advance(self, faces: Tensor, features: Perceptual | None) -> dict[str, float]:
        """Do one training step on (N, 3, size, size) uint8 faces; returns its losses."""
        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        size = self.plan.size(self.step)
        real = augment(faces[torch.randint(len(faces), (self.plan.batch,), generator=rng)], rng).to(self.device)
        real = real.contiguous(memory_format=torch.channels_last)
        target = F.avg_pool2d(real, real.shape[2] // size)
        with _half_precision(self.device):
            base, offsets = self.encoder.base_and_offsets(F.avg_pool2d(real, real.shape[2] // ENCODER.size))
            uses_offsets = (torch.arange(len(real), device=self.device) >= len(real) // 3)[:, None, None]
            codes = base[:, None] + offsets * uses_offsets
            synthesised = self.generator(codes, self.generator.draw_noise(len(real), rng), size)
        synthesised = synthesised.float()
        losses = {
            "reconstruction": F.l1_loss(synthesised, target) + F.mse_loss(synthesised, target),
            "gradient": _GRADIENT * gradient_loss(synthesised, target),
            "offsets": _OFFSETS * offsets.float().square().mean(),
            "mapping": self._mapping_loss(base.float(), rng),
        }
        if features is not None and size > 32:
            half = slice(None, None, 2)
            losses["perceptual"] = _PERCEPTUAL * features.distance(synthesised[half], target[half])
        if self.step >= self.plan.adversary:
            fake = torch.cat([synthesised[len(synthesised) // 2 :], self._synthesise_mixed(len(real) // 2, rng)])
            losses["judge"] = self._train_discriminator(real, fake.detach(), rng)
            # Gradients of an untrained discriminator would undo earlier training.
            ramp = min(1.0, (self.step - self.plan.adversary) / _ADVERSARIAL_RAMP)
            with _half_precision(self.device):
                adversarial = F.softplus(-self.discriminator(self._augment_adaptively(fake, rng))).mean()
            losses["adversarial"] = ramp * _ADVERSARIAL * adversarial
            if self.step % self.plan.lazy == 0:
                losses["path"] = _PATH * self._path_length_loss(rng)
        self.optimiser.zero_grad()
        total = torch.stack([loss for name, loss in losses.items() if name != "judge"]).sum()
        total.backward()
        self.optimiser.step()
        self._update_averages(base.detach().float())
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _mapping_loss(self, base: Tensor, rng: torch.Generator) -> Tensor:
        """Sliced Wasserstein distance between mapped draws and the codes of real faces."""
        z = torch.randn(len(base), GENERATOR.style, generator=rng).to(base)
        directions = F.normalize(torch.randn(GENERATOR.style, 128, generator=rng).to(base), dim=0)
        mapped = (self.generator.mapping(z) @ directions).sort(0).values
        return F.mse_loss(mapped, (base.detach() @ directions).sort(0).values)

    def _synthesise_mixed(self, count: int, rng: torch.Generator) -> Tensor:
        """Synthesise pictures of random codes with style mixing."""
        z = torch.randn(2 * count, GENERATOR.style, generator=rng).to(self.device)
        with _half_precision(self.device):
            # Detached: the mapping network's high learning rate makes adversarial gradients unstable.
            first, second = self.generator.map(z).detach().chunk(2)
            cut = torch.randint(1, 2 * GENERATOR.codes, (count, 1, 1), generator=rng).to(self.device)
            layers = torch.arange(GENERATOR.codes, device=self.device)[None, :, None]
            synthesised = self.generator(
                torch.where(layers < cut, first, second), self.generator.draw_noise(count, rng)
            )
        pictures: Tensor = synthesised.float()
        return pictures

    def _augment_adaptively(self, pictures: Tensor, rng: torch.Generator) -> Tensor:
        """Augment pictures adaptively: each kind of change has the current probability."""
        p = float(self.augmentation)
        count, device = len(pictures), pictures.device

        def draw_selection() -> Tensor:
            return (torch.rand(count, generator=rng) < p).to(device).float()

        def draw_normal(scale: float) -> Tensor:
            return torch.randn(count, generator=rng).to(device) * scale

        angle, scaling = draw_normal(0.1) * draw_selection(), torch.exp(draw_normal(0.1) * draw_selection())
        cos, sin = torch.cos(angle) * scaling, torch.sin(angle) * scaling
        rows = [cos, -sin, draw_normal(0.08) * draw_selection(), sin, cos, draw_normal(0.08) * draw_selection()]
        grid = F.affine_grid(torch.stack(rows, 1).reshape(-1, 2, 3), list(pictures.shape), align_corners=False)
        augmented = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
        light, contrast, colour = (
            draw_normal(0.2) * draw_selection(),
            draw_normal(0.2) * draw_selection(),
            draw_normal(0.3) * draw_selection(),
        )
        grey = augmented.mean(1, keepdim=True)
        augmented = grey + (augmented - grey) * torch.exp(colour)[:, None, None, None]
        return augmented * torch.exp(contrast)[:, None, None, None] + light[:, None, None, None]

    def _train_discriminator(self, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Train the discriminator for one step, and adapt the probability of augmentation."""
        with _half_precision(self.device):
            verdicts = self.discriminator(self._augment_adaptively(real, rng))
            loss = (
                F.softplus(-verdicts).mean()
                + F.softplus(self.discriminator(self._augment_adaptively(fake, rng))).mean()
            )
        if self.step % self.plan.lazy == 0:
            augmented = self._augment_adaptively(real, rng).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.discriminator(augmented).sum(), augmented, create_graph=True)
            loss = loss + _R1 * gradient.square().sum((1, 2, 3)).mean()
        self.judge_optimiser.zero_grad()
        loss.backward()
        self.judge_optimiser.step()
        signs = verdicts.detach().sign().mean()
        change = (signs - _TARGET_SIGN).sign() * self.plan.batch / 50_000
        self.augmentation = (self.augmentation + change).clamp(0, 0.8)
        return loss.detach()

    def _path_length_loss(self, rng: torch.Generator) -> Tensor:
        """Path length regularisation on four pictures: steps of equal length in W should change the picture equally."""
        z = torch.randn(4, GENERATOR.style, generator=rng).to(self.device)
        codes = self.generator.map(z).clone()
        synthesised = self.generator(codes, self.generator.draw_noise(4, rng))
        weights = torch.randn(synthesised.shape, generator=rng).to(synthesised) / math.sqrt(
            synthesised.shape[2] * synthesised.shape[3]
        )
        (gradient,) = torch.autograd.grad((synthesised * weights).sum(), codes, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        self.path_length = self.path_length.lerp(lengths.mean().detach(), 0.01 if bool(self.path_length) else 1.0)
        return (lengths - self.path_length).square().mean()

    @torch.no_grad()
    def _update_averages(self, base: Tensor) -> None:
        # The average forgets the first steps faster.
        decay = min(self.plan.decay, (1 + self.step) / (10 + self.step))
        pairs = ((self.mean_generator, self.generator), (self.mean_encoder, self.encoder))
        for mean, current in pairs:
            torch._foreach_lerp_(list(mean.parameters()), list(current.parameters()), 1 - decay)
        for mean_buffer, buffer in zip(self.mean_encoder.buffers(), self.encoder.buffers(), strict=True):
            mean_buffer.copy_(buffer)
        self.generator.mean_w.lerp_(base.mean(0), 1 - decay)
        self.mean_generator.mean_w.copy_(self.generator.mean_w)


@contextmanager
def _half_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 autocast: convolutions are twice as fast as in float32, also on CPUs that support it."""
    with torch.autocast(device.type, torch.bfloat16):
        yield


def gradient_loss(picture: Tensor, target: Tensor) -> Tensor:
    """L1 of the differences between neighbouring pixels."""
    across = F.l1_loss(picture.diff(dim=3), target.diff(dim=3))
    return across + F.l1_loss(picture.diff(dim=2), target.diff(dim=2))


def augment(faces: Tensor, rng: torch.Generator) -> Tensor:
    """Convert (B, 3, size, size) uint8 to -1..1, randomly mirrored, half of them slightly transformed and relit."""
    count = len(faces)
    is_changed = (torch.rand(count, generator=rng) < 0.5).float()
    angle, x, y = (scale * is_changed * torch.randn(count, generator=rng) for scale in (0.03, 0.02, 0.02))
    scaling = torch.exp(0.03 * is_changed * torch.randn(count, generator=rng))
    mirror = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1.0
    cos, sin = torch.cos(angle) * scaling, torch.sin(angle) * scaling
    grid = F.affine_grid(
        torch.stack([mirror * cos, -sin, x, mirror * sin, cos, y], 1).reshape(-1, 2, 3),
        list(faces.shape),
        align_corners=False,
    )
    pictures = F.grid_sample(faces.float() / 127.5 - 1, grid, padding_mode="reflection", align_corners=False)
    light = 1 + 0.08 * is_changed * torch.randn(count, generator=rng)
    return ((pictures + 1) * light[:, None, None, None] - 1).clamp(-1, 1)


def load_faces(faces: Path, names: list[str]) -> Tensor:
    """Load faces of aligned256/ as (N, 3, size, size) uint8."""
    size = GENERATOR.size
    pictures = []
    for name in names:
        with Image.open(faces / "aligned256" / f"{name}.jpg") as image:
            pictures.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def list_training_names(faces: Path, max_padding: float = _MAX_PADDING, max_yaw: float = _MAX_YAW) -> list[str]:
    """Names of the nearly frontal faces of the train split with little padding."""
    with (faces / "faces.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    return [
        row["id"] for row in rows if float(row["pad_frac"]) < max_padding and abs(float(row["yaw_proxy"])) < max_yaw
    ]


@torch.no_grad()
def reconstruct(training: Training, faces: Tensor, offsets: bool = True) -> Tensor:
    """Reconstruct uint8 faces by encoder and generator, at the size of the current step: (N, 3, size, size) 0..1."""
    size = training.plan.size(training.step)
    reconstructions = []
    for batch in faces.split(8):
        pictures = F.avg_pool2d(batch.to(training.device).float() / 127.5 - 1, faces.shape[2] // ENCODER.size)
        base, offsets_of_batch = training.mean_encoder.base_and_offsets(pictures)
        reconstructions.append(
            training.mean_generator(base[:, None] + offsets_of_batch * offsets, size=size).clamp(-1, 1)
        )
    return (torch.cat(reconstructions) + 1) / 2


def psnr(pictures: Tensor, faces: Tensor) -> Tensor:
    """(N,) PSNR in dB of pictures in 0..1, compared to uint8 faces downscaled to their size."""
    target = F.avg_pool2d(faces.to(pictures.device).float() / 255, faces.shape[2] // pictures.shape[2])
    return -10 * torch.log10((pictures - target).square().mean((1, 2, 3)))


@torch.no_grad()
def save_sheet(training: Training, faces: Tensor, path: Path) -> None:
    """Save a sheet of eight faces, their reconstructions from W+ and from W alone, and two rows of random faces."""
    size = training.plan.size(training.step)
    z = torch.randn(16, GENERATOR.style, generator=torch.Generator().manual_seed(1)).to(training.device)
    random = (training.mean_generator(training.mean_generator.map(z, 0.8), size=size).clamp(-1, 1) + 1) / 2
    benchmark_faces = F.avg_pool2d(faces[:8].float() / 255, faces.shape[2] // size).to(training.device)
    rows = [
        benchmark_faces,
        reconstruct(training, faces[:8]),
        reconstruct(training, faces[:8], False),
        *random.split(8),
    ]
    save_grid(rows, path)


def save_grid(rows: list[Tensor], path: Path) -> None:
    """Save rows of (N, 3, h, h) pictures in 0..1 as one picture."""
    grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).cpu().numpy()).save(path)


def train(faces: Path, work: Path, steps: int, seed: int, device: torch.device, state_interval: float) -> None:
    """Train up to step ``steps``, and store the state every ``state_interval`` seconds."""
    work.mkdir(parents=True, exist_ok=True)
    training = Training(TrainingPlan(), seed, device)
    state = work / "state.pt"
    if state.exists():
        training.load_state_dict(torch.load(state, map_location=device, weights_only=True))
    names = list_training_names(faces)
    pictures, benchmark_faces = load_faces(faces, names), load_faces(faces, list_benchmark_names(faces))
    features = Perceptual(ModelStore().obtain("faceres"), device)
    print(f"{len(names)} faces, from step {training.step}", flush=True)
    last_stored = time.monotonic()
    while training.step < steps:
        start = time.monotonic()
        losses = training.advance(pictures, features)
        training.seconds += time.monotonic() - start
        if training.step % 50 == 0:
            formatted = " ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(f"{training.step} {training.seconds:.0f} s {formatted}", flush=True)
        if time.monotonic() - last_stored > state_interval or training.step == steps:
            temporary = state.with_suffix(".part")
            torch.save(training.state_dict(), temporary)
            temporary.replace(state)
            quality = psnr(reconstruct(training, benchmark_faces), benchmark_faces)
            size = training.plan.size(training.step)
            print(f"{training.step}: {quality.mean():.2f} dB, worst {quality.min():.2f}, at {size} px", flush=True)
            save_sheet(training, benchmark_faces, work / "grid.png")
            last_stored = time.monotonic()


def list_benchmark_names(faces: Path) -> list[str]:
    """Names of the 40 faces of the benchmark."""
    return (faces / "benchmark40.txt").read_text(encoding="utf-8").split()


def _restore_training(work: Path, device: torch.device) -> Training:
    training = Training(TrainingPlan(), 0, device)
    training.load_state_dict(torch.load(work / "state.pt", map_location=device, weights_only=True))
    return training


def check(faces: Path, work: Path, device: torch.device) -> None:
    """Print the figures of the model card and save WORK/samples.png, with generated faces only."""
    training = _restore_training(work, device)
    benchmark_faces = load_faces(faces, list_benchmark_names(faces))
    for name, offsets in (("W+", True), ("W", False)):
        quality = psnr(reconstruct(training, benchmark_faces, offsets), benchmark_faces)
        print(f"{name}: {quality.mean():.2f} dB, worst {quality.min():.2f}")
    quality = measure_tuned_psnr(training, benchmark_faces)
    print(f"after pivotal tuning: {quality.mean():.2f} dB, worst {quality.min():.2f}")
    print(f"{training.step} steps, {training.seconds / 60:.0f} min, augmentation {float(training.augmentation):.2f}")
    z = torch.randn(32, GENERATOR.style, generator=torch.Generator().manual_seed(2)).to(device)
    with torch.no_grad():
        pictures = (training.mean_generator(training.mean_generator.map(z, 0.7)).clamp(-1, 1) + 1) / 2
    save_grid(list(pictures.split(8)), work / "samples.png")


def measure_tuned_psnr(training: Training, faces: Tensor) -> Tensor:
    """(N,) PSNR in dB of uint8 faces after the program's inversion."""
    perceptual = Perceptual(ModelStore().obtain("faceres"), training.device)
    everywhere = torch.ones(1, GENERATOR.size, GENERATOR.size, device=training.device)
    networks = training.mean_generator, training.mean_encoder
    pictures = faces.to(training.device).float() / 127.5 - 1
    return torch.tensor(
        [invert(*networks, picture, everywhere, perceptual, InversionSettings()).quality for picture in pictures]
    )


def export(work: Path, out: Path, device: torch.device) -> None:
    """Write the averaged weights of both networks."""
    training = _restore_training(work, device)
    save(out, training.mean_generator, training.mean_encoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "check"):
        command = commands.add_parser(name)
        command.add_argument("faces", type=Path)
        command.add_argument("work", type=Path)
        if name == "train":
            command.add_argument("--steps", type=int, default=40_000)
            command.add_argument("--seed", type=int, default=0)
            command.add_argument("--every", type=float, default=120.0, help="seconds between two stored states")
    command = commands.add_parser("export")
    command.add_argument("work", type=Path)
    command.add_argument("out", type=Path)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.command == "train":
        train(arguments.faces, arguments.work, arguments.steps, arguments.seed, device, arguments.every)
    elif arguments.command == "export":
        export(arguments.work, arguments.out, device)
    else:
        check(arguments.faces, arguments.work, device)


if __name__ == "__main__":
    main()
