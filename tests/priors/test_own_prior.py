"""A prior of one's own: one module, and one line in the registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from skimage import io

from c2p_core import Photo, ProtectRequest, prior_registry, protect
from c2p_core.errors import BadRequest
from c2p_core.models.store import ModelStore
from c2p_core.prior_registry import REGISTRY, PriorEntry
from c2p_core.validate import check_request
from hatch_build import compile_priors
from installer import plug_in
from tests.error_assertions import raising

MODULE = '''
"""A prior that only moves skin: the renderer's shape, and nothing of light or grain."""

from c2p_core.faces.canonical import load_mean_face
from c2p_core.losses import latent_loss
from c2p_core.priors.prior import Resources
from c2p_core.priors.renderer import FaceRenderer
from c2p_core.priors.strength import compute_strength_limits

RATES = {"products": 0.3, "shape": 0.3}


def load(resources: Resources):
    return ShapePrior(load_mean_face(resources.store.obtain("complexion")), resources.device)


class ShapePrior:
    name, learning_rates = "shape", RATES

    def __init__(self, mean_face, device):
        self.mean_face, self.device = mean_face, device

    def invert(self, face, strength, keep_expression=True, locks=()):
        limits = compute_strength_limits(strength, keep_expression)
        return ShapeFace(FaceRenderer(face, self.mean_face, limits, self.device, keep_expression, locks))


class ShapeFace:
    learning_rates = RATES

    def __init__(self, renderer):
        self.renderer = renderer
        self.still = renderer.start()
        self.dark = renderer.relief.light(self.still)

    def preview(self, look):
        return self.renderer.preview(look)

    def with_look(self, look):
        return ShapeFace(self.renderer.with_look(look))

    def start(self):
        return {name: self.still[name] for name in RATES}

    def render(self, code):
        return self.renderer.render(self.renderer.displacement(code), self.dark, {**self.still, **code})

    def latent_loss(self, code, rendered):
        return latent_loss([], self.renderer.bending_energy(rendered.displacement))

    def visibility_penalty(self, rendered):
        return self.renderer.visibility_penalty(rendered)

    def change(self, code):
        code = {name: part.detach() for name, part in code.items()}
        return self.renderer.change(self.renderer.displacement(code), self.dark, {**self.still, **code})
'''


@pytest.fixture
def shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "toy_prior.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(REGISTRY, "shape", PriorEntry("toy_prior", "Shape alone"))  # the one line
    return "shape"


def request(prior: str, **more: object) -> ProtectRequest:
    photo = Photo(skimage.data.astronaut())
    return ProtectRequest(photo, prior=prior, recognisers=("mobileface",), steps=4, device="cpu", **more)  # type: ignore[arg-type]


def test_a_photo_is_protected_with_an_added_prior(shape: str) -> None:
    protect_request = request(shape)
    result = protect(protect_request, store=ModelStore(offline=True))
    changed = (result.photo.pixels != protect_request.photo.pixels).any(2)
    assert 0 < changed.mean() < 0.3
    (similarity,) = result.faces[0].similarities
    assert similarity.after < similarity.before


def test_a_face_of_an_added_prior_can_have_a_look(shape: str) -> None:
    lips = request(shape, prompt="red lipstick", layers=True)
    assert "Lipstick" in {layer.name for layer in protect(lips, store=ModelStore(offline=True)).layers}


# The registry is read when other modules are imported, so the line has to be there before.
PROGRAM = """
import sys
from c2p_core import prior_registry
prior_registry.REGISTRY["shape"] = prior_registry.PriorEntry("toy_prior", "Shape alone")
from c2p_core.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_command(folder: Path, *arguments: str, program: str = PROGRAM) -> str:
    """The output of ``c2p``, or another program, in an installation with the prior."""
    (folder / "toy_prior.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "C2P_OFFLINE": "1"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_command_lists_an_added_prior(tmp_path: Path) -> None:
    assert "How faces are changed: makeup, stylegan2, shape." in " ".join(
        run_command(tmp_path, "protect", "--help").split()
    )


@pytest.mark.slow
def test_the_command_protects_with_an_added_prior(tmp_path: Path) -> None:
    io.imsave(tmp_path / "me.png", skimage.data.astronaut())
    options = ["--prior", "shape", "--recognisers", "mobileface", "--steps", "4", "--device", "cpu"]
    run_command(tmp_path, "protect", str(tmp_path / "me.png"), "-o", str(tmp_path / "out.png"), *options)
    before, after = (io.imread(tmp_path / name) for name in ("me.png", "out.png"))
    assert 0 < (before != after).any(2).mean() < 0.3


@pytest.mark.slow
def test_the_benchmarks_measure_and_report_it(tmp_path: Path) -> None:
    benchmarks = PROGRAM.replace("c2p_core.cli", "benchmarks.cli")
    assert "[makeup|stylegan2|shape]" in run_command(tmp_path, "others", "--help", program=benchmarks)
    run_command(tmp_path, "report", "--out", str(tmp_path / "out"), program=benchmarks)
    assert (tmp_path / "out" / "REPORT.md").exists()


@pytest.mark.parametrize("generation", [2, 3])
def test_gimps_plug_ins_offer_it_after_the_others(generation: int, tmp_path: Path) -> None:
    registry = tmp_path / "prior_registry.py"
    line = 'REGISTRY["shape"] = PriorEntry("toy_prior", "Shape alone")\n'
    registry.write_text(Path(prior_registry.__file__).read_text(encoding="utf-8") + line, encoding="utf-8")
    for name, body in plug_in.collect_contents(generation, compile_priors(registry)).items():
        (tmp_path / "plug-in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plug-in" / name).write_bytes(body)
    program = "from worker_client import settings; print(settings.DEFAULT_PRIOR, *settings.PRIORS[-1], sep='|')"
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "plug-in", capture_output=True, text=True, check=True
    )
    assert process.stdout == "makeup|shape|Shape alone\n"


def test_an_unknown_prior_is_refused_and_the_known_ones_are_listed() -> None:
    with raising(BadRequest, "prior-unknown", prior="shape", known=["makeup", "stylegan2"]):
        check_request(ProtectRequest(Photo(np.zeros((1, 1, 3), np.uint8)), prior="shape"))
