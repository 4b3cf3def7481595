from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from synthetic import natural_row, pair_row, protect_row, robustness_row, setting

from benchmarks import rows
from benchmarks.data import RESULTS, RunFolders, list_faces, sample_evenly
from benchmarks.errors import NoData
from benchmarks.suites import runner
from benchmarks.suites.measurement import Task, TaskRows
from tests.error_assertions import raising

FAMILIES = ("dlib", "faceres", "mobileface")


def make_plan(**changes: object) -> runner.Plan:
    fields: dict[str, object] = {
        "photos": (Path("a.jpg"), Path("b.jpg")), "methods": ("c2p",), "strengths": (0.7,), "hold_out": FAMILIES,
        "prompt": "natural makeup", "prior": "makeup", "steps": None, "seed": 0,
        "suites": frozenset({"protect", "natural"}), "curves": {},
    }  # fmt: skip
    return runner.Plan(**{**fields, **changes})  # type: ignore[arg-type]


def run_plan(folder: Path, plan: runner.Plan, broken: str = "") -> tuple[runner.Outcome, list[Task], list[str]]:
    """A run with a fake measurement that fails for the face named ``broken``."""
    tasks: list[Task] = []
    messages: list[str] = []

    def measure_task(task: Task) -> TaskRows:
        tasks.append(task)
        if task.setting.face == broken:
            raise RuntimeError("the model has gone")
        task.folders.pictures.joinpath(task.setting.picture).parent.mkdir(parents=True, exist_ok=True)
        task.folders.pictures.joinpath(task.setting.picture).touch()
        make = {"protect": protect_row, "natural": natural_row, "robustness": robustness_row, "pairs": pair_row}
        return TaskRows(**{name: make[name](task.setting) for name in task.missing})

    with ThreadPoolExecutor(1) as executor:
        outcome = runner.run(
            plan, RunFolders(folder, folder / "pictures"), "abc", executor, messages.append, measure_task
        )
    return outcome, tasks, messages


def test_a_row_is_read_as_written(tmp_path: Path) -> None:
    row = protect_row(setting(), warnings=("Unknown word: “glitterish”.",))
    rows.append(tmp_path / "rows.jsonl", row)
    assert rows.read(tmp_path / "rows.jsonl", rows.ProtectRow) == [row]


def test_every_face_and_family_has_a_row(tmp_path: Path) -> None:
    outcome, tasks, _ = run_plan(tmp_path, make_plan())
    assert (outcome.measured, outcome.done_before, outcome.failed) == (6, 0, 0)
    assert len(rows.read(tmp_path / rows.PROTECT_FILE, rows.ProtectRow)) == 6
    assert {(t.setting.face, t.setting.hold_out) for t in tasks} == {(f, h) for f in "ab" for h in FAMILIES}


def test_a_second_run_measures_nothing_again(tmp_path: Path) -> None:
    run_plan(tmp_path, make_plan())
    outcome, tasks, _ = run_plan(tmp_path, make_plan())
    assert outcome.done_before == 6
    assert tasks == []


def test_a_truncated_line_is_measured_again(tmp_path: Path) -> None:
    run_plan(tmp_path, make_plan())
    file = tmp_path / rows.PROTECT_FILE
    file.write_bytes(file.read_bytes()[:-40])
    _, tasks, _ = run_plan(tmp_path, make_plan())
    assert len(tasks) == 1
    assert [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows.read(file, rows.ProtectRow)) == 6


def test_a_failure_does_not_stop_others_and_is_retried(tmp_path: Path) -> None:
    outcome, _, messages = run_plan(tmp_path, make_plan(), broken="a")
    assert (outcome.measured, outcome.failed) == (3, 3)
    assert any("the model has gone" in line for line in messages)
    outcome, _, _ = run_plan(tmp_path, make_plan())
    assert (outcome.measured, outcome.done_before) == (3, 3)


def test_methods_without_a_search_run_once_per_face(tmp_path: Path) -> None:
    _, tasks, _ = run_plan(tmp_path, make_plan(methods=("nothing",)))
    assert [t.setting.hold_out for t in tasks] == [rows.NO_FAMILY] * 2


def test_naturalness_can_be_measured_without_protection(tmp_path: Path) -> None:
    run_plan(tmp_path, make_plan(suites=frozenset({"protect"})))
    _, tasks, _ = run_plan(tmp_path, make_plan(suites=frozenset({"natural"})))
    assert all(t.missing == {"natural"} for t in tasks)
    assert len(tasks) == 6


def test_all_rows_of_a_missing_picture_are_measured_again(tmp_path: Path) -> None:
    run_plan(tmp_path, make_plan())
    (tmp_path / "pictures" / runner.list_settings(make_plan())[0].setting.picture).unlink()
    _, tasks, _ = run_plan(tmp_path, make_plan(suites=frozenset({"protect", "natural", "robustness"})))
    assert [sorted(t.missing) for t in tasks] == [["natural", "protect", "robustness"], *[["robustness"]] * 5]


def test_robustness_of_a_missing_picture_is_measured_together_with_its_other_rows(
    tmp_path: Path,
) -> None:
    run_plan(tmp_path, make_plan())
    (tmp_path / "pictures" / runner.list_settings(make_plan())[0].setting.picture).unlink()
    _, tasks, _ = run_plan(tmp_path, make_plan(suites=frozenset({"robustness"})))
    assert [sorted(t.missing) for t in tasks] == [["natural", "protect", "robustness"], *[["robustness"]] * 5]


def test_curves_are_measured_on_their_own_faces(tmp_path: Path) -> None:
    curve_plan = make_plan(curves={"pgd": (0.25, 0.5), "c2p": (0.7,)}, curve_photos=(Path("a.jpg"),))
    _, tasks, _ = run_plan(tmp_path, curve_plan)
    assert sum(t.setting.method == "c2p" for t in tasks) == 6
    noise = [t.setting for t in tasks if t.setting.method == "pgd"]
    assert {s.face for s in noise} == {"a"} and len(noise) == 6
    assert {s.prompt for s in noise} == {""}


def test_photos_of_one_person_are_compared_only_with_each_other(tmp_path: Path) -> None:
    _, tasks, _ = run_plan(tmp_path, make_plan(photos=(), pairs=(Path("p1.jpg"), Path("p2.jpg"), Path("p3.jpg"))))
    assert {t.missing for t in tasks} == {frozenset({"pairs"})}
    assert [p.stem for p in tasks[0].others] == ["p2", "p3"]
    assert not (tmp_path / rows.PROTECT_FILE).exists()


def test_another_external_recogniser_is_measured_separately(tmp_path: Path) -> None:
    key = setting()
    for name in ("protect", "natural"):
        run_plan(tmp_path, make_plan(suites=frozenset({name}), photos=(Path("a.jpg"),), hold_out=("dlib",)))
    row = rows.ExtraRow(key, "mine:one", (), True, True, "abc")
    rows.append(tmp_path / rows.EXTRA_FILE, row)
    assert rows.read(tmp_path / rows.EXTRA_FILE, rows.ExtraRow) == [row]
    for source, count in (("mine:one", 0), ("mine:two", 1)):
        extra_plan = make_plan(photos=(Path("a.jpg"),), hold_out=("dlib",), extra=source)
        assert len(runner.list_tasks(extra_plan, RunFolders(tmp_path, tmp_path / "pictures"), "abc")) == count


@pytest.mark.parametrize("row", [robustness_row(setting()), pair_row(setting())])
def test_other_rows_are_read_as_written(tmp_path: Path, row: rows.AnyRow) -> None:
    rows.append(tmp_path / "rows.jsonl", row)
    assert rows.read(tmp_path / "rows.jsonl", type(row)) == [row]


def test_committed_rows_can_be_read() -> None:
    committed = RESULTS / rows.PROTECT_FILE
    assert all(row.setting.face for row in rows.read(committed, rows.ProtectRow))


def test_rows_of_other_code_are_kept_and_reported(tmp_path: Path) -> None:
    rows.append(tmp_path / rows.PROTECT_FILE, protect_row(setting(), code="old"))
    _, _, messages = run_plan(tmp_path, make_plan())
    assert any("1 rows" in line and "other code" in line for line in messages)


def test_settings_never_share_a_picture() -> None:
    settings = [
        planned.setting for planned in runner.list_settings(make_plan(strengths=(0.3, 0.7), methods=("c2p", "look")))
    ]
    assert len({s.picture for s in settings}) == len(settings)


def test_a_missing_folder_of_faces_is_an_error(tmp_path: Path) -> None:
    with raising(NoData, "faces-folder-missing"):
        list_faces(photos=tmp_path / "nowhere")


def test_a_missing_listed_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.txt").write_text("a\nb\n")
    with raising(NoData, "listed-faces-missing", count=1, first="b"):
        list_faces(tmp_path / "list.txt", tmp_path)


def test_quick_samples_six_faces_evenly_from_the_list() -> None:
    photos = [Path(f"{i}.jpg") for i in range(40)]
    assert [int(p.stem) for p in sample_evenly(photos, 6)] == [0, 6, 12, 18, 24, 30]
