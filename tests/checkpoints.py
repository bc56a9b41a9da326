"""Tiny checkpoints with weights so great that the models are far from linear."""

from pathlib import Path

import torch
from transformers import (
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

IMAGE_TOKEN, VISION_START, VISION_END, VOCABULARY = 250, 248, 249, 256

TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
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
        video_token_id=251,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )
    return save(Qwen2VLForConditionalGeneration(config), folder, seed)


def save(model: PreTrainedModel, folder: Path, seed: int) -> PreTrainedModel:
    """Draws the weights anew, writes the checkpoint and returns the model, ready to be asked."""
    scale_weights(model, seed)
    model.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def scale_weights(model: PreTrainedModel, seed: int) -> None:
    """Matrices N(0, 2.5^2 / inputs), biases N(0, 0.1^2), norms 1 + N(0, 0.2^2)."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        draws = torch.randn(weight.shape, generator=generator)
        if weight.dim() > 1:
            weight.copy_(draws * 2.5 * weight[0].numel() ** -0.5)
        else:
            weight.copy_(draws * 0.1 if name.endswith("bias") else 1 + draws * 0.2)
