"""What the tests of many small functions share."""

import jax
import pytest


@pytest.fixture
def small_functions():
    """Float64 as users write: a bias is added to rows without a word. Each program runs a few times on small arrays, so
    what counts is how long XLA compiles it."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
    jax.config.update("jax_disable_most_optimizations", False)
