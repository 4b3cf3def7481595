"""The byte streams that reach the worker: a private Unix socket, a Windows pipe, or loopback TCP."""

import errno
import select
import socket
import time

from worker_client.constants import CHUNK, LOOPBACK, PIPE, STALL_SECONDS, TCP
from worker_client.protocol import StreamClosed

# Python 2 has no monotonic clock.
_now = getattr(time, "monotonic", time.time)

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any


class Silent(StreamClosed):
    """The other side is there but sends nothing."""


def open_stream(transport, address):
    # type: (str, Any) -> SocketStream | PipeStream
    """Connects to the address in the worker's endpoint file.

    Raises:
        StreamClosed: nobody listens there.
        Silent: somebody listens but does not accept the connection.
    """
    try:
        if transport == PIPE:
            from multiprocessing.connection import Client

            return PipeStream(Client(address, "AF_PIPE"))
        if transport == TCP:
            sock = socket.create_connection((LOOPBACK, int(address)), STALL_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(STALL_SECONDS)
            sock.connect(address)
    except socket.timeout:
        raise Silent("nobody is let in")
    except (OSError, socket.error, TypeError, ValueError, OverflowError) as error:
        # EAGAIN: the queue of a Unix socket is full.
        raise (Silent if getattr(error, "errno", None) == errno.EAGAIN else StreamClosed)(str(error))
    return SocketStream(sock)


class _Patience(object):
    """How long a stream waits for the other side within a message.

    Silence does not prove that a process has ended: one that is short of memory or processor time may pause for
    minutes. A process that has ended closes its connection.
    """

    def __init__(self):
        # type: () -> None
        self._pause = STALL_SECONDS  # type: float | None
        self._deadline = None  # type: float | None

    def limit(self, seconds):
        # type: (float | None) -> None
        """Everything until the next call of this method must be done within ``seconds``; None for no limit."""
        self._deadline = _make_deadline(seconds)

    def allow_pauses(self, seconds):
        # type: (float | None) -> None
        """Allows the other side, which has proved its identity, to pause for ``seconds``; None for any time."""
        self._pause = seconds

    def _seconds_left(self):
        # type: () -> float | None
        """How long to wait for the next bytes; None for as long as it takes.

        Raises:
            StreamClosed: the deadline has passed.
        """
        if self._deadline is None:
            return self._pause
        left = self._deadline - _now()
        if left <= 0:
            raise StreamClosed("the other side is too slow")
        return left if self._pause is None else min(self._pause, left)


class SocketStream(_Patience):
    """A connected socket."""

    def __init__(self, sock):
        # type: (socket.socket) -> None
        _Patience.__init__(self)
        self._socket = sock

    def read(self, count):
        # type: (int) -> bytearray
        data = bytearray(count)
        view = memoryview(data)
        done = 0
        while done < count:
            received = self._retry(lambda at=done: self._socket.recv_into(view[at : at + CHUNK]))
            if received == 0:
                raise StreamClosed("the connection was closed")
            done += received
        return data

    def write(self, data):
        # type: (bytes | bytearray | memoryview) -> None
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += self._retry(lambda at=done: self._socket.send(view[at : at + CHUNK]))

    def wait(self, seconds=None):
        # type: (float | None) -> bool
        """Whether something has come, or the other side has gone, within ``seconds``; None waits for that."""
        deadline = _make_deadline(seconds)
        while True:
            try:
                timeout = () if deadline is None else (max(0.0, deadline - _now()),)
                return bool(select.select([self._socket], [], [], *timeout)[0])
            except (OSError, socket.error, select.error, ValueError) as error:
                # Python 2 is interrupted by signals.
                if error.args[:1] != (errno.EINTR,):
                    raise StreamClosed(str(error))

    def close(self):
        # type: () -> None
        self._socket.close()

    def _retry(self, call):
        # type: (Any) -> int
        while True:
            try:
                self._socket.settimeout(self._seconds_left())
                done = call()
            except socket.timeout:
                raise StreamClosed("the other side does not answer")
            except (OSError, socket.error) as error:
                if error.errno != errno.EINTR:
                    raise StreamClosed(str(error))
            else:
                return int(done)


class PipeStream(_Patience):
    """A Windows named pipe by ``multiprocessing``: raw bytes only, nothing is pickled."""

    def __init__(self, connection):
        # type: (Any) -> None
        _Patience.__init__(self)
        self._connection = connection
        self._received = bytearray()

    def read(self, count):
        # type: (int) -> bytearray
        data = self._received
        while len(data) < count:
            if not self.poll(self._seconds_left()):
                raise StreamClosed("the other side does not answer")
            try:
                data += self._connection.recv_bytes(CHUNK)
            except (EOFError, OSError, IOError) as error:
                raise StreamClosed(str(error))
        self._received = data[count:]
        del data[count:]
        return data

    def write(self, data):
        # type: (bytes | bytearray | memoryview) -> None
        view = memoryview(data)
        try:
            for start in range(0, len(view), CHUNK):
                self._connection.send_bytes(view[start : start + CHUNK].tobytes())
        except (OSError, IOError, ValueError) as error:
            raise StreamClosed(str(error))

    def wait(self, seconds=None):
        # type: (float | None) -> bool
        """Whether something has come, or the other side has gone, within ``seconds``; None waits for that."""
        return bool(self._received) or self.poll(seconds)

    def poll(self, seconds):
        # type: (float | None) -> bool
        """As ``wait``, but only for bytes that are still in the connection."""
        try:
            return bool(self._connection.poll(seconds))
        except (EOFError, OSError, IOError) as error:
            raise StreamClosed(str(error))

    def close(self):
        # type: () -> None
        self._connection.close()


def _make_deadline(seconds):
    # type: (float | None) -> float | None
    return None if seconds is None else _now() + seconds
