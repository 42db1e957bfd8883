"""How every test runs: in strict JAX, on the CPU or whatever device there is, with matrix products in full precision.

Promises: implicit promotion of dtypes and ranks raises, a warning is an error (pyproject), TF32 never looks like a wrong
gradient; doctests find `fnn`, `jax` and `jnp`; the code blocks of the README and of docs/ run, one page one program.
"""

import jax
import jax.numpy as jnp
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

import fnn

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(fnn=fnn, jax=jax, jnp=jnp)


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
