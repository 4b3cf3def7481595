"""Receives one file over HTTP, in as many pieces as the connection needs.

What has arrived lies in a file of its own, which the next attempt, or the next run, continues (RFC 9110, range
requests). A server that ignores ranges, or whose file has changed meanwhile, sends everything again.

It is ours because pooch begins a broken download anew, and the hub's client continues files of its hub alone.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from c2p_core.errors import Message, first_line
from c2p_core.models.manifest import ModelFile

if TYPE_CHECKING:
    import requests

TIMEOUT_SECONDS = 30.0
PAUSE_SECONDS = 1.0
"""Before the second attempt; twice as much before each further one that brings nothing."""
LONGEST_PAUSE_SECONDS = 60.0
"""A server that asks to wait longer is given up."""
# What is lost of an answer that breaks off is less than one chunk.
_CHUNK_BYTES = 1 << 13
_TOLD_BYTES = 1 << 16
# Attempts in a row that bring nothing, and attempts altogether.
_FRUITLESS = 4
_ATTEMPTS = 100
# Answers of servers that may say something else the next time.
_PASSING = {408, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BEYOND = re.compile(r"bytes \*/(\d+)")


class NotReceived(Exception):
    """A file could not be received; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.code)
        self.message = message


class _Broken(Exception):
    """An attempt ended early; another may bring the rest.

    Attributes:
        message: what to say if no other does.
        pause: seconds that the server asks to wait.
        answered: whether a server was reached at all.
    """

    def __init__(self, message: Message, pause: float = 0.0, answered: bool = True) -> None:
        super().__init__(message.code)
        self.message, self.pause, self.answered = message, pause, answered


@dataclass(frozen=True)
class Part:
    """A file that is being received.

    Attributes:
        path: what has arrived so far.
    """

    path: Path

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def read_validator(self, url: str) -> str | None:
        """What the server called the version of the file that began here; None where it came from elsewhere."""
        try:
            noted = json.loads(self._note.read_text(encoding="utf-8"))
            return str(noted["validator"]) if noted["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str) -> None:
        """Forget what has arrived, and note where the file comes from now."""
        self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def discard(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Move the whole file to ``target``."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


def receive(url: str, part: Part, file: ModelFile, watch: Callable[[int], None]) -> bool:
    """Receive a file until it is whole, as far as its size or its server tells.

    Args:
        url: where it is.
        part: receives it; what it has is continued.
        file: its size, or the most that it may have.
        watch: called with the number of bytes that are there.

    Returns:
        whether it may have been put together from several answers, so that another try from the beginning may help.

    Raises:
        NotReceived: the server can't be reached, refuses, or has something else.
        OSError: it could not be written.
    """
    joined, most, fruitless = part.size > 0, part.size, 0
    for _ in range(_ATTEMPTS):
        try:
            _attempt(url, part, file, watch)
        except _Broken as broken:
            stopped = broken
        else:
            return joined
        joined = joined or part.size > 0
        fruitless = 0 if part.size > most else fruitless + 1
        most = max(most, part.size)
        # A server that was never reached has no reason to be there a second later.
        if fruitless >= _FRUITLESS or (not stopped.answered and most == 0):
            raise NotReceived(stopped.message) from stopped
        pause = max(stopped.pause, PAUSE_SECONDS * 2 ** (fruitless - 1) if fruitless else 0.0)
        time.sleep(pause)
    raise NotReceived(stopped.message) from stopped


def _attempt(url: str, part: Part, file: ModelFile, watch: Callable[[int], None]) -> None:
    """Receive what is still missing, or everything again.

    Raises:
        _Broken: it ended early.
        NotReceived: another attempt would end the same way.
    """
    if part.size and part.size == file.size:
        return
    validator = part.read_validator(url)
    # Without hash, only the server can tell that both pieces are of one file.
    if part.size > file.at_most or (part.size and not (validator or file.sha256)):
        part.discard()
    with _ask(url, part.size, validator) as response:
        if response.status_code == 416:
            beyond = _BEYOND.fullmatch(response.headers.get("Content-Range", ""))
            if beyond and int(beyond[1]) == part.size and not file.size:
                return
            part.discard()
            raise _Broken(Message("download-cut"))
        _check_answer(url, response)
        whole = _join(url, part, response)
        received = told = part.size
        try:
            with part.path.open("ab") as target:
                for chunk in _receive(response):
                    received += len(chunk)
                    if received > file.at_most:
                        raise NotReceived(Message("download-too-large"))
                    target.write(chunk)
                    if received >= told + _TOLD_BYTES or received == file.size:
                        told = received
                        watch(received)
        except NotReceived:
            part.discard()
            raise
    expected = file.size or whole
    if expected and received < expected:
        raise _Broken(Message("download-cut"))


@contextlib.contextmanager
def _ask(url: str, offset: int, validator: str | None) -> Iterator[requests.Response]:
    """Ask for a file from an offset on, if it is still the same; all errors of the network are ``_Broken``."""
    import requests

    # Any compression would make offsets meaningless.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers)
    # Settings that make no sense raise OSError (a file of certificates that is not there) or ValueError (addresses).
    except (requests.RequestException, OSError, ValueError) as error:
        raise _Broken(_describe(error), answered=False) from error
    with response:
        yield response


def _check_answer(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _PASSING:
        pause = _read_pause(response.headers.get("Retry-After", ""))
        if pause > LONGEST_PAUSE_SECONDS:
            raise NotReceived(Message("download-busy", status=status, seconds=pause))
        raise _Broken(Message("download-refused", status=status), pause)
    if status not in (200, 206):
        raise NotReceived(Message("download-refused", status=status))
    if urlsplit(url).scheme == "https" and urlsplit(response.url).scheme != "https":
        raise NotReceived(Message("download-unencrypted"))
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise NotReceived(Message("download-page"))


def _read_pause(text: str) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a date; 0 where it says nothing that makes sense."""
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    zoned = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
    return max((zoned - datetime.now(timezone.utc)).total_seconds(), 0.0)


def _join(url: str, part: Part, response: requests.Response) -> int:
    """Prepare ``part`` for an answer; returns the size of the whole file as the server states it, 0 if it doesn't."""
    if response.status_code == 206:
        stated = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if stated is None or int(stated[1]) != part.size:
            part.discard()
            raise _Broken(Message("download-cut"))
        return int(stated[2]) if stated[2] != "*" else 0
    part.begin(url, _get_validator(response))
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _get_validator(response: requests.Response) -> str:
    """What identifies this version of the file; a weak ETag is not good enough for ranges."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _receive(response: requests.Response) -> Iterator[bytes]:
    import requests

    try:
        yield from response.iter_content(_CHUNK_BYTES)
    except (requests.RequestException, OSError) as error:
        broken_off = isinstance(error, requests.exceptions.ChunkedEncodingError)
        raise _Broken(Message("download-cut") if broken_off else _describe(error)) from error


def _describe(error: Any) -> Message:
    """What to say of an error of the network."""
    import requests

    # The cause comes last, after addresses.
    reason = first_line(error, 1000)
    if isinstance(error, requests.Timeout):
        return Message("download-timeout")
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in reason:
        return Message("download-proxy-socks")
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidProxyURL):
        return Message("download-proxy", reason=reason)
    if isinstance(error, requests.exceptions.SSLError) or not isinstance(error, requests.RequestException | ValueError):
        return Message("download-insecure", reason=reason)
    return Message("download-unreachable", reason=reason)
