"""Photos of people as a shoot: who is told apart, and whether protected photos of one person match each other.

Each person's photos are protected twice: every one by itself, and in a row as ``c2p batch`` does with people, each led
away from the protected ones before it. Real people: the file that is written has figures alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.draw import polygon2mask

from benchmarks.data import RunFolders, person_of
from benchmarks.fingerprint import fingerprint_code, fingerprint_embedding
from benchmarks.metrics.grouping import adjusted_rand_index
from benchmarks.metrics.image_quality import rgb8
from benchmarks.metrics.product_colours import Colours, compare_product_colours, measure_product_colours
from benchmarks.recognisers import load_every_recogniser, open_store
from benchmarks.rows import SHOOT_FILE
from benchmarks.suites import gallery
from benchmarks.suites.lights import photograph_in_lights
from c2p_core import faces
from c2p_core.api import Face, FaceReport, ProtectRequest
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
from c2p_core.people.shoot import ShootLooks
from c2p_core.photo import Photo
from c2p_core.pipeline import protect
from c2p_core.recognition import Recogniser
from c2p_core.verify import crop_face, embed_face

METHODS = ("each by itself", "as a shoot")
# The default prompt paints next to nothing.
LOOK = "red lipstick and smoky eyes"
_MANY = 5000


@dataclass(frozen=True)
class Protected:
    """One photo before and after.

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
    known: gallery.Gallery, strangers: gallery.Gallery | None, recogniser: Recogniser
) -> dict[str, float]:
    """Group photos of people whom their labels tell by one recogniser.

    Returns:
        the adjusted Rand index, "ari"; "with_strangers", the same among further people of one photo each, and "joined",
        the share of these that are in a group with somebody.
    """
    truth = [person_of(name) for name in known.names]

    def group(vectors: NDArray[np.float32]) -> list[int]:
        count = len(vectors)
        return [int(n) for n in group_faces(vectors, range(count), [0] * count, similarity_threshold(recogniser))]

    own = known.people[recogniser.name]
    found = {"ari": adjusted_rand_index(truth, group(own))}
    if strangers is not None:
        labels = group(np.concatenate([own, strangers.people[recogniser.name]]))
        found["with_strangers"] = adjusted_rand_index([*truth, *strangers.names], labels)
        found["joined"] = fmean(labels.count(label) > 1 for label in labels[len(truth) :])
    return found


def time_grouping() -> dict[str, float]:
    """Seconds to group 5,000 made-up faces: of 150 people, and of people who all resemble each other."""
    rng = np.random.default_rng(0)
    centres, noise = rng.normal(size=(150, 192)), rng.normal(size=(_MANY, 192))
    crowds = {
        "of_150_people": centres[rng.integers(0, 150, _MANY)] + 0.7 * noise,
        "alike": noise + 1.2 * rng.normal(size=192),
    }
    took = {}
    for name, crowd in crowds.items():
        vectors = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
        began = time.perf_counter()
        group_faces(vectors, [at // 5 for at in range(_MANY)], [0] * _MANY, 0.563)
        took[name] = time.perf_counter() - began
    return took


def protect_person(photos: Mapping[str, Path], options: Mapping[str, Any], method: str) -> list[Protected]:
    """Protect the photos of one person, by their labels, one after the other; those without a face are left out."""
    store, warm = open_store(), WarmModels()
    found = ((label, path, *_read(path)) for label, path in photos.items())
    seen = [(label, path, photo, face) for label, path, photo, face in found if face is not None]
    folder = next(iter(photos.values())).parent
    listed = [ListedFace(name_photo(path, folder), face.number, face.box, 1) for _, path, _, face in seen]
    looks = ShootLooks(Looks(), Listing((), tuple(listed)), folder)
    made = []
    for label, path, photo, face in seen:
        request = ProtectRequest(photo, faces=(face.number,), layers=True, **options)
        if method == METHODS[1]:
            chosen = looks.choose(str(path), request, [face])
            assert chosen is not None  # nobody is skipped
            request = chosen
        result = protect(request, store=store, warm=warm)
        looks.learn(str(path), result)
        again = faces.find_again(View(result.photo), face, store) or face
        report = next(report for report in result.faces if report.number == face.number)
        colours = measure_product_colours(layer for layer in result.layers if layer.face == face.number)
        made.append(_compare(label, photo, face, result.photo, again, report, colours))
    return made


def _read(path: Path) -> tuple[Photo, Face | None]:
    photo = photo_files.read(path)
    return photo, next((face for face in faces.find_faces(photo, open_store()) if not face.skipped), None)


def _compare(
    label: str, photo: Photo, face: Face, protected: Photo, again: Face, report: FaceReport, products: Colours
) -> Protected:
    return Protected(
        label,
        _embed(photo, face),
        _embed(protected, again),
        _lip_colour(photo, face),
        _lip_colour(protected, again),
        report.steps,
        report.seconds,
        products,
    )


def _embed(photo: Photo, face: Face) -> gallery.Embeddings:
    found = embed_face(crop_face(View(photo), face), load_every_recogniser(open_store()), pick_device("auto"))
    return {name: vector.cpu().numpy() for name, vector in found.items()}


def _lip_colour(photo: Photo, face: Face) -> NDArray[np.float64]:
    picture = rgb8(photo)
    lips = polygon2mask(picture.shape[:2], face.mesh[list(OUTER_LIPS), ::-1])
    return np.asarray(rgb2lab(picture)[lips].mean(0), dtype=np.float64)


def summarise(
    people: Sequence[Sequence[Protected]], recognisers: Sequence[Recogniser], held_out: str
) -> dict[str, Any]:
    """What a method came to, over the photos of all people.

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
        matched = [(one, two) for one, two in pairs if one.before[r.name] @ two.before[r.name] >= r.far1]
        if not matched:
            continue
        others = fmean(
            float(a.after[r.name] @ b.before[r.name] < r.far1)
            for one, two in matched
            for a, b in ((one, two), (two, one))
        )
        both = fmean(float(one.after[r.name] @ two.after[r.name] < r.far1) for one, two in matched)
        roles.setdefault("held-out" if r.family == held_out else "white-box", []).append((others, both))
    return {
        **{
            role: dict(zip(("others", "protected"), map(fmean, zip(*shares, strict=True)), strict=True))
            for role, shares in roles.items()
        },
        "lips": fmean(float(deltaE_ciede2000(one.lips, two.lips)) for one, two in pairs),
        "lips_before": fmean(float(deltaE_ciede2000(one.lips_before, two.lips_before)) for one, two in pairs),
        "steps": fmean(photo.steps for photo in later),
        "seconds": fmean(photo.seconds for photo in later),
        "measured_on": [photo.label for photos in people for photo in photos],
    }


def summarise_products(people: Sequence[Sequence[Protected]]) -> dict[str, Any]:
    """How the products of a person's photos differ.

    Returns:
        "products", mean Delta E 2000 of their colours between two photos, and "products_most", the largest, None
        without any; "products_alone", the share of a pair's products that only one of the photos wears.
        "measured_on", the labels of the photos.
    """
    found = [compare_product_colours([photo.products for photo in photos]) for photos in people]
    colours = [colour for differences in found for colour in differences.colours]
    alone = sum(differences.alone for differences in found)
    worn = len(colours) + alone
    return {
        "products": fmean(colours) if colours else None,
        "products_most": max(colours, default=None),
        "products_alone": alone / worn if worn else None,
        "measured_on": [photo.label for photos in people for photo in photos],
    }


def _measure_looks(
    portraits: Sequence[Path], options: Mapping[str, Any], folder: Path, executor: Executor, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """By method, how products differ between the photos of a portrait; see `summarise_products`."""
    taken = [
        {f"{portrait.stem}/{path.stem}": path for path in photograph_in_lights(portrait, folder / portrait.stem)}
        for portrait in portraits
    ]
    found = {}
    for method in METHODS if taken else ():
        work = partial(protect_person, options={**options, "prompt": LOOK}, method=method)
        found[method] = summarise_products(list(executor.map(work, taken)))
        say(f"{method}: {found[method]}")
    return found


def run(
    people: Mapping[str, Path],
    strangers: Mapping[str, Path],
    protected: int,
    each: int | None,
    portraits: Sequence[Path],
    options: Mapping[str, Any],
    folders: RunFolders,
    executor: Executor,
    say: Callable[[str], None],
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
    seeing = fingerprint_embedding()
    known = gallery.load(gallery.build(people, folders.pictures, seeing, executor, say))
    crowd = gallery.load(gallery.build(strangers, folders.pictures, seeing, executor, say)) if strangers else None
    recognisers = load_every_recogniser(open_store())
    found: dict[str, Any] = {
        "code": fingerprint_code(),
        "photos": len(known.names),
        "people": len({person_of(name) for name in known.names}),
        "strangers": 0 if crowd is None else len(crowd.names),
        "grouping": {r.name: measure_grouping(known, crowd, r) for r in recognisers},
        "seconds_for_5000": time_grouping(),
        "options": dict(options),
        "shoot": {},
    }
    by_person: dict[str, dict[str, Path]] = {}
    for label, photo in people.items():
        by_person.setdefault(person_of(label), {})[label] = photo
    first = [dict(islice(photos.items(), each)) for photos in by_person.values()]
    chosen = [photos for photos in first if len(photos) > 1][:protected]
    for method in METHODS if chosen else ():
        made = []
        for photos in executor.map(partial(protect_person, options=options, method=method), chosen):
            made.append(photos)
            say(f"{method}: {len(photos)} photos of person {len(made)} of {len(chosen)} protected")
        found["shoot"][method] = summarise(made, recognisers, options["hold_out"])
        say(f"{method}: {found['shoot'][method]}")
    found["looks"] = _measure_looks(portraits, options, folders.pictures / "lights", executor, say)
    path = folders.rows / SHOOT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(found, indent=2) + "\n").encode())
    return path
