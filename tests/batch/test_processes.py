"""The engine of several processes: shares photos out, survives the death of one, and stops when told."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import psutil
import pytest

from c2p_core.api import CancelToken, Progress
from c2p_core.batch.engine import Backlog, Control, Engine, Job, Outcome, Reuse
from c2p_core.batch.layout import Item
from c2p_core.batch.processes import open_processes, protect_in_processes
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.store import ModelStore
from tests.batch.darken import JOB, darken, darken_with_read_ahead, save


def darken_and_note_process(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Darkens and notes its process; dies of photos named ``deadly``, and once of ``once``."""
    for outcome in darken(items, job, control):
        deadly = Path(outcome.item.path)
        if deadly.stem == "deadly" or (deadly.stem == "once" and not deadly.with_suffix(".died").exists()):
            deadly.with_suffix(".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        outcome.report["process"] = os.getpid()
        yield outcome


def fail_without_models(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    raise ModelUnavailable("model-missing", name="mtcnn", source="x")
    yield


def die_of_any_photo(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Dies of any photo."""
    for _ in items:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from ()


def exit_at_any_photo(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    for _ in items:
        os._exit(3)
    yield from ()


def search_until_cancelled(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Searches each photo until it is cancelled; after five seconds it gives up."""
    for item in items:
        control.report_progress(item, Progress("search"))
        end = time.monotonic() + 5
        while not control.cancel.cancelled:
            if time.monotonic() > end:
                yield Outcome(item, "failed")
                break
            time.sleep(0.01)


def make_items(folder: Path, *names: str) -> list[Item]:
    paths = [save(folder / f"{name}.png", 20 + 3 * number) for number, name in enumerate(names)]
    return [Item(number, str(path), path.name) for number, path in enumerate(paths)]


def make_control(store: ModelStore, cancel: CancelToken | None = None) -> Control:
    return Control(lambda: store, cancel or CancelToken())


def test_photos_are_distributed_and_each_has_one_outcome(tmp_path: Path, store: ModelStore) -> None:
    items = make_items(tmp_path, *(f"{number}" for number in range(12)))
    outcomes = list(protect_in_processes(2, darken_and_note_process)(iter(items), JOB, make_control(store)))
    assert sorted(outcome.item.number for outcome in outcomes) == list(range(12))
    assert len({outcome.report["process"] for outcome in outcomes}) == 2
    assert os.getpid() not in {outcome.report["process"] for outcome in outcomes}


def test_a_dying_process_loses_only_the_photo_that_kills_it(tmp_path: Path, store: ModelStore) -> None:
    items = make_items(tmp_path, "a", "once", "b", "deadly", "c", "d")
    outcomes = {
        o.item.place: o for o in protect_in_processes(2, darken_and_note_process)(iter(items), JOB, make_control(store))
    }
    assert {place: outcome.state for place, outcome in outcomes.items() if outcome.state != "done"} == {
        "deadly.png": "failed"
    }
    assert len(outcomes) == 6
    error = outcomes["deadly.png"].report["error"]
    assert (error["code"], error["fields"]["reason"]) == ("process-ended", "SIGKILL")


def test_a_photo_beside_one_that_kills_its_process_is_protected(tmp_path: Path, store: ModelStore) -> None:
    items = make_items(tmp_path, "good", "deadly", "a", "b")
    run = protect_in_processes(1, darken_with_read_ahead)
    outcomes = [(o.item.place, o.state) for o in run(iter(items), JOB, make_control(store))]
    assert sorted(outcomes) == [("a.png", "done"), ("b.png", "done"), ("deadly.png", "failed"), ("good.png", "done")]


def test_earlier_results_are_looked_up_in_the_first_process(tmp_path: Path, store: ModelStore) -> None:
    items = make_items(tmp_path, "a", "b")
    asking = Control(lambda: store, CancelToken(), find_reuse=lambda item, digest: Reuse(7) if item.number else None)
    outcomes = {outcome.item.number: outcome for outcome in protect_in_processes(1, darken)(iter(items), JOB, asking)}
    assert (outcomes[0].state, outcomes[1].state, outcomes[1].reuse) == ("done", "known", Reuse(7))


def test_an_error_that_nobody_foresaw_while_an_earlier_result_is_looked_up_concerns_one_photo(
    tmp_path: Path, store: ModelStore
) -> None:
    def look_up(item: Item, digest: str) -> Reuse | None:
        if item.number == 0:
            raise PermissionError(13, "Permission denied")
        return None

    asking = Control(lambda: store, CancelToken(), find_reuse=look_up)
    outcomes = protect_in_processes(1, ask_about_each)(iter(make_items(tmp_path, "a", "b")), JOB, asking)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]


def ask_about_each(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    for item in items:
        try:
            control.find_reuse(item, "")
        except PermissionError:
            yield Outcome(item, "failed")
        else:
            yield Outcome(item, "done")


def ask_in_two_threads(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Asks at the same time about each photo by its number and about numbers of nobody."""
    sys.setswitchinterval(1e-6)
    for item in items:
        others: list[Reuse | None] = []
        thread = threading.Thread(
            target=lambda item=item, others=others: others.extend(control.find_reuse(item, "") for _ in range(300))
        )
        thread.start()
        own = {control.find_reuse(item, f"{number}") for number in range(300)}
        thread.join()
        yield Outcome(item, "failed", report={"own": own, "others": set(others)})


def test_concurrent_queries_get_their_own_answers(tmp_path: Path, store: ModelStore) -> None:
    asking = Control(
        lambda: store, CancelToken(), find_reuse=lambda item, digest: Reuse(int(digest)) if digest else None
    )
    (outcome,) = protect_in_processes(1, ask_in_two_threads)(iter(make_items(tmp_path, "a")), JOB, asking)
    assert outcome.report == {"own": set(map(Reuse, range(300))), "others": {None}}


def test_a_cancelled_run_ends_soon(tmp_path: Path, store: ModelStore) -> None:
    items, cancel = make_items(tmp_path, *(f"{number}" for number in range(30))), CancelToken()
    outcomes = []
    for outcome in protect_in_processes(2, darken_and_note_process)(iter(items), JOB, make_control(store, cancel)):
        outcomes.append(outcome)
        cancel.cancel()
    assert 1 <= len(outcomes) < 12


def test_cancelling_ends_the_searches_of_processes_with_full_queues(tmp_path: Path, store: ModelStore) -> None:
    items, cancel = make_items(tmp_path, "a", "b", "c", "d"), CancelToken()
    control = Control(lambda: store, cancel, report_progress=lambda item, progress: cancel.cancel())
    assert list(protect_in_processes(2, search_until_cancelled)(iter(items), JOB, control)) == []


def test_a_missing_model_ends_the_run(tmp_path: Path, store: ModelStore) -> None:
    with pytest.raises(ModelUnavailable) as error:
        list(protect_in_processes(1, fail_without_models)(iter(make_items(tmp_path, "a")), JOB, make_control(store)))
    assert error.value.code == "model-missing"


@pytest.mark.parametrize(
    ("engine", "reason"), [(die_of_any_photo, "SIGKILL"), (exit_at_any_photo, Message("exit-code", number=3))]
)
def test_processes_that_die_before_they_finish_anything_end_the_run(
    tmp_path: Path, store: ModelStore, engine: Engine, reason: Message | str
) -> None:
    items, failed = make_items(tmp_path, *(f"{number}" for number in range(12))), []
    with pytest.raises(BadRequest) as error:
        for outcome in protect_in_processes(3, engine)(iter(items), JOB, make_control(store)):
            failed.append(outcome)
    assert (error.value.code, error.value.fields) == ("processes-die", {"reason": reason})
    assert len(failed) <= 3, "the other photos are left for the next run"


def test_processes_are_kept_for_the_next_run_of_the_same_job(tmp_path: Path, store: ModelStore) -> None:
    with open_processes(1, darken_and_note_process) as protect:

        def find_process(name: str, job: Job) -> int:
            (outcome,) = protect(iter(make_items(tmp_path, name)), job, make_control(store))
            process = outcome.report["process"]
            assert isinstance(process, int)
            return process

        first = find_process("a", JOB)
        assert find_process("b", JOB) == first
        assert find_process("c", Job(JOB.options, strip_personal=True)) != first


def test_a_process_that_died_between_two_runs_is_replaced(tmp_path: Path, store: ModelStore) -> None:
    with open_processes(1, darken_and_note_process) as protect:
        (outcome,) = protect(iter(make_items(tmp_path, "a")), JOB, make_control(store))
        os.kill(outcome.report["process"], signal.SIGKILL)
        (later,) = protect(iter(make_items(tmp_path, "b")), JOB, make_control(store))
    assert later.state == "done" and later.report["process"] != outcome.report["process"]


def test_no_process_is_left_after_the_last_run(tmp_path: Path, store: ModelStore) -> None:
    (outcome,) = protect_in_processes(1, darken_and_note_process)(
        iter(make_items(tmp_path, "a")), JOB, make_control(store)
    )
    assert not psutil.pid_exists(outcome.report["process"])


def test_a_run_that_is_given_up_leaves_no_process_behind(tmp_path: Path, store: ModelStore) -> None:
    with open_processes(1, darken_and_note_process) as protect:
        outcomes = protect(iter(make_items(tmp_path, "a", "b", "c")), JOB, make_control(store))
        process = next(outcomes).report["process"]
        outcomes.close()
        assert not psutil.pid_exists(process)


def until_terminated(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
    """Sends its own process the signal with which a service manager ends a group, and searches until then."""
    for item in items:
        os.kill(os.getpid(), signal.SIGTERM)
        while not control.cancel.cancelled:
            time.sleep(0.01)
        yield Outcome(item, "done")


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes")
def test_a_process_that_is_to_terminate_still_finishes_what_was_searched(tmp_path: Path, store: ModelStore) -> None:
    (outcome,) = protect_in_processes(1, until_terminated)(iter(make_items(tmp_path, "a")), JOB, make_control(store))
    assert outcome.state == "done"


def test_photos_of_a_dead_worker_are_tried_alone_and_one_that_kills_again_fails() -> None:
    items = [Item(number, f"s3://shoot/{number}.png", f"{number}.png") for number in range(5)]
    backlog = Backlog(iter(items), 2)
    assert [backlog.take(), backlog.take(items[:1])] == items[:2]
    assert list(backlog.requeue(items[:2], "SIGKILL")) == [] and backlog.count(9) == 5
    assert backlog.take() == items[0] and backlog.take(items[:1]) is None and not backlog.empty
    assert backlog.take(items[2:3]) == items[2], "a worker with another photo gets new ones"
    (failed,) = backlog.requeue(items[:1], "SIGKILL")
    assert (failed.item, failed.report["photo"]) == (items[0], "s3://shoot/0.png")
    assert [backlog.take() for _ in range(4)] == [items[1], *items[3:], None] and backlog.empty


def test_a_photo_is_not_blamed_for_a_lost_machine() -> None:
    backlog, item = Backlog(iter(()), 1), Item(0, "a.png", "a.png")
    other = Item(1, "b.png", "b.png")
    assert list(backlog.requeue([item], "gone", at_fault=False)) == [] and backlog.take([other]) == item
