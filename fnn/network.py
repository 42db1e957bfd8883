"""Layers made of layers: in sequence, with a skip connection, repeated; and the multi-layer perceptron.

Promises: there is no derivative here. The chain rule gives the order in which the layers' own rules are called, and
says that the gradients of branches add. The layers of two modes, whose rules are in `modes`, are public here too.
Letters: N examples, L layers.
Sources: claims B8, C4, E5; He et al. 2016 for the skip connection.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation, identity
from fnn.activations import get as get_activation
from fnn.checks import require_key, require_pair, require_record, require_size
from fnn.initializers import Initializer, glorot_uniform, zeros
from fnn.initializers import get as get_initializer
from fnn.layers import Dense, Layer
from fnn.modes import BatchNorm, Dropout, InTraining, batch_norm, dropout
from fnn.types import Array, DType, Examples, Key, Params, PyTree, Residuals

__all__ = [
    "BatchNorm",
    "Dropout",
    "InTraining",
    "Repeated",
    "Sequential",
    "Skip",
    "batch_norm",
    "dense",
    "dropout",
    "mlp",
    "repeated",
    "sequential",
    "skip",
]


@dataclass(frozen=True, repr=False)
class Sequential(Layer):
    """Layers one after another: y = f_L(… f_1(x)). params: a tuple with one entry per layer. Made by `sequential`.

    The values inside carry the number of their layer, counted from 1: "1.z", "1.a", "2.z", ….

    >>> net = fnn.sequential(fnn.dense(2, 3, activation="tanh"), fnn.dense(3, 1))
    >>> isinstance(net, fnn.network.Sequential), net.inputs, net.outputs
    (True, 2, 1)
    """

    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.layers))})"

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers:
            raise ValueError(
                f"sequential needs at least one layer, as a tuple, got {self.layers!r}. "
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

    def init(self, key: Key | None = None, dtype: DType = jnp.float32) -> Params:
        key = require_key("sequential.init", key)
        keys = jax.random.split(key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        residuals = []
        for k, (layer, p) in enumerate(self._pairs(params), start=1):
            # profiles and pictures of the program name the layers by these scopes
            with jax.named_scope(f"{type(layer).__name__.lower()}{k}"):
                x, saved = require_pair(f"{layer.name}.forward", layer.forward(p, x), "(y, residuals)")
            residuals.append(saved)
        return x, tuple(residuals)

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        # from the output to the input: each layer turns the cotangent of its output into that of its input
        params_bar = []
        for layer, p, saved in zip(reversed(self.layers), reversed(params), reversed(residuals), strict=True):
            back = layer.backward(p, saved, y_bar)
            p_bar, y_bar = require_pair(f"{layer.name}.backward", back, "(params_bar, x_bar)")
            params_bar.append(p_bar)
        return _in_kind(params, reversed(params_bar)), y_bar

    @property
    def has_modes(self) -> bool:
        return any(layer.has_modes for layer in self.layers)

    def start(self, params: Params) -> PyTree:
        return tuple(layer.start(p) for layer, p in self._pairs(params)) if self.has_modes else ()

    def train(self, params: Params, statistics: PyTree, x: PyTree, key: Key) -> tuple[PyTree, Residuals, PyTree]:
        if not self.has_modes:
            return super().train(params, statistics, x, key)
        residuals, after = [], []
        for k, ((layer, p), own) in enumerate(zip(self._pairs(params), self._own(statistics), strict=True), start=1):
            with jax.named_scope(f"{type(layer).__name__.lower()}{k}"):
                x, saved, own = layer.train(p, own, x, jax.random.fold_in(key, k) if layer.has_modes else key)
            residuals.append(saved)
            after.append(own)
        return x, tuple(residuals), tuple(after)

    def evaluate(self, params: Params, statistics: PyTree, x: PyTree = None) -> PyTree:
        if x is None:
            raise TypeError(
                f"{self.name}: evaluate must be called with params, statistics and x, got two of them. Give "
                "net.evaluate(state.params, state.statistics, x); a net without statistics has net.apply(params, x)."
            )
        if not self.has_modes:
            return super().evaluate(params, statistics, x)
        for (layer, p), own in zip(self._pairs(params), self._own(statistics), strict=True):
            x = layer.evaluate(p, own, x)
        return x

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        named: dict[str, PyTree] = {}
        for k, (layer, p) in enumerate(self._pairs(params), start=1):
            x, inside = layer.values(p, x)
            named |= {f"{k}.{name}": value for name, value in inside.items()}
        return x, named

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        # as `backward`, plus the names
        params_bar, named = [], {}
        for k in reversed(range(len(self.layers))):
            p_bar, y_bar, inside = self.layers[k].cotangents(params[k], residuals[k], y_bar)
            params_bar.append(p_bar)
            named = {f"{k + 1}.{name}": value for name, value in inside.items()} | named
        return _in_kind(params, reversed(params_bar)), y_bar, named

    def forward_tangent(self, params: tuple[Params, Params], x: tuple[PyTree, PyTree]) -> tuple[tuple, tuple]:
        residuals = []
        for (layer, p), p_dot in zip(self._pairs(params[0]), params[1], strict=True):
            x, saved = layer.forward_tangent((p, p_dot), x)
            residuals.append(saved)
        values, tangents = zip(*residuals, strict=True)
        return x, (values, tangents)

    def backward_tangent(
        self, params: tuple[Params, Params], residuals: tuple[Residuals, PyTree], y_bar: tuple[PyTree, PyTree]
    ) -> tuple[tuple, tuple]:
        # as `backward`, on pairs
        params_bar = []
        for k in reversed(range(len(self.layers))):
            p, saved = (params[0][k], params[1][k]), (residuals[0][k], residuals[1][k])
            p_bar, y_bar = self.layers[k].backward_tangent(p, saved, y_bar)
            params_bar.append(p_bar)
        values, tangents = zip(*reversed(params_bar), strict=True)
        return (values, tangents), y_bar

    def factors(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[PyTree, PyTree]:
        factors = []
        for layer, p, saved in zip(reversed(self.layers), reversed(params), reversed(residuals), strict=True):
            each, y_bar = layer.factors(p, saved, y_bar)
            factors.append(each)
        return tuple(reversed(factors)), y_bar

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        norms = []
        for layer, p, saved in zip(reversed(self.layers), reversed(params), reversed(residuals), strict=True):
            each, y_bar = layer.norms(p, saved, y_bar)
            norms.append(each)
        return _in_kind(params, reversed(norms)), y_bar

    def example_axes(self, params: Params, residuals: Residuals, y_bar: PyTree) -> PyTree:
        axes = []
        for layer, p, saved in zip(reversed(self.layers), reversed(params), reversed(residuals), strict=True):
            axes.append(layer.example_axes(p, saved, y_bar))
            y_bar = jax.eval_shape(layer.backward, p, saved, y_bar)[1]
        return tuple(reversed(axes))

    def svg(self, params: Params = None, *, names: Sequence[Sequence[str]] = (), dark: bool = False) -> str:
        """A picture of the net: its units as circles, its weights as lines between them. Not under `jit`.

        A line is as wide as its weight is large and has the colour of its sign, a circle that of its bias; without
        params all are alike. Of a layer of more than 16 units the first and the last are drawn.

        Args:
            params: those of the net.
            names: what stands in the circles, a list for the inputs and one for each layer, if anything.
            dark: for a dark page.

        Raises:
            ValueError: a layer is neither dense nor a sequence of such; params or names that do not fit.

        >>> net = fnn.mlp(2, 4, 4, 1)
        >>> picture = net.svg(net.init(jax.random.key(0)))
        >>> picture.count("<circle"), picture.count("<line")
        (11, 28)

        Source: claim C12.
        """
        # loaded at its first use
        from fnn.glassbox.picture import as_net

        layers, own = zip(*self._dense(params), strict=True)
        return as_net(layers, None if params is None else own, names, dark=dark)

    def _dense(self, params: Params) -> Iterator[tuple[Dense, Params]]:
        """Its dense layers with their parameters, those of sequences within it too."""
        pairs = self._pairs([None] * len(self.layers) if params is None else params)
        for layer, p in pairs:
            if isinstance(layer, Sequential):
                yield from layer._dense(p)
            elif isinstance(layer, Dense):
                yield layer, p
            else:
                raise ValueError(
                    f"svg draws dense layers and sequences of them, got {layer!r:.60}. "
                    "Draw the operations instead: fnn.graph(fnn.objective(net, loss), params, x, y).svg(fold=True)."
                )

    def _pairs(self, params: Params) -> list[tuple[Layer, Params]]:
        state = hasattr(params, "params")
        if state or not isinstance(params, tuple | list) or len(params) != len(self.layers):
            got = f"{len(params)} entries" if isinstance(params, tuple | list) else type(params).__name__
            remedy = "Do they belong to another network? Make them with net.init(key)."
            if state:
                got, remedy = type(params).__name__, "A state holds more than the parameters: give state.params."
            raise ValueError(
                f"sequential needs a tuple with the params of each layer, {len(self.layers)} entries, got {got}. "
                f"{remedy}"
            )
        return list(zip(self.layers, params, strict=True))

    def _own(self, statistics: PyTree) -> PyTree:
        """The statistics, if there is an entry for each layer."""
        if not isinstance(statistics, tuple | list) or len(statistics) != len(self.layers):
            raise ValueError(
                f"sequential needs the statistics of each layer, {len(self.layers)} entries, got {statistics!r:.60}. "
                "Give state.statistics, or before training net.start(params)."
            )
        return statistics


def _in_kind(params: Params, entries: Iterable[PyTree]) -> Params:
    """The entries as a list where the params are one, so that gradients have their structure; else as a tuple."""
    return list(entries) if isinstance(params, list) else tuple(entries)


@dataclass(frozen=True, repr=False)
class Skip(Layer):
    """The skip connection y = x + f(x): x is used twice, so its two cotangents add (claim E5). Made by `skip`.

    >>> net, x = fnn.skip(fnn.dense(2, 2)), jnp.array([3.0, 5.0])
    >>> net.apply({"W": jnp.eye(2), "b": jnp.ones(2)}, x).tolist()  # x + (x + 1)
    [7.0, 11.0]
    """

    layer: Layer

    def __repr__(self) -> str:
        return f"{self.name}({self.layer})"

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
        y, saved = require_pair(f"{self.layer.name}.forward", self.layer.forward(params, x), "(y, residuals)")
        return self._sum(x, y), saved

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        # y = x + f(x)
        params_bar, x_bar = self.layer.backward(params, residuals, y_bar)
        return params_bar, y_bar + x_bar

    @property
    def has_modes(self) -> bool:
        return self.layer.has_modes

    def start(self, params: Params) -> PyTree:
        return self.layer.start(params)

    def train(self, params: Params, statistics: PyTree, x: Array, key: Key) -> tuple[Array, Residuals, PyTree]:
        y, saved, statistics = self.layer.train(params, statistics, x, key)
        return self._sum(x, y), saved, statistics

    def evaluate(self, params: Params, statistics: PyTree, x: Array) -> Array:
        return self._sum(x, self.layer.evaluate(params, statistics, x))

    def values(self, params: Params, x: Array) -> tuple[Array, dict[str, PyTree]]:
        y, inside = self.layer.values(params, x)
        y = self._sum(x, y)
        return y, inside | {"y": y}

    def cotangents(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array, dict[str, PyTree]]:
        params_bar, x_bar, inside = self.layer.cotangents(params, residuals, y_bar)
        return params_bar, y_bar + x_bar, inside | {"y": y_bar}

    def forward_tangent(self, params: tuple[Params, Params], x: tuple[Array, Array | None]) -> tuple[tuple, tuple]:
        (y, y_dot), residuals = self.layer.forward_tangent(params, x)
        return (self._sum(x[0], y), y_dot if x[1] is None else x[1] + y_dot), residuals

    def backward_tangent(
        self, params: tuple[Params, Params], residuals: tuple[Residuals, PyTree], y_bar: tuple[Array, Array]
    ) -> tuple[tuple, tuple]:
        # x_bar = y_bar + what f gives back; the same for the tangents
        params_bar, (x_bar, x_bar_dot) = self.layer.backward_tangent(params, residuals, y_bar)
        return params_bar, (y_bar[0] + x_bar, y_bar[1] + x_bar_dot)

    def factors(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[PyTree, Array]:
        factors, x_bar = self.layer.factors(params, residuals, y_bar)
        return factors, y_bar + x_bar

    def norms(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        norms, x_bar = self.layer.norms(params, residuals, y_bar)
        return norms, y_bar + x_bar

    def example_axes(self, params: Params, residuals: Residuals, y_bar: PyTree) -> PyTree:
        return self.layer.example_axes(params, residuals, y_bar)

    def _sum(self, x: Array, y: Array) -> Array:
        # a layer without sizes is seen here first; a sum of other shapes would be broadcast, which the rule is not for
        if jnp.shape(x) != jnp.shape(y):
            raise ValueError(
                f"{self}: the layer must give back the shape of its input, {jnp.shape(x)}, got {jnp.shape(y)}. Make "
                "the two equal."
            )
        return x + y


@dataclass(frozen=True, repr=False)
class Repeated(Layer):
    """n equal layers, each with its own parameters, one after another by a scan. Made by `repeated`.

    params: those of one layer, with a leading axis of n on every leaf. Compiling takes as long as for one layer,
    whatever n is. The backward pass is the scan in reverse. The values inside have the leading axis too. Where a layer
    saves its own input or output, only the inputs are stacked: the output of one repetition is the input of the next.

    >>> net = fnn.repeated(fnn.dense(3, 3), 4)
    >>> net.init(jax.random.key(0))["W"].shape  # one leading axis for the four layers
    (4, 3, 3)
    """

    layer: Layer
    times: int

    def __repr__(self) -> str:
        return f"{self.name}({self.layer}, {self.times})"

    def __post_init__(self) -> None:
        _require_square("repeated", self.layer)
        require_size("repeated", "times", self.times, "Give an int of 1 or more, or leave the layer out.")

    @property
    def inputs(self) -> int | None:
        return self.layer.inputs

    @property
    def outputs(self) -> int | None:
        return self.layer.outputs

    def init(self, key: Key | None = None, dtype: DType = jnp.float32) -> Params:
        key = require_key("repeated.init", key)
        return jax.vmap(lambda k: self.layer.init(k, dtype))(jax.random.split(key, self.times))

    def forward(self, params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
        self._require_stacked(params)
        x, roles = self._first(params, x)

        def step(x: PyTree, p: Params) -> tuple[PyTree, tuple]:
            y, saved = self.layer.forward(p, x)
            own = [leaf for leaf, role in zip(jax.tree.leaves(saved), roles, strict=True) if role is None]
            return y, (x if any(roles) else (), own)

        y, (inputs, own) = jax.lax.scan(step, x, params, length=self.times)
        return y, (inputs, own, y if any(roles) else ())

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        if not self.has_modes:
            return self._reverse(self.layer.backward, params, residuals, y_bar)

        def step(y_bar: PyTree, one: tuple) -> tuple[PyTree, Params]:
            p, saved = one
            p_bar, x_bar = self.layer.backward(p, saved, y_bar)
            return x_bar, p_bar

        x_bar, params_bar = jax.lax.scan(step, y_bar, (params, residuals), length=self.times, reverse=True)
        return params_bar, x_bar

    @property
    def has_modes(self) -> bool:
        return self.layer.has_modes

    def start(self, params: Params) -> PyTree:
        if not self.has_modes:
            return ()
        return jax.vmap(self.layer.start, axis_size=self.times)(params)

    def train(self, params: Params, statistics: PyTree, x: PyTree, key: Key) -> tuple[PyTree, Residuals, PyTree]:
        if not self.has_modes:
            return super().train(params, statistics, x, key)
        self._require_stacked(params)

        def step(x: PyTree, one: tuple) -> tuple[PyTree, tuple[Residuals, PyTree]]:
            p, own, key = one
            y, saved, own = self.layer.train(p, own, x, key)
            return y, (saved, own)

        # everything that is saved is stacked: a mask is neither the input nor the output of its layer
        each = params, statistics, jax.random.split(key, self.times)
        y, (saved, statistics) = jax.lax.scan(step, x, each, length=self.times)
        return y, saved, statistics

    def evaluate(self, params: Params, statistics: PyTree, x: PyTree) -> PyTree:
        if not self.has_modes:
            return super().evaluate(params, statistics, x)
        step = lambda x, one: (self.layer.evaluate(one[0], one[1], x), None)  # noqa: E731
        return jax.lax.scan(step, x, (params, statistics), length=self.times)[0]

    def values(self, params: Params, x: PyTree) -> tuple[PyTree, dict[str, PyTree]]:
        self._require_stacked(params)
        x, _ = self._first(params, x)
        return jax.lax.scan(lambda x, p: self.layer.values(p, x), x, params, length=self.times)

    def cotangents(
        self, params: Params, residuals: Residuals, y_bar: PyTree
    ) -> tuple[Params, PyTree, dict[str, PyTree]]:
        def rule(*one: Any) -> tuple[tuple[Params, dict[str, PyTree]], PyTree]:
            p_bar, x_bar, inside = self.layer.cotangents(*one)
            return (p_bar, inside), x_bar

        (params_bar, inside), x_bar = self._reverse(rule, params, residuals, y_bar)
        return params_bar, x_bar, inside

    def forward_tangent(self, params: tuple[Params, Params], x: tuple[PyTree, PyTree]) -> tuple[tuple, tuple]:
        self._require_stacked(params[0])
        first, roles = self._first(params[0], x[0])
        # what has no tangent, such as a key, has None
        as_first = lambda own, dot: None if dot is None else dot.astype(own.dtype)  # noqa: E731
        x = first, None if x[1] is None else jax.tree.map(as_first, first, x[1])

        def step(x: tuple[PyTree, PyTree], p: tuple[Params, Params]) -> tuple[tuple, tuple]:
            y, (saved, saved_dot) = self.layer.forward_tangent(p, x)
            own = [leaf for leaf, role in zip(jax.tree.leaves(saved), roles, strict=True) if role is None]
            return y, (x[0] if any(roles) else (), own, saved_dot)

        # the tangent of the input is carried, so it is written out where it is 0
        start = (x[0], jax.tree.map(_zero_tangent, x[0]) if x[1] is None else x[1])
        y, (inputs, own, saved_dot) = jax.lax.scan(step, start, params, length=self.times)
        return y, ((inputs, own, y[0] if any(roles) else ()), saved_dot)

    def backward_tangent(
        self, params: tuple[Params, Params], residuals: tuple[Residuals, PyTree], y_bar: tuple[PyTree, PyTree]
    ) -> tuple[tuple, tuple]:
        def rule(p: tuple, saved: Residuals, y_bar: tuple) -> tuple[tuple, tuple]:
            own, own_dot, saved_dot = p
            return self.layer.backward_tangent((own, own_dot), (saved, saved_dot), y_bar)

        return self._reverse(rule, params[0], residuals[0], y_bar, also=(params[1], residuals[1]))

    def factors(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[PyTree, PyTree]:
        factors, x_bar = self._reverse(self.layer.factors, params, residuals, y_bar)

        def examples_first(each: Any) -> Any:
            # what is multiplied out counts the examples on its first axis, the repetitions behind it
            return jax.tree.map(lambda g: jnp.moveaxis(g, 1, 0), each) if isinstance(each, Examples) else each

        return jax.tree.map(examples_first, factors, is_leaf=lambda each: isinstance(each, Examples)), x_bar

    def norms(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        # the N norms of a leaf come after the axis of repetitions
        return self._reverse(self.layer.norms, params, residuals, y_bar)

    def example_axes(self, params: Params, residuals: Residuals, y_bar: PyTree) -> PyTree:
        inputs, own, y = residuals
        structure, roles, _ = self._saved(params, y_bar)
        one, rest = jax.tree.map(lambda leaf: leaf[0], (params, own)), iter(range(len(own)))
        # where x or y itself is saved any such array will do: only its axes matter
        saved = [jax.tree.leaves(y)[role[1]] if role else one[1][next(rest)] for role in roles]
        axes = jax.tree.leaves(self.layer.example_axes(one[0], jax.tree.unflatten(structure, saved), y_bar))
        # everything but the last output is stacked along a new first axis
        stacked = [axis + 1 for axis, role in zip(axes, roles, strict=True) if role is None]
        return jax.tree.map(lambda _: 1, inputs), stacked, jax.tree.map(lambda _: 0, y)

    def _reverse(
        self, rule: Callable[..., tuple], params: Params, residuals: Residuals, y_bar: PyTree, also: tuple = ()
    ) -> tuple[PyTree, PyTree]:
        """The reverse scan: rule(p, saved, y_bar) -> (what to stack, x_bar), from the last repetition to the first.

        On pairs y_bar is (y_bar, y_bar_dot), and what else is stacked comes in `also`: p is then (p, *also).
        """
        inputs, own, y = residuals
        structure, roles, _ = self._saved(params, y_bar[0] if also else y_bar)

        def step(carry: tuple[PyTree, PyTree], one: tuple) -> tuple[tuple[PyTree, PyTree], PyTree]:
            y_bar, y = carry
            p, x, own = one
            sources, rest = {"x": jax.tree.leaves(x), "y": jax.tree.leaves(y)}, iter(own)
            saved = [next(rest) if role is None else sources[role[0]][role[1]] for role in roles]
            stacked, x_bar = rule(p if also else p[0], jax.tree.unflatten(structure, saved), y_bar)
            # the input of this repetition is the output of the one before
            return (x_bar, x), stacked

        (x_bar, _), stacked = jax.lax.scan(
            step, (y_bar, y), ((params, *also), inputs, own), length=self.times, reverse=True
        )
        return stacked, x_bar

    def _first(self, params: Params, x: PyTree) -> tuple[PyTree, list[tuple[str, int] | None]]:
        """(the first input, in the dtypes that the layer gives back; the places of what one repetition saves).

        Each output is the next input: where a layer casts its input to the dtype of its parameters, and says so, so
        does the first of them.
        """
        _, roles, y = self._saved(params, x)
        taken, given = ((jax.tree.structure(each), [leaf.shape for leaf in jax.tree.leaves(each)]) for each in (x, y))
        if taken != given:
            raise ValueError(
                f"{self}: the layer must give back what it takes, arrays of shape {taken[1]}, got {given[1]}. Make the "
                "two equal."
            )
        cast = jax.tree.map(lambda own, after: own if own.dtype == after.dtype else own.astype(after.dtype), x, y)
        if all(own is after for own, after in zip(jax.tree.leaves(x), jax.tree.leaves(cast), strict=True)):
            return x, roles
        return cast, self._saved(params, cast)[1]

    def _saved(self, params: Params, x: PyTree) -> tuple[Any, list[tuple[str, int] | None], PyTree]:
        """What one repetition saves: (its structure, for each leaf its place in x or y, or None if it is in neither),
        and the shapes of its output.

        The output of one repetition is the input of the next, so x and y need to be stacked only once between them.
        """
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)

        def passed(params: Params, x: PyTree) -> tuple[PyTree, Residuals]:
            return require_pair(f"{self.layer.name}.forward", self.layer.forward(params, x), "(y, residuals)")

        closed, (y, saved) = jax.make_jaxpr(passed, return_shape=True)(one, like)
        x_count, y_count = len(jax.tree.leaves(like)), len(jax.tree.leaves(y))
        invars, outvars = closed.jaxpr.invars, closed.jaxpr.outvars
        places = {id(v): ("y", k) for k, v in enumerate(outvars[:y_count])}
        places |= {id(v): ("x", k) for k, v in enumerate(invars[len(invars) - x_count :])}
        return jax.tree.structure(saved), [places.get(id(v)) for v in outvars[y_count:]], y

    def _require_stacked(self, params: Params) -> None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if leaf.shape[:1] != (self.times,):
                raise ValueError(
                    f"repeated: every leaf of params must have a leading axis of {self.times}, one entry per "
                    f"repetition, got shape {leaf.shape} for {jax.tree_util.keystr(path)}. "
                    "Make them with net.init(key)."
                )


def _zero_tangent(leaf: Array) -> Array | None:
    """The tangent 0; integers and keys have none."""
    return jnp.zeros_like(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else None


def _require_square(where: str, layer: Any) -> None:
    require_record(where, Layer, layer, "Subclass fnn.Layer with a frozen dataclass.")
    # a size that the layer does not say is seen when it runs: one that ends with dropout gives what it takes
    if None not in (layer.inputs, layer.outputs) and layer.inputs != layer.outputs:
        raise ValueError(
            f"{where}: the layer must have as many outputs as inputs, got {layer.inputs} inputs and "
            f"{layer.outputs} outputs. Make the two sizes equal."
        )


# ---- how they are made ----------------------------------------------------------------------------------------------


def dense(
    inputs: int,
    outputs: int,
    *,
    activation: Activation | str = identity,
    weight_init: Initializer | str = glorot_uniform,
    bias_init: Initializer | str = zeros,
) -> Dense:
    """The fully connected layer σ(x W + b) from `inputs` to `outputs` features.

    Args:
        inputs, outputs: sizes, at least 1.
        activation: a record or its name; with the identity the layer is affine.
        weight_init, bias_init: initializers or their names.

    Raises:
        ValueError: a size below 1, an unknown name. TypeError: a size that is not a whole number.

    >>> fnn.dense(64, 32, activation="tanh")
    dense(64, 32, activation=tanh)
    """
    return Dense(inputs, outputs, get_activation(activation), get_initializer(weight_init), get_initializer(bias_init))


def sequential(*layers: Layer | Sequence[Layer]) -> Sequential:
    """One layer after another, given one by one or as one list. Raises `ValueError` if two sizes do not match.

    >>> fnn.sequential([fnn.dense(2, 3, activation="tanh"), fnn.dense(3, 1)]) == fnn.mlp(2, 3, 1, activation="tanh")
    True
    """
    return Sequential(_listed(layers))


def _listed(given: tuple) -> tuple:
    """What was given one by one, or as one list."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], Sequence) else given


def skip(layer: Layer) -> Skip:
    """x + layer(x); see `Skip`.

    >>> fnn.skip(fnn.dense(3, 3))
    skip(dense(3, 3))
    """
    return Skip(layer)


def repeated(layer: Layer, times: int) -> Repeated:
    """`times` copies of the layer, each with its own parameters; see `Repeated`.

    >>> fnn.repeated(fnn.dense(3, 3, activation="tanh"), 4)
    repeated(dense(3, 3, activation=tanh), 4)
    """
    return Repeated(layer, times)


def mlp(
    *sizes: int | Sequence[int],
    activation: Activation | str = "tanh",
    output: Activation | str = identity,
    weight_init: Initializer | str = glorot_uniform,
    bias_init: Initializer | str = zeros,
) -> Sequential:
    """A multi-layer perceptron: dense layers of these sizes, with the activation after all but the last (claim C4).

    Args:
        sizes: inputs, hidden units …, outputs: mlp(64, 32, 10) or mlp([64, 32, 10]); at least two.
        activation: that of the hidden layers, a record or its name.
        output: activation of the last layer; the identity gives logits, as `softmax_cross_entropy` takes them.
        weight_init, bias_init: initializers of every layer, or their names.

    Returns:
        a `Sequential` of L `Dense` layers; its params are a tuple of L dicts {"W", "b"}.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name.
        TypeError: a size that is not a whole number.

    >>> net = fnn.mlp(64, 32, 10)
    >>> net == fnn.mlp([64, 32, 10]), hash(net) == hash(fnn.mlp(64, 32, 10))
    (True, True)
    """
    sizes = _listed(sizes)
    remedy = (
        "Give the sizes one by one, mlp(64, 32, 10), or as one list, mlp([64, 32, 10]), and the activation by keyword, "
        "activation='tanh'."
    )
    widths = [require_size("mlp", f"size {k + 1}", size, remedy) for k, size in enumerate(sizes)]
    if len(widths) < 2:
        raise ValueError(f"mlp needs at least two sizes, inputs and outputs, got {widths}. Example: mlp(64, 32, 10).")
    hidden, last = get_activation(activation), get_activation(output)
    count = len(widths) - 1
    return sequential(
        *(
            dense(
                widths[k],
                widths[k + 1],
                activation=hidden if k < count - 1 else last,
                weight_init=weight_init,
                bias_init=bias_init,
            )
            for k in range(count)
        )
    )
