"""Layers as values, and how layers compose into layers.

The layer contract. A layer is a frozen dataclass, checked when it is made, with pure methods
    init(key, dtype=float32) -> params
    forward(params, x) -> (y, residuals)                    residuals: arrays only
    backward(params, residuals, y_bar) -> (params_bar, x_bar)
    apply(params, x) -> y
and a name and its sizes `inputs`, `outputs` (None where it takes any). x and y may be any pytree; x_bar has the
structure of x, with None for integers and keys. Leading axes are free, none included. Leaves called ``W`` are the
weights that regularizers see.

Promises: nothing here is a derivative. The chain rule only says in which order the rules of `affine` and
`activations` are called, and that gradients of branches add. Letters: N examples, I inputs, O outputs, L layers.
Sources: claims A15, B8, C4, C9, E5; He et al. 2016 for the skip connection.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation, activation, identity
from fnn.affine import affine, affine_backward, affine_norms
from fnn.initializers import Initializer, glorot_uniform, initializer, zeros
from fnn.requirements import (
    as_floating,
    require_dtype,
    require_last_axis,
    require_record,
    require_shape,
    require_size,
)
from fnn.types import Array, DType, Key, Params, PyTree, Residuals


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


@dataclass(frozen=True, repr=False)
class Sequential(Layer):
    """Layers one after another: y = f_L(… f_1(x)). params: a tuple with one entry per layer. Made by `sequential`.

    The values inside are named by the number of the layer, counted from 1: "1.z", "1.a", "2.z", ….
    """

    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        return f"sequential({', '.join(map(repr, self.layers))})"

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers:
            raise ValueError(
                f"sequential needs at least one layer, as a tuple; {self.layers!r} came. "
                "Example: sequential(dense(4, 3))."
            )
        for layer in self.layers:
            require_record("sequential", Layer, layer, "Subclass fnn.Layer with a frozen dataclass.")
        for k, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            if below.outputs is not None and above.inputs is not None and below.outputs != above.inputs:
                raise ValueError(
                    f"sequential: layer {k + 1} takes {above.inputs} features, but layer {k} gives {below.outputs}. "
                    "Make the two sizes equal."
                )

    @property
    def inputs(self) -> int | None:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int | None:
        return self.layers[-1].outputs

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        keys = jax.random.split(key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        residuals = []
        for layer, p in self._pairs(params):
            x, kept = layer.forward(p, x)
            residuals.append(kept)
        return x, tuple(residuals)

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        return self.cotangents(params, residuals, y_bar)[:2]

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        named: dict[str, PyTree] = {}
        for k, (layer, p) in enumerate(self._pairs(params), start=1):
            x, inside = layer.values(p, x)
            named |= {f"{k}.{name}": value for name, value in inside.items()}
        return x, named

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        # from the output to the input: each layer turns the cotangent of its output into that of its input
        params_bar, named = [], {}
        for k in reversed(range(len(self.layers))):
            p_bar, y_bar, inside = self.layers[k].cotangents(params[k], residuals[k], y_bar)
            params_bar.append(p_bar)
            named = {f"{k + 1}.{name}": value for name, value in inside.items()} | named
        return tuple(reversed(params_bar)), y_bar, named

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        norms = []
        for layer, p, kept in zip(reversed(self.layers), reversed(params), reversed(residuals), strict=True):
            each, y_bar = layer.norms(p, kept, y_bar)
            norms.append(each)
        return tuple(reversed(norms)), y_bar

    def _pairs(self, params: Params) -> list[tuple[Layer, Params]]:
        if not isinstance(params, tuple | list) or len(params) != len(self.layers):
            came = f"{len(params)} entries" if isinstance(params, tuple | list) else type(params).__name__
            raise ValueError(
                f"sequential needs a tuple with params for each layer, {len(self.layers)} entries; {came} came. "
                "Are they of another net? Make them with net.init(key)."
            )
        return list(zip(self.layers, params, strict=True))


@dataclass(frozen=True, repr=False)
class Skip(Layer):
    """The skip connection y = x + f(x): x goes two ways, so its two cotangents add (claim E5). Made by `skip`."""

    layer: Layer

    def __repr__(self) -> str:
        return f"skip({self.layer})"

    def __post_init__(self) -> None:
        _require_square("skip", self.layer)

    @property
    def inputs(self) -> int | None:
        return self.layer.inputs

    @property
    def outputs(self) -> int | None:
        return self.layer.outputs

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        return self.layer.init(key, dtype)

    def forward(self, params: Params, x: Array) -> tuple[Array, Residuals]:
        y, kept = self.layer.forward(params, x)
        return x + y, kept

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        return self.cotangents(params, residuals, y_bar)[:2]

    def values(self, params: Params, x: Array) -> tuple[Array, dict[str, PyTree]]:
        y, inside = self.layer.values(params, x)
        return x + y, inside | {"y": x + y}

    def cotangents(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array, dict[str, PyTree]]:
        # y = x + f(x)
        params_bar, x_bar, inside = self.layer.cotangents(params, residuals, y_bar)
        return params_bar, y_bar + x_bar, inside | {"y": y_bar}

    def norms(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        norms, x_bar = self.layer.norms(params, residuals, y_bar)
        return norms, y_bar + x_bar


@dataclass(frozen=True, repr=False)
class Repeated(Layer):
    """n equal layers with parameters of their own, one after another, by a scan. Made by `repeated`.

    params: those of one layer, every leaf with a leading axis of n. It compiles in the time of one layer, whatever n;
    the backward pass is the scan in reverse. The values inside carry that leading axis too. Where a layer keeps its
    own input or output, only the inputs are stacked: the output of one repetition is the input of the next.
    """

    layer: Layer
    times: int

    def __repr__(self) -> str:
        return f"repeated({self.layer}, {self.times})"

    def __post_init__(self) -> None:
        _require_square("repeated", self.layer)
        require_size("repeated", "times", self.times, "Give an int of 1 or more, or leave the layer out.")

    @property
    def inputs(self) -> int | None:
        return self.layer.inputs

    @property
    def outputs(self) -> int | None:
        return self.layer.outputs

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        return jax.vmap(lambda k: self.layer.init(k, dtype))(jax.random.split(key, self.times))

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        self._require_stacked(params)
        _, roles = self._plan(params, x)

        def step(x: PyTree, p: Params) -> tuple[PyTree, tuple]:
            y, kept = self.layer.forward(p, x)
            own = [leaf for leaf, role in zip(jax.tree.leaves(kept), roles, strict=True) if role is None]
            return y, (x if any(roles) else (), own)

        y, (inputs, own) = jax.lax.scan(step, x, params, length=self.times)
        return y, (inputs, own, y if any(roles) else ())

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        return self._sweep(self.layer.backward, params, residuals, y_bar)

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        self._require_stacked(params)
        return jax.lax.scan(lambda x, p: self.layer.values(p, x), x, params, length=self.times)

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        def rule(*one: Any) -> tuple[tuple[Params, dict[str, PyTree]], PyTree]:
            p_bar, x_bar, inside = self.layer.cotangents(*one)
            return (p_bar, inside), x_bar

        (params_bar, inside), x_bar = self._sweep(rule, params, residuals, y_bar)
        return params_bar, x_bar, inside

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        # the N norms of a leaf stand behind the axis of repetitions
        return self._sweep(self.layer.norms, params, residuals, y_bar)

    def _sweep(
        self, rule: Callable[..., tuple], params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[PyTree, PyTree]:
        """The reverse scan: rule(p, kept, y_bar) -> (what to stack, x_bar), from the last repetition to the first."""
        inputs, own, y = residuals
        structure, roles = self._plan(params, y_bar)

        def step(carry: tuple[PyTree, PyTree], one: tuple) -> tuple[tuple[PyTree, PyTree], PyTree]:
            y_bar, y = carry
            p, x, own = one
            sources, rest = {"x": jax.tree.leaves(x), "y": jax.tree.leaves(y)}, iter(own)
            kept = [next(rest) if role is None else sources[role[0]][role[1]] for role in roles]
            stacked, x_bar = rule(p, jax.tree.unflatten(structure, kept), y_bar)
            # the input of this repetition is the output of the one before
            return (x_bar, x), stacked

        (x_bar, _), stacked = jax.lax.scan(step, (y_bar, y), (params, inputs, own), length=self.times, reverse=True)
        return stacked, x_bar

    def _plan(self, params: Params, x: PyTree) -> tuple[Any, list[tuple[str, int] | None]]:
        """What one repetition keeps: (its structure, for each leaf the place of x or y that it is, or None).

        The output of one repetition is the input of the next, so what is x or y itself is stacked once, not twice.
        """
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)
        closed, (y, kept) = jax.make_jaxpr(self.layer.forward, return_shape=True)(one, like)
        x_count, y_count = len(jax.tree.leaves(like)), len(jax.tree.leaves(y))
        invars, outvars = closed.jaxpr.invars, closed.jaxpr.outvars
        places = {id(v): ("y", k) for k, v in enumerate(outvars[:y_count])}
        places |= {id(v): ("x", k) for k, v in enumerate(invars[len(invars) - x_count :])}
        return jax.tree.structure(kept), [places.get(id(v)) for v in outvars[y_count:]]

    def _require_stacked(self, params: Params) -> None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.shape[:1] != (self.times,):
                raise ValueError(
                    f"repeated: every leaf of params must lead with an axis of {self.times}, one entry per repetition; "
                    f"{jax.tree_util.keystr(path)} has shape {leaf.shape}. Make them with net.init(key)."
                )


def _told(params: Params) -> str:
    return f"a dict of {sorted(params)}" if isinstance(params, dict) else type(params).__name__


def _require_square(where: str, layer: Any) -> None:
    require_record(where, Layer, layer, "Subclass fnn.Layer with a frozen dataclass.")
    if layer.inputs != layer.outputs:
        raise ValueError(
            f"{where}: the layer must give as many features as it takes; it takes {layer.inputs} and gives "
            f"{layer.outputs}. Make the two sizes equal."
        )


# ---- how they are made ----------------------------------------------------------------------------------------------


def dense(
    inputs: int,
    outputs: int,
    *,
    activation: Activation | str = identity,
    weights: Initializer | str = glorot_uniform,
    bias: Initializer | str = zeros,
) -> Dense:
    """The fully connected layer σ(x W + b) from `inputs` to `outputs` features.

    Args:
        inputs, outputs: sizes, at least 1.
        activation: a record or its name; the identity makes the layer affine.
        weights, bias: initializers or their names.

    Raises:
        ValueError: a size below 1, an unknown name. TypeError: a size that is no whole number.

    >>> fnn.dense(64, 32, activation="tanh")
    dense(64, 32, activation=tanh)
    """
    return Dense(inputs, outputs, _activation(activation), initializer(weights), initializer(bias))


def sequential(*layers: Layer) -> Sequential:
    """One layer after another; see `Sequential`. Raises `ValueError` where two sizes do not meet."""
    return Sequential(tuple(layers))


def skip(layer: Layer) -> Skip:
    """x + layer(x); see `Skip`."""
    return Skip(layer)


def repeated(layer: Layer, times: int) -> Repeated:
    """`times` copies of the layer, each with parameters of its own; see `Repeated`."""
    return Repeated(layer, times)


def mlp(
    *sizes: int | Sequence[int],
    activation: Activation | str = "tanh",
    output: Activation | str = identity,
    weights: Initializer | str = glorot_uniform,
    bias: Initializer | str = zeros,
) -> Sequential:
    """A multi-layer perceptron: dense layers of these sizes, the activation after every layer but the last (claim C4).

    Args:
        sizes: inputs, hidden units …, outputs: mlp(64, 32, 10) or mlp([64, 32, 10]); at least two.
        activation: of the hidden layers, a record or its name.
        output: activation of the last layer; losses such as `softmax_cross_entropy` take its identity, the logits.
        weights, bias: initializers of every layer, or their names.

    Returns:
        a `Sequential` of L `Dense` layers; its params are a tuple of L dicts {"W", "b"}.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name. TypeError: a size that is no whole number.

    >>> net = fnn.mlp(64, 32, 10)
    >>> net == fnn.mlp([64, 32, 10]), hash(net) == hash(fnn.mlp(64, 32, 10))
    (True, True)
    """
    if len(sizes) == 1 and isinstance(sizes[0], Sequence):
        sizes = tuple(sizes[0])
    remedy = "Give the sizes one by one, mlp(64, 32, 10), or as one list, mlp([64, 32, 10])."
    widths = [require_size("mlp", f"size {k + 1}", size, remedy) for k, size in enumerate(sizes)]
    if len(widths) < 2:
        raise ValueError(f"mlp needs at least two sizes, inputs and outputs; {widths} came. Example: mlp(64, 32, 10).")
    hidden, last = _activation(activation), _activation(output)
    count = len(widths) - 1
    return sequential(
        *(
            dense(widths[k], widths[k + 1], activation=hidden if k < count - 1 else last, weights=weights, bias=bias)
            for k in range(count)
        )
    )


# `activation` is the natural name of an argument above; this is the function behind it.
_activation = activation
