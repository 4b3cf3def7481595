"""Trains the embedded CLIP on faces with rendered makeup, with captions from ``captions.py``.

    python bundle/train/clip.py prepare FACES WORK --mesh-model FILE    detects and aligns faces; product maps
    python bundle/train/clip.py render WORK --faces N                   pictures with captions
    python bundle/train/clip.py train WORK text --steps N               resumes from WORK/text.safetensors
    python bundle/train/clip.py train WORK images --steps N             resumes from WORK/images.safetensors
    python bundle/train/clip.py unpack WORK WEIGHTS text --step N       to continue from exported weights
    python bundle/train/clip.py check WORK                              held-out faces and held-out phrasings
    python bundle/train/clip.py export WORK OUT                         float16 weights

FACES is a folder with photos/ and faces.csv (columns id, split, all_labels and five points). A batch holds several
looks of each of a few faces, so that only makeup distinguishes the captions. Both towers are trained contrastively
against anchors: fixed unit vectors computed from product codes. A picture and its caption have the same anchor, and so
have the change of a face by a look and the change of text from "no makeup", which guidance uses. Anchors avoid the
long initial phase of contrastive training, in which neither tower can teach the other anything, and allow training
each tower alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import (
    compose_caption,
    describe,
    describe_named_look,
    draw_hard_negative,
    draw_products,
    sample_look,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS_EYE_DISTANCE, align, crop_canvas, transform_points
from c2p_core.faces.canonical import load_mean_face
from c2p_core.faces.landmarks import FaceMesh, eye_distance, to_tensor
from c2p_core.guidance.clip import MINI_SIDE, mean_face_grid
from c2p_core.guidance.vocabulary import NO_MAKEUP, Look
from c2p_core.products.catalogue import PRODUCTS
from c2p_core.products.codes import decode, make_bare_code
from c2p_core.products.geometry import ProductMaps, build_product_maps
from c2p_core.products.paint import paint_prepared, prepare_paint, skin_map
from c2p_core.starting_look import encode_look

torchvision_ops.define_missing_operators()
from open_clip import SimpleTokenizer  # noqa: E402
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD  # noqa: E402
from open_clip.model import CLIP  # noqa: E402

CONFIG = Path(__file__).parents[1] / "mini" / "clip-mini.json"
# Faces are stored warped to the mean face, like the guidance's input, with a margin for errors of the mesh.
MARGIN = 2
FACES_PER_BATCH = 8
LOOKS_PER_FACE = 5
# Inverse temperature of the contrastive loss.
SCALE = 20.0
# Labels of faces that describe something visible other than makeup and colours.
_SUBJECT = re.compile(r"^(man|woman|person|(old|typical) ad?ult|smiling|.*year old|african|asian|elderly)[a-z0-9 -]*$")
_NO_SUBJECT = re.compile(r"hair|makeup|eye|lip|backgr|light|red|blue|green|purple|gold|pink|black|white|brown|blond")


@dataclass(frozen=True)
class Faces:
    """(N, 3, 100, 100) uint8 faces, (N, 18, 100, 100) float16 product maps, and a description of each bare face."""

    images: Tensor
    regions: Tensor
    subjects: tuple[str, ...]


def prepare(faces: Path, work: Path, mesh_model: Path) -> None:
    """Warp every face and its product maps to the mean face, and save them, one file per split."""
    from PIL import Image

    find_mesh = FaceMesh(mesh_model)
    work.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader((faces / "faces.csv").open()))
    points = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    mean = load_mean_face(CONFIG.with_name("complexion.safetensors"))
    for split in ("train", "val"):
        images, regions, subjects = [], [], []
        for row in rows:
            if row["split"] != split:
                continue
            picture = Image.open(faces / "photos" / f"{row['id']}.jpg").convert("RGB")
            photo = to_tensor(np.asarray(picture, np.float32) / np.float32(255))
            landmarks = np.array([[float(row[f"{name}_x"]), float(row[f"{name}_y"])] for name in points], np.float32)
            mesh, presence = find_mesh(photo, landmarks)
            if presence < 0.5:
                continue
            alignment = align(mesh[:, :2], eye_distance(mesh))
            on_canvas = transform_points(alignment.to_canvas, mesh[:, :2])
            maps = build_product_maps(on_canvas, 256, CANVAS_EYE_DISTANCE)
            canvas = torch.cat([crop_canvas(photo, alignment).clamp(0, 1), maps.level, maps.gate])
            grid = mean_face_grid(on_canvas, mean, MARGIN)
            warped = F.grid_sample(canvas[None], grid[None], padding_mode="border", align_corners=False)[0]
            images.append((warped[:3] * 255).round().to(torch.uint8))
            regions.append(warped[3:].half())
            subjects.append(_choose_subject(row["all_labels"]))
        save_file({"images": torch.stack(images), "regions": torch.stack(regions)}, work / f"{split}.safetensors")
        (work / f"{split}.json").write_text(json.dumps(subjects))
        print(split, len(images))


def _choose_subject(labels: str) -> str:
    texts = [re.sub(r"^[^:]*: ", "", label) for label in re.split(r";| \| ", labels)]
    matching = [label for label in texts if _SUBJECT.match(label) and not _NO_SUBJECT.search(label)]
    return matching[0] if matching else ""


def load_faces(work: Path, split: str) -> Faces:
    tensors = load_file(work / f"{split}.safetensors")
    return Faces(tensors["images"], tensors["regions"], tuple(json.loads((work / f"{split}.json").read_text())))


def take_half(faces: Faces, first: int) -> Faces:
    """Half of the faces; of the validation split, one half is for model selection (``first`` 0), one for checking
    (1).
    """
    return Faces(faces.images[first::2], faces.regions[first::2], faces.subjects[first::2])


def render_makeup(faces: Faces, index: int, codes: Sequence[Tensor]) -> Tensor:
    """Render one face with each product code: (len(codes), 3, H, W) sRGB."""
    linear = srgb_to_linear(faces.images[index].float() / 255)
    level, gate = faces.regions[index].float().chunk(2)
    inputs = prepare_paint(ProductMaps(level, gate), skin_map(linear, CANVAS_EYE_DISTANCE / 2))
    return torch.stack([linear_to_srgb(linear * torch.exp(-paint_prepared(code, inputs).sum(0))) for code in codes])


@dataclass(frozen=True)
class Pictures:
    """Faces with random makeup: ``LOOKS_PER_FACE`` consecutive pictures of each face, the first without makeup.

    Attributes:
        images: (N, 3, 100, 100) uint8.
        painted: (N, 128) anchors of the painted codes.
        anchors: (N, 128) anchors of the captions' looks.
        keys: (N,) equal for equal looks.
        captions: of each picture.
    """

    images: Tensor
    painted: Tensor
    anchors: Tensor
    keys: Tensor
    captions: tuple[str, ...]


@torch.no_grad()
def render(work: Path, count: int, seed: int) -> None:
    """Render ``count`` training faces (with repetition), with several looks each."""
    faces = load_faces(work, "train")
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    images, painted, anchors, captions, keys = [], [], [], [], []
    for _ in range(count):
        index = rng.randrange(len(faces.images))
        looks = draw_looks(rng, faces.subjects[index])
        codes = [jitter(encode_look(look), generator) for look, _ in looks]
        images.append((render_makeup(faces, index, codes) * 255).round().to(torch.uint8))
        painted += [compute_anchor(code) for code in codes]
        anchors += [compute_anchor(encode_look(look)) for look, _ in looks]
        captions += [caption for _, caption in looks]
        keys += [make_look_key(look) for look, _ in looks]
    tensors = {"images": torch.cat(images), "painted": torch.stack(painted), "anchors": torch.stack(anchors)}
    save_file(tensors, work / "pictures.safetensors")
    (work / "pictures.json").write_text(json.dumps({"captions": captions, "keys": keys}))


def load_pictures(work: Path) -> Pictures:
    tensors = load_file(work / "pictures.safetensors")
    description = json.loads((work / "pictures.json").read_text())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(description["keys"]))}
    keys = torch.tensor([numbers[name] for name in description["keys"]])
    return Pictures(**tensors, keys=keys, captions=tuple(description["captions"]))


def jitter(code: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to a code that does not change its description; absent products stay absent."""
    noise = torch.randn(code.shape, generator=generator) * code.new_tensor([0.15, 0.15, 0.15, 0.25, 0.6, 0.6])
    noise[code[:, 3] <= -6.0] = 0.0
    return code + noise


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, mirror, brighten and tint pictures, equally for all looks of a face, and remove the margin."""
    faces = images.split(LOOKS_PER_FACE)
    corners = torch.randint(2 * MARGIN + 1, (len(faces), 2), generator=generator).tolist()
    mirrored = (torch.rand(len(faces), generator=generator) < 0.5).tolist()
    side = MINI_SIDE
    shifted = [looks[..., y : y + side, x : x + side] for looks, (y, x) in zip(faces, corners, strict=True)]
    crops = torch.cat([looks.flip(-1) if flip else looks for looks, flip in zip(shifted, mirrored, strict=True)])
    gain = 0.85 + 0.3 * torch.rand(len(faces), 1, 1, 1, generator=generator)
    tint = 0.95 + 0.1 * torch.rand(len(faces), 3, 1, 1, generator=generator)
    return (crops * (gain * tint).repeat_interleave(LOOKS_PER_FACE, 0)).clamp(0, 1)


def remove_margin(images: Tensor) -> Tensor:
    """Remove the margin, as for the guidance."""
    return images[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def prepare_input(model: CLIP, images: Tensor) -> Tensor:
    """Downscale and normalise (N, 3, 96, 96) pictures in 0..1."""
    mean, std = torch.tensor(OPENAI_DATASET_MEAN), torch.tensor(OPENAI_DATASET_STD)
    reduced = F.interpolate(images, model.visual.image_size, mode="area")
    return (reduced - mean[:, None, None]) / std[:, None, None]


def draw_looks(rng: random.Random, subject: str) -> list[tuple[Look, str]]:
    """Draw looks with captions for one face: none, a random one, a hard negative of it, more random ones."""
    description = subject if subject and rng.random() < 0.15 else ""
    bare = compose_caption([describe_named_look(NO_MAKEUP, rng)], rng, subject=description)
    first = draw_products(rng)
    second = draw_hard_negative(first, rng)
    looks: list[tuple[Look, str]] = [((), bare), (first, describe(first, rng)), (second, describe(second, rng))]
    while len(looks) < LOOKS_PER_FACE:
        looks.append(sample_look(rng, subject=description))
    return looks


def make_look_key(look: Look) -> str:
    """Key of a look; looks with equal keys are not negatives of each other."""
    return repr(sorted((touch.product, touch.colour or "", touch.intensity) for touch in look))


def compute_anchor(code: Tensor) -> Tensor:
    """Compute the anchor of a product code: opacities, and opacities times opponent colours, as a unit vector
    (128,).
    """
    decoded = decode(code)
    visible_opacity = decoded.opacity / _FULL * _VISIBLE
    encoded = linear_to_srgb(decoded.pigment.clamp(0, 1))
    red, green, blue = encoded.unbind(1)
    colour = torch.stack([encoded.mean(1) - 0.45, red - green, (red + green) / 2 - blue], 1)
    colour[_COLOURLESS] = 0.0
    features = torch.cat([torch.tensor([0.7]), visible_opacity, (1.8 * colour * visible_opacity[:, None]).flatten()])
    return F.normalize(features @ _AXES, dim=0)


def _compute_full_opacities() -> Tensor:
    code = make_bare_code()
    code[:, 3] = 20.0
    return decode(code).opacity


_FULL = _compute_full_opacities()
_AXES = torch.linalg.qr(torch.randn(128, 1 + 4 * len(PRODUCTS), generator=torch.Generator().manual_seed(20)))[0].T
_PLAIN = ("lips", "eyeshadow", "eyeliner", "blush", "lip_liner")
_COLOURLESS = [PRODUCTS.index(name) for name in ("contour", "highlight", "lashes")]
# Visual weight of each product.
_WEIGHTS = {"lips": 1.0, "eyeshadow": 1.0, "eyeliner": 0.7, "blush": 0.8, "brow": 0.5, "contour": 0.5, "highlight": 0.5}
_VISIBLE = torch.tensor([_WEIGHTS.get(name, 0.35) for name in PRODUCTS])


def contrastive_loss(vectors: Tensor, anchors: Tensor, keys: Tensor) -> Tensor:
    """Symmetric InfoNCE loss between unit vectors; equal keys (N,) share the target."""
    same = (keys[:, None] == keys).float()
    target = same / same.sum(1, keepdim=True)
    logits = SCALE * vectors @ anchors.T
    return -0.5 * ((target * logits.log_softmax(1)).sum(1).mean() + (target * logits.T.log_softmax(1)).sum(1).mean())


def build_model(config: Path = CONFIG) -> CLIP:
    return CLIP(**json.loads(config.read_text()))


def build_tokenizer(model: CLIP) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=model.context_length)


@torch.no_grad()
def initialise_patches(model: CLIP, pictures: Pictures, count: int = 1500) -> None:
    """Initialise the patch embedding from the first ``count`` pictures.

    Half of it are the principal components of the changes by makeup, half those of the remaining variation of faces.
    Positional embeddings get a similar scale.
    """
    tower = model.visual
    weight, size = tower.conv1.weight, tower.patch_size[0]
    inputs = prepare_input(model, remove_margin(pictures.images[:count].float() / 255))
    patches = F.unfold(inputs, size, stride=size).transpose(1, 2)
    patches = patches - patches.mean((0, 1))
    looks = patches.reshape(-1, LOOKS_PER_FACE, *patches.shape[1:])
    makeup = _find_principal_directions((looks[:, 1:] - looks[:, :1]).flatten(0, 2), len(weight) // 2)
    patches = patches.flatten(0, 1)
    rest = patches - patches @ makeup @ makeup.T
    units = torch.cat([makeup, _find_principal_directions(rest, len(weight) - makeup.shape[1])], 1)
    spread = (patches @ units).std(0)
    units = 0.5 * units / spread.clamp(min=0.02 * float(spread.max()))
    weight.copy_(units.T.reshape(weight.shape))
    tower.positional_embedding.normal_(0.0, 0.5)


def _find_principal_directions(rows: Tensor, count: int) -> Tensor:
    """(D, count) leading principal directions of (N, D) rows."""
    vectors: Tensor = torch.linalg.eigh(rows.T @ rows).eigenvectors
    return vectors.flip(1)[:, :count]


def train(work: Path, tower: str, steps: int, rate: float, seed: int) -> None:
    """Train one tower, or resume its training; the learning rate decays to 0 in the last third of ``steps``."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build_model()
    pictures, validation_faces = load_pictures(work), take_half(load_faces(work, "val"), 0)
    tokenize = build_tokenizer(model)
    state = work / f"{tower}.safetensors"
    parameters = dict(_list_tower_parameters(model, tower))
    decay = 0.02 if tower == "images" else 0.0
    optimiser = torch.optim.AdamW(parameters.values(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    start = 0
    if state.exists():
        start = _resume(state, model, optimiser, parameters)
    elif tower == "images":
        initialise_patches(model, pictures)
    start_time = time.monotonic()
    running = torch.zeros(3)
    model.train()
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50, 3 * (1 - step / steps))
        faces = torch.randperm(len(pictures.images) // LOOKS_PER_FACE, generator=generator)[:FACES_PER_BATCH]
        rows = (faces[:, None] * LOOKS_PER_FACE + torch.arange(LOOKS_PER_FACE)).flatten()
        if tower == "images":
            inputs = augment(pictures.images[rows].float() / 255, generator)
            with torch.autocast("cpu", torch.bfloat16):
                features = model.encode_image(prepare_input(model, inputs))
            vectors, anchors = F.normalize(features.float(), dim=1), pictures.painted[rows]
        else:
            tokens = tokenize([pictures.captions[int(index)] for index in rows])
            vectors, anchors = model.encode_text(tokens, normalize=True), pictures.anchors[rows]
        keys = pictures.keys[rows]
        changes, anchor_changes = _compute_changes(vectors), _compute_changes(anchors)
        similarity, change_similarity = (vectors * anchors).sum(1).mean(), (changes * anchor_changes).sum(1).mean()
        loss = contrastive_loss(vectors, anchors, keys) + 2.0 * contrastive_loss(
            changes, anchor_changes, _drop_bare(keys)
        )
        loss = loss + 4.0 * (1.0 - similarity) + 4.0 * (1.0 - change_similarity)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimiser.step()
        running += torch.stack([loss, similarity, change_similarity]).detach()
        if (step + 1) % 100 == 0:
            figures = " ".join(f"{value:.3f}" for value in running / 100)
            print(f"{step + 1}: loss and cosines {figures}; {time.monotonic() - start_time:.0f} s", flush=True)
            running = torch.zeros(3)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            _save(state, model, optimiser, parameters, step + 1)
        if (step + 1) % 1500 == 0 and tower == "images" and (work / "text.safetensors").exists():
            trained = load_trained(work)
            shares = [measure_top1(trained, validation_faces, 200, 1, change=change) for change in (False, True)]
            print("top-1 of 16 captions, by picture and by change:", *shares, flush=True)


def _list_tower_parameters(model: CLIP, tower: str) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters of the image tower, or of everything else."""
    return [(n, p) for n, p in model.named_parameters() if n.startswith("visual.") == (tower == "images")]


def _drop_bare(values: Tensor) -> Tensor:
    """Drop the first row of each face, which is without makeup."""
    return values.reshape(-1, LOOKS_PER_FACE, *values.shape[1:])[:, 1:].flatten(0, 1)


def _compute_changes(vectors: Tensor) -> Tensor:
    """Approximate unit vectors of the change from each bare face to its looks; shorter for barely visible changes."""
    faces = vectors.reshape(-1, LOOKS_PER_FACE, vectors.shape[1])
    changes = (faces[:, 1:] - faces[:, :1]).flatten(0, 1)
    # Normalising tiny changes exactly would give them dominant gradients.
    return changes / torch.sqrt((changes * changes).sum(1, keepdim=True) + 0.1**2)


def _save(
    path: Path, model: CLIP, optimiser: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter], step: int
) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in parameters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = optimiser.state[parameter][moment].contiguous()
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata={"step": str(step)})
    temporary.rename(path)


def _resume(
    path: Path, model: CLIP, optimiser: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]
) -> int:
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        model.load_state_dict({name: file.get_tensor(f"model.{name}") for name in model.state_dict()})
        for name, parameter in parameters.items():
            moments = {moment: file.get_tensor(f"{moment}.{name}") for moment in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


@torch.no_grad()
def measure_top1(
    model: CLIP, faces: Faces, count: int, seed: int, held_out: bool = True, change: bool = False, visible: bool = False
) -> float:
    """Top-1 accuracy of choosing a picture's caption among 16; the other 15 describe other random looks.

    Args:
        model: to evaluate.
        faces: to render with makeup.
        count: number of draws.
        seed: seeds the draws.
        held_out: use phrasings that training never uses.
        change: compare the change from the bare face with the change of text, as the guidance does.
        visible: leave out looks that are light or consist only of brows, lashes, contour or highlight.
    """
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    tokenize = build_tokenizer(model)
    correct = 0
    for number in range(count):
        index = number % len(faces.images)
        candidates: dict[str, tuple[Look, str]] = {}
        if not change and rng.random() < 1 / 16:
            candidates[make_look_key(())] = ((), compose_caption([describe_named_look(NO_MAKEUP, rng)], rng, held_out))
        while len(candidates) < 16:
            look, caption = sample_look(rng, held_out)
            if not visible or any(touch.product in _PLAIN and touch.intensity > 0.4 for touch in look):
                candidates.setdefault(make_look_key(look), (look, caption))
        looks = list(candidates.values())
        code = jitter(encode_look(looks[0][0]), generator)
        pictures = torch.cat([render_makeup(faces, index, [code]), faces.images[index : index + 1].float() / 255])
        image, bare = model.encode_image(prepare_input(model, remove_margin(pictures)), normalize=True)
        texts = model.encode_text(tokenize([*(caption for _, caption in looks), NO_MAKEUP]), normalize=True)
        if change:
            image, texts = image - bare, F.normalize(texts - texts[-1:], dim=1)
        correct += int((texts[:-1] @ image).argmax()) == 0
    return correct / count


def load_trained(work: Path) -> CLIP:
    """Load both towers, each from its own training."""
    model = build_model()
    state: dict[str, Tensor] = {}
    for tower in ("images", "text"):
        with safe_open(work / f"{tower}.safetensors", "pt") as file:
            names = [name for name in model.state_dict() if name.startswith("visual.") == (tower == "images")]
            state |= {name: file.get_tensor(f"model.{name}") for name in names}
    model.load_state_dict(state)
    return model.eval()


def export(work: Path, out: Path) -> None:
    """Write float16 weights; embeddings of tokens that never occurred in training become 0."""
    model = load_trained(work)
    tensors = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    embeddings = tensors["token_embedding.weight"]
    with safe_open(work / "text.safetensors", "pt") as file:
        is_trained = file.get_tensor("exp_avg_sq.token_embedding.weight").abs().sum(1) > 0
    embeddings[~is_trained] = 0
    save_file(tensors, out, metadata={"format": "pt"})
    print(out, out.stat().st_size, "bytes,", int(is_trained.sum()), "tokens trained")


def unpack(work: Path, weights: Path, tower: str, step: int) -> None:
    """Write one tower's training state from exported weights, at step ``step``, with fresh optimiser moments."""
    model = build_model()
    parameters = dict(_list_tower_parameters(model, tower))
    exported = load_file(weights)
    model.load_state_dict({name: exported[name] for name in parameters}, strict=False)
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in parameters.items():
        tensors[f"exp_avg.{name}"] = torch.zeros_like(parameter)
        # Not 0 where a token was trained: ``export`` recognises trained tokens by it.
        tensors[f"exp_avg_sq.{name}"] = 1e-8 * (parameter.detach() != 0).float()
    save_file(tensors, work / f"{tower}.safetensors", metadata={"step": str(step)})


def check(work: Path, count: int) -> None:
    """Print top-1 accuracy among 16 captions, by the picture alone and by the change from the bare face.

    On the half of the validation faces that ``train`` does not use, and on training faces.
    """
    torch.set_num_threads(1)
    model = load_trained(work)
    for split in ("val", "train"):
        faces = load_faces(work, split)
        faces = take_half(faces, 1) if split == "val" else faces
        for held_out in (False, True):
            plain, changes = (100 * measure_top1(model, faces, count, 7, held_out, change) for change in (False, True))
            phrasings = "held-out" if held_out else "training"
            print(f"{split} faces, {phrasings} phrasings: {plain:.1f} % by the picture, {changes:.1f} % by the change")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("faces", type=Path)
    command.add_argument("work", type=Path)
    command.add_argument("--mesh-model", type=Path, required=True, help="face_landmark.tflite")
    command = commands.add_parser("render")
    command.add_argument("work", type=Path)
    command.add_argument("--faces", type=int, default=10000)
    command.add_argument("--seed", type=int, default=3)
    command = commands.add_parser("train")
    command.add_argument("work", type=Path)
    command.add_argument("tower", choices=("images", "text"))
    command.add_argument("--steps", type=int, required=True)
    command.add_argument("--rate", type=float, default=1e-3)
    command.add_argument("--seed", type=int, default=0)
    command = commands.add_parser("unpack")
    command.add_argument("work", type=Path)
    command.add_argument("weights", type=Path)
    command.add_argument("tower", choices=("images", "text"))
    command.add_argument("--step", type=int, default=0)
    command = commands.add_parser("check")
    command.add_argument("work", type=Path)
    command.add_argument("--count", type=int, default=1000)
    command = commands.add_parser("export")
    command.add_argument("work", type=Path)
    command.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.faces, arguments.work, arguments.mesh_model)
    elif arguments.command == "render":
        torch.set_num_threads(1)
        render(arguments.work, arguments.faces, arguments.seed)
    elif arguments.command == "train":
        train(arguments.work, arguments.tower, arguments.steps, arguments.rate, arguments.seed)
    elif arguments.command == "unpack":
        unpack(arguments.work, arguments.weights, arguments.tower, arguments.step)
    elif arguments.command == "check":
        check(arguments.work, arguments.count)
    else:
        export(arguments.work, arguments.out)


if __name__ == "__main__":
    main()
