"""What a history-first prompt shares more than the published screen-first one: tokens, counted.

    PYTHONPATH=export:tests python benches/bench_layouts.py [--json]

Searches of 32 simulations on all recorded tasks, one model a layout with one state cache for all of
its searches. Counts are exact and need no quiet machine; the weights are random, so the two layouts
may choose differently, and the shares are what compares.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from reward_models import export_random
from similar_fast import RewardModel, Search
from similar_fast.envs import Recorded
from similar_fast.prompts.settings import LAYOUTS, PromptSettings
from similar_fast_export.reward_model import ExportOptions, export_reward_model


def count(folder: Path, num_simulations: int, num_tasks: int | None) -> dict[str, float]:
    """The tokens of all searches with the model in `folder`."""
    model = RewardModel(folder, providers="cpu", threads=1)
    recorded = Recorded.builtin()
    search = Search(model, num_simulations=num_simulations, seed=0)
    for task, seeds in list(recorded.tasks().items())[:num_tasks]:
        search.run(recorded, task, seed=seeds[0])
    stats = model.stats
    assert 0 < stats.tokens_run < stats.tokens_asked
    return {
        "scored_steps": stats.scored_steps,
        "tokens_asked": stats.tokens_asked,
        "tokens_run": stats.tokens_run,
        "share": stats.tokens_run / stats.tokens_asked,
        "hits": stats.states.hits,
        "partial_hits": stats.states.partial_hits,
        "misses": stats.states.misses,
    }


def measure(num_simulations: int, num_tasks: int | None = None) -> dict[str, dict[str, float]]:
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        export_random(root, "qwen2-64x3")
        for layout in LAYOUTS:
            out = root / layout
            asked = PromptSettings(layout=layout)
            options = ExportOptions(random_heads=0, prompt=asked)
            export_reward_model(root / "qwen2-64x3", out, options)
            found[layout] = count(out, num_simulations, num_tasks)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--num-simulations", type=int, default=32)
    args = parser.parse_args()
    found = measure(args.num_simulations)
    if args.json:
        print(json.dumps(found))
        return 0
    columns = list(found[LAYOUTS[0]])
    print(f"| layout | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for layout, counts in found.items():
        cells = [
            f"{value:.3f}" if name == "share" else str(value) for name, value in counts.items()
        ]
        print(f"| {layout} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
