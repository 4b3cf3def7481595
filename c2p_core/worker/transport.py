"""What the worker listens on: a private Unix socket, a Windows pipe, or loopback TCP; and pipes to its own child."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from c2p_core.worker.place import make_private
from c2p_core.worker.protocol import StreamClosed

Transport = Literal["unix", "pipe", "tcp"]

# The longest that a client may pause within a message.
STALL_SECONDS = 30.0
_CHUNK = 1 << 20
# A path of a Unix socket is at most 108 bytes long on Linux and 104 on macOS, with a final zero.
_LONGEST_PATH = 100
_ELSEWHERE = "protect-face-"


class Connected(Protocol):
    """A client's stream."""

    def read(self, count: int) -> bytearray: ...
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def wait(self) -> None:
        """Until there is something to read, or nothing more to come."""

    def limit(self, seconds: float | None) -> None:
        """Everything until the next call of this must be over within ``seconds``; None for no limit."""

    def shut(self) -> None:
        """Ends it from any thread; who reads or writes gets ``StreamClosed``."""

    def close(self) -> None:
        """Frees it; for the thread that reads."""


class Listener(Protocol):
    """Where clients arrive.

    Attributes:
        transport: as in the endpoint file.
        address: as in the endpoint file.
    """

    transport: Transport
    address: str | int

    def accept(self) -> Connected:
        """The next client; raises ``StreamClosed`` when closed."""

    def close(self) -> None: ...


def listen(folder: Path, tcp: bool) -> Listener:
    """Listens for this user's programs; ``folder`` is private to the user."""
    if tcp:
        return SocketListener("tcp", socket.AF_INET, ("127.0.0.1", 0))
    if sys.platform == "win32":
        return PipeListener()
    path = folder / "worker.sock"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        # Always the same one for the same folder, so that killed workers leave no more than one behind.
        path = (
            Path(tempfile.gettempdir())
            / f"{_ELSEWHERE}{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
            / path.name
        )
        make_private(path.parent)
    path.unlink(missing_ok=True)
    return SocketListener("unix", socket.AF_UNIX, str(path))


class SocketListener:
    """A Unix socket that only its owner may open, or a port of the loopback interface."""

    def __init__(self, transport: Transport, family: int, address: Any) -> None:
        self.transport = transport
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        # The umask of the worker makes it 0600; said again, because everything hangs on it.
        self._socket.bind(address)
        if transport == "unix":
            Path(address).chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._socket.listen(16)
        self.address: str | int = address if transport == "unix" else self._socket.getsockname()[1]

    def accept(self) -> Connected:
        try:
            return SocketStream(self._socket.accept()[0])
        except OSError as error:
            raise StreamClosed(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if isinstance(self.address, str):
            path = Path(self.address)
            path.unlink(missing_ok=True)
            if path.parent.name.startswith(_ELSEWHERE):
                # Who cleans temporary folders may have been faster; what is left to do must not fail for it.
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


class SocketStream:
    """A client at a socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._until: float | None = None

    def limit(self, seconds: float | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    def wait(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            select.select([self._socket], [], [])

    def read(self, count: int) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            got = self._patiently(lambda at=done: self._socket.recv_into(view[at : at + _CHUNK]))
            if got == 0:
                raise StreamClosed("the client has gone")
            done += got
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):
            done += self._patiently(lambda at=done: self._socket.send(view[at : at + _CHUNK]))

    def shut(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _patiently(self, call: Any) -> int:
        left = STALL_SECONDS if self._until is None else min(STALL_SECONDS, self._until - time.monotonic())
        try:
            if left <= 0:
                raise TimeoutError("the client is too slow")
            self._socket.settimeout(left)
            return int(call())
        except OSError as error:
            raise StreamClosed(str(error)) from error


class PipeListener:
    """A Windows named pipe by ``multiprocessing``: raw bytes only, nothing is pickled."""

    transport: Transport = "pipe"

    def __init__(self) -> None:
        from multiprocessing.connection import Listener as MultiprocessingListener

        self._listener = MultiprocessingListener(family="AF_PIPE")
        self.address: str | int = str(self._listener.address)

    def accept(self) -> Connected:
        try:
            return PipeStream(self._listener.accept())
        except (OSError, EOFError) as error:
            raise StreamClosed(str(error)) from error

    def close(self) -> None:
        self._listener.close()


class PipeStream:
    """A client at a ``multiprocessing`` connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._rest = bytearray()
        self._until: float | None = None
        self._shut = threading.Event()

    def limit(self, seconds: float | None) -> None:
        self._until = None if seconds is None else time.monotonic() + seconds

    def wait(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while not (self._rest or self._shut.is_set() or self._connection.poll(1.0)):
                pass

    def read(self, count: int) -> bytearray:
        while len(self._rest) < count:
            left = STALL_SECONDS if self._until is None else min(STALL_SECONDS, self._until - time.monotonic())
            try:
                if self._shut.is_set() or left <= 0 or not self._connection.poll(left):
                    raise StreamClosed("the client is too slow, or has gone")
                self._rest += self._connection.recv_bytes(_CHUNK)
            except (OSError, EOFError) as error:
                raise StreamClosed(str(error)) from error
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        try:
            for start in range(0, len(view), _CHUNK):
                self._connection.send_bytes(view[start : start + _CHUNK])
        except (OSError, ValueError) as error:
            raise StreamClosed(str(error)) from error

    def shut(self) -> None:
        self._shut.set()

    def close(self) -> None:
        self._connection.close()


class FileStream:
    """Two files, one to read and one to write: the pipes between the worker and the process that computes."""

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self._source = source
        self._target = target

    def read(self, count: int) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        try:
            while done < count:
                got = self._source.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
                if not got:
                    raise StreamClosed("the other process has gone")
                done += got
        except (OSError, ValueError) as error:
            raise StreamClosed(str(error)) from error
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view, done = memoryview(data).cast("B"), 0
        try:
            while done < len(view):
                done += self._target.write(view[done : done + _CHUNK])
            self._target.flush()
        except (OSError, ValueError) as error:
            raise StreamClosed(str(error)) from error
