"""The makeup prior: products, learned complexion, relief, texture and shape in one latent code.

Anchored to the dense landmarks and free of resolution: what it finds moves and multiplies the photo's own pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, maximum_filter, sobel
from torch import Tensor

from c2p_core.colour import LUMINANCE, difference, lab, linear_to_srgb, srgb_to_linear
from c2p_core.faces import regions as face_regions
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.faces.canonical import carry, cell_centres
from c2p_core.faces.glasses import glasses
from c2p_core.guidance.looks import starting_look
from c2p_core.losses import latent_loss, visibility_penalty
from c2p_core.priors import products
from c2p_core.priors.complexion import Basis, Limits, bounded, within
from c2p_core.priors.expression import conditions
from c2p_core.priors.prior import CanvasFace, Change, Code, Rendered, gaussian, grown, moved, warped
from c2p_core.priors.products import Rgb
from c2p_core.priors.shape import SIZE, bending, build_field, control_weights, elastic, overstretched

if TYPE_CHECKING:
    from c2p_core.guidance.clip import TextGuidance

_CELLS = 64  # side of the grid on which shape and complexion live; 4 canvas pixels a cell
# How far the search may take a product from the look that the text asked for: raw colour, opacity, extent, softness.
_REACH = (0.05, 0.05, 0.05, 0.3, 0.6, 0.5)
# What the search may add where the text says nothing, from next to nothing to what passes for light and grooming:
# product, sRGB colour. Raw opacity goes from _HINT - _HINT_REACH to _HINT + _HINT_REACH.
_HINTS: tuple[tuple[str, Rgb | None], ...] = (("contour", None), ("highlight", None))
# Weights of shape's own energies, such that a field at its limit costs about as much as a complexion at its limit.
_STIFF = 1e4
# Where a bulge is seen at once: the nose and the outline of the face, brows and lips. What of them must not move at all
# is a condition on the field (``expression``).
_STIFF_NOSE, _STIFF_LINES = 2.0, 3.0
# Skin that is stretched by more than this share shows it: folds beside the mouth become lines, brows become bars.
_STRAIN = 0.5
# On smooth skin tone shows by its edges, not by its depth; cells. Tone is blurred again where it is bounded already,
# or a strong code would make plateaus with edges between them.
_PATTERN_BLUR = 2.5
_TONE_BLUR = 3.0
_STRAIGHT = 5e4
# How far control points go, in eye distances. Where the expression is not kept, the same limit would make a caricature.
_SHAPE, _SHAPE_FREED = 0.14, 0.07
_FACE_WIDTH = 2.2 * CANVAS_EYE_DISTANCE
# A grid of n cells carries up to n / 2 cycles; a Gaussian of this many cell widths halves the amplitude just there.
_SIGMA_PER_CELL = 0.3748
_HINT = -3.0
_HINT_REACH = 3.2
# Canvas px from a brow up to which nothing moves, and from which on all may: brows are thicker than landmarks say.
_BROW_STILL = (5.0, 15.0)
_BROW_FADE = 7.0  # canvas px from a brow within which tone fades out: a brow that gets paler changes the mood
_TONE_ON_NOSE = 0.4  # light makes a nose bulbous before anything else does
# How much of relief's limit may deepen shade: half of it where it is broad, little where it is a fold or a line.
_DEEPEN, _DEEPEN_FOLDS = 0.5, 0.15
_FOLD_BANDS = 3  # bands of relief, from the finest, in which dark lines are folds
_GRAIN_SIDE = 128  # of the grid that carries grain
_GRAIN_BLUR = 2.5  # cells; what is coarser would be spots
_ROUGH_WITHIN = 3.0  # canvas px within which roughness hides grain
# How much of its limit grain shows on skin without any texture, per optical density of roughness, and at most.
_SMOOTH_HIDES, _ROUGH, _ROUGHEST_HIDES = 0.10, 0.05, 2.5
_DARK_SKIN_GRAIN = 1.3  # dark skin shows grain almost as well as light skin, so that its share grows no further
_GREY = 0.02  # most sRGB that red, green and blue differ by on a black-and-white face
_USUAL_LIGHTNESS = 65.0  # CIE L* of light skin in a portrait, for which the limits of tone are given
_SUNGLASSES = 0.57  # share of what lies around the eyes, beyond the lids, that is no skin
_GLASS, _FRAME = 26.0, 8  # canvas px: how far from an eye dark glass reaches, how wide its frame is
_OPEN_MOUTH = 4.0  # canvas px between the inner lips, from which on teeth may show
RELIEF_BANDS = (1.0, 2.0, 4.0, 8.0, 16.0)  # canvas px, Gaussian widths between which the face's own relief is split
# How many of these bands, from the finest, are texture: too fine to make spots, it may change from cell to cell, and by
# so many times the limit of relief.
TEXTURE_BANDS = 2
_TEXTURE = 1.5
_TEXTURE_BLUR = 1.0  # cells
# Optical density, per band of relief, below which the face's own light and shade are hardly deepened, only softened: so
# faint are noise, blocks of JPEG and stains, which nobody sees until they are deepened. And over how many widths of a
# band they are judged.
_FAINT = (0.03, 0.08, 0.12, 0.0)
_FAINT_WITHIN = 1.2
# Optical density from which on fine relief is a line, a fold or a hair, and no texture: it is not deepened further.
_LINE = 0.12


@dataclass(frozen=True)
class Settings:
    """What strength means for this prior; `docs/strength.md` explains it to users.

    Attributes:
        shape: the farthest that a control point goes, in eye distances.
        complexion: how much of one learned standard deviation a code of length one shows.
        mahalanobis: the longest code per dimension, in standard deviations.
        relief: the most that the face's own light and shade are softened, as a factor minus one; deepened less.
        grain: the strongest grain on a face of usual roughness, in optical density.
        opacity: added to the logit of every product's opacity, so that a light touch stays light.
        limits: one-sided limits of skin tone.
        moved: how far landmarks may move on average, in eye distances; the visibility penalty sets in here
            and at the next two limits.
        shifted: how far skin's colour may shift on average, moved edges included, as CIE94 difference.
        patchy: how strong the change may be between 4 and 32 cells across the face, root mean square in CIE L*a*b*.
    """

    shape: float
    complexion: float
    mahalanobis: float
    relief: float
    grain: float
    opacity: float
    limits: Limits
    moved: float
    shifted: float
    patchy: float


def scale(strength: float) -> float:
    """How wide the limits are at a strength 0..1, as a factor of those at 0.5, where everything is measured.

    They grow half as fast above 0.5, because 1 is the most that a photographer could still use.
    """
    strength = max(strength, 0.02)
    return min(2 * strength, 0.5 + strength)


def settings(strength: float, keep_expression: bool = True) -> Settings:
    """Limits that grow with strength; at 0 next to nothing is left of them."""
    s = scale(strength)
    return Settings(
        shape=(_SHAPE if keep_expression else _SHAPE_FREED) * s,
        complexion=1.2 * s,
        mahalanobis=1.5,
        relief=0.9 * s,
        grain=0.032 * s,
        opacity=1.5 * math.log(min(1.0, 1.4 * max(strength, 0.02))),
        limits=Limits(0.18 * s, 0.33 * s),
        moved=0.022 * s,
        shifted=6.3 * s,
        patchy=2.2 * s,
    )


@dataclass(frozen=True)
class _Unsearched:
    """The face in the look that the text asked for, from which visibility is measured; it costs nothing itself.

    Attributes:
        half: (3, 128, 128) CIE L*a*b*.
        tone: (3, cells, cells) CIE L*a*b*.
    """

    half: Tensor
    tone: Tensor


class MakeupPrior:
    """Builds the latent space of a face from the learned complexion."""

    def __init__(self, basis: Basis, device: torch.device) -> None:
        self.basis = basis
        self.device = device

    def invert(self, face: CanvasFace, strength: float, keep_expression: bool = True) -> MakeupFace:
        """The face's own place: the unchanged face is the code of zeros, without products."""
        return MakeupFace(face, self.basis, settings(strength, keep_expression), self.device, keep_expression)


class MakeupFace:
    """One face as the makeup prior sees it (``priors.prior.Inverted``)."""

    def __init__(
        self,
        face: CanvasFace,
        basis: Basis,
        limits: Settings,
        device: torch.device,
        keep_expression: bool = True,
    ) -> None:
        mesh = face.mesh.cpu().numpy()
        pixels = face.pixels.permute(1, 2, 0).cpu().numpy()
        self._device = device
        self._everywhere = _identity_grid(device)
        self._linear = srgb_to_linear(face.pixels).to(device)
        canonical = carry(mesh, basis.mesh.numpy(), cell_centres(_CELLS))

        skin = face_regions.skin(pixels, mesh)
        brows = face_regions.brows_distance(mesh)
        nose = face_regions.signed_distance(mesh, face_regions.NOSE)
        tonable = (
            skin
            * face_regions.ramp(-brows, -_BROW_FADE, -1.0)
            * (1.0 - (1.0 - _TONE_ON_NOSE) * face_regions.ramp(nose, -2.0, 12.0))
        )
        self.skin = torch.from_numpy(tonable.astype(np.float32))[None].to(device)
        self._grey = _is_grey(pixels, mesh)
        self._patterns = _patterns(basis, canonical).to(device)
        oval = face_regions.signed_distance(mesh, face_regions.OVAL)
        eyes = face_regions.eyes_distance(mesh)
        free = face_regions.ramp(oval, -8.0, 9.0) * face_regions.ramp(-eyes, -16.0, -4.0)
        if keep_expression:
            free = free * face_regions.ramp(-brows, -_BROW_STILL[1], -_BROW_STILL[0])
        elif np.linalg.norm(mesh[13] - mesh[14]) > _OPEN_MOUTH:
            teeth = face_regions.signed_distance(mesh, face_regions.INNER_LIPS)
            free = free * face_regions.ramp(-teeth, -9.0, -1.0)
        free = free * _movable(pixels, mesh)
        kept = conditions(mesh, _CELLS, keep_expression)
        self.field = build_field(canonical, _CELLS, _shrink(1.0 - free).ravel(), kept).to(device)
        self._lines = torch.from_numpy(_straight_lines(pixels)).to(device)
        self._stiffness = torch.from_numpy(_shrink(_stiffness(mesh))).to(device)
        self._bands = _bands(self._linear, skin)
        self._plain = _plain(self._bands)
        inside = face_regions.ramp(oval, -14.0, -2.0) * face_regions.ramp(-eyes, -5.0, 0.0)
        inside *= face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.INNER_LIPS), -2.0, 0.5)
        self._hides_grain = _hides_grain(self._linear, torch.from_numpy(inside).to(device))
        folds = (self._bands > 0) & (torch.arange(len(self._bands), device=device) < _FOLD_BANDS)[:, None, None]
        self._deepen = torch.where(folds, _DEEPEN_FOLDS, _DEEPEN)
        bare = torch.from_numpy(face_regions.ramp(-face_regions.brows_distance(mesh), -8.0, -3.0)).to(self._bands)
        self._fine = bare * _LINE * torch.tanh(self._bands[:TEXTURE_BANDS] / _LINE)
        self._tone = F.avg_pool2d(self._linear, CANVAS // _CELLS)
        self._settings = _as_visible(limits, self._tone, F.avg_pool2d(self.skin, CANVAS // _CELLS))
        self._seen = F.avg_pool2d(self.skin, 2)[0]
        self._face = torch.from_numpy(_shrink(face_regions.ramp(oval, -1.0, 1.0))).to(device)
        self._points = face.mesh.to(device)
        even, _ = control_weights(canonical)
        self._controls = torch.from_numpy(even).to(device)

        laid = products.build_regions(mesh, CANVAS, CANVAS_EYE_DISTANCE, self._linear.cpu())
        lowpass = products.skin_map(self._linear.cpu(), CANVAS_EYE_DISTANCE)
        ground = products.ground(laid, lowpass)
        self._bare = _Unsearched(lab(_half(face.pixels.to(device))), lab(self._tone))
        self._undress()
        self._ground = products.Ground(ground.maps.to(device), ground.light.to(device))

    def start(self, prompt: str = "", guidance: TextGuidance | None = None, seed: int = 0) -> Code:
        self._undress()
        if guidance is not None and prompt.strip():
            look = starting_look(prompt, self._wearing, self._points, guidance, seed).to(self._device)
            if bool((look[:, 3] > products.ABSENT).any()):
                self._look, self._reach = _with_hints(look)
                self._wears = True
                worn = self._worn(look)
                self._unsearched = _Unsearched(lab(_half(self._painted(worn))), lab(self._toned(worn)))
        return {
            "products": torch.zeros(products.CODE_SHAPE, device=self._device),
            "complexion": torch.zeros(len(self._patterns), device=self._device),
            "relief": torch.zeros(len(RELIEF_BANDS) - 1, SIZE, device=self._device),
            "texture": torch.zeros(TEXTURE_BANDS, _CELLS, _CELLS, device=self._device),
            "grain": torch.zeros(_GRAIN_SIDE, _GRAIN_SIDE, device=self._device),
            "shape": torch.zeros(2 * SIZE, device=self._device),
        }

    def render(self, code: Code) -> Rendered:
        return self.rendered(self.displacement(code), self._light(code), code["products"], code["grain"])

    def latent_loss(self, code: Code, rendered: Rendered) -> Tensor:
        whitened = code["complexion"] / self._settings.mahalanobis
        return latent_loss([whitened], self.bent(rendered.displacement))

    def visibility_penalty(self, rendered: Rendered) -> Tensor:
        limits = self._settings
        went = (moved(rendered.displacement, self._points) - self._points).norm(dim=1).mean() / CANVAS_EYE_DISTANCE
        # Where edges moved, colour shifts too, and everybody's measure of it counts that.
        shifted = _mean(difference(self._unsearched.half, lab(_half(rendered.pixels))), self._seen)
        toned = lab(self._toned(rendered.density)) - self._unsearched.tone
        patchy = (_mean(_band(toned).square().sum(0), self._face) + 1e-6).sqrt()
        ratios = torch.stack([went / limits.moved, shifted / limits.shifted, patchy / limits.patchy])
        stretched = overstretched(rendered.displacement * (_CELLS / CANVAS), self._face, _STRAIN)
        return visibility_penalty(ratios, stretched)

    @torch.no_grad()
    def change(self, code: Code) -> Change:
        return self.changed(self.displacement(code), self._light(code), code["products"], code["grain"])

    # What follows serves other priors too: how a face shows a displacement, a light and products.

    def rendered(self, displacement: Tensor, light: Tensor, worn: Tensor, grain: Tensor) -> Rendered:
        """The face made up.

        Args:
            displacement: (2, cells, cells) canvas pixels.
            light: (256, 256) change of light as density, before it is bounded to what skin can show.
            worn: how far the products are from the look that ``start`` found, a part of the code.
        """
        density = self._on_skin(light) + self._grain(grain)
        if self._wears:
            density = density + self._paint(self._products(worn))
        pixels = warped(self._painted(density), displacement, self._everywhere)
        return Rendered(pixels, displacement, density)

    def changed(self, displacement: Tensor, light: Tensor, worn: Tensor, grain: Tensor) -> Change:
        """The same as ``rendered`` for a photo of any size; without gradients."""
        ground = products.Ground(self._ground.maps.cpu(), self._ground.light.cpu())
        painted, grey = self._products(worn).cpu(), self._grey
        return Change(
            displacement.cpu(),
            (self._on_skin(light) + self._grain(grain)).cpu(),
            ground.maps,
            lambda maps: _inked(products.paint_on(painted, ground.on(maps)), grey),
            products.PRODUCTS,
        )

    def bent(self, displacement: Tensor) -> Tensor:
        """Scalar energy of a displacement: what is stiff deformed, what is straight bent."""
        return self.bends(displacement).square().sum()

    def bends(self, displacement: Tensor) -> Tensor:
        """What ``bent`` is the squared length of; linear in the (2, cells, cells) displacement."""
        shift = displacement / CANVAS_EYE_DISTANCE
        return torch.cat([_STIFF**0.5 * elastic(shift, self._stiffness), _STRAIGHT**0.5 * bending(shift, self._lines)])

    def displacement(self, code: Code) -> Tensor:
        """(2, cells, cells) canvas pixels that the code's shape moves."""
        return self.field.displacement(code["shape"], self._settings.shape * CANVAS_EYE_DISTANCE)

    def own_light(self, code: Code) -> Tensor:
        """(256, 256) change of light that deepens or softens the face's own, by the code's relief and texture.

        Texture changes what relief leaves, so that the two together never turn light into shade.
        """
        deeper, plain = self._relief_gain(code["relief"]), self._plain * self._deepen
        left = 1.0 + deeper[:TEXTURE_BANDS].clamp(-1.0, 0.0)
        rougher = grown(self._texture_gain(code["texture"])) * left
        return _deepened(deeper, self._bands, plain) + _deepened(rougher, self._fine, plain[:TEXTURE_BANDS])

    def _relief_gain(self, code: Tensor) -> Tensor:
        """(bands, 256, 256) how much the face's own light and shade are deepened, or softened below 0."""
        gain = torch.tanh(code @ self._controls.T).reshape(-1, _CELLS, _CELLS)
        return grown(self._settings.relief * gaussian(gain, _TONE_BLUR))

    def _texture_gain(self, code: Tensor) -> Tensor:
        """(TEXTURE_BANDS, cells, cells) how much the face's own texture is roughened, or smoothed below 0."""
        rougher = _TEXTURE * self._settings.relief
        gain = torch.tanh(code)
        return gaussian(gain.clamp(min=0.0) * rougher + gain.clamp(max=0.0) * min(1.0, rougher), _TEXTURE_BLUR)

    def _grain(self, code: Tensor) -> Tensor:
        """(3, 256, 256) density like the grain of skin and film, too fine to make spots; never another hue."""
        grain = self._settings.grain * torch.tanh(code)[None]
        return grown((grain - gaussian(grain, _GRAIN_BLUR)) * self._hides_grain).expand(3, -1, -1)

    def smooth(self, light: Tensor) -> Tensor:
        """A (cells, cells) change of light without the plateaus and edges that its bounds would give it."""
        return gaussian(bounded(light, self._settings.limits)[None], _TONE_BLUR)[0]

    def _toned(self, density: Tensor) -> Tensor:
        """(3, cells, cells) linear light of the same."""
        return self._tone * torch.exp(-F.avg_pool2d(density, CANVAS // _CELLS))

    def _painted(self, density: Tensor) -> Tensor:
        """(3, 256, 256) sRGB of the face with a (3, 256, 256) density on it, nothing moved."""
        return linear_to_srgb(self._linear * torch.exp(-density))

    def _undress(self) -> None:
        """Back to the face as it came, without what an earlier ``start`` put on it."""
        self._look = products.bare_code().to(self._device)
        self._reach = torch.zeros_like(self._look)
        self._wears = False
        self._unsearched = self._bare

    def _worn(self, look: Tensor) -> Tensor:
        """(3, 256, 256) density of a look in this strength."""
        return self._paint(self._toned_down(look.to(self._device)))

    def _wearing(self, look: Tensor) -> Tensor:
        return self._painted(self._worn(look))

    def _products(self, worn: Tensor) -> Tensor:
        """Absolute product code: the look that the text asked for, varied within what still is that look."""
        return self._toned_down(self._look) + self._reach * torch.tanh(worn)

    def _toned_down(self, look: Tensor) -> Tensor:
        return look + look.new_tensor([0.0, 0.0, 0.0, self._settings.opacity, 0.0, 0.0])

    def _light(self, code: Code) -> Tensor:
        """(256, 256) change of light by complexion, relief and texture."""
        return grown(self._complexion(code)[None])[0] + self.own_light(code)

    def _on_skin(self, light: Tensor) -> Tensor:
        """(3, 256, 256) density change within the limits of skin."""
        return _inked(within(light, self._settings.limits) * self.skin, self._grey)

    def _paint(self, worn: Tensor) -> Tensor:
        """(3, 256, 256) density of an absolute product code."""
        return _inked(products.paint_on(worn, self._ground), self._grey).sum(0)

    def _complexion(self, code: Code) -> Tensor:
        """(cells, cells) change of light."""
        whitened = code["complexion"]
        length = whitened.norm() / len(whitened) ** 0.5
        whitened = whitened * (self._settings.mahalanobis / torch.clamp(length, min=self._settings.mahalanobis))
        light = torch.einsum("k,khw->hw", whitened, self._patterns) * self._settings.complexion
        return self.smooth(light)


def _as_visible(limits: Settings, tone: Tensor, skin: Tensor) -> Settings:
    """The limits of skin tone such that they are equally visible on every skin.

    In CIE L* a change of density shows in proportion to L* + 16: plain on pale skin, hardly seen on dark skin.
    """
    bright = lab(tone)[0][skin[0] > 0.5]
    lightness = float(bright.median()) if len(bright) else _USUAL_LIGHTNESS
    share = min(2.0, max(1.0, (_USUAL_LIGHTNESS + 16) / (lightness + 16)))
    wider = Limits(*(share * getattr(limits.limits, f.name) for f in fields(Limits)))
    grain = min(share, _DARK_SKIN_GRAIN) * limits.grain
    return replace(limits, complexion=share * limits.complexion, grain=grain, limits=wider)


def _is_grey(pixels: np.ndarray, mesh: np.ndarray) -> bool:
    """Whether a face is black and white; a few coloured pixels, as JPEG makes them, are none."""
    face = pixels[face_regions.signed_distance(mesh, face_regions.OVAL) < 0]
    return bool(np.percentile(np.ptp(face, axis=-1), 99) < _GREY)


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


def _patterns(basis: Basis, canonical: np.ndarray) -> Tensor:
    """(K, cells, cells) the learned patterns of light as this face wears them.

    Their hues and their edges are left out: on one face at a time both look like blotches, not like light.
    """
    grid = torch.from_numpy(2 * canonical / CANVAS - 1).reshape(1, _CELLS, _CELLS, 2)
    light = basis.components.mean(1)[None]
    worn = F.grid_sample(light, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    return gaussian(worn, _PATTERN_BLUR)


def _bands(linear: Tensor, skin: np.ndarray) -> Tensor:
    """(bands, 256, 256) the face's own relief: its density between neighbouring Gaussian widths.

    Blurring sees skin only: what lies beside it, such as dark hair, is no relief of the face.
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0).clamp(min=2e-3)
    depth = -torch.log(luminance).cpu().numpy()
    weight = np.maximum(skin, 1e-3)
    blurred = [gaussian_filter(depth * weight, w) / gaussian_filter(weight, w) for w in RELIEF_BANDS]
    bands = [fine - coarse for fine, coarse in pairwise(blurred)]
    return torch.from_numpy(np.stack(bands).astype(np.float32)).to(linear)


def _plain(bands: Tensor) -> Tensor:
    """(bands, 256, 256) how plain to see the relief is, 0..1, half where it is as strong nearby as ``_FAINT``."""
    squared, widths = bands.square().cpu().numpy(), RELIEF_BANDS[1:]
    energy = [gaussian_filter(band, _FAINT_WITHIN * width) for band, width in zip(squared, widths, strict=True)]
    near = torch.from_numpy(np.stack(energy)).to(bands) + 1e-9
    return near / (near + bands.new_tensor(_FAINT)[:, None, None].square())


def _hides_grain(linear: Tensor, inside: Tensor) -> Tensor:
    """(1, side, side) how much grain the face hides here: little on smooth skin, more where it is rough already.

    Args:
        linear: (3, 256, 256) linear light of the face.
        inside: (256, 256) 0 on eyeballs, in the mouth, and beside the face.
    """
    luminance = (linear * LUMINANCE.to(linear)[:, None, None]).sum(0, keepdim=True).clamp(min=2e-3)
    depth = -torch.log(luminance)
    rough = gaussian((depth - gaussian(depth, _ROUGH_WITHIN)).square(), _ROUGH_WITHIN).clamp(min=0.0).sqrt()
    hides = (_SMOOTH_HIDES + rough / _ROUGH).clamp(max=_ROUGHEST_HIDES)
    return F.interpolate((hides * inside)[None], (_GRAIN_SIDE, _GRAIN_SIDE), mode="area")[0]


def _deepened(gain: Tensor, relief: Tensor, plain: Tensor) -> Tensor:
    """(256, 256) change of light by (bands, 256, 256) gains: below 0 all relief is softened, above what is plain."""
    return ((gain.clamp(min=0.0) * plain + gain.clamp(max=0.0)) * relief).sum(0)


def _stiffness(mesh: np.ndarray) -> np.ndarray:
    """(256, 256) weight of the elastic energy: 1 on skin, more where a face keeps its form."""
    nose = np.minimum(
        face_regions.signed_distance(mesh, face_regions.NOSE),
        np.abs(face_regions.signed_distance(mesh, face_regions.OVAL)) - 6.0,
    )
    lines = np.minimum(face_regions.brows_distance(mesh), face_regions.signed_distance(mesh, face_regions.OUTER_LIPS))
    stiff = np.maximum(
        _STIFF_NOSE * face_regions.ramp(nose, 0.0, 12.0), _STIFF_LINES * face_regions.ramp(lines, 2.0, 14.0)
    )
    return np.asarray(1.0 + stiff, dtype=np.float32)


def _movable(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(256, 256) 1 where the face may move, 0 on hats, glasses and hair: their lines would show every wave.

    From the upper lip downwards everything may move: beards have no straight lines, and without them nothing would.
    """
    other = 1.0 - face_regions.like_skin(pixels, mesh)
    eyes, brows = face_regions.eyes_distance(mesh), face_regions.brows_distance(mesh)
    around = (eyes > 5) & (eyes < 14) & (brows > 3)
    if float(other[around].mean()) < _SUNGLASSES:
        # Eyes and brows are no skin either; behind dark glasses they can't be told apart from them.
        other = other * face_regions.ramp(-np.minimum(eyes, brows), -6.0, -3.0)
    else:
        # Frames and reflections pass for skin in part, but hold together with the glass.
        glass = np.where(eyes < _GLASS, other, 0.0)
        other = np.maximum(other, maximum_filter(glass, 2 * _FRAME + 1))
    other = other * face_regions.ramp(-face_regions.signed_distance(mesh, face_regions.NOSE), -6.0, -3.0)
    other = gaussian_filter(maximum_filter(other, 5), 4.0)
    nose, lip = float(mesh[4, 1]), float(mesh[0, 1])
    below = np.clip((np.arange(CANVAS)[:, None] + 0.5 - nose) / max(1.0, lip - nose), 0.0, 1.0)
    movable = np.maximum(below, np.clip(1.0 - 1.3 * other, 0.0, 1.0))
    return np.asarray(np.minimum(movable, 1.0 - glasses(pixels, mesh)), dtype=np.float32)


def _straight_lines(pixels: np.ndarray) -> np.ndarray:
    """(3, cells, cells): strength 0..1 of straight edges (glasses, hats, brows), and their direction.

    From the structure tensor: an edge is straight where gradients around it agree.
    """
    grey = gaussian_filter(pixels.mean(-1), 1.0)
    gx, gy = sobel(grey, 1) / 8, sobel(grey, 0) / 8
    xx, yy, xy = (_shrink(gaussian_filter(v, 5.0)) for v in (gx * gx, gy * gy, gx * gy))
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    coherence = (root / (xx + yy + 1e-6)) ** 2
    edge = np.clip((xx + yy) / 0.002, 0.0, 1.0)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    return np.stack([coherence * edge, np.cos(angle), np.sin(angle)]).astype(np.float32)


def _shrink(canvas: np.ndarray) -> np.ndarray:
    step = CANVAS // _CELLS
    return np.asarray(canvas.reshape(_CELLS, step, _CELLS, step).mean((1, 3)), dtype=np.float32)


def _half(pixels: Tensor) -> Tensor:
    """(3, 256, 256) sRGB to linear light of half the size."""
    return srgb_to_linear(F.avg_pool2d(pixels, 2))


def _band(change: Tensor) -> Tensor:
    """What a (3, cells, cells) change holds between 4 and 32 cells across the face: spots and blotches.

    The same band as ``patchiness`` in the benchmarks: two Gaussians whose half-amplitude frequencies these are.
    """
    fine, coarse = (_FACE_WIDTH / n * _SIGMA_PER_CELL / (CANVAS / _CELLS) for n in (32, 4))
    return gaussian(change, fine) - gaussian(change, coarse)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1.0)


def _identity_grid(device: torch.device) -> Tensor:
    centres = (torch.arange(CANVAS, device=device) + 0.5) * (2.0 / CANVAS) - 1.0
    gy, gx = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([gx, gy], -1)
