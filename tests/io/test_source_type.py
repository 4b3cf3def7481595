"""IPTC's Digital Source Type: what is written, where, and what it replaces."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data

from c2p_core.io import jpeg_file, photo_files
from c2p_core.io.source_type import COMPOSITE, ENHANCED, mark_packet, read_source_type

EXIFTOOL = shutil.which("exiftool")
TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
CAPTURE, TRAINED = f"{TERMS}digitalCapture", f"{TERMS}trainedAlgorithmicMedia"
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "AVIF": ".avif"}
EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


def packet(inside: str = "", attributes: str = "", padding: int = 0, about: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="{about}" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:ext="{EXT}"'
        f"{attributes}>"
        f"<dc:source>Ann</dc:source>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
        + " " * padding
        + '<?xpacket end="w"?>'
    ).encode()


def read_marked(before: bytes | None, term: str = ENHANCED) -> bytes:
    found = mark_packet(before, term)
    assert found is not None and found[1] == read_source_type(found[0])
    return found[0]


def test_a_packet_keeps_every_byte_and_its_length_where_it_has_room() -> None:
    before = packet(padding=2000, about="uuid:1")
    after = read_marked(before)
    at = before.index(b"</rdf:RDF>")
    assert len(after) == len(before) and after[:at] == before[:at]
    added = after[at : after.index(b"</rdf:RDF>")]
    assert added.count(b"Description") == 1 and b'rdf:about="uuid:1"' in added
    rest = after[at + len(added) :]
    assert rest.split() == before[at:].split()


def test_a_packet_without_room_grows_and_one_that_would_be_too_long_stays() -> None:
    before = packet()
    assert len(read_marked(before)) > len(before)
    assert mark_packet(before, ENHANCED, len(before)) is None


@pytest.mark.parametrize(
    ("inside", "attributes"),
    [
        (f"<ext:DigitalSourceType>{CAPTURE}</ext:DigitalSourceType>", ""),
        (f'<ext:DigitalSourceType rdf:resource="{CAPTURE}"/>', ""),
        ("", f' ext:DigitalSourceType="{CAPTURE}"'),
        ("", f" ext:DigitalSourceType = '{CAPTURE}'"),
    ],
)
def test_an_earlier_term_is_replaced_where_it_stands(inside: str, attributes: str) -> None:
    before = packet(inside, attributes)
    assert read_source_type(before) == CAPTURE
    assert read_marked(before, COMPOSITE) == before.replace(CAPTURE.encode(), COMPOSITE.encode())


@pytest.mark.parametrize(
    ("earlier", "term", "expected"),
    [
        (TRAINED, ENHANCED, TRAINED),
        (TRAINED, COMPOSITE, TRAINED),
        (COMPOSITE, ENHANCED, COMPOSITE),
        (ENHANCED, COMPOSITE, COMPOSITE),
        (f"{TERMS}humanEdits", ENHANCED, ENHANCED),
        ("", ENHANCED, ENHANCED),
    ],
)
def test_a_generated_picture_keeps_its_source_type(earlier: str, term: str, expected: str) -> None:
    before = packet(f"<ext:DigitalSourceType>{earlier}</ext:DigitalSourceType>")
    assert read_source_type(read_marked(before, term)) == expected


@pytest.mark.parametrize("before", [b"no XMP", packet().decode().encode("utf-16"), b"<x:xmpmeta/>"])
def test_text_that_is_not_an_xmp_packet_is_not_marked(before: bytes) -> None:
    assert mark_packet(before, ENHANCED) is None


def test_an_empty_packet_gets_a_description() -> None:
    empty = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
    after = read_marked(empty)
    assert after.count(b"<r:Description") == 1 and after.endswith(b"</r:RDF></x:xmpmeta>")


def picture(kind: str, with_packet: bool) -> bytes:
    stream = io.BytesIO()
    options: dict[str, Any] = {"xmp": packet()} if with_packet and kind != "TIFF" else {}
    if with_packet and kind == "TIFF":
        options["tiffinfo"] = {700: packet()}
    if with_packet and kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet().decode())
        options = {"pnginfo": text}
    Image.fromarray(data.astronaut()[:48, :64]).save(stream, kind, **options)
    return stream.getvalue()


def change(folder: Path, kind: str, file: bytes, target: str, term: str | None = ENHANCED) -> photo_files.Encoded:
    source = folder / f"a{ENDINGS[kind]}"
    source.write_bytes(file)
    photo = photo_files.read(source)
    encoded = photo_files.encode_as(folder / target, photo.with_pixels(photo.pixels // 2), source_type=term)
    (folder / target).write_bytes(encoded.data)
    return encoded


@pytest.mark.parametrize("with_packet", [True, False])
@pytest.mark.parametrize("kind", ENDINGS)
def test_every_format_is_marked(tmp_path: Path, kind: str, with_packet: bool) -> None:
    encoded = change(tmp_path, kind, picture(kind, with_packet), f"b{ENDINGS[kind]}")
    xmp = photo_files.read(tmp_path / f"b{ENDINGS[kind]}").xmp
    assert xmp is not None and read_source_type(xmp) == encoded.source_type == ENHANCED
    assert (b"<dc:source>Ann</dc:source>" in xmp) == with_packet


@pytest.mark.parametrize("target", ["b.png", "b.tif", "b.webp", "b.avif"])
def test_a_result_in_another_format_is_marked_too(tmp_path: Path, target: str) -> None:
    change(tmp_path, "JPEG", picture("JPEG", True), target, COMPOSITE)
    xmp = photo_files.read(tmp_path / target).xmp
    assert xmp is not None and read_source_type(xmp) == COMPOSITE and b"Ann" in xmp


@pytest.mark.parametrize("kind", ENDINGS)
def test_without_the_mark_a_file_gets_no_xmp(tmp_path: Path, kind: str) -> None:
    assert change(tmp_path, kind, picture(kind, False), f"b{ENDINGS[kind]}", None).source_type is None
    assert photo_files.read(tmp_path / f"b{ENDINGS[kind]}").xmp is None


def test_a_jpeg_without_room_for_the_mark_stays_unmarked_with_a_warning(tmp_path: Path) -> None:
    full = packet(f"<dc:title>{'a' * (jpeg_file.LONGEST_XMP - len(packet()) - 21)}</dc:title>")
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()[:48, :64]).save(stream, "JPEG", xmp=full)
    encoded = change(tmp_path, "JPEG", stream.getvalue(), "b.jpg")
    assert encoded.source_type is None and "edit-not-marked" in [said.code for said in encoded.warnings]
    assert photo_files.read(tmp_path / "b.jpg").xmp == full


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
def test_exiftool_reads_the_mark_in_every_format_and_no_other_new_tag(tmp_path: Path) -> None:
    for kind, ending in ENDINGS.items():
        change(tmp_path, kind, picture(kind, kind != "PNG"), f"b{ending}")
    command = [str(EXIFTOOL), "-json", "-G1", "-XMP:all", *(str(tmp_path / f"b{e}") for e in ENDINGS.values())]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    for tags in found:
        # In the words of ExifTool's table.
        assert "lgorithmic" in tags.pop("XMP-iptcExt:DigitalSourceType")
        tags = {name: value for name, value in tags.items() if name not in ("SourceFile", "XMP-x:XMPToolkit")}
        assert tags in ({"XMP-dc:Source": "Ann"}, {})
