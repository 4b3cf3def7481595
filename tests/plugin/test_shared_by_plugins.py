"""What both plug-ins share: faces, settings, the worker's results and how they are reported. No GIMP is needed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from worker_client import (
    Event,
    Job,
    Picture,
    WorkerProblem,
    crash_report,
    faces,
    pixel_ops,
    report,
    results,
    service,
    settings,
    text_files,
    texts,
)
from worker_client.errors import Refused
from worker_client.messages import Message

from c2p_core import prior_registry
from c2p_core.api import DEFAULT_PROMPT, DEFAULT_STRENGTH, Part, ProtectRequest
from c2p_core.guidance.vocabulary import PRESETS
from c2p_core.prior_registry import REGISTRY
from hatch_build import compile_priors
from tests.error_assertions import raising

SETTINGS = {
    "prompt": "red lipstick",
    "strength": 0.5,
    "keep_expression": False,
    "mode": "dodge",
    "prior": "makeup",
    "seed": 3,
    "faces": "all",
}


class FakeWorker:
    """Answers every job with one result."""

    def __init__(self, **header: Any) -> None:
        self.header = header
        self.request: dict[str, Any] = {}

    def submit(self, kind: str, header: dict[str, Any], pictures: list[Picture]) -> FakeWorker:
        self.request = {"kind": kind, **header}
        return self

    def result(self, on_event: Any) -> Event:
        return Event("result", self.header)


PIXELS = settings.pack_pixels([(1, 2, 3, 4)], "a digest")
TOO_SMALL = Message("eyes-too-close", distance=12, least=40).described()


def make_face(number: int, selected: float = 1.0, skipped: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"number": number, "selected": selected, "skipped": skipped}


def make_area(*numbers: int) -> dict[str, Any]:
    return {"x": 0, "y": 0, "width": 9, "height": 9, "faces": list(numbers)}


def make_run_record(source: int, numbers: list[int], left_out: Sequence[int] = ()) -> dict[str, Any]:
    """The record that a result layer keeps of a run on a photo of 10 x 20."""
    done = [{"number": number, "similarities": [{}]} for number in numbers]
    done += [{"number": number, "similarities": []} for number in left_out]
    result = Event("result", {"settings": {}, "faces": done})
    text = settings.pack_run_record(source, (10, 20), 6, SETTINGS, result, PIXELS)
    record = settings.unpack_run_record(text.encode(), 6)
    assert record is not None
    return record


def detect(
    choice: Any, detected: list[dict[str, Any]], chosen: list[int], *, selecting: bool = True, regions: Any = ()
) -> dict[str, Any]:
    worker: Any = FakeWorker(faces=detected, chosen=chosen, regions=regions)
    detection = faces.detect_faces(lambda header: worker.submit("find", header, []), (10, 20), choice, selecting, print)
    return detection | worker.request


# Faces


def test_the_selection_setting_has_the_workers_name() -> None:
    assert detect("selection", [make_face(1)], [1])["choose"] == "selected"
    assert detect([2], [make_face(2)], [2])["choose"] == [2]


@pytest.mark.parametrize(
    ("choice", "detected", "code"),
    [
        ("all", [], "no-face"),
        ("all", [make_face(1, skipped=TOO_SMALL)], "no-face-usable"),
        ("selection", [make_face(1, 0.1)], "no-face-selected"),
        ("largest", [make_face(1, 0.0)], "selection-beside-faces"),
        ([2], [make_face(1)], "protected-faces-gone"),
    ],
)
def test_without_a_face_to_protect_one_error_says_why(choice: Any, detected: list[dict[str, Any]], code: str) -> None:
    with raising(Refused, code):
        detect(choice, detected, [])


def test_a_selection_beside_every_face_and_a_missing_one_have_different_errors() -> None:
    with raising(Refused, "selection-beside-faces"):
        detect("all", [make_face(1, 0.0)], [1])
    with raising(Refused, "nothing-selected"):
        detect("selection", [make_face(1)], [1], selecting=False)


def test_a_face_of_which_nothing_is_selected_is_left_out() -> None:
    detection = detect("all", [make_face(1, 0.0), make_face(2, 0.1)], [1, 2], regions=[make_area(1), make_area(2)])
    assert detection["chosen"] == [2] and detection["regions"] == [make_area(2)]


def test_an_area_that_two_faces_share_is_still_needed_for_one() -> None:
    detection = detect("all", [make_face(1, 0.0), make_face(2)], [1, 2], regions=[make_area(1, 2)])
    assert detection["regions"] == [make_area(1, 2)]


def test_a_face_whose_middle_is_cut_off_is_left_out() -> None:
    left, right = (
        {**make_face(n), "box": box} for n, box in [(1, [0.0, 0.0, 9.0, 10.0]), (2, [15.0, 0.0, 25.0, 10.0])]
    )
    assert faces.keep_faces_inside([left, right], [(0, 0, 5, 10), (8, 0, 12, 10)]) == [left]
    with raising(Refused, "faces-outside-canvas"):
        faces.keep_faces_inside([right], [(8, 0, 12, 10)])


@pytest.mark.parametrize(
    ("choice", "numbers"), [("all", [1, 3, 5]), ("selection", [1, 3]), ("largest", [1]), ([2, 3], [3])]
)
def test_requested_faces_that_cannot_be_protected_are_listed(choice: Any, numbers: list[int]) -> None:
    detected = [
        make_face(1, skipped=TOO_SMALL),
        make_face(2),
        make_face(3, skipped=TOO_SMALL),
        make_face(4, 0.0, TOO_SMALL),
    ]
    detection = {"faces": [*detected, make_face(5, 0.1, TOO_SMALL)], "chosen": [2]}
    assert [face["number"] for face in faces.list_left_out(detection, choice)] == numbers


# Settings


def test_defaults_and_presets_are_those_of_the_library() -> None:
    assert settings.PRESETS == PRESETS
    assert (settings.DEFAULT_PROMPT, settings.DEFAULT_STRENGTH) == (DEFAULT_PROMPT, DEFAULT_STRENGTH)
    assert ProtectRequest.keep_expression is settings.DEFAULT_KEEP_EXPRESSION is True


def test_the_priors_of_an_installed_plug_in_are_those_of_the_library(tmp_path: Path) -> None:
    ((name, body),) = compile_priors(Path(prior_registry.__file__)).items()
    (tmp_path / name).write_bytes(body)
    priors = settings.read_priors(str(tmp_path / name))
    assert priors == tuple((name, texts._(entry.label)) for name, entry in REGISTRY.items())


def test_without_their_list_the_usual_prior_is_offered(tmp_path: Path) -> None:
    name, entry = next(iter(REGISTRY.items()))
    assert settings.read_priors(str(tmp_path / "missing.json")) == ((name, texts._(entry.label)),)


def test_locks_are_those_of_the_library_and_are_part_of_a_searchs_settings() -> None:
    assert tuple(part for _, part, _ in settings.LOCKS) == get_args(Part)
    locked = {**SETTINGS, "lock_brows": True, "lock_nose": False, "lock_jaw": True}
    assert settings.make_job_header(locked)["locks"] == ["brows", "jaw"]
    assert "locks" not in settings.make_job_header(SETTINGS | {"lock_jaw": False})
    assert settings.get_search_settings(locked).items() >= {"lock_brows": True, "lock_nose": False}.items()


def test_unset_settings_are_left_to_the_worker() -> None:
    header = settings.make_job_header({**SETTINGS, "steps": 0, "output": "whole"})
    assert header == {name: SETTINGS[name] for name in SETTINGS if name != "faces"} | {"output": "single"}
    assert settings.make_job_header({**SETTINGS, "steps": 7, "output": "products"}) == header | {
        "steps": 7,
        "output": "products",
    }


def test_a_layer_records_what_strengthen_needs() -> None:
    record = make_run_record(5, [2], left_out=[1])
    assert record["source"] == 5 and record["requested"] == SETTINGS
    assert (
        settings.list_protected_faces([record], 5, (10, 20)) == [2]
        and settings.list_protected_faces([], 5, (10, 20)) == "all"
    )


def test_the_faces_of_every_run_on_a_photo_are_strengthened() -> None:
    assert settings.list_protected_faces(
        [make_run_record(5, [3]), make_run_record(8, [2]), make_run_record(5, [1])], 5, (10, 20)
    ) == [1, 3]


def test_in_a_photo_of_another_size_old_face_numbers_are_void() -> None:
    assert settings.list_protected_faces([make_run_record(5, [1])], 5, (10, 15)) == "all"
    older = {name: value for name, value in make_run_record(5, [1]).items() if name != "size"}
    assert settings.list_protected_faces([older], 5, (10, 20)) == "all"


def test_a_result_is_strengthened_in_full_whatever_amount_was_applied() -> None:
    earlier = SETTINGS | {"output": "products", "steps": 9, "amount": 40, "shape": 0}
    strengthened = settings.make_strengthen_settings(earlier, 5)
    assert strengthened.items() >= {"amount": 100, "shape": 100, "light": 100, "makeup": 100, "steps": 5}.items()
    assert (
        strengthened["output"] == "layer"
        and strengthened["prompt"] == earlier["prompt"]
        and strengthened["seed"] == earlier["seed"]
    )


def test_a_run_replaces_an_earlier_one_whose_faces_it_protects_too() -> None:
    assert settings.replaces(make_run_record(5, [1, 2]), make_run_record(5, [2]))
    assert not settings.replaces(make_run_record(5, [2]), make_run_record(5, [1, 2]))
    assert not settings.replaces(make_run_record(5, [1]), make_run_record(5, [2]))
    assert not settings.replaces(make_run_record(5, [1]), make_run_record(8, [1]))
    assert not settings.replaces(make_run_record(5, [1]), make_run_record(5, [1]) | {"size": [10, 15]})
    assert not settings.replaces(make_run_record(5, [1]) | {"source": None}, make_run_record(5, [1]) | {"source": None})


def test_the_faces_of_a_run_are_those_that_it_protected_where_the_photo_has_its_size() -> None:
    record = make_run_record(5, [1, 3], left_out=[2])
    assert [face["number"] for face in settings.list_faces_of_run(record, (10, 20))] == [1, 3]
    assert settings.list_faces_of_run(record, (20, 10)) == []


def test_a_layer_has_the_record_of_the_run_that_made_it_or_of_the_topmost_on_it() -> None:
    first, second, other = make_run_record(5, [1]), make_run_record(5, [2]), make_run_record(8, [1])
    assert settings.find_run_record(first, 6, [other, second, first]) is first
    assert settings.find_run_record(None, 5, [other, second, first]) is second
    assert settings.find_run_record(None, 9, [other, second, first]) is None


def test_a_copy_of_a_layer_does_not_know_its_source() -> None:
    text = settings.pack_run_record(5, (10, 20), 6, SETTINGS, Event("result", {"settings": {}, "faces": []}), PIXELS)
    record = settings.unpack_run_record(text.encode(), 7)
    assert record is not None and record["source"] is None and record["requested"] == SETTINGS
    # By its pixels it is found all the same.
    assert record["pixels"] == PIXELS


def test_a_layer_of_an_older_version_knows_its_source_and_settings() -> None:
    record = settings.unpack_run_record(b'{"source": 5, "wishes": {}}', 7)
    assert record == {"source": 5, "requested": {}, "pixels": None}


@pytest.mark.parametrize(
    "pixels", [7, {}, {"rects": 1}, {"rects": [[1, 2, 3]]}, {"rects": [[0, 0, 9, "9"]]}, {"rects": [[-1, 0, 9, 9]]}]
)
def test_malformed_pixels_are_ignored(pixels: Any) -> None:
    record = settings.unpack_run_record(json.dumps({"source": 5, "wishes": {}, "pixels": pixels}), 7)
    assert record is not None and record["pixels"] is None


@pytest.mark.parametrize(
    "text", ["", "\0", "[]", "7", '{"source": 1}', '{"source": "1", "wishes": {}}', '{"wishes": {}}']
)
def test_a_damaged_record_is_ignored(text: str) -> None:
    assert settings.unpack_run_record(text.encode(), 1) is None


# Results of the worker


def make_picture(name: str, x: int = 0, **about: Any) -> Picture:
    return Picture(name, x, 0, 2, 1, 1, "u8", strips=[b"\0", b"\xff"], about=about)


def test_each_changed_rectangle_has_its_own_mask() -> None:
    pictures = [make_picture("protected"), make_picture("mask"), make_picture("protected", 9), make_picture("mask", 9)]
    assert [(part.x, mask) for part, mask in results.pair_with_masks(pictures)] == [(0, b"\0\xff"), (9, b"\0\xff")]


def test_a_mask_marks_every_changed_pixel_however_faintly_selected() -> None:
    selection = results.pack_selection((3, 4, 2, 2), [bytes([0, 1]), bytes([128, 255])])
    assert (selection.name, results.get_bounds(selection), b"".join(selection.strips)) == (
        "selection",
        (3, 4, 2, 2),
        bytes([1, 1, 128, 255]),
    )
    mask = Picture("mask", 3, 4, 2, 2, 1, "u8", strips=[bytes([1, 0, 128, 255])])
    assert results.read_masks([mask]) == {(3, 4, 2, 2): bytes([255, 0, 255, 255])}


def test_pixels_are_recognised_by_their_values_and_positions() -> None:
    digests = {
        results.digest_pictures([Picture(name, x, 0, 2, 1, 1, "u8", strips=iter(strips))])
        for name, x, strips in (
            ("photo", 0, [b"\0\1"]),
            ("photo", 0, [b"\0", b"\1"]),
            ("photo", 1, [b"\0\1"]),
            ("photo", 0, [b"\1\1"]),
        )
    }
    assert len(digests) == 3


def test_a_rectangle_is_found_in_a_picture_of_another_size() -> None:
    assert results.scale_rect((10, 20, 30, 40), (2.0, 0.5)) == (20, 10, 60, 20)
    assert results.scale_rect((10, 20, 1, 1), (0.1, 0.1)) == (1, 2, 1, 1)


def test_when_nothing_changed_the_user_is_told_to_raise_the_strength() -> None:
    with raising(Refused, "nothing-changed"):
        results.pair_with_masks([])


def test_products_keep_their_order_and_an_unknown_one_keeps_its_name() -> None:
    pictures = [
        make_picture("skin", product="Reshaped skin"),
        make_picture("product", product="Glitter"),
        make_picture("mask"),
    ]
    assert [results.translate_product(layer) for layer in results.get_product_pictures(pictures)] == [
        "Reshaped skin",
        "Glitter",
    ]


def test_a_part_of_a_mask_has_its_own_rows() -> None:
    mask = bytes(range(12))  # 4 x 3 at (10, 20)
    assert pixel_ops.crop_mask(mask, (10, 20, 4, 3), (11, 21, 2, 2)) == bytes([5, 6, 9, 10])


# Reports


def test_a_report_has_the_workers_warnings() -> None:
    warning = Message("check-on-processor")
    figures: dict[str, Any] = {"faces": [], "warnings": [warning.described()]}
    assert warning.text() in report.make_text_report("me", figures).splitlines()


def test_a_report_says_first_what_it_depends_on_and_that_the_image_holds_the_photo() -> None:
    for known, layer in ((False, "Photo"), (True, None)):
        original = report.describe_original("Background", known, layer)
        lines = report.make_text_report("me", {"faces": [], "original": original}).splitlines()
        assert (Message("original-not-certain", name="Background").text() == lines[2]) is not known
        assert (Message("original-inside", name="Photo").text() in lines) is (layer is not None)


def test_a_face_that_was_left_out_is_reported_with_its_reason() -> None:
    assert report.describe_face(make_face(2, skipped=TOO_SMALL)) == f"Face 2 was left out: {TOO_SMALL['text']}."


def make_row(name: str, other_photos: str | None, verdict: str, held_out: bool = False) -> dict[str, Any]:
    similarity = {"recogniser": name, "verdict": verdict, "held_out": held_out, "after": 0.41, "far1": 0.37}
    return similarity | {"other_photos": other_photos}


def make_result(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The header of a run with one face."""
    return {"warnings": [], "faces": [{"number": 1, "skipped": None, "similarities": list(rows)}], **more}


LOST, MAY_MATCH = make_row("a", "lost", "recognised", held_out=True), make_row("b", "may match", "recognised")
STRONGER = {"strength": 0.5, "lost": 0.651, "higher": 0.75, "higher_lost": 0.784}


def test_other_photos_are_reported_first_and_this_same_photo_beside_them() -> None:
    lines = report.summarise_result(make_result(LOST, MAY_MATCH, make_row("c", None, "protected"))).splitlines()
    assert lines[0] == "Others' photos of this person no longer lead to this one: unlikely."
    assert lines[1] == "Face 1: 1 of 2 recognisers no longer match it with other photos of the person."
    assert lines[2] == "With this same photo 1 of 3 no longer match it."
    assert lines[3].startswith("a, which the search did not use: other photos no longer matched, this same photo still")
    assert "0.41, threshold 0.37" in lines[3]
    assert lines[4:] == [*report.explain_verdicts([{"similarities": [LOST]}]), report.get_disclaimer()]


@pytest.mark.parametrize("place", ["in the result", "beside it"])
def test_nothing_is_called_protected_where_a_face_was_left_out(place: str) -> None:
    skipped = make_face(2, skipped=TOO_SMALL) | {"similarities": []}
    result = make_result(LOST)
    assert report.choose_title(result) == "Protected" and report.describe_left_out(result) == []
    if place == "in the result":
        result["faces"].append(skipped)
    else:
        result["left_out"] = [skipped]
    assert report.choose_title(result) == "Not every face is protected"
    assert report.describe_left_out(result) == [report.describe_face(skipped)]
    for lines in (report.summarise_result(result).splitlines(), report.list_advice(result)):
        assert lines.count(report.describe_face(skipped)) == 1


def test_nothing_is_called_protected_where_the_worker_missed_a_face() -> None:
    missed = Message("not-every-face", why=Message("face-gone"))
    assert report.choose_title(make_result(LOST) | {"warnings": [missed.described()]}) == "Not every face is protected"


def test_a_face_that_was_not_chosen_is_not_reported_as_left_out() -> None:
    other = make_face(2, skipped=Message("face-not-chosen").described()) | {"similarities": []}
    result = make_result(LOST)
    result["faces"].append(other)
    assert report.describe_left_out(result) == [] and report.choose_title(result) == "Protected"


def test_of_many_faces_left_out_the_first_are_named_and_the_rest_counted() -> None:
    lines = report.describe_skipped([make_face(number, skipped=TOO_SMALL) for number in range(1, 6)])
    assert len(lines) == 4 and lines[0].startswith("Face 1 was left out") and lines[3] == "2 more faces were left out."


def test_without_figures_of_other_photos_only_this_same_photo_is_reported() -> None:
    unknown = make_row("a", None, "protected", held_out=True)
    del unknown["other_photos"]  # a worker from before an update may still run
    lines = report.summarise_result(make_result(unknown)).splitlines()
    assert lines[0] == "Others' photos of this person no longer lead to this one: not measured."
    assert lines[1] == "Face 1: 1 of 1 recognisers no longer match it with this same photo."
    assert lines[2].startswith("a, which the search did not use: this same photo no longer matched")
    assert lines[3:] == [report.get_disclaimer()]
    assert report.describe_other_photos(unknown) == "not measured"


def test_the_effect_of_more_strength_is_one_line_if_it_is_known_and_somebody_may_still_match() -> None:
    (line,) = [
        line
        for line in report.summarise_result(make_result(MAY_MATCH, stronger=STRONGER)).splitlines()
        if "Strength" in line
    ]
    assert all(figure in line for figure in ("Strength 0.75 ", " 78 % ", " 0.5 ", " 65 % "))
    for result in (make_result(LOST, stronger=STRONGER), make_result(MAY_MATCH, stronger=None), make_result(MAY_MATCH)):
        assert "Strength" not in report.summarise_result(result)


def test_a_text_report_has_both_verdicts_of_every_recogniser() -> None:
    lines = report.make_text_report("me", make_result(LOST, MAY_MATCH)).splitlines()
    assert "  a: other photos no longer matched, this same photo still matched (0.41, threshold 0.37)" in lines
    assert "  b: other photos may still be matched, this same photo still matched (0.41, threshold 0.37)" in lines
    assert lines.count(report.explain_verdicts([{"similarities": [LOST]}])[0]) == 1


def test_a_text_report_has_the_verdict_of_the_meter_above_its_figures() -> None:
    upload = {"quality": 75, "width": 1080, "faces": make_result(MAY_MATCH)["faces"]}
    lines = report.make_text_report("me", make_result(LOST) | {"upload": upload}).splitlines()
    answers = [line.rsplit(": ", 1)[1] for line in lines if line.startswith(report.get_question())]
    assert answers == ["likely.", "no."] and lines[2].startswith(report.get_question())


def test_a_report_that_cannot_be_written_is_an_error_with_a_code(tmp_path: Path) -> None:
    with raising(Refused, "report-not-written", path=str(tmp_path / "missing" / "report.txt")):
        report.write_report(str(tmp_path / "missing" / "report.txt"), "words")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_has_an_error_of_its_own() -> None:
    with raising(Refused, "report-not-written", path="/dev/full", reason="No space left on device"):
        report.write_report("/dev/full", "words")


def test_on_windows_a_path_from_gimp_210_becomes_text(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str | bytes] = []
    monkeypatch.setattr(text_files, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(
        text_files, "io", SimpleNamespace(open=lambda path, *_, **__: opened.append(path) or io.StringIO())
    )
    report.write_report("C:/Jürgen/report.txt".encode(), "words")
    assert opened == ["C:/Jürgen/report.txt"]


def test_an_unexpected_error_goes_into_a_log(tmp_path: Path) -> None:
    try:
        raise KeyError("unheard")
    except KeyError as error:
        sentence = crash_report.report_crash("crashed-unchanged", error, str(tmp_path))
    log = tmp_path / crash_report.LOG
    assert sentence == Message("crashed-unchanged", error="KeyError", log=str(log)).text()
    assert "unheard" in log.read_text()


def test_the_workers_status_lists_missing_models() -> None:
    alone = Message("checkpoint-alone", file="a.pt", folder="/m", missing="encoder", endings=[".pt"])
    hello = {
        "version": "1",
        "device_name": None,
        "cores": 2,
        "models": {"present": ["a"], "missing": [{"name": "b", "size": 3_000_000, "can_be_fetched": True}]},
        "missing_priors": {"stylegan2": alone.described()},
    }
    text = service.describe(service.STATUS, {"hello": hello, "seconds_running": 60, "memory": 5e8, "log": "/log"})
    assert "500 MB" in text and "Missing: b (3 MB)." in text and text.endswith(alone.text())


def test_fetching_without_a_missing_model_answers_that_there_is_nothing_to_fetch() -> None:
    text = service.describe(service.FETCH, {"present": ["a", "b"], "missing": []})
    assert text == "There is nothing to fetch: the models are here."


def test_a_missing_model_of_the_installation_is_not_offered_for_fetching() -> None:
    missing = {"name": "b", "size": 3_000_000, "can_be_fetched": False}
    lines = service.describe(service.FETCH, {"present": ["a"], "missing": [missing]}).splitlines()
    assert lines == ["Missing: b (3 MB).", Message("installed-models-missing").text()]


def test_a_job_with_none_ahead_is_being_prepared() -> None:
    assert texts.describe_stage({"kind": "queued", "position": 0}) == "Preparing…"
    assert texts.describe_stage({"kind": "queued", "position": 1}) == "Waiting for 1 other job…"


def test_a_diagnosis_is_one_line_for_each_finding() -> None:
    assert service.describe(service.DIAGNOSE, {"b": [1], "a": "x"}) == "a: x\nb: [1]"


def test_a_job_reports_its_events_and_returns_its_result_or_raises_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    job, reported = Job.__new__(Job), []  # type: ignore[var-annotated]
    script = [Event("waiting"), Event("progress"), Event("result", {"said": 1})]
    monkeypatch.setattr(Job, "events", lambda _job, lazily: iter(script))
    assert job.result(reported.append).header == {"said": 1}
    assert [event.kind for event in reported] == ["waiting", "progress"]
    script[1:] = [Event("error", {"code": "of-a-later-version", "fields": {"x": 1}, "text": "It is full."})]
    with pytest.raises(WorkerProblem) as problem:
        job.result(reported.append)
    assert (problem.value.code, problem.value.fields) == ("of-a-later-version", {"x": 1})
    assert problem.value.message["text"] == "It is full."
