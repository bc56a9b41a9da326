"""Reward models for the benches: random weights of named sizes, tokenizers trained on MiniWoB.

Wants `export` and `tests` in PYTHONPATH, torch and transformers.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from checkpoints import TEXT, bert, save
from prompt_checkpoints import QWEN_CONTROLS, save_checkpoint
from similar_fast.envs.recorded import Recorded
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from tokenizers import Tokenizer, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM

__all__ = ["SIZES", "export_checkpoint", "export_random"]

_VOCABULARY = 2048
_BERT_CONTROLS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Hidden size, layers, heads, and the width of the MLP.
SIZES = {
    "qwen2-64x3": (64, 3, 4, 96),
    "qwen2-256x4": (256, 4, 8, 1024),
    "bert-64x3": (64, 3, 4, 96),
    "bert-384x6": (384, 6, 12, 1536),
}


def export_random(folder: Path, size: str, *, seed: int = 0) -> Path:
    """The exported model `size`, a key of `SIZES`; its checkpoint lies beside it."""
    family = size.partition("-")[0]
    checkpoint = save_checkpoint(folder / size, family)
    _train_tokenizer(checkpoint / "tokenizer.json", family)
    hidden, layers, heads, wide = SIZES[size]
    sizes = {
        "vocab_size": _VOCABULARY,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": wide,
    }
    if family == "bert":
        bert(checkpoint, seed, **sizes)
    else:
        rope = {"rope_type": "default", "rope_theta": 1e4}
        config = Qwen2Config(**TEXT | sizes, rope_parameters=rope)
        save(Qwen2ForCausalLM(config), checkpoint, seed)
    return export_checkpoint(checkpoint, folder / f"{size}-model")


def export_checkpoint(checkpoint: Path, out: Path) -> Path:
    """The model of a checkpoint with heads that are drawn at random, float32."""
    export_reward_model(checkpoint, out, ExportOptions(random_heads=0))
    return out


def _train_tokenizer(path: Path, family: str) -> None:
    """Trains the checkpoint's tokenizer anew, so that a prompt is as long as with a real one."""
    tokenizer = Tokenizer.from_file(str(path))
    if family == "bert":
        trainer = trainers.WordPieceTrainer(
            vocab_size=_VOCABULARY, special_tokens=_BERT_CONTROLS, show_progress=False
        )
    else:
        record = json.loads(path.read_text(encoding="utf-8"))
        # The trainer numbers the control tokens from 0; any other would keep its old number.
        record["added_tokens"] = record["added_tokens"][: len(QWEN_CONTROLS)]
        tokenizer = Tokenizer.from_str(json.dumps(record))
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=QWEN_CONTROLS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(_screens(), trainer)
    tokenizer.save(str(path))


def _screens() -> Iterator[str]:
    """What stands on the first screens of the recorded tasks, and what can be done there."""
    env = Recorded.builtin()
    for task, seeds in env.tasks().items():
        for seed in seeds:
            screen = env.reset(task, seed=seed)
            yield from (screen.instruction, screen.text, *map(str, env.candidates()))
