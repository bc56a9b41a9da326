"""The options of `similar-fast train`, and the settings that they make."""

import argparse
from typing import TYPE_CHECKING

from similar_fast.cli.arguments import words
from similar_fast.cli.prompt_options import add_prompt_options, prompt_settings
from similar_fast.prompts.settings import PromptSettings, read_prompt

if TYPE_CHECKING:
    from similar_fast.train.settings import TrainSettings

__all__ = ["add_options", "train_settings"]

_ROW_BATCH_STATES = 4  # of a backbone that is no bert: all rows of a step are held until its end
_ADAPTERS_RANK = 16  # of a backbone that is no bert, unless --lora-rank says otherwise


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declares what becomes the settings; the defaults are those that the settings have."""
    _add_split(parser.add_argument_group("what is held out"))
    _add_pairs(parser.add_argument_group("which labelled steps become pairs"))
    _add_finetuning(parser.add_argument_group("stage 0: the backbone"))
    _add_frozen(parser.add_argument_group("stages 1 and 2: on the frozen backbone"))
    _add_gate(parser.add_argument_group("stage 2: the gate"))
    _add_export(parser.add_argument_group("the model that is written"))


def _add_split(split: argparse._ArgumentGroup) -> None:
    split.add_argument(
        "--validation-tasks",
        type=words,
        default=[],
        metavar="NAMES",
        help="comma list of tasks that no stage sees and the model is measured on",
    )
    split.add_argument(
        "--validation-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the tasks, drawn where none is named; 0 trains on all and measures nothing",
    )
    split.add_argument(
        "--shuffle-labels",
        action="store_true",
        help="a control: labels are shuffled within each task first, and the model that comes out "
        "must be at chance",
    )
    split.add_argument("--seed", type=int, default=0, help="seeds all chance")


def _add_pairs(pairs: argparse._ArgumentGroup) -> None:
    pairs.add_argument(
        "--min-difference",
        type=float,
        default=2.0,
        metavar="D",
        help="of the totals 3 H + 5 OS + 5 E + TR + C, at least",
    )
    pairs.add_argument(
        "--min-rollouts",
        type=int,
        default=2,
        metavar="N",
        help="behind both labels at least; an action that ended its episode needs none",
    )
    pairs.add_argument(
        "--max-per-state",
        type=int,
        default=16,
        metavar="N",
        help="pairs of one state, those of the greatest differences",
    )
    pairs.add_argument(
        "--no-ending-pairs",
        action="store_true",
        help="do not compare the actions that ended one episode in different states, in no stage",
    )


def _add_finetuning(stage: argparse._ArgumentGroup) -> None:
    stage.add_argument(
        "--no-finetune",
        action="store_true",
        help="leave the backbone as it is, which is far quicker",
    )
    stage.add_argument(
        "--epochs", type=float, default=3.0, metavar="N", help="passes over the states with pairs"
    )
    stage.add_argument(
        "--learning-rate",
        type=float,
        default=1.5e-4,
        metavar="RATE",
        help="of the backbone; the heads' is five times it",
    )
    stage.add_argument(
        "--batch-states",
        type=int,
        metavar="N",
        help="states of a step at least (default: 12 for a bert, "
        f"{_ROW_BATCH_STATES} for every other family, which holds a row an action in memory)",
    )
    stage.add_argument(
        "--max-actions", type=int, default=12, metavar="N", help="actions of a state in a step"
    )
    stage.add_argument(
        "--plain-share",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="of the states without pairs, that a pass sees; fewer are quicker",
    )
    stage.add_argument(
        "--rename",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the states whose names are drawn anew, so that a small model matches names "
        "instead of learning them by heart",
    )
    stage.add_argument(
        "--average",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the steps, the last ones, whose weights are averaged instead of keeping the last",
    )
    stage.add_argument(
        "--lora-rank",
        type=int,
        metavar="R",
        help="rank of the adapters; 0 trains every weight (default: 0 for a bert, which takes no "
        f"other, and {_ADAPTERS_RANK} for every other family)",
    )
    stage.add_argument(
        "--freeze-embeddings",
        action="store_true",
        help="leave the tables of words and positions as they are: most of a small model's weights",
    )
    stage.add_argument(
        "--backbone-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights while they are trained; bfloat16 halves a large model's memory",
    )
    stage.add_argument(
        "--save-memory",
        action="store_true",
        help="compute activations again on the way back: slower, for large models",
    )
    stage.add_argument(
        "--save-every", type=int, default=100, metavar="N", help="steps between two checkpoints"
    )


def _add_frozen(stages: argparse._ArgumentGroup) -> None:
    stages.add_argument(
        "--feature-share",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="of the states, drawn, whose features are computed to fit the dimensions and the gate",
    )


def _add_gate(stage: argparse._ArgumentGroup) -> None:
    stage.add_argument(
        "--no-gate",
        action="store_true",
        help="leave the total the plain sum of the dimensions (the paper's Similar-RL)",
    )
    stage.add_argument("--gate-steps", type=int, default=2000, metavar="N", help="of the optimiser")
    stage.add_argument(
        "--gate-widths",
        type=_widths,
        metavar="N,...",
        help="of the hidden layers (default: 1024,1024,1024)",
    )
    stage.add_argument(
        "--gate-batch", type=int, default=1024, metavar="N", help="pairs a step; all if fewer"
    )
    stage.add_argument(
        "--gate-rate", type=float, default=1e-3, metavar="RATE", help="the first learning rate"
    )
    stage.add_argument(
        "--gate-scale",
        type=float,
        default=1.0,
        metavar="S",
        help="the sum of the weights at the start; 5 starts at the plain sum of the dimensions",
    )
    stage.add_argument(
        "--gate-best-by",
        choices=("loss", "accuracy"),
        default="loss",
        help="what the kept gate is best in, on tasks held out of its training",
    )


def _add_export(model: argparse._ArgumentGroup) -> None:
    model.add_argument(
        "--dtype",
        choices=("fp32", "fp16", "int8", "int4"),
        default="fp32",
        help="how its weights are stored; the trained checkpoint is kept, so that "
        "`similar-fast-export` can write another one later",
    )
    add_prompt_options(model)
    model.add_argument(
        "--lexical-prior",
        type=float,
        default=0.0,
        metavar="W",
        help="what the words that an action shares with the instruction count in task relevance: "
        "something to go by on tasks that a small model knows nothing of",
    )
    model.add_argument("--name", default="similar", help="what the model is called")
    model.add_argument(
        "--license", default="unknown", metavar="SPDX", help="the licence of its weights"
    )


def train_settings(args: argparse.Namespace, family: str) -> "TrainSettings":
    """The settings that `args` ask for, for a backbone of `family`."""
    from similar_fast.train.backbones import BackboneSettings
    from similar_fast.train.data import PairSettings
    from similar_fast.train.finetune_settings import FinetuneSettings
    from similar_fast.train.gate_settings import GateSettings
    from similar_fast.train.heads import GATE_WIDTHS
    from similar_fast.train.sampling import SamplingSettings
    from similar_fast.train.settings import ExportSettings, TrainSettings

    finetune = FinetuneSettings(
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        heads_rate=5 * args.learning_rate,
        ending_weight=0.0 if args.no_ending_pairs else FinetuneSettings().ending_weight,
        rename=args.rename,
        average=args.average,
        sampling=SamplingSettings(
            batch_states=_batch_states(args.batch_states, family),
            max_actions=args.max_actions,
            plain_share=args.plain_share,
        ),
        save_every=args.save_every,
    )
    rank = args.lora_rank
    return TrainSettings(
        finetune=None if args.no_finetune else finetune,
        gate=None
        if args.no_gate
        else GateSettings(
            widths=args.gate_widths or GATE_WIDTHS,
            steps=args.gate_steps,
            batch_size=args.gate_batch,
            learning_rate=args.gate_rate,
            scale=args.gate_scale,
            best_by=args.gate_best_by,
        ),
        pairs=PairSettings(
            min_difference=args.min_difference,
            min_rollouts=args.min_rollouts,
            across_endings=not args.no_ending_pairs,
            max_per_state=args.max_per_state,
        ),
        export=ExportSettings(
            dtype=args.dtype,
            prompt=prompt_settings(args) or read_prompt(args.backbone) or PromptSettings(),
            lexical_prior=args.lexical_prior,
            license_id=args.license,
            name=args.name,
        ),
        backbone=BackboneSettings(
            lora_rank=(0 if family == "bert" else _ADAPTERS_RANK) if rank is None else rank,
            freezes_embeddings=args.freeze_embeddings,
            dtype=args.backbone_dtype,
            saves_memory=args.save_memory,
        ),
        validation_tasks=tuple(args.validation_tasks),
        validation_share=args.validation_share,
        feature_share=args.feature_share,
        device=_device(args.device, family),
        shuffles_labels=args.shuffle_labels,
        seed=args.seed,
        data=tuple(path.name for path in args.data),
    )


def _batch_states(asked: int | None, family: str) -> int:
    from similar_fast.train.sampling import SamplingSettings

    if asked is not None:
        return asked
    return SamplingSettings().batch_states if family == "bert" else _ROW_BATCH_STATES


def _device(name: str, family: str) -> str:
    """`auto` is the first card where there is one and the family can use it."""
    if name != "auto":
        return name
    import torch

    return "cuda" if family != "bert" and torch.cuda.is_available() else "cpu"


def _widths(text: str) -> tuple[int, ...]:
    """`1024,1024` as numbers."""
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no comma list of widths") from None
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"the widths are {text}; expected each at least 1")
    return widths
