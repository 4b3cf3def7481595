"""Code left out of the fingerprint of embeddings does not affect them."""

from __future__ import annotations

from benchmarks.fingerprint import CHANGES_ONLY
from tests.test_imports import PACKAGE, find_reached, import_graph, module_name


def test_excluded_code_exists_and_is_not_imported_by_code_that_detects_and_embeds_faces() -> None:
    graph = import_graph({module_name(path): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")})
    reached = {
        name
        for part in ("faces", "verify", "recognition", "io.photo_files")
        for name in find_reached(graph, f"c2p_core.{part}")
    }
    assert all((PACKAGE / name).exists() for name in CHANGES_ONLY)
    assert not {name.split(".")[1] for name in reached} & {name.removesuffix(".py") for name in CHANGES_ONLY}
