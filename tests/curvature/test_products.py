"""Products by hand against jax.jvp of jax.grad, jax.hessian and finite differences, over the whole case table."""

import functools
import inspect
import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from fnn.curvature import fisher_vector_product, gauss_newton_vector_product, hessian_vector_product, products
from tests import tolerances
from tests.cases import NETS, Dropout, NetCase, drawn, random, rounded
from tests.witnesses import assert_close, assert_finite, assert_gradients_float64, magnitudes, named_leaves

by_name = {case.name: case for case in NETS}
KINKED = ("absolute_error", "hinge", "perceptron_loss")


def direction(params, phase=0.0):
    """A vector in the space of parameters, no entry of it 0."""
    return jax.tree.map(lambda p: jnp.asarray(np.cos(1.7 * np.arange(p.size) + phase).reshape(p.shape), p.dtype), params)


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
                results[case.name].append((
                    gauss_newton_vector_product(*parts)(params, x, y, vector, **case.options),
                    automatic_gauss_newton(hessian.objective, params, x, y, vector, strength),
                    size,
                ))
        return results

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(run)({case.name: case.data("float64") for case in NETS}))


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_products_equal_those_of_autodiff(case: NetCase):
    for name, result in zip(("hessian ", "gauss-newton "), whole_table()[case.name], strict=False):
        assert_gradients_float64(*result, name)


WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 0.0, 3.0])
FEW = ["hidden tanh", "hidden gelu", "hidden softmax", "loss huber", "repeated skip", "elastic net"]


def few(function):
    """{case: function(case, params, x, y)} in float64 for FEW, by one program."""
    data = {name: by_name[name].data(jnp.float64) for name in FEW}
    return jax.device_get(jax.jit(lambda d: {n: function(by_name[n], *d[n]) for n in FEW})(data))


def test_weighted_products_equal_the_dense_hessian_and_finite_differences(x64):
    """Weights and a regularizer at once, two vectors at once; the matrix of jax.hessian; symmetry and Gauss-Newton ≥ 0."""

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
