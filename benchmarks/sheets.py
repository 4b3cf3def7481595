"""Contact sheets and close-ups for looking at. They show the shared faces and are never committed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import rows
from benchmarks.data import Places
from benchmarks.rows import PROTECT_FILE, ProtectRow

AMPLIFY = 8
FACE_PX = 300
CLOSEUP_PX = 700
CAPTION_PX = 22
# What a cell shows around the face box, as a share of the box's longer side.
AROUND = 0.3
GREY = (110, 110, 110)


def amplified_difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """Difference of two RGB pictures of one size times `AMPLIFY` around middle grey."""
    change = np.asarray(after, np.int16) - np.asarray(before, np.int16)
    return Image.fromarray(np.clip(128 + AMPLIFY * change, 0, 255).astype(np.uint8))


def _crop_box(row: ProtectRow, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = row.box
    reach = (0.5 + AROUND) * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    low, high = (max(0, int(x - reach)), max(0, int(y - reach))), (int(x + reach) + 1, int(y + reach) + 1)
    return low[0], low[1], min(size[0], high[0]), min(size[1], high[1])


def caption(row: ProtectRow) -> str:
    """Name of the face, and similarity against threshold for every recogniser; held-out ones carry a star."""
    if not row.face_after:
        return f"{row.setting.face}   NO FACE FOUND AFTER"
    marks = []
    for s in row.scores:
        star, sign = "*" if s.role == "held-out" else "", "<" if s.after < s.far1 else ">"
        marks.append(f"{s.recogniser}{star} {s.after:.2f} {sign} {s.far1:.2f}")
    return f"{row.setting.face}   " + "  ".join(marks)


def _panels(row: ProtectRow, photos: Path, pictures: Path) -> tuple[Image.Image, Image.Image]:
    """Original and protected picture, cut to the face."""
    original = next(p for p in sorted(photos.glob(f"{row.setting.face}.*")) if p.suffix.lower() != ".txt")
    before = Image.open(original).convert("RGB")
    after = Image.open(pictures / row.setting.picture).convert("RGB")
    box = _crop_box(row, before.size)
    return before.crop(box), after.crop(box)


def strip(row: ProtectRow, photos: Path, pictures: Path) -> Image.Image:
    """Before, after, difference side by side with a caption, the face `FACE_PX` wide."""
    before, after = _panels(row, photos, pictures)
    scale = FACE_PX / (row.box[2] - row.box[0])
    size = (round(before.width * scale), round(before.height * scale))
    cells = [p.resize(size, Image.Resampling.LANCZOS) for p in (before, after, amplified_difference(before, after))]
    return _side_by_side(cells, caption(row))


def closeup(row: ProtectRow, photos: Path, pictures: Path) -> Image.Image:
    """Before and after at full size, enlarged by a whole number when narrower than `CLOSEUP_PX`."""
    before, after = _panels(row, photos, pictures)
    factor = max(1, -(-CLOSEUP_PX // before.width))
    size = (before.width * factor, before.height * factor)
    return _side_by_side([p.resize(size, Image.Resampling.LANCZOS) for p in (before, after)], caption(row))


def _side_by_side(cells: list[Image.Image], text: str) -> Image.Image:
    width = sum(cell.width for cell in cells) + 4 * (len(cells) - 1)
    sheet = Image.new("RGB", (width, cells[0].height + CAPTION_PX), GREY)
    x = 0
    for cell in cells:
        sheet.paste(cell, (x, CAPTION_PX))
        x += cell.width + 4
    ImageDraw.Draw(sheet).text((4, 4), text, fill=(255, 255, 255), font=ImageFont.load_default(13))
    return sheet


def _stack(strips: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), GREY)
    y = 0
    for part in strips:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet


def make(
    places: Places, photos: Path, method: str, strength: float, hold_out: str, per_sheet: int, close: bool
) -> list[Path]:
    """Write all sheets (or, with ``close``, one close-up a face) of one method and return their paths, sorted."""
    found = rows.by_setting(rows.read(places.rows / PROTECT_FILE, rows.protect_row)).values()
    wanted = [
        row
        for row in sorted(found, key=lambda r: r.setting.face)
        if (row.setting.method, row.setting.strength, row.setting.hold_out) == (method, strength, hold_out)
        and row.face_before
        and (places.pictures / row.setting.picture).exists()
    ]
    kind = "closeups" if close else "sheets"
    folder = places.pictures / kind / f"{method}-s{strength:g}-{hold_out}"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for first in range(0, len(wanted), per_sheet):
        group = wanted[first : first + per_sheet]
        name = group[0].setting.face if close else f"{first // per_sheet:02d}"
        draw = closeup if close else strip
        path = folder / f"{name}.png"
        _stack([draw(row, photos, places.pictures) for row in group]).save(path)
        made.append(path)
    return made
