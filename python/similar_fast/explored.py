"""What a search has explored: expanded screens, visited edges, and the list of both for reports."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

from similar_fast.cursor import Path
from similar_fast.growth import Edges, Growth, Pick
from similar_fast.screens import Screen, TakenScreenshot
from similar_fast.types import Observation, Score, SearchTreeNode

__all__ = ["Arrival", "Explored", "Node"]


@dataclass(frozen=True, slots=True)
class Node:
    """An expanded screen of the tree, and how it was reached.

    Attributes:
        path: The actions from the first screen.
        scores: The score of each action of `path`.
        screen: The screen.
        lineage: The digests of the screens on the way, its own included.
    """

    path: Path
    scores: tuple[Score, ...]
    screen: Screen
    lineage: frozenset[str]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A leaf that was visited: the screen behind it, or why it leads nowhere.

    Attributes:
        pick: The edge that was visited.
        parent: The node above, as it was explored.
        observation: The screen behind; None where its replay diverged.
        is_done: Whether the episode ended.
        is_closed: Whether it leads nowhere: the action could not be carried out, led back to a
            screen of its own path, or its replay diverged.
    """

    pick: Pick
    parent: Node
    observation: Observation | None
    is_done: bool
    is_closed: bool

    @property
    def path(self) -> Path:
        """The actions up to and with this one."""
        return (*self.parent.path, self.parent.screen.actions[self.pick.edge])

    @property
    def scores(self) -> tuple[Score, ...]:
        """The score of each action of `path`."""
        return (*self.parent.scores, self.parent.screen.scores[self.pick.edge])


@dataclass(frozen=True, slots=True)
class Explored:
    """The screens and edges of one search, by the ids of its tree.

    Attributes:
        nodes: The expanded screens, by node id.
        arrivals: The visited edges, by (node id, edge).
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    arrivals: dict[tuple[int, int], Arrival] = field(default_factory=dict)

    def endings(self) -> list[Arrival]:
        """The visits that ended their episode, in the order in which they were made."""
        return [arrival for arrival in self.arrivals.values() if arrival.is_done]

    def is_closed(self, node_id: int, edge: int) -> bool:
        """Whether the edge was visited and leads nowhere."""
        arrival = self.arrivals.get((node_id, edge))
        return arrival is not None and arrival.is_closed

    def scores_along(self, actions: Path) -> tuple[Score, ...]:
        """The score of each action on its own screen."""
        by_path = {node.path: node for node in self.nodes.values()}
        scores = []
        for depth, action in enumerate(actions):
            screen = by_path[actions[:depth]].screen
            scores.append(screen.scores[screen.actions.index(action)])
        return tuple(scores)

    def report(
        self,
        growth: Growth | None,
        root: Node,
        chosen: Path,
        *,
        backup: Literal["mean", "max"],
    ) -> tuple[SearchTreeNode, ...]:
        """The whole tree in breadth-first order, edges that were never visited included."""
        seen = root.screen.observation
        rows = [SearchTreeNode(0, -1, "", 0, 0.0, 1.0, None, seen.text, screenshot=_picture(seen))]
        if growth is None:
            return tuple(rows)
        waiting = deque([(0, 0)])
        while waiting:
            node_id, row_id = waiting.popleft()
            edges = growth.edges(node_id)
            for edge, child in enumerate(edges.nodes.tolist()):
                row = self._row(node_id, edges, edge, chosen)
                rows.append(replace(row, id=len(rows), parent=row_id))
                if child >= 0 and not edges.merged[edge]:
                    waiting.append((child, rows[-1].id))
        top = growth.edges(0)
        visits = int(top.visits.sum())
        value = 0.0
        if visits and backup == "max":
            value = float(top.values[top.visits > 0].max())
        elif visits:
            value = float(top.visits @ top.values) / visits
        rows[0] = replace(rows[0], visits=visits, value=value, is_chosen=True)
        return tuple(rows)

    def _row(self, node_id: int, edges: Edges, edge: int, chosen: Path) -> SearchTreeNode:
        """One edge for the report; its place in it is filled in by the caller."""
        node = self.nodes[node_id]
        action = node.screen.actions[edge]
        path = (*node.path, action)
        arrival = self.arrivals.get((node_id, edge))
        reached = arrival.observation if arrival is not None else None
        return SearchTreeNode(
            id=-1,
            parent=-1,
            action=str(action),
            visits=int(edges.visits[edge]),
            value=float(edges.values[edge]),
            prior=float(edges.priors[edge]),
            score=node.screen.scores[edge],
            text=reached.text if reached is not None else "",
            is_done=arrival is not None and arrival.is_done,
            is_chosen=path == chosen[: len(path)],
            is_merged=bool(edges.merged[edge]),
            is_solved=bool(edges.solved[edge]),
            screenshot=_picture(reached),
        )


def _picture(observation: Observation | None) -> bytes | None:
    """The picture that was taken while the screen was there, if one was."""
    if observation is None or not isinstance(observation.screenshot, TakenScreenshot):
        return None
    return observation.screenshot.png
