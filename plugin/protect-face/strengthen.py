"""Strengthen: searches again from the image as it looks now, and keeps the user's edits and the shape."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gi.repository import Gimp
from worker_client.faces import list_left_out
from worker_client.settings import (
    VISIBLE,
    list_protected_faces,
    make_job_header,
    make_strengthen_settings,
    name_layer,
)
from worker_client.texts import _

import layers
import pairs
import run
from layers import Source, make_source
from masks import Mask
from originals import Original, get_run_record
from pixels import Rect
from procedures import connect_with_progress, show_progress
from run_settings import STRONGER, apply_offer, restore_settings


def strengthen(selected: Source, photo: Gimp.Layer, stronger: bool = False, steps: int = 0) -> dict[str, Any]:
    """Inserts one more layer on top and returns the worker's result.

    Args:
        selected: the selected layer.
        photo: the unprotected photo, a layer of the same image.
        stronger: whether to search with a higher strength than the previous run.
        steps: of the search; 0 for the usual number.

    Raises:
        WorkerProblem: with nothing changed.
    """
    record = get_run_record(selected)
    settings = restore_settings(make_strengthen_settings(record["requested"] if record else {}, steps))
    if stronger:
        settings = apply_offer(settings, STRONGER)
    source = make_source(selected.image, [photo])
    with connect_with_progress() as worker:
        faces = list_protected_faces(layers.list_run_records(source.image), source.tattoo, source.area.size)
        detection = run.detect(worker, source, faces, show_progress)
        with pairs.opened(Original(layer=photo), selected, VISIBLE) as pair:
            rects = pair.clip_rects(run.get_rects(detection))
            limits = [_limit_to_selection(source, rect) for rect in rects]
            header = make_job_header(asdict(settings)) | {
                "faces": pairs.keep_inside(detection, rects),
                "full": source.area.size,
            }
            pictures = pair.read_pictures(rects, "original", "photo") + run.read_selections(source, rects)
            digest = run.digest_photo(pair.before, source.form, rects)
            job = worker.submit("protect", header, pictures)
        result = job.result(show_progress, lazily=True)
        layer = run.build_layer(source, settings, result.pictures, limits)
    layer.set_name(_("{} (strengthened)").format(name_layer(asdict(settings))))
    layer.set_opacity(100)
    run.attach_run_record(layer, source, settings, result, rects, digest)
    layers.insert(source, layer, on_top=True)
    return result.header | {"left_out": list_left_out(detection, faces)}


def _limit_to_selection(source: Source, rect: Rect) -> Mask | None:
    """The selection as the only limit: layer masks have already been applied to the visible image."""
    return None if Gimp.Selection.is_empty(source.image) else Mask(rect, layers.read_selection(source, rect))
