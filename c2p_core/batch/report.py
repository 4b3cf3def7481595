"""The report of a folder of results: ``report.csv`` with a line a photo, and ``report.html`` to look at.

The page needs nothing but the files beside it. It shows as many photos as a browser shows at ease; further ones are on
pages of their own in the report's folder.
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

from c2p_core.batch.journal import Journal, Row
from c2p_core.batch.recorder import AFTER, BEFORE, thumbnail_name
from c2p_core.batch.result_readers import ResultReader
from c2p_core.batch.sources import PAGE, REPORT_FOLDER, TABLE
from c2p_core.batch.words import count, describe_time
from c2p_core.io.atomic_files import write_whole
from c2p_core.io.report import NO_PROMISE, OTHER_PHOTOS
from c2p_core.version import __version__

_PER_PAGE = 60
# Spreadsheets run what begins so.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
# What stands in a string for a byte that is no text, and halves of characters.
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class Figures:
    """What one recogniser says of all protected faces.

    Attributes:
        name: of the recogniser.
        held_out: whether it took part in no search.
        faces: that it compared.
        others_known, others_lost: how many of these have a verdict on other photos of the person, and how many of them
            it no longer matches with those.
        same_lost: how many it no longer matches with the very photo, at FAR 1 %.
        before, after: sums of the similarities to the photo.
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
class Counted:
    """What the pages say of all photos."""

    protected: int = 0
    without_face: int = 0
    failed: int = 0
    faces: int = 0
    seconds: float = 0.0
    figures: dict[str, Figures] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Count one photo."""
        self.protected += row.state == "done"
        self.without_face += row.state == "without-face"
        self.failed += row.state == "failed"
        self.faces += row.faces
        self.seconds += row.seconds
        for face in row.report.get("faces", ()):
            for similarity in face["similarities"]:
                name = _printable(similarity["recogniser"])
                self.figures.setdefault(name, Figures(name)).add(similarity)


@dataclass(frozen=True)
class _Shown:
    """A protected photo on a page."""

    name: str
    source: str
    link: str
    before: str | None
    after: str | None
    sentences: tuple[str, ...]
    faces: int


def write_report(folder: Path, journal: Journal, reader: ResultReader) -> Path:
    """Write both forms of the report on all that the journal knows; returns the page's path.

    Args:
        folder: of the report.
        journal: what it tells of.
        reader: where the results are, and small pictures that are not in the folder.

    Raises:
        CannotWrite: it can't be written.
    """
    counted, table = Counted(), _Table()
    shown: list[_Shown] = []
    failed: list[tuple[str, str]] = []
    without: list[str] = []
    used: set[str] = set()
    for row in journal.rows():
        counted.add(row)
        table.add(row)
        if row.state == "done":
            shown.append(_show(folder, row, reader))
            used |= {thumbnail_name(row.thumbnails, which) for which in (BEFORE, AFTER) if row.thumbnails}
        elif row.state == "failed":
            failed.append((_printable(row.place), _printable(row.report["error"]["text"])))
        else:
            without.append(_printable(row.place))
    write_whole(folder / TABLE, table.written())
    pages = [shown[at : at + _PER_PAGE] for at in range(0, len(shown), _PER_PAGE)] or [[]]
    pages_of = Environment(loader=PackageLoader("c2p_core.batch", "."), autoescape=True, trim_blocks=True)
    pages_of.filters |= {"span": describe_time, "several": count}
    template = pages_of.get_template("report.html.jinja")
    names = [PAGE, *(f"{REPORT_FOLDER}/page-{number}.html" for number in range(2, len(pages) + 1))]
    for index, (name, photos) in enumerate(zip(names, pages, strict=True)):
        up = "" if index == 0 else "../"
        text = template.render(
            counted=counted,
            photos=photos,
            failed=failed if index == 0 else [],
            without=without if index == 0 else [],
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
    _remove_unused(folder / REPORT_FOLDER, used | {Path(name).name for name in names})
    return folder / PAGE


def _remove_unused(folder: Path, used: set[str]) -> None:
    """Small pictures of results that are no more, and pages of a longer report."""
    for path in (*folder.glob("*.jpg"), *folder.glob("page-*.html")):
        if path.name not in used:
            path.unlink(missing_ok=True)


def _show(folder: Path, row: Row, reader: ResultReader) -> _Shown:
    target = row.target or row.place
    pictures = [thumbnail_name(row.thumbnails, which) if row.thumbnails else "" for which in (BEFORE, AFTER)]
    before, after = (
        f"{REPORT_FOLDER}/{name}" if name and _is_there(folder, name, reader) else None for name in pictures
    )
    sentences = [face["sentence"] for face in row.report["faces"]]
    sentences += [warning["text"] for warning in row.report["warnings"]]
    if reader.stat(target) is None:
        sentences.append("The result is not in its place any more; the next run makes it again.")
    link = "/".join(quote(os.fsencode(part)) for part in Path(target).parts)
    return _Shown(
        _printable(target), _printable(row.source), link, before, after, tuple(map(_printable, sentences)), row.faces
    )


def _is_there(folder: Path, picture: str, reader: ResultReader) -> bool:
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
        # Of several faces, the one that a recogniser still finds most alike.
        for similarity in (s for face in faces for s in face["similarities"]):
            name = _printable(similarity["recogniser"])
            self._recognisers[name] = None
            if similarity["after"] >= float(str(line.get(f"{name} similarity", -1))):
                line[f"{name} similarity"] = f"{similarity['after']:.3f}"
                line[f"{name} same photo"] = similarity["verdict"]
                line[f"{name} other photos"] = similarity["other_photos"] or "not measured"
        self._lines.append(line)

    def written(self) -> bytes:
        """UTF-8 with a mark, by which Excel knows it."""
        columns = [*self._FIXED]
        for name in self._recognisers:
            columns += [f"{name} {what}" for what in ("similarity", "same photo", "other photos")]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="")
        writer.writerow({name: _cell(name) for name in columns})
        writer.writerows({name: _cell(value) for name, value in line.items()} for line in self._lines)
        return text.getvalue().encode("utf-8-sig")


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    number = value.lstrip("-").replace(".", "", 1).isdigit()
    return f"'{_printable(value)}" if value.startswith(_FORMULAS) and not number else _printable(value)


def _printable(text: str) -> str:
    """A name as it can be shown, where its bytes are no text, or its characters are none."""
    return _SURROGATES.sub("\ufffd", text)
