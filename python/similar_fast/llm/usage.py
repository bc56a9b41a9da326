"""What a server was asked and what that cost."""

import math
from dataclasses import dataclass, replace
from threading import Lock

__all__ = ["Meter", "Prices", "Usage"]


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, in any currency.

    Attributes:
        prompt: A million tokens of what is sent.
        completion: A million tokens of what is answered.

    Raises:
        ValueError: A price is negative or not finite.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for name in ("prompt", "completion"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"the {name} price is {value}, expected a number of at least 0")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a client has used so far.

    Attributes:
        calls: Requests that were sent, repeated ones included.
        retries: Requests that were sent because an earlier one of the same question failed.
        failures: Questions that were given up.
        prompt_tokens: Tokens sent, as the server counts them.
        completion_tokens: Tokens answered, as the server counts them.
        uncounted: Answers that came without a count of tokens; `cost` leaves them out.
        cost: What the tokens cost, in the currency of the prices; None without prices.
    """

    calls: int = 0
    retries: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    cost: float | None = None


class Meter:
    """Counts for many threads.

    Args:
        prices: What tokens cost; None counts no cost.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._lock = Lock()
        self._usage = Usage()

    def add(
        self,
        *,
        calls: int = 0,
        retries: int = 0,
        failures: int = 0,
        uncounted: int = 0,
    ) -> None:
        """Counts requests, repeats, questions given up and answers without a count."""
        with self._lock:
            usage = self._usage
            self._usage = replace(
                usage,
                calls=usage.calls + calls,
                retries=usage.retries + retries,
                failures=usage.failures + failures,
                uncounted=usage.uncounted + uncounted,
            )

    def add_tokens(self, prompt: int, completion: int) -> None:
        """Counts the tokens of one answer."""
        with self._lock:
            usage = self._usage
            self._usage = replace(
                usage,
                prompt_tokens=usage.prompt_tokens + prompt,
                completion_tokens=usage.completion_tokens + completion,
            )

    @property
    def usage(self) -> Usage:
        """Everything so far, with its cost."""
        with self._lock:
            usage = self._usage
        if self._prices is None:
            return usage
        prompt = usage.prompt_tokens * self._prices.prompt
        completion = usage.completion_tokens * self._prices.completion
        return replace(usage, cost=(prompt + completion) / 1e6)
