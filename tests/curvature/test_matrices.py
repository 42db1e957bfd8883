"""Diagonals, blocks and Kronecker factors against the dense matrices of autodiff."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from fnn.curvature import (
    KroneckerFactors,
    diagonal,
    gauss_newton_vector_product,
    hessian_vector_product,
    kronecker_factors,
    kronecker_solve,
    layer_matrices,
    matrix,
)
from tests import tolerances
from tests.cases import drawn, random, rounded, targets
from tests.curvature.test_per_example import NETS, Scale
from tests.witnesses import assert_close, once

WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0])


def data(net, loss, seed="matrices"):
    rng = random(seed)
    params = drawn(net, rng, jnp.float64)
    x = rounded(rng.normal(size=(5, 3)), jnp.float64)
    return params, x, rounded(targets(loss, (5, net.outputs), labels=True), jnp.float64)


def dense_gauss_newton(product, params, x, y, weights=None):
    """Jᵀ H_loss J from jax.jacobian and jax.hessian, example by example."""
    flat, unravel = ravel_pytree(params)
    J = jax.jacobian(lambda q: product.net.apply(unravel(q), x))(flat)
    p = product.net.apply(params, x)
    H = jax.hessian(lambda p: product.loss(p, y, weights))(p)
    return jnp.einsum("nia,nimj,mjb->ab", J, H, J)


CASES = {
    "mlp": (NETS["mlp"], fnn.softmax_cross_entropy, None),
    "skip and repeated": (NETS["skip and repeated"], fnn.softmax_cross_entropy.sum, fnn.l2),
    "of a user": (NETS["of a user"], fnn.softmax_cross_entropy, fnn.elastic_net),
    "sigmoid": (fnn.mlp(3, 2), fnn.sigmoid_cross_entropy, None),
    "huber": (fnn.mlp(3, 2), fnn.huber, None),
    "likelihood": (fnn.mlp(3, 2, output="softmax"), fnn.negative_log_likelihood, None),
    "binary": (fnn.mlp(3, 2, output="sigmoid"), fnn.binary_cross_entropy, None),
    "squared": (fnn.mlp(3, 2), fnn.squared_error, None),
}


def test_diagonals_and_blocks_are_those_of_the_dense_matrices(x64):
    def all_of(name, params, x, y):
        net, loss, regularizer = CASES[name]
        options = {} if regularizer is None else {"strength": 0.1 if regularizer is fnn.l2 else (0.1, 0.2)}
        newton = gauss_newton_vector_product(net, loss, regularizer)
        plain = dense_gauss_newton(newton, params, x, y, WEIGHTS)
        if regularizer is not None:
            flat, unravel = ravel_pytree(params)
            plain = plain + jax.hessian(lambda q: regularizer(unravel(q), options["strength"]))(flat)
        hand = diagonal(newton, params, x, y, sample_weight=WEIGHTS, **options)
        results = [(ravel_pytree(hand)[0], jnp.diag(plain))]
        if name in ("mlp", "of a user"):
            hessian = hessian_vector_product(net, loss, regularizer)
            flat, unravel = ravel_pytree(params)
            dense = jax.hessian(lambda q: hessian.objective(unravel(q), x, y, **options))(flat)
            results.append((ravel_pytree(diagonal(hessian, params, x, y, **options, chunk=7))[0], jnp.diag(dense)))
            results.append((matrix(hessian, params, x, y, **options, chunk=16), dense))
            blocks = layer_matrices(hessian, params, x, y, **options)
            last = sum(leaf.size for leaf in jax.tree.leaves(params[-1]))
            results.append((list(blocks.values())[-1], dense[-last:, -last:]))
        return results

    table = {name: data(*case[:2]) for name, case in CASES.items()}
    results = once(lambda t: {name: all_of(name, *t[name]) for name in CASES})(table)
    for name, pairs in results.items():
        for k, pair in enumerate(pairs):
            assert_close(*pair, tolerances.LEAF, f"{name} {k} ")


def test_a_relu_net_has_the_diagonal_of_gauss_newton(x64):
    net = fnn.sequential(
        fnn.dense(3, 3, activation="relu"), fnn.skip(fnn.dense(3, 3, activation="relu")), fnn.dense(3, 2)
    )
    product = hessian_vector_product(net, "softmax_cross_entropy")
    params, x, y = data(net, fnn.softmax_cross_entropy)

    @jax.jit
    def both(params):
        flat, unravel = ravel_pytree(params)
        dense = jax.hessian(lambda q: product.objective(unravel(q), x, y))(flat)
        return ravel_pytree(diagonal(product, params, x, y))[0], jnp.diag(dense)

    assert fnn.curvature.matrices.is_piecewise_linear(net)
    assert not fnn.curvature.matrices.is_piecewise_linear(fnn.sequential(net, Scale(2)))
    assert not fnn.curvature.matrices.is_piecewise_linear(fnn.mlp(3, 2, 1))
    assert_close(*both(params), tolerances.LEAF)


# ---- Kronecker factors ----------------------------------------------------------------------------------------------


def test_factors_are_the_blocks_where_they_are_exact(x64):
    """A linear net under a squared error, and one example of any dense net: weights, mean and sum, bias included."""
    linear = fnn.sequential(fnn.dense(3, 4), fnn.dense(4, 2))
    cases = {
        "linear, mean": (linear, fnn.squared_error, slice(None)),
        "linear, sum": (linear, fnn.squared_error.sum, slice(None)),
        "one example": (fnn.mlp(3, 4, 2), fnn.softmax_cross_entropy, slice(1)),
    }

    def both(name, params, x, y):
        net, loss, rows = cases[name]
        product = gauss_newton_vector_product(net, loss)
        weights, x, y = WEIGHTS[rows], x[rows], y[rows]
        factors = kronecker_factors(product, params, x, y, sample_weight=weights)
        plain = [each.matrix() for each in kronecker_factors(product, params, x, y)]
        dense = layer_matrices(product, params, x, y, sample_weight=weights)
        return (
            [each.matrix() for each in factors],
            list(dense.values()),
            plain,
            list(layer_matrices(product, params, x, y).values()),
        )

    table = {name: data(*case[:2]) for name, case in cases.items()}
    results = once(lambda t: {name: both(name, *t[name]) for name in cases})(table)
    for name, (weighted, dense, plain, plain_dense) in results.items():
        assert_close(weighted, dense, tolerances.LEAF, name)
        assert_close(plain, plain_dense, tolerances.LEAF, name)


def test_factors_follow_their_definition_in_skip_and_repeated(x64):
    """A and G from the values and cotangents inside, of each repetition; the inverse against a dense solve."""
    net, loss = NETS["skip and repeated"], fnn.half_squared_error
    product = gauss_newton_vector_product(net, loss)
    params, x, y = data(net, loss)
    vector = drawn(net, random("vector"), jnp.float64)

    @jax.jit
    def all_of(params):
        factors = kronecker_factors(product, params, x, y)
        inputs = [x, x + jnp.tanh(x @ params[0]["W"] + params[0]["b"][None])]
        for k in range(3):
            inputs.append(jnp.tanh(inputs[-1] @ params[1]["W"][k] + params[1]["b"][k][None]))
        hats = [jnp.concatenate([a, jnp.ones((5, 1))], axis=1) for a in (inputs[0], *inputs[1:])]
        A = [jnp.einsum("ni,nj->ij", hat, hat) / 5 for hat in hats]

        def from_biases(shifts):
            """The prediction with one shift for each example before each activation: its Jacobian is z_bar."""
            a = x + jnp.tanh(x @ params[0]["W"] + params[0]["b"][None] + shifts[0])
            for k in range(3):
                a = jnp.tanh(a @ params[1]["W"][k] + params[1]["b"][k][None] + shifts[1 + k])
            return a @ params[2]["W"] + params[2]["b"][None] + shifts[4]

        shifts = [jnp.zeros((5, size)) for size in (3, 3, 3, 3, 2)]
        G = [jnp.einsum("ncno,ncnp->op", J, J) / 5 for J in jax.jacobian(from_biases)(shifts)]
        solved = kronecker_solve(factors, vector, damping=0.1)
        dense = [jnp.linalg.solve(each.matrix() + 0.1 * jnp.eye(each.matrix().shape[-1]), _flat(v))
                 for each, v in ((factors[0], vector[0]), (factors[2], vector[2]))]  # fmt: skip
        repeated = jax.vmap(lambda each, v: jnp.linalg.solve(each.matrix() + 0.1 * jnp.eye(12), _flat(v)))(
            factors[1], vector[1]
        )
        return (
            ([factors[0].A, *factors[1].A, factors[2].A], A),
            ([factors[0].G, *factors[1].G, factors[2].G], G),
            ([_flat(solved[0]), _flat(solved[2]), jax.vmap(_flat)(solved[1])], [*dense, repeated]),
        )

    for pair in all_of(params):
        assert_close(*pair, tolerances.LEAF)


def _flat(layer):
    return jnp.concatenate([layer["W"].ravel(), layer["b"]])


def test_a_singular_layer_without_damping_is_solved_in_the_least_squares_sense(x64):
    A, G = np.diag([4.0, 0.0, 1.0]), np.diag([2.0, 0.0])
    vector = {"W": np.arange(1.0, 5.0).reshape(2, 2), "b": np.array([5.0, 6.0])}
    solved = jax.jit(lambda: kronecker_solve(KroneckerFactors(jnp.asarray(A), jnp.asarray(G)), vector, damping=0.0))()
    wanted = np.linalg.pinv(np.kron(A, G)) @ np.concatenate([vector["W"].ravel(), vector["b"]])
    assert_close(_flat(solved), wanted, tolerances.LEAF)


def test_wrong_factors_are_seen(x64):
    """The order of the two exchanged, and a bias in front: the block tells them from the right ones."""
    net = fnn.mlp(3, 2)
    product = gauss_newton_vector_product(net, fnn.squared_error)
    params, x, y = data(net, fnn.squared_error)
    (factors,), dense = jax.jit(lambda p: (kronecker_factors(product, p, x, y), matrix(product, p, x, y)))(params)
    rolled = np.roll(np.roll(factors.A, 1, axis=0), 1, axis=1)
    assert_close(np.kron(factors.A, factors.G), dense, tolerances.LEAF)
    for wrong in (np.kron(factors.G, factors.A), np.kron(rolled, factors.G), 2 * np.kron(factors.A, factors.G)):
        with pytest.raises(AssertionError, match="off by"):
            assert_close(wrong, dense, tolerances.FAR)


class Own(fnn.Regularizer):
    def __call__(self, params, strength):
        return strength * jnp.sum(params[0]["W"]) ** 2

    def gradient(self, params, strength):
        return params

    def curvature(self, params, strength, params_dot):
        return params_dot


def test_what_is_wrong_is_said(x64):
    def refused(error, message, function):
        with pytest.raises(error, match=re.escape(message)):
            jax.eval_shape(function)

    net = NETS["of a user"]
    params, x, y = data(net, fnn.softmax_cross_entropy)
    product = gauss_newton_vector_product(net, "softmax_cross_entropy", Own())
    refused(TypeError, "every layer with parameters must be dense", lambda: kronecker_factors(product, params, x, y))
    refused(
        TypeError, "the penalty must be l1, l2 or elastic_net", lambda: diagonal(product, params, x, y, strength=1.0)
    )
    refused(
        ValueError, "one leading axis, the examples", lambda: diagonal(product, params, x[None], y[None], strength=1.0)
    )
    hinged = hessian_vector_product(fnn.mlp(3, 2), "hinge")
    refused(TypeError, "kronecker_factors: the loss must have a second", lambda: kronecker_factors(hinged, (), x, y))
    factors = KroneckerFactors(jnp.eye(4), jnp.eye(2))
    refused(
        ValueError,
        "damping must be at least 0, got -1.0. Try 1e-3.",
        lambda: kronecker_solve(factors, {"W": jnp.ones((3, 2)), "b": jnp.ones(2)}, damping=-1.0),
    )
