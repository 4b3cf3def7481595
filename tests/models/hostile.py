"""A web server that misbehaves as it is told, one answer after the other."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Headers = dict[str, str]


@dataclass
class Server:
    """What the server has and does.

    Attributes:
        content: of every file.
        script: what answers the coming requests; afterwards all are answered properly.
        seen: headers of all requests, by names in lower case.
        tunnels: where it was asked to connect to, as a proxy.
        etag: whether it names the version of what it sends.
        ranges: whether it sends parts of files.
    """

    content: bytes = b""
    script: list[Callable[[Request], None]] = field(default_factory=list)
    seen: list[Headers] = field(default_factory=list)
    tunnels: list[str] = field(default_factory=list)
    etag: bool = True
    ranges: bool = True
    address: str = ""


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.state.seen.append({name.lower(): value for name, value in self.headers.items()})
        with contextlib.suppress(ConnectionError):  # whoever asked has gone
            (self.state.script.pop(0) if self.state.script else serve)(self)

    def do_CONNECT(self) -> None:
        """As a proxy that opens no tunnel, unless the script has something else to say."""
        self.close_connection = True
        self.state.tunnels.append(self.path)
        (self.state.script.pop(0) if self.state.script else refuse(502))(self)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Server]:
    state = Server()
    handler = type("Handler", (Request,), {"state": state})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        state.address = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield state
        httpd.shutdown()
        thread.join()


def begin(request: Request, length: int | None = None, **headers: str) -> bytes:
    """Send the head of a proper answer; returns the body that should follow."""
    state = request.state
    tag = f'"{hashlib.sha256(state.content).hexdigest()[:8]}"'
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    offset = int(wanted[1]) if wanted and state.ranges and request.headers.get("If-Range", tag) == tag else 0
    if wanted and offset >= len(state.content):
        answer(request, 416, **{"Content-Range": f"bytes */{len(state.content)}"})
        return b""
    body = state.content[offset:]
    request.send_response(206 if offset else 200)
    if offset:
        end = len(state.content) - 1
        request.send_header("Content-Range", f"bytes {offset}-{end}/{len(state.content)}")
    if state.etag:
        request.send_header("ETag", tag)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    return body


def serve(request: Request) -> None:
    """Answer properly."""
    request.wfile.write(begin(request))


def drop_after(count: int) -> Callable[[Request], None]:
    """Break off after so many bytes of the body."""
    return lambda request: _write(request, begin(request)[:count])


def send_wrong_length(length: int) -> Callable[[Request], None]:
    """Announce another length than what is sent."""
    return lambda request: _write(request, begin(request, length=length))


def refuse(status: int, **headers: str) -> Callable[[Request], None]:
    """Answer with a status alone."""
    return lambda request: answer(request, status, **{name.replace("_", "-"): v for name, v in headers.items()})


def send(body: bytes, **headers: str) -> Callable[[Request], None]:
    """Send something else."""
    return lambda request: answer(request, 200, body, **{name.replace("_", "-"): v for name, v in headers.items()})


def send_slowly(seconds: float, count: int) -> Callable[[Request], None]:
    """Send so many bytes at a time, with pauses."""

    def answer_slowly(request: Request) -> None:
        body = begin(request)
        for start in range(0, len(body), count):
            request.wfile.write(body[start : start + count])
            request.wfile.flush()
            time.sleep(seconds)

    return answer_slowly


def answer(request: Request, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in ({"Content-Length": str(len(body))} | headers).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


def _write(request: Request, body: bytes) -> None:
    request.wfile.write(body)
    request.wfile.flush()
