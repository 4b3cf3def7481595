"""The project's models with more beside them that have to be fetched, as none of its own has to be."""

from __future__ import annotations

from pathlib import Path

from c2p_core.models.store import bundle_dir

SIZE = 1_500_000


def bundle_with_fetchable(folder: Path, *names: str) -> Path:
    """Makes ``folder`` a bundle with the project's models and one that can be fetched for each name."""
    folder.mkdir(parents=True)
    for name in ("mini", "models"):
        (folder / name).symlink_to(bundle_dir() / name, target_is_directory=True)
    entries = "".join(
        f"""
[[model]]
name = "{name}"
role = "guidance"
licence = "MIT"
origin = "a test"
files = [{{ name = "{name}.bin", sha256 = "{"0" * 64}", size = {SIZE} }}]
sources = [{{ kind = "https", url = "https://localhost:1" }}]
"""
        for name in names
    )
    manifest = (bundle_dir() / "manifest.toml").read_text(encoding="utf-8")
    (folder / "manifest.toml").write_text(manifest + entries, encoding="utf-8")
    return folder
