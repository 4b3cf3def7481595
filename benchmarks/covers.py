"""Things before faces: masks, hands, microphones, cups, scarves, hair, other people, sheets, cigarettes, telephones.

Drawn at the photo's resolution, with other shapes and textures than those with which the network of
``c2p_core.faces.visibility`` was trained (``bundle/train/covers.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.transform import resize

from c2p_core.api import Face
from c2p_core.faces.align import align, transform_points
from c2p_core.faces.regions import OVAL

Array = NDArray[np.floating[Any]]
Points = Sequence[Sequence[float]] | NDArray[np.floating]

_SUPERSAMPLING = 3  # samples a photo pixel, in both directions
_EDGE_SIGMA = 0.6  # photo px, Gaussian width of the edges


@dataclass(frozen=True)
class Scene:
    """A face to draw on.

    Attributes:
        pixels: (H, W, 3) sRGB 0..1 of the photo.
        mesh: (468, 2) landmarks in canvas pixels.
        to_photo: (2, 3) maps canvas pixels to photo pixels.
        x, y: (H, W) canvas coordinates of the photo's pixels.
        other: (H', W', 3) sRGB 0..1, another person's photo, cropped to the head.
        random: draws position and look of things.
    """

    pixels: Array
    mesh: Array
    to_photo: NDArray[np.float64]
    x: Array
    y: Array
    other: Array
    random: np.random.Generator

    def fill(self, *shapes: Points) -> Array:
        """(H, W) opacity of polygons, given in canvas pixels."""
        height, width = self.x.shape
        image = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
        for shape in shapes:
            points = transform_points(self.to_photo, np.asarray(shape, np.float64)) * _SUPERSAMPLING
            ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in points], fill=255)
        return np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32) / 255


@dataclass(frozen=True)
class Covered:
    """A photo with something before its face.

    Attributes:
        pixels: (H, W, 3) uint8.
        cover: (H, W) 0..1 opacity of the cover.
    """

    pixels: NDArray[np.uint8]
    cover: Array


def cover_face(photo: NDArray[np.uint8], face: Face, kind: str, other: Array, seed: int) -> Covered:
    """Put a thing before a face.

    Args:
        photo: (H, W, 3) sRGB.
        face: in its pixels.
        kind: a key of ``KINDS``.
        other: (H', W', 3) sRGB 0..1, another person's head, for "person".
        seed: of its position and look.
    """
    alignment = align(face.mesh, face.eye_distance)
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    canvas_points = transform_points(alignment.to_canvas, np.stack([columns + 0.5, rows + 0.5], -1).reshape(-1, 2))
    x, y = canvas_points.reshape(height, width, 2).transpose(2, 0, 1)
    mesh = transform_points(alignment.to_canvas, face.mesh)
    pixels = photo.astype(np.float32) / 255
    random = np.random.default_rng(seed)
    cover, surface = KINDS[kind](Scene(pixels, mesh, alignment.to_photo, x, y, other, random))
    cover = gaussian_filter(cover, _EDGE_SIGMA)
    light = float(np.clip(pixels.mean() / 0.45, 0.6, 1.25))
    grain = random.normal(0, 0.008, (*cover.shape, 3))
    shadow = 1 - 0.3 * gaussian_filter(cover, 0.06 * face.eye_distance)[..., None]
    composite = pixels * shadow * (1 - cover[..., None]) + np.clip(surface * light + grain, 0, 1) * cover[..., None]
    return Covered(np.rint(np.clip(composite, 0, 1) * 255).astype(np.uint8), cover)


def make_outline_mask(face: Face, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) mask of the pixels within a face's outline."""
    image = Image.new("1", shape[::-1])
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in face.mesh[list(OVAL)]], fill=1)
    return np.asarray(image)


def _fill_plain(scene: Scene, colour: Sequence[float]) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32), (*scene.x.shape, 3)).copy()


def _tile(scene: Scene, picture: NDArray[np.floating], scale: float) -> Array:
    """A grey picture 0..1 laid over the canvas again and again; ``scale``: its pixels a canvas pixel."""
    rows, columns = (
        np.mod(axis * scale, side).astype(int) for axis, side in zip((scene.y, scene.x), picture.shape, strict=True)
    )
    return np.asarray(picture[rows, columns], np.float32)


def _make_ellipse(x: float, y: float, width: float, height: float, rotation: float = 0.0) -> Points:
    angle = np.linspace(0, 2 * np.pi, 60)
    u, v = width * np.cos(angle), height * np.sin(angle)
    return np.stack(
        [x + np.cos(rotation) * u - np.sin(rotation) * v, y + np.sin(rotation) * u + np.cos(rotation) * v], -1
    )


def _make_stripe(points: Points, width: float, end: float | None = None) -> Points:
    """The outline of a line with round ends, of ``width`` at its start and ``end`` at its end."""
    line = np.asarray(points, np.float64)
    tangents = np.gradient(line, axis=0)
    normals = np.stack([-tangents[:, 1], tangents[:, 0]], -1) / np.linalg.norm(tangents, axis=1, keepdims=True)
    half = np.linspace(width, width if end is None else end, len(line))[:, None] / 2
    cap_angles = np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1, None]
    caps = []
    for tip, direction, side, radius in (
        (line[-1], tangents[-1], -normals[-1], half[-1]),
        (line[0], -tangents[0], normals[0], half[0]),
    ):
        direction = direction / np.linalg.norm(direction)
        caps.append(tip + radius * (np.cos(cap_angles) * direction - np.sin(cap_angles) * side))
    return np.concatenate([line + normals * half, caps[0][::-1], (line - normals * half)[::-1], caps[1][::-1]])


def _draw_mask(scene: Scene) -> tuple[Array, Array]:
    """A surgical mask: pleats, a wire over the nose, loops to the ears."""
    mesh, random = scene.mesh, scene.random
    left, right, chin = mesh[132], mesh[361], mesh[152]
    top = mesh[197] + [0, random.uniform(-2, 6)]
    outline = [
        left + np.array([2, -8]),
        mesh[117],
        top,
        mesh[346],
        right + np.array([-2, -8]),
        mesh[397] + [0, 2],
        chin + np.array([8, 5]),
        chin + np.array([-8, 5]),
        mesh[172] + [0, 2],
    ]
    loops = [
        _make_stripe([a, (a + b) / 2 + [0, s * 3], b], 1.6)
        for a, b, s in (
            (outline[0], mesh[127], -1),
            (outline[4], mesh[356], -1),
            (outline[8], mesh[93], 1),
            (outline[5], mesh[323], 1),
        )
    ]
    colour = [(0.62, 0.78, 0.88), (0.93, 0.94, 0.95), (0.12, 0.12, 0.14), (0.85, 0.68, 0.75)][int(random.integers(4))]
    pleats = 1 - 0.16 * np.exp(-((((scene.y - mesh[2, 1]) % 14 - 7) / 2.2) ** 2))
    bulge = 1 - 0.25 * ((scene.x - mesh[1, 0]) / 60) ** 2
    weave = 1 + 0.05 * (_tile(scene, data.gravel() / 255, 3.0) - 0.5)
    return scene.fill(outline, *loops), _fill_plain(scene, colour) * (pleats * bulge * weave)[..., None]


def _make_skin(scene: Scene) -> Array:
    """Skin like the face's own, or somebody else's."""
    cheek_points = transform_points(scene.to_photo, scene.mesh[[50, 280, 101, 330]].astype(np.float64)).astype(int)
    height, width = scene.x.shape
    skin_colour = np.median(
        [scene.pixels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] for x, y in cheek_points], axis=0
    )
    skin_colour = np.clip(skin_colour * scene.random.uniform(0.8, 1.1) + [0.02, 0.0, -0.01], 0.05, 1)
    texture = 1 + 0.10 * (_tile(scene, gaussian_filter(data.gravel() / 255, 2), 2.0) - 0.5)
    return _fill_plain(scene, skin_colour) * texture[..., None]


def _draw_hand(scene: Scene) -> tuple[Array, Array]:
    """Four fingers and a thumb over mouth or cheek, the arm from below."""
    mesh, random = scene.mesh, scene.random
    side = random.choice([-1, 1])
    tip = mesh[13] + [side * random.uniform(-4, 26), random.uniform(-18, 10)]
    slope = random.uniform(0.15, 0.7)
    finger_direction = np.array([-side * np.cos(slope), -np.sin(slope)])
    down = np.array([-finger_direction[1] * side, finger_direction[0] * side]) * (
        1 if finger_direction[0] * side < 0 else -1
    )
    down = down if down[1] > 0 else -down
    fingers, creases = [], np.ones_like(scene.x)
    for number in range(4):
        end = tip + down * 13.5 * number + finger_direction * (0, 5, 2, -9)[number]
        start = end - finger_direction * 58
        middle = (start + end) / 2 + down * random.uniform(-2, 2)
        fingers.append(_make_stripe([start, middle, end], 15.0, 11.0))
        distance = np.abs((scene.x - middle[0]) * down[0] + (scene.y - middle[1]) * down[1])
        creases = np.where(distance < 7.5, np.maximum(0.55, 1 - 0.4 * (distance / 7.5) ** 2), creases)
    palm = tip - finger_direction * 52 + down * 22
    thumb = _make_stripe([palm, palm + finger_direction * 16 - down * 34], 16, 12)
    arm = _make_stripe([palm, palm - finger_direction * 20 + [0, 160]], 54, 60)
    shade = creases * (1 - 0.12 * np.clip((scene.y - tip[1]) / 120, -1, 1))
    return scene.fill(*fingers, _make_ellipse(float(palm[0]), float(palm[1]), 30, 33), thumb, arm), _make_skin(
        scene
    ) * shade[..., None]


def _draw_microphone(scene: Scene) -> tuple[Array, Array]:
    """A ball of wire mesh on a handle, before the mouth."""
    mesh, random = scene.mesh, scene.random
    x, y = mesh[14] + [random.uniform(-16, 16), random.uniform(2, 14)]
    radius, lean = random.uniform(19, 27), random.uniform(-0.4, 0.4)
    handle = _make_stripe([(x, y + radius * 0.6), (x + lean * 150, y + 150)], radius * 1.1, radius * 0.9)
    ring = _make_stripe([(x - radius * 0.9, y + radius * 0.55), (x + radius * 0.9, y + radius * 0.55)], 5)
    wires = 0.5 + 0.5 * np.sign(np.sin(scene.x * 1.6) * np.sin(scene.y * 1.6))
    ball = np.hypot(scene.x - x, scene.y - y) < radius
    gloss = np.exp(-((scene.x - x + radius / 3) ** 2 + (scene.y - y + radius / 3) ** 2) / radius**2 * 3)
    grey = np.where(
        ball,
        0.16 + 0.14 * wires + 0.5 * gloss,
        0.09 + 0.12 * np.exp(-(((scene.x - x - lean * (scene.y - y) + 5) / 4) ** 2)),
    )
    return scene.fill(handle, ring, _make_ellipse(x, y, radius, radius)), np.repeat(grey[..., None], 3, -1).astype(
        np.float32
    )


def _draw_cup(scene: Scene) -> tuple[Array, Array]:
    """A mug at the lips, with its handle and a picture on it."""
    mesh, random = scene.mesh, scene.random
    x, y = mesh[13] + [random.uniform(-8, 8), random.uniform(-6, 2)]
    half, height = random.uniform(24, 32), random.uniform(48, 64)
    body = [(x - half, y), (x + half, y), (x + half * 0.88, y + height), (x - half * 0.88, y + height)]
    side = random.choice([-1, 1])
    handle = _make_stripe(
        [
            (x + side * half * 0.9, y + 12),
            (x + side * (half + 17), y + 18),
            (x + side * (half + 15), y + 36),
            (x + side * half * 0.85, y + 44),
        ],
        7,
    )
    round_body = np.sqrt(np.clip(1 - 0.75 * ((scene.x - x) / half) ** 2, 0.15, 1))
    colour = [(0.9, 0.88, 0.84), (0.72, 0.2, 0.16), (0.15, 0.32, 0.35), (0.85, 0.7, 0.3)][int(random.integers(4))]
    print_on = 1 - 0.35 * ((scene.y > y + 16) & (scene.y < y + 36)) * _tile(scene, data.brick() / 255, 5.0)
    return scene.fill(
        body, _make_ellipse(x, y, half, 5), _make_ellipse(x, y + height, half * 0.88, 5), handle
    ), _fill_plain(scene, colour) * (round_body * print_on)[..., None]


def _draw_scarf(scene: Scene) -> tuple[Array, Array]:
    """A knitted scarf, drawn up over mouth and chin."""
    mesh, random = scene.mesh, scene.random
    edge = mesh[2, 1] + random.uniform(-10, 8)
    xs = np.linspace(-60, 316, 40)
    upper = edge + 7 * np.sin(xs / random.uniform(14, 24) + random.uniform(0, 6)) + 0.0016 * (xs - 128) ** 2
    outline = np.concatenate([np.stack([xs, upper], -1), [[316, 400], [-60, 400]]])
    folds = 1 + 0.18 * np.sin((scene.y + 10 * np.sin(scene.x / 30)) / 6.0)
    knit = 0.75 + 0.5 * _tile(scene, data.brick() / 255, 6.0)
    colour = [(0.55, 0.12, 0.14), (0.25, 0.3, 0.42), (0.72, 0.62, 0.5), (0.2, 0.2, 0.2)][int(random.integers(4))]
    return scene.fill(outline), np.clip(_fill_plain(scene, colour) * (folds * knit)[..., None], 0, 1)


def _draw_strand(scene: Scene) -> tuple[Array, Array]:
    """A lock of hair from the parting over an eye and a cheek."""
    mesh, random = scene.mesh, scene.random
    side = random.choice([-1, 1])
    steps = np.linspace(0, 1, 40)
    hairs = []
    for _ in range(70):
        start = mesh[10] + [side * random.normal(4, 7), -22]
        end = mesh[152] + [side * random.normal(58, 10), random.uniform(-20, 30)]
        bow = side * random.normal(26, 5) * np.sin(np.pi * steps) - side * 42 * steps * (1 - steps)
        line = start + (end - start) * steps[:, None] + np.stack([bow, 0 * bow], -1)
        hairs.append(_make_stripe(line, random.uniform(1.2, 3.0), 0.6))
    colour = [(0.10, 0.07, 0.05), (0.36, 0.22, 0.12), (0.72, 0.58, 0.36), (0.5, 0.5, 0.5)][int(random.integers(4))]
    sheen = 0.7 + 0.6 * gaussian_filter(random.random(scene.x.shape), (5, 0.7)) + 0.2 * np.sin(scene.y / 17)
    return scene.fill(*hairs), np.clip(_fill_plain(scene, colour) * sheen[..., None], 0, 1).astype(np.float32)


def _draw_person(scene: Scene) -> tuple[Array, Array]:
    """The head of another person, in front of this one."""
    random = scene.random
    side = random.choice([-1, 1])
    x, y = 128 + side * random.uniform(84, 104), random.uniform(128, 160)
    half, height = 66.0, 92.0
    big = resize(scene.other, (256, 256), anti_aliasing=True)
    column = ((scene.x - x) / half * 80 + 128).clip(0, 255).astype(int)
    row = ((scene.y - y) / height * 112 + 128).clip(0, 255).astype(int)
    return scene.fill(_make_ellipse(x, y, half, height)), np.asarray(big[row, column], np.float32)


def _draw_sheet(scene: Scene) -> tuple[Array, Array]:
    """A printed page before the lower or one side of the face."""
    mesh, random = scene.mesh, scene.random
    angle = random.normal(0, 0.12)
    x, y = mesh[2] + [random.choice([-70, 0, 70]), random.uniform(58, 72)]
    corner = np.array([[-90, -62], [90, -62], [90, 150], [-90, 150]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    text = gaussian_filter(data.text() / 255, 0.6)
    ink = 0.55 + 0.5 * _tile(scene, text, 1.6)
    return scene.fill(corner @ rotation.T + [x, y]), np.clip(
        _fill_plain(scene, (0.95, 0.94, 0.9)) * ink[..., None], 0, 1
    )


def _draw_cigarette(scene: Scene) -> tuple[Array, Array]:
    """A cigarette between the lips, towards the viewer and to a side."""
    mesh, random = scene.mesh, scene.random
    side = random.choice([-1, 1])
    start = mesh[13] + [side * random.uniform(4, 14), 1]
    end = start + np.array([side * random.uniform(26, 44), random.uniform(8, 30)])
    reach = np.hypot(scene.x - start[0], scene.y - start[1]) / np.hypot(*(end - start))
    colour = np.where(
        reach[..., None] < 0.3,
        [0.8, 0.55, 0.3],
        np.where(reach[..., None] > 0.93, [0.35, 0.3, 0.3], [0.95, 0.95, 0.93]),
    )
    return scene.fill(_make_stripe([start, (start + end) / 2, end], 6.0)), colour.astype(np.float32)


def _draw_telephone(scene: Scene) -> tuple[Array, Array]:
    """A telephone held before one side of the face, its back to the viewer."""
    mesh, random = scene.mesh, scene.random
    side = random.choice([-1, 1])
    angle = side * random.uniform(0.05, 0.35)
    x, y = mesh[50 if side < 0 else 280] + [side * random.uniform(6, 18), random.uniform(-8, 14)]
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    body = np.array(
        [[-28, -54], [-24, -58], [24, -58], [28, -54], [28, 54], [24, 58], [-24, 58], [-28, 54]]
    ) @ rotation.T + [x, y]
    lens = np.array([-14, -42]) @ rotation.T + [x, y]
    dark = np.hypot(scene.x - lens[0], scene.y - lens[1]) < 7
    colour = [(0.08, 0.08, 0.1), (0.75, 0.77, 0.8), (0.3, 0.36, 0.5), (0.78, 0.62, 0.58)][int(random.integers(4))]
    gleam = 1 + 0.25 * np.clip((scene.x - x) / 30 + (y - scene.y) / 60, -1, 1)
    surface = _fill_plain(scene, colour) * gleam[..., None]
    return scene.fill(body), np.where(dark[..., None], 0.03, surface).astype(np.float32)


KINDS: dict[str, Callable[[Scene], tuple[Array, Array]]] = {
    "mask": _draw_mask,
    "hand": _draw_hand,
    "microphone": _draw_microphone,
    "cup": _draw_cup,
    "scarf": _draw_scarf,
    "strand of hair": _draw_strand,
    "other person": _draw_person,
    "printed sheet": _draw_sheet,
    "cigarette": _draw_cigarette,
    "telephone": _draw_telephone,
}
