"""Functions of the user while JAX traces them: one that asks for numbers which are not there yet is named.

Promises: metrics, gradients (with their layers, losses and regularizers), optimizers, schedules and initializers all
pass through `traced`; the message says which of them, what it did, and in which line of the user's code.
Refuses: NumPy, scikit-learn and decisions by value inside a compiled run. Calling back to the host for them was not
taken: it costs a step several times its time, breaks under `vmap` and on a mesh, and no fingerprint can read it.
"""

import contextlib
from collections.abc import Iterator

import jax

#: error of JAX -> what the function did; the first that fits.
DID = {
    jax.errors.TracerArrayConversionError: "a call of NumPy or of something built on it",
    jax.errors.TracerIntegerConversionError: "a value used as a whole number of Python (range, a shape)",
    jax.errors.NonConcreteBooleanIndexError: "rows picked by a mask",
    jax.errors.ConcretizationTypeError: "a decision by value in Python (if, float(), .item())",
}
USE_JAX = "Use jnp in place of np, and jnp.where in place of if and masks"
#: what is traced -> what to do.
REMEDIES = {
    "metric": f"{USE_JAX}, or compute it after the run, or in on_epoch(number, metrics, state) of fit",
    "gradient": f"{USE_JAX}, in the layers, the loss and the regularizer too; a gradient in NumPy is checked with "
    "fnn.check(f, x, gradient=g)",
    "optimizer": f"{USE_JAX}, in a schedule too",
    "initializer": "Draw with jax.random, from the key",
}


@contextlib.contextmanager
def traced(caller: str, kind: str, what: str = "") -> Iterator[None]:
    """Turn the errors of JAX about values that are not there into a `TypeError` on what was traced.

    Args:
        kind: of `REMEDIES`. what: its name for the message, "the kind" by default.
    """
    try:
        yield
    except tuple(DID) as error:
        did = next(text for each, text in DID.items() if isinstance(error, each))
        # the room that reads tracebacks is loaded at its first use
        from fnn import jaxprs

        line = jaxprs.line_of(error, package=False)
        raise TypeError(
            f"{caller}: {what or f'the {kind}'} must compute with jax.numpy, since it is compiled before its "
            f"numbers are known, got {did}{f' at {line}' if line else ''}. {REMEDIES[kind]}."
        ) from error
