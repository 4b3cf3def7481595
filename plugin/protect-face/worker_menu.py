"""The worker behind Protect Face: its state, a restart, and words for a bug report."""

from __future__ import annotations

import json
from typing import Any

import worker_client
from gi.repository import Gimp, GObject
from worker_client import WorkerProblem

import run
from guard import connected, progress
from texts import Refused, _, sentence

STATUS, RESTART, DIAGNOSE, FETCH = "status", "restart", "diagnose", "fetch"
_FLAGS = GObject.ParamFlags.READWRITE


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments and the return value."""
    procedure.add_enum_argument(
        "run-mode", "Run mode", "Interactive or not", Gimp.RunMode, Gimp.RunMode.NONINTERACTIVE, _FLAGS
    )
    choice = Gimp.Choice.new()
    choice.add(STATUS, 0, _("Status"), "")
    choice.add(RESTART, 1, _("Restart"), "")
    choice.add(DIAGNOSE, 2, _("Diagnosis"), "")
    choice.add(FETCH, 3, _("Fetch missing models"), "")
    procedure.add_choice_argument("do", _("_Do"), _("What to do with the worker"), choice, STATUS, _FLAGS)
    procedure.add_string_return_value("answer", _("Answer"), _("What it said, as JSON"), "", _FLAGS)


def run_worker(_procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, _data: object) -> list[Any]:
    """Asks the worker, or shows the dialog that does."""
    if config.get_property("run-mode") == Gimp.RunMode.INTERACTIVE:
        import worker_dialog

        worker_dialog.show()
        return [""]
    return [json.dumps(answer(config.get_property("do")))]


def answer(what: str) -> dict[str, Any]:
    """Does one of the things above and says what came of it.

    Raises:
        Refused: the worker can't be reached.
    """
    if what == DIAGNOSE:
        return worker_client.diagnose()
    if what == RESTART:
        try:
            worker_client.stop()
        except WorkerProblem as problem:
            raise Refused(sentence(problem.sentence)) from problem
    with connected() as worker:
        if what == FETCH:
            found = run.finished(run.submit(worker, "models", {"fetch": True}), progress).header
        else:
            status = run.finished(run.submit(worker, "status", {}), progress).header
            found = status | {"hello": worker.hello}
    Gimp.progress_end()
    return found
