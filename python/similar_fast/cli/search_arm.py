"""Who plays in `similar-fast search`: an arm's settings, its name and its scorer."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from similar_fast.cli.search_options import search_settings
from similar_fast.errors import ModelError

if TYPE_CHECKING:
    from similar_fast.protocols import Scorer

__all__ = ["SCORERS", "WITH_DIMENSIONS", "WITH_MODEL", "arm_name", "arm_settings", "make_scorer"]

SCORERS = ("embedding", "reward", "lexical", "constant", "random")
"""What `--scorer` can name."""

WITH_MODEL = ("embedding", "reward")
"""Those of them that load a model."""

WITH_DIMENSIONS = ("reward",)
"""Those of them whose scores have the five dimensions."""


def arm_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The arm and every setting that changes what is played, by name, in the order of its name."""
    place = args.env
    if args.recordings is not None:
        place += f":{args.recordings.name}"
    settings = {"arm": args.arm}
    if args.arm != "random":
        settings["scorer"] = _scorer_name(args)
    if args.arm == "search":
        settings |= search_settings(args)
    elif args.arm != "random":
        settings |= {"temperature": args.temperature, "guard": args.guard}
    return settings | {"env": place, "max_steps": args.max_steps, "seed": args.seed}


def arm_name(settings: Mapping[str, Any]) -> str:
    """The default name of an arm with these settings, of all of them."""
    words = [_word(name, value) for name, value in settings.items() if name != "arm"]
    return f"{settings['arm']}({','.join(words)})"


def _word(name: str, value: Any) -> str:  # noqa: ANN401  # whatever an option can be
    """A setting as it stands in a name."""
    if name == "scorer":
        return str(value)
    if name == "temperature":
        return f"temperature={value:g}" if value else "argmax"
    if name == "guard":
        return "guard" if value else "no-guard"
    if name == "weights" and value is not None:
        return f"weights={':'.join(map(repr, value))}"
    return f"{name}={value}"


def _scorer_name(args: argparse.Namespace) -> str:
    """The scorer, and of a model which one."""
    scorer = "lexical" if args.arm == "heuristic" else str(args.scorer)
    return f"{scorer}:{_model_digest(args)}" if scorer in WITH_MODEL else scorer


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
    from similar_fast.models.shipped import reward_folder, shipped_model

    is_reward = args.scorer == "reward"
    folder = reward_folder(args.model) if is_reward else args.model or shipped_model("embedding")
    manifest = read_manifest(folder, verify=False)
    name = "model.onnx" if args.scorer == "embedding" else "decoder.onnx"
    found = [file.sha256 for file in manifest.files if file.name == name]
    if not found:
        raise ModelError(f"{folder} has no {name}; expected a model for --scorer {args.scorer}")
    return found[0][:8]
