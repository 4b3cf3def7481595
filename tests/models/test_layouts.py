"""Names and shapes in files of weights, read without running anything in them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from c2p_core.models import inert_pickle
from c2p_core.models.inert_pickle import CONTAINERS, InertReader, UnsafePickle
from c2p_core.models.layouts import has_layout, read_layout
from c2p_core.models.manifest import read_manifest
from c2p_core.models.store import bundle_dir
from c2p_core.recognition import facenet, load_architecture

PUBLISHED = Path(__file__).parents[1] / "priors" / "layouts"
NETWORK = nn.Sequential(nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Linear(8, 4))
SHAPES = {name: tuple(value.shape) for name, value in NETWORK.state_dict().items()}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("within", [None, "g_ema", "state_dict"])
def test_what_torch_saves_has_the_networks_names_and_shapes(tmp_path: Path, zipped: bool, within: str | None) -> None:
    content: Any = NETWORK.state_dict()
    if within:
        content = {"opts": {"lr": 0.1}, "latent_avg": torch.zeros(3), within: content}
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    assert read_layout(tmp_path / "a") == SHAPES


def test_a_whole_module_is_read_as_its_weights(tmp_path: Path) -> None:
    torch.save(NETWORK, tmp_path / "a")
    assert read_layout(tmp_path / "a") == SHAPES


def test_safetensors_have_names_and_shapes(tmp_path: Path) -> None:
    save_file(dict(NETWORK.state_dict()), tmp_path / "a", {"licence": "MIT"})
    assert read_layout(tmp_path / "a") == SHAPES


class Hostile:
    """Would write a file if a pickle were obeyed."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.trace, "x")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_file_asks_for_is_not_done(tmp_path: Path, zipped: bool) -> None:
    content = OrderedDict(NETWORK.state_dict(), evil=Hostile(tmp_path / "trace"))
    torch.save(content, tmp_path / "a", _use_new_zipfile_serialization=zipped)
    assert read_layout(tmp_path / "a") == SHAPES
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cc2p_core.models.inert_pickle\nShell\nN}X\x01\x00\x00\x00xK\x01s\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x05\x00\x00\x00_makeNs\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x04\x00\x00\x00keysNsb.",
    ],
    ids=["shell", "builder", "dictionary"],
)
def test_a_file_cant_change_its_reader(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "a").write_bytes(program)
    assert read_layout(tmp_path / "a") == {}
    torch.save(NETWORK.state_dict(), tmp_path / "b")
    assert read_layout(tmp_path / "b") == SHAPES


def test_a_number_that_a_file_names_reserves_no_memory(tmp_path: Path) -> None:
    # "Remember this as number 2^31": the reader in C makes a table of that length.
    (tmp_path / "a").write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".")
    assert read_layout(tmp_path / "a") == {}


def test_bytes_of_a_length_that_a_file_names_reserve_no_memory() -> None:
    program = b"\x80\x05\x96" + struct.pack("<Q", 64 << 30)
    with pytest.raises(KeyError):
        InertReader(io.BytesIO(program), CONTAINERS, strict=True).load()


def test_only_short_strings_are_names_of_tensors(tmp_path: Path) -> None:
    # A tuple that refers to one string many times is short in the file and long as text.
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00K\x02\x85tR"
    long = b"X" + struct.pack("<I", 201) + b"n" * 201
    keys = (b"X\x01\x00\x00\x00w", long, b"(" + long + b"q\x00" + b"h\x00" * 50 + b"t", b"K\x07")
    (tmp_path / "a").write_bytes(b"\x80\x02}" + b"".join(key + tensor + b"s" for key in keys) + b".")
    assert read_layout(tmp_path / "a") == {"w": (2,)}


def test_a_dictionary_keeps_its_own_functions(tmp_path: Path) -> None:
    # An OrderedDict with a tensor that is given an attribute: torch's have `_metadata`, this one has another `items`.
    table = (
        b"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(NK\x00K\x02\x85tRs"
    )
    (tmp_path / "a").write_bytes(table + b"}X\x05\x00\x00\x00itemsK\x03sb.")
    assert read_layout(tmp_path / "a") == {"w": (2,)}


# A pair of pairs, as a key; one that goes on like this has a hash that takes for ever.
KEY = b"K\x012\x862\x86"


@pytest.mark.parametrize(
    "program",
    [
        b"}" + KEY + b"K\x01s.",
        b"}(" + KEY + b"K\x01u.",
        b"(" + KEY + b"K\x01d.",
        b"\x8f(" + KEY + b"\x90.",
        b"(" + KEY + b"\x91.",
        b"ccollections\nOrderedDict\n]" + KEY + b"K\x01\x86a\x85R.",
    ],
    ids=["item", "items", "dictionary", "set", "frozenset", "OrderedDict"],
)
def test_a_key_whose_hash_could_take_for_ever_is_refused(program: bytes) -> None:
    with pytest.raises(UnsafePickle) as refused:
        InertReader(io.BytesIO(b"\x80\x04" + program), CONTAINERS, strict=True).load()
    assert refused.value.message.code == "pickle-keys-nested"


@pytest.mark.parametrize(
    ("program", "code"),
    [(b"]" * 50, "pickle-too-long"), (b"ctorch\nSize\n(" + b"K\x01" * 17 + b"t\x85R.", "pickle-axes-too-many")],
    ids=["many objects", "a size that is copied"],
)
def test_a_small_file_cant_fill_the_memory(program: bytes, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "MAX_STEPS", 40)
    with pytest.raises(UnsafePickle) as refused:
        InertReader(io.BytesIO(b"\x80\x04" + program), CONTAINERS, strict=True).load()
    assert refused.value.message.code == code


def test_a_list_makes_one_dictionary(tmp_path: Path) -> None:
    # As Python 2 wrote them, which is read; twice from the same list, which only a hostile file asks for.
    made = b"ccollections\nOrderedDict\n(X\x01\x00\x00\x00wK\x01\x86lq\x01\x85R"
    again = b"ccollections\nOrderedDict\nh\x01\x85R"
    assert InertReader(io.BytesIO(b"\x80\x02" + made + b"."), CONTAINERS, strict=True).load() == {"w": 1}
    both = InertReader(io.BytesIO(b"\x80\x02" + made + again + b"\x86."), CONTAINERS, strict=True).load()
    assert both == ({"w": 1}, {})


def packed(content: bytes, name: str = "a/data.pkl") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"\x80",
        b"\x80\x02.",
        b"text that is no model",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 9) + b'{"a": {}}',
        packed(b"\x80\x02}."),
        packed(b"not a pickle"),
        packed(bytes(100 << 20)),
        packed(b"", "a/other"),
        pickle.dumps({"w": [1, 2]}),
        pickle.dumps(3),
    ],
    ids=range(14),
)
def test_any_other_file_has_no_layout(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert read_layout(tmp_path / "a") == {}
    assert not has_layout(tmp_path / "a", (("w", (1,)),))


def test_objects_that_hold_each_other_are_visited_once(tmp_path: Path) -> None:
    outer, inner = nn.Module(), nn.Module()
    outer.inner, inner.outer = inner, outer  # type: ignore[assignment]
    inner.register_buffer("w", torch.zeros(2))
    with (tmp_path / "a").open("wb") as file:
        torch.save(outer, file)
    assert read_layout(tmp_path / "a") == {"inner.w": (2,)}


def published(name: str) -> dict[str, tuple[int, ...]]:
    lines = (PUBLISHED / name).read_text(encoding="utf-8").splitlines()[1:]
    split = [line.split(" ") for line in lines]
    return {name: () if shape == "-" else tuple(map(int, shape.split(","))) for name, shape, _ in split}


@pytest.mark.parametrize(
    ("model", "file", "prefix"),
    [
        ("stylegan2-ffhq", "rosinality-1024.txt", ""),
        ("stylegan2-ffhq-nvidia", "nvidia-1024.txt", ""),
        ("e4e-ffhq", "e4e-encoder.txt", "encoder."),
        ("e4e-ffhq", "rosinality-1024.txt", "decoder."),
    ],
)
def test_the_manifests_layouts_are_those_of_the_published_files(model: str, file: str, prefix: str) -> None:
    (entry,) = (e for e in read_manifest(bundle_dir() / "manifest.toml") if e.name == model)
    known = {f"{prefix}{name.removeprefix(prefix)}": shape for name, shape in published(file).items()}
    wanted = {name: shape for name, shape in entry.files[0].layout if name.startswith(prefix)}
    assert wanted and wanted == {name: known.get(name) for name in wanted}


@pytest.mark.parametrize("name", ["facenet", "facenet-amt", "ir152", "irse50", "mobileface-amt"])
def test_the_manifests_layout_of_a_recogniser_is_that_of_its_network(name: str) -> None:
    (entry,) = (e for e in read_manifest(bundle_dir() / "manifest.toml") if e.name == name)
    with torch.device("meta"):
        network = (load_architecture(entry).make or facenet.make_network)()
    known = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    wanted = dict(entry.files[0].layout)
    assert wanted == {name: known.get(name) for name in wanted}


def test_the_header_of_safetensors_is_bounded(tmp_path: Path) -> None:
    header = json.dumps({"w": {"shape": [1]}}).encode()
    header += b" " * ((32 << 20) + 1 - len(header))
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header)
    assert read_layout(tmp_path / "a") == {}
