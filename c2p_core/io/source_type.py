"""IPTC's Digital Source Type in XMP, with the terms of https://cv.iptc.org/newscodes/digitalsourcetype.

Packets are edited as text, so that everything else keeps its bytes.
"""

from __future__ import annotations

import re

from c2p_core.io.xmp import is_utf8

_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
ENHANCED = f"{_TERMS}algorithmicallyEnhanced"
"""A photo altered by an algorithm, without generated content."""
COMPOSITE = f"{_TERMS}compositeWithTrainedAlgorithmicMedia"
"""A photo with content that a model generated."""
# Terms that stay: what was not a photo before is still none after the face was changed.
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
    """The term for a protected photo; ``generated`` says whether it has content that a model generated."""
    return COMPOSITE if generated else ENHANCED


def mark_packet(packet: bytes | None, term: str, longest: int | None = None) -> tuple[bytes, str] | None:
    """Set the picture's source type in an XMP packet.

    Args:
        packet: None for a new one.
        term: ``ENHANCED`` or ``COMPOSITE``. A stronger term that the packet already has stays.
        longest: the most bytes that the packet may have.

    Returns:
        The packet and the term that it has now; None for a packet that can't be read or would become too long.
    """
    before = packet or _EMPTY
    if not is_utf8(before) or re.search(rb"RDF[\s>]", before) is None:
        return None
    current = read_source_type(before)
    if current is not None and current.startswith(_TERMS) and current.removeprefix(_TERMS) in _STRONGER[term]:
        return before, current
    after = _replace(before, term.encode()) if current is not None else _insert(before, term.encode())
    if after is None:
        return None
    after = _take_from_padding(after, len(after) - len(before)) if packet else after
    return None if longest is not None and len(after) > longest else (after, term)


def read_source_type(packet: bytes) -> str | None:
    """The term in a packet; None if it has none."""
    match = _compile_pattern(packet).search(packet)
    return match["value"].decode("utf-8", "replace").strip() if match else None


def _compile_pattern(packet: bytes) -> re.Pattern[bytes]:
    """A pattern for the property as attribute, as element with text, or as element that refers to a resource."""
    prefixes = _find_prefixes(packet, _NAMESPACE) or [b"Iptc4xmpExt"]
    name = rb"(?:%s):DigitalSourceType" % b"|".join(map(re.escape, prefixes))
    return re.compile(
        rb"""(?P<before>\s%s\s*=\s*["']|<%s(?:\s[^<>]*?\bresource\s*=\s*["']|(?:\s[^<>]*)?(?<!/)>))"""
        rb"""(?P<value>[^"'<>]*)""" % (name, name)
    )


def _find_prefixes(packet: bytes, namespace: bytes) -> list[bytes]:
    return re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']%s["']""" % re.escape(namespace), packet)


def _replace(packet: bytes, term: bytes) -> bytes:
    return _compile_pattern(packet).sub(lambda match: match["before"] + term, packet)


def _insert(packet: bytes, term: bytes) -> bytes | None:
    """Add a description of the same subject after the others."""
    rdf = (_find_prefixes(packet, _RDF) or [b"rdf"])[0]
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
        position = ends[-1].start()
        return packet[:position] + description + packet[position:]
    empty_element = re.search(rb"<(%s:RDF\b[^<>]*?)\s*/>" % re.escape(rdf), packet)
    if empty_element is None:
        return None
    element = b"<%s>%s</%s:RDF>" % (empty_element[1], description, rdf)
    return packet[: empty_element.start()] + element + packet[empty_element.end() :]


def _take_from_padding(packet: bytes, excess: int) -> bytes:
    """Shorten the padding at the end of a packet by as many bytes as it has grown."""
    padding = _PADDING.search(packet)
    if padding is None or excess <= 0:
        return packet
    start = max(padding.start() + 1, padding.end() - excess)
    return packet[:start] + packet[padding.end() :]
