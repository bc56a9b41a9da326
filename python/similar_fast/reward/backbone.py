"""The graphs of one reward model: arrays in, arrays out. It knows no step and keeps nothing.

`docs/models.md` draws the graphs' interface.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import InferenceError, ModelError
from similar_fast.models.heads import HEADS_NAME
from similar_fast.models.manifest import Manifest, RewardSpec
from similar_fast.models.runtime import Provider, Session, Tensor, open_session, to_host

__all__ = ["Backbone", "HeadValues", "Row", "past_names", "shared_past"]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One run of the decoder over S new tokens that continue P old ones.

    Attributes:
        input_ids: `[S]` int64.
        positions: `[A, S]` int64.
        mask: `[S, P + S]` bool, what each new token may attend to.
        score_index: `[K]` int64, the tokens whose states are wanted.
        past: Keys and values of the old tokens by input name; empty where P is 0.
        picture: Further feeds: what the decoder reads of a screenshot.
    """

    input_ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    mask: NDArray[np.bool_]
    score_index: NDArray[np.int64]
    past: Mapping[str, Tensor]
    picture: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class HeadValues:
    """What the heads say of K actions.

    Attributes:
        dims: `[K, 5]` float32 in the order of `DIMENSIONS`, in the manifest's label scales.
        weights: `[K, 5]` float32, the gate's.
        total: `[K]` float32, their product's sum.
    """

    dims: NDArray[np.float32]
    weights: NDArray[np.float32]
    total: NDArray[np.float32]


class Backbone:
    """The open graphs of a model's folder; safe to run from many threads at once.

    Attributes:
        spec: The manifest's part for reward models.
        hidden_size: Width of a token's state.
        cross_names: The decoder's inputs for a picture's keys and values; mllama only.
        providers: The execution providers in use, first choice first.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        providers: str | Sequence[Provider],
        threads: int | None,
    ) -> None:
        """Opens the graphs.

        Raises:
            ModelError: The folder holds no reward model, or its graphs do not fit its manifest.
            InferenceError: No session can be made, see `open_session`.
        """
        if manifest.reward is None:
            raise ModelError(
                f"{folder} holds a model of the family {manifest.family!r}; expected a reward model"
            )
        self.spec: RewardSpec = manifest.reward
        _check_files(folder, manifest)
        self.hidden_size = manifest.hidden_size
        self.cross_names = past_names("cross", self.spec.decoder.cross_layers)
        self._past = past_names("past", self.spec.decoder.layers)
        self._present = past_names("present", self.spec.decoder.layers)

        def open_graph(name: str) -> Session:
            return open_session(folder / name, providers=providers, threads=threads)

        self._decoder = open_graph("decoder.onnx")
        if providers == "auto" and self._decoder.device is None:
            # Where one graph found no room on the device, what another keeps there is of no use.
            providers = "cpu"
        self._heads = open_graph(HEADS_NAME)
        has_vision = self.spec.patches is not None or self.spec.tiles is not None
        self._vision = open_graph("vision.onnx") if has_vision else None
        self.providers = self._decoder.providers
        self._check_graphs()
        self._check_sizes()
        self._nothing = self._empty_past()

    @property
    def device(self) -> tuple[str, int] | None:
        """(kind, number) of where keys and values lie; None where they are arrays."""
        return self._decoder.device

    def see(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """The vision graph's outputs by name, kept where the decoder runs.

        Raises:
            InferenceError: The session failed, or the model has no vision.
        """
        if self._vision is None:
            raise InferenceError("the model has no vision; expected a step without a screenshot")
        return self._vision.run_keeping(feeds, fetch=(), keep=self._vision.outputs)[1]

    def extend(self, row: Row, *, keep: bool) -> tuple[NDArray[np.float32], dict[str, Tensor]]:
        """Hidden states `[K, H]` float32 at `score_index`, and the keys and values of all P + S.

        Args:
            row: What to run.
            keep: Whether the keys and values are wanted; they have the names of a `past`.

        Raises:
            InferenceError: The session failed, or its states have the wrong shape.
        """
        feeds: dict[str, Tensor] = {
            "input_ids": row.input_ids[None],
            "position_ids": row.positions[:, None],
            "mask": row.mask[None, None],
            "score_index": row.score_index,
            **(row.past or self._nothing),
            **row.picture,
        }
        fetched, kept = self._decoder.run_keeping(
            feeds, fetch=("hidden",), keep=self._present if keep else ()
        )
        hidden: NDArray[np.float32] = fetched["hidden"]
        expected = (len(row.score_index), self.hidden_size)
        if hidden.shape != expected:
            raise InferenceError(
                f"{self._decoder.path} returned states of shape {list(hidden.shape)}; "
                f"expected {list(expected)}"
            )
        return hidden, dict(zip(self._past, kept.values(), strict=True)) if keep else {}

    def judge(
        self,
        hidden: NDArray[np.float32],
        prompt_hidden: NDArray[np.float32],
        group: NDArray[np.int64],
    ) -> HeadValues:
        """What the heads say.

        Args:
            hidden: `[K, H]`, each action's last token.
            prompt_hidden: `[G, H]`, the token of each state that the gate reads.
            group: `[K]`, which state each action belongs to.

        Raises:
            InferenceError: The session failed, or its answer has the wrong shape.
        """
        out = self._heads.run({"hidden": hidden, "prompt_hidden": prompt_hidden, "group": group})
        n, width = len(hidden), len(DIMENSIONS)
        shapes = [list(out[name].shape) for name in ("dims", "weights", "score")]
        if shapes != [[n, width], [n, width], [n]]:
            raise InferenceError(
                f"{self._heads.path} returned the shapes {shapes}; "
                f"expected {[[n, width], [n, width], [n]]}"
            )
        return HeadValues(out["dims"], out["weights"], out["score"])

    def _check_graphs(self) -> None:
        """The names that every family has."""
        wanted: dict[Session, tuple[set[str], set[str]]] = {
            self._decoder: (
                {
                    "input_ids",
                    "position_ids",
                    "mask",
                    "score_index",
                    *self._past,
                    *self.cross_names,
                },
                {"hidden", *self._present},
            ),
            self._heads: ({"hidden", "prompt_hidden", "group"}, {"dims", "weights", "score"}),
        }
        if self._vision is not None:
            inputs, outputs = {"pixel_values"}, set(self.cross_names) or {"image_embeds"}
            wanted[self._vision] = (inputs, outputs)
        for session, (inputs, outputs) in wanted.items():
            missing = (inputs - set(session.inputs)) | (outputs - set(session.outputs))
            if missing:
                raise ModelError(
                    f"{session.path} has no {sorted(missing)}; "
                    f"it turns {session.inputs} into {session.outputs}"
                )

    def _check_sizes(self) -> None:
        """What the manifest says of the decoder; onnxruntime checks the rest as it runs."""
        spec, shapes = self.spec.decoder, self._decoder.shapes
        expected = {
            "hidden": ("float32", 1, self.hidden_size),
            "position_ids": ("int64", 0, spec.position_axes),
            self._past[0]: (spec.kv_dtype, 1, spec.num_kv_heads),
            self._present[-1]: (spec.kv_dtype, 3, spec.head_dim),
        }
        for name, (dtype, axis, size) in expected.items():
            found_dtype, shape = shapes[name]
            if found_dtype != dtype or len(shape) <= axis or shape[axis] != size:
                raise ModelError(
                    f"{self._decoder.path} has {name} {found_dtype}{list(shape)}; the manifest has "
                    f"{dtype} and {size} as axis {axis}"
                )

    def _empty_past(self) -> dict[str, Tensor]:
        decoder = self.spec.decoder
        shape = (1, decoder.num_kv_heads, 0, decoder.head_dim)
        return dict.fromkeys(self._past, np.empty(shape, decoder.kv_dtype))


def _check_files(folder: Path, manifest: Manifest) -> None:
    """The manifest names what is opened, so that all of it was checked."""
    reward = manifest.reward
    needed = {"decoder.onnx", HEADS_NAME, "tokenizer.json"}
    if reward is not None and (reward.patches or reward.tiles):
        needed.add("vision.onnx")
    missing = sorted(needed - {file.name for file in manifest.files})
    if missing:
        raise ModelError(f"the manifest of {folder} does not name {missing[0]}")


def past_names(kind: str, layers: Sequence[int]) -> tuple[str, ...]:
    """`past.0.key`, `past.0.value`, `past.1.key` and so on, by the graph's names."""
    return tuple(f"{kind}.{layer}.{part}" for layer in layers for part in ("key", "value"))


def shared_past(past: Mapping[str, Tensor], length: int) -> dict[str, Tensor]:
    """The keys and values of the first `length` tokens, in host memory."""
    return {name: to_host(tensor)[:, :, :length] for name, tensor in past.items()}
