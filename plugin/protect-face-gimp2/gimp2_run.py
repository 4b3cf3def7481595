# -*- coding: utf-8 -*-
"""Protect, Check and Strengthen in GIMP 2.10: sends pixels, and inserts or shows the result; Python 2.7."""

from __future__ import unicode_literals

import os

import worker_client
from gimpfu import gimp, pdb
from worker_client import Picture
from worker_client.constants import DEPTHS
from worker_client.detection_size import WHOLE_PIXELS
from worker_client.errors import Refused
from worker_client.faces import detect_faces, get_chosen_faces, get_face_rects, keep_faces_inside, list_left_out
from worker_client.report import describe_original, make_text_report, summarise_result, write_report
from worker_client.results import (
    digest_pictures,
    get_product_pictures,
    pack_selection,
    pair_with_masks,
    read_masks,
    scale_rect,
)
from worker_client.settings import (
    ALL,
    DEFAULT_PROMPT,
    DEFAULT_STRENGTH,
    LAYER,
    PARASITE,
    PRODUCTS,
    WHOLE_LAYER,
    find_origin,
    find_run_record,
    list_protected_faces,
    make_job_header,
    make_strengthen_settings,
    name_layer,
    pack_pixels,
    pack_run_record,
    replaces,
    unpack_run_record,
)
from worker_client.text_files import to_host_path
from worker_client.texts import _, as_text

from gimp2_layers import Source, copy_drawable, make_opaque, open_file, walk_layers
from gimp2_pixels import intersect, read
from gimp2_procedures import connect_with_progress, show_progress, show_words
from gimp2_texts import to_native

_DEFAULTS = {"prompt": DEFAULT_PROMPT, "strength": DEFAULT_STRENGTH}

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Sequence
    from typing import Any

    from gimpfu import Drawable, Image, Layer
    from worker_client import Event, Job, Worker

    from gimp2_pixels import Rect


def protect(image, drawable, settings):
    # type: (Image, Drawable, dict[str, Any]) -> Layer
    """Searches, inserts the new layer, shows the result, and returns the layer.

    Raises:
        WorkerProblem: with nothing changed.
    """
    layer, result = search_and_insert(image, drawable, settings, show_progress)
    show_words(lambda: summarise_result(result))
    return layer


def search_and_insert(image, drawable, settings, on_event):
    # type: (Image, Drawable, dict[str, Any], Callable[[Event], None]) -> tuple[Layer, dict[str, Any]]
    """Searches and inserts the new layer, without a message.

    Args:
        image, drawable, settings: as in ``protect``.
        on_event: gets the events.

    Returns:
        the layer, and the header of the result with the faces that could not be protected as "left_out".

    Raises:
        WorkerProblem: with nothing changed.
    """
    photo, above = _find_photo(image, drawable)
    with Source(image, photo, above=above) as source, connect_with_progress() as worker:
        detection = _find(worker, source, settings["faces"], on_event)
        rects = get_face_rects(detection)
        source.take()
        pixels = _pack_photo(source, rects)
        pictures = [_read_picture("photo", source.copy, source, rect) for rect in rects]
        result = _search(worker, source, settings, get_chosen_faces(detection), rects, pictures, on_event)
        name = name_layer(settings)
        if settings["output"] == PRODUCTS:
            layer = source.build_product_group(name, get_product_pictures(result.pictures), read_masks(result.pictures))
        elif settings["output"] == WHOLE_LAYER:
            layer = source.build_whole_layer(name, pair_with_masks(result.pictures))
        else:
            layer = source.build_result_layer(name, pair_with_masks(result.pictures))
        record = pack_run_record(source.tattoo, source.size, layer.tattoo, settings, result, pixels)
        source.insert(layer, record, hidden=_list_replaced_layers(image, record, layer.tattoo))
        return layer, dict(result.header, left_out=list_left_out(detection, settings["faces"]))


def strengthen(image, drawable, layer_name, steps):
    # type: (Image, Drawable, str, int) -> Layer
    """Searches again from the visible pixels, inserts one more layer on top and returns it.

    Args:
        image: with the user's edits.
        drawable: the layer that a run made, or any other if a run made one of the image's layers.
        layer_name: name of the unprotected layer; the record of the selected layer takes precedence.
        steps: of the search; 0 for the usual number.

    Raises:
        WorkerProblem: with nothing changed.
    """
    drawable = _get_layer(drawable)
    record = _find_run_record(image, drawable)
    settings = make_strengthen_settings(dict(_DEFAULTS, **(record or {}).get("requested", {})), steps)
    photo = _find_original(image, drawable, layer_name)
    with Source(image, photo, alone=True) as source, connect_with_progress() as worker:
        faces = list_protected_faces(_list_run_records(image), source.tattoo, source.size)
        detection = _find(worker, source, faces, show_progress)
        source.take()
        visible = source.as_seen(image)
        rects = _clip_rects(source, visible, source.offset, get_face_rects(detection))
        pixels = _pack_photo(source, rects)
        pictures = _read_pairs(source, visible, source.offset, rects, "photo")
        inside = keep_faces_inside(get_chosen_faces(detection), rects)
        result = _search(worker, source, settings, inside, rects, pictures, show_progress)
        layer = source.build_result_layer(
            _("{} (strengthened)").format(name_layer(settings)), pair_with_masks(result.pictures)
        )
        text = to_native(summarise_result(dict(result.header, left_out=list_left_out(detection, faces))))
        record_text = pack_run_record(source.tattoo, source.size, layer.tattoo, settings, result, pixels)
        source.insert(layer, record_text, on_top=True)
        gimp.message(text)
        return layer


def check(image, drawable, what, layer_name, path, upload, report):
    # type: (Image, Drawable, str, str, str, bool, str) -> dict[str, Any]
    """Shows the recognisers' verdicts on the image as it looks now, and returns the result of "check".

    Args:
        image: to judge.
        drawable: the layer that a run made, or the one to judge.
        what: ``VISIBLE`` or ``LAYER``.
        layer_name: as in ``strengthen``.
        path: of a file with the unprotected photo, which takes precedence over every layer; empty for none.
        upload: judge it as a typical upload too.
        report: file for a text report, which must not exist yet, because the form keeps its name for the next image;
            empty for none.

    Raises:
        WorkerProblem: it can't be judged, or the report can't be written.
    """
    if report and os.path.lexists(to_host_path(report)):
        raise Refused("report-exists", path=as_text(report))
    drawable = _get_layer(drawable)
    if what == LAYER and not isinstance(drawable, gimp.Layer):
        raise Refused("no-layer")
    with _open_original(image, drawable, layer_name, path) as source, connect_with_progress() as worker:
        detection = None
        if source.size[0] * source.size[1] > WHOLE_PIXELS:
            detection = _find(worker, source, ALL, show_progress, with_selection=False)
        source.drop()
        job, known = _submit_check(worker, image, drawable, what, layer_name, path, upload, detection)
        figures = job.result(show_progress).header
    origin = find_origin(image, _find_run_record(image, drawable))
    layer = source.name if not path else None if origin is None else origin.name
    figures["original"] = describe_original(os.path.basename(path) or source.name, known, layer)
    text = make_text_report(image.name, figures)
    gimp.message(to_native(text))
    if report:
        write_report(report, text)
    return figures


def _submit_check(worker, image, drawable, what, layer_name, path, upload, detection):
    # type: (Worker, Image, Drawable, str, str, str, bool, dict[str, Any] | None) -> tuple[Job, bool]
    """Sends the pair to compare; returns the job, and whether the original is known to be the unprotected photo.

    Args:
        worker: runs the job.
        detection: result of "find" on the original; None to send all of it.
        image, drawable, what, layer_name, path, upload: as in ``check``.

    Raises:
        Refused: the judged pixels are themselves the unprotected photo of a run, and so the original is not.
    """
    with _open_original(image, drawable, layer_name, path) as source:
        source.take()
        if what == LAYER:
            current, corner = copy_drawable(drawable, source.scratch), drawable.offsets
        else:
            current, corner = source.as_seen(image), (0, 0)
        scale, shift = (1.0, 1.0), (source.offset[0] - corner[0], source.offset[1] - corner[1])
        if path:
            # A separate picture shows all of the judged one.
            scale, shift = (float(current.width) / source.size[0], float(current.height) / source.size[1]), (0, 0)
        rects = get_face_rects(detection) if detection else [source.area]
        if scale == (1.0, 1.0):
            rects = _clip_rects(source, current, shift, rects)
        header = {"full": list(scale_rect(source.area, scale)[2:]), "upload": upload}  # type: dict[str, Any]
        if detection:
            header["faces"] = keep_faces_inside(get_chosen_faces(detection), rects)
        records = _list_run_records(image)
        known = not path and any(record["source"] == source.tattoo for record in records)
        known = known or _has_pixels_of(source, source.copy, records)
        # The visible image has alpha, whether or not the photo has.
        versions = [current, make_opaque(current, source.scratch)]
        if not known and any(_has_pixels_of(source, layer, records) for layer in versions):
            raise Refused("original-judged", name=os.path.basename(as_text(path)) or as_text(source.name))
        return worker.submit("check", header, _read_pairs(source, current, shift, rects, "current", scale)), known


def _open_original(image, drawable, layer_name, path):
    # type: (Image, Drawable, str, str) -> Source
    """The unprotected photo: from a file if there is a path, else a layer, see ``_find_original``.

    Raises:
        Refused: it is unknown or was made by a run, or the file can't be read.
    """
    if path:
        return open_file(path)
    layer = _find_original(image, drawable, layer_name)
    if _read_own_run_record(layer) is not None:
        raise Refused("original-protected", name=as_text(layer.name))
    return Source(image, layer)


def _has_pixels_of(source, layer, records):
    # type: (Source, Layer, Sequence[dict[str, Any]]) -> bool
    """Whether a layer in a scratch image of the source has the pixels that one of these runs protected."""
    area = (0, 0, layer.width, layer.height)
    for record in records:
        rects = [tuple(rect) for rect in record["pixels"]["rects"]] if record["pixels"] else []
        if not rects or any(intersect(rect, area) != rect for rect in rects):
            continue
        pictures = [_read_picture("photo", layer, source, rect) for rect in rects]
        if digest_pictures(pictures) == record["pixels"]["digest"]:
            return True
    return False


def _find_by_pixels(image, record):
    # type: (Image, dict[str, Any]) -> Layer | None
    """The layer with the pixels that a run protected: in a copy of the image its tattoo may belong to any layer."""
    for layer in walk_layers(image.layers):
        if _read_own_run_record(layer) is not None:
            continue
        with Source(image, layer) as source:
            source.take()
            if _has_pixels_of(source, source.copy, [record]):
                return layer
    return None


def _find(worker, source, faces, on_event, with_selection=True):
    # type: (Worker, Source, str | list[int], Callable[[Event], None], bool) -> dict[str, Any]
    width, height = worker_client.choose_detection_size(*source.size)

    def submit_find(header):
        # type: (dict[str, Any]) -> Job
        source.take()
        small, selected = source.make_reduced(width, height)
        pictures = [_read_picture("photo", small, source, (0, 0, width, height))]
        if selected is not None and with_selection:
            pictures.append(Picture("selection", 0, 0, width, height, 1, "u8", strips=[selected]))
        job = worker.submit("find", header, pictures)
        source.drop()
        return job

    return detect_faces(submit_find, source.size, faces, source.selected, on_event)


def _search(worker, source, settings, faces, rects, pictures, on_event):
    # type: (Worker, Source, dict[str, Any], list[dict[str, Any]], list[Rect], list[Picture], Callable[[Event], None]) -> Event
    """The result of "protect"; drops the source's copies once they are sent.

    Args:
        worker: runs the job.
        source: of the pictures.
        settings: of the user.
        faces: as "find" gave them.
        rects: of the pictures.
        pictures: without the selection.
        on_event: gets the events.
    """
    header = dict(make_job_header(settings), faces=faces, full=list(source.size))
    source.note_limits(rects)
    job = worker.submit("protect", header, pictures + _read_selections(source, rects))
    source.drop()
    return job.result(on_event)


def _pack_photo(source, rects):
    # type: (Source, list[Rect]) -> dict[str, Any]
    """By what the photo, which was taken, is known again."""
    return pack_pixels(rects, digest_pictures(_read_picture("photo", source.copy, source, rect) for rect in rects))


def _read_selections(source, rects):
    # type: (Source, list[Rect]) -> list[Picture]
    """What of rectangles of the layer is selected; none when nothing is, which stands for everything."""
    levels = [(rect, source.read_selection(rect)) for rect in rects]
    return [pack_selection(rect, [level]) for rect, level in levels if level is not None]


def _clip_rects(source, current, shift, rects):
    # type: (Source, Layer, tuple[int, int], list[Rect]) -> list[Rect]
    """The parts of rectangles of the original that ``current`` covers; arguments as below.

    Raises:
        Refused: there are none.
    """
    parts = []
    for x, y, width, height in rects:
        left, top = max(x, -shift[0], 0), max(y, -shift[1], 0)
        right = min(x + width, current.width - shift[0], source.size[0])
        bottom = min(y + height, current.height - shift[1], source.size[1])
        if right > left and bottom > top:
            parts.append((left, top, right - left, bottom - top))
    if not parts:
        raise Refused("faces-outside-canvas")
    return parts


def _read_pairs(source, current, shift, rects, name, scale=(1.0, 1.0)):
    # type: (Source, Layer, tuple[int, int], list[Rect], str, tuple[float, float]) -> list[Picture]
    """The original and the current pixels of rectangles.

    Args:
        source: the original.
        current: a layer in the same scratch image.
        shift: from pixels of the original to pixels of ``current``.
        rects: in pixels of the original.
        name: of the picture with the current pixels.
        scale: from pixels of the original to pixels of ``current``, before the shift.
    """
    pictures = []
    for rect in rects:
        pictures.append(_read_picture("original", source.copy, source, rect))
        pictures.append(_read_picture(name, current, source, scale_rect(rect, scale), shift))
    return pictures


def _read_picture(name, drawable, source, rect, shift=(0, 0)):
    # type: (str, Drawable, Source, Rect, tuple[int, int]) -> Picture
    """A rectangle (in pixels of the source's layer) of a drawable, whose pixels are offset by ``shift``."""
    x, y, width, height = rect
    channels = drawable.bpp // DEPTHS[source.depth]
    strips = read(drawable, (x + shift[0], y + shift[1], width, height))
    return Picture(name, x, y, width, height, channels, source.depth, source.icc, strips)


def _get_layer(drawable):
    # type: (Drawable) -> Drawable
    """The drawable, or the layer whose mask it is: GIMP passes the mask while it is edited."""
    return pdb.gimp_layer_from_mask(drawable) if pdb.gimp_item_is_layer_mask(drawable) else drawable


def _find_run_record(image, drawable):
    # type: (Image, Drawable) -> dict[str, Any] | None
    """The record of the run that made the selected layer, or of the topmost on it; never of one on another photo."""
    return find_run_record(_read_own_run_record(drawable), drawable.tattoo, _list_run_records(image))


def _list_run_records(image):
    # type: (Image) -> list[dict[str, Any]]
    """The records of the runs whose results are in the image, from the top."""
    return [record for record in map(_read_run_record, walk_layers(image.layers)) if record is not None]


def _read_own_run_record(drawable):
    # type: (Drawable) -> dict[str, Any] | None
    """The record of the run that made a layer, or the group that it is in."""
    record = _read_run_record(drawable)
    if record is None and isinstance(drawable, gimp.Layer) and drawable.parent is not None:
        return _read_own_run_record(drawable.parent)
    return record


def _find_photo(image, drawable):
    # type: (Image, Drawable) -> tuple[Drawable, Layer | None]
    """The layer to protect, and the one that the result goes above.

    The former is the selected layer, or the photo that a selected result of ours was made from: GIMP selects a new
    result; protecting its few pixels once more is never intended. The new result goes above every earlier one, which
    would otherwise hide it.

    Raises:
        Refused: the photo is unknown.
    """
    photo = drawable
    layer = drawable if isinstance(drawable, gimp.Layer) else None
    while layer is not None:
        record = _read_run_record(layer)
        origin = find_origin(image, record)
        if origin is not None:
            photo = origin
            break
        if record is not None and record["requested"].get("output") != WHOLE_LAYER:
            raise Refused("source-unknown")
        layer = layer.parent
    return photo, _find_topmost(image, photo)


def _find_topmost(image, photo):
    # type: (Image, Drawable) -> Layer | None
    """The topmost among a photo and the results of earlier runs on it."""
    for layer in walk_layers(image.layers):
        record = _read_run_record(layer)
        if layer.tattoo == photo.tattoo or (record is not None and record["source"] == photo.tattoo):
            return layer
    return None


def _list_replaced_layers(image, record, tattoo):
    # type: (Image, str, int) -> list[Layer]
    """The visible results that a new one, whose tattoo is ``tattoo``, makes useless."""
    new = unpack_run_record(record, tattoo)
    if new is None:
        return []
    records = [(layer, _read_run_record(layer)) for layer in walk_layers(image.layers) if layer.visible]
    return [layer for layer, old in records if old is not None and replaces(new, old)]


def _read_run_record(drawable):
    # type: (Drawable) -> dict[str, Any] | None
    parasite = drawable.parasite_find(PARASITE)
    return None if parasite is None else unpack_run_record(parasite.data, drawable.tattoo)


def _find_original(image, drawable, layer_name):
    # type: (Image, Drawable, str) -> Layer
    """The unprotected layer: of the selected result, else the named one, else of the image's results.

    The form keeps a name for the next image, where another layer may have it; therefore it comes second.

    Raises:
        Refused: it is unknown.
    """
    record = _read_own_run_record(drawable)
    layer = find_origin(image, record) or (_find_by_pixels(image, record) if record is not None else None)
    if layer is None and layer_name:
        layer = pdb.gimp_image_get_layer_by_name(image, to_native(layer_name))
        if layer is None:
            raise Refused("layer-not-found", name=as_text(layer_name))
    if layer is None:
        layer = find_origin(image, _find_run_record(image, drawable))
    if layer is None:
        raise Refused("original-not-written")
    return layer
