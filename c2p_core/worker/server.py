"""The listening process: clients, the queue of their jobs, and the lifetime of the computing process."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from worker_client.constants import (
    CANCEL,
    CLIENT,
    ERROR,
    GREETING,
    HELLO,
    JOB_KINDS,
    LAST_KINDS,
    PAYLOAD_LIMIT,
    PROTOCOL,
    QUEUED,
    RESULT,
    STATUS,
    STOP,
    WORK,
    WORKER,
)
from worker_client.protocol import OtherVersion, ProtocolError, StreamClosed, compute_proof, same_secret

from c2p_core import errors
from c2p_core.priors.checkpoint_files import missing_priors
from c2p_core.version import __version__
from c2p_core.worker.log import LOG
from c2p_core.worker.memory import give_back
from c2p_core.worker.protocol import Header, Incoming, Message, read, write
from c2p_core.worker.run_folder import remove_endpoint, write_endpoint
from c2p_core.worker.supervise import Compute, ComputeFailed
from c2p_core.worker.transport import ClientStream, Listener, listen

_CONNECTIONS = 32
_HANDSHAKE_SECONDS = 10.0
# The longest that a client may pause within a message. It may be busy, but the others wait for it.
_PAUSE_SECONDS = 600.0
# A cancelled job that takes longer than this to stop is killed.
_STOP_SECONDS = 10.0
# Limit of the pixels in queued jobs, for all clients together.
_WAITING_BYTES_LIMIT = PAYLOAD_LIMIT
_TICK = 0.5
# With less free memory than this, models are dropped, unless they were used a moment ago.
_LOW_MEMORY = 1_000_000_000
_LOW_MEMORY_IDLE_SECONDS = 20.0
_SPEED = "speed.json"


@dataclass(frozen=True)
class Settings:
    """The worker's settings.

    Attributes:
        folder: its run folder, private to the user.
        log: its log file.
        idle: seconds without a job after which models are dropped and, if no client is connected, the worker ends.
        tcp: listen on the loopback interface instead of a private socket.
        compute: the command that starts the computing process.
    """

    folder: Path
    log: Path
    idle: float
    tcp: bool
    compute: Sequence[str]


class _Refused(errors.C2PError):
    """A client is refused; the message is sent to it."""


class _Client:
    """One connection."""

    def __init__(self, stream: ClientStream) -> None:
        self.stream = stream
        self.job: _Job | None = None
        self.trusted = False
        # Bytes of pixels that are being received and are not yet in the queue.
        self.arriving_bytes = 0
        self._writing = threading.Lock()

    def send_header(self, header: Header) -> None:
        self.send(Message(header))

    def refuse(self, number: int, message: errors.Message) -> None:
        self.send_header({"kind": ERROR, "job": number, **message.described()})

    def send(self, message: Message) -> None:
        """Send a message; the thread that reads from the client notices when it has disconnected.

        Raises:
            ComputeFailed: its pixels could not be read; the connection is shut.
        """
        try:
            with self._writing:
                write(self.stream, message)
        except StreamClosed:
            self.stream.shut()
        except ComputeFailed:
            self.stream.shut()
            raise


@dataclass(eq=False)
class _Job:
    """One job.

    Attributes:
        client: the client that sent it.
        number: the client's number for it.
        serial: its number in the computing process, since several clients may use the same number.
        message: header and pixels; None once the computing process has them.
        finished: whether its result or error was sent, or is about to be.
        position: position in the queue last sent to the client.
    """

    client: _Client
    number: int
    serial: int
    kind: str
    message: Message | None
    finished: bool = False
    position: int = 0

    @property
    def size(self) -> int:
        return len(self.message.payload) if self.message else 0

    def send(self, kind: str, **fields: Any) -> None:
        self.client.send_header({"kind": kind, "job": self.number, **fields})


class Server:
    """The worker's server; ``run`` returns when it has ended."""

    def __init__(self, settings: Settings, start_compute: Callable[[Sequence[str]], Compute] = Compute) -> None:
        """``start_compute`` starts a process by the settings' command."""
        self._settings = settings
        self._start_process = start_compute
        self._token = secrets.token_hex(32)
        self._started_at = self._last_used_at = time.monotonic()
        self._lock = threading.Condition()
        # Everything below is read and changed with the lock held.
        self._clients: set[_Client] = set()
        self._queue: deque[_Job] = deque()
        self._running: _Job | None = None
        self._busy = False
        self._jobs_received = self._jobs_done = 0
        self._compute_wanted = True
        self._stopping = False
        self._compute: Compute | None = None
        self._compute_info: Header | None = None
        self._start_failure: list[errors.Message | str] | None = None

    def run(self) -> None:
        """Serve until stopped or idle."""
        folder = self._settings.folder
        # The endpoint of a killed worker must not lead clients here, since its token differs.
        remove_endpoint(folder)
        listener = listen(folder, self._settings.tcp)
        try:
            write_endpoint(folder, self._endpoint(listener))
            LOG.info("worker %s listens on %s", __version__, listener.transport)
            for target in (self._accept, self._dispatch):
                threading.Thread(target=target, args=(listener,) if target == self._accept else (), daemon=True).start()
            self._watch()
        finally:
            remove_endpoint(folder)
            listener.close()
            self._end_everything()
            LOG.info("worker ended")

    def stop(self) -> None:
        """Make ``run`` return soon; may be called from any thread or signal handler."""
        self._stopping = True

    # Lifetime

    def _endpoint(self, listener: Listener) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "transport": listener.transport,
            "address": listener.address,
            "token": self._token,
            "log": str(self._settings.log),
        }

    def _watch(self) -> None:
        while not self._stopping:
            time.sleep(_TICK)
            with self._lock:
                if self._busy or self._queue or self._compute_wanted:
                    continue
                idle = time.monotonic() - self._last_used_at
                if idle > self._settings.idle and not self._clients:
                    LOG.info("nothing to do for %.0f s", idle)
                    # Must be set before the listener closes, or the accepting thread would log an error.
                    self._stopping = True
                    return
                low_memory = idle > _LOW_MEMORY_IDLE_SECONDS and psutil.virtual_memory().available < _LOW_MEMORY
                if self._compute is not None and (low_memory or idle > self._settings.idle):
                    LOG.info("models dropped: %s", "memory is short" if low_memory else "idle")
                    self._compute.end()
                    self._compute = None

    def _end_everything(self) -> None:
        with self._lock:
            self._stopping = True
            unfinished = [job for job in (*self._queue, self._running) if job]
            self._queue.clear()
            clients = list(self._clients)
            self._lock.notify_all()
        for job in unfinished:
            self._fail(job, errors.Message("worker-ended"))
        for client in clients:
            client.stream.shut()
        if self._compute is not None:
            self._compute.end()

    # Clients

    def _accept(self, listener: Listener) -> None:
        while not self._stopping:
            try:
                client = _Client(listener.accept())
            except StreamClosed as error:
                if not self._stopping:
                    LOG.error("can't accept: %s", error)
                    time.sleep(_TICK)
                continue
            with self._lock:
                full = len(self._clients) >= _CONNECTIONS
                if not full:
                    self._clients.add(client)
            if full:
                client.stream.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: _Client) -> None:
        try:
            client.stream.limit(_HANDSHAKE_SECONDS)
            self._shake_hands(client)
            client.stream.limit(None)
            while True:
                client.stream.wait()
                self._handle(client, read(client.stream, partial(self._reserve, client)))
                with self._lock:
                    client.arriving_bytes = 0
        except StreamClosed:
            pass
        except _Refused as refusal:
            LOG.warning("client refused: %s", refusal)
            client.send_header({"kind": ERROR, **refusal.message.described()})
        except OtherVersion as error:
            LOG.warning("client of another version: %s", error)
            message = errors.Message("running-protocol-differs", plug_in=error.version, worker=PROTOCOL)
            client.send_header({"kind": ERROR, **message.described()})
        except ProtocolError as error:
            LOG.warning("client cut off: %s", error)
            if client.trusted:
                number = client.job.number if client.job else None
                message = errors.Message("request-not-understood", reason=error.message)
                client.send_header({"kind": ERROR, "job": number, **message.described()})
        except Exception:
            LOG.exception("a client's thread failed")
        finally:
            with self._lock:
                self._clients.discard(client)
                job = client.job
            if job is not None:
                self._cancel(job)
            client.stream.shut()
            client.stream.close()

    def _shake_hands(self, client: _Client) -> None:
        challenge = secrets.token_hex(16)
        client.send_header({"kind": GREETING, "challenge": challenge})
        hello = read(client.stream, handshake=True).header
        client_challenge, client_proof = hello.get("challenge"), hello.get("proof")
        if hello.get("kind") != HELLO or not isinstance(client_challenge, str) or not isinstance(client_proof, str):
            raise ProtocolError("greeting-missing")
        if not same_secret(client_proof, compute_proof(self._token, CLIENT, challenge, client_challenge)):
            raise _Refused("wrong-token")
        client.trusted = True
        client.stream.limit(None)
        client.stream.allow_pauses(_PAUSE_SECONDS)
        LOG.info("client %r wants %r", str(hello.get("client"))[:80], hello.get("wants"))
        description = self._wait_for_compute() if hello.get("wants") == WORK else {}
        identity = {"kind": HELLO, "version": __version__, "protocol": PROTOCOL, "pid": os.getpid()}
        log = {"log": str(self._settings.log)}
        client.send_header(
            {**description, **identity, **log, "proof": compute_proof(self._token, WORKER, client_challenge, challenge)}
        )

    def _wait_for_compute(self) -> Header:
        """Wait until the computing process is ready; returns its description."""
        with self._lock:
            self._last_used_at = time.monotonic()
            self._compute_wanted = True
            self._start_failure = None
            self._lock.notify_all()
            while self._compute_info is None and not self._start_failure and not self._stopping:
                self._lock.wait()
            if self._compute_info is None:
                raise _Refused("worker-cannot-compute", why=self._start_failure or errors.Message("worker-ending"))
            return _update_priors(self._compute_info)

    def _reserve(self, client: _Client, size: int) -> None:
        with self._lock:
            queued_bytes = sum(job.size for job in (*self._queue, self._running) if job)
            if queued_bytes + sum(other.arriving_bytes for other in self._clients) + size > _WAITING_BYTES_LIMIT:
                raise _Refused("pixels-waiting")
            client.arriving_bytes = size

    def _handle(self, client: _Client, message: Message) -> None:
        kind, number = message.header.get("kind"), message.header.get("job")
        if not isinstance(kind, str) or not isinstance(number, int) or isinstance(number, bool):
            raise ProtocolError("job-not-named")
        if kind == CANCEL:
            job = client.job
            if job is not None and job.number == number:
                self._cancel(job)
        elif kind == STATUS:
            client.send_header({"kind": RESULT, "job": number, **self._status()})
        elif kind == STOP:
            LOG.info("asked to stop")
            client.send_header({"kind": RESULT, "job": number})
            self.stop()
        elif kind not in JOB_KINDS:
            client.refuse(number, errors.Message("job-unknown", job=kind[:40]))
        elif client.job is not None:
            client.refuse(number, errors.Message("job-running"))
        else:
            self._enqueue(client, number, message)

    def _status(self) -> Header:
        with self._lock:
            compute = self._compute
            return {
                "version": __version__,
                "pid": os.getpid(),
                "seconds_running": round(time.monotonic() - self._started_at, 1),
                "device": (self._compute_info or {}).get("device"),
                "priors": _update_priors(self._compute_info)["priors"] if self._compute_info else None,
                "queue": len(self._queue) + (self._running is not None),
                "connections": len(self._clients),
                "jobs_done": self._jobs_done,
                "memory": psutil.Process().memory_info().rss + (compute.measure_memory() if compute else 0),
                "computing": compute is not None,
                "log": str(self._settings.log),
            }

    # Jobs

    def _enqueue(self, client: _Client, number: int, message: Message) -> None:
        with self._lock:
            self._jobs_received += 1
            job = _Job(client, number, self._jobs_received, str(message.header["kind"]), message)
            client.job, client.arriving_bytes = job, 0
            self._queue.append(job)
            self._lock.notify_all()
        self._report_positions()

    def _report_positions(self) -> None:
        with self._lock:
            running = int(self._running is not None)
            positions = [(job, index + running) for index, job in enumerate(self._queue)]
            moved = [(job, position) for job, position in positions if position not in (0, job.position)]
            for job, position in moved:
                job.position = position
        for job, position in moved:
            job.send(QUEUED, position=position)

    def _cancel(self, job: _Job) -> None:
        """Reply to the client at once, then stop the computation."""
        with self._lock:
            if job in self._queue:
                self._queue.remove(job)
            # A process that is still loading models has not received the job and will not.
            compute = self._compute if job is self._running and job.message is None else None
            is_first = self._finish(job)
        if is_first:
            job.send(ERROR, **errors.Message("cancelled").described())
        self._report_positions()
        if compute is not None:
            threading.Thread(target=self._enforce_cancel, args=(job, compute), daemon=True).start()

    def _enforce_cancel(self, job: _Job, compute: Compute) -> None:
        """Stop a cancelled computation, by force if necessary."""
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            compute.send(Message({"kind": CANCEL, "job": job.serial}))
        except ComputeFailed:
            return
        with self._lock:
            while self._running is job and time.monotonic() < deadline:
                self._lock.wait(deadline - time.monotonic())
            if self._running is job:
                LOG.warning("a cancelled job does not stop and is ended by force")
                compute.end()

    def _fail(self, job: _Job, message: errors.Message) -> None:
        """Send a job's error, unless it has already ended."""
        if self._finish(job):
            job.send(ERROR, **message.described())

    def _finish(self, job: _Job) -> bool:
        """Mark a job as finished; True for the first caller, which must send its result or error."""
        with self._lock:
            if job.finished:
                return False
            job.finished = True
            job.client.job = None
            return True

    def _dispatch(self) -> None:
        """Run one job after the other; the only thread that starts the computing process."""
        while True:
            with self._lock:
                while not (self._queue or self._compute_wanted or self._stopping):
                    self._lock.wait()
                if self._stopping:
                    return
                job = self._queue.popleft() if self._queue else None
                self._running = job
                self._busy = True
                self._compute_wanted = False
            try:
                self._run_job(job)
            except Exception:
                LOG.exception("the dispatcher failed at a job")
                # A half-read message would be misread as the next one.
                with self._lock:
                    compute, self._compute = self._compute, None
                if compute is not None:
                    compute.end()
                if job is not None:
                    self._fail(job, errors.Message("unexpected-in-worker", log=str(self._settings.log)))
            with self._lock:
                self._jobs_done += job is not None
                self._running = None
                self._busy = False
                self._last_used_at = time.monotonic()
                self._lock.notify_all()
            del job  # frees its pixels if it was cancelled before it began
            give_back()

    def _run_job(self, job: _Job | None) -> None:
        if job is not None:
            self._report_positions()
            job.send(QUEUED, position=0)
        try:
            compute = self._start_compute()
        except ComputeFailed as error:
            with self._lock:
                self._start_failure = error.reasons
                self._lock.notify_all()
            if job is not None:
                self._fail(job, errors.Message("worker-cannot-compute", why=error.reasons))
            return
        if job is None:
            return
        with self._lock:
            if job.finished:
                return
            message, job.message = job.message, None
        assert message is not None  # a job is run only once
        start = time.monotonic()
        try:
            compute.send(Message({**message.header, "job": job.serial}, message.entries, message.payload))
            del message
            outcome = self._relay(job, compute)
        except ComputeFailed as error:
            self._discard(compute)
            self._fail(job, errors.Message("job-crashed", reason=error.reasons))
            outcome = "crash"
        LOG.info("%s: %s after %.1f s", job.kind, outcome, time.monotonic() - start)

    def _start_compute(self) -> Compute:
        with self._lock:
            if self._compute is not None and self._compute.is_alive:
                return self._compute
            self._compute = compute = self._start_process(self._settings.compute)
        try:
            description = compute.wait_until_ready()
        except ComputeFailed:
            with self._lock:
                self._compute = None
            raise
        device = description.get("device")
        with self._lock:
            self._compute_info = {**description, "seconds_per_face": self._read_speeds().get(str(device), {})}
            self._lock.notify_all()
        LOG.info("ready to compute on %s", device)
        return compute

    def _relay(self, job: _Job, compute: Compute) -> str:
        """Forward all messages of a job; returns the kind or code of the last one."""
        while True:
            incoming = compute.receive()
            pixels = incoming.payload
            assert isinstance(pixels, Incoming)
            message = Message({**incoming.header, "job": job.number}, incoming.entries, pixels)
            kind = message.header.get("kind")
            if kind not in LAST_KINDS:
                if not job.finished:
                    job.client.send(message)
                pixels.drain()
                continue
            if kind == RESULT:
                self._store_figures(message.header)
            if message.header.pop("spent", False):
                self._discard(compute)
            if self._finish(job):
                job.client.send(message)
            pixels.drain()
            return str(message.header.get("code", kind))

    def _discard(self, compute: Compute) -> None:
        """End an unusable process; the dispatcher starts another one."""
        compute.end()
        with self._lock:
            self._compute = None
            self._compute_wanted = True

    def _store_figures(self, result: Header) -> None:
        """Store a result's figures on speed and models for the next hello."""
        with self._lock:
            if self._compute_info is None:
                return
            if "missing" in result:
                self._compute_info["models"] = {"present": result["present"], "missing": result["missing"]}
            seconds = result.get("seconds_per_face")
            if seconds is not None:
                by_prior = {**self._compute_info["seconds_per_face"], str(result["settings"]["prior"]): seconds}
                self._compute_info["seconds_per_face"] = by_prior
                speeds = {**self._read_speeds(), str(self._compute_info.get("device")): by_prior}
                try:
                    (self._settings.folder / _SPEED).write_text(json.dumps(speeds), encoding="utf-8")
                except OSError as error:
                    LOG.warning("speed not stored: %s", error)  # a full disk is no reason to lose a result

    def _read_speeds(self) -> dict[str, dict[str, float]]:
        """Seconds per face by device and prior, as measured in earlier jobs."""
        try:
            speeds = json.loads((self._settings.folder / _SPEED).read_text(encoding="utf-8"))
            return {
                str(device): {str(prior): float(seconds) for prior, seconds in by_prior.items()}
                for device, by_prior in speeds.items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def _update_priors(description: Header) -> Header:
    """Update a computing process's description to the priors that are usable now, since files may come and go."""
    updated = dict(description)
    missing = missing_priors(Path(updated.pop("models_folder")))
    priors = [name for name in updated["priors"] if name not in missing]
    described = {name: message.described() for name, message in missing.items()}
    return {**updated, "priors": priors, "missing_priors": described}
