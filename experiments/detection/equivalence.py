"""Is a mutant equal to the original everywhere? Both are run with far more digits than any float has.

Promises: the program that JAX traces of a rule's backward pass is run on numbers of 200 digits, at random inputs;
two results that agree to 1e-40 everywhere are called equivalent. Rules are tried as functions of all they are given:
both kinds of target, weights, each reduction, no, one and two leading axes, ordinary and large inputs.
Refuses: an operation that it does not know, by name. Constants of the source are float64 numbers on both sides.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

import fnn
from experiments.detection.bank import OVER_CLASSES, Mutant

# it describes itself to Python, not to type checkers
mp: Any = mpmath.mp

#: Equal to this; and 160 digits more, for 1 − tanh² loses 117 of them at the largest inputs, 135.
TOLERANCE, DIGITS = 1e-40, 200
LEADS = ((2,), (), (1, 2))
#: The one of them that a check on a batch of examples can see.
BATCH = ((2,),)


def _each(f: Callable) -> Callable:
    return np.frompyfunc(f, 1, 1)


ONE = {
    "exp": mp.exp, "log": mp.log, "log1p": lambda v: mp.log(1 + v), "expm1": lambda v: mp.exp(v) - 1, "tanh": mp.tanh,
    "logistic": lambda v: 1 / (1 + mp.exp(-v)), "erfc": mp.erfc, "erf": mp.erf, "sqrt": mp.sqrt, "sign": mp.sign,
    "abs": abs, "neg": lambda v: -v, "square": lambda v: v * v, "is_finite": lambda v: bool(mp.isfinite(v)),
    "rsqrt": lambda v: 1 / mp.sqrt(v),
}  # fmt: skip
TWO = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "pow": np.power, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or,
}  # fmt: skip
SCATTERED = {"scatter-add": np.add, "scatter-sub": np.subtract, "scatter_mul": np.multiply, "scatter-mul": np.multiply}
#: These only move entries: they are run on the positions of the entries, and the entries follow.
MOVES = ("broadcast_in_dim", "reshape", "squeeze", "transpose", "slice", "rev", "expand_dims")
SAME = ("stop_gradient", "copy", "copy_p", "reduce_precision", "optimization_barrier")
CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")


def run(jaxpr: Any, consts: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a jaxpr on arrays of long numbers, whole numbers and truth values."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*map(exact, consts), *inputs], strict=True))

    def read(atom: Any) -> np.ndarray:
        return exact(atom.val) if hasattr(atom, "val") else known[atom]

    for eqn in jaxpr.eqns:
        results = _apply(eqn, [read(atom) for atom in eqn.invars])
        known.update((var, _typed(each, var.aval.dtype)) for var, each in zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def exact(value: Any) -> np.ndarray:
    """The array with long numbers in place of floats; each float is the number that it stands for."""
    array = np.asarray(value)
    return (
        _typed(np.frompyfunc(mp.mpf, 1, 1)(array.astype(np.float64)), array.dtype) if array.dtype.kind == "f" else array
    )


def _typed(value: Any, dtype: Any) -> np.ndarray:
    if jnp.issubdtype(dtype, jnp.floating):
        return np.asarray(value, dtype=object)
    return np.asarray(value).astype(dtype)


def _apply(eqn: Any, inputs: list[np.ndarray]) -> list[Any]:
    name, params = eqn.primitive.name, eqn.params
    first: Any = inputs[0] if inputs else None
    if name in ONE:
        return [_each(ONE[name])(first) if first.dtype == object or name != "neg" else -first]
    if name in TWO:
        return [TWO[name](*inputs)]
    if name == "div":
        return [np.frompyfunc(_divided, 2, 1)(*inputs) if first.dtype == object else first // inputs[1]]
    if name in MOVES:
        return [first.ravel()[_positions(eqn, first.shape)]]
    if name in SAME:
        return inputs
    if name == "not":
        return [~first]
    if name == "integer_pow":
        return [_each(lambda v: v ** params["y"])(first)]
    if name == "convert_element_type":
        made = jnp.issubdtype(params["new_dtype"], jnp.floating) and first.dtype != object
        return [exact(first.astype(np.float64)) if made else first]
    if name == "select_n":
        return [np.where(first, inputs[2], inputs[1])]
    if name == "clamp":
        return [np.minimum(np.maximum(inputs[1], first), inputs[2])]
    if name in ("reduce_sum", "reduce_max", "reduce_min"):
        f = {"reduce_sum": np.add, "reduce_max": np.maximum, "reduce_min": np.minimum}[name]
        return [f.reduce(first, axis=tuple(params["axes"]))]
    if name == "dot_general":
        contracted, batch = params["dimension_numbers"]
        if batch[0]:
            raise NotImplementedError("dot_general with batch dimensions")
        return [np.tensordot(*inputs, axes=contracted)]
    if name == "concatenate":
        return [np.concatenate(inputs, axis=params["dimension"])]
    if name == "iota":
        return [np.asarray(eqn.primitive.bind(**params))]
    if name == "gather":
        positions = _positions(eqn, first.shape, inputs[1].tobytes(), inputs[1].shape)
        return [first.ravel()[positions]]
    if name in SCATTERED:
        operand, indices, updates = inputs
        hits = _hits(eqn, operand.shape, updates.shape, indices.tobytes(), indices.shape)
        total = operand.copy().ravel()
        for entry, update in zip(hits, updates.ravel(), strict=True):
            for place in entry:
                total[place] = SCATTERED[name](total[place], update)
        return [total.reshape(operand.shape)]
    if name == "scan":
        return _scan(params, inputs)
    if name in CALLS:
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        return run(inner.jaxpr, inner.consts, inputs) if hasattr(inner, "consts") else run(inner, (), inputs)
    raise NotImplementedError(f"the operation {name} is not known here")


def _divided(a: Any, b: Any) -> Any:
    return a / b if b else (mp.inf if a > 0 else -mp.inf if a < 0 else mp.nan)


@functools.lru_cache(maxsize=4096)
def _positions(eqn: Any, shape: tuple[int, ...], indices: bytes = b"", index_shape: tuple = ()) -> np.ndarray:
    """Where each entry of the result stands in the flat operand."""
    places = jnp.arange(int(np.prod(shape, dtype=int)), dtype=jnp.int32).reshape(shape)
    more = [np.frombuffer(indices, eqn.invars[1].aval.dtype).reshape(index_shape)] if index_shape else []
    params = eqn.params | ({"fill_value": -1} if "fill_value" in eqn.params else {})
    return np.asarray(eqn.primitive.bind(places, *map(jnp.asarray, more), **params))


@functools.lru_cache(maxsize=4096)
def _hits(eqn: Any, shape: tuple, updates: tuple, indices: bytes, index_shape: tuple) -> list[np.ndarray]:
    """For each entry of the updates, the places of the flat operand to which it is added."""
    index = jnp.asarray(np.frombuffer(indices, eqn.invars[1].aval.dtype).reshape(index_shape))
    count = int(np.prod(updates, dtype=int))
    neutral = jnp.full(count, 1.0 if "mul" in eqn.primitive.name else 0.0)
    # ones become something else where the one update that is not neutral falls
    changed = [
        eqn.primitive.bind(jnp.ones(shape), index, neutral.at[k].set(3).reshape(updates), **eqn.params)
        for k in range(count)
    ]
    return [np.flatnonzero(np.asarray(each) != 1) for each in changed]


def _scan(params: dict[str, Any], inputs: list[np.ndarray]) -> list[np.ndarray]:
    fixed, carried = params["num_consts"], params["num_carry"]
    consts, carry, stacked = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    steps, closed = range(params["length"]), params["jaxpr"]
    rows = []
    for k in reversed(steps) if params["reverse"] else steps:
        out = run(closed.jaxpr, closed.consts, [*consts, *carry, *(np.asarray(each[k]) for each in stacked)])
        carry = out[:carried]
        rows.append(out[carried:])
    rows = rows[::-1] if params["reverse"] else rows
    return [*carry, *(np.stack(each) for each in zip(*rows, strict=True))]


# ---- the rules as functions -----------------------------------------------------------------------------------------


def functions(mutant: Mutant, leads: tuple[tuple[int, ...], ...] = LEADS) -> Iterator[tuple[str, Callable, tuple]]:
    """(setting, record -> function, inputs as shapes) for everything that the mutant's rule can be given."""

    def real(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float64)

    if mutant.family == "activation":
        for lead in leads:
            shape = real(*lead, 3)
            yield f"{lead}", lambda r: lambda z, bar: r.backward(r.forward(z)[1], bar), (shape, shape)
    elif mutant.family == "loss":
        for lead in leads:
            p, labels = real(*lead, 3), jax.ShapeDtypeStruct(lead, jnp.int32)
            for y in (p, labels) if mutant.original.name in OVER_CLASSES else (p,):
                for w in (None, real(*lead)):
                    for reduction in ("mean", "sum"):

                        def made(r: Any, reduction: str = reduction) -> Callable:
                            r = r.sum if reduction == "sum" else r
                            return lambda *a: r.backward(r.forward(*a[:3])[1], a[3])

                        yield f"{lead} {y.dtype} {w is not None} {reduction}", made, (p, y, w, real())
    elif mutant.family == "regularizer":
        strength = (real(), real()) if mutant.rule == "elastic_net" else real()
        yield "", lambda r: lambda p, s: r.gradient(p, s), ({"W": real(2, 3), "b": real(3)}, strength)
    else:
        yield from _of_nets(mutant, real, leads)


def _of_nets(
    mutant: Mutant, real: Callable, leads: tuple[tuple[int, ...], ...]
) -> Iterator[tuple[str, Callable, tuple]]:
    dense = fnn.dense(3, 3, activation="tanh")
    if mutant.family == "objective":
        for penalty in (None, fnn.l2):
            net = fnn.sequential(dense)

            def whole(cls: Any, penalty: Any = penalty, net: Any = net) -> Callable:
                f = cls(net, fnn.squared_error, penalty)

                def gradient(p: Any, inputs: Any, y: Any, w: Any, s: Any, bar: Any) -> Any:
                    return f.backward(p, f.forward(p, inputs, y, sample_weight=w, strength=s)[1], bar)

                return gradient

            params = ({"W": real(3, 3), "b": real(3)},)
            x = real(2, 3)
            yield str(penalty), whole, (params, x, x, real(2), None if penalty is None else real(), real())
        return
    square = mutant.operator in ("transposition", "result transposed")
    layers = {
        "dense": lambda cls: cls(3, 3 if square else 2, fnn.tanh), "skip": lambda cls: cls(dense),
        "sequential": lambda cls: cls((dense, fnn.dense(3, 2, activation="sigmoid"))),
        "repeated": lambda cls: cls(dense, 2),
    }  # fmt: skip
    make = layers["dense" if mutant.rule == "affine" else mutant.rule]
    right = make(mutant.original)
    params = jax.eval_shape(lambda: right.init(jax.random.key(0), jnp.float64))
    for lead in leads:
        for method in ("backward", "cotangents"):

            def pulled(cls: Any, method: str = method) -> Callable:
                layer = make(cls)
                return lambda p, x, bar: getattr(layer, method)(p, layer.forward(p, x)[1], bar)[:2]

            yield f"{lead} {method}", pulled, (params, real(*lead, 3), real(*lead, right.outputs))


def _probe(mutant: Mutant, shapes: list[Any], rng: np.random.Generator) -> list[np.ndarray]:
    """Random inputs: ordinary or large; for losses on probabilities mostly, not always, within (0, 1)."""
    scale = rng.choice([0.1, 1.0, 5.0, 30.0])
    probabilities = (
        mutant.original.name in ("negative_log_likelihood", "binary_cross_entropy")
        if (mutant.family == "loss")
        else False
    )
    found = []
    for k, leaf in enumerate(shapes):
        if leaf.dtype.kind == "i":
            found.append(rng.integers(0, 3, leaf.shape).astype(np.int32))
        elif probabilities and k == 0:
            found.append(rng.uniform(0.02, 0.98, leaf.shape) if rng.random() < 0.8 else rng.normal(0.5, 1, leaf.shape))
        else:
            found.append(np.asarray(rng.normal(0, scale if k == 0 else 1.0, leaf.shape)))
    return found


def equivalent(
    mutant: Mutant, probes: int = 1000, seed: int = 0, leads: tuple[tuple[int, ...], ...] = LEADS
) -> tuple[bool, float, Any]:
    """(equal everywhere, the largest relative difference, the probe where it was or None); stops at a difference."""
    with jax.enable_x64(True), mp.workdps(DIGITS):
        worst, settings = 0.0, list(functions(mutant, leads))
        rng = np.random.default_rng([seed])
        for setting, made, inputs in settings:
            right = jax.make_jaxpr(made(mutant.original))(*inputs)
            try:
                wrong = jax.make_jaxpr(made(mutant.record))(*inputs)
            except Exception as error:
                return False, float("inf"), (setting, repr(error))
            # of the same program three probes are enough: they only guard against constants that print alike
            count = 3 if str(right) == str(wrong) else -(-probes // len(settings))
            if [v.aval.shape for v in right.jaxpr.outvars] != [v.aval.shape for v in wrong.jaxpr.outvars]:
                return False, float("inf"), (setting, "other shapes")
            for _ in range(count):
                probe = _probe(mutant, jax.tree.leaves(inputs), rng)
                two = [run(c.jaxpr, c.consts, [exact(leaf) for leaf in probe]) for c in (right, wrong)]
                worst = max(worst, *(difference(a, b) for a, b in zip(*two, strict=True)))
                if worst > TOLERANCE:
                    return False, worst, (setting, probe)
        return True, worst, None


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest |a − b| / max(|a|, |b|) of two arrays, 0 where both are equal; infinite where one is no number."""
    worst = 0.0
    for u, v in zip(a.ravel(), b.ravel(), strict=True):
        if u != v and not (mp.isnan(u) and mp.isnan(v)):
            gap = abs(u - v) / max(abs(u), abs(v))
            worst = max(worst, float(gap) if mp.isfinite(gap) else float("inf"))
    return worst
