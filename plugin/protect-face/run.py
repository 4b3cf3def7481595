"""One run: detect faces, send the areas that they need, wait, and insert the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import chain
from typing import Any

import worker_client
from gi.repository import Gegl, Gimp
from worker_client import Event, Job, Picture, Worker, WorkerProblem
from worker_client.errors import Refused
from worker_client.faces import detect_faces, get_chosen_faces, get_face_rects, list_left_out
from worker_client.results import digest_pictures as digest_pictures
from worker_client.results import pack_selection
from worker_client.settings import (
    PRODUCTS,
    WHOLE_LAYER,
    make_amounts_header,
    make_job_header,
    name_layer,
    pack_pixels,
    pack_run_record,
)

import layers
from layers import ChangedArea, Source
from masks import Mask, apply_limit, find_limit, take_masks
from pixels import MASK_FORMAT, Format, Rect, read, read_reduced, split_into_strips
from products import build_product_group
from run_settings import RunSettings

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Choice:
    """The user's choice in the dialog.

    Attributes:
        faces: numbers of the faces; None for those of the settings.
        search: a finished search that the worker keeps, to be applied; None for a new search.
        digest: of the pixels that were searched, see ``PixelDigest``.
        detection: result of "find" for its faces, or for those that could be chosen.
    """

    faces: list[int] | None
    search: str | None
    digest: str
    detection: dict[str, Any]


def connect(on_waiting: Callable[[float], object] | None = None) -> Worker:
    """Connects to the user's worker, and starts one if none runs.

    Raises:
        WorkerProblem: there is none of the right version.
    """
    # Constants, because Gimp.version() calls GIMP, which only the main thread may; the dialog connects in another.
    client = f"GIMP {Gimp.MAJOR_VERSION}.{Gimp.MINOR_VERSION}.{Gimp.MICRO_VERSION}"
    return worker_client.connect(on_waiting, client=client)


def read_detection_pictures(source: Source, buffer: Gegl.Buffer, with_selection: bool = True) -> list[Picture]:
    """The pictures for "find": the layer, whose pixels are in ``buffer``, and the selection, both reduced."""
    width, height = worker_client.choose_detection_size(source.area.width, source.area.height)
    scale = width / source.area.width
    form, small = source.form, Rect(0, 0, width, height)
    strip = read_reduced(buffer, small, scale, form.name, form.pixel_bytes)
    pictures = [Picture("photo", 0, 0, width, height, form.channels, form.depth, form.icc, strip)]
    if with_selection and not Gimp.Selection.is_empty(source.image):
        area = small.translate(round(source.offset[0] * scale), round(source.offset[1] * scale))
        strip = read_reduced(source.image.get_selection().get_buffer(), area, scale, MASK_FORMAT, 1)
        pictures.append(Picture("selection", 0, 0, width, height, 1, "u8", strips=strip))
    return pictures


def detect(
    worker: Worker,
    source: Source,
    faces: str | list[int],
    on_event: OnEvent,
    with_selection: bool = True,
    known: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Detects faces; returns the result of ``worker_client.faces.detect_faces``.

    Args:
        worker: runs the detection.
        source: the layer.
        faces: the setting, or numbers of faces among ``known``.
        on_event: called with the events.
        with_selection: whether the selection counts.
        known: faces that the user chose from.

    Raises:
        WorkerProblem: there is no face, or none in the selection, or the chosen ones have moved.
    """
    on_event(Event("progress", {"stage": "detect", "fraction": 0.0}))  # reading a large photo takes a second
    selecting = not Gimp.Selection.is_empty(source.image)

    def submit_find(header: dict[str, Any]) -> Job:
        with layers.as_shown(source.layer) as buffer:
            return worker.submit("find", header, read_detection_pictures(source, buffer, with_selection))

    return detect_faces(submit_find, source.area.size, faces, selecting, on_event, known)


def protect(
    worker: Worker, source: Source, settings: RunSettings, on_event: OnEvent, choice: Choice | None = None
) -> dict[str, Any]:
    """Searches, or applies the search from the dialog, inserts the new layer and returns the worker's result.

    Returns:
        the header of its result, with the faces that could not be protected as "left_out".

    Raises:
        WorkerProblem: with nothing changed.
    """
    applied = rects = None
    left_out: list[dict[str, Any]] = []
    if choice is not None and choice.search is not None:
        rects, left_out = get_rects(choice.detection), list_left_out(choice.detection, settings.faces)
        applied = _apply(worker, source, settings, on_event, choice, rects)
    if applied is None or rects is None:
        if choice is None or choice.faces is None:
            detection = detect(worker, source, settings.faces, on_event)
        else:
            detection = detect(worker, source, choice.faces, on_event, known=choice.detection["faces"])
        left_out = list_left_out(detection, settings.faces)
        layers.check_there(source)
        rects = get_rects(detection)
        header = make_job_header(asdict(settings)) | {"faces": get_chosen_faces(detection), "full": source.area.size}
        limits = [layers.read_limit(source, rect) for rect in rects]
        with layers.as_shown(source.layer) as buffer:
            photos = [read_photo(buffer, source.form, rect) for rect in rects]
            job = worker.submit("protect", header, photos + read_selections(source, rects))
            digest = digest_photo(buffer, source.form, rects)
        result = job.result(on_event, lazily=True)
    else:
        result, digest = applied
        limits = [layers.read_limit(source, rect) for rect in rects]
    layer = build_layer(source, settings, result.pictures, limits)
    attach_run_record(layer, source, settings, result, rects, digest)
    layers.insert(source, layer)
    return result.header | {"left_out": left_out}


def _apply(
    worker: Worker, source: Source, settings: RunSettings, on_event: OnEvent, choice: Choice, rects: list[Rect]
) -> tuple[Event, str] | None:
    """The result of a search that the worker keeps, and the digest of the photo.

    None if the search is gone, or the pixels have changed since.
    """
    layers.check_there(source)
    with layers.as_shown(source.layer) as buffer:
        photos = (read_photo(buffer, source.form, rect) for rect in rects)
        if digest_pictures(chain(photos, read_selections(source, rects))) != choice.digest:
            return None
        digest = digest_photo(buffer, source.form, rects)
    header = make_amounts_header(asdict(settings))
    header |= {"search": choice.search, "output": make_job_header(asdict(settings))["output"]}
    try:
        return worker.submit("apply", header).result(on_event, lazily=True), digest
    except WorkerProblem as problem:
        if problem.code != "search-gone":
            raise
        return None


def attach_run_record(
    layer: Gimp.Layer, source: Source, settings: RunSettings, result: Event, rects: Sequence[Rect], digest: str
) -> None:
    """Attaches the record that Check and Strengthen need to a layer; ``digest`` is that of the photo in ``rects``."""
    record = pack_run_record(
        source.tattoo,
        source.area.size,
        layer.get_tattoo(),
        asdict(settings),
        result,
        pack_pixels([astuple(rect) for rect in rects], digest),
    )
    layers.attach_run_record(layer, record)


def digest_photo(buffer: Gegl.Buffer, form: Format, rects: Sequence[Rect]) -> str:
    """The digest of a photo's pixels in rectangles, which shows whether they are still the same."""
    return digest_pictures(read_photo(buffer, form, rect) for rect in rects)


def get_rects(detection: dict[str, Any]) -> list[Rect]:
    """The rectangles that have to be sent, from the result of "find"."""
    return [Rect(*rect) for rect in get_face_rects(detection)]


def read_photo(
    buffer: Gegl.Buffer, form: Format, rect: Rect, name: str = "photo", shift: tuple[int, int] = (0, 0)
) -> Picture:
    """A rectangle that is read strip by strip while it is sent.

    Args:
        buffer: to read from.
        form: in which the pixels are sent.
        rect: the picture's rectangle.
        name: of the picture.
        shift: from ``rect`` to the rectangle in the buffer.
    """
    bands = (read(buffer, strip.translate(*shift), form.name) for strip in split_into_strips(rect, form.pixel_bytes))
    return Picture(name, rect.x, rect.y, rect.width, rect.height, form.channels, form.depth, form.icc, bands)


def read_selections(source: Source, rects: Sequence[Rect]) -> list[Picture]:
    """The selection over rectangles of the layer; no pictures if nothing is selected, which means everything."""
    if Gimp.Selection.is_empty(source.image):
        return []
    return [pack_selection(astuple(rect), layers.read_selection(source, rect)) for rect in rects]


def build_layer(
    source: Source, settings: RunSettings, pictures: Sequence[Picture], limits: Sequence[Mask | None]
) -> Gimp.Layer:
    """Builds the layer or group from the worker's pictures, not yet in the image; pictures may be received lazily.

    Raises:
        Refused: nothing was changed, or the image or the layer has changed too much.
    """
    if not pictures:
        raise Refused("nothing-changed")
    name = name_layer(asdict(settings))
    masks: list[Mask] = []
    others = take_masks(pictures, masks)
    if settings.output == PRODUCTS:
        return build_product_group(source, name, others, _show_masks(masks, limits))
    parts = (ChangedArea(picture, masks[-1], find_limit(masks[-1].rect, limits)) for picture in others)
    make = layers.build_whole_layer if settings.output == WHOLE_LAYER else layers.build_result_layer
    return make(source, name, parts)


def _show_masks(masks: Sequence[Mask], limits: Sequence[Mask | None]) -> Iterator[tuple[Rect, bytes]]:
    """Rectangles with the visibility of changes, one byte per pixel."""
    for mask in masks:
        limit = find_limit(mask.rect, limits)
        for rect, changed in mask.iterate_bands():
            yield rect, apply_limit(rect, changed, limit)
