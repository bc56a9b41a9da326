"""Arguments that several commands take, and how they are read."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from math import isfinite
from pathlib import Path

from similar_fast.errors import EnvError

__all__ = [
    "ExamplesFormatter",
    "HelpFormatter",
    "add_device_arguments",
    "add_llm_arguments",
    "add_miniwob_arguments",
    "add_model_arguments",
    "at_least_one",
    "check_llm_arguments",
    "dimension_weights",
    "miniwob_tasks",
    "seeds",
    "words",
]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells a default where it says something: a number, a word, a path."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool | list):
            return action.help
        return super()._get_help_string(action)


class ExamplesFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of examples and lists as they are."""


def seeds(text: str) -> list[int]:
    """`2000-2019`, `7`, or a comma list of both, as a list of seeds without repeats."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{part!r} is no seed and no range such as 2000-2019"
            ) from None
        if high < low:
            raise argparse.ArgumentTypeError(f"the range {part!r} runs backwards")
        numbers.extend(range(low, high + 1))
    return list(dict.fromkeys(numbers))


def at_least_one(text: str) -> int:
    """A count, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1; expected at least 1")
    return value


def words(text: str) -> list[str]:
    """A comma list as a list of words."""
    found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected at least one name")
    return list(dict.fromkeys(found))


def dimension_weights(text: str) -> tuple[float, ...]:
    """Five numbers in a comma list, in the order of the dimensions: H, OS, E, TR, C."""
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no comma list of numbers") from None
    if len(weights) != 5 or not all(map(isfinite, weights)):
        raise argparse.ArgumentTypeError(f"expected 5 finite numbers H,OS,E,TR,C, got {text!r}")
    return weights


def miniwob_tasks(names: Sequence[str]) -> list[str]:
    """The tasks that `names` stand for: themselves, or `train`, `held-out` and `all` of the tables.

    Raises:
        EnvError: A task is unknown.
        ImportError: The `envs` extra is not installed.
    """
    from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS, tasks

    groups = {
        "train": TRAIN_TASKS,
        "held-out": HELD_OUT_TASKS,
        "all": (*TRAIN_TASKS, *HELD_OUT_TASKS),
    }
    found = list(dict.fromkeys(task for name in names for task in groups.get(name, (name,))))
    known = tasks()
    if unknown := [task for task in found if task not in known]:
        close = ", ".join(get_close_matches(unknown[0], known, n=3)) or "none"
        raise EnvError(f"miniwob has no task {unknown[0]!r}; close: {close}")
    return found


def add_miniwob_arguments(parser: argparse._ActionsContainer) -> None:
    """Which browser a command drives."""
    parser.add_argument(
        "--chromium",
        metavar="PATH",
        help="the Chromium to run (default: SIMILAR_FAST_CHROMIUM, then what is on the PATH)",
    )


def add_llm_arguments(parser: argparse._ActionsContainer) -> None:
    """Which language model a command asks."""
    parser.add_argument(
        "--llm-url",
        metavar="URL",
        help="an OpenAI-compatible server, such as http://localhost:8000/v1; the key is taken from "
        "OPENAI_API_KEY",
    )
    parser.add_argument("--llm-model", metavar="NAME", help="the model's name at that server")


def check_llm_arguments(args: argparse.Namespace, *, is_asked: bool, option: str) -> None:
    """Refuses a language model that is named for nothing, or asked for and not named.

    Raises:
        ValueError: With the option's name.
    """
    named = args.llm_url is not None and args.llm_model is not None
    if is_asked and not named:
        raise ValueError(f"{option} llm needs a language model: --llm-url URL --llm-model NAME")
    if not is_asked and (args.llm_url is not None or args.llm_model is not None):
        raise ValueError(f"--llm-url and --llm-model have no effect without {option} llm")


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """Which reward model a command runs, and where."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="what similar-fast-export wrote (default: similar-mini, of the package "
        "similar-fast-mini)",
    )
    add_device_arguments(parser)


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Where a model runs, and how exactly."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1 for the second card, or a provider of onnxruntime; what is "
        "named and cannot be had is an error",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads on the CPU")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="a score's bits depend on its own step alone; slower",
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="do not compare the model's files with their sha256",
    )
