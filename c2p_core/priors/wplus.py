"""The paper's prior: codes of StyleGAN2 around the face's own, those that carry identity held still.

The generator only says what changes. Of the two pictures that it makes, before and after, the difference is split into
a smooth displacement of the photo's own pixels and a smooth field of tone, so that an inversion that misses pores and
hairs never blurs them. What neither can express is left out. A small generator moves little; the makeup prior's shape
moves the face beside it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import srgb_to_linear
from c2p_core.errors import ModelUnavailable
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, crop
from c2p_core.faces.canvas import CanvasFace, Change, gaussian_blur, upsample
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.losses import latent_loss
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoint_files import find_checkpoints
from c2p_core.priors.checkpoints import load_encoder, load_generator
from c2p_core.priors.face_maps import CELLS
from c2p_core.priors.inversion import (
    Inversion,
    InversionSettings,
    OnStep,
    ffhq_transform,
    fingerprint,
    fixed_rows,
    frozen_layers,
    invert,
    synthesise,
    tuned_parameters,
    working_side,
)
from c2p_core.priors.inversion_cache import Inversions
from c2p_core.priors.perceptual import Perceptual
from c2p_core.priors.prior import Code, Rendered
from c2p_core.priors.renderer import LEARNING_RATES, FaceRenderer
from c2p_core.priors.strength import strength_limits, strength_scale
from c2p_core.priors.stylegan2 import Encoder, Generator, StyledLayer

_MINI = "stylegan2-mini"

_SIDE = 128  # px; a larger picture would be read at this size
_LARGEST_NOISE = 256  # px; maps of 512 px and more draw pores, which come from the photo anyway
_REACH = 2.0  # standard deviations of W that a row may move at strength 0.5
_DRAWS = 4096  # of W, whose principal axes the search walks along
# Optical density is compared down to this linear intensity: below it noise is all that differs.
_DARKEST = 0.02
# In cells: what is finer than the first no displacement can follow, what is coarser than the second is tone.
_FINE, _COARSE = 0.8, 5.0
# How firmly the displacement stays smooth, and stays at zero where nothing can be seen of it, as shares of the mean.
_SMOOTH, _RIDGE = 10.0, 0.01
_ROUNDS = 3  # of displacing and comparing again


_Network = TypeVar("_Network", Generator, Encoder)


@dataclass(frozen=True)
class Networks:
    """What the prior computes with; one for all faces, never changed.

    Attributes:
        generator, encoder: of one size.
        axes: see ``principal_axes``.
        perceptual: distance used while inverting.
        fingerprint: of the weights.
    """

    generator: Generator
    encoder: Encoder
    axes: Tensor
    perceptual: Perceptual
    fingerprint: str


def load_networks(store: ModelStore, device: torch.device) -> Networks:
    """The user's own checkpoints, else the small ones that come with the program.

    Raises:
        ModelUnavailable: one of two is missing, they are damaged, or they are of different sizes.
    """
    own = find_checkpoints(store.root)
    generator_file, encoder_file = own if own is not None else (store.path(_MINI), store.path(_MINI))
    generator, encoder = load_generator(generator_file), load_encoder(encoder_file)
    if (generator.shape.codes, generator.shape.style) != (encoder.shape.codes, encoder.shape.style):
        raise ModelUnavailable(
            f"{encoder_file.name} gives codes of {encoder.shape.codes} x {encoder.shape.style}, but "
            f"{generator_file.name} takes {generator.shape.codes} x {generator.shape.style}; they must be of one size."
        )
    perceptual = Perceptual(store.path("faceres"), device)
    marked = fingerprint(generator, encoder)
    generator = generator.to(device)
    return Networks(generator, encoder.to(device), principal_axes(generator), perceptual, marked)


class WPlusPrior:
    """Builds the latent space of a face around its inversion."""

    name = "stylegan2"
    label = "A generator of faces (StyleGAN2)"
    learning_rates: Mapping[str, float] = {**LEARNING_RATES, "codes": 0.2, "noise": 0.1}

    def __init__(
        self,
        networks: Networks,
        mean_face: np.ndarray,
        device: torch.device,
        cache: Inversions,
        warn: Callable[[str], None],
        on_step: OnStep = lambda step, steps: None,
        how: InversionSettings | None = None,
        free_noise: bool = False,
    ) -> None:
        """Args:
        networks: see ``load_networks``.
        mean_face: (468, 2) canvas pixels, see ``canonical.load_mean_face``.
        device: where to compute.
        cache: of inverted faces.
        warn: gets sentences for the user.
        on_step: called before each step of an inversion; may raise to end it.
        how: settings of the inversion.
        free_noise: whether the search may also change the noise maps below 512 px.
        """
        self._networks = networks
        self._mean_face = mean_face
        self._device = device
        self._cache = cache
        self._warn = warn
        self._on_step = on_step
        self._how = how or InversionSettings()
        self._free_noise = free_noise

    def invert(self, face: CanvasFace, strength: float, keep_expression: bool = True) -> WPlusFace:
        """The face's own codes and weights, from the cache where the same face was inverted before."""
        own, key = self._networks, self._key(face)
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
        limits = strength_limits(strength, keep_expression)
        renderer = FaceRenderer(face, self._mean_face, limits, self._device, keep_expression)
        return WPlusFace(face, inversion, own.generator, own.axes, renderer, strength, self._free_noise)

    def _key(self, face: CanvasFace) -> str:
        digest = hashlib.sha256(self._networks.fingerprint.encode())
        digest.update(repr((self._how, list(tuned_parameters(self._networks.generator)))).encode())
        for part in (face.pixels, face.mesh):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _on_some_device(self, face: CanvasFace) -> tuple[Inversion, bool]:
        """The inversion, and whether it is a whole one, worth keeping.

        With too little memory on the graphics card first a smaller one is tried, then one on the CPU.
        """
        try:
            return self._inverted(face, self._networks, self._device, self._how), True
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
            self._warn("The graphics card has too little memory for the whole inversion; it is done without tuning.")
        try:
            return self._inverted(face, self._networks, self._device, replace(self._how, tuning_steps=0)), False
        except RuntimeError as error:
            if not is_out_of_gpu_memory(error):
                raise
            self._warn("The graphics card has too little memory to invert this face; the processor does it.")
        there, own = torch.device("cpu"), self._networks
        generator, encoder = _on_cpu(own.generator), _on_cpu(own.encoder)
        own = replace(own, generator=generator, encoder=encoder, perceptual=own.perceptual.copy_to(there))
        return self._inverted(face, own, there, self._how), True

    def _inverted(self, face: CanvasFace, own: Networks, device: torch.device, how: InversionSettings) -> Inversion:
        side = working_side(own.generator)
        to_canvas = ffhq_transform(face.mesh.cpu().numpy(), side)
        picture = crop(face.pixels.cpu(), to_canvas, side).clamp(0, 1)
        places = grid_centres(side, torch.device("cpu")).double() * (side / 2) + side / 2
        places = places @ torch.from_numpy(to_canvas[:, :2]).T + torch.from_numpy(to_canvas[:, 2])
        mask = ((places > 0) & (places < CANVAS)).all(-1)[None].float()
        wanted = (2 * picture - 1).to(device)
        return invert(own.generator, own.encoder, wanted, mask.to(device), own.perceptual, how, self._on_step)


class WPlusFace:
    """One face as StyleGAN2 sees it (``priors.prior.InvertedFace``); never changed once it is made."""

    learning_rates = WPlusPrior.learning_rates

    def __init__(
        self,
        face: CanvasFace,
        inversion: Inversion,
        generator: Generator,
        axes: Tensor,
        renderer: FaceRenderer,
        strength: float,
        free_noise: bool = False,
    ) -> None:
        device = inversion.codes.device
        self.inversion = inversion
        self._generator = generator
        self.renderer = renderer
        self._reach = _REACH * strength_scale(strength)
        self._axes = axes
        self._fixed = fixed_rows(generator.shape.codes)
        self._free_noise = free_noise
        untouched = 0 if free_noise else frozen_layers(generator.shape.codes)
        with torch.no_grad():
            self._begun = generator.synthesise_layers(inversion.codes[None], untouched)
        self._at = _in_crop(face.mesh.cpu().numpy(), device)
        self._before = self._density(self._synthesised(self._own_code()))
        self._skin = F.avg_pool2d(renderer.skin, CANVAS // CELLS)[0]
        self._farthest = renderer.limits.shape * CANVAS_EYE_DISTANCE
        self._see, self._solve = _displacement_solver(self._before, renderer, self._farthest)

    def preview(self, look: Tensor) -> Tensor:
        return self.renderer.preview(look)

    def with_look(self, look: Tensor) -> WPlusFace:
        dressed = copy.copy(self)
        dressed.renderer = self.renderer.with_look(look)
        return dressed

    def start(self) -> Code:
        return self.renderer.start() | self._own_code()

    def rows(self, code: Code) -> Tensor:
        """(codes, style): the face's own W+ code with the free rows moved; the others stay, bit by bit.

        The search walks along the principal axes of W, a standard deviation each, so that what faces differ in is near.
        """
        away = code["codes"]
        # As long as the limit at most, and never stopped by it.
        length = away.square().mean(1, keepdim=True)
        away = away * self._reach / torch.sqrt(self._reach**2 + length)
        still, free = self.inversion.codes[: self._fixed], self.inversion.codes[self._fixed :]
        return torch.cat([still, free + away @ self._axes])

    def render(self, code: Code) -> Rendered:
        return self.renderer.render(*self._split(code), code)

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        """The paper's latent loss, in standard deviations of W and of noise, and how much what is stiff is bent.

        The whole displacement counts as well as shape by itself: two that are smooth alone add up to bulges.
        """
        own, whole = self.renderer.displacement(code), rendered.displacement
        whitened = [code[name] for name in ("codes", "noise") if name in code]
        return latent_loss(whitened, self.renderer.bending_energy(own) + self.renderer.bending_energy(whole))

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        return self.renderer.visibility_penalty(rendered)

    @torch.no_grad()
    def change(self, code: Code) -> Change:
        return self.renderer.change(*self._split(code), code)

    def _own_code(self) -> Code:
        shape, like = self._generator.shape, self.inversion.codes
        code = {"codes": like.new_zeros(shape.codes - self._fixed, shape.style)}
        if self._free_noise:
            code["noise"] = like.new_zeros(sum(layer.noise.numel() for layer in self._noisy()))
        return code

    def _split(self, code: Code) -> tuple[Tensor, Tensor]:
        """(2, cells, cells) displacement and (256, 256) change of light that stand for what the code changes.

        Hues are left out: a generator's are blotches on skin, and what the text asks for comes from the products.
        """
        after = self._density(self._synthesised(code))
        shape, moved = self._follow(after)
        light = (after - moved).mean(0)
        # A face that is lighter or darker as a whole is seen by everybody and means nothing to recognisers.
        light = light - (light * self._skin).sum() / self._skin.sum().clamp(min=1.0)
        displacement = self.renderer.field.displacement(shape + code["shape"], self._farthest)
        return displacement, upsample(self.renderer.smooth(light)[None])[0] + self.renderer.relief.light(code)

    def _follow(self, after: Tensor) -> tuple[Tensor, Tensor]:
        """The shape that makes of the face before what comes nearest to ``after``, and what it makes."""
        moved, shape = self._before, self._before.new_zeros(len(self._solve))
        for _ in range(_ROUNDS):
            shape = shape + self._solve @ (self._see @ _band((after - moved).mean(0, keepdim=True)).flatten())
            displacement = self.renderer.field.displacement(shape, self._farthest)
            grid = grid_centres(CELLS, after.device) + displacement.permute(1, 2, 0) * (2.0 / CANVAS)
            moved = F.grid_sample(self._before[None], grid[None], align_corners=False, padding_mode="border")[0]
        return shape, moved

    def _synthesised(self, code: Code) -> Tensor:
        """(3, side, side) -1..1, as large as it is looked at."""
        noise = None
        if "noise" in code:
            own = [layer.noise for layer in self._generator.styled_layers()]
            parts = code["noise"].split([layer.noise.numel() for layer in self._noisy()])
            noise = [m + p.reshape(m.shape) for m, p in zip(own, parts, strict=False)] + own[len(parts) :]
        side = min(working_side(self._generator), _SIDE)
        rows = self.rows(code)[None]
        return synthesise(self._generator, self.inversion.weights, rows, noise=noise, size=side, begun=self._begun)[0]

    def _noisy(self) -> list[StyledLayer]:
        """The layers whose noise may be searched, from the first."""
        return [layer for layer in self._generator.styled_layers() if layer.noise.shape[0] <= _LARGEST_NOISE]

    def _density(self, picture: Tensor) -> Tensor:
        """(3, cells, cells) optical density on the canvas of a (3, side, side) picture."""
        fine = F.grid_sample(picture[None], self._at[None], align_corners=False, padding_mode="border")
        linear = srgb_to_linear((F.avg_pool2d(fine, 2)[0].clamp(-1, 1) + 1) / 2)
        return -torch.log(linear.clamp(min=_DARKEST))


def _on_cpu(network: _Network) -> _Network:
    """A copy for the CPU, tensor by tensor, because the card that has the network has no room for a second one."""
    with torch.device("meta"):
        copied = type(network)(network.shape)
    copied.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()}, assign=True)
    return copied.eval().requires_grad_(False)


@torch.no_grad()
def principal_axes(generator: Generator) -> Tensor:
    """(style, style): rows are the principal axes of W over random draws, each as long as its standard deviation."""
    like = generator.mean_w
    draws = torch.randn(_DRAWS, generator.shape.style, generator=torch.Generator().manual_seed(0)).to(like)
    spreads, axes = torch.linalg.eigh(torch.cov(generator.mapping(draws).double().T))
    scaled: Tensor = spreads.clamp(min=0.0).sqrt()[:, None] * axes.T
    return scaled.to(like)


def grid_centres(side: int, device: torch.device) -> Tensor:
    """(side, side, 2) centres of the cells of a grid over the canvas, in -1..1."""
    at = (torch.arange(side, device=device) + 0.5) * (2.0 / side) - 1.0
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1)


def _band(density: Tensor) -> Tensor:
    """What of a (C, cells, cells) density tells where things are: its edges."""
    return gaussian_blur(density, _FINE) - gaussian_blur(density, _COARSE)


def _displacement_solver(before: Tensor, renderer: FaceRenderer, limit: float) -> tuple[Tensor, Tensor]:
    """Least squares for the code of a displacement, prepared once for a face.

    A picture that moves by u changes by its own slope times u (Lucas and Kanade 1981), which is linear in the code; so
    the best code is a fixed linear map of what changed, and gradients pass it. Where the picture has no slope, and
    wherever it tells little, the displacement is the one that bends the face least.

    Args:
        before: (3, cells, cells) density of the face unchanged.
        renderer: has the field, and knows what bends.
        limit: canvas pixels that a code of one moves, before the field bounds it.

    Returns:
        (codes, cells * cells) what each number of the code would change, and (codes, codes) the inverse of its Gram
        matrix.
    """
    seen = _band(before.mean(0, keepdim=True))[0]
    down, across = torch.gradient(seen, spacing=CANVAS / CELLS)
    slope = torch.stack([across.flatten(), down.flatten()], -1)
    moves = renderer.field.moves.to(slope) * limit
    see = (slope.T.reshape(-1, 1) * moves).reshape(2, CELLS * CELLS, -1).sum(0).T
    bends = torch.stack([renderer.bending_terms(move.reshape(2, CELLS, CELLS)) for move in moves.T])
    # So that every edge counts alike, and not by its contrast.
    told = slope.square().sum(1)
    weighed = see / (told + told.mean())
    gram, bent = (weighed @ see.T).double(), (bends @ bends.T).double()
    gram += _SMOOTH * (gram.trace() / bent.trace()) * bent
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return weighed, torch.linalg.inv(gram).to(see)


def _in_crop(mesh: np.ndarray, device: torch.device) -> Tensor:
    """(2 * cells, 2 * cells, 2) where points of the canvas lie in the FFHQ-aligned square, in -1..1."""
    to_canvas = torch.from_numpy(ffhq_transform(mesh, 2))
    places = (grid_centres(2 * CELLS, torch.device("cpu")).double() + 1) * (CANVAS / 2)
    there: Tensor = (places - to_canvas[:, 2]) @ torch.linalg.inv(to_canvas[:, :2]).T - 1
    return there.float().to(device)
