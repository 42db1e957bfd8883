"""What is checked: a rule is a function, the hand-written derivative beside it, and inputs to try them on.

Promises: each rule stands alone. In a record of this package the parts are replaced by oracles (`oracles.py`); the
rules inside any other JAX function are found by `jaxprs.py`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from fnn.activations import Activation
from fnn.backprop import Objective
from fnn.checker.oracles import isolated, parts, parts_of
from fnn.layers import Dense, Layer
from fnn.losses import Loss
from fnn.types import Array, PyTree

#: Probes of a dense layer have at most this many inputs and outputs: every entry of 8 × 8 can be differenced.
SMALL = 8


@dataclass(frozen=True, eq=False)
class Rule:
    """One function with its hand-written derivative."""

    name: str
    where: str
    """File and line of the derivative, or "unknown"."""
    forward: Callable[..., PyTree]
    """(*inputs) -> output, with no hand-written derivative inside."""
    backward: Callable[[tuple, PyTree], tuple]
    """(inputs, output_bar) -> one cotangent per input, None for those without derivative."""
    inputs: tuple[PyTree, ...]
    """Where the real run had it; a leaf may be a `jax.ShapeDtypeStruct` where the values are not known."""
    labels: tuple[str, ...]
    """The name of each input."""
    identity: Any = None
    """Rules of equal identity on inputs of equal shapes are the same rule."""
    small: "Rule | None" = None
    """The same rule on small inputs, where every entry can be differenced."""
    whole: bool = False
    """True for the gradient that the user asked for: the cotangent of its value is 1."""
    composite: bool = False
    """True where the rule only puts others together: differences are taken of its parts, and of it if it disagrees."""
    repairs: tuple[tuple[str, Callable[[tuple, PyTree], tuple]], ...] = ()
    """(what is tried, the backward pass with that change): if one is right, it says what is wrong."""
    working: "Rule | None" = None
    """The same rule traced in the dtype of the real run, where tracing has fixed the dtypes; else the rule itself."""

    @property
    def key(self) -> Any:
        """What makes two rules the same on generic inputs."""
        if self.small is not None:
            return self.small.key
        shapes = tuple((jnp.shape(v), jnp.result_type(v).name) for v in map(_shaped, jax.tree.leaves(self.inputs)))
        return self.name, id(self) if self.identity is None else self.identity, shapes


def _shaped(leaf: Any) -> Any:
    return jnp.zeros((), leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def place(function: Any) -> str:
    """File and line of a function, "unknown" where Python cannot tell."""
    try:
        return f"{Path(inspect.getsourcefile(function) or '').name}:{inspect.getsourcelines(function)[1]}"
    except (TypeError, OSError):
        return "unknown"


# ---- records of this package ----------------------------------------------------------------------------------------


def of_objective(objective: Objective, params: PyTree, x: PyTree, y: Any, options: dict[str, Any]) -> list[Rule]:
    """Every rule behind the gradient of this objective, on the inputs of the real run; each once."""
    rules = list(_of_layer(objective.net, params, x))
    prediction = objective.net.apply(params, x)
    rules.append(_of_loss(objective.loss, prediction, y, options.get("weights")))
    if objective.regularizer is not None:
        regularizer, strength = objective.regularizer, options["strength"]
        rules.append(
            Rule(
                regularizer.name,
                place(type(regularizer).gradient),
                lambda params: regularizer(params, strength),
                lambda inputs, bar: (jax.tree.map(lambda g: bar * g, regularizer.gradient(inputs[0], strength)),),
                (params,),
                ("params",),
                regularizer,
            )
        )
    alone = isolated(objective)
    rules.append(
        Rule(
            "objective",
            place(type(objective).backward),
            lambda params, x: objective(params, x, y, **options),
            lambda inputs, bar: alone.backward(inputs[0], alone.forward(*inputs, y, **options)[1], bar),
            (params, x),
            ("params", "x"),
            composite=True,
        )
    )
    return rules


def distinct(rules: list[Rule]) -> list[Rule]:
    """Each rule once, the first of its kind."""
    return list({rule.key: rule for rule in reversed(rules)}.values())[::-1]


def _of_layer(layer: Layer, params: PyTree, x: PyTree) -> Iterator[Rule]:
    for part, inputs in parts(layer, params, x):
        inputs = jax.tree.map(known, inputs)
        if isinstance(part, Activation):
            yield _of_activation(part, inputs[0])
        elif any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(inputs)):
            # inside a scan nothing was recorded; the part is walked on numbers of the same shapes
            yield from _of_layer(part, *_filled(inputs))
        else:
            yield from _of_layer(part, *inputs)
    small = None
    if isinstance(layer, Dense):
        less = dataclasses.replace(layer, inputs=min(layer.inputs, SMALL), outputs=min(layer.outputs, SMALL))
        row = jnp.zeros((3, less.inputs), x.dtype)
        small = _layer_rule(less, less.init(jax.random.key(0), x.dtype), row, layer)
    yield dataclasses.replace(_layer_rule(layer, params, x, layer), small=small)


def _layer_rule(layer: Layer, params: PyTree, x: PyTree, named: Layer) -> Rule:
    alone = isolated(layer)

    def backward(inputs: tuple, y_bar: PyTree) -> tuple:
        return alone.backward(inputs[0], alone.forward(*inputs)[1], y_bar)

    # a sequence prints all its layers: its class says enough
    name = repr(named) if isinstance(named, Dense) else named.name
    method = type(named).cotangents if type(named).cotangents is not Layer.cotangents else type(named).backward
    composite = bool(parts_of(layer)) and not isinstance(layer, Dense)
    return Rule(name, place(method), layer.apply, backward, (params, x), ("params", "x"), layer, composite=composite)


def _of_activation(activation: Activation, z: Any) -> Rule:
    def backward(inputs: tuple, a_bar: Array) -> tuple:
        return (activation.backward(activation.forward(inputs[0])[1], a_bar),)

    def kept(which: int) -> Callable[[tuple, PyTree], tuple]:
        # 0: the input z in place of what forward keeps, 1: the output a
        return lambda inputs, a_bar: (activation.backward((inputs[0], activation.forward(inputs[0])[0])[which], a_bar),)

    repairs = (("the input kept", kept(0)), ("the output kept", kept(1)))

    def at(z: Any, small: Rule | None) -> Rule:
        return Rule(
            repr(activation), place(type(activation).backward), lambda z: activation.forward(z)[0], backward,
            (z,), ("z",), activation, small, repairs=repairs,
        )  # fmt: skip

    return at(z, at(jnp.zeros((5, 7), z.dtype), None))


def _of_loss(loss: Loss, prediction: Array, y: Any, weights: Any) -> Rule:
    def backward(inputs: tuple, bar: Array) -> tuple:
        return (loss.backward(loss.forward(inputs[0], y, weights)[1], bar),)

    method = type(loss).slope if type(loss).backward is Loss.backward else type(loss).backward
    return Rule(
        loss.name, place(method), lambda prediction: loss(prediction, y, weights), backward,
        (prediction,), ("prediction",), loss,
    )  # fmt: skip


def known(leaf: Any) -> Any:
    """The leaf; or, if it was seen while a scan traced and has no value, its shape."""
    if isinstance(leaf, Tracer):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf


def _filled(inputs: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, inputs
    )
