"""Which models a run takes, by what is asked for and what is here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from c2p_core.api import Profile, ProtectRequest
from c2p_core.batch.planning import hash_settings
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.models.store import ModelStore
from c2p_core.photo import Photo
from c2p_core.profiles import choose_profile, find_generator, list_full_recognisers, read_default_profile
from c2p_core.worker.job_header import JobHeader
from c2p_core.worker.job_request import build_request
from c2p_core.worker.jobs import Jobs
from tests.error_assertions import raising

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
REQUEST = ProtectRequest(Photo(np.zeros((1, 1, 3), np.uint8)))
EMBEDDED = ("embedded", "makeup", "clip-mini")
FULL = ("full", "stylegan2", "ViT-B-32:openai")


@pytest.fixture
def bare(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path, offline=True)


@pytest.fixture
def fetched(bare: ModelStore) -> ModelStore:
    """A store with the files that the full profile needs, of the right names and sizes, and nothing in them."""
    for name in ("e4e-ffhq", "clip-openai"):
        put(bare, name)
    return bare


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyTorch would say of a graphics card."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")


def put(store: ModelStore, name: str) -> None:
    entry = store.entry(name)
    for file in entry.files:
        path = store.root / name / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as output:
            output.truncate(file.size or 1000)  # takes no space


def choose_models(store: ModelStore, device: torch.device, **options: Any) -> tuple[str, str, str]:
    request = choose_profile(replace(REQUEST, **options), store, device).request
    return request.profile, request.prior, request.clip


def explain_choice(store: ModelStore, device: torch.device, profile: Profile) -> Message:
    return choose_profile(replace(REQUEST, profile=profile), store, device).why


def test_shipped_models_are_the_default_even_if_others_are_available(fetched: ModelStore) -> None:
    assert choose_models(fetched, CUDA) == EMBEDDED
    assert explain_choice(fetched, CUDA, "embedded") == Message("profile-embedded")


def test_auto_chooses_full_if_its_files_and_a_card_are_available(fetched: ModelStore) -> None:
    assert choose_models(fetched, CUDA, profile="auto") == FULL
    assert explain_choice(fetched, CUDA, "auto") == Message("profile-auto-full", device="a card")


def test_auto_chooses_embedded_without_a_card(fetched: ModelStore) -> None:
    assert choose_models(fetched, CPU, profile="auto") == EMBEDDED
    assert explain_choice(fetched, CPU, "auto") == Message("profile-auto-without-gpu")


@pytest.mark.parametrize("missing", ["e4e-ffhq", "clip-openai"])
def test_auto_chooses_embedded_if_a_file_is_missing_and_names_it(bare: ModelStore, missing: str) -> None:
    for name in {"e4e-ffhq", "clip-openai"} - {missing}:
        put(bare, name)
    assert choose_models(bare, CUDA, profile="auto") == EMBEDDED
    assert explain_choice(bare, CUDA, "auto") == Message("profile-auto-incomplete", missing=[missing])


def test_full_runs_on_a_processor_if_it_is_requested(fetched: ModelStore) -> None:
    assert choose_models(fetched, CPU, profile="full") == FULL
    assert explain_choice(fetched, CPU, "full") == Message("profile-full")


def test_full_without_its_files_says_what_is_missing(bare: ModelStore) -> None:
    with raising(ModelUnavailable, "profile-incomplete", missing=["e4e-ffhq", "clip-openai"]):
        choose_models(bare, CUDA, profile="full")


def test_a_generator_of_the_users_own_serves_the_full_profile(bare: ModelStore) -> None:
    put(bare, "clip-openai")
    for name in ("generator.pt", "encoder.pt"):
        (bare.root / "stylegan2").mkdir(exist_ok=True)
        (bare.root / "stylegan2" / name).touch()
    assert choose_models(bare, CUDA, profile="auto") == FULL


def test_another_text_model_that_was_fetched_serves_the_full_profile(bare: ModelStore) -> None:
    for name in ("e4e-ffhq", "clip-laion"):
        put(bare, name)
    assert choose_models(bare, CUDA, profile="auto") == ("full", "stylegan2", "ViT-B-32:laion2b_s34b_b79k")


def test_the_full_text_model_works_with_the_prior_makeup(bare: ModelStore) -> None:
    put(bare, "clip-openai")
    assert choose_models(bare, CPU, profile="full", prior="makeup") == ("full", "makeup", "ViT-B-32:openai")
    assert choose_models(bare, CUDA, profile="auto", prior="makeup") == ("full", "makeup", "ViT-B-32:openai")


def test_the_full_recognisers_work_with_the_shipped_models(bare: ModelStore) -> None:
    shipped = {"prior": "makeup", "clip": "clip-mini"}
    with raising(ModelUnavailable, "profile-incomplete"):
        choose_models(bare, CPU, profile="full", **shipped)
    put(bare, "sface")
    assert choose_models(bare, CPU, profile="full", **shipped) == ("full", "makeup", "clip-mini")
    assert list_full_recognisers(bare) == ("sface",)


def test_models_named_in_a_request_are_used_in_any_profile(fetched: ModelStore) -> None:
    models = {"prior": "stylegan2", "clip": "ViT-L-14:openai"}
    assert choose_models(fetched, CPU, profile="embedded", **models) == ("embedded", *models.values())
    assert choose_models(fetched, CUDA, profile="auto", **models)[1:] == tuple(models.values())


def test_a_fetched_generator_is_listed_and_the_shipped_one_is_not(bare: ModelStore, fetched: ModelStore) -> None:
    assert find_generator(ModelStore(bare.root / "elsewhere", offline=True)) is None
    assert find_generator(fetched) == "e4e-ffhq"


def test_an_unknown_profile_is_refused(bare: ModelStore) -> None:
    with raising(BadRequest, "profile-unknown", profile="best", known=["embedded", "full", "auto"]):
        choose_models(bare, CPU, profile="best")


def test_results_from_before_profiles_existed_are_still_used(tmp_path: Path) -> None:
    now = {"profile": "embedded", "prior": "auto", "clip": "auto", "seed": 1}
    assert hash_settings(now, False) == hash_settings({"prior": "makeup", "clip": "clip-mini", "seed": 1}, False)
    full = hash_settings(now | {"profile": "full"}, False)
    assert full not in (hash_settings(now, False), hash_settings(now | {"profile": "auto"}, False))


# The worker, and so GIMP


def test_a_job_uses_its_own_profile_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C2P_PROFILE", raising=False)
    assert build_request(JobHeader({})).profile == "embedded"
    monkeypatch.setenv("C2P_PROFILE", "auto")
    assert read_default_profile() == build_request(JobHeader({})).profile == "auto"
    assert build_request(JobHeader({"profile": "full"})).profile == "full"
    monkeypatch.setenv("C2P_PROFILE", "most")
    with raising(BadRequest, "profile-unknown"):
        read_default_profile()


def test_a_job_for_an_unknown_profile_is_refused() -> None:
    with raising(BadRequest, "setting-unknown"):
        build_request(JobHeader({"profile": "most"}))


@pytest.mark.parametrize(
    ("profile", "name", "code"),
    [
        ("embedded", "embedded", "profile-embedded"),
        ("auto", "embedded", "profile-auto-incomplete"),
        ("full", None, "profile-incomplete"),
        ("most", None, "profile-unknown"),
    ],
)
def test_the_workers_greeting_names_its_profile_and_the_reason(
    bare: ModelStore, monkeypatch: pytest.MonkeyPatch, profile: str, name: str | None, code: str
) -> None:
    monkeypatch.setenv("C2P_PROFILE", profile)
    # What the greeting waits for, but not what this is about.
    monkeypatch.setattr("c2p_core.models.loaded.warm_up", lambda *_: None)
    profile = Jobs(bare).describe()["profile"]
    assert profile["name"] == name and profile["why"]["code"] == code
