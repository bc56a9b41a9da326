"""Options that say how a step is put to the backbone; training and exporting share them."""

import argparse

from similar_fast.cli.arguments import at_least_one
from similar_fast.prompts.settings import LAYOUTS, PromptSettings

__all__ = ["add_prompt_options", "prompt_settings"]


def add_prompt_options(group: argparse._ArgumentGroup) -> None:
    """Declares what becomes the settings; an option that is not given leaves its own as it is."""
    group.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="what stands first in the prompt (default: screen-first, as published)",
    )
    group.add_argument(
        "--mark-overlap",
        action="store_true",
        default=None,
        help="tell beside quoted names what they have in common with the instruction, which a "
        "small model sees badly",
    )
    group.add_argument(
        "--max-history",
        type=at_least_one,
        metavar="N",
        help="last actions that stand in the prompt (default: all that fit)",
    )


def prompt_settings(args: argparse.Namespace) -> PromptSettings | None:
    """The settings that `args` ask for; None where they ask for none."""
    given = {
        "layout": args.layout,
        "marks_overlap": args.mark_overlap,
        "max_history": args.max_history,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    return PromptSettings(**asked) if asked else None
