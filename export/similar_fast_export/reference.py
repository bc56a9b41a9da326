"""What transformers itself says of a step: one whole prompt at a time, nothing shared.

The oracle of `--verify`, of the tests and of the benches. It wants the extra `verify`.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from similar_fast.errors import ModelError
from similar_fast.models.manifest import Manifest
from similar_fast.prompts import ChatMessage, chat_messages
from similar_fast.prompts.overlap import mark_action, mark_observation
from similar_fast.types import Step

from similar_fast_export.chat_template import TEMPLATE_DATE, read_template

if TYPE_CHECKING:
    import torch

__all__ = ["Reference", "WholePrompt", "check_installed", "quiet"]

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class WholePrompt:
    """A step as transformers reads it.

    Attributes:
        ids: `[S]` int64, the action's turn included.
        gate: Which token the gate reads.
        num_prefix: Tokens before the action's own; bert only, where it bounds the mask.
        image: The model's further inputs; empty without a screenshot.
    """

    ids: NDArray[np.int64]
    gate: int
    num_prefix: int
    image: dict[str, Any]


def check_installed() -> None:
    """Asks for what a comparison with transformers needs, before anything long begins.

    Raises:
        ModuleNotFoundError: A package of the extra `verify` is not installed.
    """
    for name in ("torch", "transformers", "PIL"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


class Reference:
    """A checkpoint as transformers runs it, with the prompt of an exported model.

    Attributes:
        model: The backbone, in evaluation mode.
        tokenizer: Its tokenizer.
    """

    def __init__(self, checkpoint: Path, manifest: Manifest, *, dtype: str = "float32") -> None:
        """Loads the checkpoint.

        Args:
            checkpoint: Its folder.
            manifest: Of the exported model.
            dtype: `float32` or `float16`.

        Raises:
            ModuleNotFoundError: torch or transformers is not installed.
        """
        import torch  # noqa: PLC0415  # an extra
        from transformers import (  # noqa: PLC0415  # as above
            AutoImageProcessor,
            AutoModel,
            PreTrainedTokenizerFast,
        )

        if manifest.reward is None:
            raise ValueError(f"the manifest is of the family {manifest.family!r}, no reward model")
        self._spec = manifest.reward
        self._family = manifest.family
        with quiet():
            self.model = AutoModel.from_pretrained(
                checkpoint, dtype=getattr(torch, dtype), local_files_only=True
            ).eval()
        if self._family == "mllama":
            _keep_inputs(self.model.vision_model)
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint, local_files_only=True)
        self._template = None if self._family == "bert" else read_template(checkpoint)[1]
        self._processor = None
        if self._spec.patches or self._spec.tiles:
            self._processor = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
                checkpoint, backend="pil", local_files_only=True
            )

    def features(self, steps: Sequence[Step]) -> tuple[_Floats, _Floats]:
        """`[n, H]` each: the last token's state, and the state that the gate reads."""
        prompts = [self.prompt(step) for step in steps]
        rows = [self.states(prompt)[[-1, prompt.gate]] for prompt in prompts]
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    def prompt(self, step: Step) -> WholePrompt:
        """The step's tokens and pixels, by the checkpoint's own template and processor."""
        step = self._marked(step)
        if self._family == "bert":
            return self._bert_prompt(step)
        messages = chat_messages(
            step, self._spec.prompt.layout, max_history=self._spec.prompt.max_history
        )
        image: dict[str, Any] = {}
        copies = 1
        if step.screenshot is not None:
            image, copies = self._image(step.screenshot())
        text = self._render(messages, copies)
        ids = self._ids(text)
        header = len(self._ids(self._render(messages[:-1], copies)))
        gate = header if self._family != "mllama" else header - 1
        if self._family == "mllama" and image:
            image["cross_attention_mask"] = self._cross_attention_mask(ids, image)
        return WholePrompt(np.array(ids), gate, header, image)

    def states(self, prompt: WholePrompt) -> _Floats:
        """`[S, H]`, the last layer's state of every token."""
        import torch  # noqa: PLC0415  # an extra

        with torch.no_grad():
            states: _Floats = self.run(prompt).numpy()
        return states

    def run(self, prompt: WholePrompt) -> "torch.Tensor":
        """`[S, H]` float32, as `states`, with gradients, on the model's device."""
        import torch  # noqa: PLC0415  # an extra

        device = self.model.device
        ids = torch.tensor(prompt.ids, device=device)[None]
        inputs: dict[str, Any] = dict(prompt.image)
        if self._family == "bert":
            inputs |= self._bert_inputs(prompt)
        elif inputs and self._spec.patches:
            inputs["mm_token_type_ids"] = (ids == self._spec.patches.token).int()
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        states: torch.Tensor = self.model(input_ids=ids, **inputs).last_hidden_state[0].float()
        return states

    def _render(self, messages: Sequence[ChatMessage], copies: int) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages,
            chat_template=self._template,
            tokenize=False,
            date_string=TEMPLATE_DATE.strftime("%d %b %Y"),
        )
        spec = self._spec.patches
        if spec is None:
            return text
        token = self.tokenizer.convert_ids_to_tokens(spec.token)
        return text.replace(token, token * copies)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _image(self, data: bytes) -> tuple[dict[str, Any], int]:
        from PIL import Image  # noqa: PLC0415  # as above

        picture = Image.open(io.BytesIO(data))
        out = dict(self._processor(images=[picture], return_tensors="pt"))  # type: ignore[misc]
        if self._spec.patches is None:
            names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
            return {name: out[name] for name in names} | {"num_tiles": out["num_tiles"]}, 1
        copies = int(out["image_grid_thw"][0].prod()) // self._spec.patches.merge_size**2
        return {name: out[name] for name in ("pixel_values", "image_grid_thw")}, copies

    def _cross_attention_mask(self, ids: list[int], image: dict[str, Any]) -> "torch.Tensor":
        import torch  # noqa: PLC0415  # an extra
        from transformers.models.mllama.processing_mllama import (  # noqa: PLC0415
            convert_sparse_cross_attention_mask_to_dense,
            get_cross_attention_token_mask,
        )

        tiles = self._spec.tiles
        assert tiles is not None  # noqa: S101  # the manifest's check
        sparse = [get_cross_attention_token_mask(ids, tiles.token)]
        num_tiles = image.pop("num_tiles")
        dense = convert_sparse_cross_attention_mask_to_dense(
            sparse, num_tiles=num_tiles, max_num_tiles=tiles.max_tiles, length=len(ids)
        )
        return torch.tensor(dense)

    def _bert_prompt(self, step: Step) -> WholePrompt:
        history = "\n\n".join(self._numbered(step)) or "None"
        start, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rest = [step.observation, history]
        if self._spec.prompt.layout == "history-first":
            rest.reverse()
        prefix = [start]
        for text in (step.instruction, *rest):
            prefix += [*self._ids(text), end]
        ids = [*prefix, *self._ids(step.action.strip()), end]
        return WholePrompt(np.array(ids), 0, len(prefix), {})

    def _marked(self, step: Step) -> Step:
        if not self._spec.prompt.marks_overlap:
            return step
        return replace(
            step,
            observation=mark_observation(step.instruction, step.observation),
            action=mark_action(step.instruction, step.action.strip()),
        )

    def _numbered(self, step: Step) -> list[str]:
        numbered = [f"Step {i} : {a}" for i, a in enumerate(step.history, 1)]
        most = self._spec.prompt.max_history
        return numbered if most is None else numbered[-most:]

    def _bert_inputs(self, prompt: WholePrompt) -> dict[str, Any]:
        """The prefix sees the prefix, the action sees all."""
        import torch  # noqa: PLC0415  # an extra

        n = len(prompt.ids)
        mask = torch.zeros(1, 1, n, n)
        mask[:, :, : prompt.num_prefix, prompt.num_prefix :] = torch.finfo(torch.float32).min
        return {"attention_mask": mask}


@contextmanager
def quiet() -> Iterator[None]:
    """Within it transformers shows no bar and does not report which tensors it had no use for."""
    from transformers.utils import logging  # noqa: PLC0415  # an extra

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _keep_inputs(vision: "torch.nn.Module") -> None:
    """Makes the tower hand over the inputs of its intermediate layers, not their outputs.

    Later releases of transformers take the outputs; see `docs/decisions/mllama-layers.md`.

    Raises:
        ModelError: The first layer is among them, which has no layer before it to take.
    """
    layers = list(vision.intermediate_layers_indices)  # type: ignore[arg-type]  # a list of numbers
    if 0 in layers:
        raise ModelError(f"intermediate_layers_indices are {layers}; expected none to be 0")
    vision.intermediate_layers_indices = [layer - 1 for layer in layers]  # type: ignore[assignment]
