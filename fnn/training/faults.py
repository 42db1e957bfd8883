"""What went wrong in a run: the first step whose loss or gradient is not finite, where, and what to do.

Promises: training pays nothing for this while all goes well; the bad step is found by taking the same steps again.
Source: claim A11 (a learning rate beyond the stable one makes the loss grow without bound).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.training.config import Job
from fnn.training.source import Source
from fnn.training.state import Batch, TrainState, floating_dtype
from fnn.training.step import noise_key
from fnn.types import Params, PyTree

#: How many steps back to search for the gradient that spoiled the parameters.
BACK = 16
#: Growth of the loss before the fault from which on the message speaks of divergence.
GROWN = 10.0
#: So many epochs of which each is worse than the one before, by a tenth in all, are no chance.
UPHILL = 5


class NonFiniteError(FloatingPointError):
    """The loss or a gradient is not finite.

    Attributes:
        state: the `TrainState` before the first bad step; its parameters are finite.
        step: the number of that step in the whole run, from 0; −1 if a measure, not a step, is not finite.
        where: what is not finite.
        history: the curves up to that step.

    >>> net = fnn.mlp(1, 1)
    >>> x = jnp.array([[1.0], [2.0]])
    >>> try:
    ...     fnn.fit(
    ...         fnn.backprop(net, fnn.squared_error), net.init(jax.random.key(0)), (x, 3 * x),
    ...         optimizer=fnn.optimizers.sgd(1e3), epochs=50, batch_size=2, key=jax.random.key(1),
    ...     )
    ... except fnn.NonFiniteError as error:
    ...     print(error.where, bool(jnp.isfinite(error.state.params[0]["W"]).all()))
    the loss True
    """

    def __init__(self, message: str, state: TrainState, step: int, where: str) -> None:
        super().__init__(message)
        self.state, self.step, self.where = state, step, where
        self.history: Any = None

    def __reduce__(self) -> Any:
        # a process hands it to another by its message and its attributes
        return type(self), (str(self), self.state, self.step, self.where), {"history": self.history}


def located(job: Job, source: Source, before: TrainState, losses: np.ndarray, done: int, bad: int) -> NonFiniteError:
    """The error that names the first bad step.

    Args:
        before: the state at the beginning of the chunk that holds the bad loss.
        losses: those of the whole run so far, one per step.
        done: how many steps came before that chunk.
        bad: the number of the bad loss within that chunk.
    """
    for back in range(min(bad, BACK) + 1):
        state, number = source.replay(job, before, bad - back), done + bad - back
        # checked on the host, each array as a whole
        whole = job.config.placement.host(state)
        if not _bad_leaf((whole.params, whole.statistics)):
            where = _bad_place(job, whole, source.batch(job, state))
            break
    else:
        if not done and not int(before.step) and not int(before.epoch):
            return NonFiniteError(
                f"params{_bad_leaf(job.config.placement.host(before.params))} is not finite before the first step. "
                "Make the parameters with net.init(key), or look at where they come from.", before, 0, "the parameters"
            )  # fmt: skip
        state, number, where = before, done, "an array of the parameters"
    last = losses[max(0, number - 20) : number]
    # the losses of an earlier call are not known
    last = last[np.isfinite(last)]
    return NonFiniteError(f"{where} is not finite in step {number}, {_why(last)}", state, number, where)


def unmeasured(monitor: str, epoch: int, state: TrainState) -> NonFiniteError:
    """The error raised when early stopping watches a value that cannot be compared."""
    return NonFiniteError(
        f"{monitor} is NaN after epoch {epoch}, and early stopping watches it: nothing is better or worse than NaN. "
        "Check how it is measured, or give another monitor.", state, -1, monitor,
    )  # fmt: skip


def _why(before: np.ndarray) -> str:
    """What the losses before the fault show, and what to do."""
    if len(before) > 1 and before[-1] > GROWN * abs(before.min()):
        return (
            f"after the loss grew from {before.min():.4g} to {before[-1]:.4g}: it diverges. Lower the learning rate, "
            "first to a tenth, or clip with clip_norm=1.0."
        )
    last = f" (the loss before was {before[-1]:.4g})" if len(before) else ""
    return (
        f"without warning{last}. Check the rows of that batch and the function, lower the learning rate, or skip such "
        'steps: on_nonfinite="skip".'
    )


def grown(curve: np.ndarray) -> str:
    """A sentence if a loss curve ends far above where it began, else ""."""
    first, last = float(curve[0]), float(curve[-1])
    if len(curve) >= UPHILL and (np.diff(curve) > 0).all() and GROWN * abs(first) >= last > 1.1 * abs(first):
        return (
            f"the loss grew in each of the {len(curve)} epochs, from {first:.4g} to {last:.4g}. Lower the learning "
            "rate; with a negative one, as in optax.sgd(-0.1), an optimizer goes uphill."
        )
    if not last > GROWN * max(abs(first), float(np.abs(curve).min()), 1e-300):
        return ""
    return (
        f"the loss grew from {first:.4g} to {last:.4g}: it diverges, though it is still finite. Lower the learning "
        "rate, first to a tenth."
    )


def _bad_place(job: Job, state: TrainState, batch: Batch) -> str:
    """The first array that is not finite, forward and then backward, on this batch."""
    if bad := _bad_leaf((batch.x, batch.y)):
        return f"the input x{bad[3:]}" if bad.startswith("[0]") else f"the target y{bad[3:]}"
    config = job.config
    if config.objective is not None and not config.has_modes:
        net, names = config.objective.net, []

        def inside(params: Params, x: PyTree) -> list[PyTree]:
            _, values = net.values(params, x)
            # a dict would be returned sorted: "1.a" before "1.z"
            names[:] = values
            return list(values.values())

        arrays = jax.jit(inside)(state.params, batch.x)
        for name, value in zip(names, arrays, strict=True):
            if bad := _bad_leaf(value):
                return f"the value of {name}{bad}".strip()
    key = noise_key(state, state.step) if config.has_modes else None
    # a function of its own: JAX would find what it compiled for an equal config, whatever globals it read then
    value, gradients, statistics = jax.jit(lambda *args: config.gradient(*args))(
        state.params, batch, job.hyperparams.strength, state.statistics, key
    )
    if not np.isfinite(np.asarray(value)):
        return "the loss"
    if bad := _bad_leaf(gradients):
        return f"the gradient of params{bad}".strip()
    if bad := _bad_leaf(statistics):
        return f"the statistics{bad}"
    return _of_the_optimizer(job, state)


def _of_the_optimizer(job: Job, state: TrainState) -> str:
    """What an update that is not finite may come from: most often an ε that is 0 in a narrow dtype."""
    eps, dtype = getattr(job.config.optimizer, "eps", 1.0), floating_dtype(state.params)
    if eps and not float(jnp.asarray(eps, dtype)):
        return f"the update of the optimizer, whose eps={eps} is 0 in {jnp.dtype(dtype).name} (give eps=1e-4),"
    if dtype == jnp.float16:
        return "the update of the optimizer (in float16 an eps below 6e-8 is 0: for Adam give eps=1e-4)"
    return "the update of the optimizer"


def _bad_leaf(tree: PyTree) -> str:
    """The path of the first leaf with an entry that is not finite, or ""; a blank if the tree is a single array."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and not np.isfinite(np.asarray(leaf, np.float64)).all():
            return jax.tree_util.keystr(path) or " "
    return ""
