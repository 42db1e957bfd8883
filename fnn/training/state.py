"""The records of a run: what the next step needs, what a call measured, the examples, and the hyperparameters.

Promises: every record is a pytree of arrays, so it passes through `jit`, `vmap` and a checkpoint as it is.
Letters: N examples, B batch size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fnn import notebook
from fnn.optimizers import Optimizer
from fnn.regularizers import Strength
from fnn.types import Array, Key, Params, PyTree, wide

#: (params, x, y) -> (value, gradients): a `Backprop`, or `jax.value_and_grad` applied to an objective.
ValueAndGrad = Callable[..., tuple[Array, Params]]
#: An Optax transformation, a record of this package, or a function that makes one from a learning rate.
AnyOptimizer: TypeAlias = optax.GradientTransformation | Optimizer | Callable[[Any], Any]
#: (params, x, y) -> a number, measured after every epoch.
Metric = Callable[[Params, Any, Any], Array]
#: What one epoch measured, by name: "loss", and "validation_loss", "validation_accuracy" if they exist.
Metrics = dict[str, float]


class Best(NamedTuple):
    """The best parameters so far, by the measure that early stopping watches."""

    params: Params
    value: Array
    """The best value so far, times −1 if more is better; before the first epoch, the largest finite number."""
    waited: Array
    """Epochs since the last one that was better by `min_improvement`."""
    watched: Array
    """A number that identifies the watched measure, its direction and the validation data."""
    statistics: PyTree = ()


class TrainState(NamedTuple):
    """What the next step needs; `fnn.fit` returns it and accepts it in place of parameters.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, params = fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0))
    >>> options = {"optimizer": fnn.optimizers.sgd(0.1), "epochs": 3, "batch_size": 4}
    >>> state, _ = fnn.fit(by_hand, params, (x, y), key=jax.random.key(1), **options)
    >>> state, _ = fnn.fit(by_hand, state, (x, y), **options)  # three epochs more
    >>> int(state.epoch)
    6
    """

    params: Params
    optimizer_state: PyTree
    key: Key
    """The key that the order of the rows in this epoch is made from."""
    epoch: Any
    """How many epochs are finished."""
    step: Any = 0
    """How many whole batches of the current epoch are done."""
    loss_sum: Any = 0.0
    """Σ (loss of a batch) · (its weight) over the batches of this epoch."""
    weight_sum: Any = 0.0
    skipped: Any = 0
    """How many steps were left out because something was not finite."""
    best: Best | None = None
    mean_weight: Any = None
    """w̄ of the data of the last call; None if its examples have no weights."""
    epoch_shape: Any = None
    """(N, B) of the last call, in which `step` counts; None in a loop of your own."""
    statistics: PyTree = ()
    """What layers such as batch normalization keep, for `net.evaluate(state.params, state.statistics, x)`."""

    def _repr_html_(self) -> str:
        rows = []
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            values = np.asarray(leaf, np.float64)
            size = float(np.sqrt(np.mean(np.square(values)))) if values.size else None
            rows.append((jax.tree_util.keystr(path), " × ".join(map(str, leaf.shape)), leaf.dtype.name, size))
        heads = ("parameters", "shape", "dtype", "root mean square")
        return notebook.table(heads, rows, above=f"TrainState, epochs: {np.asarray(self.epoch)}")


class Window(NamedTuple):
    """The optimizer's state while gradients are gathered for one update: sums over the batches seen so far."""

    inner: PyTree
    total: Params
    """Σ |B| g_B, in float32 or more."""
    rows: Array
    """Σ |B|."""
    batches: Array
    value: Array
    """Σ |B| · (loss of a batch)."""


class Batch(NamedTuple):
    """Examples: inputs, targets, and a weight for each example or None.

    >>> len(fnn.training.Batch(*fnn.data.xor()))
    4
    """

    x: PyTree
    y: Any
    sample_weight: Array | None = None

    def __len__(self) -> int:
        return len(jax.tree.leaves(self.x)[0])

    def take(self, numbers: Any) -> "Batch":
        """The rows with these numbers."""
        return jax.tree.map(lambda leaf: leaf[numbers], self)


@partial(jax.tree_util.register_dataclass, data_fields=["batches"], meta_fields=["count", "batch_size"])
@dataclass(frozen=True)
class Dealt:
    """Rows of a stream that were dealt to many devices, batch by batch."""

    batches: Batch
    """Leaves of shape (batches, columns, …), with at least as many columns as a batch has rows."""
    count: int
    batch_size: int

    def __len__(self) -> int:
        return self.count

    def take(self, numbers: Any) -> Batch:
        """The rows with these numbers, which are those of one batch."""
        batch = numbers[0] // self.batch_size
        return jax.tree.map(lambda leaf: leaf[batch][: len(numbers)], self.batches)


class Hyperparams(NamedTuple):
    """What may change from call to call without a new program; None if not used."""

    rate: Array | np.ndarray | None = None
    strength: Strength | None = None
    clip_norm: Array | np.ndarray | float | None = None
    patience: Array | np.ndarray | None = None
    min_improvement: Array | np.ndarray | float | None = None


class ChunkMetrics(NamedTuple):
    """What one call of the compiled program measured."""

    losses: Array | None
    """(capacity,): the loss of every batch before its update, of which the first `steps` are set; none for many
    runs."""
    steps: Array
    metrics: dict[str, Array]
    """name -> one value per finished epoch on the last axis, of which the first `finished` are set."""
    finished: Array
    finite: Array
    """Whether the parameters at the end of the call are finite."""
    stopped: Array | None = None
    """Shaped like each curve: True where one of many runs had stopped before the epoch."""


def floating_dtype(params: Params, caller: str = "fit") -> Any:
    """The dtype of the first floating leaf."""
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)]
    for dtype in dtypes:
        if jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"{caller}: params must be real, got {dtype}. Train real and imaginary parts as two arrays, and put "
                "them together in the function."
            )
    for dtype in dtypes:
        if jnp.issubdtype(dtype, jnp.floating):
            return dtype
    got = f"{dtypes[0]} alone" if dtypes else "none"
    raise ValueError(
        f"{caller}: params must hold a floating array, got {got}, so there is nothing to train. Make them with "
        "net.init(key)."
    )


def measuring_dtype(params: Params, caller: str = "fit") -> Any:
    """The dtype of losses and their sums: that of the parameters, but no narrower than float32."""
    return wide(floating_dtype(params, caller))
