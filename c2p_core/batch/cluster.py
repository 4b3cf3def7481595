"""The engine of a Ray cluster: actors that keep the models, one for each graphics card or group of cores.

This process hands out photos, reads those on its own disks, and passes on the outcomes. An actor has few photos at a
time, which bounds the memory everywhere. If an actor or its machine dies, its photos go to others.
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

from c2p_core.batch.actors import ActorInfo, EngineEnded, PhotoBytes, Protector
from c2p_core.batch.engine import Backlog, Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.queries import ReuseQuery, TraceQuery, answer_query
from c2p_core.batch.urls import is_url
from c2p_core.errors import BadRequest
from c2p_core.io import report
from c2p_core.models.store import ModelStore
from c2p_core.photo_file import describe_failure
from c2p_core.version import __version__

CORES = 4
"""Default number of cores of an actor without a graphics card."""
# Photos that an actor has at a time: one being read, one searched, one finished.
_PHOTOS_PER_ACTOR = 3
_MAX_TRIES = 3
# Consecutive actors that may die before they have started.
_MAX_FAILED_STARTS = 3
_ROOM_CHECK_INTERVAL = 10.0  # seconds between two checks of the cluster's machines
_CONNECT_TIMEOUT = 10.0  # seconds within which the head of a cluster must answer
_WAIT_TIMEOUT = 0.2  # seconds after which Ctrl-C is noticed at the latest
# Calls of an actor besides those for photos: ``get_info`` and ``cancel``.
_CONTROL_CALLS = 2


@dataclass(frozen=True)
class Cluster:
    """Which cluster to use, and how much of it.

    Attributes:
        address: of its head. When None, the cluster that Ray finds (RAY_ADDRESS, or one on this machine). If there is
            none, or with "local", a cluster of this machine alone is started for the run.
        jobs: number of actors; as many as fit when None.
        cores: of each actor without a graphics card.
        nice: the priority that the actors get, see ``priority.lower_priority``.
    """

    address: str | None = None
    jobs: int | None = None
    cores: int = CORES
    nice: int = 0


def protect_on_ray(cluster: Cluster, engine: Engine | None = None) -> Engine:
    """An engine of actors on a cluster.

    Args:
        cluster: see ``Cluster``.
        engine: the engine that runs in each actor, a function of a module; the one-process engine when None.
    """

    def run(items: Any, job: Job, control: Control) -> Generator[Outcome, None, None]:
        with connect(cluster.address) as ray:
            yield from _ActorPool(ray, cluster, engine, job, control, Backlog(iter(items), _MAX_TRIES)).run()

    return run


@contextmanager
def connect(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster until the block is left.

    Raises:
        BadRequest: Ray is not installed, or the cluster can't be reached.
    """
    # Ray reads this when it is imported; by default it reports usage statistics to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise BadRequest("ray-missing") from None
    _check_reachable(address)
    _redirect_worker_messages(ray)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address,
            include_dashboard=False if address in (None, "local") else None,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        raise BadRequest(
            "ray-not-reached", address=address or "auto", reason=_describe_error(error.__cause__ or error)
        ) from error
    try:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)  # Ray's handler would end the program without a note in the journal
        yield ray
    finally:
        ray.shutdown()


def _redirect_worker_messages(ray: Any) -> None:
    """Let Ray report dead workers on stderr, not on stdout, where our JSON is; there is no setting for it."""
    worker = ray._private.worker
    print_to_stream = getattr(worker, "print_to_stdstream", None)
    if print_to_stream is not None:
        worker.print_to_stdstream = lambda data, ignore_prefix: print_to_stream({**data, "is_err": True}, ignore_prefix)


def _check_reachable(address: str | None) -> None:
    """Check that something listens at an address: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return  # a name that Ray knows, or an address of another form
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise BadRequest("ray-not-reached", address=address, reason=str(error)) from error


@dataclass
class _Actor:
    """An actor, and its pending calls with their photos; ``get_info`` has none."""

    handle: Any
    calls: dict[Any, Item | None]
    info: ActorInfo | None = None
    ended: bool = False

    @property
    def items(self) -> list[Item]:
        """Its photos, in the order in which it started them."""
        return sorted((item for item in self.calls.values() if item is not None), key=lambda item: item.number)


@dataclass
class _ActorPool:
    """All actors."""

    ray: Any
    cluster: Cluster
    engine: Engine | None
    job: Job
    control: Control
    backlog: Backlog
    _actors: list[_Actor] = field(default_factory=list)
    _any_started: bool = False
    _cancelled: bool = False
    _failed_starts: int = 0
    _room_checked: float = float("-inf")
    _room: int = 0

    def run(self) -> Generator[Outcome, None, None]:
        store = self.control.store()
        # Each machine has its own default folder of models.
        models = None if store.root == ModelStore().root else store.root
        job = self.ray.put(self.job)
        start_actor = partial(self._start_actor, job, models, store.offline)
        try:
            while True:
                self._check_cancelled()
                self._start_actors(start_actor)
                yield from self._hand_out()
                if self.backlog.empty and not any(actor.items for actor in self._actors):
                    return
                calls = {call: actor for actor in self._actors for call in actor.calls}
                if not calls:
                    time.sleep(_WAIT_TIMEOUT)
                    continue
                ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=_WAIT_TIMEOUT)
                for call in ready:
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

    def _start_actors(self, start_actor: Any) -> None:
        """Start actors where there is room, but no more than there are photos left."""
        if self._cancelled:
            return
        if time.monotonic() - self._room_checked > _ROOM_CHECK_INTERVAL:
            self._room_checked = time.monotonic()
            self._room = self._find_room()
        remaining = self.backlog.count(self._room) + sum(len(actor.items) for actor in self._actors)
        while len(self._actors) < min(self._room, remaining):
            self._actors.append(start_actor())

    def _find_room(self) -> int:
        """How many actors the machines of the cluster have room for.

        Raises:
            BadRequest: no machine has room, and no actor ever started.
        """
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if self._use_gpus(machines):
            room = sum(int(machine.get("GPU", 0)) for machine in machines)
        else:
            cores = self._choose_cores(machines)
            room = sum(int(machine.get("CPU", 0)) // cores for machine in machines)
        if not room and not self._actors and not self._any_started:
            raise BadRequest("ray-no-room", cores=self.cluster.cores)
        return min(room, self.cluster.jobs or room)

    def _use_gpus(self, machines: list[dict[str, float]]) -> bool:
        return self.job.options.get("device") != "cpu" and any(machine.get("GPU", 0) >= 1 for machine in machines)

    def _choose_cores(self, machines: list[dict[str, float]]) -> int:
        """The cores of an actor: the requested number, or all of the largest machine if it has fewer."""
        return max(1, min(self.cluster.cores, max((int(machine.get("CPU", 0)) for machine in machines), default=1)))

    def _start_actor(self, job: Any, models: Any, offline: bool) -> _Actor:
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = self._use_gpus(machines)
        cores = 1 if gpus else self._choose_cores(machines)
        actor_class = self.ray.remote(Protector).options(
            num_cpus=cores,
            num_gpus=1 if gpus else 0,
            max_concurrency=_PHOTOS_PER_ACTOR + _CONTROL_CALLS,
            max_restarts=0,
        )
        handle = actor_class.remote(self.engine, job, models, offline, cores, self.cluster.nice)
        return _Actor(handle, {handle.get_info.remote(): None})

    def _hand_out(self) -> Iterator[Outcome]:
        """Give every started actor as many photos as it may have; yields those that can't be read here as failed."""
        while True:
            available = [
                actor
                for actor in self._actors
                if actor.info and not actor.ended and len(actor.calls) < _PHOTOS_PER_ACTOR
            ]
            for actor in sorted(available, key=lambda actor: len(actor.calls)):
                item = self.backlog.take(actor.items)
                if item is not None:
                    break
            else:
                return
            photo_bytes = None
            if not is_url(item.path):
                try:
                    photo_bytes = PhotoBytes(*self.control.read(item))
                except Exception as error:
                    message, code = describe_failure(error)
                    yield Outcome(item, "failed", report=report.failure_report(item.path, message, code))
                    continue
            actor.calls[actor.handle.protect.remote(item, photo_bytes)] = item

    def _receive(self, actor: _Actor, call: Any) -> Iterator[Outcome]:
        """Handle the reply to a call, or the death of the actor."""
        if call not in actor.calls:
            return  # the actor was removed meanwhile
        try:
            reply = self.ray.get(call)
        except self.ray.exceptions.RayTaskError:
            raise  # an error in the actor's own code
        except self.ray.exceptions.RayError as error:
            yield from self._remove_dead(actor, error)
            return
        item = actor.calls.pop(call)
        if isinstance(reply, ActorInfo):
            self._failed_starts = 0
            self._any_started = True
            actor.info = reply
            if reply.program != __version__:
                raise BadRequest("ray-other-version", node=reply.node, there=reply.program, here=__version__)
        elif isinstance(reply, ReuseQuery | TraceQuery):
            answer = answer_query(reply, self.control)
            actor.calls[actor.handle.answer_query.remote(reply.item.number, answer)] = item
        elif isinstance(reply, EngineEnded):
            actor.ended = True
            if reply.error is not None:
                raise reply.error
        else:
            yield reply

    def _remove_dead(self, actor: _Actor, error: Exception) -> Iterator[Outcome]:
        """Remove an actor that died and requeue its photos, except those that killed several.

        Raises:
            BadRequest: no actor can be started.
        """
        self.ray.kill(actor.handle)  # if only a reply was lost, it must not go on with photos that others get
        self._actors.remove(actor)
        self._room_checked = float("-inf")
        if actor.info is None:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise BadRequest("ray-actors-die", reason=_describe_error(error)) from error
        if self._cancelled:
            return
        # If the whole machine went, no photo is at fault.
        at_fault = actor.info is not None and self._is_alive(actor.info.node)
        yield from self.backlog.requeue(actor.items, _describe_error(error), at_fault)

    def _is_alive(self, node_id: str) -> bool:
        return any(node["NodeID"] == node_id and node["Alive"] for node in self.ray.nodes())


def _describe_error(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
