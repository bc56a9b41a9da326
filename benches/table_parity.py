"""How far every family is from transformers, float32: the table of benches/RESULTS.md.

    PYTHONPATH=export:tests python benches/table_parity.py [--json] [--seeds 3]

Tiny checkpoints with weights scaled up, exported, and held against transformers over random states
with pictures of four sizes, histories and texts. Vision is what the vision graph says of a picture;
for mllama that is keys and values, which stand below the table with their size, for they are large.
A nested tree is one run of six branches with grandchildren and pictures of their own. Fails beyond
1e-4.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import test_export_decoder
import torch
from PIL import Image
from similar_fast.processing.patches import cut_patches
from similar_fast.reward.model import RewardModel
from similar_fast_export.reference import Reference
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from similar_fast_export.verify import random_states
from transformers import AutoImageProcessor

TOLERANCE = 1e-4
COLUMNS = ("vision", "hidden", "prompt_hidden", "dims", "weights", "total")
SIZES = ((56, 56), (140, 252), (301, 117), (60, 90))


def errors(family: str, folder: Path, seeds: int) -> dict[str, float]:
    """The greatest difference of each kind; NaN where a family has none."""
    module = checkpoints.write_checkpoint(folder / "checkpoint", family)
    options = ExportOptions(random_heads=0)
    export_reward_model(folder / "checkpoint", folder / "model", options)
    model = RewardModel(folder / "model", providers="cpu", threads=1)
    reference = Reference(folder / "checkpoint", model.manifest)
    worst = dict.fromkeys(COLUMNS, 0.0)
    worst["vision"] = vision_error(model, module, folder / "checkpoint")
    reward = model.manifest.reward
    assert reward is not None
    has_vision = bool(reward.patches or reward.tiles)
    for seed in range(seeds):
        for steps in random_states(seed, has_vision=has_vision):
            features, scores = reference.features(steps), model.score(steps)
            expected, found = model.judge(*features), model.features(steps)
            pairs = {
                "hidden": (found[0], features[0]),
                "prompt_hidden": (found[1], features[1]),
                **{name: (getattr(scores, name), getattr(expected, name)) for name in COLUMNS[3:]},
            }
            for name, (ours, theirs) in pairs.items():
                worst[name] = max(worst[name], float(np.abs(ours - theirs).max()))
    return worst


@torch.no_grad()
def vision_error(model: RewardModel, module: Any, checkpoint: Path) -> float:  # noqa: ANN401  # transformers'
    reward = model.manifest.reward
    if reward is None or reward.patches is None:
        return float("nan")
    processor = AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
    rng = np.random.default_rng(0)
    worst = 0.0
    for width, height in SIZES:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        inputs = processor(images=[picture], return_tensors="pt")
        theirs = module.model.get_image_features(**inputs).pooler_output[0].numpy()
        ours = model._backbone.see(cut_patches(picture, reward.patches).feeds)  # noqa: SLF001  # one graph of it
        worst = max(worst, float(np.abs(ours["image_embeds"] - theirs).max()))
    return worst


@torch.no_grad()
def cross_error(folder: Path) -> tuple[float, float]:
    """mllama: the greatest difference of a picture's keys and values, and their greatest size."""
    module = checkpoints.write_checkpoint(folder / "checkpoint", "mllama")
    export_reward_model(folder / "checkpoint", folder / "model", ExportOptions(random_heads=0))
    model = RewardModel(folder / "model", providers="cpu", threads=1)
    reference = Reference(folder / "checkpoint", model.manifest).model
    processor = AutoImageProcessor.from_pretrained(folder / "checkpoint", backend="pil")
    rng = np.random.default_rng(0)
    worst = size = 0.0
    for width, height in ((56, 56), (100, 40), (120, 130)):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        inputs = processor(images=[picture], return_tensors="pt")
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        seen = reference.vision_model(**{name: inputs[name] for name in names}).last_hidden_state
        states = reference.multi_modal_projector(seen.flatten(0, 3))
        ours = model._vision.run(picture)  # noqa: SLF001  # one graph of it
        for layer in module.config.text_config.cross_attention_layers:
            cross = reference.language_model.layers[layer].cross_attn
            shape = (1, -1, cross.num_key_value_heads, cross.head_dim)
            for kind in ("key", "value"):
                theirs = getattr(cross, f"{kind[0]}_proj")(states).view(shape).transpose(1, 2)
                theirs = cross.k_norm(theirs) if kind == "key" else theirs
                found = ours[f"cross.{layer}.{kind}"]
                worst = max(worst, float(np.abs(found - theirs.numpy()).max()))
                size = max(size, float(theirs.abs().max()))
    return worst, size


def nested_error(folder: Path) -> float:
    runner = test_export_decoder.Runner.make(folder, checkpoints.qwen2_vl(folder))
    return max(test_export_decoder.nested_tree_errors(runner))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    found = {}
    for family in checkpoints.FAMILIES:
        with tempfile.TemporaryDirectory() as scratch:
            found[family] = errors(family, Path(scratch), args.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        nested = nested_error(Path(scratch))
    with tempfile.TemporaryDirectory() as scratch:
        cross, cross_size = cross_error(Path(scratch))
    if args.json:
        print(json.dumps({**found, "nested_tree": nested, "cross": [cross, cross_size]}))
    else:
        print(f"| family | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}")
        for family, worst in found.items():
            cells = ["" if np.isnan(error) else f"{error:.1e}" for error in worst.values()]
            print(f"| {family} | {' | '.join(cells)} |")
        print(f"\na nested tree with pictures in its branches (qwen2_vl): {nested:.1e}")
        print(f"a picture's keys and values (mllama): {cross:.1e}, of size {cross_size:.0f}")
    every = [error for worst in found.values() for error in worst.values()]
    return 0 if np.nanmax([*every, nested]) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
