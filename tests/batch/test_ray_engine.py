"""The engine of a Ray cluster, on a real one of this machine: shares photos out, and survives the death of actors."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from c2p_core.api import CancelToken
from c2p_core.batch.cluster import Cluster, protect_on_ray
from c2p_core.batch.engine import Control, Job, Reuse
from c2p_core.batch.layout import Item
from c2p_core.batch.reading import read_photo
from c2p_core.errors import BadRequest, ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.priority import MAX_NICE
from tests.batch.darken import JOB, darken, darken_with_read_ahead, save
from tests.batch.one_person import EmbeddedResults, find_shared, make_shoot, protect_person
from tests.batch.ray_cluster import darken_and_note_process, fail_without_models, join_cluster, start_ray, with_priority

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with start_ray(cores=2) as address:
        yield Cluster(address, cores=1)


def make_items(folder: Path, *names: str) -> list[Item]:
    paths = [save(folder / f"{name}.png", 20 + 3 * number) for number, name in enumerate(names)]
    return [Item(number, str(path), path.name) for number, path in enumerate(paths)]


def make_job(marks: Path) -> Job:
    return Job({**JOB.options, "marks": str(marks)})


def make_control(store: ModelStore, cancel: CancelToken | None = None) -> Control:
    return Control(lambda: store, cancel or CancelToken())


def test_photos_are_distributed_and_each_has_one_outcome(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    items = make_items(tmp_path, *(f"{number}" for number in range(20)))
    outcomes = list(
        protect_on_ray(cluster, darken_and_note_process)(iter(items), make_job(tmp_path), make_control(store))
    )
    assert sorted(outcome.item.number for outcome in outcomes) == list(range(20))
    assert len({outcome.report["process"] for outcome in outcomes} - {os.getpid()}) == 2
    assert all(outcome.data and outcome.digest and outcome.stamp[0] > 0 for outcome in outcomes)


def test_a_dying_actor_loses_only_the_photo_that_kills_several(
    tmp_path: Path, store: ModelStore, cluster: Cluster
) -> None:
    items = make_items(tmp_path, "a", "once", "b", "deadly", "c", "d")
    outcomes = list(
        protect_on_ray(cluster, darken_and_note_process)(iter(items), make_job(tmp_path), make_control(store))
    )
    assert Counter(o.item.place for o in outcomes) == Counter(item.place for item in items)
    states = {o.item.place: o.state for o in outcomes}
    assert {place: state for place, state in states.items() if state != "done"} == {"deadly.png": "failed"}
    (failed,) = (o for o in outcomes if o.state == "failed")
    assert failed.report["error"]["code"] == "process-ended"


def test_photos_beside_one_that_kills_its_actor_are_protected(
    tmp_path: Path, store: ModelStore, cluster: Cluster
) -> None:
    items = make_items(tmp_path, "good", "better", "deadly", "a")
    run = protect_on_ray(Cluster(cluster.address, jobs=1, cores=1), darken_with_read_ahead)
    states = {o.item.place: o.state for o in run(iter(items), JOB, make_control(store))}
    assert states == {"good.png": "done", "better.png": "done", "deadly.png": "failed", "a.png": "done"}


def test_the_photos_of_a_dead_machine_are_protected_by_others(tmp_path: Path, store: ModelStore) -> None:
    items = make_items(tmp_path, *(f"{number}" for number in range(40)))
    with start_ray(cores=1) as address, join_cluster(address, 1, tmp_path) as machine:
        run = protect_on_ray(Cluster(address, cores=1), darken_and_note_process)(
            iter(items), make_job(tmp_path), make_control(store)
        )
        outcomes = []
        for outcome in run:
            outcomes.append(outcome)
            if machine.is_running() and len({outcome.report["process"] for outcome in outcomes}) == 2:
                for process in (*machine.children(recursive=True), machine):
                    process.kill()
                machine.wait()
                before = len(outcomes)
    assert [outcome.state for outcome in outcomes] == ["done"] * 40 and before < 34
    assert sorted(outcome.item.number for outcome in outcomes) == list(range(40))


def test_an_actor_has_three_photos_at_most(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    taken: list[int] = []
    items = make_items(tmp_path, *(f"{number}" for number in range(20)))

    def watch(items: list[Item]) -> Iterator[Item]:
        for item in items:
            taken.append(item.number)
            yield item

    outcomes = protect_on_ray(cluster, darken_and_note_process)(watch(items), make_job(tmp_path), make_control(store))
    max_pending = 0
    for finished, _ in enumerate(outcomes):
        max_pending = max(max_pending, len(taken) - finished)
    assert len(taken) == 20 and max_pending <= 2 * 3


@pytest.mark.skipif(sys.platform == "win32", reason="priorities are classes there")
def test_actors_lower_their_priority_as_the_job_wants(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    run = protect_on_ray(replace(cluster, jobs=1, nice=MAX_NICE), with_priority)
    (outcome,) = run(iter(make_items(tmp_path, "a")), JOB, make_control(store))
    assert outcome.report["nice"] == MAX_NICE  # Ray gives its processes 15


def test_earlier_results_are_looked_up_in_the_process_with_the_journal(
    tmp_path: Path, store: ModelStore, cluster: Cluster
) -> None:
    items = make_items(tmp_path, "a", "b")
    asking = Control(lambda: store, CancelToken(), find_reuse=lambda item, digest: Reuse(7) if item.number else None)
    outcomes = {o.item.number: o for o in protect_on_ray(cluster, darken)(iter(items), JOB, asking)}
    assert (outcomes[0].state, outcomes[1].state, outcomes[1].reuse) == ("done", "known", Reuse(7))


def test_photos_of_a_person_lead_away_from_those_that_other_actors_protected_and_from_earlier_results(
    tmp_path: Path, store: ModelStore, cluster: Cluster
) -> None:
    shoot = make_shoot(tmp_path, "done", *(f"{number}" for number in range(12)), "deadly", "last")
    results = EmbeddedResults({shoot.items[0].path: tmp_path / "out.png"})
    shoot.items.pop(0)
    outcomes = {o.item.place: o for o in shoot.protect(protect_on_ray(cluster, protect_person), store, results)}
    assert outcomes.pop("deadly.png").state == "failed"
    last = outcomes["last.png"].report["earlier"]
    # Besides the earlier result, all but five that the actors may have at the same time.
    assert last[0] == 100 and len(last) >= 1 + 12 - 5
    assert find_shared([*outcomes.values()])
    assert results.processes == [os.getpid()]


def test_a_photo_that_cannot_be_read_fails_alone(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    items = [*make_items(tmp_path, "a"), Item(1, str(tmp_path / "gone.png"), "gone.png")]
    outcomes = {o.item.number: o for o in protect_on_ray(cluster, darken)(iter(items), JOB, make_control(store))}
    assert (outcomes[0].state, outcomes[1].report["error"]["code"]) == ("done", "image-missing")


def test_an_unexpected_error_while_a_photo_is_read_fails_it_alone(
    tmp_path: Path, store: ModelStore, cluster: Cluster
) -> None:
    items = make_items(tmp_path, "a", "locked", "b")

    def read(item: Item) -> tuple[bytes, tuple[int, int]]:
        if item.number == 1:
            raise PermissionError(13, "Permission denied")
        return read_photo(item.path)

    reading = Control(lambda: store, CancelToken(), read=read)
    outcomes = {o.item.number: o for o in protect_on_ray(cluster, darken)(iter(items), JOB, reading)}
    assert [outcomes[number].state for number in range(3)] == ["done", "failed", "done"]
    assert outcomes[1].report["error"]["code"] == "unexpected-error"


def test_a_cancelled_run_ends_soon(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    items, cancel = make_items(tmp_path, *(f"{number}" for number in range(60))), CancelToken()
    outcomes = []
    for outcome in protect_on_ray(cluster, darken_and_note_process)(
        iter(items), make_job(tmp_path), make_control(store, cancel)
    ):
        outcomes.append(outcome)
        cancel.cancel()
    assert 1 <= len(outcomes) < 20


def test_a_missing_model_ends_the_run(tmp_path: Path, store: ModelStore, cluster: Cluster) -> None:
    with pytest.raises(ModelUnavailable) as error:
        list(protect_on_ray(cluster, fail_without_models)(iter(make_items(tmp_path, "a")), JOB, make_control(store)))
    assert error.value.code == "model-missing"


def test_an_unreachable_cluster_is_reported(tmp_path: Path, store: ModelStore) -> None:
    nowhere = partial(protect_on_ray, Cluster("127.0.0.1:1"))
    with pytest.raises(BadRequest) as error:
        list(nowhere()(iter(make_items(tmp_path, "a")), JOB, make_control(store)))
    assert error.value.code == "ray-not-reached"
