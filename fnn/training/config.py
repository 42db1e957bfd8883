"""What can be said of a run before its first step: the optimizer, the options, the data.

Promises: every message says what must hold, what got, and what to do; data is looked at once, on the host, and cast
once to the dtype of the parameters, with a note.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn.checks import require_size, validate, warn_cast
from fnn.gradients import Backprop, Objective
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.training.program import Plan, Rows, TrainState, ValueAndGrad, measured
from fnn.types import Array, Params

#: What may be done when a loss or a gradient is not finite.
NOT_FINITE = ("stop", "skip", "continue")


def measured_names(plan: Plan, state: TrainState, rows: Rows | None, held_out: Rows | None) -> list[str]:
    """The names of what an epoch measures."""
    return list(jax.eval_shape(partial(measured, plan), state, rows, held_out))


def require_options(patience: int | None, min_improvement: float, clip_norm: float | None, on_nonfinite: str) -> None:
    """Raise on an option that cannot be meant, whatever the data."""
    if patience is not None:
        require_size("fit", "patience", patience, "Give the epochs to wait, such as 10, or None.")
    if not 0 <= min_improvement < np.inf:
        raise ValueError(f"fit: min_improvement must be finite and at least 0, got {min_improvement}. Try 1e-4.")
    if clip_norm is not None and not 0 < clip_norm < np.inf:
        raise ValueError(f"fit: clip_norm must be finite and above 0, got {clip_norm}. Try 1.0.")
    if on_nonfinite not in NOT_FINITE:
        raise ValueError(f"fit: on_nonfinite must be one of {NOT_FINITE}, got {on_nonfinite!r}. Give one of them.")


def require_monitor(
    plan: Plan, state: TrainState, rows: Rows | None, held_out: Rows | None, monitor: str, patience: int | None
) -> None:
    """Raise if early stopping watches what is not measured."""
    if patience is None:
        return
    names = measured_names(plan, state, rows, held_out)
    if monitor not in names:
        raise ValueError(
            f"fit: patience watches {monitor!r}, which is not measured; measured are: {', '.join(names)}. Give "
            'validation=(x, y), or monitor="loss".'
        )


def require_optimizer(optimizer: Any, rate: float | None) -> None:
    """Raise unless this is an optimizer, with a learning rate exactly where it needs one."""
    if isinstance(optimizer, optax.GradientTransformation | Optimizer):
        if rate is not None:
            raise ValueError(
                f"fit: got learning_rate={rate} with an optimizer that has its own. Give optimizer=optax.adam, or "
                "leave learning_rate out."
            )
        return
    if not callable(optimizer):
        raise TypeError(f"fit: optimizer must be an Optax transformation, got {optimizer!r}. Try optax.adam(1e-3).")
    if rate is None:
        raise ValueError(f"fit: {optimizer!r} needs a learning rate. Give learning_rate=1e-3, or optax.adam(1e-3).")
    if not 0 < rate < np.inf:
        raise ValueError(f"fit: learning_rate must be finite and above 0, got {rate}. Try 1e-3.")


def require_strength(where: str, objective: Objective | None, strength: Strength | None) -> None:
    """Raise unless there is a strength exactly where there is a regularizer, finite and at least 0."""
    if objective is not None:
        objective.require_strength(strength)
    if strength is not None and not all(0 <= each < np.inf for each in np.ravel(strength)):
        raise ValueError(f"{where}: strength must be finite and at least 0, got {strength}. Try 1e-4.")


def objective_of(value_and_grad: ValueAndGrad) -> Objective | None:
    """The objective behind a gradient, if it can be known: `jax.value_and_grad` and `jax.jit` keep what they wrap."""
    function: Any = value_and_grad
    while not isinstance(function, Backprop | Objective) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if isinstance(function, Backprop):
        return function.objective
    return function if isinstance(function, Objective) else None


def prepared(objective: Objective | None, params: Params, data: tuple[Any, ...], name: str, dtype: Any) -> Rows:
    """The data on the device, looked at on the host before, floats in the dtype of the parameters."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise TypeError(
            f"fit: {name} must be the pair (x, y), or (x, y, weights), got {type(data).__name__}. Give {name}=(x, y)."
        )
    x, y, *weights = data
    validate(x, y)
    x = _cast(f"fit: x of {name}", x, dtype)
    if objective is not None:
        objective.validate_target(params, x, y)
    return Rows(x, _cast(f"fit: y of {name}", y, dtype), _weights(weights, name, len(x), dtype))


def _weights(weights: list[Any], name: str, rows: int, dtype: Any) -> Array | None:
    if not weights or weights[0] is None:
        return None
    found = np.asarray(weights[0])
    if found.shape != (rows,):
        raise ValueError(
            f"fit: weights of {name} must hold one number per row, shape ({rows},), got {found.shape}. Give one each."
        )
    if not (np.isfinite(found).all() and (found >= 0).all() and found.any()):
        raise ValueError(
            f"fit: weights of {name} must be finite, at least 0, and not all 0. Give 1.0 for an ordinary row."
        )
    return jnp.asarray(found, dtype)


def _cast(what: str, array: Any, dtype: Any) -> Array:
    got = np.asarray(array).dtype if not isinstance(array, jax.Array) else array.dtype
    if not jnp.issubdtype(got, jnp.floating) or got == dtype:
        return jnp.asarray(array)
    warn_cast(what, got, dtype)
    return jnp.asarray(array, dtype)
