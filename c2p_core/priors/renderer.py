"""How a face shows a displacement, a change of light, grain and products: the renderer that all priors share.

It knows the limits of strength, measures how visible a change is, and turns it into one for a photo of any size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2p_core.colour import LUMINANCE, difference, lab, linear_to_srgb, srgb_to_linear
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canonical import cell_centres, warp_between_meshes
from c2p_core.faces.canvas import CanvasFace, Change, gaussian_blur, upsample, warp_image, warp_points
from c2p_core.losses import visibility_penalty
from c2p_core.priors import face_maps, products
from c2p_core.priors.complexion import bound_light, skin_density
from c2p_core.priors.expression import conditions
from c2p_core.priors.face_maps import CELLS, GRAIN_SIDE
from c2p_core.priors.prior import Code, Rendered
from c2p_core.priors.products import Rgb
from c2p_core.priors.relief import Relief
from c2p_core.priors.shape import SIZE, bending_vector, build_field, control_weights, elastic_vector, strain_excess
from c2p_core.priors.strength import StrengthLimits, adapt_to_skin

LEARNING_RATES: Mapping[str, float] = {"products": 0.3, "relief": 0.35, "texture": 0.15, "grain": 0.15, "shape": 0.3}
"""The parts of a code that the renderer understands, and their learning rates."""

# How far the search may take a product from the look that the text asked for: raw colour, opacity, extent, softness.
_REACH = (0.05, 0.05, 0.05, 0.3, 0.6, 0.5)
# What the search may add where the text says nothing, from next to nothing to what passes for light and grooming:
# product, sRGB colour. Raw opacity goes from _HINT - _HINT_REACH to _HINT + _HINT_REACH.
_HINTS: tuple[tuple[str, Rgb | None], ...] = (("contour", None), ("highlight", None))
# Weights of shape's own energies, such that a field at its limit costs about as much as a complexion at its limit.
_STIFF = 1e4
# Skin that is stretched by more than this share shows it: folds beside the mouth become lines, brows become bars.
_STRAIN = 0.5
# Cells. Tone is blurred again where it is bounded already, or a strong code would make plateaus with edges.
_TONE_BLUR = 3.0
_STRAIGHT = 5e4
_FACE_WIDTH = 2.2 * CANVAS_EYE_DISTANCE
# A grid of n cells carries up to n / 2 cycles; a Gaussian of this many cell widths halves the amplitude just there.
_SIGMA_PER_CELL = 0.3748
_HINT = -3.0
_HINT_REACH = 3.2
_GRAIN_BLUR = 2.5  # cells; what is coarser would be spots


@dataclass(frozen=True)
class _WornLook:
    """A look on a face, varied by the search within what still is that look.

    Attributes:
        code: (9, 6) product code.
        reach: (9, 6) how far the search may take each of its numbers.
        painted: whether there is any product to paint.
        half, tone: (3, 128, 128) and (3, cells, cells) CIE L*a*b* of the face in it, from which visibility is measured.
    """

    code: Tensor
    reach: Tensor
    painted: bool
    half: Tensor
    tone: Tensor


class FaceRenderer:
    """One face, as every prior draws it; never changed once it is made.

    Attributes:
        canonical: (cells * cells, 2) where each cell of the canvas lies on the mean face.
        limits: what the strength allows on this face.
        skin: (1, 256, 256) where and how much tone may change.
        field: what shape moves.
        relief: the face's own light and shade.
    """

    def __init__(
        self,
        face: CanvasFace,
        mean_face: np.ndarray,
        limits: StrengthLimits,
        device: torch.device,
        keep_expression: bool = True,
    ) -> None:
        """Args:
        face: unchanged, on its canvas.
        mean_face: (468, 2) canvas pixels, see ``canonical.load_mean_face``.
        limits: see ``strength.strength_limits``.
        device: where to compute.
        keep_expression: see ``priors.prior.Prior.invert``.
        """
        mesh = face.mesh.cpu().numpy()
        pixels = face.pixels.permute(1, 2, 0).cpu().numpy()
        self._device = device
        self._linear = srgb_to_linear(face.pixels).to(device)
        self._mesh = face.mesh.to(device)
        self.canonical = warp_between_meshes(mesh, mean_face, cell_centres(CELLS))
        self._grey = face_maps.is_black_and_white(pixels, mesh)
        self.skin = torch.from_numpy(face_maps.tone_mask(pixels, mesh))[None].to(device)
        self._tone = F.avg_pool2d(self._linear, CANVAS // CELLS)
        self.limits = adapt_to_skin(limits, self._tone, F.avg_pool2d(self.skin, CANVAS // CELLS))

        held = face_maps.downsample(1.0 - face_maps.shape_mask(pixels, mesh, keep_expression)).ravel()
        self.field = build_field(self.canonical, CELLS, held, conditions(mesh, CELLS, keep_expression)).to(device)
        self._lines = torch.from_numpy(face_maps.find_straight_lines(pixels)).to(device)
        self._stiffness = torch.from_numpy(face_maps.downsample(face_maps.stiffness_map(mesh))).to(device)
        controls = torch.from_numpy(control_weights(self.canonical)[0]).to(device)
        self.relief = Relief(self._linear, face_regions.skin_mask(pixels, mesh), mesh, controls, self.limits.relief)
        inside = torch.from_numpy(face_maps.grain_mask(mesh)).to(device)
        self._grain_amplitude = face_maps.grain_amplitude(self._linear, inside)
        laid = products.build_regions(mesh, CANVAS, CANVAS_EYE_DISTANCE, self._linear.cpu())
        ground = products.ground(laid, products.skin_map(self._linear.cpu(), CANVAS_EYE_DISTANCE))
        self._ground = products.Ground(ground.maps.to(device), ground.light.to(device))

        self._half_skin = F.avg_pool2d(self.skin, 2)[0]
        self._face_mask = torch.from_numpy(face_maps.face_mask(mesh)).to(device)
        bare = products.bare_code().to(device)
        unchanged = lab(_half(face.pixels.to(device))), lab(self._tone)
        self._look = self._bare = _WornLook(bare, torch.zeros_like(bare), False, *unchanged)

    def preview(self, look: Tensor) -> Tensor:
        """(3, 256, 256) sRGB of the face in a look with nothing else changed."""
        return self._painted(self._look_density(look.to(self._device)))

    def with_look(self, look: Tensor) -> FaceRenderer:
        """The same face in a look, without any that it wore before."""
        dressed = copy.copy(self)
        dressed._look = self._worn(look.to(self._device))
        return dressed

    def start(self) -> Code:
        """The code that changes nothing."""
        return {
            "products": torch.zeros(products.CODE_SHAPE, device=self._device),
            **self.relief.start(),
            "grain": torch.zeros(GRAIN_SIDE, GRAIN_SIDE, device=self._device),
            "shape": torch.zeros(2 * SIZE, device=self._device),
        }

    def displacement(self, code: Code) -> Tensor:
        """(2, cells, cells) canvas pixels that the code's shape moves."""
        return self.field.displacement(code["shape"], self.limits.shape * CANVAS_EYE_DISTANCE)

    def render(self, displacement: Tensor, light: Tensor, code: Code) -> Rendered:
        """The changed face.

        Args:
            displacement: (2, cells, cells) canvas pixels.
            light: (256, 256) change of light as density, before it is bounded to what skin can show.
            code: its products, varied from the look that the face wears, and its grain.
        """
        density = self._on_skin(light) + self._grain(code["grain"])
        if self._look.painted:
            density = density + self._paint(self._product_code(code["products"]))
        return Rendered(warp_image(self._painted(density), displacement), displacement, density)

    def change(self, displacement: Tensor, light: Tensor, code: Code) -> Change:
        """The same as ``render`` for a photo of any size; without gradients."""
        ground = products.Ground(self._ground.maps.cpu(), self._ground.light.cpu())
        painted, grey = self._product_code(code["products"]).cpu(), self._grey
        return Change(
            displacement.cpu(),
            (self._on_skin(light) + self._grain(code["grain"])).cpu(),
            ground.maps,
            lambda maps: _inked(products.paint_on(painted, ground.on(maps)), grey),
            products.PRODUCTS,
        )

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        """See ``losses.visibility_penalty``."""
        limits = self.limits
        shift = warp_points(rendered.displacement, self._mesh) - self._mesh
        landmarks = shift.norm(dim=1).mean() / CANVAS_EYE_DISTANCE
        # Where edges moved, colour shifts too, and everybody's measure of it counts that.
        shifted = _mean(difference(self._look.half, lab(_half(rendered.pixels))), self._half_skin)
        toned = lab(self._toned(rendered.density)) - self._look.tone
        patchy = (_mean(_band(toned).square().sum(0), self._face_mask) + 1e-6).sqrt()
        ratios = torch.stack([landmarks / limits.moved, shifted / limits.shifted, patchy / limits.patchy])
        overstrain = strain_excess(rendered.displacement * (CELLS / CANVAS), self._face_mask, _STRAIN)
        return visibility_penalty(ratios, overstrain)

    def bending_energy(self, displacement: Tensor) -> Tensor:
        """Scalar energy of a displacement: what is stiff deformed, what is straight bent."""
        return self.bending_terms(displacement).square().sum()

    def bending_terms(self, displacement: Tensor) -> Tensor:
        """What ``bending_energy`` is the squared length of; linear in the (2, cells, cells) displacement."""
        shift = displacement / CANVAS_EYE_DISTANCE
        return torch.cat(
            [_STIFF**0.5 * elastic_vector(shift, self._stiffness), _STRAIGHT**0.5 * bending_vector(shift, self._lines)]
        )

    def smooth(self, light: Tensor) -> Tensor:
        """A (cells, cells) change of light without the plateaus and edges that its bounds would give it."""
        return gaussian_blur(bound_light(light, self.limits.limits)[None], _TONE_BLUR)[0]

    def _worn(self, look: Tensor) -> _WornLook:
        if not bool((look[:, 3] > products.ABSENT).any()):
            return self._bare
        density = self._look_density(look)
        half, tone = lab(_half(self._painted(density))), lab(self._toned(density))
        return _WornLook(*_with_hints(look), True, half, tone)

    def _grain(self, code: Tensor) -> Tensor:
        """(3, 256, 256) density like the grain of skin and film, too fine to make spots; never another hue."""
        grain = self.limits.grain * torch.tanh(code)[None]
        return upsample((grain - gaussian_blur(grain, _GRAIN_BLUR)) * self._grain_amplitude).expand(3, -1, -1)

    def _toned(self, density: Tensor) -> Tensor:
        """(3, cells, cells) linear light of the face with a (3, 256, 256) density on it."""
        return self._tone * torch.exp(-F.avg_pool2d(density, CANVAS // CELLS))

    def _painted(self, density: Tensor) -> Tensor:
        """(3, 256, 256) sRGB of the face with a (3, 256, 256) density on it, nothing moved."""
        return linear_to_srgb(self._linear * torch.exp(-density))

    def _look_density(self, look: Tensor) -> Tensor:
        """(3, 256, 256) density of a look at this strength."""
        return self._paint(self._toned_down(look))

    def _product_code(self, variation: Tensor) -> Tensor:
        """(9, 6) absolute product code: the worn look, varied within what still is that look."""
        return self._toned_down(self._look.code) + self._look.reach * torch.tanh(variation)

    def _toned_down(self, look: Tensor) -> Tensor:
        return look + look.new_tensor([0.0, 0.0, 0.0, self.limits.opacity, 0.0, 0.0])

    def _on_skin(self, light: Tensor) -> Tensor:
        """(3, 256, 256) density change within the limits of skin."""
        return _inked(skin_density(light, self.limits.limits) * self.skin, self._grey)

    def _paint(self, code: Tensor) -> Tensor:
        """(3, 256, 256) density of an absolute product code."""
        return _inked(products.paint_on(code, self._ground), self._grey).sum(0)


def _inked(density: Tensor, grey: bool) -> Tensor:
    """(..., 3, h, w) density in the photo's own inks: a black-and-white photo stays one."""
    if not grey:
        return density
    return (density * LUMINANCE.to(density)[:, None, None]).sum(-3, keepdim=True).expand_as(density)


def _with_hints(look: Tensor) -> tuple[Tensor, Tensor]:
    """The look with a trace of what it lacks, and how far each of its numbers may go."""
    look = look.clone()
    reach = look.new_tensor(_REACH).repeat(len(products.PRODUCTS), 1)
    for name, colour in _HINTS:
        index = products.PRODUCTS.index(name)
        if float(look[index, 3]) <= products.ABSENT:
            look[index] = products.product_row(name, colour, 0.5).to(look)
            look[index, 3] = _HINT
            reach[index, 3:] = reach.new_tensor([_HINT_REACH, 1.5, 1.5])
    return look, reach


def _half(pixels: Tensor) -> Tensor:
    """(3, 256, 256) sRGB to linear light of half the size."""
    return srgb_to_linear(F.avg_pool2d(pixels, 2))


def _band(change: Tensor) -> Tensor:
    """What a (3, cells, cells) change holds between 4 and 32 cells across the face: spots and blotches.

    The same band as ``patchiness`` in the benchmarks: two Gaussians whose half-amplitude frequencies these are.
    """
    fine, coarse = (_FACE_WIDTH / n * _SIGMA_PER_CELL / (CANVAS / CELLS) for n in (32, 4))
    return gaussian_blur(change, fine) - gaussian_blur(change, coarse)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1.0)
