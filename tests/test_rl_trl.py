"""TRL's own trainers take our rows and our rewards, on tiny policies with random weights."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from checkpoints import TEXT, VOCABULARY, write_checkpoint
from msgspec.structs import replace
from pictures import draw, encode
from prompt_checkpoints import QWEN_TEMPLATE, QWEN_VL_TEMPLATE, save_checkpoint
from similar_fast import RewardModel, Step
from similar_fast.baselines import LexicalScorer
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.protocols import Scorer
from similar_fast.records import Labels
from similar_fast.rl.dpo import step_dpo_rows
from similar_fast.rl.preferences import preferences_from_scores
from similar_fast.rl.prompt_rows import prompt_rows
from similar_fast.rl.reward_function import RewardFunction
from similar_fast.rl.row_files import write_rows
from similar_fast.srm.screenshots import ScreenshotStore
from similar_fast.srm.writers import write_data
from srm_pairs import make_pair
from srm_records import step
from transformers import Trainer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

# TRL's own configuration and models use names that transformers has changed.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

LABELS = [dimension.name.lower() for dimension in DIMENSIONS]
QUIET: dict[str, Any] = {
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "seed": 0,
    "bf16": False,
}
PAIRS = [
    make_pair(
        task=str(i),
        chosen=[f'click button "Ticket {i}"'],
        rejected=['click link "Help"'],
        observation=f'button "Ticket {i}"\nlink "Help"',
        history=("click A",) * (i % 2),
    )
    for i in range(6)
]
STATES = [
    step(action, state=f"s{i}", instruction=f"Buy ticket {i}", observation='link "Help"')
    for i in range(4)
    for action in (f'click "ticket {i}"', 'click "Help"')
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tokenizer(tmp_path: Path) -> transformers.PreTrainedTokenizerBase:
    folder = save_checkpoint(tmp_path / "tokenizer", "qwen2", template=QWEN_TEMPLATE)
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>",  # noqa: S106  # no password
        pad_token="<|endoftext|>",  # noqa: S106  # as above
    )
    found.chat_template = QWEN_TEMPLATE
    return found


@pytest.fixture
def policy(tmp_path: Path) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**TEXT | {"num_hidden_layers": 2})
    assert config.vocab_size == VOCABULARY
    # DPO opens its reference model where the policy came from.
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "policy")
    return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "policy")


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def logged(trainer: Trainer, name: str) -> list[float]:
    return [record[name] for record in trainer.state.log_history if name in record]


class Recorded(RewardFunction):
    """Keeps what TRL gave and what it got."""

    def __init__(self, scorer: Scorer, **options: Any) -> None:  # noqa: ANN401  # as the base
        super().__init__(scorer, **options)
        self.calls: list[tuple[Sequence[Any], dict[str, Any], list[float | None]]] = []

    def __call__(
        self,
        prompts: Sequence[object],
        completions: Sequence[Any],
        completion_ids: object = None,
        **columns: Any,  # noqa: ANN401  # as the base
    ) -> list[float | None]:
        found = super().__call__(prompts, completions, completion_ids, **columns)
        self.calls.append((completions, columns, found))
        return found


@pytest.mark.parametrize("form", ["conversational", "standard"])
def test_dpo_takes_steps_on_our_rows(
    form: str,
    tmp_path: Path,
    tokenizer: transformers.PreTrainedTokenizerBase,
    policy: transformers.PreTrainedModel,
) -> None:
    before = weights(policy)
    trainer = DPOTrainer(
        model=policy,
        args=DPOConfig(
            output_dir=str(tmp_path),
            max_steps=3,
            per_device_train_batch_size=2,
            learning_rate=1e-3,
            max_length=512,
            **QUIET,
        ),
        train_dataset=datasets.Dataset.from_list(list(step_dpo_rows(PAIRS, form=form))),
        processing_class=tokenizer,
    )

    trainer.train()

    losses = logged(trainer, "loss")
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] == pytest.approx(np.log(2), abs=1e-3)
    assert not torch.equal(weights(policy), before)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_dpo_takes_a_step_on_a_models_pairs_from_a_file(
    suffix: str,
    tmp_path: Path,
    tokenizer: transformers.PreTrainedTokenizerBase,
    policy: transformers.PreTrainedModel,
) -> None:
    path = tmp_path / f"rows.{suffix}"
    pairs = preferences_from_scores(STATES, LexicalScorer())
    assert write_rows(path, step_dpo_rows(pairs)) == 4
    loader = {"jsonl": "json"}.get(suffix, suffix)
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(loader, data_files=str(path), split="train", cache_dir=cache)
    trainer = DPOTrainer(
        model=policy,
        args=DPOConfig(output_dir=str(tmp_path), max_steps=1, **QUIET),
        train_dataset=rows,
        processing_class=tokenizer,
    )

    trainer.train()

    assert rows[0]["chosen"] == [{"role": "assistant", "content": 'click "ticket 0"'}]
    assert np.isfinite(logged(trainer, "loss")).all()


def test_dpo_shows_our_pictures_to_a_vision_model(
    tmp_path: Path,
    tokenizer: transformers.PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A processor wants a video processor, and that one torchvision.
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None)
    processor = transformers.Qwen2VLProcessor(
        Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 60}),
        tokenizer,
        chat_template=QWEN_VL_TEMPLATE,
    )
    folder = tmp_path / "vision"
    write_checkpoint(folder, "qwen2_vl")
    store = ScreenshotStore(tmp_path / "screenshots")
    names = [store.put(encode(draw(90, 60, seed=i))) for i in range(2)]
    pairs = [make_pair(task=str(i), screenshot=name) for i, name in enumerate(names)]
    rows = datasets.Dataset.from_list(list(step_dpo_rows(pairs, screenshots=store)))
    model = transformers.Qwen2VLForConditionalGeneration.from_pretrained(folder)
    before = weights(model.model.visual)
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=2,
            per_device_train_batch_size=2,
            max_length=None,
            learning_rate=1e-3,
            **QUIET,
        ),
        train_dataset=rows.cast_column("images", datasets.List(datasets.Image())),
        processing_class=processor,
    )

    trainer.train()

    assert np.isfinite(logged(trainer, "loss")).all()
    assert not torch.equal(weights(model.model.visual), before)


@pytest.mark.parametrize(
    ("trainer_of", "config"), [(GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)]
)
def test_online_trainers_take_steps_with_the_reward(
    trainer_of: Callable[..., Trainer],
    config: Callable[..., object],
    tmp_path: Path,
    tokenizer: transformers.PreTrainedTokenizerBase,
    policy: transformers.PreTrainedModel,
) -> None:
    reward = Recorded(LexicalScorer(), scale=(-2.0, 2.0), floor=0.0)
    trainer = online(
        trainer_of, config, reward, tmp_path=tmp_path, policy=policy, tokenizer=tokenizer
    )

    trainer.train()

    assert trainer.state.global_step == 2
    assert np.isfinite(logged(trainer, "loss")).all()
    means = logged(trainer, "rewards/similar_total/mean")
    assert len(means) == 2
    assert all(0 <= mean <= 1 for mean in means)
    assert len(logged(trainer, "similar_total/malformed")) == 2
    assert all(len(found) == 4 for _, _, found in reward.calls)


def test_grpo_rewards_are_the_models_own_scores_and_move_the_policy(
    exported: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    tokenizer: transformers.PreTrainedTokenizerBase,
    policy: transformers.PreTrainedModel,
) -> None:
    model = RewardModel(exported("qwen2")[1])
    reward = Recorded(model, dimension=Dimension.TOTAL, parse=lambda text: text.strip() or None)
    before = weights(policy)
    trainer = online(
        GRPOTrainer, GRPOConfig, reward, tmp_path=tmp_path, policy=policy, tokenizer=tokenizer
    )

    trainer.train()

    scored = 0
    for completions, columns, found in reward.calls:
        for i, value in enumerate(found):
            if value is None:
                continue
            one = Step(
                columns["instruction"][i],
                tuple(columns["history"][i]),
                completions[i][-1]["content"].strip(),
                columns["observation"][i],
            )
            assert value == pytest.approx(float(model.score([one]).total[0]), abs=1e-4)
            scored += 1
    assert scored >= 4
    assert not torch.equal(weights(policy), before)


SCRIPT = re.compile(r"^```py\n(import .*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", [0, 1])
def test_the_scripts_of_the_docs_train_a_policy(
    number: int,
    exported: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tokenizer: transformers.PreTrainedTokenizerBase,
    policy: transformers.PreTrainedModel,
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "rl.md").read_text(encoding="utf-8")
    script = SCRIPT.findall(page)[number].replace("Qwen/Qwen2.5-0.5B-Instruct", "policy")
    script = script.replace("seed=0", "seed=0, use_cpu=True, report_to='none'")
    # A random policy never names a candidate.
    script = script.replace("list_candidates=True", "").replace("length=64", "length=8")
    script = script.replace("num_generations=8", "num_generations=2, per_device_train_batch_size=4")
    tokenizer.save_pretrained(tmp_path / "policy")
    (tmp_path / "similar-2b").symlink_to(exported("qwen2")[1])
    labels = [Labels(**dict.fromkeys(LABELS, value)) for value in (1.0, 0.0)]
    write_data(
        tmp_path / "steps.jsonl",
        [replace(state, labels=labels[i % 2]) for i, state in enumerate(STATES)],
    )
    monkeypatch.chdir(tmp_path)

    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102  # our own text

    (saved,) = tmp_path.glob("policy-*")
    after = transformers.AutoModelForCausalLM.from_pretrained(saved)
    assert not torch.equal(weights(after), weights(policy))


def online(
    trainer_of: Callable[..., Trainer],
    config: Callable[..., object],
    reward: RewardFunction,
    *,
    tmp_path: Path,
    policy: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
) -> Trainer:
    return trainer_of(
        model=policy,
        reward_funcs=reward,
        args=config(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=8,
            learning_rate=1e-3,
            **QUIET,
        ),
        train_dataset=datasets.Dataset.from_list(list(prompt_rows(STATES))),
        processing_class=tokenizer,
    )
