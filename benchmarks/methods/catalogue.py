"""The methods measured: the product and its baselines.

Every method takes a photo and a setting and returns the picture that a user would publish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from benchmarks.methods import baselines
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.rows import Setting
from c2p_core.api import DEFAULT_CLIP, Face, Mode, Profile, ProtectRequest
from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.guidance.vocabulary import COLOURS
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import ABSENT, CODE_SHAPE, product_row
from c2p_core.products.geometry import build_product_maps
from c2p_core.products.paint import paint, skin_map
from c2p_core.search import SearchSettings

# A random look wears each product with this probability.
WEAR_PROBABILITY = 0.6
# How far products reach from the middle between the eyes, in eye distances.
FACE_REACH = 2.5


@dataclass(frozen=True)
class MethodResult:
    """A picture and its cost: search steps, seconds spent on the face, and the product's warnings."""

    photo: Photo
    steps: int = 0
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def run_dodge(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
    """The product, on the largest face."""
    return run_product(photo, face, setting, store, "dodge")


def run_decoy(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
    """The product, towards a synthetic person."""
    return run_product(photo, face, setting, store, "decoy")


def run_product(
    photo: Photo,
    face: Face,
    setting: Setting,
    store: ModelStore,
    mode: Mode,
    recognisers: Literal["auto"] | tuple[str, ...] = "auto",
    profile: Profile = "embedded",
    clip: str = DEFAULT_CLIP,
) -> MethodResult:
    """The product in one of its modes, with these recognisers, the generator of this profile and this text model."""
    from c2p_core.pipeline import protect

    request = ProtectRequest(
        photo=photo,
        prompt=setting.prompt,
        strength=setting.strength,
        mode=mode,
        faces=(face.number,),
        profile=profile,
        prior=setting.prior,
        clip=clip,
        recognisers=recognisers,
        hold_out=setting.hold_out,
        steps=setting.steps,
        seed=setting.seed,
    )
    result = protect(request, store=store)
    report = next(report for report in result.faces if report.number == face.number)
    return MethodResult(result.photo, report.steps, report.seconds, tuple(map(str, result.warnings)))


def change_nothing(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
    """The unchanged photo: it must score 0 %, or the benchmarks flatter."""
    return MethodResult(photo)


def black_out(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
    """A black rectangle over the face: it must score 100 %, or show no face at all."""
    x0, y0, x1, y1 = face.box
    margin = 0.1 * (x1 - x0)
    rows = slice(max(0, int(y0 - margin)), int(y1 + margin) + 1)
    columns = slice(max(0, int(x0 - margin)), int(x1 + margin) + 1)
    pixels = photo.pixels.copy()
    pixels[rows, columns, : min(3, pixels.shape[2])] = 0
    return MethodResult(photo.with_pixels(pixels))


def draw_random_look(seed: int, strength: float) -> torch.Tensor:
    """A (9, 6) code of `products.codes`: each worn or not, in a named colour; strength is the most opacity it gets."""
    rng = np.random.default_rng(seed)
    colours = list(COLOURS.values())
    code = torch.zeros(CODE_SHAPE)
    code[:, 3] = ABSENT
    for row, product in enumerate(PRODUCTS):
        worn = rng.random() < WEAR_PROBABILITY
        colour = colours[rng.integers(len(colours))]
        opacity, extent, softness = (float(v) for v in rng.random(3))
        if worn:
            code[row] = product_row(product, colour, strength * opacity, extent, softness)
    return code


def paint_random_look(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
    """A random makeup look without any search: the reference for patchiness. The seed is drawn from the face's name."""
    rgb = to_rgb8(photo)
    reach = FACE_REACH * face.eye_distance
    centre = face.mesh.mean(axis=0)
    x0, y0 = (max(0, int(v - reach)) for v in centre)
    crop = torch.tensor(rgb[y0 : int(centre[1] + reach) + 1, x0 : int(centre[0] + reach) + 1]).permute(2, 0, 1)
    linear = srgb_to_linear(crop.float() / 255.0)
    height, width = linear.shape[1:]
    regions = build_product_maps(face.mesh - np.array([x0, y0], np.float32), max(height, width), face.eye_distance)
    regions = type(regions)(regions.level[:, :height, :width], regions.gate[:, :height, :width])
    seed = int.from_bytes(setting.face.encode(), "little") % 2**32 + setting.seed
    paint_density = paint(draw_random_look(seed, setting.strength), regions, skin_map(linear, face.eye_distance)).sum(0)
    painted = (
        linear_to_srgb(linear * torch.exp(-paint_density)).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    )
    pixels = rgb.copy()
    pixels[y0 : y0 + height, x0 : x0 + width] = painted
    return MethodResult(Photo(pixels))


Noise = Callable[[Photo, Face, float, str, int | None, int, ModelStore], Photo]


def _wrap_noise(make: Noise) -> Method:
    def method(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
        start = time.perf_counter()
        protected = make(photo, face, setting.strength, setting.hold_out, setting.steps, setting.seed, store)
        return MethodResult(protected, setting.steps or SearchSettings().steps, time.perf_counter() - start)

    return method


def _wrap_disguise(make: Callable[[Photo, Face, float], Photo]) -> Method:
    return lambda photo, face, setting, store: MethodResult(make(photo, face, setting.strength))


Method = Callable[[Photo, Face, Setting, ModelStore], MethodResult]

METHODS: dict[str, Method] = {
    "c2p": run_dodge,
    "decoy": run_decoy,
    "pgd": _wrap_noise(baselines.pgd),
    "mi-fgsm": _wrap_noise(baselines.mi_fgsm),
    "masked-noise": _wrap_noise(baselines.masked_noise),
    "smooth-noise": _wrap_noise(baselines.smooth_noise),
    "look": paint_random_look,
    "blur": _wrap_disguise(baselines.blur),
    "pixelate": _wrap_disguise(baselines.pixelate),
    "nothing": change_nothing,
    "blackout": black_out,
}
# These search against recognisers, so one family is held out; the others use none.
SEARCH_METHODS = frozenset({"c2p", "decoy", "pgd", "mi-fgsm", "masked-noise", "smooth-noise"})
# Only these use a prompt and a prior.
PRODUCT_METHODS = frozenset({"c2p", "decoy"})
