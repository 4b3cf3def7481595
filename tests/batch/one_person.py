"""An engine that darkens photos of one person in place of protecting them, and says what they were led away from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2p_core.api import Box, CancelToken, Face, ProtectRequest, ProtectResult, Trace
from c2p_core.batch.engine import Control, Engine, Job, Outcome
from c2p_core.batch.layout import Item
from c2p_core.models.store import ModelStore
from c2p_core.people.listing import ListedFace, Listing
from c2p_core.people.looks_file import Looks
from c2p_core.people.results import Results
from c2p_core.people.shoot import ShootLooks
from c2p_core.photo import Photo
from tests.batch.darken import JOB, darken, save

FACE = Face(1, (0.0, 0.0, 24.0, 24.0), 1.0, np.zeros((468, 2), np.float32), 60.0)
REQUEST = ProtectRequest(Photo(np.zeros((24, 32, 3), np.uint8)))


def protect_person(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Darken; the report has the process, and the photos that each one was led away from. Dies of ``deadly``."""
    looks = job.looks
    assert looks is not None
    for item in items:
        if Path(item.path).stem == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        chosen = looks.choose(item.path, REQUEST, [FACE])
        assert chosen is not None
        find_traces = partial(control.find_traces, item)
        (look,) = looks.lead_away(item.path, chosen, [FACE], find_traces, control.cancel).looks
        trace = Trace(1, {"shape": np.zeros(3, np.float32)}, {"dlib": np.full(4, item.number, np.float32)})
        traces = looks.learn(item.path, ProtectResult(REQUEST.photo, (), traces=(trace,)))
        time.sleep(0.05)
        (outcome,) = darken([item], job, control)
        earlier = [int(trace.protected["dlib"][0]) for trace in look.earlier]
        outcome.report.update(process=os.getpid(), earlier=earlier)
        yield replace(outcome, traces=traces)


@dataclass(frozen=True)
class EmbeddedResults(Results):
    """Results of earlier runs that are embedded as 100."""

    processes: list[int] = field(default_factory=list)

    def embed(self, source: str, box: Box) -> dict[str, NDArray[np.float32]] | None:
        self.processes.append(os.getpid())
        return {"dlib": np.full(4, 100, np.float32)}


@dataclass(frozen=True)
class Shoot:
    """Photos of one person."""

    items: list[Item]
    looks: ShootLooks

    def protect(
        self, engine: Engine, store: ModelStore, results: Results | None = None, job: Job = JOB
    ) -> Iterator[Outcome]:
        """Run an engine as a batch does; yields its outcomes as they are recorded."""
        traces, cancel = self.looks.make_traces(results or Results({})), CancelToken()
        control = Control(lambda: store, cancel, find_traces=lambda item, *query: traces.find(*query, cancel))
        for outcome in engine(iter(self.items), replace(job, looks=self.looks), control):
            traces.record(outcome.item.path, outcome.traces)
            yield outcome


def make_shoot(folder: Path, *names: str) -> Shoot:
    paths = [save(folder / f"{name}.png", 20 + 3 * number) for number, name in enumerate(names)]
    faces = tuple(ListedFace(path.name, 1, FACE.box, 1) for path in paths)
    looks = ShootLooks(Looks(), Listing(tuple(path.name for path in paths), faces), folder)
    return Shoot([Item(number, str(path), path.name) for number, path in enumerate(paths)], looks)


def find_shared(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    """The pairs of photos in different processes of which the second was led away from the first."""
    processes = {outcome.item.number: outcome.report["process"] for outcome in outcomes}
    pairs = [(earlier, outcome.item.number) for outcome in outcomes for earlier in outcome.report["earlier"]]
    return [(earlier, later) for earlier, later in pairs if processes.get(earlier) not in (None, processes[later])]
