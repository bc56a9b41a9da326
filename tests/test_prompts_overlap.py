"""Marks of what names and the instruction have in common; prompts of the last actions alone."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exports import export
from hypothesis import given
from hypothesis import strategies as st
from pictures import draw, encode
from similar_fast import RewardModel
from similar_fast.models.manifest import read_manifest
from similar_fast.prompts import PromptWriter
from similar_fast.prompts.overlap import mark_action, mark_observation
from similar_fast.prompts.settings import PromptSettings
from similar_fast.types import Step
from similar_fast_export.cli import main
from similar_fast_export.reference import Reference

QUOTED = re.compile(r'"[^"]+"')
MARKS = {"same", "alike", "begins", "ends", "some", "none"}
texts = st.text(st.sampled_from('aAb1" \n@'), max_size=20)


def marks(instruction: str, name: str) -> list[str]:
    return mark_action(instruction, f'click "{name}"').partition(" : ")[2].split()


@given(texts, texts)
def test_text_stands_unchanged_before_its_marks(instruction: str, text: str) -> None:
    marked = mark_action(instruction, text)

    num_names = min(4, len(QUOTED.findall(text)))
    assert marked.startswith(text)
    found = marked[len(text) :].split()
    assert bool(found) == bool(num_names)
    if found:
        assert found[0] == ":"
        assert set(found[1:]) <= MARKS
        assert num_names <= len(found) - 1 <= 2 * num_names


@given(texts, texts)
def test_each_line_of_a_screen_is_marked_by_itself(instruction: str, text: str) -> None:
    marked = mark_observation(instruction, text)

    lines = text.split("\n")
    assert len(marked.split("\n")) == len(lines)
    for line, found in zip(lines, marked.split("\n"), strict=True):
        weak = {"some", "none"}
        told = [m for m in mark_action(instruction, line)[len(line) + 3 :].split() if m not in weak]
        assert found == (f"{line} : {' '.join(told)}" if told else line)


@given(texts.filter(lambda text: '"' not in text), texts)
def test_text_without_names_is_unchanged(text: str, instruction: str) -> None:
    assert mark_action(instruction, text) == mark_observation(instruction, text) == text


@pytest.mark.timeout(120)
def test_endless_texts_are_marked_and_cut(
    exported: Callable[[str], tuple[Path, Path]],
) -> None:
    folder = exported("bert")[1]
    reward = read_manifest(folder).reward
    assert reward is not None
    spec = replace(reward.prompt, marks_overlap=True)
    writer = PromptWriter(spec, folder / "tokenizer.json", max_positions=256)
    instruction = "".join(f'"a{i}" ' for i in range(1_000_000))
    observation = "".join(f'link "b{i}"\n' for i in range(1_000_000))

    prompt = writer.write(Step(instruction, (), 'click "a1"', observation))

    assert len(prompt) <= 256
    assert prompt.num_cut > 100_000


@pytest.mark.parametrize(
    ("instruction", "name", "expected"),
    [
        ("Click on Eu now", "Eu", ["same"]),
        ("Click on Eu now", "eu", ["alike"]),
        ("Click on Europe now", "Eu", ["none"]),
        ("Click on Neu now", "eu", ["none"]),
        ("Select Bu, then go", "Burkina", ["none"]),
        ('Items that start with "Bu"', "Burkina", ["begins"]),
        ('Items that end with "na"', "Burkina", ["ends"]),
        ('Starts with "ab" and ends with "ba"', "abba", ["begins", "ends"]),
        ("Reply to Anna Smith", "Smith, John", ["some"]),
        ("Click the button", "button to the", ["none"]),
        ("Send 3.5 to @bob", "@bob", ["same"]),
    ],
)
def test_mark(instruction: str, name: str, expected: list[str]) -> None:
    assert marks(instruction, name) == expected


STEPS = [
    Step(
        'Select "Bu" and Eu, then Log in',
        tuple(f'click "Eu" {i}' for i in range(5)),
        action,
        'button "Burkina"\nbutton "eu"\nbutton "Log in" in "Log in here"',
    )
    for action in ('click "Burkina"', ' click "eu" in "Eu" ', "wait")
]


@pytest.mark.parametrize("family", ["bert", "qwen2", "qwen2_vl"])
def test_writer_says_what_transformers_is_given(
    family: str, exported: object, tmp_path: Path
) -> None:
    """The prompts of an export with both options, and scores through the runtime."""
    checkpoint = exported(family)[0]  # type: ignore[operator]
    options = ["--mark-overlap", "--max-history", "2", "--random-heads", "0", "--json"]

    assert main([str(checkpoint), str(tmp_path / "model"), *options]) == 0

    manifest = read_manifest(tmp_path / "model")
    spec = manifest.reward
    assert spec is not None
    assert (spec.prompt.marks_overlap, spec.prompt.max_history) == (True, 2)
    token = spec.patches.token if spec.patches else None
    writer = PromptWriter(
        spec.prompt,
        checkpoint / "tokenizer.json",
        max_positions=manifest.max_positions,
        image_token=token,
    )
    reference = Reference(checkpoint, manifest)
    prompts = writer.write_all(STEPS, [0] * len(STEPS))
    for step, prompt in zip(STEPS, prompts, strict=True):
        whole = reference.prompt(step)
        assert [*prompt.prefix, *prompt.suffix] == whole.ids.tolist()
        assert prompt.gate_index % len(prompt.prefix) == whole.gate
    assert all(prompt.prefix is prompts[0].prefix for prompt in prompts)
    steps = STEPS
    if family == "qwen2_vl":
        data = encode(draw(64, 48))
        steps = [
            Step(s.instruction, s.history, s.action, s.observation, lambda: data) for s in STEPS
        ]
    model = RewardModel(tmp_path / "model", providers="cpu", threads=1)
    for found, expected in zip(model.features(steps), reference.features(steps), strict=True):
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("family", ["bert", "qwen2"])
def test_old_actions_and_plain_names_count_for_nothing_beyond_the_options(
    family: str, exported: object, tmp_path: Path
) -> None:
    asked = PromptSettings(max_history=2)
    manifest = export(exported(family)[0], tmp_path / "model", prompt=asked)  # type: ignore[operator]
    assert manifest.reward is not None
    path = tmp_path / "model" / "tokenizer.json"
    writer = PromptWriter(manifest.reward.prompt, path, max_positions=manifest.max_positions)

    def prefix(*history: str) -> list[int]:
        return writer.write(Step("i", history, "a", "o")).prefix.tolist()

    assert prefix("x", "b", "c") == prefix("y", "b", "c") != prefix("x", "y", "c")
    # The numbers say how many there were.
    assert prefix("b", "c") != prefix("x", "b", "c")


@given(texts, st.lists(texts, min_size=2, max_size=2))
def test_marks_of_a_screen_do_not_depend_on_the_action(text: str, actions: list[str]) -> None:
    instruction = 'Click "a" and Ab'

    marked = {(mark_observation(instruction, text), mark_action(instruction, a)) for a in actions}

    assert len({screen for screen, _ in marked}) == 1
