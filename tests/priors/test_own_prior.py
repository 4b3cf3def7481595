"""A prior of one's own: one module, and one line in the registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from c2p_core import Photo, ProtectRequest, protect
from c2p_core.errors import BadRequest
from c2p_core.models.store import ModelStore
from c2p_core.priors.registry import MODULES
from c2p_core.validate import check_request
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
    return ShapePrior(load_mean_face(resources.store.path("complexion")), resources.device)


class ShapePrior:
    name, label, learning_rates = "shape", "Shape alone", RATES

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
    monkeypatch.setitem(MODULES, "shape", "toy_prior")  # the one line
    return "shape"


def request(prior: str, **more: object) -> ProtectRequest:
    photo = Photo(skimage.data.astronaut())
    return ProtectRequest(photo, prior=prior, recognisers=("mobileface",), steps=4, device="cpu", **more)  # type: ignore[arg-type]


def test_a_photo_is_protected_with_it(shape: str) -> None:
    wanted = request(shape)
    result = protect(wanted, store=ModelStore(offline=True))
    changed = (result.photo.pixels != wanted.photo.pixels).any(2)
    assert 0 < changed.mean() < 0.3
    (similarity,) = result.faces[0].similarities
    assert similarity.after < similarity.before


def test_its_face_can_wear_a_look(shape: str) -> None:
    lips = request(shape, prompt="red lipstick", layers=True)
    assert "Lipstick" in {layer.name for layer in protect(lips, store=ModelStore(offline=True)).layers}


def test_a_name_that_the_registry_lacks_is_refused_with_those_that_it_has() -> None:
    with raising(BadRequest, "prior-unknown", prior="shape", known=["makeup", "stylegan2"]):
        check_request(ProtectRequest(Photo(np.zeros((1, 1, 3), np.uint8)), prior="shape"))
