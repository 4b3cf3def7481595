"""Fingerprints of the code that was measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from benchmarks.data import CHECKOUT
from c2p_core.models.manifest import read_manifest

# Code that does not affect embeddings of unchanged photos: it changes, shows and reports faces.
CHANGES_ONLY = frozenset(
    {"priors", "guidance", "batch", "people", "worker", "commands", "cli.py", "pipeline.py", "run.py", "loaded_run.py",
     "search.py", "face_inversion.py", "face_search.py", "face_settings.py", "terms.py", "losses.py", "eot.py",
     "starting_look.py", "direction.py", "sketch.py", "subjects.py", "references.py", "profiles.py", "validate.py",
     "compare.py", "photo_file.py", "targets.py", "streams.py", "signals.py"}
)  # fmt: skip

_EMBEDDING_ROLES = ("detector", "landmarks", "recogniser")


def fingerprint_embedding() -> str:
    """Twelve hex digits over the code and models that detect and embed faces; not affected by changes of the search."""
    core = CHECKOUT / "c2p_core"
    code = [p for p in core.rglob("*.py") if p.relative_to(core).parts[0] not in CHANGES_ONLY]
    manifest = read_manifest(CHECKOUT / "bundle" / "manifest.toml")
    models = [m for m in manifest if m.role in _EMBEDDING_ROLES and m.profile == "embedded"]
    return _fingerprint(code, [f"{model.name} {file.sha256}" for model in models for file in model.files])


def fingerprint_code() -> str:
    """Twelve hex digits over everything that determines pictures: c2p_core, the manifest and the project's weights."""
    files = [*(CHECKOUT / "c2p_core").rglob("*.py"), CHECKOUT / "bundle" / "manifest.toml"]
    files += [p for p in (CHECKOUT / "bundle" / "mini").rglob("*") if p.is_file()]
    return _fingerprint(files)


def _fingerprint(files: Iterable[Path], extra_lines: Iterable[str] = ()) -> str:
    digest = hashlib.sha256("\n".join(extra_lines).encode())
    for file in sorted(p for p in files if p.exists()):
        digest.update(file.relative_to(CHECKOUT).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
