"""A page with the results of a check: both pictures of each face, bars per recogniser, and robustness."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from c2p_core.api import Box, FaceReport, Similarity
from c2p_core.faces.view import View
from c2p_core.io.report import NO_PROMISE, OTHER_PHOTOS, describe_face_report, judged_by_other_photos
from c2p_core.photo import Photo

FACES_ON_PAGE = 4
_WIDTH, _MARGIN, _THUMB, _GAP = 1400, 60, 300, 24
_LINE, _BAR, _CELL = 46, 22, 34
# Text above a face: characters per line, and line height.
_TEXT_COLUMNS, _TEXT_LINE = 112, 30
_INK, _GREY, _RULE, _PAPER = (34, 38, 46), (120, 126, 136), (224, 227, 232), (255, 255, 255)
COLOURS = {"protected": (46, 139, 104), "mostly protected": (221, 164, 45), "recognised": (200, 72, 63)}
_SIGNS = {"protected": "", "mostly protected": "~", "recognised": "="}
NO_FACE = (150, 155, 165)
_MEANING = {
    "protected": "this same photo no longer matches",
    "mostly protected": "matches only at the looser threshold",
    "recognised": "still matches",
}
# Margin of a thumbnail around the face box, as a share of the box's longer side.
_THUMB_MARGIN = 0.35

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Cursor:
    """A position on the page."""

    draw: ImageDraw.ImageDraw
    page: Image.Image
    x: int
    y: int


def page(original: Photo, protected: Photo, faces: Sequence[FaceReport], title: str) -> Photo:
    """The page, 1400 px wide, for the largest ``FACES_ON_PAGE`` faces.

    Args:
        original, protected: the pictures that were compared.
        faces: results of ``compare.check``.
        title: usually the name of the photo.
    """
    visible_faces = faces[:FACES_ON_PAGE]
    heights = [_measure_height(face) for face in visible_faces]
    with_other_photos = judged_by_other_photos(visible_faces)
    sheet = Image.new("RGB", (_WIDTH, 150 + sum(heights) + 130 + _TEXT_LINE * with_other_photos), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 44), "Face recognition check", _INK, _load_font(40))
    draw.text((_MARGIN, 98), title, _GREY, _load_font(22))
    y = 150
    views = (View(original), View(protected))
    for face, height in zip(visible_faces, heights, strict=True):
        draw.line((_MARGIN, y, _WIDTH - _MARGIN, y), _RULE, 2)
        _draw_face(_Cursor(draw, sheet, _MARGIN, y + 24), face, views)
        y += height
    draw.line((_MARGIN, y, _WIDTH - _MARGIN, y), _RULE, 2)
    _draw_legend(_Cursor(draw, sheet, _MARGIN, y + 22))
    hidden = len(faces) - len(visible_faces)
    note = (
        f"{hidden} smaller faces are not shown. " if hidden > 1 else "One smaller face is not shown. " if hidden else ""
    )
    if with_other_photos:
        draw.text((_MARGIN, y + 66), OTHER_PHOTOS, _GREY, _load_font(20))
        y += _TEXT_LINE
    draw.text((_MARGIN, y + 66), note + NO_PROMISE, _GREY, _load_font(20))
    return Photo(np.asarray(sheet))


def _load_font(size: int) -> Font:
    return ImageFont.load_default(size)


def _wrap_sentence(face: FaceReport) -> list[str]:
    return textwrap.wrap(describe_face_report(face), _TEXT_COLUMNS)


def _measure_height(face: FaceReport) -> int:
    text_height = _TEXT_LINE * len(_wrap_sentence(face))
    grid_height = 215 + _CELL * len(face.similarities) if face.robustness else 0
    return text_height + max(_THUMB + 70, 100 + _measure_bars(face)) + grid_height


def _measure_bars(face: FaceReport) -> int:
    """Height of the bars and the captions below them."""
    return _LINE * len(face.similarities) + 24 * judged_by_other_photos([face])


def _draw_face(cursor: _Cursor, face: FaceReport, views: tuple[View, View]) -> None:
    for line, text in enumerate(_wrap_sentence(face)):
        cursor.draw.text((cursor.x, cursor.y + line * _TEXT_LINE), text, _INK, _load_font(22))
    top = cursor.y + _TEXT_LINE * len(_wrap_sentence(face)) + 14
    ratio = (views[1].shape[2] / views[0].shape[2], views[1].shape[1] / views[0].shape[1])
    for index, (view, name, scale) in enumerate(
        zip(views, ("original", "protected"), ((1.0, 1.0), ratio), strict=True)
    ):
        x = cursor.x + index * (_THUMB + _GAP)
        cursor.page.paste(_make_thumbnail(view, face.box, scale), (x, top))
        cursor.draw.text((x, top + _THUMB + 6), name, _GREY, _load_font(18))
    left = cursor.x + 2 * (_THUMB + _GAP) + 20
    for index, similarity in enumerate(face.similarities):
        _draw_bar(cursor, left, top + 10 + _LINE * index, similarity)
    if face.similarities:
        text = "similarity to this same photo; lines: the recogniser's thresholds at FAR 1 % and 0.1 %"
        cursor.draw.text((left, top + 14 + _LINE * len(face.similarities)), text, _GREY, _load_font(18))
    if judged_by_other_photos([face]):
        text = "triangle: up to here, other photos of the person are no longer matched"
        cursor.draw.text((left, top + 38 + _LINE * len(face.similarities)), text, _GREY, _load_font(18))
    if face.robustness:
        _draw_robustness(
            _Cursor(cursor.draw, cursor.page, cursor.x, top + max(_THUMB + 50, 70 + _measure_bars(face))), face
        )


def _make_thumbnail(view: View, box: Box, scale: tuple[float, float]) -> Image.Image:
    """A square around the face; the area outside the photo is grey."""
    x0, y0, x1, y1 = (edge * scale[index % 2] for index, edge in enumerate(box))
    reach = (0.5 + _THUMB_MARGIN) * max(x1 - x0, y1 - y0)
    x, y, side = (x0 + x1) / 2 - reach, (y0 + y1) / 2 - reach, 2 * reach
    height, width = view.shape[1:]
    crop = (max(0, int(x)), max(0, int(y)), min(width, int(x + side) + 1), min(height, int(y + side) + 1))
    shrink = max(1, int(side / _THUMB))
    pixels = (view.read(*crop, shrink).clamp(0, 1).numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0)
    square = Image.new("RGB", (_THUMB, _THUMB), _RULE)
    zoom = _THUMB / side
    size = (max(1, round((crop[2] - crop[0]) * zoom)), max(1, round((crop[3] - crop[1]) * zoom)))
    square.paste(Image.fromarray(pixels).resize(size), (round((crop[0] - x) * zoom), round((crop[1] - y) * zoom)))
    return square


def _draw_bar(cursor: _Cursor, left: int, y: int, similarity: Similarity) -> None:
    label_width, value_width = 150, 70
    start, end = left + label_width, _WIDTH - _MARGIN - value_width
    cursor.draw.text((left, y), similarity.recogniser, _INK, _load_font(20))
    cursor.draw.rounded_rectangle((start, y + 2, end, y + 2 + _BAR), 5, _RULE)
    share = min(1.0, max(0.02, similarity.after))
    colour = COLOURS[similarity.verdict]
    cursor.draw.rounded_rectangle((start, y + 2, start + share * (end - start), y + 2 + _BAR), 5, colour)
    for threshold in (similarity.far1, similarity.far01):
        x = start + threshold * (end - start)
        cursor.draw.line((x, y - 4, x, y + 8 + _BAR), _INK, 2)
    if similarity.other_photos_up_to is not None and similarity.other_photos_up_to >= 0:
        x = start + similarity.other_photos_up_to * (end - start)
        cursor.draw.polygon((x, y + 4 + _BAR, x - 7, y + 14 + _BAR, x + 7, y + 14 + _BAR), _INK)
    cursor.draw.text((end + 12, y), f"{similarity.after:.2f}", _INK, _load_font(20))


def _draw_robustness(cursor: _Cursor, face: FaceReport) -> None:
    """A grid: a row per recogniser, a column per degradation, coloured by verdict."""
    title = "Compared with this same photo, after what happens to published pictures"
    cursor.draw.text((cursor.x, cursor.y), title, _INK, _load_font(22))
    label_width, top = 170, cursor.y + 150
    step = (_WIDTH - 2 * _MARGIN - label_width) / len(face.robustness)
    for column, degraded in enumerate(face.robustness):
        x = round(cursor.x + label_width + column * step)
        label = Image.new("RGB", (150, 24), _PAPER)
        ImageDraw.Draw(label).text((0, 0), degraded.degradation, _GREY, _load_font(18))
        turned = label.rotate(45, Image.Resampling.BICUBIC, expand=True, fillcolor=_PAPER)
        # Labels start above the middle of their column and slant to the right.
        strip = turned.crop((0, 0, min(turned.width, _WIDTH - x), turned.height))
        mask = Image.fromarray((np.asarray(strip.convert("L")) < 250).astype(np.uint8) * 255)
        cursor.page.paste(strip, (x, top - turned.height + 2), mask)
        for row, name in enumerate(s.recogniser for s in face.similarities):
            verdict = next((s.verdict for s in degraded.similarities if s.recogniser == name), None)
            colour = NO_FACE if verdict is None else COLOURS[verdict]
            y = top + row * _CELL
            cursor.draw.rounded_rectangle((x + 4, y + 4, x + step - 4, y + _CELL - 4), 5, colour)
            # Verdicts must be distinguishable without colour.
            sign = "–" if verdict is None else _SIGNS[verdict]
            cursor.draw.text((x + step / 2, y + _CELL / 2), sign, _PAPER, _load_font(20), anchor="mm")
    for row, similarity in enumerate(face.similarities):
        cursor.draw.text((cursor.x, top + row * _CELL + 5), similarity.recogniser, _INK, _load_font(20))


def _draw_legend(cursor: _Cursor) -> None:
    x = cursor.x
    entries = [(COLOURS[verdict], text) for verdict, text in _MEANING.items()]
    for colour, text in [*entries, (NO_FACE, "no face is found")]:
        cursor.draw.rounded_rectangle((x, cursor.y + 2, x + 22, cursor.y + 24), 5, colour)
        cursor.draw.text((x + 32, cursor.y), text, _INK, _load_font(20))
        x += 62 + round(_load_font(20).getlength(text))
