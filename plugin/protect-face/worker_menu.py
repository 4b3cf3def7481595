"""The procedure for the worker behind Protect Face: its state, a restart, and text for a bug report."""

from __future__ import annotations

import json
from typing import Any

from gi.repository import Gimp, GObject
from worker_client import service
from worker_client.texts import _

from procedures import connect_with_progress, show_progress
from run_settings import declare_choice

_FLAGS = GObject.ParamFlags.READWRITE


def declare(procedure: Gimp.Procedure) -> None:
    """Adds the arguments and the return value."""
    procedure.add_enum_argument(
        "run-mode", "Run mode", "Interactive or not", Gimp.RunMode, Gimp.RunMode.NONINTERACTIVE, _FLAGS
    )
    declare_choice(procedure, "do", _("_Do"), _("What to do with the worker"), service.SERVICES)
    procedure.add_string_return_value("answer", _("Answer"), _("What it said, as JSON"), "", _FLAGS)


def run_worker(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig, _data: object) -> list[Any]:
    """Asks the worker, or shows the dialog that does."""
    if config.get_property("run-mode") == Gimp.RunMode.INTERACTIVE:
        import worker_dialog

        worker_dialog.show(procedure.get_help_id())
        return [""]
    return [json.dumps(perform(config.get_property("do")))]


def perform(action: str) -> dict[str, Any]:
    """Does one of the services and returns the answer.

    Raises:
        WorkerProblem: the worker can't be reached.
    """
    answer = service.perform(action, connect_with_progress, show_progress)
    if action != service.DIAGNOSE:
        Gimp.progress_end()
    return answer
