"""The dialog's jobs for the worker, in a thread with a connection of its own, so that the window never freezes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gi.repository import GLib
from worker_client import Event, Job, Picture, Worker, WorkerProblem

import run

# In order of precedence; at most one of each waits, the latest.
RENDER, MEASURE = "render", "measure"
_FOLLOWING = (RENDER, MEASURE)
# Seconds that closing the dialog waits for a job to stop.
_CLOSE_SECONDS = 2.0
_POLL = 0.1

_Answer = TypeVar("_Answer")


@dataclass
class Request:
    """One job.

    Attributes:
        kind, header, pictures: as ``Worker.submit`` takes them.
        on_result: called with the result.
        on_event: called with each event before it.
        on_failure: called when there is no result.
    """

    kind: str
    header: dict[str, Any]
    on_result: Callable[[Event], object]
    pictures: list[Picture] = field(default_factory=list)
    on_event: Callable[[Event], object] = lambda event: None
    on_failure: Callable[[WorkerProblem], object] = lambda problem: None


class Background:
    """Runs jobs one after the other and calls back in GTK's thread.

    Jobs that a button started run in order. "render" and "measure" follow a slider: a newer one replaces one that
    waits, and drawing precedes measuring.
    """

    def __init__(
        self, on_hello: Callable[[dict[str, Any]], object], on_problem: Callable[[WorkerProblem], object]
    ) -> None:
        """Args:
        on_hello: called with the worker's hello whenever a connection is made.
        on_problem: called with every error.
        """
        self._on_hello = on_hello
        self._on_problem = on_problem
        self._condition = threading.Condition()
        self._waiting: list[Request] = []
        self._following: dict[str, Request] = {}
        self._running: tuple[Request, Job | None] | None = None
        self._cancelled_request: Request | None = None  # cancelled while it is sent
        self._kept_searches: list[str] = []
        self._closed = False
        self._reconnect = False
        self._thread = threading.Thread(target=self._run_jobs, daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Runs a job after those that wait."""
        with self._condition:
            self._waiting.append(request)
            self._condition.notify()

    def follow(self, request: Request) -> None:
        """Runs a "render" or "measure", instead of an older one that waits."""
        with self._condition:
            self._following[request.kind] = request
            self._interrupt_measuring()
            self._condition.notify()

    def cancel(self) -> None:
        """Stops the running job that a button started, and those that wait."""
        with self._condition:
            dropped, self._waiting = self._waiting, []
            if self._running is not None and self._running[0].kind not in _FOLLOWING:
                self._cancelled_request, job = self._running
                if job is not None:
                    job.cancel()
        for request in dropped:
            self._call_in_gtk(request.on_failure, WorkerProblem("cancelled"))

    def ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Calls a function in GTK's thread from the one that runs the jobs; returns or raises what it does.

        Raises:
            WorkerProblem: the dialog has been closed.
        """
        answer: Future[_Answer] = Future()

        def run_call() -> bool:
            try:
                answer.set_result(call())
            except Exception as error:
                answer.set_exception(error)
            return False

        GLib.idle_add(run_call)
        while not wait([answer], _POLL).done:
            if self._closed:
                raise WorkerProblem("cancelled")
        return answer.result()

    def reconnect(self) -> None:
        """Reconnects before the next job, to get the worker's hello again."""
        with self._condition:
            self._reconnect = True
            self._condition.notify()

    def keep(self, search: str) -> None:
        """Remembers a search, which the worker drops when the dialog is closed."""
        self._kept_searches.append(search)

    def drop(self, search: str) -> None:
        """Makes the worker drop a search, which is no longer drawn or measured."""
        with self._condition:
            self._kept_searches.remove(search)
            self._following.clear()
        self.submit(Request("drop", {"searches": [search]}, lambda _event: None))

    def close(self, keep: str | None = None) -> None:
        """Cancels the running job, and drops all searches but ``keep``; nothing is called back any more."""
        with self._condition:
            self._closed = True
            self._waiting.clear()
            self._following.clear()
            self._kept_searches = [name for name in self._kept_searches if name != keep]
            if self._running is not None and self._running[1] is not None:
                self._running[1].cancel()
            self._condition.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _run_jobs(self) -> None:
        worker: Worker | None = None
        try:
            while (request := self._take_request()) is not None:
                try:
                    if worker is None or self._reconnect:
                        if worker is not None:
                            worker.close()
                        worker, self._reconnect = None, False
                        worker = run.connect()
                        if self._closed:
                            return
                        self._call_in_gtk(self._on_hello, worker.hello)
                    event = self._run_request(worker, request)
                except WorkerProblem as problem:
                    if not self._requeue_interrupted(request, problem):
                        self._call_in_gtk(request.on_failure, problem)
                        self._call_in_gtk(self._on_problem, problem)
                else:
                    self._call_in_gtk(request.on_result, event)
            if worker is not None and self._kept_searches:
                worker.submit("drop", {"searches": self._kept_searches}).result(lambda _event: None)
        except WorkerProblem:
            pass  # a worker that has gone has dropped everything
        finally:
            if worker is not None:
                worker.close()

    def _take_request(self) -> Request | None:
        """Waits for a job; None when the dialog has been closed."""
        with self._condition:
            while not (self._closed or self._waiting or self._following):
                self._condition.wait()
            if self._closed:
                return None
            if self._waiting:
                request = self._waiting.pop(0)
            else:
                request = self._following.pop(next(kind for kind in _FOLLOWING if kind in self._following))
            self._running = request, None
            return request

    def _run_request(self, worker: Worker, request: Request) -> Event:
        try:
            job = worker.submit(request.kind, request.header, request.pictures)
            with self._condition:
                self._running = request, job
                if self._closed or self._cancelled_request is request:
                    job.cancel()
                self._interrupt_measuring()
            return job.result(lambda event: self._call_in_gtk(request.on_event, event))
        finally:
            with self._condition:
                self._running = None

    def _interrupt_measuring(self) -> None:
        """Cancels a running "measure" if something more urgent waits; it runs again later."""
        if self._running is None or self._running[1] is None or self._running[0].kind != MEASURE:
            return
        if RENDER in self._following or self._waiting:
            self._running[1].cancel()

    def _requeue_interrupted(self, request: Request, problem: WorkerProblem) -> bool:
        """Queues a "measure" again that was cancelled for something more urgent; whether it was one."""
        if self._closed:
            return True
        if request.kind != MEASURE or problem.code != "cancelled":
            return False
        with self._condition:
            self._following.setdefault(MEASURE, request)
        return True

    def _call_in_gtk(self, call: Callable[..., object], *arguments: Any) -> None:
        def run_call() -> bool:
            if not self._closed:
                call(*arguments)
            return False

        GLib.idle_add(run_call)
