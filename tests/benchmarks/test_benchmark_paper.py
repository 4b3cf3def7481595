"""The papers' protocol on embeddings with results computed by hand, and once with random networks."""

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
from synthetic import make_vectors, setting

from benchmarks import decoys, rows
from benchmarks.__main__ import main
from benchmarks.data import RunFolders, list_people, read_identities
from benchmarks.errors import NoData
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
from tests.error_assertions import raising

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
    """A recogniser with the attributes that comparisons need."""

    name: str = "one"
    family: str = "first"
    far1: float = 0.8
    far01: float = 0.95
    judges_only: Message | None = None


def cosine(degrees: float) -> object:
    return pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)


REFERENCES = Gallery(("p1/1", "p1/2", "p2/1", "p2/2", "p3/1"), {"one": make_vectors(0, 20, 90, 40, 200)}, {})
DECOYS = Decoys({"one": make_vectors(120, 70)}, target=1)


def judge(probe: float | None, decoys_to_rank: Decoys | None = None, label: str = "p1/1") -> PaperScore:
    vectors = None if probe is None else {"one": make_vectors(probe)[0]}
    (score,) = paper.judge(label, vectors, REFERENCES, decoys_to_rank, [Judge()], "first")
    return score


def test_a_photo_is_searched_for_among_people_not_photos() -> None:
    score = judge(60)
    assert score.role == "held-out" and score.others == {"p1/2": (cosine(20), cosine(40))}
    # Both photos of the second person are nearer than the first one's other photo, and count once.
    assert score.person_rank == (1, 2) and score.target is None and score.target_rank is None


def test_the_target_competes_with_everybody_and_with_the_other_decoys() -> None:
    score = judge(96, DECOYS)
    assert score.target == (cosine(70), cosine(26))
    # Before, the person's other photo and the second person are nearer; after, the second person and the other decoy.
    assert score.target_rank == (3, 3)
    assert judge(75, DECOYS).target_rank == (3, 1)


def test_without_a_face_only_figures_before_are_known() -> None:
    score = judge(None, DECOYS)
    assert score.others["p1/2"][1] is None
    assert (score.person_rank, score.target_rank) == ((1, None), (3, None)) and score.target == (cosine(70), None)


def test_a_person_without_other_photos_has_no_rank_and_a_photo_without_a_face_no_score() -> None:
    assert judge(60, label="p3/1").person_rank is None
    assert paper.judge("p9/1", None, REFERENCES, None, [Judge()], "first") == ()


def test_a_recogniser_that_only_judges_is_held_out_only_with_its_family() -> None:
    judges = [Judge(), Judge(judges_only=Message("onnx-conversion-differs"))]
    for hold_out, roles in (("first", ["held-out", "held-out"]), ("second", ["white-box", "extra"])):
        scores = paper.judge("p1/1", {"one": make_vectors(60)[0]}, REFERENCES, None, judges, hold_out)
        assert [score.role for score in scores] == roles


def row(label: str, score: PaperScore, method: str, **changes: object) -> PaperRow:
    fields: dict[str, object] = {
        "setting": setting(label, "first", method=method), "recognisers": ("one",), "scores": (score,), "psnr": 30.0,
        "ssim": 0.95, "face_before": True, "face_after": True, "steps": 40, "seconds": 12.0, "people": 3, "photos": "f",
        "weights": "w", "code": "abc",
    }  # fmt: skip
    return PaperRow(**{**fields, **changes})  # type: ignore[arg-type]


def test_impersonation_counts_photos_that_match_the_target() -> None:
    scores = [judge(probe, DECOYS) for probe in (75, 110, 10, None)]
    searches = make_identification_frame([row(f"p1/{n}", score, "decoy") for n, score in enumerate(scores)])
    assert rate(target_matches(searches, "far1")) == Rate(1 / 4, 4)
    assert rate(target_matches(searches, "far1", "before")) == Rate(0.0, 4)
    assert rate(rank_k_hits(searches, "target", 1)) == Rate(1 / 4, 4)
    assert rate(rank_k_hits(searches, "target", 5)) == Rate(3 / 4, 4)
    assert rate(target_matches(make_identification_frame([row("p1/1", judge(75), "c2p")]), "far1")) is None


def test_dodging_counts_pairs_that_do_not_match_whether_they_did_before_or_not() -> None:
    scores = [judge(probe) for probe in (50, 70, None)] + [judge(100, label="p2/1")]
    dodged_rows = [row(f"p1/{n}", score, "c2p") for n, score in enumerate(scores)]
    pairs, searches = make_pair_frame(dodged_rows), make_identification_frame(dodged_rows)
    # 30 and 50 degrees from the other photo, and no face; the second person's two photos never matched.
    assert rate(dodged_pairs(pairs, "far1")) == Rate(3 / 4, 4)
    assert rate(dodged_pairs(pairs, "far1", "before")) == Rate(1 / 4, 4)
    assert rate(rank_k_misses(searches, 1)) == Rate(3 / 4, 4)
    assert rate(rank_k_misses(searches, 5)) == Rate(1 / 4, 4)


def test_the_table_stands_beside_the_published_figures() -> None:
    aimed, dodged = row("p1/1", judge(75, DECOYS), "decoy"), row("p1/1", judge(50), "c2p")
    section = write_section([aimed, dodged])
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    assert ["CLIP2Protect", "Shamshad et al., CVPR 2023", "81 %", "48 %", "42 %", "75 %", "62 %"] in lines
    (our_line,) = (line for line in lines if line[0].startswith("here"))
    # None of the papers' recognisers judged.
    assert our_line[2:] == ["–"] * 4 + ["100 % (21–100)"]
    irse50_section = write_section(
        [replace(aimed, scores=tuple(replace(s, recogniser="irse50") for s in aimed.scores))]
    )
    assert "| 100 % (21–100) | – | – | – | 100 % (21–100) |" in " ".join(irse50_section.split())
    assert write_section([]).startswith("Not measured")


@pytest.mark.parametrize("changed", ["code", "weights", "models"])
def test_rows_of_other_code_or_weights_are_a_separate_run(tmp_path: Path, changed: str) -> None:
    path = tmp_path / rows.PAPER_FILE
    hit, missed = (row("p1/1", judge(probe, DECOYS), "decoy") for probe in (75, 110))
    other = rows.Models(clip="other") if changed == "models" else "other"
    for variant in (hit, replace(missed, **{changed: other}), replace(hit, **{changed: other})):  # type: ignore[arg-type]
        rows.append(path, variant)
    rows.append(path, replace(missed, setting=setting("p1/2", "first", method="decoy")))
    section = " ".join(write_section(rows.read_paper(path)).split())
    assert "2 photos of 1 people" in section and "code abc, weights w." in section and "50 % (9–91)" in section
    # The later row of the same setting and version counts.
    assert (
        "1 photos of 1 people" in section
        and {"models": "makeup, other"}.get(changed, f"{changed} other") in section
        and "100 % (21–100)" in section
    )


def test_the_section_warns_of_models_for_research_only() -> None:
    warning = Message("research-models-used", names=["ir152"]).text()
    assert warning in write_section([row("p1/1", judge(50), "c2p", recognisers=("ir152", "facenet"))])
    assert warning not in write_section([row("p1/1", judge(50), "c2p", recognisers=("mobileface", "facenet"))])


@pytest.mark.parametrize(
    "text",
    ["1.jpg 7\n2.png 7\n3.jpg 8\n", "file,identity,more\n1.png,7,x\n2.png,7,y\n3.png,8,z\n", '"1.jpg";"7"\n2.jpg;7'],
)
def test_identities_are_read_from_a_file(tmp_path: Path, text: str) -> None:
    for name in ("1.png", "2.png", "9.png"):
        (tmp_path / name).touch()
    (tmp_path / "identities.txt").write_text(text)
    identities = read_identities(tmp_path / "identities.txt")
    assert (identities["1"], identities["2"]) == ("7", "7")
    assert {label: photo.name for label, photo in list_people(tmp_path, identities).items()} == {
        "p1/1": "1.png",
        "p1/2": "2.png",
    }


def test_a_line_without_an_identity_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "identities.txt"
    path.write_text("1.jpg 7\n2.jpg\n")
    with raising(NoData, "identity-line-unreadable", line=2):
        read_identities(path)
    path.write_text("1.jpg 7\n")
    with raising(NoData, "no-identified-photos"):
        list_people(tmp_path, read_identities(path))


def test_recognisers_without_a_known_hash_require_an_output_folder(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    result = CliRunner().invoke(main, ["paper", "--photos", str(tmp_path), "--recognisers", "dlib-resnet,ir152,irse50"])
    assert result.exit_code == 2 and "ir152, irse50" in result.output and "--out" in result.output


def write_generator(models: Path, *names: str) -> None:
    (models / "stylegan2").mkdir(parents=True)
    for name in names:
        (models / "stylegan2" / name).write_text(name)


@pytest.fixture
def own_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store with a user's own generator and encoder."""
    write_generator(tmp_path / "models", "generator.pt", "encoder.pt")
    monkeypatch.setenv("C2P_MODELS", str(tmp_path / "models"))
    open_store.cache_clear()
    yield open_store()
    open_store.cache_clear()


OWN_MODELS = rows.Models("embedded", ("encoder.pt", "generator.pt"), "clip-mini")


@pytest.mark.parametrize("command", ["paper", "others", "run", "inversion"])
@pytest.mark.usefixtures("own_generator")
def test_a_users_own_generator_requires_an_output_folder(tmp_path: Path, command: str) -> None:
    (tmp_path / "1.png").touch()
    prior = () if command == "inversion" else ("--prior", "stylegan2")
    result = CliRunner().invoke(main, [command, "--photos", str(tmp_path), *prior])
    assert result.exit_code == 2 and "encoder.pt, generator.pt" in result.output and "--out" in result.output


def test_shipped_models_are_named_and_do_not_change_the_fingerprint() -> None:
    store = ModelStore(offline=True)
    assert choose_models(store, "embedded", "makeup", None) == rows.Models()
    shipped = choose_models(store, "embedded", "stylegan2", None)
    assert shipped == rows.Models("embedded", ("stylegan2-mini",), "clip-mini")
    for models in (rows.Models(), shipped):
        assert list_own_models(store, models) == () and fingerprint_models(store, models, "seen") == "seen"


def test_another_generator_is_named_and_hashed(own_generator: ModelStore) -> None:
    models = choose_models(own_generator, "embedded", "stylegan2", None)
    assert models == OWN_MODELS and list_own_models(own_generator, models) == OWN_MODELS.generator
    first = fingerprint_models(own_generator, models, "seen")
    (own_generator.root / "stylegan2" / "generator.pt").write_text("other")
    assert len({"seen", first, fingerprint_models(own_generator, models, "seen")}) == 3
    # The makeup prior uses no generator.
    assert choose_models(own_generator, "embedded", "makeup", None) == rows.Models()


def test_the_profile_chooses_generator_and_text_model(tmp_path: Path) -> None:
    fetched = ModelStore(tmp_path, offline=True)
    for name in ("e4e-ffhq", "clip-openai"):
        (file,) = fetched.entry(name).files
        (tmp_path / name).mkdir()
        with (tmp_path / name / file.name).open("wb") as stream:
            stream.truncate(file.size or 1000)  # takes no space
    full = choose_models(fetched, "full", "stylegan2", None)
    assert full == rows.Models("full", ("e4e-ffhq",), "ViT-B-32:openai")
    assert choose_models(fetched, "full", "stylegan2", "clip-mini", ("dlib-resnet",)).clip == "clip-mini"
    # The text model's hash is in the manifest.
    assert list_own_models(fetched, full) == ("e4e-ffhq",)
    with_file = replace(full, clip="ViT-B-32:/a/file.safetensors")
    assert list_own_models(fetched, with_file) == ("e4e-ffhq", with_file.clip)


def test_profile_and_text_model_reach_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[ProtectRequest] = []

    def stop(request: ProtectRequest, **_: object) -> None:
        requests.append(request)
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
    assert [(request.profile, request.clip) for request in requests] == [
        ("embedded", "clip-mini"),
        ("full", "ViT-B-32:openai"),
    ]


def test_the_report_names_generator_and_text_model_and_warns_of_their_licences() -> None:
    full = rows.Models("full", ("e4e-ffhq",), "ViT-B-32:openai")
    stylegan2_setting = replace(setting("p1/1", "first", method="decoy"), prior="stylegan2")
    section = write_section(
        [
            row("p1/1", judge(75, DECOYS), "decoy", setting=stylegan2_setting, models=models)
            for models in (full, OWN_MODELS)
        ]
    )
    assert "here: stylegan2 with e4e-ffhq, ViT-B-32:openai, towards" in section
    assert "here: stylegan2 with encoder.pt and generator.pt, towards" in section
    assert Message("research-models-used", names=["e4e-ffhq"]).text() in section
    assert Message("own-generator-used", files=["encoder.pt", "generator.pt"]).text() in section
    assert "here: makeup, towards" in write_section([row("p1/1", judge(75, DECOYS), "decoy")])


def test_older_rows_without_models_are_of_the_shipped_ones(tmp_path: Path) -> None:
    rows.append(tmp_path / rows.PAPER_FILE, row("p1/1", judge(50), "c2p"))
    stored = json.loads((tmp_path / rows.PAPER_FILE).read_text())
    del stored["models"]
    (tmp_path / rows.PAPER_FILE).write_text(json.dumps(stored) + "\n")
    (paper_row,) = rows.read_paper(tmp_path / rows.PAPER_FILE)
    assert paper_row.models == rows.Models()


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


def test_photos_of_different_people_come_first_and_settings_are_grouped_by_photo(people: dict[str, Path]) -> None:
    plan = Plan(people, STAND_INS, STAND_INS[:2], ("decoy", "c2p"), 0.5, "natural makeup", "makeup", limit=3)
    settings = list(plan.list_settings())
    assert [s.face for s in settings] == ["p1/1"] * 4 + ["p2/1"] * 4 + ["p1/2"] * 4
    assert [(s.hold_out, s.method) for s in settings[:4]] == [
        (family, method) for family in STAND_INS[:2] for method in ("decoy", "c2p")
    ]


@pytest.mark.slow
def test_any_registered_recogniser_takes_part_even_with_random_weights(
    tmp_path: Path, stand_ins: Path, people: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoys, "COUNT", 3)
    folders = RunFolders(tmp_path / "rows", tmp_path / "pictures")
    plan = Plan(people, STAND_INS, STAND_INS[:1], ("decoy", "c2p"), 0.5, "natural makeup", "makeup", steps=2, limit=1)

    def run_suite(plan: Plan, measure_task: object = None) -> paper.Outcome:
        extra = {} if measure_task is None else {"measure_task": measure_task}
        with ThreadPoolExecutor(1) as executor:
            return paper.run(plan, folders, "abc", executor, lambda _line: None, **extra)  # type: ignore[arg-type]

    assert (run_suite(plan).measured, run_suite(plan).done_before) == (2, 2)
    aimed, dodged = rows.read_paper(folders.rows / rows.PAPER_FILE)
    assert (aimed.setting.method, dodged.setting.method, aimed.people) == ("decoy", "c2p", 2)
    for paper_row in (aimed, dodged):
        assert {s.recogniser: s.role for s in paper_row.scores} == dict.fromkeys(STAND_INS, "white-box") | {
            STAND_INS[0]: "held-out"
        }
        assert paper_row.steps == 2 and 20 < paper_row.psnr < 60 and set(paper_row.scores[0].others) == {"p1/2"}
    assert all(s.target is not None and s.target_rank is not None for s in aimed.scores)
    assert all(s.target is None and s.person_rank is not None for s in dodged.scores)
    (decoys_file,) = (folders.pictures / "paper").glob("decoys-*.safetensors")
    assert {name: people.shape for name, people in load_file(decoys_file).items()} == dict.fromkeys(STAND_INS, (3, 16))
    assert "## As papers measure" in write_report(folders).read_text()

    def fail(task: Task) -> PaperRow:
        raise AssertionError(task)

    # With fewer recognisers, or with other weights, everything is measured again; here it fails at once.
    assert run_suite(replace(plan, recognisers=STAND_INS[:2]), fail).failed == 2
    weights = stand_ins / STAND_INS[0] / "weights.safetensors"
    weights.write_bytes((stand_ins / STAND_INS[1] / "weights.safetensors").read_bytes())
    text = (stand_ins / "manifest.toml").read_text()
    old, new = (text.split('sha256 = "')[n].split('"')[0] for n in (1, 2))
    (stand_ins / "manifest.toml").write_text(text.replace(old, new))
    open_store.cache_clear()
    load_named_recognisers.cache_clear()
    assert run_suite(plan, fail).failed == 2
