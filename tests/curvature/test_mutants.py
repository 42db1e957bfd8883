"""Every second-order rule, changed in every place by the operators of the checker's bank: each wrong one is seen.

The truth is `jax.jvp` of the first-order rule at one point without zeros or ties; a mutant counts as seen if it differs
there by more than rounding, has other shapes, or does not run. What is not seen is listed, with the reason. That one
name stands for another is tried in the formulas of activations, where all names are numbers of one shape.
"""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.detection.operators import changed_functions, mutants
from fnn.activations import ACTIVATIONS
from fnn.losses import LOSSES
from fnn.regularizers import REGULARIZERS
from tests.cases import drawn, random, targets

#: Beyond it no rounding of float64 reaches, on values near 1.
SEEN = 1e-9


def numbers(*shape, seed="mutants"):
    return jnp.asarray(random(seed, *shape).normal(size=shape))


def differs(wrong, right):
    """Whether a mutant, a function without arguments, gives anything but the right trees."""
    try:
        got = wrong()
    except Exception:
        return True
    if jax.tree.structure(got) != jax.tree.structure(right):
        return True
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True)
    return any(np.shape(a) != np.shape(b) or not np.abs(np.asarray(a) - b).max(initial=0) <= SEEN for a, b in pairs)


def survivors(name, made, evaluate, right):
    """(the changes that give the right values all the same, the number of mutants), the unchanged rule first."""
    assert not differs(evaluate, right), f"{name} is wrong as it stands"
    changes = list(made)
    left = Counter(f"{name}: {told}" for told, wrong in changes if not differs(wrong, right))
    return {told if times == 1 else f"{told} ({times} times)" for told, times in left.items()}, len(changes)


def wrong_names(changes, keep=False):
    return ((told, changed) for operator, told, changed in changes if keep or operator != "wrong value")


def of_activations():
    z, a_bar, z_dot = (numbers(4, 3, seed=seed) for seed in ("z", "a_bar", "z_dot"))
    for name, record in ACTIVATIONS.items():
        residuals = record.forward(z)[1]
        right = jax.jvp(lambda z, r=record: r.backward(r.forward(z)[1], a_bar), (z,), (z_dot,))[1]
        evaluate = functools.partial(record.curvature, residuals, a_bar, z_dot)
        made = (
            (told, functools.partial(changed, record, residuals, a_bar, z_dot))
            for told, changed in wrong_names(changed_functions(type(record).curvature), keep=True)
        )
        yield name, made, evaluate, right


def of_losses():
    weights = jnp.array([0.5, 2.0, 1.0, 3.0])
    for name, record in (LOSSES | {"huber": fnn.losses.Huber(delta=1.3)}).items():
        p, dot = numbers(4, 3), numbers(4, 3, seed="dot")
        if name in ("negative_log_likelihood", "binary_cross_entropy"):
            p = jax.nn.softmax(p)
        ys = [jnp.asarray(targets(record, (4, 3), labels=True))]
        if name in ("softmax_cross_entropy", "negative_log_likelihood"):
            # rows that do not sum to 1 count as so many examples
            ys.append(jnp.abs(numbers(4, 3, seed="rows")))

        def saved(loss, p=p, ys=ys):
            return [loss.forward(p, y, weights)[1] for y in ys]

        def tangent(loss, saved=saved, dot=dot):
            return [loss.backward_tangent(each, dot) for each in saved(loss)]

        def fisher(loss, saved=saved, dot=dot):
            return [loss.fisher_tangent(each, dot) for each in saved(loss)]

        def root(loss, saved=saved, dot=dot):
            roots = [loss.backward_root(each) for each in saved(loss)]
            return [jnp.einsum("cno,cnp,np->no", S, S, dot) for S in roots]

        right = jax.jvp(lambda p, r=record, ys=ys: [r.backward(r.forward(p, y, weights)[1]) for y in ys], (p,), (dot,))[
            1
        ]
        rules = {"curvature": (tangent, right)}
        if type(record).curvature_root is not fnn.Loss.curvature_root:
            rules["curvature_root"] = root, right
        if type(record).fisher is not fnn.Loss.fisher:
            # the expectation over labels is held by a test of its own
            rules["fisher"] = fisher, fisher(record)
        if name == "softmax_cross_entropy":
            rules |= {"backward_tangent": (tangent, right), "backward_root": (root, right)}
        for rule, (evaluate, right) in rules.items():
            made = (
                (told, functools.partial(lambda cls, e, r: e(recast(r, cls)), cls, evaluate, record))
                for told, cls in wrong_names(mutants(type(record), rule))
            )
            yield f"{name}.{rule}", made, functools.partial(evaluate, record), right


def of_regularizers():
    params, dot = ({"W": numbers(3, 2, seed=seed), "b": numbers(2, seed=seed)} for seed in ("params", "dot"))
    for name, record in REGULARIZERS.items():
        strength = (0.3, 0.7) if name == "elastic_net" else 0.3
        right = jax.jvp(lambda p, r=record, s=strength: r.gradient(p, s), (params,), (dot,))[1]
        made = (
            (told, functools.partial(changed, record, params, strength, dot))
            for told, changed in wrong_names(changed_functions(type(record).curvature))
        )
        yield name, made, functools.partial(record.curvature, params, strength, dot), right


def of_the_affine_map():
    W, x, z_bar, W_dot, x_dot, z_bar_dot = (
        numbers(*shape, seed=str(k)) for k, shape in enumerate([(3, 2), (4, 3), (4, 2), (3, 2), (4, 3), (4, 2)])
    )
    b, b_dot = numbers(2, seed="b"), numbers(2, seed="b_dot")
    linear = fnn.linear
    rules = {
        "affine_tangent": ((W, x, W_dot, b_dot, x_dot), linear.affine, (W, b, x), (W_dot, b_dot, x_dot)),
        "affine_backward_tangent": (
            (W, x, z_bar, W_dot, x_dot, z_bar_dot), linear.affine_backward, (W, x, z_bar), (W_dot, x_dot, z_bar_dot),
        ),
    }  # fmt: skip
    for name, (args, first, primals, tangents) in rules.items():
        rule = getattr(linear, name)
        made = ((told, functools.partial(changed, *args)) for told, changed in wrong_names(changed_functions(rule)))
        yield name, made, functools.partial(rule, *args), jax.jvp(first, primals, tangents)[1]


INNER = fnn.dense(3, 3, activation="tanh")
LAYERS = {
    "dense": INNER,
    "sequential": fnn.sequential(fnn.dense(3, 2, activation="tanh"), fnn.dense(2, 3, activation="sigmoid")),
    "skip": fnn.skip(INNER),
    # it saves its input, its output, and what is neither
    "repeated": fnn.repeated(fnn.sequential(fnn.dense(2, 2, activation="gelu"), fnn.dense(2, 2, activation="tanh")), 2),
}


def of_layers():
    for name, layer in LAYERS.items():
        params, params_dot = (drawn(layer, random(seed), jnp.float64) for seed in ("params", "dot"))
        size = layer.inputs
        x, x_dot, y_bar, y_bar_dot = (numbers(4, size, seed=seed) for seed in ("x", "x_dot", "y_bar", "y_bar_dot"))

        def both(layer, params=params, dot=params_dot, x=x, x_dot=x_dot, bars=(y_bar, y_bar_dot)):
            # a scan is a loop of Python then, and no program for each mutant
            with jax.disable_jit():
                outputs, residuals = layer.forward_tangent((params, dot), (x, x_dot))
                return outputs, layer.backward_tangent((params, dot), residuals, bars)

        def plain(params, x, y_bar, layer=layer):
            y, residuals = layer.forward(params, x)
            return y, layer.backward(params, residuals, y_bar)

        (y, bars), (y_dot, bars_dot) = jax.jvp(plain, (params, x, y_bar), (params_dot, x_dot, y_bar_dot))
        right = (y, y_dot), tuple(zip(bars, bars_dot, strict=True))
        for rule in ("forward_tangent", "backward_tangent"):
            made = (
                # the fields of a record are those of the class that it was made of
                (told, functools.partial(lambda cls, layer, f: f(recast(layer, cls)), cls, layer, both))
                for told, cls in wrong_names(mutants(type(layer), rule))
            )
            yield f"{name}.{rule}", made, functools.partial(both, layer), right


def recast(layer, cls):
    made = object.__new__(cls)
    made.__dict__.update(layer.__dict__)
    return made


#: What gives the right values all the same, and why.
EQUAL = {
    "there the two names are one array": (
        "sigmoid: residuals for a: a (3 times)", "tanh: residuals for a: a (3 times)",
        "softplus: residuals for z: z (2 times)", "softmax: residuals for a: a (3 times)",
        "elu: residuals for a: a (3 times)", "gelu: residuals for z: z (3 times)",
    ),
    "only the shape and the dtype are taken": (
        "identity: a_bar for z_dot: z_dot", "relu: a_bar for z_dot: z_dot", "relu: residuals for z_dot: z_dot",
        "leaky_relu: a_bar for z_dot: z_dot", "leaky_relu: residuals for z_dot: z_dot",
        "sign: a_bar for z_dot: z_dot", "hard_threshold: a_bar for z_dot: z_dot", "elu: a_bar for a: a",
        "elu: z_dot for a: a", "binary_cross_entropy.curvature_root: index changed by one: 0",
        "sigmoid_cross_entropy.curvature_root: index changed by one: 0",
        "repeated.forward_tangent: index changed by one: 0 (3 times)",
    ),
    "z is inside the range in which the two are one": (
        "gelu: inside for z: z (2 times)", "gelu: residuals for inside: inside (2 times)",
        "gelu: z for inside: inside (2 times)",
        "gelu_tanh: z for inside: inside (4 times)",
    ),
    "a column of a root may have either sign": (
        "softmax_cross_entropy.curvature_root: negated: 1", "softmax_cross_entropy.curvature_root: sign dropped: -1",
    ),
}  # fmt: skip


def test_every_wrong_second_derivative_is_seen(x64):
    missed, total = set(), 0
    for rules in (of_activations, of_losses, of_regularizers, of_the_affine_map, of_layers):
        for rule in rules():
            left, count = survivors(*rule)
            missed |= left
            total += count
    assert missed == {each for some in EQUAL.values() for each in some} and total > 300


# ---- the checker ----------------------------------------------------------------------------------------------------


def lent(name, first, second):
    """A first-order rule whose derivative by JAX is the second-order rule: the checker looks at it as at any other."""
    first.__name__ = name
    rule = jax.custom_jvp(first)
    rule.defjvp(lambda primals, tangents: (first(*primals), second(primals, tangents)))
    return rule


def lent_activation(name, record):
    def second(primals, tangents):
        (z, a_bar), (z_dot, a_bar_dot) = primals, tangents
        saved = record.forward(z)[1]
        return record.curvature(saved, a_bar, z_dot) + record.backward(saved, a_bar_dot)

    return lent(name, lambda z, a_bar: record.backward(record.forward(z)[1], a_bar), second)


def test_the_checker_names_a_wrong_second_derivative(x64):
    """Three wrong rules and a right one in one function, each lent as the derivative of its first-order rule."""

    class Tanh(fnn.activations.Tanh):
        def curvature(self, residuals, a_bar, z_dot):
            return -super().curvature(residuals, a_bar, z_dot)

    class Loss(fnn.losses.SoftmaxCrossEntropy):
        def curvature(self, residuals, prediction_dot):
            return 2 * super().curvature(residuals, prediction_dot)

    def forgetful(primals, tangents):
        (W, x, z_bar), (W_dot, x_dot, z_bar_dot) = primals, tangents
        return fnn.linear.affine_backward_tangent(W, x, z_bar, jnp.zeros_like(W_dot), x_dot, z_bar_dot)

    loss, labels = Loss(), jnp.array([0, 2, 1, 1], jnp.int32)
    slopes = lent(
        "loss_backward", lambda p: loss.backward(loss.forward(p, labels)[1]),
        lambda p, dot: loss.backward_tangent(loss.forward(p[0], labels)[1], dot[0]),
    )  # fmt: skip
    tanh, sigmoid = lent_activation("tanh_backward", Tanh()), lent_activation("sigmoid_backward", fnn.sigmoid)
    affine = lent("affine_backward", lambda *args: fnn.linear.affine_backward(*args), forgetful)

    def f(W, x, p):
        z_bar = tanh(x @ W, sigmoid(x @ W, slopes(p)))
        return sum(jnp.sum(jnp.sin(bar)) for bar in affine(W, x, z_bar))

    report = fnn.check(f, numbers(2, 3, seed="W"), numbers(4, 2), numbers(4, 3, seed="p"))
    assert set(report.culprits) == {"tanh_backward", "loss_backward", "affine_backward"}
    says = {each.rule: each.message for each in report.findings if each.message}
    assert "sign" in says["tanh_backward"] and "factor of 2" in says["loss_backward"], says
