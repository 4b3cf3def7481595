"""Which pixels of a photo are face, and which are skin; outlines of the face mesh are the product's own.

Coordinates are continuous pixels as in `c2p_core.api`: the centre of pixel (row i, column j) is (j + 0.5, i + 0.5).
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask

from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE
from c2p_core.faces.regions import LEFT_BROW, OUTER_LIPS, OVAL, RIGHT_BROW

Mask = NDArray[np.bool_]
Mesh = NDArray[np.floating[Any]]

# How far around eyes, brows and lips makeup reaches, as a share of the eye distance: not skin.
FEATURE_MARGIN = 0.06
# CIE Lab: pixels further than this from the face's median, and further than three robust standard deviations of a
# face in hard light, are hair, glasses or clipped highlights, not skin.
SKIN_LIGHTNESS = 30.0
SKIN_CHROMA = 15.0


def make_contour_mask(shape: tuple[int, int], mesh: Mesh, contour: tuple[int, ...]) -> Mask:
    """(height, width) mask of the pixels whose centres lie inside a closed contour of the mesh."""
    points = mesh[list(contour)][:, ::-1] - 0.5
    return np.asarray(polygon2mask(shape, points), dtype=np.bool_)


def make_face_mask(shape: tuple[int, int], mesh: Mesh) -> Mask:
    """Everything inside the face oval."""
    return make_contour_mask(shape, mesh, OVAL)


def make_eye_mask(shape: tuple[int, int], mesh: Mesh) -> Mask:
    """Both eye openings."""
    return make_contour_mask(shape, mesh, LEFT_EYE) | make_contour_mask(shape, mesh, RIGHT_EYE)


def make_feature_mask(shape: tuple[int, int], mesh: Mesh, eye_distance: float) -> Mask:
    """Eyes, brows and lips with a margin of `FEATURE_MARGIN` eye distances around each."""
    features = np.zeros(shape, dtype=np.bool_)
    for contour in (LEFT_EYE, RIGHT_EYE, LEFT_BROW, RIGHT_BROW, OUTER_LIPS):
        features |= make_contour_mask(shape, mesh, contour)
    if not features.any():
        return features
    reach = FEATURE_MARGIN * eye_distance
    return np.asarray(ndimage.distance_transform_edt(~features) <= reach, dtype=np.bool_)


def make_skin_mask(lab: NDArray[np.floating[Any]], mesh: Mesh, eye_distance: float) -> Mask:
    """Skin of the face: the oval without eyes, brows and lips, and without pixels that don't have the colour of skin.

    Args:
        lab: (height, width, 3) CIE Lab of the original picture.
        mesh: (468, 2) mesh in its pixels.
        eye_distance: in its pixels.
    """
    shape = (lab.shape[0], lab.shape[1])
    mask = make_face_mask(shape, mesh) & ~make_feature_mask(shape, mesh, eye_distance)
    if not mask.any():
        return mask
    deviation = lab - np.median(lab[mask], axis=0)
    lightness, chroma = np.abs(deviation[..., 0]), np.hypot(deviation[..., 1], deviation[..., 2])
    # 1.4826 times the median absolute deviation estimates a standard deviation.
    like_skin = (lightness <= max(SKIN_LIGHTNESS, 3 * 1.4826 * float(np.median(lightness[mask])))) & (
        chroma <= max(SKIN_CHROMA, 3 * float(np.median(chroma[mask])))
    )
    return np.asarray(mask & like_skin, dtype=np.bool_)
