"""The engine of a Ray cluster: actors that keep the models, one for each graphics card or group of cores.

This process hands out photos, reads those of its own disks, and passes on what comes back; an actor has few photos at a
time, so that no more wait anywhere than can be held. Where an actor or its machine dies, its photos go to others.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from c2p_core.batch.actors import Ended, Presence, Protector, Question, Sent
from c2p_core.batch.engine import Backlog, Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.urls import is_url
from c2p_core.errors import BadRequest
from c2p_core.io import report
from c2p_core.models.store import ModelStore
from c2p_core.photo_file import describe_failure
from c2p_core.version import __version__

CORES = 4
"""Of an actor without a graphics card, unless asked for otherwise."""
# Photos that an actor has: one is read, one searched, one finished.
_IN_HAND = 3
_MOST_TRIES = 3
# Actors one after the other that die before they are there.
_MAX_FAILED_STARTS = 3
_LOOK_AROUND = 10.0  # seconds between two looks at what machines there are
_REACHED = 10.0  # seconds in which the head of a cluster must answer
_WAIT = 0.2  # seconds after which Ctrl-C is noticed at the latest
# Calls of an actor beside those of its photos: to say where it is, and to be cancelled.
_OTHER_CALLS = 2


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and how much of it.

    Attributes:
        address: of its head. Where None, that which Ray finds (RAY_ADDRESS, a cluster on this machine), else, and
            always where it is "local", one of this machine alone is started for the run.
        jobs: actors; as many as fit when None.
        cores: of each actor without a graphics card.
    """

    address: str | None = None
    jobs: int | None = None
    cores: int = CORES


def protect_on_ray(cluster: Cluster, engine: Engine | None = None) -> Engine:
    """An engine of the actors of a cluster.

    Args:
        cluster: see there.
        engine: that works in each actor, a function of a module; that of one process when None.
    """

    def run(items: Any, job: Job, control: Control) -> Generator[Outcome, None, None]:
        with connect(cluster.address) as ray:
            yield from _Crew(ray, cluster, engine, job, control, Backlog(iter(items), _MOST_TRIES)).run()

    return run


@contextmanager
def connect(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster until the block is left.

    Raises:
        BadRequest: Ray is not installed, or the cluster can't be reached.
    """
    # Read when Ray is imported: it would tell its makers about every cluster that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise BadRequest("ray-missing") from None
    _check_reachable(address)
    _keep_stdout_free(ray)
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address,
            include_dashboard=False if address in (None, "local") else None,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise BadRequest(
            "ray-not-reached", address=address or "auto", reason=_describe(error.__cause__ or error)
        ) from error
    try:
        for number, handler in ours.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)  # Ray's would end the program without the journal's knowing
        yield ray
    finally:
        ray.shutdown()


def _keep_stdout_free(ray: Any) -> None:
    """Let Ray say on stderr that a worker died, which it says on stdout, where our JSON is; there is no setting."""
    worker = ray._private.worker
    tell = getattr(worker, "print_to_stdstream", None)
    if tell is not None:
        worker.print_to_stdstream = lambda data, ignore_prefix: tell({**data, "is_err": True}, ignore_prefix)


def _check_reachable(address: str | None) -> None:
    """Try whether anything listens at an address, for Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return  # a name that Ray knows, or an address of another form
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_REACHED).close()
    except (OSError, OverflowError) as error:
        raise BadRequest("ray-not-reached", address=address, reason=str(error)) from error


@dataclass
class _Actor:
    """An actor, and the calls to it that are not answered: each with its photo, or the one that asks where it is."""

    handle: Any
    calls: dict[Any, Item | None]
    presence: Presence | None = None
    ended: bool = False

    @property
    def items(self) -> list[Item]:
        """Its photos, the one that it began first in front."""
        return sorted((item for item in self.calls.values() if item is not None), key=lambda item: item.number)


@dataclass
class _Crew:
    """All actors."""

    ray: Any
    cluster: Cluster
    engine: Engine | None
    job: Job
    control: Control
    backlog: Backlog
    _actors: list[_Actor] = field(default_factory=list)
    _met: bool = False  # any actor
    _cancelled: bool = False
    _failed_starts: int = 0
    _looked: float = float("-inf")
    _room: int = 0

    def run(self) -> Generator[Outcome, None, None]:
        store = self.control.store()
        # The default folder of models is each machine's own.
        models = None if store.root == ModelStore().root else store.root
        job = self.ray.put(self.job)
        start = partial(self._start, job, models, store.offline)
        try:
            while True:
                self._check_cancelled()
                self._hire(start)
                yield from self._hand_out()
                if self.backlog.empty and not any(actor.items for actor in self._actors):
                    return
                calls = {call: actor for actor in self._actors for call in actor.calls}
                if not calls:
                    time.sleep(_WAIT)
                    continue
                answered, _ = self.ray.wait(list(calls), num_returns=1, timeout=_WAIT)
                for call in answered:
                    yield from self._receive(calls[call], call)
        finally:
            for actor in self._actors:
                self.ray.kill(actor.handle)

    def _check_cancelled(self) -> None:
        if not self.control.cancel.cancelled or self._cancelled:
            return
        self._cancelled = True
        self.backlog.clear()
        for actor in self._actors:
            actor.handle.cancel.remote()

    def _hire(self, start: Any) -> None:
        """Start actors where there is room for more, but no more than photos are left."""
        if self._cancelled:
            return
        if time.monotonic() - self._looked > _LOOK_AROUND:
            self._looked = time.monotonic()
            self._room = self._find_room()
        left = self.backlog.count(self._room) + sum(len(actor.items) for actor in self._actors)
        while len(self._actors) < min(self._room, left):
            self._actors.append(start())

    def _find_room(self) -> int:
        """How many actors the machines that are there have room for.

        Raises:
            BadRequest: none, and there was never one.
        """
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if self._use_gpus(machines):
            room = sum(int(machine.get("GPU", 0)) for machine in machines)
        else:
            cores = self._cores(machines)
            room = sum(int(machine.get("CPU", 0)) // cores for machine in machines)
        if not room and not self._actors and not self._met:
            raise BadRequest("ray-no-room", cores=self.cluster.cores)
        return min(room, self.cluster.jobs or room)

    def _use_gpus(self, machines: list[dict[str, float]]) -> bool:
        return self.job.options.get("device") != "cpu" and any(machine.get("GPU", 0) >= 1 for machine in machines)

    def _cores(self, machines: list[dict[str, float]]) -> int:
        """Of an actor: those asked for, or all of the largest machine if it has fewer."""
        return max(1, min(self.cluster.cores, max((int(machine.get("CPU", 0)) for machine in machines), default=1)))

    def _start(self, job: Any, models: Any, offline: bool) -> _Actor:
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = self._use_gpus(machines)
        cores = 1 if gpus else self._cores(machines)
        kind = self.ray.remote(Protector).options(
            num_cpus=cores, num_gpus=1 if gpus else 0, max_concurrency=_IN_HAND + _OTHER_CALLS, max_restarts=0
        )
        handle = kind.remote(self.engine, job, models, offline, cores)
        return _Actor(handle, {handle.present.remote(): None})

    def _hand_out(self) -> Iterator[Outcome]:
        """Give every actor that is there as many photos as it may have; yields those that can't be read here."""
        while True:
            free = [a for a in self._actors if a.presence and not a.ended and len(a.calls) < _IN_HAND]
            if not free:
                return
            item = self.backlog.take()
            if item is None:
                return
            sent = None
            if not is_url(item.path):
                try:
                    sent = Sent(*self.control.read(item))
                except Exception as error:
                    message, code = describe_failure(error)
                    yield Outcome(item, "failed", report=report.failure_report(item.path, message, code))
                    continue
            actor = min(free, key=lambda actor: len(actor.calls))
            actor.calls[actor.handle.protect.remote(item, sent)] = item

    def _receive(self, actor: _Actor, call: Any) -> Iterator[Outcome]:
        """Take an answer, which may be that the actor is no more."""
        if call not in actor.calls:
            return  # it was buried meanwhile
        try:
            answer = self.ray.get(call)
        except self.ray.exceptions.RayTaskError:
            raise  # an error of the actor's own, which says what is wrong with the program
        except self.ray.exceptions.RayError as error:
            yield from self._bury(actor, error)
            return
        item = actor.calls.pop(call)
        if isinstance(answer, Presence):
            self._failed_starts = 0
            self._met = True
            actor.presence = answer
            if answer.program != __version__:
                raise BadRequest("ray-other-version", node=answer.node, there=answer.program, here=__version__)
        elif isinstance(answer, Question):
            assert item is not None
            actor.calls[actor.handle.go_on.remote(item.number, self.control.reuse(item, answer.digest))] = item
        elif isinstance(answer, Ended):
            actor.ended = True
            if answer.error is not None:
                raise answer.error
        else:
            yield answer

    def _bury(self, actor: _Actor, error: Exception) -> Iterator[Outcome]:
        """Take out an actor that died; its photos wait for others, but not one that several died of.

        Raises:
            BadRequest: no actor comes to life.
        """
        self.ray.kill(actor.handle)  # where only an answer was lost, it must not go on with photos that others get
        self._actors.remove(actor)
        self._looked = float("-inf")
        if actor.presence is None:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise BadRequest("ray-actors-die", reason=_describe(error)) from error
        if self._cancelled:
            return
        # It is not the photo's fault where the whole machine went.
        at_fault = actor.presence is not None and self._is_alive(actor.presence.node)
        yield from self.backlog.give_back(actor.items, _describe(error), at_fault)

    def _is_alive(self, node: str) -> bool:
        return any(there["NodeID"] == node and there["Alive"] for there in self.ray.nodes())


def _describe(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
