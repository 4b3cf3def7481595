"""One worker per user: how it starts, who may reach it, how it ends, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import worker_client
from click.testing import CliRunner
from talk import ask, events, status, until
from worker_client import WorkerProblem, client
from worker_client.constants import PROTOCOL
from worker_client.location import WorkerLocation, read_endpoint
from worker_client.protocol import StreamClosed
from worker_client.start import start

from c2p_core.cli import c2p
from c2p_core.errors import CannotWrite, Message
from c2p_core.worker import control, protocol, run_folder
from c2p_core.worker import run as serve
from c2p_core.worker.log import LOG, open_log
from c2p_core.worker.transport import ClientSocket, listen
from tests.error_assertions import raising

MakeLocation = Callable[..., WorkerLocation]


def pid(location: WorkerLocation) -> int:
    endpoint = read_endpoint(location.run_folder)
    assert endpoint is not None
    return int(endpoint["pid"])


def family(location: WorkerLocation) -> list[psutil.Process]:
    worker = psutil.Process(pid(location))
    return [worker, *worker.children(recursive=True)]


def write_endpoint(folder: Path, address: str) -> None:
    """What leads to a Unix socket that is no worker's."""
    run_folder.write_endpoint(folder, {"protocol": PROTOCOL, "transport": "unix", "address": address, "token": ""})
    (folder / "worker.json").chmod(0o600)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def log_of(location: WorkerLocation) -> str:
    return (Path(location.environment["C2P_HOME"]) / "log" / "worker.log").read_text()


def test_connecting_starts_a_worker_and_the_next_connection_finds_it(make_location: MakeLocation) -> None:
    location = make_location()
    waited: list[float] = []
    with worker_client.connect(waited.append, location=location) as first:
        with worker_client.connect(location=location) as second:
            assert first.hello["pid"] == second.hello["pid"] == pid(location)
        assert waited and waited == sorted(waited)
        assert first.hello["device"] == "cpu" and first.hello["protocol"] == PROTOCOL and first.hello["version"]


def test_the_worker_shares_nothing_with_the_plug_in_that_started_it(
    make_location: MakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/gimp/lib")
    monkeypatch.setenv("PYTHONPATH", "/gimp/python")
    location = make_location()
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    with worker_client.connect(location=location):
        worker = psutil.Process(pid(location))
        assert os.getsid(worker.pid) == worker.pid != os.getsid(0)
        assert not {"LD_LIBRARY_PATH", "PYTHONPATH"} & set(worker.environ())
    os.close(theirs)
    assert os.read(ours, 1) == b"", "the worker holds a pipe of its parent"
    os.close(ours)


def test_of_two_that_start_at_once_one_serves_both(make_location: MakeLocation) -> None:
    location = make_location()
    pids: list[int] = []

    def connect() -> None:
        with worker_client.connect(location=location) as worker:
            pids.append(worker.hello["pid"])
            assert ask(worker).kind == "result"

    threads = [threading.Thread(target=connect) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 5 and set(pids) == {pid(location)}


def test_only_the_user_may_enter_the_folder_and_open_the_socket(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        run = Path(location.run_folder)
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        for name in ("worker.sock", "worker.json", "worker.lock", "start.log"):
            assert stat.S_IMODE((run / name).stat().st_mode) == 0o600, name
        log = Path(location.environment["C2P_HOME"]) / "log"
        assert stat.S_IMODE(log.stat().st_mode) == 0o700
        assert stat.S_IMODE((log / "worker.log").stat().st_mode) == 0o600


def test_an_endpoint_that_others_could_have_written_is_not_believed(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        assert read_endpoint(location.run_folder) is not None
        Path(location.run_folder).chmod(0o755)
        assert read_endpoint(location.run_folder) is None
        Path(location.run_folder).chmod(0o700)
        (Path(location.run_folder) / "worker.json").chmod(0o644)
        assert read_endpoint(location.run_folder) is None


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with raising(CannotWrite, "folder-of-somebody-else", path=str(tmp_path)):
        run_folder.make_private(tmp_path)


def test_a_folder_whose_path_is_too_long_for_a_socket_gets_one_elsewhere(make_location: MakeLocation) -> None:
    location = make_location()
    location.run_folder = str(Path(location.run_folder).parent / ("deep" * 25) / "run")
    with worker_client.connect(location=location) as worker:
        endpoint = read_endpoint(location.run_folder)
        assert endpoint is not None
        socket = Path(endpoint["address"])
        assert len(str(socket)) < 100
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700 and stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert ask(worker).kind == "result"
    worker_client.stop(location)
    until(lambda: not socket.parent.exists())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix socket")
def test_a_socket_whose_temporary_folder_was_cleaned_away_can_be_closed(tmp_path: Path) -> None:
    listener = listen(tmp_path / ("deep" * 25), tcp=False)
    shutil.rmtree(Path(str(listener.address)).parent)
    listener.close()


def test_loopback_tcp_serves_who_knows_the_token(make_location: MakeLocation) -> None:
    location = make_location("--tcp")
    with worker_client.connect(location=location) as worker:
        endpoint = read_endpoint(location.run_folder)
        assert endpoint is not None and endpoint["transport"] == "tcp"
        (listening,) = psutil.Process(pid(location)).net_connections()[:1]
        assert listening.laddr.ip == "127.0.0.1"
        assert ask(worker).kind == "result"


@pytest.mark.parametrize("when", ["idle", "working", "waiting for its turn"])
def test_when_the_worker_is_killed_the_user_reads_one_sentence_and_the_next_call_starts_another(
    make_location: MakeLocation, when: str
) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker, worker_client.connect(location=location) as other:
        killed = family(location)
        if when == "waiting for its turn":
            busy = other.submit("protect", {"does": "count", "steps": 1000})
            next(event for event in busy.events() if event.kind == "progress")
        if when != "idle":
            job = worker.submit("protect", {"does": "count", "steps": 1000})
            next(event for event in job.events() if event.kind in ("progress", "queued"))
        os.kill(killed[0].pid, signal.SIGKILL)
        killed[0].wait(10)
        if when != "idle":
            last = events(job)[-1]
            assert last.kind == "error" and last.header == Message("worker-gone").described()
        assert ask(worker, text="again").header["said"] == "again"
        assert pid(location) != killed[0].pid
        until(lambda: all(is_gone(process) for process in killed))


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_nothing_that_stops_the_next(make_location: MakeLocation) -> None:
    location = make_location()
    for delay in (0.0, 0.05, 0.15, 0.3, 0.45, 0.6):
        process = start(location)
        time.sleep(delay)
        process.kill()
        process.wait()
        with worker_client.connect(location=location) as worker:
            assert ask(worker).kind == "result"
            left = family(location)
        os.kill(pid(location), signal.SIGKILL)
        until(lambda family=left: all(is_gone(process) for process in family))


def test_a_stale_socket_and_endpoint_are_replaced(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        pass
    first = pid(location)
    os.kill(first, signal.SIGKILL)
    until(lambda: is_gone(psutil.Process(first)) if psutil.pid_exists(first) else True)
    assert (Path(location.run_folder) / "worker.sock").exists() and read_endpoint(location.run_folder) is not None
    with worker_client.connect(location=location) as worker:
        assert worker.hello["pid"] != first


def test_how_fast_each_prior_was_is_told_to_the_next_client_even_after_a_restart(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker:
        assert worker.hello["seconds_per_face"] == {}
        ask(worker, speed=12.5, prior="makeup")
        ask(worker, speed=80, prior="stylegan2")
    worker_client.stop(location)
    with worker_client.connect(location=location) as worker:
        assert worker.hello["seconds_per_face"] == {"makeup": 12.5, "stylegan2": 80}


def test_only_priors_whose_weights_are_there_are_offered_at_each_hello(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker:
        assert worker.hello["priors"] == ["makeup", "stylegan2"] and worker.hello["missing_priors"] == {}
    own = Path(location.environment["C2P_HOME"]) / "models" / "stylegan2"
    own.mkdir(parents=True)
    (own / "generator.pt").touch()
    with worker_client.connect(location=location) as worker:
        assert worker.hello["priors"] == ["makeup"] == status(worker)["priors"]
        missing = worker.hello["missing_priors"]["stylegan2"]
        assert (missing["code"], missing["fields"]["missing"]) == ("checkpoint-alone", "encoder")


def test_a_disk_that_takes_nothing_costs_no_result(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker:
        (Path(location.run_folder) / "speed.json").mkdir()
        assert ask(worker, speed=12.5, prior="makeup").kind == "result"


def test_it_ends_when_nobody_needs_it(make_location: MakeLocation) -> None:
    location = make_location("--idle", "0.5")
    with worker_client.connect(location=location) as worker:
        ask(worker)
        processes = family(location)
    until(lambda: all(is_gone(process) for process in processes))
    assert read_endpoint(location.run_folder) is None and not (Path(location.run_folder) / "worker.sock").exists()
    assert " ERROR " not in log_of(location)


@pytest.mark.parametrize(("asked", "waits"), [(None, 600.0), ("5", 5.0)])
def test_the_environment_says_how_long_a_worker_waits(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, waits: float
) -> None:
    seen = []
    monkeypatch.setattr(serve, "run", lambda folder, idle, tcp: seen.append(idle) or 0)
    monkeypatch.delenv("C2P_IDLE", raising=False)
    if asked:
        monkeypatch.setenv("C2P_IDLE", asked)
    assert serve.main([]) == 0
    assert seen == [waits]


def test_with_a_client_connected_it_drops_its_models_and_stays(make_location: MakeLocation) -> None:
    location = make_location("--idle", "0.5")
    with worker_client.connect(location=location) as worker:
        ask(worker)
        until(lambda: not status(worker)["computing"])
        assert ask(worker, text="awake").header["said"] == "awake"


def test_it_drops_its_models_earlier_when_memory_is_short(make_location: MakeLocation) -> None:
    location = make_location(tune={"_LOW_MEMORY": 1 << 60, "_LOW_MEMORY_IDLE_SECONDS": 0.3})
    with worker_client.connect(location=location) as worker:
        ask(worker)
        until(lambda: not status(worker)["computing"])


def test_it_stops_on_request_and_cancels_what_it_does(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker:
        processes = family(location)
        job = worker.submit("protect", {"does": "count", "steps": 1000})
        next(event for event in job.events() if event.kind == "progress")
        assert worker_client.stop(location) is True
        assert events(job)[-1].kind == "error"
    until(lambda: all(is_gone(process) for process in processes))
    assert worker_client.stop(location) is False


def test_a_signal_ends_it_cleanly(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        processes = family(location)
        processes[0].terminate()
        until(lambda: all(is_gone(process) for process in processes))
    assert read_endpoint(location.run_folder) is None


def test_the_command_line_asks_and_stops_it(make_location: MakeLocation) -> None:
    location = make_location()
    folder = Path(location.run_folder)
    with raising(control.NoWorker, "no-worker"):
        control.status(folder)
    assert not control.stop(folder).was_running
    with worker_client.connect(location=location):
        assert control.status(folder)["pid"] == pid(location)
        assert control.stop(folder).message == "The worker has ended."
    assert read_endpoint(location.run_folder) is None


def test_a_worker_that_hangs_is_stopped_by_force(make_location: MakeLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    location = make_location()
    with worker_client.connect(location=location):
        processes = family(location)
        os.kill(pid(location), signal.SIGSTOP)
        assert "killed" in control.stop(Path(location.run_folder)).message
    until(lambda: all(is_gone(process) for process in processes))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix socket")
def test_a_hung_worker_whose_queue_is_full_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    path = str(tmp_path / "s")
    with ExitStack() as open_sockets:
        hung, *waiting = [open_sockets.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        hung.bind(path)
        hung.listen(0)
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        write_endpoint(tmp_path, path)
        with raising(control.NoWorker, "worker-unresponsive"):
            control.status(tmp_path)


def test_the_client_stops_one_that_hangs_too_and_says_so(
    make_location: MakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    location = make_location()
    with worker_client.connect(location=location):
        processes = family(location)
        os.kill(pid(location), signal.SIGSTOP)
        assert "does not answer" in worker_client.diagnose(location)["problem"]
        assert worker_client.stop(location) is True
    until(lambda: all(is_gone(process) for process in processes))
    assert worker_client.stop(location) is False


def test_where_a_killed_one_left_its_endpoint_none_runs(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        os.kill(pid(location), signal.SIGKILL)
    until(lambda: is_gone(psutil.Process(pid(location))) if psutil.pid_exists(pid(location)) else True)
    location.command[0] = "/no/such/python"
    assert worker_client.stop(location) is False


def test_one_that_hangs_and_can_not_be_ended_is_a_problem(
    make_location: MakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.3)
    location = make_location()
    with worker_client.connect(location=location):
        os.kill(pid(location), signal.SIGSTOP)
        monkeypatch.setattr(location, "command", [sys.executable, "-c", "import sys; sys.exit(2)"])
        with raising(WorkerProblem, "worker-not-ended"):
            worker_client.stop(location)
    os.kill(pid(location), signal.SIGKILL)


@pytest.mark.slow
def test_while_a_job_waits_for_a_new_worker_the_host_may_breathe(make_location: MakeLocation) -> None:
    location = make_location("--slow")
    waited: list[float] = []
    with worker_client.connect(waited.append, location=location) as worker:
        os.kill(pid(location), signal.SIGKILL)
        until(lambda: worker.has_gone())
        waited.clear()
        assert ask(worker, text="again").header["said"] == "again"
    assert len(waited) > 5 and waited == sorted(waited)


def test_a_worker_of_another_version_is_refused(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        path = Path(location.run_folder) / "worker.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": 99}))
        with raising(WorkerProblem, "running-protocol-differs", plug_in=PROTOCOL, worker=99):
            worker_client.connect(location=location)


def test_something_else_behind_the_socket_gets_no_picture(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        path = Path(location.run_folder) / "worker.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "token": "0" * 64}))
        with raising(WorkerProblem, "wrong-token"):
            worker_client.connect(location=location)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix socket")
def test_the_command_line_reads_no_pixels_from_who_has_proved_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    pixels = protocol.pack({"challenge": "00"}, [protocol.Picture("p", 0, 0, np.zeros((9, 9, 3), np.uint8))])
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(path)
        stranger.listen()
        write_endpoint(tmp_path, path)

        def greet_with_pixels() -> None:
            with suppress(StreamClosed):  # the client may have turned away already
                protocol.write(ClientSocket(stranger.accept()[0]), pixels)

        speaks = threading.Thread(target=greet_with_pixels)
        speaks.start()
        with raising(control.NoWorker, "not-the-worker", reason=Message("message-too-large").described()):
            control.status(tmp_path)
        speaks.join()


@pytest.mark.parametrize(
    ("command", "code", "name", "words"),
    [
        (["/no/such/python"], "worker-not-startable", "path", "/no/such/python"),
        ([sys.executable, "-c", "import c2p_core_that_is_not_there"], "worker-not-started", "why", "No module named"),
        (
            [sys.executable, "-c", "import sys; sys.exit('the disk is full')"],
            "worker-not-started",
            "why",
            "the disk is full",
        ),
    ],
)
def test_a_worker_that_can_not_start_says_why(
    tmp_path: Path, command: list[str], code: str, name: str, words: str
) -> None:
    with raising(WorkerProblem, code, **{name: re.compile(words)}):
        worker_client.connect(location=WorkerLocation("test", command, str(tmp_path / "run"), {}))


def test_a_worker_that_can_not_compute_says_why_and_tries_again(make_location: MakeLocation) -> None:
    location = make_location("--broken")
    for _ in range(2):
        with raising(WorkerProblem, "worker-cannot-compute", why=re.compile("No module named torch")):
            worker_client.connect(location=location)


def test_who_gives_up_waiting_leaves_no_trace(make_location: MakeLocation) -> None:
    location = make_location()

    def give_up(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker_client.connect(give_up, location=location)
    with worker_client.connect(location=location) as worker:
        assert status(worker)["connections"] == 1


def test_the_log_begins_a_new_file_before_it_grows_too_large(tmp_path: Path) -> None:
    path = open_log(tmp_path)
    try:
        for _ in range(400):
            LOG.info("x" * 10_000)
    finally:
        handler = LOG.handlers.pop()
        handler.close()
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["worker.log", "worker.log.1", "worker.log.2"]
    assert all(file.stat().st_size <= 1_010_000 for file in tmp_path.iterdir())
    assert path == tmp_path / "worker.log"


@pytest.mark.slow
def test_a_job_cancelled_while_models_load_does_not_end_the_process_that_loads_them(
    make_location: MakeLocation,
) -> None:
    location = make_location("--slow", "--idle", "0.3", tune={"_STOP_SECONDS": 0.1})
    with worker_client.connect(location=location) as worker:
        until(lambda: not status(worker)["computing"])
        job = worker.submit("protect")
        next(event for event in job.events() if event.kind == "queued")
        job.cancel()
        assert events(job)[-1].header["code"] == "cancelled"
        assert ask(worker, text="next").header["said"] == "next"
    assert "ended by force" not in log_of(location)


def test_a_second_worker_in_the_same_folder_does_not_start(make_location: MakeLocation) -> None:
    location = make_location()
    with worker_client.connect(location=location):
        code = (
            "import sys, pathlib; sys.path[:0] = sys.argv[2:]; from c2p_core.worker import run_folder;"
            "run_folder.LOCK_SECONDS = 0.1;"
            "from c2p_core.worker.run import run; sys.exit(run(pathlib.Path(sys.argv[1])))"
        )
        root = Path(__file__).parents[2]
        environment = {**os.environ, **location.environment}
        second = subprocess.run(
            [sys.executable, "-c", code, location.run_folder, root, root / "plugin"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 0 and "another one runs" in second.stderr


def test_the_command_line_promises_nothing_while_another_worker_serves(
    make_location: MakeLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = make_location()
    monkeypatch.setenv("C2P_HOME", location.environment["C2P_HOME"])
    monkeypatch.setattr(run_folder, "LOCK_SECONDS", 0.1)
    with worker_client.connect(location=location):
        said = CliRunner().invoke(c2p, ["worker", "run"])
    assert said.exit_code == 0 and "another one runs" in said.stderr and said.stdout == ""


def test_the_command_line_says_when_plug_ins_can_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2P_HOME", str(tmp_path))
    monkeypatch.setattr(serve.Server, "run", lambda self: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    said = CliRunner().invoke(c2p, ["worker", "run"])
    LOG.handlers.pop().close()
    assert said.exit_code == 0 and "Ctrl-C ends it" in said.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there a current folder can't be deleted")
def test_a_worker_that_is_started_in_a_folder_that_is_gone_works_in_one_that_is_there(
    make_location: MakeLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = make_location()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with worker_client.connect(location=location):
        assert all(Path(process.cwd()).is_dir() for process in family(location))
