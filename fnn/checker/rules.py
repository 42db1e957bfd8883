"""What is checked: a rule is a function, the hand-written derivative beside it, and inputs to try them on.

Promises: each rule stands alone. In a record of this package the parts are replaced by oracles (`oracles.py`); in any
other JAX function the rules are the `custom_vjp` and `custom_jvp` equations of its jaxpr, and the function beside each
is its primal computation with every such rule inside stripped. Only public names of JAX are used.
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
from jax.extend import core

from fnn.activations import Activation
from fnn.backprop import Objective
from fnn.checker.oracles import is_float, isolated, parts, parts_of, vjp
from fnn.losses import Loss
from fnn.network import Dense, Layer
from fnn.types import Array, PyTree

#: Probes of a dense layer have at most this many inputs and outputs: every entry of 8 × 8 can be differenced.
SMALL = 8
#: Primitives that carry a hand-written rule.
CUSTOM = ("custom_vjp_call", "custom_jvp_call")


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
        inputs = jax.tree.map(_known, inputs)
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


def _known(leaf: Any) -> Any:
    """A leaf that was seen while a scan traced has a shape and no value."""
    if isinstance(leaf, Tracer):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf


def _filled(inputs: PyTree) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, inputs
    )


# ---- any JAX function -----------------------------------------------------------------------------------------------


def stripped(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The same function with no hand-written derivative anywhere: its jaxpr, every custom call by its primal."""

    def plain(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        out = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), _primal)
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return plain


def of_function(f: Callable[..., Array], args: tuple) -> list[Rule]:
    """Every `custom_vjp` and `custom_jvp` equation that f reaches, on what it was called on; each place once."""

    def found(args: tuple) -> list[Rule]:
        rules: list[Rule] = []

        def note(equation: Any, values: list[Any]) -> list[Any]:
            rules.append(_of_equation(equation, [_known(v) for v in values]))
            return _primal(equation, values)

        closed = jax.make_jaxpr(f)(*args)
        _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), note)
        return rules

    # an equation has the dtypes it was traced with: float64 for the formula, those of the real run for the precision
    exact = found(jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if is_float(leaf) else leaf, args))
    real = found(args)
    if len(exact) != len(real):
        return exact
    return [dataclasses.replace(rule, working=working) for rule, working in zip(exact, real, strict=True)]


def _of_equation(equation: Any, values: list[Any]) -> Rule:
    variables = [v for v in equation.invars if not hasattr(v, "val")]
    literal = [hasattr(v, "val") for v in equation.invars]
    inputs = tuple(v for v, known in zip(values, literal, strict=True) if not known)
    inner = _closed(equation.params["call_jaxpr"])
    single = core.jaxpr_as_fun(core.ClosedJaxpr(_only(equation, variables), []))

    def forward(*inputs: Array) -> PyTree:
        given = iter(inputs)
        every = [v.val if known else next(given) for v, known in zip(equation.invars, literal, strict=True)]
        return tuple(_run(inner.jaxpr, inner.consts, every, _primal))

    def backward(inputs: tuple, y_bar: PyTree) -> tuple:
        # the equation itself, bound again: its own rule runs
        return vjp(lambda *inputs: tuple(single(*inputs)), inputs, y_bar)

    told = str(getattr(inner.jaxpr.debug_info, "func_src_info", "") or "unknown")
    name, _, where = told.partition(" at ")
    names = getattr(inner.jaxpr.debug_info, "arg_names", None) or ()
    labels = tuple(names) if len(names) == len(inputs) else tuple(f"argument {k}" for k in range(len(inputs)))
    where = Path(where).name or "unknown"
    return Rule(name or "unknown", where, forward, backward, inputs, labels, identity=(name, where))


def _only(equation: Any, variables: list[Any]) -> Any:
    """A jaxpr of this one equation."""
    debug = _closed(equation.params["call_jaxpr"]).jaxpr.debug_info
    try:
        return core.Jaxpr((), variables, list(equation.outvars), [equation], debug_info=debug)
    except TypeError:
        return core.Jaxpr((), variables, list(equation.outvars), [equation])


def _closed(jaxpr: Any) -> Any:
    """A jaxpr with its constants, as some releases of JAX store it and others do not."""
    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def _primal(equation: Any, values: list[Any]) -> list[Any]:
    inner = _closed(equation.params["call_jaxpr"])
    return _run(inner.jaxpr, inner.consts, values, _primal)


def _run(jaxpr: Any, consts: Any, values: list[Any], custom: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Evaluate a jaxpr; equations with a hand-written rule go through `custom`, at any depth."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, values, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        if equation.primitive.name in CUSTOM:
            out = custom(equation, given)
        elif equation.primitive.name in ("jit", "pjit", "closed_call", "remat", "checkpoint", "custom_lin"):
            inner = _closed(equation.params["jaxpr"])
            out = _run(inner.jaxpr, inner.consts, given, custom)
        else:
            out = _bind(equation, given, custom)
        known.update(zip(equation.outvars, out, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, given: list[Any], custom: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """One equation; the bodies of loops and branches inside it are rewritten so that their rules are seen too."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "scan":
        return _scan(params, given, custom)
    if name == "cond":
        index, *operands = given
        branches = [_body(_closed(each), custom) for each in params["branches"]]
        return list(jax.lax.switch(index, branches, *operands))
    if name == "while":
        condition, body = _closed(params["cond_jaxpr"]), _closed(params["body_jaxpr"])
        split = params["cond_nconsts"]
        consts, rest = given[:split], given[split:]
        inner, carry = rest[: params["body_nconsts"]], rest[params["body_nconsts"] :]
        test, step = _body(condition, custom), _body(body, custom)
        return list(jax.lax.while_loop(lambda c: test(*consts, *c)[0], lambda c: tuple(step(*inner, *c)), tuple(carry)))
    out = equation.primitive.bind(*given, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def _body(closed: Any, custom: Callable[[Any, list[Any]], list[Any]]) -> Callable[..., tuple]:
    return lambda *given: tuple(_run(closed.jaxpr, closed.consts, list(given), custom))


def _scan(params: dict[str, Any], given: list[Any], custom: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    body = _body(_closed(params["jaxpr"]), custom)
    constants, carried = params["num_consts"], params["num_carry"]
    consts, carry, sequences = given[:constants], given[constants : constants + carried], given[constants + carried :]

    def step(carry: tuple, sliced: tuple) -> tuple[tuple, tuple]:
        out = body(*consts, *carry, *sliced)
        return out[:carried], out[carried:]

    carry, stacked = jax.lax.scan(
        step, tuple(carry), tuple(sequences), length=params["length"], reverse=params["reverse"]
    )
    return [*carry, *stacked]
