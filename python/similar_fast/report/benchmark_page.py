"""One HTML file that shows an evaluation: tables, the five dimensions, calibration, misses.

The page is `benchmark.html`. It holds no script, and its content security policy allows none; what
comes from the data stands in it as escaped text.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from similar_fast.files.whole_file import write_whole
from similar_fast.report import benchmark_parts as parts
from similar_fast.report.page import escaped, fill
from similar_fast.srm.evaluate.evaluation import Comparison, Evaluation

__all__ = ["render_benchmark", "write_benchmark"]


def write_benchmark(
    evaluation: Evaluation,
    path: str | Path,
    *,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    comparison: Comparison | None = None,
) -> Path:
    """Writes the page of `evaluation` to `path` and returns the path.

    The file appears whole or not at all; one that was there before is replaced.

    Args:
        evaluation: What is shown.
        path: The HTML file. Its folder must exist.
        facts: What else the reader should know, such as the data's name.
        notes: What limits the result, a sentence each.
        comparison: With a second scorer, whose first is `evaluation`.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
    """
    page = render_benchmark(evaluation, facts=facts, notes=notes, comparison=comparison)
    return write_whole(path, page.encode("ascii"))


def render_benchmark(
    evaluation: Evaluation,
    *,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    comparison: Comparison | None = None,
) -> str:
    """The page as one HTML document of ASCII characters; arguments as `write_benchmark`."""
    shown = [evaluation] if comparison is None else [evaluation, comparison.second]
    items = [*notes, *(f"{n:,} pairs without a score: {why}" for why, n in evaluation.reasons())]
    if evaluation.signs:
        signs = ", ".join(f"{kind} {sign:+d}" for kind, sign in evaluation.signs.items())
        items.append(f"Signs fitted on the train split: {signs}.")
    notes_list = "".join(f"<li>{escaped(item)}</li>" for item in items)
    return fill(
        "benchmark.html",
        {
            "title": escaped(evaluation.name),
            "facts": parts.facts_list(facts or {}),
            "verdict": parts.verdict(evaluation),
            "figures": parts.figures(evaluation),
            "notes": f'<ul class="notes">{notes_list}</ul>' if items else "",
            "types": parts.types_table(evaluation),
            "radar": parts.radar_part(shown),
            "calibration": parts.calibration_part(evaluation),
            "platforms": parts.platforms_part(evaluation),
            "comparison": parts.comparison_part(comparison),
            "misses": parts.misses_part(evaluation.misses),
        },
    )
