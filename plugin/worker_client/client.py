"""Finds, starts and asks the worker; every failure is one sentence (``WorkerProblem`` or an "error" event)."""

import binascii
import os
import time

from worker_client.place import REPAIR, START_LOG, find_place, native, read_endpoint, readable, tail
from worker_client.problem import WorkerProblem
from worker_client.protocol import (
    PROTOCOL,
    TEXT,
    OtherVersion,
    ProtocolError,
    proof,
    read_message,
    same,
    write_message,
)
from worker_client.start import end, start
from worker_client.transport import Silent, StreamClosed, open_stream

# The longest that a worker may take from its start to its first answer.
START_SECONDS = 90.0
# A worker that runs greets at once, whatever it computes.
GREETING_SECONDS = 10.0
# The longest that a cancelled job may take to end before the client turns away.
CANCEL_SECONDS = 5.0
_POLL = 0.1

TYPE_CHECKING = False
if TYPE_CHECKING:  # novm
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from worker_client.place import Place
    from worker_client.protocol import Picture
    from worker_client.transport import PipeStream, SocketStream

_OUR_FAULT = "this is an error in Protect Face; please report it with the worker's log."
_SILENT = "The worker does not answer; restart it."
_GONE = "The worker ended in the middle of its work and nothing was changed; try again, it starts by itself."


class Event(object):
    """Something that a job has to tell.

    Attributes:
        kind: "queued", "progress", "waiting" (nothing new), "result" or "error".
        header: what the worker said, a dict; an error has "code" and "sentence".
        pictures: list of ``Picture``.
    """

    def __init__(self, kind, header=None, pictures=None):
        # type: (str, dict[str, Any] | None, list[Picture] | None) -> None
        self.kind = kind
        self.header = header or {}
        self.pictures = pictures or []


def connect(on_waiting=None, client="plug-in", place=None):
    # type: (Callable[[float], object] | None, str, Place | None) -> Worker
    """A connection to the user's worker, which is started when none runs.

    Args:
        on_waiting: called about ten times a second while the worker starts, with the seconds waited so far; may raise.
            Also when it has to be started again for a job.
        client: who asks, for the worker's log.
        place: where the worker is; found when None.

    Raises:
        WorkerProblem: there is no worker, it can't be started, or it is of another version.
    """
    where = place or find_place()
    return Worker(where, client, _connect(where, client, on_waiting), on_waiting)


class Worker(object):
    """A connection to the worker; also a context manager that closes it.

    Attributes:
        hello: what the worker is and can; ``docs/worker-protocol.md`` lists it.
    """

    def __init__(self, place, client, connection, on_waiting=None):
        # type: (Place, str, tuple[SocketStream | PipeStream, dict[str, Any]], Callable[[float], object] | None) -> None
        self._place = place
        self._client = client
        self._on_waiting = on_waiting
        self._jobs = 0
        self._stream, self.hello = connection

    def submit(self, kind, header=None, pictures=()):
        # type: (str, dict[str, Any] | None, Iterable[Picture]) -> Job
        """Gives the worker a job; one at a time. A worker that has ended since is started again, once.

        Args:
            kind: "find", "protect", "preview", "check", "models" or "status".
            header: the job's settings.
            pictures: its pictures. A generator of strips is read only once, so that it is sent only once.

        Raises:
            WorkerProblem: the worker has gone and does not come back, or a picture is not as large as it says.
        """
        self._jobs += 1
        message = dict(header or {}, kind=kind, job=self._jobs)
        job = None
        try:
            if self._has_gone():
                self._stream.close()
                self._stream, self.hello = _connect(self._place, self._client, self._on_waiting)
            write_message(self._stream, message, pictures)
            job = Job(self._stream, self._jobs)
        except StreamClosed:
            raise self._last_words()
        except ProtocolError as error:
            raise WorkerProblem("bad", "The picture could not be sent (%s); %s" % (error, _OUR_FAULT))
        finally:
            if job is None:
                # Half a message was sent; the worker drops it with the connection.
                self.close()
        return job

    def _last_words(self):
        # type: () -> WorkerProblem
        """Why the worker cut the connection off: it may have refused a job before it had the whole of it."""
        for event in Job(self._stream, self._jobs).events():
            if event.kind == "error":
                return WorkerProblem("%s" % (event.header.get("code"),), event.header["sentence"])
            if event.kind == "waiting":
                break
        return WorkerProblem("gone", _GONE)

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

    def _has_gone(self):
        # type: () -> bool
        """Between two jobs the worker says nothing but what a cancelled one left; silence means that it is there."""
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

    def events(self, poll=0.2):
        # type: (float) -> Iterator[Event]
        """What happens, up to a "result" or an "error", which is the last event.

        Args:
            poll: seconds after which a "waiting" event comes when nothing happened, so that the host can breathe.
        """
        while True:
            try:
                event = self._next(poll)
            except StreamClosed:
                event = Event("error", {"code": "gone", "sentence": _GONE})
            except ProtocolError as error:
                self._stream.close()
                sentence = "The worker's answer was not understood (%s); %s" % (error, _OUR_FAULT)
                event = Event("error", {"code": "bad", "sentence": sentence})
            yield event
            if event.kind in ("result", "error"):
                return

    def result(self, tell):
        # type: (Callable[[Event], object]) -> Event
        """Waits for the result; ``tell`` gets every event before it.

        Raises:
            WorkerProblem: the job failed or was cancelled.
        """
        events = self.events()
        event = next(events)
        while event.kind != "result":
            if event.kind == "error":
                raise WorkerProblem("%s" % (event.header.get("code"),), event.header["sentence"])
            tell(event)
            event = next(events)
        return event

    def cancel(self):
        # type: () -> None
        """Asks the worker to stop; ``events`` then ends with an "error" whose code is "cancelled"."""
        self._cancelled_at = time.time()
        try:
            write_message(self._stream, {"kind": "cancel", "job": self._number})
        except StreamClosed:
            pass  # ``events`` tells of it

    def _next(self, poll):
        # type: (float) -> Event
        if not self._stream.wait(poll):
            if self._cancelled_at is not None and time.time() - self._cancelled_at > CANCEL_SECONDS:
                self._stream.close()
                return Event("error", {"code": "cancelled", "sentence": "Stopped; nothing was changed."})
            return Event("waiting")
        header, pictures = read_message(self._stream)
        # What names no job ends the connection, and this job with it.
        if header.get("job") not in (None, self._number):
            return Event("waiting")  # the rest of an earlier, cancelled job
        kind = header.get("kind")
        if kind not in ("queued", "progress", "result", "error"):
            raise ProtocolError("it is a message of an unknown kind")
        if kind == "error" and not isinstance(header.get("sentence"), TEXT):
            raise ProtocolError("it is an error without words")
        return Event(str(kind), header, pictures)


def stop(place=None):
    # type: (Place | None) -> bool
    """Ends a running worker, by force when it does not answer; False when none runs.

    Raises:
        WorkerProblem: it does not fit this plug-in, or can't be ended from here.
    """
    where = place or find_place()
    try:
        found = _reach(where, "stop", "control")
    except Silent:
        return end(where)
    if found is None:
        return False
    worker = Worker(where, "stop", found)
    with worker:
        for _ in worker.submit("stop").events():
            pass
    until = time.time() + CANCEL_SECONDS
    while read_endpoint(where) is not None and time.time() < until:
        time.sleep(_POLL)
    return True


def greet(place=None):
    # type: (Place | None) -> None
    """Greets the worker if one runs, which answers at once whatever it does; starts none.

    Raises:
        WorkerProblem: it is silent, or does not fit this plug-in.
    """
    try:
        reached = _reach(place or find_place(), "greeting", "control")
    except Silent:
        raise WorkerProblem("silent", _SILENT)
    if reached is not None:
        reached[0].close()


def diagnose(place=None):
    # type: (Place | None) -> dict[str, Any]
    """Everything that helps to find out why it does not work, as words; starts nothing and raises nothing."""
    try:
        place = place or find_place()
    except WorkerProblem as problem:
        return {"problem": problem.sentence}
    found = {
        "protocol": PROTOCOL,
        "found by": readable(place.source),
        "command": [readable(word) for word in place.command],
        "run folder": readable(place.run),
    }
    endpoint = read_endpoint(place)
    found["running"] = endpoint is not None
    found["start log"] = tail(os.path.join(place.run, START_LOG))
    if endpoint is not None:
        found["worker"] = {key: endpoint.get(key) for key in ("pid", "protocol", "version", "transport", "log")}
        found["log"] = tail(native(endpoint.get("log")))
    try:
        reached = _reach(place, "diagnosis", "control")
        if reached is not None:
            with Worker(place, "diagnosis", reached) as worker:
                for event in worker.submit("status").events():
                    if event.kind in ("result", "error"):
                        found["status"] = event.header
    except Silent:
        found["problem"] = _SILENT
    except WorkerProblem as problem:
        found["problem"] = problem.sentence
    return found


def _connect(place, client, on_waiting):
    # type: (Place, str, Callable[[float], object] | None) -> tuple[SocketStream | PipeStream, dict[str, Any]]
    began = time.time()

    def waited():
        # type: () -> float
        seconds = time.time() - began
        if on_waiting is not None:
            on_waiting(seconds)
        return seconds

    def reached():
        # type: () -> tuple[SocketStream | PipeStream, dict[str, Any]] | None
        try:
            return _reach(place, client, "work", waited)
        except Silent:
            return None

    found = reached()
    if found is not None:
        return found
    process = start(place)
    _started.append(process)
    while waited() < START_SECONDS:
        time.sleep(_POLL)
        found = reached()
        if found is not None:
            return found
        # 0 means that another one was faster and has the lock.
        if process.poll() not in (None, 0):
            raise WorkerProblem("not-started", "The worker could not start%s" % _reason(place))
    raise WorkerProblem(
        "not-started", "The worker did not answer within %d seconds%s" % (START_SECONDS, _reason(place))
    )


# Kept so that Python does not complain of a process that is meant to outlive it.
_started = []  # type: list[Any]


def _reason(place):
    # type: (Place) -> str
    said = tail(os.path.join(place.run, START_LOG)).strip().splitlines()
    why = " (%s)" % said[-1][:200] if said else ""
    return "%s; %s, which repairs it." % (why, REPAIR)


def _reach(place, client, wants, waited=None):
    # type: (Place, str, str, Callable[[], float] | None) -> tuple[SocketStream | PipeStream, dict[str, Any]] | None
    """Connects and shakes hands with a running worker; None when there is none.

    Raises:
        Silent: it does not answer.
        WorkerProblem: it does not fit this plug-in, or does not serve it.
    """
    endpoint = read_endpoint(place)
    if endpoint is None:
        return None
    if endpoint["protocol"] != PROTOCOL:
        raise _other_version(endpoint["protocol"])
    stream = hello = None
    try:
        stream = open_stream(endpoint["transport"], native(endpoint["address"]))
        hello = _shake_hands(stream, str(endpoint["token"]), client, wants, waited)
        return stream, hello
    except Silent:
        raise
    except StreamClosed:
        return None
    except WorkerProblem as problem:
        now = read_endpoint(place)
        if problem.code == "token" and (now is None or now["token"] != endpoint["token"]):
            return None  # another worker has just taken the place of the one whose token we had
        raise
    except OtherVersion as error:
        raise _other_version(error.version)
    except ProtocolError as error:
        if endpoint["transport"] == "tcp":
            return None  # a worker that has died left its file, and its port went to another program
        raise WorkerProblem("bad", "Something else than the worker answers (%s); %s" % (error, _OUR_FAULT))
    finally:
        if stream is not None and hello is None:
            stream.close()


def _shake_hands(stream, token, client, wants, waited):
    # type: (SocketStream | PipeStream, str, str, str, Callable[[], float] | None) -> dict[str, Any]
    """Both sides prove that they know the token before either says more."""
    if not _comes(stream, GREETING_SECONDS, waited):
        raise Silent("it does not greet")
    greeting, _ = read_message(stream, 0)
    theirs = greeting.get("challenge")
    if greeting.get("kind") != "greeting" or not isinstance(theirs, TEXT):
        raise ProtocolError("it does not greet")
    ours = binascii.hexlify(os.urandom(16)).decode("ascii")
    said = {"kind": "hello", "client": client, "wants": wants, "challenge": ours}
    write_message(stream, dict(said, proof=proof(token, "client", theirs, ours)))
    if not _comes(stream, START_SECONDS, waited):
        raise WorkerProblem("not-started", "The worker does not get ready; %s, which restarts it." % REPAIR)
    hello, _ = read_message(stream, 0)
    if hello.get("kind") == "error":
        raise WorkerProblem("%s" % (hello.get("code"),), "%s" % (hello.get("sentence"),))
    told = hello.get("proof")
    if hello.get("kind") != "hello" or not isinstance(told, TEXT):
        raise ProtocolError("it does not say hello")
    if not same(told, proof(token, "worker", ours, theirs)):
        raise ProtocolError("it does not know the token")
    return hello


def _comes(stream, seconds, waited):
    # type: (SocketStream | PipeStream, float, Callable[[], float] | None) -> bool
    """Whether the other side says something in time."""
    until = time.time() + seconds
    while not stream.wait(_POLL):
        if waited is not None:
            waited()
        if time.time() > until:
            return False
    return True


def _other_version(version):
    # type: (object) -> WorkerProblem
    return WorkerProblem(
        "version",
        "The plug-in (protocol %s) and the worker that is running (protocol %s) do not fit together; %s and"
        " restart GIMP." % (PROTOCOL, version, REPAIR),
    )
