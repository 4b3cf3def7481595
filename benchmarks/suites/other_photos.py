"""The threat: somebody has other photos of the person, and obtains the protected one.

Every photo of a folder with several photos of several people is protected once for each family of recognisers held
out, and compared with the others, which stay as they were. These are real people: rows carry numbers alone (`rows`),
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
from benchmarks.data import RunFolders, fingerprint_photos, person_of
from benchmarks.fingerprint import fingerprint_embedding
from benchmarks.methods.catalogue import Made
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
from benchmarks.suites.runner import Outcome, name_setting, run_missing
from c2p_core import verify
from c2p_core.api import Face
from c2p_core.device import pick_device
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo


class Compared(Protocol):
    """What a comparison needs of a `c2p_core.recognition.Recogniser`."""

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
        limit: protects the first so many of them alone; None for all.
        strangers: photos of further people, by name.
        made: protected photos that are compared instead, by the name of the photo without extension; all recognisers
            are held out of them, because what made them is not known.
        maker: name of what made them, for the rows.
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
    made: Mapping[str, Path] | None = None
    maker: str = PRODUCT_METHOD

    def settings(self) -> dict[Setting, Path]:
        """All settings with their photos; a photo's families follow each other, so that a cut run holds whole ones."""
        families = self.hold_out if self.made is None else (NO_FAMILY,)
        return {
            Setting(label, self.maker, self.strength, family, self.prompt, self.prior, self.steps, self.seed): photo
            for label, photo in list(self.people.items())[: self.limit]
            for family in families
            if self.made is None or photo.stem in self.made
        }


@dataclass(frozen=True)
class Task:
    """One photo to be protected and compared.

    Attributes:
        pictures: folder of the protected photos and their embeddings.
        known: file with the embeddings of all photos of the folder as they were.
        strangers: the same of further people; None without any.
        photos, code: fingerprints that the row will carry.
        made: the protected photo, where another program made it.
    """

    photo: Path
    setting: Setting
    pictures: Path
    known: Path
    strangers: Path | None
    photos: str
    code: str
    made: Path | None = None


def compare_probe(names: Iterable[str], known: Gallery, recogniser: str, probe: Embeddings) -> dict[str, float]:
    """Cosine of a probe to some of a gallery, by name."""
    cosines = known.people[recogniser] @ probe[recogniser]
    wanted = set(names)
    return {name: float(cosine) for name, cosine in zip(known.names, cosines, strict=True) if name in wanted}


def compare(
    label: str,
    probe: Embeddings | None,
    known: Gallery,
    strangers: Gallery | None,
    recognisers: Sequence[Compared],
    hold_out: str,
) -> tuple[OtherScore, ...]:
    """Compare a protected photo with the other photos as they were.

    Args:
        label: of the photo that was protected, such as "p3/2".
        probe: embeddings of the protected photo; None when it shows no face.
        known: all photos of the folder as they were; without this one there are no scores.
        strangers: further people.
        hold_out: family that the search never saw.
    """
    if label not in known.names:
        return ()
    at = known.names.index(label)
    original = {name: vectors[at] for name, vectors in known.people.items()}
    own = [name for name in known.names if person_of(name) == person_of(label) and name != label]
    else_ = [name for name in known.names if person_of(name) != person_of(label)]

    def to(names: Iterable[str], among: Gallery, recogniser: str) -> dict[str, Change]:
        before = compare_probe(names, among, recogniser, original)
        after = None if probe is None else compare_probe(names, among, recogniser, probe)
        return {name: (value, None if after is None else after[name]) for name, value in before.items()}

    def nearest(found: Mapping[str, Change]) -> Change | None:
        if not found:
            return None
        after = [value for _, value in found.values() if value is not None]
        return max(value for value, _ in found.values()), max(after, default=None)

    return tuple(
        OtherScore(
            recogniser=r.name,
            family=r.family,
            role=find_role(r.family, hold_out, searched=hold_out != NO_FAMILY),
            far1=r.far1,
            far01=r.far01,
            others=to(own, known, r.name),
            own=None if probe is None else float(original[r.name] @ probe[r.name]),
            nearest=nearest(to(else_, known, r.name)),
            stranger=None if strangers is None else nearest(to(strangers.names, strangers, r.name)),
        )
        for r in recognisers
    )


def compare_protected(
    label: str,
    probes: Mapping[str, Embeddings | None],
    known: Gallery,
    recognisers: Sequence[Compared],
    hold_out: str,
) -> tuple[OtherScore, ...]:
    """Compare a protected photo with the protected photos of the person that come after it.

    Args:
        probes: embeddings of protected photos by label, of one setting but for the face; None where no face is seen.
    """
    labels = list(known.names)
    if label not in labels or label not in probes:
        return ()
    own, at = probes[label], labels.index(label)
    later = [name for name in labels[at + 1 :] if name in probes and person_of(name) == person_of(label)]
    if not later:
        return ()

    def after(recogniser: str, name: str) -> float | None:
        other = probes[name]
        return None if own is None or other is None else float(own[recogniser] @ other[recogniser])

    def before(recogniser: str, name: str) -> float:
        vectors = known.people[recogniser]
        return float(vectors[at] @ vectors[labels.index(name)])

    return tuple(
        OtherScore(
            recogniser=r.name,
            family=r.family,
            role=find_role(r.family, hold_out, searched=hold_out != NO_FAMILY),
            far1=r.far1,
            far01=r.far01,
            others={name: (before(r.name, name), after(r.name, name)) for name in later},
        )
        for r in recognisers
    )


def measure(task: Task, store: ModelStore) -> OthersRow:
    """Protect one photo and compare it; the picture and its embeddings are kept for the comparison with others.

    Raises:
        ModelUnavailable: a recogniser or another model can't be had.
    """
    setting = task.setting
    method = None if task.made is None else partial(_read_made, task.made)
    seen, made, wall = make_picture(task.photo, setting, task.pictures, True, store, method)
    recognisers = load_every_recogniser(store)
    probe: Embeddings | None = None
    if seen.after is not None:
        embeddings = verify.embed_face(
            verify.crop_face(View(seen.protected), seen.after), recognisers, pick_device("auto")
        )
        probe = {name: vector.cpu().numpy() for name, vector in embeddings.items()}
        keep_probe(task.pictures / setting.picture, probe, task.code)
    strangers = None if task.strangers is None else gallery.load(task.strangers)
    scores = compare(setting.face, probe, gallery.load(task.known), strangers, recognisers, setting.hold_out)
    face = seen.face
    return OthersRow(
        setting=setting,
        scores=scores if face is not None else (),
        natural=measure_naturalness(setting, seen, task.code),
        face_before=face is not None,
        face_after=seen.after is not None,
        box=(0.0, 0.0, 0.0, 0.0) if face is None else face.box,
        steps=made.steps,
        seconds=float(made.seconds),
        wall=wall,
        strangers=0 if strangers is None else len(strangers.names),
        photos=task.photos,
        code=task.code,
    )


def _read_made(path: Path, _photo: Photo, _face: Face, _setting: Setting, _store: ModelStore) -> Made:
    return Made(photo_files.read(path))


def _work(task: Task) -> OthersRow:
    return measure(task, open_store())


def keep_probe(picture: Path, probe: Embeddings, code: str) -> None:
    np.savez(picture.with_suffix(".npz"), code=np.array(code), **probe)  # type: ignore[arg-type]


def load_probe(picture: Path, code: str) -> Embeddings | None:
    """What `keep_probe` kept; None when it is gone, or of a picture that other code made."""
    path = picture.with_suffix(".npz")
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        if str(kept["code"]) != code:
            return None
        return {name: kept[name] for name in kept.files if name != "code"}


def run(
    plan: Plan,
    folders: RunFolders,
    code: str,
    executor: Executor,
    say: Callable[[str], None],
    work: Callable[[Task], OthersRow] = _work,
) -> Outcome:
    """Measure what has no row of this code and these photos yet, each row kept as soon as it is known.

    Args:
        say: prints a line.
        work: measures one task; replaced in tests.
    """
    path = folders.rows / OTHERS_FILE
    for name in (OTHERS_FILE, PROTECTED_PAIRS_FILE):
        rows.drop_torn_end(folders.rows / name)
    photos, seeing = fingerprint_photos(plan.people.values()), fingerprint_embedding()
    known = gallery.build(plan.people, folders.pictures, f"{seeing} {photos}", executor, say)
    strangers = gallery.build(plan.strangers, folders.pictures, seeing, executor, say) if plan.strangers else None
    wanted, there = plan.settings(), _read_measured(folders, photos, code)
    todo = [
        Task(
            *(photo, setting, folders.pictures, known, strangers, photos, code),
            made=None if plan.made is None else plan.made[photo.stem],
        )
        for setting, photo in wanted.items()
        if setting not in there
    ]

    def keep(row: OthersRow) -> str:
        rows.append(path, row)
        return _summarise(row)

    kept = len(wanted) - len(todo)
    outcome = run_missing(todo, kept, folders.rows, work, keep, lambda task: name_setting(task.setting), executor, say)
    _compare_protected(_read_measured(folders, photos, code).values(), gallery.load(known), folders, photos, code)
    return outcome


def _read_measured(folders: RunFolders, photos: str, code: str) -> dict[Setting, OthersRow]:
    found = rows.by_setting(rows.read(folders.rows / OTHERS_FILE, rows.OthersRow))
    return {setting: row for setting, row in found.items() if (row.photos, row.code) == (photos, code)}


def _compare_protected(found: Iterable[OthersRow], known: Gallery, folders: RunFolders, photos: str, code: str) -> None:
    """Adds a row for each protected photo that can be compared with more protected photos than its row has, if any."""
    path = folders.rows / PROTECTED_PAIRS_FILE
    there = rows.by_setting(rows.read(path, rows.ProtectedPairsRow))
    groups: dict[tuple[object, ...], dict[str, OthersRow]] = {}
    for row in found:
        s = row.setting
        groups.setdefault((s.method, s.strength, s.hold_out, s.prompt, s.prior, s.steps, s.seed), {})[s.face] = row
    for group in groups.values():
        probes: dict[str, Embeddings | None] = {}
        for label, row in group.items():
            probe = load_probe(folders.pictures / row.setting.picture, code)
            if probe is not None or not row.face_after:
                probes[label] = probe
        for label, row in group.items():
            scores = compare_protected(label, probes, known, _list_recognisers(row), row.setting.hold_out)
            old = there.get(row.setting)
            stale = old is None or (old.photos, old.code) != (photos, code)
            if scores and (stale or old is None or len(old.scores[0].others) < len(scores[0].others)):
                rows.append(path, ProtectedPairsRow(row.setting, scores, photos, code))


@dataclass(frozen=True)
class _KnownRecogniser:
    name: str
    family: str
    far1: float
    far01: float


def _list_recognisers(row: OthersRow) -> list[_KnownRecogniser]:
    """The recognisers as a row names them, so that this process needs none of its own."""
    return [_KnownRecogniser(s.recogniser, s.family, s.far1, s.far01) for s in row.scores]


def _summarise(row: OthersRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"

    def lost(role: str) -> str:
        pairs = [
            (pair, s.far1) for s in row.scores if s.role == role for pair in s.others.values() if pair[0] >= s.far1
        ]
        return f"{sum(after is None or after < far1 for (_, after), far1 in pairs)}/{len(pairs)}"

    figures = f"expression {row.natural.expression or 0.0:.2f}, SSIM {row.natural.ssim:.3f}, {row.seconds:.0f} s"
    return f"held-out {lost('held-out')}, white-box {lost('white-box')} matches lost at FAR 1 %, {figures}"
