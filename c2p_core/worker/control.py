"""Queries or ends the running worker, for the command line."""

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
from c2p_core.worker.run_folder import default_run_folder, remove_endpoint

_CLIENT = "c2p"
# The longest that a worker may take to end after it has accepted a request to stop.
_STOP_SECONDS = 10.0


class NoWorker(C2PError):
    """No worker responds."""


@dataclass(frozen=True)
class StopResult:
    """The outcome of ending the worker as a sentence, and whether one was running."""

    message: str
    was_running: bool


def status(folder: Path | None = None) -> Header:
    """Query the worker's status.

    Args:
        folder: the run folder, the default one when None.

    Raises:
        NoWorker: none is running, or it does not respond.
    """
    try:
        header = ask(str(folder or default_run_folder()), STATUS, _CLIENT)
    except Silent as error:
        raise NoWorker("worker-unresponsive") from error
    except WorkerProblem as problem:
        raise NoWorker(problem.code, **problem.fields) from problem
    if header is None:
        raise NoWorker("no-worker")
    return header


def stop(folder: Path | None = None) -> StopResult:
    """End the worker, by force if it does not respond.

    Args:
        folder: the run folder, the default one when None.
    """
    folder = folder or default_run_folder()
    process = _find_process(read_endpoint(str(folder)) or {})
    try:
        accepted = ask(str(folder), STOP, _CLIENT) is not None
    except (Silent, WorkerProblem):
        accepted = False
    if not accepted:
        return kill(folder)
    if process is not None:
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    return StopResult("The worker has ended.", True)


def kill(folder: Path | None = None) -> StopResult:
    """End a worker that does not respond, by force.

    Args:
        folder: the run folder, the default one when None.
    """
    folder = folder or default_run_folder()
    endpoint = read_endpoint(str(folder))
    if endpoint is None:
        return StopResult("No worker is running.", False)
    process = _find_process(endpoint)
    if process is None:
        remove_endpoint(folder)
        return StopResult("No worker is running; what a killed one left was removed.", False)
    os.kill(process.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
    remove_endpoint(folder)
    return StopResult("The worker did not answer and was killed.", True)


def _find_process(endpoint: dict[str, Any]) -> psutil.Process | None:
    """Find the process that wrote the endpoint; None if it has ended, even where another one has its number."""
    try:
        process = psutil.Process(int(endpoint["pid"]))
        return process if abs(process.create_time() - float(endpoint["started"])) < 1 else None
    except (psutil.Error, KeyError, ValueError, TypeError):
        return None
