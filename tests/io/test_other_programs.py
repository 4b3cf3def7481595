"""ExifTool and ImageMagick find in a protected file what docs/files.md says that it keeps."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from skimage import data

from c2p_core.io import jpeg_blocks, photo_files

EXIFTOOL, IDENTIFY = shutil.which("exiftool"), shutil.which("identify")
needs_exiftool = pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not installed")
needs_imagemagick = pytest.mark.skipif(IDENTIFY is None, reason="ImageMagick's identify is not installed")

FACE = slice(64, 112), slice(144, 208)
ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "AVIF": ".avif"}
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# What a camera, an archive and an editor write, and programs that people sort their photos with.
TAGS = (
    "-EXIF:Make=Maker",
    "-EXIF:Model=Model 1",
    "-EXIF:Artist=José Müller",
    "-EXIF:Copyright=© José Müller",
    "-EXIF:ExposureTime=1/125",
    "-EXIF:FNumber=2.8",
    "-EXIF:DateTimeOriginal=2026:05:04 03:02:01",
    "-EXIF:OffsetTimeOriginal=+02:00",
    "-EXIF:UserComment=häusliche Szene",
    "-ExifIFD:SerialNumber=0123",
    "-EXIF:GPSLatitude=48.1",
    "-EXIF:GPSLatitudeRef=N",
    "-EXIF:SubjectArea=176 88 64 48",
    "-XMP-dc:Creator=José Müller",
    "-XMP-dc:Rights=no AI training",
    "-XMP-dc:Subject=portrait",
    "-XMP-xmp:Rating=4",
    "-XMP-photoshop:City=Nürnberg",
    "-XMP-mwg-rs:RegionInfo={AppliedToDimensions={W=320,H=208,Unit=pixel},RegionList=[{Area={X=0.5,Y=0.4,W=0.2,H=0.3,"
    "Unit=normalized},Name=Ann,Type=Face}]}",
)
IPTC = ("-IPTC:By-line=Jose Muller", "-IPTC:CopyrightNotice=(c) Muller", "-IPTC:Keywords=portrait")
WITH_IPTC = ("JPEG", "PNG", "TIFF")
# The file on the disk, and how TIFF and AVIF pack pixels, which docs/files.md says is changed: groups or tags.
PACKING = {
    "System",
    "ExifTool",
    "IFD0:Compression",
    "IFD0:Predictor",
    "IFD0:RowsPerStrip",
    "IFD0:SampleFormat",
    "IFD0:StripByteCounts",
    "IFD0:StripOffsets",
    "QuickTime:ChromaFormat",
    "QuickTime:CompatibleBrands",
    "QuickTime:MediaDataOffset",
    "QuickTime:MediaDataSize",
}
# Tags of TIFF that say how its pixels are stored.
PACKED_IN_TIFF = {
    "IFD0:BitsPerSample",
    "IFD0:ImageHeight",
    "IFD0:ImageWidth",
    "IFD0:Orientation",
    "IFD0:PhotometricInterpretation",
    "IFD0:PlanarConfiguration",
    "IFD0:ResolutionUnit",
    "IFD0:SamplesPerPixel",
    "IFD0:XResolution",
    "IFD0:YCbCrPositioning",
    "IFD0:YResolution",
}
PERSONAL = {"Artist", "By-line", "City", "Creator", "GPSLatitude", "Keywords", "RegionName", "SerialNumber", "Subject"}
PERSONAL |= {"Comment", "UserComment"}


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file of each kind with everything in ``TAGS``, made once."""
    folder = tmp_path_factory.mktemp("tagged")

    def make(kind: str) -> Path:
        path = folder / f"a{ENDINGS[kind]}"
        if not path.exists():
            path.write_bytes(portrait(kind))
            write_tags(path, *TAGS, *(IPTC if kind in WITH_IPTC else ()))
        return path

    return make


def portrait(kind: str, orientation: int = 1) -> bytes:
    """A part of the astronaut as a file with a profile and a resolution."""
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"icc_profile": ICC, "exif": exif}
    if kind in ("JPEG", "PNG", "TIFF"):
        options["dpi"] = (300, 300)
    if kind == "JPEG":
        options["comment"] = b"by hand"
    if kind == "WEBP":
        options["lossless"] = True
    Image.fromarray(data.astronaut()[:208, 60:380]).save(stream, kind, **options)
    return stream.getvalue()


def paint(pixels: NDArray[Any]) -> NDArray[Any]:
    """The pixels with a darker face, as opaque as it was."""
    painted = pixels.copy()
    painted[FACE][..., : 3 if pixels.shape[-1] > 2 else 1] //= 2
    return painted


def protect(source: Path, target: Path, **options: Any) -> tuple[str, ...]:
    """Write a photo with its face painted; the codes of what was said."""
    photo = photo_files.read(source)
    said = photo_files.write(target, photo.with_pixels(paint(photo.pixels)), **options)
    return tuple(message.code for message in said)


def write_tags(path: Path, *tags: str) -> None:
    subprocess.run([str(EXIFTOOL), "-q", "-overwrite_original", *tags, str(path)], check=True, timeout=60)


def read_tags(*paths: Path) -> list[dict[str, Any]]:
    """Every tag of each file, by group and name, but those of ``PACKING``."""
    command = [str(EXIFTOOL), "-json", "-G1", "-a", "-s", "-n", "-b", *map(str, paths)]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = []
    for tags in json.loads(ended.stdout):
        wanted = {name: value for name, value in tags.items() if ":" in name}
        found.append({n: v for n, v in wanted.items() if n not in PACKING and n.partition(":")[0] not in PACKING})
    return found


def decode_elsewhere(path: Path, channels: str = "rgb") -> NDArray[np.uint16]:
    """(208, 320, channels) pixels as ImageMagick decodes them, 0..65535."""
    command = [str(shutil.which("stream")), "-map", channels, "-storage-type", "short", str(path), "-"]
    ended = subprocess.run(command, check=True, capture_output=True, timeout=60)
    return np.frombuffer(ended.stdout, np.uint16).reshape(208, 320, len(channels))


def find_beside_the_face() -> NDArray[np.bool_]:
    """(208, 320) mask of what a result may not change.

    The borders of the face lie on those of blocks of 16 pixels; decoders interpolate colours over one more.
    """
    beside = np.ones((208, 320), bool)
    beside[FACE[0].start - 1 : FACE[0].stop + 1, FACE[1].start - 1 : FACE[1].stop + 1] = False
    return beside


def identify(*paths: Path) -> list[str]:
    """What ImageMagick says of each file: depth, colours, resolution and compression."""
    form = "%m %w %h %[bit-depth] %[channels] %[colorspace] %x %y %[profile:icc] %[orientation] %[jpeg:sampling-factor]"
    command = [str(IDENTIFY), "-format", f"{form} %[gamma]\\n", *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if paths[0].suffix == ".avif" and "no decode delegate" in ended.stderr:
        pytest.skip("AVIF IS NOT COMPARED BY IMAGEMAGICK: the one here reads none")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@needs_exiftool
@pytest.mark.parametrize("kind", ENDINGS)
def test_exiftool_finds_the_tags_of_the_original(tmp_path: Path, tagged: Callable[[str], Path], kind: str) -> None:
    source, target = tagged(kind), tmp_path / f"b{ENDINGS[kind]}"
    protect(source, target)
    before, after = read_tags(source, target)
    assert sum("José Müller" in str(value) for value in before.values()) >= 2
    assert after == before


@needs_exiftool
@pytest.mark.parametrize("kind", ENDINGS)
def test_exiftool_finds_no_personal_data_after_their_removal(
    tmp_path: Path, tagged: Callable[[str], Path], kind: str
) -> None:
    source, target = tagged(kind), tmp_path / f"b{ENDINGS[kind]}"
    protect(source, target, personal=False)
    before, after = read_tags(source, target)
    gone = {name for name in before if name.partition(":")[2] in PERSONAL}
    assert len(gone) >= 8 and not gone & after.keys()
    kept = ("Copyright", "CopyrightNotice", "Rights", "Make", "ExposureTime", "DateTimeOriginal")
    assert {n: v for n, v in before.items() if n.partition(":")[2] in kept}.items() <= after.items()


# Who it is, whose, where and by which camera, as cameras, archives and programs for persons write it; all say Qq1.
TELLING = (
    "-ExifIFD:OwnerName=Qq1",
    "-ExifIFD:LensSerialNumber=Qq1",
    "-IFD0:CameraSerialNumber=Qq1",
    "-IFD0:XPKeywords=Qq1",
    "-IFD0:HostComputer=Qq1",
    "-XMP-aux:SerialNumber=Qq1",
    "-XMP-aux:OwnerName=Qq1",
    "-XMP-exifEX:LensSerialNumber=Qq1",
    "-XMP-exif:GPSAreaInformation=Qq1",
    "-XMP-iptcExt:PersonInImage=Qq1",
    "-XMP-iptcExt:AdditionalModelInformation=Qq1",
    "-XMP-iptcExt:LocationShown={City=Qq1}",
    "-XMP-iptcCore:CreatorContactInfo={CiEmailWork=Qq1}",
    "-XMP-xmpRights:Owner=Qq1",
    "-XMP-plus:CopyrightOwner={CopyrightOwnerName=Qq1}",
    "-XMP-plus:Licensor={LicensorEmail=Qq1}",
    "-XMP-lr:HierarchicalSubject=People|Qq1",
    "-XMP-microsoft:LastKeywordXMP=Qq1",
    "-XMP-mediapro:People=Qq1",
    "-XMP-digiKam:TagsList=People/Qq1",
    "-XMP-mwg-kw:KeywordInfo={Hierarchy=[{Keyword=Qq1}]}",
    "-XMP-MP:RegionInfoMP={Regions=[{PersonDisplayName=Qq1}]}",
    "-XMP-acdsee:Keywords=Qq1",
)
TELLING_IPTC = ("-IPTC:Sub-location=Qq1", "-IPTC:Contact=Qq1", "-IPTC:Writer-Editor=Qq1", "-IPTC:Province-State=Qq1")


@needs_exiftool
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_no_person_or_place_remains_after_personal_data_are_removed(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / f"a{ENDINGS[kind]}", tmp_path / f"b{ENDINGS[kind]}"
    source.write_bytes(portrait(kind))
    write_tags(source, *TELLING, *(TELLING_IPTC if kind in WITH_IPTC else ()), "-XMP-xmp:Rating=4")
    protect(source, target, personal=False)
    before, after = read_tags(source, target)
    told = [name for name, value in before.items() if "Qq1" in str(value)]
    assert len(told) >= len(TELLING) and [name for name, value in after.items() if "Qq1" in str(value)] == []
    assert after["XMP-xmp:Rating"] == 4 and not {name for name in after if "RegionRectangle" in name}


@needs_exiftool
@pytest.mark.parametrize("kind", ENDINGS)
def test_exiftool_finds_the_same_tags_in_another_format_except_those_reported(
    tmp_path: Path, tagged: Callable[[str], Path], kind: str
) -> None:
    source = tagged(kind)
    others = [other for other in ENDINGS if other != kind]
    targets = [tmp_path / f"{other}{ENDINGS[other]}" for other in others]
    said = [protect(source, target) for target in targets]
    before, *found = read_tags(source, *targets)
    tags = {name for name in before if name.startswith(("IFD0", "ExifIFD", "GPS", "XMP", "ICC", "IPTC"))}
    for other, codes, after in zip(others, said, found, strict=True):
        lacking = {name for name in tags if after.get(name) != before[name]} - PACKED_IN_TIFF
        assert {name.partition(":")[0] for name in lacking} <= ({"IPTC"} if other not in WITH_IPTC else set()), (
            other,
            lacking,
        )
        assert not lacking or "parts-not-kept" in codes, lacking


@needs_exiftool
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exiftool_agrees_that_a_rotated_photo_is_upright_in_another_format(tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"a{ENDINGS[kind]}"
    source.write_bytes(portrait(kind, 6))
    write_tags(source, *TAGS)
    same, other = tmp_path / f"b{ENDINGS[kind]}", tmp_path / ("c.png" if kind != "PNG" else "c.tif")
    protect(source, same)
    protect(source, other)
    before, after, turned = read_tags(source, same, other)
    assert after == before
    assert turned.get("IFD0:Orientation", 1) == 1
    # x, y, width and height in 320 x 208 pixels, of which what is left becomes the top.
    assert before["ExifIFD:SubjectArea"] == "176 88 64 48" and turned["ExifIFD:SubjectArea"] == "120 176 48 64"
    assert (turned["XMP-mwg-rs:RegionAreaX"], turned["XMP-mwg-rs:RegionAreaY"]) == (0.6, 0.5)
    assert (turned["XMP-mwg-rs:RegionAreaW"], turned["XMP-mwg-rs:RegionAreaH"]) == (0.3, 0.2)
    assert turned["XMP-mwg-rs:RegionAppliedToDimensionsW"] == 208


@needs_imagemagick
@pytest.mark.parametrize("kind", ENDINGS)
def test_imagemagick_agrees_on_depth_colours_resolution_and_compression(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / f"a{ENDINGS[kind]}", tmp_path / f"b{ENDINGS[kind]}"
    source.write_bytes(portrait(kind))
    protect(source, target)
    before, after = identify(source, target)
    assert after == before


@needs_imagemagick
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("JPEG", marks=pytest.mark.skipif(not jpeg_blocks.AVAILABLE, reason="no pyjpegio here")),
        "PNG",
        "TIFF",
        "WEBP",
    ],
)
def test_imagemagick_finds_no_changed_pixel_outside_the_face(tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / f"a{ENDINGS[kind]}", tmp_path / f"b{ENDINGS[kind]}"
    source.write_bytes(portrait(kind))
    protect(source, target)
    before, after = (decode_elsewhere(path) for path in (source, target))
    beside = find_beside_the_face()
    assert np.array_equal(before[beside], after[beside]) and (before[FACE] != after[FACE]).mean() > 0.9


# What ImageMagick makes of the portrait; its file of 16 bits uses them all.
DEEP = ("-depth", "16", "-evaluate", "multiply", "0.9371")
GREY = ("-colorspace", "Gray", "-strip")
ALPHA = ("-alpha", "set", "-channel", "A", "-fx", "0.4 + 0.6 * i / w")


@needs_imagemagick
@pytest.mark.parametrize(
    ("ending", "options"),
    [
        *((ending, DEEP) for ending in (".png", ".tif")),
        *((ending, (*DEEP, *ALPHA)) for ending in (".png", ".tif")),
        *((ending, GREY) for ending in (".png", ".tif")),
        pytest.param(".jpg", GREY, marks=pytest.mark.skipif(not jpeg_blocks.AVAILABLE, reason="no pyjpegio here")),
        *((ending, ALPHA) for ending in (".png", ".tif")),
        (".webp", (*ALPHA, "-define", "webp:lossless=true", "-define", "webp:exact=true")),
        (".tif", ("-depth", "32", "-define", "quantum:format=floating-point")),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_imagemagick_agrees_on_16_bits_floats_grey_and_transparency(
    tmp_path: Path, ending: str, options: tuple[str, ...]
) -> None:
    made, source, target = tmp_path / "made.png", tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    made.write_bytes(portrait("PNG"))
    subprocess.run([str(shutil.which("convert")), str(made), *options, str(source)], check=True, timeout=60)
    protect(source, target)
    before, after = identify(source, target)
    assert after == before
    seen, then = (decode_elsewhere(path, "rgba") for path in (source, target))
    beside = find_beside_the_face()
    assert np.array_equal(seen[beside], then[beside]) and (seen[FACE][..., :3] != then[FACE][..., :3]).mean() > 0.9
    assert np.array_equal(seen[..., 3], then[..., 3])


@needs_exiftool
def test_exiftool_finds_the_colour_marks_of_a_png(tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    marks = PngInfo()
    marks.add(b"gAMA", struct.pack(">I", 55_556))
    primaries = (31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000)
    marks.add(b"cHRM", struct.pack(">8I", *primaries))
    Image.fromarray(data.astronaut()[:208, 60:380]).save(source, pnginfo=marks)
    protect(source, target)
    before, after = read_tags(source, target)
    named = {name.partition(":")[2]: value for name, value in after.items()}
    assert after == before and (named["Gamma"], named["GreenY"]) == (pytest.approx(1.8, abs=1e-3), 0.71)


@needs_exiftool
def test_exiftool_finds_the_mark_of_adobe_rgb(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.fromarray(data.astronaut()[:208, 60:380]).save(source, quality=95)
    write_tags(source, "-InteropIFD:InteropIndex=R03", "-ExifIFD:ColorSpace=65535", "-EXIF:Model=Model 1")
    protect(source, target)
    before, after = read_tags(source, target)
    assert after == before and after["InteropIFD:InteropIndex"] == "R03"
