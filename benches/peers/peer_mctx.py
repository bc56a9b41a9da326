"""mctx 0.0.71 on JAX's CPU back end: `muzero_policy`, compiled as a whole, compilation not timed.

The evaluation is compiled into the search, so nothing crosses to Python. All arrays are made for
`num_simulations` nodes at the start; values are float32; several trees run as one batch. Hashes are
32 bits, since JAX has no 64-bit integers by default. At the depth limit the leaf is evaluated
again. No noise at the root; a tiny random number breaks ties.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
from work import MAX_DEPTH, exploration

PACKAGES = ("mctx", "jax", "jaxlib")


def extend(paths: jax.Array, actions: jax.Array) -> jax.Array:
    """The hash of each path that is extended by an action, in 32 bits (murmur3's last steps)."""
    mixed = paths + (actions.astype(jnp.uint32) + 1) * jnp.uint32(0x9E3779B9)
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    return mixed ^ (mixed >> 13)


def value(paths: jax.Array) -> jax.Array:
    """Numbers in [-1, 1)."""
    return (paths >> 8).astype(jnp.float32) * (2.0 / 16777216.0) - 1.0


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    logits = jnp.zeros((trees, branching))

    def recur(_params: None, _key: jax.Array, action: jax.Array, paths: jax.Array) -> object:
        here = extend(paths, action)
        output = mctx.RecurrentFnOutput(
            reward=jnp.zeros(trees),
            discount=jnp.ones(trees),
            prior_logits=logits,
            value=value(here),
        )
        return output, here

    @jax.jit
    def search(paths: jax.Array) -> object:
        root = mctx.RootFnOutput(prior_logits=logits, value=value(paths), embedding=paths)
        return mctx.muzero_policy(
            params=None,
            rng_key=jax.random.PRNGKey(0),
            root=root,
            recurrent_fn=recur,
            num_simulations=num_simulations,
            max_depth=MAX_DEPTH,
            qtransform=functools.partial(mctx.qtransform_by_min_max, min_value=0.0, max_value=1.0),
            dirichlet_fraction=0.0,
            pb_c_init=exploration(branching),
        ).search_tree

    paths = jnp.full(trees, 0x9E3779B9, jnp.uint32)
    return lambda: jax.block_until_ready(search(paths))


def visits(result: Any) -> list[int]:  # noqa: ANN401  # an array class of the package
    """Completed simulations of each tree."""
    return [int(counts.sum()) for counts in result.children_visits[:, 0]]


def nbytes(result: Any) -> int:  # noqa: ANN401  # as above
    """What the arrays hold."""
    return sum(array.nbytes for array in jax.tree.leaves(result))
