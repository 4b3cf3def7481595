"""A drawn face with known landmarks, and rows with known outcomes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from benchmarks.rows import (
    CostRow,
    NaturalRow,
    OtherScore,
    OthersRow,
    PairRow,
    ProtectRow,
    RobustnessRow,
    Score,
    Setting,
)
from c2p_core.api import Face
from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE
from c2p_core.faces.regions import LEFT_BROW, OUTER_LIPS, OVAL, RIGHT_BROW

SIZE = 320
EYE_DISTANCE = 90.0
CENTRE = (160.0, 140.0)
THRESHOLDS = {"dlib-resnet": "dlib", "faceres": "faceres", "faceres-deep": "faceres", "mobileface": "mobileface"}


def make_vectors(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane, in these directions."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _ellipse(count: int, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], axis=1)


def face() -> Face:
    """Eyes 90 px apart, the point between them at (160, 140)."""
    x, y = CENTRE
    mesh = np.random.default_rng(0).normal((x, y + 30), 25, (468, 2))
    half = EYE_DISTANCE / 2
    for contour, centre, radii in (
        (OVAL, (x, y + 25), (95, 125)),
        (LEFT_EYE, (x - half, y), (17, 8)),
        (RIGHT_EYE, (x + half, y), (17, 8)),
        (LEFT_BROW, (x - half, y - 25), (22, 5)),
        (RIGHT_BROW, (x + half, y - 25), (22, 5)),
        (OUTER_LIPS, (x, y + 90), (30, 12)),
    ):
        mesh[list(contour)] = _ellipse(len(contour), centre, radii)
    low, high = mesh.min(0), mesh.max(0)
    return Face(1, (low[0], low[1], high[0], high[1]), 1.0, mesh.astype(np.float32), EYE_DISTANCE)


def photo() -> np.ndarray:
    """(320, 320, 3) uint8: shaded skin with pores, darker features, grey behind."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    skin = np.array([205.0, 160.0, 135.0]) * (0.85 + 0.25 * columns[..., None] / SIZE)
    skin = skin + ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), 1.2)[..., None] * 18
    x, y = CENTRE
    inside = ((columns - x) / 95) ** 2 + ((rows - y - 25) / 125) ** 2 < 1
    picture = np.where(inside[..., None], skin, 90.0)
    for centre_x, centre_y, radius_x, radius_y, colour in (
        (x - 45, y, 17, 8, (60, 50, 45)),
        (x + 45, y, 17, 8, (60, 50, 45)),
        (x, y + 90, 30, 12, (170, 70, 70)),
        (x, y + 45, 10, 18, (150, 105, 90)),
    ):
        part = ((columns - centre_x) / radius_x) ** 2 + ((rows - centre_y) / radius_y) ** 2 < 1
        picture[part] = colour
    return np.clip(np.rint(ndimage.gaussian_filter(picture, (0.8, 0.8, 0))), 0, 255).astype(np.uint8)


def smooth_field(sigma: float, seed: int) -> np.ndarray:
    """(320, 320) smooth random field, greatest magnitude 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((SIZE, SIZE)), sigma)
    return field / np.abs(field).max()


def setting(name: str = "a", hold_out: str = "dlib", strength: float = 0.7, method: str = "c2p") -> Setting:
    return Setting(name, method, strength, hold_out, "natural makeup", "makeup", None, 0)


def protect_row(key: Setting, after: dict[str, float] | float = 0.9, **changes: object) -> ProtectRow:
    """A row with thresholds 0.4 and 0.6 and similarity ``after`` for every recogniser (one value, or by name)."""
    scores = tuple(
        Score(
            recogniser=name,
            family=family,
            role="held-out" if key.hold_out in (family, "none") else "white-box",
            before=1.0,
            after=after if isinstance(after, float) else after[name],
            far1=0.4,
            far01=0.6,
        )
        for name, family in THRESHOLDS.items()
    )
    fields: dict[str, object] = {
        "setting": key, "scores": scores, "face_before": True, "face_after": True, "box": (20.0, 20.0, 220.0, 260.0),
        "eye_distance": 90.0, "steps": 40, "seconds": 12.0, "wall": 13.0, "peak_mib": 900.0, "code": "abc",
    }  # fmt: skip
    return ProtectRow(**{**fields, **changes})  # type: ignore[arg-type]


def natural_row(key: Setting, **changes: object) -> NaturalRow:
    fields: dict[str, object] = {
        "setting": key, "psnr": 28.0, "ssim": 0.93, "mesh_shift": 2.0, "eye_shift": 0.8, "flow_shift": 1.5,
        "flow_eye_shift": 0.4, "skin_de_mean": 4.0, "skin_de_p95": 9.0, "patch_face": 1.5, "patch_skin": 1.2,
        "patch_face_raw": 2.5, "patch_skin_raw": 2.2, "code": "abc",
    }  # fmt: skip
    return NaturalRow(**{**fields, **changes})  # type: ignore[arg-type]


def robustness_row(key: Setting, degraded: dict[str, float | None] | None = None, before: float = 1.0) -> RobustnessRow:
    """Every similarity is 0.1 for the undegraded picture, and as given after a degradation; None: no face."""
    scores = protect_row(key, 0.1).scores
    after = {"JPEG 70": 0.1} if degraded is None else degraded
    pairs = {name: () if value is None else ((before, value),) * len(scores) for name, value in after.items()}
    return RobustnessRow(key, scores, pairs, "abc")


def pair_row(key: Setting, after: float = 0.1) -> PairRow:
    return PairRow(key, {"other": protect_row(key, after).scores}, "abc")


def cost_row(**changes: object) -> CostRow:
    fields: dict[str, object] = {
        "portraits": 1, "faces": 1, "megapixels": 6.0, "limit": 20, "strength": 0.7, "seconds": 8.0,
        "stages": {"search": 5.0},
        "steps": 20, "files": 0.2, "cold": 4.0, "loaded_mib": 800.0, "peak_mib": 900.0, "code": "abc",
    }  # fmt: skip
    return CostRow(**{**fields, **changes})  # type: ignore[arg-type]


def other_score(
    name: str, others: dict[str, tuple[float, float | None]], role: str = "held-out", **changes: object
) -> OtherScore:
    """A score with thresholds 0.4 and 0.6, of the recogniser's family in `THRESHOLDS`."""
    fields: dict[str, object] = {
        "recogniser": name, "family": THRESHOLDS[name], "role": role, "far1": 0.4, "far01": 0.6, "others": others,
    }  # fmt: skip
    return OtherScore(**{**fields, **changes})  # type: ignore[arg-type]


def others_row(key: Setting, scores: tuple[OtherScore, ...] = (), **changes: object) -> OthersRow:
    fields: dict[str, object] = {
        "setting": key, "scores": scores, "natural": natural_row(key, expression_changes=(1.0,) * 13 + (3.0,)),
        "face_before": True, "face_after": True, "box": (20.0, 20.0, 220.0, 260.0), "steps": 40, "seconds": 12.0,
        "wall": 13.0, "strangers": 0, "photos": "f", "code": "abc",
    }  # fmt: skip
    return OthersRow(**{**fields, **changes})  # type: ignore[arg-type]
