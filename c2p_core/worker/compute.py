"""The computing process: takes jobs from its parent through a pipe, one at a time, and exits with it."""

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
from c2p_core.worker.memory import give_back
from c2p_core.worker.protocol import Header, Message, Tell, read, write
from c2p_core.worker.transport import FileStream

Run = Callable[[Message, Tell, CancelToken], Message]
"""Does a job: takes its message, a function for progress and a token; returns the result."""
_Queue = queue.SimpleQueue[tuple[list[Message], CancelToken]]


def main() -> None:
    """Serve the parent with ``jobs.Jobs``."""

    def prepare() -> tuple[Header, Run]:
        # open_clip works without timm, and only models that no job uses need these 25 MB.
        sys.modules["timm"] = None  # type: ignore[assignment]
        from c2p_core.worker.jobs import Jobs

        jobs = Jobs()
        return jobs.about(), jobs.run

    serve(prepare)


def serve(prepare: Callable[[], tuple[Header, Run]]) -> None:
    """Report that the process is ready, then do the parent's jobs until the parent has gone.

    Args:
        prepare: loads what every job needs; returns a description of this process, and the function that does jobs.
    """
    faulthandler.enable()
    stream = _open_stream()
    about, run = prepare()
    jobs: _Queue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stream, jobs), daemon=True).start()
    write(stream, Message({"kind": "ready", **about}))
    while True:
        taken, cancel = jobs.get()
        _run_job(taken, cancel, run, stream)
        give_back()


def _run_job(taken: list[Message], cancel: CancelToken, run: Run, stream: FileStream) -> None:
    """Do a job and send its result or error; the job is taken out of the list, so that who does it can let it go."""
    number = taken[0].header["job"]
    stage = None

    def tell(message: Message) -> None:
        nonlocal stage
        if message.header.get("stage") != stage:
            # What looking for faces in a large photo took is not needed beside what the search takes.
            stage = message.header.get("stage")
            give_back()
        write(stream, Message({**message.header, "job": number}, message.entries, message.payload))

    def fail(message: errors.Message, **more: bool) -> None:
        tell(Message({"kind": ERROR, **message.described(), **more}))

    try:
        cancel.raise_if_cancelled()
        result = run(taken.pop(), tell, cancel)
        tell(Message({**result.header, "kind": RESULT}, result.entries, result.payload))
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
    """Queue and cancel jobs; ends the whole process when the parent has gone."""
    tokens: dict[object, CancelToken] = {}
    try:
        while True:
            received = read(stream)
            number = received.header["job"]
            if received.header["kind"] == CANCEL:
                # A cancellation may arrive before its job.
                tokens.setdefault(number, CancelToken()).cancel()
            else:
                tokens = {number: tokens.get(number) or CancelToken()}
                jobs.put(([received], tokens[number]))
            # Its pixels would stay in memory until the next message.
            del received
    except (StreamClosed, ProtocolError):
        os._exit(0)


def _open_stream() -> FileStream:
    """Open the parent's pipes; whatever libraries print goes to the log instead."""
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
