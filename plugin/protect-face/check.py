"""Check Protection and Strengthen: both compare what the image looks like now with the layer it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass
from typing import Any

from gi.repository import Gegl, Gimp, GObject
from worker_client import Picture, Worker
from worker_client.faces import OUTSIDE, chosen, inside
from worker_client.problem import Refused
from worker_client.report import text_report, write_report
from worker_client.size import WHOLE_PIXELS
from worker_client.texts import _
from worker_client.wishes import (
    ALL,
    JUDGED,
    LAYER,
    ONE_LAYER,
    VISIBLE,
    job_settings,
    layer_name,
    memory,
    run_of,
    same_faces,
)

import layers
import run
from guard import connected, progress, tell
from layers import Limit, Source, as_shown, source_of
from pixels import Rect, extent, travel_format
from wishes import declare_choice, declare_steps, wishes_from

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
            raise Refused(OUTSIDE)
        return parts

    def pictures(self, rects: list[Rect], original: str, current: str) -> list[Picture]:
        form = travel_format(self.current)
        taken = []
        for rect in rects:
            taken.append(run.photo_of(self.before, self.original.form, rect, original))
            taken.append(run.photo_of(self.now, form, rect, current, self.shift))
        return taken


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments and the return value of Check."""
    declare_choice(procedure, "what", _("_What"), _("What is judged"), JUDGED)
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
    with connected() as worker:
        figures = _figures(worker, selected, original, what, config.get_property("upload") and not interactive)
        Gimp.progress_end()
        stronger = interactive and _show(image, figures, lambda: _figures(worker, selected, original, what, True))
    if config.get_property("report"):
        write_report(config.get_property("report"), text_report(image.get_name(), figures))
    if stronger:
        tell(mode, _strengthen(selected, original))
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
    tell(mode, _strengthen(*asked, config.get_property("steps")))
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
    settings = _settings(selected)
    wishes = wishes_from(settings["wishes"] if settings else {}, output=ONE_LAYER, steps=steps)
    source = source_of(selected.image, [original])
    with connected() as worker:
        faces = same_faces(layers.runs(source.image), source.tattoo, source.area.size)
        found = run.find(worker, source, faces, progress)
        with _pair(selected, source, VISIBLE) as pair:
            rects = pair.common(run.regions_of(found))
            limits = [_selection_only(source, rect) for rect in rects]
            header = job_settings(asdict(wishes)) | {"faces": _inside(found, rects), "full": source.area.size}
            pictures = pair.pictures(rects, "original", "photo") + run.selections(source, rects)
            job = worker.submit("protect", header, pictures)
        result = job.result(progress)
    layer = run.built(source, wishes, result.pictures, limits)
    layer.set_name(_("{} (strengthened)").format(layer_name(asdict(wishes))))
    layer.set_opacity(100)
    layers.remember(layer, memory(source.tattoo, source.area.size, layer.get_tattoo(), asdict(wishes), result))
    layers.insert(source, layer, on_top=True)
    return result.header


@contextmanager
def _pair(selected: Source, source: Source, what: str) -> Iterator[_Pair]:
    """What is compared, for as long as it is sent: GIMP's Cancel kills the plug-in, and would leave the copies in GIMP.

    Raises:
        Refused: one of the layers is gone.
    """
    if any(needed.still_there() is None for needed in ([source, selected] if what == LAYER else [source])):
        raise Refused(layers.DELETED)
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
    found = None
    if source.area.width * source.area.height > WHOLE_PIXELS:
        found = run.find(worker, source, ALL, progress, with_selection=False)
    with _pair(selected, source, what) as pair:
        rects = pair.common(run.regions_of(found) if found else [source.area])
        if found:
            header["faces"] = _inside(found, rects)
        job = worker.submit("check", header, pair.pictures(rects, "original", "current"))
    return job.result(progress).header


def _inside(found: dict[str, Any], rects: list[Rect]) -> list[dict[str, Any]]:
    """The chosen faces that are left in what "find" wanted and ``_Pair.common`` cut."""
    return inside(chosen(found), [astuple(rect) for rect in rects])


def _original(selected: Source, named: Gimp.Layer | None, interactive: bool) -> Gimp.Layer | None:
    """The unprotected layer: the one that was named, or that a result of ours came from, or that the user names.

    Raises:
        Refused: nobody knows, and there is nobody to ask.
    """
    if named is None:
        named = layers.origin(selected.image, _settings(selected))
    if named is None and interactive:
        import check_dialog

        photos = [layers.origin(selected.image, settings) for settings in layers.runs(selected.image)]
        return check_dialog.ask_original(selected.image, next((photo for photo in photos if photo is not None), None))
    if named is None:
        raise Refused(_("Which layer is the original is not known; name it in the argument 'original'."))
    return named


def _show(image: Gimp.Image, figures: dict[str, Any], with_upload: Callable[[], dict[str, Any]]) -> bool:
    import check_dialog

    return check_dialog.show(figures, image.get_name(), with_upload)


def _settings(selected: Source) -> dict[str, Any] | None:
    """The settings of the run that the selected layer tells of: never those of a run on another photo."""
    own = next((settings for layer in layers.upwards(selected.layer) if (settings := layers.remembered(layer))), None)
    return run_of(own, selected.tattoo, layers.runs(selected.image))


def _selection_only(source: Source, rect: Rect) -> Limit | None:
    """What is visible has been through every mask already."""
    return None if Gimp.Selection.is_empty(source.image) else Limit(rect, layers.selected(source, rect))
