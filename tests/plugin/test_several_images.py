"""One run over several open images in both plug-ins: the outcome for each, progress and the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from worker_client import Event, several_images, texts
from worker_client.errors import Refused
from worker_client.faces import detect_faces
from worker_client.messages import Message
from worker_client.several_images import Outcome, protect_each

from tests.error_assertions import raising

LOST = {"verdict": "protected", "other_photos": "lost"}
MATCHED = {"verdict": "recognised", "other_photos": "may match"}


def make_result(*similarities: dict[str, str], warnings: tuple[Message, ...] = ()) -> dict[str, Any]:
    """The header of a result with one face."""
    return {"faces": [{"similarities": list(similarities)}], "warnings": [w.described() for w in warnings]}


def test_a_refused_image_does_not_stop_the_others(tmp_path: Path) -> None:
    def protect_one(index: int, tell: Any) -> dict[str, Any]:
        if index == 1:
            raise Refused("no-face")
        return make_result(LOST)

    outcomes = protect_each(["a", b"\xc3\xa4", "c"], protect_one, lambda event: None, str(tmp_path))
    assert [(o.name, o.result is not None, o.why) for o in outcomes] == [
        ("a", True, ""),
        ("ä", False, Message("no-face").text()),
        ("c", True, ""),
    ]


def test_an_unexpected_error_affects_its_image_only_and_leaves_a_log(tmp_path: Path) -> None:
    def protect_one(index: int, tell: Any) -> dict[str, Any]:
        return {"faces": [[]], "warnings": []} if index else {}["nothing"]

    first, second = protect_each(["a", "b"], protect_one, lambda event: None, str(tmp_path))
    assert first.result is None and second.result is not None
    assert "KeyError" in first.why and "KeyError" in (tmp_path / "protect-face.log").read_text()


def test_progress_says_which_image_it_is_of_and_how_far_all_of_them_are(tmp_path: Path) -> None:
    events: list[Event] = []

    def protect_one(index: int, tell: Any) -> dict[str, Any]:
        tell(Event("queued", {"kind": "queued", "position": 0}))
        tell(Event("progress", {"stage": "search", "fraction": 0.5, "faces": 1, "seconds_left": None}))
        return make_result(LOST)

    protect_each(["a", "b", "c", "d"], protect_one, events.append, str(tmp_path))
    assert [event.header["fraction"] for event in events if event.kind == "progress"] == [0.125, 0.375, 0.625, 0.875]
    stages = [texts.describe_stage(event.header) for event in events]
    assert stages[:2] == ["Image 1 of 4: Preparing…", "Image 1 of 4: Searching…"]
    assert stages[-1].startswith("Image 4 of 4: ")


def test_a_single_image_is_not_numbered(tmp_path: Path) -> None:
    events: list[Event] = []

    def protect_one(index: int, tell: Any) -> dict[str, Any]:
        tell(Event("progress", {"stage": "paste", "fraction": 0.5}))
        return make_result(LOST)

    protect_each(["a"], protect_one, events.append, str(tmp_path))
    assert texts.describe_stage(events[0].header) == "Putting it back…" and events[0].header["fraction"] == 0.5


def test_images_that_were_left_out_come_first_with_their_reason_and_poor_results_are_not_called_protected() -> None:
    warning = Message("not-every-face", why=Message("face-gone"))
    outcomes = [
        Outcome("good", make_result(LOST)),
        Outcome("poor", make_result(LOST, MATCHED, warnings=(warning,))),
        Outcome("none", why=Message("no-face").text()),
    ]
    headline, none, good, poor, promise = several_images.summarise_outcomes(outcomes).splitlines()
    assert headline == "Images with a new layer: 2 of 3."
    assert none == f"none: Left out: {Message('no-face').text()}"
    assert good == "good: Protected." and poor == f"poor: Not protected well enough. {warning.text()}"
    assert promise.startswith("No protection holds")


def test_an_image_in_which_a_face_was_left_out_is_not_called_protected() -> None:
    small = Message("eyes-too-close", distance=12, least=40)
    skipped = {"number": 2, "skipped": small.described(), "similarities": []}
    text = several_images.describe_outcome(Outcome("a", make_result(LOST) | {"left_out": [skipped]}))
    assert text == f"Not every face is protected. Face 2 was left out: {small.text()}."


def test_if_no_image_was_protected_the_error_gives_the_reason_for_each() -> None:
    left_out = [Outcome("a", why="One."), Outcome("b", why="Two.")]
    with raising(Refused, "no-image-protected", reasons="a: Left out: One. b: Left out: Two."):
        several_images.check_any_done(left_out)
    several_images.check_any_done([*left_out, Outcome("c", make_result(LOST))])


@pytest.mark.parametrize(
    ("moved", "numbers"),
    [
        ([{"number": 1, "box": [60, 0, 100, 40]}, {"number": 2, "box": [0, 0, 30, 40]}], [2]),
        ([{"number": 1, "box": [0, 0, 30, 40]}], [2]),
        ([], [1]),
    ],
    ids=["turned", "cropped", "covered"],
)
def test_a_number_that_now_means_another_face_is_refused(moved: list[dict[str, Any]], numbers: list[int]) -> None:
    known = [{"number": 1, "box": [0, 0, 40, 40]}, {"number": 2, "box": [70, 0, 100, 40]}]

    class FakeJob:
        def __init__(self, faces: list[dict[str, Any]]) -> None:
            self.faces = [dict(face, selected=1.0, skipped=None) for face in faces]

        def result(self, on_event: object) -> Event:
            chosen = [face["number"] for face in self.faces if face["number"] in numbers]
            return Event("result", {"faces": self.faces, "chosen": chosen, "regions": []})

    with raising(Refused, "chosen-faces-moved"):
        detect_faces(lambda header: FakeJob(moved), (99, 99), numbers, False, print, known)  # type: ignore[arg-type, return-value]
    detection = detect_faces(lambda header: FakeJob(known), (99, 99), numbers, False, print, known)  # type: ignore[arg-type, return-value]
    assert detection["chosen"] == numbers
