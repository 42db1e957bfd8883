"""Tests of second derivatives and per-example gradients."""

import functools

import jax

#: For large programs that run once: compiling them with few optimizations takes two thirds of the time.
once = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
