"""Around every procedure: progress in GIMP's status bar, and errors as one sentence instead of a stack trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gi.repository import Gimp, GLib
from worker_client import Event, Worker, WorkerProblem
from worker_client.crash_report import report_crash
from worker_client.report import summarise_result
from worker_client.texts import _, describe_stage, to_sentence

import layers
import run
from pixels import limit_tile_cache
from run_settings import RunSettings, apply_offer, list_offers


class _ResultNotShown(Exception):
    """The layer is in the image; only reporting it failed."""


def guard_procedure(procedure_run: Callable[..., Any]) -> Callable[..., Gimp.ValueArray]:
    """Wraps a procedure's function for GIMP.

    ``procedure_run`` gets GIMP's arguments. It returns a list of return values, or None if the user cancelled. A
    ``WorkerProblem`` becomes the text that GIMP shows, and so does every other exception, which GIMP would not show.
    """

    def run_procedure(procedure: Gimp.Procedure, *arguments: Any) -> Gimp.ValueArray:
        limit_tile_cache()
        try:
            values = procedure_run(procedure, *arguments)
        except WorkerProblem as problem:
            return _make_error(procedure, to_sentence(problem.message))
        except _ResultNotShown as not_shown:
            return _make_error(
                procedure, report_crash("crashed-after-layer", not_shown.__cause__ or not_shown, Gimp.directory())
            )
        except Exception as error:
            return _make_error(procedure, report_crash("crashed-unchanged", error, Gimp.directory()))
        status = Gimp.PDBStatusType.CANCEL if values is None else Gimp.PDBStatusType.SUCCESS
        result = procedure.new_return_values(status, None)
        for number, value in enumerate(values or [], 1):
            result.remove(number)
            result.insert(number, value)
        return result

    return run_procedure


def show_progress(event: Event) -> None:
    """Shows an event of a job in the status bar."""
    if event.kind in ("queued", "progress"):
        Gimp.progress_set_text(describe_stage(event.header))
    if event.kind == "progress":
        Gimp.progress_update(event.header["fraction"])


def connect_with_progress() -> Worker:
    """Connects to the worker, and shows in the status bar if it has to be started.

    Raises:
        WorkerProblem: there is none that fits.
    """
    Gimp.progress_init(_("Protect Face"))
    shown = False

    def show_waiting(seconds: float) -> None:
        nonlocal shown
        if seconds > 0.5 and not shown:
            Gimp.progress_set_text(_("Starting the worker…"))
            shown = True
        if shown:
            Gimp.progress_pulse()

    return run.connect(show_waiting)


def show_result(mode: Gimp.RunMode, result: dict[str, Any], offers: Sequence[str]) -> str | None:
    """Shows the result of a run whose layer is in the image, unless a script started it.

    Args:
        mode: of the procedure.
        result: header of the result.
        offers: what can be done about a poor result.

    Returns:
        the offer that the user chose, see ``run_settings.apply_offer``; None for none.
    """
    with showing_result():
        text = summarise_result(result)
        if mode == Gimp.RunMode.INTERACTIVE:
            import result_dialog  # GTK is only loaded where there is a window

            return result_dialog.show(result, offers)
        if mode == Gimp.RunMode.WITH_LAST_VALS:
            Gimp.message(text)
    return None


@contextmanager
def showing_result() -> Iterator[None]:
    """Ends the progress; an error within becomes ``_ResultNotShown``, because the layer is already in the image."""
    try:
        Gimp.progress_end()
        Gimp.displays_flush()
        yield
    except Exception as error:
        raise _ResultNotShown from error


def run_and_show(
    mode: Gimp.RunMode, source: layers.Source, settings: RunSettings, choice: run.Choice | None = None
) -> None:
    """Runs and shows the result, again with other settings for as long as the user wants; the last hides the others.

    Raises:
        WorkerProblem: a run changed nothing.
    """
    while True:
        with connect_with_progress() as worker:
            result = run.protect(worker, source, settings, show_progress, choice)
        result_layers = source.image.get_selected_layers()
        offer = show_result(mode, result, list_offers(settings))
        if offer is None:
            return
        settings = apply_offer(settings, offer)
        choice = None if choice is None else replace(choice, search=None)
        source = layers.find_photo(source.image, result_layers)


def _make_error(procedure: Gimp.Procedure, text: str) -> Gimp.ValueArray:
    return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, GLib.Error(text))
