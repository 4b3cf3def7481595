"""Contact sheets and close-ups for visual inspection. They show the shared faces and real people: never committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import rows
from benchmarks.data import RunFolders
from benchmarks.rows import OTHERS_FILE, PROTECT_FILE, OthersRow, ProtectRow

AMPLIFY = 8
FACE_PX = 300
CLOSEUP_PX = 700
CAPTION_PX = 22
# Margin around the face box in a cell, as a share of the box's longer side.
MARGIN = 0.3
GREY = (110, 110, 110)


@dataclass(frozen=True)
class Entry:
    """One protected picture on a sheet.

    Attributes:
        name: of the face, in file names.
        original, protected: the pictures' files.
        box: (x0, y0, x1, y1) of the face in the original.
        caption: text above the picture.
    """

    name: str
    original: Path
    protected: Path
    box: tuple[float, float, float, float]
    caption: str


def amplify_difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """Difference of two RGB pictures of one size times `AMPLIFY` around middle grey."""
    change = np.asarray(after, np.int16) - np.asarray(before, np.int16)
    return Image.fromarray(np.clip(128 + AMPLIFY * change, 0, 255).astype(np.uint8))


def _crop_box(entry: Entry, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = entry.box
    reach = (0.5 + MARGIN) * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    low, high = (max(0, int(x - reach)), max(0, int(y - reach))), (int(x + reach) + 1, int(y + reach) + 1)
    return low[0], low[1], min(size[0], high[0]), min(size[1], high[1])


def caption_picture(row: ProtectRow) -> str:
    """Face, prior, and similarity against threshold for every recogniser; held-out ones carry a star."""
    name = f"{row.setting.face}   {row.setting.prior}".rstrip()
    if not row.face_after:
        return f"{name}   NO FACE FOUND AFTER"
    labels = []
    for s in row.scores:
        star, sign = "*" if s.role == "held-out" else "", "<" if s.after < s.far1 else ">"
        labels.append(f"{s.recogniser}{star} {s.after:.2f} {sign} {s.far1:.2f}")
    return f"{name}   " + "  ".join(labels)


def caption_other_photos(row: OthersRow) -> str:
    """Numbers of person and photo, prior, expression, and how many of the matching other photos still match."""
    name = f"{row.setting.face}   {row.setting.prior}"
    if not row.face_after:
        return f"{name}   NO FACE FOUND AFTER"
    labels = []
    for s in row.scores:
        similarities_after = [after for before, after in s.others.values() if before >= s.far1]
        still_matched = sum(after is not None and after >= s.far1 for after in similarities_after)
        labels.append(f"{s.recogniser}{'*' if s.role == 'held-out' else ''} {still_matched}/{len(similarities_after)}")
    return f"{name}   expression {row.natural.expression or 0.0:.1f}   still matched: " + "  ".join(labels)


def _crop_panels(entry: Entry) -> tuple[Image.Image, Image.Image]:
    """Original and protected picture, cut to the face."""
    before = Image.open(entry.original).convert("RGB")
    after = Image.open(entry.protected).convert("RGB")
    box = _crop_box(entry, before.size)
    return before.crop(box), after.crop(box)


def draw_strip(face: Sequence[Entry]) -> Image.Image:
    """Before and after side by side, the face `FACE_PX` wide, with a line of text for each picture of it.

    A single picture is followed by its difference; several, such as one for each prior, are shown side by side.
    """
    cells = _list_cells(face)
    if len(face) == 1:
        cells.append(amplify_difference(*cells))
    return _join(cells, FACE_PX / (face[0].box[2] - face[0].box[0]), [entry.caption for entry in face])


def draw_closeup(face: Sequence[Entry]) -> Image.Image:
    """Before and after at full size, enlarged by a whole number when narrower than `CLOSEUP_PX`."""
    cells = _list_cells(face)
    return _join(cells, max(1, -(-CLOSEUP_PX // cells[0].width)), [entry.caption for entry in face])


def _list_cells(face: Sequence[Entry]) -> list[Image.Image]:
    """The face in the original, and in each picture of it."""
    pairs = [_crop_panels(entry) for entry in face]
    return [pairs[0][0], *(after for _, after in pairs)]


def _join(cells: Sequence[Image.Image], scale: float, lines: Sequence[str]) -> Image.Image:
    size = (round(cells[0].width * scale), round(cells[0].height * scale))
    top = CAPTION_PX * len(lines)
    sheet = Image.new("RGB", ((size[0] + 4) * len(cells) - 4, size[1] + top), GREY)
    for index, cell in enumerate(cells):
        sheet.paste(cell.resize(size, Image.Resampling.LANCZOS), (index * (size[0] + 4), top))
    for index, text in enumerate(lines):
        position = (4, 4 + CAPTION_PX * index)
        ImageDraw.Draw(sheet).text(position, text, fill=(255, 255, 255), font=ImageFont.load_default(13))
    return sheet


def _stack(strips: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), GREY)
    y = 0
    for part in strips:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet


def draw(
    folders: RunFolders,
    photos: Path,
    method: str,
    strength: float,
    hold_out: str,
    per_sheet: int,
    close: bool,
    priors: Sequence[str],
) -> list[Path]:
    """Write all sheets (or, with ``close``, one close-up per face) of one method and return their paths, sorted.

    Faces without a picture of every prior in ``priors`` are left out; methods without a search have the prior "".
    """
    stored = rows.index_by_setting(rows.read(folders.rows / PROTECT_FILE, rows.ProtectRow)).values()
    by_face: dict[str, dict[str, Entry]] = {}
    for row in sorted(stored, key=lambda r: r.setting.face):
        setting = row.setting
        is_selected = (setting.method, setting.strength, setting.hold_out) == (
            method,
            strength,
            hold_out,
        ) and setting.prior in priors
        if is_selected and row.face_before and (folders.pictures / setting.picture).exists():
            original = next(p for p in sorted(photos.glob(f"{setting.face}.*")) if p.suffix.lower() != ".txt")
            entry = Entry(setting.face, original, folders.pictures / setting.picture, row.box, caption_picture(row))
            by_face.setdefault(setting.face, {})[setting.prior] = entry
    folder = "-".join([method, *filter(None, priors), f"s{strength:g}", hold_out])
    return _write(by_face, priors, folders.pictures, folder, per_sheet, close)


def draw_other_photos(
    folders: RunFolders,
    people: Mapping[str, Path],
    strength: float,
    hold_out: str,
    per_sheet: int,
    close: bool,
    priors: Sequence[str],
) -> list[Path]:
    """The same for people with several photos each, numbered as by `data.list_people`."""
    stored = rows.index_by_setting(rows.read(folders.rows / OTHERS_FILE, rows.OthersRow)).values()
    by_face: dict[str, dict[str, Entry]] = {}
    for row in sorted(stored, key=lambda r: list(people).index(r.setting.face) if r.setting.face in people else -1):
        setting = row.setting
        is_selected = (
            (setting.strength, setting.hold_out) == (strength, hold_out)
            and setting.prior in priors
            and setting.face in people
        )
        if is_selected and row.face_before and (folders.pictures / setting.picture).exists():
            name, picture = setting.face.replace("/", "-"), folders.pictures / setting.picture
            by_face.setdefault(name, {})[setting.prior] = Entry(
                name, people[setting.face], picture, row.box, caption_other_photos(row)
            )
    folder = "-".join(["others", *priors, f"s{strength:g}", hold_out])
    return _write(by_face, priors, folders.pictures, folder, per_sheet, close)


def _write(
    by_face: Mapping[str, Mapping[str, Entry]],
    priors: Sequence[str],
    pictures: Path,
    name: str,
    per_sheet: int,
    close: bool,
) -> list[Path]:
    """Write sheets or close-ups of the faces with a picture of every prior."""
    complete = [[by_prior[p] for p in priors] for by_prior in by_face.values() if len(by_prior) == len(priors)]
    folder = pictures / ("closeups" if close else "sheets") / name
    paths = []
    for first in range(0, len(complete), per_sheet):
        group = complete[first : first + per_sheet]
        path = folder / (f"{group[0][0].name}.png" if close else f"{first // per_sheet:02d}.png")
        folder.mkdir(parents=True, exist_ok=True)
        _stack([(draw_closeup if close else draw_strip)(face) for face in group]).save(path)
        paths.append(path)
    return paths
