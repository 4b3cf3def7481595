"""The papers' protocol: leave-one-out over some recognisers, impersonating an identity or dodging other photos.

As in CLIP2Protect and what followed it, a photo is protected against all recognisers but one family, which then judges
it. Impersonation succeeds where the protected photo matches the target, dodging where it does not match another photo
of the person; rank-1 and rank-5 are places in a search among everybody. The targets are synthetic
(`benchmarks.decoys`). Rows carry numbers alone, pictures and embeddings stay in the ignored folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import rows
from benchmarks.data import RunFolders, fingerprint_photos, person_of
from benchmarks.decoys import find_decoys, open_store_with
from benchmarks.fingerprint import fingerprint_embedding
from benchmarks.methods.catalogue import Made, run_product
from benchmarks.methods.strengths import DECOY_METHOD, PRODUCT_METHOD
from benchmarks.metrics import image_quality
from benchmarks.metrics.image_quality import rgb8
from benchmarks.models import fingerprint_models
from benchmarks.recognisers import fingerprint_recognisers, load_named_recognisers, open_store
from benchmarks.rows import PAPER_FILE, SHIPPED, Change, Models, PaperRow, PaperScore, Role, Setting
from benchmarks.suites import gallery
from benchmarks.suites.gallery import Embeddings, Gallery
from benchmarks.suites.measurement import make_picture
from benchmarks.suites.other_photos import Compared
from benchmarks.suites.runner import Outcome, name_setting, run_missing
from c2p_core import verify
from c2p_core.api import Face, Mode
from c2p_core.device import pick_device
from c2p_core.errors import Message
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition.decoys import load_decoys, nearest_decoy

_MODES: dict[str, Mode] = {DECOY_METHOD: "decoy", PRODUCT_METHOD: "dodge"}


class Judge(Compared, Protocol):
    """What a comparison needs of a `c2p_core.recognition.Recogniser`."""

    @property
    def judges_only(self) -> Message | None: ...


@dataclass(frozen=True)
class Plan:
    """What a run covers; see `rows.Setting` for the fields of the same name.

    Attributes:
        people: all photos of the folder, as `data.list_people` numbers them.
        recognisers: those that search or judge, as a user names them.
        families: of these recognisers, to be held out in turn.
        methods: `DECOY_METHOD` to impersonate, `PRODUCT_METHOD` to dodge, or both.
        limit: protects so many of the photos alone, those of different people first; None for all.
        models: generator and text model.
    """

    people: Mapping[str, Path]
    recognisers: tuple[str, ...]
    families: tuple[str, ...]
    methods: tuple[str, ...]
    strength: float
    prompt: str
    prior: str
    steps: int | None = None
    seed: int = 0
    limit: int | None = None
    models: Models = SHIPPED

    def settings(self) -> dict[Setting, Path]:
        """All settings with their photos; a photo's settings follow each other, so that a cut run holds whole ones."""
        return {
            Setting(label, method, self.strength, family, self.prompt, self.prior, self.steps, self.seed): photo
            for label, photo in _spread_over_people(self.people)[: self.limit]
            for family in self.families
            for method in self.methods
        }


def _spread_over_people(people: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """The first photo of everybody, then the second."""
    by_person: dict[str, list[tuple[str, Path]]] = {}
    for label, photo in people.items():
        by_person.setdefault(person_of(label), []).append((label, photo))
    return [entry for turn in zip_longest(*by_person.values()) for entry in turn if entry is not None]


@dataclass(frozen=True)
class Task:
    """One photo to be protected and judged.

    Attributes:
        recognisers: as in `Plan`.
        pictures: folder of the protected photos.
        known: file with the embeddings of all photos of the folder as they were.
        decoys: file with those of the synthetic identities.
        photos, weights, code: fingerprints that the row will carry.
        models: as in `Plan`.
    """

    photo: Path
    setting: Setting
    recognisers: tuple[str, ...]
    pictures: Path
    known: Path
    decoys: Path
    photos: str
    weights: str
    code: str
    models: Models = SHIPPED


@dataclass(frozen=True)
class Decoys:
    """Unit embeddings of the synthetic identities.

    Attributes:
        people: (N, D) by recogniser.
        aim: index of the one that the search aimed at.
    """

    people: Embeddings
    aim: int


def judge(
    label: str,
    probe: Embeddings | None,
    known: Gallery,
    decoys: Decoys | None,
    recognisers: Sequence[Judge],
    hold_out: str,
) -> tuple[PaperScore, ...]:
    """Compare a protected photo, and its original, with everybody's photos as they were, and with the decoys.

    Args:
        label: of the photo that was protected, such as "p3/2".
        probe: embeddings of the protected photo; None when it shows no face.
        known: all photos of the folder as they were; without this one there are no scores.
        decoys: None when dodging.
        hold_out: family that the search never saw.
    """
    if label not in known.names:
        return ()
    at = known.names.index(label)
    scores = []
    for r in recognisers:
        before = _search(known.people[r.name][at], r.name, label, known, decoys)
        after = _NOBODY if probe is None else _search(probe[r.name], r.name, label, known, decoys)
        scores.append(_score(r, _find_role(r, hold_out), before, after))
    return tuple(scores)


@dataclass(frozen=True)
class _Found:
    """What a search with one picture finds; see `rows.PaperScore`."""

    others: Mapping[str, float]
    person_rank: int | None
    target: float | None
    target_rank: int | None


_NOBODY = _Found({}, None, None, None)


def _search(probe: NDArray[np.float32], recogniser: str, label: str, known: Gallery, decoys: Decoys | None) -> _Found:
    person = person_of(label)
    cosines = dict(zip(known.names, map(float, known.people[recogniser] @ probe), strict=True))
    del cosines[label]
    best: dict[str, float] = {}
    for photo, cosine in cosines.items():
        best[person_of(photo)] = max(cosine, best.get(person_of(photo), -1.0))
    rivals = [cosine for who, cosine in best.items() if who != person]
    target = target_rank = None
    if decoys is not None:
        aims = [float(cosine) for cosine in decoys.people[recogniser] @ probe]
        target = aims.pop(decoys.aim)
        target_rank = _place(target, [*best.values(), *aims])
    return _Found(
        {photo: cosine for photo, cosine in cosines.items() if person_of(photo) == person},
        _place(best[person], rivals) if person in best else None,
        target,
        target_rank,
    )


def _place(own: float, rivals: Sequence[float]) -> int:
    """Place among rivals, 1 for the first; in a tie the rival comes first."""
    return 1 + sum(rival >= own for rival in rivals)


def _find_role(recogniser: Judge, hold_out: str) -> Role:
    """What a recogniser was to a run: one that only judges is not searched in any, and held out in its own alone."""
    if recogniser.family == hold_out:
        return "held-out"
    return "white-box" if recogniser.judges_only is None else "extra"


def _score(recogniser: Compared, role: Role, before: _Found, after: _Found) -> PaperScore:
    return PaperScore(
        recogniser=recogniser.name,
        family=recogniser.family,
        role=role,
        far1=recogniser.far1,
        far01=recogniser.far01,
        others={photo: (cosine, after.others.get(photo)) for photo, cosine in before.others.items()},
        person_rank=None if before.person_rank is None else (before.person_rank, after.person_rank),
        target=None if before.target is None else (before.target, after.target),
        target_rank=None if before.target_rank is None else (before.target_rank, after.target_rank),
    )


def measure(task: Task, store: ModelStore) -> PaperRow:
    """Protect one photo and judge it.

    Raises:
        ModelUnavailable: a recogniser or another model can't be had.
    """
    setting = task.setting

    def protect(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> Made:
        mode, models = _MODES[setting.method], task.models
        return run_product(photo, face, setting, store, mode, task.recognisers, models.profile, models.clip)

    seen, made, _ = make_picture(task.photo, setting, task.pictures, True, store, protect)
    recognisers, device = load_named_recognisers(task.recognisers, store), pick_device("auto")

    def embed(photo: Photo, face: Face | None) -> verify.Embeddings | None:
        return None if face is None else verify.embed_face(verify.crop_face(View(photo), face), recognisers, device)

    own, probe = embed(seen.original, seen.face), embed(seen.protected, seen.after)
    decoys = None
    if own is not None and _MODES[setting.method] == "decoy":
        people = load_decoys(store.path("decoys"), recognisers, device)
        optimised = {r.name: own[r.name] for r in recognisers if _find_role(r, setting.hold_out) == "white-box"}
        nearest = nearest_decoy(optimised, people)
        aim = next(at for at, decoy in enumerate(people) if decoy is nearest)
        decoys = Decoys({r.name: np.stack([decoy[r.name].cpu().numpy() for decoy in people]) for r in recognisers}, aim)
    known = gallery.load(task.known)
    vectors = None if probe is None else {name: vector.cpu().numpy() for name, vector in probe.items()}
    scores = () if own is None else judge(setting.face, vectors, known, decoys, recognisers, setting.hold_out)
    before, after = rgb8(seen.original), rgb8(seen.protected)
    return PaperRow(
        setting=setting,
        recognisers=tuple(r.name for r in recognisers),
        scores=scores,
        psnr=image_quality.psnr(before, after),
        ssim=image_quality.ssim(before, after),
        face_before=seen.face is not None,
        face_after=seen.after is not None,
        steps=made.steps,
        seconds=float(made.seconds),
        people=len({person_of(name) for name in known.names}),
        photos=task.photos,
        weights=task.weights,
        code=task.code,
        models=task.models,
    )


def _work(task: Task) -> PaperRow:
    return measure(task, open_store_with(task.decoys))


def run(
    plan: Plan,
    folders: RunFolders,
    code: str,
    executor: Executor,
    say: Callable[[str], None],
    work: Callable[[Task], PaperRow] = _work,
) -> Outcome:
    """Measure what has no row of this code, these photos and recognisers yet, each row kept as soon as it is known.

    Args:
        say: prints a line.
        work: measures one task; replaced in tests.

    Raises:
        ModelUnavailable: a recogniser or the generator of decoys can't be had.
    """
    path, pictures = folders.rows / PAPER_FILE, folders.pictures / "paper"
    rows.drop_torn_end(path)
    photos = fingerprint_photos(plan.people.values())
    recognisers = load_named_recognisers(plan.recognisers, open_store())
    seen = fingerprint_recognisers(recognisers)
    weights = fingerprint_models(open_store(), plan.models, seen)
    seeing = f"{fingerprint_embedding()} {seen}"
    known = gallery.build(plan.people, pictures, f"{seeing} {photos}", executor, say, plan.recognisers)
    decoys = find_decoys(plan.recognisers, pictures, seeing)
    key = (tuple(r.name for r in recognisers), photos, weights, code, plan.models)
    there = {row.setting for row in rows.read(path, PaperRow) if row.measured_with == key}
    # Those of other models are other pictures of the same settings.
    kept_in = pictures if weights == seen else pictures / f"models-{weights}"
    wanted = plan.settings()
    todo = [
        Task(photo, setting, plan.recognisers, kept_in, known, decoys, photos, weights, code, plan.models)
        for setting, photo in wanted.items()
        if setting not in there
    ]

    def keep(row: PaperRow) -> str:
        rows.append(path, row)
        return _summarise(row)

    kept = len(wanted) - len(todo)
    return run_missing(todo, kept, folders.rows, work, keep, lambda task: name_setting(task.setting), executor, say)


def _summarise(row: PaperRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"
    held = [s for s in row.scores if s.role == "held-out"]
    if row.setting.method == DECOY_METHOD:
        said = f"{sum(_is_above(s.target, s.far1) for s in held)}/{len(held)} take it for the decoy"
    else:
        pairs = [(pair, s.far1) for s in held for pair in s.others.values()]
        said = f"{sum(_is_above(*pair) for pair in pairs)}/{len(pairs)} match another photo"
    return f"held-out: {said} at FAR 1 %, PSNR {row.psnr:.1f} dB, SSIM {row.ssim:.3f}, {row.seconds:.0f} s"


def _is_above(change: Change | None, limit: float) -> bool:
    return change is not None and change[1] is not None and change[1] >= limit
