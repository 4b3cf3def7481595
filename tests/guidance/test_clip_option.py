"""``--clip``: any text model of open_clip, by file or by tag, through the code that loads the real ones."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from c2p_core import Photo, ProtectRequest, cli, protect, torchvision_ops
from c2p_core.errors import BadRequest, ModelUnavailable
from c2p_core.guidance.clip import TextGuidance
from c2p_core.guidance.clip_name import parse_clip
from c2p_core.guidance.clip_weights import find_weights
from c2p_core.models.loaded import WarmModels
from c2p_core.models.store import ModelStore
from c2p_core.validate import check_request
from tests.error_assertions import raising
from tests.fetchable import bundle_with_fetchable

torchvision_ops.define_missing_operators()
import open_clip  # noqa: E402
from open_clip import pretrained as tags  # noqa: E402
from open_clip.model import CLIP  # noqa: E402

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 48, "patch_size": 24, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of ``tiny-clip``, a small model that is registered in open_clip."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(1)
    weights = CLIP(**CONFIG).state_dict()
    save_file(weights, folder / "weights.safetensors")
    # As training scripts save it: in a dictionary, every name prefixed with "module.".
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, folder / "weights.pt")
    return folder


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A tag of the tiny model in open_clip, whose weights have not been fetched."""
    monkeypatch.setitem(
        tags._PRETRAINED, "tiny-clip", {"nobody": {"hf_hub": "nobody/has-this/", "mean": (0.5, 0.5, 0.5)}}
    )
    yield "nobody"


def guidance(clip: str) -> TextGuidance:
    return TextGuidance(ModelStore(offline=True), CPU, *parse_clip(clip))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_photo_is_protected_with_a_model_from_a_file(tiny: Path, name: str) -> None:
    photo, warm, store = Photo(skimage.data.astronaut()), WarmModels(), ModelStore(offline=True)
    request = ProtectRequest(
        photo, prompt="red lipstick", clip=f"tiny-clip:{tiny / name}", recognisers=("mobileface",), steps=2
    )
    protected = protect(request, store=store, warm=warm).photo.pixels
    by_default = ProtectRequest(photo, prompt="red lipstick", recognisers=("mobileface",), steps=2)
    assert not np.array_equal(protected, protect(by_default, store=store, warm=warm).photo.pixels)
    assert not np.array_equal(protected, photo.pixels)


def test_the_command_accepts_a_text_model_and_reports_it(tiny: Path, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    clip = f"tiny-clip:{tiny / 'weights.safetensors'}"
    arguments = ["protect", str(photo), "--clip", clip, "--recognisers", "mobileface", "--steps", "1", "--json"]
    run = CliRunner().invoke(cli.c2p, arguments)
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["photos"][0]["settings"]["clip"] == clip


def test_safetensors_and_pt_files_load_the_same_model(tiny: Path) -> None:
    from_safetensors, from_pt = (guidance(f"tiny-clip:{tiny / name}") for name in ("weights.safetensors", "weights.pt"))
    assert torch.equal(from_safetensors.embed_text("red lipstick"), from_pt.embed_text("red lipstick"))


def test_a_cached_tag_is_used_with_its_own_preprocessing(tiny: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the look-up in the hub's cache is replaced."""
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda repository, name: str(tiny / "weights.safetensors") if repository == "nobody/has-this" else None,
    )
    monkeypatch.setattr("open_clip.download_pretrained", lambda *_: pytest.fail("something was fetched"))
    weights = find_weights("tiny-clip", tag, offline=False)
    assert (weights.file, weights.preprocessing) == (tiny / "weights.safetensors", {"mean": (0.5, 0.5, 0.5)})
    assert guidance(f"tiny-clip:{tag}").pixel_mean.flatten().tolist() == [0.5, 0.5, 0.5]


def test_an_uncached_tag_is_not_fetched_offline(tiny: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.download_pretrained", lambda *_: pytest.fail("something was fetched"))
    with raising(ModelUnavailable, "weights-offline", name=tag, model="tiny-clip"):
        find_weights("tiny-clip", tag, offline=True)


def test_a_failed_download_is_reported_with_the_first_line_of_its_reason(
    tiny: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> str:
        raise OSError("the hub is away\nand more")

    monkeypatch.setattr("open_clip.download_pretrained", refuse)
    with raising(ModelUnavailable, "weights-not-fetched", name=tag, reason="the hub is away"):
        find_weights("tiny-clip", tag, offline=False)


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("ViT-B-32:openai", "clip-openai"),
        ("ViT-B/32:laion2B-s34B-b79K", "clip-laion"),
    ],
)
def test_a_text_model_of_the_manifest_is_fetched_only_by_the_models_command(
    clip: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("open_clip.download_pretrained", lambda *_: pytest.fail("something was fetched"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: pytest.fail("a cache was asked"))
    with raising(ModelUnavailable, "model-not-fetched", name=name):
        TextGuidance(ModelStore(tmp_path), CPU, *parse_clip(clip))


class ByTorchScript(torch.nn.Module):
    """A network as OpenAI published its own: a TorchScript archive, in half precision, with three numbers beside it."""

    def __init__(self, network: CLIP) -> None:
        super().__init__()
        for name, part in network.named_children():
            self.add_module(name, part)
        for name, value in network.state_dict().items():
            if "." not in name:
                self.register_buffer(name, value.half())
        for name in ("input_resolution", "context_length", "vocab_size"):
            self.register_buffer(name, torch.tensor(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_a_fetched_archive_of_a_tag_is_read_with_its_activation_and_preprocessing(
    tiny: Path, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tags._PRETRAINED["tiny-clip"][tag], "quick_gelu", True)
    torch.manual_seed(2)
    network = CLIP(**CONFIG, quick_gelu=True).eval()
    file = tmp_path / "models" / "clip-tiny" / "tiny.pt"
    file.parent.mkdir(parents=True)
    # The archive has no code of the layers: only the tensors are read.
    torch.jit.save(torch.jit.trace(ByTorchScript(network), torch.zeros(1)), file)
    bundle = bundle_with_fetchable(tmp_path / "bundle")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with (bundle / "manifest.toml").open("a", encoding="utf-8") as manifest:
        manifest.write(
            f"""
[[model]]
name = "clip-tiny"
role = "guidance"
profile = "full"
clip = "tiny-clip:{tag}"
licence = "MIT"
origin = "a test"
files = [{{ name = "tiny.pt", sha256 = "{digest}", size = {file.stat().st_size} }}]
sources = []
"""
        )
    loaded = TextGuidance(ModelStore(tmp_path / "models", True, bundle), CPU, "tiny-clip", tag)
    assert loaded.pixel_mean.flatten().tolist() == [0.5, 0.5, 0.5]
    tokens = open_clip.get_tokenizer("tiny-clip")(["a photo of a face with red lipstick"])
    with torch.no_grad():
        actual, expected = (model.encode_text(tokens, normalize=True) for model in (loaded.network, network))
    assert torch.allclose(actual, expected, atol=1e-3)
    # The usual activation would give something else.
    network = CLIP(**CONFIG)
    network.load_state_dict(loaded.network.state_dict())
    with torch.no_grad():
        assert not torch.allclose(network.encode_text(tokens, normalize=True), expected, atol=1e-3)


class Saboteur:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda made, path: path.write_bytes(pickle.dumps(made, protocol=2))])
def test_a_checkpoint_that_contains_code_is_refused_without_running_it(tiny: Path, tmp_path: Path, save: Any) -> None:
    save({"state_dict": Saboteur(tmp_path / "touched")}, tmp_path / "bad.pt")
    with raising(ModelUnavailable, "text-model-unreadable", path=str(tmp_path / "bad.pt")):
        guidance(f"tiny-clip:{tmp_path / 'bad.pt'}")
    assert not (tmp_path / "touched").exists()


def test_weights_of_another_model_are_refused_with_a_reason_of_one_line(tiny: Path, tmp_path: Path) -> None:
    save_file({"logit_scale": torch.ones([])}, tmp_path / "other.safetensors")
    with raising(ModelUnavailable, "text-model-unreadable", model="tiny-clip", reason=re.compile(r"\A[^\n]+\Z")):
        guidance(f"tiny-clip:{tmp_path / 'other.safetensors'}")


@pytest.mark.parametrize(
    ("model", "pretrained", "code", "fields"),
    [
        ("no-such-model", "laion2b_s34b_b79k", "text-model-not-listed", {}),
        (
            "ViT-B-32",
            "no_such_tag",
            "weights-unknown",
            {"name": "no_such_tag", "known": re.compile("laion2b_s34b_b79k")},
        ),
        ("ViT-B-16-SigLIP", "webli", "text-model-with-tokenizer", {}),
    ],
)
def test_models_and_tags_unknown_to_open_clip_are_bad_requests(
    model: str, pretrained: str, code: str, fields: dict[str, Any]
) -> None:
    with raising(BadRequest, code, model=model, **fields):
        find_weights(model, pretrained, offline=True)


def test_a_model_without_tags_requires_a_file(tiny: Path) -> None:
    with raising(BadRequest, "weights-only-from-file", model="tiny-clip", name="no_such_tag"):
        find_weights("tiny-clip", "no_such_tag", offline=True)


def test_a_file_with_an_unknown_extension_is_a_bad_request(tiny: Path) -> None:
    with raising(BadRequest, "weights-ending-unknown", path=str(tiny / "tiny-clip.json")):
        find_weights("tiny-clip", str(tiny / "tiny-clip.json"), offline=True)


@pytest.mark.parametrize("clip", ["", "ViT-B-32", "ViT-B-32:", ":file.pt", "clip-mini:file.pt", "a:" + "b" * 1000])
def test_a_name_without_model_or_weights_is_refused(clip: str) -> None:
    with raising(BadRequest, "text-model-unknown", name=clip[:80]):
        check_request(ProtectRequest(Photo(np.zeros((1, 1, 3), np.uint8)), clip=clip))


def test_a_text_model_is_split_at_the_first_colon_only() -> None:
    assert parse_clip(r"ViT-B-32:C:\weights.pt") == ("ViT-B-32", r"C:\weights.pt")
    assert parse_clip("clip-mini") == ("clip-mini", None)
