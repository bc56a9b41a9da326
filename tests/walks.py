"""Random walks over the calls of a search: settings, rows, and which call is next.

A call is a dictionary that JSON can hold: one of `ask`, `edge`, `tell`, `fail`, `advance`, `plan`,
`reweight` and `save`, with its arguments.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from reference import Asked, Config, Path, ReferenceSearch, Row

Call = dict[str, Any]
POLICIES = ["puct", "uct", "gumbel", "best_first", "beam"]
BACKUPS = ["mean", "max", "power_mean", "discounted"]


def draw_settings(rng: random.Random) -> dict[str, Any]:
    """Any settings that a search accepts, small ones rather than large ones."""
    channels = rng.choice([0, 0, 0, 1, 3, 5])
    policy = rng.choice(POLICIES)
    has_losses = policy in ("puct", "uct")
    return {
        "policy": policy,
        "backup": rng.choice(BACKUPS),
        "c_puct": rng.choice([0.0, 0.3, 1.25, 8.0, 1e30]),
        "c_visit": rng.choice([0.0, 5.0, 50.0]),
        "c_scale": rng.choice([0.0, 0.1, 2.0]),
        "max_considered": rng.choice([1, 2, 3, 7, 16]),
        "num_simulations": rng.choice([1, 5, 20, 64]),
        "beam_width": rng.choice([1, 2, 3, 20]),
        "exponent": rng.choice([1.0, 2.0, 3.7, 60.0]),
        "discount": rng.choice([0.0, 0.9, 1.0]),
        "fpu": rng.choice(["parent", 0.0, 0.5, -1.5]),
        "normalize": rng.choice([None, "minmax", "minmax", (-1.0, 2.5)]),
        "max_depth": rng.randint(1, 6),
        "virtual_loss": rng.choice([0, 0, 1, 3, 1000]) if has_losses else 0,
        "max_collisions": rng.choice([None, None, 0, 2]),
        "channels": channels,
        "weights": draw_weights(rng, channels) if channels and rng.random() < 0.6 else None,
        "solve": rng.random() < 0.4,
        "deterministic": rng.random() < 0.3,
        "max_nbytes": rng.choice([None, None, None, 400, 900, 3000]),
    }


def draw_weights(rng: random.Random, channels: int) -> tuple[float, ...]:
    low = rng.choice([0.0, 0.0, -1.0])
    return tuple(as_float32(rng.uniform(low, 2.0)) for _ in range(channels))


def as_float32(number: float) -> float:
    return float(np.float32(number))


class Walk:
    """Draws rows and calls for one reference search."""

    def __init__(
        self,
        rng: random.Random,
        settings: dict[str, Any],
        *,
        counts: Sequence[int] = (1, 2, 3, 4, 9, 20, 40),
        calls: Sequence[str] = ("ask", "ask", "ask", "edge", "answer", "answer", "advance"),
        eager: float = 0.4,
        ends: float = 0.1,
        fails: float = 0.15,
        num_keys: int = 0,
        most_asked: int = 24,
    ) -> None:
        self.rng = rng
        self.config = Config(**settings)
        self.counts = counts
        self.calls = calls
        self.eager, self.ends, self.fails = eager, ends, fails
        self.num_keys = num_keys
        self.most_asked = most_asked
        self.has_priors = rng.random() < 0.7
        self.has_first_values = rng.random() < 0.4
        self.root = self.root_row()
        self.search = ReferenceSearch(self.config, self.root)

    def number(self) -> float:
        """A value that any backup accepts where all weights are at least 0."""
        least = 0.0 if self.config.backup == "power_mean" else -1.0
        kind = self.rng.random()
        if kind < 0.2:
            return self.rng.choice([least, 0.0, 0.5, 1.0])
        if kind < 0.22:
            great = as_float32(1e38 if not self.config.channels else 1e30)
            return self.rng.choice([great, great * least])
        return as_float32(self.rng.uniform(least, 1.0))

    def numbers(self, count: int) -> list[float]:
        return [self.number() for _ in range(count)]

    def gate(self, count: int) -> list[float] | None:
        """The gate's weights of so many rows, where there is a gate."""
        width = self.config.channels * count
        if not self.config.is_gated:
            return None
        return [as_float32(self.rng.uniform(0, 2)) for _ in range(width)]

    def root_row(self) -> Row:
        return self.with_candidates(Row((), key=self.key()), self.rng.choice(self.counts))

    def with_candidates(self, row: Row, count: int) -> Row:
        row.candidates = count
        if self.has_priors:
            row.priors = [as_float32(self.rng.choice([0, self.rng.random()])) for _ in range(count)]
            if count and not any(row.priors):
                row.priors = [1.0] * count
        if self.has_first_values:
            row.first_values = self.numbers(count * max(1, self.config.channels))
            row.first_weights = self.gate(count)
        return row

    def key(self) -> int:
        return self.rng.randint(0, self.num_keys)

    def row(self, path: Path) -> Row:
        """What is told of an open leaf."""
        row = Row(path, key=self.key())
        is_known = bool(self.search.keys.get(row.key))
        row.value = 2e38 if is_known and self.rng.random() < 0.5 else self.number()
        if self.config.channels:
            row.numbers = self.numbers(self.config.channels)
            row.weights = self.gate(1)
        if self.rng.random() < self.ends:
            row.terminal = True
            return row
        wants = self.search.edge(path).state == "expanding"
        if (wants and not is_known) or self.rng.random() < self.eager:
            count = 0 if self.rng.random() < self.ends / 2 else self.rng.choice(self.counts)
            self.with_candidates(row, count)
        return row

    def call(self) -> Call:
        """The next call."""
        kind = self.rng.choice(self.calls)
        if kind == "answer" and not self.search.open_leaves():
            kind = "ask"
        if kind == "plan" and self.config.policy != "gumbel":
            kind = "ask"
        if kind == "reweight" and not self.config.channels:
            kind = "save"
        return getattr(self, f"call_{kind}")()

    def call_ask(self) -> Call:
        return {"ask": self.rng.randint(1, self.most_asked)}

    def call_edge(self) -> Call:
        path = self.rng.choice(list(self.search.nodes))
        return {"edge": path, "action": self.rng.randrange(len(self.search.nodes[path]))}

    def call_answer(self) -> Call:
        leaves = self.search.open_leaves()
        self.rng.shuffle(leaves)
        leaves = leaves[: self.rng.randint(1, len(leaves))]
        if self.rng.random() < self.fails:
            return {"fail": leaves}
        return {"tell": [asdict(self.row(path)) for path in leaves]}

    def call_advance(self) -> Call:
        edges = self.search.nodes[()]
        action = max(range(len(edges)), key=lambda it: (edges[it].visits, it))
        if self.rng.random() < 0.3:
            action = self.rng.randrange(len(edges))
        row = None
        if edges[action].state not in ("expanded", "terminal"):
            row = asdict(self.root_row())
        return {"advance": action, "row": row}

    def call_plan(self) -> Call:
        noise = [as_float32(self.rng.uniform(-3, 3)) for _ in self.search.nodes[()]]
        return {"plan": self.rng.randint(1, 64), "noise": self.rng.choice([None, noise])}

    def call_reweight(self) -> Call:
        weights = draw_weights(self.rng, self.config.channels)
        return {"reweight": None if self.config.is_gated and self.rng.random() < 0.3 else weights}

    def call_save(self) -> Call:
        return {"save": True}


def row_of(given: dict[str, Any]) -> Row:
    """A row out of a call, which JSON may have held."""
    return Row(**{**given, "path": tuple(given["path"])})


def make(search: ReferenceSearch, call: Call) -> Asked | None:
    """Makes a call of the reference.

    Raises:
        Refused: The core must refuse it as well.
    """
    match call:
        case {"ask": num_simulations}:
            return search.ask(num_simulations)
        case {"edge": path, "action": action}:
            return search.ask_edge(tuple(path), action)
        case {"tell": rows}:
            search.tell([row_of(row) for row in rows])
        case {"fail": paths}:
            search.fail([tuple(path) for path in paths])
        case {"advance": action, "row": row}:
            search.advance(action, row and row_of(row))
        case {"plan": num_simulations, "noise": noise}:
            search.plan(num_simulations, noise)
        case {"reweight": weights}:
            search.reweight(weights and tuple(weights))
    return None
