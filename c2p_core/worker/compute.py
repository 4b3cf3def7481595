"""The process that computes: takes jobs from its parent through a pipe, one at a time, and dies with it."""

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
from c2p_core.worker.memory import give_back
from c2p_core.worker.protocol import Header, Message, Tell, read, write
from c2p_core.worker.transport import FileStream

Run = Callable[[Message, Tell, CancelToken], Message]
"""Does a job: its message, a function for progress, a token. Gives the result."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def main() -> None:
    """Serves the parent with the real jobs."""

    def prepare() -> tuple[Header, Run]:
        # open_clip does without, and only models that no job uses need these 25 MB.
        sys.modules["timm"] = None  # type: ignore[assignment]
        from c2p_core.worker.jobs import Jobs

        jobs = Jobs()
        return jobs.about(), jobs.run

    serve(prepare)


def serve(prepare: Callable[[], tuple[Header, Run]]) -> None:
    """Says that it is ready, then does what the parent asks for until that has gone.

    Args:
        prepare: loads what every job needs; gives what is told about this process, and what does the jobs.
    """
    faulthandler.enable()
    stream = _stream()
    about, run = prepare()
    jobs: queue.SimpleQueue[tuple[Message, CancelToken]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stream, jobs), daemon=True).start()
    write(stream, Message({"kind": "ready", **about}))
    while True:
        job, cancel = jobs.get()
        _one(job, cancel, run, stream)
        del job
        give_back()


def _one(job: Message, cancel: CancelToken, run: Run, stream: FileStream) -> None:
    """Does a job, to its result or error."""
    number = job.header["job"]

    def tell(said: Message) -> None:
        write(stream, Message({**said.header, "job": number}, said.entries, said.payload))

    def fail(message: errors.Message, **more: bool) -> None:
        tell(Message({"kind": ERROR, **message.described(), **more}))

    try:
        cancel.raise_if_cancelled()
        result = run(job, tell, cancel)
        tell(Message({**result.header, "kind": RESULT}, result.entries, result.payload))
    except C2PError as error:
        fail(error.message)
    except StreamClosed:
        raise
    except Exception as error:
        traceback.print_exc()
        if is_out_of_gpu_memory(error):
            fail(errors.Message("gpu-memory-full"), spent=True)
        elif _is_memory(error):
            fail(errors.Message("memory-full"), spent=True)
        else:
            what = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
            # Nothing is certain any more; the parent starts another process for the next job.
            fail(errors.Message("unexpected-in-job", error=what), spent=True)


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY)


def _listen(stream: FileStream, jobs: queue.SimpleQueue[tuple[Message, CancelToken]]) -> None:
    """Hands on jobs and cancels them; ends the whole process when the parent has gone."""
    tokens: dict[object, CancelToken] = {}
    try:
        while True:
            said = read(stream)
            number = said.header["job"]
            if said.header["kind"] == CANCEL:
                # It may overtake its job.
                tokens.setdefault(number, CancelToken()).cancel()
            else:
                tokens = {number: tokens.get(number) or CancelToken()}
                jobs.put((said, tokens[number]))
            # Its pixels would stay here until the next message.
            del said
    except (StreamClosed, ProtocolError):
        os._exit(0)


def _stream() -> FileStream:
    """The parent's pipes; what libraries print goes to the log instead."""
    source, target = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "win32":
        import msvcrt

        for file in (source, target):
            msvcrt.setmode(file.fileno(), os.O_BINARY)
    return FileStream(source, target)
