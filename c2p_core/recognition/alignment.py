"""Alignment of faces for recognisers: templates of a few points, and a differentiable crop to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE, fit_similarity

# Face-mesh indices, MediaPipe numbering, image left before image right.
FIVE_POINTS = (LEFT_EYE, RIGHT_EYE, (4,), (61,), (291,))
# Picture pixels per chip pixel up to which bilinear sampling needs no downscaling first.
_LARGEST_STEP = 1.5


@dataclass(frozen=True)
class Template:
    """A square chip and the positions of facial points in it.

    Attributes:
        size: side of the chip in pixels.
        points: chip pixels, x to the right, y down, pixel centres at + 0.5.
        mesh: for each point, the face-mesh indices whose mean it is.
    """

    size: int
    points: tuple[tuple[float, float], ...]
    mesh: tuple[tuple[int, ...], ...]


def five_point_template(size: int, zoom: float) -> Template:
    """Build the usual five-point template (eyes, nose tip, mouth corners; InsightFace's 112 px template).

    Most authors publish no template; their zoom is the one with the best d' between pairs of photos of the same person
    and all other pairs.

    Args:
        size: side of the chip in pixels.
        zoom: 1 as in the template; less shows more around the face.
    """
    reference = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
    # The template's coordinates have pixel centres at integers.
    unit = [((x + 0.5) / 112 - 0.5, (y + 0.5) / 112 - 0.5) for x, y in reference]
    points = tuple(((0.5 + zoom * x) * size, (0.5 + zoom * y) * size) for x, y in unit)
    return Template(size, points, FIVE_POINTS)


def crop_chips(images: Tensor, mesh: Tensor, template: Template) -> Tensor:
    """Crop faces to the template's position, orientation and scale.

    To downscale, pictures are halved until the remaining factor is at most 1.5, then sampled bilinearly. dlib does the
    same, and its backward pass is several times faster than that of one antialiased resize.

    Args:
        images: (B, 3, H, W) float.
        mesh: (B, 468, 2) points in pixels of the images.
        template: of the recogniser.

    Returns:
        (B, 3, size, size), differentiable in images and mesh; border pixels repeat outside the image. Each face
        gets the same result as alone.
    """
    points = torch.stack([mesh[:, list(indices)].mean(1) for indices in template.mesh], 1)
    to_image = fit_similarity(points.new_tensor(template.points), points)
    scales: list[float] = to_image.detach()[:, :, 0].norm(dim=1).cpu().tolist()
    units = [_choose_unit(scale, min(images.shape[2:])) for scale in scales]
    if len(set(units)) <= 1:
        return _sample_chips(images, to_image, template.size, units[0] if units else 1)
    chips = [
        _sample_chips(image[None], matrix[None], template.size, unit)
        for image, matrix, unit in zip(images, to_image, units, strict=True)
    ]
    return torch.cat(chips)


def _choose_unit(scale: float, side: int) -> int:
    """The power of two by which a picture is downscaled first.

    Args:
        scale: picture pixels per chip pixel.
        side: the shorter one of the picture.
    """
    unit = 1
    while scale > _LARGEST_STEP * unit and side // unit > 1:
        unit *= 2
    return unit


def _sample_chips(images: Tensor, to_image: Tensor, size: int, unit: int) -> Tensor:
    for _ in range(unit.bit_length() - 1):
        images = F.avg_pool2d(images, 2)
    height, width = images.shape[2:]
    centres = torch.arange(size, device=images.device, dtype=images.dtype) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    sources = torch.stack([x, y, torch.ones_like(x)], -1) @ to_image.to(images.dtype).transpose(1, 2)[:, None]
    grid = 2 * sources / (unit * sources.new_tensor([width, height])) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
