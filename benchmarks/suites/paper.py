"""The papers' protocol: leave-one-out over some recognisers, impersonating an identity or dodging other photos.

As in CLIP2Protect and its successors, a photo is protected against all recognisers but one family, which then judges
it. Impersonation succeeds where the protected photo matches the target, dodging where it does not match another photo
of the person; rank-1 and rank-5 are from a search among everybody. The targets are synthetic
(`benchmarks.decoys`). Rows contain only numbers; pictures and embeddings stay in the ignored folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import rows
from benchmarks.data import RunFolders, fingerprint_photos, parse_person
from benchmarks.decoys import find_decoys, open_store_with
from benchmarks.fingerprint import fingerprint_embedding
from benchmarks.methods.catalogue import MethodResult, run_product
from benchmarks.methods.strengths import DECOY_METHOD, PRODUCT_METHOD
from benchmarks.metrics import image_quality
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.models import fingerprint_models
from benchmarks.recognisers import fingerprint_recognisers, load_named_recognisers, open_store
from benchmarks.rows import PAPER_FILE, SHIPPED, Change, Models, PaperRow, PaperScore, Role, Setting
from benchmarks.suites import gallery
from benchmarks.suites.gallery import Embeddings, Gallery
from benchmarks.suites.measurement import make_picture
from benchmarks.suites.other_photos import RecogniserInfo
from benchmarks.suites.runner import Outcome, name_setting, run_missing, store_row
from c2p_core import verify
from c2p_core.api import Face, Mode
from c2p_core.device import pick_device
from c2p_core.errors import Message
from c2p_core.faces.view import View
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition.decoys import load_decoys, nearest_decoy

_MODES: dict[str, Mode] = {DECOY_METHOD: "decoy", PRODUCT_METHOD: "dodge"}


class JudgeInfo(RecogniserInfo, Protocol):
    """The attributes of a `c2p_core.recognition.Recogniser` that this protocol needs."""

    @property
    def judges_only(self) -> Message | None: ...


@dataclass(frozen=True)
class Plan:
    """What a run covers; see `rows.Setting` for the fields of the same name.

    Attributes:
        people: all photos of the folder, as `data.list_people` numbers them.
        recognisers: names of those that search or judge, as given by the user.
        families: of these recognisers, to be held out in turn.
        methods: `DECOY_METHOD` to impersonate, `PRODUCT_METHOD` to dodge, or both.
        limit: number of photos to protect, from as many people as possible; None for all.
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

    def list_settings(self) -> dict[Setting, Path]:
        """All settings with their photos, grouped by photo, so that an interrupted run has complete photos."""
        return {
            Setting(label, method, self.strength, family, self.prompt, self.prior, self.steps, self.seed): photo
            for label, photo in _spread_over_people(self.people)[: self.limit]
            for family in self.families
            for method in self.methods
        }


def _spread_over_people(people: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """The first photo of each person, then the second ones, and so on."""
    by_person: dict[str, list[tuple[str, Path]]] = {}
    for label, photo in people.items():
        by_person.setdefault(parse_person(label), []).append((label, photo))
    return [entry for turn in zip_longest(*by_person.values()) for entry in turn if entry is not None]


@dataclass(frozen=True)
class Task:
    """One photo to be protected and judged.

    Attributes:
        recognisers: as in `Plan`.
        pictures: folder of the protected photos.
        gallery_file: embeddings of all unprotected photos of the folder.
        decoys_file: embeddings of the synthetic identities.
        photos, weights, code: fingerprints for the row.
        models: as in `Plan`.
    """

    photo: Path
    setting: Setting
    recognisers: tuple[str, ...]
    pictures: Path
    gallery_file: Path
    decoys_file: Path
    photos: str
    weights: str
    code: str
    models: Models = SHIPPED


@dataclass(frozen=True)
class Decoys:
    """Unit embeddings of the synthetic identities.

    Attributes:
        embeddings: (N, D) by recogniser.
        target: index of the decoy that the search aimed at.
    """

    embeddings: Embeddings
    target: int


def judge(
    label: str,
    probe: Embeddings | None,
    references: Gallery,
    decoys: Decoys | None,
    recognisers: Sequence[JudgeInfo],
    hold_out: str,
) -> tuple[PaperScore, ...]:
    """Compare a protected photo, and its original, with everybody's unprotected photos, and with the decoys.

    Args:
        label: of the photo that was protected, such as "p3/2".
        probe: embeddings of the protected photo; None when it shows no face.
        references: all unprotected photos of the folder; without this one there are no scores.
        decoys: None when dodging.
        hold_out: family that the search never saw.
    """
    if label not in references.names:
        return ()
    index = references.names.index(label)
    scores = []
    for r in recognisers:
        before = _search(references.embeddings[r.name][index], r.name, label, references, decoys)
        after = _NOBODY if probe is None else _search(probe[r.name], r.name, label, references, decoys)
        scores.append(_make_score(r, _find_role(r, hold_out), before, after))
    return tuple(scores)


@dataclass(frozen=True)
class _SearchResult:
    """Results of a search with one picture; see `rows.PaperScore`."""

    others: Mapping[str, float]
    person_rank: int | None
    target: float | None
    target_rank: int | None


_NOBODY = _SearchResult({}, None, None, None)


def _search(
    probe: NDArray[np.float32], recogniser: str, label: str, references: Gallery, decoys: Decoys | None
) -> _SearchResult:
    person = parse_person(label)
    cosines = dict(zip(references.names, map(float, references.embeddings[recogniser] @ probe), strict=True))
    del cosines[label]
    best_by_person: dict[str, float] = {}
    for photo, cosine in cosines.items():
        best_by_person[parse_person(photo)] = max(cosine, best_by_person.get(parse_person(photo), -1.0))
    rivals = [cosine for other, cosine in best_by_person.items() if other != person]
    target = target_rank = None
    if decoys is not None:
        decoy_cosines = [float(cosine) for cosine in decoys.embeddings[recogniser] @ probe]
        target = decoy_cosines.pop(decoys.target)
        target_rank = _compute_rank(target, [*best_by_person.values(), *decoy_cosines])
    return _SearchResult(
        {photo: cosine for photo, cosine in cosines.items() if parse_person(photo) == person},
        _compute_rank(best_by_person[person], rivals) if person in best_by_person else None,
        target,
        target_rank,
    )


def _compute_rank(cosine: float, rivals: Sequence[float]) -> int:
    """Rank among rivals, from 1; rivals win ties."""
    return 1 + sum(rival >= cosine for rival in rivals)


def _find_role(recogniser: JudgeInfo, hold_out: str) -> Role:
    """The role of a recogniser in a run; one that only judges is never searched, and held out only in its own run."""
    if recogniser.family == hold_out:
        return "held-out"
    return "white-box" if recogniser.judges_only is None else "extra"


def _make_score(recogniser: RecogniserInfo, role: Role, before: _SearchResult, after: _SearchResult) -> PaperScore:
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
        ModelUnavailable: a recogniser or another model is not available.
    """
    setting = task.setting

    def protect(photo: Photo, face: Face, setting: Setting, store: ModelStore) -> MethodResult:
        mode, models = _MODES[setting.method], task.models
        return run_product(photo, face, setting, store, mode, task.recognisers, models.profile, models.clip)

    pair, result, _ = make_picture(task.photo, setting, task.pictures, True, store, protect)
    recognisers, device = load_named_recognisers(task.recognisers, store), pick_device("auto")

    def embed(photo: Photo, face: Face | None) -> verify.Embeddings | None:
        return None if face is None else verify.embed_face(verify.crop_face(View(photo), face), recognisers, device)

    original_embeddings, probe = embed(pair.original, pair.face), embed(pair.protected, pair.protected_face)
    decoys = None
    if original_embeddings is not None and _MODES[setting.method] == "decoy":
        people = load_decoys(store.obtain("decoys"), recognisers, device)
        optimised = {
            r.name: original_embeddings[r.name] for r in recognisers if _find_role(r, setting.hold_out) == "white-box"
        }
        nearest = nearest_decoy(optimised, people)
        target = next(index for index, decoy in enumerate(people) if decoy is nearest)
        decoys = Decoys(
            {r.name: np.stack([decoy[r.name].cpu().numpy() for decoy in people]) for r in recognisers}, target
        )
    references = gallery.load(task.gallery_file)
    probe_vectors = None if probe is None else {name: vector.cpu().numpy() for name, vector in probe.items()}
    scores = (
        ()
        if original_embeddings is None
        else judge(setting.face, probe_vectors, references, decoys, recognisers, setting.hold_out)
    )
    before, after = to_rgb8(pair.original), to_rgb8(pair.protected)
    return PaperRow(
        setting=setting,
        recognisers=tuple(r.name for r in recognisers),
        scores=scores,
        psnr=image_quality.psnr(before, after),
        ssim=image_quality.ssim(before, after),
        face_before=pair.face is not None,
        face_after=pair.protected_face is not None,
        steps=result.steps,
        seconds=float(result.seconds),
        people=len({parse_person(name) for name in references.names}),
        photos=task.photos,
        weights=task.weights,
        code=task.code,
        models=task.models,
    )


def _measure_task(task: Task) -> PaperRow:
    return measure(task, open_store_with(task.decoys_file))


def run(
    plan: Plan,
    folders: RunFolders,
    code: str,
    executor: Executor,
    log: Callable[[str], None],
    measure_task: Callable[[Task], PaperRow] = _measure_task,
) -> Outcome:
    """Measure the settings without a row of this code, these photos and recognisers, and append each row once complete.

    Args:
        log: prints a line.
        measure_task: measures one task; replaced in tests.

    Raises:
        ModelUnavailable: a recogniser or the generator of decoys is not available.
    """
    path, pictures = folders.rows / PAPER_FILE, folders.pictures / "paper"
    rows.drop_incomplete_line(path)
    photos = fingerprint_photos(plan.people.values())
    recognisers = load_named_recognisers(plan.recognisers, open_store())
    recogniser_code = fingerprint_recognisers(recognisers)
    weights = fingerprint_models(open_store(), plan.models, recogniser_code)
    embedding_code = f"{fingerprint_embedding()} {recogniser_code}"
    gallery_file = gallery.build(plan.people, pictures, f"{embedding_code} {photos}", executor, log, plan.recognisers)
    decoys_file = find_decoys(plan.recognisers, pictures, embedding_code)
    key = (tuple(r.name for r in recognisers), photos, weights, code, plan.models)
    stored = {row.setting for row in rows.read(path, PaperRow) if row.measured_with == key}
    # Other models make other pictures at the same settings.
    picture_folder = pictures if weights == recogniser_code else pictures / f"models-{weights}"
    settings = plan.list_settings()
    todo = [
        Task(
            photo,
            setting,
            plan.recognisers,
            picture_folder,
            gallery_file,
            decoys_file,
            photos,
            weights,
            code,
            plan.models,
        )
        for setting, photo in settings.items()
        if setting not in stored
    ]

    return run_missing(
        todo,
        len(settings) - len(todo),
        folders.rows,
        measure_task,
        partial(store_row, path, _summarise),
        lambda task: name_setting(task.setting),
        executor,
        log,
    )


def _summarise(row: PaperRow) -> str:
    if not row.face_before:
        return "no face in the original"
    if not row.face_after:
        return "no face in the protected picture"
    held_out = [s for s in row.scores if s.role == "held-out"]
    if row.setting.method == DECOY_METHOD:
        outcome = f"{sum(_is_above(s.target, s.far1) for s in held_out)}/{len(held_out)} take it for the decoy"
    else:
        pairs = [(pair, s.far1) for s in held_out for pair in s.others.values()]
        outcome = f"{sum(_is_above(*pair) for pair in pairs)}/{len(pairs)} match another photo"
    return f"held-out: {outcome} at FAR 1 %, PSNR {row.psnr:.1f} dB, SSIM {row.ssim:.3f}, {row.seconds:.0f} s"


def _is_above(change: Change | None, limit: float) -> bool:
    return change is not None and change[1] is not None and change[1] >= limit
