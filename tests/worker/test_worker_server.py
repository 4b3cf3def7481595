"""The worker and its client, over a real socket: jobs in a row, cancelling, crashes, and clients that mean harm."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import worker_client
import worker_client.transport
from talk import ask, events, status, until
from worker_client import Picture
from worker_client.constants import ENDPOINT, PROTOCOL
from worker_client.location import WorkerLocation, read_endpoint
from worker_client.protocol import StreamClosed, compute_proof

from c2p_core.errors import Message
from c2p_core.worker import protocol
from c2p_core.worker.server import Server, Settings
from c2p_core.worker.supervise import Compute
from c2p_core.worker.transport import ClientSocket
from tests.error_assertions import raising

HUGE = 1 << 62


def picture(depth: str = "u8", channels: int = 3, width: int = 40, height: int = 30) -> Picture:
    made = Picture("photo", -3, 7, width, height, channels, depth, icc=b"a profile")
    rows = os.urandom(made.row_bytes)
    made.strips = [rows * 10] * (height // 10)
    return made


@pytest.mark.parametrize("depth", ["u8", "u16", "float"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_arrive_and_come_back_byte_for_byte(worker: worker_client.Worker, depth: str, channels: int) -> None:
    sent = picture(depth, channels)
    (back,) = ask(worker, [sent]).pictures
    assert b"".join(back.strips) == b"".join(sent.strips)
    assert vars(back) | {"strips": 0} == vars(sent) | {"strips": 0}


def test_strips_may_come_from_a_generator_and_come_back_in_whole_rows(worker: worker_client.Worker) -> None:
    wide = Picture("photo", 0, 0, 4000, 600, 4, "u8")
    wide.strips = (bytes(wide.row_bytes * 200) for _ in range(3))
    (back,) = ask(worker, [wide]).pictures
    strips = list(back.strips)
    assert len(strips) > 1 and all(len(strip) % wide.row_bytes == 0 for strip in strips)


def test_a_picture_of_another_size_than_it_says_is_a_problem_and_not_a_hang(location: WorkerLocation) -> None:
    with worker_client.connect(location=location) as worker:
        short = picture()
        short.strips = [b"x"]
        with raising(
            worker_client.WorkerProblem,
            "picture-not-sent",
            reason=Message("picture-size-differs", name="photo").described(),
        ):
            worker.submit("protect", {}, [short])
    with worker_client.connect(location=location) as again:
        assert ask(again).kind == "result"


def test_jobs_of_several_clients_run_in_the_order_they_came_and_know_their_place(
    location: WorkerLocation, worker: worker_client.Worker
) -> None:
    with (
        worker_client.connect(location=location) as first,
        worker_client.connect(location=location) as second,
        worker_client.connect(location=location) as third,
    ):
        jobs = []
        # The first one lasts until the last one is there, on a busy machine too.
        for client, seconds in ((first, 0.15), (second, 0), (third, 0)):
            jobs.append(client.submit("protect", {"does": "count", "steps": 20, "seconds": seconds}))
            until(lambda: status(worker)["queue"] == len(jobs))
        told = [events(job) for job in jobs]
    positions = [[event.header["position"] for event in own if event.kind == "queued"] for own in told]
    assert positions == [[0], [1, 0], [2, 1, 0]]
    assert all(own[-1].kind == "result" for own in told)


def test_a_second_job_on_the_same_connection_is_refused(worker: worker_client.Worker) -> None:
    running = worker.submit("protect", {"does": "count", "steps": 1000})
    refused = events(worker.submit("protect"))[-1]
    assert refused.header["code"] == "job-running"
    running.cancel()


@pytest.mark.slow
def test_cancel_is_answered_before_the_step_ends_and_the_work_ends_with_it(
    make_location: Callable[..., WorkerLocation],
) -> None:
    with worker_client.connect(location=make_location()) as worker:
        computing = psutil.Process(worker.hello["pid"]).children()
        job = worker.submit("protect", {"does": "count", "steps": 100, "seconds": 3})
        for event in job.events():
            if event.kind == "progress":
                began = time.monotonic()
                job.cancel()
        assert event.header["code"] == "cancelled" and event.header["text"] == Message("cancelled").text()
        assert time.monotonic() - began < 2
        until(lambda: status(worker)["queue"] == 0)
        assert ask(worker, text="next").header["said"] == "next"
        assert psutil.Process(worker.hello["pid"]).children() == computing, "it was ended by force"


def test_pixels_of_a_result_may_come_while_they_are_used(worker: worker_client.Worker) -> None:
    rows = [bytes([number]) * 30_000 for number in range(250)]
    sent = [worker_client.Picture(name, 0, 0, 10_000, 250, 3, "u8", b"icc", rows) for name in "ab"]
    result = worker.submit("protect", {}, sent).result(lambda _event: None, lazily=True)
    for name, received in zip("ab", result.pictures, strict=True):
        strips = iter(received.strips)
        first = next(strips)
        assert len(first) < received.size and (received.name, received.icc) == (name, b"icc")
        assert first + b"".join(strips) == b"".join(rows)
    assert ask(worker, text="next").header["said"] == "next"


def test_a_client_that_leaves_amid_its_result_holds_up_nobody(
    location: WorkerLocation, worker: worker_client.Worker
) -> None:
    with worker_client.connect(location=location) as leaving:
        sent = worker_client.Picture("photo", 0, 0, 10_000, 1000, 3, "u8", b"", [bytes(30_000)] * 1000)
        result = leaving.submit("protect", {}, [sent]).result(lambda _event: None, lazily=True)
        assert next(iter(result.pictures[0].strips))
    assert ask(worker, text="next").header["said"] == "next"


def large(strips: Iterable[bytes] = (bytes(30_000),) * 1000) -> Picture:
    """A picture that is larger than what a connection holds."""
    return Picture("photo", 0, 0, 10_000, 1000, 3, "u8", b"", strips)


@pytest.mark.parametrize("when", ["sending", "receiving"])
def test_a_worker_that_pauses_amid_a_message_is_not_taken_for_dead(
    make_location: Callable[..., WorkerLocation], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(worker_client.transport, "STALL_SECONDS", 0.2)
    with worker_client.connect(location=make_location()) as worker:
        process = psutil.Process(worker.hello["pid"])

        def pause() -> None:
            process.suspend()
            threading.Timer(1, process.resume).start()

        if when == "sending":
            pause()
        (back,) = worker.submit("protect", {}, [large()]).result(lambda _event: None, lazily=True).pictures
        strips = iter(back.strips)
        first = next(strips)
        if when == "receiving":
            pause()
        assert len(first) + sum(map(len, strips)) == back.size


def paused(strips: Iterable[bytes]) -> Iterator[bytes]:
    """The same strips, with a pause after the first."""
    for number, strip in enumerate(strips):
        yield strip
        time.sleep(0 if number else 1)


def test_a_client_that_pauses_amid_a_message_is_waited_for(make_location: Callable[..., WorkerLocation]) -> None:
    with worker_client.connect(location=make_location(tune={"STALL_SECONDS": 0.2})) as worker:
        sent = large(paused([bytes(30_000)] * 1000))
        (back,) = worker.submit("protect", {}, [sent]).result(lambda _event: None, lazily=True).pictures
        assert sum(map(len, paused(back.strips))) == back.size


def test_a_client_that_pauses_for_too_long_does_not_keep_the_others_from_their_turn(
    make_location: Callable[..., WorkerLocation],
) -> None:
    location = make_location(tune={"_PAUSE_SECONDS": 0.5})
    with worker_client.connect(location=location) as pausing, worker_client.connect(location=location) as other:
        (back,) = pausing.submit("protect", {}, [large()]).result(lambda _event: None, lazily=True).pictures
        strips = iter(back.strips)
        next(strips)
        assert ask(other, text="next").header["said"] == "next"
        with raising(worker_client.WorkerProblem, "worker-gone"):
            list(strips)


def test_a_job_that_waits_can_be_cancelled_too(location: WorkerLocation, worker: worker_client.Worker) -> None:
    running = worker.submit("protect", {"does": "count", "steps": 20, "seconds": 0.15})
    with worker_client.connect(location=location) as other:
        waiting = other.submit("protect")
        waiting.cancel()
        assert events(waiting)[-1].header["code"] == "cancelled"
    assert events(running)[-1].kind == "result"


def test_a_client_that_goes_away_takes_its_job_with_it(location: WorkerLocation, worker: worker_client.Worker) -> None:
    leaving = worker_client.connect(location=location)
    job = leaving.submit("protect", {"does": "count", "steps": 1000, "seconds": 0.05})
    next(event for event in job.events() if event.kind == "progress")
    leaving.close()
    until(lambda: status(worker)["queue"] == 0)


def test_work_that_does_not_listen_is_ended_by_force(worker: worker_client.Worker) -> None:
    job = worker.submit("protect", {"does": "not listen", "seconds": 60})
    next(event for event in job.events() if event.kind == "progress")
    job.cancel()
    assert events(job)[-1].header["code"] == "cancelled"
    assert ask(worker, text="next").header["said"] == "next"


def test_a_cancellation_that_overtakes_its_job_holds() -> None:
    compute = Compute([sys.executable, "-I", "-u", str(Path(__file__).with_name("fake_compute.py"))])
    try:
        compute.wait_until_ready()
        compute.send(protocol.Message({"kind": "cancel", "job": 5}))
        compute.send(protocol.Message({"kind": "protect", "job": 5}))
        assert compute.receive().header["code"] == "cancelled"
    finally:
        compute.end()


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ({"does": "die", "signal": "SIGKILL"}, {"code": "process-killed", "fields": {"signal": 9}}),
        ({"does": "die", "signal": "SIGSEGV"}, {"code": "process-killed", "fields": {"signal": 11}}),
        ({"does": "exit"}, {"code": "process-exited", "fields": {"status": 3}}),
    ],
)
def test_a_job_that_crashes_takes_neither_the_queue_nor_the_next_job_with_it(
    location: WorkerLocation, worker: worker_client.Worker, death: dict[str, str], reason: dict[str, Any]
) -> None:
    with worker_client.connect(location=location) as other:
        blocking = worker.submit("protect", {"does": "count", "steps": 5})
        crashing = other.submit("protect", death)
        with worker_client.connect(location=location) as third:
            waiting = third.submit("protect", {"text": "I waited"})
            assert events(blocking)[-1].kind == "result"
            crashed = events(crashing)[-1].header
            assert crashed["code"] == "job-crashed" and crashed["fields"]["reason"][0].items() >= reason.items()
            assert events(waiting)[-1].header["said"] == "I waited"
        assert ask(other, text="again").header["said"] == "again"


def test_after_an_unforeseen_error_the_next_job_gets_another_process_that_computes(tmp_path: Path) -> None:
    class Broken(Compute):
        is_alive = True
        ended = False

        def __init__(self, command: Sequence[str]) -> None:
            started.append(self)

        def wait_until_ready(self) -> protocol.Header:
            return {"models_folder": str(tmp_path), "priors": []}

        def send(self, message: protocol.Message) -> None: ...

        def receive(self) -> protocol.Message:
            raise MemoryError

        def end(self) -> None:
            self.ended = True

    started: list[Broken] = []
    server = Server(Settings(tmp_path, tmp_path / "log", 60.0, False, ()), Broken)
    running = threading.Thread(target=server.run)
    usual = os.umask(0o077)
    try:
        running.start()
        until(lambda: (tmp_path / ENDPOINT).exists())
    finally:
        os.umask(usual)
    with worker_client.connect(location=WorkerLocation("test", [], str(tmp_path), {})) as worker:
        codes = [ask(worker).header["code"] for _ in range(2)]
    server.stop()
    running.join()
    assert codes == ["unexpected-in-worker"] * 2 and [process.ended for process in started] == [True, True]


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("fail", Message("unexpected-in-job", error="ZeroDivisionError: what nobody foresaw")),
        ("run out of memory", Message("memory-full")),
        ("run out of the card's memory", Message("gpu-memory-full")),
        ("lose the card's libraries", Message("gpu-memory-full")),
        ("find nobody", Message("no-face")),
    ],
)
def test_an_error_in_a_job_is_a_code_with_fields_and_a_sentence_and_the_next_job_runs(
    worker: worker_client.Worker, does: str, message: Message
) -> None:
    failed = ask(worker, does=does).header
    assert {name: failed[name] for name in ("code", "fields", "text")} == message.described()
    assert ask(worker).kind == "result"


def test_what_libraries_print_does_not_disturb_the_conversation(worker: worker_client.Worker) -> None:
    assert ask(worker, does="print").kind == "result"


def test_an_unknown_job_is_named(worker: worker_client.Worker) -> None:
    (answer,) = events(worker.submit("paint"))
    assert (answer.header["code"], answer.header["fields"]) == ("job-unknown", {"job": "paint"})


def test_status_tells_what_runs(worker: worker_client.Worker) -> None:
    ask(worker)
    # The answer is out a moment before its job is off the queue.
    until(lambda: status(worker)["queue"] == 0)
    told = status(worker)
    assert told["computing"] and told["connections"] >= 1 and told["jobs_done"] >= 1
    assert 10e6 < told["memory"] < 1e9


# Clients that mean harm


def dial(location: WorkerLocation) -> tuple[ClientSocket, str]:
    """A connection that has only been greeted, and the challenge."""
    endpoint = read_endpoint(location.run_folder)
    assert endpoint is not None
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(endpoint["address"])
    stream = ClientSocket(sock)
    return stream, protocol.read(stream).header["challenge"]


def intrude(location: WorkerLocation) -> ClientSocket:
    """A connection of somebody who knows the token and does not know how to behave."""
    stream, challenge = dial(location)
    endpoint = read_endpoint(location.run_folder)
    assert endpoint is not None
    hello = {"kind": "hello", "challenge": "00", "proof": compute_proof(endpoint["token"], "client", challenge, "00")}
    protocol.write(stream, protocol.Message(hello))
    assert protocol.read(stream).header["kind"] == "hello"
    return stream


def frame(
    header: bytes, payload: int = 0, magic: bytes = b"C2PW", version: int = PROTOCOL, size: int | None = None
) -> bytes:
    return struct.pack(">4sHHIQ", magic, version, 0, len(header) if size is None else size, payload) + header


def is_cut_off(stream: ClientSocket) -> bool:
    """Whether the other side ends the connection, after a last word at most."""
    stream.limit(5)
    try:
        while True:
            protocol.read(stream)
    except StreamClosed as end:
        return "timed out" not in str(end) and "slow" not in str(end)


def test_without_the_token_nothing_is_said(location: WorkerLocation, worker: worker_client.Worker) -> None:
    stream, _ = dial(location)
    protocol.write(stream, protocol.Message({"kind": "hello", "challenge": "00", "proof": "0" * 64}))
    answer = protocol.read(stream).header
    assert answer["code"] == "wrong-token" and "proof" not in answer
    assert is_cut_off(stream)


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 3,
        frame(b"{}", magic=b"EVIL"),
        frame(b"not JSON"),
        frame(b"[]"),
        frame(b'{"kind": "hello"}'),
        frame(b'{"kind": "hello", "challenge": 1, "proof": []}'),
        frame(b"{", size=1 << 31),
        frame(b"{}", payload=HUGE),
        frame(json.dumps({"kind": "hello", "x": "y" * 5000}).encode()),
    ],
)
def test_nonsense_instead_of_a_hello_ends_the_connection(
    location: WorkerLocation, worker: worker_client.Worker, words: bytes
) -> None:
    stream, _ = dial(location)
    stream.write(words)
    assert is_cut_off(stream)
    assert ask(worker).kind == "result"


@pytest.mark.parametrize(
    "words",
    [
        frame(b"{}"),
        frame(b'{"kind": "protect"}'),
        frame(b'{"kind": "protect", "job": true}'),
        frame(b'{"kind": 7, "job": 1}'),
        frame(b'{"kind": "protect", "job": NaN}'),
        frame(b'{"a":' * 100_000),
        frame(b'{"kind": "protect", "job": 1}', payload=HUGE),
        frame(b'{"kind": "protect", "job": 1}', payload=10) + b"0123456789",
        frame(b'{"kind": "protect", "job": 1, "pictures": 5}'),
        frame(b'{"kind": "protect", "job": 1, "pictures": [5]}'),
        frame(json.dumps({"kind": "protect", "job": 1, "pictures": [{}] * 3000}).encode()),
        frame(
            json.dumps(
                {
                    "kind": "protect",
                    "job": 1,
                    "pictures": [
                        {"name": "a", "x": 0, "y": 0, "width": 9**5, "height": 9**5, "channels": 4, "depth": "float"}
                    ],
                }
            ).encode(),
            payload=16 * 9**10,
        ),
    ],
)
def test_nonsense_after_the_hello_ends_the_connection_and_nothing_else(
    location: WorkerLocation, worker: worker_client.Worker, words: bytes
) -> None:
    stream = intrude(location)
    stream.write(words)
    assert is_cut_off(stream)
    assert ask(worker).kind == "result"


def test_slow_bytes_end_with_the_time_of_the_handshake(location: WorkerLocation, worker: worker_client.Worker) -> None:
    stream, _ = dial(location)
    began = time.monotonic()
    with pytest.raises(StreamClosed):
        for byte in frame(b'{"kind": "hello"}'):
            stream.write(bytes([byte]))
            time.sleep(0.1)
    assert time.monotonic() - began < 3
    assert ask(worker).kind == "result"


def test_pixels_on_their_way_count_as_pixels_that_wait(make_location: Callable[..., WorkerLocation]) -> None:
    location = make_location(tune={"_WAITING_BYTES_LIMIT": 5_000_000})
    shape = {"name": "p", "x": 0, "y": 0, "width": 1000, "height": 1000, "channels": 4, "depth": "u8", "icc": 0}
    header = json.dumps({"kind": "protect", "job": 1, "pictures": [shape]}).encode()
    with worker_client.connect(location=location) as worker:
        slow = intrude(location)
        slow.write(frame(header, payload=4_000_000) + bytes(1000))
        time.sleep(1)  # nothing tells when the worker has begun to read it
        hasty = intrude(location)
        hasty.write(frame(header, payload=4_000_000))
        assert protocol.read(hasty).header["code"] == "pixels-waiting"
        slow.close()
        until(lambda: status(worker)["connections"] == 1)
        again = intrude(location)
        again.write(frame(header, payload=4_000_000) + bytes(4_000_000))
        assert protocol.read(again).header == {"kind": "queued", "job": 1, "position": 0}


@pytest.mark.parametrize("height", [20, 3000], ids=["sent whole", "cut off while sending"])
def test_the_plug_in_hears_why_its_pixels_were_refused(
    make_location: Callable[..., WorkerLocation], height: int
) -> None:
    location = make_location(tune={"_WAITING_BYTES_LIMIT": 10_000})
    with (
        worker_client.connect(location=location) as worker,
        raising(worker_client.WorkerProblem, "pixels-waiting"),
    ):
        worker.submit("protect", {}, [picture(width=1000, height=height)]).result(lambda event: None)


def test_half_a_frame_and_the_end_leaves_nothing_behind(location: WorkerLocation, worker: worker_client.Worker) -> None:
    stream = intrude(location)
    shape = {"name": "p", "x": 0, "y": 0, "width": 1000, "height": 1000, "channels": 4, "depth": "u8", "icc": 0}
    header = json.dumps({"kind": "protect", "job": 1, "pictures": [shape]}).encode()
    stream.write(frame(header, payload=4_000_000) + bytes(1000))
    before = status(worker)["connections"]
    stream.close()
    until(lambda: status(worker)["connections"] == before - 1)
    assert status(worker)["queue"] == 0


def test_another_version_of_the_plug_in_is_told_so(location: WorkerLocation, worker: worker_client.Worker) -> None:
    stream, _ = dial(location)
    stream.write(frame(b'{"kind": "hello"}', version=PROTOCOL + 1))
    answer = protocol.read(stream).header
    assert (answer["code"], answer["fields"]) == (
        "running-protocol-differs",
        {"plug_in": PROTOCOL + 1, "worker": PROTOCOL},
    )


def test_many_connections_are_refused_and_not_piled_up(make_location: Callable[..., WorkerLocation]) -> None:
    location = make_location()
    with worker_client.connect(location=location) as worker:
        endpoint = read_endpoint(location.run_folder)
        assert endpoint is not None
        held = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        for sock in held:
            sock.connect(endpoint["address"])
            sock.settimeout(5)
        closed = sum(sock.recv(1) == b"" for sock in held)
        for sock in held:
            sock.close()
        assert closed >= 50 - 32
        until(lambda: status(worker)["connections"] == 1)


# What must not be


def test_nothing_of_a_picture_is_written_to_disk(make_location: Callable[..., WorkerLocation], tmp_path: Path) -> None:
    location = make_location()
    location.environment["TMPDIR"] = str(tmp_path)
    home = Path(location.environment["C2P_HOME"])
    with worker_client.connect(location=location) as worker:
        pid = worker.hello["pid"]
        job = worker.submit("protect", {"does": "count", "steps": 5, "text": "a prompt"}, [picture(width=900)])
        opened: set[Any] = set()
        for event in job.events(0.01):  # noqa: B007
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                opened |= {file.path for file in process.open_files() if file.mode not in ("r",)}
        assert event.kind == "result"
    assert not list(tmp_path.iterdir())
    allowed = {str(home / "log/worker.log"), str(home / "run/worker.lock"), str(home / "run/start.log")}
    assert opened <= allowed
    log = home / "log" / "worker.log"
    # The line may come a moment after the result.
    until(lambda: "protect: result" in log.read_text())
    assert "a prompt" not in log.read_text()
