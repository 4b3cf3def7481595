"""The model store: what it finds, what it fetches, and what it says when it can't."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from c2p_core.errors import BadRequest, CannotWrite, Message, ModelUnavailable
from c2p_core.models.fetching import lock_model
from c2p_core.models.files import LOCKS
from c2p_core.models.store import ModelStore, bundle_dir
from tests.error_assertions import raising
from tests.models.manifests import describe_file

ONE, TWO = b"first file", b"second file"


def entry(name: str, files: dict[str, bytes], *sources: str) -> str:
    listed = ", ".join(describe_file(file, content) for file, content in files.items())
    return textwrap.dedent(f"""
        [[model]]
        name = "{name}"
        role = "recogniser"
        family = "f"
        licence = "MIT"
        origin = "a test"
        files = [{listed}]
        sources = [{", ".join(sources)}]
    """)


BUNDLE = '{ kind = "bundle", folder = "mini" }'


def make_https_source(server: str) -> str:
    return f'{{ kind = "https", url = "{server}" }}'


def store(tmp_path: Path, *entries: str, offline: bool = False) -> ModelStore:
    bundle = tmp_path / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "manifest.toml").write_text("\n".join(entries))
    return ModelStore(tmp_path / "root", offline=offline, bundle=bundle)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves what lies in tmp_path/served; a file named slow.bin is sent without an end."""
    served = tmp_path / "served"
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(served))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if not self.path.endswith("slow.bin"):
                return super().do_GET()
            self.send_response(200)
            self.end_headers()
            while True:
                try:
                    self.wfile.write(b"x" * 1000)
                except OSError:
                    return None
                time.sleep(0.01)

        def log_message(self, *args: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()


def list_files(root: Path) -> list[str]:
    found = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return [path.as_posix() for path in found if path.parts[0] != LOCKS]


def test_a_bundled_file_is_used_in_place(tmp_path: Path) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, BUNDLE))
    (tmp_path / "bundle/mini").mkdir()
    (tmp_path / "bundle/mini/one.bin").write_bytes(ONE)
    assert models.obtain("a") == tmp_path / "bundle/mini/one.bin"


def test_the_path_of_several_files_is_their_folder(tmp_path: Path) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE, "two.bin": TWO}, BUNDLE))
    (tmp_path / "bundle/mini").mkdir()
    (tmp_path / "bundle/mini/one.bin").write_bytes(ONE)
    (tmp_path / "bundle/mini/two.bin").write_bytes(TWO)
    assert models.obtain("a") == tmp_path / "bundle/mini"


def test_a_bundled_file_that_was_not_built_yet_is_missing(tmp_path: Path) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, BUNDLE))
    assert not models.is_present("a")
    with raising(ModelUnavailable, "model-missing", name="a"):
        models.obtain("a")


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/one.bin").write_bytes(ONE[::-1])
    for look in (models.obtain, models.verify):
        with raising(ModelUnavailable, "model-damaged-fetchable", name="a"):
            look("a")


def test_fetching_replaces_a_damaged_file(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/one.bin").write_bytes(ONE[::-1])
    (tmp_path / "served/one.bin").write_bytes(ONE)
    models.fetch("a")
    assert models.obtain("a").read_bytes() == ONE


def test_verify_reads_the_file_again(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "served/one.bin").write_bytes(ONE)
    models.obtain("a").write_bytes(ONE[::-1])
    with raising(ModelUnavailable, "model-damaged-fetchable", name="a"):
        models.verify("a")


def test_a_fetched_file_with_the_wrong_hash_is_not_kept(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "served/one.bin").write_bytes(ONE[::-1])
    with raising(ModelUnavailable, "model-fetch-failed", name="a", why=re.compile("download-wrong")):
        models.obtain("a")
    assert list_files(tmp_path / "root") == []


def test_progress_counts_the_bytes_of_all_files(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE, "two.bin": TWO}, make_https_source(server)))
    (tmp_path / "served/one.bin").write_bytes(ONE)
    (tmp_path / "served/two.bin").write_bytes(TWO)
    seen: list[tuple[int, int]] = []
    models.fetch("a", lambda done, total: seen.append((done, total)))
    assert list(dict.fromkeys(seen)) == [(len(ONE), len(ONE + TWO)), (len(ONE + TWO), len(ONE + TWO))]


def test_offline_says_how_to_get_the_model_and_fetches_nothing(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)), offline=True)
    (tmp_path / "served/one.bin").write_bytes(ONE)
    with raising(ModelUnavailable, "model-offline", name="a"):
        models.obtain("a")
    assert not (tmp_path / "root").exists()


def test_offline_uses_models_fetched_before(tmp_path: Path, server: str) -> None:
    (tmp_path / "served/one.bin").write_bytes(ONE)
    store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server))).fetch("a")
    again = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)), offline=True)
    assert again.obtain("a").read_bytes() == ONE


def test_if_a_source_fails_the_next_one_is_used(tmp_path: Path, server: str) -> None:
    models = store(
        tmp_path, entry("a", {"one.bin": ONE}, BUNDLE, make_https_source(f"{server}/none"), make_https_source(server))
    )
    (tmp_path / "served/one.bin").write_bytes(ONE)
    assert models.obtain("a").read_bytes() == ONE


def test_if_all_sources_fail_each_reason_is_given(tmp_path: Path, server: str) -> None:
    (tmp_path / "served/one.bin").write_bytes(ONE[::-1])
    models = store(
        tmp_path, entry("a", {"one.bin": ONE}, make_https_source(f"{server}/none"), make_https_source(server))
    )
    reasons = [
        Message("download-failed", url=f"{server}/none/one.bin", why=Message("download-refused", status=404)),
        Message("download-failed", url=f"{server}/one.bin", why=Message("download-wrong")),
    ]
    with raising(ModelUnavailable, "model-fetch-failed", name="a", why=reasons):
        models.obtain("a")


def test_a_server_that_cannot_be_reached_is_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile(r"one\.bin.*download-unreachable.*refused")):
        store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(address))).obtain("a")


def test_a_killed_download_leaves_nothing_that_counts_as_a_model(tmp_path: Path, server: str) -> None:
    listed = entry("a", {"slow.bin": b"x" * 50_000_000}, make_https_source(server))
    store(tmp_path, listed)
    command = (
        "from pathlib import Path; from c2p_core.models.store import ModelStore; "
        f"ModelStore(Path({str(tmp_path / 'root')!r}), bundle=Path({str(tmp_path / 'bundle')!r})).fetch('a')"
    )
    run = subprocess.Popen([sys.executable, "-c", command], cwd=bundle_dir().parent)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.glob("root/.partial-*/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    run.wait()
    models = store(tmp_path, listed)
    assert not models.is_present("a")
    assert not (tmp_path / "root/a").exists()


def leave_stale(root: Path, model: str) -> Path:
    """What an ended download left long ago."""
    old = root / f".partial-{model}"
    old.mkdir(parents=True)
    (old / "half").write_bytes(b"x")
    os.utime(old, (0, 0))
    return old


@pytest.mark.parametrize("model", ["old", "a"])
def test_stale_files_of_killed_downloads_are_removed_later(model: str, tmp_path: Path, server: str) -> None:
    old = leave_stale(tmp_path / "root", model)
    (tmp_path / "served/one.bin").write_bytes(ONE)
    store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server))).fetch("a")
    assert not old.exists()


def test_a_download_that_another_process_continues_is_not_removed_as_stale(tmp_path: Path, server: str) -> None:
    old = leave_stale(tmp_path / "root", "old")
    (tmp_path / "served/one.bin").write_bytes(ONE)
    # A lock that is held twice in one process is as one of another process.
    with lock_model("old", tmp_path / "root", None):
        store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server))).fetch("a")
    assert (old / "half").exists()


def test_continuing_a_download_renews_its_expiry(tmp_path: Path, server: str) -> None:
    root, day = tmp_path / "root", 24 * 3600
    part = leave_stale(root, "a")
    os.utime(part, (time.time() - 13 * day,) * 2)
    with raising(ModelUnavailable, "model-fetch-failed"):
        store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server))).fetch("a")
    assert (part / "half").exists() and time.time() - part.stat().st_mtime < day


def test_another_process_may_remove_stale_files_first(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([folder / ".partial-gone"]))
    (tmp_path / "served/one.bin").write_bytes(ONE)
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    models.fetch("a")
    assert models.obtain("a").read_bytes() == ONE


def test_an_unwritable_folder_is_named(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "root").write_text("a file where the folder belongs")
    with raising(CannotWrite, "models-not-stored", variable="C2P_MODELS"):
        models.obtain("a")


def test_a_response_larger_than_expected_is_aborted(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"slow.bin": ONE}, make_https_source(server)))
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile("download-too-large")):
        models.obtain("a")
    assert list_files(tmp_path / "root") == []


def test_a_full_disk_is_not_reported_as_a_network_failure(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)))
    (tmp_path / "served/one.bin").write_bytes(ONE)

    opened = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", *others: Any, **named: Any) -> Any:
        if "r" not in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *others, **named)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with raising(CannotWrite, "models-not-stored", reason="No space left on device"):
        models.obtain("a")
    monkeypatch.undo()
    assert models.obtain("a").read_bytes() == ONE


def test_the_error_for_an_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    with raising(BadRequest, "model-unknown", name="z", known=["a"]):
        store(tmp_path, entry("a", {"one.bin": ONE}, BUNDLE)).obtain("z")


@pytest.mark.parametrize("text", ["", "[[model]]", "model = 3", "not toml"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    with raising(ModelUnavailable, "manifest-unreadable"):
        store(tmp_path, text)


def test_an_environment_variable_chooses_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2P_MODELS", str(tmp_path / "chosen"))
    assert ModelStore().root == tmp_path / "chosen"


def test_models_are_in_c2p_home_unless_they_have_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("C2P_MODELS", raising=False)
    monkeypatch.setenv("C2P_HOME", str(tmp_path))
    assert ModelStore().root == tmp_path / "models"


def test_the_projects_manifest_names_its_models() -> None:
    names = {entry.name for entry in ModelStore().entries()}
    assert names == {
        "mtcnn", "face-mesh", "dlib-resnet", "faceres-deep", "faceres", "mobileface",
        "mobilefacenet", "mobilenet", "thresholds", "other-photos", "decoys", "clip-mini", "complexion",
        "stylegan2-mini", "visibility",
    }  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in ModelStore().entries()])
def test_every_model_ships_and_needs_no_network(tmp_path: Path, name: str) -> None:
    ModelStore(tmp_path, offline=True).verify(name)


def test_third_party_models_ship_with_their_licence() -> None:
    texts = {path.name.removesuffix(".LICENSE.txt") for path in (bundle_dir() / "models").glob("*.LICENSE.txt")}
    shipped = {file.name for entry in ModelStore().entries() for file in entry.files}
    models = {name.partition(".")[0] for name in shipped if (bundle_dir() / "models" / name).is_file()}
    # One text is for both.
    assert models - {"faceres-deep"} == texts


def test_a_manifest_with_an_unknown_kind_of_source_is_refused(tmp_path: Path) -> None:
    with raising(ModelUnavailable, "manifest-unreadable"):
        store(tmp_path, entry("a", {"one.bin": ONE}, '{ kind = "npm", package = "a", folder = "b" }'))


def test_a_relative_models_folder_is_resolved_when_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, entry("a", {"one.bin": ONE}))
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/one.bin").write_bytes(ONE)
    monkeypatch.chdir(tmp_path)
    models = ModelStore(Path("root"), bundle=Path("bundle"))
    monkeypatch.chdir(tmp_path.parent)
    assert models.obtain("a") == tmp_path / "root/a/one.bin"


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("HTTP_PROXY", "socks5h://127.0.0.1:1", "download-proxy-socks"),
        ("HTTP_PROXY", "nonsense://", "download-proxy"),
        ("HTTP_PROXY", "http://127.0.0.1:1", "download-proxy"),
        ("HTTP_PROXY", "http://[::1", "download-unreachable"),
        ("REQUESTS_CA_BUNDLE", "nowhere/ca.pem", "download-insecure"),
        ("REQUESTS_CA_BUNDLE", os.devnull, "download-insecure"),
    ],
)
def test_wrong_network_settings_are_reported_as_such(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    address = server if variable == "HTTP_PROXY" else server.replace("http", "https")
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(address)))
    with raising(ModelUnavailable, "model-fetch-failed", why=re.compile(f"Message\\('{code}'")):
        models.fetch("a")


# Files whose hash nobody knows

UNKNOWN = """
[[model]]
name = "u"
role = "prior"
profile = "named"
use = "research"
licence = "LicenseRef-unstated"
origin = "a test"
files = [{ name = "u.bin", at_most = 20, layout = { w = [1] } }]
sources = []
"""


def test_the_first_file_without_a_known_hash_is_pinned_with_one_notice(tmp_path: Path) -> None:
    models = store(tmp_path, UNKNOWN)
    (tmp_path / "root/u").mkdir(parents=True)
    (tmp_path / "root/u/u.bin").write_bytes(ONE)
    digest = hashlib.sha256(ONE).hexdigest()
    assert models.obtain("u").read_bytes() == models.obtain("u").read_bytes() == ONE
    assert models.take_notices() == [Message("model-pinned", name="u", file="u.bin", sha256=digest)]
    assert models.take_notices() == []
    assert (tmp_path / "root/.pins/u/u.bin.sha256").read_text() == f"{digest}  u.bin\n"


def test_verifying_a_file_without_a_known_hash_pins_nothing(tmp_path: Path) -> None:
    models = store(tmp_path, UNKNOWN)
    (tmp_path / "root/u").mkdir(parents=True)
    (tmp_path / "root/u/u.bin").write_bytes(ONE)
    assert models.is_intact("u") and list_files(tmp_path / "root") == ["u/u.bin"]
    (tmp_path / "root/u/u.bin").write_bytes(TWO)
    assert models.is_intact("u") and models.obtain("u").read_bytes() == TWO
    assert [notice.fields["sha256"] for notice in models.take_notices()] == [hashlib.sha256(TWO).hexdigest()]


def test_a_different_later_file_is_refused_until_the_pin_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "root/u").mkdir(parents=True)
    (tmp_path / "root/u/u.bin").write_bytes(ONE)
    store(tmp_path, UNKNOWN).obtain("u")
    (tmp_path / "root/u/u.bin").write_bytes(TWO)
    pin = tmp_path / "root/.pins/u/u.bin.sha256"
    with raising(ModelUnavailable, "model-changed", name="u", pin=str(pin)):
        store(tmp_path, UNKNOWN).obtain("u")
    pin.unlink()
    assert store(tmp_path, UNKNOWN).obtain("u").read_bytes() == TWO


def test_a_damaged_pin_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "root/u").mkdir(parents=True)
    (tmp_path / "root/u/u.bin").write_bytes(ONE)
    store(tmp_path, UNKNOWN).obtain("u")
    (tmp_path / "root/.pins/u/u.bin.sha256").write_text("")
    with raising(ModelUnavailable, "model-pin-unreadable", name="u"):
        store(tmp_path, UNKNOWN).obtain("u")


@pytest.mark.parametrize("content", [b"", b"x" * 21])
def test_a_file_of_an_impossible_size_is_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root/u").mkdir(parents=True)
    (tmp_path / "root/u/u.bin").write_bytes(content)
    with raising(ModelUnavailable, "model-bring-your-own", name="u"):
        store(tmp_path, UNKNOWN).obtain("u")


# What is used without being asked


def test_only_models_of_the_embedded_profile_for_any_use_are_used_unasked(tmp_path: Path) -> None:
    free = entry("a", {"one.bin": ONE})
    models = store(tmp_path, free, UNKNOWN, free.replace('"a"', '"b"') + 'use = "research"\n')
    assert [e.name for e in models.entries()] == ["a"]
    assert [e.name for e in models.catalogue()] == ["a", "u", "b"]


def test_what_is_only_used_when_asked_for_is_never_fetched_by_a_run(tmp_path: Path, server: str) -> None:
    models = store(tmp_path, entry("a", {"one.bin": ONE}, make_https_source(server)) + 'profile = "full"\n')
    (tmp_path / "served/one.bin").write_bytes(ONE)
    with raising(ModelUnavailable, "model-not-fetched", name="a"):
        models.obtain("a")
    models.fetch("a")
    assert models.obtain("a").read_bytes() == ONE


def test_a_model_of_a_package_is_there_when_that_is_installed(tmp_path: Path) -> None:
    package = '\n[[model]]\nname = "{0}"\nrole = "collection"\nlicence = "MIT"\norigin = "a test"\nfiles = []\n'
    package += 'sources = [{{ kind = "package", package = "{0}" }}]\n'
    models = store(tmp_path, package.format("pytest"), package.format("no_such_package"))
    assert models.is_present("pytest") and not models.is_present("no_such_package")
    with raising(ModelUnavailable, "model-package-missing", name="no_such_package"):
        models.verify("no_such_package")
