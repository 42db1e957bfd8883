"""Tests run in strict JAX: implicit promotion of dtypes and of ranks raises, and a warning is an error (pyproject)."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest


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
