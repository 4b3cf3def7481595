"""Measures how robust the protection of a face is to uploads, screenshots and clean-up filters.

``c2p check --robustness``, the worker's check and the benchmarks share these degradations. The search itself uses the
differentiable transformations of ``eot``.
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
from c2p_core.io.colour_profiles import to_srgb
from c2p_core.io.rgb8 import Rgb8, as_bytes, as_floats, recompress, tensor_as_bytes
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from c2p_core.verify import UPLOAD_QUALITY, crop_face, embed_face

# Typical width in pixels of photos on social networks; ``verify.UPLOAD_QUALITY`` is their JPEG quality.
UPLOAD_WIDTH = 1080
_SHARPEN = ImageFilter.UnsharpMask(radius=1.0, percent=50, threshold=0)

_CUT = 0.025  # cut off at each edge: the rest is 5 % smaller, and scaled back up
_TV_WEIGHT = 0.05
_NLM_SIGMA = 0.03  # assumed noise level, that of usual adversarial noise
# Half the side of the cutout around a face that is degraded, in eye distances: a little more than re-detection needs.
_REACH = 3.3
# Faces whose eye distance is at least twice this many pixels are downscaled first by averaging blocks of whole pixels:
# nobody publishes larger faces, and filtering them would take minutes.
_MAX_EYE_DISTANCE = 160.0


@dataclass(frozen=True)
class Degradation:
    """One kind of degradation.

    Attributes:
        name: for tables and files.
        apply: degrades a (height, width, 3) uint8 sRGB picture; its second argument is the factor 0..1 by which an
            upload resizes the photo. The result may be smaller.
        cut: share of the width and height that is cropped at each side.
    """

    name: str
    apply: Callable[[Rgb8, float], Rgb8]
    cut: float = 0.0


def simulate_upload(picture: Rgb8, scale: float) -> Rgb8:
    """Resize a picture by ``scale`` (0..1), compress it as JPEG at ``UPLOAD_QUALITY`` and sharpen it."""
    small = _resize(picture, (round(picture.shape[1] * scale), round(picture.shape[0] * scale)))
    return np.asarray(Image.fromarray(recompress(small, "JPEG", UPLOAD_QUALITY)).filter(_SHARPEN))


def simulate_photo_upload(photo: Photo, scale: float) -> Photo:
    """``simulate_upload`` for a whole photo; the result is 8-bit sRGB."""
    return Photo(simulate_upload(as_bytes(to_srgb(photo)), scale))


def _resize(picture: Rgb8, size: tuple[int, int]) -> Rgb8:
    width, height = (max(1, side) for side in size)
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _resize_and_back(picture: Rgb8, share: float) -> Rgb8:
    height, width = picture.shape[:2]
    return _resize(_resize(picture, (round(width * share), round(height * share))), (width, height))


def _blur(picture: Rgb8, side: int) -> Rgb8:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur((side - 1) / 2)))


def _add_noise(picture: Rgb8, sigma: float) -> Rgb8:
    noise = np.random.default_rng(0).standard_normal(picture.shape, dtype=np.float32)
    return as_bytes(as_floats(picture) + np.float32(sigma) * noise)


def _apply_gamma(picture: Rgb8, exponent: float) -> Rgb8:
    return as_bytes((np.arange(256) / 255) ** exponent)[picture]


def _crop(picture: Rgb8) -> Rgb8:
    height, width = picture.shape[:2]
    box = (width * _CUT, height * _CUT, width * (1 - _CUT), height * (1 - _CUT))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS, box))


def _denoise_tv(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_tv_chambolle

    return as_bytes(denoise_tv_chambolle(as_floats(picture), weight=_TV_WEIGHT, channel_axis=-1))


def _denoise_nlm(picture: Rgb8) -> Rgb8:
    from skimage.restoration import denoise_nl_means

    values = as_floats(picture)
    return as_bytes(
        denoise_nl_means(values, patch_size=5, patch_distance=6, h=0.8 * _NLM_SIGMA, sigma=_NLM_SIGMA, channel_axis=-1)
    )


DEGRADATIONS = (
    Degradation("JPEG 95", lambda picture, _: recompress(picture, "JPEG", 95)),
    Degradation("JPEG 85", lambda picture, _: recompress(picture, "JPEG", 85)),
    Degradation("JPEG 70", lambda picture, _: recompress(picture, "JPEG", 70)),
    Degradation("JPEG 50", lambda picture, _: recompress(picture, "JPEG", 50)),
    Degradation("WebP 80", lambda picture, _: recompress(picture, "WEBP", 80)),
    Degradation("resize 50 %", lambda picture, _: _resize_and_back(picture, 0.5)),
    Degradation("resize 25 %", lambda picture, _: _resize_and_back(picture, 0.25)),
    Degradation("mean 3x3", lambda picture, _: _blur(picture, 3)),
    Degradation("mean 5x5", lambda picture, _: _blur(picture, 5)),
    Degradation("noise 0.02", lambda picture, _: _add_noise(picture, 0.02)),
    Degradation("gamma 0.8", lambda picture, _: _apply_gamma(picture, 0.8)),
    Degradation("gamma 1.2", lambda picture, _: _apply_gamma(picture, 1.2)),
    Degradation("crop 5 %", lambda picture, _: _crop(picture), cut=_CUT),
    Degradation("social network", simulate_upload),
    Degradation("total variation", lambda picture, _: _denoise_tv(picture)),
    Degradation("non-local means", lambda picture, _: _denoise_nlm(picture)),
)
"""Each kind from mild to severe; filter sizes are in pixels of the degraded picture."""


@dataclass(frozen=True)
class Cutout:
    """A face with its surroundings.

    Attributes:
        picture: (height, width, 3) uint8 sRGB.
        face: in pixels of ``picture``.
        upload: factor 0..1 by which an upload would resize it.
    """

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
    """Measure similarities after each of ``DEGRADATIONS``; the face is detected again in each degraded picture.

    Takes 8 to 20 seconds a face.

    Args:
        original, face: the unchanged photo, and the face in its pixels.
        protected, after: the protected photo, which may differ in size, and the same face in its pixels.
        recognisers: all are reported as held out.
        store: has the detector's models.
        device: the recognisers' device.

    Returns:
        one row per degradation, in their order.
    """
    original_cutout, protected_cutout = cut_out_face(original, face), cut_out_face(protected, after)
    reference = embed_face(_crop_from_bytes(original_cutout.picture, original_cutout.face), recognisers, device)
    controls = [_crop_from_bytes(*degrade(original_cutout, degradation)) for degradation in DEGRADATIONS]
    degraded: dict[str, CanvasFace] = {}
    for degradation in DEGRADATIONS:
        picture, expected = degrade(protected_cutout, degradation)
        detected = find_again(to_tensor(as_floats(picture)), expected, store)
        if detected is not None:
            degraded[degradation.name] = _crop_from_bytes(picture, detected)
    before = _compare_batch(reference, controls, recognisers, device)
    after_by_name = dict(
        zip(degraded, _compare_batch(reference, list(degraded.values()), recognisers, device), strict=True)
    )
    return tuple(
        RobustnessResult(
            degradation.name,
            tuple(
                Similarity(
                    r.name, r.family, True, control[r.name], after_by_name[degradation.name][r.name], r.far1, r.far01
                )
                for r in recognisers
            )
            if degradation.name in after_by_name
            else (),
        )
        for degradation, control in zip(DEGRADATIONS, before, strict=True)
    )


def cut_out_face(photo: Photo, face: Face) -> Cutout:
    """Cut a face with its surroundings out of a photo; a large one is downscaled to about ``_MAX_EYE_DISTANCE``."""
    centre, reach = face.mesh.mean(0), _REACH * face.eye_distance
    x0, y0 = (int(v) for v in np.clip(np.floor(centre - reach), 0, [photo.width - 1, photo.height - 1]))
    x1, y1 = (int(v) for v in np.clip(np.ceil(centre + reach), [x0 + 1, y0 + 1], [photo.width, photo.height]))
    shrink = max(1, int(face.eye_distance / _MAX_EYE_DISTANCE))
    pixels = View(photo).read(x0, y0, x1, y1, shrink)
    picture = tensor_as_bytes(pixels)
    mesh = (face.mesh - np.array([x0, y0], np.float32)) / np.float32(shrink)
    inside = replace(face, mesh=mesh, eye_distance=face.eye_distance / shrink)
    return Cutout(picture, inside, min(1.0, UPLOAD_WIDTH * shrink / photo.width))


def degrade(cutout: Cutout, degradation: Degradation) -> tuple[Rgb8, Face]:
    """The degraded picture, and the face at its expected position in it."""
    degraded = degradation.apply(cutout.picture, cutout.upload)
    before = np.array(cutout.picture.shape[1::-1], np.float32)
    scale = np.array(degraded.shape[1::-1], np.float32) / (before * (1 - 2 * degradation.cut))
    mesh = ((cutout.face.mesh - before * degradation.cut) * scale).astype(np.float32)
    return degraded, replace(cutout.face, mesh=mesh, eye_distance=cutout.face.eye_distance * float(scale[0]))


def _crop_from_bytes(picture: Rgb8, face: Face) -> CanvasFace:
    return crop_face(to_tensor(as_floats(picture)), face)


def _compare_batch(
    reference: dict[str, Tensor], faces: Sequence[CanvasFace], recognisers: Sequence[Recogniser], device: torch.device
) -> list[dict[str, float]]:
    """Similarity of each face to the original, by recogniser name."""
    if not faces:
        return []
    canvases = torch.stack([face.pixels for face in faces]).to(device)
    meshes = torch.stack([face.mesh for face in faces]).to(device)
    with torch.no_grad():
        similarities = {r.name: (r.embed(canvases, meshes) @ reference[r.name]).tolist() for r in recognisers}
    return [{name: values[index] for name, values in similarities.items()} for index in range(len(faces))]
