"""Labelled clicks of a toy screen, for the tests of training."""

import random
from collections.abc import Iterator
from pathlib import Path

from similar_fast.records import Labels, Provenance, StepRecord, encode_record

# Whole words of the tokenizers in `prompt_checkpoints`.
WORDS = ("book", "flight", "date", "user", "system", "today", "click", "step", "action", "button")
TASKS = tuple(f"click-{i}" for i in range(6))
RIGHT = Labels(
    helpfulness=1.0, odds_of_success=1.0, efficiency=0.5, task_relevance=1.0, coherence=1.0
)
WRONG = Labels(
    helpfulness=-0.5, odds_of_success=0.0, efficiency=-0.5, task_relevance=0.0, coherence=1.0
)


def clicks(
    *,
    tasks: tuple[str, ...] = TASKS,
    episodes: int = 4,
    buttons: int = 3,
    seed: int = 0,
    pictures: tuple[str, ...] = (),
) -> Iterator[StepRecord]:
    """The instruction names one of the buttons; a click on it ends the episode in success.

    Args:
        tasks: Names of the tasks.
        episodes: Of each task.
        buttons: Of each screen.
        seed: Of the names.
        pictures: Names of screenshots, one of which each screen gets.
    """
    draw = random.Random(seed)
    for task in tasks:
        for episode in range(episodes):
            names = draw.sample(WORDS, buttons)
            wanted = draw.choice(names)
            picture = draw.choice(pictures) if pictures else None
            for name in names:
                yield StepRecord(
                    environment="toy",
                    task=task,
                    trajectory=f"{task} {episode}",
                    step=1,
                    instruction=f"Click {wanted}",
                    action=f"click {name}",
                    labels=RIGHT if name == wanted else WRONG,
                    observation="\n".join(names),
                    screenshot=picture,
                    seed=episode,
                    state=f"{task} {episode}",
                    is_final=True,
                    provenance=Provenance(source="toy", rollouts=4),
                )


def write_clicks(path: Path, **options: object) -> Path:
    """The same as a file of JSON lines."""
    path.write_bytes(b"".join(encode_record(r) + b"\n" for r in clicks(**options)))  # type: ignore[arg-type]
    return path
