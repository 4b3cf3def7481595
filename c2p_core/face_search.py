"""Searches the faces of a photo (stage 2 of the paper), several at once, as planned by the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

from c2p_core.activations import keep_in_main_memory
from c2p_core.direction import Direction, FaceChange
from c2p_core.face_inversion import PreparedFace
from c2p_core.loaded_run import LoadedRun
from c2p_core.search import SearchResult, search


def search_faces(loaded: LoadedRun, groups: Iterable[Sequence[PreparedFace]]) -> Direction:
    """Search the inverted faces of a photo.

    Args:
        loaded: the run.
        groups: of faces that are searched at once.

    Raises:
        Cancelled: the run was cancelled.
    """
    run, models = loaded.run, loaded.models
    changes: list[FaceChange] = []
    for group in groups:
        start_time = time.perf_counter()
        with keep_in_main_memory() if run.plan.lean else nullcontext():
            results = search([face.face_search for face in group], models.optimised, run.cancel)
        seconds_per_face = (time.perf_counter() - start_time) / len(group)
        changes += [
            _make_face_change(face, result, seconds_per_face) for face, result in zip(group, results, strict=True)
        ]
    return Direction(
        run.request,
        loaded.detected.faces,
        tuple(changes),
        models.recognisers,
        models.held_out,
        run.device,
        run.store,
        tuple(loaded.warnings),
        loaded.describe_computation(),
    )


def _make_face_change(prepared: PreparedFace, result: SearchResult, seconds: float) -> FaceChange:
    change = prepared.face_search.inverted.change(result.code)
    return FaceChange(
        prepared.subject, change, result.code, result.steps, prepared.seconds + seconds, prepared.references
    )
