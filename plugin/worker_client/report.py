# -*- coding: utf-8 -*-
"""What was measured, in plain words: for the dialog of Check, for messages and for the text report."""

from __future__ import unicode_literals

from worker_client.files import write_text
from worker_client.problem import Refused
from worker_client.texts import _, as_text, sentence

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterator
    from typing import Any


def verdict(similarity):
    # type: (dict[str, Any]) -> str
    """What a recogniser makes of the face."""
    return {
        "protected": _("no longer matches"),
        "mostly protected": _("not sure"),
        "recognised": _("still recognises"),
    }[similarity["verdict"]]


def headline(face):
    # type: (dict[str, Any]) -> str
    """One sentence on a face."""
    if face["skipped"]:
        return _("Face {number} was left out: {reason}.").format(
            number=face["number"], reason=sentence(face["skipped"])
        )
    rows = face["similarities"]
    lost = sum(row["verdict"] == "protected" for row in rows)
    return _("Face {number}: {lost} of {count} recognisers no longer match it.").format(
        number=face["number"], lost=lost, count=len(rows)
    )


def summary(result):
    # type: (dict[str, Any]) -> str
    """What a run came to, in a few lines; ``result`` is the header of "protect"."""
    lines = [sentence(warning) for warning in result["warnings"]]
    for face in result["faces"]:
        lines.append(headline(face))
        lines += [
            _("{recogniser}, which never saw the photo, scores {after:.2f} (threshold {far1:.2f}).").format(**row)
            for row in face["similarities"]
            if row["held_out"]
        ]
    return "\n".join(lines + [no_promise()])


def text_report(name, figures):
    # type: (str | bytes, dict[str, Any]) -> str
    """A report to keep, a few lines per face.

    Args:
        name: of the image.
        figures: result of "check", as the worker's protocol describes it.
    """
    lines = [_("Protect Face: how well “{}” is protected").format(as_text(name)), ""]
    lines += _faces(figures["faces"])
    if "upload" in figures:
        lines += [upload_title(figures["upload"]), ""]
        lines += _faces(figures["upload"]["faces"])
    lines += warnings(figures)
    lines += [_("Below its threshold a recogniser takes the two faces for two people."), no_promise()]
    return "\n".join(lines) + "\n"


def warnings(figures):
    # type: (dict[str, Any]) -> list[str]
    """What the user should know of how a "check" went; nothing from a worker that does not tell."""
    return [sentence(warning) for warning in figures.get("warnings", ())]


def upload_title(upload):
    # type: (dict[str, Any]) -> str
    """Above the figures after an upload."""
    return _("After a typical upload (JPEG {quality}, {width} pixels wide)").format(**upload)


def no_promise():
    # type: () -> str
    """What has to be said with every figure."""
    return _("No protection holds against every present or future recogniser.")


def write_report(path, text):
    # type: (str | bytes, str) -> None
    """Writes a text report.

    Raises:
        Refused: that is not possible there.
    """
    try:
        write_text(path, text)
    except (IOError, OSError) as error:
        words = _("The report can't be written to {path} ({error}); choose another file.")
        raise Refused(words.format(path=as_text(path), error=as_text(error.strerror or "")))


def _faces(faces):
    # type: (list[dict[str, Any]]) -> Iterator[str]
    for face in faces:
        yield headline(face)
        for row in face["similarities"]:
            yield _("  {recogniser}: {after:.2f}, threshold {far1:.2f}, {verdict}").format(
                recogniser=row["recogniser"], after=row["after"], far1=row["far1"], verdict=verdict(row)
            )
        yield ""
