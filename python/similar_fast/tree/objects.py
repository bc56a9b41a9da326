"""The candidates of a tree's nodes, any objects, by the ids that the core knows them by."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Self

from similar_fast.errors import SearchError

__all__ = ["NodeObjects"]


class NodeObjects:
    """The candidates of each node; nothing for nodes of which only their number was given."""

    def __init__(self) -> None:
        self._objects: list[Sequence[object] | None] = []
        self._held: dict[int, Sequence[object]] = {}

    def store(self, node: int, objects: Sequence[object] | None) -> None:
        """Gives a node its candidates."""
        if objects is None and node >= len(self._objects):
            return
        missing = node + 1 - len(self._objects)
        if missing > 0:
            self._objects.extend([None] * missing)
        self._objects[node] = objects

    def store_all(self, nodes: Sequence[int], objects: Sequence[Sequence[object] | None]) -> None:
        """Gives each of `nodes` its candidates; new nodes that follow the last one are quick."""
        if list(nodes) == list(range(len(self._objects), len(self._objects) + len(nodes))):
            self._objects.extend(objects)
            return
        for node, given in zip(nodes, objects, strict=True):
            self.store(node, given)

    def of(self, node: int) -> Sequence[object] | None:
        """A node's candidates, or None."""
        return self._objects[node] if node < len(self._objects) else None

    def named(self, nodes: Sequence[int], actions: Sequence[int]) -> tuple[object, ...]:
        """The candidate taken at each node; its index where there are no objects."""
        given = map(self.of, nodes)
        return tuple(
            action if objects is None else objects[action]
            for objects, action in zip(given, actions, strict=True)
        )

    def follow(self, kept: Sequence[int]) -> None:
        """Keeps the candidates of the nodes with these old ids, in the order of their new ones."""
        self._objects = [self.of(node) for node in kept]

    def hold(self, leaf: int, objects: Sequence[object]) -> None:
        """Keeps a leaf's candidates until it becomes a node."""
        self._held[leaf] = objects

    def settle(self, nodes: Sequence[tuple[int, int]], *, is_round_open: bool) -> None:
        """Gives nodes the candidates that were held for their leaves; (leaf, node) each."""
        for leaf, node in nodes:
            self.store(node, self._held.get(leaf))
        if not is_round_open:
            self._held.clear()

    def to_json(
        self, encode: Callable[[Sequence[object]], object], settings: dict[str, Any]
    ) -> bytes:
        """All of it, and the tree's settings; `encode` makes of one node's candidates JSON.

        Raises:
            TypeError: It made something else.
        """
        objects = [None if given is None else encode(given) for given in self._objects]
        held = {str(leaf): encode(given) for leaf, given in self._held.items()}
        document = {"settings": settings, "objects": objects, "held": held}
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_json(
        cls, data: bytes, decode: Callable[[Any], Sequence[object]]
    ) -> tuple[Self, dict[str, Any]]:
        """What `to_json` wrote, and the settings.

        Raises:
            SearchError: It is something else.
        """
        store = cls()
        try:
            document = json.loads(data)
            settings = dict(document["settings"])
            for given in document["objects"]:
                store._objects.append(None if given is None else decode(given))
            for leaf, given in document["held"].items():
                store._held[int(leaf)] = decode(given)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SearchError(f"the saved candidates cannot be read: {error!r}") from error
        return store, settings
