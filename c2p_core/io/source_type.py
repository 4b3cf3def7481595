"""IPTC's Digital Source Type in XMP: what a picture is, by the terms of https://cv.iptc.org/newscodes/digitalsourcetype.

Packets are edited as text: all that does not say it keeps its bytes.
"""

from __future__ import annotations

import re

from c2p_core.io.xmp import is_utf8

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ENHANCED = f"{_TERMS}algorithmicallyEnhanced"
"""A photo that an algorithm has altered, without anything in it that a model made up."""
COMPOSITE = f"{_TERMS}compositeWithTrainedAlgorithmicMedia"
"""A photo with something in it that a model made up."""
# What was no photo before stays what it was: a change of the face makes it no more of one.
_STRONGER = {
    ENHANCED: (
        "algorithmicMedia",
        "composite",
        "compositeSynthetic",
        "compositeWithTrainedAlgorithmicMedia",
        "dataDrivenMedia",
        "digitalArt",
        "digitalCreation",
        "softwareImage",
        "trainedAlgorithmicMedia",
        "virtualRecording",
    ),
    COMPOSITE: ("trainedAlgorithmicMedia",),
}
_NAMESPACE = b"http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="%s"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>' % _RDF
)
_PADDING = re.compile(rb"\s+(?=<\?xpacket\s+end=)")


def choose_source_type(generated: bool) -> str:
    """The term for a protected photo; ``generated`` says whether a model made up something in it."""
    return COMPOSITE if generated else ENHANCED


def mark_packet(packet: bytes | None, term: str, longest: int | None = None) -> tuple[bytes, str] | None:
    """Say in an XMP packet what the picture is.

    Args:
        packet: None for a new one.
        term: ``ENHANCED`` or ``COMPOSITE``. Where the packet has a term that says more, this stays.
        longest: bytes that the packet may have.

    Returns:
        The packet and the term that it has now; None for a packet that can't be read or would become too long.
    """
    before = packet or _EMPTY
    if not is_utf8(before) or re.search(rb"RDF[\s>]", before) is None:
        return None
    found = read_source_type(before)
    if found is not None and found.startswith(_TERMS) and found.removeprefix(_TERMS) in _STRONGER[term]:
        return before, found
    after = _replace(before, term.encode()) if found is not None else _insert(before, term.encode())
    if after is None:
        return None
    after = _take_from_padding(after, len(after) - len(before)) if packet else after
    return None if longest is not None and len(after) > longest else (after, term)


def read_source_type(packet: bytes) -> str | None:
    """The term that a packet has, None without one."""
    match = _pattern(packet).search(packet)
    return match["value"].decode("utf-8", "replace").strip() if match else None


def _pattern(packet: bytes) -> re.Pattern[bytes]:
    """Finds the property as attribute, as element with a text, and as element that refers to a resource."""
    prefixes = _prefixes(packet, _NAMESPACE) or [b"Iptc4xmpExt"]
    name = rb"(?:%s):DigitalSourceType" % b"|".join(map(re.escape, prefixes))
    return re.compile(
        rb"""(?P<before>\s%s\s*=\s*["']|<%s(?:\s[^<>]*?\bresource\s*=\s*["']|(?:\s[^<>]*)?(?<!/)>))"""
        rb"""(?P<value>[^"'<>]*)""" % (name, name)
    )


def _prefixes(packet: bytes, namespace: bytes) -> list[bytes]:
    return re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']%s["']""" % re.escape(namespace), packet)


def _replace(packet: bytes, term: bytes) -> bytes:
    return _pattern(packet).sub(lambda match: match["before"] + term, packet)


def _insert(packet: bytes, term: bytes) -> bytes | None:
    """Put a description of its own behind the others, of the same subject."""
    rdf = (_prefixes(packet, _RDF) or [b"rdf"])[0]
    about = re.search(rb"""\s%s:about\s*=\s*(["'])(.*?)\1""" % re.escape(rdf), packet)
    description = b'<%s:Description %s:about="%s" xmlns:Iptc4xmpExt="%s" Iptc4xmpExt:DigitalSourceType="%s"/>' % (
        rdf,
        rdf,
        about[2] if about else b"",
        _NAMESPACE,
        term,
    )
    ends = list(re.finditer(rb"</%s:RDF\s*>" % re.escape(rdf), packet))
    if ends:
        at = ends[-1].start()
        return packet[:at] + description + packet[at:]
    closed = re.search(rb"<(%s:RDF\b[^<>]*?)\s*/>" % re.escape(rdf), packet)
    if closed is None:
        return None
    element = b"<%s>%s</%s:RDF>" % (closed[1], description, rdf)
    return packet[: closed.start()] + element + packet[closed.end() :]


def _take_from_padding(packet: bytes, more: int) -> bytes:
    """Shorten the space that packets have at their end for others to write into, so that they keep their length."""
    padding = _PADDING.search(packet)
    if padding is None or more <= 0:
        return packet
    start = max(padding.start() + 1, padding.end() - more)
    return packet[:start] + packet[padding.end() :]
