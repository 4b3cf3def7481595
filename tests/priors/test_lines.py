"""New lines on a face count; softened lines and broad shade do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from c2p_core.faces.align import CANVAS
from c2p_core.priors.lines import Lines

MIDDLE = CANVAS // 2


def draw_line(density: float, width: float) -> Tensor:
    """(3, CANVAS, CANVAS) density of a horizontal line through the middle with a Gaussian profile."""
    rows = torch.arange(CANVAS)[:, None] + 0.5 - MIDDLE
    return (density * torch.exp(-0.5 * (rows / width).square())).expand(3, CANVAS, CANVAS)


@pytest.fixture
def skin() -> Tensor:
    return torch.full((3, CANVAS, CANVAS), 0.4)


def measure_excess(linear: Tensor, density: Tensor) -> float:
    lines = Lines(linear, torch.ones(CANVAS, CANVAS))
    return float(lines.measure_excess(density, lines.measure(torch.zeros_like(density))))


@pytest.mark.parametrize("width", [1.5, 3.0, 6.0])
def test_a_new_line_of_any_width_counts(skin: Tensor, width: float) -> None:
    assert measure_excess(skin, draw_line(0.1, width)) > 10 * measure_excess(skin, draw_line(0.0, width))


def test_a_dark_line_counts_more_than_a_light_one(skin: Tensor) -> None:
    assert measure_excess(skin, draw_line(0.1, 2.0)) > 1.2 * measure_excess(skin, draw_line(-0.1, 2.0))


def test_broad_shade_hardly_counts(skin: Tensor) -> None:
    assert measure_excess(skin, draw_line(0.1, 40.0)) < 0.2 * measure_excess(skin, draw_line(0.1, 2.0))


def test_softening_a_fold_does_not_count(skin: Tensor) -> None:
    folded = skin * torch.exp(-draw_line(0.3, 2.0))
    assert measure_excess(folded, draw_line(-0.15, 2.0)) < 0.05 * measure_excess(folded, draw_line(0.15, 2.0))


def test_lines_outside_the_mask_do_not_count(skin: Tensor) -> None:
    upper = torch.zeros(CANVAS, CANVAS)
    upper[: MIDDLE - 40] = 1.0
    lines = Lines(skin, upper)
    unchanged = lines.measure(torch.zeros_like(skin))
    assert float(lines.measure_excess(draw_line(0.1, 2.0), unchanged)) < 1e-3


def test_typical_strength_ignores_a_few_strong_edges(skin: Tensor) -> None:
    torch.manual_seed(0)
    rough = skin * torch.exp(-0.3 * torch.randn(1, CANVAS, CANVAS))
    edged = skin * torch.exp(-draw_line(1.0, 2.0))

    def typical(linear: Tensor) -> float:
        lines = Lines(linear, torch.ones(CANVAS, CANVAS))
        return lines.measure_typical_strength(lines.measure(torch.zeros_like(linear)))

    assert typical(edged) < 0.01 < 0.04 < typical(rough)
