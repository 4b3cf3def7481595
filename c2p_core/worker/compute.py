"""The computing process: receives jobs from its parent through a pipe, one at a time, and exits with it."""

from __future__ import annotations

import faulthandler
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable

from worker_client.constants import CANCEL, ERROR, RESULT
from worker_client.protocol import ProtocolError, StreamClosed

from c2p_core import errors
from c2p_core.api import CancelToken
from c2p_core.errors import C2PError
from c2p_core.gpu_memory import is_out_of_gpu_memory
from c2p_core.memory_errors import is_out_of_memory
from c2p_core.worker.memory import give_back, give_back_if_much
from c2p_core.worker.protocol import Header, Message, Send, read, write
from c2p_core.worker.transport import FileStream

Run = Callable[[Message, Send, CancelToken], Message]
"""Runs a job: takes its message, a function that sends progress and a token; returns the result."""
_Queue = queue.SimpleQueue[tuple[list[Message], CancelToken]]


def main() -> None:
    """Serve the parent with ``jobs.Jobs``."""

    def prepare() -> tuple[Header, Run]:
        # open_clip works without timm, and only models that no job uses need these 25 MB.
        sys.modules["timm"] = None  # type: ignore[assignment]
        from c2p_core.worker.jobs import Jobs

        jobs = Jobs()
        return jobs.describe(), jobs.run

    serve(prepare)


def serve(prepare: Callable[[], tuple[Header, Run]]) -> None:
    """Report that the process is ready, then run the parent's jobs until the parent has exited.

    Args:
        prepare: loads what every job needs; returns a description of this process, and the function that runs jobs.
    """
    faulthandler.enable()
    stream = _open_stream()
    description, run = prepare()
    jobs: _Queue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stream, jobs), daemon=True).start()
    write(stream, Message({"kind": "ready", **description}))
    while True:
        job_slot, cancel = jobs.get()
        _run_job(job_slot, cancel, run, stream)
        give_back()


def _run_job(job_slot: list[Message], cancel: CancelToken, run: Run, stream: FileStream) -> None:
    """Run a job and send its result or error; the job is removed from its list, so that ``run`` can free its pixels."""
    number = job_slot[0].header["job"]
    stage = None

    def send(message: Message) -> None:
        nonlocal stage
        if message.header.get("stage") != stage:
            # The search should not need its memory on top of what detection took in a large photo.
            stage = message.header.get("stage")
            give_back_if_much()
        write(stream, Message({**message.header, "job": number}, message.entries, message.payload))

    def fail(message: errors.Message, **extra: bool) -> None:
        send(Message({"kind": ERROR, **message.described(), **extra}))

    try:
        cancel.raise_if_cancelled()
        result = run(job_slot.pop(), send, cancel)
        send(Message({**result.header, "kind": RESULT}, result.entries, result.payload))
    except C2PError as error:
        if is_out_of_memory(error):
            fail(errors.Message("memory-full"), spent=True)
        else:
            fail(error.message)
    except StreamClosed:
        raise
    except Exception as error:
        traceback.print_exc()
        if is_out_of_gpu_memory(error):
            fail(errors.Message("gpu-memory-full"), spent=True)
        elif is_out_of_memory(error):
            fail(errors.Message("memory-full"), spent=True)
        else:
            # The state of this process is unknown; the parent starts another one for the next job.
            fail(errors.Message("unexpected-in-job", error=errors.name_error(error)), spent=True)


def _listen(stream: FileStream, jobs: _Queue) -> None:
    """Queue and cancel jobs; ends the whole process when the parent has exited."""
    tokens: dict[object, CancelToken] = {}
    try:
        while True:
            message = read(stream)
            number = message.header["job"]
            if message.header["kind"] == CANCEL:
                # A cancellation may arrive before its job.
                tokens.setdefault(number, CancelToken()).cancel()
            else:
                tokens = {number: tokens.get(number) or CancelToken()}
                jobs.put(([message], tokens[number]))
            # Or its pixels would stay in memory until the next message.
            del message
    except (StreamClosed, ProtocolError):
        os._exit(0)


def _open_stream() -> FileStream:
    """Open the parent's pipes; output of libraries is redirected to the log."""
    source, target = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if sys.platform == "win32":
        import msvcrt

        for file in (source, target):
            msvcrt.setmode(file.fileno(), os.O_BINARY)
    return FileStream(source, target)
