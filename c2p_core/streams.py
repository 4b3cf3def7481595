"""Standard streams that can't stop the work: what can't be printed is dropped, and the command goes on.

A pipe's reader may have gone, a disk may be full, a descriptor may have been closed before the start, and there is no
stream at all in a program without a console.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

# The reader has closed the pipe.
_UNWANTED = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)

# Names that systems give to standard streams. Opened by its name, a file that stdout leads to would be written from its
# start once more, and descriptor 2 leads to nowhere while libraries are silenced.
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_STDERR = ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2")


class Output(io.TextIOBase):
    """Stands in for stdout or stderr, and never raises when something is printed.

    Attributes:
        needed: whether what is printed is the command's result; else it is status text, and the result is in a file.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Print to ``stream``; drop everything where it is None."""
        self.needed = True
        self._stream = stream
        self._error: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    @property
    def lost(self) -> str | None:
        """Why something that somebody wanted to read could not be printed; None if nothing was lost."""
        if self._error is None or self._error.errno in _UNWANTED:
            return None
        return self._error.strerror or type(self._error).__name__

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            # Click tests with this whether a stream is a text stream.
            raise TypeError(f"text expected, got {type(text).__name__}")
        with self._giving_up() as stream:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._giving_up() as stream:
            stream.flush()

    def isatty(self) -> bool:
        with self._giving_up() as stream:
            return stream.isatty()
        return False

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("no stream")
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @contextmanager
    def _giving_up(self) -> Iterator[TextIO]:
        """The stream, which an error turns into one that drops everything."""
        try:
            yield self._stream or io.StringIO()
        except (OSError, ValueError) as error:
            self._error = error if isinstance(error, OSError) else OSError(errno.EBADF, os.strerror(errno.EBADF))
            # Python writes the rest of the buffer once more when it ends; it has to go somewhere.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.fileno())
                os.close(null)
            self._stream = None


@contextmanager
def standard_streams(silence: bool) -> Iterator[Output]:
    """Print through ``Output`` to stdout, which is yielded, and to stderr.

    Args:
        silence: drop what libraries, native code too, print on stderr, so that users only get our own messages.
    """
    _mend_descriptors()
    usual = sys.stdout, sys.stderr
    for stream in usual:
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the stream can't encode must not make the command fail after its work is done.
            stream.reconfigure(errors="backslashreplace")
    with contextlib.ExitStack() as stack:
        errors: TextIO | None = sys.stderr
        if silence:
            errors = stack.enter_context(_silence_libraries(errors))
        output = Output(sys.stdout)
        sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, Output(errors))
        try:
            yield output
        finally:
            sys.stderr.flush()
            sys.stdout, sys.stderr = usual


def stream_at(path: Path) -> TextIO | None:
    """The standard stream that a path names, such as ``/dev/stdout``; None where it is a file of its own."""
    named = str(path)
    if sys.platform == "win32" or named not in _STDOUT + _STDERR:
        return None
    return sys.stdout if named in _STDOUT else sys.stderr


@contextmanager
def _silence_libraries(stream: TextIO | None) -> Iterator[TextIO | None]:
    """Redirect descriptor 2 to nowhere; yields a stream that still prints to where it led."""
    try:
        own, again, null = os.dup(2), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        # No descriptor is left, or there is no such device: then what libraries print is shown.
        yield stream
        return
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, own)
        audible = os.fdopen(again, "w", buffering=1, errors="backslashreplace")
        stack.callback(_close, audible)
        os.dup2(null, 2)
        os.close(null)
        stack.callback(os.dup2, own, 2)
        # A root logger without a handler gets one for stderr as soon as a library logs through it.
        nowhere, root = logging.NullHandler(), logging.getLogger()
        root.addHandler(nowhere)
        stack.callback(root.removeHandler, nowhere)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield audible if stream is sys.__stderr__ and stream is not None else stream


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):
        stream.close()


def _mend_descriptors() -> None:
    """Open standard descriptors that are closed, and make non-blocking ones block.

    Otherwise a file that is opened later gets the number of a closed one, and what libraries print goes into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                # The lowest free number, which is this one.
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        else:
            if sys.platform != "win32" and descriptor:
                os.set_blocking(descriptor, True)
