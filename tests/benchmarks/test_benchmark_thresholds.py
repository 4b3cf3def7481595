"""Which threshold counts: `bundle/train/thresholds.py` on pairs with known results."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from c2p_core.models.store import ModelStore, bundle_dir
from c2p_core.recognition import list_recognisers
from c2p_core.recognition.impostors import compute_impostor_similarities, find_threshold

TRAIN = Path(__file__).parents[2] / "bundle" / "train"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which finds the others beside it."""
    monkeypatch.syspath_prepend(str(TRAIN))
    spec = importlib.util.spec_from_file_location("thresholds_script", TRAIN / "thresholds.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "thresholds_script", module)
    spec.loader.exec_module(module)
    return module


def synthetic(far1: float, far01: float = 0.9) -> dict[str, float]:
    return {"far1": far1, "far01": far01, "impostor_mean": 0.1, "impostor_std": 0.2, "pairs": 5000}


def test_one_in_a_hundred_pairs_is_above_the_threshold(script: ModuleType) -> None:
    """Of 0.0000 to 0.9999, 1 % are above 0.9899 and 0.1 % above 0.9989."""
    pairs = torch.arange(10_000).double() / 10_000
    summary = script.summarise(pairs)
    assert summary == {"far1": 0.99, "far01": 0.999, "pairs": 10_000}
    assert float((pairs > summary["far1"]).float().mean()) == pytest.approx(0.01, abs=2e-4)


def test_too_few_pairs_give_no_threshold(script: ModuleType) -> None:
    """700 pairs hold seven false accepts at 1 %, and not one at 0.1 %; 499 hold fewer than five at 1 %."""
    assert find_threshold(torch.linspace(0, 1, 700), 0.001) is None
    assert find_threshold(torch.linspace(0, 1, 700), 0.01) is not None
    assert find_threshold(torch.linspace(0, 1, 499), 0.01) is None
    assert set(script.summarise(torch.linspace(0, 1, 499))) == {"pairs"}


def test_photos_of_one_person_are_no_impostor_pairs() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    assert len(compute_impostor_similarities(vectors, ["a", "a", "b"])) == 2
    assert len(compute_impostor_similarities(vectors, ["", "", ""])) == 3


@pytest.mark.parametrize(
    ("photos", "vendor", "far1", "source"),
    [
        (0.5, 0.6, 0.5, "photos"),
        (0.8, 0.4, 0.4, "vendor"),
        (0.8, 0.9, 0.7, "synthetic"),
        # Of equal ones the first decides.
        (0.7, 0.7, 0.7, "synthetic"),
        (0.6, 0.6, 0.6, "photos"),
        (None, None, 0.7, "synthetic"),
    ],
)
def test_the_lowest_of_the_three_sources_decides(
    script: ModuleType, photos: float | None, vendor: float | None, far1: float, source: str
) -> None:
    sources: dict[str, object] = {"synthetic": synthetic(0.7)}
    if photos is not None:
        sources["photos"] = {"far1": photos, "pairs": 700, "people": 8}
    if vendor is not None:
        sources["vendor"] = {"far1": vendor, "says": "somewhere"}
    entry = script.decide(sources)
    assert (entry["far1"], entry["decided_by"]["far1"]) == (far1, source)
    assert (entry["far01"], entry["decided_by"]["far01"]) == (0.9, "synthetic")
    assert (entry["impostor_mean"], entry["impostor_std"]) == (0.1, 0.2)
    assert entry["sources"] == sources


def test_too_few_photos_for_any_rate_decide_nothing(script: ModuleType) -> None:
    entry = script.decide({"synthetic": synthetic(0.7), "photos": {"pairs": 20, "people": 3}})
    assert (entry["far1"], entry["decided_by"]["far1"]) == (0.7, "synthetic")


def test_many_photos_also_decide_the_threshold_at_one_in_a_thousand(script: ModuleType) -> None:
    photos = {"far1": 0.5, "far01": 0.6, "pairs": 6000}
    assert script.decide({"synthetic": synthetic(0.7), "photos": photos})["far01"] == 0.6


def test_the_threshold_at_one_in_a_thousand_is_never_below_that_at_one_in_a_hundred(script: ModuleType) -> None:
    """The photos' low threshold for 0.1 % lies below the vendor's for 1 %."""
    photos = {"far1": 0.65, "far01": 0.55, "pairs": 6000}
    entry = script.decide({"synthetic": synthetic(0.7), "photos": photos, "vendor": {"far1": 0.6, "says": ""}})
    assert (entry["far1"], entry["far01"]) == (0.6, 0.6)


def test_a_recogniser_without_synthetic_pairs_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="--faces"):
        script.decide({"photos": {"far1": 0.5, "pairs": 700}})


def test_the_older_format_with_synthetic_pairs_only_is_still_read(script: ModuleType) -> None:
    old = {"pairs": {"train": 9, "val": 4}, "recognisers": {"faceres": {"far1": 0.6, "far01": 0.7}}}
    assert script.collect_sources(old) == {
        "faceres": {"synthetic": {"far1": 0.6, "far01": 0.7, "pairs": 9, "val_pairs": 4}}
    }


def test_the_shipped_file_holds_the_lowest_of_its_own_sources(script: ModuleType) -> None:
    table = json.loads((bundle_dir() / "mini" / "thresholds.json").read_text(encoding="utf-8"))
    store = ModelStore(offline=True)
    assert set(table["recognisers"]) == set(list_recognisers(store))
    for name, entry in table["recognisers"].items():
        assert entry == script.decide(entry["sources"]), name
        assert entry["impostor_mean"] < entry["far1"] <= entry["far01"] < 1
        default = store.entry(name).default
        stated = None if default is None else {"far1": default.threshold, "says": default.says}
        assert entry["sources"].get("vendor") == stated


@pytest.mark.slow
def test_measuring_a_folder_of_photos_returns_only_figures(script: ModuleType, tmp_path: Path) -> None:
    for name, factor in (("a1", 1.0), ("a2", 0.7), ("b1", 0.9)):
        Image.fromarray((data.astronaut() * factor).astype(np.uint8)).save(tmp_path / f"{name}.png")
    assert script.measure_photos(tmp_path, ["mobileface"], ModelStore()) == {"mobileface": {"pairs": 2, "people": 2}}
