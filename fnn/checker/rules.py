"""What is checked: a rule is a function with its hand-written derivative, and inputs to try the two on.

Promises: each rule is judged on its own. In a record of this package the parts are replaced by oracles (`oracles.py`);
the rules inside any other JAX function are found by `inside.py`. A `Point` is a rule at one place, in float64.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.activations import Activation
from fnn.checker.oracles import parts, parts_of
from fnn.checker.pairs import OfActivation, OfLayer, OfLoss, OfObjective, OfRegularizer, Pair, Second
from fnn.gradients import Objective
from fnn.layers import Dense, Layer, with_parts
from fnn.losses import Loss
from fnn.types import Array, PyTree

#: Probes of a dense layer have at most this many inputs and outputs: every entry of 8 × 8 can be differenced.
SMALL = 8


@dataclass(frozen=True, eq=False)
class Rule:
    """One function with its hand-written derivative, its name, and where it is called."""

    name: str
    where: str
    """File and line of the derivative, or "unknown"."""
    pair: Pair
    inputs: tuple[PyTree, ...]
    """The inputs in the real run; a leaf may be a `jax.ShapeDtypeStruct` if its values are not known."""
    labels: tuple[str, ...]
    """The name of each input."""
    data: tuple[PyTree, ...] = ()
    """What the pair takes besides its inputs, without a derivative."""
    small: "Rule | None" = None
    """The same rule on small inputs, for which every entry can be differenced."""
    whole: bool = False
    """True for the gradient that the user asked for: the cotangent of its value is 1."""
    composite: bool = False
    """True if the rule only combines others: differences are taken of its parts, and of it only if it disagrees."""
    classes: int = 0
    """If the data hold labels, how many classes there are, so that other labels can be tried; else 0."""
    optional: frozenset[int] = frozenset()
    """Inputs that nothing is differentiated with respect to: the rule may return None or zero for them."""
    fixed: frozenset[int] = frozenset()
    """Inputs that are captured values, which the rule knows: they are never drawn at random."""
    straight: tuple[str, ...] = ()
    """Which argument of the check each input is, unchanged; "" for other inputs."""
    blank: dict[int, str] = field(default_factory=dict)
    """Inputs of a loss that its rule takes for data and that are arguments of the check: by number, the name of that
    argument. The rule returns nothing for them; or zeros, and they look like targets or masks."""
    zeroed: frozenset[int] = frozenset()
    """Inputs of a loss for which its rule writes zeros, although they do not look like data."""
    idle: frozenset[int] = frozenset()
    """Floating outputs that nothing with a derivative depends on in the real run."""
    muted: bool = False
    """True if the cotangents of these stay 0, unless there are no other outputs."""
    named_data: frozenset[int] = frozenset()
    """Inputs that the user names as data."""
    loose: bool = False
    """True if the floating data may be drawn at random too."""
    expected: str = ""
    """Why it differs from the derivative on purpose, as declared; "" if it must not."""
    declared_inside: bool = False
    """True if a rule inside differs on purpose: differences of the values are no witness for such a gradient."""
    iterates: bool = False
    """True if the function iterates until something holds: with numbers of other sizes it may never end."""
    converges: bool = False
    """True if it repeats a step often: a rule by hand may hold only once that has converged."""
    own: bool = True
    """False for rules of JAX itself."""
    axes: frozenset[str] = frozenset()
    """Axes of a map over devices that it uses: it runs only inside that map."""
    own_dtypes: tuple | None = None
    """The dtypes of the real run, if the inputs have others."""

    @property
    def key(self) -> Any:
        """What identifies a rule on generic inputs."""
        if self.small is not None:
            return self.small.key
        leaves = jax.tree.leaves((self.inputs, self.data))
        shapes = tuple((np.shape(v), str(v.dtype if hasattr(v, "dtype") else type(v))) for v in leaves)
        return self.name, self.pair, shapes

    @property
    def dtypes(self) -> tuple:
        """The dtypes of the real run, leaf by leaf of (inputs, data)."""
        if self.own_dtypes is not None:
            return self.own_dtypes
        return tuple(getattr(leaf, "dtype", None) for leaf in jax.tree.leaves((self.inputs, self.data)))

    def second(self, data: frozenset[int] = frozenset()) -> "Rule":
        """The rule of the backward pass, a function of the inputs and of the cotangent of the output.

        Args:
            data: inputs for which the rule returns nothing, as for data.
        """
        y_bar, pair = jax.eval_shape(self.pair.forward, self.inputs, self.data), Second(self.pair, data)
        random = np.random.default_rng(0)
        # any cotangent will do; that of the value of the whole function is 1
        spread = 0 if self.whole else 1
        y_bar = jax.tree.map(lambda leaf: np.asarray(random.normal(1, spread, leaf.shape), leaf.dtype), y_bar)
        return dataclasses.replace(
            self, name=f"{self.name}, second order", pair=pair, inputs=(*self.inputs, y_bar),
            labels=(*self.labels, "the cotangent"), small=None if self.small is None else self.small.second(data),
            composite=False, optional=pair.held, idle=frozenset(),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Point:
    """A rule at one place in float64: inputs, data, and the cotangent of the output."""

    rule: Rule
    inputs: tuple
    data: tuple
    y_bar: PyTree
    generic: bool = False
    far: bool = False
    """True beyond the numbers with which it compares, or those that stand in code on the host."""
    results: dict[str, Any] = field(default_factory=dict, repr=False)
    """What the witnesses have already found there."""

    def moved(self, **changes: Any) -> "Point":
        """The same rule at another point."""
        return dataclasses.replace(self, results={}, **changes)


@dataclass(frozen=True, eq=False)
class Subject:
    """What a check is about: the gradient that the user asked for, and the rules inside."""

    whole: Rule
    parts: list[Rule]
    program: Any = None
    """The trace of the function, if it was traced."""

    @property
    def rules(self) -> list[Rule]:
        """The rules inside, or the gradient itself if there is none."""
        return self.parts or [self.whole]


def place(function: Any) -> str:
    """File and line of a function, "unknown" if Python cannot tell; for a wrapped function, those of the function
    inside."""
    function = inspect.unwrap(function) if callable(function) and not isinstance(function, type) else function
    try:
        return f"{Path(inspect.getsourcefile(function) or '').name}:{inspect.getsourcelines(function)[1]}"
    except (TypeError, OSError):
        return "unknown"


# ---- records of this package ----------------------------------------------------------------------------------------


def of_objective(objective: Objective, args: tuple, options: dict[str, Any], declared: dict[str, str]) -> list[Rule]:
    """Every rule behind the gradient of this objective, on the inputs of the real run; each once.

    Args:
        args: (params, x, y).
        options: the keywords of the call.
        declared: the rules that differ on purpose, by name, with the reason.
    """
    params, x, y = args
    rules = list(_of_layer(objective.net, params, x))
    prediction = objective.net.apply(params, x)
    rules.append(_of_loss(objective.loss, prediction, y, options.get("sample_weight")))
    if objective.regularizer is not None:
        regularizer = objective.regularizer
        pair, where = OfRegularizer(regularizer), place(type(regularizer).gradient)
        rules.append(Rule(regularizer.name, where, pair, (params,), ("params",), (options["strength"],)))
    whole = Rule(
        "objective", place(type(objective).backward), OfObjective(objective), (params, x), ("params", "x"),
        (y, options), composite=True,
    )  # fmt: skip
    net = _narrowed(objective.net, prediction.shape[-1])
    small = None
    if net is not None:
        pair, inputs = OfObjective(dataclasses.replace(objective, net=net)), _shapes(net, len(x), x.dtype)
        small = dataclasses.replace(whole, pair=pair, inputs=inputs)
    rules.append(dataclasses.replace(whole, small=small))
    return [dataclasses.replace(rule, expected=rule.expected or declared.get(rule.name, "")) for rule in rules]


def distinct(rules: list[Rule]) -> list[Rule]:
    """Each rule once: the first of its kind; an output counts if anything depends on it at one of its places."""
    kinds: dict[Any, Rule] = {}
    for rule in rules:
        first = kinds.setdefault(rule.key, rule)
        if not first.idle <= rule.idle:
            kinds[rule.key] = dataclasses.replace(first, idle=first.idle & rule.idle)
    return list(kinds.values())


def _of_layer(layer: Layer, params: PyTree, x: PyTree) -> Iterator[Rule]:
    for part, inputs in parts(layer, params, x):
        inputs = jax.tree.map(known, inputs)
        if isinstance(part, Activation):
            yield _of_activation(part, inputs[0])
        elif any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(inputs)):
            # inside a scan nothing was recorded; the part is run on numbers of the same shapes
            yield from _of_layer(part, *_filled(inputs))
        else:
            yield from _of_layer(part, *inputs)
    less = _narrowed(layer)
    small = None if less is None else _layer_rule(less, *_shapes(less, 3, x.dtype), layer)
    yield dataclasses.replace(_layer_rule(layer, params, x, layer), small=small)


def _narrowed(layer: Layer, keep: int | None = None) -> Layer | None:
    """The layer with every width cut to `SMALL`, except the width `keep`; None if the widths of a part are unknown.

    Equal widths stay equal, so the parts still fit together.
    """

    def cut(width: int) -> int:
        return width if width == keep else min(width, SMALL)

    def narrow(part: Any) -> Any:
        if isinstance(part, Dense):
            return dataclasses.replace(part, inputs=cut(part.inputs), outputs=cut(part.outputs))
        return with_parts(part, narrow) if isinstance(part, Layer) else part

    def known_widths(part: Layer) -> bool:
        within = [each for each in parts_of(part) if isinstance(each, Layer)]
        return isinstance(part, Dense) or (bool(within) and all(map(known_widths, within)))

    return narrow(layer) if known_widths(layer) and layer.inputs is not None else None


def _shapes(layer: Layer, examples: int, dtype: Any) -> tuple[PyTree, jax.ShapeDtypeStruct]:
    """(params, x) of a layer as shapes."""
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), dtype))
    return params, jax.ShapeDtypeStruct((examples, layer.inputs), dtype)


def _layer_rule(layer: Layer, params: PyTree, x: PyTree, named: Layer) -> Rule:
    # a sequence prints all its layers: its class name is enough
    name = name_of(named)
    composite = bool(parts_of(layer)) and not isinstance(layer, Dense)
    return Rule(
        name, place(type(named).backward), OfLayer(layer), (params, x), ("params", "x"), composite=composite,
        expected=named.expected,
    )  # fmt: skip


def name_of(part: Activation | Layer) -> str:
    """The name by which a report calls a part of a net."""
    return part.name if isinstance(part, Layer) and not isinstance(part, Dense) else repr(part)


def _of_activation(activation: Activation, z: Any) -> Rule:
    where, pair = place(type(activation).backward), OfActivation(activation)
    shape = jax.ShapeDtypeStruct((5, 7), z.dtype)
    small = Rule(repr(activation), where, pair, (shape,), ("z",), expected=activation.expected)
    return dataclasses.replace(small, inputs=(z,), small=small)


def _of_loss(loss: Loss, prediction: Array, y: Any, weights: Any) -> Rule:
    method = type(loss).slope if type(loss).backward is Loss.backward else type(loss).backward
    classes = prediction.shape[-1] if jnp.issubdtype(jnp.result_type(y), jnp.integer) else 0
    where, pair = place(method), OfLoss(loss)
    return Rule(loss.name, where, pair, (prediction,), ("prediction",), (y, weights), classes=classes)


def known(leaf: Any) -> Any:
    """The leaf; or, if it was seen while a scan traced and has no value, its shape."""
    if isinstance(leaf, Tracer):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf


def _filled(inputs: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, inputs
    )
