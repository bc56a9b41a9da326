"""check_ranks: a quantised build beside float32, one of them in memory at a time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from similar_fast import Step
from similar_fast.reward.model import RewardModel
from similar_fast.types import Scores
from similar_fast_export import verify

Export = Callable[[str], tuple[Path, Path]]


def test_ranks_are_compared_with_one_model_open_at_a_time(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open: set[int] = set()
    most = 0

    class Counted(RewardModel):
        def score(self, steps: Sequence[Step]) -> Scores:
            nonlocal most
            is_open.add(id(self))
            most = max(most, len(is_open))
            return super().score(steps)

        def __del__(self) -> None:
            is_open.discard(id(self))

    monkeypatch.setattr(verify, "RewardModel", Counted)
    folder = exported("qwen2")[1]

    checks = verify.check_ranks(folder, folder, verify.read_states(None, has_vision=False))

    assert checks == {"rank_agreement": 1.0, "max_score_error": 0.0}
    assert most == 1
