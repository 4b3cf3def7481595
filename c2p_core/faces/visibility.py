"""Detects what covers a face: masks, hands, microphones, sheets, strands of hair, other people.

A small network finds covers on the face's canvas. Only sizeable areas that are surely covered count, so that an
uncovered face is protected as if the network did not exist. The network was trained on synthetic faces with objects
composited in front of them (``bundle/train/visibility.py``). What belongs to a face, such as a beard, glasses, makeup
or shadow, does not count as a cover; nor do the person's own hair and hat, which the rules of the products leave free.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label
from skimage.draw import polygon2mask
from torch import Tensor, nn

from c2p_core.faces import regions
from c2p_core.faces.align import CANVAS, LEFT_EYE, RIGHT_EYE

SIDE = 64
"""Side in pixels of the network's input and output, over the whole canvas."""
_STEM, _CHANNELS, _UP = 8, (24, 40, 64, 96), (56, 40, 24)
_HEAD = 8
_FLAT = 0.05  # added to a face's contrast, or noise on a flat one would look like a cover
_FEATURES = (LEFT_EYE, RIGHT_EYE, regions.LEFT_BROW, regions.RIGHT_BROW, regions.OUTER_LIPS)
# A cover is a connected area with at least the first probability, if it covers at least this share of the face with the
# second.
_MAYBE_COVERED, _SURELY_COVERED, _LEAST_AREA = 0.4, 0.7, 0.01
# Canvas px beside a cover up to which nothing changes, and from which on everything may, since its edge is not found
# more precisely.
_BESIDE = (4.0, 9.0)
# Likewise for movement, which drags along its surroundings.
_STILL = (2.0, 18.0)
_OUTSIDE = 8.0  # canvas px around the face's outline in which covers are looked for
_MIN_COLOUR_PIXELS = 150  # to estimate a face's colour
LEAST_VISIBLE = 0.33
"""Visible share of a face from which on it can be protected."""


class Convolution(nn.Sequential):
    """A 3 x 3 convolution and ReLU; with batch normalisation in training, which is folded into it afterwards."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, normalised: bool = False) -> None:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
        super().__init__(convolution, *([nn.BatchNorm2d(outputs)] if normalised else []), nn.ReLU())


class CoverNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015): (B, 5, 64, 64) to logits (B, 64, 64) of covered pixels.

    Its input is the picture and two maps from the landmarks, see ``make_network_input``.
    """

    def __init__(self, *, normalised: bool = False) -> None:
        """``normalised``: with batch normalisation, for training."""
        super().__init__()

        def convolution(inputs: int, outputs: int, stride: int = 1) -> Convolution:
            return Convolution(inputs, outputs, stride, normalised=normalised)

        self.stem = convolution(5, _STEM)
        inputs = (_STEM, *_CHANNELS)
        self.down = nn.ModuleList(
            nn.Sequential(convolution(i, o, 2), convolution(o, o)) for i, o in zip(inputs, _CHANNELS, strict=False)
        )
        below = (_CHANNELS[-1], *_UP)
        self.up = nn.ModuleList(
            convolution(b + skip, o) for b, skip, o in zip(below, reversed(_CHANNELS[:-1]), _UP, strict=False)
        )
        self.squeeze = nn.Conv2d(_UP[-1], _HEAD, 1)
        self.head = convolution(_HEAD + _STEM, _STEM)
        self.out = nn.Conv2d(_STEM, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = x = self.stem(x)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        for up, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            x = up(torch.cat([_double(x), skip], 1))
        x = self.head(torch.cat([_double(self.squeeze(x)), fine], 1))
        logits: Tensor = self.out(x)
        return logits[:, 0]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def landmark_maps(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, 64, 64) maps 0..1 of the face, and of its eyes, brows and lips.

    Args:
        mesh: (468, 2) canvas pixels.
    """
    face = _fill(mesh, regions.OVAL)
    features = [_fill(mesh, outline) for outline in _FEATURES]
    step = CANVAS // SIDE
    maps = np.stack([face, np.any(features, axis=0)]).astype(np.float32)
    return np.asarray(maps.reshape(2, SIDE, step, SIDE, step).mean((2, 4)), dtype=np.float32)


def _fill(mesh: NDArray[np.float32], outline: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(polygon2mask((CANVAS, CANVAS), mesh[list(outline)][:, ::-1] - 0.5))


def make_network_input(pixels: Tensor, maps: Tensor) -> Tensor:
    """(B, 5, 64, 64) input of ``CoverNet``: pictures whose faces have the same lightness and contrast, and the maps.

    Args:
        pixels: (B, 3, 64, 64) sRGB 0..1.
        maps: (B, 2, 64, 64) see ``landmark_maps``.
    """
    face = maps[:, :1] / maps[:, :1].sum((2, 3), keepdim=True).clamp(min=1.0)
    mean = (pixels * face).sum((2, 3), keepdim=True)
    deviation = ((pixels - mean).square() * face).sum((1, 2, 3), keepdim=True).div(3).sqrt()
    return torch.cat([(pixels - mean) / (deviation + _FLAT), maps], 1)


class CoverDetector:
    """Finds what covers faces; built once, used for many faces."""

    def __init__(self, network: CoverNet) -> None:
        self._network = network

    @torch.no_grad()
    def __call__(self, pixels: Tensor, mesh: NDArray[np.float32]) -> Tensor | None:
        """Find where a face may change.

        Args:
            pixels: (3, 256, 256) sRGB 0..1, on the CPU.
            mesh: (468, 2) canvas pixels.

        Returns:
            (256, 256) mask: 1 where the face shows, 0 on what covers it and a little beside it; None when nothing does.
        """
        small = F.avg_pool2d(pixels[None], CANVAS // SIDE)
        logits = self._network(make_network_input(small, torch.from_numpy(landmark_maps(mesh))[None]))
        probability = torch.sigmoid(
            F.interpolate(logits[:, None], (CANVAS, CANVAS), mode="bilinear", align_corners=False)
        )
        return visible_mask(probability[0, 0].numpy(), mesh)


def visible_mask(probability: NDArray[np.float32], mesh: NDArray[np.float32]) -> Tensor | None:
    """Compute the mask of visible parts from the network's output.

    Args:
        probability: (256, 256) that each pixel is covered, by the network.
        mesh: (468, 2) canvas pixels.

    Returns:
        as from ``CoverDetector``.
    """
    outline = regions.signed_distance(mesh, regions.OVAL)
    face = outline < 0
    # Farther out is background, which the network was not trained on.
    components, count = label((probability > _MAYBE_COVERED) & (outline < _OUTSIDE))
    # A part counts if enough of it is surely covered, and lies on the face.
    sure_pixels = np.bincount(components[face & (probability > _SURELY_COVERED)], minlength=count + 1)
    is_cover = sure_pixels >= _LEAST_AREA * face.sum()
    is_cover[0] = False
    if not is_cover.any():
        return None
    distance = distance_transform_edt(~is_cover[components]).astype(np.float32)
    return torch.from_numpy(1.0 - regions.ramp(distance, *_BESIDE))


def visible_share(visible: Tensor, mesh: NDArray[np.float32]) -> float:
    """Visible share 0..1 of a face."""
    face = regions.signed_distance(mesh, regions.OVAL) < 0
    return float(visible.numpy()[face].mean()) if face.any() else 0.0


def movable_mask(visible: NDArray[np.float32]) -> NDArray[np.float32]:
    """(256, 256) mask 0..1 of where a face may move: not so near to a cover that its edge would be dragged along."""
    shown = visible > 0.5
    if shown.all():
        return np.ones_like(visible)
    return 1.0 - regions.ramp(distance_transform_edt(shown).astype(np.float32), *_STILL)


def uncover(pixels: Tensor, visible: Tensor, mesh: NDArray[np.float32]) -> Tensor:
    """Replace covers by the face's own colour, so that maps computed from the picture treat them as skin.

    Args:
        pixels: (3, 256, 256) sRGB 0..1.
        visible: (256, 256) see ``CoverDetector``.
        mesh: (468, 2) canvas pixels.

    Returns:
        (3, 256, 256).
    """
    features = np.minimum(regions.eyes_distance(mesh), regions.brows_distance(mesh))
    bare = (features > 6) & (regions.signed_distance(mesh, regions.OVAL) < -6)
    bare &= regions.signed_distance(mesh, regions.OUTER_LIPS) > 4
    shown = torch.from_numpy(bare).to(visible.device) & (visible > 0.9)
    # Below the brows there is skin; the forehead may be under hair.
    below = torch.arange(CANVAS, device=visible.device)[:, None] > float(mesh[[133, 362], 1].mean())
    for mask in (shown & below, shown, visible > 0.5):
        if int(mask.sum()) >= _MIN_COLOUR_PIXELS:
            colour = pixels[:, mask].median(1).values
            return pixels * visible + colour[:, None, None] * (1.0 - visible)
    return pixels
