"""What a search has explored: expanded screens, visited edges, and the list of both for reports."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from similar_fast.search.cursor import Path
from similar_fast.search.growth import Edges, Growth, Pick
from similar_fast.search.screens import Screen, TakenScreenshot
from similar_fast.types import Observation, Score, SearchTreeNode

__all__ = ["Arrival", "Explored", "Node", "Route"]

Route: TypeAlias = tuple[tuple[int, int], ...]
"""A way from the root: (node id, edge) of each step. It may lead over merged edges."""


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
        is_idle: Whether the action was carried out and left the screen as it was.
    """

    pick: Pick
    parent: Node
    observation: Observation | None
    is_done: bool
    is_closed: bool
    is_idle: bool = False

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

    def is_ending(self, route: Route) -> bool:
        """Whether the last step of a way was visited and ended its episode."""
        arrival = self.arrivals.get(route[-1]) if route else None
        return arrival is not None and arrival.is_done

    def is_closed(self, node_id: int, edge: int) -> bool:
        """Whether the edge was visited and leads nowhere."""
        arrival = self.arrivals.get((node_id, edge))
        return arrival is not None and arrival.is_closed

    def route_to(self, arrival: Arrival) -> Route:
        """The way on which a visit came."""
        ids = {node.path: node_id for node_id, node in self.nodes.items()}
        path = arrival.path
        parents = [ids[path[:depth]] for depth in range(len(path))]
        return tuple(
            (parent, self.nodes[parent].screen.actions.index(action))
            for parent, action in zip(parents, path, strict=True)
        )

    def actions_along(self, route: Route) -> Path:
        """The action of each step."""
        return tuple(self.nodes[node_id].screen.actions[edge] for node_id, edge in route)

    def scores_along(self, route: Route) -> tuple[Score, ...]:
        """The score of each step on its own screen."""
        return tuple(self.nodes[node_id].screen.scores[edge] for node_id, edge in route)

    def report(
        self,
        growth: Growth | None,
        root: Node,
        chosen: Route,
        *,
        greedy: Path | None,
        backup: Literal["mean", "max"],
    ) -> tuple[SearchTreeNode, ...]:
        """The whole tree in breadth-first order, edges that were never visited included.

        `chosen` is the way that was committed, `greedy` the path of the greedy ending.
        """
        seen = root.screen.observation
        rows = [SearchTreeNode(0, -1, "", 0, 0.0, 1.0, None, seen.text, screenshot=_picture(seen))]
        if growth is None:
            return tuple(rows)
        waiting = deque([(0, 0)])
        places = {0: 0}
        merged = []
        while waiting:
            node_id, row_id = waiting.popleft()
            edges = growth.edges(node_id)
            for edge, child in enumerate(edges.nodes.tolist()):
                row = self._row(node_id, edges, edge, is_chosen=(node_id, edge) in chosen)
                is_greedy = row.is_done and self.arrivals[node_id, edge].path == greedy
                rows.append(replace(row, id=len(rows), parent=row_id, is_greedy=is_greedy))
                if child >= 0 and edges.merged[edge]:
                    merged.append((rows[-1].id, child))
                elif child >= 0:
                    places[child] = rows[-1].id
                    waiting.append((child, rows[-1].id))
        for row_id, child in merged:
            rows[row_id] = replace(rows[row_id], merged_with=places[child])
        top = growth.edges(0)
        visits = int(top.visits.sum())
        value = 0.0
        if visits and backup == "max":
            value = float(top.values[top.visits > 0].max())
        elif visits:
            value = float(top.visits @ top.values) / visits
        rows[0] = replace(rows[0], visits=visits, value=value, is_chosen=True)
        return tuple(rows)

    def _row(self, node_id: int, edges: Edges, edge: int, *, is_chosen: bool) -> SearchTreeNode:
        """One edge for the report; its place in it is filled in by the caller."""
        node = self.nodes[node_id]
        action = node.screen.actions[edge]
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
            is_chosen=is_chosen,
            is_merged=bool(edges.merged[edge]),
            is_solved=bool(edges.solved[edge]),
            is_closed=arrival is not None and arrival.is_closed,
            screenshot=_picture(reached),
        )


def _picture(observation: Observation | None) -> bytes | None:
    """The picture that was taken while the screen was there, if one was."""
    if observation is None or not isinstance(observation.screenshot, TakenScreenshot):
        return None
    return observation.screenshot.png
