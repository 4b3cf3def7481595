"""The Ray actor of a cluster: it runs the one-process engine on its machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from c2p_core.api import CancelToken
from c2p_core.batch.engine import Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.batch.queries import Answer, Query, forward_queries
from c2p_core.batch.reading import read_photo
from c2p_core.models.store import ModelStore
from c2p_core.priority import lower_priority
from c2p_core.version import __version__


@dataclass(frozen=True)
class PhotoBytes:
    """The file of a photo, sent with the task, because an actor may not see the disk that the photo is on.

    Attributes:
        data: its content.
        stamp: its size and modification time.
    """

    data: bytes
    stamp: tuple[int, int]


@dataclass(frozen=True)
class EngineEnded:
    """The engine has ended without an outcome for the photo: it was cancelled, or no photo can be protected."""

    error: Exception | None = None


@dataclass(frozen=True)
class ActorInfo:
    """Where an actor runs.

    Attributes:
        node: Ray's ID of its machine.
        process: its process ID there.
        program: version of the program there.
    """

    node: str
    process: int
    program: str


Reply = Outcome | Query | EngineEnded


class Protector:
    """An actor: each photo is a call, which waits for its reply in its own thread."""

    def __init__(
        self, engine: Engine | None, job: Job, models: Path | None, offline: bool, cores: int, nice: int
    ) -> None:
        """``engine`` defaults to the one-process engine, ``models`` to the model folder of the actor's machine.

        Raises:
            ModelUnavailable: the models can't be read there.
        """
        self._items: SimpleQueue[Item | None] = SimpleQueue()
        self._photo_bytes: dict[int, PhotoBytes] = {}
        self._replies: dict[int, SimpleQueue[Reply]] = {}
        self._answers: dict[int, SimpleQueue[Answer]] = {}
        self._cancel = CancelToken()
        self._lock = threading.Lock()
        self._ended: EngineEnded | None = None
        store = ModelStore(models, offline)
        threading.Thread(target=self._run, args=(engine, job, lambda: store, cores, nice), daemon=True).start()

    def get_info(self) -> ActorInfo:
        """Where the actor runs; the first call, answered once the actor has started."""
        import ray

        return ActorInfo(ray.get_runtime_context().get_node_id(), os.getpid(), __version__)

    def protect(self, item: Item, photo_bytes: PhotoBytes | None) -> Reply:
        """Protect a photo, read here if its bytes were not sent; after a ``Query``, call ``answer_query``."""
        with self._lock:
            if self._ended is not None:
                return self._ended
            replies = self._replies[item.number] = SimpleQueue()
            if photo_bytes is not None:
                self._photo_bytes[item.number] = photo_bytes
            self._items.put(item)
        return replies.get()

    def answer_query(self, number: int, answer: Answer) -> Reply:
        """Answer a ``Query`` about a photo, and wait for the next one or the outcome of the photo."""
        replies = self._replies[number]
        self._answers[number].put(answer)
        return replies.get()

    def cancel(self) -> None:
        """Start no further photo, and end searches within a step."""
        self._cancel.cancel()
        self._items.put(None)

    def _run(self, engine: Engine | None, job: Job, store: Callable[[], ModelStore], cores: int, nice: int) -> None:
        lower_priority(nice)
        if engine is None:
            import torch

            from c2p_core.batch.local import protect_here

            torch.set_num_threads(cores)
            engine = protect_here
        end = EngineEnded()
        try:
            control = forward_queries(Control(store, self._cancel, read=self._read), self._ask)
            for outcome in engine(iter(self._items.get, None), job, control):
                replies = self._replies.pop(outcome.item.number)
                self._answers.pop(outcome.item.number, None)
                self._photo_bytes.pop(outcome.item.number, None)
                replies.put(outcome)
        except Exception as error:
            end = EngineEnded(error)
        with self._lock:
            self._ended = end
            for replies in self._replies.values():
                replies.put(end)

    def _read(self, item: Item) -> tuple[bytes, tuple[int, int]]:
        photo_bytes = self._photo_bytes.pop(item.number, None)
        return read_photo(item.path) if photo_bytes is None else (photo_bytes.data, photo_bytes.stamp)

    def _ask(self, query: Query) -> Answer:
        # One thread at a time has a photo.
        number = query.item.number
        answers = self._answers[number] = SimpleQueue()
        self._replies[number].put(query)
        return answers.get()
