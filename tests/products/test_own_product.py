"""A new product: one record in the catalogue, and a region if it needs one of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDS = """
    Product(
        "tint",
        ("cheek tint",),
        opacity=0.9,
        extent=(0.2, 1.1),
        softness=(0.5, 0.9),
        limit=0.9,
        colours=("red", "pink"),
        usual_colour="red",
        own_region="blush",
        sticks_to="skin",
    ),
    Product(
        "beauty_spot",
        ("beauty spot",),
        opacity=0.95,
        extent=(0.8, 1.2),
        softness=(0.1, 0.2),
        limit=3.0,
        colours=("black", "brown"),
        usual_colour="black",
    ),
"""
REGION = """
REGIONS["beauty_spot"] = ProductRegion(
    lambda face: np.linalg.norm(face.xy - face.points[205], axis=-1) / 0.05, lambda face: face.skin
)
"""
PROGRAM = """
import json
from skimage.data import astronaut
from c2p_core import Photo, ProtectRequest, protect
request = ProtectRequest(
    Photo(astronaut()), "strong red cheek tint and black beauty spot", recognisers=("mobileface",), steps=1, layers=True
)
result = protect(request)
layers = {
    layer.name: [layer.x, layer.y, layer.pixels.shape[1], layer.pixels.shape[0], int(layer.pixels[..., 3].max())]
    for layer in result.layers
}
print(json.dumps({"layers": layers, "warnings": [warning.code for warning in result.warnings]}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Layers and warnings of a run with a copy of the package that has two additional products."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "c2p_core", home / "c2p_core", ignore=shutil.ignore_patterns("__pycache__"))
    (home / "bundle").symlink_to(ROOT / "bundle")
    catalogue = home / "c2p_core" / "products" / "catalogue.py"
    before, records, after = catalogue.read_text().partition("_PRODUCTS = (\n")
    listed, end, rest = after.partition("\n)\n")
    catalogue.write_text(before + records + listed + RECORDS + end + rest)
    geometry = home / "c2p_core" / "products" / "geometry.py"
    geometry.write_text(geometry.read_text() + REGION)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), str(ROOT / "plugin")]), "C2P_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=home, env=environment, capture_output=True, text=True, check=True
    )
    results: dict[str, Any] = json.loads(process.stdout)
    return results


@pytest.mark.slow
def test_a_prompt_names_new_products_and_layers_show_them(run: dict[str, Any]) -> None:
    assert not any(code.startswith("word-unknown") for code in run["warnings"])
    assert {"Tint", "Beauty spot"} <= run["layers"].keys()
    assert "Lipstick" not in run["layers"]


def test_a_new_product_is_painted_in_its_own_region(run: dict[str, Any]) -> None:
    """The spot is small and on one cheek; the tint has the blush's region on both."""
    spot, tint = run["layers"]["Beauty spot"], run["layers"]["Tint"]
    assert spot[4] > 100
    assert max(spot[2:4]) < 0.3 * tint[2]
    assert tint[0] <= spot[0] <= tint[0] + tint[2] / 2
