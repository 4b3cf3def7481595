"""Trains the embedded CLIP on faces that the makeup renderer makes up, with captions from the grammar.

    python bundle/train/clip.py prepare FACES WORK      faces found, aligned, reduced; region maps
    python bundle/train/clip.py train WORK --steps N    resumes from WORK/state.safetensors
    python bundle/train/clip.py check WORK              held-out faces and held-out phrasings
    python bundle/train/clip.py export WORK OUT         float16 weights

FACES is a folder with photos/ and faces.csv (columns id, split, all_labels and five points). A batch holds several
looks of each of a few faces, so that only makeup tells the captions apart. Two losses: image against caption, and the
change that a look makes to the face against the change of words from "no makeup", which is what the guidance uses.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from c2p_core import torchvision_ops
from c2p_core.colour import linear_to_srgb, srgb_to_linear
from c2p_core.faces.align import CANVAS_EYE_DISTANCE, align, apply, canvas_crop
from c2p_core.faces.landmarks import FaceMesh, eye_distance, to_tensor
from c2p_core.guidance.looks import look_code
from c2p_core.guidance.vocabulary import (
    NO_MAKEUP,
    Look,
    describe,
    describe_look,
    draw_touches,
    near_miss,
    sample_look,
    wrap,
)
from c2p_core.priors.products import Regions, build_regions, ground, paint_on, skin_map

torchvision_ops.ensure()
from open_clip import SimpleTokenizer  # noqa: E402
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD  # noqa: E402
from open_clip.model import CLIP  # noqa: E402

CONFIG = Path(__file__).parents[1] / "mini" / "clip-mini.json"
# The part of the canvas that the guidance looks at (c2p_core/guidance/clip.py), with a margin for shifts, halved.
CROP = slice(48, 240), slice(32, 224)
MARGIN = 16
INPUT = 96
FACES_PER_BATCH = 20
LOOKS_PER_FACE = 5
DIRECTION_SCALE = 20.0
# Labels of the face sets that say something visible and nothing about makeup or colours.
_SUBJECT = re.compile(r"^(man|woman|person|(old|typical) ad?ult|smiling|.*year old|african|asian|elderly)[a-z0-9 -]*$")
_NO_SUBJECT = re.compile(r"hair|makeup|eye|lip|backgr|light|red|blue|green|purple|gold|pink|black|white|brown|blond")


@dataclass(frozen=True)
class Faces:
    """(N, 3, 112, 112) uint8 faces, (N, 18, 112, 112) float16 regions, and what is said of each face without makeup."""

    images: Tensor
    regions: Tensor
    subjects: tuple[str, ...]


def prepare(faces: Path, work: Path, mesh_model: Path) -> None:
    """Align every face and build its product regions; one file per split."""
    from PIL import Image

    find_mesh = FaceMesh(mesh_model)
    work.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader((faces / "faces.csv").open()))
    points = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    rows_, columns = (slice(part.start - MARGIN, part.stop + MARGIN) for part in CROP)
    rows_ = slice(rows_.start, min(rows_.stop, 256))
    for split in ("train", "val"):
        images, regions, subjects = [], [], []
        for row in rows:
            if row["split"] != split:
                continue
            picture = Image.open(faces / "photos" / f"{row['id']}.jpg").convert("RGB")
            photo = to_tensor(np.asarray(picture, np.float32) / np.float32(255))
            five = np.array([[float(row[f"{name}_x"]), float(row[f"{name}_y"])] for name in points], np.float32)
            mesh, presence = find_mesh(photo, five)
            if presence < 0.5:
                continue
            alignment = align(mesh[:, :2], eye_distance(mesh))
            canvas = canvas_crop(photo, alignment).clamp(0, 1)[:, rows_, columns]
            made = build_regions(apply(alignment.to_canvas, mesh[:, :2]), 256, CANVAS_EYE_DISTANCE)
            both = torch.cat([made.level, made.gate])[:, rows_, columns]
            images.append((F.avg_pool2d(canvas[None], 2)[0] * 255).round().to(torch.uint8))
            regions.append(F.avg_pool2d(both[None], 2)[0].half())
            subjects.append(_subject(row["all_labels"]))
        save_file({"images": torch.stack(images), "regions": torch.stack(regions)}, work / f"{split}.safetensors")
        (work / f"{split}.json").write_text(json.dumps(subjects))
        print(split, len(images))


def _subject(labels: str) -> str:
    plain = [re.sub(r"^[^:]*: ", "", label) for label in re.split(r";| \| ", labels)]
    fitting = [label for label in plain if _SUBJECT.match(label) and not _NO_SUBJECT.search(label)]
    return fitting[0] if fitting else ""


def load_faces(work: Path, split: str) -> Faces:
    tensors = load_file(work / f"{split}.safetensors")
    return Faces(tensors["images"], tensors["regions"], tuple(json.loads((work / f"{split}.json").read_text())))


def made_up(faces: Faces, index: int, codes: Sequence[Tensor]) -> Tensor:
    """(len(codes), 3, H, W) sRGB pictures of one face with each product code."""
    linear = srgb_to_linear(faces.images[index].float() / 255)
    level, gate = faces.regions[index].float().chunk(2)
    canvas = ground(Regions(level, gate), skin_map(linear, CANVAS_EYE_DISTANCE / 2))
    return torch.stack([linear_to_srgb(linear * torch.exp(-paint_on(code, canvas).sum(0))) for code in codes])


def jitter(code: Tensor, generator: torch.Generator) -> Tensor:
    """Neighbours of a code mean the same words; absent products stay absent."""
    noise = torch.randn(code.shape, generator=generator) * code.new_tensor([0.15, 0.15, 0.15, 0.25, 0.6, 0.6])
    noise[code[:, 3] <= -6.0] = 0.0
    return code + noise


def augmented(images: Tensor, generator: torch.Generator, groups: int) -> Tensor:
    """Random shift, scale, mirror, brightness and contrast, the same for all looks of a face; the model's input."""
    each = len(images) // groups
    draw = torch.rand(groups, 6, generator=generator).repeat_interleave(each, 0)
    scale = INPUT / images.shape[-1] * (0.93 + 0.14 * draw[:, 0])
    mirror = torch.where(draw[:, 1] < 0.5, -1.0, 1.0)
    shift = (draw[:, 2:4] - 0.5) * 0.12
    matrix = torch.zeros(len(images), 2, 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = scale * mirror, scale
    matrix[:, :, 2] = shift
    grid = F.affine_grid(matrix, [len(images), 3, INPUT, INPUT], align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    gain = 0.85 + 0.3 * draw[:, 4, None, None, None]
    gamma = 0.85 + 0.3 * draw[:, 5, None, None, None]
    return (gain * moved.clamp(1e-4, 1) ** gamma).clamp(0, 1)


def centred(images: Tensor) -> Tensor:
    """What the guidance sees: the crop without margin."""
    return images[..., MARGIN // 2 : MARGIN // 2 + INPUT, MARGIN // 2 : MARGIN // 2 + INPUT]


def normalised(images: Tensor) -> Tensor:
    mean, std = torch.tensor(OPENAI_DATASET_MEAN), torch.tensor(OPENAI_DATASET_STD)
    made = (images - mean[:, None, None]) / std[:, None, None]
    return made.contiguous(memory_format=torch.channels_last)


def looks_of_face(rng: random.Random, subject: str) -> list[tuple[Look, str]]:
    """No makeup, two neighbouring looks, and random ones."""
    said = subject if subject and rng.random() < 0.15 else ""
    bare = wrap([describe_look(NO_MAKEUP, rng)], rng, subject=said)
    first = draw_touches(rng)
    second = near_miss(first, rng)
    looks: list[tuple[Look, str]] = [((), bare), (first, describe(first, rng)), (second, describe(second, rng))]
    while len(looks) < LOOKS_PER_FACE:
        looks.append(sample_look(rng, subject=said))
    return looks


def key(look: Look) -> str:
    """Looks with the same key are not each other's negatives."""
    return repr(sorted((touch.product, touch.colour or "", touch.intensity) for touch in look))


def contrast(images: Tensor, texts: Tensor, keys: Sequence[str], scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE between unit vectors; equal keys share the target."""
    same = torch.tensor([[a == b for b in keys] for a in keys], dtype=torch.float32)
    target = same / same.sum(1, keepdim=True)
    logits = scale * images @ texts.T
    return -0.5 * ((target * logits.log_softmax(1)).sum(1).mean() + (target * logits.T.log_softmax(1)).sum(1).mean())


def build(config: Path = CONFIG) -> CLIP:
    return CLIP(**json.loads(config.read_text()))


def tokenizer(model: CLIP) -> SimpleTokenizer:
    return SimpleTokenizer(context_length=model.context_length)


def train(work: Path, steps: int, rate: float, seed: int, threads: int) -> None:
    """Train or go on training; the learning rate falls to zero at ``steps``."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = build().to(memory_format=torch.channels_last)
    tokenize = tokenizer(model)
    names = [name for name, _ in model.named_parameters()]
    decayed = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    kept = [p for n, p in model.named_parameters() if p.ndim < 2 or "embedding" in n]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    state = work / "state.safetensors"
    start = _resume(state, model, optimiser, names) if state.exists() else 0
    faces, held = load_faces(work, "train"), load_faces(work, "val")
    began = time.monotonic()
    running = 0.0
    for step in range(start, steps):
        rng = random.Random(seed * 1_000_003 + step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        looks, pictures = [], []
        with torch.no_grad():
            for index in rng.sample(range(len(faces.images)), FACES_PER_BATCH):
                chosen = looks_of_face(rng, faces.subjects[index])
                looks += chosen
                pictures.append(made_up(faces, index, [jitter(look_code(look), generator) for look, _ in chosen]))
            inputs = normalised(augmented(torch.cat(pictures), generator, FACES_PER_BATCH))
        model.train()
        images = model.encode_image(inputs, normalize=True)
        texts = model.encode_text(tokenize([caption for _, caption in looks]), normalize=True)
        keys = [key(look) for look, _ in looks]
        loss = contrast(images, texts, keys, model.logit_scale.exp())
        loss = loss + _directional(images, texts, keys)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(60))
        running += float(loss.detach())
        if (step + 1) % 25 == 0:
            print(f"step {step + 1} loss {running / 25:.3f} {time.monotonic() - began:.0f} s", flush=True)
            running = 0.0
        if (step + 1) % 200 == 0 or step + 1 == steps:
            _save(state, model, optimiser, names, step + 1)
            print("top-1 of 16:", top1(model, held, 200, seed=1), flush=True)


def _directional(images: Tensor, texts: Tensor, keys: Sequence[str]) -> Tensor:
    """Change of the picture against change of the words, from no makeup; the first look of each face is bare."""
    pictures = images.reshape(FACES_PER_BATCH, LOOKS_PER_FACE, -1)
    words = texts.reshape(FACES_PER_BATCH, LOOKS_PER_FACE, -1)
    change = F.normalize((pictures[:, 1:] - pictures[:, :1]).flatten(0, 1), dim=1)
    said = F.normalize((words[:, 1:] - words[:, :1]).flatten(0, 1), dim=1)
    made = [name for number, name in enumerate(keys) if number % LOOKS_PER_FACE]
    return contrast(change, said, made, DIRECTION_SCALE)


def _save(path: Path, model: CLIP, optimiser: torch.optim.Optimizer, names: Sequence[str], step: int) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in zip(names, model.parameters(), strict=True):
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = optimiser.state[parameter][moment].contiguous()
    aside = path.with_suffix(".part")
    save_file(tensors, aside, metadata={"step": str(step)})
    aside.rename(path)


def _resume(path: Path, model: CLIP, optimiser: torch.optim.Optimizer, names: Sequence[str]) -> int:
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        model.load_state_dict({name: file.get_tensor(f"model.{name}") for name in model.state_dict()})
        for name, parameter in zip(names, model.parameters(), strict=True):
            moments = {moment: file.get_tensor(f"{moment}.{name}") for moment in ("exp_avg", "exp_avg_sq")}
            optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


@torch.no_grad()
def top1(model: CLIP, faces: Faces, count: int, seed: int, held_out: bool = True) -> float:
    """Share of made-up faces whose own caption is the best of 16; the other 15 describe other looks drawn alike."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    tokenize = tokenizer(model)
    right = 0
    for number in range(count):
        index = number % len(faces.images)
        drawn: dict[str, tuple[Look, str]] = {}
        if rng.random() < 1 / 16:
            drawn[key(())] = ((), wrap([describe_look(NO_MAKEUP, rng)], rng, held_out))
        while len(drawn) < 16:
            look, caption = sample_look(rng, held_out)
            drawn.setdefault(key(look), (look, caption))
        looks = list(drawn.values())
        picture = centred(made_up(faces, index, [jitter(look_code(looks[0][0]), generator)]))
        image = model.encode_image(normalised(picture), normalize=True)
        texts = model.encode_text(tokenize([caption for _, caption in looks]), normalize=True)
        right += int((image @ texts.T).argmax()) == 0
    return right / count


def load_trained(work: Path) -> CLIP:
    model = build()
    with safe_open(work / "state.safetensors", "pt") as file:
        model.load_state_dict({name: file.get_tensor(f"model.{name}") for name in model.state_dict()})
    return model.eval()


def export(work: Path, out: Path) -> None:
    """Write float16 weights. Rows of words that the grammar never says were never trained and become 0."""
    model = load_trained(work)
    tensors = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }
    fresh = tensors["token_embedding.weight"]
    with safe_open(work / "state.safetensors", "pt") as file:
        trained = file.get_tensor("exp_avg_sq.token_embedding.weight").abs().sum(1) > 0
    fresh[~trained] = 0
    save_file(tensors, out, metadata={"format": "pt"})
    print(out, out.stat().st_size, "bytes,", int(trained.sum()), "tokens trained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("faces", type=Path)
    command.add_argument("work", type=Path)
    command.add_argument("--mesh-model", type=Path, required=True, help="face_landmark.tflite")
    command = commands.add_parser("train")
    command.add_argument("work", type=Path)
    command.add_argument("--steps", type=int, default=1800)
    command.add_argument("--rate", type=float, default=1.5e-3)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--threads", type=int, default=1)
    command = commands.add_parser("check")
    command.add_argument("work", type=Path)
    command.add_argument("--count", type=int, default=1000)
    command = commands.add_parser("export")
    command.add_argument("work", type=Path)
    command.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.faces, arguments.work, arguments.mesh_model)
    elif arguments.command == "train":
        train(arguments.work, arguments.steps, arguments.rate, arguments.seed, arguments.threads)
    elif arguments.command == "check":
        torch.set_num_threads(1)
        model = load_trained(arguments.work)
        for split in ("train", "val"):
            for held_out in (False, True):
                share = top1(model, load_faces(arguments.work, split), arguments.count, 7, held_out)
                print(f"{split} faces, {'held-out' if held_out else 'training'} phrasings: {100 * share:.1f} %")
    else:
        export(arguments.work, arguments.out)


if __name__ == "__main__":
    main()
