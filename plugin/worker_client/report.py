# -*- coding: utf-8 -*-
"""What was measured, in plain words: for the dialog of Check, for messages and for the text report."""

from __future__ import unicode_literals

from worker_client.errors import Refused
from worker_client.messages import Message
from worker_client.text_files import write_text
from worker_client.texts import _, as_text, ngettext, sentence

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Iterator
    from typing import Any


def verdict(similarity):
    # type: (dict[str, Any]) -> str
    """What a recogniser makes of the face beside this same photo."""
    return {
        "protected": _("no longer matched"),
        "mostly protected": _("possibly matched"),
        "recognised": _("still matched"),
    }[similarity["verdict"]]


def others(similarity):
    # type: (dict[str, Any]) -> str
    """What a recogniser makes of the face beside other photos of the person."""
    return {
        "lost": _("no longer matched"),
        "may match": _("may still be matched"),
        None: _("not measured"),
    }[_others(similarity)]


LIKELY, UNLIKELY, NO = "likely", "unlikely", "no"
# Recognisers of ten that must no longer match other photos of the person for a face to be called protected.
_ENOUGH = 8
# Faces that were left out and get a sentence of their own: a group photo may have dozens in its background.
_MOST_NAMED = 3


def count_lost(face):
    # type: (dict[str, Any]) -> tuple[int, int]
    """Recognisers that no longer match the face with other photos of the person, and all that tell."""
    known = [other for other in map(_others, face["similarities"]) if other]
    return known.count("lost"), len(known)


def judge(faces):
    # type: (list[dict[str, Any]]) -> str | None
    """Whether others' photos no longer lead to this one: ``LIKELY``, ``UNLIKELY`` or ``NO``; None when nobody knows.

    The face that is worst off counts.
    """
    counts = [count_lost(face) for face in faces if face["similarities"]]
    if not counts or not all(known for _lost, known in counts):
        return None
    if all(10 * lost >= _ENOUGH * known for lost, known in counts):
        return LIKELY
    return UNLIKELY if all(lost for lost, _known in counts) else NO


def question():
    # type: () -> str
    """What ``answer`` answers."""
    return _("Others' photos of this person no longer lead to this one:")


def answer(judgement):
    # type: (str | None) -> str
    """A judgement in words."""
    return {
        LIKELY: _("likely"),
        UNLIKELY: _("unlikely"),
        NO: _("no"),
        None: _("not measured"),
    }[judgement]


def judgement_line(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """The question with its answer, as the meter shows them; nothing where no recogniser was asked."""
    measured = any(face["similarities"] for face in faces)
    return ["{} {}.".format(question(), answer(judge(faces)))] if measured else []


def result_title(result):
    # type: (dict[str, Any]) -> str
    """The heading over the result of a run: never "protected" over what is not."""
    judgement = judge(result["faces"])
    if judgement == LIKELY and (left_out(result) or _lacks_faces(result)):
        return _("Not every face is protected")
    return {
        LIKELY: _("Protected"),
        UNLIKELY: _("Not protected well enough"),
        NO: _("Not protected"),
        None: _("Changed"),
    }[judgement]


def left_out(result):
    # type: (dict[str, Any]) -> list[str]
    """What to say of faces that were wanted and could not be protected.

    Args:
        result: header of a result, with "left_out", see ``faces.list_left_out``, after a run.
    """
    skipped = [face for face in result["faces"] if _is_left_out(face)]
    told = {face["number"] for face in skipped}
    return name_left_out(skipped + [face for face in result.get("left_out", ()) if face["number"] not in told])


def name_left_out(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """A sentence for each of these faces, and for the rest of many their number."""
    lines = [headline(face) for face in faces[:_MOST_NAMED]]
    more = len(faces) - len(lines)
    if more:
        lines.append(ngettext("{} more face was left out.", "{} more faces were left out.", more).format(more))
    return lines


def headline(face):
    # type: (dict[str, Any]) -> str
    """One sentence on a face: beside other photos of the person, which are what somebody has who searches for them."""
    if face["skipped"]:
        return _("Face {number} was left out: {reason}.").format(
            number=face["number"], reason=sentence(face["skipped"])
        )
    known = [other for other in map(_others, face["similarities"]) if other]
    if not known:
        return _("Face {number}: {lost} of {count} recognisers no longer match it with this same photo.").format(
            number=face["number"], lost=_same_lost(face), count=len(face["similarities"])
        )
    words = _("Face {number}: {lost} of {count} recognisers no longer match it with other photos of the person.")
    return words.format(number=face["number"], lost=known.count("lost"), count=len(known))


def beside(face):
    # type: (dict[str, Any]) -> list[str]
    """The sentence on this same photo that belongs beside the headline, if that is not about it."""
    if not judged_by_other_photos([face]):
        return []
    words = _("With this same photo {lost} of {count} no longer match it.")
    return [words.format(lost=_same_lost(face), count=len(face["similarities"]))]


def judged_by_other_photos(faces):
    # type: (list[dict[str, Any]]) -> bool
    """Whether anything is known beside other photos of the person; a worker from before an update does not tell."""
    return any(_others(row) for face in faces for row in face["similarities"])


def meaning(faces):
    # type: (list[dict[str, Any]]) -> list[str]
    """What the verdict on other photos means, where there is one."""
    words = _(
        "Other photos count as no longer matched where at least four of five such matches were lost at this similarity"
        " in our measurements."
    )
    likely = _("Likely: at least four of five recognisers no longer match them; unlikely: fewer; no: none.")
    return [words, likely] if judged_by_other_photos(faces) else []


def summary(result):
    # type: (dict[str, Any]) -> str
    """What a run came to, in a few lines; ``result`` is the header of "protect"."""
    lines = judgement_line(result["faces"]) + [sentence(warning) for warning in result["warnings"]] + left_out(result)
    for face in result["faces"]:
        lines += [] if face["skipped"] else [headline(face)] + beside(face)
        for row in face["similarities"]:
            if row["held_out"]:
                words = _("{recogniser}, which the search did not use: {verdicts}.")
                lines.append(words.format(recogniser=row["recogniser"], verdicts=_verdicts(row)))
    lines += _stronger(result.get("stronger"), result["faces"])
    return "\n".join(lines + meaning(result["faces"]) + [no_promise()])


def advice(result):
    # type: (dict[str, Any]) -> list[str]
    """What belongs beside the meter after a run.

    Warnings, who was left out, what more strength would bring, and that nothing is sure.
    """
    lines = [sentence(warning) for warning in result["warnings"]] + left_out(result)
    return lines + _stronger(result.get("stronger"), result["faces"]) + [no_promise()]


def text_report(name, figures):
    # type: (str | bytes, dict[str, Any]) -> str
    """A report to keep, a few lines per face.

    Args:
        name: of the image.
        figures: result of "check", as the worker's protocol describes it, with what ``describe_original`` gives.
    """
    lines = [_("Protect Face: how well “{}” is protected").format(as_text(name)), ""]
    lines += condition(figures) + judgement_line(figures["faces"])
    lines += _faces(figures["faces"])
    if "upload" in figures:
        lines += [upload_title(figures["upload"]), ""] + judgement_line(figures["upload"]["faces"])
        lines += _faces(figures["upload"]["faces"])
    lines += reminders(figures)
    lines += meaning(figures["faces"])
    lines += [_("Below its threshold a recogniser takes the two faces for two people."), no_promise()]
    return "\n".join(lines) + "\n"


def describe_original(name, known, layer):
    # type: (str | bytes, bool, str | bytes | None) -> dict[str, Any]
    """What the figures of a "check" keep of the original, as "original".

    Args:
        name: of its layer, image or file.
        known: whether it is known to be the unprotected photo, rather than said to be.
        layer: name of the layer that the unprotected photo is in the image that was judged; None when there is none.
    """
    return {"name": as_text(name), "known": known, "layer": None if layer is None else as_text(layer)}


def condition(figures):
    # type: (dict[str, Any]) -> list[str]
    """What has to be true for the figures of a "check" to mean anything; nothing when that is known."""
    original = figures.get("original")
    if not original or original["known"]:
        return []
    return [sentence(Message("original-not-certain", name=original["name"]))]


def reminders(figures):
    # type: (dict[str, Any]) -> list[str]
    """What the user should know besides the figures of a "check"; nothing from a worker that does not tell."""
    lines = [sentence(warning) for warning in figures.get("warnings", ())]
    original = figures.get("original")
    if original and original["layer"] is not None:
        lines.append(sentence(Message("original-inside", name=original["layer"])))
    return lines


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
        raise Refused("report-not-written", path=as_text(path), reason=as_text(error.strerror or ""))


def _others(similarity):
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


def _same_lost(face):
    # type: (dict[str, Any]) -> int
    return sum(row["verdict"] == "protected" for row in face["similarities"])


def _verdicts(similarity):
    # type: (dict[str, Any]) -> str
    """Both verdicts of a recogniser; the figures are those of this same photo."""
    words = _("this same photo {same} ({after:.2f}, threshold {far1:.2f})").format(
        same=verdict(similarity), after=similarity["after"], far1=similarity["far1"]
    )
    if _others(similarity) is None:
        return words
    return _("other photos {others}, {same}").format(others=others(similarity), same=words)


def _stronger(stronger, faces):
    # type: (dict[str, Any] | None, list[dict[str, Any]]) -> list[str]
    """A line on what more strength would bring, where that is known and somebody may still match a face."""
    if not stronger or not any(_others(row) == "may match" for face in faces for row in face["similarities"]):
        return []
    words = _(
        "Strength {higher:g} lost {more:.0f} % of matches with other photos in our measurements, {strength:g} lost"
        " {lost:.0f} % (recognisers that the search did not use)."
    )
    shares = {"more": 100 * stronger["higher_lost"], "lost": 100 * stronger["lost"]}
    return [words.format(higher=stronger["higher"], strength=stronger["strength"], **shares)]


def _faces(faces):
    # type: (list[dict[str, Any]]) -> Iterator[str]
    for face in faces:
        yield headline(face)
        for line in beside(face):
            yield line
        for row in face["similarities"]:
            yield _("  {recogniser}: {verdicts}").format(recogniser=row["recogniser"], verdicts=_verdicts(row))
        yield ""
