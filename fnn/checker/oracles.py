"""Oracles: a record's own forward pass with the backward pass of autodiff.

Promises: `isolated(record)` is the record with every part inside replaced by its oracle, so that a mistake shows in the
rule that makes it and in no rule around it; a rule that does not pass a part its own residuals shows too, in whatever
the part would have read. Together with its neighbours, this is the only place in the package that differentiates
automatically.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.activations import Activation
from fnn.adapter import custom_vjp
from fnn.layers import Layer, with_parts
from fnn.losses import Loss
from fnn.modes import InTraining
from fnn.regularizers import Regularizer
from fnn.types import Array, PyTree


def is_float(leaf: Any) -> bool:
    """True for an array of a floating dtype; keys and integers have no derivative."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def floats_of(inputs: PyTree) -> tuple[list[Array], Callable[[list[Array]], Any]]:
    """The floating leaves of the inputs, and how to put others in their place."""
    leaves, tree = jax.tree.flatten(inputs)

    def rebuilt(floats: list[Array]) -> Any:
        rest = iter(floats)
        return jax.tree.unflatten(tree, [next(rest) if is_float(leaf) else leaf for leaf in leaves])

    return [leaf for leaf in leaves if is_float(leaf)], rebuilt


def as_dtype_of(value: Any, other: Any) -> Any:
    """The value, cast to the dtype of the other."""
    return value if value.dtype == other.dtype else jnp.asarray(value).astype(other.dtype)


def pullback(f: Callable[..., PyTree], inputs: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
    """(f(*inputs), the cotangents of all inputs by autodiff, None for leaves without a derivative)."""
    leaves, tree = jax.tree.flatten(inputs)
    floats, rebuilt = floats_of(inputs)
    y, back = jax.vjp(lambda floats: f(*rebuilt(floats)), floats)
    bars = iter(back(jax.tree.map(as_dtype_of, y_bar, y))[0])
    return y, jax.tree.unflatten(tree, [next(bars) if is_float(leaf) else None for leaf in leaves])


def pushforward(f: Callable[..., PyTree], inputs: tuple, tangents: list[Array]) -> PyTree:
    """The tangent of f's output by forward mode, from one tangent per floating leaf of the inputs."""
    floats, rebuilt = floats_of(inputs)
    return jax.jvp(lambda floats: f(*rebuilt(floats)), (floats,), (tangents,))[1]


def vjp(f: Callable[..., PyTree], inputs: tuple, y_bar: PyTree) -> tuple:
    """The cotangents of all inputs by autodiff, None for leaves without a derivative."""
    return pullback(f, inputs, y_bar)[1]


class Residuals(NamedTuple):
    """The residuals of an oracle: all that any part may save, so that a mix-up in the backward pass shows."""

    x: PyTree
    y: PyTree
    again: PyTree
    """y once more, as a separate value: code that takes x and y from another layer does not have this one."""

    @classmethod
    def of(cls, x: PyTree, y: PyTree) -> "Residuals":
        return cls(x, y, jax.tree.map(lambda leaf: jnp.copy(leaf) if is_float(leaf) else leaf, y))

    def spoiled(self, y_bar: PyTree) -> PyTree:
        """y_bar; off by their difference where y was replaced by another value. Exact: nothing is recomputed."""

        def off(bar: Any, y: Any, again: Any) -> Any:
            if not is_float(y):
                return bar
            # NaN and infinity are equal to themselves here
            return bar + jnp.where((y == again) | jnp.isnan(again), jnp.zeros_like(y), y - again)

        return jax.tree.map(off, y_bar, self.y, self.again)


@dataclass(frozen=True, repr=False)
class OracleActivation(Activation):
    """An activation with the backward pass of autodiff; on residuals of another part it uses its own rule."""

    rule: Activation = field(kw_only=True)

    def forward(self, z: Array) -> tuple[Array, PyTree]:
        a = self.rule.forward(z)[0]
        return a, Residuals.of(z, a)

    def backward(self, residuals: PyTree, a_bar: Array) -> Array:
        if not isinstance(residuals, Residuals):
            return self.rule.backward(residuals, a_bar)
        return vjp(lambda z: self.rule.forward(z)[0], (residuals.x,), residuals.spoiled(a_bar))[0]


@dataclass(frozen=True, repr=False)
class OracleLayer(Layer):
    """A layer with the backward pass of autodiff; on residuals of another part it uses its own rule."""

    rule: Layer

    @property
    def inputs(self) -> int | None:
        return self.rule.inputs

    @property
    def outputs(self) -> int | None:
        return self.rule.outputs

    def forward(self, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        y = self.rule.apply(params, x)
        return y, Residuals.of(x, y)

    @property
    def has_modes(self) -> bool:
        return self.rule.has_modes

    @property
    def in_training(self) -> "OracleLayer":
        return OracleLayer(InTraining(self.rule))

    def train(self, params: PyTree, statistics: PyTree, x: PyTree, key: Any) -> tuple[PyTree, PyTree, PyTree]:
        if not self.has_modes:
            return super().train(params, statistics, x, key)
        y, saved = self.in_training.forward(params, (x, statistics, key))
        return y, saved, self.rule.train(params, statistics, x, key)[2]

    def evaluate(self, params: PyTree, statistics: PyTree, x: PyTree) -> PyTree:
        return self.rule.evaluate(params, statistics, x)

    def backward(self, params: PyTree, residuals: PyTree, y_bar: PyTree) -> tuple[PyTree, PyTree]:
        if not isinstance(residuals, Residuals):
            return self.rule.backward(params, residuals, y_bar)
        if self.has_modes:
            params_bar, (x_bar, *_) = self.in_training.backward(params, residuals, y_bar)
            return params_bar, x_bar
        params_bar, x_bar = vjp(self.rule.apply, (params, residuals.x), residuals.spoiled(y_bar))
        return params_bar, x_bar


@dataclass(frozen=True, repr=False)
class OracleLoss(Loss):
    """A loss with the backward pass of autodiff."""

    rule: Loss = field(kw_only=True)

    def forward(
        self,
        prediction: Array,
        target: Any,
        sample_weight: Array | None = None,
        weight_sum: Array | float | None = None,
    ) -> tuple[Array, PyTree]:
        value, _ = self.rule.forward(prediction, target, sample_weight, weight_sum)
        return value, (prediction, target, (sample_weight, weight_sum))

    def backward(self, residuals: PyTree, value_bar: Array | float = 1.0) -> Array:
        prediction, target, weights = residuals
        value_bar = jnp.asarray(value_bar, prediction.dtype)
        return vjp(lambda p: self.rule.forward(p, target, *weights)[0], (prediction,), value_bar)[0]


@dataclass(frozen=True, repr=False)
class OracleRegularizer(Regularizer):
    """A regularizer with the gradient of autodiff."""

    rule: Regularizer = field(kw_only=True)

    def __call__(self, params: PyTree, strength: Any) -> Array:
        return self.rule(params, strength)

    def gradient(self, params: PyTree, strength: Any) -> PyTree:
        return jax.grad(self.rule)(params, strength)


@dataclass(frozen=True, repr=False)
class _SeenActivation(Activation):
    rule: Activation = field(kw_only=True)
    seen: list = field(kw_only=True, compare=False)

    def forward(self, z: Array) -> tuple[Array, PyTree]:
        self.seen.append((self.rule, (z,)))
        return self.rule.forward(z)


@dataclass(frozen=True, repr=False)
class _SeenLayer(OracleLayer):
    seen: list = field(kw_only=True, compare=False)

    def forward(self, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        self.seen.append((self.rule, (params, x)))
        return self.rule.forward(params, x)

    def train(self, params: PyTree, statistics: PyTree, x: PyTree, key: Any) -> tuple[PyTree, PyTree, PyTree]:
        if not self.has_modes:
            return Layer.train(self, params, statistics, x, key)
        self.seen.append((InTraining(self.rule), (params, (x, statistics, key))))
        return self.rule.train(params, statistics, x, key)


def isolated(record: Any) -> Any:
    """The record with every part inside replaced by its oracle."""
    kinds = {Activation: OracleActivation, Layer: OracleLayer, Loss: OracleLoss, Regularizer: OracleRegularizer}

    def oracle(part: Any) -> Any:
        return next((made(rule=part) for kind, made in kinds.items() if isinstance(part, kind)), part)

    return within(record, oracle)


@dataclass(frozen=True, repr=False)
class LentLayer(OracleLayer):
    """A layer with a backward pass of its own that counts in whatever is differentiated automatically around it."""

    def forward(self, params: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        return custom_vjp(self.rule)(params, x), ()


@dataclass(frozen=True, repr=False)
class LentActivation(Activation):
    """An activation with a backward pass of its own that counts in whatever is differentiated automatically around
    it."""

    rule: Activation = field(kw_only=True)

    def forward(self, z: Array) -> tuple[Array, PyTree]:
        return custom_vjp(self.rule)(z), ()


def lent(record: Any, is_declared: Callable[[Any], bool]) -> Any:
    """The record, with the parts that differ from their derivative on purpose passed to autodiff as they are."""

    def own(part: Any) -> Any:
        if isinstance(part, Activation | Layer) and is_declared(part):
            return LentLayer(part) if isinstance(part, Layer) else LentActivation(rule=part)
        return with_parts(part, own) if isinstance(part, Layer) else part

    return with_parts(record, own)


def parts(layer: Layer, params: PyTree, x: PyTree) -> list[tuple[Any, tuple]]:
    """Every activation and layer that one forward pass calls inside this layer, with the arguments of the call."""
    seen: list[tuple[Any, tuple]] = []

    def watched(part: Any) -> Any:
        if isinstance(part, Activation):
            return _SeenActivation(rule=part, seen=seen)
        return _SeenLayer(part, seen=seen) if isinstance(part, Layer) else part

    watching = within(layer, watched)
    if watching is not layer:
        watching.apply(params, x)
    return seen


def parts_of(record: Any) -> list[Any]:
    """The activations and layers that a record holds in its fields."""
    inside: list[Any] = []

    def record_part(part: Any) -> Any:
        if isinstance(part, Activation | Layer):
            inside.append(part)
        return part

    within(record, record_part)
    return inside


def within(record: Any, change: Callable[[Any], Any]) -> Any:
    """The record with its parts changed; the training mode of a layer has the parts of the layer."""
    if not isinstance(record, InTraining):
        return with_parts(record, change)
    layer = with_parts(record.layer, change)
    return record if layer is record.layer else InTraining(layer)
