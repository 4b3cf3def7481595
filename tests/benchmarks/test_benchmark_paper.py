"""The papers' protocol on embeddings whose answers can be worked out by hand, and once with random networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from generated_people import generate_two_people
from safetensors.torch import load_file, save_file
from synthetic import setting

from benchmarks import decoys, rows
from benchmarks.__main__ import main
from benchmarks.data import NoData, RunFolders, list_people, read_identities
from benchmarks.frames import make_identification_frame, make_pair_frame
from benchmarks.metrics.other_photos import rate
from benchmarks.metrics.paper import dodged_pairs, rank_k_hits, rank_k_misses, target_matches
from benchmarks.metrics.psr import Rate
from benchmarks.models import choose_models, fingerprint_models, list_own_models
from benchmarks.recognisers import load_named_recognisers, open_store
from benchmarks.report.document import write_report
from benchmarks.report.paper import write_section
from benchmarks.rows import PaperRow, PaperScore
from benchmarks.suites import paper
from benchmarks.suites.gallery import Gallery
from benchmarks.suites.paper import Decoys, Plan, Task
from c2p_core.api import ProtectRequest
from c2p_core.errors import Message, NoFace
from c2p_core.models.store import ModelStore

STAND_INS = ("random-a", "random-b", "random-c")
MODULE = """
from torch import nn
from c2p_core.recognition.alignment import five_point_template

TEMPLATE = five_point_template(32, 1.0)


def NETWORK():
    return nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 7 * 7, 16))
"""
ENTRY = """
[[model]]
name = "{name}"
role = "recogniser"
module = "random_network"
family = "{name}"
licence = "MIT"
origin = "random numbers"
default = {{ threshold = 0.9, says = "made up" }}
files = [{{ name = "weights.safetensors", sha256 = "{digest}", size = {size} }}]
sources = []
"""


@dataclass(frozen=True)
class Judge:
    """A recogniser as comparisons need it."""

    name: str = "one"
    family: str = "first"
    far1: float = 0.8
    far01: float = 0.95
    judges_only: Message | None = None


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def cosine(degrees: float) -> object:
    return pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)


KNOWN = Gallery(("p1/1", "p1/2", "p2/1", "p2/2", "p3/1"), {"one": at(0, 20, 90, 40, 200)}, {})
TARGETS = Decoys({"one": at(120, 70)}, target=1)


def judge(probe: float | None, aims: Decoys | None = None, label: str = "p1/1") -> PaperScore:
    vectors = None if probe is None else {"one": at(probe)[0]}
    (score,) = paper.judge(label, vectors, KNOWN, aims, [Judge()], "first")
    return score


def test_a_photo_is_searched_for_among_people_not_photos() -> None:
    score = judge(60)
    assert score.role == "held-out" and score.others == {"p1/2": (cosine(20), cosine(40))}
    # Both photos of the second person are nearer than the first one's other photo, and count once.
    assert score.person_rank == (1, 2) and score.target is None and score.target_rank is None


def test_the_target_competes_with_everybody_and_with_the_other_decoys() -> None:
    score = judge(96, TARGETS)
    assert score.target == (cosine(70), cosine(26))
    # Nearer are the other photo of the person and the second person; after that the second person and the other decoy.
    assert score.target_rank == (3, 3)
    assert judge(75, TARGETS).target_rank == (3, 1)


def test_without_a_face_only_what_was_before_is_known() -> None:
    score = judge(None, TARGETS)
    assert score.others["p1/2"][1] is None
    assert (score.person_rank, score.target_rank) == ((1, None), (3, None)) and score.target == (cosine(70), None)


def test_who_has_no_other_photo_has_no_place_and_who_has_no_face_no_score() -> None:
    assert judge(60, label="p3/1").person_rank is None
    assert paper.judge("p9/1", None, KNOWN, None, [Judge()], "first") == ()


def test_one_that_only_judges_is_held_out_where_its_own_family_is() -> None:
    judges = [Judge(), Judge(judges_only=Message("onnx-conversion-differs"))]
    for hold_out, roles in (("first", ["held-out", "held-out"]), ("second", ["white-box", "extra"])):
        scores = paper.judge("p1/1", {"one": at(60)[0]}, KNOWN, None, judges, hold_out)
        assert [score.role for score in scores] == roles


def row(label: str, score: PaperScore, method: str, **changes: object) -> PaperRow:
    fields: dict[str, object] = {
        "setting": setting(label, "first", method=method), "recognisers": ("one",), "scores": (score,), "psnr": 30.0,
        "ssim": 0.95, "face_before": True, "face_after": True, "steps": 40, "seconds": 12.0, "people": 3, "photos": "f",
        "weights": "w", "code": "abc",
    }  # fmt: skip
    return PaperRow(**{**fields, **changes})  # type: ignore[arg-type]


def test_impersonation_counts_photos_that_match_the_target() -> None:
    scores = [judge(probe, TARGETS) for probe in (75, 110, 10, None)]
    found = make_identification_frame([row(f"p1/{n}", score, "decoy") for n, score in enumerate(scores)])
    assert rate(target_matches(found, "far1")) == Rate(1 / 4, 4)
    assert rate(target_matches(found, "far1", "before")) == Rate(0.0, 4)
    assert rate(rank_k_hits(found, "target", 1)) == Rate(1 / 4, 4)
    assert rate(rank_k_hits(found, "target", 5)) == Rate(3 / 4, 4)
    assert rate(target_matches(make_identification_frame([row("p1/1", judge(75), "c2p")]), "far1")) is None


def test_dodging_counts_pairs_that_do_not_match_whether_they_did_before_or_not() -> None:
    scores = [judge(probe) for probe in (50, 70, None)] + [judge(100, label="p2/1")]
    found = [row(f"p1/{n}", score, "c2p") for n, score in enumerate(scores)]
    pairs, searches = make_pair_frame(found), make_identification_frame(found)
    # 30 and 50 degrees from the other photo, and no face; the second person's two photos never matched.
    assert rate(dodged_pairs(pairs, "far1")) == Rate(3 / 4, 4)
    assert rate(dodged_pairs(pairs, "far1", "before")) == Rate(1 / 4, 4)
    assert rate(rank_k_misses(searches, 1)) == Rate(3 / 4, 4)
    assert rate(rank_k_misses(searches, 5)) == Rate(1 / 4, 4)


def test_the_table_stands_beside_the_published_figures() -> None:
    aimed, dodged = row("p1/1", judge(75, TARGETS), "decoy"), row("p1/1", judge(50), "c2p")
    section = write_section([aimed, dodged])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    assert ["CLIP2Protect", "Shamshad et al., CVPR 2023", "81 %", "48 %", "42 %", "75 %", "62 %"] in lines
    (own,) = (line for line in lines if line[0].startswith("here"))
    # No recogniser of the papers has judged.
    assert own[2:] == ["–"] * 4 + ["100 % (21–100)"]
    named = write_section([replace(aimed, scores=tuple(replace(s, recogniser="irse50") for s in aimed.scores))])
    assert "| 100 % (21–100) | – | – | – | 100 % (21–100) |" in " ".join(named.split())
    assert write_section([]).startswith("Not measured")


@pytest.mark.parametrize("changed", ["code", "weights", "models"])
def test_rows_of_other_code_or_weights_are_a_run_of_their_own(tmp_path: Path, changed: str) -> None:
    path = tmp_path / rows.PAPER_FILE
    hit, missed = (row("p1/1", judge(probe, TARGETS), "decoy") for probe in (75, 110))
    other = rows.Models(clip="other") if changed == "models" else "other"
    for one in (hit, replace(missed, **{changed: other}), replace(hit, **{changed: other})):  # type: ignore[arg-type]
        rows.append(path, one)
    rows.append(path, replace(missed, setting=setting("p1/2", "first", method="decoy")))
    section = " ".join(write_section(rows.read_paper(path)).split())
    assert "2 photos of 1 people" in section and "code abc, weights w." in section and "50 % (9–91)" in section
    # The later row of the same setting and version counts.
    assert (
        "1 photos of 1 people" in section
        and {"models": "makeup, other"}.get(changed, f"{changed} other") in section
        and "100 % (21–100)" in section
    )


def test_figures_of_models_for_research_only_say_so() -> None:
    told = Message("research-models-used", names=["ir152"]).text()
    assert told in write_section([row("p1/1", judge(50), "c2p", recognisers=("ir152", "facenet"))])
    assert told not in write_section([row("p1/1", judge(50), "c2p", recognisers=("mobileface", "facenet"))])


@pytest.mark.parametrize(
    "text",
    ["1.jpg 7\n2.png 7\n3.jpg 8\n", "file,identity,more\n1.png,7,x\n2.png,7,y\n3.png,8,z\n", '"1.jpg";"7"\n2.jpg;7'],
)
def test_a_file_says_who_is_on_which_photo(tmp_path: Path, text: str) -> None:
    for name in ("1.png", "2.png", "9.png"):
        (tmp_path / name).touch()
    (tmp_path / "identities.txt").write_text(text)
    identities = read_identities(tmp_path / "identities.txt")
    assert (identities["1"], identities["2"]) == ("7", "7")
    assert {label: photo.name for label, photo in list_people(tmp_path, identities).items()} == {
        "p1/1": "1.png",
        "p1/2": "2.png",
    }


def test_a_line_without_an_identity_is_named(tmp_path: Path) -> None:
    path = tmp_path / "identities.txt"
    path.write_text("1.jpg 7\n2.jpg\n")
    with pytest.raises(NoData, match="Line 2"):
        read_identities(path)
    path.write_text("1.jpg 7\n")
    with pytest.raises(NoData, match="names"):
        list_people(tmp_path, read_identities(path))


def test_recognisers_without_a_known_hash_are_measured_into_a_folder_of_ones_own_alone(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    said = CliRunner().invoke(main, ["paper", "--photos", str(tmp_path), "--recognisers", "dlib-resnet,ir152,irse50"])
    assert said.exit_code == 2 and "ir152, irse50" in said.output and "--out" in said.output


def put_generator(models: Path, *names: str) -> None:
    (models / "stylegan2").mkdir(parents=True)
    for name in names:
        (models / "stylegan2" / name).write_text(name)


@pytest.fixture
def own_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store with a generator and an encoder of the user's."""
    put_generator(tmp_path / "models", "generator.pt", "encoder.pt")
    monkeypatch.setenv("C2P_MODELS", str(tmp_path / "models"))
    open_store.cache_clear()
    yield open_store()
    open_store.cache_clear()


OWN = rows.Models("embedded", ("encoder.pt", "generator.pt"), "clip-mini")


@pytest.mark.parametrize("command", ["paper", "others", "run", "inversion"])
@pytest.mark.usefixtures("own_generator")
def test_a_generator_of_ones_own_is_measured_into_a_folder_of_ones_own_alone(tmp_path: Path, command: str) -> None:
    (tmp_path / "1.png").touch()
    prior = () if command == "inversion" else ("--prior", "stylegan2")
    said = CliRunner().invoke(main, [command, "--photos", str(tmp_path), *prior])
    assert said.exit_code == 2 and "encoder.pt, generator.pt" in said.output and "--out" in said.output


def test_models_that_ship_are_named_and_leave_the_fingerprint_to_the_code() -> None:
    store = ModelStore(offline=True)
    assert choose_models(store, "embedded", "makeup", None) == rows.Models()
    shipped = choose_models(store, "embedded", "stylegan2", None)
    assert shipped == rows.Models("embedded", ("stylegan2-mini",), "clip-mini")
    for models in (rows.Models(), shipped):
        assert list_own_models(store, models) == () and fingerprint_models(store, models, "seen") == "seen"


def test_another_generator_is_named_and_hashed(own_generator: ModelStore) -> None:
    models = choose_models(own_generator, "embedded", "stylegan2", None)
    assert models == OWN and list_own_models(own_generator, models) == OWN.generator
    first = fingerprint_models(own_generator, models, "seen")
    (own_generator.root / "stylegan2" / "generator.pt").write_text("other")
    assert len({"seen", first, fingerprint_models(own_generator, models, "seen")}) == 3
    # The makeup prior takes none of it.
    assert choose_models(own_generator, "embedded", "makeup", None) == rows.Models()


def test_the_profile_chooses_generator_and_text_model(tmp_path: Path) -> None:
    fetched = ModelStore(tmp_path, offline=True)
    for name in ("e4e-ffhq", "clip-openai"):
        (file,) = fetched.entry(name).files
        (tmp_path / name).mkdir()
        with (tmp_path / name / file.name).open("wb") as written:
            written.truncate(file.size or 1000)  # takes no space
    full = choose_models(fetched, "full", "stylegan2", None)
    assert full == rows.Models("full", ("e4e-ffhq",), "ViT-B-32:openai")
    assert choose_models(fetched, "full", "stylegan2", "clip-mini", ("dlib-resnet",)).clip == "clip-mini"
    # The text model's hash is in the manifest.
    assert list_own_models(fetched, full) == ("e4e-ffhq",)
    named = replace(full, clip="ViT-B-32:/a/file.safetensors")
    assert list_own_models(fetched, named) == ("e4e-ffhq", named.clip)


def test_profile_and_text_model_reach_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ProtectRequest] = []

    def stop(request: ProtectRequest, **_: object) -> None:
        asked.append(request)
        raise NoFace("no-face-chosen")

    monkeypatch.setattr("c2p_core.pipeline.protect", stop)
    for profile, clip in (("embedded", "clip-mini"), ("full", "ViT-B-32:openai")):
        models = rows.Models(profile, (), clip)  # type: ignore[arg-type]
        task = Task(
            generate_two_people(tmp_path / profile)["p1/1"], setting("p1/1", "dlib", method="c2p"), ("dlib-resnet",),
            tmp_path, tmp_path, tmp_path, "f", "w", "c", models,
        )  # fmt: skip
        with pytest.raises(NoFace):
            paper.measure(task, open_store())
    assert [(request.profile, request.clip) for request in asked] == [
        ("embedded", "clip-mini"),
        ("full", "ViT-B-32:openai"),
    ]


def test_the_line_of_the_report_names_generator_and_text_model_and_their_licences() -> None:
    full = rows.Models("full", ("e4e-ffhq",), "ViT-B-32:openai")
    by = replace(setting("p1/1", "first", method="decoy"), prior="stylegan2")
    section = write_section(
        [row("p1/1", judge(75, TARGETS), "decoy", setting=by, models=models) for models in (full, OWN)]
    )
    assert "here: stylegan2 with e4e-ffhq, ViT-B-32:openai, towards" in section
    assert "here: stylegan2 with encoder.pt and generator.pt, towards" in section
    assert Message("research-models-used", names=["e4e-ffhq"]).text() in section
    assert Message("own-generator-used", files=["encoder.pt", "generator.pt"]).text() in section
    assert "here: makeup, towards" in write_section([row("p1/1", judge(75, TARGETS), "decoy")])


def test_rows_that_were_written_before_models_were_named_are_of_those_that_ship(tmp_path: Path) -> None:
    rows.append(tmp_path / rows.PAPER_FILE, row("p1/1", judge(50), "c2p"))
    written = json.loads((tmp_path / rows.PAPER_FILE).read_text())
    del written["models"]
    (tmp_path / rows.PAPER_FILE).write_text(json.dumps(written) + "\n")
    (found,) = rows.read_paper(tmp_path / rows.PAPER_FILE)
    assert found.models == rows.Models()


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of models with three recognisers of random weights."""
    packages, models = tmp_path / "packages", tmp_path / "models"
    packages.mkdir()
    (packages / "random_network.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(packages))
    from random_network import NETWORK  # type: ignore[import-not-found]

    manifest = ""
    for seed, name in enumerate(STAND_INS):
        torch.manual_seed(seed)
        file = models / name / "weights.safetensors"
        file.parent.mkdir(parents=True)
        save_file(NETWORK().state_dict(), file)
        data = file.read_bytes()
        manifest += ENTRY.format(name=name, digest=hashlib.sha256(data).hexdigest(), size=len(data))
    (models / "manifest.toml").write_text(manifest)
    monkeypatch.setenv("C2P_MODELS", str(models))
    caches = (open_store, load_named_recognisers, decoys.open_store_with)
    for cache in caches:
        cache.cache_clear()
    yield models
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Path]:
    """Two made-up people with two photos each."""
    return generate_two_people(tmp_path / "photos")


def test_photos_of_different_people_come_first_and_a_photos_settings_together(people: dict[str, Path]) -> None:
    plan = Plan(people, STAND_INS, STAND_INS[:2], ("decoy", "c2p"), 0.5, "natural makeup", "makeup", limit=3)
    settings = list(plan.list_settings())
    assert [s.face for s in settings] == ["p1/1"] * 4 + ["p2/1"] * 4 + ["p1/2"] * 4
    assert [(s.hold_out, s.method) for s in settings[:4]] == [
        (family, method) for family in STAND_INS[:2] for method in ("decoy", "c2p")
    ]


@pytest.mark.slow
def test_any_registered_recogniser_takes_part_random_ones_too(
    tmp_path: Path, stand_ins: Path, people: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoys, "COUNT", 3)
    folders = RunFolders(tmp_path / "rows", tmp_path / "pictures")
    plan = Plan(people, STAND_INS, STAND_INS[:1], ("decoy", "c2p"), 0.5, "natural makeup", "makeup", steps=2, limit=1)

    def go(plan: Plan, work: object = None) -> paper.Outcome:
        extra = {} if work is None else {"work": work}
        with ThreadPoolExecutor(1) as executor:
            return paper.run(plan, folders, "abc", executor, lambda _line: None, **extra)  # type: ignore[arg-type]

    assert (go(plan).measured, go(plan).done_before) == (2, 2)
    aimed, dodged = rows.read_paper(folders.rows / rows.PAPER_FILE)
    assert (aimed.setting.method, dodged.setting.method, aimed.people) == ("decoy", "c2p", 2)
    for found in (aimed, dodged):
        assert {s.recogniser: s.role for s in found.scores} == dict.fromkeys(STAND_INS, "white-box") | {
            STAND_INS[0]: "held-out"
        }
        assert found.steps == 2 and 20 < found.psnr < 60 and set(found.scores[0].others) == {"p1/2"}
    assert all(s.target is not None and s.target_rank is not None for s in aimed.scores)
    assert all(s.target is None and s.person_rank is not None for s in dodged.scores)
    (made,) = (folders.pictures / "paper").glob("decoys-*.safetensors")
    assert {name: people.shape for name, people in load_file(made).items()} == dict.fromkeys(STAND_INS, (3, 16))
    assert "## As papers measure" in write_report(folders).read_text()

    def fail(task: Task) -> PaperRow:
        raise AssertionError(task)

    # Without one of them, and with other weights, everything is new; here it fails at once.
    assert go(replace(plan, recognisers=STAND_INS[:2]), fail).failed == 2
    weights = stand_ins / STAND_INS[0] / "weights.safetensors"
    weights.write_bytes((stand_ins / STAND_INS[1] / "weights.safetensors").read_bytes())
    text = (stand_ins / "manifest.toml").read_text()
    old, new = (text.split('sha256 = "')[n].split('"')[0] for n in (1, 2))
    (stand_ins / "manifest.toml").write_text(text.replace(old, new))
    open_store.cache_clear()
    load_named_recognisers.cache_clear()
    assert go(plan, fail).failed == 2
