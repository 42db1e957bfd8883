"""The objective of a network, and back-propagation: its gradient, composed of the layers' own rules.

Promises: `backprop(net, loss)` has the signature and the result of `jax.value_and_grad(objective(net, loss))` and
contains no derivative of its own: the loss turns 1 into the cotangent of the prediction, and the net turns that into
the gradients of its parameters. A net of two modes is in training mode where statistics and a key are given. Both are
plain functions, so `jax.vmap` gives per-example gradients and `jax.jvp` Hessian-vector products. Both are values: equal
ones never retrace.
Sources: claims A19, B7, B8, B13, C8, C9.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from textwrap import shorten
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checks import require_hash, require_pair, require_record, validate, warn
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.losses import get as get_loss
from fnn.modes import InTraining
from fnn.regularizers import Regularizer, Strength
from fnn.regularizers import get as get_regularizer
from fnn.tracing import traced
from fnn.types import Array, Key, Params, PyTree, Residuals

#: Rows of which the first predictions are looked at.
LOOKED_AT = 64

__all__ = ["Backprop", "Objective", "backprop", "objective"]


@dataclass(frozen=True)
class Objective:
    """What training minimizes: loss(net(x), y) + λ Ω(params). Made by `objective`; a call returns the value.

    >>> objective = fnn.objective(fnn.mlp(2, 1), fnn.squared_error, fnn.l2)
    >>> params = ({"W": jnp.array([[1.0], [2.0]]), "b": jnp.zeros(1)},)
    >>> x, y = jnp.array([[1.0, 1.0]]), jnp.array([[1.0]])
    >>> float(objective(params, x, y, strength=0.5))  # (3 − 1)² + ½ (1² + 2²)
    6.5
    """

    net: Layer
    loss: Loss
    regularizer: Regularizer | None = None

    def __post_init__(self) -> None:
        require_record("objective", Layer, self.net, "Make it with fnn.mlp(64, 32, 10).")
        require_record("objective", Loss, self.loss, "Give a record such as fnn.softmax_cross_entropy.")
        if self.regularizer is not None:
            require_record("objective", Regularizer, self.regularizer, "Give fnn.l2, or None.")

    @property
    def __name__(self) -> str:
        return f"objective_{self.loss.name}"

    def __call__(
        self, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None,
        strength: Strength | None = None, weight_sum: Array | float | None = None,
        statistics: PyTree = None, key: Key | None = None,
    ) -> Any:  # fmt: skip
        """The value of the objective, a scalar; in training mode (value, the statistics after it).

        Args:
            params: parameters of the net.
            x: inputs, (…, I) for a dense net.
            y: targets as the loss takes them.
            sample_weight: a weight for each example, or a mask, (…), or None.
            strength: λ of the regularizer; required if there is one, refused if there is none.
            weight_sum: the denominator of the weighted mean of the data term, Σ w of these examples by default;
                training passes |B| w̄, so that a weight counts in a batch of any size and the penalty stays as it is.
            statistics, key: of a net with dropout or batch normalization, both: then it is in training mode. With
                the statistics alone it is the value of the trained net, as for a metric.
        """
        options = {"sample_weight": sample_weight, "strength": strength, "weight_sum": weight_sum}
        if key is None and statistics is None:
            return self.forward(params, x, y, **options)[0]
        if key is None:
            passed = self.predict(params, x, statistics), ()
            return self._valued(params, passed, y, (sample_weight, weight_sum), strength)[0]
        value, _, statistics = self.train(params, statistics, x, y, key, **options)
        return value, statistics

    def forward(
        self, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None,
        strength: Strength | None = None, weight_sum: Array | float | None = None,
    ) -> tuple[Array, Residuals]:  # fmt: skip
        """Return (value, residuals)."""
        with self._not_exchanged(x, y):
            passed = require_pair(f"{self.net.name}.forward", self.net.forward(params, x), "(y, residuals)")
        return self._valued(params, passed, y, (sample_weight, weight_sum), strength)

    def train(
        self, params: Params, statistics: PyTree, x: PyTree, y: Any, key: Key | None, *,
        sample_weight: Array | None = None, strength: Strength | None = None, weight_sum: Array | float | None = None,
    ) -> tuple[Array, Residuals, PyTree]:  # fmt: skip
        """As `forward`, with the net in training mode: return (value, residuals, the statistics after it)."""
        if key is None or statistics is None:
            missing = "key" if key is None else "statistics"
            raise ValueError(
                f"objective: statistics and key go together, got no {missing}. Give key=jax.random.key(…) and "
                "statistics=state.statistics, or before training net.start(params)."
            )
        if sample_weight is not None and jax.tree.leaves(statistics):
            net = shorten(repr(self.net), 60, placeholder=" …")
            raise ValueError(
                f"objective: weights of examples must not meet statistics of a batch, in which every row counts the "
                f"same, got sample_weight with {net}. Repeat or drop rows, or take a net without them."
            )
        with self._not_exchanged(x, y):
            prediction, net_saved, statistics = self.net.train(params, statistics, x, key)
        value, residuals = self._valued(params, (prediction, net_saved), y, (sample_weight, weight_sum), strength)
        return value, residuals, statistics

    @contextlib.contextmanager
    def _not_exchanged(self, x: PyTree, y: Any) -> Iterator[None]:
        """Add a question to what the net says of x, if y alone has the shape and dtype of inputs."""
        try:
            yield
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError) or _fits(self.net, x) or not _fits(self.net, y):
                raise
            raise type(error)(f"{error} Or are x and y exchanged? The order is (params, x, y).") from error

    def _valued(
        self, params: Params, passed: tuple[PyTree, Residuals], y: Any, weights: tuple, strength: Strength | None
    ) -> tuple[Array, Residuals]:
        """(value, residuals) of what the net gave."""
        prediction, net_saved = passed
        sample_weight, weight_sum = weights
        # a loss of the user need not know of the denominator unless it is asked for
        denominator = () if weight_sum is None else (weight_sum,)
        value, loss_saved = self.loss.forward(prediction, y, sample_weight, *denominator)
        self.require_strength(strength)
        if self.regularizer is not None and strength is not None:
            value = value + self.regularizer(params, strength)
        return value, (net_saved, loss_saved, strength)

    def predict(self, params: Params, x: PyTree, statistics: PyTree = None) -> PyTree:
        """What the net predicts, with these statistics, or with those before training."""
        return self.net.evaluate(params, self.net.start(params) if statistics is None else statistics, x)

    def require_strength(self, strength: Strength | None) -> None:
        """Raise `ValueError` unless a regularizer and a strength are both present or both absent."""
        if (self.regularizer is None) != (strength is None):
            raise ValueError(
                "a regularizer and its strength go together: "
                + (
                    f"got regularizer={self.regularizer} without a strength. Call with strength=1e-4."
                    if strength is None
                    else f"got strength={strength}, but the objective has no regularizer. "
                    "Make it with regularizer=fnn.l2."
                )
            )

    def backward(self, params: Params, residuals: Residuals, value_bar: Array | float = 1.0) -> tuple[Params, PyTree]:
        """Return (params_bar, x_bar): from the value back to the parameters and the inputs."""
        # value = loss(net(params, x)) + λ Ω(params)
        net_saved, loss_saved, strength = residuals
        prediction_bar = self.loss.backward(loss_saved, value_bar)
        back = self.net.backward(params, net_saved, prediction_bar)
        params_bar, x_bar = require_pair(f"{self.net.name}.backward", back, "(params_bar, x_bar)")
        if self.regularizer is not None:
            # the parameters are used twice, so their two gradients add
            penalty_bar = self.regularizer.gradient(params, strength)
            params_bar = jax.tree.map(lambda g, r: g + value_bar * r, params_bar, penalty_bar)
        return params_bar, x_bar

    def validate(self, params: Params, x: Any, y: Any) -> None:
        """Check the values of a data set on the host before training; see `fnn.data.validate`.

        Raises:
            ValueError, TypeError: what `fnn.data.validate` raises, and targets that are invalid for the loss.
        """
        require_hash("objective", self)
        # of the training mode the examples are a part of its input
        validate(x[0] if isinstance(self.net, InTraining) else x, y)
        with traced("objective", "gradient", "the net"):
            self.validate_target(params, x, y)

    def validate_target(self, params: Params, x: Any, y: Any) -> None:
        """The part of `validate` that needs the net and the loss: the inputs' shapes and the targets' values."""
        prediction = jax.eval_shape(self.predict, params, jax.tree.map(jnp.asarray, x))
        self.loss.validate_target(y, prediction.shape[-1])

    def validate_prediction(self, params: Params, x: PyTree) -> None:
        """Warn if what the net predicts for the first rows cannot be what the loss expects, such as probabilities."""
        ends_in = getattr(getattr(self.net, "layers", (self.net,))[-1], "activation", None)
        if self.loss.applies is not None and getattr(ends_in, "name", None) == self.loss.applies[0]:
            output, instead = self.loss.applies
            warn(
                f"{self.loss.name} applies the {output} itself, and the net ends in one: it is applied twice. Leave it "
                f"out of the net, or use {instead}.",
            )
        # only a loss that has something to say pays for a prediction
        if type(self.loss).validate_prediction is not Loss.validate_prediction:
            first = jax.tree.map(_first_rows, x)
            self.loss.validate_prediction(jax.device_get(_predict(self.net, params, first)))


def _first_rows(leaf: Any) -> np.ndarray:
    """The rows that are looked at, on the host.

    What lies in the host's memory is cut there: JAX would compile a cut for every number of rows. Elsewhere the cut is
    made on the device, and only these rows are copied.
    """
    elsewhere = isinstance(leaf, jax.Array) and any(device.platform != "cpu" for device in leaf.devices())
    return np.asarray(leaf[:LOOKED_AT] if elsewhere else np.asarray(leaf)[:LOOKED_AT])


@partial(jax.jit, static_argnums=0)
def _predict(net: Layer, params: Params, x: PyTree) -> PyTree:
    # a net is a value, so that equal ones share a program; each bound method would have its own
    return net.evaluate(params, net.start(params), x)


@dataclass(frozen=True)
class Backprop:
    """The gradient of an objective by hand. Made by `backprop`; a call returns (value, gradients).

    >>> by_hand = fnn.backprop(fnn.mlp(2, 3, 1), fnn.squared_error)
    >>> by_hand.net, by_hand.loss
    (sequential(dense(2, 3, activation=tanh), dense(3, 1)), squared_error)
    >>> params = by_hand.net.init(jax.random.key(0))
    >>> value, gradients = by_hand(params, jnp.ones((4, 2)), jnp.zeros((4, 1)))
    >>> gradients[0]["W"].shape
    (2, 3)
    """

    objective: Objective

    @property
    def net(self) -> Layer:
        """The network."""
        return self.objective.net

    @property
    def loss(self) -> Loss:
        """The loss."""
        return self.objective.loss

    @property
    def regularizer(self) -> Regularizer | None:
        """The regularizer, or None."""
        return self.objective.regularizer

    @property
    def __name__(self) -> str:
        return f"backprop_{self.loss.name}"

    def __call__(
        self, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None,
        strength: Strength | None = None, weight_sum: Array | float | None = None,
        statistics: PyTree = None, key: Key | None = None,
    ) -> tuple[Any, Params]:  # fmt: skip
        """Return (value, gradients in the structure of params). The arguments are those of the objective.

        In training mode ((value, the statistics after it), gradients), as `jax.value_and_grad` of the objective with
        has_aux=True.
        """
        options = {"sample_weight": sample_weight, "strength": strength, "weight_sum": weight_sum}
        if key is None and statistics is None:
            value, residuals = self.objective.forward(params, x, y, **options)
            return value, self.objective.backward(params, residuals)[0]
        value, residuals, statistics = self.objective.train(params, statistics, x, y, key, **options)
        return (value, statistics), self.objective.backward(params, residuals)[0]

    def with_inputs(
        self, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None, strength: Strength | None = None
    ) -> tuple[Array, tuple[Params, PyTree]]:
        """Return (value, (params_bar, x_bar)), as `jax.value_and_grad(objective, argnums=(0, 1))` does."""
        value, residuals = self.objective.forward(params, x, y, sample_weight=sample_weight, strength=strength)
        return value, self.objective.backward(params, residuals)

    def intermediates(
        self, params: Params, x: PyTree, y: Any, *, sample_weight: Array | None = None, strength: Strength | None = None
    ) -> dict[str, tuple[PyTree, PyTree]]:
        """Return {name: (value, gradient)} of everything between input and loss.

        In an mlp the names are "1.z", "1.a", "2.z", …: layer k before and after its activation (claim B8),
        in the order of the forward pass (`jax.jit` returns every dict sorted by name).

        >>> net = fnn.mlp(2, 3, 1)
        >>> inside = fnn.backprop(net, fnn.squared_error).intermediates(
        ...     net.init(jax.random.key(0)), jnp.ones((5, 2)), jnp.ones((5, 1)))
        >>> {name: gradient.shape for name, (value, gradient) in inside.items()}
        {'1.z': (5, 3), '1.a': (5, 3), '2.z': (5, 1), '2.a': (5, 1)}
        """
        if type(self.objective).backward is not Objective.backward:
            raise TypeError(
                f"intermediates: {type(self.objective).__name__} overrides backward, so the gradients inside it are "
                "unknown. Look inside fnn.backprop(net, loss)."
            )
        _, (net_saved, loss_saved, _) = self.objective.forward(
            params, x, y, sample_weight=sample_weight, strength=strength
        )
        *_, gradients = self.net.cotangents(params, net_saved, self.loss.backward(loss_saved))
        _, values = self.net.values(params, x)
        return {name: (value, gradients[name]) for name, value in values.items()}

    def example_norms(self, params: Params, x: PyTree, y: Any) -> Params:
        """Per-example gradient norms of the loss: for each leaf of params N norms, one per example.

        The gradient of example n is that of its own loss, neither averaged nor regularized. A dense layer computes its
        norms from the factors ‖x_n‖ ‖z_bar_n‖ and never stores a per-example gradient. The leaves of a repeated layer
        have one row of N norms per repetition. A layer of your own calls its `backward` example by example.

        Args:
            x: inputs (N, I). y: targets, N of them.
        """
        summed = replace(self.objective, loss=self.loss.sum, regularizer=None)
        if type(summed).backward is not Objective.backward:
            # all that is known of a user's backward is its result, example by example
            one = jax.vmap(lambda x, y: Backprop(summed)(params, x, y)[1])(x, y)
            return jax.tree.map(lambda g: jnp.sqrt(jnp.sum(g * g, axis=tuple(range(1, g.ndim)))), one)
        _, (net_saved, loss_saved, _) = summed.forward(params, x, y)
        return self.net.norms(params, net_saved, self.loss.sum.backward(loss_saved))[0]


def objective(net: Layer, loss: Loss | str, regularizer: Regularizer | str | None = None) -> Objective:
    """The function (params, x, y) -> value that training minimizes: loss(net(x), y), plus λ Ω(params).

    Args:
        net: a layer, for instance one made by `mlp`.
        loss: a record or its name.
        regularizer: a record, its name, or None; its strength is an argument of the call.

    >>> net = fnn.mlp(2, 1)
    >>> f = fnn.objective(net, fnn.squared_error, fnn.l2)
    >>> float(f(({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)},), jnp.ones((4, 2)), jnp.ones((4, 1)), strength=0.5))
    2.0
    """
    return Objective(net, get_loss(loss), None if regularizer is None else get_regularizer(regularizer))


def backprop(net: Layer, loss: Loss | str, regularizer: Regularizer | str | None = None) -> Backprop:
    """The gradient by hand: (params, x, y) -> (value, gradients), as `jax.value_and_grad(objective(net, loss))`.

    Args: those of `objective`.

    Returns:
        a `Backprop` record, which is called, and has the methods `with_inputs`, `intermediates` and `example_norms`.

    >>> net = fnn.mlp(4, 3, 2)
    >>> params, x, y = net.init(jax.random.key(0)), jnp.ones((5, 4)), jnp.array([0, 1, 1, 0, 1])
    >>> value, gradients = fnn.backprop(net, fnn.softmax_cross_entropy)(params, x, y)
    >>> _, automatic = jax.value_and_grad(fnn.objective(net, fnn.softmax_cross_entropy))(params, x, y)
    >>> bool(jnp.allclose(gradients[0]["W"], automatic[0]["W"], atol=1e-6))
    True
    """
    return Backprop(objective(net, loss, regularizer))


def _fits(net: Layer, x: Any) -> bool:
    """Whether this is a floating array with as many features as the net takes, if it takes a fixed number."""
    array = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
    return array and net.inputs is not None and np.shape(x)[-1:] == (net.inputs,)
