"""Standard streams that can't stop the work: output that can't be printed is dropped, and the command goes on.

The reader of a pipe may have exited, a disk may be full, a descriptor may have been closed before the start, and a
program without a console has no streams at all.
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
_READER_GONE = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)

# System names of standard streams. They must not be opened by name: a file that stdout is redirected to would be
# overwritten from its start, and descriptor 2 is redirected to the null device while libraries are silenced.
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_STDERR = ("/dev/stderr", "/dev/fd/2", "/proc/self/fd/2")


class Output(io.TextIOBase):
    """Stands in for stdout or stderr, and never raises when something is printed.

    Attributes:
        is_result: whether the output is the command's result; otherwise it is status text, and the result is in a file.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Print to ``stream``; drop everything if it is None."""
        self.is_result = True
        self._stream = stream
        self._error: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return getattr(self._stream, "errors", None)

    @property
    def failure(self) -> str | None:
        """Why output was lost; None if none was, or if only its reader has exited."""
        if self._error is None or self._error.errno in _READER_GONE:
            return None
        return self._error.strerror or type(self._error).__name__

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            # Click uses this to find out whether a stream is a text stream.
            raise TypeError(f"text expected, got {type(text).__name__}")
        with self._discard_on_error() as stream:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discard_on_error() as stream:
            stream.flush()

    def isatty(self) -> bool:
        with self._discard_on_error() as stream:
            return stream.isatty()
        return False

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("no stream")
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @contextmanager
    def _discard_on_error(self) -> Iterator[TextIO]:
        """The stream; after an error in the block, all output is dropped."""
        try:
            yield self._stream or io.StringIO()
        except (OSError, ValueError) as error:
            self._error = error if isinstance(error, OSError) else OSError(errno.EBADF, os.strerror(errno.EBADF))
            # Python flushes the buffer once more at exit; it must go somewhere.
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.fileno())
                os.close(null)
            self._stream = None


@contextmanager
def standard_streams(silence: bool) -> Iterator[Output]:
    """Replace stdout, which is yielded, and stderr by ``Output``.

    Args:
        silence: drop what libraries, including native code, print on stderr, so that users only see our own messages.
    """
    _repair_descriptors()
    originals = sys.stdout, sys.stderr
    for stream in originals:
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
            sys.stdout, sys.stderr = originals


def find_standard_stream(path: Path) -> TextIO | None:
    """The standard stream that a path names, such as ``/dev/stdout``; None for any other file."""
    name = str(path)
    if sys.platform == "win32" or name not in _STDOUT + _STDERR:
        return None
    return sys.stdout if name in _STDOUT else sys.stderr


@contextmanager
def _silence_libraries(stream: TextIO | None) -> Iterator[TextIO | None]:
    """Redirect descriptor 2 to the null device; yields a stream that still prints to the original target."""
    try:
        saved, duplicate, null = os.dup(2), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        # No descriptor is left, or there is no such device: then the output of libraries is shown.
        yield stream
        return
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, saved)
        console = os.fdopen(duplicate, "w", buffering=1, errors="backslashreplace")
        stack.callback(_close, console)
        os.dup2(null, 2)
        os.close(null)
        stack.callback(os.dup2, saved, 2)
        # A root logger without a handler gets one for stderr as soon as a library logs through it.
        null_handler, root = logging.NullHandler(), logging.getLogger()
        root.addHandler(null_handler)
        stack.callback(root.removeHandler, null_handler)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield console if stream is sys.__stderr__ and stream is not None else stream


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):
        stream.close()


def _repair_descriptors() -> None:
    """Open closed standard descriptors, and make non-blocking ones blocking.

    Otherwise a file that is opened later gets the number of a closed one, and the output of libraries goes into it.
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
