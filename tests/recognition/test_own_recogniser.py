"""A user's own recogniser: an installed module, and one entry of a manifest in the folder of models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from click.testing import CliRunner
from PIL import Image

from c2p_core import Photo, ProtectRequest, check, cli, protect
from c2p_core.errors import BadRequest, Message, ModelUnavailable
from c2p_core.io.report import photo_report
from c2p_core.models.loaded import WarmModels, load_models
from c2p_core.models.manifest import Default
from c2p_core.models.store import ModelStore
from c2p_core.profiles import choose_profile
from c2p_core.recognition import list_recognisers, load_recognisers
from c2p_core.recognition.impostors import Impostors, group_photos_by_person, save_own_thresholds
from c2p_core.recognition.thresholds import Thresholds, choose_limits
from tests.error_assertions import raising, sentence
from tests.toy_recogniser_files import DEFAULT, install_toy, list_toy

CPU = torch.device("cpu")
KEYS = {"toy": "toy"}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with a toy recogniser."""
    return install_toy(tmp_path, monkeypatch)


def test_a_photo_is_protected_from_it_with_one_warning_that_it_is_unmeasured(models: Path) -> None:
    store, warm, photo = ModelStore(models, offline=True), WarmModels(), Photo(skimage.data.astronaut())
    request = ProtectRequest(photo, recognisers=("mobileface", "toy"), hold_out="mobileface", steps=6, device="cpu")
    result = protect(request, store=store, warm=warm)
    toy = next(s for s in result.faces[0].similarities if s.recogniser == "toy")
    assert (toy.family, toy.held_out, toy.far1, toy.far01, toy.other_photos) == ("toys", False, 0.9, 0.9, None)
    assert 1 - toy.after > 20 * (1 - toy.before)  # a network with random weights hardly distinguishes faces
    assert [warning for warning in result.warnings if warning.fields.get("name") == "toy"] == [
        Message("recogniser-measured-by-vendor", name="toy")
    ]


def test_decoys_without_its_embedding_are_used_for_the_others_with_a_warning(models: Path) -> None:
    request = ProtectRequest(
        Photo(skimage.data.astronaut()),
        mode="decoy",
        recognisers=("mobileface", "toy", "dlib-resnet"),
        hold_out="dlib-resnet",
        steps=2,
        device="cpu",
    )
    result = protect(request, store=ModelStore(models, offline=True))
    assert Message("recogniser-without-decoys", name="toy") in result.warnings
    assert [w.code for w in result.warnings].count("recogniser-without-decoys") == 1


def test_check_uses_it(models: Path) -> None:
    photo, messages = Photo(skimage.data.astronaut()), list[Message]()
    (face,) = check(photo, photo, store=ModelStore(models, offline=True), device="cpu", warnings=messages)
    assert face.similarities[-1].recogniser == "toy"
    assert messages == [Message("recogniser-measured-by-vendor", name="toy")]


RESEARCH = f'{DEFAULT}\nuse = "research"'


def test_one_for_research_only_is_never_used_unless_it_is_named(models: Path) -> None:
    list_toy(models, extra=RESEARCH)
    photo, messages = Photo(skimage.data.astronaut()), list[Message]()
    store, warm = ModelStore(models, offline=True), WarmModels()
    assert "toy" not in list_recognisers(store)
    (face,) = check(photo, photo, store=store, device="cpu", warnings=messages)
    assert "toy" not in {s.recogniser for s in face.similarities} and messages == []
    loaded = load_models(choose_profile(ProtectRequest(photo), store, CPU).request, store, CPU, messages, warm)
    assert "toy" not in {r.name for r in loaded.recognisers} and messages == []


@pytest.mark.parametrize(("extra", "told"), [(RESEARCH, True), (DEFAULT, False)])
def test_a_report_mentions_research_only_models(models: Path, extra: str, told: bool) -> None:
    list_toy(models, extra=extra)
    request = ProtectRequest(Photo(skimage.data.astronaut()), recognisers=("mobileface", "toy"), hold_out="mobileface")
    messages: list[Message] = []
    store = ModelStore(models, offline=True)
    load_models(choose_profile(request, store, CPU).request, store, CPU, messages, WarmModels())
    assert (Message("research-models-used", names=["toy"]) in messages) == told
    reported = photo_report(Path("a.png"), Path("b.png"), [], messages)["warnings"]
    assert ("research-models-used" in {warning["code"] for warning in reported}) == told


def test_it_is_listed_last_by_library_and_command(models: Path) -> None:
    assert list_recognisers(ModelStore(models))[-2:] == ("mobilenet", "toy")
    listed = CliRunner().invoke(cli.c2p, ["--models", str(models), "models", "list", "--json"]).output
    assert json.loads(listed)[-1]["module"] == "toy_recogniser"


def test_a_network_that_loads_its_own_weights_needs_no_file(models: Path) -> None:
    text = (models / "manifest.toml").read_text()
    (models / "manifest.toml").write_text(text[: text.index("files")] + "files = []")
    store = ModelStore(models, offline=True)
    assert store.is_intact("toy")
    assert [r.name for r in load_recognisers(["toy"], store, CPU)] == ["toy"]


def test_it_is_left_out_with_a_warning_without_any_threshold(models: Path) -> None:
    list_toy(models, extra="")
    warnings: list[Message] = []
    recognisers = load_recognisers("auto", ModelStore(models, offline=True), CPU, warnings)
    assert "toy" not in {r.name for r in recognisers}
    assert warnings == [Message("recogniser-left-out", name="toy", why=Message("threshold-missing", name="toy"))]


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("no_such_module", "recogniser-module-missing"),
        ("toy_recogniser.missing", "recogniser-module-missing"),
        ("json", "recogniser-module-incomplete"),
    ],
)
def test_a_missing_or_incomplete_module_is_refused(models: Path, module: str, code: str) -> None:
    list_toy(models, module=module)
    with raising(ModelUnavailable, code, name="toy", module=module):
        load_recognisers(["toy"], ModelStore(models, offline=True), CPU)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "faceres"}, Message("model-name-taken", name="faceres")),
        ({"name": "../toy"}, Message("model-name-unusable", name="../toy")),
        ({"role": "prior"}, Message("model-no-recogniser", name="toy")),
        ({"module": ""}, Message("model-no-recogniser", name="toy")),
        ({"family": ""}, Message("model-no-recogniser", name="toy")),
    ],
)
def test_a_manifest_with_invalid_entries_is_refused(models: Path, changed: dict[str, str], reason: Message) -> None:
    list_toy(models, **changed)
    with raising(ModelUnavailable, "own-manifest-unreadable", reason=reason):
        ModelStore(models)


def test_an_own_entry_cannot_use_the_bundle_as_source(models: Path) -> None:
    text = (models / "manifest.toml").read_text()
    (models / "manifest.toml").write_text(
        text.replace("sources = []", 'sources = [{ kind = "bundle", folder = "models" }]')
    )
    with raising(ModelUnavailable, "own-manifest-unreadable", reason=Message("model-not-bundled", name="toy")):
        ModelStore(models)


def test_replaced_weights_are_reported_as_damaged(models: Path) -> None:
    path = models / "toy" / "toy.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    with raising(ModelUnavailable, "own-model-damaged", path=str(path), folder=str(models / "toy")):
        load_recognisers(["toy"], ModelStore(models, offline=True), CPU)


def test_missing_weights_are_reported_with_their_folder(models: Path) -> None:
    (models / "toy" / "toy.safetensors").unlink()
    with raising(ModelUnavailable, "own-model-missing", name="toy", folder=str(models / "toy")):
        load_recognisers(["toy"], ModelStore(models, offline=True), CPU)


def impostors(far1: float | None, far01: float | None = None) -> dict[str, Impostors]:
    return {"toy": Impostors(900, far1, far01, 0.1, 0.2)}


def test_the_lower_of_saved_and_default_thresholds_is_used(models: Path) -> None:
    store = ModelStore(models, offline=True)
    for measured, expected in ((0.7, (0.7, 0.8)), (0.95, (0.9, 0.9))):
        save_own_thresholds(impostors(measured, 0.8), store, KEYS)
        (toy,) = load_recognisers(["toy"], store, CPU)
        assert (toy.far1, toy.far01) == expected
        assert (toy.impostor_std, toy.measured_by) == (0.2, "user")


def test_the_lower_one_is_used_for_far01_too() -> None:
    measured = Thresholds(0.7, 0.95, 0.1, 0.2)
    limits = [choose_limits("toy", Default(0.8, "a test", far01), None, measured) for far01 in (0.9, 0.99, None)]
    assert [(limit.far1, limit.far01) for limit in limits] == [(0.7, 0.9), (0.7, 0.95), (0.7, 0.95)]


def test_with_too_few_pairs_for_far01_far1_is_saved_for_both(models: Path) -> None:
    store = ModelStore(models, offline=True)
    save_own_thresholds(impostors(0.7), store, KEYS)
    (toy,) = load_recognisers(["toy"], store, CPU)
    assert (toy.far1, toy.far01) == (0.7, 0.7)


def test_thresholds_of_too_few_pairs_or_of_shipped_recognisers_are_not_saved(models: Path) -> None:
    store = ModelStore(models, offline=True)
    with raising(BadRequest, "pairs-too-few", count=900, least=500):
        save_own_thresholds(impostors(None), store, KEYS)
    with raising(BadRequest, "thresholds-ship", name="faceres"):
        save_own_thresholds({"faceres": Impostors(900, 0.5, None, 0.1, 0.2)}, store, {})
    assert not (models / "thresholds.json").exists()


@pytest.mark.parametrize(
    "text", ["{}", '{"recognisers": {"toy": {"far1": NaN, "far01": 0.8, "impostor_mean": 0.1, "impostor_std": 0.2}}}']
)
def test_damaged_own_thresholds_have_an_error_of_their_own(text: str, models: Path) -> None:
    (models / "thresholds.json").write_text(text)
    with raising(ModelUnavailable, "own-thresholds-unreadable", path=str(models / "thresholds.json")):
        load_recognisers(["toy"], ModelStore(models, offline=True), CPU)


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with raising(BadRequest, "folder-without-photos", path=str(tmp_path)):
        group_photos_by_person(tmp_path)


def photos(folder: Path, *names: str) -> None:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        darker = (skimage.data.astronaut()[:320, 64:384] * (1 - 0.1 * index)).astype(np.uint8)
        Image.fromarray(darker).save(folder / name)


def thresholds(models: Path, folder: Path, *more: str) -> tuple[int, str]:
    arguments = ["--models", str(models), "thresholds", "--faces", str(folder), "--recogniser", "toy", *more]
    run = CliRunner().invoke(cli.c2p, arguments)
    return run.exit_code, run.output


def test_pairs_of_the_same_person_are_left_out(models: Path, tmp_path: Path) -> None:
    photos(tmp_path / "people", "anna/one.png", "anna/two.png", "bob.png")
    code, output = thresholds(models, tmp_path / "people", "--json")
    table = json.loads(output)
    assert (code, table["people"], table["recognisers"]["toy"]["pairs"]) == (0, 2, 2)
    assert table["recognisers"]["toy"]["far1"] is None


def test_thresholds_of_one_for_research_only_say_so(models: Path, tmp_path: Path) -> None:
    list_toy(models, extra=RESEARCH)
    photos(tmp_path / "people", "anna.png", "bob.png")
    warnings = json.loads(thresholds(models, tmp_path / "people", "--json")[1])["warnings"]
    assert [(warning["code"], warning["fields"]) for warning in warnings] == [
        ("research-models-used", {"names": ["toy"]})
    ]
    assert sentence("research-models-used", names="toy").search(thresholds(models, tmp_path / "people")[1])


def test_unidentified_faces_count_as_different_people(models: Path, tmp_path: Path) -> None:
    photos(tmp_path / "faces", "a.png", "b.png", "c.png")
    (tmp_path / "faces" / "d.png").write_bytes(b"no picture")
    code, output = thresholds(models, tmp_path / "faces")
    assert code == 0
    assert "3 pairs of different people from 3 faces (each counted as another person)" in output
    assert "d.png" in output and "1 % 500, 0.1 % 5000" in output


def test_people_are_named_by_folder_or_by_file_name_without_number(tmp_path: Path) -> None:
    for name in ("anna/x.jpg", "anna/y.jpg", "bob 1.png", "bob-2.png", "7.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    people = group_photos_by_person(tmp_path)
    assert {name: sorted(p.name for p in paths) for name, paths in people.items()} == {
        "anna": ["x.jpg", "y.jpg"],
        "bob": ["bob 1.png", "bob-2.png"],
        "7": ["7.tif"],
    }
