"""Baselines and the pictures they make; without recognisers where that is possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import EYE_DISTANCE, face, photo

from benchmarks.errors import NoData
from benchmarks.methods import baselines
from benchmarks.metrics.face_masks import make_face_mask
from benchmarks.suites import one_person
from benchmarks.suites.cost import make_group_photo
from benchmarks.suites.gallery import Gallery
from c2p_core.faces.align import CANVAS, CANVAS_EYE_DISTANCE
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.recognition import Recogniser
from tests.error_assertions import raising

BRIGHTNESS = Recogniser(
    "brightness",
    "brightness",
    "MIT",
    0.5,
    0.7,
    0.1,
    lambda images, mesh: torch.nn.functional.normalize(
        torch.stack([images.mean((1, 2, 3)), torch.full((len(images),), 0.5)], 1)
    ),
)


@pytest.mark.parametrize("disguise", [baselines.blur, baselines.pixelate])
def test_disguises_change_only_the_face_and_more_with_strength(disguise: object) -> None:
    before = Photo(photo())
    weak, strong = (disguise(before, face(), strength).pixels.astype(int) for strength in (0.1, 0.4))  # type: ignore[operator]
    outside = ~make_face_mask(weak.shape[:2], face().mesh)
    assert np.array_equal(weak[outside], before.pixels[outside])
    assert 0 < np.abs(weak - before.pixels).sum() < np.abs(strong - before.pixels).sum()


def test_pixels_are_cells_of_one_colour() -> None:
    pixelated = baselines.pixelate(Photo(photo()), face(), 0.2).pixels
    side = round(0.2 * EYE_DISTANCE)
    row, column = (140 // side) * side, (160 // side) * side
    assert np.ptp(pixelated[row : row + side, column : column + side].reshape(-1, 3), axis=0).max() == 0


def test_a_change_of_the_canvas_reaches_the_photo_where_the_canvas_lies() -> None:
    flat = np.full((320, 320, 3), 100, np.uint8)
    change = torch.zeros(3, CANVAS, CANVAS)
    change[:, 96:112, 120:136] = 0.1  # around the point between the eyes, (128, 104)
    difference = baselines.add_change(flat, face(), change).astype(int) - 100
    x, y = 160, 140
    assert difference[y, x].tolist() == [26, 26, 25] or difference[y, x].min() >= 25
    half = 8 * EYE_DISTANCE / CANVAS_EYE_DISTANCE
    assert difference[y, round(x + half + 3)].max() == 0
    assert difference[y, round(x + half - 3)].min() >= 25


@pytest.mark.parametrize("method", [baselines.pgd, baselines.mi_fgsm, baselines.masked_noise, baselines.smooth_noise])
def test_noise_is_bounded_stays_on_the_face_and_leads_away_from_it(
    method: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(baselines, "load_every_recogniser", lambda _store: (BRIGHTNESS,))
    before = Photo(photo())
    store = ModelStore(tmp_path, offline=True)
    protected = method(before, face(), 0.5, "none", 8, 0, store).pixels.astype(int)  # type: ignore[operator]
    change = protected - before.pixels
    assert np.abs(change).max() <= np.ceil(baselines.NOISE * 0.5 * 255)
    inside = make_face_mask((320, 320), face().mesh)
    assert np.abs(change[inside].mean()) > 1.0
    assert np.abs(change[:10]).max() == 0


def test_noise_never_uses_the_held_out_family(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(images: torch.Tensor, mesh: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the held-out recogniser was asked")

    held_out = Recogniser("held", "held", "MIT", 0.5, 0.7, 0.1, refuse)
    monkeypatch.setattr(baselines, "load_every_recogniser", lambda _store: (BRIGHTNESS, held_out))
    baselines.pgd(Photo(photo()), face(), 0.5, "held", 2, 0, ModelStore(tmp_path, offline=True))


def test_the_rank_counts_closer_people_but_not_the_person_or_near_duplicates() -> None:
    people = np.array([[1.0, 0.0], [0.9, 0.436], [0.8, 0.6], [0.0, 1.0]], np.float32)
    gallery = Gallery(("me", "twin", "near", "far"), {"r": people}, {"me": frozenset({"twin"})})
    probe = np.array([0.8, 0.6], np.float32)
    assert gallery.rank("me", "r", probe, own_similarity=0.8) == 2
    assert gallery.rank("me", "r", probe, own_similarity=1.01) == 1


def test_an_archive_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], **_options: object) -> object:
        (Path(command[command.index("--dest") + 1]) / "face_recognition-1.3.0.tar.gz").write_bytes(b"something else")
        return type("Done", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(one_person.subprocess, "run", download)
    with raising(NoData, "package-changed"):
        one_person.fetch_photos(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_group_photo_has_the_requested_size_and_all_portraits(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    photos = []
    for index, colour in enumerate(colours):
        photos.append(tmp_path / f"{index}.png")
        Image.new("RGB", (300, 320), colour).save(photos[-1])
    make_group_photo(photos, 1.0, tmp_path / "group.jpg")
    group_photo = Image.open(tmp_path / "group.jpg")
    assert group_photo.width * group_photo.height == pytest.approx(1e6, rel=0.01)
    pixels = np.asarray(group_photo).reshape(-1, 3).astype(int)
    for colour in colours:
        assert (np.abs(pixels - colour).max(1) < 40).mean() > 0.1
