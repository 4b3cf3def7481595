"""The engine of this process with the real pipeline: one step a face, once for all tests here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from c2p_core import pipeline
from c2p_core.api import CancelToken, Face, FaceReport, Progress, ProtectRequest, ProtectResult
from c2p_core.batch import local
from c2p_core.batch.engine import Control, Job, Outcome, Reuse
from c2p_core.batch.layout import Item
from c2p_core.batch.local import protect_here
from c2p_core.batch.looks import FindTraces, TracesByPerson
from c2p_core.batch.reading import read_settled
from c2p_core.direction import Direction
from c2p_core.errors import Message, UnreadableImage
from c2p_core.io import photo_files
from c2p_core.io.sidecars import Turn
from c2p_core.models.store import ModelStore
from tests.batch.darken import read_results, run_batch, save, save_sideways

OPTIONS = {"faces": "all", "steps": 1, "prompt": "red lipstick"}


class OnlyStrong:
    """Looks that protect all photos but ``alone``, more strongly, and remember what they learn."""

    def __init__(self) -> None:
        self.learnt: list[ProtectResult | None] = []

    def settings_for(self, path: str) -> Mapping[str, Any]:
        return {"strength": 0.9}

    def choose(self, path: str, request: ProtectRequest, faces: Sequence[Face]) -> ProtectRequest | None:
        if "alone" in path:
            return None
        return ProtectRequest(request.photo, prompt="no makeup", strength=0.9, steps=1, faces=(faces[0].number,))

    def lead_away(
        self,
        path: str,
        request: ProtectRequest,
        faces: Sequence[Face],
        find_traces: FindTraces,
        cancel: CancelToken,
    ) -> ProtectRequest:
        return request

    def learn(self, path: str, result: ProtectResult | None) -> TracesByPerson:
        self.learnt.append(result)
        return {} if result is None else {7: result.traces}


@pytest.fixture(scope="module")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shoot")
    paths = {name: folder / f"{name}.png" for name in ("face", "alone", "landscape", "damaged", "gone")}
    Image.fromarray(data.astronaut()).save(paths["face"])
    Image.fromarray(data.astronaut()[:, ::-1]).save(paths["alone"])
    save(paths["landscape"], 120, (300, 200))
    paths["damaged"].write_bytes(paths["face"].read_bytes()[:5000])
    return paths


def make_items(paths: dict[str, Path]) -> list[Item]:
    return [Item(number, str(path), path.name) for number, path in enumerate(paths.values())]


def make_control(store: ModelStore, events: list[tuple[str, Progress]]) -> Control:
    return Control(lambda: store, CancelToken(), lambda item, progress: events.append((item.place, progress)))


@pytest.fixture(scope="module")
def outcomes(shoot: dict[str, Path], store: ModelStore) -> tuple[dict[str, Outcome], list[tuple[str, Progress]]]:
    events: list[tuple[str, Progress]] = []
    outcomes = protect_here(make_items(shoot), Job(OPTIONS), make_control(store, events))
    return {Path(outcome.item.place).stem: outcome for outcome in outcomes}, events


Outcomes = tuple[dict[str, Outcome], list[tuple[str, Progress]]]


def test_every_photo_has_one_outcome(outcomes: Outcomes) -> None:
    states = {name: outcome.state for name, outcome in outcomes[0].items()}
    assert states == {
        "face": "done",
        "alone": "done",
        "landscape": "without-face",
        "damaged": "failed",
        "gone": "failed",
    }


def test_a_result_is_the_same_as_that_of_the_photo_alone(
    outcomes: Outcomes, shoot: dict[str, Path], store: ModelStore, tmp_path: Path
) -> None:
    photo = photo_files.read(shoot["face"])
    alone = pipeline.protect(ProtectRequest(photo, **OPTIONS), store=store)
    photo_files.write(tmp_path / "alone.png", alone.photo)
    outcome = outcomes[0]["face"]
    assert outcome.data is not None
    together = photo_files.parse(shoot["face"], outcome.data)
    np.testing.assert_array_equal(together.pixels, photo_files.read(tmp_path / "alone.png").pixels)
    assert outcome.digest == hashlib.sha256(shoot["face"].read_bytes()).hexdigest()
    assert outcome.stamp[0] == shoot["face"].stat().st_size and outcome.faces == 1 and outcome.seconds > 0


def test_a_result_comes_with_its_report_and_small_pictures(outcomes: Outcomes) -> None:
    outcome = outcomes[0]["face"]
    (face,) = outcome.report["faces"]
    assert outcome.report["settings"]["prompt"] == "red lipstick" and len(face["similarities"]) > 1
    assert outcome.thumbnails is not None
    before, after = (np.asarray(Image.open(io.BytesIO(picture)), float) for picture in outcome.thumbnails)
    assert before.shape == after.shape and max(before.shape) <= 640
    assert 0.1 < np.abs(before - after).mean() < 30


def test_progress_names_the_photo_and_its_face(outcomes: Outcomes) -> None:
    assert ("face.png", Progress("search", 1, 1, 0, 1)) in outcomes[1]


def test_failures_have_their_reasons(outcomes: Outcomes) -> None:
    codes = {name: o.report["error"]["code"] for name, o in outcomes[0].items() if o.state != "done"}
    assert codes == {"landscape": "no-face", "damaged": "image-damaged", "gone": "image-missing"}


def test_looks_choose_the_request_of_each_photo_and_learn_its_result(shoot: dict[str, Path], store: ModelStore) -> None:
    looks = OnlyStrong()
    chosen = {name: shoot[name] for name in ("face", "alone")}
    outcomes = {
        Path(outcome.item.place).stem: outcome
        for outcome in protect_here(
            make_items(chosen), Job({**OPTIONS, "prompt": "x"}, looks=looks), make_control(store, [])
        )
    }
    assert outcomes["face"].report["settings"]["strength"] == 0.9
    assert (outcomes["alone"].state, outcomes["alone"].report["error"]["code"]) == ("without-face", "no-face-chosen")
    # Nothing is left of the one that is not protected.
    (learnt,) = (result for result in looks.learnt if result is not None)
    assert isinstance(learnt.faces[0], FaceReport) and learnt.faces[0].similarities and len(looks.learnt) == 2
    assert outcomes["face"].traces == {7: learnt.traces} and outcomes["alone"].traces == {}


def test_if_the_next_search_fills_the_card_a_photo_is_finished_on_the_processor(
    shoot: dict[str, Path], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, apply, card, devices = pipeline.find_direction, local.apply_direction, torch.device("cuda"), list[str]()

    def run_out_of_memory(direction: Direction, *arguments: Any) -> ProtectResult:
        devices.append(direction.device.type)
        if direction.device == card:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return apply(direction, *arguments)

    monkeypatch.setattr(pipeline, "find_direction", lambda *g, **options: replace(find(*g, **options), device=card))
    monkeypatch.setattr(local, "apply_direction", run_out_of_memory)
    (outcome,) = protect_here(make_items({"face": shoot["face"]}), Job(OPTIONS), make_control(store, []))
    assert (outcome.state, devices) == ("done", ["cuda", "cpu"])
    assert Message("measured-on-processor").described() in outcome.report["warnings"]
    assert len(outcome.report["faces"][0]["similarities"]) == 6


@pytest.mark.parametrize("stage", ["search", "paste"])
def test_looks_learn_immediately_that_a_photo_has_failed(
    stage: str, shoot: dict[str, Path], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ValueError(stage)

    monkeypatch.setattr(pipeline, "find_direction", fail if stage == "search" else lambda *_arguments, **_options: None)
    monkeypatch.setattr(local, "apply_direction", fail)
    looks = OnlyStrong()
    (outcome,) = protect_here(make_items({"face": shoot["face"]}), Job(OPTIONS, looks=looks), make_control(store, []))
    assert (outcome.state, looks.learnt) == ("failed", [None])


def test_looks_learn_that_a_result_cannot_be_encoded(
    shoot: dict[str, Path], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ValueError

    monkeypatch.setattr(photo_files, "encode_as", fail)
    looks = OnlyStrong()
    (outcome,) = protect_here(make_items({"face": shoot["face"]}), Job(OPTIONS, looks=looks), make_control(store, []))
    assert (outcome.state, [result is None for result in looks.learnt]) == ("failed", [False, True])


def test_a_photo_under_two_names_in_a_row_is_searched_only_once(
    shoot: dict[str, Path], store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, searches = pipeline.find_direction, list[object]()
    monkeypatch.setattr(pipeline, "find_direction", lambda *g, **options: [searches.append(g), find(*g, **options)][1])
    (tmp_path / "twins").mkdir()
    for name in ("IMG_1.png", "IMG_1 copy.png"):
        (tmp_path / "twins" / name).write_bytes(shoot["face"].read_bytes())

    def engine(items: Iterable[Item], job: Job, control: Control) -> Generator[Outcome, None, None]:
        return protect_here(items, job, replace(control, store=lambda: store))

    summary, plan = run_batch(tmp_path / "twins", tmp_path / "out", job=Job(OPTIONS, thumbnails=False), engine=engine)
    assert (len(plan.pending), summary.protected, summary.copied, summary.failed) == (2, 2, 1, [])
    results = read_results(tmp_path / "out")
    assert len(searches) == 1 and results["IMG_1.png"] == results["IMG_1 copy.png"]


def test_the_same_photo_is_tried_again_after_its_twin_has_failed_and_waits_no_longer_than_the_run(
    shoot: dict[str, Path], store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = list[object]()

    def fail(request: ProtectRequest, **_options: object) -> None:
        tried.append(request)
        raise ValueError

    monkeypatch.setattr(pipeline, "find_direction", fail)
    twins = [Item(number, str(shoot["face"]), f"{number}.png") for number in range(2)]
    assert [outcome.state for outcome in protect_here(twins, Job(OPTIONS), make_control(store, []))] == ["failed"] * 2
    assert len(tried) == 2
    given_up = protect_here(twins, Job(OPTIONS), make_control(store, []))
    assert next(given_up).state == "failed"
    # While the first outcome is being recorded, the second photo waits.
    given_up.close()
    assert len(tried) == 3


def test_a_copy_of_an_earlier_result_has_its_orientation(tmp_path: Path, store: ModelStore) -> None:
    items = make_items({name: save_sideways(tmp_path / name) for name in ("a.png", "b.jpg")})
    control = replace(make_control(store, []), find_reuse=lambda item, digest: Reuse(1, b"result"))
    turns = {outcome.item.place: outcome.turn for outcome in protect_here(items, Job(OPTIONS), control)}
    assert turns == {"a.png": Turn(6, 32, 24), "b.jpg": None}


def test_a_copy_of_a_result_made_during_the_run_has_its_orientation(
    shoot: dict[str, Path], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "find_turn", lambda *_arguments: Turn(6, 32, 24))
    # There is none yet when the faces are detected.
    answers = iter([None, Reuse(1, b"result")])
    control = replace(make_control(store, []), find_reuse=lambda item, digest: next(answers))
    (outcome,) = protect_here(make_items({"face": shoot["face"]}), Job(OPTIONS), control)
    assert (outcome.state, outcome.turn) == ("known", Turn(6, 32, 24))


def test_a_cancelled_run_begins_no_search_and_ends(shoot: dict[str, Path], store: ModelStore) -> None:
    cancel = CancelToken()
    stopping = Control(lambda: store, cancel, lambda item, progress: cancel.cancel())
    assert [outcome.state for outcome in protect_here(make_items(shoot), Job(OPTIONS), stopping)] == []


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "growing.png")
    read = photo_files.read_bytes

    def grow(path: Path) -> bytes:
        content = read(path)
        path.write_bytes(content + b"more")
        return content

    monkeypatch.setattr(photo_files, "read_bytes", grow)
    with pytest.raises(UnreadableImage) as error:
        read_settled(path)
    assert error.value.code == "photo-changing"


def test_a_file_in_a_folder_that_may_not_be_searched_is_reported_as_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "locked" / "a.png")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    with pytest.raises(UnreadableImage) as error:
        read_settled(path)
    monkeypatch.undo()
    assert error.value.code == "image-not-readable"


def test_a_broken_object_is_named_by_its_url(store: ModelStore) -> None:
    item = Item(0, "s3://shoot/broken.png", "broken.png")
    reading = Control(lambda: store, CancelToken(), read=lambda item: (b"no picture", (10, 1)))
    (outcome,) = protect_here([item], Job(OPTIONS), reading)
    assert outcome.report["error"]["fields"]["path"] == item.path
