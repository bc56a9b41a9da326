"""`similar-fast doctor`: what is installed, what works, and what to do about what does not."""

import argparse
import importlib.metadata
import os
import platform
import sys
from dataclasses import asdict, dataclass

from similar_fast._core import __version__
from similar_fast.cli.arguments import add_miniwob_arguments
from similar_fast.cli.output import Output
from similar_fast.errors import SimilarFastError

__all__ = ["add_parser", "run"]

_DISTRIBUTIONS = ("numpy", "onnxruntime", "onnxruntime-gpu", "tokenizers", "miniwob", "playwright")


@dataclass(frozen=True, slots=True)
class _Finding:
    """One line of the doctor's report; `state` is `ok`, `absent` (optional) or `fault`."""

    name: str
    state: str
    detail: str


def add_parser(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    shared: argparse.ArgumentParser,
) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "doctor",
        parents=[shared],
        help="versions, providers, browser, cores; what is missing and how to get it",
        description="Exit code 1 if anything is at fault; what is optional and absent is no fault.",
    )
    parser.set_defaults(run=run)
    add_miniwob_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Looks at everything a command may need."""
    findings = [
        _Finding("similar-fast", "ok", __version__),
        _Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"),
        _Finding(
            "cores",
            "ok",
            str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()),
        ),
        *(_distribution(name) for name in _DISTRIBUTIONS),
        _inference(),
        _reward_model(),
        _embedding_model(),
        _default_scorer(),
        _browser(args.chromium),
    ]
    output.table(
        "doctor", ("what", "state", "detail"), [(f.name, f.state, f.detail) for f in findings]
    )
    output.document([asdict(finding) for finding in findings])
    return 1 if any(finding.state == "fault" for finding in findings) else 0


def _distribution(name: str) -> _Finding:
    try:
        return _Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _Finding(name, "absent", "not installed")


def _inference() -> _Finding:
    from similar_fast.models.runtime import available_providers

    try:
        return _Finding("inference", "ok", ", ".join(available_providers()))
    except (SimilarFastError, ImportError) as error:
        return _Finding("inference", "fault", str(error))


def _reward_model() -> _Finding:
    from similar_fast.reward.model import RewardModel

    try:
        model = RewardModel()
    except (SimilarFastError, ImportError) as error:
        return _Finding("reward model", "fault", str(error))
    manifest = model.manifest
    return _Finding("reward model", "ok", f"{manifest.source}, runs on {model.providers[0]}")


def _default_scorer() -> _Finding:
    """What a `Search` without a scorer would take; it is not opened."""
    from similar_fast.default_scorer import find_default_scorer, origin_of

    try:
        entry = find_default_scorer()
    except SimilarFastError as error:
        return _Finding("default scorer", "absent", str(error))
    return _Finding("default scorer", "ok", f"{entry.value} of {origin_of(entry)}")


def _embedding_model() -> _Finding:
    from similar_fast.embedding import EmbeddingScorer

    try:
        scorer = EmbeddingScorer()
    except (SimilarFastError, ImportError) as error:
        return _Finding("embedding model", "fault", str(error))
    return _Finding("embedding model", "ok", f"runs on {scorer.providers[0]}")


def _browser(executable: str | None) -> _Finding:
    from similar_fast.envs.browser import Browser

    try:
        with Browser(executable=executable) as browser:
            return _Finding("browser", "ok", browser.version)
    except (SimilarFastError, ImportError) as error:
        return _Finding("browser", "absent", str(error))
