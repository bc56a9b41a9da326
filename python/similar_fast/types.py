"""The data that crosses the API: frozen dataclasses, numpy columns, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS, Dimension

__all__ = [
    "Action",
    "ActionKind",
    "Element",
    "JudgeCase",
    "Judgement",
    "Observation",
    "Ranked",
    "Score",
    "Scores",
    "SearchResult",
    "SearchTreeNode",
    "Step",
    "StepResult",
]

ActionKind = Literal["click", "type", "select"]

_A = TypeVar("_A")


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a screen that an action can address.

    Attributes:
        role: What it is: `button`, `link`, `textbox`, `checkbox`, `combobox`, or the tag's name.
        name: Its visible name, at most 80 characters.
        nth: Which of the elements with this role and name, from 0, in document order.
        kind: What can be done with it.
        context: Visible text of the row it stands in; empty where its name says enough.
        value: The text it holds now; for a field only.
        is_checked: The tick of a checkbox or radio button; None for everything else.
        is_focused: Whether the keyboard goes there.
        is_readonly: Whether typing is refused.
        options: The texts of its options; for a list of options only.
        selected: The texts of those that are selected now.
        is_multiple: Whether several options can be selected at once.
    """

    role: str
    name: str
    nth: int
    kind: ActionKind
    context: str = ""
    value: str = ""
    is_checked: bool | None = None
    is_focused: bool = False
    is_readonly: bool = False
    options: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    is_multiple: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        """(role, name, nth): how an action finds this element again on a replayed screen."""
        return (self.role, self.name, self.nth)


@dataclass(frozen=True, slots=True)
class Action:
    """One action of an agent, keyed by what it addresses, so that it can be replayed.

    Attributes:
        kind: `click`, `type` or `select`.
        target: (role, name, nth) of the element.
        argument: The string to type or the option to select; None for a click.
        text: The action in words, as a scorer reads it; may tell of the screen it was proposed on
            (a tick, a value, the row), so it takes no part in equality.
    """

    kind: ActionKind
    target: tuple[str, str, int]
    argument: str | None = None
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        if self.text:
            return self.text
        role, name, nth = self.target
        element = f'{role} "{name}"' + (f" #{nth + 1}" if nth else "")
        match self.kind:
            case "click":
                return f"click {element}"
            case "type":
                return f'type "{self.argument}" into {element}'
            case "select":
                return f'select "{self.argument}" in {element}'


@dataclass(frozen=True, slots=True)
class Observation:
    """What an agent sees at one moment.

    Attributes:
        instruction: The task in words.
        text: The screen in words, one line an element or a piece of text.
        elements: What can be acted upon, in document order.
        digest: Fingerprint of (instruction, text, done); equal digests are the same screen.
        screenshot: Takes the picture when it is called and returns PNG bytes; None where the
            environment has no pictures. The picture is of the screen at the time of the call.
    """

    instruction: str
    text: str
    elements: tuple[Element, ...]
    digest: str
    screenshot: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step of an environment led to.

    Attributes:
        observation: The screen after the step.
        is_done: Whether the episode has ended.
        success: Whether it ended with the task fully solved. A search must not read this.
        error: Why the action could not be carried out, in words; None where it was.
    """

    observation: Observation
    is_done: bool
    success: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One candidate step, as a scorer reads it.

    Attributes:
        instruction: The task in words.
        history: The actions so far, in words, oldest first.
        action: The candidate action, in words.
        observation: The screen in words, before the action.
        screenshot: Returns the screen's PNG, JPEG or WebP bytes; None where there is no picture.
    """

    instruction: str
    history: tuple[str, ...]
    action: str
    observation: str = ""
    screenshot: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class JudgeCase:
    """One step to be judged.

    Attributes:
        step: The step; the last action before it is the last of its history.
        number: Its place in the trajectory, from 1.
    """

    step: Step
    number: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one step.

    Attributes:
        task_relevance: Whether the action has to do with the task, in {0, 1}; None where it could
            not be judged.
        coherence: Whether it follows from the step before, in {0, 1}; None as above.
        reason: Why, in words; where nothing could be judged, why not.
    """

    task_relevance: float | None
    coherence: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one step.

    Attributes:
        total: What steps are compared by; higher is better.
        dims: The five dimensions in the order of `DIMENSIONS`; None for a scorer without them.
    """

    total: float
    dims: tuple[float, float, float, float, float] | None = None

    def __getitem__(self, dimension: Dimension) -> float:
        """The value of one dimension, or the total.

        Raises:
            KeyError: The scorer that made this score has no dimensions.
        """
        if dimension is Dimension.TOTAL:
            return self.total
        if self.dims is None or dimension not in DIMENSIONS:
            raise KeyError(dimension)
        return self.dims[DIMENSIONS.index(dimension)]


@dataclass(frozen=True, slots=True)
class Ranked(Generic[_A]):
    """One candidate and what the scorer says of it.

    Attributes:
        action: The candidate.
        score: Its score.
    """

    action: _A
    score: Score


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of n steps, in columns.

    Attributes:
        total: `[n]` float32, higher is better.
        dims: `[n, 5]` float32 in the order of `DIMENSIONS`, or None.
        weights: `[n, 5]` float32, the gate's weight for each dimension, or None.
    """

    total: NDArray[np.float32]
    dims: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.total)

    def __getitem__(self, index: int) -> Score:
        """The score of step `index`."""
        dims = None if self.dims is None else tuple(float(x) for x in self.dims[index])
        return Score(float(self.total[index]), dims)  # type: ignore[arg-type]  # five by contract

    def rows(self, start: int, stop: int) -> "Scores":
        """The scores of steps `start` to `stop`, as copies."""
        dims, weights = (
            None if column is None else column[start:stop].copy()
            for column in (self.dims, self.weights)
        )
        return Scores(self.total[start:stop].copy(), dims, weights)

    def without(self, index: int) -> "Scores":
        """The scores of all steps but step `index`, as copies."""
        dims, weights = (
            None if column is None else np.delete(column, index, axis=0)
            for column in (self.dims, self.weights)
        )
        return Scores(np.delete(self.total, index), dims, weights)


@dataclass(frozen=True, slots=True)
class SearchTreeNode:
    """One explored or proposed step of a search, for reports.

    Attributes:
        id: Its place in the list that holds it; 0 is the root.
        parent: The id of the screen it was proposed on; -1 for the root.
        action: The action in words; empty for the root.
        visits: Simulations that went through it.
        value: Mean (or maximum) of what was backed up through it, in the scorer's scale.
        prior: Probability in [0, 1] given to it before it was visited.
        score: What the scorer said of it; None for the root.
        text: The screen it leads to, in words; empty where it was never reached.
        is_done: Whether the episode ends there.
        is_chosen: Whether it lies on the committed path.
        is_merged: Whether it leads to a screen that another step leads to as well; what follows is
            explored there.
        is_solved: Whether every way on from it is known to its end.
        merged_with: The id of the node that leads to the same screen, below which what follows is
            explored; -1 where it is not merged.
        is_closed: Whether it was visited and leads nowhere: it could not be carried out, led back
            to a screen of its own path, or its replay diverged.
        is_greedy: Whether the greedy walk, which comes before the search, ended its episode here.
        screenshot: PNG bytes of the screen it leads to, where one was taken.
    """

    id: int
    parent: int
    action: str
    visits: int
    value: float
    prior: float
    score: Score | None
    text: str = field(default="", repr=False)
    is_done: bool = False
    is_chosen: bool = False
    is_merged: bool = False
    is_solved: bool = False
    merged_with: int = -1
    is_closed: bool = False
    is_greedy: bool = False
    screenshot: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found and what it cost.

    Attributes:
        task: The environment's name of the task.
        seed: The task's seed.
        instruction: The task in words.
        actions: The committed actions, in order.
        scores: The scorer's score of each committed action.
        success: Whether the final run of `actions` on a fresh reset solved the task; nothing
            before that run has read it.
        is_done: Whether that run ended the episode.
        policy: How edges were selected.
        stopped_by: What ended the search: `simulations`, `budget`, `seconds`, `scorer calls`,
            `exhausted` (nothing was left to visit), `decided` (no more could change the answer),
            `memory` (`max_nbytes` left no room for another step, in `abmcts` and `widening`) or
            `no candidates`.
        num_simulations: Simulations that were completed.
        env_steps: Steps sent to the environment, replays included, the final run excluded. What an
            environment replays by itself after it died is not counted.
        resets: Resets of the environment, the final run's included.
        scorer_calls: Calls of the scorer.
        scored_actions: Actions that the scorer has scored.
        diverged: Replays whose screens differed from what was seen before: steps to nowhere in the
            search; the final run goes on.
        relaunches: Times the environment died and was brought back.
        seconds: Wall time of the search, the final run included.
        nodes: The search tree.
        commit: What was to be committed, see `Search`: the best `ending`, or by `visits`.
        committed_by: Why `actions` were committed: `ending`, as the explored ending of the greatest
            value; `visits`, as the most visited path.
        ending_value: What an ending is worth: the score of its `last` step, or the `mean` of the
            scores of its steps.
        greedy_margin: What the greedy ending was favoured by, as a share of `score_range`.
        score_range: The least and the greatest score of all actions that were scored.
    """

    task: str
    seed: int
    instruction: str
    actions: tuple[Action, ...]
    scores: tuple[Score, ...]
    success: bool
    is_done: bool
    policy: str
    stopped_by: str
    num_simulations: int
    env_steps: int
    resets: int
    scorer_calls: int
    scored_actions: int
    diverged: int
    relaunches: int
    seconds: float
    nodes: tuple[SearchTreeNode, ...] = field(default=(), repr=False)
    commit: Literal["ending", "visits"] = "ending"
    committed_by: Literal["ending", "visits"] = "visits"
    ending_value: Literal["last", "mean"] = "mean"
    greedy_margin: float = 0.0
    score_range: tuple[float, float] = (0.0, 0.0)
