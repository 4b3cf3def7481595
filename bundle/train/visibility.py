"""Trains the network that segments covers of a face (``c2p_core/faces/visibility.py``).

    python bundle/train/visibility.py FACES WORK [--steps 4000]

WORK is the output folder of ``canvases.py``; the network's checkpoint is kept there, so that training can be
interrupted and resumed. Every sample is a face of the train split with new covers, or without one (``covers.py``).
Prints figures on faces of the val split, and writes bundle/mini/visibility.safetensors (float16), with
batch normalisation folded into the convolutions. A step takes 0.13 s of one core.
"""

from __future__ import annotations

import argparse
import copy
import math
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from canvases import Canvas, read_canvases
from covers import SIDE as DRAWN_SIDE
from covers import Sample, compose
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from c2p_core.faces.align import CANVAS
from c2p_core.faces.visibility import SIDE, Convolution, CoverNet, landmark_maps, make_network_input

TARGET = Path(__file__).parents[1] / "mini" / "visibility.safetensors"
_BATCH, _NEW_PER_BATCH, _POOL_SIZE = 16, 4, 600
_RATE = 3e-3
_AVERAGE_DECAY = 0.985  # decay of the moving average of the weights, which is saved
_CHECKPOINT = 50  # steps
# Faces already covered in the original picture.
_COVERED = re.compile("scarf|bandana|mask|veil", re.IGNORECASE)
# Largest random errors of the alignment (relative size, radians, shift as a share of the canvas): of the picture, and
# additional ones of the landmarks' maps.
_MISALIGNED = (0.12, 0.15, 0.05)
_MISFITTED = (0.04, 0.04, 0.015)
_FACE_MARGIN = 5  # pixels; the loss covers the face and a narrow margin


def read_samples(faces: Path, work: Path, split: str) -> list[tuple[Sample, Tensor]]:
    """Read the faces of a split without covers in their labels, each with its (2, 64, 64) maps of landmarks."""
    usable = [c for c in read_canvases(faces, work, split) if not _COVERED.search(c.row["all_labels"])]
    return [(_shrink(canvas), torch.from_numpy(landmark_maps(canvas.mesh))) for canvas in usable]


def _shrink(canvas: Canvas) -> Sample:
    step = CANVAS // DRAWN_SIDE
    pixels = canvas.pixels.reshape(DRAWN_SIDE, step, DRAWN_SIDE, step, 3).mean((1, 3)) / 255
    return Sample(pixels.astype(np.float32), (canvas.mesh / step).astype(np.float32))


class Pool:
    """Covered and uncovered faces, drawn once and used a few times, each time with another misalignment."""

    def __init__(self, samples: list[tuple[Sample, Tensor]], size: int, seed: int) -> None:
        self._samples = samples
        self._random = np.random.default_rng(seed)
        self._size = size
        self._drawn: list[tuple[Tensor, Tensor]] = []

    def draw(self, count: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a batch, after ``new`` new faces.

        Returns:
            (count, 5, 64, 64) input of the network, (count, 64, 64) opacity of covers, and (count, 64, 64) weight of
            the loss.
        """
        random, samples = self._random, self._samples
        others = [samples[i][0] for i in random.integers(len(samples), size=4)]
        for i in random.integers(len(samples), size=new):
            sample, maps = samples[i]
            pixels, covered = compose(random, sample, others)
            picture = np.concatenate([pixels.transpose(2, 0, 1), covered[None]])
            small = F.avg_pool2d(torch.from_numpy(picture.astype(np.float32))[None], DRAWN_SIDE // SIDE)[0]
            self._drawn.append((small, maps))
        self._drawn = self._drawn[-self._size :]
        # The new faces, and some drawn earlier.
        batch = [*self._drawn[-new:], *(self._drawn[i] for i in random.integers(len(self._drawn), size=count - new))]
        all_maps = torch.stack([maps for _, maps in batch])
        misaligned = _draw_affine(random, count, _MISALIGNED, flip=True)
        pictures = _warp(torch.stack([picture for picture, _ in batch]), misaligned)
        landmark_inputs = _warp(all_maps, misaligned @ _draw_affine(random, count, _MISFITTED))
        face = F.max_pool2d(_warp(all_maps[:, :1], misaligned), _FACE_MARGIN, 1, _FACE_MARGIN // 2)
        return make_network_input(pictures[:, :3], landmark_inputs), pictures[:, 3], face[:, 0]


def _draw_affine(
    random: np.random.Generator, count: int, largest: tuple[float, float, float], flip: bool = False
) -> Tensor:
    """(count, 3, 3) similarity transforms of the square -1..1."""
    size, largest_angle, shift = largest
    scale, angle = 1 + random.uniform(-size, size, count), random.uniform(-largest_angle, largest_angle, count)
    matrices = np.zeros((count, 3, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale * np.cos(angle)
    matrices[:, 1, 0], matrices[:, 0, 1] = scale * np.sin(angle), -scale * np.sin(angle)
    matrices[:, :2, 2], matrices[:, 2, 2] = random.uniform(-2 * shift, 2 * shift, (count, 2)), 1
    if flip:
        matrices[:, 0] *= random.choice([-1, 1], (count, 1))
    return torch.from_numpy(matrices)


def _warp(pictures: Tensor, transforms: Tensor) -> Tensor:
    grid = F.affine_grid(transforms[:, :2], list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def weighted_loss(logits: Tensor, covered: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy on the face plus a Dice loss, which balances the two classes."""
    entropy = F.binary_cross_entropy_with_logits(logits, covered, reduction="none")
    shares = torch.sigmoid(logits)
    overlap = (2 * (shares * covered * weight).sum((1, 2)) + 5) / (((shares + covered) * weight).sum((1, 2)) + 5)
    return (entropy * weight).sum() / weight.sum() + 0.3 * (1 - overlap).mean()


def fold(network: CoverNet) -> CoverNet:
    """The same network with batch normalisation folded into its convolutions."""
    folded = CoverNet().eval()
    trained = dict(network.eval().named_modules())
    for name, module in folded.named_modules():
        if isinstance(module, Convolution):
            trained_module = trained[name]
            assert isinstance(trained_module, Convolution)
            convolution, normalisation = trained_module[0], trained_module[1]
            assert isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d)
            module[0].load_state_dict(fuse_conv_bn_eval(convolution, normalisation).state_dict())
        elif isinstance(module, nn.Conv2d) and not name.endswith(".0"):
            module.load_state_dict(trained[name].state_dict())
    return folded


@torch.no_grad()
def evaluate(network: CoverNet, samples: list[tuple[Sample, Tensor]], count: int) -> str:
    """Figures of a network on drawn faces: intersection over union, and errors on the faces."""
    pool = Pool(samples, count, 1)
    intersection = union = missed = invented = covered_pixels = bare_pixels = 0.0
    network.eval()
    for _ in range(count // _BATCH):
        picture, covered, weight = pool.draw(_BATCH, _BATCH)
        predicted, is_covered, face = network(picture) > 0, covered > 0.5, weight > 0.5
        intersection += float((predicted & is_covered & face).sum())
        union += float(((predicted | is_covered) & face).sum())
        missed += float((~predicted & is_covered & face).sum())
        invented += float((predicted & ~is_covered & face).sum())
        covered_pixels += float((is_covered & face).sum())
        bare_pixels += float((~is_covered & face).sum())
    errors = f"missed {100 * missed / covered_pixels:.1f} % of covers, invented on {100 * invented / bare_pixels:.2f} %"
    return f"IoU {intersection / union:.3f}, {errors} of faces"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train = read_samples(arguments.faces, arguments.work, "train")
    val = read_samples(arguments.faces, arguments.work, "val")
    print(f"{len(train)} faces to train on, {len(val)} to evaluate on", flush=True)

    network = CoverNet(normalised=True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-3)
    checkpoint, first = arguments.work / "visibility.pt", 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        first = stored["step"]
        network.load_state_dict(stored["network"])
        average.load_state_dict(stored["average"])
        optimiser.load_state_dict(stored["optimiser"])
    pool = Pool(train, _POOL_SIZE, first)
    losses: list[float] = []
    start = time.process_time()
    steps: int = arguments.steps
    for step in range(first, steps):
        # Warm-up, then cosine decay to 0.
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 40) * 0.5 * (1 + math.cos(math.pi * step / steps))
        picture, covered, weight = pool.draw(_BATCH, _NEW_PER_BATCH)
        loss = weighted_loss(network.train()(picture.contiguous(memory_format=torch.channels_last)), covered, weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        with torch.no_grad():
            decay = min(_AVERAGE_DECAY, step / (step + 20))
            for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                mean.copy_(mean * decay + new * (1 - decay) if mean.is_floating_point() else new)
        if (step + 1) % _CHECKPOINT == 0 or step + 1 == steps:
            state = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
            }
            partial = checkpoint.with_suffix(".part")
            torch.save({"step": step + 1, **state}, partial)
            partial.replace(checkpoint)
            seconds = time.process_time() - start
            print(
                f"step {step + 1}, loss {np.mean(losses[-_CHECKPOINT:]):.4f}, {seconds:.0f} s of the processor",
                flush=True,
            )
    folded = fold(average)
    print(evaluate(folded, val, 480))
    tensors = {name: value.half().contiguous() for name, value in folded.state_dict().items()}
    save_file(tensors, TARGET)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
