"""XMP sidecars beside a protected photo: copied, never over another file, and without what shows or names a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2p_core.errors import Message
from c2p_core.io.sidecars import Turn, carry_sidecars
from c2p_core.io.source_type import ENHANCED, read_source_type

SIDECAR = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"'
    b' xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+1.00"'
    b' xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" aux:SerialNumber="0123"'
    b' xmlns:MPReg="http://ns.microsoft.com/photo/1.2/t/Region#" MPReg:Rectangle="0.1, 0.2, 0.3, 0.4">'
    b"<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"photo")
    return tmp_path / "a.jpg"


def codes(warnings: tuple[Message, ...]) -> list[str]:
    return [warning.code for warning in warnings]


def test_both_kinds_of_sidecars_are_copied_under_the_name_of_the_copy(photo: Path) -> None:
    (photo.parent / "a.jpg.xmp").write_bytes(SIDECAR)
    (photo.parent / "a.XMP").write_bytes(SIDECAR)
    (photo.parent / "b.xmp").write_bytes(SIDECAR)
    carried = carry_sidecars(photo, photo.parent / "out" / "a-2.jpg")
    names = sorted(path.name for path in (photo.parent / "out").iterdir())
    assert names == ["a-2.XMP", "a-2.jpg.xmp"] and carried.warnings == ()
    assert sorted(path.name for path in carried.created) == sorted(path.name for path in carried.present) == names


def test_a_photo_without_sidecars_gets_none(photo: Path) -> None:
    carried = carry_sidecars(photo, photo.parent / "out" / "a.jpg")
    assert carried.present == () and list((photo.parent / "out").iterdir()) == []


def test_pictures_and_applied_raw_settings_are_removed_and_all_else_stays(photo: Path) -> None:
    for name in ("a.jpg.xmp", "a.xmp"):
        (photo.parent / name).write_bytes(SIDECAR)
    carry_sidecars(photo, photo.parent / "out" / "a.jpg")
    own, of_all = ((photo.parent / "out" / name).read_bytes() for name in ("a.jpg.xmp", "a.xmp"))
    assert b"/9j/" not in own + of_all and b"crs:" in own and b"crs:" not in of_all
    assert own == SIDECAR.replace(SIDECAR[SIDECAR.index(b"<xmp:Th") : SIDECAR.index(b"</rdf:D")], b"")


def test_personal_data_are_removed_on_request_and_the_mark_is_that_of_the_copy(photo: Path) -> None:
    (photo.parent / "a.xmp").write_bytes(SIDECAR)
    carry_sidecars(photo, photo.parent / "out" / "a.jpg", personal=False, source_type=ENHANCED)
    written = (photo.parent / "out" / "a.xmp").read_bytes()
    assert b"0123" not in written and b"MPReg:Rectangle" not in written and b'xmp:Rating="4"' in written
    assert read_source_type(written) == ENHANCED


def test_regions_are_turned_with_the_pixels_of_another_format(photo: Path) -> None:
    (photo.parent / "a.xmp").write_bytes(SIDECAR)
    carry_sidecars(photo, photo.parent / "out" / "a.png", turn=Turn(6, 300, 200))
    assert b'MPReg:Rectangle="0.4, 0.1, 0.4, 0.3"' in (photo.parent / "out" / "a.xmp").read_bytes()


def test_an_existing_sidecar_stays(photo: Path) -> None:
    (photo.parent / "a.xmp").write_bytes(SIDECAR)
    there = photo.parent / "out" / "a.xmp"
    there.write_bytes(b"edited")
    carried = carry_sidecars(photo, photo.parent / "out" / "a.jpg")
    assert there.read_bytes() == b"edited" and codes(carried.warnings) == ["sidecar-exists"] and carried.present == ()


def test_the_same_sidecar_is_not_written_twice(photo: Path) -> None:
    (photo.parent / "a.xmp").write_bytes(SIDECAR)
    first = carry_sidecars(photo, photo.parent / "out" / "a.jpg")
    second = carry_sidecars(photo, photo.parent / "out" / "a.jpg")
    assert first.present == second.present == first.created and second.created == () == second.warnings


@pytest.mark.parametrize("content", [b"", b"notes", SIDECAR.decode().encode("utf-16")])
def test_a_sidecar_that_is_not_xmp_is_not_copied_and_is_reported(photo: Path, content: bytes) -> None:
    (photo.parent / "a.xmp").write_bytes(content)
    (said,) = carry_sidecars(photo, photo.parent / "out" / "a.jpg").warnings
    assert said.code == "parts-not-kept" and [part.code for part in said.fields["parts"]] == ["part-sidecar"]
    assert list((photo.parent / "out").iterdir()) == []


def test_a_photo_is_kept_even_if_its_sidecar_cannot_be_written(photo: Path) -> None:
    (photo.parent / "a.xmp").write_bytes(SIDECAR)
    carried = carry_sidecars(photo, photo.parent / "missing" / "a.jpg")
    assert codes(carried.warnings) == ["sidecar-not-written"]
