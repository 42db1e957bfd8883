"""What every test finds: doctests know `fnn`, `jax` and `jnp`; the code blocks of the README and of docs/ run, one page
one program; matrix products are in full precision, so that TF32 never looks like a wrong gradient.
"""

import jax
import jax.numpy as jnp
import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

import fnn

jax.config.update("jax_default_matmul_precision", "highest")

pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser()], patterns=["*.md"]).pytest()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(fnn=fnn, jax=jax, jnp=jnp)
