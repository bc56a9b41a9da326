"""Success of several arms from their episode logs: macro averages with bootstrap intervals.

    python benches/table_success.py runs/*.jsonl [--against ARM] [--json]

In each group every arm is read on the (task, seed) pairs that all arms with rows there have; what
is left out for that, whole arms included, is printed. `uplift/macro.py` says what the average and
its interval are. A trained model beside its baselines, its training seeds and its goals:
`python benches/uplift table`.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from similar_fast.search.episodes import EpisodeLog
from uplift.macro import Draws, common_seeds, interval
from uplift.table import GROUPS

Outcomes = dict[str, dict[tuple[str, int], tuple[bool, int, int]]]


def read(paths: list[Path]) -> Outcomes:
    """By arm, then by (task, seed): success, env steps, resets."""
    outcomes: Outcomes = defaultdict(dict)
    for path in paths:
        log = EpisodeLog.read_only(path)
        for episode in log:
            key = (episode.task, episode.seed)
            outcomes[episode.arm][key] = (episode.success, episode.env_steps, episode.resets)
    return outcomes


def in_group(outcomes: Outcomes, group: str) -> Outcomes:
    """The rows of the group's tasks; arms without any are left out."""
    rows = {
        arm: {key: row for key, row in found.items() if key[0] in GROUPS[group]}
        for arm, found in outcomes.items()
    }
    return {arm: found for arm, found in rows.items() if found}


def table(outcomes: Outcomes, group: str, against: str | None) -> list[dict[str, object]]:
    outcomes = in_group(outcomes, group)
    seeds = common_seeds(outcomes.values())
    if not seeds:
        return []
    draws = Draws(seeds)
    pairs = [(task, seed) for task, numbers in seeds.items() for seed in numbers]
    solved = {
        arm: {pair: row[0] for pair, row in results.items()} for arm, results in outcomes.items()
    }
    base = draws.macro([solved[against]]) if against in solved else None
    rows: list[dict[str, object]] = []
    for arm, results in outcomes.items():
        mean, replicates = draws.macro([solved[arm]])
        row: dict[str, object] = {
            "group": group,
            "arm": arm,
            "n": len(pairs),
            "left_out": len(results) - len(pairs),
            "success": mean,
            "interval": interval(replicates),
            "env_steps": float(np.mean([results[pair][1] for pair in pairs])),
            "resets": float(np.mean([results[pair][2] for pair in pairs])),
        }
        if base is not None and arm != against:
            row["difference"] = mean - base[0]
            row["difference_interval"] = interval(replicates - base[1])
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--against", metavar="ARM", help="pair every arm with this one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    outcomes = read(args.logs)
    if not outcomes:
        parser.error("the logs hold no episode")
    if args.against is not None and args.against not in outcomes:
        parser.error(f"no arm {args.against!r}; there are {sorted(outcomes)}")
    rows = [row for group in GROUPS for row in table(outcomes, group, args.against)]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print("| tasks | arm | n | success % [95%] | against base | env steps | resets |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]  # type: ignore[misc]  # a pair by construction
        change = ""
        if "difference" in row:
            below, above = row["difference_interval"]  # type: ignore[misc]  # as above
            change = f"{row['difference']:+.1f} [{below:+.1f}, {above:+.1f}]"
        print(
            f"| {row['group']} | {row['arm']} | {row['n']} "
            f"| {row['success']:.1f} [{low:.1f}, {high:.1f}] | {change} "
            f"| {row['env_steps']:.1f} | {row['resets']:.1f} |"
        )
    for group in GROUPS:
        shown = {row["arm"]: row["left_out"] for row in rows if row["group"] == group}
        there = in_group(outcomes, group)
        left = {a: len(found) if a not in shown else shown[a] for a, found in there.items()}
        if any(left.values()):
            print(f"\n{group}: left out because not every arm has them: {left}")
        if absent := sorted(set(outcomes) - set(there)):
            print(f"\n{group}: no rows of {absent}")


if __name__ == "__main__":
    main()
