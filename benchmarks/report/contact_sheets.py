"""Contact sheets and close-ups for looking at. They show the shared faces and real people, and are never committed."""

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
# What a cell shows around the face box, as a share of the box's longer side.
AROUND = 0.3
GREY = (110, 110, 110)


@dataclass(frozen=True)
class Shown:
    """One protected picture as sheets show it.

    Attributes:
        name: of the face, in file names.
        original, protected: the pictures' files.
        box: (x0, y0, x1, y1) of the face in the original.
        line: what is written above.
    """

    name: str
    original: Path
    protected: Path
    box: tuple[float, float, float, float]
    line: str


def amplify_difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """Difference of two RGB pictures of one size times `AMPLIFY` around middle grey."""
    change = np.asarray(after, np.int16) - np.asarray(before, np.int16)
    return Image.fromarray(np.clip(128 + AMPLIFY * change, 0, 255).astype(np.uint8))


def _crop_box(shown: Shown, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = shown.box
    reach = (0.5 + AROUND) * max(x1 - x0, y1 - y0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    low, high = (max(0, int(x - reach)), max(0, int(y - reach))), (int(x + reach) + 1, int(y + reach) + 1)
    return low[0], low[1], min(size[0], high[0]), min(size[1], high[1])


def caption_picture(row: ProtectRow) -> str:
    """Face, prior, and similarity against threshold for every recogniser; held-out ones carry a star."""
    name = f"{row.setting.face}   {row.setting.prior}".rstrip()
    if not row.face_after:
        return f"{name}   NO FACE FOUND AFTER"
    marks = []
    for s in row.scores:
        star, sign = "*" if s.role == "held-out" else "", "<" if s.after < s.far1 else ">"
        marks.append(f"{s.recogniser}{star} {s.after:.2f} {sign} {s.far1:.2f}")
    return f"{name}   " + "  ".join(marks)


def caption_other_photos(row: OthersRow) -> str:
    """Numbers of person and photo, prior, expression, and how many of the matching other photos still match."""
    name = f"{row.setting.face}   {row.setting.prior}"
    if not row.face_after:
        return f"{name}   NO FACE FOUND AFTER"
    marks = []
    for s in row.scores:
        matched = [after for before, after in s.others.values() if before >= s.far1]
        kept = sum(after is not None and after >= s.far1 for after in matched)
        marks.append(f"{s.recogniser}{'*' if s.role == 'held-out' else ''} {kept}/{len(matched)}")
    return f"{name}   expression {row.natural.expression or 0.0:.1f}   still matched: " + "  ".join(marks)


def _crop_panels(shown: Shown) -> tuple[Image.Image, Image.Image]:
    """Original and protected picture, cut to the face."""
    before = Image.open(shown.original).convert("RGB")
    after = Image.open(shown.protected).convert("RGB")
    box = _crop_box(shown, before.size)
    return before.crop(box), after.crop(box)


def draw_strip(face: Sequence[Shown]) -> Image.Image:
    """Before and after side by side, the face `FACE_PX` wide, with a line of text for each picture of it.

    Of one picture the difference is shown too; of several, such as one for each prior, each one.
    """
    cells = _list_cells(face)
    if len(face) == 1:
        cells.append(amplify_difference(*cells))
    return _join(cells, FACE_PX / (face[0].box[2] - face[0].box[0]), [shown.line for shown in face])


def draw_closeup(face: Sequence[Shown]) -> Image.Image:
    """Before and after at full size, enlarged by a whole number when narrower than `CLOSEUP_PX`."""
    cells = _list_cells(face)
    return _join(cells, max(1, -(-CLOSEUP_PX // cells[0].width)), [shown.line for shown in face])


def _list_cells(face: Sequence[Shown]) -> list[Image.Image]:
    """The face in the original, and in each picture of it."""
    pairs = [_crop_panels(shown) for shown in face]
    return [pairs[0][0], *(after for _, after in pairs)]


def _join(cells: Sequence[Image.Image], scale: float, lines: Sequence[str]) -> Image.Image:
    size = (round(cells[0].width * scale), round(cells[0].height * scale))
    top = CAPTION_PX * len(lines)
    sheet = Image.new("RGB", ((size[0] + 4) * len(cells) - 4, size[1] + top), GREY)
    for at, cell in enumerate(cells):
        sheet.paste(cell.resize(size, Image.Resampling.LANCZOS), (at * (size[0] + 4), top))
    for at, text in enumerate(lines):
        place = (4, 4 + CAPTION_PX * at)
        ImageDraw.Draw(sheet).text(place, text, fill=(255, 255, 255), font=ImageFont.load_default(13))
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
    """Write all sheets (or, with ``close``, one close-up a face) of one method and return their paths, sorted.

    Faces that one of several ``priors`` has no picture of are left out; methods that search nothing have the prior "".
    """
    found = rows.by_setting(rows.read(folders.rows / PROTECT_FILE, rows.ProtectRow)).values()
    by_face: dict[str, dict[str, Shown]] = {}
    for row in sorted(found, key=lambda r: r.setting.face):
        of = row.setting
        wanted = (of.method, of.strength, of.hold_out) == (method, strength, hold_out) and of.prior in priors
        if wanted and row.face_before and (folders.pictures / of.picture).exists():
            original = next(p for p in sorted(photos.glob(f"{of.face}.*")) if p.suffix.lower() != ".txt")
            shown = Shown(of.face, original, folders.pictures / of.picture, row.box, caption_picture(row))
            by_face.setdefault(of.face, {})[of.prior] = shown
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
    """The same of the photos of people of whom there are others, ``people`` as `data.list_people` numbers them."""
    found = rows.by_setting(rows.read(folders.rows / OTHERS_FILE, rows.OthersRow)).values()
    by_face: dict[str, dict[str, Shown]] = {}
    for row in sorted(found, key=lambda r: list(people).index(r.setting.face) if r.setting.face in people else -1):
        of = row.setting
        wanted = (of.strength, of.hold_out) == (strength, hold_out) and of.prior in priors and of.face in people
        if wanted and row.face_before and (folders.pictures / of.picture).exists():
            name, picture = of.face.replace("/", "-"), folders.pictures / of.picture
            by_face.setdefault(name, {})[of.prior] = Shown(
                name, people[of.face], picture, row.box, caption_other_photos(row)
            )
    folder = "-".join(["others", *priors, f"s{strength:g}", hold_out])
    return _write(by_face, priors, folders.pictures, folder, per_sheet, close)


def _write(
    by_face: Mapping[str, Mapping[str, Shown]],
    priors: Sequence[str],
    pictures: Path,
    name: str,
    per_sheet: int,
    close: bool,
) -> list[Path]:
    """Sheets or close-ups of the faces that all priors have a picture of."""
    wanted = [[by_prior[p] for p in priors] for by_prior in by_face.values() if len(by_prior) == len(priors)]
    folder = pictures / ("closeups" if close else "sheets") / name
    made = []
    for first in range(0, len(wanted), per_sheet):
        group = wanted[first : first + per_sheet]
        path = folder / (f"{group[0][0].name}.png" if close else f"{first // per_sheet:02d}.png")
        folder.mkdir(parents=True, exist_ok=True)
        _stack([(draw_closeup if close else draw_strip)(face) for face in group]).save(path)
        made.append(path)
    return made
