"""The paper's prior: codes of StyleGAN2 around the face's own, those that carry identity held still.

The generator only says what changes. Of the two pictures that it makes, before and after, the difference is split into
a smooth displacement of the photo's own pixels and a smooth field of tone, so that an inversion that misses pores and
hairs never blurs them. What neither can express is left out.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.errors import ModelUnavailable
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, crop
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoints import load_encoder, load_generator
from c2p_core.priors.complexion import within
from c2p_core.priors.inversion import (
    Inversion,
    InversionSettings,
    OnStep,
    ffhq_crop,
    fingerprint,
    invert,
    spread,
    synthesise,
    working_side,
)
from c2p_core.priors.inversion_cache import Inversions
from c2p_core.priors.makeup import MakeupPrior, settings
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.prior import CanvasFace, Change, Code, Rendered, grown, warped
from c2p_core.priors.shape import ShapeField
from c2p_core.priors.stylegan2 import Encoder, Generator, StyledLayer

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

FOLDER = "stylegan2"
"""Folder beside the fetched models in which users put checkpoints of their own."""
_E4E = "e4e_ffhq_encode.pt"
_ENDINGS = (".safetensors", ".pt", ".pkl")

_CELLS = 64  # side of the grid on which displacement and tone live, as in the makeup prior
# Share of the layers, from the coarsest, that carry identity and stay: 0 to 7 of 18.
_FIXED = 8 / 18
_LARGEST_NOISE = 256  # px; maps of 512 px and more draw pores, which come from the photo anyway
_REACH = 2.0  # standard deviations of W that a row may move at strength 0.7
# Optical density is compared down to this linear intensity: below it noise is all that differs.
_DARKEST = 0.02
# In cells: what is finer than the first no displacement can follow, what is coarser than the second is tone.
_FINE, _COARSE = 0.8, 5.0
_TONE = 1.2  # cells, Gaussian width of the field of tone
_RIDGE = 0.1  # how firmly the displacement stays at zero where nothing can be seen of it, as a share of the mean


@dataclass(frozen=True)
class Networks:
    """What the prior computes with; one for all faces, never changed.

    Attributes:
        generator, encoder: of one size.
        perceptual: distance used while inverting.
        fingerprint: of the weights.
    """

    generator: Generator
    encoder: Encoder
    perceptual: Perceptual
    fingerprint: str


def load_networks(store: ModelStore, device: torch.device) -> Networks:
    """The user's own checkpoints.

    Raises:
        ModelUnavailable: there are none, they are damaged, or they are of different sizes.
    """
    generator_file, encoder_file = find_files(store)
    generator, encoder = load_generator(generator_file), load_encoder(encoder_file)
    if (generator.shape.codes, generator.shape.style) != (encoder.shape.codes, encoder.shape.style):
        raise ModelUnavailable(
            f"{encoder_file.name} gives codes of {encoder.shape.codes} x {encoder.shape.style}, but "
            f"{generator_file.name} takes {generator.shape.codes} x {generator.shape.style}; they must be of one size."
        )
    perceptual = Perceptual(store.path("faceres"), device)
    return Networks(generator.to(device), encoder.to(device), perceptual, fingerprint(generator, encoder))


def find_files(store: ModelStore) -> tuple[Path, Path]:
    """The generator's and the encoder's file; e4e's own and ours hold both.

    Raises:
        ModelUnavailable: there are none.
    """
    folder = store.root / FOLDER
    both = folder / _E4E
    if both.is_file():
        return both, both
    found = {
        name: next((folder / f"{name}{ending}" for ending in _ENDINGS if (folder / f"{name}{ending}").is_file()), None)
        for name in ("generator", "encoder")
    }
    if found["generator"] is None or found["encoder"] is None:
        raise ModelUnavailable(
            f"The prior stylegan2 needs weights that do not come with this program; put {_E4E}, or a generator.* and "
            f"an encoder.* ({', '.join(_ENDINGS)}), into {folder}, or use the prior makeup."
        )
    return found["generator"], found["encoder"]


class WPlusPrior:
    """Builds the latent space of a face around its inversion."""

    def __init__(
        self,
        networks: Networks,
        skin_deep: MakeupPrior,
        device: torch.device,
        cache: Inversions,
        warn: Callable[[str], None],
        on_step: OnStep = lambda step, steps: None,
        how: InversionSettings | None = None,
        free_noise: bool = False,
    ) -> None:
        """Args:
        networks: see ``load_networks``.
        skin_deep: measures what may be seen of a change, the same for all priors.
        device: where to compute.
        cache: of inverted faces.
        warn: gets sentences for the user.
        on_step: called before each step of an inversion; may raise to end it.
        how: settings of the inversion.
        free_noise: whether the search may also change the noise maps below 512 px.
        """
        self._networks = networks
        self._skin_deep = skin_deep
        self._device = device
        self._cache = cache
        self._warn = warn
        self._on_step = on_step
        self._how = how or InversionSettings()
        self._free_noise = free_noise

    def invert(self, face: CanvasFace, strength: float) -> WPlusFace:
        """The face's own codes and weights, from the cache where the same face was inverted before."""
        key = self._key(face)
        kept = self._cache.get(key)
        if kept is None:
            inversion, whole = self._on_some_device(face)
            # Halved before they are used for the first time, so that a second run gives the same bytes.
            kept = {f"weights.{name}": value.half() for name, value in inversion.weights.items()}
            kept |= {"codes": inversion.codes, "quality": torch.tensor(inversion.quality)}
            failed = self._cache.put(key, kept) if whole else None
            if failed:
                self._warn(failed)
        prefix = "weights."
        weights = {n[len(prefix) :]: w.to(self._device).float() for n, w in kept.items() if n.startswith(prefix)}
        inversion = Inversion(kept["codes"].to(self._device), weights, float(kept["quality"]))
        return WPlusFace(face, inversion, self._networks.generator, self._skin_deep, strength, self._free_noise)

    def _key(self, face: CanvasFace) -> str:
        digest = hashlib.sha256(self._networks.fingerprint.encode())
        digest.update(repr(self._how).encode())
        for part in (face.pixels, face.mesh):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _on_some_device(self, face: CanvasFace) -> tuple[Inversion, bool]:
        """The inversion, and whether it is a whole one, worth keeping.

        With too little memory on the graphics card first a smaller one is tried, then one on the CPU.
        """
        try:
            return self._inverted(face, self._networks, self._device, self._how), True
        except torch.cuda.OutOfMemoryError:
            self._warn("The graphics card has too little memory for the whole inversion; it is done without tuning.")
        try:
            return self._inverted(face, self._networks, self._device, replace(self._how, tuning_steps=0)), False
        except torch.cuda.OutOfMemoryError:
            self._warn("The graphics card has too little memory to invert this face; the processor does it.")
        there = torch.device("cpu")
        own = replace(
            self._networks,
            generator=copy.deepcopy(self._networks.generator).to(there),
            encoder=copy.deepcopy(self._networks.encoder).to(there),
            perceptual=self._networks.perceptual.on(there),
        )
        return self._inverted(face, own, there, self._how), True

    def _inverted(self, face: CanvasFace, own: Networks, device: torch.device, how: InversionSettings) -> Inversion:
        side = working_side(own.generator)
        to_canvas = ffhq_crop(face.mesh.cpu().numpy(), side)
        picture = crop(face.pixels.cpu(), to_canvas, side).clamp(0, 1)
        places = centres(side, torch.device("cpu")).double() * (side / 2) + side / 2
        places = places @ torch.from_numpy(to_canvas[:, :2]).T + torch.from_numpy(to_canvas[:, 2])
        mask = ((places > 0) & (places < CANVAS)).all(-1)[None].float()
        wanted = (2 * picture - 1).to(device)
        return invert(own.generator, own.encoder, wanted, mask.to(device), own.perceptual, how, self._on_step)


class WPlusFace:
    """One face as StyleGAN2 sees it (``priors.prior.Inverted``)."""

    def __init__(
        self,
        face: CanvasFace,
        inversion: Inversion,
        generator: Generator,
        skin_deep: MakeupPrior,
        strength: float,
        free_noise: bool = False,
    ) -> None:
        device = inversion.codes.device
        mesh = face.mesh.cpu().numpy()
        self.inversion = inversion
        self._generator = generator
        self._skin_deep = skin_deep.invert(face, strength)
        self._limits = settings(strength)
        self._reach = _REACH * max(strength, 0.02) / 0.7
        self._spread = spread(generator)
        self._fixed = fixed_rows(generator.shape.codes)
        self._free_noise = free_noise
        self._linear = srgb_to_linear(face.pixels).to(device)
        self._toned = torch.from_numpy(_tonable(mesh)).to(device)
        self._everywhere = centres(CANVAS, device)
        self._at = _in_crop(mesh, device)
        self._before = self._density(self._synthesised(self.start()))
        self._field = self._skin_deep.field
        self._farthest = self._limits.shape * CANVAS_EYE_DISTANCE
        self._see, self._solve = _displacement_solver(self._before, self._field, self._farthest)

    def start(self, prompt: str = "", guidance: TextGuidance | None = None, seed: int = 0) -> Code:
        shape = self._generator.shape
        code = {"codes": self._linear.new_zeros(shape.codes - self._fixed, shape.style)}
        if self._free_noise:
            code["noise"] = self._linear.new_zeros(sum(layer.noise.numel() for layer in self._noisy()))
        return code

    def rows(self, code: Code) -> Tensor:
        """(codes, style): the face's own W+ code with the free rows moved; the others stay, bit by bit."""
        away = code["codes"]
        # As long as the limit at most, and never stopped by it.
        length = away.square().mean(1, keepdim=True)
        away = away * self._reach / torch.sqrt(self._reach**2 + length)
        still, free = self.inversion.codes[: self._fixed], self.inversion.codes[self._fixed :]
        return torch.cat([still, free + self._spread * away])

    def render(self, code: Code) -> Rendered:
        displacement, density = self._split(code)
        painted = linear_to_srgb(self._linear * torch.exp(-density))
        pixels = warped(painted, displacement, self._everywhere)
        return Rendered(pixels, displacement, density)

    def regulariser(self, code: Code, rendered: Rendered) -> Tensor:
        """The paper's latent loss: the squared distance from the face's own code, in standard deviations of W."""
        return code["codes"].square().mean()

    def guard(self, rendered: Rendered) -> Tensor:
        return self._skin_deep.guard(rendered)

    @torch.no_grad()
    def change(self, code: Code) -> Change:
        displacement, density = self._split({name: part.detach() for name, part in code.items()})
        return Change(
            displacement.cpu(),
            density.cpu(),
            torch.zeros(1, 1, 1),
            lambda maps: maps.new_zeros(0, 3, *maps.shape[1:]),
            (),
        )

    def _split(self, code: Code) -> tuple[Tensor, Tensor]:
        """(2, cells, cells) displacement and (3, 256, 256) density that stand for what the code changes."""
        after = self._density(self._synthesised(code))
        changed = _band((after - self._before).mean(0, keepdim=True)).flatten()
        displacement = self._field.displacement(self._solve @ (self._see @ changed), self._farthest)
        grid = centres(_CELLS, after.device) + displacement.permute(1, 2, 0) * (2.0 / CANVAS)
        moved = F.grid_sample(self._before[None], grid[None], align_corners=False, padding_mode="border")[0]
        tone = gaussian(after - moved, _TONE)
        return displacement, self._shown(grown(tone)) * self._toned

    def _shown(self, tone: Tensor) -> Tensor:
        """A (3, 256, 256) change of density, within what skin can show."""
        light = tone.mean(0)
        limits = self._limits.limits
        hue = (tone - light) / limits.darker
        return within(light, limits) + limits.darker * torch.tanh(hue)

    def _synthesised(self, code: Code) -> Tensor:
        """(3, side, side) -1..1."""
        noise = None
        if "noise" in code:
            own = [layer.noise for layer in self._generator.styled()]
            parts = code["noise"].split([layer.noise.numel() for layer in self._noisy()])
            noise = [m + p.reshape(m.shape) for m, p in zip(own, parts, strict=False)] + own[len(parts) :]
        side = working_side(self._generator)
        return synthesise(self._generator, self.inversion.weights, self.rows(code)[None], noise=noise, size=side)[0]

    def _noisy(self) -> list[StyledLayer]:
        """The layers whose noise may be searched, from the first."""
        return [layer for layer in self._generator.styled() if layer.noise.shape[0] <= _LARGEST_NOISE]

    def _density(self, picture: Tensor) -> Tensor:
        """(3, cells, cells) optical density on the canvas of a (3, side, side) picture."""
        fine = F.grid_sample(picture[None], self._at[None], align_corners=False, padding_mode="border")
        linear = srgb_to_linear((F.avg_pool2d(fine, 2)[0].clamp(-1, 1) + 1) / 2)
        return -torch.log(linear.clamp(min=_DARKEST))


def fixed_rows(codes: int) -> int:
    """How many rows of a W+ code carry identity and stay: 8 of 18, the like elsewhere."""
    return round(_FIXED * codes)


def centres(side: int, device: torch.device) -> Tensor:
    """(side, side, 2) centres of the cells of a grid over the canvas, in -1..1."""
    at = (torch.arange(side, device=device) + 0.5) * (2.0 / side) - 1.0
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1)


def gaussian(field: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of a (C, n, n) field, its rim included."""
    at = torch.arange(field.shape[-1], device=field.device, dtype=field.dtype)
    weights = torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    blurred: Tensor = weights @ field @ weights.T
    return blurred


def _band(density: Tensor) -> Tensor:
    """What of a (C, cells, cells) density tells where things are: its edges."""
    return gaussian(density, _FINE) - gaussian(density, _COARSE)


def _displacement_solver(before: Tensor, field: ShapeField, limit: float) -> tuple[Tensor, Tensor]:
    """Least squares for the code of a displacement, prepared once for a face.

    A picture that moves by u changes by its own slope times u (Lucas and Kanade 1981), which is linear in the code; so
    the best code is a fixed linear map of what changed, and gradients pass it.

    Args:
        before: (3, cells, cells) density of the face unchanged.
        field: from codes to displacements.
        limit: canvas pixels that a code of one moves, before the field bounds it.

    Returns:
        (codes, cells * cells) what each number of the code would change, and (codes, codes) the inverse of its Gram
        matrix.
    """
    seen = _band(before.mean(0, keepdim=True))[0]
    down, across = torch.gradient(seen, spacing=CANVAS / _CELLS)
    slope = torch.stack([across.flatten(), down.flatten()], -1)
    # What a unit along each axis of the mean face changes.
    along = (slope[:, None] @ field.axes.to(slope))[:, 0] * limit
    see = torch.cat([field.horizontal.to(slope) * along[:, :1], field.vertical.to(slope) * along[:, 1:]], 1).T
    gram = (see @ see.T).double()
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return see, torch.linalg.inv(gram).to(see)


def _tonable(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) where tone may change: skin, brows and lips, but neither the eyes nor what lies around the face."""
    inside = face_regions.ramp(face_regions.signed_distance(mesh, face_regions.OVAL), -12.0, -1.0)
    return np.asarray(inside * face_regions.ramp(-face_regions.eyes_distance(mesh), -4.0, 0.0), dtype=np.float32)


def _in_crop(mesh: np.ndarray, device: torch.device) -> Tensor:
    """(2 * cells, 2 * cells, 2) where points of the canvas lie in the FFHQ-aligned square, in -1..1."""
    to_canvas = torch.from_numpy(ffhq_crop(mesh, 2))
    places = (centres(2 * _CELLS, torch.device("cpu")).double() + 1) * (CANVAS / 2)
    there: Tensor = (places - to_canvas[:, 2]) @ torch.linalg.inv(to_canvas[:, :2]).T - 1
    return there.float().to(device)
