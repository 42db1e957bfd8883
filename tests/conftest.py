"""Tests run in strict JAX: implicit promotion of dtypes and of ranks raises, and a warning is an error (pyproject)."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

from fnn.training import programs


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Strict JAX, for what a session fixture computes before the first test; every test is in it anyway."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True)
def _strict():
    with strict():
        yield


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Each test that asks for a dtype runs in float64 (within a local 64-bit context) and in float32."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


@pytest.fixture
def x64():
    """The 64-bit context, for tests that need float64 alone."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """For files about messages, checkpoints, signals, orders, or which program is compiled: XLA optimizes little.

    That takes about half the time. Files about the numbers of rules and of a run compile as users do: test_fit and
    test_run have the loop. Where runs are compared bit for bit, no program may go from one kind of file to the other.
    """
    _forget_programs()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    _forget_programs()


def _forget_programs():
    jax.clear_caches()
    programs._PROGRAMS.clear()
