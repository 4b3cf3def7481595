# -*- coding: utf-8 -*-
"""Around every procedure: progress in GIMP's status bar, and errors as one sentence; Python 2.7."""

import worker_client
from gimpfu import CancelError, gimp, pdb
from worker_client import WorkerProblem
from worker_client.crash_report import report_crash
from worker_client.texts import describe_stage, to_sentence

from gimp2_texts import _, to_native

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable
    from typing import TypeVar

    from worker_client import Event, Worker

    T = TypeVar("T")


def run_guarded(work):
    # type: (Callable[[], T]) -> T
    """Runs ``work``; an error becomes one message, after which gimpfu closes its dialog without another."""
    try:
        pdb.gimp_plugin_enable_precision()
        return work()
    except WorkerProblem as problem:
        text = to_native(to_sentence(problem.message))
    except Exception as error:
        text = to_native(report_crash("crashed-unchanged", error, gimp.directory))
    gimp.message(text)
    raise CancelError(text)


def show_words(describe):
    # type: (Callable[[], str]) -> None
    """Shows the result of a run whose layer is in the image; an error here does not mean that the run failed."""
    try:
        text = describe()
    except Exception as error:
        text = report_crash("crashed-after-layer", error, gimp.directory)
    gimp.message(to_native(text))


def connect_with_progress():
    # type: () -> Worker
    """Connects to the worker, and shows in the status bar that it may have to start.

    Raises:
        WorkerProblem: there is none of the right version.
    """
    gimp.progress_init(_("Starting the worker…"))
    return worker_client.connect(lambda seconds: pdb.gimp_progress_pulse(), client="GIMP 2.10")


def show_progress(event):
    # type: (Event) -> None
    """Shows an event of a job in the status bar."""
    if event.kind in ("queued", "progress"):
        pdb.gimp_progress_set_text(to_native(describe_stage(event.header)))
    if event.kind == "progress":
        gimp.progress_update(event.header["fraction"])
