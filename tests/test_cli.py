"""The `c2p` command: options, targets, reports, and one sentence and one exit code for everything that goes wrong."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import types
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import c2p_core
from c2p_core import cli
from c2p_core.api import (
    CancelToken,
    Face,
    FaceReport,
    Progress,
    ProtectRequest,
    ProtectResult,
    RobustnessResult,
    Similarity,
    Stronger,
)
from c2p_core.errors import BadRequest, Cancelled, Message, ModelUnavailable, NoFace
from c2p_core.io import photo_files, report
from c2p_core.io.atomic_files import check_folder
from c2p_core.io.overlay import draw_faces
from c2p_core.io.source_type import ENHANCED, read_source_type
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.version import __version__
from tests.error_assertions import raising, sentence
from tests.fetchable import SIZE, bundle_with_fetchable

ROOT = Path(__file__).resolve().parent.parent
SEEN = Similarity("faceres", "faceres", False, 0.99, 0.20, 0.45, 0.60)
UNSEEN = Similarity("dlib", "dlib", True, 0.99, 0.31, 0.43, 0.55)
FACE = FaceReport(1, (10.0, 10.0, 60.0, 70.0), 52.0, similarities=(SEEN, UNSEEN), steps=60, seconds=9.0)
WARNING = Message("word-unknown", word="qwzx")
# The same with verdicts on other photos: one lost, one may match, one unknown.
LOST, MAY_MATCH = (replace(similarity, other_photos_up_to=0.25) for similarity in (SEEN, UNSEEN))
MATCHED_ELSEWHERE = replace(FACE, similarities=(LOST, MAY_MATCH, replace(SEEN, recogniser="other", after=0.70)))

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: exit code, stdout, stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ProtectRequest]:
    """Replaces the pipeline by one that darkens photos and finds no face in black ones; returns its requests."""
    received: list[ProtectRequest] = []

    def protect(request: ProtectRequest, *, progress: Any, cancel: Any, store: Any, warm: Any) -> ProtectResult:
        received.append(request)
        progress(Progress("detect"))
        cancel.raise_if_cancelled()
        if not request.photo.pixels.any():
            raise NoFace("no-face")
        progress(Progress("search", face=1, faces=1, step=1, steps=2))
        return ProtectResult(request.photo.with_pixels(request.photo.pixels // 2), (FACE,), (WARNING,))

    def check(
        original: Photo,
        protected: Photo,
        *,
        store: Any,
        device: str,
        robustness: bool,
        warnings: list[Message],
        recognisers: Any,
    ) -> tuple[FaceReport, ...]:
        assert recognisers == "auto"
        warnings.append(WARNING)
        return (
            replace(FACE, robustness=(RobustnessResult("JPEG 50", (replace(SEEN, after=0.50), UNSEEN)),) * robustness),
        )

    pipeline = types.ModuleType("c2p_core.pipeline")
    pipeline.__dict__.update(protect=protect)
    compare = types.ModuleType("c2p_core.compare")
    compare.__dict__.update(check=check)
    monkeypatch.setitem(sys.modules, "c2p_core.compare", compare)
    monkeypatch.setattr(c2p_core, "compare", compare, raising=False)
    monkeypatch.setitem(sys.modules, "c2p_core.pipeline", pipeline)
    monkeypatch.setattr(c2p_core, "pipeline", pipeline, raising=False)
    return received


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "me.png")


def fake_outcome(monkeypatch: pytest.MonkeyPatch, stronger: Stronger | None, face: FaceReport) -> None:
    """Lets the pipeline of ``requests`` return this outcome."""

    def protect(request: ProtectRequest, **_: Any) -> ProtectResult:
        return ProtectResult(request.photo, (face,), stronger=stronger)

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", protect)


def save(path: Path, value: int = 200) -> Path:
    Image.new("RGB", (64, 48), (value, value, value)).save(path)
    return path


def only_sentence(err: str) -> str:
    """The one line of stderr."""
    assert err.startswith("c2p: ") and err.endswith(".\n") and err.count("\n") == 1, err
    return err


# What works


@pytest.mark.usefixtures("requests")
def test_a_result_is_written_beside_its_photo_and_summarised(photo: Path, run: Run) -> None:
    before = photo.read_bytes()
    code, out, err = run("protect", photo)
    assert (code, err) == (0, "")
    assert photo_files.read(photo.with_name("me.protected.png")).pixels.max() == 100
    assert photo.read_bytes() == before
    assert f"  {report.describe_face_report(FACE)}\n  {WARNING}\n{report.NO_PROMISE}\n" in out


def test_every_option_reaches_the_request(
    photo: Path, tmp_path: Path, run: Run, requests: list[ProtectRequest]
) -> None:
    arguments = (
        "--prompt gothic --strength 0.3 --mode decoy --faces 3,1 --prior makeup --recognisers dlib-resnet,faceres"
    )
    further = (
        "--hold-out faceres --steps 7 --seed 5 --device cpu --no-keep-expression --lock nose --lock brows --lock nose"
    )
    assert run("protect", photo, "-o", tmp_path / "x.png", *arguments.split(), *further.split())[0] == 0
    request = requests[0]
    assert (request.prompt, request.strength, request.mode, request.faces) == ("gothic", 0.3, "decoy", (1, 3))
    assert (request.prior, request.recognisers, request.hold_out) == ("makeup", ("dlib-resnet", "faceres"), "faceres")
    assert (request.steps, request.seed, request.device, request.keep_expression) == (7, 5, "cpu", False)
    assert request.locks == ("brows", "nose")


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize(("arguments", "term"), [([], ENHANCED), (["--no-mark"], None)])
def test_a_result_says_how_it_was_edited_unless_told_otherwise_and_the_report_has_it(
    photo: Path, run: Run, arguments: list[str], term: str | None
) -> None:
    code, out, _ = run("protect", photo, "--json", *arguments)
    packet = photo_files.read(photo.with_name("me.protected.png")).xmp
    assert code == 0 and json.loads(out)["photos"][0]["digital_source_type"] == term
    assert (read_source_type(packet) if packet else None) == term


@pytest.mark.usefixtures("requests")
def test_sidecars_come_along_into_another_folder_only(photo: Path, tmp_path: Path, run: Run) -> None:
    sidecar = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    photo.with_name("me.png.xmp").write_bytes(sidecar)
    assert run("protect", photo, "--no-mark")[0] == 0
    code, out, _ = run("protect", photo, "--no-mark", "-o", f"{tmp_path / 'out'}/", "--json")
    copy = tmp_path / "out" / "me.protected.png.xmp"
    assert code == 0 and json.loads(out)["photos"][0]["sidecars"] == [str(copy)]
    assert sorted(tmp_path.rglob("*.xmp")) == sorted([photo.with_name("me.png.xmp"), copy])
    assert copy.read_bytes() == sidecar


@pytest.mark.parametrize(
    ("arguments", "keep"), [([], True), (["--keep-expression"], True), (["--no-keep-expression"], False)]
)
def test_the_expression_is_kept_unless_told_otherwise_and_the_report_says_so(
    photo: Path, run: Run, requests: list[ProtectRequest], arguments: list[str], keep: bool
) -> None:
    code, out, _ = run("protect", photo, "--json", *arguments)
    assert code == 0 and requests[0].keep_expression is keep
    assert json.loads(out)["photos"][0]["settings"]["keep_expression"] is keep


@pytest.mark.usefixtures("requests")
def test_with_json_only_the_report_is_printed_and_it_equals_the_file(photo: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("protect", photo, "--json", "--report", tmp_path / "r.json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    assert printed == json.loads((tmp_path / "r.json").read_text())
    assert printed["schema"] == report.SCHEMA and printed["statement"] == report.NO_PROMISE
    assert printed["photos"][0]["settings"]["seed"] == 0
    face = printed["photos"][0]["faces"][0]
    assert face["similarities"][1] == {
        "recogniser": "dlib",
        "family": "dlib",
        "held_out": True,
        "before": 0.99,
        "after": 0.31,
        "far1": 0.43,
        "far01": 0.55,
        "other_photos_up_to": None,
        "references": [],
        "verdict": "protected",
        "other_photos": None,
    }
    assert face["sentence"] == report.describe_face_report(FACE)
    assert printed["photos"][0]["stronger"] is None
    assert printed["photos"][0]["warnings"] == [WARNING.described()]


@pytest.mark.usefixtures("requests")
def test_a_name_that_stdout_has_no_letters_for_is_printed_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(page, encoding="cp1252", write_through=True))
    assert cli.main(["protect", str(save(tmp_path / "\u4e2d.png"))]) == 0
    assert b"\\u4e2d.png -> " in page.getvalue()


@pytest.mark.usefixtures("requests")
def test_several_photos_go_into_a_folder_that_is_made(photo: Path, tmp_path: Path, run: Run) -> None:
    other = save(tmp_path / "you.jpg")
    assert run("protect", photo, other, "-o", tmp_path / "out")[0] == 0
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["me.protected.png", "you.protected.jpg"]


@pytest.mark.usefixtures("requests")
def test_check_shows_thresholds_and_verdicts(photo: Path, run: Run) -> None:
    code, out, _ = run("check", photo, photo)
    assert code == 0
    assert all(text in out for text in ("FAR 1 %", "FAR 0.1 %", "0.430", "0.550", "lost", report.NO_PROMISE))
    (printed,) = json.loads(run("check", photo, photo, "--json")[1])["photos"]
    assert printed["faces"][0]["number"] == 1
    assert f"\n{WARNING}\n" in out and printed["warnings"] == [WARNING.described()]


@pytest.mark.usefixtures("requests")
def test_other_photos_come_first_in_the_output_of_a_run(
    photo: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_outcome(monkeypatch, Stronger(0.5, 0.651, 0.75, 0.784), MATCHED_ELSEWHERE)
    code, out, _ = run("protect", photo, "--report", tmp_path / "r.json")
    assert code == 0
    (face,) = json.loads((tmp_path / "r.json").read_text())["photos"][0]["faces"]
    rows = [(row["other_photos"], row["other_photos_up_to"], row["verdict"]) for row in face["similarities"]]
    assert rows == [("lost", 0.25, "protected"), ("may match", 0.25, "protected"), (None, None, "recognised")]
    assert face["sentence"] in out and report.OTHER_PHOTOS in out
    sentence = face["sentence"]
    assert (
        sentence.index("1 of 2")
        < sentence.index("other photos")
        < sentence.index("2 of 3")
        < sentence.index("this same photo")
    )


@pytest.mark.usefixtures("requests")
def test_the_gain_from_more_strength_is_one_line_if_it_is_known_and_somebody_may_match(
    photo: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stronger = Stronger(0.5, 0.651, 0.75, 0.784)
    fake_outcome(monkeypatch, stronger, MATCHED_ELSEWHERE)
    _, out, _ = run("protect", photo, "--report", tmp_path / "r.json")
    stronger_entry = json.loads((tmp_path / "r.json").read_text())["photos"][0]["stronger"]
    line = stronger_entry.pop("sentence")
    assert stronger_entry == asdict(stronger)
    assert all(figure in line for figure in ("Strength 0.75 ", " 78 % ", " 0.5 ", " 65 % "))
    assert f"\n  {line}\n" in out
    for known, face in ((None, MATCHED_ELSEWHERE), (stronger, replace(FACE, similarities=(LOST,)))):
        fake_outcome(monkeypatch, known, face)
        assert "Strength" not in run("protect", photo)[1]


@pytest.mark.usefixtures("requests")
def test_a_check_has_a_column_for_other_photos(photo: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["c2p_core.compare"], "check", lambda *_, **__: (MATCHED_ELSEWHERE,))
    lines = run("check", photo, photo)[1].splitlines()
    rows = [cells for line in lines if (cells := line.split())[:1] == ["1"]]
    assert rows[0] == ["1", "faceres", "0.200", "lost", "lost", "0.450", "0.600"]
    assert rows[1] == ["1", "dlib", "0.310", "may", "match", "lost", "0.430", "0.550"]
    assert rows[2] == ["1", "other", "0.700", "-", "matched", "0.450", "0.600"]
    assert report.OTHER_PHOTOS in lines


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize("option", ["--robustness", "--survival"])
def test_robustness_marks_recognisers_that_match_again_and_goes_into_the_report(
    photo: Path, run: Run, option: str
) -> None:
    _, out, _ = run("check", photo, photo, option)
    assert "JPEG 50" in out and "0.500*" in out and "1 of 2" in out
    face = json.loads(run("check", photo, photo, "--robustness", "--json")[1])["photos"][0]["faces"][0]
    assert face["robustness"][0]["similarities"][0]["after"] == 0.5
    assert "JPEG 50" not in run("check", photo, photo)[1]


@pytest.mark.usefixtures("requests")
def test_a_plot_is_written_and_never_over_a_photo(photo: Path, tmp_path: Path, run: Run) -> None:
    assert run("check", photo, photo, "--plot", tmp_path / "page.png")[0] == 0
    assert Image.open(tmp_path / "page.png").width == 1400
    before = photo.read_bytes()
    code, _, err = run("check", photo, photo, "--plot", photo)
    assert code == 2 and sentence("input-overwritten", path=photo).search(err)
    assert photo.read_bytes() == before


def test_models_list_names_licence_source_and_hash(run: Run) -> None:
    code, out, _ = run("models", "list")
    assert code == 0 and "dlib-resnet" in out and "CC0-1.0" in out
    rows = json.loads(run("models", "list", "--json")[1])
    assert {"name", "role", "licence", "size", "source", "present", "files"} <= set(rows[0])


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models", "list"]])
def test_commands_that_compute_nothing_do_not_wait_for_slow_imports(arguments: list[str]) -> None:
    slow = {"torch", "scipy", "skimage", "PIL", "requests", "http.client", "open_clip", "psutil"}
    call = f"cli.main({arguments}); sys.exit(', '.join({slow} & set(sys.modules)) or 0)"
    code = f"import sys; from c2p_core import cli; {call}"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_version_is_the_one_of_the_package(run: Run) -> None:
    assert run("--version") == (0, f"c2p {__version__}\n", "")


def test_libraries_cannot_write_to_stderr(tmp_path: Path) -> None:
    noise = "import os, warnings; os.write(2, b'INFO: noise'); warnings.warn('noise')"
    code = f"import sys; from c2p_core import cli; cli.plan_targets = lambda *a: exec({noise!r})"
    call = f"sys.exit(cli.main(['protect', {str(tmp_path / 'nothing.png')!r}]))"
    run = subprocess.run([sys.executable, "-c", f"{code}; {call}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and "noise" not in only_sentence(run.stderr)


def screen(output: str) -> list[str]:
    """What a terminal shows in the end: the cursor goes up and back, and lines are erased."""
    lines, row, column = [""], 0, 0
    for up, erase, control, text in re.findall(
        r"\x1b\[(\d+)A|\x1b\[(2K)|\x1b\[[^a-zA-Z]*[a-zA-Z]|([\r\n])|([^\x1b\r\n]+)", output
    ):
        if up:
            row -= int(up)
        elif erase:
            lines[row] = ""
        elif control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return [line for line in lines if line]


def read_to_the_end(terminal: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # that is how a pseudo-terminal ends on Linux
        while part := os.read(terminal, 4096):
            parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.usefixtures("requests")
def test_on_a_terminal_bars_erase_neither_verdicts_nor_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pty

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    names = [save(Path("black.png"), 0).name, save(Path("[b]me.png")).name]
    outside, inside = pty.openpty()
    with ThreadPoolExecutor() as pool:
        printed = pool.submit(read_to_the_end, outside)
        with os.fdopen(inside, "w") as terminal, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            patched.setattr(sys, "stderr", terminal)
            assert cli.main(["protect", *names]) == cli.SOME_FAILED
    os.close(outside)
    assert screen(printed.result()) == [
        f"c2p: {Message('no-face')}",
        "[b]me.png -> [b]me.protected.png",
        f"  {report.describe_face_report(FACE)}",
        f"  {WARNING}",
        report.NO_PROMISE,
        "c2p: 1 of 2 photos failed: 'black.png'.",
    ]
    assert "[b]me.png: searching" in re.sub(r"\x1b\[[\d;]*m", "", printed.result())


# Sentences about faces


def test_a_skipped_face_gives_its_reason() -> None:
    skipped = FaceReport(2, (0, 0, 9, 9), 12.0, skipped=Message("face-not-chosen"))
    assert report.describe_face_report(skipped) == "Face 2 was skipped: not chosen."


def test_without_a_held_out_recogniser_there_is_no_unbiased_figure() -> None:
    face = FaceReport(1, (0, 0, 9, 9), 50.0, similarities=(SEEN,))
    assert "no independent figure" in report.describe_face_report(face)


def test_the_most_similar_recogniser_of_a_check_is_one_that_may_still_match_other_photos() -> None:
    close = replace(LOST, recogniser="close", held_out=True, after=0.24, far1=0.20)
    face = replace(FACE, similarities=(close, replace(MAY_MATCH, recogniser="far")))
    assert " far: " in report.describe_face_report(face) and " close: " not in report.describe_face_report(face)


def test_a_held_out_recogniser_is_named_with_both_verdicts() -> None:
    text = report.describe_face_report(MATCHED_ELSEWHERE)
    assert "dlib: other photos may still be matched, this same photo no longer matched" in text
    assert "similarity 0.31, threshold 0.43" in text


def test_a_face_between_the_thresholds_does_not_count_as_lost() -> None:
    between = Similarity("dlib", "dlib", True, 0.99, 0.50, 0.43, 0.55)
    face = FaceReport(1, (0, 0, 9, 9), 50.0, similarities=(SEEN, between))
    assert "1 of 2 recognisers" in report.describe_face_report(face)


# Bad options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strength", "7"], sentence("strength-out-of-range", value=7)),
        (["--strength", "-0.1"], sentence("strength-out-of-range", value=-0.1)),
        (["--strength", "nan"], sentence("strength-out-of-range", low=0, high=1)),
        (["--strength", "much"], re.compile("--strength")),
        (["--mode", "hide"], re.compile("'hide'")),
        (["--lock", "nose", "--lock", "ears"], re.compile("'ears'")),
        (["--faces", "biggest"], sentence("faces-not-named", value="biggest")),
        (["--faces", "0"], sentence("faces-not-named", value="0")),
        (["--faces", ""], sentence("faces-not-named", value="")),
        (["--steps", "0"], re.compile("--steps")),
        (["--device", "tpu"], re.compile("'tpu'")),
        (["--recognisers", "dlib-resnet,nobody"], sentence("recogniser-unknown", name="nobody")),
        (["--hold-out", "nobody"], sentence("hold-out-unknown", name="nobody")),
        (["--nonsense"], re.compile("--nonsense")),
        (["-o", "x.gif"], sentence("ending-unknown", name="x.gif")),
        (["-o", "x"], sentence("ending-unknown", name="x")),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_done(
    photo: Path, run: Run, requests: list[ProtectRequest], arguments: list[str], expected: re.Pattern[str]
) -> None:
    code, out, err = run("protect", photo, *arguments)
    assert (code, out, requests) == (2, "", [])
    assert expected.search(only_sentence(err))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strength", "7"], sentence("strength-out-of-range", value=7)),
        (["--steps", "20000"], sentence("steps-out-of-range", value=20000)),
        (["--seed", "-1"], sentence("seed-out-of-range", value=-1)),
        (["--reference", "me.png"] * 11, sentence("references-too-many", count=11)),
        (["--seed", "2147483648"], sentence("seed-out-of-range", high=2147483647)),
        (["--prompt", "red " * 100], sentence("prompt-too-long", limit=300)),
        (["--prior", "nonsense"], sentence("prior-unknown", prior="nonsense")),
        (["--free-noise"], sentence("prior-without-noise")),
        (["--device", "cuda"], sentence("cuda-missing")),
        (["--recognisers", "faceres,mobileface", "--hold-out", "dlib"], sentence("hold-out-unknown", name="dlib")),
    ],
)
def test_a_bad_option_is_reported_once_for_all_photos_and_before_any_is_read(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: re.Pattern[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = run("protect", tmp_path / "nothing.png", tmp_path / "nowhere.png", *arguments)
    assert (code, out) == (2, "") and expected.search(only_sentence(err))


def test_a_missing_argument_is_one_sentence(run: Run) -> None:
    code, _, err = run("protect")
    assert code == 2 and "IN" in only_sentence(err)


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_the_original_is_never_overwritten(
    photo: Path, run: Run, requests: list[ProtectRequest], option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    (photo.parent / "sub").mkdir()
    before = photo.read_bytes()
    code, _, err = run("protect", photo, option, "sub/../me.png")
    assert (code, requests) == (2, []) and sentence("input-overwritten").search(only_sentence(err))
    assert photo.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_to_the_original_is_not_overwritten_either(photo: Path, run: Run) -> None:
    (photo.parent / "link.png").hardlink_to(photo)
    code, _, err = run("protect", photo, "-o", photo.parent / "link.png")
    assert code == 2 and sentence("input-overwritten").search(only_sentence(err))


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_reference_is_never_overwritten(photo: Path, tmp_path: Path, run: Run, option: str) -> None:
    reference = save(tmp_path / "you.png")
    before = reference.read_bytes()
    code, _, err = run("protect", photo, "--reference", reference, "--overwrite", option, reference)
    assert code == 2 and sentence("input-overwritten", path=reference).search(only_sentence(err))
    assert reference.read_bytes() == before


def test_several_photos_need_a_folder(photo: Path, tmp_path: Path, run: Run) -> None:
    other = save(tmp_path / "you.png")
    for target, expected in ((tmp_path / "x.png", "output-names-file"), (other, "output-is-file")):
        code, _, err = run("protect", photo, other, "-o", target)
        assert code == 2 and sentence(expected, path=target).search(only_sentence(err))


def test_two_photos_with_the_same_name_do_not_overwrite_each_other(photo: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "b").mkdir()
    other = save(tmp_path / "b" / "me.png")
    code, _, err = run("protect", photo, other, "-o", tmp_path / "out")
    assert code == 2 and sentence("outputs-collide").search(only_sentence(err))


@pytest.mark.parametrize("other", ["ME.png", "me.PNG"])
def test_names_that_differ_in_case_only_count_as_one(photo: Path, tmp_path: Path, run: Run, other: str) -> None:
    (tmp_path / "b").mkdir()
    code, _, err = run("protect", photo, save(tmp_path / "b" / other), "-o", tmp_path / "out")
    assert code == 2 and sentence("outputs-collide").search(only_sentence(err))


def test_names_that_differ_in_how_accents_are_composed_count_as_one(tmp_path: Path) -> None:
    with raising(BadRequest, "outputs-collide"):
        cli.plan_targets([tmp_path / "a" / "Zoe\u0308.png", tmp_path / "b" / "Zo\u00eb.png"], str(tmp_path / "out"))


@pytest.mark.usefixtures("requests")
def test_an_earlier_result_stays_and_the_new_one_gets_a_number(photo: Path, run: Run) -> None:
    for _ in range(3):
        assert run("protect", photo)[0] == 0
    edited = photo.with_name("me.protected.png")
    edited.write_bytes(b"edited by hand")
    code, out, _ = run("protect", photo)
    assert code == 0 and f"{photo} -> {photo.with_name('me.protected-4.png')}" in out
    assert edited.read_bytes() == b"edited by hand"
    assert {path.name for path in photo.parent.glob("*.png")} == {
        "me.png",
        "me.protected.png",
        *(f"me.protected-{number}.png" for number in (2, 3, 4)),
    }


def test_a_file_named_by_the_user_is_replaced_only_with_overwrite(
    photo: Path, tmp_path: Path, run: Run, requests: list[ProtectRequest]
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"edited by hand")
    code, _, err = run("protect", photo, "-o", target)
    assert (code, requests) == (2, []) and sentence("result-exists", path=target).search(only_sentence(err))
    assert target.read_bytes() == b"edited by hand"
    assert run("protect", photo, "-o", target, "--overwrite")[0] == 0
    assert photo_files.read(target).pixels.max() == 100


@pytest.mark.usefixtures("requests")
def test_a_file_that_appears_during_the_search_stays(photo: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    target = photo.with_name("me.protected.png")

    def protect(request: ProtectRequest, **_: Any) -> ProtectResult:
        target.write_bytes(b"somebody else's")
        return ProtectResult(request.photo, (FACE,))

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", protect)
    code, out, _ = run("protect", photo)
    assert code == 0 and "me.protected-2.png" in out and target.read_bytes() == b"somebody else's"


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
@pytest.mark.usefixtures("requests")
def test_a_result_named_by_a_link_is_written_to_the_links_target(photo: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "far" / "out.png")
    assert run("protect", photo, "-o", link)[0] == 0
    assert link.is_symlink() and photo_files.read(tmp_path / "far" / "out.png").pixels.max() == 100


@pytest.mark.skipif(sys.platform == "win32", reason="names are counted in bytes elsewhere")
@pytest.mark.parametrize("stem", ["x" * 250, "\N{SMILING FACE WITH SMILING EYES}" * 60])
@pytest.mark.usefixtures("requests")
def test_a_photo_with_the_longest_possible_name_gets_a_result_and_stops_no_batch(
    tmp_path: Path, run: Run, stem: str
) -> None:
    long, short = save(tmp_path / f"{stem}.png"), save(tmp_path / "short.png")
    code, _, err = run("protect", long, short)
    assert (code, err) == (0, "")
    names = [path.name for path in tmp_path.glob("*.protected.png")]
    assert len(names) == 2 and max(len(os.fsencode(name)) for name in names) <= 255
    assert run("protect", long)[0] == 0  # with a number, which also has to fit


def test_a_result_name_that_is_too_long_is_reported_in_one_sentence(photo: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("protect", photo, "-o", tmp_path / f"{'x' * 300}.png")
    assert code == 5 and sentence("not-written", why=Message("name-too-long")).search(only_sentence(err))


@pytest.mark.usefixtures("requests")
def test_metadata_missing_from_a_result_are_reported(photo: Path, tmp_path: Path, run: Run) -> None:
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "me.jpg", comment=b"by Ann")
    code, out, _ = run("protect", tmp_path / "me.jpg", "-o", tmp_path / "out.tif")
    assert code == 0 and str(Message("parts-not-kept", parts=[Message("part-comments")])) in out


@pytest.mark.usefixtures("requests")
def test_personal_metadata_are_removed_on_request(tmp_path: Path, run: Run) -> None:
    exif = Image.Exif()
    exif[0x13B], exif[0x110] = "Ann", "Camera"
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "me.jpg", exif=exif)
    assert run("protect", tmp_path / "me.jpg", "--strip-personal")[0] == 0
    with Image.open(tmp_path / "me.protected.jpg") as result:
        assert dict(result.getexif()) == {0x110: "Camera"}


def test_errors_of_the_pipeline_are_reported_with_their_exit_codes(
    photo: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = ModelUnavailable("model-damaged", name="x", path="y")
    for error, code in ((BadRequest("recogniser-unknown", name="x", known=[]), 2), (damaged, 6)):

        def refuse(request: ProtectRequest, error: Exception = error, **rest: Any) -> ProtectResult:
            raise error

        monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", refuse)
        exit_code, _, err = run("protect", photo)
        assert exit_code == code and str(error) in only_sentence(err)


# Bad files, through every command that reads one


def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def bomb() -> bytes:
    data = bytearray(picture("PNG"))
    data[16:24] = struct.pack(">LL", 50000, 50000)
    data[29:33] = struct.pack(">L", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "image-empty"),
    "text": (b"no picture", "image-format-unknown"),
    "cut": (picture("JPEG")[:-500], "image-damaged"),
    "bomb": (bomb(), "image-too-large"),
    "cmyk": (picture("JPEG", "CMYK"), "image-colours-unsupported"),
    "animated": (picture("WEBP", save_all=True, append_images=[Image.new("RGB", (64, 48))]), "image-animated"),
    "pages": (picture("TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48))]), "image-of-several-pages"),
}


@pytest.mark.parametrize("command", ["protect", "check", "faces"])
@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.usefixtures("requests")
def test_a_bad_file_is_reported_in_one_sentence_with_exit_code_3(
    tmp_path: Path, run: Run, command: str, case: str
) -> None:
    data, expected = BAD_FILES[case]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(data)
    code, out, err = run(command, bad, *([bad] if command == "check" else []))
    assert (code, out) == (3, "") and sentence(expected, path=bad).search(only_sentence(err))
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.jpg"] and bad.read_bytes() == data


@pytest.mark.parametrize(("name", "expected"), [("nothing.png", "image-missing"), ("folder.png", "image-is-folder")])
@pytest.mark.usefixtures("requests")
def test_missing_files_and_folders_have_an_exit_code_and_one_sentence(
    tmp_path: Path, run: Run, name: str, expected: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    code, _, err = run("protect", tmp_path / name)
    assert code == 3 and sentence(expected, path=tmp_path / name).search(only_sentence(err))


@pytest.mark.usefixtures("requests")
def test_a_photo_of_one_pixel_is_refused(tmp_path: Path, run: Run) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    code, _, err = run("protect", tmp_path / "dot.png")
    assert code == 3 and sentence("image-too-small", width=1, height=1).search(only_sentence(err))


@pytest.mark.usefixtures("requests")
def test_a_photo_without_a_face_ends_with_exit_code_4_and_writes_nothing(tmp_path: Path, run: Run) -> None:
    code, _, err = run("protect", save(tmp_path / "black.png", 0))
    assert code == 4 and sentence("no-face").search(only_sentence(err))
    assert [entry.name for entry in tmp_path.iterdir()] == ["black.png"]


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, "no-space"), (errno.EROFS, "no-permission")])
@pytest.mark.usefixtures("requests")
def test_a_failed_write_ends_with_exit_code_5_and_leaves_nothing(
    photo: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def fail(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = run("protect", photo)
    assert code == 5 and sentence("not-written", why=Message(expected)).search(only_sentence(err))
    assert [entry.name for entry in photo.parent.iterdir()] == ["me.png"]


@pytest.mark.usefixtures("requests")
def test_one_bad_file_does_not_stop_a_batch(photo: Path, tmp_path: Path, run: Run) -> None:
    bad, last = tmp_path / "bad.png", save(tmp_path / "last.png")
    bad.write_bytes(b"")
    code, _, err = run("protect", photo, bad, last, "-o", tmp_path / "out", "--report", tmp_path / "r.json")
    assert code == cli.SOME_FAILED
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["last.protected.png", "me.protected.png"]
    assert sentence("image-empty", path=bad).search(err.splitlines()[0])
    assert err.splitlines()[-1] == f"c2p: 1 of 3 photos failed: '{bad}'."
    entries = json.loads((tmp_path / "r.json").read_text())["photos"]
    assert [entry.get("exit_code") for entry in entries] == [None, 3, None]
    assert entries[1]["error"] == Message("image-empty", path=str(bad)).described()


class Broken(io.StringIO):
    """A stream that can't be written to."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, text: str) -> int:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("error", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EAGAIN, None])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.usefixtures("requests")
def test_unprintable_output_does_not_stop_a_batch(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: int | None
) -> None:
    stream = None if error is None else Broken(error)
    monkeypatch.setattr(sys, name, stream)
    black, last = save(tmp_path / "black.png", 0), save(tmp_path / "last.png")
    arguments = [
        "protect",
        *map(str, (photo, black, last)),
        "-o",
        str(tmp_path / "out"),
        "--report",
        str(tmp_path / "r.json"),
    ]
    assert cli.main(arguments) == cli.SOME_FAILED
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["last.protected.png", "me.protected.png"]
    assert [entry.get("exit_code") for entry in json.loads((tmp_path / "r.json").read_text())["photos"]] == [
        None,
        4,
        None,
    ]
    assert getattr(sys, name) is stream


@pytest.mark.parametrize(("error", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, 5), (errno.EIO, 5)])
@pytest.mark.usefixtures("requests")
def test_a_report_that_cannot_be_printed_is_an_error_unless_its_reader_has_exited(
    photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: int, code: int
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    assert cli.main(["protect", str(photo), "--json"]) == code
    lost = capsys.readouterr().err
    assert sentence("output-lost", reason=os.strerror(error)).search(only_sentence(lost)) if code else lost == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
@pytest.mark.usefixtures("requests")
def test_a_report_is_written_to_a_pipe_without_replacing_it(photo: Path, tmp_path: Path, run: Run) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    with ThreadPoolExecutor() as pool:
        for name in ("pipe", "link"):
            read = pool.submit(pipe.read_bytes)
            assert run("protect", photo, "--report", tmp_path / name)[0] == 0
            assert len(json.loads(read.result())["photos"]) == 1
    assert pipe.is_fifo() and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/dev/stderr", "/proc/self/fd/2"])
@pytest.mark.skipif(sys.platform == "win32", reason="has no such names")
@pytest.mark.usefixtures("requests")
def test_a_report_to_a_standard_stream_is_printed_there(photo: Path, run: Run, name: str) -> None:
    code, out, err = run("protect", photo, "--report", name)
    printed = err if "err" in name or name.endswith("2") else out
    start = printed.index("{")
    assert code == 0 and json.JSONDecoder().raw_decode(printed[start:])[0]["schema"] == report.SCHEMA


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="has no such names")
@pytest.mark.usefixtures("requests")
def test_a_report_to_a_descriptor_follows_what_is_already_in_its_file(photo: Path, tmp_path: Path, run: Run) -> None:
    with (tmp_path / "log").open("w") as log:
        log.write("before\n")
        log.flush()
        assert run("protect", photo, "--report", f"/dev/fd/{log.fileno()}")[0] == 0
        log.write("after\n")
    text = (tmp_path / "log").read_text()
    assert text.startswith("before\n{") and text.endswith("}\nafter\n")


def test_a_report_is_written_to_a_device_even_if_its_folder_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "/dev" and writable(path, mode))
    check_folder(Path(os.devnull))


def test_fetching_all_models_fetches_a_damaged_one_too(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_with_fetchable(tmp_path / "bundle", "one", "two")
    monkeypatch.setattr("c2p_core.models.store.bundle_dir", lambda: bundle)
    monkeypatch.setenv("C2P_MODELS", str(tmp_path))
    fetched: list[str] = []
    monkeypatch.setattr(ModelStore, "fetch", lambda self, name, progress: fetched.append(name))
    (tmp_path / "two").mkdir()
    (tmp_path / "two/two.bin").write_bytes(bytes(SIZE))
    code, out, _ = run("models", "fetch", "--accept-licences")
    assert code == 0 and fetched == ["one", "two"] and "nothing to fetch" not in out


@pytest.mark.parametrize("names", [[], ["faceres", "clip-mini"]])
def test_fetching_says_so_if_all_models_came_with_the_installation(run: Run, names: list[str]) -> None:
    assert run("--offline", "models", "fetch", *names) == (0, "There is nothing to fetch: the models are here.\n", "")


def test_a_missing_model_stops_a_batch_at_once(
    photo: Path, tmp_path: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(request: ProtectRequest, **rest: Any) -> ProtectResult:
        calls.append(request)
        raise ModelUnavailable("model-missing", name="x", source="y")

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", refuse)
    code, _, err = run("protect", photo, save(tmp_path / "you.png"), "-o", tmp_path / "out")
    assert code == 6 and len(calls) == 1
    assert sentence("model-missing", name="x").search(only_sentence(err))


def test_an_unexpected_error_is_one_sentence(
    photo: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(request: ProtectRequest, **rest: Any) -> ProtectResult:
        raise RuntimeError("of two\nlines")

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", break_down)
    code, _, err = run("protect", photo)
    assert code == 1 and sentence("unexpected-error", error="RuntimeError: of two").search(only_sentence(err))


# Torch's message instead of a MemoryError.
ALLOCATION = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory:"


def with_cause(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), Message("memory-full-for-photo")),
        (RuntimeError(f"{ALLOCATION} you tried to allocate 12 bytes."), Message("memory-full-for-photo")),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Message("memory-full-for-photo")),
        (RuntimeError("could not create a primitive"), Message("memory-full-for-photo")),
        (with_cause(BadRequest("no-space"), RuntimeError(ALLOCATION)), Message("memory-full-for-photo")),
        (RuntimeError("odd"), Message("unexpected-error", error="RuntimeError: odd")),
    ],
)
def test_an_unexpected_error_in_one_photo_does_not_stop_a_batch(
    photo: Path,
    tmp_path: Path,
    run: Run,
    requests: list[ProtectRequest],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: Message,
) -> None:
    original = sys.modules["c2p_core.pipeline"].__dict__["protect"]

    def fails_on_grey(request: ProtectRequest, **rest: Any) -> ProtectResult:
        if request.photo.pixels.max() == 50:
            raise error
        return original(request, **rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", fails_on_grey)
    large, last = save(tmp_path / "large.png", 50), save(tmp_path / "last.png")
    code, _, err = run("protect", photo, large, last, "-o", tmp_path / "out", "--report", tmp_path / "r.json")
    assert code == cli.SOME_FAILED and err.splitlines()[0] == f"c2p: {message}"
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["last.protected.png", "me.protected.png"]
    entries = json.loads((tmp_path / "r.json").read_text())["photos"]
    assert [entry.get("exit_code") for entry in entries] == [None, 1, None]
    assert entries[1]["error"] == message.described()


FailAtTheSecond = Callable[[BaseException | type[BaseException]], None]


@pytest.fixture
def fail_at_the_second(requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch) -> FailAtTheSecond:
    """Lets the first photo of a batch pass, and raises an error at the second."""
    pipeline = sys.modules["c2p_core.pipeline"]
    original = pipeline.__dict__["protect"]

    def fail(error: BaseException | type[BaseException]) -> None:
        def protect(request: ProtectRequest, **rest: Any) -> ProtectResult:
            if requests:
                raise error
            return original(request, **rest)  # type: ignore[no-any-return]

        monkeypatch.setattr(pipeline, "protect", protect)

    return fail


def test_a_stopped_batch_leaves_a_report_of_what_was_done(
    photo: Path, tmp_path: Path, run: Run, fail_at_the_second: FailAtTheSecond
) -> None:
    fail_at_the_second(ModelUnavailable("model-missing", name="x", source="y"))
    code, _, _ = run(
        "protect", photo, save(tmp_path / "you.png"), "-o", tmp_path / "out", "--report", tmp_path / "r.json"
    )
    assert code == 6
    assert len(json.loads((tmp_path / "r.json").read_text())["photos"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [["protect", "-o", "missing/out.jpg"], ["protect", "--report", "missing/r.json"], ["protect", "--report", "."]],
)
def test_an_unwritable_target_is_refused_before_the_search(
    photo: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(photo.parent)
    code, out, err = run(*arguments, photo)
    assert (code, out, requests) == (5, "", []) and sentence("not-written").search(only_sentence(err))


@pytest.mark.parametrize(
    ("arguments", "protected", "expected"),
    [
        (["--overwrite"], "me.protected.png", "not-written"),
        (["-o", "out"], "out", "folder-unusable"),
        (["-o", "out", "--overwrite"], "out/me.protected.png", "not-written"),
    ],
)
def test_a_read_only_target_is_noticed_before_the_search(
    photo: Path,
    run: Run,
    requests: list[ProtectRequest],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    protected: str,
    expected: str,
) -> None:
    monkeypatch.chdir(photo.parent)
    Path("out").mkdir()
    for name in ("me.protected.png", "out/me.protected.png"):
        save(Path(name))
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != Path(protected))
    code, out, err = run("protect", "me.png", *arguments)
    assert (code, out, requests) == (5, "", [])
    assert sentence(expected, path=protected).search(only_sentence(err))


# Stopping


ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def raise_signal(number: int, cancel: CancelToken) -> None:
    """Sends this process a signal and waits until it has cancelled ``cancel``."""
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + 5
    while not cancel.cancelled and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_cancels_through_the_token_and_leaves_nothing(
    photo: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def interrupted(request: ProtectRequest, *, cancel: Any, **rest: Any) -> ProtectResult:
        raise_signal(number, cancel)
        cancel.raise_if_cancelled()
        raise AssertionError("not cancelled")

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", interrupted)
    before = signal.getsignal(number)
    code, _, err = run("protect", photo, "--report", photo.with_name("r.json"))
    assert code == 128 + number and "Stopped; nothing was changed" in only_sentence(err)
    assert [entry.name for entry in photo.parent.iterdir()] == ["me.png"]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_in_a_batch_leaves_a_report_of_what_was_done(
    photo: Path, tmp_path: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original = sys.modules["c2p_core.pipeline"].__dict__["protect"]

    def protect(request: ProtectRequest, *, cancel: Any, **rest: Any) -> ProtectResult:
        if requests:
            raise_signal(number, cancel)
        return original(request, cancel=cancel, **rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", protect)
    arguments = ("-o", tmp_path / "out", "--report", tmp_path / "r.json")
    code, _, err = run("protect", photo, save(tmp_path / "you.png"), *arguments)
    assert code == 128 + number and "1 of 2 photos were done" in only_sentence(err)
    assert [entry["photo"] for entry in json.loads((tmp_path / "r.json").read_text())["photos"]] == [str(photo)]


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(
    photo: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As with nohup, and with commands that a script starts with `&`."""
    original = sys.modules["c2p_core.pipeline"].__dict__["protect"]

    def protect(request: ProtectRequest, **rest: Any) -> ProtectResult:
        os.kill(os.getpid(), number)
        return original(request, **rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", protect)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert run("protect", photo)[0] == 0
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_every_other_command_with_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(ModelStore, "verify", lambda self, name: os.kill(os.getpid(), number))
    code, out, err = run("models", "verify", "faceres")
    assert (code, out) == (128 + number, "") and "Stopped" in only_sentence(err)


def test_stopping_a_batch_says_how_far_it_got(
    photo: Path, tmp_path: Path, run: Run, fail_at_the_second: FailAtTheSecond
) -> None:
    fail_at_the_second(Cancelled("cancelled"))
    code, _, err = run("protect", photo, save(tmp_path / "you.png"), "-o", tmp_path / "out")
    assert code == 130 and "1 of 2 photos were done" in only_sentence(err)


def test_a_photo_that_failed_is_not_counted_as_done(
    photo: Path, tmp_path: Path, run: Run, requests: list[ProtectRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(request: ProtectRequest, **rest: Any) -> ProtectResult:
        raise Cancelled("cancelled")

    monkeypatch.setattr(sys.modules["c2p_core.pipeline"], "protect", stopped)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    code, _, err = run("protect", bad, photo, "-o", tmp_path / "out")
    assert code == 130 and "0 of 2 photos were done" in err


def test_a_second_ctrl_c_does_not_claim_that_nothing_was_changed(
    photo: Path, tmp_path: Path, run: Run, fail_at_the_second: FailAtTheSecond
) -> None:
    fail_at_the_second(KeyboardInterrupt)
    code, _, err = run("protect", photo, save(tmp_path / "you.png"), "-o", tmp_path / "out")
    assert code == 130 and "1 of 2 photos were done" in only_sentence(err)


# The overlay


def test_the_overlay_marks_faces_and_skipped_ones_in_two_colours() -> None:
    mesh = np.full((468, 2), 30, np.float32)
    detected = Face(1, (10, 30, 40, 70), 1.0, mesh, 50.0)
    small = Face(
        2,
        (60, 30, 80, 60),
        1.0,
        np.zeros((0, 2), np.float32),
        12.0,
        skipped=Message("eyes-too-close", distance=12, least=40),
    )
    drawn = draw_faces(Photo(np.zeros((100, 100, 3), np.uint16)), (detected, small)).pixels
    assert drawn.dtype == np.uint8 and drawn.shape == (100, 100, 3)
    assert tuple(drawn[50, 10]) != tuple(drawn[50, 60]) != (0, 0, 0)
