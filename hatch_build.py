"""Compiles the translations while the package is built: people edit .po files, gettext reads .mo files."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import polib
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# polib accepts a text without quotes and drops its first and last character.
_LINE = re.compile(r'(#.*|((msgctxt|msgid|msgid_plural|msgstr(\[\d+\])?)\s+)?"(\\.|[^"\\])*")?\s*\Z')


def compile_translations(folder: Path) -> dict[str, bytes]:
    """The .mo file of every .po file below ``folder``, by its path in there ("/" between names).

    Fuzzy, obsolete and empty entries are left out.

    Raises:
        ValueError: a .po file is malformed; says which, and where.
    """
    compiled = {}
    for path in sorted(folder.rglob("*.po")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not _LINE.match(line):
                raise ValueError(
                    f"'{path}' can't be compiled (line {number} is malformed); correct it and build again."
                )
        try:
            catalogue = polib.pofile(str(path), encoding="utf-8", check_for_duplicates=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"'{path}' can't be compiled ({error}); correct it and build again.") from error
        compiled[path.relative_to(folder).with_suffix(".mo").as_posix()] = catalogue.to_binary()
    return compiled


class CompileTranslations(BuildHookInterface[BuilderConfig]):
    """hatchling's hook: the .mo files go into the wheel, or, for an editable installation, beside the .po files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root, "plugin")
        # Not into the checkout, which may be read-only. The folder goes with the hook.
        self._folder = tempfile.TemporaryDirectory(prefix="translations-")
        target = source if version == "editable" else Path(self._folder.name)
        for path, body in compile_translations(source).items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(body)
            if version != "editable":
                build_data["force_include"][str(target / path)] = path

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()
