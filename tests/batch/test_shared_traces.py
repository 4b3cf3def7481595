"""Protected photos of a person lead away from each other across processes; on a cluster, see test_ray_engine."""

from __future__ import annotations

import os
from pathlib import Path

from c2p_core.batch.processes import protect_in_processes
from c2p_core.models.store import ModelStore
from tests.batch.one_person import EmbeddedResults, Shoot, find_shared, make_shoot, protect_person


def test_photos_of_a_person_lead_away_from_those_that_other_processes_protected(
    tmp_path: Path, store: ModelStore
) -> None:
    shoot = make_shoot(tmp_path, *(f"{number}" for number in range(10)))
    outcomes = list(shoot.protect(protect_in_processes(2, protect_person), store))
    assert len({outcome.report["process"] for outcome in outcomes}) == 2 and find_shared(outcomes)
    # Which photos of the other process were recorded in time depends on how fast it is; its own are always known.
    for process in {outcome.report["process"] for outcome in outcomes}:
        own = [outcome for outcome in outcomes if outcome.report["process"] == process]
        for number, outcome in enumerate(own):
            assert {earlier.item.number for earlier in own[:number]} <= set(outcome.report["earlier"])


def test_the_traces_of_a_person_outlast_the_process_that_left_them(tmp_path: Path, store: ModelStore) -> None:
    shoot = make_shoot(tmp_path, "a", "deadly", "b")
    outcomes = {o.item.place: o for o in shoot.protect(protect_in_processes(1, protect_person), store)}
    assert outcomes["deadly.png"].state == "failed"
    assert outcomes["b.png"].report["process"] != outcomes["a.png"].report["process"]
    assert outcomes["b.png"].report["earlier"] == [0]


def test_processes_lead_away_from_earlier_results_that_the_first_one_has_embedded(
    tmp_path: Path, store: ModelStore
) -> None:
    shoot = make_shoot(tmp_path, "done", "a", "b")
    results = EmbeddedResults({shoot.items[0].path: tmp_path / "out.png"})
    later = Shoot(shoot.items[1:], shoot.looks)
    outcomes = later.protect(protect_in_processes(2, protect_person), store, results)
    assert [outcome.report["earlier"][0] for outcome in outcomes] == [100, 100]
    assert results.processes == [os.getpid()]
