"""Starts, feeds and ends the computing process."""

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
from worker_client.protocol import ProtocolError, StreamClosed, read_header

from c2p_core import errors
from c2p_core.worker.log import LOG
from c2p_core.worker.protocol import Header, Incoming, Message, write
from c2p_core.worker.transport import FileStream

_BOOTSTRAP = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from c2p_core.worker.compute import main; main()"
_LINE_LIMIT = 2000
# Loading takes seconds, but minutes where memory is short.
_START_SECONDS = 600.0
_CREATE_NO_WINDOW = 0x08000000


def default_command() -> list[str]:
    """The default command: this Python with this process's module path."""
    return [sys.executable, "-I", "-u", "-c", _BOOTSTRAP, json.dumps(sys.path)]


class ComputeFailed(Exception):
    """The process died, or could not be started.

    Attributes:
        reasons: why, and the last line that it printed.
    """

    def __init__(self, reasons: list[errors.Message | str]) -> None:
        super().__init__(*map(str, reasons))
        self.reasons = reasons


class Compute:
    """A running computing process."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the process.

        Raises:
            ComputeFailed: the program can't be started.
        """
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # A process group of its own, so that its children are ended with it.
                start_new_session=sys.platform != "win32",
                creationflags=_CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        except OSError as error:
            reason = errors.Message("program-not-started", path=str(command[0]), reason=str(error.strerror))
            raise ComputeFailed([reason]) from error
        self._last_line = ""
        self._stream = FileStream(cast(IO[bytes], self._process.stdout), cast(IO[bytes], self._process.stdin))
        self._writing = threading.Lock()
        self._listener = threading.Thread(target=self._log_stderr, daemon=True)
        self._listener.start()

    def wait_until_ready(self) -> Header:
        """Wait until the process is ready; returns its description of itself.

        Raises:
            ComputeFailed: it failed, or took too long.
        """
        timeout = threading.Timer(_START_SECONDS, self.end)
        timeout.daemon = True
        timeout.start()
        try:
            return self.receive().header
        finally:
            timeout.cancel()

    def send(self, message: Message) -> None:
        """Send a job or a cancellation.

        Raises:
            ComputeFailed: it has died.
        """
        try:
            with self._writing:
                write(self._stream, message)
        except StreamClosed:
            raise self._make_error() from None

    def receive(self) -> Message:
        """Receive the next message; its payload has to be drained before the one after it.

        Raises:
            ComputeFailed: it has died; reading the payload raises this too.
        """
        try:
            header, entries, size = read_header(self._stream)
        except (StreamClosed, ProtocolError):
            raise self._make_error() from None
        return Message(header, entries, Incoming(self._read, size))

    def measure_memory(self) -> int:
        """Memory of the process and its children in bytes."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return int(sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
        return 0

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process and its children."""
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self, count: int) -> bytearray:
        try:
            return self._stream.read(count)
        except StreamClosed:
            raise self._make_error() from None

    def _make_error(self) -> ComputeFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self.end()
        self._listener.join(1)
        status = self._process.returncode
        cause = errors.Message("process-exited", status=status)
        if status < 0:
            cause = errors.Message("process-killed", signal=-status)
        LOG.error("the process that computes died: %s", cause)
        return ComputeFailed([cause, self._last_line] if self._last_line else [cause])

    def _log_stderr(self) -> None:
        """Write the process's stderr to the log."""
        stream: Any = self._process.stderr
        while line := stream.readline(_LINE_LIMIT):
            self._last_line = line.decode("utf-8", "replace").strip()[:200] or self._last_line
            LOG.info("compute: %s", line.decode("utf-8", "replace").rstrip())
