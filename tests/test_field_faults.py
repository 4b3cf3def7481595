"""Faults that people met with version 0.1.0, each asserted of the command as they ran it: all of this fails there.

Details are tested where they belong: files in tests/io, covers in tests/faces, toned photos in test_tone_curve.py,
streams in test_streams.py, signals and names in test_cli.py. Wrong network settings and relative folders of models are
in tests/models: 0.1.0 fetched what ships today.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin
from skimage import data

from c2p_core.io import jpeg_blocks
from tests.error_assertions import sentence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals and a POSIX shell"),
]

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = data.astronaut()[:300, 80:380]
FACE = (slice(30, 230), slice(70, 230))  # with room for what reaches beyond its box
MASK = [(100, 133), (106, 152), (117, 164), (133, 175), (149, 176), (168, 167), (181, 156), (189, 137), (181, 114)]
MASK += [(144, 109), (108, 110)]
LEVELS = np.linspace(0, 1, 256)
SEPIA = np.rint(255 * np.stack([LEVELS**0.8, LEVELS, LEVELS**1.35], 1)).astype(np.uint8)
XMP = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP = b"Photoshop 3.0\08BIM\4\4\0\0\0\0\0\x13\x1c\2\x74\0\x0eNo AI training\0"
REGION = b"<x><mwg-rs:Area stArea:x='0.25' stArea:y='0.5' stArea:w='0.1' stArea:h='0.2'/></x>"
GAIN_MAP = b"<rdf:Description xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version='1.0'/>"
MORE_XMP = b"<x><rdf:RDF><rdf:Description dc:rights='Ann'/></rdf:RDF></x>"


def c2p(*arguments: object, cwd: Path, around: str = "{}", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs ``c2p`` in a folder, from a shell that prepares what is around it."""
    return subprocess.run(
        ["sh", "-c", around.replace("{}", '"$@"'), "sh", *command(*arguments)],
        cwd=cwd,
        env=environment(**variables),
        text=True,
        capture_output=True,
        timeout=400,
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "c2p_core", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugin")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | variables


def protect(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    quick = ("--steps", 1, "--recognisers", "faceres", "--prompt", "red lipstick and smoky eyes")
    return c2p("protect", *arguments, *quick, cwd=cwd, **variables)


# What the files hold


def exif_of_a_camera() -> bytes:
    """Big-endian EXIF: the artist in UTF-8, and Adobe RGB as DCF says it, by the option R03."""
    artist = "José Müller".encode() + b"\0"
    inner = 8 + 2 + 2 * 12 + 4
    main = struct.pack(">HHHLLHHLLL", 2, 0x013B, 2, len(artist), inner + 48, 0x8769, 4, 1, inner, 0)
    details = struct.pack(">HHHLHHHHLLL", 2, 0xA001, 3, 1, 0xFFFF, 0, 0xA005, 4, 1, inner + 30, 0)
    interoperability = struct.pack(">HHHL4sL", 1, 1, 2, 4, b"R03\0", 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + main + details + interoperability + artist


def jpeg(pixels: NDArray[np.uint8], *segments: tuple[int, bytes], **options: object) -> bytes:
    """A JPEG with these segments behind the one of JFIF."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=88, **options)
    file = stream.getvalue()
    added = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return file[:20] + added + file[20:]


def png(*chunks: tuple[bytes, bytes], late: tuple[bytes, bytes] | None = None, damaged: bool = False) -> bytes:
    """A portrait without a resolution, with these chunks before its pixels and one behind."""
    stream = io.BytesIO()
    Image.fromarray(PORTRAIT).save(stream, "PNG")
    file = stream.getvalue()

    def make_chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body) ^ damaged)

    early = b"".join(make_chunk(*chunk) for chunk in chunks)
    return file[:33] + early + file[33:-12] + (make_chunk(*late) if late else b"") + file[-12:]


def tiff() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PORTRAIT).save(stream, "TIFF", compression="zstd")
    return stream.getvalue()


def posters() -> NDArray[np.uint8]:
    """The portrait beside coloured stripes, which a second encoding would change."""
    stripes = np.zeros((300, 120, 3), np.uint8)
    stripes[:, ::6], stripes[::7] = (255, 30, 10), (0, 90, 255)
    return np.concatenate([PORTRAIT, stripes], 1)


def make_mask() -> NDArray[np.uint8]:
    picture = Image.fromarray(PORTRAIT)
    ImageDraw.Draw(picture).polygon(MASK, fill=(165, 200, 222))
    return np.asarray(picture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of all kinds, protected into the folder ``out`` in one run."""
    field = tmp_path_factory.mktemp("field")
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + REGION
    name = b"0123456789ABCDEF" * 2
    files = {
        "camera.jpg": jpeg(
            posters(),
            (0xE1, exif_of_a_camera()),
            (0xE1, XMP + b"<x><rdf:RDF><rdf:Description xmpNote:HasExtendedXMP='%s'/></rdf:RDF></x>" % name),
            (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + name + struct.pack(">LL", len(MORE_XMP), 0) + MORE_XMP),
            (0xED, PHOTOSHOP),
            (0xFE, b"no AI training, please"),
        ),
        "turned.jpg": jpeg(
            np.rot90(PORTRAIT).copy(),
            (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
            (0xE1, XMP + REGION),
        ),
        "phone.jpg": jpeg(PORTRAIT, (0xE1, XMP + b"<x>" + GAIN_MAP + b"</x>"), (0xE2, b"MPF\0II*\0")),
        "texts.png": png((b"gAMA", struct.pack(">L", 45_000)), (b"tEXt", b"Copyright\0Ann"), late=(b"iTXt", text)),
        "checksum.png": png((b"tEXt", b"Comment\0broken"), damaged=True),
        "zstandard.tif": tiff(),
        "endless.jpg": jpeg(PORTRAIT)[:-2],
    }
    for name_, content in files.items():
        (field / name_).write_bytes(content)
    Image.fromarray(make_mask()).save(field / "masked.png")
    Image.fromarray(SEPIA[np.asarray(Image.fromarray(PORTRAIT).convert("L"))]).save(field / "sepia.png")
    protect(*files, "masked.png", "sepia.png", "-o", "out", "--report", "report.json", cwd=field)
    return field


def result(folder: Path, name: str) -> bytes:
    source = Path(name)
    return (folder / "out" / f"{source.stem}.protected{source.suffix}").read_bytes()


def pixels(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as picture:
        return np.asarray(picture)


# Faces


def test_makeup_stays_off_a_mask(folder: Path) -> None:
    mask = Image.new("1", PORTRAIT.shape[1::-1])
    ImageDraw.Draw(mask).polygon(MASK, fill=1)
    changed = np.abs(pixels(result(folder, "masked.png")).astype(int) - make_mask()).max(-1) > 2
    assert changed[np.asarray(mask)].mean() <= 0.02 and changed.any()


def test_a_small_face_on_its_side_in_a_large_photo_is_found(tmp_path: Path) -> None:
    wide = np.full((1000, 4000, 3), 120, np.uint8)
    wide[300:786, 2900:3386] = np.asarray(Image.fromarray(data.astronaut()).resize((486, 486)))
    Image.fromarray(np.rot90(wide)).save(tmp_path / "side.png", compress_level=1)
    assert "41 px apart" in c2p("faces", "side.png", cwd=tmp_path).stdout


def test_a_toned_photo_keeps_its_tone_curve(folder: Path) -> None:
    after = pixels(result(folder, "sepia.png"))
    colours = np.unique(after.reshape(-1, 3), axis=0).astype(int)
    furthest = np.abs(colours[:, None] - SEPIA[None].astype(int)).max(-1).min(1)
    assert np.percentile(furthest, 99.9) <= 3
    assert (after != SEPIA[np.asarray(Image.fromarray(PORTRAIT).convert("L"))]).any()


# Files


def test_exif_keeps_its_bytes(folder: Path) -> None:
    assert exif_of_a_camera() in result(folder, "camera.jpg")


def test_iptc_comments_and_texts_stay(folder: Path) -> None:
    camera = result(folder, "camera.jpg")
    assert PHOTOSHOP in camera and b"no AI training, please" in camera
    assert b"tEXtCopyright\0Ann" in result(folder, "texts.png")


@pytest.mark.skipif(not jpeg_blocks.AVAILABLE, reason="there is no pyjpegio for this machine")
def test_pixels_of_a_jpeg_beside_the_face_stay(folder: Path) -> None:
    changed = (pixels((folder / "camera.jpg").read_bytes()) != pixels(result(folder, "camera.jpg"))).any(-1)
    assert changed[FACE].any()
    changed[FACE] = False
    assert not changed.any()


def test_colour_tags_stay(folder: Path) -> None:
    assert b"R03\0" in result(folder, "camera.jpg")
    assert b"gAMA" in result(folder, "texts.png")


def test_a_removed_gain_map_is_not_announced(folder: Path) -> None:
    file = result(folder, "phone.jpg")
    assert b"hdrgm" not in file and b"MPF\0" not in file


def test_a_face_region_fits_the_pixels(folder: Path) -> None:
    file = result(folder, "turned.jpg")
    with Image.open(io.BytesIO(file)) as picture:
        orientation = picture.getexif()[0x0112]
    # The region is one of the pixels as they are stored.
    assert REGION in file and orientation == 6


def test_xmp_stays_in_its_place(folder: Path) -> None:
    assert b"stArea:x='0.25'" in result(folder, "texts.png")
    assert MORE_XMP in result(folder, "camera.jpg")


def test_no_resolution_is_invented(folder: Path) -> None:
    file = result(folder, "texts.png")
    assert isinstance(Image.open(io.BytesIO(file)), PngImagePlugin.PngImageFile) and b"pHYs" not in file


@pytest.mark.parametrize("name", ["zstandard.tif", "checksum.png", "endless.jpg"])
def test_an_unusual_file_is_not_treated_as_damaged(folder: Path, name: str) -> None:
    assert result(folder, name)


# Around the command


@pytest.mark.parametrize(
    ("words", "around", "code", "said"),
    [
        ("models list", "{} >&-", 0, re.compile(r"\A\Z")),
        ("models list", "{} >/dev/full", 5, sentence("output-lost")),
        ("protect texts.png", "ulimit -v 1400000; {}", 1, sentence("memory-limited", limit=1433)),
        ("models list", "mkdir gone; cd gone; rmdir ../gone; {}", 2, sentence("current-folder-gone")),
    ],
)
def test_closed_full_limited_and_missing_targets_give_a_code_and_at_most_one_sentence(
    folder: Path, words: str, around: str, code: int, said: re.Pattern[str]
) -> None:
    ended = c2p(*words.split(), cwd=folder, around=around)
    assert ended.returncode == code and ended.stderr.count("\n") <= 1
    assert said.search(ended.stderr), ended.stderr


def test_a_name_as_long_as_the_disk_allows_gets_a_result(tmp_path: Path) -> None:
    Image.fromarray(PORTRAIT).save(tmp_path / ("\N{GRINNING FACE}" * 62 + ".png"))
    (photo,) = tmp_path.iterdir()
    ended = protect(photo.name, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(list(tmp_path.glob("*.protected.png"))) == 1


def test_a_disk_that_refuses_fsync_gets_the_result(tmp_path: Path) -> None:
    refuse = "import os\ndef fsync(number):\n    raise OSError(22, 'Invalid argument')\nos.fsync = fsync\n"
    (tmp_path / "sitecustomize.py").write_text(refuse)
    Image.fromarray(PORTRAIT).save(tmp_path / "a.png")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    ended = protect("a.png", "-o", "b.png", cwd=tmp_path, PYTHONPATH=path)
    assert ended.returncode == 0 and (tmp_path / "b.png").stat().st_size > 0, ended.stderr


def test_an_ended_batch_leaves_its_report(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(PORTRAIT).save(tmp_path / name)
    arguments = ("protect", "a.png", "b.png", "--report", "r.json", "--recognisers", "faceres", "--steps", 40)
    started = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(PYTHONUNBUFFERED="1"), text=True, stdout=-1, stderr=-1
    )
    assert started.stdout is not None
    for line in started.stdout:
        if line.startswith("b.png: searching"):
            started.send_signal(signal.SIGTERM)
            break
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 128 + signal.SIGTERM and errors.count("\n") == 1
    assert [photo["photo"] for photo in json.loads((tmp_path / "r.json").read_text())["photos"]] == ["a.png"]


def test_an_edited_result_is_not_overwritten(folder: Path) -> None:
    edited = folder / "texts.protected.png"
    edited.write_bytes(b"edited")
    assert protect("texts.png", cwd=folder).returncode == 0
    assert edited.read_bytes() == b"edited" and (folder / "texts.protected-2.png").exists()
