# -*- coding: utf-8 -*-
"""Measurements in plain words: for the dialog of Check, for messages and for the text report."""

from __future__ import unicode_literals

from worker_client.errors import Refused
from worker_client.messages import Message
from worker_client.text_files import write_text
from worker_client.texts import _, as_text, ngettext, to_sentence

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterator
    from typing import Any


def describe_verdict(similarity):
    # type: (dict[str, Any]) -> str
    """A recogniser's verdict on the face compared with this same photo."""
    return {
        "protected": _("no longer matched"),
        "mostly protected": _("possibly matched"),
        "recognised": _("still matched"),
    }[similarity["verdict"]]


def describe_other_photos(similarity):
    # type: (dict[str, Any]) -> str
    """A recogniser's verdict on the face compared with other photos of the person."""
    return {
        "lost": _("no longer matched"),
        "may match": _("may still be matched"),
        None: _("not measured"),
    }[_get_other_photos(similarity)]


LIKELY, UNLIKELY, NO = "likely", "unlikely", "no"
# Recognisers of ten that must no longer match other photos of the person for a face to be called protected.
_ENOUGH = 8
# How many left-out faces get a sentence of their own: a group photo may have dozens in its background.
_MAX_NAMED = 3


def count_lost(face):
    # type: (dict[str, Any]) -> tuple[int, int]
    """How many recognisers no longer match the face with other photos of the person, and how many give a verdict."""
    verdicts = [other for other in map(_get_other_photos, face["similarities"]) if other]
    return verdicts.count("lost"), len(verdicts)


def judge(faces):
    # type: (list[dict[str, Any]]) -> str | None
    """Whether others' photos no longer lead to this one: ``LIKELY``, ``UNLIKELY`` or ``NO``; None if it is unknown.

    The least protected face counts.
    """
    counts = [count_lost(face) for face in faces if face["similarities"]]
    if not counts or not all(known for _lost, known in counts):
        return None
    if all(10 * lost >= _ENOUGH * known for lost, known in counts):
        return LIKELY
    return UNLIKELY if all(lost for lost, _known in counts) else NO


def get_question():
    # type: () -> str
    """The question that ``describe_judgement`` answers."""
    return _("Others' photos of this person no longer lead to this one:")


def describe_judgement(judgement):
    # type: (str | None) -> str
    """A judgement in words."""
    return {
        LIKELY: _("likely"),
        UNLIKELY: _("unlikely"),
        NO: _("no"),
        None: _("not measured"),
    }[judgement]


def list_judgement(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """The question with its answer, as the meter shows them; empty if nothing was measured."""
    measured = any(face["similarities"] for face in faces)
    return ["{} {}.".format(get_question(), describe_judgement(judge(faces)))] if measured else []


def choose_title(result):
    # type: (dict[str, Any]) -> str
    """The heading of a run's result: never "Protected" if something is not."""
    judgement = judge(result["faces"])
    if judgement == LIKELY and (describe_left_out(result) or _lacks_faces(result)):
        return _("Not every face is protected")
    return {
        LIKELY: _("Protected"),
        UNLIKELY: _("Not protected well enough"),
        NO: _("Not protected"),
        None: _("Changed"),
    }[judgement]


def describe_left_out(result):
    # type: (dict[str, Any]) -> list[str]
    """Sentences on faces that were wanted but could not be protected.

    Args:
        result: header of a result, with "left_out", see ``faces.list_left_out``, after a run.
    """
    skipped = [face for face in result["faces"] if _is_left_out(face)]
    numbers = {face["number"] for face in skipped}
    return describe_skipped(skipped + [face for face in result.get("left_out", ()) if face["number"] not in numbers])


def describe_skipped(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """A sentence for each of the first faces, and one with the number of the others."""
    lines = [describe_face(face) for face in faces[:_MAX_NAMED]]
    rest = len(faces) - len(lines)
    if rest:
        lines.append(ngettext("{} more face was left out.", "{} more faces were left out.", rest).format(rest))
    return lines


def describe_face(face):
    # type: (dict[str, Any]) -> str
    """One sentence on a face compared with other photos of the person, which somebody who searches for them has."""
    if face["skipped"]:
        return _("Face {number} was left out: {reason}.").format(
            number=face["number"], reason=to_sentence(face["skipped"])
        )
    verdicts = [other for other in map(_get_other_photos, face["similarities"]) if other]
    if not verdicts:
        return _("Face {number}: {lost} of {count} recognisers no longer match it with this same photo.").format(
            number=face["number"], lost=_count_same_lost(face), count=len(face["similarities"])
        )
    template = _("Face {number}: {lost} of {count} recognisers no longer match it with other photos of the person.")
    return template.format(number=face["number"], lost=verdicts.count("lost"), count=len(verdicts))


def describe_same_photo(face):
    # type: (dict[str, Any]) -> list[str]
    """A sentence on the face compared with this same photo, unless ``describe_face`` is about that already."""
    if not has_other_photos([face]):
        return []
    template = _("With this same photo {lost} of {count} no longer match it.")
    return [template.format(lost=_count_same_lost(face), count=len(face["similarities"]))]


def has_other_photos(faces):
    # type: (list[dict[str, Any]]) -> bool
    """Whether there are verdicts on other photos of the person; a worker from before an update gives none."""
    return any(_get_other_photos(row) for face in faces for row in face["similarities"])


def explain_verdicts(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """What the verdict on other photos means, if there is one."""
    explanation = _(
        "Other photos count as no longer matched where at least four of five such matches were lost at this similarity"
        " in our measurements."
    )
    likely = _("Likely: at least four of five recognisers no longer match them; unlikely: fewer; no: none.")
    return [explanation, likely] if has_other_photos(faces) else []


def summarise_result(result):
    # type: (dict[str, Any]) -> str
    """The result of a run in a few lines; ``result`` is the header of "protect"."""
    lines = (
        list_judgement(result["faces"])
        + [to_sentence(warning) for warning in result["warnings"]]
        + describe_left_out(result)
    )
    for face in result["faces"]:
        lines += [] if face["skipped"] else [describe_face(face)] + describe_same_photo(face)
        for row in face["similarities"]:
            if row["held_out"]:
                template = _("{recogniser}, which the search did not use: {verdicts}.")
                lines.append(template.format(recogniser=row["recogniser"], verdicts=_describe_verdicts(row)))
    lines += _describe_stronger(result.get("stronger"), result["faces"])
    return "\n".join(lines + explain_verdicts(result["faces"]) + [get_disclaimer()])


def list_advice(result):
    # type: (dict[str, Any]) -> list[str]
    """The lines below the meter after a run: warnings, left-out faces, what more strength would do, a disclaimer."""
    lines = [to_sentence(warning) for warning in result["warnings"]] + describe_left_out(result)
    return lines + _describe_stronger(result.get("stronger"), result["faces"]) + [get_disclaimer()]


def make_text_report(name, figures):
    # type: (str | bytes, dict[str, Any]) -> str
    """A report to keep, a few lines per face.

    Args:
        name: of the image.
        figures: result of "check", as the worker's protocol describes it, with what ``describe_original`` gives.
    """
    lines = [_("Protect Face: how well “{}” is protected").format(as_text(name)), ""]
    lines += list_conditions(figures) + list_judgement(figures["faces"])
    lines += _describe_faces(figures["faces"])
    if "upload" in figures:
        lines += [describe_upload(figures["upload"]), ""] + list_judgement(figures["upload"]["faces"])
        lines += _describe_faces(figures["upload"]["faces"])
    lines += list_reminders(figures)
    lines += explain_verdicts(figures["faces"])
    lines += [_("Below its threshold a recogniser takes the two faces for two people."), get_disclaimer()]
    return "\n".join(lines) + "\n"


def describe_original(name, known, layer):
    # type: (str | bytes, bool, str | bytes | None) -> dict[str, Any]
    """The entry "original" of the figures of a "check".

    Args:
        name: of the original's layer, image or file.
        known: whether it is known to be the unprotected photo, and not only assumed.
        layer: name of the judged image's layer with the unprotected photo; None if there is none.
    """
    return {"name": as_text(name), "known": known, "layer": None if layer is None else as_text(layer)}


def list_conditions(figures):
    # type: (dict[str, Any]) -> list[str]
    """The condition under which the figures of a "check" are valid; empty if it is known to be met."""
    original = figures.get("original")
    if not original or original["known"]:
        return []
    return [to_sentence(Message("original-not-certain", name=original["name"]))]


def list_reminders(figures):
    # type: (dict[str, Any]) -> list[str]
    """What the user should know besides the figures of a "check"."""
    lines = [to_sentence(warning) for warning in figures.get("warnings", ())]
    original = figures.get("original")
    if original and original["layer"] is not None:
        lines.append(to_sentence(Message("original-inside", name=original["layer"])))
    return lines


def describe_upload(upload):
    # type: (dict[str, Any]) -> str
    """The heading of the figures after an upload."""
    return _("After a typical upload (JPEG {quality}, {width} pixels wide)").format(**upload)


def get_disclaimer():
    # type: () -> str
    """The sentence that goes with every figure."""
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
        raise Refused("report-not-written", path=as_text(path), reason=as_text(error.strerror or ""))


def _get_other_photos(similarity):
    # type: (dict[str, Any]) -> str | None
    return similarity.get("other_photos")


def _is_left_out(face):
    # type: (dict[str, Any]) -> bool
    """Whether a face could not be protected or judged, rather than not being wanted."""
    return bool(face.get("skipped")) and face["skipped"]["code"] != "face-not-chosen"


def _lacks_faces(result):
    # type: (dict[str, Any]) -> bool
    """Whether faces that were wanted are missing from a result."""
    return any(warning["code"] == "not-every-face" for warning in result["warnings"])


def _count_same_lost(face):
    # type: (dict[str, Any]) -> int
    return sum(row["verdict"] == "protected" for row in face["similarities"])


def _describe_verdicts(similarity):
    # type: (dict[str, Any]) -> str
    """Both verdicts of a recogniser; the numbers are those of this same photo."""
    same_photo = _("this same photo {same} ({after:.2f}, threshold {far1:.2f})").format(
        same=describe_verdict(similarity), after=similarity["after"], far1=similarity["far1"]
    )
    if _get_other_photos(similarity) is None:
        return same_photo
    return _("other photos {others}, {same}").format(others=describe_other_photos(similarity), same=same_photo)


def _describe_stronger(stronger, faces):
    # type: (dict[str, Any] | None, list[dict[str, Any]]) -> list[str]
    """A line on what more strength would do, if that is known and a recogniser may still match a face."""
    if not stronger or not any(_get_other_photos(row) == "may match" for face in faces for row in face["similarities"]):
        return []
    template = _(
        "Strength {higher:g} lost {more:.0f} % of matches with other photos in our measurements, {strength:g} lost"
        " {lost:.0f} % (recognisers that the search did not use)."
    )
    shares = {"more": 100 * stronger["higher_lost"], "lost": 100 * stronger["lost"]}
    return [template.format(higher=stronger["higher"], strength=stronger["strength"], **shares)]


def _describe_faces(faces):
    # type: (list[dict[str, Any]]) -> Iterator[str]
    for face in faces:
        yield describe_face(face)
        for line in describe_same_photo(face):
            yield line
        for row in face["similarities"]:
            yield _("  {recogniser}: {verdicts}").format(recogniser=row["recogniser"], verdicts=_describe_verdicts(row))
        yield ""
