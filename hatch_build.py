"""What is made while the package is built, because people edit another form of it.

gettext reads .mo files, not .po files, GIMP shows help pages in HTML, not in Markdown, and its plug-ins can't import
the library's registry of priors.
"""

from __future__ import annotations

import itertools
import json
import re
import runpy
import tempfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import polib
from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from markdown_it import MarkdownIt
from markdown_it.token import Token

# polib accepts a text without quotes and drops its first and last character.
_LINE = re.compile(r'(#.*|((msgctxt|msgid|msgid_plural|msgstr(\[\d+\])?)\s+)?"(\\.|[^"\\])*")?\s*\Z')
# The pages of docs/ that GIMP's help has: the manual of the plug-in, first, and those that it leads to.
_PAGES = ("gimp", "report", "strength", "stylegan2")
# Where GIMP's help looks for the page of a procedure: their names, and the heading that tells of it.
_TOPICS = {
    "plug-in-protect-face": "gimp.html#protect",
    "plug-in-protect-face-check": "gimp.html#check-and-strengthen",
    "plug-in-protect-face-strengthen": "gimp.html#check-and-strengthen",
    "plug-in-protect-face-worker": "gimp.html#when-something-fails",
}
HELP_DOMAIN = "protect-face"
"""As the plug-in names it to GIMP."""
_HTML = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 46em; margin: 2em auto; padding: 0 1em; font: 1em/1.5 sans-serif; color: #222; background: #fff; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #bbb; padding: .3em .6em; text-align: left; vertical-align: top; }}
pre {{ overflow: auto; padding: .6em; background: #f2f2f2; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


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


def compile_help(docs: Path) -> dict[str, bytes]:
    """GIMP's help on the plug-in from the pages in ``docs``: HTML, and the index that GIMP reads, by path.

    Pictures are left out, and links to pages that are not among them are plain text.

    Raises:
        OSError: a page is missing.
    """
    pages = {f"help/en/{name}.html": _render_page(docs / f"{name}.md") for name in _PAGES}
    topics = "".join(
        f"  <help-item help:id={quoteattr(topic)} ref={quoteattr(page)}/>\n" for topic, page in _TOPICS.items()
    )
    index = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<gimp-help xmlns:help="{HELP_DOMAIN}">\n{topics}'
        f'  <help-missing ref="{_PAGES[0]}.html"/>\n</gimp-help>\n'
    )
    return {"help/en/gimp-help.xml": index.encode(), **pages}


def compile_priors(registry: Path) -> dict[str, bytes]:
    """The names and labels of the priors in a registry, ``prior_registry.py``, for GIMP's plug-ins, by path."""
    # By its path: where the package is built, what the library needs may not be installed.
    entries = runpy.run_path(str(registry))["REGISTRY"]
    return {"priors.json": json.dumps([[name, entry.label] for name, entry in entries.items()]).encode()}


def compile_all(root: Path) -> dict[str, bytes]:
    """Everything that a checkout's worker client lacks and the installed one has, by path in the worker client."""
    return {
        **compile_translations(root / "plugin" / "worker_client"),
        **compile_help(root / "docs"),
        **compile_priors(root / "c2p_core" / "prior_registry.py"),
    }


def _render_page(path: Path) -> bytes:
    markdown = MarkdownIt("commonmark").enable("table")
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    titles = []
    for heading, inline in itertools.pairwise(tokens):
        if heading.type == "heading_open":
            titles.append(inline.content)
            heading.attrSet("id", re.sub(r"[^\w-]", "", inline.content.lower().replace(" ", "-")))
        if inline.type == "inline":
            inline.children = _keep_local_links(inline.children or [])
    return _HTML.format(title=titles[0], body=markdown.renderer.render(tokens, markdown.options, {})).encode()


def _keep_local_links(tokens: list[Token]) -> list[Token]:
    """The tokens without pictures, whose links lead to the HTML pages, or into the world, or are plain text."""
    kept: list[Token] = []
    ends: list[bool] = []  # of the links that are open, whether they stay
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrGet("href"))
            page, mark, heading = target.partition("#")
            is_included = page.removesuffix(".md") in _PAGES and page.endswith(".md")
            ends.append(is_included or not page or "://" in target)
            if is_included:
                token.attrSet("href", f"{page.removesuffix('.md')}.html{mark}{heading}")
        stays = ends.pop() if token.type == "link_close" else token.type != "link_open" or ends[-1]
        if stays and token.type != "image":
            kept.append(token)
    return kept


class CompileTextFiles(BuildHookInterface[BuilderConfig]):
    """hatchling's hook: what is compiled goes into the wheel, or, for an editable installation, beside its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        # Not into the checkout, which may be read-only. The folder goes with the hook.
        self._folder = tempfile.TemporaryDirectory(prefix="compiled-")
        target = root / "plugin" if version == "editable" else Path(self._folder.name)
        for name, body in compile_all(root).items():
            path = target / "worker_client" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            if version != "editable":
                build_data["force_include"][str(path)] = f"worker_client/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._folder.cleanup()
