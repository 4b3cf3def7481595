"""What runs on the machines of a Ray cluster: a Ray actor running the one-process engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from c2p_core.api import CancelToken
from c2p_core.batch.engine import Control, Engine, Job, Outcome, Reuse
from c2p_core.batch.layout import Item
from c2p_core.batch.reading import read_photo
from c2p_core.models.store import ModelStore
from c2p_core.version import __version__


@dataclass(frozen=True)
class Sent:
    """Photo bytes sent with the task, for an actor need not see the disk that the photo is on.

    Attributes:
        data: the photo's file.
        stamp: its size and time of change.
    """

    data: bytes
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Question:
    """Whether there is an earlier result for the content of a photo."""

    digest: str


@dataclass(frozen=True)
class Ended:
    """The engine has ended, and no outcome comes of the photo: it was cancelled, or nothing can be protected."""

    error: Exception | None = None


@dataclass(frozen=True)
class Presence:
    """Where an actor is.

    Attributes:
        node: Ray's name of its machine.
        process: the number of its process there.
        program: version of the program there.
    """

    node: str
    process: int
    program: str


Answer = Outcome | Question | Ended


class Protector:
    """An actor: photos come as calls, each of which waits for its answer in a thread of its own."""

    def __init__(self, engine: Engine | None, job: Job, models: Path | None, offline: bool, cores: int) -> None:
        """``engine`` is that of one process when None; ``models`` the folder of models, that of the machine when None.

        Raises:
            ModelUnavailable: no model can be read there.
        """
        self._items: SimpleQueue[Item | None] = SimpleQueue()
        self._sent: dict[int, Sent] = {}
        self._answers: dict[int, SimpleQueue[Answer]] = {}
        self._known: dict[int, SimpleQueue[Reuse | None]] = {}
        self._cancel = CancelToken()
        self._changing = threading.Lock()
        self._ended: Ended | None = None
        store = ModelStore(models, offline)
        threading.Thread(target=self._run, args=(engine, job, lambda: store, cores), daemon=True).start()

    def present(self) -> Presence:
        """Say where it is, as soon as it is there."""
        import ray

        return Presence(ray.get_runtime_context().get_node_id(), os.getpid(), __version__)

    def protect(self, item: Item, sent: Sent | None) -> Answer:
        """Protect a photo; without its file, it is read here. After a question, ``go_on`` has the further answer."""
        with self._changing:
            if self._ended is not None:
                return self._ended
            answers = self._answers[item.number] = SimpleQueue()
            if sent is not None:
                self._sent[item.number] = sent
            self._items.put(item)
        return answers.get()

    def go_on(self, number: int, reuse: Reuse | None) -> Answer:
        """Answer a question, and wait for what comes of the photo."""
        answers = self._answers[number]
        self._known[number].put(reuse)
        return answers.get()

    def cancel(self) -> None:
        """Begin no further photo, and end searches within a step."""
        self._cancel.cancel()
        self._items.put(None)

    def _run(self, engine: Engine | None, job: Job, store: Callable[[], ModelStore], cores: int) -> None:
        if engine is None:
            import torch

            from c2p_core.batch.local import protect_here

            torch.set_num_threads(cores)
            engine = protect_here
        ended = Ended()
        try:
            control = Control(store, self._cancel, reuse=self._ask, read=self._read)
            for outcome in engine(iter(self._items.get, None), job, control):
                answers = self._answers.pop(outcome.item.number)
                self._known.pop(outcome.item.number, None)
                self._sent.pop(outcome.item.number, None)
                answers.put(outcome)
        except Exception as error:
            ended = Ended(error)
        with self._changing:
            self._ended = ended
            for answers in self._answers.values():
                answers.put(ended)

    def _read(self, item: Item) -> tuple[bytes, tuple[int, int]]:
        sent = self._sent.pop(item.number, None)
        return read_photo(item.path) if sent is None else (sent.data, sent.stamp)

    def _ask(self, item: Item, digest: str) -> Reuse | None:
        known = self._known[item.number] = SimpleQueue()
        self._answers[item.number].put(Question(digest))
        return known.get()
