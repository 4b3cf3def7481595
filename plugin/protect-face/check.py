"""Check Protection and Strengthen: both compare what the image looks like now with the layer it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Any

from gi.repository import Gegl, Gimp, GObject
from worker_client import Picture, Worker
from worker_client.detection_size import WHOLE_PIXELS
from worker_client.errors import Refused
from worker_client.faces import get_chosen_faces, keep_faces_inside
from worker_client.report import text_report, write_report
from worker_client.settings import (
    ALL,
    CHECK_TARGETS,
    LAYER,
    ONE_LAYER,
    VISIBLE,
    find_run_record,
    job_header,
    list_protected_faces,
    name_layer,
    pack_run_record,
)
from worker_client.texts import _

import layers
import run
from layers import Source, as_shown, source_of
from masks import Mask
from pixels import Rect, extent, travel_format
from procedures import connect_with_progress, run_and_show, show_progress, show_result
from run_settings import (
    ANOTHER,
    FULL_AMOUNTS,
    SHAPE,
    STRONGER,
    declare_choice,
    declare_steps,
    grant,
    restore_settings,
)

_FLAGS = GObject.ParamFlags.READWRITE


@dataclass(frozen=True)
class _Pair:
    """What is compared.

    Attributes:
        original: the unprotected layer.
        before: its pixels.
        current: the layer to be judged.
        now: its pixels.
        shift: from pixels of the original to pixels of ``current``.
    """

    original: Source
    before: Gegl.Buffer
    current: Gimp.Layer
    now: Gegl.Buffer
    shift: tuple[int, int]

    def common(self, rects: list[Rect]) -> list[Rect]:
        """The parts of rectangles of the original that ``current`` covers.

        Raises:
            Refused: there are none.
        """
        covered = extent(self.current).moved(-self.shift[0], -self.shift[1]).within(self.original.area)
        parts = [part for rect in rects if not (part := rect.within(covered)).empty]
        if not parts:
            raise Refused("faces-outside-canvas")
        return parts

    def pictures(self, rects: list[Rect], original: str, current: str) -> list[Picture]:
        form = travel_format(self.current)
        taken = []
        for rect in rects:
            taken.append(run.read_photo(self.before, self.original.form, rect, original))
            taken.append(run.read_photo(self.now, form, rect, current, self.shift))
        return taken


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments and the return value of Check."""
    declare_choice(procedure, "what", _("_What"), _("What is judged"), CHECK_TARGETS)
    _declare_original(procedure)
    procedure.add_boolean_argument(
        "upload", _("As _uploaded"), _("Judge it as a JPEG of quality 75, 1080 pixels wide, too"), False, _FLAGS
    )
    procedure.add_string_argument("report", _("_Report"), _("File for a text report; none when empty"), "", _FLAGS)
    procedure.add_string_return_value("figures", _("Figures"), _("What was measured, as JSON"), "", _FLAGS)


def run_check(
    _procedure: Gimp.Procedure,
    mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: list[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    _data: object,
) -> list[Any] | None:
    """Compares, shows or returns what recognisers say."""
    asked = _asked(mode, image, drawables, config)
    if asked is None:
        return None
    selected, original = asked
    interactive = mode != Gimp.RunMode.NONINTERACTIVE
    what = config.get_property("what")
    with connect_with_progress() as worker:
        figures = _figures(worker, selected, original, what, config.get_property("upload") and not interactive)
        Gimp.progress_end()
        wish = None
        if interactive:
            wish = _show(selected, figures, lambda: _figures(worker, selected, original, what, True))
    if config.get_property("report"):
        write_report(config.get_property("report"), text_report(image.get_name(), figures))
    record = _find_run_record(selected)
    if wish == STRONGER:
        show_result(mode, _strengthen(selected, original), offers=())
    elif wish is not None and record is not None:
        settings = grant(restore_settings(record["wishes"]), wish)
        run_and_show(mode, layers.photo_of(image, [selected.layer]), settings)
    return [json.dumps(figures)]


def declare_strengthen(procedure: Gimp.Procedure) -> None:
    """Adds the arguments of Strengthen."""
    _declare_original(procedure)
    declare_steps(procedure)


def run_strengthen(
    _procedure: Gimp.Procedure,
    mode: Gimp.RunMode,
    image: Gimp.Image,
    drawables: list[Gimp.Drawable],
    config: Gimp.ProcedureConfig,
    _data: object,
) -> list[Any] | None:
    """Searches again from the visible pixels and puts one more layer on top."""
    asked = _asked(mode, image, drawables, config)
    if asked is None:
        return None
    show_result(mode, _strengthen(*asked, config.get_property("steps")), offers=())
    return []


def _declare_original(procedure: Gimp.Procedure) -> None:
    procedure.add_layer_argument(
        "original", _("_Original"), _("The unprotected layer; found by itself above a result of ours"), True, _FLAGS
    )


def _asked(
    mode: Gimp.RunMode, image: Gimp.Image, drawables: list[Gimp.Drawable], config: Gimp.ProcedureConfig
) -> tuple[Source, Gimp.Layer] | None:
    """The selected layer and the original; None when the user was asked for the original and cancelled."""
    selected = source_of(image, drawables)
    original = _original(selected, config.get_property("original"), mode != Gimp.RunMode.NONINTERACTIVE)
    return None if original is None else (selected, original)


def _strengthen(selected: Source, original: Gimp.Layer, steps: int = 0) -> dict[str, Any]:
    record = _find_run_record(selected)
    # The amounts were chosen for another search.
    settings = restore_settings(record["wishes"] if record else {}, output=ONE_LAYER, steps=steps, **FULL_AMOUNTS)
    source = source_of(selected.image, [original])
    with connect_with_progress() as worker:
        faces = list_protected_faces(layers.list_run_records(source.image), source.tattoo, source.area.size)
        detection = run.detect(worker, source, faces, show_progress)
        with _pair(selected, source, VISIBLE) as pair:
            rects = pair.common(run.get_rects(detection))
            limits = [_selection_only(source, rect) for rect in rects]
            header = job_header(asdict(settings)) | {"faces": _inside(detection, rects), "full": source.area.size}
            pictures = pair.pictures(rects, "original", "photo") + run.read_selections(source, rects)
            job = worker.submit("protect", header, pictures)
        result = job.result(show_progress, lazily=True)
        layer = run.build_layer(source, settings, result.pictures, limits)
    layer.set_name(_("{} (strengthened)").format(name_layer(asdict(settings))))
    layer.set_opacity(100)
    layers.attach_run_record(
        layer, pack_run_record(source.tattoo, source.area.size, layer.get_tattoo(), asdict(settings), result)
    )
    layers.insert(source, layer, on_top=True)
    return result.header


@contextmanager
def _pair(selected: Source, source: Source, what: str) -> Iterator[_Pair]:
    """What is compared, for as long as it is sent: GIMP's Cancel kills the plug-in, and would leave the copies in GIMP.

    Raises:
        Refused: one of the layers is gone.
    """
    if any(needed.still_there() is None for needed in ([source, selected] if what == LAYER else [source])):
        raise Refused("layer-deleted")
    with ExitStack() as at_the_end:
        if what == LAYER:
            current, (x, y) = selected.layer, selected.offset
        else:
            current, (x, y) = Gimp.Layer.new_from_visible(selected.image, selected.image, "visible"), (0, 0)
            at_the_end.callback(current.delete)
        before, now = (at_the_end.enter_context(as_shown(layer)) for layer in (source.layer, current))
        yield _Pair(source, before, current, now, (source.offset[0] - x, source.offset[1] - y))


def _figures(worker: Worker, selected: Source, original: Gimp.Layer, what: str, upload: bool) -> dict[str, Any]:
    """The result of "check"."""
    source = source_of(selected.image, [original])
    header: dict[str, Any] = {"full": source.area.size, "upload": upload}
    detection = None
    if source.area.width * source.area.height > WHOLE_PIXELS:
        detection = run.detect(worker, source, ALL, show_progress, with_selection=False)
    with _pair(selected, source, what) as pair:
        rects = pair.common(run.get_rects(detection) if detection else [source.area])
        if detection:
            header["faces"] = _inside(detection, rects)
        job = worker.submit("check", header, pair.pictures(rects, "original", "current"))
    return job.result(show_progress).header


def _inside(detection: dict[str, Any], rects: list[Rect]) -> list[dict[str, Any]]:
    """The chosen faces that are left in what "find" wanted and ``_Pair.common`` cut."""
    return keep_faces_inside(get_chosen_faces(detection), [astuple(rect) for rect in rects])


def _original(selected: Source, named: Gimp.Layer | None, interactive: bool) -> Gimp.Layer | None:
    """The unprotected layer: the one that was named, or that a result of ours came from, or that the user names.

    Raises:
        Refused: nobody knows, and there is nobody to ask.
    """
    if named is None:
        named = layers.origin(selected.image, _find_run_record(selected))
    if named is None and interactive:
        import check_dialog

        photos = [layers.origin(selected.image, record) for record in layers.list_run_records(selected.image)]
        return check_dialog.ask_original(selected.image, next((photo for photo in photos if photo is not None), None))
    if named is None:
        raise Refused("original-not-named")
    return named


def _show(selected: Source, figures: dict[str, Any], with_upload: Callable[[], dict[str, Any]]) -> str | None:
    import check_dialog

    # Another look needs the settings of the first.
    offers = (STRONGER,) if _find_run_record(selected) is None else (STRONGER, ANOTHER, SHAPE)
    return check_dialog.show(figures, selected.image, offers, with_upload)


def _find_run_record(selected: Source) -> dict[str, Any] | None:
    """The settings of the run that the selected layer tells of: never those of a run on another photo."""
    own = next((record for layer in layers.upwards(selected.layer) if (record := layers.read_run_record(layer))), None)
    return find_run_record(own, selected.tattoo, layers.list_run_records(selected.image))


def _selection_only(source: Source, rect: Rect) -> Mask | None:
    """What is visible has been through every mask already."""
    return None if Gimp.Selection.is_empty(source.image) else Mask(rect, layers.selected(source, rect))
