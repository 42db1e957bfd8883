"""Products by hand against jax.jvp of jax.grad, jax.hessian and finite differences, over the whole case table."""

import ast
import functools
import inspect
import re
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from fnn.curvature import fisher_vector_product, gauss_newton_vector_product, hessian_vector_product
from tests import tolerances
from tests.cases import NETS, Dropout, NetCase, drawn, random, rounded
from tests.witnesses import assert_close, assert_finite, assert_gradients_float64, magnitudes, named_leaves, once

by_name = {case.name: case for case in NETS}
KINKED = ("absolute_error", "hinge", "perceptron_loss")


def direction(params, phase=0.0):
    """A vector in the space of parameters, no entry of it 0."""
    return jax.tree.map(
        lambda p: jnp.asarray(np.cos(1.7 * np.arange(p.size) + phase).reshape(p.shape), p.dtype), params
    )


def assert_leaves(hand, auto, what):
    """The bound per leaf of the core's tests."""
    assert jax.tree.structure(hand) == jax.tree.structure(auto)
    assert_finite(hand, what)
    assert_finite(auto, what)
    for (path, h), (_, a) in zip(named_leaves(hand), named_leaves(auto), strict=True):
        assert h.shape == a.shape, f"{what}{path}"
        error, scale = np.abs(h - a).max(initial=0), np.abs(a).max(initial=0)
        assert error <= tolerances.LEAF * scale, f"{what}{path}: off by {error:.3g} of {scale:.3g}"


def sizes(product, params, x, y, vector, options):
    """The backward sweep on absolute values, from what the forward sweep gives, as the core's tests take it."""
    (prediction, prediction_dot), residuals = product.net.forward_tangent((params, vector), (x, None))
    _, loss_residuals = product.loss.forward(prediction, y)

    def back(params, vector, residuals, loss_residuals, prediction_dot):
        bars = product.loss.backward(loss_residuals), product.loss.backward_tangent(loss_residuals, prediction_dot)
        (_, dots), _ = product.net.backward_tangent((params, vector), residuals, bars)
        if product.regularizer is None:
            return dots
        return jax.tree.map(jnp.add, dots, product.regularizer.curvature(params, options["strength"], vector))

    return magnitudes(back, params, vector, residuals, loss_residuals, prediction_dot)


@functools.cache
def whole_table():
    """{case: (Hv by hand, by autodiff, size of the terms), (the same for Gv)}, by one program for all of NETS."""

    def automatic_gauss_newton(objective, params, x, y, vector, strength):
        p, p_dot = jax.jvp(lambda q: objective.net.apply(q, x), (params,), (vector,))
        slope = jax.grad(lambda p: objective.loss(p, y))
        middle = jax.jvp(slope, (p,), (p_dot,))[1]
        back = jax.vjp(lambda q: objective.net.apply(q, x), params)[1](middle)[0]
        if objective.regularizer is None:
            return back
        penalty = jax.grad(lambda q: objective.regularizer(q, strength))
        return jax.tree.map(jnp.add, back, jax.jvp(penalty, (params,), (vector,))[1])

    def run(table):
        results = {}
        for case in NETS:
            params, x, y = table[case.name]
            parts, vector = (case.net, case.loss, case.regularizer), direction(params)
            hessian = hessian_vector_product(*parts)
            gradient = jax.grad(lambda q, f=hessian.objective, d=(x, y), o=case.options: f(q, *d, **o))
            auto = jax.jvp(gradient, (params,), (vector,))[1]
            # the two sweeps on absolute values: how large the terms of a sum were before they cancelled
            size = sizes(hessian, params, x, y, vector, case.options)
            results[case.name] = [(hessian(params, x, y, vector, **case.options), auto, size)]
            if case.loss.name not in KINKED:
                strength = case.options.get("strength")
                results[case.name].append(
                    (
                        gauss_newton_vector_product(*parts)(params, x, y, vector, **case.options),
                        automatic_gauss_newton(hessian.objective, params, x, y, vector, strength),
                        size,
                    )
                )
        return results

    with jax.enable_x64(True):
        return jax.device_get(once(run)({case.name: case.data("float64") for case in NETS}))


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_products_equal_those_of_autodiff(case: NetCase):
    for name, result in zip(("hessian ", "gauss-newton "), whole_table()[case.name], strict=False):
        assert_gradients_float64(*result, name)


WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 0.0, 3.0])
FEW = ["hidden tanh", "hidden gelu", "hidden softmax", "loss huber", "repeated skip", "elastic net"]


def few(function):
    """{case: function(case, params, x, y)} in float64 for FEW, by one program."""
    data = {name: by_name[name].data(jnp.float64) for name in FEW}
    return jax.device_get(once(lambda d: {n: function(by_name[n], *d[n]) for n in FEW})(data))


def test_weighted_products_equal_the_dense_hessian_and_finite_differences(x64):
    """Weights, a regularizer and two vectors at once, against jax.hessian; symmetric, and Gauss-Newton ≥ 0."""

    def all_of(case, params, x, y):
        hessian = hessian_vector_product(case.net, case.loss, case.regularizer or fnn.l2)
        options = {"strength": 0.03, **case.options}
        objective = functools.partial(hessian.objective, sample_weight=WEIGHTS, **options)
        two = jax.tree.map(lambda *v: jnp.stack(v), direction(params), direction(params, 2.0))
        hand = hessian(params, x, y, two, sample_weight=WEIGHTS, **options)
        flat, unravel = ravel_pytree(params)
        matrix = jax.hessian(lambda q: objective(unravel(q), x, y))(flat)
        flat_two = jax.vmap(lambda v: ravel_pytree(v)[0])(two)
        flat_hand = jax.vmap(lambda v: ravel_pytree(v)[0])(hand)
        newton = gauss_newton_vector_product(case.net, case.loss)(params, x, y, two, sample_weight=WEIGHTS)
        flat_newton = jax.vmap(lambda v: ravel_pytree(v)[0])(newton)
        by_hand = fnn.backprop(case.net, case.loss, case.regularizer or fnn.l2)
        h = 1e-5

        def shifted(t):
            moved = jax.tree.map(lambda p, v: p + t * v[0], params, two)
            return ravel_pytree(by_hand(moved, x, y, sample_weight=WEIGHTS, **options)[1])[0]

        differences = (shifted(h) - shifted(-h)) / (2 * h)
        return flat_hand, flat_two @ matrix, differences, flat_two @ flat_hand.T, flat_two @ flat_newton.T

    for name, (hand, auto, differences, inner, newton) in few(all_of).items():
        assert_leaves(hand, auto, name)
        assert_close(hand[0], differences, tolerances.DIFFERENCES, name)
        assert abs(inner[0, 1] - inner[1, 0]) <= tolerances.LEAF * np.abs(inner).max(), name
        assert np.linalg.eigvalsh((newton + newton.T) / 2).min() >= -tolerances.LEAF * np.abs(newton).max(), name


LIKELIHOODS = ["squared_error", "half_squared_error", "absolute_error", "huber", "softmax_cross_entropy",
               "negative_log_likelihood", "binary_cross_entropy", "sigmoid_cross_entropy"]  # fmt: skip


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_fisher_is_the_expectation_over_labels(name, x64):
    """E[s sᵀ] with s from the hand-written slope: labels summed over, densities integrated by a fine rule."""
    loss = fnn.losses.get(name)
    p = (
        np.array([0.2, 0.5, 0.3])
        if name in ("negative_log_likelihood", "binary_cross_entropy")
        else np.array([0.4, -1.0, 0.7])
    )
    dot = np.array([1.0, -2.0, 0.5])
    if name in ("softmax_cross_entropy", "negative_log_likelihood"):
        y = np.arange(3, dtype=np.int32)
        share = np.asarray(jax.nn.softmax(p) if name == "softmax_cross_entropy" else p)
    elif name in ("binary_cross_entropy", "sigmoid_cross_entropy"):
        one = np.asarray(jax.nn.sigmoid(p) if name == "sigmoid_cross_entropy" else p)
        y = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T
        share = np.prod(np.where(y == 1, one, 1 - one), axis=1)
    else:
        # one output after another: the outputs are independent, and the slope has mean 0
        e = np.linspace(-40, 40, 800_000)
        value = np.asarray(loss.values(jnp.asarray(e[:, None]), jnp.zeros((e.size, 1)))[0])
        slope = np.asarray(loss.slope(loss.values(jnp.asarray(e[:, None]), jnp.zeros((e.size, 1)))[1]))[:, 0]
        wanted = np.sum(slope**2 * np.exp(-value)) / np.sum(np.exp(-value)) * dot
        y = None
    rows = jnp.broadcast_to(p, (1 if y is None else len(y), 3))
    target = rows if y is None else jnp.asarray(y)
    residuals = loss.sum.forward(rows, target)[1]
    if y is not None:
        slopes = np.asarray(loss.sum.backward(residuals))
        wanted = np.einsum("n,nk,nj,j->k", share, slopes, slopes, dot)
    got = loss.sum.fisher_tangent(residuals, jnp.broadcast_to(jnp.asarray(dot), rows.shape))[0]
    assert_close(np.asarray(got), wanted, tolerances.QUADRATURE if y is None else tolerances.LEAF, name)


def test_fisher_of_the_net_is_gauss_newton_from_logits(x64):
    case = by_name["hidden tanh"]
    params, x, y = case.data(jnp.float64)
    makers = fisher_vector_product, gauss_newton_vector_product
    results = jax.jit(lambda *d: [make(case.net, case.loss)(*d, direction(d[0])) for make in makers])(params, x, y)
    assert_close(*results, tolerances.LEAF)


def small(net, loss="softmax_cross_entropy", seed="small"):
    """(product, params, x, y) of a little net in float64."""
    product = hessian_vector_product(net, loss)
    rng = random(seed)
    params = drawn(net, rng, jnp.float64)
    x = rounded(rng.normal(size=(5, 3)), jnp.float64)
    return product, params, x, jnp.asarray(rng.integers(0, 2, 5), jnp.int32)


@dataclass(frozen=True)
class Scale(fnn.Layer):
    """A layer as a user writes it, without the two methods; its residuals hold an integer too."""

    size: int

    @property
    def inputs(self):
        return self.size

    outputs = inputs

    def init(self, key, dtype=jnp.float32):
        return {"s": jnp.ones(self.size, dtype)}

    def forward(self, params, x):
        return jnp.broadcast_to(params["s"] ** 2, x.shape) * x, (x, jnp.arange(2))

    def backward(self, params, residuals, y_bar):
        x, _ = residuals
        s = jnp.broadcast_to(params["s"], x.shape)
        return {"s": jnp.sum(2 * s * x * y_bar, axis=tuple(range(x.ndim - 1)))}, s**2 * y_bar


@dataclass(frozen=True)
class WithKey(fnn.Layer):
    """x -> (x, a key), below a random layer."""

    def forward(self, params, x):
        return (x, jax.random.key(3)), ()

    def backward(self, params, residuals, y_bar):
        return (), y_bar[0]


@dataclass(frozen=True, repr=False)
class Halved(fnn.layers.Dense):
    """A dense layer whose backward is on purpose another: the products must be those of what it says."""

    def backward(self, params, residuals, y_bar):
        params_bar, x_bar = super().backward(params, residuals, y_bar)
        return jax.tree.map(lambda g: 0.5 * g, params_bar), x_bar


USERS = {
    "scale": fnn.sequential(Scale(3), fnn.dense(3, 4, activation="tanh"), Scale(4), fnn.dense(4, 2)),
    "repeated scale": fnn.sequential(fnn.repeated(fnn.sequential(Scale(3), fnn.dense(3, 3)), 3), fnn.dense(3, 2)),
    "random": fnn.sequential(fnn.dense(3, 4, activation="tanh"), WithKey(), Dropout(0.7), fnn.dense(4, 2)),
    "halved": fnn.sequential(Halved(3, 4, fnn.tanh), fnn.dense(4, 2)),
}  # fmt: skip


def test_layers_of_a_user_are_differentiated_as_their_rules_are(x64):
    def both(name, product, params, x, y):
        by_hand = fnn.backprop(product.net, product.loss)
        vector = direction(params)
        return product(params, x, y, vector), jax.jvp(lambda p: by_hand(p, x, y)[1], (params,), (vector,))[1]

    cases = {name: small(net) for name, net in USERS.items()}
    data = {name: case[1:] for name, case in cases.items()}
    results = jax.jit(lambda d: {n: both(n, cases[n][0], *d[n]) for n in cases})(data)
    for name, (hand, auto) in results.items():
        assert_close(hand, auto, tolerances.LEAF, name)
    assert Halved.forward_tangent is fnn.Layer.forward_tangent and Scale.factors is fnn.Layer.factors


FORBIDDEN = {"jvp", "vjp", "grad", "value_and_grad", "linearize", "jacfwd", "jacrev", "jacobian", "hessian"}


def test_the_hand_written_path_differentiates_nothing():
    """No jvp, vjp, grad, linearize in the source of the sweeps; in layers.py one function serves layers of a user."""
    room = [getattr(fnn.curvature, name) for name in ("products", "per_example", "matrices", "kronecker", "spectrum")]
    files = [fnn.activations, fnn.losses, fnn.regularizers, fnn.linear, fnn.layers, fnn.network, fnn.gradients, *room]
    places = {}
    for module in files:
        for function in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(function, ast.FunctionDef):
                names = {each.attr for each in ast.walk(function) if isinstance(each, ast.Attribute)}
                names |= {each.id for each in ast.walk(function) if isinstance(each, ast.Name)}
                if names & FORBIDDEN:
                    places[f"{module.__name__}.{function.name}"] = names & FORBIDDEN
    assert places == {"fnn.layers._push": {"jvp"}}


def test_dense_layers_never_take_the_way_of_a_user_s(monkeypatch):
    def refuse(*_):
        raise AssertionError("differentiated by JAX")

    monkeypatch.setattr(fnn.layers, "_push", refuse)
    product, params, x, y = small(fnn.sequential(fnn.skip(fnn.repeated(fnn.dense(3, 3), 2)), fnn.dense(3, 2)))
    jax.eval_shape(lambda p: product(p, x, y, p), params)


def test_a_masked_example_cannot_spread_its_nan(x64):
    product, params, x, _ = small(fnn.mlp(3, 4, 2), "squared_error")
    mask, rows = np.array([1.0, 1.0, 0.0, 1.0, 1.0]), np.array([0, 1, 3, 4])
    target = jnp.zeros((5, 2)).at[2].set(jnp.nan)
    few = jnp.zeros((4, 2))
    results = jax.jit(lambda p: [product(p, x, target, p, sample_weight=mask), product(p, x[rows], few, p)])(params)
    assert_close(*results, tolerances.LEAF)


def test_equal_products_never_retrace():
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(lambda f, *data: f(*data), n=1), static_argnums=0)
    _, params, x, y = small(fnn.mlp(3, 4, 2))
    with jax.enable_x64(True):
        for _ in range(3):
            step(hessian_vector_product(fnn.mlp(3, 4, 2), "softmax_cross_entropy"), params, x, y, params)


def backward_but(**dropped):
    """`affine_backward_tangent` with some of its arguments 0."""
    names = "W", "x", "z_bar", "W_dot", "x_dot", "z_bar_dot"

    def rule(*args):
        args = dict(zip(names, args, strict=True))
        changed = {name: change(args[name]) for name, change in dropped.items()}
        return fnn.linear.affine_backward_tangent(**(args | changed))

    return fnn.layers, "affine_backward_tangent", rule


def forgetful_skip(self, params, x):
    (y, y_dot), residuals = self.layer.forward_tangent(params, x)
    return (x[0] + y, y_dot), residuals


def wrong_sign(self, a, a_bar, z_dot):
    return a_bar * z_dot * 2 * a * (1 - a * a)


MISTAKES = {
    "σ'' forgotten": (fnn.activations.Tanh, "curvature", lambda self, a, a_bar, z_dot: jnp.zeros_like(z_dot)),
    "σ'' with the other sign": (fnn.activations.Tanh, "curvature", wrong_sign),
    "softmax without its mean": (fnn.losses.SoftmaxCrossEntropy, "curvature", lambda self, r, dot: r[0] / r[1] * dot),
    "z_bar W_dotᵀ forgotten": backward_but(W_dot=jnp.zeros_like),
    "x_dotᵀ z_bar forgotten": backward_but(x_dot=lambda _: None),
    "x_dot W forgotten": (
        fnn.layers,
        "affine_tangent",
        lambda W, x, W_dot, b_dot, x_dot: fnn.linear.affine_tangent(W, x, W_dot, b_dot, None),
    ),
    "skip forgets its own way": (fnn.network.Skip, "forward_tangent", forgetful_skip),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_seen(mistake, monkeypatch, x64):
    net = fnn.sequential(
        fnn.dense(3, 3, activation="tanh"), fnn.skip(fnn.dense(3, 3, activation="tanh")), fnn.dense(3, 2)
    )
    product, params, x, y = small(net)
    auto = auto_of_small(product, params, x, y)
    monkeypatch.setattr(*MISTAKES[mistake])
    hand = jax.jit(lambda p: product(p, x, y, direction(p)))(params)
    with pytest.raises(AssertionError, match="off by"):
        assert_leaves(hand, auto, mistake)


@functools.cache
def saved(product):
    return {}


def auto_of_small(product, params, x, y):
    """By autodiff, once for all mistakes."""
    if not saved(product):
        gradient = jax.grad(lambda p: product.objective(p, x, y))
        saved(product)["auto"] = jax.jit(lambda p: jax.jvp(gradient, (p,), (direction(p),))[1])(params)
        hand = jax.jit(lambda p: product(p, x, y, direction(p)))(params)
        assert_leaves(hand, saved(product)["auto"], "without a mistake")
    return saved(product)["auto"]


def test_what_is_wrong_with_the_vectors_is_said(x64):
    product, params, x, y = small(fnn.mlp(3, 4, 2))

    def refused(error, message, vectors, **options):
        with pytest.raises(error, match=re.escape(message)):
            jax.eval_shape(lambda p: product(p, x, y, vectors, **options), params)

    refused(ValueError, "vectors must have the structure of params", params[0])
    refused(ValueError, "or one more axis in front", jax.tree.map(lambda p: p[:1], params))
    uneven = (jax.tree.map(lambda p: p[None], params[0]), jax.tree.map(lambda p: jnp.stack([p, p]), params[1]))
    refused(ValueError, "the same for all leaves, got (1, 3, 4)", uneven)
    refused(
        TypeError,
        "must have the dtype of its parameter, float64, got int32",
        jax.tree.map(lambda p: p.astype("int32"), params),
    )
    refused(ValueError, "a regularizer and its strength go together", params, strength=0.1)


class Own(fnn.Regularizer):
    def __call__(self, params, strength):
        return strength * jnp.sum(params[0]["W"] ** 4)

    def gradient(self, params, strength):
        return jax.tree.map(jnp.zeros_like, params)


class Straight(fnn.activations.Relu):
    def backward(self, residuals, a_bar):
        return a_bar


class Cubic(fnn.losses.SquaredError):
    def slope(self, residuals):
        return 3 * residuals


class Flipped(fnn.gradients.Objective):
    def backward(self, params, residuals, value_bar=1.0):
        return super().backward(params, residuals, -value_bar)


def test_what_lacks_a_second_derivative_says_what_to_define():
    for name in KINKED:
        with pytest.raises(TypeError, match=f"must have a second derivative, got {name}"):
            gauss_newton_vector_product(fnn.mlp(3, 2), name)
    for name in ("hinge", "perceptron_loss"):
        with pytest.raises(TypeError, match=f"fisher: {name} is not the negative log-likelihood"):
            fisher_vector_product(fnn.mlp(3, 2), name)
        with pytest.raises(TypeError, match=f"{name} is not the negative log-likelihood of a model"):
            fnn.losses.get(name).fisher((), jnp.zeros(1))
    with pytest.raises(TypeError, match="Flipped with its own forward or backward"):
        fnn.curvature.Product(Flipped(fnn.mlp(3, 2), fnn.squared_error))
    with pytest.raises(TypeError, match="Product must define _through_net"):
        fnn.curvature.Product(fnn.objective(fnn.mlp(3, 2), "hinge"))((), None, None, ())
    # a class that changes a rule does not inherit the second derivative of what it changed
    with pytest.raises(TypeError, match="Straight must define curvature"):
        Straight().curvature((), jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(TypeError, match="Cubic must define curvature"):
        Cubic().curvature((), jnp.zeros(1))
    with pytest.raises(TypeError, match=r"Own must define curvature\(params, strength, params_dot\)"):
        Own().curvature((), 1.0, ())
    assert not Straight().piecewise_linear


def test_the_root_of_a_loss_without_one_comes_from_its_hessian(x64):
    class Own(fnn.losses.SoftmaxCrossEntropy):
        def curvature(self, residuals, prediction_dot):
            return fnn.softmax_cross_entropy.curvature(residuals, prediction_dot)

    logits, labels = jnp.asarray(random("root").normal(size=(4, 3))), jnp.array([0, 2, 1, 1], jnp.int32)

    def squared(loss):
        root = loss.backward_root(loss.forward(logits, labels, jnp.arange(4.0))[1])
        return jnp.einsum("cno,cnp->nop", root, root)

    own, hand = jax.jit(lambda: (squared(Own()), squared(fnn.softmax_cross_entropy)))()
    assert Own.curvature_root is fnn.Loss.curvature_root
    assert_close(own, hand, tolerances.LEAF)


def test_what_it_costs_as_xla_counts():
    """At most 2.0 gradients for the Hessian and 1.8 for Gauss-Newton, and not more than 1.05 of jax.jvp's; the diagonal
    at most one gradient for each of ten classes and one more."""
    net, loss = fnn.mlp(784, 512, 256, 10), fnn.softmax_cross_entropy
    params = jax.eval_shape(lambda: net.init(jax.random.key(0)))
    data = params, jax.ShapeDtypeStruct((128, 784), "float32"), jax.ShapeDtypeStruct((128,), "int32")
    by_hand = fnn.backprop(net, loss)

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    def of_jax(p, x, y, v):
        return jax.jvp(lambda q: by_hand(q, x, y)[1], (p,), (v,))[1]

    def newton_of_jax(p, x, y, v):
        prediction, dot = jax.jvp(lambda q: net.apply(q, x), (p,), (v,))
        middle = jax.jvp(jax.grad(lambda out: loss(out, y)), (prediction,), (dot,))[1]
        return jax.vjp(lambda q: net.apply(q, x), p)[1](middle)[0]

    once = flops(by_hand, *data)
    hessian, newton = (
        flops(make(net, loss), *data, params) for make in (hessian_vector_product, gauss_newton_vector_product)
    )
    assert hessian <= 2.0 * once and newton <= 1.8 * once
    assert hessian <= 1.05 * flops(of_jax, *data, params)
    assert newton <= 1.05 * flops(newton_of_jax, *data, params)
    diagonal = functools.partial(fnn.curvature.diagonal, gauss_newton_vector_product(net, loss))
    assert flops(diagonal, *data) <= (10 + 1) * once


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_in_less_precision_are_near_those_of_float64(dtype):
    case = by_name["hidden tanh"]
    product, data = hessian_vector_product(case.net, case.loss), case.data(dtype)
    root = gauss_newton_vector_product(case.net, case.loss)
    results = jax.jit(lambda p, x, y: (product(p, x, y, p), fnn.curvature.diagonal(root, p, x, y)))
    got = results(*data)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(got))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)) if a.dtype == dtype else a, data)
        truth = jax.device_get(results(*exact))
    assert_close(got, jax.tree.map(np.float32, truth), tolerances.FORWARD[dtype])
