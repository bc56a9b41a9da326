"""The environments of one run: one cursor each, a batch of visits shared among them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import TracebackType
from typing import Self, TypeVar

from similar_fast.protocols import Environment
from similar_fast.search.cursor import Budget, Cursor, Path, Seen

__all__ = ["Walker", "Walkers"]

Result = TypeVar("Result")


class Walker:
    """One environment and where it stands."""

    def __init__(self, env: Environment, cursor: Cursor) -> None:
        self.env = env
        self.cursor = cursor


class Walkers:
    """Any number of environments of one (task, seed), each used by one thread at a time.

    Args:
        envs: At least one; all of one platform.
        task: The task's name.
        seed: The task's seed.
        budget: Steps that all of them may send together, replays included; None for no limit.

    Attributes:
        budget: What is left of these steps.

    Raises:
        ValueError: There is no environment, or one comes twice.
    """

    def __init__(
        self, envs: Sequence[Environment], task: str, *, seed: int, budget: int | None
    ) -> None:
        if not envs:
            raise ValueError("a search needs at least one environment, got none")
        if len({id(env) for env in envs}) < len(envs):
            raise ValueError("each environment must be given once, got the same one again")
        self.budget = Budget(budget)
        seen: dict[Path, Seen] = {}
        self._relaunches = sum(env.relaunches for env in envs)
        self._walkers = [
            Walker(env, Cursor(env, task, seed=seed, budget=self.budget, seen=seen)) for env in envs
        ]
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    @property
    def first(self) -> Walker:
        """The one that sees the first screen and runs what was committed."""
        return self._walkers[0]

    @property
    def env_steps(self) -> int:
        """Steps sent so far."""
        return sum(walker.cursor.env_steps for walker in self._walkers)

    @property
    def resets(self) -> int:
        """Resets so far."""
        return sum(walker.cursor.resets for walker in self._walkers)

    @property
    def diverged(self) -> int:
        """Replayed screens that differed from what was seen before."""
        return sum(walker.cursor.diverged for walker in self._walkers)

    @property
    def relaunches(self) -> int:
        """How often an environment died and was brought back."""
        return sum(walker.env.relaunches for walker in self._walkers) - self._relaunches

    def visit_all(
        self, paths: Sequence[Path], visit: Callable[[Walker, int], Result]
    ) -> list[Result]:
        """Calls `visit(walker, index)` once for each path; the results in the order of `paths`.

        Paths with a common beginning go to one environment, one after another, since they share
        their replay. Where a visit raises, the others end first; then its error is raised.
        """
        order = sorted(range(len(paths)), key=lambda i: tuple(str(action) for action in paths[i]))
        shares = [share for share in _split(order, len(self._walkers)) if share]
        results: dict[int, Result] = {}

        def walk(walker: Walker, share: Sequence[int]) -> None:
            for index in share:
                results[index] = visit(walker, index)

        if len(shares) == 1:
            walk(self.first, shares[0])
        elif shares:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(
                    len(self._walkers), thread_name_prefix="similar-fast-walker"
                )
            futures = [
                self._pool.submit(walk, walker, share)
                for walker, share in zip(self._walkers, shares, strict=False)
            ]
            errors = [future.exception() for future in futures]
            for error in errors:
                if error is not None:
                    raise error
        return [results[index] for index in range(len(paths))]


def _split(order: Sequence[int], parts: int) -> list[Sequence[int]]:
    """`order` in contiguous parts of nearly equal length."""
    size, more = divmod(len(order), parts)
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + size + (part < more))
    return [order[start:end] for start, end in pairwise(ends)]
