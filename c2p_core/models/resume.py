"""Downloads one file over HTTP, in as many pieces as the connection needs.

Received bytes go to a partial file, which the next attempt or the next run resumes (RFC 9110, range requests). A server
that ignores ranges, or whose file has changed meanwhile, sends everything again.

No library does this: pooch restarts a broken download, and the client of Hugging Face's hub resumes files of the hub
only.
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
"""Before the second attempt; doubled before each further one that receives nothing."""
LONGEST_PAUSE_SECONDS = 60.0
"""A server that asks for a longer wait is given up."""
# An interrupted response loses less than one chunk.
_CHUNK_BYTES = 1 << 13
_REPORT_BYTES = 1 << 16
# Consecutive attempts that receive nothing, and attempts in total.
_MAX_FRUITLESS = 4
_MAX_ATTEMPTS = 100
# Status codes that may differ the next time.
_TRANSIENT_STATUSES = {408, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")


class NotReceived(Exception):
    """A file could not be received; ``message`` has the reason."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.code)
        self.message = message


class _Interrupted(Exception):
    """An attempt ended early; another one may receive the rest.

    Attributes:
        message: the reason, for the user if no other attempt succeeds.
        pause: seconds that the server asks to wait.
        reached: whether a server was reached at all.
    """

    def __init__(self, message: Message, pause: float = 0.0, reached: bool = True) -> None:
        super().__init__(message.code)
        self.message, self.pause, self.reached = message, pause, reached


@dataclass(frozen=True)
class Part:
    """A file that is being received.

    Attributes:
        path: has the bytes received so far.
    """

    path: Path

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def _state_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def read_validator(self, url: str) -> str | None:
        """The server's validator of the partial file's version; None where it came from another URL."""
        try:
            state = json.loads(self._state_path.read_text(encoding="utf-8"))
            return str(state["validator"]) if state["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str) -> None:
        """Discard the received bytes, and note the origin of the file."""
        self.path.unlink(missing_ok=True)
        self._state_path.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def discard(self) -> None:
        """Remove the partial file and the note of its origin."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Move the complete file to ``target``."""
        self.path.replace(target)
        self._state_path.unlink(missing_ok=True)


def receive(url: str, part: Part, file: ModelFile, on_bytes: Callable[[int], None]) -> bool:
    """Receive a file until it is complete, as far as its size or the server's response shows.

    Args:
        url: its address.
        part: where it is stored; a partial file is resumed.
        file: gives its size, or an upper bound.
        on_bytes: called with the number of bytes received so far.

    Returns:
        whether it may have been joined from several responses, so that another download from the start may help.

    Raises:
        NotReceived: the server can't be reached, refuses, or sends something else.
        OSError: it could not be written.
    """
    was_joined, most_received, fruitless = part.size > 0, part.size, 0
    for _ in range(_MAX_ATTEMPTS):
        try:
            _attempt(url, part, file, on_bytes)
        except _Interrupted as interruption:
            error = interruption
        else:
            return was_joined
        was_joined = was_joined or part.size > 0
        fruitless = 0 if part.size > most_received else fruitless + 1
        most_received = max(most_received, part.size)
        # A server that was never reached is unlikely to be reachable a second later.
        if fruitless >= _MAX_FRUITLESS or (not error.reached and most_received == 0):
            raise NotReceived(error.message) from error
        pause = max(error.pause, PAUSE_SECONDS * 2 ** (fruitless - 1) if fruitless else 0.0)
        time.sleep(pause)
    raise NotReceived(error.message) from error


def _attempt(url: str, part: Part, file: ModelFile, on_bytes: Callable[[int], None]) -> None:
    """Receive the missing bytes, or everything again.

    Raises:
        _Interrupted: it ended early.
        NotReceived: another attempt would end the same way.
    """
    if part.size and part.size == file.size:
        return
    validator = part.read_validator(url)
    # Without a hash, only the validator shows that both pieces are of the same file.
    if part.size > file.at_most or (part.size and not (validator or file.sha256)):
        part.discard()
    with _request(url, part.size, validator) as response:
        if response.status_code == 416:
            match = _UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if match and int(match[1]) == part.size and not file.size:
                return
            part.discard()
            raise _Interrupted(Message("download-cut"))
        _check_response(url, response)
        whole = _prepare_part(url, part, response)
        received = reported = part.size
        try:
            with part.path.open("ab") as target:
                for chunk in _receive(response):
                    received += len(chunk)
                    if received > file.at_most:
                        raise NotReceived(Message("download-too-large"))
                    target.write(chunk)
                    if received >= reported + _REPORT_BYTES or received == file.size:
                        reported = received
                        on_bytes(received)
        except NotReceived:
            part.discard()
            raise
    expected = file.size or whole
    if expected and received < expected:
        raise _Interrupted(Message("download-cut"))


@contextlib.contextmanager
def _request(url: str, offset: int, validator: str | None) -> Iterator[requests.Response]:
    """Request a file from an offset on, if it is still the same; all network errors are ``_Interrupted``."""
    import requests

    # Compression would make offsets meaningless.
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers)
    # Invalid settings raise OSError (a missing file of certificates) or ValueError (addresses).
    except (requests.RequestException, OSError, ValueError) as error:
        raise _Interrupted(_describe_error(error), reached=False) from error
    with response:
        yield response


def _check_response(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _TRANSIENT_STATUSES:
        pause = _read_pause(response.headers.get("Retry-After", ""))
        if pause > LONGEST_PAUSE_SECONDS:
            raise NotReceived(Message("download-busy", status=status, seconds=pause))
        raise _Interrupted(Message("download-refused", status=status), pause)
    if status not in (200, 206):
        raise NotReceived(Message("download-refused", status=status))
    if urlsplit(url).scheme == "https" and urlsplit(response.url).scheme != "https":
        raise NotReceived(Message("download-unencrypted"))
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise NotReceived(Message("download-page"))


def _read_pause(text: str) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a date; 0 where it is invalid."""
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    with_zone = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
    return max((with_zone - datetime.now(timezone.utc)).total_seconds(), 0.0)


def _prepare_part(url: str, part: Part, response: requests.Response) -> int:
    """Prepare ``part`` for a response; returns the server's size of the complete file, 0 if it gives none."""
    if response.status_code == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != part.size:
            part.discard()
            raise _Interrupted(Message("download-cut"))
        return int(match[2]) if match[2] != "*" else 0
    part.begin(url, _get_validator(response))
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _get_validator(response: requests.Response) -> str:
    """Get what identifies this version of the file; a weak ETag is not valid for ranges."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _receive(response: requests.Response) -> Iterator[bytes]:
    import requests

    try:
        yield from response.iter_content(_CHUNK_BYTES)
    except (requests.RequestException, OSError) as error:
        broken_off = isinstance(error, requests.exceptions.ChunkedEncodingError)
        raise _Interrupted(Message("download-cut") if broken_off else _describe_error(error)) from error


def _describe_error(error: Any) -> Message:
    """Describe a network error to the user."""
    import requests

    # The cause comes last, after long addresses.
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
