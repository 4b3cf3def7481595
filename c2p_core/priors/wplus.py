"""The paper's prior: W+ codes of StyleGAN2 around the inverted face, with the rows that carry identity fixed.

The generator only determines the change. The difference between its pictures before and after is split into a smooth
displacement of the photo's own pixels and a smooth field of tone, so that an inversion without pores and hairs never
blurs them; the remainder is dropped. As a small generator displaces little, the makeup prior's shape is available too.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.accelerated import move_network
from c2p_core.activations import keep_in_main_memory
from c2p_core.api import Part
from c2p_core.colour import srgb_to_linear
from c2p_core.device import release_memory
from c2p_core.errors import Message, ModelUnavailable
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE, crop
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.canvas import CanvasFace, Change, gaussian_blur, upsample
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.losses import latent_loss
from c2p_core.models.store import ModelStore
from c2p_core.priors.checkpoint_files import GENERATORS, SHIPPED_GENERATOR, find_checkpoints
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
from c2p_core.priors.prior import Code, Rendered, Resources
from c2p_core.priors.renderer import LEARNING_RATES, FaceRenderer
from c2p_core.priors.strength import compute_strength_limits, compute_strength_scale
from c2p_core.priors.stylegan2 import Encoder, Generator, StyledLayer

_SIDE = 128  # px, side of the pictures that the search synthesises
_LARGEST_NOISE = 256  # px; larger noise maps make pores, which come from the photo anyway
_REACH = 2.0  # maximum change of a row in standard deviations of W, at strength 0.5
_DRAWS = 4096  # draws of W from which its principal axes are computed
# Optical density is computed from at least this much linear light: below it there is only noise.
_DARKEST = 0.02
# Gaussian widths in cells of the band in which displacement is fitted: finer detail it can't follow, coarser is tone.
_FINE, _COARSE = 0.8, 5.0
# Weights of bending and of a ridge in the fit of the displacement, relative to the data term.
_SMOOTH, _RIDGE = 10.0, 0.01
_ROUNDS = 3  # iterations of the fit


_Network = TypeVar("_Network", Generator, Encoder)


@dataclass(frozen=True)
class Networks:
    """The networks of the prior, shared by all faces; immutable.

    Attributes:
        generator, encoder: with codes of the same shape.
        axes: see ``principal_axes``.
        perceptual: distance used by the inversion.
        fingerprint: hash of the weights.
    """

    generator: Generator
    encoder: Encoder
    axes: Tensor
    perceptual: Perceptual
    fingerprint: str


def load_networks(store: ModelStore, device: torch.device, fetched: str | None = None) -> Networks:
    """Load the user's own checkpoints, else fetched ones, else the small ones that ship with the program.

    Args:
        store: has the models' files.
        device: to compute on.
        fetched: name of a fetched model with both networks; None for those that ship.

    Raises:
        ModelUnavailable: one of the two is missing, one is damaged, or their codes differ in shape.
    """
    generator_file, encoder_file = find_checkpoints(store.root) or (store.obtain(fetched or SHIPPED_GENERATOR),) * 2
    if generator_file.parent.name in GENERATORS:
        generator_file = store.obtain(generator_file.parent.name)  # verifies its hash
    generator, encoder = load_generator(generator_file), load_encoder(encoder_file)
    if (generator.shape.codes, generator.shape.style) != (encoder.shape.codes, encoder.shape.style):
        raise ModelUnavailable(
            "codes-differ",
            encoder=encoder_file.name,
            given=f"{encoder.shape.codes} x {encoder.shape.style}",
            generator=generator_file.name,
            taken=f"{generator.shape.codes} x {generator.shape.style}",
        )
    perceptual = Perceptual(store.obtain("faceres"), device)
    weights_hash = fingerprint(generator, encoder)
    generator = move_network(generator, device)
    return Networks(generator, move_network(encoder, device), principal_axes(generator), perceptual, weights_hash)


def load(resources: Resources) -> WPlusPrior:
    """The prior; its networks are kept between runs, until the user's own files change.

    Raises:
        ModelUnavailable: as ``load_networks``.
    """
    store, device = resources.store, resources.device
    mean_face = load_mean_face(store.obtain("complexion"))
    own_files = [(path, path.stat().st_mtime_ns) for path in find_checkpoints(store.root) or ()]
    fetched = resources.generator
    networks = resources.keep(
        ("stylegan2", device),
        lambda: load_networks(store, device, fetched),
        (own_files, None if own_files else fetched),
    )
    return WPlusPrior(
        networks,
        mean_face,
        device,
        resources.inversions,
        resources.warn,
        resources.on_inversion_step,
        free_noise=resources.free_noise,
        recorded=resources.recorded,
    )


class WPlusPrior:
    """The prior around the inversion of a face.

    Attributes:
        networks: see ``load_networks``.
    """

    name = "stylegan2"
    learning_rates: Mapping[str, float] = {**LEARNING_RATES, "codes": 0.2, "noise": 0.1}

    def __init__(
        self,
        networks: Networks,
        mean_face: np.ndarray,
        device: torch.device,
        cache: Inversions,
        warn: Callable[[Message], None],
        on_step: OnStep = lambda step, steps: None,
        settings: InversionSettings | None = None,
        free_noise: bool = False,
        recorded: bool = False,
    ) -> None:
        """Args:
        networks: see ``load_networks``.
        mean_face: (468, 2) canvas pixels, see ``canonical.load_mean_face``.
        device: to compute on.
        cache: of inverted faces.
        warn: called with messages for the user.
        on_step: called before each step of an inversion; may raise to end it.
        settings: of the inversion.
        free_noise: whether the search may also change the noise maps below 512 px.
        recorded: whether the run holds recordings on the graphics card (``accelerated.accelerate``), which it drops
            first when memory runs out, before anything is inverted in another way.
        """
        self.networks = networks
        self._mean_face = mean_face
        self._device = device
        self._cache = cache
        self._warn = warn
        self._on_step = on_step
        self._settings = settings or InversionSettings()
        self._free_noise = free_noise
        self._recorded = recorded

    def invert(
        self, face: CanvasFace, strength: float, keep_expression: bool = True, locks: Sequence[Part] = ()
    ) -> WPlusFace:
        """See ``Prior.invert``; a face that was inverted before comes from the cache."""
        networks, key = self.networks, self._key(face)
        cached = self._cache.get(key)
        if cached is None:
            inversion, whole = self._invert_with_fallback(face)
            # Converted to half precision before their first use, so that cached ones give the same result.
            cached = {f"weights.{name}": value.half() for name, value in inversion.weights.items()}
            cached |= {"codes": inversion.codes, "quality": torch.tensor(inversion.quality)}
            failure = self._cache.put(key, cached) if whole else None
            if failure:
                self._warn(failure)
        prefix = "weights."
        weights = {
            name[len(prefix) :]: weight.to(self._device).float()
            for name, weight in cached.items()
            if name.startswith(prefix)
        }
        inversion = Inversion(cached["codes"].to(self._device), weights, float(cached["quality"]))
        limits = compute_strength_limits(strength, keep_expression)
        renderer = FaceRenderer(face, self._mean_face, limits, self._device, keep_expression, locks)
        return WPlusFace(face, inversion, networks.generator, networks.axes, renderer, strength, self._free_noise)

    def _key(self, face: CanvasFace) -> str:
        digest = hashlib.sha256(self.networks.fingerprint.encode())
        digest.update(repr((self._settings, list(tuned_parameters(self.networks.generator)))).encode())
        for part in (face.pixels, face.mesh):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _invert_with_fallback(self, face: CanvasFace) -> tuple[Inversion, bool]:
        """Invert a face; returns the inversion and whether it is complete and thus worth caching.

        If the graphics card runs out of memory, retries with saved tensors in the computer's memory, which gives the
        same result, then without tuning, then on the CPU; but not while the run still holds recordings, which also
        take memory.

        Raises:
            RuntimeError: the card is full, and the run can give up its recordings.
        """
        untuned = replace(self._settings, tuning_steps=0)
        attempts = (
            (nullcontext(), self._settings, None),
            (keep_in_main_memory(), self._settings, Message("inversion-in-main-memory")),
            (keep_in_main_memory(), untuned, Message("inversion-without-tuning")),
        )
        for memory_context, settings, notice in attempts:
            try:
                with memory_context:
                    inversion = self._invert_on(face, self.networks, self._device, settings)
            except RuntimeError as error:
                if self._recorded or not is_out_of_gpu_memory(error):
                    raise
            else:
                if notice is not None:
                    self._warn(notice)
                return inversion, settings is self._settings
            # Outside the handler: the exception holds references to the tensors of the failed attempt.
            release_memory()
        self._warn(Message("inversion-on-processor"))
        cpu, networks = torch.device("cpu"), self.networks
        generator, encoder = _copy_to_cpu(networks.generator), _copy_to_cpu(networks.encoder)
        networks = replace(networks, generator=generator, encoder=encoder, perceptual=networks.perceptual.copy_to(cpu))
        return self._invert_on(face, networks, cpu, self._settings), True

    def _invert_on(
        self, face: CanvasFace, networks: Networks, device: torch.device, settings: InversionSettings
    ) -> Inversion:
        side = working_side(networks.generator)
        to_canvas = ffhq_transform(face.mesh.cpu().numpy(), side)
        picture = crop(face.pixels.cpu(), to_canvas, side).clamp(0, 1)
        points = grid_centres(side, torch.device("cpu")).double() * (side / 2) + side / 2
        points = points @ torch.from_numpy(to_canvas[:, :2]).T + torch.from_numpy(to_canvas[:, 2])
        mask = ((points > 0) & (points < CANVAS)).all(-1)[None].float()
        target = (2 * picture - 1).to(device)
        return invert(
            networks.generator, networks.encoder, target, mask.to(device), networks.perceptual, settings, self._on_step
        )


class WPlusFace:
    """One face in StyleGAN2's latent space (``priors.prior.InvertedFace``); immutable.

    Attributes:
        inversion: its codes and tuned weights.
        renderer: of the face.
        displacement_solver: splits the displacement off the generator's change.
    """

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
        self._reach = _REACH * compute_strength_scale(strength)
        self._axes = axes
        self._fixed = fixed_rows(generator.shape.codes)
        self._free_noise = free_noise
        shared_layers = 0 if free_noise else frozen_layers(generator.shape.codes)
        with torch.no_grad():
            self._partial = generator.synthesise_layers(inversion.codes[None], shared_layers)
        self._crop_grid = _build_crop_grid(face.mesh.cpu().numpy(), device)
        before = self._density(self._synthesise(self._initial_code()))
        self._skin = F.avg_pool2d(renderer.skin, CANVAS // CELLS)[0]
        self._max_shift = renderer.limits.shape * CANVAS_EYE_DISTANCE
        self.displacement_solver = DisplacementSolver(before, renderer, self._max_shift)

    def preview(self, look: Tensor) -> Tensor:
        return self.renderer.preview(look)

    def with_look(self, look: Tensor) -> WPlusFace:
        copied = copy.copy(self)
        copied.renderer = self.renderer.with_look(look)
        return copied

    def start(self) -> Code:
        return self.renderer.start() | self._initial_code()

    def rows(self, code: Code) -> Tensor:
        """(codes, style): the inverted W+ code with the free rows changed; fixed rows are bit-identical.

        The code is given in standard deviations along the principal axes of W, so that typical differences between
        faces are small steps.
        """
        offset = code["codes"]
        # Bounded smoothly in length, so that gradients never vanish.
        length = offset.square().mean(1, keepdim=True)
        offset = offset * self._reach / torch.sqrt(self._reach**2 + length)
        fixed, free = self.inversion.codes[: self._fixed], self.inversion.codes[self._fixed :]
        return torch.cat([fixed, free + offset @ self._axes])

    def render(self, code: Code) -> Rendered:
        return self.renderer.render(*self._decompose(code), code)

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        """The paper's latent loss, in standard deviations of W and noise, plus bending energy.

        Both the total displacement and shape alone count: two smooth displacements can add up to bulges.
        """
        shape_displacement, total_displacement = self.renderer.displacement(code), rendered.displacement
        whitened = [code[name] for name in ("codes", "noise") if name in code]
        return latent_loss(
            whitened,
            self.renderer.bending_energy(shape_displacement) + self.renderer.bending_energy(total_displacement),
        )

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        return self.renderer.visibility_penalty(rendered)

    @torch.no_grad()
    def change(self, code: Code) -> Change:
        return self.renderer.change(*self._decompose(code), code)

    def _initial_code(self) -> Code:
        shape, codes = self._generator.shape, self.inversion.codes
        code = {"codes": codes.new_zeros(shape.codes - self._fixed, shape.style)}
        if self._free_noise:
            code["noise"] = codes.new_zeros(sum(layer.noise.numel() for layer in self._searched_layers()))
        return code

    def _decompose(self, code: Code) -> tuple[Tensor, Tensor]:
        """Decompose the generator's change into (2, cells, cells) displacement and (256, 256) change of light.

        Changes of hue are dropped: the generator's look like blotches on skin, and colours come from the products.
        """
        after = self._density(self._synthesise(code))
        shape, moved = self.displacement_solver.fit(after)
        light = (after - moved).mean(0)
        # A change of overall brightness is visible but has no effect on recognisers.
        light = light - (light * self._skin).sum() / self._skin.sum().clamp(min=1.0)
        displacement = self.renderer.field.displacement(shape + code["shape"], self._max_shift)
        return displacement, upsample(self.renderer.smooth(light)[None])[0] + self.renderer.relief.light(code)

    def _synthesise(self, code: Code) -> Tensor:
        """Synthesise the (3, side, side) picture of a code, -1..1, at the search's resolution."""
        noise = None
        if "noise" in code:
            stored_noise = [layer.noise for layer in self._generator.styled_layers()]
            parts = code["noise"].split([layer.noise.numel() for layer in self._searched_layers()])
            changed = [m + part.reshape(m.shape) for m, part in zip(stored_noise, parts, strict=False)]
            noise = [*changed, *stored_noise[len(parts) :]]
        side = min(working_side(self._generator), _SIDE)
        rows = self.rows(code)[None]
        pictures = synthesise(
            self._generator, self.inversion.weights, rows, noise=noise, size=side, partial=self._partial
        )
        return pictures[0]

    def _searched_layers(self) -> list[StyledLayer]:
        """The first layers, whose noise maps may be searched."""
        return [layer for layer in self._generator.styled_layers() if layer.noise.shape[0] <= _LARGEST_NOISE]

    def _density(self, picture: Tensor) -> Tensor:
        """(3, cells, cells) optical density, on the canvas, of an FFHQ-aligned (3, side, side) picture."""
        fine = F.grid_sample(picture[None], self._crop_grid[None], align_corners=False, padding_mode="border")
        linear = srgb_to_linear((F.avg_pool2d(fine, 2)[0].clamp(-1, 1) + 1) / 2)
        return -torch.log(linear.clamp(min=_DARKEST))


class DisplacementSolver:
    """Finds the displacement that explains a change of a face's density, by least squares prepared once per face.

    A picture displaced by u changes by its gradient times u (Lucas and Kanade 1981), which is linear in the shape
    code. So the best code is a fixed linear map of the change, through which gradients flow. Where the picture has
    little gradient, the solution is the displacement that bends the face least.

    Attributes:
        before: (3, cells, cells) density of the unchanged face.
        limit: canvas pixels that a shape code of one moves, before the field bounds it.
    """

    def __init__(self, before: Tensor, renderer: FaceRenderer, limit: float) -> None:
        """Args:
        before: see above.
        renderer: has the displacement field and its bending energy.
        limit: see above.
        """
        self.before = before
        self.limit = limit
        self._field = renderer.field
        detail = _band_pass(before.mean(0, keepdim=True))[0]
        down, across = torch.gradient(detail, spacing=CANVAS / CELLS)
        gradient = torch.stack([across.flatten(), down.flatten()], -1)
        moves = renderer.field.moves.to(gradient) * limit
        # (codes, cells * cells): the change of density per unit of each number of the code.
        jacobian = (gradient.T.reshape(-1, 1) * moves).reshape(2, CELLS * CELLS, -1).sum(0).T
        bends = torch.stack([renderer.bending_terms(move.reshape(2, CELLS, CELLS)) for move in moves.T])
        # Weighted so that every edge counts alike, regardless of its contrast.
        contrast = gradient.square().sum(1)
        weighted = jacobian / (contrast + contrast.mean())
        gram, bending = to_double(weighted @ jacobian.T), to_double(bends @ bends.T)
        gram += _SMOOTH * (gram.trace() / bending.trace()) * bending
        gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        self._projection, self._inverse_gram = weighted, torch.linalg.inv(gram).to(jacobian)

    def fit(self, after: Tensor) -> tuple[Tensor, Tensor]:
        """Fit a displacement; differentiable.

        Args:
            after: (3, cells, cells) density of the changed face.

        Returns:
            the (2 * SIZE,) shape code whose displacement brings ``before`` closest to ``after``, and the
            (3, cells, cells) density of the displaced face.
        """
        moved, shape = self.before, self.before.new_zeros(len(self._inverse_gram))
        for _ in range(_ROUNDS):
            change = _band_pass((after - moved).mean(0, keepdim=True)).flatten()
            shape = shape + self._inverse_gram @ (self._projection @ change)
            displacement = self._field.displacement(shape, self.limit)
            grid = grid_centres(CELLS, after.device) + displacement.permute(1, 2, 0) * (2.0 / CANVAS)
            moved = F.grid_sample(self.before[None], grid[None], align_corners=False, padding_mode="border")[0]
        return shape, moved


def _copy_to_cpu(network: _Network) -> _Network:
    """Copy a network to the CPU tensor by tensor; the graphics card has no memory for a second copy."""
    with torch.device("meta"):
        copied = type(network)(network.shape)
    copied.load_state_dict(
        {name: value.cpu().contiguous() for name, value in network.state_dict().items()}, assign=True
    )
    return copied.eval().requires_grad_(False)


@torch.no_grad()
def principal_axes(generator: Generator) -> Tensor:
    """(style, style): principal axes of W over random draws, as rows, each scaled to its standard deviation."""
    mean_w = generator.mean_w
    draws = torch.randn(_DRAWS, generator.shape.style, generator=torch.Generator().manual_seed(0)).to(mean_w)
    spreads, axes = torch.linalg.eigh(torch.cov(to_double(generator.mapping(draws)).T))
    scaled: Tensor = spreads.clamp(min=0.0).sqrt()[:, None] * axes.T
    return scaled.to(mean_w)


def to_double(values: Tensor) -> Tensor:
    """Convert to double precision; on the processor if the device has none, like Apple's MPS."""
    return (values if values.device.type in ("cpu", "cuda") else values.cpu()).double()


def grid_centres(side: int, device: torch.device) -> Tensor:
    """(side, side, 2) centres of the cells of a grid over the canvas, in -1..1."""
    centres = (torch.arange(side, device=device) + 0.5) * (2.0 / side) - 1.0
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], -1)


def _band_pass(density: Tensor) -> Tensor:
    """Band-pass of a (C, cells, cells) density that keeps its edges."""
    return gaussian_blur(density, _FINE) - gaussian_blur(density, _COARSE)


def _build_crop_grid(mesh: np.ndarray, device: torch.device) -> Tensor:
    """(2 * cells, 2 * cells, 2) positions of canvas points in the FFHQ-aligned square, in -1..1."""
    to_canvas = torch.from_numpy(ffhq_transform(mesh, 2))
    points = (grid_centres(2 * CELLS, torch.device("cpu")).double() + 1) * (CANVAS / 2)
    positions: Tensor = (points - to_canvas[:, 2]) @ torch.linalg.inv(to_canvas[:, :2]).T - 1
    return positions.float().to(device)
