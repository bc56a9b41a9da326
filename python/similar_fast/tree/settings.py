"""How a `TreeSearch` decides: its policy, its backup, and what it may spend."""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import SearchError

__all__ = ["Backup", "Policy", "TreeSettings", "channel_names"]

Policy: TypeAlias = Literal["puct", "uct", "gumbel", "best_first", "beam"]
Backup: TypeAlias = Literal["mean", "max", "power_mean", "discounted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """The settings of a `TreeSearch`. The defaults cost nothing for what they leave out.

    Policies:

    - `puct`: down from the root by `q + c_puct * sqrt(N) * prior / (1 + n)`, N the node's and n the
      edge's visits, those in flight included. Rosin 2011; Silver et al. 2017 (Mastering the game of
      Go without human knowledge, Methods).
    - `uct`: `q + c_puct * sqrt(ln(N) / n)`, unvisited edges first, by prior. Kocsis & Szepesvari
      2006, after Auer et al. 2002, theorem 1.
    - `gumbel`: at the root sequential halving over the best `max_considered` candidates by `g +
      ln(prior) + sigma(q)`, with `sigma(q) = (c_visit + max n) * c_scale * q`; below the root `pi -
      n / (1 + sum of n)`, pi the softmax of `ln(prior) + sigma(q)`. An edge without visits has its
      first value as q. The best choice for up to about 200 simulations; `num_simulations` must say
      how many. Danihelka et al. 2022 (Policy improvement by planning with Gumbel), equations 8, 11,
      14 and algorithm 2; Karnin et al. 2013.
    - `best_first`: the unvisited edge of the highest first value in the whole tree, each edge once.
      With `max_depth=1` that is best-of-N. Pearl 1984; for web agents Koh et al. 2024 (arXiv
      2407.01476).
    - `beam`: as best-first, but level by level, and of each level only the best `beam_width` edges.
      Lowerre 1976.

    Backups, of what simulations through an edge were told: their `mean`; their `max`, which
    amplifies a scorer's noise; `power_mean` with `exponent` at each node, between the two, for
    values of at least 0 (Dam et al. 2019, arXiv 1911.00384); `discounted`, the mean of the
    discounted sums of what the steps from the edge on were told (Sutton & Barto 2018, equation
    3.8).

    Attributes:
        policy: How an edge is selected.
        c_puct: Weight of the second term of `puct` and `uct`, from 0 to 1e30.
        c_visit: Weight of values in `gumbel` while there are few visits, at least 0.
        c_scale: Weight of values in `gumbel`, at least 0; 0.1 in the authors' code for q in [0, 1].
        max_considered: Candidates of the root that `gumbel` tries at most, at least 1.
        num_simulations: Simulations that `gumbel` divides among them, at least 1.
        beam_width: Edges of a level that `beam` visits at most, at least 1.
        backup: What an edge keeps of the values behind it.
        exponent: Of `power_mean`, at least 1.
        discount: Of `discounted`, in [0, 1].
        fpu: First-play urgency, the value of an edge before its first visit where it has no first
            value, in the scorer's scale; `parent` takes the value of the edge above at the time of
            expansion, 0 at the root.
        normalize: How values become q: `minmax` brings the least and the greatest value told so far
            to 0 and 1, a range (low, high) its ends; None leaves them.
        max_depth: Edges from the root to the deepest leaf, 1 to 65,535.
        virtual_loss: Lost visits that a visit in flight counts as in `puct` and `uct`, 0 to 1,000
            (Chaslot et al. 2008). With 0 it is a visit without a value (WU-UCT, Liu et al. 2020,
            arXiv 1810.11755), which costs no quality.
        max_collisions: Simulations beyond the first that may wait for one leaf; an ask starts fewer
            where more would meet, so that batches grow with the tree. With None, no limit, a large
            batch counts the few leaves of a small tree many times, and a small budget is lost.
        channels: Numbers that a leaf is told, 0 to 8; 0 for one value.
        weights: `[channels]`, whose weighted sum of the numbers is the value. None where `channels`
            is 0, and where a gate gives weights with every leaf.
        solve: Whether parts of the tree that are known to their terminal ends get their exact
            value, the greatest of their endings, and no more visits (Winands et al. 2008); but a
            plan of `gumbel` visits all its candidates evenly.
        deterministic: Whether tells are applied in the order of the asks, once no asked leaf is
            open, so that the tree does not depend on who answers first; no leaf is asked for
            meanwhile.
        max_nbytes: Bytes that the tree may take in the core; candidates that would need more are
            not kept, and their leaf stays a leaf. None for no limit.

    Raises:
        ValueError: A count is negative, or weights do not fit the channels.
    """

    policy: Policy = "puct"
    c_puct: float = 1.25
    c_visit: float = 50.0
    c_scale: float = 0.1
    max_considered: int = 16
    num_simulations: int = 64
    beam_width: int = 8
    backup: Backup = "mean"
    exponent: float = 2.0
    discount: float = 1.0
    fpu: float | Literal["parent"] = 0.0
    normalize: Literal["minmax"] | tuple[float, float] | None = "minmax"
    max_depth: int = 64
    virtual_loss: int = 0
    max_collisions: int | None = 0
    channels: int = 0
    weights: tuple[float, ...] | None = None
    solve: bool = False
    deterministic: bool = False
    max_nbytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("virtual_loss", "max_collisions", "channels", "max_nbytes"):
            count = getattr(self, name)
            if count is not None and count < 0:
                raise ValueError(f"{name} must not be negative, got {count}")
        if isinstance(self.fpu, str) and self.fpu != "parent":
            raise ValueError(f'fpu must be a number or "parent", got "{self.fpu}"')
        if self.weights is not None and len(self.weights) != self.channels:
            raise ValueError(
                f"weights must be one for each of {self.channels} channels, got {len(self.weights)}"
            )

    @classmethod
    def five_dimensions(
        cls,
        weights: tuple[float, float, float, float, float] | None = None,
        **settings: Any,  # noqa: ANN401 - any other setting
    ) -> "TreeSettings":
        """Settings of a search that is told the five dimensions of each step.

        Args:
            weights: In the order of `DIMENSIONS`; None where a gate gives them with every leaf.
            **settings: The other settings.
        """
        return cls(channels=len(DIMENSIONS), weights=weights, **settings)

    @property
    def is_gated(self) -> bool:
        """Whether every leaf is told with weights of its own."""
        return self.channels > 0 and self.weights is None

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, fit for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "TreeSettings":
        """What `to_dict` gave, also by way of JSON.

        Raises:
            SearchError: It is something else.
        """
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        try:
            return cls(**given)
        except (TypeError, ValueError) as error:
            raise SearchError(f"the saved settings cannot be read: {error}") from error


def channel_names(count: int) -> tuple[str, ...]:
    """What the channels of a search are called; five are taken for the dimensions."""
    if count == len(DIMENSIONS):
        return tuple(str(dimension) for dimension in DIMENSIONS)
    return tuple(f"channel {place}" for place in range(count))
