"""Asks the running worker for its status, or ends it, for the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from worker_client import WorkerProblem
from worker_client.client import ask
from worker_client.constants import STATUS, STOP
from worker_client.location import read_endpoint
from worker_client.transport import Silent

from c2p_core.errors import C2PError
from c2p_core.worker.protocol import Header
from c2p_core.worker.run_folder import remove_endpoint, usual_run_folder

_CLIENT = "c2p"
# The longest that a worker may take to end after it was asked to.
_END_SECONDS = 10.0


class NoWorker(C2PError):
    """There is no worker that answers."""


@dataclass(frozen=True)
class Ending:
    """What came of ending the worker, in words, and whether one ran."""

    words: str
    ran: bool


def status(folder: Path | None = None) -> Header:
    """What the worker says of itself.

    Args:
        folder: the run folder, the usual one when None.

    Raises:
        NoWorker: none runs, or it does not answer.
    """
    try:
        header = ask(str(folder or usual_run_folder()), STATUS, _CLIENT)
    except Silent as error:
        raise NoWorker("worker-unresponsive", reason=str(error)) from error
    except WorkerProblem as problem:
        raise NoWorker(problem.code, **problem.fields) from problem
    if header is None:
        raise NoWorker("no-worker")
    return header


def stop(folder: Path | None = None) -> Ending:
    """Ends the worker, by force when it does not answer.

    Args:
        folder: the run folder, the usual one when None.
    """
    folder = folder or usual_run_folder()
    endpoint = read_endpoint(str(folder))
    if endpoint is None:
        return Ending("No worker is running.", False)
    process = _process(endpoint)
    try:
        stopping = ask(str(folder), STOP, _CLIENT) is not None
    except (Silent, WorkerProblem):
        stopping = False
    if stopping:
        if process is not None:
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(_END_SECONDS)
        return Ending("The worker has ended.", True)
    if process is None:
        remove_endpoint(folder)
        return Ending("No worker is running; what a killed one left was removed.", False)
    os.kill(process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    remove_endpoint(folder)
    return Ending("The worker did not answer and was killed.", True)


def _process(endpoint: dict[str, Any]) -> psutil.Process | None:
    """The process that wrote the endpoint; None when it is gone and its number belongs to another one."""
    try:
        process = psutil.Process(int(endpoint["pid"]))
        return process if abs(process.create_time() - float(endpoint["started"])) < 1 else None
    except (psutil.Error, KeyError, ValueError, TypeError):
        return None
