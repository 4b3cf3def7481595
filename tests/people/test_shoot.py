"""What each photo of a shoot gets, and what later photos learn of earlier ones."""

from __future__ import annotations

import json
import pickle
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2p_core.api import Box, CancelToken, Face, FaceLook, ProtectRequest, ProtectResult, Trace
from c2p_core.errors import BadRequest, Cancelled, Message
from c2p_core.people import shoot
from c2p_core.people.listing import ListedFace, Listing, write_listing
from c2p_core.people.looks_file import NAME, Looks, PersonLook, parse_looks
from c2p_core.people.results import Results
from c2p_core.people.shoot import ShootLooks
from c2p_core.people.traces import ShootTraces
from c2p_core.photo import Photo
from tests.error_assertions import raising

REQUEST = ProtectRequest(Photo(np.zeros((8, 8, 3), np.uint8)), prompt="natural makeup")
BOXES = {1: (0.0, 0.0, 100.0, 100.0), 2: (200.0, 0.0, 290.0, 90.0), 3: (400.0, 0.0, 480.0, 80.0)}
# Persons 1 and 2 and a passer-by on the first photo, person 1 alone on the second.
FACES = (
    ListedFace("a.jpg", 1, BOXES[1], 1),
    ListedFace("a.jpg", 2, BOXES[2], 2),
    ListedFace("a.jpg", 3, BOXES[3], 0),
    ListedFace("b.jpg", 1, BOXES[1], 1),
)
LISTED = Listing(("a.jpg", "b.jpg", "empty.jpg"), FACES)


def face(number: int, skipped: bool = False) -> Face:
    reason = Message("face-not-chosen") if skipped else None
    return Face(number, BOXES[number], 1.0, np.zeros((468, 2), np.float32), 60.0, reason)


def make(folder: Path, text: str = "", **choice: Any) -> ShootLooks:
    return ShootLooks(parse_looks(text, NAME), LISTED, folder, **choice)


def choose(looks: ShootLooks, photo: str, folder: Path, *numbers: int) -> ProtectRequest | None:
    return looks.choose(str(folder / photo), REQUEST, [face(number) for number in numbers])


@dataclass
class Process:
    """A process of a batch: the looks in it, and the traces in the first process, with which others may share them."""

    looks: ShootLooks
    traces: ShootTraces
    folder: Path

    def begin(self, photo: str, *numbers: int) -> tuple[FaceLook, ...]:
        """Begin with a photo; returns the looks of its faces."""
        return self.lead_away(photo, *numbers, cancel=CancelToken())

    def lead_away(self, photo: str, *numbers: int, cancel: CancelToken) -> tuple[FaceLook, ...]:
        path, faces = str(self.folder / photo), [face(number) for number in numbers]
        request = self.looks.choose(path, REQUEST, faces)
        assert request is not None
        return self.looks.lead_away(path, request, faces, partial(self.traces.find, cancel=cancel), cancel).looks

    def finish(self, photo: str, *traces: Trace, recorded: bool = True) -> None:
        """Finish a photo with the traces that it leaves; without any, it has failed."""
        path = str(self.folder / photo)
        left = self.looks.learn(path, result(*traces) if traces else None)
        if recorded:
            self.traces.record(path, left)


def start_process(folder: Path, results: Results | None = None, traces: ShootTraces | None = None) -> Process:
    looks = make(folder)
    return Process(looks, traces or looks.make_traces(results or Results({})), folder)


def values(look: FaceLook) -> list[float]:
    """The values of the traces from which a face is led away, oldest first."""
    return [round(float(earlier.protected["dlib"][0]), 3) for earlier in look.earlier]


def trace(number: int, value: float) -> Trace:
    return Trace(number, {"shape": np.full(3, value, np.float32)}, {"dlib": np.full(4, value, np.float32)})


def result(*traces: Trace) -> ProtectResult:
    return ProtectResult(REQUEST.photo, (), traces=traces)


def test_every_person_has_a_look_and_others_get_what_the_request_says(tmp_path: Path) -> None:
    chosen = choose(make(tmp_path, '[person.1]\nprompt = "red lipstick"\nseed = 3'), "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == "all"
    assert chosen.looks == (FaceLook(1, "red lipstick", seed=3), FaceLook(2))


def test_people_are_skipped_by_the_file_or_by_the_command(tmp_path: Path) -> None:
    skipping = make(tmp_path, "[person.1]\nskip = true\n[others]\nskip = true")
    chosen = choose(skipping, "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == (2,)
    assert choose(skipping, "b.jpg", tmp_path, 1) is None
    chosen = choose(make(tmp_path, skip=[2]), "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == (1, 3)
    chosen = choose(make(tmp_path, only=[2]), "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == (2,)


def test_corrections_made_after_the_list_count(tmp_path: Path) -> None:
    text = 'merge = [2, 1]\nnobody = ["b.jpg@50,50"]\n[person.2]\nfaces = ["a.jpg@440,40"]'
    looks = make(tmp_path, text, only=[2])
    chosen = choose(looks, "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == "all" and len(chosen.looks) == 3
    assert choose(looks, "b.jpg", tmp_path, 1) is None


def test_only_faces_that_the_request_names_are_chosen_and_unlisted_ones_are_nobodys(tmp_path: Path) -> None:
    looks = ShootLooks(Looks(others=PersonLook(strength=0.9)), LISTED, tmp_path)
    assert choose(looks, "new.jpg", tmp_path, 1).looks == (FaceLook(1, strength=0.9),)  # type: ignore[union-attr]


def test_photos_not_searched_for_people_differ_from_those_without_a_face(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.jpg", "empty.jpg", "new.jpg")]
    assert make(tmp_path).find_unlisted(paths) == paths[2:]


def test_an_unknown_number_is_refused(tmp_path: Path) -> None:
    with raising(BadRequest, "person-unknown", number=5, known=[1, 2]):
        make(tmp_path, skip=[1, 5])


def test_later_photos_start_from_the_last_one_and_lead_away_from_all(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    process.begin("a.jpg", 1, 2)
    process.finish("a.jpg", trace(1, 0.1), trace(2, 0.2))
    (look,) = process.begin("b.jpg", 1)
    assert [list(earlier.protected["dlib"]) for earlier in look.earlier] == [[np.float32(0.1)] * 4]
    process.finish("b.jpg", trace(1, 0.3))
    look, other = process.begin("a.jpg", 1, 2)
    assert (values(look), values(other)) == ([0.1, 0.3], [0.2])
    assert [set(earlier.code) for earlier in look.earlier] == [set(), {"shape"}]


def test_the_next_photo_knows_a_result_that_is_still_being_encoded_once(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    process.begin("a.jpg", 1)
    process.finish("a.jpg", trace(1, 0.1), recorded=False)
    (look,) = process.begin("b.jpg", 1)
    assert (values(look), set(look.earlier[-1].code)) == ([0.1], {"shape"})
    process.traces.record(str(tmp_path / "a.jpg"), {1: (trace(1, 0.1),)})
    process.finish("b.jpg", trace(1, 0.3), recorded=False)
    (look, _) = process.begin("a.jpg", 1, 2)
    assert values(look) == [0.1, 0.3]


def test_a_photo_in_another_process_is_led_away_from_all_that_are_recorded(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    other = start_process(tmp_path, traces=process.traces)
    process.begin("a.jpg", 1)
    # It waits for no search in another process.
    assert values(other.begin("b.jpg", 1)[0]) == []
    process.finish("a.jpg", trace(1, 0.1))
    other.finish("b.jpg", trace(1, 0.3), recorded=False)
    assert values(process.begin("a.jpg", 1)[0]) == [0.1]
    (look,) = other.begin("b.jpg", 1)
    assert values(look) == [0.1, 0.3] and [set(earlier.code) for earlier in look.earlier] == [set(), {"shape"}]


def test_only_the_latest_photos_of_a_person_count(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    for number in range(25):
        process.begin("b.jpg", 1)
        process.finish("b.jpg", trace(1, number))
    assert values(process.begin("b.jpg", 1)[0]) == [*range(5, 25)]


def test_a_result_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    process.begin("a.jpg", 1)
    process.finish("a.jpg", trace(1, 0.1), recorded=False)
    process.finish("a.jpg", recorded=False)
    assert values(process.begin("b.jpg", 1)[0]) == []


def test_a_photo_does_not_wait_for_photos_of_other_people(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    process.begin("a.jpg", 2)
    assert process.begin("b.jpg", 1)


def test_a_failed_photo_leaves_no_trace_and_keeps_none_waiting(tmp_path: Path) -> None:
    process = start_process(tmp_path)
    process.begin("a.jpg", 1)
    process.finish("a.jpg")
    start = time.monotonic()
    (look,) = process.begin("b.jpg", 1)
    assert look.earlier == () and time.monotonic() - start < 5


def test_a_photo_waits_for_an_earlier_one_and_gets_its_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, chosen = start_process(tmp_path), list[tuple[FaceLook, ...]]()
    process.begin("a.jpg", 1)
    # However often the waiting photo looks, and however late the earlier one is.
    monkeypatch.setattr(shoot, "POLL_SECONDS", 0.001)
    later = threading.Thread(target=lambda: chosen.append(process.begin("b.jpg", 1)), daemon=True)
    later.start()
    later.join(0.2)
    assert not chosen
    process.finish("a.jpg", trace(1, 0.1))
    later.join(5)
    assert len(chosen[0][0].earlier) == 1


def test_a_cancelled_run_waits_for_no_earlier_photo(tmp_path: Path) -> None:
    process, cancel = start_process(tmp_path), CancelToken()
    process.begin("a.jpg", 1)
    cancel.cancel()
    with raising(Cancelled, "cancelled"):
        process.lead_away("b.jpg", 1, cancel=cancel)
    # The finished photo still counts, and the cancelled one keeps nobody waiting.
    process.finish("a.jpg", trace(1, 0.1))
    assert values(process.begin("b.jpg", 1)[0]) == [0.1]


def test_settings_change_with_what_a_photos_own_people_get_and_with_nothing_else(tmp_path: Path) -> None:
    def settings(photo: str, text: str = "", **choice: Any) -> str:
        return json.dumps(make(tmp_path, text, **choice).settings_for(str(tmp_path / photo)))

    plain = settings("b.jpg")
    assert settings("b.jpg", "[person.2]\nseed = 4\n[others]\nskip = true", skip=[2]) == plain
    assert settings("a.jpg", "[others]\nskip = true") != settings("a.jpg")
    assert settings("new.jpg", "[others]\nskip = true") != settings("new.jpg")
    assert settings("b.jpg", "[person.1]\nseed = 4") != plain
    assert settings("b.jpg", skip=[1]) != plain


@dataclass(frozen=True)
class FakeResults(Results):
    """Results with the same embedding for each photo, which remember the photos requested."""

    requested: list[str] = field(default_factory=list)

    def embed(self, source: str, box: Box) -> dict[str, np.ndarray] | None:
        self.requested.append(Path(source).name)
        return {"dlib": np.full(4, 0.7, np.float32)} if source in self.files else None


def test_a_continued_run_leads_away_from_photos_protected_earlier(tmp_path: Path) -> None:
    results = FakeResults({str((tmp_path / "b.jpg").resolve()): Path("b.protected.jpg")})
    process = start_process(tmp_path, results)
    look, other, *_ = process.begin("a.jpg", 1, 2)
    assert [set(trace.code) for trace in look.earlier] == [set()] and other.earlier == ()
    assert values(look) == [0.7]
    process.finish("a.jpg", trace(1, 0.1))
    requested = len(results.requested)
    (look,) = process.begin("b.jpg", 1)
    assert len(look.earlier) == 2 and len(results.requested) == requested


def test_earlier_results_are_embedded_once_for_all_processes(tmp_path: Path) -> None:
    results = FakeResults({str((tmp_path / "b.jpg").resolve()): Path("b.protected.jpg")})
    process = start_process(tmp_path, results)
    other = start_process(tmp_path, traces=process.traces)
    assert results.requested == []
    assert [values(each.begin("a.jpg", 1)[0]) for each in (process, other)] == [[0.7], [0.7]]
    assert results.requested == ["b.jpg"]


def test_no_earlier_result_is_embedded_for_a_cancelled_run(tmp_path: Path) -> None:
    results, cancel = FakeResults({str((tmp_path / "b.jpg").resolve()): Path("b.protected.jpg")}), CancelToken()
    cancel.cancel()
    make(tmp_path).make_traces(results).find([1], [], cancel)
    assert results.requested == []


def test_an_earlier_result_that_is_recognised_during_the_run_is_led_away_from_too(tmp_path: Path) -> None:
    results = FakeResults({})
    process = start_process(tmp_path, results)
    process.begin("a.jpg", 1)
    process.finish("a.jpg", trace(1, 0.1))
    process.traces.add_earlier_result(str(tmp_path / "b.jpg"), Path("b.protected.jpg"))
    look, other = process.begin("a.jpg", 1, 2)
    assert values(look) == [0.7, 0.1]
    # The search goes on from the last photo of this run.
    assert [set(earlier.code) for earlier in look.earlier] == [set(), {"shape"}] and other.earlier == ()
    process.finish("a.jpg")
    (look, _) = process.begin("a.jpg", 1, 2)
    assert len(look.earlier) == 2 and results.requested == ["b.jpg"]


def test_another_process_gets_the_same_looks(tmp_path: Path) -> None:
    looks = make(tmp_path, "[person.1]\nseed = 5", skip=[2])
    chosen = choose(pickle.loads(pickle.dumps(looks)), "a.jpg", tmp_path, 1, 2, 3)
    assert chosen is not None and chosen.faces == (1, 3) and chosen.looks == (FaceLook(1, seed=5),)


def test_the_files_are_read_together_and_a_missing_list_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text("[person.1]\nskip = true")
    with raising(BadRequest, "people-not-listed"):
        ShootLooks.read(path)
    write_listing(tmp_path / "faces.json", LISTED)
    assert choose(ShootLooks.read(path), "b.jpg", tmp_path, 1) is None
