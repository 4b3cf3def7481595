"""Around every procedure: progress in GIMP's status bar, and errors as one sentence instead of a stack trace."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gi.repository import Gimp, GLib
from worker_client import Event, Worker

import run
from pixels import spare_memory
from report import summary
from texts import Refused, _, stage

LOG = "protect-face.log"


class _Untold(Exception):
    """The layer is in the image; only telling of it failed."""


def guarded(procedure_run: Callable[..., Any]) -> Callable[..., Gimp.ValueArray]:
    """A procedure's function as GIMP wants it.

    ``procedure_run`` gets GIMP's arguments. It returns a list of values to hand out, or None when the user cancelled;
    ``Refused`` becomes the text that GIMP shows, and so does every other exception: GIMP would show nothing of it.
    """

    def called(procedure: Gimp.Procedure, *arguments: Any) -> Gimp.ValueArray:
        spare_memory()
        try:
            values = procedure_run(procedure, *arguments)
        except Refused as refused:
            return _error(procedure, str(refused))
        except _Untold as untold:
            words = _(
                "The new layer is there, but its figures can't be shown ({error}); please report what {log} says."
            )
            return _error(procedure, _unexpected(words, untold.__cause__))
        except Exception as error:
            words = _("Protect Face failed unexpectedly ({error}); nothing was changed, please report what {log} says.")
            return _error(procedure, _unexpected(words, error))
        status = Gimp.PDBStatusType.CANCEL if values is None else Gimp.PDBStatusType.SUCCESS
        result = procedure.new_return_values(status, None)
        for number, value in enumerate(values or [], 1):
            result.remove(number)
            result.insert(number, value)
        return result

    return called


def progress(event: Event) -> None:
    """Shows an event of a job in the status bar."""
    if event.kind in ("queued", "progress"):
        Gimp.progress_set_text(stage(event.header))
    if event.kind == "progress":
        Gimp.progress_update(event.header["fraction"])


def connected() -> Worker:
    """The worker, with the start of it in the status bar.

    Raises:
        Refused: there is none that fits.
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


def tell(mode: Gimp.RunMode, result: dict[str, Any]) -> None:
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
        raise _Untold from error


def _error(procedure: Gimp.Procedure, words: str) -> Gimp.ValueArray:
    return procedure.new_return_values(Gimp.PDBStatusType.EXECUTION_ERROR, GLib.Error(words))


def _unexpected(words: str, error: BaseException | None) -> str:
    """``words`` about an error, whose stack trace goes into GIMP's folder: what a plug-in prints is lost mostly."""
    trace = "".join(traceback.format_exception(error))
    log = Path(Gimp.directory()) / LOG
    try:
        log.write_text(trace, encoding="utf-8")
    except OSError:
        print(trace)
    return words.format(error=type(error).__name__, log=log)
