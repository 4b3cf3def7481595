"""What the plug-in for GIMP 2.10 does to bytes, against NumPy; GIMP itself is not needed for that."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

PLUGIN = Path(__file__).resolve().parents[2] / "plugin"
TYPES = {"u8": ("u1", 255), "u16": ("<u2", 65535), "float": ("<f4", 1.0)}


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plug-in's module, with a gimpfu that has the names of the stub and nothing behind them."""
    fake = ModuleType("gimpfu")
    stub = ast.parse((PLUGIN / "stubs" / "gimpfu.pyi").read_text(encoding="utf-8"))
    names = [
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    for number, name in enumerate(names):
        setattr(fake, name, number)
    monkeypatch.setitem(sys.modules, "gimpfu", fake)
    monkeypatch.syspath_prepend(str(PLUGIN / "protect-face-gimp2"))
    monkeypatch.delitem(sys.modules, "gimp2_pixels", raising=False)
    import gimp2_pixels

    return gimp2_pixels


class FakeDrawable:
    """One byte a pixel, read as GIMP reads: never outside."""

    bpp = 1

    def __init__(self, content: NDArray[np.uint8]) -> None:
        self.content = content
        self.height, self.width = content.shape

    def get_pixel_rgn(self, *_: object) -> FakeDrawable:
        return self

    def __getitem__(self, area: tuple[slice, slice]) -> bytes:
        columns, rows = area
        assert min(columns.start, rows.start) >= 0 and columns.stop <= self.width and rows.stop <= self.height
        return self.content[rows, columns].tobytes()


@pytest.mark.parametrize("depth", ["u8", "u16", "float"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("cut", [True, False])
def test_colours_stay_and_alpha_is_kept_made_or_cut(pixels: Any, depth: str, channels: int, cut: bool) -> None:
    dtype, one = TYPES[depth]
    generator = np.random.default_rng(0)
    source = (generator.random((6, channels)) * one).astype(dtype)
    shown = np.array([0, 1, 255, 0, 9, 0], np.uint8)
    made = np.frombuffer(
        pixels.with_alpha(source.tobytes(), channels, depth, shown.tobytes() if cut else None), dtype
    ).reshape(6, -1)
    colours = channels - (channels % 2 == 0)
    alpha = source[:, -1] if channels % 2 == 0 else np.full(6, one, dtype)
    assert np.array_equal(made[:, :colours], source[:, :colours])
    assert np.array_equal(made[:, colours], np.where(shown > 0, alpha, 0) if cut else alpha)


@pytest.mark.parametrize("depth", ["u8", "u16", "float"])
def test_a_mask_means_the_same_in_every_depth(pixels: Any, depth: str) -> None:
    dtype, one = TYPES[depth]
    mask = np.arange(256, dtype=np.uint8)
    stored = np.frombuffer(pixels.levels(mask.tobytes(), depth), dtype)
    assert np.allclose(stored / one, mask / 255, atol=1e-7)


def test_the_product_of_masks_is_rounded(pixels: Any) -> None:
    first, second = (grid.astype(np.uint8) for grid in np.mgrid[0:256, 0:256])
    product = np.frombuffer(pixels.times(first.tobytes(), second.tobytes()), np.uint8).reshape(256, 256)
    assert np.array_equal(product, np.rint(first / 255.0 * second).astype(np.uint8))
    all_or_nothing = np.where(first > 99, 255, 0).astype(np.uint8)
    product = np.frombuffer(pixels.times(all_or_nothing.tobytes(), second.tobytes()), np.uint8)
    assert np.array_equal(product, np.where(first > 99, second, 0).ravel())


@pytest.mark.parametrize(
    "rect", [(0, 0, 7, 5), (2, 1, 3, 2), (-3, -2, 20, 20), (5, 4, 9, 9), (-4, 1, 6, 3), (30, 0, 4, 4), (0, -9, 4, 4)]
)
def test_outside_of_a_drawable_there_are_zeros(pixels: Any, rect: tuple[int, int, int, int]) -> None:
    content = np.arange(1, 36, dtype=np.uint8).reshape(5, 7)
    x, y, width, height = rect
    wide = np.pad(content, 40)
    expected = wide[40 + y : 40 + y + height, 40 + x : 40 + x + width]
    assert pixels.padded(FakeDrawable(content), rect) == expected.tobytes()
