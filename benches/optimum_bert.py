"""Our bert graph against optimum's: `make test-optimum`, in an environment of its own.

optimum-onnx pins a transformers that this project's other tests cannot share. A random encoder is
exported by both, ours as a prefix-LM whose mask lets every token see all, and their token states
must agree within 1e-4.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from optimum.exporters.onnx import main_export
from similar_fast_export.bert_prefix import build_bert
from similar_fast_export.checkpoint import Checkpoint
from transformers import BertConfig, BertModel

TOLERANCE = 1e-4
BATCH, LENGTH = 3, 17


def main() -> int:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=128,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(5)
    with tempfile.TemporaryDirectory() as scratch:
        folder, theirs = Path(scratch, "ours"), Path(scratch, "theirs")
        model.save_pretrained(folder)
        spec = build_bert(Checkpoint(folder), folder, "fp32")
        main_export(str(folder), theirs, task="feature-extraction", library_name="transformers")
        ids = np.random.default_rng(0).integers(0, 200, (BATCH, LENGTH))
        expected = run(
            theirs / "model.onnx",
            {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
            },
        )
        past = np.zeros((BATCH, spec.num_kv_heads, 0, spec.head_dim), np.float32)
        names = [f"past.{layer}.{kind}" for layer in spec.layers for kind in ("key", "value")]
        ours = run(
            folder / "decoder.onnx",
            {
                "input_ids": ids,
                "position_ids": np.tile(np.arange(LENGTH), (1, BATCH, 1)),
                "mask": np.ones((BATCH, 1, LENGTH, LENGTH), bool),
                "score_index": np.arange(BATCH * LENGTH),
                **dict.fromkeys(names, past),
            },
        )
    worst = float(np.abs(ours.reshape(expected.shape) - expected).max())
    print(f"states of size {np.abs(expected).max():.2f}, at most {worst:.1e} apart")
    return 0 if worst < TOLERANCE else 1


def run(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    return session.run(None, {name: feeds[name] for name in wanted})[0]


if __name__ == "__main__":
    sys.exit(main())
