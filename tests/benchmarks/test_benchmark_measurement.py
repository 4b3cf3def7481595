"""The harness does not flatter: its results for methods with a known outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from synthetic import THRESHOLDS, face, photo

from benchmarks.data import RunFolders
from benchmarks.errors import BadRecogniser
from benchmarks.metrics.psr import FAR1, compute_escapes, held_out_rate
from benchmarks.recognisers import load_extra_recogniser
from benchmarks.rows import NO_FAMILY, ProtectRow, Setting
from benchmarks.suites import measurement
from benchmarks.suites.measurement import Task
from c2p_core.api import Face, Similarity
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from tests.error_assertions import raising
from tests.toy_recogniser_files import install_toy


def task(folder: Path, picture: np.ndarray, method: str, missing: tuple[str, ...] = ("protect", "natural")) -> Task:
    source = folder / "a.png"
    Image.fromarray(picture).save(source)
    setting = Setting("a", method, 0.7, NO_FAMILY, "", "", None, 0)
    return Task(source, setting, frozenset(missing), RunFolders(folder, folder / "pictures"), "abc")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", offline=True)


@pytest.fixture
def drawn_face_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that finds the drawn face if its eyes are visible, and recognisers that compare pixels."""

    def find(picture: Photo, _store: object) -> tuple[Face, ...]:
        return (face(),) if picture.pixels[100:200, 60:260].any() else ()

    def compare(before: Photo, after: Photo, *_rest: object) -> tuple[Similarity, ...]:
        similarity = float(np.array_equal(before.pixels, after.pixels))
        return tuple(Similarity(n, f, True, 1.0, similarity, 0.4, 0.6) for n, f in THRESHOLDS.items())

    monkeypatch.setattr(measurement.faces, "find_faces", find)
    monkeypatch.setattr(measurement, "compare_faces", compare)
    monkeypatch.setattr(measurement, "load_every_recogniser", lambda _store: ())


def get_protection(task_rows: measurement.TaskRows) -> ProtectRow:
    assert task_rows.protect is not None
    return task_rows.protect


@pytest.mark.usefixtures("drawn_face_detector")
def test_a_method_that_does_nothing_scores_0_and_looks_perfect(tmp_path: Path, store: ModelStore) -> None:
    done = measurement.measure(task(tmp_path, photo(), "nothing"), store)
    rate = held_out_rate(compute_escapes([get_protection(done)])[FAR1])
    assert rate is not None
    assert rate.value == 0.0
    assert done.natural is not None
    assert done.natural.ssim == pytest.approx(1.0)
    assert done.natural.eye_shift == 0.0


@pytest.mark.usefixtures("drawn_face_detector")
def test_a_black_rectangle_leaves_no_face(tmp_path: Path, store: ModelStore) -> None:
    done = measurement.measure(task(tmp_path, photo(), "blackout"), store)
    assert not get_protection(done).face_after
    assert get_protection(done).scores == ()
    assert done.natural is not None
    assert done.natural.mesh_shift is None


@pytest.mark.usefixtures("drawn_face_detector")
def test_an_original_without_a_face_is_no_success(tmp_path: Path, store: ModelStore) -> None:
    done = measurement.measure(task(tmp_path, np.zeros((320, 320, 3), np.uint8), "nothing"), store)
    assert not get_protection(done).face_before
    assert done.natural is not None
    assert done.natural.patch_face is None


@pytest.mark.usefixtures("drawn_face_detector")
def test_naturalness_is_measured_on_the_stored_picture(tmp_path: Path, store: ModelStore) -> None:
    natural_task = task(tmp_path, photo(), "nothing", ("natural",))
    picture = natural_task.folders.pictures / natural_task.setting.picture
    picture.parent.mkdir(parents=True)
    Image.fromarray(photo() // 2).save(picture)
    done = measurement.measure(natural_task, store)
    assert done.protect is None
    assert done.natural is not None
    assert done.natural.psnr < 20


@pytest.mark.usefixtures("drawn_face_detector")
def test_a_face_elsewhere_is_not_taken_for_the_protected_one(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0, y0, x1, y1 = face().box
    other = Face(1, (x0 + 200, y0 + 200, x1 + 200, y1 + 200), 1.0, face().mesh + np.float32(200), 90.0)
    detections = iter([(face(),), (other,), (other, face())])
    monkeypatch.setattr(measurement.faces, "find_faces", lambda *_: next(detections))
    assert not get_protection(measurement.measure(task(tmp_path, photo(), "nothing"), store)).face_after
    assert get_protection(measurement.measure(task(tmp_path, photo(), "nothing"), store)).face_after


@pytest.mark.usefixtures("drawn_face_detector")
def test_a_recogniser_without_decoys_has_no_similarity_to_one(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All embed every face at (1, 0); only one has a decoy, at (0.6, 0.8)."""
    decoys = tmp_path / "decoys.safetensors"
    save_file({"faceres": torch.tensor([[0.6, 0.8]])}, decoys)
    recognisers = tuple(
        Recogniser(name, family, "MIT", 0.4, 0.6, 0.1, lambda images, mesh: torch.tensor([[1.0, 0.0]]))
        for name, family in THRESHOLDS.items()
    )
    monkeypatch.setattr(ModelStore, "obtain", lambda _store, _name: decoys)
    monkeypatch.setattr(measurement, "load_every_recogniser", lambda _store: recognisers)
    monkeypatch.setitem(measurement.METHODS, "decoy", measurement.METHODS["nothing"])
    row = get_protection(measurement.measure(task(tmp_path, photo(), "decoy", ("protect",)), store))
    expected = dict.fromkeys(THRESHOLDS) | {"faceres": pytest.approx(0.6)}
    assert {s.recogniser: s.decoy for s in row.scores} == expected
    assert {s.recogniser: s.decoy_before for s in row.scores} == expected


@pytest.mark.slow
@pytest.mark.parametrize(("method", "expected"), [("nothing", 0.0), ("blackout", 1.0)])
def test_real_recognisers_agree(tmp_path: Path, method: str, expected: float) -> None:
    done = measurement.measure(task(tmp_path, data.astronaut(), method), ModelStore())
    row = get_protection(done)
    assert row.face_before
    if row.face_after:
        assert [float(s.after < s.far1) for s in row.scores] == [expected] * len(row.scores)
    else:
        assert expected == 1.0


@pytest.mark.slow
def test_an_unchanged_photo_still_matches_another_photo(tmp_path: Path) -> None:
    """The other photo is the same one, mirrored and darker: it matches before, and after doing nothing."""
    pair_task = task(tmp_path, data.astronaut(), "nothing", ("pairs",))
    other = tmp_path / "b.png"
    Image.fromarray((data.astronaut()[:, ::-1] * 0.8).astype(np.uint8)).save(other)
    done = measurement.measure(replace(pair_task, others=(other,)), ModelStore())
    assert done.pairs is not None
    for score in done.pairs.others["b"]:
        assert score.before > score.far1
        assert score.after == pytest.approx(score.before, abs=1e-4)


@pytest.mark.slow
def test_an_external_recogniser_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside.py").write_text(
        "import torch\n"
        "from c2p_core.recognition import Recogniser\n"
        "def constant():\n"
        "    say = lambda images, mesh: torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)\n"
        "    return Recogniser('constant', 'outside', 'MIT', 0.5, 0.7, 0.1, say)\n"
        "def broken():\n"
        "    return 'a recogniser'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    done = measurement.measure(
        replace(task(tmp_path, data.astronaut(), "nothing", ("extra",)), extra="outside:constant"), ModelStore()
    )
    assert done.extra is not None
    (score,) = done.extra.scores
    assert (score.recogniser, score.role, score.after) == ("constant", "extra", pytest.approx(1.0))
    with raising(BadRecogniser, "recogniser-wrong-type", type="str"):
        load_extra_recogniser("outside:broken")
    with raising(BadRecogniser, "recogniser-not-made", source="nowhere:constant"):
        load_extra_recogniser("nowhere:constant")


def test_a_recogniser_without_decoys_or_other_data_is_measured_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ModelStore(install_toy(tmp_path, monkeypatch), offline=True)
    toy_task = task(tmp_path, data.astronaut(), "nothing", ("protect", "robustness"))
    done = measurement.measure(replace(toy_task, setting=replace(toy_task.setting, hold_out="toys")), models)
    toy = next(score for score in get_protection(done).scores if score.recogniser == "toy")
    assert (toy.family, toy.role, toy.far1, toy.far01, toy.decoy) == ("toys", "held-out", 0.9, 0.9, None)
    assert toy.before == pytest.approx(1.0, abs=1e-3) and toy.after == pytest.approx(1.0, abs=1e-3)
    assert done.robustness is not None and "toy" in {score.recogniser for score in done.robustness.undegraded}
