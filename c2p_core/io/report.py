"""Reports on a run: short sentences for people and JSON for programs, which claim no more than was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from c2p_core.api import Computation, FaceReport, ProtectRequest, Similarity, Stronger
from c2p_core.errors import Message
from c2p_core.version import __version__

SCHEMA = 2
NO_PROMISE = "No protection holds against every present or future recogniser."
# What the verdict on other photos means.
OTHER_PHOTOS = (
    "Other photos count as no longer matched where at least four of five such matches were lost at this similarity in "
    "our measurements."
)
_OTHER_VERDICTS = {"lost": "other photos no longer matched", "may match": "other photos may still be matched"}
_SAME_VERDICTS = {
    "protected": "this same photo no longer matched",
    "mostly protected": "this same photo possibly matched",
    "recognised": "this same photo still matched",
}


def describe_face_report(face: FaceReport) -> str:
    """A sentence on a face: matches with other photos of the person and with this same one, and held-out verdicts."""
    if face.skipped:
        return f"Face {face.number} was skipped: {face.skipped}."
    if not face.similarities:
        return f"Face {face.number} was left as it is."
    references = _describe_references(face.similarities)
    judged = [similarity for similarity in face.similarities if similarity.other_photos is not None]
    same_photo = _count_recognisers(
        sum(s.verdict == "protected" for s in face.similarities), len(face.similarities), "this same photo"
    )
    held_out = _describe_held_out(face.similarities)
    if not judged:
        return f"Face {face.number}: {same_photo}. {references}{held_out}."
    lost = sum(similarity.other_photos == "lost" for similarity in judged)
    other_photos = _count_recognisers(lost, len(judged), "other photos of the person")
    remaining = f", {len(judged) - lost} may still do so" if lost < len(judged) else ""
    return f"Face {face.number}: {other_photos}{remaining}; {same_photo}. {references}{held_out}."


def judged_by_other_photos(faces: Sequence[FaceReport]) -> bool:
    """Whether a report on these faces needs the explanation `OTHER_PHOTOS`."""
    return any(similarity.other_photos is not None for face in faces for similarity in face.similarities)


def describe_stronger(stronger: Stronger | None, faces: Sequence[FaceReport]) -> str:
    """The effect of a higher strength; empty where it is unknown or no recogniser may still match a face."""
    if stronger is None or not any(s.other_photos == "may match" for face in faces for s in face.similarities):
        return ""
    return (
        f"Strength {stronger.higher:g} lost {100 * stronger.higher_lost:.0f} % of matches with other photos in our "
        f"measurements, {stronger.strength:g} lost {100 * stronger.lost:.0f} % (recognisers that the search did not "
        "use)."
    )


def _count_recognisers(lost: int, count: int, what: str) -> str:
    verb = "recogniser no longer matches" if count == 1 else "recognisers no longer match"
    return f"{lost} of {count} {verb} it with {what}"


def _describe_references(similarities: Sequence[Similarity]) -> str:
    """A sentence on the matches with references, with a space at its end; empty without references."""
    lost = [after < s.far1 for s in similarities for before, after in s.references if before >= s.far1]
    return f"Matches with the reference photos lost: {sum(lost)} of {len(lost)}. " if lost else ""


def _describe_held_out(similarities: Sequence[Similarity]) -> str:
    unseen = [similarity for similarity in similarities if similarity.held_out]
    if not unseen:
        return "All of them took part in the search, so that there is no independent figure"
    if len(unseen) == len(similarities):
        highest = max(unseen, key=lambda s: (s.other_photos == "may match", s.after - s.far1))
        return f"The closest is {_describe_similarity(highest)}"
    return f"The search did not use {'; '.join(map(_describe_similarity, unseen))}"


def _describe_similarity(similarity: Similarity) -> str:
    """One recogniser's verdicts; the figures are those of this same photo."""
    verdicts = [_OTHER_VERDICTS[similarity.other_photos]] if similarity.other_photos else []
    figures = f"similarity {similarity.after:.2f}, threshold {similarity.far1:.2f}"
    verdicts.append(f"{_SAME_VERDICTS[similarity.verdict]} ({figures})")
    return f"{similarity.recogniser}: {', '.join(verdicts)}"


def photo_report(
    source: Path | str,
    target: Path | None,
    faces: Sequence[FaceReport],
    warnings: Sequence[Message] = (),
    request: ProtectRequest | None = None,
    stronger: Stronger | None = None,
    computation: Computation | None = None,
) -> dict[str, Any]:
    """One photo's part of the report, ready for ``json.dumps``.

    Args:
        source: path or URL of the photo that was read.
        target: the protected photo.
        faces: the measurements.
        warnings: messages for the user about the run.
        request: the settings of the run, None for ``c2p check``.
        stronger: the effect of a higher strength, None where it is unknown.
        computation: device and models of the run, None for ``c2p check``.
    """
    report: dict[str, Any] = {"photo": str(source), "protected": str(target) if target else None}
    if request is not None:
        omitted = ("photo", "original", "layers", "references", "looks")
        settings = {name: value for name, value in vars(request).items() if name not in omitted}
        settings["references"] = len(request.references)
        settings["looks"] = [
            {
                "face": look.face,
                "prompt": look.prompt,
                "strength": look.strength,
                "seed": look.seed,
                "locks": look.locks,
            }
            for look in request.looks
        ]
        report["settings"] = settings
        report["stronger"] = stronger_report(stronger, faces)
        report["computation"] = computation_report(computation)
    report["faces"] = [face_report(face) for face in faces]
    report["warnings"] = [warning.described() for warning in warnings]
    return report


def describe_metadata(source_type: str | None, sidecars: Sequence[Path]) -> dict[str, Any]:
    """A result's metadata in the report: IPTC's Digital Source Type, where it has one, and its sidecars."""
    return {"digital_source_type": source_type, "sidecars": [str(path) for path in sidecars]}


def failure_report(source: Path | str, message: Message, exit_code: int) -> dict[str, Any]:
    """The report's part on a photo that could not be protected."""
    return {"photo": str(source), "error": message.described(), "exit_code": exit_code}


def document(photos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole report; ``docs/report.md`` describes its fields."""
    return {"schema": SCHEMA, "program": f"protect-face {__version__}", "statement": NO_PROMISE, "photos": list(photos)}


def face_report(face: FaceReport) -> dict[str, Any]:
    """One face's part of the report, ready for ``json.dumps``."""
    robustness = [
        {"degradation": degraded.degradation, "similarities": _similarity_rows(degraded.similarities)}
        for degraded in face.robustness
    ]
    rows = {"similarities": _similarity_rows(face.similarities), "robustness": robustness}
    skipped = face.skipped.described() if face.skipped else None
    return asdict(face) | rows | {"skipped": skipped, "sentence": describe_face_report(face)}


def stronger_report(stronger: Stronger | None, faces: Sequence[FaceReport]) -> dict[str, Any] | None:
    """The effect of a higher strength, ready for ``json.dumps``; None where it is unknown."""
    return None if stronger is None else asdict(stronger) | {"sentence": describe_stronger(stronger, faces)}


def computation_report(computation: Computation | None) -> dict[str, Any] | None:
    """The device and models of a run, ready for ``json.dumps``; None where they are unknown."""
    return None if computation is None else vars(computation) | {"why": computation.why.described()}


def _similarity_rows(similarities: Sequence[Similarity]) -> list[dict[str, Any]]:
    return [asdict(s) | {"verdict": s.verdict, "other_photos": s.other_photos} for s in similarities]
