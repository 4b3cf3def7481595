"""The client without a worker: how it finds one, what environment it gives it, and what it is written in."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from worker_client import WorkerProblem, choose_detection_size, connect, diagnose, location, start, stop
from worker_client.location import WorkerLocation, find_worker

CLIENT = Path(start.__file__).parent
FAKE = Path(__file__).parents[1] / "worker" / "fake_worker.py"
GOOD = {
    "protocol": 3,
    "command": ["/opt/python", "-m", "c2p_core.worker"],
    "run": "/opt/run",
    "environment": {"A": "b"},
}


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (location.PYTHON_VARIABLE, location.POINTER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(location.HOME_VARIABLE, str(tmp_path / "home"))


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_without_any_worker_the_user_reads_what_to_do() -> None:
    for call in (connect, stop):
        with pytest.raises(WorkerProblem) as caught:
            call()
        assert caught.value.code == "worker-not-installed"
    assert "install.py" in diagnose()["problem"]


def test_the_pointer_file_says_how_to_start_it_and_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(location.POINTER_VARIABLE, write(tmp_path / "pointer", GOOD))
    worker_location = find_worker()
    assert (worker_location.command, worker_location.run_folder, worker_location.environment) == (
        GOOD["command"],
        "/opt/run",
        {"A": "b"},
    )


def test_the_pointer_file_beside_the_plug_in_is_found(tmp_path: Path) -> None:
    shutil.copytree(CLIENT, tmp_path / "protect-face" / "worker_client")
    write(tmp_path / "protect-face" / location.POINTER, GOOD)
    code = "import worker_client.location as l; print(l.find_worker().run_folder)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "protect-face")}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.stdout.strip() == "/opt/run", process.stderr


def test_a_chosen_python_comes_before_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(location.POINTER_VARIABLE, write(tmp_path / "pointer", GOOD))
    monkeypatch.setenv(location.PYTHON_VARIABLE, "/my/python")
    assert find_worker().command == ["/my/python", "-I", "-u", "-m", "c2p_core.worker"]


def test_the_installers_folder_is_known(tmp_path: Path) -> None:
    python = tmp_path / "home" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert find_worker().command[0] == str(python)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        {**GOOD, "command": []},
        {**GOOD, "command": [1]},
        {**GOOD, "run": None},
        {**GOOD, "environment": {"A": 1}},
        {**GOOD, "protocol": "one"},
        "[" * 100_000,
    ],
)
def test_a_damaged_pointer_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    path = write(tmp_path / "pointer", content)
    monkeypatch.setenv(location.POINTER_VARIABLE, path)
    with pytest.raises(WorkerProblem) as caught:
        find_worker()
    assert (caught.value.code, caught.value.fields) == ("pointer-unreadable", {"path": path})


def test_a_worker_installed_for_another_protocol_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(location.POINTER_VARIABLE, write(tmp_path / "pointer", {**GOOD, "protocol": 7}))
    with pytest.raises(WorkerProblem) as caught:
        find_worker()
    assert (caught.value.code, caught.value.fields["worker"]) == ("installed-protocol-differs", 7)


def test_python_2_gets_names_in_the_encoding_of_its_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a Western European Windows.
    monkeypatch.setattr(location, "FILE_NAMES", "cp1252")
    monkeypatch.setattr(location, "sys", SimpleNamespace(version_info=(2, 7)))
    assert location.to_native("C:\\Users\\Jürgen") == b"C:\\Users\\J\xfcrgen"
    assert location.to_readable(b"C:\\Users\\J\xfcrgen") == "C:\\Users\\Jürgen"


def test_a_diagnosis_is_text_whatever_bytes_a_path_has(tmp_path: Path) -> None:
    diagnosis = diagnose(WorkerLocation("test", [b"/J\xc3\xbcrgen/python"], str(tmp_path), {}))  # type: ignore[list-item]
    assert json.loads(json.dumps(diagnosis))["command"] == ["/Jürgen/python"]


def test_inside_flatpak_the_user_reads_how_to_start_the_worker_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/.flatpak-info" or exists(path))
    c2p = tmp_path / "c2p"
    c2p.touch()
    with pytest.raises(WorkerProblem) as caught:
        connect(location=WorkerLocation("test", [str(tmp_path / "python")], str(tmp_path / "run"), {}))
    assert (caught.value.code, caught.value.fields) == ("sandbox-start", {"command": f'"{c2p}" worker run'})


def test_every_text_names_the_command_that_installs_into_gimp() -> None:
    root = CLIENT.parents[1]
    paths = [*(root / "plugin").rglob("*.py"), *(root / "plugin").rglob("*.po"), root / "docs" / "gimp.md"]
    paths += (root / "c2p_core" / "worker").glob("*.py")
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines() if "install.py" in line]
    assert lines
    assert [line for line in lines if not re.search(r"python3 install\.py --(gimp|doctor)", line)] == []


def test_a_run_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkerProblem) as caught:
        connect(location=WorkerLocation("test", [sys.executable], str(tmp_path / "file" / "run"), {}))
    assert caught.value.code == "run-folder-not-written"
    assert caught.value.fields["path"] == str(tmp_path / "file" / "run")


def test_another_program_on_the_port_of_a_dead_worker_is_no_worker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.6\r\n"), daemon=True).start()
        tmp_path.chmod(0o700)
        endpoint = {"protocol": 3, "transport": "tcp", "address": server.getsockname()[1], "token": "ab"}
        write(tmp_path / location.ENDPOINT, endpoint)
        (tmp_path / location.ENDPOINT).chmod(0o600)
        assert stop(WorkerLocation("test", [], str(tmp_path), {})) is False


def test_what_gimp_sets_for_itself_does_not_reach_the_worker() -> None:
    theirs = {
        "LD_PRELOAD": "x",
        "LD_LIBRARY_PATH": "x",
        "PYTHONHOME": "x",
        "PYTHONPATH": "x",
        "GI_TYPELIB_PATH": "x",
        "GTK_PATH": "x",
        "GDK_BACKEND": "x",
        "GEGL_PATH": "x",
        "BABL_PATH": "x",
        "GIMP3_DATADIR": "x",
        "DYLD_LIBRARY_PATH": "x",
    }
    environment = {"HOME": "/home/a", "LANG": "de_DE.UTF-8", "XDG_DATA_HOME": "/d", "CUDA_VISIBLE_DEVICES": "0"}
    packed = {"APPDIR": "/tmp/.mount_GIMP", "PATH": "/tmp/.mount_GIMP/usr/bin:/usr/bin"}
    clean = start.clean_environment({**theirs, **environment, **packed})
    assert clean == {**environment, "APPDIR": "/tmp/.mount_GIMP", "PATH": "/usr/bin"}


def test_on_windows_the_worker_has_a_hidden_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "os", SimpleNamespace(name="nt", path=os.path))
    flags = start.make_detached_options(None, None)["creationflags"]
    # CREATE_NO_WINDOW, which is ignored beside DETACHED_PROCESS.
    assert flags & 0x08000000 and not flags & 0x00000008


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [((800, 600), (800, 600)), ((6000, 4000), (1714, 1143)), ((30_000, 10), (8571, 3)), ((30_000, 1), (8571, 1))],
)
def test_a_layer_is_reduced_to_what_the_search_for_faces_needs(layer: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert choose_detection_size(*layer) == wanted


# What it is written in

STANDARD = {
    *("binascii", "errno", "hashlib", "hmac", "io", "json", "multiprocessing", "os", "select", "socket", "struct"),
    *("__future__", "gettext", "re", "string", "subprocess", "sys", "time", "traceback"),
}
# For type checkers only, behind TYPE_CHECKING.
TYPES = {"typing", "collections"}


@pytest.mark.parametrize("path", sorted(CLIENT.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_beyond_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text())
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            guarded |= set(ast.walk(node))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            allowed = STANDARD | {"worker_client"} | (TYPES if node in guarded else set())
            assert name.partition(".")[0] in allowed


def test_it_is_python_2_7_too() -> None:
    command = [sys.executable, "-c", "import vermin; vermin.main()", "-t=2.7", "-t=3.3", "--no-tips", str(CLIENT)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout


def find_python2() -> str:
    """A Python 2.7 that runs: on the path, or among pyenv's. Without one skips; GIMP 2.10's own runs the host tests."""
    candidates = [shutil.which("python2.7"), *map(str, (Path.home() / ".pyenv/versions").glob("2.7*/bin/python2.7"))]
    for candidate in filter(None, candidates):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    pytest.skip("there is no Python 2.7 here; the host tests in GIMP 2.10 run the same code in its own")


CONVERSATION = """
# -*- coding: utf-8 -*-
import sys
sys.path.insert(0, sys.argv[1])
import worker_client
assert sys.version_info[0] == 2
with worker_client.connect() as worker:
    def sent():
        return worker_client.Picture("photo", 0, 0, 300, 200, 3, "u16", b"icc", (b"x" * 1800 for _ in range(200)))
    for event in worker.submit("protect", {"text": u"gr\\xfcn"}, [sent()]).events():
        pass
    assert event.kind == "result" and event.header["said"] == u"gr\\xfcn", event.header
    assert b"".join(event.pictures[0].strips) == b"x" * 360000
    job = worker.submit("protect", {"does": "count", "steps": 1000}, [sent()])
    for event in job.events(0.05):
        if event.kind == "progress":
            job.cancel()
    assert event.header["code"] == "cancelled"
    for event in worker.submit("protect", {"does": "exit"}).events():
        pass
    assert event.header["code"] == "job-crashed"
assert worker_client.diagnose()["status"]["device"] == "cpu"
assert worker_client.stop() and not worker_client.stop()
from worker_client.messages import Message, render_message
sent = Message("model-unreadable", path=u"/\\xfc", reason="x").described()
said = render_message(sent, lambda t: t.replace(u"model", u"\\xb5"))
assert said == u"The \\xb5 file /\\xfc can't be read (x); check its permissions.", said
problem = worker_client.WorkerProblem("pointer-unreadable", path=u"/\\xfc")
assert str(problem) == problem.message["text"].encode("utf-8") and u"/\\xfc" in problem.message["text"]
print("all of it")
"""


def test_it_runs_in_a_real_python_2_7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = find_python2()
    # A home with letters that Python 2 likes to trip over.
    home = tmp_path / "zuhause ü"
    home.mkdir()
    pointer = {
        "protocol": 3,
        "command": [sys.executable, "-I", "-u", str(FAKE)],
        "run": str(home / "run"),
        "environment": {"C2P_HOME": str(home)},
    }
    monkeypatch.setenv(location.POINTER_VARIABLE, write(tmp_path / "pointer", pointer))
    script = write(tmp_path / "conversation.py", CONVERSATION.lstrip())
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C"}
    process = subprocess.run([python, script, str(CLIENT.parent)], env=environment, capture_output=True, text=True)
    assert process.stdout == "all of it\n", process.stderr


def test_the_list_of_priors_is_read_in_a_real_python_2_7_from_a_folder_with_any_letters(tmp_path: Path) -> None:
    client = tmp_path / "zuhause ü" / "worker_client"
    shutil.copytree(CLIENT, client, ignore=shutil.ignore_patterns("__pycache__"))
    (client / "priors.json").write_text('[["shape", "Shape alone"]]')
    script = "import sys; sys.path.insert(0, sys.argv[1]); from worker_client import settings; print(settings.PRIORS)"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C"}
    command = [find_python2(), "-c", script, str(client.parent)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.stdout == "((u'shape', u'Shape alone'),)\n", process.stderr
