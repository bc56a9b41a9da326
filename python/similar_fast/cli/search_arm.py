"""Who plays in `similar-fast search`: the name of an arm, and its scorer."""

import argparse
from typing import TYPE_CHECKING

from similar_fast.cli.search_options import search_name
from similar_fast.errors import ModelError

if TYPE_CHECKING:
    from similar_fast.protocols import Scorer

__all__ = ["SCORERS", "WITH_MODEL", "arm_name", "make_scorer"]

SCORERS = ("embedding", "reward", "lexical", "constant", "random")
"""What `--scorer` can name."""

WITH_MODEL = ("embedding", "reward")
"""Those of them that load a model."""


def arm_name(args: argparse.Namespace) -> str:
    """The arm and every setting that changes what is played."""
    place = args.env
    if args.recordings is not None:
        place += f":{args.recordings.name}"
    common = f"env={place},max_steps={args.max_steps},seed={args.seed}"
    if args.arm == "random":
        return f"random({common})"
    scorer = "lexical" if args.arm == "heuristic" else args.scorer
    if scorer in WITH_MODEL:
        scorer += f":{_model_digest(args)}"
    if args.arm == "search":
        return f"search({scorer},{search_name(args)},{common})"
    pick = f"temperature={args.temperature:g}" if args.temperature else "argmax"
    guard = "guard" if args.guard else "no-guard"
    return f"{args.arm}({scorer},{pick},{guard},{common})"


def make_scorer(args: argparse.Namespace) -> "Scorer":
    """The scorer that the options ask for."""
    from similar_fast import baselines
    from similar_fast.embedding import EmbeddingScorer

    if args.arm == "heuristic" or args.scorer == "lexical":
        return baselines.LexicalScorer()
    if args.scorer == "constant":
        return baselines.ConstantScorer()
    if args.scorer == "random":
        return baselines.RandomScorer(args.seed)
    if args.scorer == "reward":
        from similar_fast.reward.model import RewardModel

        return RewardModel(args.model)
    return EmbeddingScorer(args.model)


def _model_digest(args: argparse.Namespace) -> str:
    """The first characters of the SHA-256 of the model that will be loaded."""
    from similar_fast.models.manifest import read_manifest
    from similar_fast.models.shipped import shipped_model

    folder = args.model or shipped_model(args.scorer)
    manifest = read_manifest(folder, verify=False)
    name = "model.onnx" if args.scorer == "embedding" else "decoder.onnx"
    found = [file.sha256 for file in manifest.files if file.name == name]
    if not found:
        raise ModelError(f"{folder} has no {name}; expected a model for --scorer {args.scorer}")
    return found[0][:8]
