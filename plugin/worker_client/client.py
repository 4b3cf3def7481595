"""Finds, starts and queries the worker; every failure is a code with fields (``WorkerProblem`` or an "error" event)."""

import binascii
import os
import time

from worker_client.constants import (
    CANCEL,
    CLIENT,
    CONTROL,
    ERROR,
    EVENT_KINDS,
    GREETING,
    HELLO,
    LAST_KINDS,
    PROTOCOL,
    RESULT,
    START_LOG,
    STATUS,
    STOP,
    TCP,
    WORK,
    WORKER,
)
from worker_client.errors import WorkerProblem
from worker_client.location import find_worker, read_endpoint, read_tail, to_native, to_readable
from worker_client.messages import Message
from worker_client.protocol import (
    TEXT,
    OtherVersion,
    ProtocolError,
    StreamClosed,
    compute_proof,
    read_message,
    same_secret,
    write_message,
)
from worker_client.start import end, start
from worker_client.transport import Silent, open_stream

# The longest silence of a worker that another process has started.
START_SECONDS = 90.0
# The longest that a worker may take to start and load its models: usually seconds, but minutes if memory is short.
READY_SECONDS = 660.0
# A running worker greets, and answers requests that need no models, at once, even while it computes.
ANSWER_SECONDS = 10.0
# The longest that a cancelled job may take to end before the client gives up on it.
CANCEL_SECONDS = 5.0
_POLL = 0.1

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from worker_client.location import WorkerLocation
    from worker_client.protocol import Picture
    from worker_client.transport import PipeStream, SocketStream


class Event(object):
    """Something that happened to a job.

    Attributes:
        kind: "queued", "progress", "waiting" (nothing new), "result" or "error".
        header: the message's header, a dict; an error has "code", "fields" and the English "text".
        pictures: list of ``Picture``.
    """

    def __init__(self, kind, header=None, pictures=None):
        # type: (str, dict[str, Any] | None, list[Picture] | None) -> None
        self.kind = kind
        self.header = header or {}
        self.pictures = pictures or []


def connect(on_waiting=None, client="plug-in", location=None):
    # type: (Callable[[float], object] | None, str, WorkerLocation | None) -> Worker
    """Connects to the user's worker, and starts one if none runs.

    Args:
        on_waiting: called about ten times a second while the worker starts, with the seconds waited so far; may raise.
            Also called when the worker has to be started again for a job.
        client: name of the client, for the worker's log.
        location: where the worker is; None to look for it.

    Raises:
        WorkerProblem: there is no worker, it can't be started, or it is of another version.
    """
    location = location or find_worker()
    return Worker(location, client, _connect(location, client, on_waiting), on_waiting)


class Worker(object):
    """A connection to the worker; also a context manager that closes it.

    Attributes:
        hello: the worker's description of itself; ``docs/worker-protocol.md`` lists it.
    """

    def __init__(self, location, client, connection, on_waiting=None):
        # type: (WorkerLocation, str, tuple[SocketStream | PipeStream, dict[str, Any]], Callable[[float], object] | None) -> None
        self._location = location
        self._client = client
        self._on_waiting = on_waiting
        self._jobs = 0
        self._stream, self.hello = connection

    def submit(self, kind, header=None, pictures=()):
        # type: (str, dict[str, Any] | None, Iterable[Picture]) -> Job
        """Gives the worker a job; one at a time. If the worker has ended meanwhile, it is started again, once.

        Args:
            kind: one of ``JOB_KINDS``, or "status".
            header: the job's settings.
            pictures: its pictures. A generator of strips can be read only once, so the job is never sent twice.

        Raises:
            WorkerProblem: the worker has gone and can't be started again, or a picture has not the size it declares.
        """
        self._jobs += 1
        message = dict(header or {}, kind=kind, job=self._jobs)
        job = None
        try:
            if self.has_gone():
                self._stream.close()
                self._stream, self.hello = _connect(self._location, self._client, self._on_waiting)
            write_message(self._stream, message, pictures)
            job = Job(self._stream, self._jobs)
        except StreamClosed:
            raise self._explain_closed_stream()
        except ProtocolError as error:
            raise WorkerProblem("picture-not-sent", reason=error.message)
        finally:
            if job is None:
                # Half a message was sent; the worker drops it with the connection.
                self.close()
        return job

    def _explain_closed_stream(self):
        # type: () -> WorkerProblem
        """Why the worker closed the connection: it may have refused a job before all of it was sent."""
        for event in Job(self._stream, self._jobs).events():
            if event.kind == ERROR:
                return WorkerProblem.from_worker(event.header)
            if event.kind == "waiting":
                break
        return WorkerProblem("worker-gone")

    def close(self):
        # type: () -> None
        """Ends the connection; a job that still runs is cancelled. The worker stays."""
        self._stream.close()

    def __enter__(self):
        # type: () -> Worker
        return self

    def __exit__(self, *_):
        # type: (object) -> None
        self.close()

    def has_gone(self):
        # type: () -> bool
        """Whether the worker has gone. Between jobs it sends nothing but the rest of a cancelled one."""
        try:
            while self._stream.wait(0):
                read_message(self._stream)
        except (StreamClosed, ProtocolError):
            return True
        return False


class Job(object):
    """One job of a ``Worker``."""

    def __init__(self, stream, number):
        # type: (SocketStream | PipeStream, int) -> None
        self._stream = stream
        self._number = number
        self._cancelled_at = None  # type: float | None

    def events(self, poll=0.2, lazily=False):
        # type: (float, bool) -> Iterator[Event]
        """The events of the job, up to a "result" or an "error", which is the last.

        Args:
            poll: seconds after which a "waiting" event comes if nothing happened, so that the host stays responsive.
            lazily: as in ``result``.
        """
        while True:
            try:
                event = self._read_event(poll, lazily)
            except StreamClosed:
                event = Event(ERROR, Message("worker-gone").described())
            except ProtocolError as error:
                self._stream.close()
                event = Event(ERROR, Message("answer-not-understood", reason=error.message).described())
            yield event
            if event.kind in LAST_KINDS:
                return

    def result(self, on_event, lazily=False):
        # type: (Callable[[Event], object], bool) -> Event
        """Waits for the result.

        Args:
            on_event: called with every event before it.
            lazily: receive the pictures' strips while they are used, which saves memory. They can be used once, in
                their order, before the connection is used for anything else; close it if they are not all used.

        Raises:
            WorkerProblem: the job failed or was cancelled.
        """
        events = self.events(lazily=lazily)
        event = next(events)
        while event.kind != RESULT:
            if event.kind == ERROR:
                raise WorkerProblem.from_worker(event.header)
            on_event(event)
            event = next(events)
        return event

    def cancel(self):
        # type: () -> None
        """Asks the worker to stop; ``events`` then ends with an "error" whose code is "cancelled"."""
        self._cancelled_at = time.time()
        try:
            write_message(self._stream, {"kind": CANCEL, "job": self._number})
        except StreamClosed:
            pass  # ``events`` reports it

    def _read_event(self, poll, lazily):
        # type: (float, bool) -> Event
        if not self._stream.wait(poll):
            if self._cancelled_at is not None and time.time() - self._cancelled_at > CANCEL_SECONDS:
                self._stream.close()
                return Event(ERROR, Message("cancelled").described())
            return Event("waiting")
        header, pictures = read_message(self._stream, lazily=lazily)
        kind = header.get("kind")
        # A message that names no job ends the connection, and this job with it.
        is_ours = header.get("job") in (None, self._number)
        if lazily and not (is_ours and kind == RESULT):
            for picture in pictures:
                picture.strips = list(picture.strips)
        if not is_ours:
            return Event("waiting")  # the rest of an earlier, cancelled job
        if kind not in EVENT_KINDS:
            raise ProtocolError("header-value-wrong", key="kind")
        for name in ("code", "text") if kind == ERROR else ():
            if not isinstance(header.get(name), TEXT):
                raise ProtocolError("header-value-wrong", key=name)
        for picture in pictures:
            picture.strips = _read_strips(picture.strips) if lazily else picture.strips
        return Event(str(kind), header, pictures)


def _read_strips(strips):
    # type: (Iterable[bytes]) -> Iterator[bytes]
    """The strips; a worker that goes before the last of them is reported as ``WorkerProblem``."""
    try:
        for strip in strips:
            yield strip
    except StreamClosed:
        raise WorkerProblem("worker-gone")


def ask(run_folder, kind, client):
    # type: (str, str, str) -> dict[str, Any] | None
    """Asks a running worker for its status or to stop, which it answers at once even while it computes; starts none.

    Args:
        run_folder: where its endpoint file is.
        kind: ``STATUS`` or ``STOP``.
        client: name of the client, for the worker's log.

    Returns:
        The answer's header; None when no worker runs.

    Raises:
        Silent: it does not answer.
        WorkerProblem: it is of another version than this client, or another program answers.
    """
    connection = _reach(run_folder, client, CONTROL)
    if connection is None:
        return None
    stream = connection[0]
    try:
        write_message(stream, {"kind": kind, "job": 1})
        if not _wait_for_message(stream, ANSWER_SECONDS, None):
            raise Silent("it does not answer")
        return read_message(stream, 0)[0]
    except Silent:
        raise
    except StreamClosed:
        return None
    except ProtocolError as error:
        raise WorkerProblem("answer-not-understood", reason=error.message)
    finally:
        stream.close()


def stop(location=None):
    # type: (WorkerLocation | None) -> bool
    """Ends a running worker, by force if it does not answer; False when none runs.

    Raises:
        WorkerProblem: it is of another version than this plug-in, or can't be ended from here.
    """
    location = location or find_worker()
    try:
        if ask(location.run_folder, STOP, "stop") is None:
            return False
    except Silent:
        return end(location)
    deadline = time.time() + CANCEL_SECONDS
    while read_endpoint(location.run_folder) is not None and time.time() < deadline:
        time.sleep(_POLL)
    return True


def greet(location=None):
    # type: (WorkerLocation | None) -> None
    """Shakes hands with the worker if one runs, which answers at once even while it computes; starts none.

    Raises:
        WorkerProblem: it is silent, or of another version than this plug-in.
    """
    try:
        connection = _reach((location or find_worker()).run_folder, "greeting", CONTROL)
    except Silent:
        raise WorkerProblem("worker-silent")
    if connection is not None:
        connection[0].close()


def diagnose(location=None):
    # type: (WorkerLocation | None) -> dict[str, Any]
    """Everything that helps to find out why the worker fails, as text; starts nothing and raises nothing."""
    try:
        location = location or find_worker()
    except WorkerProblem as problem:
        return {"problem": problem.message["text"]}
    diagnosis = {
        "protocol": PROTOCOL,
        "found by": to_readable(location.source),
        "command": [to_readable(part) for part in location.command],
        "run folder": to_readable(location.run_folder),
    }
    endpoint = read_endpoint(location.run_folder)
    diagnosis["running"] = endpoint is not None
    diagnosis["start log"] = read_tail(os.path.join(location.run_folder, START_LOG))
    if endpoint is not None:
        diagnosis["worker"] = {key: endpoint.get(key) for key in ("pid", "protocol", "version", "transport", "log")}
        diagnosis["log"] = read_tail(to_native(endpoint.get("log")))
    try:
        status = ask(location.run_folder, STATUS, "diagnosis")
        if status is not None:
            diagnosis["status"] = status
    except Silent:
        diagnosis["problem"] = Message("worker-silent").text()
    except WorkerProblem as problem:
        diagnosis["problem"] = problem.message["text"]
    return diagnosis


def _connect(location, client, on_waiting):
    # type: (WorkerLocation, str, Callable[[float], object] | None) -> tuple[SocketStream | PipeStream, dict[str, Any]]
    start_time = time.time()

    def report_wait():
        # type: () -> float
        seconds = time.time() - start_time
        if on_waiting is not None:
            on_waiting(seconds)
        return seconds

    def reach():
        # type: () -> tuple[SocketStream | PipeStream, dict[str, Any]] | None
        try:
            return _reach(location.run_folder, client, WORK, report_wait)
        except Silent:
            return None

    connection = reach()
    if connection is not None:
        return connection
    process = start(location)
    _processes.append(process)
    while report_wait() < (READY_SECONDS if process.poll() is None else START_SECONDS):
        time.sleep(_POLL)
        connection = reach()
        if connection is not None:
            return connection
        # 0 means that another worker was faster and has the lock.
        if process.poll() not in (None, 0):
            raise WorkerProblem("worker-not-started", why=_read_last_log_line(location))
    raise WorkerProblem("worker-start-too-long", seconds=int(report_wait()), why=_read_last_log_line(location))


# Kept so that Python does not complain about processes that are meant to outlive it.
_processes = []  # type: list[Any]


def _read_last_log_line(location):
    # type: (WorkerLocation) -> str | Message
    lines = read_tail(os.path.join(location.run_folder, START_LOG)).strip().splitlines()
    return lines[-1][:200] if lines else Message("start-log-empty")


def _reach(run_folder, client, wants, report_wait=None):
    # type: (str, str, str, Callable[[], float] | None) -> tuple[SocketStream | PipeStream, dict[str, Any]] | None
    """Connects and shakes hands with a running worker; None when there is none.

    Raises:
        Silent: it does not answer.
        WorkerProblem: it is of another version than this plug-in, or refuses it.
    """
    endpoint = read_endpoint(run_folder)
    if endpoint is None:
        return None
    if endpoint["protocol"] != PROTOCOL:
        raise _explain_other_version(endpoint["protocol"])
    stream = hello = None
    try:
        stream = open_stream(endpoint["transport"], to_native(endpoint["address"]))
        hello = shake_hands(stream, str(endpoint["token"]), client, wants, report_wait)
        return stream, hello
    except Silent:
        raise
    except StreamClosed:
        return None
    except WorkerProblem as problem:
        current = read_endpoint(run_folder)
        if problem.code == "wrong-token" and (current is None or current["token"] != endpoint["token"]):
            return None  # another worker has just replaced the one whose token we had
        raise
    except OtherVersion as error:
        raise _explain_other_version(error.version)
    except ProtocolError as error:
        if endpoint["transport"] == TCP:
            return None  # a worker that has died left its file, and its port went to another program
        raise WorkerProblem("not-the-worker", reason=error.message)
    finally:
        if stream is not None and hello is None:
            stream.close()


def shake_hands(stream, token, client, wants, report_wait):
    # type: (SocketStream | PipeStream, str, str, str, Callable[[], float] | None) -> dict[str, Any]
    """Both sides prove that they know the token before either sends anything else."""
    if not _wait_for_message(stream, ANSWER_SECONDS, report_wait):
        raise Silent("it does not greet")
    greeting, _ = read_message(stream, 0)
    challenge = greeting.get("challenge")
    if greeting.get("kind") != GREETING or not isinstance(challenge, TEXT):
        raise ProtocolError("greeting-missing")
    own_challenge = binascii.hexlify(os.urandom(16)).decode("ascii")
    own_proof = compute_proof(token, CLIENT, challenge, own_challenge)
    write_message(
        stream, {"kind": HELLO, "client": client, "wants": wants, "challenge": own_challenge, "proof": own_proof}
    )
    if not _wait_for_message(stream, READY_SECONDS if wants == WORK else ANSWER_SECONDS, report_wait):
        if wants != WORK:
            raise Silent("it does not say hello")
        raise WorkerProblem("worker-not-ready")
    hello, _ = read_message(stream, 0)
    if hello.get("kind") == ERROR:
        raise WorkerProblem.from_worker(hello)
    worker_proof = hello.get("proof")
    if hello.get("kind") != HELLO or not isinstance(worker_proof, TEXT):
        raise ProtocolError("greeting-missing")
    if not same_secret(worker_proof, compute_proof(token, WORKER, own_challenge, challenge)):
        raise ProtocolError("token-unknown")
    if wants == WORK:
        # The user can cancel or restart the worker; nothing else distinguishes one that hangs from one that is busy.
        stream.allow_pauses(None)
    return hello


def _wait_for_message(stream, seconds, report_wait):
    # type: (SocketStream | PipeStream, float, Callable[[], float] | None) -> bool
    """Whether the other side sends something in time."""
    deadline = time.time() + seconds
    while not stream.wait(_POLL):
        if report_wait is not None:
            report_wait()
        if time.time() > deadline:
            return False
    return True


def _explain_other_version(version):
    # type: (object) -> WorkerProblem
    return WorkerProblem("running-protocol-differs", plug_in=PROTOCOL, worker=version)
