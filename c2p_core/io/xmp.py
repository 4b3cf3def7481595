"""XMP packets, edited as text, so that everything else keeps its bytes.

Embedded copies of the picture are removed, and so are references to parts of the file that are gone (gain maps, videos,
depth maps): programs refuse a file whose announced parts are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from c2p_core.io.exif import turn_point

# The prefix is the writer's choice: older ones write "xap" for what newer ones call "xmp".
_THUMBNAILS = re.compile(rb"<((?:[\w.-]+:)?Thumbnails)\b[^>]*>.*?</\1\s*>", re.DOTALL)
# JPEG, PNG or WebP in base64, as an attribute or as text: phones store depth maps and the photo before blurring this
# way. In a data URI that declares a picture, any format.
_PICTURE = re.compile(rb"""(["'>])\s*(?:data:image/|/9j/|iVBORw0KGgo|UklGR)[^"'<]*""")
PICTURE_START = re.compile(rb"data:image/|/9j/|iVBORw0KGgo|UklGR")
"""The start of a picture in base64."""
_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>\s*))([0-9])""")
# Namespaces that describe other parts of the file, each with its usual prefixes and the name of the part.
_PARTS: dict[bytes, tuple[tuple[bytes, ...], str]] = {
    b"http://ns.adobe.com/hdr-gain-map/1.0/": ((b"hdrgm",), "gain-map"),
    b"http://ns.apple.com/HDRGainMap/1.0/": ((b"HDRGainMap",), "gain-map"),
    b"http://ns.apple.com/HDRToneMap/1.0/": ((b"HDRToneMap",), "gain-map"),
    b"http://ns.apple.com/pixeldatainfo/1.0/": ((b"apdi",), "pictures"),
    b"http://ns.apple.com/depthData/1.0/": ((b"depthData",), "depth"),
    b"http://ns.google.com/photos/1.0/container/": ((b"Container", b"GContainer"), ""),
    b"http://ns.google.com/photos/1.0/container/item/": ((b"Item", b"GContainerItem"), ""),
    b"http://ns.google.com/photos/1.0/image/": ((b"GImage",), "pictures"),
    b"http://ns.google.com/photos/1.0/audio/": ((b"GAudio",), "audio"),
    b"http://ns.google.com/photos/1.0/depthmap/": ((b"GDepth",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/device/": ((b"Device",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/profile/": ((b"Profile",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/camera/": ((b"Camera",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/depthmap/": ((b"DepthMap",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/image/": ((b"Image",), "depth"),
    b"http://ns.google.com/photos/dd/1.0/container/": ((b"DDContainer",), "depth"),
}
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_VIDEO = rb"(?:MotionPhoto|MicroVideo)\w*"
# Semantics of a container's items, and the part that each stands for.
_SEMANTICS = {b"GainMap": "gain-map", b"MotionPhoto": "video", b"Depth": "depth", b"RecoveryMap": "gain-map"}
# Face regions and other notes on who is in a photo: everything in these namespaces.
_REGIONS = {b"http://www.metadataworkinggroup.com/schemas/regions/": (b"mwg-rs",), **{
    b"http://www.metadataworkinggroup.com/schemas/keywords/": (b"mwg-kw",),
    b"http://ns.microsoft.com/photo/1.2/": (b"MP",),
    b"http://ns.microsoft.com/photo/1.2/t/RegionInfo#": (b"MPRI",),
    b"http://ns.microsoft.com/photo/1.2/t/Region#": (b"MPReg",),
    b"http://ns.apple.com/faceinfo/1.0/": (b"apple-fi",),
    b"http://ns.acdsee.com/regions/": (b"acdsee-rs",),
    b"http://ns.acdsee.com/iptc/1.0/": (b"acdsee",),
    b"http://www.digikam.org/ns/1.0/": (b"digiKam",),
    b"http://ns.iview-multimedia.com/mediapro/1.0/": (b"mediapro",),
}}  # fmt: skip
# Names of persons, owners, places and serial numbers.
_PERSONAL = {
    b"http://iptc.org/std/Iptc4xmpExt/2008-02-29/": (
        b"Iptc4xmpExt",
        rb"(?:PersonInImage\w*|OrganisationInImage\w*|AddlModelInfo|ModelAge|Location(?:Created|Shown)|ImageRegion"
        rb"|Event\w*|Contributor)",
    ),
    b"http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": (
        b"Iptc4xmpCore",
        rb"(?:CreatorContactInfo|Location|CountryCode|Ci\w+)",
    ),
    b"http://ns.adobe.com/photoshop/1.0/": (b"photoshop", rb"(?:City|State|Country|AuthorsPosition|CaptionWriter)"),
    b"http://ns.adobe.com/exif/1.0/": (b"exif", rb"(?:GPS\w+|UserComment|MakerNote|ImageUniqueID)"),
    b"http://ns.adobe.com/exif/1.0/aux/": (b"aux", rb"(?:SerialNumber|OwnerName|LensSerialNumber)"),
    b"http://cipa.jp/exif/1.0/": (
        b"exifEX",
        rb"(?:BodySerialNumber|LensSerialNumber|CameraOwnerName|Photographer|ImageEditor|ImageTitle)",
    ),
    b"http://ns.adobe.com/tiff/1.0/": (b"tiff", rb"(?:Artist|HostComputer)"),
    b"http://purl.org/dc/elements/1.1/": (b"dc", rb"(?:creator|contributor|subject)"),
    b"http://ns.adobe.com/lightroom/1.0/": (b"lr", rb"(?:hierarchicalSubject|weightedFlatSubject)"),
    b"http://ns.adobe.com/xap/1.0/rights/": (b"xmpRights", rb"(?:Owner)"),
    b"http://ns.useplus.org/ldf/xmp/1.0/": (
        b"plus",
        rb"(?:CopyrightOwner|ImageCreator|ImageSupplier|Licensor|Licensee|EndUser|ModelRelease)\w*",
    ),
    # Windows writes it without a slash, others with one.
    b"http://ns.microsoft.com/photo/1.0": (b"MicrosoftPhoto", rb"(?:LastKeyword\w*|\w*SerialNumber)"),
    b"http://ns.microsoft.com/photo/1.0/": (b"MicrosoftPhoto", rb"(?:LastKeyword\w*|\w*SerialNumber)"),
    b"http://www.dji.com/drone-dji/1.0/": (b"drone-dji", rb"(?:G[Pp][Ss]\w*|\w*SerialNumber\w*|SelfData)"),
    b"http://xmp.gettyimages.com/gift/1.0/": (b"GettyImagesGIFT", rb"(?:Personality)"),
}
_NUMBER = rb"-?[0-9]*\.?[0-9]+"


def clean_xmp(packet: bytes | None) -> tuple[bytes | None, set[str]]:
    """Remove pictures and references to other parts of the file.

    Returns:
        The packet, None for one that is not UTF-8 (it could hide a picture); and the parts that it referred to:
        "gain-map", "video", "depth", "audio", "pictures", or "xmp" for the packet itself.
    """
    if not packet:
        return None, set()
    if not is_utf8(packet):
        return None, {"xmp"}
    lost = {part for namespace, (names, part) in _PARTS.items() if part and _uses_namespace(packet, namespace, names)}
    for semantic, part in _SEMANTICS.items():
        if re.search(rb"""Semantic\s*=\s*["']%s["']|Semantic>\s*%s\s*<""" % (semantic, semantic), packet):
            lost.add(part)
    packet = _THUMBNAILS.sub(b"", packet)
    for namespace, (names, _) in _PARTS.items():
        packet = _cut(packet, namespace, names, rb"[\w.-]+")
    without_video = _cut(packet, _CAMERA, (b"GCamera",), _VIDEO)
    if without_video != packet:
        lost.add("video")
    return _PICTURE.sub(rb"\1", without_video), lost


def strip_personal(packet: bytes) -> bytes:
    """Remove face regions, names of persons, places, owners and serial numbers."""
    for namespace, names in _REGIONS.items():
        packet = _cut(packet, namespace, names, rb"[\w.-]+")
    for namespace, (name, properties) in _PERSONAL.items():
        packet = _cut(packet, namespace, (name,), properties)
    return packet


def strip_camera_raw(packet: bytes) -> bytes:
    """Remove the settings with which Camera Raw and Lightroom develop a photo."""
    return _cut(packet, b"http://ns.adobe.com/camera-raw-settings/1.0/", (b"crs",), rb"[\w.-]+")


def read_orientation(packet: bytes | None) -> int:
    """The orientation in an XMP packet, as attribute or element; 1 where there is none."""
    match = _ORIENTATION.search(packet or b"")
    return int(match[2]) if match and 1 <= int(match[2]) <= 8 else 1


def turn_xmp(packet: bytes, orientation: int, width: int, height: int) -> bytes:
    """Adapt a packet to pixels that were turned upright: orientation 1; sizes, subject and face regions turned too.

    Args:
        packet: UTF-8.
        orientation: 1 to 8, as it was applied to the pixels.
        width, height: of the picture before it was turned.
    """
    packet = _ORIENTATION.sub(rb"\g<1>1", packet)
    if orientation == 1:
        return packet
    if orientation >= 5:
        for one, other in (
            (b"tiff:ImageWidth", b"tiff:ImageLength"),
            (b"tiff:XResolution", b"tiff:YResolution"),
            (b"exif:PixelXDimension", b"exif:PixelYDimension"),
            (b"stDim:w", b"stDim:h"),
        ):
            packet = _swap_values(packet, one, other)
    packet = _turn_areas(packet, orientation)
    packet = _turn_rectangles(packet, orientation)
    return _turn_subject(packet, orientation, width, height)


def is_utf8(packet: bytes) -> bool:
    """Whether a packet is UTF-8; UTF-16 text can be valid UTF-8 with zero bytes, which no pattern above matches."""
    try:
        packet.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in packet.rstrip(b"\0")


def merge_extended(packet: bytes, extended: bytes) -> bytes:
    """Merge a JPEG's main packet and its extension into one packet."""
    packet = re.sub(rb"""\sxmpNote:HasExtendedXMP\s*=\s*(?:"[^"]*"|'[^']*')""", b"", packet)
    packet = re.sub(rb"<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>", b"", packet)
    content = re.search(rb"<rdf:RDF\b[^>]*>(.*)</rdf:RDF\s*>", extended, re.DOTALL)
    end = packet.rfind(b"</rdf:RDF")
    if content is None or end < 0:
        return packet
    # Prefixes that the extension declares outside its descriptions would be unknown in the main packet.
    declarations = re.findall(rb"""\sxmlns:[\w.-]+\s*=\s*(?:"[^"]*"|'[^']*')""", extended[: content.start(1)])
    body = content[1]
    if declarations:
        added = b"".join(dict.fromkeys(declarations))
        body = re.sub(rb"<rdf:Description\b", lambda _: b"<rdf:Description" + added, body, count=0)
        body = _drop_repeated_declarations(body)
    return packet[:end] + body + packet[end:]


def _drop_repeated_declarations(body: bytes) -> bytes:
    """Keep the first declaration of each prefix in a tag, as XML demands."""

    def drop_repeats(tag: re.Match[bytes]) -> bytes:
        seen: set[bytes] = set()

        def keep(declaration: re.Match[bytes]) -> bytes:
            if declaration[1] in seen:
                return b""
            seen.add(declaration[1])
            return declaration[0]

        return re.sub(rb"""\s(xmlns:[\w.-]+)\s*=\s*(?:"[^"]*"|'[^']*')""", keep, tag[0])

    return re.sub(rb"<rdf:Description\b[^>]*>", drop_repeats, body)


def _find_prefixes(packet: bytes, namespace: bytes, usual: tuple[bytes, ...]) -> list[bytes]:
    """The prefixes that a packet declares for a namespace; the usual ones where it declares none."""
    declared = re.findall(rb"""xmlns:([\w.-]+)\s*=\s*["']%s["']""" % re.escape(namespace), packet)
    if declared:
        return list(dict.fromkeys(declared))
    return [prefix for prefix in usual if not re.search(rb"xmlns:%s\s*=" % re.escape(prefix), packet)]


def _uses_namespace(packet: bytes, namespace: bytes, usual: tuple[bytes, ...]) -> bool:
    return any(
        re.search(rb"[<\s]%s:[\w.-]+" % re.escape(prefix), packet)
        for prefix in _find_prefixes(packet, namespace, usual)
    )


def _cut(packet: bytes, namespace: bytes, usual: tuple[bytes, ...], names: bytes) -> bytes:
    """Cut elements and attributes of a namespace, and its declaration once it is unused."""
    # No pattern may begin with an unbounded number of spaces: packets are padded with thousands of them.
    for prefix in map(re.escape, _find_prefixes(packet, namespace, usual)):
        packet = re.sub(rb"""\s%s:%s\s*=\s*(?:"[^"]*"|'[^']*')""" % (prefix, names), b"", packet)
        packet = re.sub(rb"""<%s:%s(?:\s(?:[^>"']|"[^"]*"|'[^']*')*)?/>""" % (prefix, names), b"", packet)
        element = rb"""<(%s:%s)(?:\s[^>]*)?(?<!/)>.*?</\1\s*>""" % (prefix, names)
        packet = re.sub(element, b"", packet, flags=re.DOTALL)
        if not re.search(rb"[<\s/]%s:" % prefix, packet):
            packet = re.sub(rb"""\sxmlns:%s\s*=\s*(?:"[^"]*"|'[^']*')""" % prefix, b"", packet)
    return packet


def _compile_value(name: bytes) -> re.Pattern[bytes]:
    """A pattern for a property, as attribute or element: group 1 is what precedes its value, group 2 the value."""
    return re.compile(rb"""(%s(?:\s*=\s*["']|\s*>\s*))([^"'<]*)""" % re.escape(name))


def _swap_values(packet: bytes, one: bytes, other: bytes) -> bytes:
    first_matches, second_matches = (
        _compile_value(one).findall(packet),
        _compile_value(other).findall(packet),
    )
    if len(first_matches) != len(second_matches):
        return packet
    first_values, second_values = iter(first_matches), iter(second_matches)
    packet = _compile_value(one).sub(lambda match: match[1] + next(second_values)[1], packet)
    return _compile_value(other).sub(lambda match: match[1] + next(first_values)[1], packet)


def _turn_areas(packet: bytes, orientation: int) -> bytes:
    """Turn the areas of the Metadata Working Group: centre and extent as fractions of the picture."""

    def turn(match: re.Match[bytes]) -> bytes:
        text = match[0]
        matches = {name: _compile_value(b"stArea:" + name).search(text) for name in (b"x", b"y", b"w", b"h", b"d")}
        values = {name: float(value[2]) for name, value in matches.items() if value and _is_number(value[2])}
        if b"x" not in values or b"y" not in values:
            return text
        values[b"x"], values[b"y"] = turn_point(values[b"x"], values[b"y"], orientation, 1, 1)
        if orientation >= 5 and b"w" in values and b"h" in values:
            values[b"w"], values[b"h"] = values[b"h"], values[b"w"]
        for name, value in values.items():
            new_text = b"%s" % f"{value:.6f}".rstrip("0").rstrip(".").encode()
            text = _compile_value(b"stArea:" + name).sub(lambda match, new=new_text: match[1] + new, text)  # type: ignore[misc]
        return text

    return re.sub(rb"<mwg-rs:Area\b(?:[^>]*/>|.*?</mwg-rs:Area\s*>)", turn, packet, flags=re.DOTALL)


def _turn_rectangles(packet: bytes, orientation: int) -> bytes:
    """Turn Microsoft's rectangles: left, top, width and height as fractions of the picture."""

    def turn(match: re.Match[bytes]) -> bytes:
        parts = match[2].split(b",")
        if len(parts) != 4 or not all(map(_is_number, parts)):
            return match[0]
        left, top, width, height = map(float, parts)
        x0, y0 = turn_point(left, top, orientation, 1, 1)
        x1, y1 = turn_point(left + width, top + height, orientation, 1, 1)
        turned = (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
        return match[1] + ", ".join(f"{value:.6f}".rstrip("0").rstrip(".") for value in turned).encode()

    return _compile_value(b"MPReg:Rectangle").sub(turn, packet)


def _turn_subject(packet: bytes, orientation: int, width: int, height: int) -> bytes:
    """Turn exif:SubjectArea and exif:SubjectLocation, lists of pixels."""

    def turn(match: re.Match[bytes]) -> bytes:
        numbers = [int(value) for value in re.findall(rb"<rdf:li>\s*([0-9]+)\s*</rdf:li>", match[0])]
        if len(numbers) < 2:
            return match[0]
        x, y = turn_point(numbers[0], numbers[1], orientation, width, height)
        extent = numbers[2:][::-1] if orientation >= 5 else numbers[2:]
        turned = iter((max(0, round(x)), max(0, round(y)), *extent))
        item: Callable[[re.Match[bytes]], bytes] = lambda _: b"<rdf:li>%d</rdf:li>" % next(turned)  # noqa: E731
        return re.sub(rb"<rdf:li>\s*[0-9]+\s*</rdf:li>", item, match[0])

    return re.sub(rb"<exif:Subject(Area|Location)\b.*?</exif:Subject\1\s*>", turn, packet, flags=re.DOTALL)


def _is_number(text: bytes) -> bool:
    return re.fullmatch(rb"\s*" + _NUMBER + rb"\s*", text) is not None
