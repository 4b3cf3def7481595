"""One run: ask which faces are there, send what belongs to them, wait, and put the layer in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import worker_client
from gi.repository import Gimp
from worker_client import Event, Job, Picture, Worker, WorkerProblem
from worker_client.bytewise import times

import layers
from layers import Limit, Region, Source
from pixels import MASK_FORMAT, Format, Rect, read, reduced, strips
from products import product_group
from texts import Refused, _, sentence
from wishes import PRODUCTS, SELECTED, WHOLE_LAYER, Wishes

Tell = Callable[[Event], None]


def connect(on_waiting: Callable[[float], object] | None = None) -> Worker:
    """The user's worker, started when it does not run.

    Raises:
        Refused: there is none that fits.
    """
    # Constants, because Gimp.version() asks GIMP, which only the main thread may; the dialog connects in another.
    client = f"GIMP {Gimp.MAJOR_VERSION}.{Gimp.MINOR_VERSION}.{Gimp.MICRO_VERSION}"
    try:
        return worker_client.connect(on_waiting, client=client)
    except WorkerProblem as problem:
        raise Refused(sentence(problem.sentence)) from problem


def finished(job: Job, tell: Tell) -> Event:
    """Waits for a job's result and tells of every event before it.

    Raises:
        Refused: the job failed or was cancelled.
    """
    for event in job.events():
        if event.kind == "error":
            raise Refused(sentence(event.header["sentence"]))
        if event.kind == "result":
            return event
        tell(event)
    raise Refused(_("The worker said nothing; try again."))


def submit(worker: Worker, kind: str, header: dict[str, Any], pictures: Sequence[Picture] = ()) -> Job:
    """Gives the worker a job.

    Raises:
        Refused: the worker has gone.
    """
    try:
        return worker.submit(kind, header, pictures)
    except WorkerProblem as problem:
        raise Refused(sentence(problem.sentence)) from problem


def find_pictures(source: Source) -> list[Picture]:
    """What "find" looks at: the layer and the selection, both reduced."""
    width, height = worker_client.search_size(source.area.width, source.area.height)
    scale = width / source.area.width
    form, small = source.form, Rect(0, 0, width, height)
    strip = reduced(source.layer.get_buffer(), small, scale, form.name, form.pixel_bytes)
    pictures = [Picture("photo", 0, 0, width, height, form.channels, form.depth, form.icc, strip)]
    if not Gimp.Selection.is_empty(source.image):
        there = small.moved(round(source.offset[0] * scale), round(source.offset[1] * scale))
        strip = reduced(source.image.get_selection().get_buffer(), there, scale, MASK_FORMAT, 1)
        pictures.append(Picture("selection", 0, 0, width, height, 1, "u8", strips=strip))
    return pictures


def find(worker: Worker, source: Source, faces: str | list[int], tell: Tell) -> dict[str, Any]:
    """What the worker found, as its protocol describes the result of "find".

    Args:
        worker: to ask.
        source: the layer to look at.
        faces: as the procedure's argument, or the numbers that an earlier look gave.
        tell: gets the events.

    Raises:
        Refused: there is no face, or none in the selection.
    """
    Gimp.progress_set_text(_("Looking for faces…"))
    inside = not Gimp.Selection.is_empty(source.image)
    if faces == SELECTED and not inside:
        raise Refused(_("Nothing is selected; select a face or choose all faces, and try again."))
    header = {
        "full": source.area.size,
        "choose": "selected" if faces == SELECTED else faces,
    }
    found = finished(submit(worker, "find", header, find_pictures(source)), tell).header
    if not found["chosen"]:
        raise Refused(_nobody(found["faces"]))
    if not any(face["selected"] > 0 for face in chosen(found)):
        raise Refused(_("The selection holds no part of a face; select the face, or select nothing, and try again."))
    return found


def protect(worker: Worker, source: Source, wishes: Wishes, tell: Tell) -> dict[str, Any]:
    """Searches, puts the new layer in and returns what the worker said of it.

    Raises:
        Refused: with nothing changed.
    """
    found = find(worker, source, wishes.faces, tell)
    if source.still_there() is None:
        raise Refused(layers.DELETED)
    rects = regions_of(found)
    limits = [layers.limit_of(source, rect) for rect in rects]
    header = job_settings(wishes) | {"faces": chosen(found), "full": source.area.size}
    pictures = [photo_of(source.layer, source.form, rect) for rect in rects]
    result = finished(submit(worker, "protect", header, pictures), tell)
    layer, fill = built(source, wishes, result.pictures, limits)
    layers.remember(layer, memory(source, wishes, result))
    layers.insert(source, layer, fill)
    return result.header


def regions_of(found: dict[str, Any]) -> list[Rect]:
    """The rectangles that have to travel, from the result of "find"."""
    return [Rect(r["x"], r["y"], r["width"], r["height"]) for r in found["regions"]]


def chosen(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The faces that "find" chose."""
    return [face for face in found["faces"] if face["number"] in found["chosen"]]


def memory(source: Source, wishes: Wishes, result: Event) -> dict[str, Any]:
    """What a result layer keeps of its run, for Check and Strengthen."""
    return {
        "version": 1,
        "source": source.tattoo,
        "wishes": asdict(wishes),
        "settings": result.header["settings"],
        "faces": result.header["faces"],
    }


def job_settings(wishes: Wishes) -> dict[str, Any]:
    """The header of "protect" and "preview"."""
    header: dict[str, Any] = {
        "prompt": wishes.prompt,
        "strength": wishes.strength,
        "mode": wishes.mode,
        "prior": wishes.prior,
        "seed": wishes.seed,
        "output": "products" if wishes.output == PRODUCTS else "single",
    }
    if wishes.steps:
        header["steps"] = wishes.steps
    return header


def photo_of(
    layer: Gimp.Layer, form: Format, rect: Rect, name: str = "photo", shift: tuple[int, int] = (0, 0)
) -> Picture:
    """A rectangle that is read strip by strip while it is sent.

    Args:
        layer: to read from.
        form: the format that travels.
        rect: where it says it lies.
        name: of the picture.
        shift: from there to where it lies in the layer.
    """
    buffer = layer.get_buffer()
    bands = (read(buffer, strip.moved(*shift), form.name) for strip in strips(rect, form.pixel_bytes))
    return Picture(name, rect.x, rect.y, rect.width, rect.height, form.channels, form.depth, form.icc, bands)


def built(
    source: Source, wishes: Wishes, pictures: Sequence[Picture], limits: Sequence[Limit | None]
) -> tuple[Gimp.Layer, Callable[[], None] | None]:
    """The layer or group that the worker's pictures make, not yet in the image, and what fills a group.

    Raises:
        Refused: nothing was changed, or the image is no longer there.
    """
    name = wishes.prompt.strip() or _("Protected face")
    masks = {bounds(picture): b"".join(picture.strips) for picture in pictures if picture.name == "mask"}
    if not masks:
        raise Refused(_("Nothing was changed; raise the strength and try again."))
    if wishes.output == PRODUCTS:
        shown = [(rect, visible(rect, mask, limits)) for rect, mask in masks.items()]
        return product_group(source, name, [p for p in pictures if p.name in ("skin", "product")], shown)
    regions = [
        Region(picture, masks[bounds(picture)], visible(bounds(picture), masks[bounds(picture)], limits))
        for picture in pictures
        if picture.name == "protected"
    ]
    make = layers.whole_layer if wishes.output == WHOLE_LAYER else layers.result_layer
    return make(source, name, regions), None


def visible(rect: Rect, mask: bytes, limits: Sequence[Limit | None]) -> bytes:
    """Where a changed rectangle is to be seen, one byte a pixel."""
    for limit in limits:
        if limit is not None and rect.within(limit.rect) == rect:
            return times(mask, limit.part(rect))
    return mask


def bounds(picture: Picture) -> Rect:
    return Rect(picture.x, picture.y, picture.width, picture.height)


def _nobody(faces: list[dict[str, Any]]) -> str:
    """Why no face was chosen."""
    if not faces:
        return _("No face was found; use a photo in which a face can be seen from the front.")
    if all(face["skipped"] for face in faces):
        words = _("No face can be protected: {reason}; use a larger version of the photo.")
        return words.format(reason=faces[0]["skipped"])
    return _("There is no face inside the selection; select one or choose all faces, and try again.")
