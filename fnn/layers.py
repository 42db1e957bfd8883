"""A layer as a value: the contract, and the fully connected layer.

The layer contract. A layer is a frozen dataclass, checked when it is made, with pure methods
    init(key, dtype=float32) -> params
    forward(params, x) -> (y, residuals)                    residuals: arrays only
    backward(params, residuals, y_bar) -> (params_bar, x_bar)
    apply(params, x) -> y
and a name and its sizes `inputs`, `outputs` (None where it takes any). x and y may be any pytree; x_bar has the
structure of x, with None for integers and keys. Leading axes are free, none included. Leaves called ``W`` are the
weights that regularizers see.

Promises: nothing here is a derivative; the rules of `affine` and `activations` are called in the order of the chain
rule. Letters: N examples, I inputs, O outputs. Sources: claims A15, B8, C9.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation, identity
from fnn.linear import affine, affine_backward, affine_norms
from fnn.initializers import Initializer, glorot_uniform, zeros
from fnn.checks import (
    as_floating,
    require_dtype,
    require_key,
    require_last_axis,
    require_record,
    require_shape,
    require_size,
)
from fnn.types import Array, DType, Key, Params, PyTree, Residuals, refuse_init


@dataclass(frozen=True)
class Layer:
    """The base of every layer: subclass it with a frozen dataclass and define `init`, `forward`, `backward`.

    >>> from dataclasses import dataclass
    >>> import jax, jax.numpy as jnp
    >>> @dataclass(frozen=True)
    ... class Scale(fnn.Layer):
    ...     size: int
    ...     def init(self, key, dtype=jnp.float32):
    ...         return {"s": jnp.ones(self.size, dtype)}
    ...     def forward(self, params, x):
    ...         return params["s"] * x, x
    ...     def backward(self, params, x, y_bar):
    ...         return {"s": jnp.sum(y_bar * x, axis=range(x.ndim - 1))}, params["s"] * y_bar
    >>> net = fnn.sequential(fnn.dense(3, 2, activation="tanh"), Scale(2))
    >>> net.apply(net.init(jax.random.key(0)), jnp.zeros((5, 3))).shape
    (5, 2)
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        refuse_init(cls)

    @property
    def name(self) -> str:
        """The class's name in lower case."""
        return type(self).__name__.lower()

    def __getattr__(self, name: str) -> Any:
        # A layer may state its sizes as fields or properties, `inputs` and `outputs`: the number of features on the
        # last axis of x and y. One that does not takes any. (A class attribute None would become a field's default.)
        if name in ("inputs", "outputs"):
            return None
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        """Return fresh parameters: a pytree of arrays of this dtype; () where there are none."""
        return ()

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        """Return (y, what backward needs)."""
        raise TypeError(f"{type(self).__name__} must define forward(params, x) -> (y, residuals).")

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        """Return (params_bar, x_bar), in the structures of params and x."""
        raise TypeError(f"{type(self).__name__} must define backward(params, residuals, y_bar).")

    def apply(self, params: Params, x: PyTree) -> PyTree:
        """Return y alone."""
        return self.forward(params, x)[0]

    # ---- for a look inside: layers with parts worth naming define these too

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        """Return (y, the values inside by name); a layer shows its output, as "y", unless it defines more."""
        y = self.apply(params, x)
        return y, {"y": y}

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        """Return (params_bar, x_bar, the cotangents of `values` by the same names)."""
        return (*self.backward(params, residuals, y_bar), {"y": y_bar})

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        """Return (per-example gradient norms, x_bar): for each leaf of params the N norms, one per example.

        The first axis of x, y and every residual counts the N examples. Here gradients are formed, example by example;
        `Dense` gets its norms from the factors.
        """

        def one(residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
            params_bar, x_bar = self.backward(params, residuals, y_bar)
            return jax.tree.map(lambda g: jnp.sqrt(jnp.sum(g * g)), params_bar), x_bar

        return jax.vmap(one)(residuals, y_bar)


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """The fully connected layer a = σ(x W + b); params {"W": (I, O), "b": (O,)}. Made by `dense`.

    Keeps x and what the activation keeps. Inside it names "z" (before the activation) and "a" (after it).

    >>> layer = fnn.Dense(64, 32, fnn.relu)
    >>> layer, layer == fnn.dense(64, 32, activation="relu")
    (dense(64, 32, activation=relu), True)
    """

    inputs: int
    outputs: int
    activation: Activation = identity
    weights: Initializer = glorot_uniform
    bias: Initializer = zeros

    def __post_init__(self) -> None:
        require_size("dense", "inputs", self.inputs, "Example: dense(64, 32).")
        require_size("dense", "outputs", self.outputs, "Example: dense(64, 32).")
        remedy = "Give a record such as fnn.tanh, or make your own by subclassing."
        require_record("dense", Activation, self.activation, remedy)
        require_record("dense", Initializer, self.weights, remedy.replace("tanh", "glorot_uniform"))
        require_record("dense", Initializer, self.bias, remedy.replace("tanh", "zeros"))

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        require_key("dense.init", key)
        dtype = require_dtype(dtype)
        W_key, b_key = jax.random.split(key)
        return {
            "W": self.weights(W_key, (self.inputs, self.outputs), dtype),
            "b": self.bias(b_key, (self.outputs,), dtype),
        }

    def forward(self, params: Params, x: Array) -> tuple[Array, Residuals]:
        x, z = self._weighted_sum(params, x)
        a, kept = self.activation.forward(z)
        return a, (x, kept)

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        return self.cotangents(params, residuals, y_bar)[:2]

    def values(self, params: Params, x: Array) -> tuple[Array, dict[str, Array]]:
        z = self._weighted_sum(params, x)[1]
        a = self.activation.forward(z)[0]
        return a, {"z": z, "a": a}

    def cotangents(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array, dict[str, Array]]:
        # a = σ(z), z = x @ W + b
        x, kept = residuals
        z_bar = self.activation.backward(kept, y_bar)
        W_bar, b_bar, x_bar = affine_backward(params["W"], x, z_bar)
        return {"W": W_bar, "b": b_bar}, x_bar, {"z": z_bar, "a": y_bar}

    def norms(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        x, kept = residuals
        if x.ndim != 2:
            return super().norms(params, residuals, y_bar)
        z_bar = self.activation.backward(kept, y_bar)
        W_norm, b_norm = affine_norms(x, z_bar)
        return {"W": W_norm, "b": b_norm}, z_bar @ params["W"].T

    def _weighted_sum(self, params: Params, x: Array) -> tuple[Array, Array]:
        if not isinstance(params, dict) or set(params) != {"W", "b"}:
            raise ValueError(
                f"{self} needs params {{'W': …, 'b': …}}; {_told(params)} came. "
                "Are they of another net? Make them with net.init(key)."
            )
        W, b = (as_floating(str(self), name, params[name]) for name in ("W", "b"))
        remedy = "Are the parameters of another net? Make them with net.init(key)."
        require_shape(str(self), "W", W.shape, (self.inputs, self.outputs), remedy)
        require_shape(str(self), "b", b.shape, (self.outputs,), remedy)
        x = as_floating(str(self), "x", x, W.dtype)
        require_last_axis(str(self), "x", x.shape, self.inputs, "features")
        return x, affine(W, b, x)

    def __repr__(self) -> str:
        options = {"activation": identity, "weights": glorot_uniform, "bias": zeros}
        changed = "".join(f", {o}={getattr(self, o)}" for o, default in options.items() if getattr(self, o) != default)
        return f"dense({self.inputs}, {self.outputs}{changed})"


def _told(params: Params) -> str:
    return f"a dict of {sorted(params)}" if isinstance(params, dict) else type(params).__name__


def with_parts(record: Any, change: Callable[[Any], Any]) -> Any:
    """The dataclass with `change` applied to each field, and to each entry of a field that is a tuple."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return record
    changed = {}
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        new = tuple(map(change, value)) if isinstance(value, tuple) else change(value)
        if new is not value and each.init:
            changed[each.name] = new
    return dataclasses.replace(record, **changed) if changed else record
