"""A layer as a value: the contract, and the fully connected layer.

The layer contract. A layer is a frozen dataclass, validated when it is made, with pure methods
    init(key, dtype=float32) -> params
    forward(params, x) -> (y, residuals)                    residuals: arrays only
    backward(params, residuals, y_bar) -> (params_bar, x_bar)     the method that back-propagation calls
    apply(params, x) -> y                                   also as a call, layer(params, x)
a name, and the sizes `inputs` and `outputs` (None if it takes any). x and y may be any pytree; x_bar has the structure
of x, with None for integers and keys. Arrays may have any number of leading axes, including none. Leaves called ``W``
are the weights that regularizers see. For second derivatives there are two more methods, forward and backward on pairs
(value, tangent), which a layer need not define:
    forward_tangent((params, params_dot), (x, x_dot)) -> ((y, y_dot), (residuals, residuals_dot))
    backward_tangent((params, params_dot), (residuals, residuals_dot), (y_bar, y_bar_dot))
        -> ((params_bar, params_bar_dot), (x_bar, x_bar_dot))
A layer of two modes, which behaves differently in training and in evaluation, has in place of forward
    start(params) -> statistics                             arrays that training keeps, () if there are none
    train(params, statistics, x, key) -> (y, residuals, statistics)
    evaluate(params, statistics, x) -> y
and its backward takes the residuals of train. Every layer answers to these three; one without modes keeps nothing and
calls forward.

Promises: there is no derivative here; the rules of `linear` and `activations` are called in the order of the chain
rule. Letters: N examples, I inputs, O outputs. Sources: claims A15, B8, C9.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.activations import Activation, identity
from fnn.checks import (
    as_floating,
    require_dtype,
    require_key,
    require_last_axis,
    require_pair,
    require_record,
    require_shape,
    require_size,
)
from fnn.initializers import Initializer, glorot_uniform, zeros
from fnn.linear import affine, affine_backward, affine_backward_tangent, affine_norms, affine_tangent
from fnn.tracing import traced
from fnn.types import Array, DType, Examples, Factors, Key, Params, PyTree, Residuals, depth, refuse_init, reset_stale

if TYPE_CHECKING:
    from fnn.summary import NetSummary

__all__ = ["Dense", "Layer"]


@dataclass(frozen=True)
class Layer:
    """The base of every layer: subclass it with a frozen dataclass and define `init`, `forward` and `backward`.

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

    expected: ClassVar[str] = ""
    """Why `backward` deliberately is not the derivative of `forward`: "frozen", "clipped". `check` reports it so."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        refuse_init(cls)
        _one_mode_or_two(cls)
        _look_inside_by_backward(cls)

    @property
    def name(self) -> str:
        """The class's name in lower case."""
        return type(self).__name__.lower()

    def __getattr__(self, name: str) -> Any:
        # A layer may state its sizes, the number of features on the last axis of x and y, as fields or properties
        # `inputs` and `outputs`. A layer without them takes any. (A class attribute None would become the default of
        # a field.)
        if name in ("inputs", "outputs"):
            return None
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        """Return new parameters: a pytree of arrays of this dtype, () if there are none."""
        return ()

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        """Return (y, what backward needs)."""
        if self.has_modes:
            raise TypeError(
                f"{self!r} behaves differently in training and in evaluation, got a call that does not say which. "
                "Train with fnn.fit, predict with net.evaluate(params, statistics, x); net.train(params, statistics, "
                "x, key) is one pass of training, and fnn.network.InTraining(net) a plain layer of it. What looks at "
                "one example at a time, and curvature, needs a net without such layers."
            )
        raise TypeError(f"{type(self).__name__} must define forward(params, x) -> (y, residuals).")

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        """Return (params_bar, x_bar), in the structures of params and x."""
        raise TypeError(f"{type(self).__name__} must define backward(params, residuals, y_bar).")

    def apply(self, params: Params, x: PyTree) -> PyTree:
        """Return y alone."""
        return require_pair(f"{self.name}.forward", self.forward(params, x), "(y, residuals)")[0]

    def __call__(self, params: Params, x: PyTree = None) -> PyTree:
        """`apply`: a net is called with its parameters, as a loss or an objective is with its arguments.

        >>> net = fnn.dense(2, 1)
        >>> net({"W": jnp.ones((2, 1)), "b": jnp.zeros(1)}, jnp.array([3.0, 5.0])).tolist()
        [8.0]
        """
        if x is None:
            raise TypeError(
                f"{self.name}: a net holds no parameters and is called with them, net(params, x), got one argument. "
                "Make them once: params = net.init(jax.random.key(0))."
            )
        return self.apply(params, x)

    # ---- the modes: what stands here is right for every layer that does the same in training as in evaluation

    @property
    def has_modes(self) -> bool:
        """Whether this layer, or one inside it, behaves differently in training and in evaluation."""
        return type(self).train is not Layer.train

    def start(self, params: Params) -> PyTree:
        """Return the statistics before the first step of training, () where the layer keeps none."""
        return ()

    def train(self, params: Params, statistics: PyTree, x: PyTree, key: Key) -> tuple[PyTree, Residuals, PyTree]:
        """One pass of training: return (y, what backward needs, the statistics after it).

        >>> net = fnn.sequential(fnn.dense(2, 3), fnn.dropout(0.5))
        >>> params = net.init(jax.random.key(0))
        >>> y, residuals, _ = net.train(params, net.start(params), jnp.ones((4, 2)), jax.random.key(1))
        >>> params_bar, x_bar = net.backward(params, residuals, jnp.ones_like(y))
        """
        y, residuals = require_pair(f"{self.name}.forward", self.forward(params, x), "(y, residuals)")
        return y, residuals, statistics

    def evaluate(self, params: Params, statistics: PyTree, x: PyTree = None) -> PyTree:
        """What a trained net predicts: `net.evaluate(state.params, state.statistics, x)`; of most nets `apply`."""
        if x is None:
            raise TypeError(
                f"{self.name}: evaluate must be called with params, statistics and x, got two of them. Give "
                "net.evaluate(state.params, state.statistics, x); a net without statistics has net.apply(params, x)."
            )
        return self.apply(params, x)

    def summary(self, params: Params, x: PyTree = None) -> "NetSummary":
        """A table of the layers: shapes, parameters, operations, and bytes kept for the backward pass, per example.

        Args:
            params: of this layer, or their shapes.
            x: an input of one example, or its shape; needed by a layer that takes any size.

        Raises:
            ValueError: no x, and the layer does not say how many features it takes.

        >>> net = fnn.mlp(64, 32, 10)
        >>> net.summary(net.init(jax.random.key(0))).total.parameters
        2410
        """
        # the room that counts operations is loaded at its first use
        from fnn.summary import of

        with traced("summary", "gradient", f"the net {self!r:.60}"):
            return of(self, params, x)

    def _repr_html_(self) -> str:
        """The summary for a notebook; the description of a layer that takes any size."""
        if self.inputs is None:
            return f"<code>{escape(repr(self))}</code>"
        return self.summary(jax.eval_shape(self.init, jax.random.key(0)))._repr_html_()

    # ---- for second derivatives: a layer of the package defines them by its own rules. What stands here serves layers
    # of your own, and is the only place where JAX differentiates a rule.

    def forward_tangent(self, params: tuple[Params, Params], x: tuple[PyTree, PyTree]) -> tuple[tuple, tuple]:
        """`forward` on pairs (value, tangent): return ((y, y_dot), (residuals, residuals_dot)).

        Args:
            params, x: each a pair; x_dot is None where it is 0, as at the first layer.

        residuals_dot is what `backward_tangent` needs beside the residuals, of any structure. Here it is `jax.jvp` of
        `forward`; a layer that is to be written by hand throughout defines both methods.
        """
        (y, residuals), (y_dot, residuals_dot) = _push(self.forward, *zip(params, x, strict=True))
        return (y, y_dot), (residuals, residuals_dot)

    def backward_tangent(
        self, params: tuple[Params, Params], residuals: tuple[Residuals, PyTree], y_bar: tuple[PyTree, PyTree]
    ) -> tuple[tuple, tuple]:
        """`backward` on pairs (value, tangent): return ((params_bar, params_bar_dot), (x_bar, x_bar_dot))."""
        (params_bar, x_bar), (params_bar_dot, x_bar_dot) = _push(
            self.backward, *zip(params, residuals, y_bar, strict=True)
        )
        return (params_bar, params_bar_dot), (x_bar, x_bar_dot)

    def factors(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[PyTree, PyTree]:
        """Return (the per-example gradients as `Factors` or `Examples`, x_bar); the first axis of x and y counts N.

        `Dense` returns the two factors of its gradients. Here `backward` is called example by example, and the
        gradients are multiplied out.
        """
        axes = self.example_axes(params, residuals, y_bar)
        gradients, x_bar = jax.vmap(lambda saved, bar: self.backward(params, saved, bar), (axes, 0))(residuals, y_bar)
        return Examples(gradients), x_bar

    # ---- for a look inside: layers with parts worth naming define these too. A class that overrides `backward` alone
    # does not inherit them from its parent, which would bypass the new rule; it gets these, which call `backward`.

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        """Return (y, the values inside by name). Unless a layer defines more, that is its output, as "y"."""
        y = self.apply(params, x)
        return y, {"y": y}

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        """Return what `backward` returns, and the cotangents of the `values`, under the same names."""
        return (*self.backward(params, residuals, y_bar), {"y": y_bar})

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        """Return (per-example gradient norms, x_bar): for each leaf of params N norms, one per example.

        The first axis of x and y counts the N examples. Here `backward` is called example by example, so a rule that
        is not linear in y_bar (one that clips) sees one example at a time. `Dense` computes its norms from factors.
        """

        def one(residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
            params_bar, x_bar = self.backward(params, residuals, y_bar)
            return jax.tree.map(lambda g: jnp.sqrt(jnp.sum(g * g)), params_bar), x_bar

        return jax.vmap(one, (self.example_axes(params, residuals, y_bar), 0))(residuals, y_bar)

    def example_axes(self, params: Params, residuals: Residuals, y_bar: PyTree) -> PyTree:
        """The axis of each residual that counts the examples, in the structure of the residuals: the first, unless a
        layer stacks what it saves."""
        if self.has_modes:
            raise TypeError(without_examples(self))
        return jax.tree.map(lambda _: 0, residuals)


def without_examples(layer: Layer) -> str:
    """The message of what asks a layer of two modes for one example at a time."""
    return (
        f"{layer!r}: a gradient per example is that of the example alone, got a layer that behaves differently "
        "in training, where examples share statistics or noise. Take a net without such layers."
    )


def _one_mode_or_two(cls: type[Layer]) -> None:
    """Give a new class its modes from one hand: none that another forward pass of a parent brings along."""
    if cls.train is not Layer.train and cls.evaluate is Layer.evaluate:
        raise TypeError(
            f"{cls.__name__} defines train but no evaluate, which says what it does once it is trained. "
            "Define evaluate(params, statistics, x)."
        )
    for name in ("start", "train", "evaluate"):
        reset_stale(cls, Layer, name, "forward")
    reset_stale(cls, Layer, "forward", "train")


def _look_inside_by_backward(cls: type[Layer]) -> None:
    """Give a new class one backward rule: what looks inside must not come from a parent with another `backward`."""
    backward, cotangents, values = (depth(cls, name) for name in ("backward", "cotangents", "values"))
    if cotangents < backward:
        raise TypeError(
            f"{cls.__name__} defines cotangents but no backward, which back-propagation calls. "
            "Define backward(params, residuals, y_bar), and let cotangents call it and add the names."
        )
    if values < cotangents:
        raise TypeError(
            f"{cls.__name__} defines values but no cotangents, which must return the same names. "
            "Define both, or neither; then only the output is shown, as 'y'."
        )
    # another forward pass, too, makes a look inside stale that was written for the one before
    rule = min(backward, depth(cls, "forward"))
    if rule < cotangents:
        cls.cotangents, cls.values = Layer.cotangents, Layer.values
    for name in ("norms", "factors"):
        reset_stale(cls, Layer, name, "forward", "backward")
    # one of the two reads what the other keeps, and both differentiate forward and backward
    if rule < max(depth(cls, "forward_tangent"), depth(cls, "backward_tangent")):
        cls.forward_tangent, cls.backward_tangent = Layer.forward_tangent, Layer.backward_tangent


def _push(rule: Callable[..., PyTree], primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    """`jax.jvp` of a rule of somebody's own. A tangent None stands for 0; integers and keys have no tangent: None."""
    leaves, structure = jax.tree.flatten(primals)
    filled = jax.tree.map(_tangent, primals, tuple(map(_spread, primals, tangents)))
    dots = structure.flatten_up_to(filled)
    moving = [k for k, dot in enumerate(dots) if dot is not None]

    def on_moving(*floats: Array) -> PyTree:
        places = dict(zip(moving, floats, strict=True))
        return rule(*jax.tree.unflatten(structure, [places.get(k, leaf) for k, leaf in enumerate(leaves)]))

    value, dot = jax.jvp(on_moving, tuple(leaves[k] for k in moving), tuple(dots[k] for k in moving))
    return value, jax.tree.map(lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, dot)


def _spread(primal: PyTree, tangent: PyTree) -> PyTree:
    """The tangent, or where it is None as a whole a None for each leaf."""
    return jax.tree.map(lambda _: None, primal) if tangent is None else tangent


def _tangent(leaf: Array, dot: Array | None) -> Array | None:
    if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
        return None
    return jnp.zeros_like(leaf) if dot is None else dot


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """The fully connected layer a = σ(x W + b); params {"W": (I, O), "b": (O,)}. Made by `dense`.

    Its residuals are x and those of the activation. The values inside are "z", before the activation, and "a", after.

    >>> layer = fnn.layers.Dense(64, 32, fnn.relu)
    >>> layer, layer == fnn.dense(64, 32, activation="relu")
    (dense(64, 32, activation=relu), True)
    """

    inputs: int
    outputs: int
    activation: Activation = identity
    weight_init: Initializer = glorot_uniform
    bias_init: Initializer = zeros

    def __post_init__(self) -> None:
        require_size("dense", "inputs", self.inputs, "Example: dense(64, 32).")
        require_size("dense", "outputs", self.outputs, "Example: dense(64, 32).")
        remedy = "Give a record such as fnn.tanh, or make your own by subclassing."
        require_record("dense", Activation, self.activation, remedy)
        require_record("dense", Initializer, self.weight_init, remedy.replace("tanh", "initializers.glorot_uniform"))
        require_record("dense", Initializer, self.bias_init, remedy.replace("tanh", "initializers.zeros"))

    def init(self, key: Key | None = None, dtype: DType = jnp.float32) -> Params:
        key = require_key("dense.init", key)
        dtype = require_dtype(dtype)
        W_key, b_key = jax.random.split(key)
        return {
            "W": self.weight_init(W_key, (self.inputs, self.outputs), dtype),
            "b": self.bias_init(b_key, (self.outputs,), dtype),
        }

    def forward(self, params: Params, x: Array) -> tuple[Array, Residuals]:
        x, z = self._weighted_sum(params, x)
        a, saved = self.activation.checked_forward(z)
        return a, (x, saved)

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        # a = σ(z), z = x @ W + b
        x, saved = residuals
        z_bar = self.activation.backward(saved, y_bar)
        W_bar, b_bar, x_bar = affine_backward(params["W"], x, z_bar)
        return {"W": W_bar, "b": b_bar}, x_bar

    def values(self, params: Params, x: Array) -> tuple[Array, dict[str, Array]]:
        z = self._weighted_sum(params, x)[1]
        a = self.activation.checked_forward(z)[0]
        return a, {"z": z, "a": a}

    def cotangents(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array, dict[str, Array]]:
        return (
            *self.backward(params, residuals, y_bar),
            {"z": self.activation.backward(residuals[1], y_bar), "a": y_bar},
        )

    def forward_tangent(self, params: tuple[Params, Params], x: tuple[Array, Array | None]) -> tuple[tuple, tuple]:
        (own, own_dot), x_dot = params, x[1]
        inputs, z = self._weighted_sum(own, x[0])
        z_dot = affine_tangent(own["W"], inputs, own_dot["W"], own_dot["b"], x_dot)
        a, saved = self.activation.checked_forward(z)
        return (a, self.activation.tangent(saved, z_dot)), ((inputs, saved), (x_dot, z_dot))

    def backward_tangent(
        self, params: tuple[Params, Params], residuals: tuple[Residuals, PyTree], y_bar: tuple[Array, Array]
    ) -> tuple[tuple, tuple]:
        # a = σ(z), z = x @ W + b; z_bar = σ'(z) a_bar moves with a_bar and with z
        (own, own_dot), ((x, saved), (x_dot, z_dot)), (a_bar, a_bar_dot) = params, residuals, y_bar
        W, W_dot = own["W"], own_dot["W"]
        z_bar = self.activation.backward(saved, a_bar)
        z_bar_dot = self.activation.backward(saved, a_bar_dot) + self.activation.curvature(saved, a_bar, z_dot)
        W_bar, b_bar, x_bar = affine_backward(W, x, z_bar)
        W_bar_dot, b_bar_dot, x_bar_dot = affine_backward_tangent(W, x, z_bar, W_dot, x_dot, z_bar_dot)
        return ({"W": W_bar, "b": b_bar}, {"W": W_bar_dot, "b": b_bar_dot}), (x_bar, x_bar_dot)

    def factors(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[PyTree, Array]:
        x, saved = residuals
        if x.ndim != 2:
            return super().factors(params, residuals, y_bar)
        z_bar = self.activation.backward(saved, y_bar)
        return Factors(x, z_bar), z_bar @ params["W"].T

    def norms(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        x, saved = residuals
        if x.ndim != 2:
            return super().norms(params, residuals, y_bar)
        z_bar = self.activation.backward(saved, y_bar)
        W_norm, b_norm = affine_norms(x, z_bar)
        return {"W": W_norm, "b": b_norm}, affine_backward(params["W"], x, z_bar)[2]

    def svg(self, params: Params = None, *, names: Sequence[Sequence[str]] = (), dark: bool = False) -> str:
        """The layer as units and edges; see `Sequential.svg`.

        >>> fnn.dense(3, 2).svg().count("<line")
        6
        """
        # loaded at its first use
        from fnn.glassbox.picture import as_net

        return as_net([self], None if params is None else [params], names, dark=dark)

    def _weighted_sum(self, params: Params, x: Array) -> tuple[Array, Array]:
        if not isinstance(params, dict) or set(params) != {"W", "b"}:
            raise ValueError(
                f"{self} needs params {{'W': …, 'b': …}}, got {_kind(params)}. "
                "Do they belong to another network? Make them with net.init(key)."
            )
        W, b = (as_floating(str(self), name, params[name]) for name in ("W", "b"))
        remedy = "Do the parameters belong to another network? Make them with net.init(key)."
        require_shape(str(self), "W", W.shape, (self.inputs, self.outputs), remedy)
        require_shape(str(self), "b", b.shape, (self.outputs,), remedy)
        x = as_floating(str(self), "x", x, W.dtype)
        require_last_axis(str(self), "x", x.shape, self.inputs, "features")
        return x, affine(W, b, x)

    def __repr__(self) -> str:
        options = {"activation": identity, "weight_init": glorot_uniform, "bias_init": zeros}
        changed = "".join(f", {o}={getattr(self, o)}" for o, default in options.items() if getattr(self, o) != default)
        return f"{self.name}({self.inputs}, {self.outputs}{changed})"


def _kind(params: Params) -> str:
    return f"a dict of {sorted(params)}" if isinstance(params, dict) else type(params).__name__


def with_parts(record: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of the dataclass with `change` applied to each field, and to each entry of a field that is a tuple."""
    if not dataclasses.is_dataclass(record) or isinstance(record, type):
        return record
    changed = {}
    for each in dataclasses.fields(record):
        value = getattr(record, each.name)
        new = tuple(map(change, value)) if isinstance(value, tuple) else change(value)
        if new is not value and each.init:
            changed[each.name] = new
    return dataclasses.replace(record, **changed) if changed else record
