"""What the user is told of a run: short sentences for people, JSON for programs, and no more than was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from c2p_core.api import FaceReport, ProtectRequest, Similarity
from c2p_core.version import __version__

SCHEMA = 1
NO_PROMISE = "No protection holds against every present or future recogniser."


def face_sentence(face: FaceReport) -> str:
    """One sentence on a face: how many recognisers lost it, and what the held-out ones say."""
    if face.skipped:
        return f"Face {face.number} was skipped: {face.skipped}."
    if not face.similarities:
        return f"Face {face.number} was left as it is."
    lost = sum(similarity.verdict == "protected" for similarity in face.similarities)
    count = len(face.similarities)
    noun = "recogniser no longer matches" if count == 1 else "recognisers no longer match"
    return f"Face {face.number}: {lost} of {count} {noun}; {_honest(face.similarities)}."


def not_every_face(why: str) -> str:
    """The warning that the protection is not whole; ``why`` is a sentence."""
    return f"Not every face was protected: {why}"


def _honest(similarities: Sequence[Similarity]) -> str:
    unseen = [similarity for similarity in similarities if similarity.held_out]
    if not unseen:
        return "all of them took part in the search, so that there is no independent figure"
    if len(unseen) == len(similarities):
        highest = max(unseen, key=lambda similarity: similarity.after - similarity.far1)
        return f"the closest is {highest.recogniser} with {highest.after:.2f} (threshold {highest.far1:.2f})"
    if len(unseen) == 1:
        return f"the one that was never shown the photo scores {unseen[0].after:.2f} (threshold {unseen[0].far1:.2f})"
    scores = " and ".join(f"{similarity.after:.2f} (threshold {similarity.far1:.2f})" for similarity in unseen)
    return f"those that were never shown the photo score {scores}"


def photo_report(
    source: Path,
    target: Path | None,
    faces: Sequence[FaceReport],
    warnings: Sequence[str] = (),
    request: ProtectRequest | None = None,
) -> dict[str, Any]:
    """One photo's part of the report, ready for ``json.dumps``.

    Args:
        source: the photo that was read.
        target: the protected photo.
        faces: what was measured.
        warnings: sentences for the user.
        request: what decided the result, None for ``c2p check``.
    """
    report: dict[str, Any] = {"photo": str(source), "protected": str(target) if target else None}
    if request is not None:
        settings = {name: value for name, value in vars(request).items() if name not in ("photo", "original", "layers")}
        report["settings"] = settings
    report["faces"] = [face_report(face) for face in faces]
    report["warnings"] = list(warnings)
    return report


def failure_report(source: Path, sentence: str, exit_code: int) -> dict[str, Any]:
    """The part of a photo that could not be protected."""
    return {"photo": str(source), "error": sentence, "exit_code": exit_code}


def document(photos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole report; ``docs/report.md`` describes its fields."""
    return {"schema": SCHEMA, "program": f"protect-face {__version__}", "statement": NO_PROMISE, "photos": list(photos)}


def face_report(face: FaceReport) -> dict[str, Any]:
    """One face's part of the report, ready for ``json.dumps``."""
    survival = [
        {"degradation": survived.degradation, "similarities": _similarity_rows(survived.similarities)}
        for survived in face.survival
    ]
    rows = {"similarities": _similarity_rows(face.similarities), "survival": survival}
    return asdict(face) | rows | {"sentence": face_sentence(face)}


def _similarity_rows(similarities: Sequence[Similarity]) -> list[dict[str, Any]]:
    return [asdict(similarity) | {"verdict": similarity.verdict} for similarity in similarities]
