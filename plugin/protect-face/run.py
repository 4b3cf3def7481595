"""One run: ask which faces are there, send what belongs to them, wait, and put the layer in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from typing import Any

import worker_client
from gi.repository import Gegl, Gimp
from worker_client import Event, Job, Picture, Worker
from worker_client.bytewise import times
from worker_client.faces import chosen, regions
from worker_client.faces import find as find_faces
from worker_client.parts import bounds, changes, masks, selection
from worker_client.parts import products as product_pictures
from worker_client.texts import _
from worker_client.wishes import PRODUCTS, WHOLE_LAYER, job_settings, layer_name, memory

import layers
from layers import Limit, Region, Source
from pixels import MASK_FORMAT, Format, Rect, read, reduced, strips
from products import product_group
from wishes import Wishes

Tell = Callable[[Event], None]


def connect(on_waiting: Callable[[float], object] | None = None) -> Worker:
    """The user's worker, started when it does not run.

    Raises:
        WorkerProblem: there is none that fits.
    """
    # Constants, because Gimp.version() asks GIMP, which only the main thread may; the dialog connects in another.
    client = f"GIMP {Gimp.MAJOR_VERSION}.{Gimp.MINOR_VERSION}.{Gimp.MICRO_VERSION}"
    return worker_client.connect(on_waiting, client=client)


def find_pictures(source: Source, buffer: Gegl.Buffer, with_selection: bool = True) -> list[Picture]:
    """What "find" looks at: the layer, whose pixels ``buffer`` has, and the selection, both reduced."""
    width, height = worker_client.search_size(source.area.width, source.area.height)
    scale = width / source.area.width
    form, small = source.form, Rect(0, 0, width, height)
    strip = reduced(buffer, small, scale, form.name, form.pixel_bytes)
    pictures = [Picture("photo", 0, 0, width, height, form.channels, form.depth, form.icc, strip)]
    if with_selection and not Gimp.Selection.is_empty(source.image):
        there = small.moved(round(source.offset[0] * scale), round(source.offset[1] * scale))
        strip = reduced(source.image.get_selection().get_buffer(), there, scale, MASK_FORMAT, 1)
        pictures.append(Picture("selection", 0, 0, width, height, 1, "u8", strips=strip))
    return pictures


def find(
    worker: Worker, source: Source, faces: str | list[int], tell: Tell, with_selection: bool = True
) -> dict[str, Any]:
    """What the worker found, as ``worker_client.faces.find`` gives it.

    Raises:
        WorkerProblem: there is no face, or none in the selection.
    """
    Gimp.progress_set_text(_("Looking for faces…"))
    selecting = not Gimp.Selection.is_empty(source.image)

    def ask(header: dict[str, Any]) -> Job:
        with layers.as_shown(source.layer) as buffer:
            return worker.submit("find", header, find_pictures(source, buffer, with_selection))

    return find_faces(ask, source.area.size, faces, selecting, tell)


def protect(worker: Worker, source: Source, wishes: Wishes, tell: Tell) -> dict[str, Any]:
    """Searches, puts the new layer in and returns what the worker said of it.

    Raises:
        WorkerProblem: with nothing changed.
    """
    found = find(worker, source, wishes.faces, tell)
    layers.check_there(source)
    rects = regions_of(found)
    limits = [layers.limit_of(source, rect) for rect in rects]
    header = job_settings(asdict(wishes)) | {"faces": chosen(found), "full": source.area.size}
    with layers.as_shown(source.layer) as buffer:
        photos = [photo_of(buffer, source.form, rect) for rect in rects]
        job = worker.submit("protect", header, photos + selections(source, rects))
    result = job.result(tell)
    layer = built(source, wishes, result.pictures, limits)
    layers.remember(layer, memory(source.tattoo, source.area.size, layer.get_tattoo(), asdict(wishes), result))
    layers.insert(source, layer)
    return result.header


def regions_of(found: dict[str, Any]) -> list[Rect]:
    """The rectangles that have to travel, from the result of "find"."""
    return [Rect(*region) for region in regions(found)]


def photo_of(
    buffer: Gegl.Buffer, form: Format, rect: Rect, name: str = "photo", shift: tuple[int, int] = (0, 0)
) -> Picture:
    """A rectangle that is read strip by strip while it is sent.

    Args:
        buffer: to read from.
        form: the format that travels.
        rect: where it says it lies.
        name: of the picture.
        shift: from there to where it lies in the buffer.
    """
    bands = (read(buffer, strip.moved(*shift), form.name) for strip in strips(rect, form.pixel_bytes))
    return Picture(name, rect.x, rect.y, rect.width, rect.height, form.channels, form.depth, form.icc, bands)


def selections(source: Source, rects: Sequence[Rect]) -> list[Picture]:
    """What of rectangles of the layer is selected; none when nothing is, which stands for everything."""
    if Gimp.Selection.is_empty(source.image):
        return []
    return [selection(astuple(rect), layers.selected(source, rect)) for rect in rects]


def built(source: Source, wishes: Wishes, pictures: Sequence[Picture], limits: Sequence[Limit | None]) -> Gimp.Layer:
    """The layer or group that the worker's pictures make, not yet in the image.

    Raises:
        Refused: nothing was changed, or the image or the layer is no longer what it was.
    """
    name = layer_name(asdict(wishes))
    if wishes.output == PRODUCTS:
        changed = {Rect(*there): mask for there, mask in masks(pictures).items()}
        shown = [(rect, visible(rect, mask, limits)) for rect, mask in changed.items()]
        return product_group(source, name, product_pictures(pictures), shown)
    parts = [
        Region(picture, mask, visible(Rect(*bounds(picture)), mask, limits)) for picture, mask in changes(pictures)
    ]
    make = layers.whole_layer if wishes.output == WHOLE_LAYER else layers.result_layer
    return make(source, name, parts)


def visible(rect: Rect, mask: bytes, limits: Sequence[Limit | None]) -> bytes:
    """Where a changed rectangle is to be seen, one byte a pixel."""
    for limit in limits:
        if limit is not None and rect.within(limit.rect) == rect:
            return times(mask, limit.part(rect))
    return mask
