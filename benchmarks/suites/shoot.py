"""Photos of people as a shoot: how well people are grouped, and whether a person's protected photos match each other.

Each person's photos are protected three times: each by itself; as a sequence, as ``c2p batch`` does with people, each
led away from the protected ones before it; and the same without warm starts, which shows what these cost. These are
real people: the output file contains only figures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.draw import polygon2mask

from benchmarks.data import RunFolders, parse_person
from benchmarks.fingerprint import fingerprint_code, fingerprint_embedding
from benchmarks.metrics.grouping import adjusted_rand_index
from benchmarks.metrics.image_quality import to_rgb8
from benchmarks.metrics.product_colours import Colours, compare_product_colours, measure_product_colours
from benchmarks.recognisers import load_every_recogniser, open_store
from benchmarks.rows import ALONE, SHOOT, SHOOT_FILE, SHOOT_METHODS
from benchmarks.suites import gallery
from benchmarks.suites.lights import photograph_in_lights
from c2p_core import faces
from c2p_core.api import CancelToken, Face, FaceReport, ProtectRequest
from c2p_core.device import pick_device
from c2p_core.faces.regions import OUTER_LIPS
from c2p_core.faces.view import View
from c2p_core.io import photo_files
from c2p_core.io.atomic_files import write_whole
from c2p_core.models.loaded import WarmModels
from c2p_core.people.finding import similarity_threshold
from c2p_core.people.grouping import group_faces
from c2p_core.people.listing import ListedFace, Listing, name_photo
from c2p_core.people.looks_file import Looks
from c2p_core.people.results import Results
from c2p_core.people.shoot import ShootLooks
from c2p_core.people.traces import ShootTraces
from c2p_core.photo import Photo
from c2p_core.pipeline import protect
from c2p_core.recognition import Recogniser
from c2p_core.verify import crop_face, embed_face

# The default prompt paints hardly anything.
LOOK = "red lipstick and smoky eyes"
_GROUPED_FACES = 5000


@dataclass(frozen=True)
class Protected:
    """One photo before and after protection.

    Attributes:
        label: of the photo.
        before, after: unit embeddings by recogniser.
        lips_before, lips: mean CIE L*a*b* of the lips.
        steps, seconds: of the search.
        products: colours of the products on the protected photo.
    """

    label: str
    before: gallery.Embeddings
    after: gallery.Embeddings
    lips_before: NDArray[np.float64]
    lips: NDArray[np.float64]
    steps: int
    seconds: float
    products: Colours = field(default_factory=dict)


def measure_grouping(
    people: gallery.Gallery, strangers: gallery.Gallery | None, recogniser: Recogniser
) -> dict[str, float]:
    """Group photos of people by one recogniser, and compare the groups with their labels.

    Returns:
        the adjusted Rand index, "ari"; "with_strangers", the same among further people of one photo each, and "joined",
        the share of these that are in a group with somebody.
    """
    truth = [parse_person(name) for name in people.names]

    def group(vectors: NDArray[np.float32]) -> list[int]:
        count = len(vectors)
        return [int(n) for n in group_faces(vectors, range(count), [0] * count, similarity_threshold(recogniser))]

    vectors_of_people = people.embeddings[recogniser.name]
    figures = {"ari": adjusted_rand_index(truth, group(vectors_of_people))}
    if strangers is not None:
        labels = group(np.concatenate([vectors_of_people, strangers.embeddings[recogniser.name]]))
        figures["with_strangers"] = adjusted_rand_index([*truth, *strangers.names], labels)
        figures["joined"] = fmean(labels.count(label) > 1 for label in labels[len(truth) :])
    return figures


def time_grouping() -> dict[str, float]:
    """Seconds to group 5,000 synthetic faces: of 150 people, and of people who all resemble each other."""
    rng = np.random.default_rng(0)
    centres, noise = rng.normal(size=(150, 192)), rng.normal(size=(_GROUPED_FACES, 192))
    crowds = {
        "of_150_people": centres[rng.integers(0, 150, _GROUPED_FACES)] + 0.7 * noise,
        "alike": noise + 1.2 * rng.normal(size=192),
    }
    seconds = {}
    for name, crowd in crowds.items():
        vectors = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
        start = time.perf_counter()
        group_faces(vectors, [index // 5 for index in range(_GROUPED_FACES)], [0] * _GROUPED_FACES, 0.563)
        seconds[name] = time.perf_counter() - start
    return seconds


def protect_person(photos: Mapping[str, Path], options: Mapping[str, Any], method: str) -> list[Protected]:
    """Protect the photos of one person, by label, one after the other; photos without a face are left out."""
    store, warm = open_store(), WarmModels()
    candidates = ((label, path, *_read(path)) for label, path in photos.items())
    with_face = [(label, path, photo, face) for label, path, photo, face in candidates if face is not None]
    folder = next(iter(photos.values())).parent
    listed_faces = [ListedFace(name_photo(path, folder), face.number, face.box, 1) for _, path, _, face in with_face]
    looks = ShootLooks(Looks(), Listing((), tuple(listed_faces)), folder)
    traces = looks.make_traces(Results({}))
    protected = []
    for label, path, photo, face in with_face:
        request = ProtectRequest(photo, faces=(face.number,), layers=True, **options)
        if method != ALONE:
            request = _lead_away(str(path), request, face, looks, traces)
            request = request if method == SHOOT else _drop_codes(request)
        result = protect(request, store=store, warm=warm)
        traces.record(str(path), looks.learn(str(path), result))
        protected_face = faces.find_again(View(result.photo), face, store) or face
        report = next(report for report in result.faces if report.number == face.number)
        colours = measure_product_colours(layer for layer in result.layers if layer.face == face.number)
        protected.append(_make_protected(label, photo, face, result.photo, protected_face, report, colours))
    return protected


def _lead_away(
    path: str, request: ProtectRequest, face: Face, looks: ShootLooks, traces: ShootTraces
) -> ProtectRequest:
    """The request that ``c2p batch`` would make for a photo."""
    chosen, cancel = looks.choose(path, request, [face]), CancelToken()
    assert chosen is not None  # nobody is skipped
    find_traces = partial(traces.find, cancel=cancel)
    return looks.lead_away(path, chosen, [face], find_traces, cancel)


def _drop_codes(request: ProtectRequest) -> ProtectRequest:
    """The request without the codes of earlier photos, from which searches start warm."""
    looks = (replace(look, earlier=tuple(replace(trace, code={}) for trace in look.earlier)) for look in request.looks)
    return replace(request, looks=tuple(looks))


def _read(path: Path) -> tuple[Photo, Face | None]:
    photo = photo_files.read(path)
    return photo, next((face for face in faces.find_faces(photo, open_store()) if not face.skipped), None)


def _make_protected(
    label: str, photo: Photo, face: Face, protected: Photo, protected_face: Face, report: FaceReport, products: Colours
) -> Protected:
    return Protected(
        label,
        _embed(photo, face),
        _embed(protected, protected_face),
        _measure_lip_colour(photo, face),
        _measure_lip_colour(protected, protected_face),
        report.steps,
        report.seconds,
        products,
    )


def _embed(photo: Photo, face: Face) -> gallery.Embeddings:
    embeddings = embed_face(crop_face(View(photo), face), load_every_recogniser(open_store()), pick_device("auto"))
    return {name: vector.cpu().numpy() for name, vector in embeddings.items()}


def _measure_lip_colour(photo: Photo, face: Face) -> NDArray[np.float64]:
    picture = to_rgb8(photo)
    lips = polygon2mask(picture.shape[:2], face.mesh[list(OUTER_LIPS), ::-1])
    return np.asarray(rgb2lab(picture)[lips].mean(0), dtype=np.float64)


def summarise(
    people: Sequence[Sequence[Protected]], recognisers: Sequence[Recogniser], held_out: str
) -> dict[str, Any]:
    """Summarise a method's results over the photos of all people.

    Returns:
        by role, "white-box" and "held-out", the share of matches that were lost, at FAR 1 %, as means over recognisers:
        of protected photos with photos as they were, "others", and with protected ones, "protected". "lips" and
        "lips_before", mean Delta E 2000 between photos of a person. "steps" and "seconds" a photo after the first.
        "measured_on", the labels of the photos.

    Raises:
        ValueError: nobody has two photos with a face.
    """
    people = [photos for photos in people if len(photos) > 1]
    if not people:
        raise ValueError("nobody has two photos with a face")
    later = [photo for photos in people for photo in photos[1:]]
    pairs = [pair for photos in people for pair in combinations(photos, 2)]
    roles: dict[str, list[tuple[float, float]]] = {}
    for r in recognisers:
        matched = [(first, second) for first, second in pairs if first.before[r.name] @ second.before[r.name] >= r.far1]
        if not matched:
            continue
        one_lost = fmean(
            float(a.after[r.name] @ b.before[r.name] < r.far1)
            for first, second in matched
            for a, b in ((first, second), (second, first))
        )
        both_lost = fmean(float(first.after[r.name] @ second.after[r.name] < r.far1) for first, second in matched)
        roles.setdefault("held-out" if r.family == held_out else "white-box", []).append((one_lost, both_lost))
    return {
        **{
            role: dict(zip(("others", "protected"), map(fmean, zip(*shares, strict=True)), strict=True))
            for role, shares in roles.items()
        },
        "lips": fmean(float(deltaE_ciede2000(first.lips, second.lips)) for first, second in pairs),
        "lips_before": fmean(float(deltaE_ciede2000(first.lips_before, second.lips_before)) for first, second in pairs),
        "steps": fmean(photo.steps for photo in later),
        "seconds": fmean(photo.seconds for photo in later),
        "measured_on": [photo.label for photos in people for photo in photos],
    }


def summarise_products(people: Sequence[Sequence[Protected]]) -> dict[str, Any]:
    """Summarise how the products of a person's photos differ.

    Returns:
        "products", mean Delta E 2000 of their colours between two photos, and "products_most", the largest, None
        without any; "products_alone", the share of a pair's products that only one of the photos has.
        "measured_on", the labels of the photos.
    """
    differences = [compare_product_colours([photo.products for photo in photos]) for photos in people]
    colours = [colour for difference in differences for colour in difference.colours]
    unshared = sum(difference.unshared for difference in differences)
    total = len(colours) + unshared
    return {
        "products": fmean(colours) if colours else None,
        "products_most": max(colours, default=None),
        "products_alone": unshared / total if total else None,
        "measured_on": [photo.label for photos in people for photo in photos],
    }


def _measure_looks(
    portraits: Sequence[Path], options: Mapping[str, Any], folder: Path, executor: Executor, log: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measure by method how products differ between the photos of a portrait; see `summarise_products`."""
    photos_by_portrait = [
        {f"{portrait.stem}/{path.stem}": path for path in photograph_in_lights(portrait, folder / portrait.stem)}
        for portrait in portraits
    ]
    results = {}
    for method in (ALONE, SHOOT) if photos_by_portrait else ():
        protect_portrait = partial(protect_person, options={**options, "prompt": LOOK}, method=method)
        results[method] = summarise_products(list(executor.map(protect_portrait, photos_by_portrait)))
        log(f"{method}: {results[method]}")
    return results


def run(
    people: Mapping[str, Path],
    strangers: Mapping[str, Path],
    protected: int,
    each: int | None,
    portraits: Sequence[Path],
    options: Mapping[str, Any],
    folders: RunFolders,
    executor: Executor,
    log: Callable[[str], None],
) -> Path:
    """Measure, and write ``shoot.json`` into the folder of rows; returns it.

    Args:
        people: photos, by labels as `data.list_people` gives them.
        strangers: photos of further people, by name.
        protected: how many of the people are protected, in their order.
        each: how many of a person's photos are protected, the first ones; None for all.
        portraits: in colour, each of which is protected with `LOOK` as if taken in several lights.
        options: fields of the request.
    """
    embedding_code = fingerprint_embedding()
    people_gallery = gallery.load(gallery.build(people, folders.pictures, embedding_code, executor, log))
    stranger_gallery = (
        gallery.load(gallery.build(strangers, folders.pictures, embedding_code, executor, log)) if strangers else None
    )
    recognisers = load_every_recogniser(open_store())
    results: dict[str, Any] = {
        "code": fingerprint_code(),
        "photos": len(people_gallery.names),
        "people": len({parse_person(name) for name in people_gallery.names}),
        "strangers": 0 if stranger_gallery is None else len(stranger_gallery.names),
        "grouping": {r.name: measure_grouping(people_gallery, stranger_gallery, r) for r in recognisers},
        "seconds_for_5000": time_grouping(),
        "options": dict(options),
        "shoot": {},
    }
    by_person: dict[str, dict[str, Path]] = {}
    for label, photo in people.items():
        by_person.setdefault(parse_person(label), {})[label] = photo
    limited = [dict(islice(photos.items(), each)) for photos in by_person.values()]
    selected = [photos for photos in limited if len(photos) > 1][:protected]
    for method in SHOOT_METHODS if selected else ():
        protected_people = []
        for photos in executor.map(partial(protect_person, options=options, method=method), selected):
            protected_people.append(photos)
            log(f"{method}: {len(photos)} photos of person {len(protected_people)} of {len(selected)} protected")
        results["shoot"][method] = summarise(protected_people, recognisers, options["hold_out"])
        log(f"{method}: {results['shoot'][method]}")
    results["looks"] = _measure_looks(portraits, options, folders.pictures / "lights", executor, log)
    path = folders.rows / SHOOT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(results, indent=2) + "\n").encode())
    return path
