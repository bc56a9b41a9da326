"""Search results that the tests of the report show."""

import math
import struct
import zlib

from similar_fast.types import Action, Score, SearchResult, SearchTreeNode

HOSTILE = '</script><img src=x onerror="window.hacked=1"><!--\u2028\u2029{{data}} & \ud800'


def make_png(color: tuple[int, int, int]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" + bytes(color)))
        + chunk(b"IEND", b"")
    )


RED, BLUE = make_png((255, 0, 0)), make_png((0, 0, 255))
DIMS = (0.25, 0.5, -1.5, 0.75, 1.0)


def make_result(nodes: tuple[SearchTreeNode, ...] = ()) -> SearchResult:
    return SearchResult(
        task="login-user",
        seed=2000,
        instruction="Enter the username and press login.",
        actions=(Action("click", ("button", "Login", 0)), Action("click", ("link", "Next", 1))),
        scores=(Score(0.625, DIMS), Score(0.5, DIMS)),
        success=True,
        is_done=True,
        policy="gumbel",
        stopped_by="simulations",
        num_simulations=10,
        env_steps=1234,
        resets=5,
        scorer_calls=6,
        scored_actions=7,
        diverged=8,
        relaunches=9,
        seconds=1.5,
        nodes=nodes,
    )


def small_tree() -> tuple[SearchTreeNode, ...]:
    def node(
        node_id: int,
        parent: int,
        action: str,
        visits: int,
        value: float,
        prior: float,
        **more: object,
    ) -> SearchTreeNode:
        score = None if node_id == 0 else Score(value + 0.125, DIMS)
        return SearchTreeNode(node_id, parent, action, visits, value, prior, score, **more)  # type: ignore[arg-type]

    return (
        node(0, -1, "", 10, 0.4375, 1.0, text="first screen", is_chosen=True),
        node(
            1, 0, "click button", 6, 0.75, 0.5, text="second screen", is_chosen=True, screenshot=RED
        ),
        node(2, 0, HOSTILE, 3, 0.3125, 0.25, text=HOSTILE),
        node(3, 0, "never tried", 0, math.nan, 0.25),
        node(
            4,
            1,
            "finish",
            4,
            0.875,
            0.625,
            text="last screen",
            is_done=True,
            is_chosen=True,
            screenshot=BLUE,
        ),
        node(5, 1, "other", 1, -0.5, 0.375, text="second screen", screenshot=RED),
        node(6, 2, "deeper", 1, 0.1875, 1.0, text="second screen"),
    )


def wide_tree(count: int) -> tuple[SearchTreeNode, ...]:
    """Ten children a node, so about four levels at 10,000."""
    root = SearchTreeNode(0, -1, "", count, 0.5, 1.0, None, text="start", is_chosen=True)
    rest = (
        SearchTreeNode(
            i,
            (i - 1) // 10,
            f"act {i}",
            1,
            i / count,
            0.1,
            Score(i / count, DIMS),
            text=f"screen {i}",
        )
        for i in range(1, count)
    )
    return (root, *rest)
