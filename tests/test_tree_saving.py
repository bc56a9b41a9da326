"""Searches in files: whole or refused, with their candidates, in the middle of a batch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from similar_fast.errors import SearchError
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import TreeSettings


@pytest.fixture
def search() -> TreeSearch:
    """With open leaves, named candidates, and nodes without."""
    search = TreeSearch(["a", "b"], c_puct=8.0, max_collisions=None, key="home")
    search.tell(search.ask(2), [0.25, 0.5], candidates=[["x", "y"], ["z"]])
    search.ask(3)
    return search


def tables(search: TreeSearch) -> list[Any]:
    nodes = [search.children(node) for node in range(search.num_nodes)]
    return [(it.visits.tolist(), it.in_flight.tolist(), it.values.tolist()) for it in nodes]


def test_loaded_search_goes_on_where_it_was(search: TreeSearch, tmp_path: Path) -> None:
    file = tmp_path / "tree.search"
    search.save(file)

    loaded = TreeSearch.load(str(file))

    assert tables(loaded) == tables(search)
    assert loaded.num_open == search.num_open > 0
    assert loaded.children(1).candidates == ["x", "y"]
    assert loaded.path(2) == ("b",)
    assert loaded.find(["home"]).tolist() == [loaded.root]
    assert loaded.settings == search.settings
    first, second = search.ask(4), loaded.ask(4)
    assert first.ids.tolist() == second.ids.tolist()
    assert first.paths() == second.paths()


def test_open_leaves_are_told_by_their_old_ids(tmp_path: Path) -> None:
    search = TreeSearch(["a", "b"])
    leaves = search.ask(2)
    search.save(tmp_path / "tree")

    loaded = TreeSearch.load(tmp_path / "tree")
    loaded.tell(leaves, [0.0, 1.0], candidates=[None, ["x"]])

    assert loaded.best_action() == 1
    assert loaded.path(1) == ("b",)


def test_held_candidates_of_an_open_round_are_saved(tmp_path: Path) -> None:
    search = TreeSearch(["a", "b"], deterministic=True)
    leaves = search.ask(2)
    search.tell(leaves.ids[:1], [0.5], candidates=[["x", "y"]])
    search.save(tmp_path / "tree")

    loaded = TreeSearch.load(tmp_path / "tree")
    loaded.tell(leaves.ids[1:], [0.5])

    assert loaded.children(1).candidates == ["x", "y"]


@dataclass(frozen=True)
class Click:
    x: int


def test_candidates_of_any_kind_are_encoded_and_decoded(tmp_path: Path) -> None:
    search = TreeSearch([Click(1), Click(2)])
    search.save(tmp_path / "tree", encode=lambda clicks: [click.x for click in clicks])

    loaded = TreeSearch.load(tmp_path / "tree", decode=lambda xs: [Click(x) for x in xs])

    assert loaded.children().candidates == [Click(1), Click(2)]


def test_candidates_that_are_no_json_leave_nothing_behind(tmp_path: Path) -> None:
    search = TreeSearch([Click(1)])

    with pytest.raises(TypeError, match="not JSON serializable"):
        search.save(tmp_path / "tree")

    assert list(tmp_path.iterdir()) == []


def test_candidates_that_cannot_be_decoded_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "tree"
    search = TreeSearch(["a", "b"])
    for wrong in (b"no json", b"[]", b'{"objects": 3, "held": {}}', b'{"objects": []}', b"\xff"):
        file.write_bytes(search._core.save(wrong))
        with pytest.raises(SearchError, match="the saved candidates cannot be read"):
            TreeSearch.load(file)


@pytest.mark.parametrize(
    "settings",
    [
        TreeSettings(policy="gumbel", c_visit=30.0, c_scale=0.5, max_considered=3),
        TreeSettings(policy="beam", beam_width=2, max_depth=5, max_nbytes=10**7),
        TreeSettings(policy="uct", c_puct=0.5, backup="power_mean", exponent=4.0),
        TreeSettings(backup="discounted", discount=0.5, fpu="parent", normalize=None, solve=True),
        TreeSettings(channels=2, weights=(0.5, 0.25), normalize=(-1.0, 1.0), virtual_loss=3),
        TreeSettings(channels=5, deterministic=True, max_collisions=None),
    ],
)
def test_settings_are_loaded(settings: TreeSettings, tmp_path: Path) -> None:
    TreeSearch(3, settings).save(tmp_path / "tree")

    assert TreeSearch.load(tmp_path / "tree").settings == settings


def test_reweighted_gate_is_loaded(tmp_path: Path) -> None:
    search = TreeSearch(1, channels=2)
    search.tell(search.ask(1), [[1.0, 2.0]], weights=[[1.0, 0.0]])
    search.reweight([0.0, 1.0])
    search.save(tmp_path / "tree")

    loaded = TreeSearch.load(tmp_path / "tree")

    assert loaded.children().values.tolist() == [2.0]
    loaded.reweight(None)
    assert loaded.children().values.tolist() == [1.0]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda file: b"", "found 0 bytes for 8"),
        (lambda file: b"not a tree at all", "expected the mark of a search tree, found another"),
        (lambda file: file[:-1], r"expected as many bytes as the header says, found \d+ of \d+"),
        (lambda file: file[:20], "expected more bytes, found 4 bytes for 8"),
        (lambda file: file + b"x", "expected as many bytes as the header says"),
        (
            lambda file: file[:8] + b"\x07" + file[9:],
            "expected format version 1, found version 7",
        ),
        (
            lambda file: file[:-1] + bytes([file[-1] ^ 1]),
            "expected the checksum of the header, found [0-9a-f]{8} against [0-9a-f]{8}",
        ),
    ],
)
def test_corrupted_file_says_what_was_found(
    search: TreeSearch, tmp_path: Path, alter: Callable[[bytes], bytes], message: str
) -> None:
    file = tmp_path / "tree"
    search.save(file)
    file.write_bytes(alter(file.read_bytes()))

    with pytest.raises(SearchError, match="the file is not a whole search tree: .*" + message):
        TreeSearch.load(file)


def test_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TreeSearch.load(tmp_path / "tree")


def test_folder_that_cannot_be_written_is_left_as_it_was(
    search: TreeSearch, tmp_path: Path
) -> None:
    taken = tmp_path / "tree"
    taken.mkdir()

    with pytest.raises(OSError, match="tree"):
        search.save(taken)
    with pytest.raises(FileNotFoundError):
        search.save(tmp_path / "missing" / "tree")

    assert list(tmp_path.iterdir()) == [taken]
    assert list(taken.iterdir()) == []


def test_saving_replaces_the_file_as_a_whole(search: TreeSearch, tmp_path: Path) -> None:
    file = tmp_path / "tree"
    file.write_bytes(b"something else")

    search.save(file)

    assert tables(TreeSearch.load(file)) == tables(search)
    assert list(tmp_path.iterdir()) == [file]


def test_threads_may_save_to_one_file(tmp_path: Path) -> None:
    search = TreeSearch(["a", "b"])
    file = tmp_path / "search.tree"

    def save(_: int) -> int:
        search.save(file)
        return TreeSearch.load(file).num_nodes

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(save, range(60))) == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["search.tree"]


def test_loaded_settings_are_those_that_were_saved(tmp_path: Path) -> None:
    settings = TreeSettings.five_dimensions(
        (1, 2, 3, 4, 5), normalize=(-0.1, 0.3), c_scale=0.1, num_simulations=4, policy="uct"
    )
    TreeSearch(2, settings).save(tmp_path / "search.tree")

    assert TreeSearch.load(tmp_path / "search.tree").settings == settings


def test_others_may_read_a_saved_file_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    TreeSearch(2).save(tmp_path / "search.tree")

    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
