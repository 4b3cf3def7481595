"""The report of a folder of results: ``report.csv`` with one line per photo, and ``report.html`` to look at.

The page needs only the files beside it. It shows as many photos as a browser handles easily; further ones are on
separate pages in the report's folder.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from c2p_core.batch.formatting import format_count, format_duration
from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.recorder import AFTER, BEFORE, make_thumbnail_name
from c2p_core.batch.result_readers import ResultReader
from c2p_core.batch.sources import PAGE, REPORT_FOLDER, TABLE
from c2p_core.io.atomic_files import write_whole
from c2p_core.io.report import NO_PROMISE, OTHER_PHOTOS
from c2p_core.version import __version__

_PER_PAGE = 60
# Spreadsheets run cells that begin with these.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
# They stand for bytes that are not text, or are halves of characters.
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class RecogniserTotals:
    """Totals of one recogniser over all protected faces.

    Attributes:
        name: of the recogniser.
        held_out: whether it took part in no search.
        faces: number of faces compared.
        others_known, others_lost: how many of these have a verdict on other photos of the person, and how many of them
            no longer match those.
        same_lost: how many no longer match the original photo, at FAR 1 %.
        before, after: sums of the similarities to the original photo.
    """

    name: str
    held_out: bool = True
    faces: int = 0
    others_known: int = 0
    others_lost: int = 0
    same_lost: int = 0
    before: float = 0.0
    after: float = 0.0

    def add(self, similarity: dict[str, Any]) -> None:
        """Count one face."""
        self.held_out &= similarity["held_out"]
        self.faces += 1
        self.others_known += similarity["other_photos"] is not None
        self.others_lost += similarity["other_photos"] == "lost"
        self.same_lost += similarity["verdict"] == "protected"
        self.before += similarity["before"]
        self.after += similarity["after"]


@dataclass
class Totals:
    """Totals over all photos."""

    protected: int = 0
    without_face: int = 0
    failed: int = 0
    faces: int = 0
    seconds: float = 0.0
    recognisers: dict[str, RecogniserTotals] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Count one photo."""
        self.protected += row.state == "done"
        self.without_face += row.state == "without-face"
        self.failed += row.state == "failed"
        self.faces += row.faces
        self.seconds += row.seconds
        for face in row.report.get("faces", ()):
            for similarity in face["similarities"]:
                name = _make_printable(similarity["recogniser"])
                self.recognisers.setdefault(name, RecogniserTotals(name)).add(similarity)


@dataclass(frozen=True)
class _PagePhoto:
    """A protected photo on a page."""

    name: str
    source: str
    link: str
    before: str | None
    after: str | None
    sentences: tuple[str, ...]
    faces: int


def write_report(folder: Path, journal: Journal, reader: ResultReader) -> Path:
    """Write both forms of the report on the whole journal; returns the path of the page.

    Args:
        folder: of the report.
        journal: of the results.
        reader: reads the results, and small pictures that are not in the folder.

    Raises:
        CannotWrite: it can't be written.
    """
    totals, table = Totals(), _Table()
    protected: list[_PagePhoto] = []
    failed: list[tuple[str, str]] = []
    without_face: list[str] = []
    used_names: set[str] = set()
    for row in journal.read_rows():
        totals.add(row)
        table.add(row)
        if row.state == "done":
            protected.append(_make_page_photo(folder, row, reader))
            used_names |= {make_thumbnail_name(row.thumbnails, side) for side in (BEFORE, AFTER) if row.thumbnails}
        elif row.state == "failed":
            failed.append((_make_printable(row.place), _make_printable(row.report["error"]["text"])))
        else:
            without_face.append(_make_printable(row.place))
    write_whole(folder / TABLE, table.to_csv())
    pages = [protected[start : start + _PER_PAGE] for start in range(0, len(protected), _PER_PAGE)] or [[]]
    environment = Environment(loader=PackageLoader("c2p_core.batch", "."), autoescape=True, trim_blocks=True)
    environment.filters |= {"duration": format_duration, "count_of": format_count}
    template = environment.get_template("report.html.jinja")
    names = [PAGE, *(f"{REPORT_FOLDER}/page-{number}.html" for number in range(2, len(pages) + 1))]
    for index, (name, photos) in enumerate(zip(names, pages, strict=True)):
        up = "" if index == 0 else "../"
        text = template.render(
            totals=totals,
            photos=photos,
            failed=failed if index == 0 else [],
            without_face=without_face if index == 0 else [],
            up=up,
            first=index * _PER_PAGE,
            number=index + 1,
            pages=[up + other for other in names],
            statement=NO_PROMISE,
            other_photos=OTHER_PHOTOS,
            program=f"Protect Face {__version__}",
            csv=up + TABLE,
        )
        write_whole(folder / name, text.encode())
    _remove_unused(folder / REPORT_FOLDER, used_names | {Path(name).name for name in names})
    return folder / PAGE


def _remove_unused(folder: Path, used: set[str]) -> None:
    """Remove small pictures of results that no longer exist, and pages of a longer report."""
    for path in (*folder.glob("*.jpg"), *folder.glob("page-*.html")):
        if path.name not in used:
            path.unlink(missing_ok=True)


def _make_page_photo(folder: Path, row: Row, reader: ResultReader) -> _PagePhoto:
    target = row.target or row.place
    pictures = [make_thumbnail_name(row.thumbnails, side) if row.thumbnails else "" for side in (BEFORE, AFTER)]
    before, after = (
        f"{REPORT_FOLDER}/{name}" if name and _has_picture(folder, name, reader) else None for name in pictures
    )
    sentences = [face["sentence"] for face in row.report["faces"]]
    sentences += [warning["text"] for warning in row.report["warnings"]]
    if reader.stat(target) is None:
        sentences.append("The result is no longer in its place; the next run makes it again.")
    link = "/".join(quote(os.fsencode(part)) for part in Path(target).parts)
    return _PagePhoto(
        _make_printable(target),
        _make_printable(row.source),
        link,
        before,
        after,
        tuple(map(_make_printable, sentences)),
        row.faces,
    )


def _has_picture(folder: Path, picture: str, reader: ResultReader) -> bool:
    return (folder / REPORT_FOLDER / picture).exists() or reader.stat(f"{REPORT_FOLDER}{os.sep}{picture}") is not None


class _Table:
    """The lines of the CSV; recognisers are columns."""

    _FIXED = ("result", "photo", "state", "reason", "faces", "protected", "seconds", "notes")

    def __init__(self) -> None:
        self._lines: list[dict[str, object]] = []
        self._recognisers: dict[str, None] = {}

    def add(self, row: Row) -> None:
        faces: Sequence[dict[str, Any]] = row.report.get("faces", ())
        line: dict[str, object] = {
            "result": row.target if row.state == "done" else "",
            "photo": row.source,
            "state": row.state,
            "reason": row.report["error"]["text"] if "error" in row.report else "",
            "faces": len(faces),
            "protected": row.faces,
            "seconds": f"{row.seconds:.1f}",
            "notes": " ".join(warning["text"] for warning in row.report.get("warnings", ())),
        }
        # Of several faces, the one that is still the most similar.
        for similarity in (s for face in faces for s in face["similarities"]):
            name = _make_printable(similarity["recogniser"])
            self._recognisers[name] = None
            if similarity["after"] >= float(str(line.get(f"{name} similarity", -1))):
                line[f"{name} similarity"] = f"{similarity['after']:.3f}"
                line[f"{name} same photo"] = similarity["verdict"]
                line[f"{name} other photos"] = similarity["other_photos"] or "not measured"
        self._lines.append(line)

    def to_csv(self) -> bytes:
        """The table as UTF-8 with a byte order mark, which Excel needs."""
        columns = [*self._FIXED]
        for name in self._recognisers:
            columns += [f"{name} {column}" for column in ("similarity", "same photo", "other photos")]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="")
        writer.writerow({name: _format_cell(name) for name in columns})
        writer.writerows({name: _format_cell(value) for name, value in line.items()} for line in self._lines)
        return text.getvalue().encode("utf-8-sig")


def _format_cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    number = value.lstrip("-").replace(".", "", 1).isdigit()
    return f"'{_make_printable(value)}" if value.startswith(_FORMULAS) and not number else _make_printable(value)


def _make_printable(text: str) -> str:
    """Replace bytes of a name that are not text, and halves of characters."""
    return _SURROGATES.sub("\ufffd", text)
