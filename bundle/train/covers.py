"""Makes covered faces for training: things composited before faces, and changes that only look like covers.

Everything is drawn on the face's canvas, at half its size. A thing is a shape (mask, hand, microphone, sheet, scarf,
strands of hair, cup, another face, blobs and boards of any kind) with a texture (cloth, skin, hair, metal, print, parts
of other pictures), its own shading, a soft edge and a shadow on the face. Shadows, light, makeup, frames of glasses,
moles and tattoos change the face as well, but do not count as covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from skimage.draw import polygon2mask

from c2p_core.faces import regions
from c2p_core.faces.align import LEFT_EYE, RIGHT_EYE

SIDE = 128
"""Side in pixels of the pictures."""
Map = NDArray[np.floating[Any]]
Random = np.random.Generator

_Y, _X = (axis.astype(np.float32) + 0.5 for axis in np.mgrid[:SIDE, :SIDE])
_CHEEKS = (93, 132, 58, 172, 136, 150, 176, 152, 400, 379, 365, 397, 288, 361, 323)
_BRIDGE = (6, 197, 195, 5, 4, 2)


@dataclass(frozen=True)
class Sample:
    """A face to draw things on.

    Attributes:
        pixels: (128, 128, 3) float32 sRGB 0..1.
        mesh: (468, 2) in these pixels.
    """

    pixels: Map
    mesh: Map


@dataclass(frozen=True)
class Thing:
    """A thing before a face.

    Attributes:
        alpha: (128, 128) opacity 0..1.
        depth: (128, 128) shading 0..1, 1 in full light.
        texture: its name; any when "".
        shift: (x, y) in pixels of another picture as the texture; random when None.
    """

    alpha: Map
    depth: Map
    texture: str = ""
    shift: tuple[int, int] | None = None


def compose(random: Random, face: Sample, others: Sequence[Sample]) -> tuple[Map, Map]:
    """Put things before a face, or leave it uncovered.

    Returns:
        (128, 128, 3) sRGB 0..1 and (128, 128) opacity of the covers.
    """
    pixels, covered = face.pixels.copy(), np.zeros((SIDE, SIDE), np.float32)
    if random.random() < 0.45:
        pixels = disturb(random, face, pixels)
    if random.random() < 0.68:
        for _ in range(1 + int(random.random() < 0.25)):
            thing = _choose_shape(random)(random, face)
            if thing.texture == "other" or (not thing.texture and random.random() < 0.12):
                surface = _sample_other_picture(random, others, thing.shift)
            else:
                surface = _make_surface(random, face, others, thing)
            alpha = gaussian_filter(thing.alpha, random.uniform(0.25, 0.9))
            pixels = _cast_shadow(random, pixels, alpha)
            pixels = pixels * (1 - alpha[..., None]) + surface * alpha[..., None]
            covered = 1 - (1 - covered) * (1 - alpha)
    return _simulate_camera(random, pixels), covered


def disturb(random: Random, face: Sample, pixels: Map) -> Map:
    """Change a face without covering it: light, shadow, makeup, frames of glasses, marks on the skin."""
    for number in random.choice(len(_DISTURBANCES), int(random.integers(1, 3)), replace=False):
        pixels = _DISTURBANCES[number](random, face, pixels)
    return pixels


# --- shapes


def _fill_inside(distance: Map, softness: float = 0.7) -> Map:
    """Opacity from a signed distance: 1 inside."""
    return np.asarray(np.clip(0.5 - distance / (2 * softness), 0.0, 1.0), np.float32)


def _shade_round(distance: Map, radius: float) -> Map:
    """Shading of a round body by the signed distance to its edge: darker where its surface turns away."""
    inside = np.clip(1 + distance / max(radius, 1e-3), 0.0, 1.0)
    return np.asarray(np.sqrt(np.clip(1 - 0.85 * inside**2, 0.0, 1.0)), np.float32)


def _draw_noise(random: Random, cell: float) -> Map:
    """(128, 128) smooth noise of about unit variance; ``cell`` in pixels."""
    count = int(SIDE / cell) + 3
    grid = random.standard_normal((count, count)).astype(np.float32)
    smooth = zoom(grid, SIDE / (count - 2) * 1.01, order=1)[:SIDE, :SIDE]
    return np.asarray(gaussian_filter(smooth, cell / 3) if cell > 2 else smooth, dtype=np.float32)


def _draw_point(random: Random, face: Sample) -> Map:
    """Draw a random point on the face."""
    oval = face.mesh[list(regions.OVAL)]
    weights = random.dirichlet(np.full(len(oval), 0.5))
    return np.asarray(weights @ oval * 0.7 + 0.3 * face.mesh[random.integers(468)], dtype=np.float32)


def _capsule_distance(start: Sequence[float] | Map, end: Sequence[float] | Map, width: float, end_width: float) -> Map:
    """Signed distance to a stick with round ends."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    axis = b - a
    along = np.clip(((_X - a[0]) * axis[0] + (_Y - a[1]) * axis[1]) / max(float(axis @ axis), 1e-3), 0.0, 1.0)
    return np.asarray(
        np.hypot(_X - a[0] - along * axis[0], _Y - a[1] - along * axis[1]) - width + along * (width - end_width),
        np.float32,
    )


def _make_flat_thing(alpha: Map) -> Thing:
    return Thing(alpha, np.ones_like(alpha))


def _draw_blob(random: Random, face: Sample) -> Thing:
    x, y = _draw_point(random, face)
    dx, dy = _X - x, _Y - y
    tilt, stretch = random.uniform(0, np.pi), random.uniform(0.4, 1.0)
    u, v = np.cos(tilt) * dx + np.sin(tilt) * dy, (np.cos(tilt) * dy - np.sin(tilt) * dx) / stretch
    angle, radius = np.arctan2(v, u), random.uniform(7, 34)
    wobble = sum(
        random.normal(0, 0.18 / k) * np.cos(k * angle + random.uniform(0, 6.3))
        for k in range(1, int(random.integers(2, 7)))
    )
    distance = np.asarray((np.hypot(u, v) - radius * (1 + wobble)) * min(1.0, stretch + 0.2), np.float32)
    return Thing(_fill_inside(distance), _shade_round(distance, radius * random.uniform(0.2, 1.0)))


def _draw_board(random: Random, face: Sample) -> Thing:
    """A sheet, book, telephone or box: a rectangle at any angle."""
    x, y = _draw_point(random, face) + random.normal(0, 8, 2)
    angle = random.choice([0.0, random.normal(0, 0.2), random.uniform(0, np.pi)])
    u = np.cos(angle) * (_X - x) + np.sin(angle) * (_Y - y)
    v = np.cos(angle) * (_Y - y) - np.sin(angle) * (_X - x)
    half = random.uniform(5, 45, 2)
    corner = random.uniform(0, 5)
    distance = (
        np.hypot(np.clip(np.abs(u) - half[0] + corner, 0, None), np.clip(np.abs(v) - half[1] + corner, 0, None))
        - corner
    )
    return _make_flat_thing(_fill_inside(distance.astype(np.float32)))


def _draw_sheet(random: Random, face: Sample) -> Thing:
    """A half plane with a wavy edge: cloth, blanket, wall, door."""
    angle = random.choice([np.pi / 2, -np.pi / 2, 0.0, np.pi]) + random.normal(0, 0.3)
    x, y = _draw_point(random, face)
    u = np.cos(angle) * (_X - x) + np.sin(angle) * (_Y - y)
    v = np.cos(angle) * (_Y - y) - np.sin(angle) * (_X - x)
    wave = (
        random.uniform(0, 4) * np.sin(v / random.uniform(6, 25) + random.uniform(0, 6))
        + random.uniform(-1, 1) * v**2 / 150
    )
    distance = np.asarray(u + wave, np.float32)
    return Thing(_fill_inside(distance), 0.55 + 0.45 * _shade_round(distance, random.uniform(4, 20)))


def _draw_stick(random: Random, face: Sample) -> Thing:
    """A microphone, cigarette, pen, spoon, rod, strap."""
    end = _draw_point(random, face) if random.random() < 0.4 else face.mesh[13] + random.normal(0, 5, 2)
    angle, length = (
        random.uniform(0, 2 * np.pi) if random.random() < 0.5 else np.pi / 2 + random.normal(0, 0.5),
        random.uniform(12, 110),
    )
    start = end + length * np.array([np.cos(angle), np.sin(angle)])
    width = random.uniform(0.8, 7)
    distance = _capsule_distance(end, start, width, width * random.uniform(0.7, 1.5))
    depth = _shade_round(distance, width)
    if random.random() < 0.6:
        radius = width * random.uniform(1.3, 3.2) + 3
        head = np.asarray(np.hypot(_X - end[0], (_Y - end[1]) * random.uniform(0.7, 1.2)) - radius, np.float32)
        depth = np.where(head < 0, _shade_round(head, radius), depth)
        distance = np.minimum(distance, head)
    return Thing(_fill_inside(distance), depth)


def _draw_hand(random: Random, face: Sample) -> Thing:
    """A hand with a forearm: fingers side by side or spread, each with its own shading."""
    point = _draw_point(random, face)
    angle = random.uniform(0, 2 * np.pi)
    size = random.uniform(0.75, 1.6)
    forward, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    palm = point - forward * random.uniform(0, 22) * size
    half = 11 * size
    u, v = (
        (_X - palm[0]) * forward[0] + (_Y - palm[1]) * forward[1],
        (_X - palm[0]) * side[0] + (_Y - palm[1]) * side[1],
    )
    parts = [np.asarray((np.hypot(u / 1.15, v) - half), np.float32)]
    parts.append(_capsule_distance(palm - forward * 8 * size, palm - forward * 130, half * 0.72, half * 0.9))
    spread, curl = random.uniform(-0.02, 0.2), random.uniform(0.35, 1.0)
    fingers = int(random.integers(2, 5))
    for finger in range(fingers):
        offset = finger - (fingers - 1) / 2
        base = palm + forward * half * 0.75 + side * offset * 5.2 * size
        direction = forward + side * offset * spread
        length = (21 - 2.2 * abs(offset)) * size * curl * random.uniform(0.85, 1.1)
        bend = direction + side * random.normal(0, 0.12)
        middle = base + direction * length * 0.55
        parts.append(
            np.minimum(
                _capsule_distance(base, middle, 3.0 * size, 2.7 * size),
                _capsule_distance(middle, middle + bend * length * 0.5, 2.7 * size, 2.2 * size),
            )
        )
    if random.random() < 0.7:
        thumb_side = side * random.choice([-1, 1])
        parts.append(
            _capsule_distance(
                palm + thumb_side * half * 0.6,
                palm + thumb_side * half * 1.5 + forward * 9 * size,
                3.4 * size,
                2.6 * size,
            )
        )
    distance = np.min(parts, axis=0)
    depth = np.ones_like(distance)
    for part in parts:
        depth = np.where(part == distance, 0.45 + 0.55 * _shade_round(part, 4.5 * size), depth)
    return Thing(_fill_inside(distance), gaussian_filter(depth, 0.6), "skin" if random.random() < 0.85 else "")


def _draw_mask(random: Random, face: Sample) -> Thing:
    """A mask over mouth and nose, or a scarf or bandana tied there, with its straps."""
    mesh = face.mesh
    top = mesh[random.choice(_BRIDGE, p=[0.2, 0.25, 0.25, 0.15, 0.1, 0.05])] + random.normal(0, 1.5, 2)
    outline = mesh[list(_CHEEKS)].astype(np.float64)
    drop = int(random.integers(0, 3))
    outline = outline[drop : len(outline) - drop]
    centre = outline.mean(0)
    outline = centre + (outline - centre) * random.uniform(0.82, 1.15, 2)
    if random.random() < 0.35:  # cut straight below the chin
        outline[:, 1] = np.minimum(outline[:, 1], mesh[152, 1] - random.uniform(-6, 6))
    if random.random() < 0.3:  # hangs down: a bandana or a veil
        outline[3:-3, 1] += random.uniform(5, 40)
    bridge = [
        (outline[-1] + top) / 2 + random.normal(0, 1.5, 2),
        top,
        (outline[0] + top) / 2 + random.normal(0, 1.5, 2),
    ]
    polygon = np.concatenate([outline, bridge])
    alpha = (
        polygon2mask((4 * SIDE, 4 * SIDE), 4 * polygon[:, ::-1])
        .reshape(SIDE, 4, SIDE, 4)
        .mean((1, 3))
        .astype(np.float32)
    )
    across = (_Y - centre[1]) / random.uniform(3, 14)
    depth = 1 - random.uniform(0, 0.25) * np.cos(across * 3 + 0.02 * (_X - centre[0]) ** 2 / 5) ** 2
    bulge = 1 - random.uniform(0, 0.5) * ((_X - centre[0]) / 40) ** 2
    if random.random() < 0.75:
        for end, ear in ((outline[0], mesh[234]), (outline[-1], mesh[454])):
            for lift in (0, random.uniform(3, 14)):
                strap = _fill_inside(
                    _capsule_distance(
                        end + np.array([0, lift]), ear + (ear - end) * 0.4 - [0, 4], random.uniform(0.4, 1.0), 0.5
                    )
                )
                alpha = np.maximum(alpha, strap)
    return Thing(alpha, np.asarray(np.clip(depth * bulge, 0.3, 1), np.float32), random.choice(["cloth", "plain"]))


def _draw_band(random: Random, face: Sample) -> Thing:
    """A scarf, blindfold, bandage or arm across the face."""
    y = random.choice(
        [face.mesh[168, 1], face.mesh[10, 1], face.mesh[13, 1], face.mesh[152, 1], _draw_point(random, face)[1]]
    )
    angle = random.normal(0, 0.25)
    v = np.cos(angle) * (_Y - y) - np.sin(angle) * (_X - 64) + random.normal(0, 0.002) * (_X - 64) ** 2
    half = random.uniform(3, 20)
    distance = np.asarray(np.abs(v + _draw_noise(random, 30)) - half, np.float32)
    return Thing(_fill_inside(distance), 0.4 + 0.6 * _shade_round(distance, half), random.choice(["cloth", "skin", ""]))


def _draw_strands(random: Random, face: Sample) -> Thing:
    """Strands of hair that fall over the face, thin or as a curtain."""
    alpha = np.zeros((SIDE, SIDE), np.float32)
    start = np.array([random.uniform(15, 113), face.mesh[10, 1] - random.uniform(0, 14)])
    end = np.array([np.clip(start[0] + random.normal(0, 25), 20, 108), random.uniform(60, 130)])
    bend = random.normal(0, 14)
    depth = np.ones_like(alpha)
    spread, count = random.uniform(1, 16), int(random.integers(3, 22))
    steps = np.linspace(0, 1, 90)
    for _ in range(count):
        start_offset, end_offset = random.normal(0, spread), random.normal(0, spread * random.uniform(0.3, 1.2))
        x = (
            start[0]
            + start_offset
            + (end[0] + end_offset - start[0] - start_offset) * steps
            + bend * np.sin(np.pi * steps)
            + random.normal(0, 1.5) * np.sin(6 * steps)
        )
        y = start[1] + (end[1] - start[1]) * steps
        width, light = random.uniform(0.4, 2.2), random.uniform(0.6, 1.15)
        inside = (x > 2) & (x < SIDE - 3) & (y > 2) & (y < SIDE - 3)
        if not inside.any():
            continue
        line = np.zeros_like(alpha)
        xi, yi = x[inside], y[inside]
        left = np.floor(xi - width).astype(int).clip(0, SIDE - 1)
        for dx in range(int(2 * width) + 2):
            column = (left + dx).clip(0, SIDE - 1)
            share = np.clip(width + 0.5 - np.abs(column + 0.5 - xi), 0, 1)
            rows = np.floor(yi).astype(int)
            np.maximum.at(line, (rows, column), share)
        depth = np.where(line > 0.3, light, depth)
        alpha = np.maximum(alpha, line * random.uniform(0.75, 1))
    return Thing(np.asarray(alpha, np.float32), np.asarray(depth, np.float32), "hair")


def _draw_cup(random: Random, face: Sample) -> Thing:
    """A cup or glass at the mouth, with the handle of it."""
    x, top = face.mesh[13] + random.normal(0, [6, 6])
    height, half, narrow = random.uniform(14, 45), random.uniform(9, 22), random.uniform(0.6, 1.0)
    angle = random.normal(0, 0.25)
    u = np.cos(angle) * (_X - x) + np.sin(angle) * (_Y - top)
    v = np.cos(angle) * (_Y - top) - np.sin(angle) * (_X - x)
    width = half * (1 - (1 - narrow) * np.clip(v / height, 0, 1))
    distance = np.maximum(
        np.abs(u) - width, np.maximum(-v - 3 * np.sqrt(np.clip(1 - (u / half) ** 2, 0, 1)), v - height)
    )
    handle = np.abs(np.hypot(u - half * random.choice([-1, 1]), v - height / 2) - height / 4) - random.uniform(1, 2.5)
    distance = np.asarray(np.minimum(distance, handle), np.float32)
    side = np.asarray(np.sqrt(np.clip(1 - 0.8 * (u / half) ** 2, 0.05, 1)), np.float32)
    return Thing(_fill_inside(distance), side)


def _draw_other_face(random: Random, face: Sample) -> Thing:
    """The head of another person before this one, from a side or from below."""
    angle = random.choice([0.0, np.pi, np.pi / 2]) + random.normal(0, 0.35)
    distance_from_centre = random.uniform(38, 85)
    x, y = 64 + distance_from_centre * np.cos(angle), 68 + distance_from_centre * np.sin(angle)
    radius = random.uniform(30, 55)
    distance = np.asarray(
        np.hypot((_X - x) * random.uniform(1.0, 1.35), _Y - y) - radius + 2 * _draw_noise(random, 14), np.float32
    )
    return Thing(_fill_inside(distance), np.ones_like(distance), "other", (round(x - 64), round(y - 66)))


_SHAPES: tuple[Callable[[Random, Sample], Thing], ...] = (
    *(_draw_blob, _draw_board, _draw_sheet, _draw_stick, _draw_hand),
    *(_draw_mask, _draw_band, _draw_strands, _draw_cup, _draw_other_face),
)
_SHAPE_PROBABILITIES = (0.08, 0.10, 0.07, 0.16, 0.18, 0.14, 0.05, 0.08, 0.05, 0.09)


def _choose_shape(random: Random) -> Callable[[Random, Sample], Thing]:
    return _SHAPES[int(random.choice(len(_SHAPES), p=_SHAPE_PROBABILITIES))]


# --- textures


def _sample_skin_colour(random: Random, face: Sample) -> Map:
    """Sample the colour of a cheek, with variation."""
    x, y = face.mesh[random.choice([50, 280, 151, 205, 425])].astype(int).clip(3, SIDE - 4)
    cheek = face.pixels[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
    return np.asarray(
        np.clip(cheek ** random.uniform(0.75, 1.4) * random.uniform(0.8, 1.15) + random.normal(0, 0.02, 3), 0.02, 1),
        np.float32,
    )


def _draw_colour(random: Random) -> Map:
    kind = random.random()
    if kind < 0.35:  # black, grey, white
        return np.asarray(np.clip(random.beta(0.6, 0.6) + random.normal(0, 0.02, 3), 0, 1), np.float32)
    value, saturation, hue = random.uniform(0.1, 1), random.uniform(0, 1), random.uniform(0, 6)
    triangle = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * triangle), np.float32)


def _make_surface(random: Random, face: Sample, others: Sequence[Sample], thing: Thing) -> Map:
    """Make the (128, 128, 3) surface of a thing, lit like the face."""
    kind = thing.texture or random.choice(["cloth", "plain", "skin", "print", "hair"], p=[0.3, 0.35, 0.15, 0.12, 0.08])
    if kind == "skin":
        other = others[int(random.integers(len(others)))] if random.random() < 0.3 else face
        colour = _sample_skin_colour(random, other)
        surface = np.broadcast_to(colour, (SIDE, SIDE, 3)).copy()
        surface *= (
            1
            + random.uniform(0.01, 0.06) * _draw_noise(random, 6)
            + random.uniform(0, 0.025) * _draw_noise(random, 1.5)
        )[..., None]
        # Shade on skin is redder than light.
        shade = thing.depth[..., None] ** (random.uniform(0.6, 1.4) * np.array([0.8, 1.1, 1.2], np.float32))
        return np.asarray(np.clip(surface * shade, 0, 1), np.float32)
    if kind == "hair":
        colour = (
            np.array([0.55, 0.4, 0.25], np.float32) ** random.uniform(0.4, 4)
            if random.random() < 0.8
            else _draw_colour(random)
        )
        fibre = gaussian_filter(random.standard_normal((SIDE, SIDE)).astype(np.float32), [random.uniform(3, 9), 0.6])
        return np.asarray(np.clip(colour * (thing.depth * (1 + 1.6 * fibre))[..., None], 0, 1), np.float32)
    surface = np.broadcast_to(_draw_colour(random), (SIDE, SIDE, 3)).copy()
    if kind in ("cloth", "print"):
        angle, period = random.uniform(0, np.pi), random.uniform(2.5, 16)
        u, v = np.cos(angle) * _X + np.sin(angle) * _Y, np.cos(angle) * _Y - np.sin(angle) * _X
        waves = {
            "stripes": np.sin(2 * np.pi * u / period),
            "checks": np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period),
            "lines": np.where(np.sin(2 * np.pi * u / period) > 0.75, _draw_noise(random, 2) > 0, -1.0),
            "patches": np.sign(_draw_noise(random, period)),
            "none": np.zeros_like(_X),
        }
        names = list(waves)
        pattern = waves[
            names[int(random.integers(len(names)))]
            if kind == "cloth"
            else random.choice(["lines", "patches", "checks"])
        ]
        if random.random() < 0.5 or kind == "print":
            share = np.clip(0.5 + 0.5 * pattern, 0, 1)[..., None]
            surface = surface * (1 - share) + _draw_colour(random) * share
        folds = random.uniform(0, 0.22) * _draw_noise(random, random.uniform(6, 25)) + random.uniform(
            0, 0.06
        ) * _draw_noise(random, 2.0)
        surface = surface * (1 + folds[..., None])
    if random.random() < 0.3:
        gleam = np.exp(
            -(((_X - random.uniform(20, 108)) ** 2 + (_Y - random.uniform(20, 108)) ** 2) / random.uniform(20, 900))
        )
        surface = surface + random.uniform(0.1, 0.7) * gleam[..., None]
    slope = 1 + random.normal(0, 0.15) * (_X - 64) / 64 + random.normal(0, 0.15) * (_Y - 64) / 64
    light = slope * thing.depth ** random.uniform(0.0, 1.2)
    if random.random() < 0.5:
        light = light * np.clip(face.pixels.mean() / 0.5, 0.35, 1.3)
    return np.asarray(
        np.clip(surface * light[..., None] + random.uniform(0, 0.03) * _draw_noise(random, 1.2)[..., None], 0, 1),
        np.float32,
    )


def _sample_other_picture(random: Random, others: Sequence[Sample], shift: tuple[int, int] | None) -> Map:
    """Sample a part of another picture."""
    other = others[int(random.integers(len(others)))].pixels
    if random.random() < 0.5:
        other = other[:, ::-1]
    x, y = random.integers(-60, 60, 2) if shift is None else shift
    return np.roll(other, (int(y), int(x)), (0, 1))


# --- changes that do not count as covers


def _cast_shadow(random: Random, pixels: Map, alpha: Map) -> Map:
    if random.random() < 0.5:
        return pixels
    shift = tuple(random.integers(-4, 5, 2))
    shadow = gaussian_filter(np.roll(alpha, shift, (0, 1)), random.uniform(1, 5))
    return np.asarray(pixels * (1 - random.uniform(0.1, 0.6) * shadow)[..., None], np.float32)


def _add_shaped_light(random: Random, face: Sample, pixels: Map) -> Map:
    """Add a shadow or a patch of light in the shape of a thing."""
    shape = _choose_shape(random)(random, face)
    mask = gaussian_filter(shape.alpha, random.uniform(0.4, 6))
    gain = random.uniform(0.35, 0.85) if random.random() < 0.8 else random.uniform(1.1, 1.6)
    tint = gain ** (1 + random.normal(0, 0.12, 3))
    return np.asarray(np.clip(pixels * (1 + mask[..., None] * (tint - 1)), 0, 1), np.float32)


def _add_side_light(random: Random, face: Sample, pixels: Map) -> Map:
    angle = random.uniform(0, 2 * np.pi)
    u = (np.cos(angle) * (_X - 64) + np.sin(angle) * (_Y - 64)) / random.uniform(8, 50) + random.normal(0, 1)
    share = 1 / (1 + np.exp(-u))
    return np.asarray(pixels * (1 - random.uniform(0.2, 0.8) * share)[..., None], np.float32)


def _add_makeup(random: Random, face: Sample, pixels: Map) -> Map:
    """Add translucent colour on lips, lids, cheeks or anywhere."""
    small = np.zeros((SIDE, SIDE), np.float32)
    mesh = face.mesh
    if random.random() < 0.7:
        outline = mesh[list(regions.OUTER_LIPS)]
        small = np.maximum(small, polygon2mask((SIDE, SIDE), outline[:, ::-1]).astype(np.float32))
    if random.random() < 0.6:
        for eye in (LEFT_EYE, RIGHT_EYE):
            x, y = mesh[list(eye)].mean(0)
            lid = np.exp(-((((_X - x) / 12) ** 2 + ((_Y - y + 3) / random.uniform(4, 8)) ** 2) ** 1.5))
            small = np.maximum(small, lid * random.uniform(0.4, 1))
    if random.random() < 0.4:
        x, y = _draw_point(random, face)
        small = np.maximum(
            small, np.exp(-(((_X - x) / random.uniform(4, 20)) ** 2 + ((_Y - y) / random.uniform(4, 20)) ** 2))
        )
    mask = gaussian_filter(small, random.uniform(0.4, 2.5))[..., None] * random.uniform(0.2, 0.85)
    stained = (
        pixels.mean(-1, keepdims=True) ** random.uniform(0.4, 1.1) * _draw_colour(random) * random.uniform(0.8, 1.8)
    )
    return np.asarray(np.clip(pixels * (1 - mask) + stained * mask, 0, 1), np.float32)


def _add_glasses(random: Random, face: Sample, pixels: Map) -> Map:
    """Add glasses with clear or faintly tinted lenses."""
    thick, colour = random.uniform(0.3, 1.8), _draw_colour(random) * random.uniform(0.1, 1)
    lenses, frame = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.float32)
    half, power = random.uniform([12, 9], [17, 15]), random.uniform(2, 5)
    centres = [face.mesh[list(eye)].mean(0) + np.array([0, random.uniform(0, 3)]) for eye in (LEFT_EYE, RIGHT_EYE)]
    for x, y in centres:
        r = (np.abs((_X - x) / half[0]) ** power + np.abs((_Y - y) / half[1]) ** power) ** (1 / power)
        distance = np.asarray((r - 1) * half.min(), np.float32)
        lenses, frame = (
            np.maximum(lenses, _fill_inside(distance)),
            np.maximum(frame, _fill_inside(np.abs(distance) - thick)),
        )
    inner = [centres[0] + [half[0], -2], centres[1] - [half[0], 2]]
    frame = np.maximum(frame, _fill_inside(_capsule_distance(inner[0], inner[1], thick, thick)))
    tint, share = _draw_colour(random), random.uniform(0, 0.35) * lenses[..., None]
    through_lenses = pixels * (1 - share) + tint * share
    return np.asarray(through_lenses * (1 - frame[..., None]) + colour * frame[..., None], np.float32)


def _add_marks(random: Random, face: Sample, pixels: Map) -> Map:
    """Add moles, freckles, tattoos, wrinkles or stubble."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(random.integers(1, 14))):
        a = _draw_point(random, face)
        b = a + random.normal(0, random.choice([0.5, 6]), 2)
        mask = np.maximum(
            mask, _fill_inside(_capsule_distance(a, b, random.uniform(0.3, 1.4), random.uniform(0.2, 1.0)))
        )
    if random.random() < 0.4:
        low = np.clip((_Y - face.mesh[2, 1]) / 6, 0, 1)
        mask = np.maximum(mask, low * (random.random((SIDE, SIDE)) < random.uniform(0.05, 0.5)) * 0.6)
    return np.asarray(pixels * (1 - random.uniform(0.2, 0.75) * mask)[..., None], np.float32)


_DISTURBANCES = (_add_shaped_light, _add_side_light, _add_makeup, _add_glasses, _add_marks)


def _simulate_camera(random: Random, pixels: Map) -> Map:
    """Vary exposure, colour, sharpness and noise of the whole picture, as cameras do."""
    pixels = pixels * random.uniform(0.6, 1.35)
    if random.random() < 0.5:
        pixels = pixels * (1 + random.normal(0, 0.1, 3))
    grey = pixels.mean(-1, keepdims=True)
    saturation = 0.0 if random.random() < 0.08 else random.uniform(0.5, 1.3)
    pixels = np.clip(grey + (pixels - grey) * saturation, 0, 1) ** random.uniform(0.7, 1.4)
    if random.random() < 0.4:
        pixels = gaussian_filter(pixels, (*[random.uniform(0.3, 1.3)] * 2, 0))
    if random.random() < 0.6:
        pixels = pixels + random.normal(0, random.uniform(0.002, 0.03), (SIDE, SIDE, 1 if random.random() < 0.5 else 3))
    return np.asarray(np.clip(pixels, 0, 1), np.float32)
