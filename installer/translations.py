"""Translations: from the text form that people edit (.po) to the binary form that gettext reads (.mo)."""

from __future__ import annotations

import ast
import struct


def compiled(po: str) -> bytes:
    """The .mo file of a .po file, without fuzzy, obsolete and empty entries.

    Format: https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html

    Args:
        po: content of the .po file.

    Raises:
        ValueError: a line is neither a comment nor part of an entry; says which.
    """
    catalogue = sorted(_entries(po).items())
    keys = [key for key, _ in catalogue]
    texts = [text for _, text in catalogue]
    # Header, then the table of keys, the table of texts, and the bytes that both point to, each ended by a zero.
    tables = 7 * 4
    offset = tables + 16 * len(catalogue)
    index: list[int] = []
    for piece in keys + texts:
        index += [len(piece), offset]
        offset += len(piece) + 1
    header = (0x950412DE, 0, len(catalogue), tables, tables + 8 * len(catalogue), 0, tables)
    return struct.pack(f"<{7 + len(index)}I", *header, *index) + b"".join(piece + b"\0" for piece in keys + texts)


def _entries(po: str) -> dict[bytes, bytes]:
    """Message (with its context and plural form as gettext joins them) to translation."""
    found: dict[bytes, bytes] = {}
    entry: dict[str, str] = {}
    fuzzy = False
    part = ""
    for number, line in enumerate([*po.splitlines(), 'msgid ""'], 1):
        words = line.strip()
        if words.startswith("#") or not words:
            # A comment after a translation belongs to the entry that follows.
            if part.startswith("msgstr"):
                _finish(entry, fuzzy, found)
                entry, part, fuzzy = {}, "", False
            fuzzy = fuzzy or (words.startswith("#,") and "fuzzy" in words)
            continue
        if not words.startswith('"'):
            keyword, _, words = words.partition(" ")
            if keyword in ("msgid", "msgctxt") and part.startswith("msgstr"):
                _finish(entry, fuzzy, found)
                entry, fuzzy = {}, False
            part = keyword
        if part.partition("[")[0] not in ("msgctxt", "msgid", "msgid_plural", "msgstr"):
            raise ValueError(f"line {number}: {line!r} is not part of an entry")
        try:
            text = ast.literal_eval(words)
        except (SyntaxError, ValueError):
            text = None
        if not isinstance(text, str):
            raise ValueError(f"line {number}: {line!r} has no text in quotes")
        entry[part] = entry.get(part, "") + text
    return found


def _finish(entry: dict[str, str], fuzzy: bool, found: dict[bytes, bytes]) -> None:
    key = entry.get("msgid", "")
    if "msgctxt" in entry:
        key = f"{entry['msgctxt']}\x04{key}"
    if "msgid_plural" in entry:
        key += f"\0{entry['msgid_plural']}"
    text = "\0".join(entry[name] for name in sorted(entry) if name.startswith("msgstr"))
    if not fuzzy and text.strip("\0"):
        found[key.encode()] = text.encode()
