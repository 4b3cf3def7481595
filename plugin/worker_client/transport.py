"""The byte streams that reach the worker: a private Unix socket, a Windows pipe, or loopback TCP."""

import errno
import select
import socket
import time

# The longest that the worker may pause within a message.
STALL_SECONDS = 30.0
_CHUNK = 1 << 20

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from typing import Any


class StreamClosed(Exception):
    """The other side has gone, or pauses in the middle of a message."""


class Silent(StreamClosed):
    """The other side is there and says nothing."""


def open_stream(transport, address):
    # type: (str, Any) -> SocketStream | PipeStream
    """Connects to what the worker's endpoint file names.

    Raises:
        StreamClosed: nobody listens there.
        Silent: somebody listens, and lets nobody in.
    """
    try:
        if transport == "pipe":
            from multiprocessing.connection import Client

            return PipeStream(Client(address, "AF_PIPE"))
        if transport == "tcp":
            sock = socket.create_connection(("127.0.0.1", int(address)), STALL_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(STALL_SECONDS)
            sock.connect(address)
    except socket.timeout:
        raise Silent("nobody is let in")
    except (OSError, socket.error, TypeError, ValueError, OverflowError) as error:
        # So many wait already that a Unix socket takes no more.
        raise (Silent if getattr(error, "errno", None) == errno.EAGAIN else StreamClosed)(str(error))
    return SocketStream(sock)


class SocketStream(object):
    """A connected socket."""

    def __init__(self, sock):
        # type: (socket.socket) -> None
        self._socket = sock
        self._socket.settimeout(STALL_SECONDS)

    def read(self, count):
        # type: (int) -> bytes
        data = bytearray(count)
        view = memoryview(data)
        done = 0
        while done < count:
            got = self._patiently(lambda at=done: self._socket.recv_into(view[at : at + _CHUNK]))
            if got == 0:
                raise StreamClosed("the connection was closed")
            done += got
        return bytes(data)

    def write(self, data):
        # type: (bytes) -> None
        view = memoryview(data)
        done = 0
        while done < len(data):
            done += self._patiently(lambda at=done: self._socket.send(view[at : at + _CHUNK]))

    def wait(self, seconds):
        # type: (float) -> bool
        """Whether something has come, or the other side has gone, within ``seconds``."""
        until = time.time() + seconds
        while True:
            try:
                return bool(select.select([self._socket], [], [], max(0.0, until - time.time()))[0])
            except (OSError, socket.error, select.error, ValueError) as error:
                # Python 2 breaks off when a signal comes.
                if error.args[:1] != (errno.EINTR,):
                    raise StreamClosed(str(error))

    def close(self):
        # type: () -> None
        self._socket.close()

    def _patiently(self, call):
        # type: (Any) -> int
        while True:
            try:
                done = call()
            except socket.timeout:
                raise StreamClosed("the worker does not answer")
            except (OSError, socket.error) as error:
                if error.errno != errno.EINTR:
                    raise StreamClosed(str(error))
            else:
                return int(done)


class PipeStream(object):
    """A Windows named pipe by ``multiprocessing``: raw bytes only, nothing is pickled."""

    def __init__(self, connection):
        # type: (Any) -> None
        self._connection = connection
        self._rest = b""

    def read(self, count):
        # type: (int) -> bytes
        parts = [self._rest[:count]]
        self._rest = self._rest[count:]
        missing = count - len(parts[0])
        while missing > 0:
            if not self.wait(STALL_SECONDS):
                raise StreamClosed("the worker does not answer")
            try:
                data = self._connection.recv_bytes(_CHUNK)
            except (EOFError, OSError, IOError) as error:
                raise StreamClosed(str(error))
            parts.append(data[:missing])
            self._rest = data[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def write(self, data):
        # type: (bytes) -> None
        try:
            for start in range(0, len(data), _CHUNK):
                self._connection.send_bytes(data[start : start + _CHUNK])
        except (OSError, IOError, ValueError) as error:
            raise StreamClosed(str(error))

    def wait(self, seconds):
        # type: (float) -> bool
        if self._rest:
            return True
        try:
            return bool(self._connection.poll(seconds))
        except (EOFError, OSError, IOError) as error:
            raise StreamClosed(str(error))

    def close(self):
        # type: () -> None
        self._connection.close()
