"""Rows, positions and known beginnings as Python sees them; the laws are held in Rust."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from similar_fast.reward.prefix import Attention, Pack, PrefixIndex, pack, rope_positions
from transformers import Qwen2VLConfig, Qwen2VLModel

IMAGE = 9
TINY = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}


def ids(*tokens: int) -> NDArray[np.int64]:
    return np.array(tokens, np.int64)


def counting(length: int, *, axes: int = 1) -> NDArray[np.int64]:
    """Positions from 0 on, equal on all axes."""
    return np.broadcast_to(np.arange(length), (axes, length))


def packed(
    *suffixes: NDArray[np.int64],
    past: int = 2,
    max_tokens: int = 8,
    attention: Attention = "causal",
    keys: list[NDArray[np.uint64]] | None = None,
) -> tuple[Pack, ...]:
    positions = [counting(len(suffix)) for suffix in suffixes]
    return pack(
        suffixes, positions, past=past, max_tokens=max_tokens, attention=attention, keys=keys
    )


def no_keys(length: int) -> NDArray[np.uint64]:
    return np.zeros(length, np.uint64)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("attention", ["causal", "block"])
def test_pack_gives_arrays_of_the_documented_shapes(axes: int, attention: Attention) -> None:
    suffixes = [ids(1, 2), ids(1, 3, 4), ids(5)]
    positions = [counting(len(suffix), axes=axes) for suffix in suffixes]

    (row,) = pack(suffixes, positions, past=3, max_tokens=8, attention=attention)

    size = 5 if attention == "causal" else 6
    assert (row.input_ids.shape, row.input_ids.dtype) == ((size,), np.int64)
    assert (row.positions.shape, row.positions.dtype) == ((axes, size), np.int64)
    assert (row.mask.shape, row.mask.dtype) == ((size, 3 + size), np.bool_)
    assert (row.score_index.shape, row.score_index.dtype) == ((3,), np.int64)
    assert (row.sequences.tolist(), row.sequences.dtype) == ([0, 1, 2], np.int64)


def test_pack_causal_shares_what_begins_alike() -> None:
    (row,) = packed(ids(5, 6, 7), ids(5, 6, 8), past=1)

    assert row.input_ids.tolist() == [5, 6, 7, 8]
    assert row.positions.tolist() == [[0, 1, 2, 2]]
    assert row.score_index.tolist() == [2, 3]
    assert row.mask.astype(int).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 0, 1],
    ]


def test_pack_block_shares_equal_sequences_only() -> None:
    (row,) = packed(ids(5, 6), ids(5), ids(5, 6), past=1, attention="block")

    assert row.input_ids.tolist() == [5, 6, 5]
    assert row.score_index.tolist() == [1, 2, 1]
    assert row.mask.astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 1]]


def test_pack_keys_tell_equal_ids_apart() -> None:
    keys = [np.array([1, 2], np.uint64), np.array([1, 3], np.uint64)]

    (shared,) = packed(ids(4, 4), ids(4, 4))
    (apart,) = packed(ids(4, 4), ids(4, 4), keys=keys)

    assert (len(shared.input_ids), len(apart.input_ids)) == (2, 3)


def test_pack_positions_tell_equal_ids_apart() -> None:
    places = [np.array([[0], [0]]), np.array([[0], [1]])]

    (row,) = pack([ids(4), ids(4)], places, past=0, max_tokens=8)

    assert row.input_ids.tolist() == [4, 4]
    assert row.positions.tolist() == [[0, 0], [0, 1]]


def test_pack_full_row_begins_another() -> None:
    rows = packed(ids(1, 2, 3), ids(4, 5), ids(6), max_tokens=3)

    assert [row.sequences.tolist() for row in rows] == [[0], [1, 2]]


def test_pack_longer_sequence_has_a_row_of_its_own() -> None:
    rows = packed(ids(1), ids(2, 3, 4, 5), ids(6), max_tokens=2)

    assert [row.input_ids.tolist() for row in rows] == [[1], [2, 3, 4, 5], [6]]


def test_pack_takes_arrays_that_are_not_contiguous() -> None:
    wide = np.arange(12, dtype=np.int64).reshape(2, 6)

    (row,) = pack([wide[0, ::2]], [wide[:, ::2]], past=0, max_tokens=8)

    assert row.input_ids.tolist() == [0, 2, 4]
    assert row.positions.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_pack_no_sequences_gives_no_rows() -> None:
    assert pack([], [], past=4, max_tokens=8) == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"past": -1}, "past must be at least 0, got -1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"attention": "full"}, 'attention must be "causal" or "block", got "full"'),
        ({"suffixes": [ids(), ids(1)], "positions": [counting(0), counting(1)]}, "in sequence 0"),
        ({"suffixes": [ids(1)[None]] * 2}, r"suffixes\[0\] must be one column"),
        ({"positions": [counting(2)]}, "positions must be one on each axis"),
        ({"positions": [counting(2), counting(2, axes=2)]}, "positions must be one on each axis"),
        ({"positions": [counting(2), counting(3)]}, "positions must be one on each axis"),
        ({"positions": [np.arange(2)] * 2}, "positions must be one on each axis"),
        ({"positions": [counting(2, axes=4)] * 2}, "positions must be 1 to 3 for each token"),
        ({"keys": [no_keys(2)]}, "keys must be one for each token"),
        ({"keys": [no_keys(2), no_keys(1)]}, "keys must be one for each token"),
        ({"past": 1 << 30}, "the masks take"),
    ],
)
def test_pack_refuses_what_does_not_fit(options: dict[str, Any], words: str) -> None:
    good = {"suffixes": [ids(1, 2), ids(1, 3)], "positions": [counting(2)] * 2}

    with pytest.raises(ValueError, match=words):
        pack(**{**good, "past": 0, "max_tokens": 8, **options})


@pytest.fixture(scope="module")
def reference() -> Qwen2VLModel:
    config = Qwen2VLConfig(
        text_config={**TINY, "vocab_size": 16},
        vision_config={"depth": 1, "embed_dim": 8, "hidden_size": 8, "num_heads": 1},
    )
    with torch.device("meta"):
        return Qwen2VLModel(config)


def prompt(
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """Text and pictures in turn, text first; at least one picture."""
    parts, grids = [], []
    for _ in range(rng.integers(1, 4)):
        rows, columns = (int(size) for size in rng.integers(1, 7, 2))
        parts += [rng.integers(0, IMAGE, rng.integers(1, 6)), np.full(rows * columns, IMAGE)]
        grids.append((1, 2 * rows, 2 * columns))
    return np.concatenate([*parts, rng.integers(0, IMAGE, rng.integers(0, 6))]), grids


def test_rope_positions_of_300_prompts_are_those_of_transformers(reference: Qwen2VLModel) -> None:
    for seed in range(300):
        tokens, grids = prompt(np.random.default_rng(seed))
        expected, delta = reference.get_rope_index(
            torch.tensor(tokens)[None],
            mm_token_type_ids=torch.tensor(tokens == IMAGE, dtype=torch.int32)[None],
            image_grid_thw=torch.tensor(grids),
        )

        positions, after = rope_positions(tokens, image_token=IMAGE, grids=grids, merge_size=2)

        assert positions.dtype == np.int64
        np.testing.assert_array_equal(positions, expected[:, 0].numpy())
        assert after == len(tokens) + int(delta[0, 0])


def test_rope_positions_start_where_they_are_told_to() -> None:
    tokens, grids = prompt(np.random.default_rng(0))
    positions, after = rope_positions(tokens, image_token=IMAGE, grids=grids, merge_size=2)

    moved = rope_positions(tokens, image_token=IMAGE, grids=grids, merge_size=2, start=7)

    np.testing.assert_array_equal(moved[0], positions + 7)
    assert moved[1] == after + 7


def test_rope_positions_text_alone_counts_on() -> None:
    positions, after = rope_positions(ids(1, 2, 3), image_token=IMAGE, grids=[], merge_size=2)

    assert positions.tolist() == [[0, 1, 2]] * 3
    assert after == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grids": []}, "grids must be one for each run of image tokens"),
        ({"grids": [(1, 2, 4)] * 2}, "grids must be one for each run of image tokens"),
        ({"grids": [(1, 4, 4)]}, "picture 0 has 2 image tokens, expected 4 by its grid"),
        ({"grids": [(1, 1, 4)]}, "row 0: grids must be at least 1"),
        ({"merge_size": 0}, "merge_size must be at least 1, got 0"),
        ({"start": -1}, "start must be"),
        ({"ids": ids(1, IMAGE)[None]}, "ids must be one column"),
    ],
)
def test_rope_positions_refuse_what_does_not_fit(options: dict[str, Any], words: str) -> None:
    good = {"ids": ids(1, IMAGE, IMAGE), "grids": [(1, 2, 4)], "merge_size": 2}

    with pytest.raises(ValueError, match=words):
        rope_positions(**{**good, "image_token": IMAGE, **options})


def test_index_find_gives_the_longest_common_beginning() -> None:
    index = PrefixIndex(100)
    assert index.insert(ids(1, 2, 3), no_keys(3), 10) == (0, [])
    assert index.insert(ids(1, 2, 4, 5), no_keys(4), 20) == (1, [])

    assert index.find(ids(1, 2, 4, 6), no_keys(4)) == (1, 3)
    assert index.find(ids(1, 2, 3), no_keys(3)) == (0, 3)
    assert index.find(ids(2), no_keys(1)) is None
    assert index.find(ids(), no_keys(0)) is None
    assert (index.hits, index.partial_hits, index.misses) == (1, 1, 2)
    assert (index.entries, index.nbytes, index.capacity_bytes) == (2, 30, 100)


def test_index_keys_tell_equal_ids_apart() -> None:
    index = PrefixIndex(100)
    index.insert(ids(1, IMAGE), np.array([0, 2**64 - 1], np.uint64), 10)

    assert index.find(ids(1, IMAGE), np.array([0, 5], np.uint64)) == (0, 1)


def test_index_over_capacity_evicts_the_least_recently_used() -> None:
    index = PrefixIndex(30)
    for token in range(3):
        index.insert(ids(token), no_keys(1), 10)
    index.find(ids(0), no_keys(1))

    assert index.insert(ids(3), no_keys(1), 20) == (3, [1, 2])
    assert index.find(ids(1), no_keys(1)) is None
    assert (index.entries, index.nbytes, index.evictions) == (2, 30, 2)


def test_index_same_sequence_keeps_its_entry() -> None:
    index = PrefixIndex(30)
    index.insert(ids(1), no_keys(1), 10)
    index.insert(ids(2), no_keys(1), 10)

    assert index.insert(ids(1), no_keys(1), 25) == (0, [1])
    assert (index.entries, index.nbytes) == (1, 25)


def test_index_entry_larger_than_all_is_not_taken() -> None:
    index = PrefixIndex(30)
    index.insert(ids(1), no_keys(1), 10)

    assert index.insert(ids(2), no_keys(1), 31) == (None, [])
    assert (index.entries, index.nbytes) == (1, 10)


def test_index_clear_forgets_entries_and_keeps_counts() -> None:
    index = PrefixIndex(30)
    index.insert(ids(1), no_keys(1), 10)
    index.find(ids(1), no_keys(1))

    index.clear()

    assert (index.entries, index.nbytes, index.hits, index.evictions) == (0, 0, 1, 0)
    assert index.find(ids(1), no_keys(1)) is None


def test_index_refuses_what_does_not_fit() -> None:
    index = PrefixIndex(30)

    with pytest.raises(ValueError, match="capacity_bytes must be at least 0, got -1"):
        PrefixIndex(-1)
    with pytest.raises(ValueError, match="nbytes must be at least 0, got -1"):
        index.insert(ids(1), no_keys(1), -1)
    with pytest.raises(ValueError, match="ids must be one token or more"):
        index.insert(ids(), no_keys(0), 1)
    with pytest.raises(ValueError, match="keys must be one for each of 2 ids, got 0"):
        index.find(ids(1, 2), no_keys(0))


def test_index_used_by_threads_loses_no_count_and_no_entry() -> None:
    index = PrefixIndex(50)
    num_threads, num_rounds = 8, 400

    def work(seed: int) -> tuple[list[int], list[int]]:
        rng = np.random.default_rng(seed)
        given: list[int] = []
        taken: list[int] = []
        for _ in range(num_rounds):
            tokens = rng.integers(0, 3, rng.integers(1, 6))
            index.find(tokens, no_keys(len(tokens)))
            entry, evicted = index.insert(tokens, no_keys(len(tokens)), 1)
            assert entry is not None
            given.append(entry)
            taken += evicted
        return given, taken

    with ThreadPoolExecutor(num_threads) as pool:
        results = list(pool.map(work, range(num_threads)))

    given = {entry for entries, _ in results for entry in entries}
    taken = [entry for _, entries in results for entry in entries]
    assert index.hits + index.partial_hits + index.misses == num_threads * num_rounds
    assert len(set(taken)) == len(taken) == index.evictions > 0
    assert index.entries == index.nbytes == len(given - set(taken)) == 50
