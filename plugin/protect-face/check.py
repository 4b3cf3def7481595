"""The procedures Check Protection and Strengthen: both compare the image as it looks now with the original."""

from __future__ import annotations

import json
from typing import Any

from gi.repository import Gimp, GObject
from worker_client.errors import Refused
from worker_client.report import make_text_report, write_report
from worker_client.settings import CHECK_TARGETS, list_faces_of_run
from worker_client.texts import _

import layers
from judgement import Judgement
from layers import Source, make_source
from originals import Original, find_known, get_run_record, make_original
from procedures import connect_with_progress, run_and_show, show_result
from run import Choice
from run_settings import STRONGER, apply_offer, declare_choice, declare_steps, list_offers, restore_settings
from strengthen import strengthen

_FLAGS = GObject.ParamFlags.READWRITE


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments and the return value of Check."""
    declare_choice(procedure, "what", _("_What"), _("What is judged"), CHECK_TARGETS)
    _declare_original(procedure)
    procedure.add_file_argument(
        "original-file",
        _("Original _file"),
        _("File of the unprotected photo, instead of a layer"),
        Gimp.FileChooserAction.OPEN,
        True,
        None,
        _FLAGS,
    )
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
    """Compares the two, and shows or returns the recognisers' verdicts."""
    interactive = mode != Gimp.RunMode.NONINTERACTIVE
    selected = _select(image, drawables)
    original = _choose_original(selected, config, interactive)
    if original is None:
        return None
    with connect_with_progress() as worker:
        judgement = Judgement(worker, selected, config.get_property("what"), original)
        judgement.upload = config.get_property("upload") and not interactive
        judgement.measure()
        offer = None
        if interactive:
            import check_dialog

            offer = check_dialog.show(judgement)
    if config.get_property("report"):
        write_report(config.get_property("report"), make_text_report(image.get_name(), judgement.figures))
    record = get_run_record(selected)
    if offer == STRONGER and judgement.original.layer is not None:
        _strengthen_and_show(mode, selected, judgement.original.layer, stronger=True)
    elif offer is not None and record is not None:
        source = layers.find_photo(image, [selected.layer])
        settings = apply_offer(restore_settings(record["requested"]), offer)
        run_and_show(mode, source, settings, choose_again(record, source))
    return [json.dumps(judgement.figures)]


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
    selected = _select(image, drawables)
    original = _choose_original(selected, config, mode != Gimp.RunMode.NONINTERACTIVE)
    if original is None:
        return None
    if original.layer is None:
        raise Refused("original-not-named")
    _strengthen_and_show(mode, selected, original.layer, steps=config.get_property("steps"))
    return []


def _strengthen_and_show(
    mode: Gimp.RunMode, selected: Source, photo: Gimp.Layer, stronger: bool = False, steps: int = 0
) -> None:
    """Strengthens and shows the result; again within wider limits for as long as the user wants.

    Arguments as those of ``strengthen``.

    Raises:
        WorkerProblem: a run changed nothing.
    """
    while True:
        result = strengthen(selected, photo, stronger, steps)
        # Each run continues from the previous run's layer and strength.
        selected, stronger = make_source(selected.image, selected.image.get_selected_layers()), True
        record = get_run_record(selected)
        settings = restore_settings(record["requested"] if record else {})
        offers = [offer for offer in list_offers(settings) if offer == STRONGER]
        if show_result(mode, result, offers) is None:
            return


def choose_again(record: dict[str, Any], source: Source) -> Choice | None:
    """The faces that a run has protected, which may differ from those in its settings; None if they are unknown."""
    faces = list_faces_of_run(record, source.area.size)
    return Choice([face["number"] for face in faces], None, "", {"faces": faces}) if faces else None


def _declare_original(procedure: Gimp.Procedure) -> None:
    procedure.add_layer_argument(
        "original", _("_Original"), _("The unprotected layer; found by itself above a result of ours"), True, _FLAGS
    )


def _select(image: Gimp.Image, drawables: list[Gimp.Drawable]) -> Source:
    """The selected layer, or the one whose mask is being edited."""
    return make_source(image, [Gimp.Layer.from_mask(d) if isinstance(d, Gimp.LayerMask) else d for d in drawables])


def _choose_original(selected: Source, config: Gimp.ProcedureConfig, interactive: bool) -> Original | None:
    """The unprotected photo: from the arguments, or known, or chosen by the user; None if the user cancelled.

    Raises:
        Refused: it is unknown, and there is no user to ask.
    """
    accepts_files = config.find_property("original-file") is not None
    file = config.get_property("original-file") if accepts_files else None
    layer = config.get_property("original")
    if file is not None:
        return Original(picture=file)
    original = make_original(layer, selected.image) if layer is not None else find_known(selected)
    if original is None and interactive:
        import check_dialog

        return check_dialog.ask_original(selected.image, pictures=accepts_files)
    if original is None:
        raise Refused("original-not-named")
    return original
