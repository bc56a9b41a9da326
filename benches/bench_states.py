"""Several states at once: a run each, rows padded to one length, or one packed forest.

    python benches/bench_states.py [--json] [--repeats 7]

G states of P tokens, whose keys and values are known, with N candidates of s tokens each, through
the model of `bench_prefix.py`, float32, one thread. What stands in the pasts' place is copied
together inside the timer, as a runtime would have to. All ways must agree within 1e-3. And the
prefixes themselves, cold: a run each, or one run of G rows.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

import numpy as np
from bench_prefix import SIZES, VOCABULARY, Arm, Models, make_models, measure
from similar_fast.reward.backbone import Row

CASES = ((2, 256, 4, 16), (4, 256, 4, 16), (4, 256, 16, 16), (4, 1024, 4, 16))
ARMS = ("a run each", "padded rows", "packed forest", "prefixes, a run each", "prefixes, rows")


class States:
    """G states with their candidates, as arrays."""

    def __init__(self, models: Models, case: tuple[int, int, int, int]) -> None:
        rng = np.random.default_rng(0)
        self.models = models
        self.count, self.length, candidates, size = case
        self.prefixes = rng.integers(3, VOCABULARY, (self.count, self.length))
        self.width = candidates * size
        self.suffixes = rng.integers(3, VOCABULARY, (self.count, self.width))
        branch = np.repeat(np.arange(candidates), size)
        causal = np.tri(self.width, dtype=bool) & (branch[:, None] == branch)
        self.mask = np.concatenate([np.ones((self.width, self.length), bool), causal], axis=1)
        self.positions = np.tile(np.arange(self.length, self.length + size), candidates)
        self.ends = np.arange(size - 1, self.width, size)
        self.pasts = [self.prefix(i)[1] for i in range(self.count)]

    def prefix(self, i: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        length = self.length
        return self.models.backbone.extend(
            Row(
                self.prefixes[i],
                np.arange(length)[None],
                np.tri(length, dtype=bool),
                np.array([length - 1]),
                past={},
                picture={},
            ),
            keep=True,
        )

    def run_each(self) -> np.ndarray:
        return np.concatenate(
            [
                self.models.backbone.extend(
                    Row(ids, self.positions[None], self.mask, self.ends, past=past, picture={}),
                    keep=False,
                )[0]
                for ids, past in zip(self.suffixes, self.pasts, strict=True)
            ]
        )

    def padded_rows(self) -> np.ndarray:
        return self.batch(
            {
                "input_ids": self.suffixes,
                "position_ids": np.tile(self.positions, (1, self.count, 1)),
                "mask": np.tile(self.mask, (self.count, 1, 1, 1)),
                "score_index": np.concatenate(
                    [self.ends + i * self.width for i in range(self.count)]
                ),
                **{
                    name: np.concatenate([past[name] for past in self.pasts])
                    for name in self.pasts[0]
                },
            }
        )

    def packed_forest(self) -> np.ndarray:
        count, width, length = self.count, self.width, self.length
        mask = np.zeros((count * width, count * (length + width)), bool)
        for i in range(count):
            rows = slice(i * width, (i + 1) * width)
            mask[rows, i * length : (i + 1) * length] = True
            first = count * length + i * width
            mask[rows, first : first + width] = self.mask[:, length:]
        return self.batch(
            {
                "input_ids": self.suffixes.reshape(1, -1),
                "position_ids": np.tile(self.positions, (1, 1, count)),
                "mask": mask[None, None],
                "score_index": np.concatenate([self.ends + i * width for i in range(count)]),
                **{
                    name: np.concatenate([past[name] for past in self.pasts], axis=2)
                    for name in self.pasts[0]
                },
            }
        )

    def prefixes_each(self) -> np.ndarray:
        return np.concatenate([self.prefix(i)[0] for i in range(self.count)])

    def prefix_rows(self) -> np.ndarray:
        count, length = self.count, self.length
        names = ("hidden", *(name.replace("past", "present") for name in self.pasts[0]))
        feeds = {
            "input_ids": self.prefixes,
            "position_ids": np.tile(np.arange(length), (1, count, 1)),
            "mask": np.tile(np.tri(length, dtype=bool), (count, 1, 1, 1)),
            "score_index": np.arange(1, count + 1) * length - 1,
            **{name: past[:, :, :0].repeat(count, axis=0) for name, past in self.pasts[0].items()},
        }
        return self.decoder.run_keeping(feeds, fetch=names, keep=())[0]["hidden"]

    def batch(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        return self.decoder.run_keeping(feeds, fetch=("hidden",), keep=())[0]["hidden"]

    @property
    def decoder(self):  # noqa: ANN201  # a session
        return self.models.backbone._decoder  # noqa: SLF001  # the ways that the runtime lacks


def timed(states: States) -> tuple[dict[str, Arm], dict[str, Arm]]:
    ways = (states.run_each, states.padded_rows, states.packed_forest)
    cold = (states.prefixes_each, states.prefix_rows)
    return dict(zip(ARMS[:3], ways, strict=True)), dict(zip(ARMS[3:], cold, strict=True))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args(words)


def main() -> int:
    args = parse()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    models = make_models(SIZES, threads=1)
    if not args.json:
        print(f"| G, P, N, s | {' ms | '.join(ARMS)} ms |\n|{'---|' * (1 + len(ARMS))}")
    for case in CASES:
        found: dict[str, dict[str, float]] = {}
        for arms in timed(States(models, case)):
            found |= measure(arms, args.repeats, expected=next(iter(arms)))
        if args.json:
            print(json.dumps({"case": case, **found}), flush=True)
        else:
            cells = [f"{found[name]['median_s'] * 1e3:.0f}" for name in ARMS]
            print(f"| {', '.join(map(str, case))} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
