"""The models of the distribution `similar-fast-mini`: a folder each, data and no code."""

import importlib.resources
from pathlib import Path
from typing import Literal

from similar_fast.errors import ModelError

__all__ = ["REWARD_NAME", "reward_folder", "shipped_model"]

REWARD_NAME = "similar-mini"
"""What the shipped reward model is called."""


def reward_folder(folder: str | Path | None = None) -> Path:
    """The folder of a reward model: `folder`, or the one that ships.

    Args:
        folder: None, or `similar-mini` where no folder here is called so, for the one that ships.

    Raises:
        ModelError: As `shipped_model`.
    """
    if folder is None or (str(folder) == REWARD_NAME and not Path(folder).exists()):
        return shipped_model("reward")
    return Path(folder)


def shipped_model(kind: Literal["embedding", "reward"]) -> Path:
    """The folder of a model in the installed package `similar_fast_mini`.

    Args:
        kind: `embedding` for the text encoder of `EmbeddingScorer`, `reward` for the model of
            `RewardModel`, which is called similar-mini.

    Raises:
        ModelError: The package is not installed, or is of a version without that model.
    """
    try:
        folder = Path(str(importlib.resources.files("similar_fast_mini") / kind))
    except ModuleNotFoundError as err:
        raise ModelError(
            "no model was named and the package similar_fast_mini, which holds the default one, "
            "is not installed; `pip install similar-fast-mini`, or name a model's folder"
        ) from err
    if not folder.is_dir():
        raise ModelError(
            f"no model was named and the installed similar_fast_mini has no folder {kind}; "
            "`pip install --upgrade similar-fast-mini`, or name a model's folder"
        )
    return folder
