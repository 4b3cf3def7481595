"""Around every procedure: progress in GIMP's status bar, and errors as one sentence instead of a stack trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gi.repository import Gimp, GLib
from worker_client import Event, Worker, WorkerProblem
from worker_client.crash_report import report_crash
from worker_client.report import summary
from worker_client.texts import _, sentence, stage

import run
from pixels import spare_memory


class _ResultNotShown(Exception):
    """The layer is in the image; only telling of it failed."""


def guard_procedure(procedure_run: Callable[..., Any]) -> Callable[..., Gimp.ValueArray]:
    """A procedure's function as GIMP wants it.

    ``procedure_run`` gets GIMP's arguments. It returns a list of values to hand out, or None when the user cancelled;
    ``WorkerProblem`` becomes the text that GIMP shows, and so does every other exception, of which it shows nothing.
    """

    def called(procedure: Gimp.Procedure, *arguments: Any) -> Gimp.ValueArray:
        spare_memory()
        try:
            values = procedure_run(procedure, *arguments)
        except WorkerProblem as problem:
            return _error(procedure, sentence(problem.message))
        except _ResultNotShown as not_shown:
            return _error(
                procedure, report_crash("crashed-after-layer", not_shown.__cause__ or not_shown, Gimp.directory())
            )
        except Exception as error:
            return _error(procedure, report_crash("crashed-unchanged", error, Gimp.directory()))
        status = Gimp.PDBStatusType.CANCEL if values is None else Gimp.PDBStatusType.SUCCESS
        result = procedure.new_return_values(status, None)
        for number, value in enumerate(values or [], 1):
            result.remove(number)
            result.insert(number, value)
        return result

    return called


def show_progress(event: Event) -> None:
    """Shows an event of a job in the status bar."""
    if event.kind in ("queued", "progress"):
        Gimp.progress_set_text(stage(event.header))
    if event.kind == "progress":
        Gimp.progress_update(event.header["fraction"])


def connect_with_progress() -> Worker:
    """The worker, with the start of it in the status bar.

    Raises:
        WorkerProblem: there is none that fits.
    """
    Gimp.progress_init(_("Protect Face"))
    shown = False

    def waiting(seconds: float) -> None:
        nonlocal shown
        if seconds > 0.5 and not shown:
            Gimp.progress_set_text(_("Starting the worker…"))
            shown = True
        if shown:
            Gimp.progress_pulse()

    return run.connect(waiting)


def show_result(mode: Gimp.RunMode, result: dict[str, Any]) -> None:
    """Says what came of a run that has put its layer in (``result`` is its header), unless a script asked for it."""
    try:
        Gimp.progress_end()
        Gimp.displays_flush()
        words = summary(result)
        if mode == Gimp.RunMode.INTERACTIVE:
            import dialog  # GTK is only loaded where there is a window

            dialog.tell_result(words)
        elif mode == Gimp.RunMode.WITH_LAST_VALS:
            Gimp.message(words)
    except Exception as error:
        raise _ResultNotShown from error


def _error(procedure: Gimp.Procedure, words: str) -> Gimp.ValueArray:
    return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, GLib.Error(words))
