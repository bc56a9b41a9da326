"""Steps -> what the heads read of them: h and p. Each state is run once, its candidates together.

`prompts` writes a step's tokens, `pictures` looks at its screenshot, and steps with one prefix and
one picture are one state, which `states` runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import InferenceError, SimilarFastError
from similar_fast.prompts import Prompt, PromptWriter
from similar_fast.reward.pictures import PictureReader, Screenshot
from similar_fast.reward.states import StateRunner
from similar_fast.reward.vision import Vision
from similar_fast.types import Step

__all__ = ["FeatureReader", "Features"]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One step, ready to run."""

    prompt: Prompt
    screenshot: Screenshot | None

    @property
    def state_key(self) -> tuple[int, bytes]:
        """Equal for the candidates of one state, within one call of the writer."""
        return id(self.prompt.prefix), self.screenshot.key if self.screenshot else b""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the heads read of n steps of G states.

    Attributes:
        hidden: `[n, H]` float32, each action's last token.
        prompt_hidden: `[G, H]` float32, the token of each state that the gate reads.
        group: `[n]` int64, which state each step belongs to.
        first: `[n]` int64, the first step with the same state and the same action.
        num_cut: `[n]` int64, tokens of its state that did not fit.
    """

    hidden: NDArray[np.float32]
    prompt_hidden: NDArray[np.float32]
    group: NDArray[np.int64]
    first: NDArray[np.int64]
    num_cut: NDArray[np.int64]


class FeatureReader:
    """Reads steps with one model; safe in threads."""

    def __init__(
        self,
        writer: PromptWriter,
        pictures: PictureReader,
        vision: Vision,
        runner: StateRunner,
        *,
        hidden_size: int,
    ) -> None:
        """Takes the parts of one model.

        Args:
            writer: Writes prompts.
            pictures: Looks at screenshots.
            vision: How the family shows a picture to its decoder.
            runner: Runs states.
            hidden_size: H.
        """
        self._writer = writer
        self._pictures = pictures
        self._vision = vision
        self._runner = runner
        self._hidden_size = hidden_size
        self._lock = Lock()
        self._counts = np.zeros(3, np.int64)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Steps that were read so far, tokens of their prompts, tokens that were cut."""
        with self._lock:
            steps, asked, num_cut = (int(count) for count in self._counts)
        return steps, asked, num_cut

    def read(self, steps: Sequence[Step], failed: dict[int, SimilarFastError]) -> Features:
        """The features of `steps`, state by state; a step that fails is noted in `failed`.

        A row of a step that failed holds anything.
        """
        jobs = self._jobs(steps, failed)
        states: dict[tuple[int, bytes], list[int]] = {}
        for i, job in jobs.items():
            states.setdefault(job.state_key, []).append(i)
        width = self._hidden_size
        features = Features(
            hidden=np.empty((len(steps), width), np.float32),
            prompt_hidden=np.empty((len(states), width), np.float32),
            group=np.zeros(len(steps), np.int64),
            first=np.arange(len(steps)),
            num_cut=np.array(
                [jobs[i].prompt.num_cut if i in jobs else 0 for i in range(len(steps))], np.int64
            ),
        )
        for g, members in enumerate(states.values()):
            try:
                self._run_state([jobs[i] for i in members], g, members, features)
            except SimilarFastError as err:
                failed |= dict.fromkeys(members, err)
                continue
            except Exception as err:  # noqa: BLE001  # no memory, say: it is this state's alone
                failure = InferenceError(f"a state cannot be run: {type(err).__name__}: {err}")
                failed |= dict.fromkeys(members, failure)
                continue
            is_finite = np.isfinite(features.hidden[members]).all(axis=1)
            for k in np.flatnonzero(~is_finite).tolist():
                failed[members[k]] = InferenceError(
                    "the decoder's state of an action is not finite"
                )
        return features

    def _jobs(self, steps: Sequence[Step], failed: dict[int, SimilarFastError]) -> dict[int, _Job]:
        """What is to be run for each step, by its index; steps that cannot be read are left out."""
        screenshots = self._pictures.look(steps, failed)
        readable = [i for i in range(len(steps)) if i not in failed]
        tokens = [shot.num_tokens if (shot := screenshots[i]) else 0 for i in readable]
        jobs = {}
        prompts = self._prompts([steps[i] for i in readable], tokens)
        for i, prompt in zip(readable, prompts, strict=True):
            if isinstance(prompt, SimilarFastError):
                failed[i] = prompt
            else:
                jobs[i] = _Job(prompt, screenshots[i])
        read = [job.prompt for job in jobs.values()]
        counts = len(read), sum(map(len, read)), sum(prompt.num_cut for prompt in read)
        with self._lock:
            self._counts += counts
        return jobs

    def _prompts(
        self, steps: Sequence[Step], num_image_tokens: Sequence[int]
    ) -> Iterable[Prompt | SimilarFastError]:
        """Written together where all can be, since that is quicker."""
        try:
            yield from self._writer.write_all(steps, num_image_tokens)
        except SimilarFastError:
            for step, count in zip(steps, num_image_tokens, strict=True):
                try:
                    yield self._writer.write(step, count)
                except SimilarFastError as err:
                    yield err

    def _run_state(
        self, jobs: Sequence[_Job], group: int, members: list[int], features: Features
    ) -> None:
        """Fills the rows `members` and `group` of `features` for the candidates of one state."""
        prompt, screenshot = jobs[0].prompt, jobs[0].screenshot
        # Once for the state, whatever the cache keeps of it.
        see = cache(partial(self._pictures.see, screenshot)) if screenshot else None
        tokens = self._vision.tokens(
            prompt.prefix,
            image_start=prompt.image_start,
            grid=screenshot.grid if screenshot else None,
            words=screenshot.words if screenshot else None,
        )
        state = self._runner.state(
            tokens,
            gate_index=prompt.gate_index,
            picture=lambda start, stop: self._vision.prefix_feeds(tokens, start, stop, see=see),
        )
        # A slice where the candidates of a state come together, as a search sends them.
        first, stop = members[0], members[-1] + 1
        rows = slice(first, stop) if stop - first == len(members) else members
        features.hidden[rows] = self._runner.candidates(
            state,
            [job.prompt.suffix for job in jobs],
            picture=lambda count: self._vision.suffix_feeds(count, see),
        )
        features.prompt_hidden[group] = state.prompt_hidden
        features.group[rows] = group
        seen: dict[bytes, int] = {}
        for i, job in zip(members, jobs, strict=True):
            features.first[i] = seen.setdefault(job.prompt.suffix.tobytes(), i)
