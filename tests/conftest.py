"""Reward models that several test files run: exported once a session, from tiny checkpoints."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

Export = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Called with a family: (its checkpoint, its model folder); float32, heads drawn at random."""
    import checkpoints  # noqa: PLC0415  # torch and transformers take seconds
    from similar_fast_export.reward_model import (  # noqa: PLC0415  # as above
        ExportOptions,
        export_reward_model,
    )

    @cache
    def export(family: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp(family)
        checkpoints.write_checkpoint(root / "checkpoint", family)
        export_reward_model(root / "checkpoint", root / "model", ExportOptions(random_heads=0))
        return root / "checkpoint", root / "model"

    return export
