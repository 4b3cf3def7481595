"""The threat model: somebody has other photos of the person, and obtains the protected one.

Every photo of a folder with several photos of several people is protected once for each family of recognisers held
out, and compared with the other, unprotected photos. These are real people: rows contain only numbers (`rows`),
pictures and embeddings stay in the ignored folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import rows
from benchmarks.data import RunFolders, fingerprint_photos, parse_person
from benchmarks.fingerprint import fingerprint_embedding
from benchmarks.methods.catalogue import MethodResult
from benchmarks.methods.strengths import PRODUCT_METHOD
from benchmarks.recognisers import load_every_recogniser, open_store
from benchmarks.rows import (
    NO_FAMILY,
    OTHERS_FILE,
    PROTECTED_PAIRS_FILE,
    Change,
    OtherScore,
    OthersRow,
    ProtectedPairsRow,
    Setting,
)
from benchmarks.suites import gallery
from benchmarks.suites.gallery import Embeddings, Gallery
from benchmarks.suites.measurement import find_role, make_picture, measure_naturalness
from benchmarks.suites.runner import Outcome, name_setting, run_missing, store_row
from c2p_core import verify
from c2p_core.api import Face
from c2p_core.device import pick_device
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo


class RecogniserInfo(Protocol):
    """The attributes of a `c2p_core.recognition.Recogniser` that a comparison needs."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def far1(self) -> float: ...
    @property
    def far01(self) -> float: ...


@dataclass(frozen=True)
class Plan:
    """What a run covers; see `rows.Setting` for the fields of the same name.

    Attributes:
        people: all photos of the folder, as `data.list_people` numbers them.
        limit: number of photos to protect, from the first; None for all.
        strangers: photos of further people, by name.
        protected_photos: photos that another program protected, to be compared instead, by the name of the original
            without extension; all recognisers count as held out, because that program's search is unknown.
        method: name of that program, for the rows.
    """

    people: Mapping[str, Path]
    strength: float
    hold_out: tuple[str, ...]
    prompt: str
    prior: str
    steps: int | None = None
    seed: int = 0
    limit: int | None = None
    strangers: Mapping[str, Path] | None = None
    protected_photos: Mapping[str, Path] | None = None
    method: str = PRODUCT_METHOD

    def list_settings(self) -> dict[Setting, Path]:
        """All settings with their photos, grouped by photo, so that an interrupted run has complete photos."""
        families = self.hold_out if self.protected_photos is None else (NO_FAMILY,)
        return {
            Setting(label, self.method, self.strength, family, self.prompt, self.prior, self.steps, self.seed): photo
            for label, photo in list(self.people.items())[: self.limit]
            for family in families
            if self.protected_photos is None or photo.stem in self.protected_photos
        }


@dataclass(frozen=True)
class Task:
    """One photo to be protected and compared.

    Attributes:
        pictures: folder of the protected photos and their embeddings.
        gallery_file: embeddings of all unprotected photos of the folder.
        strangers_file: the same for further people; None without any.
        photos, code: fingerprints for the row.
        protected_photo: file of the protected photo, if another program made it.
    """

    photo: Path
    setting: Setting
    pictures: Path
    gallery_file: Path
    strangers_file: Path | None
    photos: str
    code: str
    protected_photo: Path | None = None


def compare_probe(names: Iterable[str], references: Gallery, recogniser: str, probe: Embeddings) -> dict[str, float]:
    """Cosine similarity of a probe to the named photos of a gallery, by name."""
    cosines = references.embeddings[recogniser] @ probe[recogniser]
    selected = set(names)
    return {name: float(cosine) for name, cosine in zip(references.names, cosines, strict=True) if name in selected}


def compare(
    label: str,
    probe: Embeddings | None,
    references: Gallery,
    strangers: Gallery | None,
    recognisers: Sequence[RecogniserInfo],
    hold_out: str,
) -> tuple[OtherScore, ...]:
    """Compare a protected photo with the other, unprotected photos.

    Args:
        label: of the photo that was protected, such as "p3/2".
        probe: embeddings of the protected photo; None when it shows no face.
        references: all unprotected photos of the folder; without this one there are no scores.
        strangers: further people.
        hold_out: family that the search never saw.
    """
    if label not in references.names:
        return ()
    index = references.names.index(label)
    original = {name: vectors[index] for name, vectors in references.embeddings.items()}
    mates = [name for name in references.names if parse_person(name) == parse_person(label) and name != label]
    others = [name for name in references.names if parse_person(name) != parse_person(label)]

    def compare_with(names: Iterable[str], people: Gallery, recogniser: str) -> dict[str, Change]:
        before = compare_probe(names, people, recogniser, original)
        after = None if probe is None else compare_probe(names, people, recogniser, probe)
        return {name: (value, None if after is None else after[name]) for name, value in before.items()}

    def select_nearest(changes: Mapping[str, Change]) -> Change | None:
        if not changes:
            return None
        after = [value for _, value in changes.values() if value is not None]
        return max(value for value, _ in changes.values()), max(after, default=None)

    return tuple(
        OtherScore(
            recogniser=r.name,
            family=r.family,
            role=find_role(r.family, hold_out, searched=hold_out != NO_FAMILY),
            far1=r.far1,
            far01=r.far01,
            others=compare_with(mates, references, r.name),
            own=None if probe is None else float(original[r.name] @ probe[r.name]),
            nearest=select_nearest(compare_with(others, references, r.name)),
            stranger=None if strangers is None else select_nearest(compare_with(strangers.names, strangers, r.name)),
        )
        for r in recognisers
    )


def compare_protected(
    label: str,
    probes: Mapping[str, Embeddings | None],
    references: Gallery,
    recognisers: Sequence[RecogniserInfo],
    hold_out: str,
) -> tuple[OtherScore, ...]:
    """Compare a protected photo with the person's later protected photos.

    Args:
        probes: embeddings of protected photos of one setting, by label; None where no face is found.
    """
    labels = list(references.names)
    if label not in labels or label not in probes:
        return ()
    probe, index = probes[label], labels.index(label)
    later = [name for name in labels[index + 1 :] if name in probes and parse_person(name) == parse_person(label)]
    if not later:
        return ()

    def compare_probes(recogniser: str, name: str) -> float | None:
        other_probe = probes[name]
        return None if probe is None or other_probe is None else float(probe[recogniser] @ other_probe[recogniser])

    def compare_originals(recogniser: str, name: str) -> float:
        vectors = references.embeddings[recogniser]
        return float(vectors[index] @ vectors[labels.index(name)])

    return tuple(
        OtherScore(
            recogniser=r.name,
            family=r.family,
            role=find_role(r.family, hold_out, searched=hold_out != NO_FAMILY),
            far1=r.far1,
            far01=r.far01,
            others={name: (compare_originals(r.name, name), compare_probes(r.name, name)) for name in later},
        )
        for r in recognisers
    )


def measure(task: Task, store: ModelStore) -> OthersRow:
    """Protect one photo and compare it; the picture and its embeddings are stored for the comparison with others.

    Raises:
        ModelUnavailable: a recogniser or another model is not available.
    """
    setting = task.setting
    method = None if task.protected_photo is None else partial(_read_protected_photo, task.protected_photo)
    pair, result, seconds = make_picture(task.photo, setting, task.pictures, True, store, method)
    recognisers = load_every_recogniser(store)
    probe: Embeddings | None = None
    if pair.protected_face is not None:
        embeddings = verify.embed_face(
            verify.crop_face(View(pair.protected), pair.protected_face), recognisers, pick_device("auto")
        )
        probe = {name: vector.cpu().numpy() for name, vector in embeddings.items()}
        save_probe(task.pictures / setting.picture, probe, task.code)
    strangers = None if task.strangers_file is None else gallery.load(task.strangers_file)
    scores = compare(setting.face, probe, gallery.load(task.gallery_file), strangers, recognisers, setting.hold_out)
    face = pair.face
    return OthersRow(
        setting=setting,
        scores=scores if face is not None else (),
        natural=measure_naturalness(setting, pair, task.code),
        face_before=face is not None,
        face_after=pair.protected_face is not None,
        box=(0.0, 0.0, 0.0, 0.0) if face is None else face.box,
        steps=result.steps,
        seconds=float(result.seconds),
        wall=seconds,
        strangers=0 if strangers is None else len(strangers.names),
        photos=task.photos,
        code=task.code,
    )


def _read_protected_photo(
    path: Path, _photo: Photo, _face: Face, _setting: Setting, _store: ModelStore
) -> MethodResult:
    return MethodResult(photo_files.read(path))


def _measure_task(task: Task) -> OthersRow:
    return measure(task, open_store())


def save_probe(picture: Path, probe: Embeddings, code: str) -> None:
    np.savez(picture.with_suffix(".npz"), code=np.array(code), **probe)  # type: ignore[arg-type]


def load_probe(picture: Path, code: str) -> Embeddings | None:
    """Load embeddings stored by `save_probe`; None if they are missing, or of a picture made by other code."""
    path = picture.with_suffix(".npz")
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["code"]) != code:
            return None
        return {name: stored[name] for name in stored.files if name != "code"}


def run(
    plan: Plan,
    folders: RunFolders,
    code: str,
    executor: Executor,
    log: Callable[[str], None],
    measure_task: Callable[[Task], OthersRow] = _measure_task,
) -> Outcome:
    """Measure the settings without a row of this code and these photos, and append each row as soon as it is complete.

    Args:
        log: prints a line.
        measure_task: measures one task; replaced in tests.
    """
    path = folders.rows / OTHERS_FILE
    for name in (OTHERS_FILE, PROTECTED_PAIRS_FILE):
        rows.drop_incomplete_line(folders.rows / name)
    photos, embedding_code = fingerprint_photos(plan.people.values()), fingerprint_embedding()
    gallery_file = gallery.build(plan.people, folders.pictures, f"{embedding_code} {photos}", executor, log)
    strangers_file = (
        gallery.build(plan.strangers, folders.pictures, embedding_code, executor, log) if plan.strangers else None
    )
    settings, stored = plan.list_settings(), _read_measured(folders, photos, code)
    todo = [
        Task(
            *(photo, setting, folders.pictures, gallery_file, strangers_file, photos, code),
            protected_photo=None if plan.protected_photos is None else plan.protected_photos[photo.stem],
        )
        for setting, photo in settings.items()
        if setting not in stored
    ]

    outcome = run_missing(
        todo,
        len(settings) - len(todo),
        folders.rows,
        measure_task,
        partial(store_row, path, _summarise),
        lambda task: name_setting(task.setting),
        executor,
        log,
    )
    _compare_protected(
        _read_measured(folders, photos, code).values(), gallery.load(gallery_file), folders, photos, code
    )
    return outcome


def _read_measured(folders: RunFolders, photos: str, code: str) -> dict[Setting, OthersRow]:
    stored = rows.index_by_setting(rows.read(folders.rows / OTHERS_FILE, rows.OthersRow))
    return {setting: row for setting, row in stored.items() if (row.photos, row.code) == (photos, code)}


def _compare_protected(
    stored_rows: Iterable[OthersRow], references: Gallery, folders: RunFolders, photos: str, code: str
) -> None:
    """Append a row for each protected photo that can be compared with more protected photos than in its stored row."""
    path = folders.rows / PROTECTED_PAIRS_FILE
    stored = rows.index_by_setting(rows.read(path, rows.ProtectedPairsRow))
    groups: dict[tuple[object, ...], dict[str, OthersRow]] = {}
    for row in stored_rows:
        s = row.setting
        groups.setdefault((s.method, s.strength, s.hold_out, s.prompt, s.prior, s.steps, s.seed), {})[s.face] = row
    for group in groups.values():
        probes: dict[str, Embeddings | None] = {}
        for label, row in group.items():
            probe = load_probe(folders.pictures / row.setting.picture, code)
            if probe is not None or not row.face_after:
                probes[label] = probe
        for label, row in group.items():
            scores = compare_protected(label, probes, references, _list_recognisers(row), row.setting.hold_out)
            old_row = stored.get(row.setting)
            is_stale = old_row is None or (old_row.photos, old_row.code) != (photos, code)
            if scores and (is_stale or old_row is None or len(old_row.scores[0].others) < len(scores[0].others)):
                rows.append(path, ProtectedPairsRow(row.setting, scores, photos, code))


@dataclass(frozen=True)
class _StoredRecogniser:
    name: str
    family: str
    far1: float
    far01: float


def _list_recognisers(row: OthersRow) -> list[_StoredRecogniser]:
    """List the recognisers of a row, so that this process need not load them."""
    return [_StoredRecogniser(score.recogniser, score.family, score.far1, score.far01) for score in row.scores]


def _summarise(row: OthersRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"

    def format_lost(role: str) -> str:
        pairs = [
            (pair, s.far1) for s in row.scores if s.role == role for pair in s.others.values() if pair[0] >= s.far1
        ]
        return f"{sum(after is None or after < far1 for (_, after), far1 in pairs)}/{len(pairs)}"

    figures = f"expression {row.natural.expression or 0.0:.2f}, SSIM {row.natural.ssim:.3f}, {row.seconds:.0f} s"
    return (
        f"held-out {format_lost('held-out')}, white-box {format_lost('white-box')} matches lost at FAR 1 %, {figures}"
    )
