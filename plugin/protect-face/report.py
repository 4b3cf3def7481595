"""What was measured, in plain words: for the dialog of Check and for its text report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from texts import Refused, _, sentence


def verdict(similarity: dict[str, Any]) -> str:
    """What a recogniser makes of the face."""
    return {
        "protected": _("no longer matches"),
        "mostly protected": _("not sure"),
        "recognised": _("still recognises"),
    }[similarity["verdict"]]


def headline(face: dict[str, Any]) -> str:
    """One sentence on a face."""
    if face["skipped"]:
        return _("Face {number} was left out: {reason}.").format(number=face["number"], reason=face["skipped"])
    rows = face["similarities"]
    lost = sum(row["verdict"] == "protected" for row in rows)
    return _("Face {number}: {lost} of {count} recognisers no longer match it.").format(
        number=face["number"], lost=lost, count=len(rows)
    )


def summary(result: dict[str, Any]) -> str:
    """What a run came to, in a few lines; ``result`` is the header of "protect"."""
    lines = [sentence(warning) for warning in result["warnings"]]
    for face in result["faces"]:
        lines.append(headline(face))
        lines += [
            _("{recogniser}, which never saw the photo, scores {after:.2f} (threshold {far1:.2f}).").format(**row)
            for row in face["similarities"]
            if row["held_out"]
        ]
    return "\n".join([*lines, no_promise()])


def text_report(name: str, figures: dict[str, Any]) -> str:
    """A report to keep, a few lines per face.

    Args:
        name: of the image.
        figures: result of "check", as the worker's protocol describes it.
    """
    lines = [_("Protect Face: how well “{}” is protected").format(name), ""]
    lines += _faces(figures["faces"])
    if "upload" in figures:
        lines += [upload_title(figures["upload"]), ""]
        lines += _faces(figures["upload"]["faces"])
    lines += [_("Below its threshold a recogniser takes the two faces for two people."), no_promise()]
    return "\n".join(lines) + "\n"


def upload_title(upload: dict[str, Any]) -> str:
    return _("After a typical upload (JPEG {quality}, {width} pixels wide)").format(**upload)


def no_promise() -> str:
    return _("No protection holds against every present or future recogniser.")


def write_report(path: Path, text: str) -> None:
    """Writes a text report.

    Raises:
        Refused: that is not possible there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        words = _("The report can't be written to {path} ({error}); choose another file.")
        raise Refused(words.format(path=path, error=error.strerror)) from error


def _faces(faces: list[dict[str, Any]]) -> Iterator[str]:
    for face in faces:
        yield headline(face)
        for row in face["similarities"]:
            yield _("  {recogniser}: {after:.2f}, threshold {far1:.2f}, {verdict}").format(
                recogniser=row["recogniser"], after=row["after"], far1=row["far1"], verdict=verdict(row)
            )
        yield ""
