"""Tiny checkpoints with weights so great that the models are far from linear."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from prompt_checkpoints import LLAMA_CONTROLS, QWEN_CONTROLS, save_checkpoint
from similar_fast.processing.tiles import arrangements
from transformers import (
    BertConfig,
    BertModel,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

# Tiny products on few cores wait for each other's threads far longer than they take.
torch.set_num_threads(1)

IMAGE_TOKEN, VISION_START, VISION_END = (
    QWEN_CONTROLS.index(f"<|{name}|>") for name in ("image_pad", "vision_start", "vision_end")
)
VOCABULARY = 704
"""Rows of the word tables; the tokenizers have at most 700 tokens."""

TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6,
}


def qwen2(folder: Path, seed: int = 0) -> PreTrainedModel:
    """Writes a text model; its hidden states are 64 wide, its heads 8."""
    config = Qwen2Config(**TEXT, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    return save(Qwen2ForCausalLM(config), folder, seed)


def qwen2_vl(folder: Path, seed: int = 0) -> PreTrainedModel:
    """Writes a model with vision; M-RoPE sections 1, 1 and 2."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": 64, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE_TOKEN,
        video_token_id=QWEN_CONTROLS.index("<|video_pad|>"),
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )
    write_preprocessor(folder, "Qwen2VLImageProcessor")
    return save(Qwen2VLForConditionalGeneration(config), folder, seed)


def qwen2_5_vl(folder: Path, seed: int = 0) -> PreTrainedModel:
    """Writes a model whose vision has windows of 2 x 2 tokens and one block without."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 40,
        "num_heads": 2,
        "out_hidden_size": 64,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config=vision,
        image_token_id=IMAGE_TOKEN,
        video_token_id=QWEN_CONTROLS.index("<|video_pad|>"),
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )
    write_preprocessor(folder, "Qwen2VLImageProcessor")
    return save(Qwen2_5_VLForConditionalGeneration(config), folder, seed)


def write_preprocessor(folder: Path, processor: str, **settings: object) -> None:
    """Writes `preprocessor_config.json` as the Qwen checkpoints have it, for small pictures."""
    record = {
        "image_processor_type": processor,
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "min_pixels": 56 * 56,
        "max_pixels": 28 * 28 * 60,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        **settings,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(record), encoding="utf-8")


def bert(folder: Path, seed: int = 0, **changes: int) -> PreTrainedModel:
    """Writes an encoder; its states are 64 wide, its heads 16, unless `changes` say otherwise."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
    }
    config = BertConfig(**sizes | changes)
    return save(BertModel(config, add_pooling_layer=False), folder, seed)


def mllama(folder: Path, seed: int = 0) -> PreTrainedModel:
    """Writes a model of four tiles at most, 17 states each; layers 1 and 3 of 5 read them."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    text = {**TEXT, "vocab_size": VOCABULARY - 8, "num_hidden_layers": 5, "rope_parameters": rope}
    vision = {
        "hidden_size": 32,
        "attention_heads": 2,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_global_layers": 2,
        "intermediate_layers_indices": [1, 2],
        "vision_output_dim": 96,
        "image_size": 56,
        "patch_size": 14,
        "max_num_tiles": 4,
        "supported_aspect_ratios": [list(pair) for pair in arrangements(4)],
    }
    config = MllamaConfig(
        text_config={**text, "cross_attention_layers": [1, 3], "pad_token_id": 0},
        vision_config=vision,
        image_token_index=LLAMA_CONTROLS.index("<|image|>"),
    )
    settings = {"size": {"height": 56, "width": 56}, "max_image_tiles": 4}
    write_preprocessor(folder, "MllamaImageProcessor", **settings)
    return save(MllamaForConditionalGeneration(config), folder, seed)


FAMILIES: dict[str, Callable[[Path, int], PreTrainedModel]] = {
    "bert": bert,
    "qwen2": qwen2,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "mllama": mllama,
}


def write_checkpoint(folder: Path, family: str, seed: int = 0) -> PreTrainedModel:
    """A whole checkpoint: configuration, weights, tokenizer, chat template, preprocessor."""
    save_checkpoint(folder, "qwen2_vl" if family == "qwen2_5_vl" else family)
    return FAMILIES[family](folder, seed)


def save(model: PreTrainedModel, folder: Path, seed: int) -> PreTrainedModel:
    """Draws the weights anew, writes the checkpoint and returns the model, ready to be asked."""
    scale_weights(model, seed)
    model.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def scale_weights(model: PreTrainedModel, seed: int) -> None:
    """Draws every weight.

    Matrices N(0, 2.5^2 / inputs), biases N(0, 0.1^2), norms 1 + N(0, 0.2^2), gates N(0.7, 0.5^2).
    A vision tower has 1.5^2: its states have no norm at the end, and rounding grows with them.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        draws = torch.randn(weight.shape, generator=generator)
        if "gate" in name.rpartition(".")[2]:
            weight.copy_(draws * 0.5 + 0.7)
        elif weight.dim() > 1:
            gain = 1.5 if "visual." in name or "vision_model." in name else 2.5
            weight.copy_(draws * gain * weight[0].numel() ** -0.5)
        else:
            weight.copy_(draws * 0.1 if name.endswith("bias") else 1 + draws * 0.2)
