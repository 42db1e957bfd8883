"""A shuffle without sorting: a keyed bijection on row numbers, the same on every device.

Promises: `permutation(key, n)` holds each of 0 … n − 1 exactly once, for every n; only integer arithmetic is used, so
the order does not depend on device, thread count or precision; time and memory grow with n, not with n log n. Not for
cryptography. Letters: n rows, laid out on a grid of a × b ≥ n places, r round keys.

How: a Feistel network on the grid. A place is (u, v) with u < a, v < b; one round replaces u by u + F(v) mod a, the
next v by v + F(u) mod b, and so on, each with a key of its own. Each round can be undone, whatever F is, so the whole
is a bijection of the grid. Places n and above hold no row: from there the network is applied again until it leads to a
row (cycle walking), which keeps it a bijection of the rows. The grid is nearly square, so that at most a of its more
than n − a places are empty and few rows walk at all.
Sources: Luby & Rackoff 1988; Black & Rogaway 2002, "Ciphers with arbitrary finite domains" (both steps);
M. O'Neill's and A. Appleby's mixing of 32 bits (the finalizer of MurmurHash3).
"""

import math

import jax
import jax.numpy as jnp

from fnn.checks import require_size
from fnn.types import Array, Key

#: Rounds. On grids of a few places, four rounds leave some orders visibly more likely than others, twelve do not
#: (tests/training/test_shuffle.py draws all orders of four and of five rows).
ROUNDS = 12


def permutation(key: Key, n: int) -> Array:
    """Return the numbers 0 … n − 1 in an order that the key determines, (n,) int32.

    Args:
        key: a new one for every epoch.
        n: how many rows, 1 to 2³¹ − 1; static under `jit`.

    Raises:
        ValueError, TypeError: if n is not a whole number of at least 1.

    >>> order = fnn.training.permutation(jax.random.key(0), 10)
    >>> sorted(order.tolist()) == list(range(10))
    True
    """
    n = require_size("permutation", "n", n, "Give the number of rows.")
    return part_of_permutation(key, n, 0, n)


def part_of_permutation(key: Key, n: int, first: Array | int, count: int) -> Array:
    """`permutation(key, n)[first : first + count]`, in time and memory that grow with count alone."""
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    keys = jax.random.bits(key, (ROUNDS // 2, 2), jnp.uint32)

    def two_rounds(k: Array, place: tuple[Array, Array]) -> tuple[Array, Array]:
        u, v = place
        u = (u + _mixed(v, keys[k, 0]) % a) % a
        return u, (v + _mixed(u, keys[k, 1]) % b) % b

    def walk(state: tuple[Array, Array]) -> tuple[Array, Array]:
        places, walking = state
        u, v = jax.lax.fori_loop(0, ROUNDS // 2, two_rounds, (places // b, places % b))
        places = jnp.where(walking, u * b + v, places)
        return places, places >= n

    # all take a first walk; those that end on a place without a row walk on: one copy of the network in the program
    start = jnp.asarray(first, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32), jnp.full(count, True)
    rows, _ = jax.lax.while_loop(lambda state: jnp.any(state[1]), walk, start)
    return rows.astype(jnp.int32)


def _mixed(value: Array, key: Array) -> Array:
    """32 bits that each depend on every bit of value and key."""
    h = value * jnp.uint32(0x9E3779B9) + key
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
