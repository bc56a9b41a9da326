"""The search of an agent: a scorer, a tree and the environments that it plays in."""
