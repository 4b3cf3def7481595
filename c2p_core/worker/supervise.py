"""The process that computes, as its parent sees it: started, told, listened to, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any, cast

import psutil
from worker_client.protocol import ProtocolError, StreamClosed

from c2p_core.worker.log import LOG
from c2p_core.worker.protocol import Header, Message, read, write
from c2p_core.worker.transport import FileStream

_CODE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from c2p_core.worker.compute import main; main()"
_LINE = 2000
_START_SECONDS = 120.0
_CREATE_NO_WINDOW = 0x08000000


def usual_command() -> list[str]:
    """This Python, with the modules that this process has."""
    return [sys.executable, "-I", "-u", "-c", _CODE, json.dumps(sys.path)]


class ComputeFailed(Exception):
    """The process died; the message says how, without a full stop."""


class Compute:
    """A running process that computes."""

    def __init__(self, command: Sequence[str]) -> None:
        """Starts it.

        Raises:
            ComputeFailed: there is no such program.
        """
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # Its own group: what it starts is ended with it.
                start_new_session=sys.platform != "win32",
                creationflags=_CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        except OSError as error:
            raise ComputeFailed(f"{command[0]} can't be started ({error.strerror})") from error
        self._last = ""
        self._stream = FileStream(cast(IO[bytes], self._process.stdout), cast(IO[bytes], self._process.stdin))
        self._writing = threading.Lock()
        self._listener = threading.Thread(target=self._log_words, daemon=True)
        self._listener.start()

    def wait_until_ready(self) -> Header:
        """What it says of itself when it has loaded what it needs.

        Raises:
            ComputeFailed: it could not, or not in time.
        """
        too_long = threading.Timer(_START_SECONDS, self.end)
        too_long.daemon = True
        too_long.start()
        try:
            return self.receive().header
        finally:
            too_long.cancel()

    def send(self, sent: Message) -> None:
        """Gives it a job or a word.

        Raises:
            ComputeFailed: it has died.
        """
        try:
            with self._writing:
                write(self._stream, sent)
        except StreamClosed:
            raise self._failed() from None

    def receive(self) -> Message:
        """What it says next.

        Raises:
            ComputeFailed: it has died.
        """
        try:
            return read(self._stream)
        except (StreamClosed, ProtocolError):
            raise self._failed() from None

    def memory(self) -> int:
        """Bytes of it and what it started."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return int(sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
        return 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Ends it at once, whatever it does."""
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _failed(self) -> ComputeFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self.end()
        self._listener.join(1)
        code = self._process.returncode
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        LOG.error("the process that computes died: %s", how)
        return ComputeFailed(f"{how}: {self._last}" if self._last else how)

    def _log_words(self) -> None:
        """Puts what libraries print into the log."""
        stream: Any = self._process.stderr
        while line := stream.readline(_LINE):
            self._last = line.decode("utf-8", "replace").strip()[:200] or self._last
            LOG.info("compute: %s", line.decode("utf-8", "replace").rstrip())
