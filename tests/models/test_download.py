"""Downloads from servers that drop connections, lie, change their files, stall and refuse."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest

from c2p_core.errors import Message, ModelUnavailable
from c2p_core.models import resume
from c2p_core.models.files import LOCKS, PARTIAL_PREFIX
from c2p_core.models.store import ModelStore, bundle_dir
from tests.error_assertions import raising
from tests.models import hostile
from tests.models.hostile import Server

CONTENT = bytes(range(256)) * 1200  # several chunks


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(resume, "PAUSE_SECONDS", 0.01)
    with hostile.running() as state:
        state.content = CONTENT
        yield state


def open_store(tmp_path: Path, server: Server, sha256: str | None = None, size: int | None = None) -> ModelStore:
    """A store with the model "m"; "" and 0 stand for what nobody knows."""
    sha256 = hashlib.sha256(CONTENT).hexdigest() if sha256 is None else sha256
    size = len(CONTENT) if size is None else size
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "manifest.toml").write_text(f"""
        [[model]]
        name = "m"
        role = "prior"
        licence = "MIT"
        origin = "a test"
        files = [{{ name = "m.bin", sha256 = "{sha256}", size = {size}, at_most = 400_000 }}]
        sources = [{{ kind = "https", url = "{server.address}" }}]
    """)
    return ModelStore(tmp_path / "root", bundle=bundle)


def list_kept(tmp_path: Path) -> list[str]:
    """Files below the store's folder, locks left out."""
    files = [path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in files if path.parts[0] != LOCKS)


def locate_partial_file(tmp_path: Path) -> Path:
    return tmp_path / f"root/{PARTIAL_PREFIX}m/m.bin.part"


def leave_part(tmp_path: Path, server: Server, content: bytes, validator: str) -> None:
    """What an ended run left."""
    locate_partial_file(tmp_path).parent.mkdir(parents=True)
    locate_partial_file(tmp_path).write_bytes(content)
    noted = {"url": f"{server.address}/m.bin", "validator": validator}
    locate_partial_file(tmp_path).with_name("m.bin.part.json").write_text(json.dumps(noted))


def list_ranges(server: Server) -> list[str | None]:
    return [headers.get("range") for headers in server.seen]


def test_a_dropped_connection_is_continued_where_it_broke_off(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.drop_after(98_304), hostile.drop_after(49_152)]
    seen: list[int] = []
    models = open_store(tmp_path, server)
    models.fetch("m", lambda done, total: seen.append(done))
    assert models.obtain("m").read_bytes() == CONTENT
    assert list_ranges(server) == [None, "bytes=98304-", "bytes=147456-"]
    assert seen == sorted(seen) and seen[-1] == len(CONTENT)
    assert list_kept(tmp_path) == ["m/m.bin"]


def test_an_interrupted_run_is_continued_by_the_next(tmp_path: Path, server: Server) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 98_304:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(tmp_path, server).fetch("m", interrupt)
    had = locate_partial_file(tmp_path).stat().st_size
    assert 0 < had < len(CONTENT) and not open_store(tmp_path, server).is_present("m")
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert list_ranges(server) == [None, f"bytes={had}-"]


def test_a_server_that_ignores_ranges_sends_everything_again(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    server.script = [hostile.drop_after(98_304)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert len(server.seen) == 2


def test_a_server_that_always_drops_the_connection_is_given_up_and_the_partial_file_is_kept(
    tmp_path: Path, server: Server
) -> None:
    server.script = [hostile.drop_after(98_304)] + [hostile.drop_after(0)] * 10
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-cut")):
        open_store(tmp_path, server).fetch("m")
    assert locate_partial_file(tmp_path).stat().st_size == 98_304 and len(server.seen) == 5


def test_a_file_that_changed_meanwhile_is_not_joined_to_the_old_one(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, server, b"old" * 1000, '"of the old one"')
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert [headers.get("if-range") for headers in server.seen] == ['"of the old one"']


def test_a_changed_file_without_an_etag_is_found_by_its_hash_and_fetched_anew(tmp_path: Path, server: Server) -> None:
    server.etag = False
    leave_part(tmp_path, server, b"old" * 1000, "")
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert list_ranges(server) == ["bytes=3000-", None]


def test_without_hash_and_etag_nothing_is_continued(tmp_path: Path, server: Server) -> None:
    server.etag = False
    leave_part(tmp_path, server, CONTENT[:3000], "")
    assert open_store(tmp_path, server, sha256="", size=0).obtain("m").read_bytes() == CONTENT
    assert list_ranges(server) == [None]


def test_a_complete_partial_file_is_recognised_without_a_known_size(tmp_path: Path, server: Server) -> None:
    tag = f'"{hashlib.sha256(CONTENT).hexdigest()[:8]}"'
    leave_part(tmp_path, server, CONTENT, tag)
    assert open_store(tmp_path, server, size=0).obtain("m").read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_file_is_discarded(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, server, CONTENT + b"more", '"x"')
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


def test_a_response_for_another_range_is_rejected(tmp_path: Path, server: Server) -> None:
    def send_elsewhere(request: hostile.Request) -> None:
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        request.send_header("Content-Length", str(len(CONTENT) - 7))
        request.end_headers()
        request.wfile.write(CONTENT[7:])

    server.script = [hostile.drop_after(1000), send_elsewhere]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT) + 5000, len(CONTENT) + 1])
def test_a_content_length_that_is_too_large_is_not_trusted(tmp_path: Path, server: Server, length: int) -> None:
    server.script = [hostile.send_wrong_length(length)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


def test_a_content_length_that_is_too_small_leads_to_another_request(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.send_wrong_length(8192)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert list_ranges(server) == [None, "bytes=8192-"]


def test_a_response_larger_than_the_file_can_be_is_aborted_and_discarded(tmp_path: Path, server: Server) -> None:
    server.content = CONTENT * 3
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-too-large")):
        open_store(tmp_path, server).fetch("m")
    assert list_kept(tmp_path) == []


@pytest.mark.parametrize("size", [0, len(CONTENT)])
def test_wrong_bytes_are_not_kept(tmp_path: Path, server: Server, size: int) -> None:
    server.content = CONTENT[::-1]
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-wrong")):
        open_store(tmp_path, server, size=size).fetch("m")
    assert list_kept(tmp_path) == []


def test_a_web_page_is_not_accepted_as_the_file(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.send(b"<html>quota exceeded</html>", Content_Type="text/html; charset=utf-8")]
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-page")):
        open_store(tmp_path, server).fetch("m")
    assert list_kept(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(tmp_path: Path, server: Server, status: int) -> None:
    server.script = [hostile.refuse(status)]
    why = [Message("download-failed", url=f"{server.address}/m.bin", why=Message("download-refused", status=status))]
    with raising(ModelUnavailable, "model-fetch-failed", why=why):
        open_store(tmp_path, server).fetch("m")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(tmp_path: Path, server: Server, status: int) -> None:
    server.script = [hostile.refuse(status)] * 2
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.refuse(503)] * 50
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile(r"download-refused.*503")):
        open_store(tmp_path, server).fetch("m")
    assert len(server.seen) < 10


def test_the_retry_after_header_is_honoured(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    server.script = [hostile.refuse(429, Retry_After="7"), hostile.refuse(503, Retry_After=soon)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert slept[0] == 7 and 25 < slept[1] <= 30


@pytest.mark.parametrize("text", ["soon", "", "-3", "1e3", "Mon, 99 Foo"])
def test_a_meaningless_retry_after_header_is_ignored(tmp_path: Path, server: Server, text: str) -> None:
    server.script = [hostile.refuse(429, Retry_After=text)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


def test_a_server_that_asks_for_an_hours_wait_is_given_up(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.refuse(429, Retry_After="3600")]
    busy = Message("download-busy", status=429, seconds=3600.0)
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile(re.escape(repr(busy)))):
        open_store(tmp_path, server).fetch("m")
    assert len(server.seen) == 1


def test_a_slow_server_is_waited_for(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.send_slowly(0.01, 20_000)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert len(server.seen) == 1


def test_a_stalled_download_is_restarted_where_it_stopped(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine needs for an answer.
    monkeypatch.setattr(resume, "TIMEOUT_SECONDS", 2.0)
    server.script = [hostile.send_slowly(6.0, 98_304)]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT
    assert list_ranges(server)[0] is None and len(server.seen) == 2


def test_a_configured_proxy_is_used(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    proxy = server.address
    models = open_store(tmp_path, Server(address="http://models.invalid"))
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert models.obtain("m").read_bytes() == CONTENT
    assert server.seen[0]["host"] == "models.invalid"


def test_over_https_the_proxy_is_asked_for_a_tunnel_and_nothing_goes_past_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    models = open_store(tmp_path, Server(address="https://models.invalid"))
    monkeypatch.setenv("HTTPS_PROXY", server.address)
    server.script = [hostile.refuse(407)]
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-proxy.*407")):
        models.obtain("m")
    assert server.tunnels == ["models.invalid:443"] and server.seen == []


def test_concurrent_fetches_of_one_model_are_one_download(tmp_path: Path, server: Server) -> None:
    server.script = [hostile.send_slowly(0.02, 20_000)]
    open_store(tmp_path, server)
    command = (
        "from pathlib import Path; from c2p_core.models.store import ModelStore; "
        f"ModelStore(Path({str(tmp_path / 'root')!r}), bundle=Path({str(tmp_path / 'bundle')!r})).fetch('m')"
    )
    running = [subprocess.Popen([sys.executable, "-c", command], cwd=bundle_dir().parent) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(server.seen) == 1 and list_kept(tmp_path) == ["m/m.bin"]
    assert open_store(tmp_path, server).obtain("m").read_bytes() == CONTENT


def test_waiting_for_another_fetch_can_be_cancelled(tmp_path: Path, server: Server) -> None:
    from c2p_core.models.fetching import lock_model

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stopped

    models = open_store(tmp_path, server)
    with lock_model("m", tmp_path / "root", None), pytest.raises(Stopped):
        models.fetch("m", stop)
    assert server.seen == []


def test_a_fetched_file_without_a_known_hash_is_pinned_and_a_different_later_one_refused(
    tmp_path: Path, server: Server
) -> None:
    models = open_store(tmp_path, server, sha256="", size=0)
    models.fetch("m")
    assert [notice.code for notice in models.take_notices()] == ["model-pinned"]
    assert models.remove("m") == len(CONTENT)
    server.content = CONTENT[::-1]
    with raising(ModelUnavailable, "model-differs-from-pin", name="m", file="m.bin"):
        open_store(tmp_path, server, sha256="", size=0).fetch("m")
    assert not open_store(tmp_path, server, sha256="", size=0).is_present("m")


def test_a_broken_download_is_removed_with_its_model(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, server, CONTENT[:3000], "")
    assert open_store(tmp_path, server).remove("m") > 3000
    assert list_kept(tmp_path) == []


def test_a_partial_copy_from_a_killed_import_is_not_taken_for_the_file(tmp_path: Path, server: Server) -> None:
    (copies := locate_partial_file(tmp_path).with_name("copies-1")).mkdir(parents=True)
    (copies / "m.bin").write_bytes(CONTENT[:3000])
    assert open_store(tmp_path, server, sha256="", size=0).obtain("m").read_bytes() == CONTENT
    assert list_kept(tmp_path) == [".pins/m/m.bin.sha256", "m/m.bin"]


def test_a_broken_import_and_a_broken_download_are_removed_with_their_model(tmp_path: Path, server: Server) -> None:
    leave_part(tmp_path, server, CONTENT[:3000], "")
    (copies := locate_partial_file(tmp_path).with_name("copies-1")).mkdir()
    (copies / "m.bin").write_bytes(CONTENT[:3000])
    assert open_store(tmp_path, server).remove("m") > 6000
    assert list_kept(tmp_path) == []


def test_an_empty_file_is_rejected(tmp_path: Path, server: Server) -> None:
    server.content = b""
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-wrong")):
        open_store(tmp_path, server, sha256="", size=0).fetch("m")
    assert list_kept(tmp_path) == []


def test_leftovers_of_a_killed_run_beside_a_partial_file_are_removed_after_the_next_success(
    tmp_path: Path, server: Server
) -> None:
    leave_part(tmp_path, server, CONTENT[:3000], "")
    locate_partial_file(tmp_path).with_name("tmp123").write_bytes(CONTENT)
    open_store(tmp_path, server).fetch("m")
    assert list_kept(tmp_path) == ["m/m.bin"]
