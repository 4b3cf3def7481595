"""The worker's transports: a private Unix socket, a Windows pipe or loopback TCP; and the pipes to its child."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, Protocol

from worker_client.constants import CHUNK, LOOPBACK, PIPE, TCP, UNIX
from worker_client.protocol import StreamClosed
from worker_client.transport import PipeStream, SocketStream

from c2p_core.worker.run_folder import make_private

# A path of a Unix socket is at most 108 bytes long on Linux and 104 on macOS, with a final zero.
_MAX_PATH_BYTES = 100
_TEMPORARY_PREFIX = "protect-face-"
# How often a thread that waits for a Windows pipe checks whether the pipe was shut.
_POLL_SECONDS = 1.0


class ClientSocket(SocketStream):
    """A client connected by a socket."""

    def shut(self) -> None:
        """Shut the connection, from any thread; readers and writers get ``StreamClosed``."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class ClientPipe(PipeStream):
    """A client connected by a Windows pipe."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._shut = threading.Event()

    def poll(self, seconds: float | None) -> bool:
        # Nothing wakes a thread that waits for a pipe, so it polls.
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._shut.is_set():
            left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - time.monotonic())
            if super().poll(max(0.0, left)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
        raise StreamClosed("the connection was shut")

    def shut(self) -> None:
        """Shut the connection, from any thread; readers and waiters get ``StreamClosed``."""
        self._shut.set()


ClientStream = ClientSocket | ClientPipe


class Listener(Protocol):
    """Accepts clients.

    Attributes:
        transport: as in the endpoint file.
        address: as in the endpoint file.
    """

    transport: str
    address: str | int

    def accept(self) -> ClientStream:
        """Wait for the next client; raises ``StreamClosed`` when closed."""

    def close(self) -> None: ...


def listen(folder: Path, tcp: bool) -> Listener:
    """Listen for this user's programs; ``folder`` must be private to the user."""
    if tcp:
        return SocketListener(TCP, socket.AF_INET, (LOOPBACK, 0))
    if sys.platform == "win32":
        return PipeListener()
    path = folder / "worker.sock"
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        # The name depends on the folder only, so that killed workers leave at most one behind.
        path = (
            Path(tempfile.gettempdir())
            / f"{_TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
            / path.name
        )
        make_private(path.parent)
    path.unlink(missing_ok=True)
    return SocketListener(UNIX, socket.AF_UNIX, str(path))


class SocketListener:
    """A Unix socket that only its owner may open, or a port of the loopback interface."""

    def __init__(self, transport: str, family: int, address: Any) -> None:
        self.transport = transport
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        # The worker's umask makes it 0600; set again below, because all security depends on it.
        self._socket.bind(address)
        if transport == UNIX:
            Path(address).chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._socket.listen(16)
        self.address: str | int = address if transport == UNIX else self._socket.getsockname()[1]

    def accept(self) -> ClientStream:
        try:
            return ClientSocket(self._socket.accept()[0])
        except OSError as error:
            raise StreamClosed(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if isinstance(self.address, str):
            path = Path(self.address)
            path.unlink(missing_ok=True)
            if path.parent.name.startswith(_TEMPORARY_PREFIX):
                # A cleaner of temporary folders may have removed it already, which is no error.
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


class PipeListener:
    """A Windows named pipe by ``multiprocessing``: raw bytes only, nothing is pickled."""

    transport = PIPE

    def __init__(self) -> None:
        from multiprocessing.connection import Listener as MultiprocessingListener

        self._listener = MultiprocessingListener(family="AF_PIPE")
        self.address: str | int = str(self._listener.address)

    def accept(self) -> ClientStream:
        try:
            return ClientPipe(self._listener.accept())
        except (OSError, EOFError) as error:
            raise StreamClosed(str(error)) from error

    def close(self) -> None:
        self._listener.close()


class FileStream:
    """A pair of files to read and write: the pipes between the worker and the computing process."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source = source
        self._target = target

    def read(self, count: int) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        try:
            while done < count:
                count_read = self._source.readinto(view[done : done + CHUNK])  # type: ignore[attr-defined]
                if not count_read:
                    raise StreamClosed("the other process has gone")
                done += count_read
        except (OSError, ValueError) as error:
            raise StreamClosed(str(error)) from error
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view, done = memoryview(data).cast("B"), 0
        try:
            while done < len(view):
                done += self._target.write(view[done : done + CHUNK])
            self._target.flush()
        except (OSError, ValueError) as error:
            raise StreamClosed(str(error)) from error
