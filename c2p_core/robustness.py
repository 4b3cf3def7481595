"""What is left of a face's protection after what happens to published pictures: uploads, screenshots, clean-up filters.

A protection that none of this leaves intact is worth nothing in practice. ``c2p check --survival``, the worker's check
and the benchmarks share these degradations. (What the search optimises over is ``eot``: that has to be differentiable.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from c2p_core.api import Face, RobustnessResult, Similarity
from c2p_core.faces import find_again
from c2p_core.faces.canvas import CanvasFace
from c2p_core.faces.landmarks import to_tensor
from c2p_core.faces.view import View
from c2p_core.imageio import to_srgb
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.rgb8 import Rgb8, as_bytes, as_floats, tensor_as_bytes, through_file
from c2p_core.verify import UPLOAD_QUALITY, crop_face, embed_face

# What social networks typically make of a photo, beside ``verify.UPLOAD_QUALITY``.
UPLOAD_WIDTH = 1080
_SHARPEN = ImageFilter.UnsharpMask(radius=1.0, percent=50, threshold=0)

_CUT = 0.025  # of each side: what is left is 5 % smaller, and enlarged again
_TV_WEIGHT = 0.05
_NLM_SIGMA = 0.03  # what a purifier would take for noise: the strength of usual adversarial noise
# How far around a face its picture is degraded, in eye distances: a little more than a search for it looks at.
_REACH = 3.3
# Eyes further apart than twice this many pixels are brought nearer first, by averaging whole pixels: nobody publishes
# larger faces, and filters would take minutes.
_EYES = 160.0


@dataclass(frozen=True)
class Degradation:
    """One thing that happens to a picture.

    Attributes:
        name: for tables and files.
        apply: (height, width, 3) uint8 sRGB, and by how much an upload would resize it (0..1), to the picture that
            arrives, possibly smaller.
        cut: share of the width and height that is cut off at each side.
    """

    name: str
    apply: Callable[[Rgb8, float], Rgb8]
    cut: float = 0.0


def simulate_upload(picture: Rgb8, scale: float) -> Rgb8:
    """As a network shows it: resized by ``scale`` (0..1), a JPEG of ``UPLOAD_QUALITY``, sharpened."""
    small = _resized(picture, (round(picture.shape[1] * scale), round(picture.shape[0] * scale)))
    return np.asarray(Image.fromarray(through_file(small, "JPEG", UPLOAD_QUALITY)).filter(_SHARPEN))


def simulate_photo_upload(photo: Photo, scale: float) -> Photo:
    """A whole photo ``uploaded``, in sRGB."""
    return Photo(simulate_upload(as_bytes(to_srgb(photo)), scale))


def _resized(picture: Rgb8, size: tuple[int, int]) -> Rgb8:
    width, height = (max(1, side) for side in size)
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _there_and_back(picture: Rgb8, share: float) -> Rgb8:
    height, width = picture.shape[:2]
    return _resized(_resized(picture, (round(width * share), round(height * share))), (width, height))


def _mean(picture: Rgb8, side: int) -> Rgb8:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur((side - 1) / 2)))


def _noisy(picture: Rgb8, sigma: float) -> Rgb8:
    noise = np.random.default_rng(0).standard_normal(picture.shape, dtype=np.float32)
    return as_bytes(as_floats(picture) + np.float32(sigma) * noise)


def _gamma(picture: Rgb8, exponent: float) -> Rgb8:
    return as_bytes((np.arange(256) / 255) ** exponent)[picture]


def _cropped(picture: Rgb8) -> Rgb8:
    height, width = picture.shape[:2]
    box = (width * _CUT, height * _CUT, width * (1 - _CUT), height * (1 - _CUT))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box))


def _total_variation(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_tv_chambolle

    return as_bytes(denoise_tv_chambolle(as_floats(picture), weight=_TV_WEIGHT, channel_axis=-1))


def _non_local_means(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_nl_means

    values = as_floats(picture)
    return as_bytes(
        denoise_nl_means(values, patch_size=5, patch_distance=6, h=0.8 * _NLM_SIGMA, sigma=_NLM_SIGMA, channel_axis=-1)
    )


DEGRADATIONS = (
    Degradation("JPEG 95", lambda picture, _: through_file(picture, "JPEG", 95)),
    Degradation("JPEG 85", lambda picture, _: through_file(picture, "JPEG", 85)),
    Degradation("JPEG 70", lambda picture, _: through_file(picture, "JPEG", 70)),
    Degradation("JPEG 50", lambda picture, _: through_file(picture, "JPEG", 50)),
    Degradation("WebP 80", lambda picture, _: through_file(picture, "WEBP", 80)),
    Degradation("resize 50 %", lambda picture, _: _there_and_back(picture, 0.5)),
    Degradation("resize 25 %", lambda picture, _: _there_and_back(picture, 0.25)),
    Degradation("mean 3x3", lambda picture, _: _mean(picture, 3)),
    Degradation("mean 5x5", lambda picture, _: _mean(picture, 5)),
    Degradation("noise 0.02", lambda picture, _: _noisy(picture, 0.02)),
    Degradation("gamma 0.8", lambda picture, _: _gamma(picture, 0.8)),
    Degradation("gamma 1.2", lambda picture, _: _gamma(picture, 1.2)),
    Degradation("crop 5 %", lambda picture, _: _cropped(picture), cut=_CUT),
    Degradation("social network", simulate_upload),
    Degradation("total variation", lambda picture, _: _total_variation(picture)),
    Degradation("non-local means", lambda picture, _: _non_local_means(picture)),
)
"""From the mildest of each kind to the hardest; sizes in pixels are those of the picture that is given."""


@dataclass(frozen=True)
class _Cutout:
    """The neighbourhood of a face: (height, width, 3), the face in its pixels, how much an upload would resize it."""

    picture: Rgb8
    face: Face
    upload: float


def measure_robustness(
    original: Photo,
    face: Face,
    protected: Photo,
    after: Face,
    recognisers: Sequence[Recogniser],
    store: ModelStore,
    device: torch.device,
) -> tuple[RobustnessResult, ...]:
    """One row per degradation, the face searched anew in each degraded picture. Takes 8 to 20 seconds a face.

    Args:
        original, face: the unchanged photo, and the face in its pixels.
        protected, after: the protected photo, which may have another size, and the same face in its pixels.
        recognisers: all count as held out.
        store: where the detector's models are.
        device: where the recognisers are.
    """
    first, second = _cutout(original, face), _cutout(protected, after)
    own = embed_face(_see(first.picture, first.face), recognisers, device)
    controls = [_see(*_degraded(first, degradation)) for degradation in DEGRADATIONS]
    arrived: dict[str, CanvasFace] = {}
    for degradation in DEGRADATIONS:
        picture, expected = _degraded(second, degradation)
        found = find_again(to_tensor(as_floats(picture)), expected, store)
        if found is not None:
            arrived[degradation.name] = _see(picture, found)
    before = _similarities(own, controls, recognisers, device)
    now = dict(zip(arrived, _similarities(own, list(arrived.values()), recognisers, device), strict=True))
    return tuple(
        RobustnessResult(
            degradation.name,
            tuple(
                Similarity(r.name, r.family, True, control[r.name], now[degradation.name][r.name], r.far1, r.far01)
                for r in recognisers
            )
            if degradation.name in now
            else (),
        )
        for degradation, control in zip(DEGRADATIONS, before, strict=True)
    )


def _cutout(photo: Photo, face: Face) -> _Cutout:
    centre, reach = face.mesh.mean(0), _REACH * face.eye_distance
    x0, y0 = (int(v) for v in np.clip(np.floor(centre - reach), 0, [photo.width - 1, photo.height - 1]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(centre + reach), [x0 + 1, y0 + 1], [photo.width, photo.height]))
    shrink = max(1, int(face.eye_distance / _EYES))
    pixels = View(photo).read(x0, y0, x1, y1, shrink)
    picture = tensor_as_bytes(pixels)
    mesh = (face.mesh - np.array([x0, y0], np.float32)) / np.float32(shrink)
    inside = replace(face, mesh=mesh, eye_distance=face.eye_distance / shrink)
    return _Cutout(picture, inside, min(1.0, UPLOAD_WIDTH * shrink / photo.width))


def _degraded(cutout: _Cutout, degradation: Degradation) -> tuple[Rgb8, Face]:
    """The picture that arrives, and where the face should lie in it."""
    arrived = degradation.apply(cutout.picture, cutout.upload)
    before = np.array(cutout.picture.shape[1::-1], np.float32)
    scale = np.array(arrived.shape[1::-1], np.float32) / (before * (1 - 2 * degradation.cut))
    mesh = ((cutout.face.mesh - before * degradation.cut) * scale).astype(np.float32)
    return arrived, replace(cutout.face, mesh=mesh, eye_distance=cutout.face.eye_distance * float(scale[0]))


def _see(picture: Rgb8, face: Face) -> CanvasFace:
    return crop_face(to_tensor(as_floats(picture)), face)


def _similarities(
    own: dict[str, Tensor], seen: Sequence[CanvasFace], recognisers: Sequence[Recogniser], device: torch.device
) -> list[dict[str, float]]:
    """Of each face with the original, by recogniser."""
    if not seen:
        return []
    canvases = torch.stack([face.pixels for face in seen]).to(device)
    meshes = torch.stack([face.mesh for face in seen]).to(device)
    with torch.no_grad():
        said = {r.name: (r.embed(canvases, meshes) @ own[r.name]).tolist() for r in recognisers}
    return [{name: values[index] for name, values in said.items()} for index in range(len(seen))]
