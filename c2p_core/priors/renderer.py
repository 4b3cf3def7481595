"""The renderer that all priors share: applies displacement, light, grain and products to a face.

It also applies the limits of the strength, measures the visibility of a change, and exports it for a photo of any size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.api import Part
from c2p_core.colour import LUMINANCE, difference, lab, linear_to_srgb, srgb_to_linear
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canonical import cell_centres, warp_between_meshes
from c2p_core.faces.canvas import (
    CanvasFace,
    Change,
    gaussian_blur,
    make_unpainted_change,
    upsample,
    warp_image,
    warp_points,
)
from c2p_core.faces.visibility import movable_mask, uncover
from c2p_core.losses import visibility_penalty
from c2p_core.priors import face_maps
from c2p_core.priors.complexion import bound_light, skin_density
from c2p_core.priors.earlier import EarlierChange, bound_tone, find_earlier_change
from c2p_core.priors.expression import build_conditions
from c2p_core.priors.face_maps import CELLS, GRAIN_SIDE
from c2p_core.priors.lines import Lines
from c2p_core.priors.locks import unlocked_mask
from c2p_core.priors.prior import Code, Rendered
from c2p_core.priors.relief import Relief
from c2p_core.priors.shape import SIZE, bending_vector, build_field, control_weights, elastic_vector, strain_excess
from c2p_core.priors.strength import StrengthLimits, adapt_to_lines, adapt_to_skin
from c2p_core.products import codes, geometry, paint
from c2p_core.products.catalogue import PRODUCTS, Rgb
from c2p_core.tone_curve import fit_tone_curve

LEARNING_RATES: Mapping[str, float] = {"products": 0.3, "relief": 0.35, "texture": 0.15, "grain": 0.15, "shape": 0.3}
"""Learning rates of the parts of a code that the renderer uses."""

# How far the search may move each number of a product code from the look: raw colour, opacity, extent, softness.
_REACH = (0.05, 0.05, 0.05, 0.3, 0.6, 0.5)
# Products with sRGB colour that the search may add faintly even if the look lacks them, as they pass for light. Their
# raw opacity ranges from _HINT - _HINT_REACH to _HINT + _HINT_REACH.
_HINTS: tuple[tuple[str, Rgb | None], ...] = (("contour", None), ("highlight", None))
# Weights of shape's elastic and bending energies: at its limit shape costs about as much as complexion at its limit.
_STIFF = 1e4
# Strain from which on skin visibly deforms: folds beside the mouth become lines, brows become bars.
_STRAIN = 0.35
# Cells. Tone is blurred again after it is bounded, or strong codes would make plateaus with sharp edges.
_TONE_BLUR = 3.0
_STRAIGHT = 5e4
_FACE_WIDTH = 2.2 * CANVAS_EYE_DISTANCE
# A grid of n cells represents up to n / 2 cycles; a Gaussian of this many cell widths halves the amplitude there.
_SIGMA_PER_CELL = 0.3748
_HINT = -3.0
_HINT_REACH = 3.2
_MORE_GRAIN = 0.5  # of the limit, on a face that an earlier protection made grainy
_GRAIN_BLUR = 2.5  # cells; coarser grain would make spots


@dataclass(frozen=True)
class _RenderedLook:
    """The look of a face, with the range within which the search may vary it.

    Attributes:
        code: (9, 6) product code.
        reach: (9, 6) largest variation of each of its numbers.
        painted: whether there is any product to paint.
        half, tone: (3, 128, 128) and (3, cells, cells) CIE L*a*b* of the face with it, the reference of visibility.
        lines: strength of lines on the face with it, see ``Lines.measure``.
    """

    code: Tensor
    reach: Tensor
    painted: bool
    half: Tensor
    tone: Tensor
    lines: list[Tensor]


class FaceRenderer:
    """Renders one face; immutable.

    Attributes:
        canonical: (cells * cells, 2) position of each canvas cell on the mean face.
        limits: of the strength, adapted to this face.
        skin: (1, 256, 256) mask 0..1 of where tone may change.
        field: displacement field of shape.
        relief: the face's own light and shade.
    """

    def __init__(
        self,
        face: CanvasFace,
        mean_face: np.ndarray,
        limits: StrengthLimits,
        device: torch.device,
        keep_expression: bool = True,
        locks: Sequence[Part] = (),
    ) -> None:
        """Args:
        face: unchanged, on its canvas.
        mean_face: (468, 2) canvas pixels, see ``canonical.load_mean_face``.
        limits: see ``strength.compute_strength_limits``.
        device: to compute on.
        keep_expression, locks: see ``priors.prior.Prior.invert``.
        """
        mesh = face.mesh.cpu().numpy()
        # Covers are not part of the face: maps are computed with skin in their place, and masked afterwards.
        uncovered = face.pixels if face.visible is None else uncover(face.pixels, face.visible, mesh)
        pixels = uncovered.permute(1, 2, 0).cpu().numpy()
        self._device = device
        self._linear = srgb_to_linear(face.pixels).to(device)
        self._mesh = face.mesh.to(device)
        self.canonical = warp_between_meshes(mesh, mean_face, cell_centres(CELLS))
        self._grey = face_maps.is_black_and_white(pixels, mesh)
        self._curve = None
        if not self._grey and face_maps.is_toned(pixels, mesh):
            self._curve = fit_tone_curve(self._linear.flatten(1))
            self._grey = self._curve is not None
        visible = np.ones((CANVAS, CANVAS), np.float32) if face.visible is None else face.visible.cpu().numpy()
        self.skin = torch.from_numpy(visible * face_maps.tone_mask(pixels, mesh))[None].to(device)
        self._lighter, self._darker = torch.from_numpy(face_maps.tone_scales(pixels, mesh)).to(device)
        self._tone = F.avg_pool2d(self._linear, CANVAS // CELLS)
        self.limits = adapt_to_skin(limits, self._tone, F.avg_pool2d(self.skin, CANVAS // CELLS))

        movable = (
            movable_mask(visible) * face_maps.shape_mask(pixels, mesh, keep_expression) * unlocked_mask(mesh, locks)
        )
        hold, budget = face_maps.downsample(1.0 - movable).ravel(), None
        self._earlier = (
            None
            if face.original is None
            else find_earlier_change(face, face.original, self.limits.displacement).to(device)
        )
        if self._earlier is not None:
            budget = self._earlier.budget
            self.limits = replace(
                self.limits, displacement=budget.remaining / CANVAS_EYE_DISTANCE, grain=_MORE_GRAIN * self.limits.grain
            )
        conditions = build_conditions(mesh, CELLS, keep_expression)
        self.field = build_field(self.canonical, CELLS, hold, conditions, budget).to(device)
        self._straight = torch.from_numpy(face_maps.find_straight_lines(pixels)).to(device)
        self._stiffness = torch.from_numpy(face_maps.downsample(face_maps.stiffness_map(mesh))).to(device)
        controls = torch.from_numpy(control_weights(self.canonical)[0]).to(device)
        skin = visible * face_regions.skin_mask(pixels, mesh)
        self.relief = Relief(self._linear, skin, mesh, controls, self.limits.relief)
        inside = torch.from_numpy(visible * face_maps.grain_mask(mesh)).to(device)
        self._grain_amplitude = face_maps.grain_amplitude(self._linear, inside)
        line_weights = inside * torch.from_numpy(face_maps.line_mask(mesh)).to(device)
        self._lines = Lines(self._linear, line_weights)
        # Once, and only if something is painted, which the default prompt does not do.
        self._prepare_paint = lru_cache(maxsize=1)(partial(_prepare_paint, mesh, uncovered, visible, device))

        self._half_skin = F.avg_pool2d(self.skin, 2)[0]
        self._face_mask = torch.from_numpy(face_maps.face_mask(mesh)).to(device)
        bare = codes.make_bare_code().to(device)
        lines = self._lines.measure(torch.zeros_like(self._linear))
        self.limits = adapt_to_lines(self.limits, self._lines.measure_typical_strength(lines))
        unchanged = lab(_halve(face.pixels.to(device))), lab(self._tone), lines
        self._look = self._bare = _RenderedLook(bare, torch.zeros_like(bare), False, *unchanged)
        if self._earlier is not None:
            unedited = 1.0 - self._earlier.edited
            self._half_skin = self._half_skin * F.avg_pool2d(unedited[None], 2)[0]
            self._face_mask = self._face_mask * F.avg_pool2d(unedited[None], CANVAS // CELLS)[0]
            self._lines = Lines(self._linear, line_weights * unedited)
            self._look = self._bare = self._render_look(bare)

    def preview(self, look: Tensor) -> Tensor:
        """Render the face with a look and no other change: (3, 256, 256) sRGB."""
        return self._paint_face(self._look_density(look.to(self._device)))

    def with_look(self, look: Tensor) -> FaceRenderer:
        """The same face with this look in place of any earlier one."""
        copied = copy.copy(self)
        copied._look = self._render_look(look.to(self._device))
        if self._earlier is not None:
            copied.limits = copied._include_earlier(self.limits)
        return copied

    def start(self) -> Code:
        """The code that changes nothing."""
        return {
            "products": torch.zeros(codes.CODE_SHAPE, device=self._device),
            **self.relief.start(),
            "grain": torch.zeros(GRAIN_SIDE, GRAIN_SIDE, device=self._device),
            "shape": torch.zeros(2 * SIZE, device=self._device),
        }

    def displacement(self, code: Code) -> Tensor:
        """(2, cells, cells) displacement of the code's shape, in canvas pixels."""
        return self.field.displacement(code["shape"], self.limits.shape * CANVAS_EYE_DISTANCE)

    def render(self, displacement: Tensor, light: Tensor, code: Code) -> Rendered:
        """Render the changed face.

        Args:
            displacement: (2, cells, cells) canvas pixels.
            light: (256, 256) change of light as density, before it is bounded to the limits of skin.
            code: its parts "products", the variation of the look, and "grain" are used.
        """
        density = self._light_density(light) + self._grain_density(code["grain"])
        if self._look.painted:
            density = density + self._product_density(self._product_code(code["products"]))
        return Rendered(warp_image(self._paint_face(density), displacement), displacement, density)

    def change(self, displacement: Tensor, light: Tensor, code: Code) -> Change:
        """The change that ``render`` shows, for a photo of any size; without gradients."""
        displacement = displacement.cpu()
        density = (self._light_density(light) + self._grain_density(code["grain"])).cpu()
        toned = self._curve is not None
        if not self._look.painted:
            return make_unpainted_change(displacement, density, toned)
        paint_inputs = self._prepare_paint().to(torch.device("cpu"))
        painted, grey = self._product_code(code["products"]).cpu(), self._grey
        return Change(
            displacement,
            density,
            paint_inputs.maps,
            lambda maps: _match_colour_mode(paint.paint_prepared(painted, paint_inputs.with_maps(maps)), grey),
            PRODUCTS,
            toned,
        )

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        """See ``losses.visibility_penalty``."""
        limits = self.limits
        landmarks, shifted, patchy, lines = self._measure_visibility(rendered)
        ratios = torch.stack(
            [
                landmarks / limits.displacement,
                shifted / limits.colour_shift,
                patchy / limits.patchiness,
                lines / limits.new_lines,
            ]
        )
        overstrain = strain_excess(rendered.displacement * (CELLS / CANVAS), self._face_mask, _STRAIN)
        return visibility_penalty(ratios, overstrain)

    def _measure_visibility(self, rendered: Rendered) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How visible a change is: in the units of the limits, ``displacement``, ``colour_shift`` and so on."""
        shift = warp_points(rendered.displacement, self._mesh) - self._mesh
        landmarks = shift.norm(dim=1).mean() / CANVAS_EYE_DISTANCE
        # Includes shifts of colour where edges moved, as usual measures do.
        shifted = _weighted_mean(difference(self._look.half, lab(_halve(rendered.pixels))), self._half_skin)
        toned = lab(self._tone_face(rendered.density)) - self._look.tone
        patchy = (_weighted_mean(_band_pass(toned).square().sum(0), self._face_mask) + 1e-6).sqrt()
        return landmarks, shifted, patchy, self._lines.measure_excess(rendered.density, self._look.lines)

    def bending_energy(self, displacement: Tensor) -> Tensor:
        """Scalar energy of a displacement: deformation of stiff features and bending of straight lines."""
        return self.bending_terms(displacement).square().sum()

    def bending_terms(self, displacement: Tensor) -> Tensor:
        """Vector whose squared length is ``bending_energy``; linear in the (2, cells, cells) displacement."""
        shift = displacement / CANVAS_EYE_DISTANCE
        elastic = elastic_vector(shift, self._stiffness)
        return torch.cat([_STIFF**0.5 * elastic, _STRAIGHT**0.5 * bending_vector(shift, self._straight)])

    def smooth(self, light: Tensor) -> Tensor:
        """Bound a (cells, cells) change of light and blur it, so that no plateaus with sharp edges remain."""
        return gaussian_blur(bound_light(light, self.limits.limits)[None], _TONE_BLUR)[0]

    def _render_look(self, look: Tensor) -> _RenderedLook:
        if self._earlier is not None:
            return self._render_worn_look(look, self._earlier)
        if not bool((look[:, 3] > codes.ABSENT).any()):
            return self._bare
        density = self._look_density(look)
        half, tone = lab(_halve(self._paint_face(density))), lab(self._tone_face(density))
        return _RenderedLook(*_add_hints(look), True, half, tone, self._lines.measure(density))

    def _render_worn_look(self, look: Tensor, earlier: EarlierChange) -> _RenderedLook:
        """The original with a look is the reference; the face already has that look, so nothing is painted again."""
        linear = earlier.reference * torch.exp(-self._look_density(look))
        half, tone = _halve(linear_to_srgb(linear)), F.avg_pool2d(linear, CANVAS // CELLS)
        lines = Lines(linear, self._face_mask.new_zeros(CANVAS, CANVAS)).measure(torch.zeros_like(linear))
        bare = codes.make_bare_code().to(look)
        return _RenderedLook(bare, torch.zeros_like(bare), False, lab(half), lab(tone), lines)

    def _include_earlier(self, limits: StrengthLimits) -> StrengthLimits:
        """Raise the limits of visibility to what earlier changes already use, so that they stay within them."""
        still = torch.zeros(2, CELLS, CELLS, device=self._device)
        density = torch.zeros_like(self._linear)
        _, shifted, patchy, lines = self._measure_visibility(Rendered(self._paint_face(density), still, density))
        return replace(
            limits,
            colour_shift=max(limits.colour_shift, float(shifted)),
            patchiness=max(limits.patchiness, float(patchy)),
            new_lines=max(limits.new_lines, float(lines)),
        )

    def _grain_density(self, code: Tensor) -> Tensor:
        """(3, 256, 256) density of grain: too fine to make spots, and without hue."""
        grain = self.limits.grain * torch.tanh(code)[None]
        return upsample((grain - gaussian_blur(grain, _GRAIN_BLUR)) * self._grain_amplitude).expand(3, -1, -1)

    def _tone_face(self, density: Tensor) -> Tensor:
        """(3, cells, cells) linear light of the face with a (3, 256, 256) density added."""
        return self._tone * torch.exp(-self._follow_curve(self._tone, F.avg_pool2d(density, CANVAS // CELLS)))

    def _paint_face(self, density: Tensor) -> Tensor:
        """(3, 256, 256) sRGB of the face with a (3, 256, 256) density added, without displacement."""
        return linear_to_srgb(self._linear * torch.exp(-self._follow_curve(self._linear, density)))

    def _follow_curve(self, linear: Tensor, density: Tensor) -> Tensor:
        """(3, h, w) density, along the tone curve where the photo is toned."""
        return density if self._curve is None else density * self._curve.follow(linear, density[0])

    def _look_density(self, look: Tensor) -> Tensor:
        """(3, 256, 256) density of a look at this strength."""
        return self._product_density(self._scale_opacity(look))

    def _product_code(self, variation: Tensor) -> Tensor:
        """(9, 6) absolute product code: the look, with a bounded variation."""
        return self._scale_opacity(self._look.code) + self._look.reach * torch.tanh(variation)

    def _scale_opacity(self, look: Tensor) -> Tensor:
        return look + look.new_tensor([0.0, 0.0, 0.0, self.limits.opacity, 0.0, 0.0])

    def _light_density(self, light: Tensor) -> Tensor:
        """(3, 256, 256) density of a change of light, bounded to the limits of skin."""
        density = skin_density(light, self.limits.limits) * self.skin
        density = self._lighter * density.clamp(max=0.0) + self._darker * density.clamp(min=0.0)
        if self._earlier is not None:
            lighter, darker = self.limits.limits.lighter * self._lighter, self.limits.limits.darker * self._darker
            density = bound_tone(density, self._earlier.tone, lighter * self.skin[0], darker * self.skin[0])
        return _match_colour_mode(density, self._grey)

    def _product_density(self, code: Tensor) -> Tensor:
        """(3, 256, 256) density of an absolute product code."""
        return _match_colour_mode(paint.paint_prepared(code, self._prepare_paint()), self._grey).sum(0)


def _prepare_paint(mesh: np.ndarray, pixels: Tensor, visible: np.ndarray, device: torch.device) -> paint.PaintInputs:
    """Prepare a face for painting: its (468, 2) mesh, (3, 256, 256) sRGB and (256, 256) mask of what shows."""
    linear = srgb_to_linear(pixels).cpu()
    maps = geometry.build_product_maps(mesh, CANVAS, CANVAS_EYE_DISTANCE, linear)
    maps = maps.mask_covered(torch.from_numpy(visible))
    return paint.prepare_paint(maps, paint.skin_map(linear, CANVAS_EYE_DISTANCE)).to(device)


def _match_colour_mode(density: Tensor, grey: bool) -> Tensor:
    """(..., 3, h, w) density, made neutral if the photo is black and white, in whatever ink."""
    if not grey:
        return density
    return (density * LUMINANCE.to(density)[:, None, None]).sum(-3, keepdim=True).expand_as(density)


def _add_hints(look: Tensor) -> tuple[Tensor, Tensor]:
    """Add faint hints that the look lacks; returns the code and the largest variation of each of its numbers."""
    look = look.clone()
    reach = look.new_tensor(_REACH).repeat(len(PRODUCTS), 1)
    for name, colour in _HINTS:
        index = PRODUCTS.index(name)
        if float(look[index, 3]) <= codes.ABSENT:
            look[index] = codes.product_row(name, colour, 0.5).to(look)
            look[index, 3] = _HINT
            reach[index, 3:] = reach.new_tensor([_HINT_REACH, 1.5, 1.5])
    return look, reach


def _halve(pixels: Tensor) -> Tensor:
    """(3, 256, 256) sRGB to (3, 128, 128) linear light."""
    return srgb_to_linear(F.avg_pool2d(pixels, 2))


def _band_pass(change: Tensor) -> Tensor:
    """Band-pass of a (3, cells, cells) change, between 4 and 32 cells across the face: spots and blotches.

    The same band as ``patchiness`` in the benchmarks: two Gaussians whose half-amplitude frequencies these are.
    """
    fine, coarse = (_FACE_WIDTH / n * _SIGMA_PER_CELL / (CANVAS / CELLS) for n in (32, 4))
    return gaussian_blur(change, fine) - gaussian_blur(change, coarse)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1.0)
