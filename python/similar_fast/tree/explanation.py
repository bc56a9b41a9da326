"""Why a search answers as it does: the facts, and the sentences that follow from them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, TypeAlias

from similar_fast.tree.endings import RankedEnding

__all__ = ["DecidedBy", "Difference", "Explanation", "Option"]

DecidedBy: TypeAlias = Literal["visits", "gumbel", "value", "score", "ending"]

_MAX_NAME = 120
_MAX_NAMES = 5
_STOPPED = {
    "simulations": "its simulations were spent (num_simulations)",
    "budget": "its environment steps were spent (budget)",
    "seconds": "its time was spent (max_seconds)",
    "scorer calls": "its scorer calls were spent (max_scorer_calls)",
    "exhausted": "nothing was left to visit",
    "decided": "what was left of its simulations could not change the first action",
    "memory": "its memory was spent (max_nbytes)",
    "no candidates": "the first screen has no candidates",
}
_RULES = {
    "visits": "the most visits; of equals the highest value",
    "gumbel": "of those with the most visits since the plan was made the greatest "
    "g + ln(prior) + sigma(q)",
    "value": "the highest value of those that were visited",
    "score": "the highest score of all nodes; of equals the oldest",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One of the things that the search could have answered.

    Attributes:
        id: Of a `TreeSearch` the index among the root's candidates; else the node's id.
        name: The candidate in words.
        visits: Completed simulations through it.
        share: Its part of the visits of all options, 0 to 1; 0 where there are none.
        value: What the backup made of its visits, in the scorer's scale; before the first visit
            what it starts from. None where it has none.
        prior: Its probability before any visit, 0 to 1; None in an `AdaptiveSearch`.
        score: What it was told itself, without what follows it; None where that is not known.
        dims: `[dimensions]`, that score by dimension; None where that is not known.
        is_solved: Whether every way on from it is known to its end.
        is_closed: Whether it was visited and leads nowhere, so that it is never committed.
        ending: The best explored ending behind it; None where there is none.
    """

    id: int
    name: str
    visits: int
    share: float
    value: float | None
    prior: float | None
    score: float | None
    dims: tuple[float, ...] | None
    is_solved: bool = False
    is_closed: bool = False
    ending: RankedEnding | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more the chosen option has than the runner-up.

    Attributes:
        name: Of what: `visits`, `value`, `prior`, `score`, `ending`, or a dimension.
        amount: The chosen one's less the runner-up's.
    """

    name: str
    amount: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a search answers as it does, at one decision. `str()` gives it in sentences.

    Attributes:
        kind: What was explained: `tree`, `adaptive` or `result`.
        policy: How it selects what to visit.
        decided_by: What the answer is decided by: the most `visits`; the `gumbel` rule; the highest
            `value`; the highest own `score`; the best `ending`.
        step: The place of the explained action in the answer, from 0.
        num_steps: Actions of the answer.
        num_simulations: Simulations completed.
        chosen: The answer; None where there is none.
        runner_up: The next one by the same rule; None where there is no other.
        num_options: Options at this decision.
        unvisited: The names of those that were never visited.
        dim_names: `[dimensions]`, of the options' `dims`.
        is_solving: Whether an exact value goes before visits.
        is_exhausted: Whether nothing is left to visit.
        overtaken_after: Further simulations, those in flight included, that it takes at least until
            the answer could be another: with fewer it cannot be. None where no number of them can
            change it.
        num_endings: Explored paths that ended their episode.
        ending_value: What an ending is worth: the score of its `last` step, or the `mean`.
        greedy_margin: What the greedy ending is favoured by, as a share of the range of scores; 0
            where no greedy ending was reached.
        to_beat: What a new ending would have to be worth more than, to be committed; None where
            endings are not compared by what they are worth.
        stopped_by: What ended the search, see `SearchResult`; None for a search in hand.
    """

    kind: Literal["tree", "adaptive", "result"]
    policy: str
    decided_by: DecidedBy
    step: int
    num_steps: int
    num_simulations: int
    chosen: Option | None
    runner_up: Option | None
    num_options: int
    unvisited: tuple[str, ...]
    dim_names: tuple[str, ...]
    is_solving: bool
    is_exhausted: bool
    overtaken_after: int | None
    num_endings: int = 0
    ending_value: str = "mean"
    greedy_margin: float = 0.0
    to_beat: float | None = None
    stopped_by: str | None = None

    @property
    def is_decided(self) -> bool:
        """Whether no number of further simulations can change the answer."""
        return self.overtaken_after is None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Of everything that both the chosen option and the runner-up have."""
        if self.chosen is None or self.runner_up is None:
            return ()
        pairs = zip(_numbers(self.chosen, self), _numbers(self.runner_up, self), strict=True)
        return tuple(
            Difference(name, mine - theirs)
            for (name, mine), (_, theirs) in pairs
            if mine is not None and theirs is not None
        )

    @property
    def higher_in(self) -> tuple[str, ...]:
        """What the chosen option has more of than the runner-up."""
        return tuple(it.name for it in self.differences if it.amount > 0)

    @property
    def lower_in(self) -> tuple[str, ...]:
        """What the chosen option has less of than the runner-up."""
        return tuple(it.name for it in self.differences if it.amount < 0)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The explanation in words; each follows from the attributes alone."""
        return tuple(_sentences(self))

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON: a number that is not finite is None."""
        facts = asdict(self)
        for name in ("is_decided", "higher_in", "lower_in", "sentences"):
            facts[name] = getattr(self, name)
        facts["differences"] = [asdict(it) for it in self.differences]
        plain = _plain(facts)
        assert isinstance(plain, dict)  # noqa: S101  # as it went in
        return plain


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _numbers(option: Option, of: Explanation) -> Iterator[tuple[str, float | None]]:
    yield "visits", option.visits
    yield "value", option.value
    yield "prior", option.prior
    yield "score", option.score
    yield "ending", None if option.ending is None else option.ending.total
    for place, name in enumerate(of.dim_names):
        yield name, None if option.dims is None else option.dims[place]


def _sentences(of: Explanation) -> Iterator[str]:
    if of.chosen is None:
        why = "every candidate that was visited leads nowhere"
        if len(of.unvisited) == of.num_options:
            why = "no candidate was visited" if of.num_options else "there is no candidate"
        yield f"Nothing was chosen: {why}."
    else:
        yield f"Chosen: {_name(of.chosen.name)}{_place(of)}."
        yield f"It has {_figures(of.chosen, of)}."
        yield f"Rule{'' if of.kind == 'result' else f' of {of.policy}'}: {_rule(of)}."
        yield from _about_endings(of)
        yield from _about_runner_up(of)
        yield _about_more(of)
    if of.unvisited:
        names = "; ".join(_name(name) for name in of.unvisited[:_MAX_NAMES])
        more = len(of.unvisited) - _MAX_NAMES
        names += f"; and {more} more" if more > 0 else ""
        yield f"Never visited: {len(of.unvisited)} of {of.num_options} candidates: {names}."
    if of.stopped_by is not None:
        reason = _STOPPED.get(of.stopped_by, of.stopped_by)
        yield (
            f"The search, by policy {of.policy}, stopped after {of.num_simulations} simulations: "
            f"{reason}."
        )


def _place(of: Explanation) -> str:
    options = "node with a value" if of.decided_by == "score" else "candidate"
    step = f", step {of.step + 1} of {of.num_steps}" if of.num_steps > 1 else ""
    if of.num_options == 1:
        return f"{step}, the only {options}"
    plural = options.replace("node", "nodes") if of.decided_by == "score" else "candidates"
    return f"{step}, one of {of.num_options} {plural}"


def _figures(option: Option, of: Explanation) -> str:
    visits = f"{option.visits} visit" + ("" if option.visits == 1 else "s")
    whole = "all" if of.decided_by == "score" else "those here"
    parts = [f"{visits} ({option.share:.0%} of {whole})"]
    if option.value is not None:
        kind = "value" if option.visits else "first value"
        kind = "exact value" if option.is_solved and of.is_solving else kind
        parts.append(f"{kind} {option.value:.4g}")
    if option.prior is not None:
        parts.append(f"prior {option.prior:.4g}")
    if option.score is not None:
        parts.append(f"score {option.score:.4g}")
    if option.dims is not None:
        named = zip(of.dim_names, option.dims, strict=True)
        parts[-1] += f" ({', '.join(f'{name} {x:.4g}' for name, x in named)})"
    if option.is_closed:
        parts.append("it leads nowhere")
    elif option.is_solved:
        parts.append("every way on is known to its end")
    return ", ".join(parts)


def _rule(of: Explanation) -> str:
    if of.decided_by == "ending":
        return _ending_rule(of)
    if of.decided_by != "visits":
        return _RULES[of.decided_by]
    if of.kind == "result":
        why = "" if of.num_endings else "no ending was reached, so "
        return f"{why}the most visited path is committed; of equals the highest value"
    exact = "; an exact value above that of the most visited one goes first"
    last = "eldest" if of.kind == "adaptive" else "first"
    return _RULES["visits"] + f", then the {last}" + (exact if of.is_solving else "")


def _ending_rule(of: Explanation) -> str:
    worth = "its last score" if of.ending_value == "last" else "the mean of its scores"
    rule = f"the best of {of.num_endings} endings is committed, an ending is worth {worth}"
    if of.greedy_margin == 0:
        return rule
    return f"{rule}; the greedy ending is favoured by {of.greedy_margin:.4g} of the range of scores"


def _about_endings(of: Explanation) -> Iterator[str]:
    if of.decided_by != "ending" or of.chosen is None or of.chosen.ending is None:
        return
    yield f"It leads to an ending worth {_worth(of.chosen.ending)}."
    other = None if of.runner_up is None else of.runner_up.ending
    if other is not None:
        yield f"The best ending through another candidate is worth {_worth(other)}."
    elif of.num_options > 1:
        yield "No explored path through another candidate ended its episode."


def _worth(ending: RankedEnding) -> str:
    if ending.bonus == 0:
        return f"{ending.total:.4g}"
    return f"{ending.total:.4g} ({ending.value:.4g}, and {ending.bonus:.4g} as the greedy one)"


def _about_runner_up(of: Explanation) -> Iterator[str]:
    if of.runner_up is None:
        return
    yield f"Runner-up: {_name(of.runner_up.name)}, with {_figures(of.runner_up, of)}."
    amounts = {it.name: it.amount for it in of.differences}
    for names, word in ((of.higher_in, "higher"), (of.lower_in, "lower")):
        if names:
            listed = ", ".join(f"{name} ({amounts[name]:+.4g})" for name in names)
            yield f"Chosen above runner-up, {word}: {listed}."


def _about_more(of: Explanation) -> str:
    if of.runner_up is None:
        return "There is no other candidate here."
    if of.overtaken_after is None:
        where = " within the beam" if of.policy == "beam" else ""
        return f"Nothing is left to visit{where}: more simulations would find nothing new."
    if of.kind != "result" and of.decided_by == "visits" and not of.is_solving:
        number = of.overtaken_after
        count = f"{number} more simulation" + ("s" if number > 1 else "")
        left = "Nothing new is left to visit. " if of.is_exhausted else ""
        return f"{left}It takes at least {count} until another could be chosen."
    if of.to_beat is not None:
        present = ", at the present range of scores" if of.greedy_margin > 0 else ""
        return (
            f"The answer is open: a new ending worth more than {of.to_beat:.4g}, or as "
            f"much in fewer steps, would be committed instead{present}."
        )
    return "The answer is open: the next simulation may change it."


def _name(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _MAX_NAME else line[: _MAX_NAME - 3] + "..."
