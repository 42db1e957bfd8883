"""What the lectures state, claim by claim, with the numbers that they print; each test bears the claim's number.

Lectures write columns, y = Wx; here rows are examples, y = xW, so that their W is our W.T.
"""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import fnn
from experiments import costs
from tests import reference, tolerances
from tests.cases import Swap, Z, random
from tests.witnesses import assert_close, assert_finite

F64 = jnp.dtype("float64")


def numbers(dtype, name, *shapes):
    """Asymmetric random arrays of these shapes; one alone comes without its list."""
    rng = random(name)
    arrays = [jnp.asarray(rng.normal(-0.2, 1.0, shape), dtype) for shape in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def parameters(dtype, *sizes):
    """Parameters of `fnn.mlp(*sizes)` with biases away from zero, made without compiling anything."""
    rng = random("parameters", *sizes)
    return tuple(
        {
            "W": jnp.asarray(rng.normal(0.1, 1 / np.sqrt(i), (i, o)), dtype),
            "b": jnp.asarray(rng.normal(0.2, 0.5, o), dtype),
        }
        for i, o in itertools.pairwise(sizes)
    )


def close(dtype):
    """assert_close to within the rounding of a forward pass of this dtype."""
    return functools.partial(assert_close, tolerance=tolerances.FORWARD[dtype.name])


def assert_printed(got, want, digits):
    """Every number agrees with the one that the lecture prints, to half a unit of its last digit."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert_finite(got)
    assert got.shape == want.shape
    assert (np.abs(got - want) <= tolerances.PRINTED[digits]).all(), f"{got} is not {want}"


def assert_far(got, other):
    """The two are finite and clearly different."""
    assert_finite((got, other))
    assert np.abs(np.asarray(got) - np.asarray(other)).max() > tolerances.FAR


def numpy(tree):
    """The arrays of a tree as float64 NumPy arrays."""
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


# ---- A. feed forward neural networks --------------------------------------------------------------------------------


def test_A5_one_hot_is_1_at_the_label_and_0_elsewhere(dtype):
    labels = np.array([[2, 0], [3, 3]])
    rows = np.asarray(fnn.one_hot(labels, 4, dtype))
    assert rows.dtype == dtype
    assert rows.shape == (2, 2, 4)
    assert (rows == np.eye(4)[labels]).all()


LOGITS = np.array([-3.44, 1.16, -0.81, 3.91])


def test_A6_softmax_of_the_lecture_logits(dtype):
    z = jnp.asarray(LOGITS, dtype)
    assert_printed(jnp.exp(z), [0.03, 3.19, 0.44, 49.90], 2)
    assert_printed(fnn.softmax(z), [0.0006, 0.0596, 0.0083, 0.9315], 4)


def test_A6_softmax_sums_to_1_and_is_never_negative(dtype):
    p = np.asarray(fnn.softmax(jnp.asarray(Z, dtype)))
    close(dtype)(p.sum(-1), np.ones(len(p), dtype))
    assert (p >= 0).all()


def test_A7_softmax_loss_is_minus_the_log_of_softmax_at_the_true_class(dtype):
    z = jnp.asarray(LOGITS, dtype)
    each = jax.jit(jax.vmap(fnn.softmax_cross_entropy, (None, 0)))(z, np.arange(4, dtype=np.int32))
    close(dtype)(each, -np.log(reference.ACTIVATIONS["softmax"](LOGITS)))
    # the printed probabilities have up to two digits only, so the numbers come from the printed exponentials
    assert_printed(each[3], -np.log(49.90 / (0.03 + 3.19 + 0.44 + 49.90)), 2)


def test_A7_cross_entropy_is_minus_sum_p_log_q(dtype):
    p = np.array([0.1, 0.2, 0.3, 0.4])
    q = reference.ACTIVATIONS["softmax"](LOGITS)
    want = -np.sum(p * np.log(q))
    target, z = jnp.asarray(p, dtype), jnp.asarray(LOGITS, dtype)
    both = jax.jit(lambda z, y: (fnn.softmax_cross_entropy(z, y), fnn.negative_log_likelihood(fnn.softmax(z), y)))
    close(dtype)(both(z, target), (want, want))


def quadratic(x):
    """The lecture's f(x₁, x₂) = (2x₁ + 3x₂)² + 3, of NumPy or JAX arrays."""
    return (2 * x[0] + 3 * x[1]) ** 2 + 3


AT = (1.0, 3.0)


def test_A8_symmetric_difference_of_the_lecture(dtype):
    # NumPy rounds every single operation, so its digits are the same everywhere
    kind, h = dtype.type, dtype.type(2e-2)
    above, below = (quadratic([kind(AT[0]) + side * h / 2, kind(AT[1])]) for side in (1, -1))
    assert above.dtype == dtype
    assert_printed([above, below], [124.4404, 123.5604], 4)
    quotient = (above - below) / h
    if dtype == np.float64:
        assert quotient == 43.99999999999906
    else:
        assert_printed(quotient, 44.0010, 4)
    # the library may fuse operations: it is held to what rounding two values of size f can do
    got = fnn.central_differences(quadratic, step=2e-2)(jnp.asarray(AT, dtype))
    assert_finite(got)
    assert abs(float(got[0]) - 44) <= 2 * np.finfo(dtype).eps * 124.4404 / 2e-2


def test_A8_one_sided_difference_is_44_08(x64):
    got = fnn.one_sided_differences(quadratic, step=2e-2)(jnp.asarray(AT))
    # h f″ / 2 = 0.02 · 8 / 2 too much in x₁, and 0.02 · 18 / 2 in x₂
    assert_printed(got, [44.08, 66.18], 4)


def test_A9_1e_5_suffices_in_float64_and_not_in_float32(dtype):
    x = jnp.asarray(AT, dtype)
    error = abs(float(fnn.central_differences(quadratic, step=1e-5)(x)[0]) - 44)
    assert np.isfinite(error)
    if dtype == np.float64:
        assert error <= tolerances.DIFFERENCES * 44
    else:
        assert round(error) == 2
        # a step that knows the dtype does ten times better at least; without truncation error rounding alone is left
        scaled = fnn.central_differences(quadratic)(x)
        assert 10 * abs(float(scaled[0]) - 44) < error


def test_A10_the_derivative_analytically_is_44(dtype):
    # chain rule: the derivative of c² + 3 is 2c times that of c = 2x₁ + 3x₂
    x1, x2 = AT
    assert 2 * (2 * x1 + 3 * x2) * 2 == 44
    assert (np.asarray(jax.jit(jax.grad(quadratic))(jnp.asarray(AT, dtype))) == [44, 66]).all()


def test_A10_forward_and_backward_pass_over_the_nodes(dtype):
    W, b, x = jnp.asarray([[2.0], [3.0]], dtype), jnp.asarray([0.0], dtype), jnp.asarray(AT, dtype)

    @jax.jit
    def passes(x):
        c = fnn.linear.affine(W, b, x)
        e, kept = fnn.squared_error.forward(c, jnp.zeros_like(c))
        f = e + 3
        e_bar = jnp.ones_like(f)  # f = e + 3
        c_bar = fnn.squared_error.backward(kept, e_bar)  # e = c²
        _, _, x_bar = fnn.linear.affine_backward(W, x, c_bar)  # c = 2x₁ + 3x₂
        return (c[0], e, f), (e_bar, c_bar[0], x_bar[0])

    assert passes(x) == ((11, 121, 124), (1, 22, 44))


def test_A14_derivatives_and_the_values_chosen_at_the_kinks(dtype):
    z = jnp.asarray(Z, dtype)
    g = reference.ACTIVATIONS["sigmoid"](np.asarray(z, np.float64))
    slopes = jax.jit(lambda z: [a.derivative(z) for a in (fnn.sigmoid, fnn.relu, fnn.sign)] + [fnn.sign(z)])
    sigmoid, relu, sign, value = map(np.asarray, slopes(z))
    close(dtype)(sigmoid, g * (1 - g))
    assert (relu == (Z > 0)).all()
    assert (sign == 0).all()
    # at the kink, for both signs of zero, which the table holds: relu′ = 0 above, sign = +1
    assert (Z == 0).sum() == 2
    assert (value == np.where(Z >= 0, 1, -1)).all()


@pytest.mark.parametrize("activation", ["sign", "hard_threshold"])
def test_A14_nothing_below_a_sign_learns(activation):
    params, x, y = parameters(jnp.float32, 4, 5, 3), *numbers(jnp.float32, "A14", (6, 4), (6, 3))
    by_hand = fnn.backprop(fnn.mlp(4, 5, 3, activation=activation), fnn.half_squared_error)
    _, (below, above) = jax.jit(by_hand)(params, x, y)
    assert_finite((below, above))
    assert all((g == 0).all() for g in below.values())
    assert all((g != 0).any() for g in above.values())


def test_A11_descent_turns_at_two_over_the_largest_curvature():
    def end(rate):
        # curvatures 1 and 4: the limit is 2/4
        w, optimizer = np.array([1.0, 1.0]), fnn.optimizers.sgd(rate)
        for _ in range(400):
            w = w + np.asarray(optimizer.update(w * [1.0, 4.0], ())[0])
        return np.abs(w).max()

    assert end(0.495) < 1e-3 < 1 < end(0.505)
    # far too small a rate: no progress, though the gradient is as large as ever
    assert end(1e-7) > 0.999


def test_A12_E2_what_a_gradient_costs_counted_in_operations():
    net = fnn.mlp(4, 5, 1)
    objective = fnn.objective(net, fnn.squared_error)
    params, x, y = parameters(jnp.dtype("float32"), 4, 5, 1), jnp.ones((8, 4)), jnp.ones((8, 1))
    ways = (objective, fnn.backprop(net, fnn.squared_error), fnn.central_differences(objective))
    forward, by_hand, differences = (costs.operations(jax.jit(way).lower(params, x, y).compile()) for way in ways)
    assert by_hand <= 5 * forward
    # 31 parameters, each at least a pass: and the more there are, the more by_hand gains
    assert 31 * forward <= differences <= 2.1 * 31 * forward and differences > 5 * by_hand


def test_A15_fully_connected_layer_with_the_bias_as_an_extra_input(x64):
    W, b, x, y_bar = numbers(F64, "A15", (4, 3), (3,), (4,), (3,))
    W_bar, b_bar, x_bar = jax.jit(fnn.linear.affine_backward)(W, x, y_bar)
    columns = np.concatenate([numpy(W).T, numpy(b)[:, None]], axis=1)  # the lecture's W, its last column the bias
    extended = np.append(numpy(x), 1)
    gradient = np.outer(numpy(y_bar), extended)  # (∂L/∂ŷ) xᵀ
    close(F64)(fnn.linear.affine(W, b, x), columns @ extended)
    close(F64)((W_bar, b_bar), (gradient[:, :-1].T, gradient[:, -1]))
    close(F64)(x_bar, (columns.T @ numpy(y_bar))[:-1])  # Wᵀ (∂L/∂ŷ), less the constant input


def test_A16_deep_linear_network_in_closed_form(x64):
    params = parameters(F64, 3, 4, 5, 2)
    params = tuple({"W": p["W"], "b": jnp.zeros_like(p["b"])} for p in params)
    x, y = numbers(F64, "A16", (3,), (2,))
    by_hand = fnn.backprop(fnn.mlp(3, 4, 5, 2, activation="identity"), fnn.half_squared_error)
    value, gradients = jax.jit(by_hand)(params, x, y)
    (W1, W2, W3), x, y = [numpy(p["W"]).T for p in params], numpy(x), numpy(y)
    e = W3 @ W2 @ W1 @ x - y
    close(F64)(value, 0.5 * e @ e)
    closed = [np.outer(W2.T @ W3.T @ e, x), np.outer(W3.T @ e, W1 @ x), np.outer(e, W2 @ W1 @ x)]
    close(F64)([g["W"] for g in gradients], [g.T for g in closed])


@functools.partial(jax.jit, static_argnums=0)
def there_and_back(layer, params, x, y_bar):
    """(y, params_bar, x_bar) of one layer."""
    y, kept = layer.forward(params, x)
    return y, *layer.backward(params, kept, y_bar)


def test_A17_the_rounding_error_of_the_gradient_grows_with_depth(x64):
    def error(depth):
        net, params = fnn.mlp([16] * (depth + 1)), parameters(F64, *[16] * (depth + 1))
        # numbers that float32 holds, so that both begin with the same
        params, x, y = jax.tree.map(lambda a: a.astype(np.float32), (params, *numbers(F64, "A17", (4, 16), (4, 16))))
        gradient = jax.jit(fnn.backprop(net, fnn.half_squared_error))
        wide, narrow = (
            numpy(gradient(*jax.tree.map(lambda a, d=d: a.astype(d), (params, x, y)))[1][0]["W"])
            for d in ("float64", "float32")
        )
        automatic = jax.jit(jax.grad(fnn.objective(net, fnn.half_squared_error)))
        close(F64)(wide, automatic(*jax.tree.map(lambda a: a.astype("float64"), (params, x, y)))[0]["W"])
        return np.linalg.norm(wide - narrow) / np.linalg.norm(wide)

    assert 0 < 2 * error(1) < error(12) < 1e-3


def test_A18_a_convolution_is_a_dense_layer_with_shared_weights(x64):
    kernel, x, y_bar = numbers(jnp.float64, "A18", (3,), (2, 6), (2, 4))
    # output o sees inputs o, o + 1, o + 2 through the same three weights
    places = [(o + k, o, k) for o in range(4) for k in range(3)]
    W = np.zeros((6, 4))
    for i, o, k in places:
        W[i, o] = kernel[k]
    y, params_bar, _ = there_and_back(fnn.dense(6, 4), {"W": W, "b": np.zeros(4)}, x, y_bar)
    close(F64)(y, np.stack([np.correlate(row, kernel, mode="valid") for row in numpy(x)]))
    # a shared weight receives the sum over its places: the convolution's own gradient, itself a correlation
    shared = np.zeros(3)
    for i, o, k in places:
        shared[k] += params_bar["W"][i, o]
    close(F64)(
        shared, sum(np.correlate(row, bar, mode="valid") for row, bar in zip(numpy(x), numpy(y_bar), strict=True))
    )


def test_A18_a_sparse_layer_is_a_dense_layer_with_a_mask(x64):
    W, b, x, y_bar = numbers(jnp.float64, "A18 sparse", (4, 3), (3,), (2, 4), (2, 3))
    W, b = numpy([W, b])
    connections = [(0, 0), (3, 0), (1, 1), (2, 2), (3, 2)]
    mask = np.zeros((4, 3))
    for i, o in connections:
        mask[i, o] = 1
    y, params_bar, _ = there_and_back(fnn.dense(4, 3), {"W": W * mask, "b": b}, x, y_bar)
    x, y_bar = numpy([x, y_bar])
    sparse, sparse_bar = np.tile(b, (2, 1)), {}
    for i, o in connections:
        sparse[:, o] += x[:, i] * W[i, o]
        sparse_bar[i, o] = x[:, i] @ y_bar[:, o]
    close(F64)(y, sparse)
    close(F64)({c: np.asarray(params_bar["W"])[c] for c in connections}, sparse_bar)


def test_A18_average_pooling_is_a_dense_layer_of_equal_weights(x64):
    x, y_bar = numbers(jnp.float64, "A18 pooling", (2, 6), (2, 3))
    params = {"W": np.kron(np.eye(3), [[0.5], [0.5]]), "b": np.zeros(3)}
    y, _, x_bar = there_and_back(fnn.dense(6, 3), params, x, y_bar)
    close(F64)(y, numpy(x).reshape(2, 3, 2).mean(-1))
    # going back it shares the gradient among those it averaged
    close(F64)(x_bar, np.repeat(numpy(y_bar) / 2, 2, axis=1))


# ---- B. introduction to neural networks -----------------------------------------------------------------------------


def test_B3_the_logistic_unit_learns_by_its_log_likelihood(x64):
    params, x = parameters(F64, 4, 1), numbers(F64, "B3", (6, 4))
    y = jnp.asarray([[1.0], [0.0], [0.0], [1.0], [0.0], [0.0]], F64)
    unit = fnn.mlp(4, 1, output="sigmoid")
    value, gradients = jax.jit(fnn.backprop(unit, fnn.binary_cross_entropy))(params, x, y)
    W, b, x, y = *numpy([params[0]["W"], params[0]["b"]]), numpy(x), numpy(y)
    p = 1 / (1 + np.exp(-(x @ W + b)))  # weighted sum, then the activation
    close(F64)(value, -np.log(np.where(y == 1, p, 1 - p)).mean())
    close(F64)(gradients, ({"W": x.T @ (p - y) / 6, "b": (p - y).mean(0)},))
    on_logits = jax.jit(fnn.backprop(fnn.mlp(4, 1), fnn.sigmoid_cross_entropy))(params, x.astype(F64), y)
    close(F64)((value, gradients), on_logits)


def test_B3_the_logistic_unit_decides_at_one_half(dtype):
    z = jnp.asarray([-1e4, -2.0, -0.25, -0.0, 0.0, 0.25, 3.0, 1e4], dtype)
    p, decided = map(np.asarray, jax.jit(lambda z: (fnn.sigmoid(z), fnn.hard_threshold(z)))(z))
    assert ((p >= 0.5) == (decided == 1)).all()
    assert (p[np.asarray(z) == 0] == 0.5).all()


def test_B5_activations_and_their_derivatives(dtype):
    z = jnp.asarray(Z, dtype)
    exact = np.asarray(z, np.float64)
    sigmoid, tanh = reference.ACTIVATIONS["sigmoid"](exact), np.tanh(exact)
    want = {
        "identity": (exact, np.ones_like(exact)),
        "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
        "tanh": (tanh, 1 - tanh**2),
        "relu": (np.maximum(exact, 0), (exact > 0).astype(float)),
        "hard_threshold": ((exact >= 0).astype(float), np.zeros_like(exact)),
    }
    got = jax.jit(
        lambda z: {name: (fnn.activations.get(name)(z), fnn.activations.get(name).derivative(z)) for name in want}
    )(z)
    for name, (value, slope) in got.items():
        # identity and relu copy 10⁴ exactly; the scale of the tolerance must not hide the others
        close(dtype)((value, slope), want[name], what=name)


def test_B2_expected_squared_error_is_bias_and_variance(x64):
    # predictions of 40 training sets at 7 places, and the truth there
    p, truth = numbers(F64, "B2", (40, 7), (7,))
    error = np.mean([float(fnn.squared_error(each[:, None], truth[:, None])) for each in p])
    p, truth = numpy([p, truth])
    close(F64)(error, ((p.mean(0) - truth) ** 2).mean() + p.var(0).mean())


def test_B6_batches_of_the_shuffle_use_each_example_once_and_average_to_the_full_gradient(x64):
    net, params, (x, y) = fnn.mlp(3, 2, 1), parameters(F64, 3, 2, 1), numbers(F64, "B6", (12, 3), (12, 1))
    order = np.asarray(fnn.training.permutation(jax.random.key(0), 12))
    assert sorted(order) == list(range(12)) and list(order) != list(range(12))
    gradient = jax.jit(lambda params, x, y: fnn.backprop(net, fnn.squared_error)(params, x, y)[1])
    batches = [gradient(params, x[rows], y[rows]) for rows in np.split(order, 3)]
    mean = jax.tree.map(lambda *each: sum(map(numpy, each)) / 3, *batches)
    close(F64)(mean, numpy(gradient(params, x, y)))
    assert_far(batches[0][0]["W"], mean[0]["W"])


def test_B7_gradient_at_the_logits_is_minus_e_y_minus_f_x(dtype):
    params, x, labels = parameters(dtype, 4, 5, 3), numbers(dtype, "B7", (6, 4)), jnp.asarray([0, 2, 1, 1, 2, 2])

    @jax.jit
    def at_logits(params, x):
        # from the logits, and through softmax as an activation and the likelihood of its output
        joined = fnn.backprop(fnn.mlp(4, 5, 3), fnn.softmax_cross_entropy.sum)
        split = fnn.backprop(fnn.mlp(4, 5, 3, output="softmax"), fnn.negative_log_likelihood.sum)
        z, z_bar = joined.intermediates(params, x, labels)["2.z"]
        automatic = jax.grad(lambda z: -jnp.sum(jax.nn.log_softmax(z)[jnp.arange(6), labels]))(z)
        return z, (z_bar, split.intermediates(params, x, labels)["2.z"][1], automatic)

    z, all_three = at_logits(params, x)
    want = -(np.eye(3)[labels] - reference.ACTIVATIONS["softmax"](numpy(z)))
    close(dtype)(all_three, (want, want, want))


def test_B8_gradients_before_and_after_each_activation_as_in_the_lecture(x64):
    params, x, labels = parameters(F64, 4, 5, 4, 3), numbers(F64, "B8", (4,)), 2
    by_hand = fnn.backprop(fnn.mlp(4, 5, 4, 3), fnn.softmax_cross_entropy)
    (_, gradients), inside = jax.jit(lambda *data: (by_hand(*data), by_hand.intermediates(*data)))(params, x, labels)
    (W1, W2, W3), (b1, b2, b3) = ([numpy(p[name]) for p in params] for name in "Wb")
    x = numpy(x)
    h1 = np.tanh(x @ W1 + b1)
    h2 = np.tanh(h1 @ W2 + b2)
    # the complete algorithm: output, then for k = L … 1 parameters, hidden layer below, pre-activation below
    a3_bar = -(np.eye(3)[labels] - reference.ACTIVATIONS["softmax"](h2 @ W3 + b3))
    h2_bar = W3 @ a3_bar
    a2_bar = h2_bar * (1 - h2**2)
    h1_bar = W2 @ a2_bar
    a1_bar = h1_bar * (1 - h1**2)
    close(F64)(
        {name: gradient for name, (_, gradient) in inside.items()},
        {"1.z": a1_bar, "1.a": h1_bar, "2.z": a2_bar, "2.a": h2_bar, "3.z": a3_bar, "3.a": a3_bar},
    )
    sweep = [(x, a1_bar), (h1, a2_bar), (h2, a3_bar)]
    close(F64)(gradients, tuple({"W": np.outer(below, a_bar), "b": a_bar} for below, a_bar in sweep))


def test_B9_penalties_and_their_gradients_on_weights_only(dtype):
    params = ({"W": jnp.asarray([[3.0, -1.0], [0.0, 0.5]], dtype), "b": jnp.asarray([7.0, -7.0], dtype)},)
    W = numpy(params[0]["W"])
    for penalty, value, slope in ((fnn.l2, (W**2).sum(), 2 * W), (fnn.l1, np.abs(W).sum(), np.sign(W))):
        assert float(penalty(params, 1.0)) == value
        gradient = penalty.gradient(params, 1.0)[0]
        assert (np.asarray(gradient["W"]) == slope).all()
        assert (np.asarray(gradient["b"]) == 0).all()


def test_B9_l1_drives_weights_to_exactly_zero_and_l2_does_not(x64):
    x = numbers(jnp.float64, "B9", (40, 6))
    y = x[:, :1] - 2 * x[:, 1:2]  # four of the six inputs do not matter
    net, loss, rate, strength = fnn.dense(6, 1), fnn.half_squared_error, 0.1, 0.2
    start = {"W": numbers(jnp.float64, "B9 start", (6, 1)), "b": jnp.zeros(1)}

    def descend(gradient, after=lambda W: W):
        def step(_, params):
            moved = jax.tree.map(lambda p, g: p - rate * g, params, gradient(params))
            return moved | {"W": after(moved["W"])}

        return jax.lax.fori_loop(0, 400, step, start)["W"]

    def shrink(W):
        # the proximal step of λ|W|, of which the subgradient step is the explicit half
        return jnp.sign(W) * jnp.maximum(jnp.abs(W) - rate * strength, 0)

    def penalized(penalty):
        return lambda params: fnn.backprop(net, loss, penalty)(params, x, y, strength=strength)[1]

    plain = fnn.backprop(net, loss)
    trained = jax.jit(
        lambda: {
            "proximal l1": descend(lambda params: plain(params, x, y)[1], shrink),
            "l1": descend(penalized(fnn.l1)),
            "l2": descend(penalized(fnn.l2)),
        }
    )()
    assert_finite(trained)
    # l1 without its proximal step jumps over zero for ever
    assert {name: int((W == 0).sum()) for name, W in trained.items()} == {"proximal l1": 4, "l1": 0, "l2": 0}
    assert (trained["proximal l1"][:2] != 0).all()


@functools.partial(jax.jit, static_argnums=0)
def descent(net, params, x, labels):
    """(parameters, gradients) of 20 steps of plain gradient descent, stacked."""
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)

    def step(params, _):
        gradients = by_hand(params, x, labels)[1]
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients), (params, gradients)

    return jax.lax.scan(step, params, None, length=20)[1]


def test_B10_zero_weights_with_tanh_stay_stuck(dtype):
    net, x = fnn.mlp(4, 5, 3), numbers(dtype, "B10", (6, 4))
    start = fnn.mlp(4, 5, 3, weight_init="zeros").init(jax.random.key(0), dtype)
    _, gradients = numpy(descent(net, start, x, jnp.asarray([0, 0, 2, 0, 1, 0])))
    assert_finite(gradients)
    output_bias = gradients[1].pop("b")
    assert all((g == 0).all() for g in jax.tree.leaves(gradients))
    assert (output_bias != 0).any(axis=1).all()
    # all gradients are zero, as the lecture has it, where the output bias is already right: here for balanced classes
    _, at_rest = numpy(descent(net, start, x, jnp.asarray([0, 1, 2, 2, 1, 0])))
    close(dtype)(at_rest, jax.tree.map(np.zeros_like, at_rest))


def test_B10_equal_weights_keep_all_hidden_units_equal(x64):
    net, x, labels = fnn.mlp(4, 5, 3), numbers(F64, "B10", (6, 4)), jnp.asarray([0, 0, 2, 0, 1, 0])

    def units(start):
        """The parameters of each hidden unit along the run: (steps, units, 4 + 1 + 3)."""
        hidden, output = numpy(descent(net, start, x, labels)[0])
        return np.concatenate([np.swapaxes(hidden["W"], 1, 2), hidden["b"][..., None], output["W"]], axis=-1)

    equal = units(fnn.mlp(4, 5, 3, weight_init=fnn.initializers.constant(0.3)).init(jax.random.key(0), F64))
    close(F64)(equal, np.broadcast_to(equal[:, :1], equal.shape))
    assert_far(equal[0], equal[-1])
    different = units(parameters(F64, 4, 5, 3))
    assert_far(different, np.broadcast_to(different[:, :1], different.shape))


def test_B10_initial_weights_are_uniform_up_to_the_lecture_bound_and_biases_zero(x64):
    params = fnn.dense(300, 200).init(jax.random.key(3), F64)
    W, bound = np.asarray(params["W"]), np.sqrt(6) / np.sqrt(300 + 200)
    assert_finite(W)
    assert np.abs(W).max() <= bound
    assert (np.asarray(params["b"]) == 0).all()
    # U[−b, b]: 60 000 entries leave no thousandth of [0, b] empty, the outermost included; each tenth gets its share
    assert (np.histogram(np.abs(W), 1000, (0, bound))[0] > 0).all()
    tenths = np.histogram(W, 10, (-bound, bound))[0] / W.size
    assert np.abs(tenths - 0.1).max() <= tolerances.five_standard_errors(0.1, W.size)


def test_B11_permuting_hidden_units_changes_nothing(x64):
    params, x, y = parameters(F64, 4, 5, 3), *numbers(F64, "B11", (6, 4), (6, 3))
    order = np.array([3, 0, 4, 1, 2])

    def permute(p):
        return {"W": p[0]["W"][:, order], "b": p[0]["b"][order]}, {"W": p[1]["W"][order], "b": p[1]["b"]}

    both = jax.jit(
        lambda p: (fnn.mlp(4, 5, 3).apply(p, x), *fnn.backprop(fnn.mlp(4, 5, 3), fnn.squared_error)(p, x, y))
    )
    output, value, gradients = both(params)
    assert_far(params[0]["W"], permute(params)[0]["W"])
    close(F64)(both(permute(params)), (output, value, permute(gradients)))


def test_B12_saturated_units_make_a_plateau(x64):
    by_hand = jax.jit(fnn.backprop(fnn.mlp(1, 2, 1), fnn.squared_error))
    x, y = jnp.asarray([[-1.0], [1.0]]), jnp.asarray([[0.0], [2.0]])
    # tanh(±80) is ±1 to the last digit, so that 1 − a² is 0: nothing comes down to the hidden units
    hidden = {"W": jnp.full((1, 2), 80.0), "b": jnp.zeros(2)}
    flat, good = ((hidden, {"W": jnp.full((2, 1), w), "b": jnp.ones(1)}) for w in (0.25, 0.5))
    (loss, (slopes, _)), (least, _) = (by_hand(params, x, y) for params in (flat, good))
    assert all((np.asarray(leaf) == 0).all() for leaf in slopes.values())
    assert float(least) < 1e-20 and abs(float(loss) - 0.25) < 1e-12


def test_B13_bprop_of_the_nodes_in_reverse_order_is_back_propagation(x64):
    net = fnn.mlp(4, 5, 3, activation="sigmoid")
    params, x, y = parameters(F64, 4, 5, 3), *numbers(F64, "B13", (6, 4), (6, 3))

    @jax.jit
    def flow_graph(params, x, y):
        value, tape = x, []
        for node, p in zip(net.layers, params, strict=True):
            value, kept = node.forward(p, value)
            tape.append((node, p, kept))
        loss, kept = fnn.half_squared_error.forward(value, y)
        bar, gradients = fnn.half_squared_error.backward(kept), []
        for node, p, kept in reversed(tape):
            p_bar, bar = node.backward(p, kept, bar)
            gradients.append(p_bar)
        return loss, (tuple(reversed(gradients)), bar)

    got = flow_graph(params, x, y)
    by_hand = fnn.backprop(net, fnn.half_squared_error)
    close(F64)(got, jax.jit(by_hand.with_inputs)(params, x, y))
    close(F64)(got, jax.jit(jax.value_and_grad(by_hand.objective, argnums=(0, 1)))(params, x, y))


def test_B15_a_constant_added_to_all_logits_changes_nothing(x64):
    z, labels = numbers(F64, "B15", (6, 3)), jnp.asarray([0, 2, 1, 1, 2, 2])

    @jax.jit
    def all_of(z):
        loss, kept = fnn.softmax_cross_entropy.forward(z, labels)
        return fnn.softmax(z), loss, fnn.softmax_cross_entropy.backward(kept)

    got = all_of(z)
    # adding 5 rounds logits below 1 by up to 2 of their last digits: within FORWARD
    close(F64)(all_of(z + 5), got)
    # hence the gradient has no part along (1, …, 1)
    close(F64)(np.asarray(got[2]).sum(-1), np.zeros(6, F64))


def test_B16_a_deep_net_of_two_units_a_layer_makes_a_sawtooth_that_takes_eight_in_one(x64):
    x = np.linspace(0, 1, 65)[:, None]
    saw = 1 - np.abs(2 * ((x * 4) % 1) - 1)
    tent, bias = jnp.asarray([[2.0], [-4.0]]), jnp.asarray([0.0, -0.5])
    deep = ({"W": jnp.ones((1, 2)), "b": bias}, *[{"W": tent @ jnp.ones((1, 2)), "b": bias}] * 2,
            {"W": tent, "b": jnp.zeros(1)})  # fmt: skip
    got = fnn.mlp(1, 2, 2, 2, 1, activation="relu").apply(deep, jnp.asarray(x))
    assert (np.asarray(got) == saw).all()
    # in one layer a unit for each of the eight slopes
    kinks, weights = np.arange(8) / 8, np.diff(8.0 * (-1.0) ** np.arange(8), prepend=0)
    wide = ({"W": jnp.ones((1, 8)), "b": jnp.asarray(-kinks)}, {"W": jnp.asarray(weights)[:, None], "b": jnp.zeros(1)})
    assert (np.asarray(fnn.mlp(1, 8, 1, activation="relu").apply(wide, jnp.asarray(x))) == saw).all()


def test_B17_relu_gives_sparse_activity():
    # one example, weights symmetric about 0 and no bias: each unit is off with probability one half
    layers = {name: fnn.dense(3, 10_000, activation=name) for name in ("relu", "tanh", "sigmoid")}
    x = numbers(jnp.float32, "B17", (3,))

    @jax.jit
    def outputs(key):
        params = layers["relu"].init(key)
        return {name: layer.apply(params, x) for name, layer in layers.items()}

    off = {name: (np.asarray(a) == 0).mean() for name, a in outputs(jax.random.key(0)).items()}
    assert abs(off["relu"] - 0.5) <= tolerances.five_standard_errors(0.5, 10_000)
    assert off["tanh"] == off["sigmoid"] == 0


def test_B17_relu_is_neither_strictly_increasing_nor_always_positive():
    # the slide says both; it is non-decreasing and never negative
    z = np.unique(Z)
    a = np.asarray(fnn.relu(jnp.asarray(z, jnp.float32)))
    assert (np.diff(a)[z[1:] <= 0] == 0).all()
    assert (a[z <= 0] == 0).all()
    assert (np.diff(a) >= 0).all()
    assert (a >= 0).all()


@pytest.mark.parametrize("name", ["l2", "l1"])
def test_B18_a_penalty_is_minus_the_logarithm_of_a_prior(x64, name):
    from scipy.stats import laplace, norm

    W, V = numbers(F64, "B18", (5, 3), (5, 3))
    # λ ΣW² is a Gaussian of variance 1/2λ, λ Σ|W| a Laplacian of scale 1/λ; the constant cancels between two weights
    strength, prior = 0.7, norm(scale=(1 / 1.4) ** 0.5) if name == "l2" else laplace(scale=1 / 0.7)
    penalty = fnn.regularizers.get(name)
    got = [penalty(({"W": each, "b": jnp.ones(3)},), strength) for each in (W, V)]
    want = [-prior.logpdf(numpy(each)).sum() for each in (W, V)]
    close(F64)(got[0] - got[1], want[0] - want[1])


def test_B19_a_constant_times_a_loss_bounds_the_wrong_decisions(x64):
    score = jnp.asarray([[-3.0], [-1e-12], [0.0]])
    ones = jnp.ones((3, 1))
    for loss, constant in ((fnn.hinge, 1.0), (fnn.sigmoid_cross_entropy, 1 / np.log(2)), (fnn.half_squared_error, 2.0)):
        each = constant * np.asarray(jax.vmap(loss)(score, ones))
        assert (each >= 1 - 1e-12).all() and abs(each[-1] - 1) < 1e-12, loss
    assert float(fnn.perceptron_loss(score[-1:], ones[:1])) == 0
    assert (np.asarray(fnn.hard_threshold.derivative(jnp.asarray([-1.5, 0.5]))) == 0).all()


def test_B20_gradient_at_the_softmax_output(dtype):
    z, labels = numbers(dtype, "B20", (6, 3)), np.array([0, 2, 1, 1, 2, 2])

    @jax.jit
    def both(z):
        p = fnn.softmax(z)
        return p, fnn.negative_log_likelihood.sum.backward(fnn.negative_log_likelihood.sum.forward(p, labels)[1])

    p, got = both(z)
    want = np.zeros((6, 3))
    want[np.arange(6), labels] = -1 / numpy(p)[np.arange(6), labels]
    close(dtype)(got, want)
    assert (np.asarray(got)[want == 0] == 0).all()


# ---- C. towards more complex networks -------------------------------------------------------------------------------


def test_C1_the_gradient_is_zero_where_the_linear_system_says(x64):
    x, y = numbers(F64, "C1", (20, 3), (20, 1))
    ones = np.column_stack([numpy(x), np.ones(20)])
    θ = np.linalg.solve(ones.T @ ones, ones.T @ numpy(y))
    params = {"W": jnp.asarray(θ[:3]), "b": jnp.asarray(θ[3])}
    gradient = jax.jit(fnn.backprop(fnn.dense(3, 1), fnn.squared_error))
    least, at = gradient(params, x, y)
    close(F64)(at, {"W": np.zeros((3, 1)), "b": np.zeros(1)})
    moved, slope = gradient({"W": params["W"] + 0.1, "b": params["b"]}, x, y)
    assert float(moved) > float(least)
    # elsewhere it is that of the system, 2/N Xᵀ(Xθ − y)
    wanted = ones.T @ (ones @ (θ + np.array([[0.1], [0.1], [0.1], [0.0]])) - numpy(y)) / 10
    close(F64)(slope, {"W": wanted[:3], "b": wanted[3]})


def test_C2_a_line_says_absurd_things_where_there_are_no_wines(x64):
    from experiments.wine import Options, table

    wines = table(Options())
    percent = wines.x[:, wines.features.index("alcohol")]
    slope, intercept = np.polyfit(percent, wines.y, 1)
    line = {"W": jnp.full((1, 1), slope), "b": jnp.full(1, intercept)}
    at_0, at_100 = np.asarray(fnn.dense(1, 1).apply(line, jnp.asarray([[0.0], [100.0]])))[:, 0]
    # negative proline without alcohol, ten times the most that was ever measured in pure alcohol
    assert at_0 < wines.least and at_100 > 10 * wines.y.max()


def test_C3_stacked_affine_layers_collapse_to_one(x64):
    params, x = parameters(F64, 4, 5, 6, 3), numbers(F64, "C3", (6, 4))

    @jax.jit
    def all_of(params, x):
        one, two, three = params
        W = one["W"] @ two["W"] @ three["W"]
        b = (one["b"] @ two["W"] + two["b"]) @ three["W"] + three["b"]
        hats = [fnn.linear.homogeneous_matrix(p["W"], p["b"]) for p in params]
        outputs = {name: fnn.mlp(4, 5, 6, 3, activation=name).apply(params, x) for name in ("identity", "tanh")}
        single = fnn.dense(4, 3).apply({"W": W, "b": b}, x)
        return outputs, single, hats[0] @ hats[1] @ hats[2], fnn.linear.homogeneous_matrix(W, b)

    outputs, single, product, hat = all_of(params, x)
    close(F64)(outputs["identity"], single)
    # with the bias in the matrix it is the product alone
    close(F64)(product, hat)
    # and with an activation between them nothing collapses
    assert_far(outputs["tanh"], single)


def test_C4_formulas_of_one_two_and_many_hidden_layers(x64):
    σ = reference.ACTIVATIONS["sigmoid"]
    shapes = {"one": (4, 5, 3), "two": (4, 5, 6, 3), "many": (4, 5, 6, 5, 6, 3)}
    x, params = numbers(F64, "C4", (6, 4)), {name: parameters(F64, *sizes) for name, sizes in shapes.items()}
    nets = {name: fnn.mlp(*sizes, activation="sigmoid") for name, sizes in shapes.items()}
    got = jax.jit(lambda params, x: {name: net.apply(params[name], x) for name, net in nets.items()})(params, x)
    (W1, b1), (W2, b2) = ([numpy(p[n]) for n in "Wb"] for p in params["one"])
    x = numpy(x)
    want = {"one": σ(x @ W1 + b1) @ W2 + b2, "many": reference.mlp(params["many"], x, "sigmoid")}
    (W1, b1), (W2, b2), (W3, b3) = ([numpy(p[n]) for n in "Wb"] for p in params["two"])
    want["two"] = σ(σ(x @ W1 + b1) @ W2 + b2) @ W3 + b3
    close(F64)(got, want)


def test_C5_training_cost_is_the_sum_of_squares_and_not_convex(x64):
    net, params, x = fnn.mlp(1, 2, 1), parameters(jnp.float64, 1, 2, 1), numbers(jnp.float64, "C5", (6, 1))
    y = reference.mlp(params, numpy(x), "tanh")  # zero cost at params
    cost = jax.jit(fnn.objective(net, fnn.squared_error.sum))
    shifted = jax.tree.map(lambda p: 1.5 * p, numpy(params))
    errors = reference.mlp(shifted, numpy(x), "tanh") - y
    close(F64)(cost(shifted, x, y), sum(e @ e for e in errors))
    # two minimizers that differ by the order of the hidden units, and a higher point half way between them
    hidden, output = numpy(params)
    other = {"W": hidden["W"][:, ::-1], "b": hidden["b"][::-1]}, {"W": output["W"][::-1], "b": output["b"]}
    between = jax.tree.map(lambda p, q: (p + q) / 2, (hidden, output), other)
    close(F64)((cost(params, x, y), cost(other, x, y)), (0.0, 0.0))
    assert_far(cost(between, x, y), 0.0)


def test_C6_at_a_small_rate_every_step_lowers_the_cost_by_half_its_promise(x64):
    net, params, (x, y) = fnn.mlp(2, 4, 1), parameters(F64, 2, 4, 1), numbers(F64, "C6", (10, 2), (10, 1))
    gradient, rate, costs_seen = jax.jit(fnn.backprop(net, fnn.half_squared_error)), 0.05, []
    for _ in range(60):
        cost, g = gradient(params, x, y)
        costs_seen.append((float(cost), sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(g))))
        params = jax.tree.map(lambda p, g: p - rate * g, params, g)
    (before, squares), after = np.array(costs_seen[:-1]).T, np.array(costs_seen[1:])[:, 0]
    assert (before - after >= rate / 2 * squares).all()


def test_C7_the_compute_graph_of_the_lecture(x64):
    from experiments.graphs import c7

    box = fnn.graph(c7, 1.0, 2.0, 4.0)
    assert [float(box[name].value) for name in "de"] == [3, 12] and float(box.value) == 121
    assert [float(each) for each in box.gradients] == [88, 88, 66]


@pytest.mark.parametrize("activation", ["tanh", "softmax"])
def test_C8_the_local_gradient_is_the_transposed_jacobian(x64, activation):
    layer = fnn.dense(4, 3, activation=activation)
    (params,), x, y_bar = parameters(jnp.float64, 4, 3), *numbers(jnp.float64, "C8", (4,), (3,))

    @jax.jit
    def both(params, x, y_bar):
        by_hand = layer.backward(params, layer.forward(params, x)[1], y_bar)
        return by_hand, jax.jacobian(layer.apply, argnums=(0, 1))(params, x)

    by_hand, jacobian = both(params, x, y_bar)
    transposed = jax.tree.map(lambda J: np.tensordot(np.asarray(y_bar), np.asarray(J), axes=1), jacobian)
    close(F64)(by_hand, transposed)


def test_C9_backward_gives_one_gradient_per_parameter_and_per_input(x64):
    layer = Swap(4)
    s, u, v, y = numbers(F64, "C9", (4,), (6, 4), (6, 4), (6, 4))
    by_hand = fnn.backprop(layer, fnn.half_squared_error.sum)
    _, (params_bar, x_bar) = jax.jit(by_hand.with_inputs)({"s": s}, (u, v), y)
    s, u, v, y = numpy([s, u, v, y])
    e = u * s - v - y
    close(F64)((params_bar, x_bar), ({"s": (e * u).sum(0)}, (e * s, -e)))


@pytest.mark.parametrize(("name", "largest"), [("float64", 709), ("float32", 88), ("bfloat16", 88)])
def test_C10_the_naive_sigmoid_overflows_and_ours_does_not(x64, name, largest):
    z = jnp.asarray(np.arange(1000.0), name)  # above 256 bfloat16 rounds to even numbers, far beyond its limit
    e = jnp.exp(z)
    naive = np.asarray(e / (e + 1), np.float64)
    exact = np.asarray(z, np.float64)
    right = exact <= largest
    assert_close(naive[right], reference.ACTIVATIONS["sigmoid"](exact[right]), tolerances.FORWARD[name])
    assert np.isnan(naive[~right]).all()
    assert (~right).any()
    both = np.concatenate([exact, -exact, [1e4, -1e4]])
    got = fnn.sigmoid(jnp.asarray(both, name))
    assert_close(np.asarray(got, np.float64), reference.ACTIVATIONS["sigmoid"](both), tolerances.FORWARD[name])


# ---- D. the chain rule for deep nets --------------------------------------------------------------------------------


def test_D1_mean_squared_loss(x64):
    params, x, y = parameters(F64, 4, 5, 3), *numbers(F64, "D1", (6, 4), (6, 3))
    value = jax.jit(fnn.objective(fnn.mlp(4, 5, 3), fnn.squared_error))(params, x, y)
    errors = reference.mlp(params, numpy(x), "tanh") - numpy(y)
    close(F64)(value, sum(np.linalg.norm(e) ** 2 for e in errors) / 6)


def test_D2_the_remainder_falls_with_the_square_of_the_distance(x64):
    net, params, (x, d) = fnn.mlp(3, 4, 2), parameters(F64, 3, 4, 2), numbers(F64, "D2", (3,), (3,))
    y, kept = net.forward(params, x)
    Df = np.stack([np.asarray(net.backward(params, kept, row)[1]) for row in jnp.eye(2)])
    left = [np.linalg.norm(np.asarray(net.apply(params, x + h * d) - y) - h * Df @ np.asarray(d)) for h in (1e-2, 1e-3)]
    assert 1.9 < np.log10(left[0] / left[1]) < 2.1


class F(fnn.Layer):
    """f = (x₁² x₂, x₁ + x₂), its backward the transposed Jacobian."""

    def forward(self, params, x):
        return jnp.stack([x[0] ** 2 * x[1], x[0] + x[1]]), x

    def backward(self, params, x, y_bar):
        return (), jnp.stack([2 * x[0] * x[1] * y_bar[0] + y_bar[1], x[0] ** 2 * y_bar[0] + y_bar[1]])


class G(fnn.Layer):
    """g = y₁² + y₂³."""

    def forward(self, params, y):
        return y[:1] ** 2 + y[1:] ** 3, y

    def backward(self, params, y, z_bar):
        return (), jnp.stack([2 * y[0], 3 * y[1] ** 2]) * jnp.broadcast_to(z_bar, 2)


def test_D3_the_chain_rule_on_the_lecture_example(x64):
    h = fnn.sequential(F(), G())

    @jax.jit
    def backward(x):
        y, kept = h.forward(((), ()), x)
        return y[0], h.backward(((), ()), kept, jnp.ones(1))[1]

    for x1, x2 in ((1.5, -0.7), (-2.0, 3.0), (0.0, 4.0)):
        y1, y2 = x1**2 * x2, x1 + x2
        Dg, Df = np.array([[2 * y1, 3 * y2**2]]), np.array([[2 * x1 * x2, x1**2], [1, 1]])
        formula = np.array([4 * x1**3 * x2**2 + 3 * (x1 + x2) ** 2, 2 * x1**4 * x2 + 3 * (x1 + x2) ** 2])
        close(F64)((Dg @ Df)[0], formula)
        close(F64)(backward(jnp.asarray([x1, x2])), (np.asarray(y1**2 + y2**3), formula))
    # and by the glass box, where two branches meet in each input
    from experiments.graphs import d3

    assert [float(each) for each in fnn.graph(d3, 1.0, 2.0).gradients] == [43, 31]


def test_D4_the_jacobian_of_a_layer_row_by_row(x64):
    layer = fnn.dense(4, 3, activation="sigmoid")
    (params,), x = parameters(F64, 4, 3), numbers(F64, "D4", (4,))

    @jax.jit
    def rows(params, x):
        kept = layer.forward(params, x)[1]
        by_hand = jax.vmap(lambda y_bar: layer.backward(params, kept, y_bar)[0])(jnp.eye(3))
        return by_hand, jax.jacobian(layer.apply)(params, x)

    by_hand, automatic = rows(params, x)
    g = reference.ACTIVATIONS["sigmoid"](numpy(x) @ numpy(params["W"]) + numpy(params["b"]))
    want = {"W": np.zeros((3, 4, 3)), "b": np.zeros((3, 3))}
    for i in range(3):
        # row i of the output sees row i of A (our column i) and b_i, and no other
        want["W"][i, :, i] = g[i] * (1 - g[i]) * numpy(x)
        want["b"][i, i] = g[i] * (1 - g[i])
    close(F64)(by_hand, want)
    close(F64)(automatic, want)
    assert all((np.asarray(by_hand[n])[want[n] == 0] == 0).all() for n in "Wb")


def test_D6_the_batch_is_the_same_formula_with_matrices(x64):
    W, x, z_bar = numbers(F64, "D6", (4, 3), (6, 4), (6, 3))
    W_bar, b_bar, x_bar = jax.jit(fnn.linear.affine_backward)(W, x, z_bar)
    rows = list(zip(numpy(x), numpy(z_bar), strict=True))
    close(F64)(W_bar, sum(np.outer(each, bar) for each, bar in rows))
    close(F64)(b_bar, sum(bar for _, bar in rows))
    close(F64)(x_bar, np.stack([numpy(W) @ bar for _, bar in rows]))


def test_D7_binary_cross_entropy_with_its_brackets(x64):
    z, y = numbers(F64, "D7", (6, 1)), jnp.asarray([[1.0], [0.0], [0.25], [1.0], [0.0], [0.0]], F64)
    F, t = reference.ACTIVATIONS["sigmoid"](numpy(z)), numpy(y)
    both = jax.jit(lambda z, y: (fnn.binary_cross_entropy(fnn.sigmoid(z), y), fnn.sigmoid_cross_entropy(z, y)))
    value, on_logits = both(z, y)
    close(F64)(value, -(t * np.log(F) + (1 - t) * np.log(1 - F)).sum() / 6)
    close(F64)(on_logits, value)
    # as the notes print it, the minus belongs to the first term alone
    assert_far(value, -(t * np.log(F)).sum() / 6 + ((1 - t) * np.log(1 - F)).sum() / 6)


def with_bias_trick(hats, x, activation, spare):
    """Two layers whose biases sit in their matrices; `spare` leaves the constant component to itself."""
    z = fnn.linear.homogeneous_input(x) @ hats[0]
    a = jnp.concatenate([z[:, :1], activation(z[:, 1:])], axis=1) if spare else activation(z)
    return a @ hats[1]


def test_D8_bias_trick_gives_equal_outputs_and_equal_gradients_on_the_blocks(x64):
    net, params = fnn.mlp(3, 4, 2), parameters(F64, 3, 4, 2)
    x, y = numbers(F64, "D8", (6, 3), (6, 2))

    def loss(hats, x, y):
        output = with_bias_trick(hats, x, fnn.tanh, True)
        return fnn.half_squared_error(output[:, 1:], y), output

    @jax.jit
    def both(params, x, y):
        hats = [fnn.linear.homogeneous_matrix(p["W"], p["b"]) for p in params]
        _, plain = fnn.backprop(net, fnn.half_squared_error)(params, x, y)
        gradients, output = jax.grad(loss, has_aux=True)(hats, x, y)
        # one step of descent: of the ordinary net, with the constant column frozen, with it set free
        step = jax.tree.map(lambda p, g: p - 0.5 * g, params, plain)
        free = [hat - 0.5 * g for hat, g in zip(hats, gradients, strict=True)]
        frozen = [hat.at[:, 1:].set(moved[:, 1:]) for hat, moved in zip(hats, free, strict=True)]
        after = [with_bias_trick(h, x, fnn.tanh, True) for h in (frozen, free)]
        constant = [(fnn.linear.homogeneous_input(x) @ h[0])[:, 0] for h in (frozen, free)]
        return (net.apply(params, x), output), (plain, gradients), (net.apply(step, x), *after), constant

    (wanted, output), (plain, gradients), (stepped, frozen, free), constant = both(params, x, y)
    close(F64)((output[:, 0], output[:, 1:]), (np.ones(6, F64), wanted))
    close(F64)(tuple({"W": g[1:, 1:], "b": g[0, 1:]} for g in gradients), plain)
    # the column that carries the constant has a gradient of its own, in every layer that another one stands on
    assert_far(gradients[0][:, 0], np.zeros(4))
    close(F64)((frozen[:, 1:], constant[0]), (stepped, np.ones(6, F64)))
    assert_far(constant[1], np.ones(6))
    assert_far(free[:, 1:], stepped)


@pytest.mark.parametrize(("activation", "spoils"), [("sigmoid", True), ("tanh", True), ("relu", False)])
def test_D8_the_activation_must_leave_component_0_alone(x64, activation, spoils):
    net, params, x = fnn.mlp(3, 4, 2, activation=activation), parameters(F64, 3, 4, 2), numbers(F64, "D8", (6, 3))

    @jax.jit
    def both(params, x):
        hats = [fnn.linear.homogeneous_matrix(p["W"], p["b"]) for p in params]
        return with_bias_trick(hats, x, fnn.activations.get(activation), False), net.apply(params, x)

    output, wanted = both(params, x)
    if spoils:  # σ(1) = 0.73 and tanh(1) = 0.76 take the place of the 1
        assert_far(output[:, 0], np.ones(6))
        assert_far(output[:, 1:], wanted)
    else:
        close(F64)((output[:, 0], output[:, 1:]), (np.ones(6, F64), wanted))


# ---- E. backpropagation ---------------------------------------------------------------------------------------------


def test_E3_local_derivatives_times_what_comes_from_behind(x64):
    from experiments.graphs import e3

    box = fnn.graph(e3, -2.0, 5.0, -4.0)
    assert float(box["q"].value) == 3 and float(box.value) == -12
    assert [float(each) for each in box.gradients] == [-4, -4, 3]


def test_E4_a_sigmoid_unit_as_elementary_nodes_and_collapsed(x64):
    θ, x = np.array([2.0, -3.0, -3.0]), np.array([-1.0, -2.0])
    # forward: ×, +, negate, exp, +1, 1/x
    z = θ[0] * x[0] + θ[1] * x[1] + θ[2]
    negated = -z
    power = np.exp(negated)
    denominator = power + 1
    σ = 1 / denominator
    assert z == 1
    assert_printed(σ, 0.7311, 4)
    # backward: every node multiplies by its local gradient
    denominator_bar = -1 / denominator**2
    power_bar = denominator_bar
    negated_bar = power * power_bar
    z_bar = -negated_bar
    θ_bar, x_bar = z_bar * np.append(x, 1), z_bar * θ[:2]
    assert_printed(z_bar, 0.1966, 4)
    assert_printed((1 - 0.73) * 0.73, 0.2, 2)
    # collapsed into one node σ, and that into one layer
    layer = fnn.dense(2, 1, activation="sigmoid")
    params = {"W": jnp.asarray(θ[:2, None]), "b": jnp.asarray(θ[2:])}
    y, params_bar, inputs_bar = there_and_back(layer, params, x, np.ones(1))
    close(F64)((y[0], fnn.sigmoid.derivative(z)), (σ, z_bar))
    close(F64)((params_bar["W"][:, 0], params_bar["b"], inputs_bar), (θ_bar[:2], θ_bar[2:], x_bar))
    # and by the glass box, node by node
    from experiments.graphs import e4

    box = fnn.graph(e4, *map(float, θ), *map(float, x))
    close(F64)(np.array(box.gradients), σ * (1 - σ) * np.array([*x, 1.0, *θ[:2]]))


def test_E5_a_branch_adds_max_routes_and_average_shares(x64):
    from experiments.graphs import branched, e5

    # a sum, a maximum and a branch in one: the sum wins and takes all, the loser gets 0
    assert [float(each) for each in fnn.graph(branched, 3.0, -1.0, 1.0).gradients] == [5, 3, 0]
    assert [float(each) for each in fnn.graph(branched, 3.0, -1.0, 4.0).gradients] == [4, 0, 3]
    # at a tie each gets half; a third of the other factor comes through the average
    close(F64)(fnn.graph(e5, 3.0, 3.0, -1.0).gradients, (11 / 6, 11 / 6, 1.0))


def test_E6_delta_z_is_the_factor_of_the_weight_gradient(x64):
    net, params = fnn.mlp(4, 5, 3, activation="sigmoid", output="sigmoid"), parameters(F64, 4, 5, 3)
    x, y = numbers(F64, "E6", (4,)), jnp.asarray([1.0, 0.0, 0.0], F64)

    @jax.jit
    def both(params, x, y):
        squared = fnn.backprop(net, fnn.half_squared_error)
        # the same net up to its logits, and cross-entropy, which holds the sigmoid
        logits = fnn.backprop(fnn.mlp(4, 5, 3, activation="sigmoid"), fnn.sigmoid_cross_entropy)
        return [(b(params, x, y)[1], b.intermediates(params, x, y)) for b in (squared, logits)]

    (gradients, inside), (by_entropy, _) = both(params, x, y)
    Θ, a, p = numpy(params[1]["W"]).T, numpy(inside["1.a"][0]), numpy(inside["2.a"][0])
    δ_p = p - numpy(y)
    δ_z = δ_p * p * (1 - p)
    close(F64)({n: inside[n][1] for n in ("2.a", "2.z", "1.a")}, {"2.a": δ_p, "2.z": δ_z, "1.a": Θ.T @ δ_z})
    # Θ ← Θ − α δ_z aᵀ; the slide's a·δ with δ = p − y is wrong here …
    close(F64)(gradients[1]["W"], np.outer(δ_z, a).T)
    assert_far(gradients[1]["W"], np.outer(δ_p, a).T)
    # … and right for sigmoid with cross-entropy, where p − y already is δ_z
    close(F64)(by_entropy[1]["W"], np.outer(δ_p, a).T)


def test_E7_too_low_a_rate_crawls_and_too_high_a_rate_overshoots(x64):
    # one example x = y = 1 of half the squared error: the error is multiplied by 1 − 2α in each step, bias included
    x = y = jnp.ones((1, 1))
    gradient = jax.jit(fnn.backprop(fnn.dense(1, 1), fnn.half_squared_error))

    def errors(rate, steps=20):
        params, optimizer = {"W": jnp.zeros((1, 1)), "b": jnp.zeros(1)}, fnn.optimizers.sgd(rate)
        for _ in range(steps):
            updates, _ = optimizer.update(gradient(params, x, y)[1], ())
            params = jax.tree.map(jnp.add, params, updates)
        return float(params["W"][0, 0] + params["b"][0]) - 1

    for rate in (0.01, 0.4, 1.1):
        assert abs(errors(rate) + (1 - 2 * rate) ** 20) < 1e-9 * max(1, (1 - 2 * rate) ** 20)
    assert abs(errors(0.01)) > 0.6 and abs(errors(0.4)) < 1e-9 and abs(errors(1.1)) > 30


# ---- what a second reading of the lectures added --------------------------------------------------------------------


def test_A20_the_sweep_is_the_sum_over_all_paths(x64):
    net, params, x = fnn.mlp(3, 3, 3, 1), parameters(F64, 3, 3, 3, 1), numbers(F64, "A20", (3,))
    y, residuals = net.forward(params, x)
    by_sweep = np.asarray(net.backward(params, residuals, jnp.ones_like(y))[1])
    edges, a = [], numpy(x)
    for k, layer in enumerate(numpy(params)):
        z = a @ layer["W"] + layer["b"]
        a = np.tanh(z) if k < 2 else z
        edges.append(layer["W"] * (1 - a**2 if k < 2 else 1.0))
    paths = [
        sum(edges[0][i, j] * edges[1][j, k] * edges[2][k, 0] for j, k in itertools.product(range(3), repeat=2))
        for i in range(3)
    ]
    close(F64)(by_sweep, np.array(paths))


def test_A21_a_sigmoid_with_cross_entropy_is_a_softmax_of_two_classes(x64):
    z, y = numbers(F64, "A21", (6,)), np.array([0, 1, 1, 0, 1, 0])
    two = fnn.softmax_cross_entropy(jnp.stack([0 * z, z], axis=1), y)
    close(F64)(fnn.sigmoid_cross_entropy(z[:, None], jnp.asarray(y, F64)[:, None]), two)


def test_B21_behind_a_hidden_layer_one_unit_reads_exclusive_or(x64):
    points, labels = fnn.data.xor()
    layer = fnn.dense(2, 2, activation="relu")
    hidden = layer.apply({"W": jnp.ones((2, 2)), "b": jnp.array([0.0, -1.0])}, jnp.asarray(points, F64))
    learn = functools.partial(fnn.lectures.perceptron, y=jnp.asarray(2.0 * labels - 1), epochs=200)
    assert not bool(learn(jnp.asarray(points, F64)).converged)
    run = learn(hidden)
    assert bool(run.converged)
    assert (np.asarray(fnn.lectures.perceptron_decision(run.w, run.b, hidden)) == 2 * labels - 1).all()


def test_B22_falling_steps_converge_on_a_kink_and_a_fixed_step_does_not(x64):
    gradient = jax.jit(fnn.backprop(fnn.dense(1, 1, bias_init="zeros"), fnn.absolute_error))
    x, y, ends = jnp.ones((1, 1)), jnp.ones((1, 1)), []
    for falling in (True, False):
        params = {"W": jnp.zeros((1, 1)), "b": jnp.zeros(1)}
        for t in range(300):
            rate = 0.3 / np.sqrt(t + 1) if falling else 0.3
            params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient(params, x, y)[1])
        ends.append(float(gradient(params, x, y)[0]))
    assert ends[0] <= 2 * 0.3 / np.sqrt(300) and ends[1] >= 0.1


@pytest.mark.parametrize("name", ["tanh", "relu", "softplus", "gelu"])
def test_B23_random_units_of_an_activation_approximate_and_a_polynomial_does_not(x64, name):
    x, rng = np.linspace(0, 1, 101), random("B23")
    w = 12 * rng.normal(size=64)
    z = x[:, None] * w - w * rng.uniform(size=64)

    def error(values):
        columns, target = np.column_stack([values, np.ones(101)]), np.abs(2 * x - 0.8)
        return np.abs(columns @ np.linalg.lstsq(columns, target, rcond=1e-10)[0] - target).max()

    units = np.asarray(fnn.activations.get(name)(jnp.asarray(z)))
    assert error(units) < 0.5 * error(units[:, :8]) < 0.25
    assert error(z**2) > 0.14


def test_B24_excess_risk_is_approximation_and_estimation_error():
    from experiments.bias_variance import bayes_risk, drawn
    from experiments.excess_risk import best_line, line_risks

    x, y = drawn(np.random.default_rng(0), 4000)
    rule = np.append(np.linalg.lstsq(np.column_stack([x, np.ones(4000)]), 2.0 * y - 1)[0][:2], 0.5)
    reads = np.asarray(
        fnn.dense(2, 1).apply({"W": jnp.asarray(rule[:2, None]), "b": jnp.asarray(rule[2:])}, jnp.asarray(x))
    )
    (exact,) = line_risks(rule[None])
    assert abs(np.mean((reads[:, 0] >= 0) != y) - exact) <= tolerances.five_standard_errors(exact, 4000)
    assert bayes_risk(300) + 0.01 < best_line() <= exact


def test_B25_tanh_is_a_sigmoid_of_twice_its_argument(x64):
    a = jnp.asarray(np.linspace(-5, 5, 101))
    close(F64)(fnn.tanh(a), 2 * fnn.sigmoid(2 * a) - 1)
    for function, low in ((fnn.tanh, -1), (fnn.sigmoid, 0)):
        values = np.asarray(function(a))
        assert (np.diff(values) > 0).all() and low < values.min() and values.max() < 1


def test_B26_the_bias_puts_the_ridge_and_leaves_the_range(x64):
    unit, w = fnn.dense(2, 1, activation="sigmoid"), np.array([3.0, 4.0])
    for b in (-10.0, 0.0, 2.5):
        ridge = -b / 5 * w / 5
        ends = np.stack([ridge, ridge - 50 * w, ridge + 50 * w])
        got = unit.apply({"W": jnp.asarray(w[:, None]), "b": jnp.asarray([b])}, jnp.asarray(ends))
        close(F64)(np.asarray(got)[:, 0], np.array([0.5, 0.0, 1.0]))


def test_B27_a_product_of_likelihoods_underflows_and_its_logarithm_does_not():
    half, labels = jnp.full((200, 2), 0.5, jnp.float32), np.zeros(200, int)
    assert np.prod(np.full(149, 0.5, np.float32)) > 0 == np.prod(np.full(150, 0.5, np.float32))
    assert abs(float(fnn.negative_log_likelihood.sum(half, labels)) / (200 * np.log(2)) - 1) < 1e-6


def test_B28_without_the_gradient_of_the_input_the_first_product_is_saved():
    by_hand = fnn.backprop(fnn.mlp(50, 20, 1), fnn.half_squared_error)
    params, x, y = parameters(jnp.dtype("float32"), 50, 20, 1), jnp.ones((32, 50)), jnp.ones((32, 1))
    less, more = (
        costs.operations(jax.jit(way).lower(params, x, y).compile()) for way in (by_hand, by_hand.with_inputs)
    )
    assert abs((more - less) / (2 * 32 * 50 * 20) - 1) < 0.01


def test_B29_a_small_positive_bias_keeps_relu_units_alive():
    # with He's weights and inputs of either sign half of the units are on; a bias turns more of them on
    x, on = numbers(jnp.dtype("float32"), "B29", (200, 8)), []
    for bias in (0.0, 0.5):
        layer = fnn.dense(8, 64, activation="relu", weight_init="he_normal", bias_init=fnn.initializers.constant(bias))
        on.append(float(np.mean(np.asarray(layer.apply(layer.init(jax.random.key(0)), x)) > 0)))
    assert 0.3 < on[0] < 0.7 and on[1] > on[0] + 0.05


def test_B30_the_bound_holds_from_any_start_with_any_step(x64):
    x, rng = numbers(F64, "B30", (20, 2)), random("B30 starts")
    u = np.array([0.6, 0.8])
    y = jnp.asarray(np.sign(numpy(x) @ u))
    margin, reach = np.abs(numpy(x) @ u).min(), np.sqrt((numpy(x) ** 2).sum(1).max() + 1)
    go = jax.jit(fnn.lectures.perceptron_pass)
    for α in (0.01, 1.0, 50.0):
        w0, total, mistakes = rng.normal(size=2) * 5, 0, 1
        w, b = jnp.asarray(w0 / α), jnp.asarray(0.0)
        bound = (reach / margin) ** 2 + 2 * np.linalg.norm(w0) / (α * margin)
        while mistakes and total <= bound:
            w, b, mistakes = go(w, b, x, y)
            total += int(mistakes)
        assert total <= bound


def test_C11_no_direction_of_equal_length_lowers_the_cost_further_than_the_gradient(x64):
    net, params, (x, y) = fnn.mlp(3, 4, 1), parameters(F64, 3, 4, 1), numbers(F64, "C11", (10, 3), (10, 1))
    cost, gradient = fnn.objective(net, fnn.half_squared_error), fnn.backprop(net, fnn.half_squared_error)
    flat, restore = ravel_pytree(params)
    slope = ravel_pytree(gradient(params, x, y)[1])[0]
    ways = np.concatenate([-np.asarray(slope)[None], random("C11 ways").normal(size=(300, len(slope)))])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    after = np.asarray(jax.jit(jax.vmap(lambda way: cost(restore(flat + 1e-5 * way), x, y)))(jnp.asarray(ways)))
    assert (after[0] < after[1:]).all()


def test_C12_a_network_is_drawn_with_a_circle_a_unit_and_a_line_a_weight():
    net = fnn.mlp(2, 4, 4, 1)
    params = net.init(jax.random.key(0))
    picture = net.svg(params)
    lines = re.findall(r'<line class="edge (\w+)" [^>]* stroke-width="([^"]+)"', picture)
    assert picture.count("<circle ") == 11 and len(lines) == 28
    flat = np.concatenate([np.asarray(layer["W"], np.float64).ravel() for layer in params])
    widths = np.array([float(width) for _, width in lines])
    np.testing.assert_array_equal(widths, 6 * np.abs(flat) / np.abs(flat).max())
    assert [kind for kind, _ in lines] == ["positive" if w > 0 else "negative" for w in flat]


def test_D9_the_chain_of_the_notes_as_a_graph(x64):
    def chain(w, b, x):
        F = w * x + b
        z = F - 2.0
        return z**2

    box = fnn.graph(chain, 2.0, -1.0, 3.0)
    assert [float(box[name].value) for name in "Fz"] == [5, 3] and float(box.value) == 9
    assert [float(each) for each in box.gradients] == [18, 6, 12]


def test_E9_a_linear_loss_has_one_gradient_everywhere_and_no_minimum(x64):
    from experiments.descents import Linear

    by_hand = fnn.backprop(fnn.dense(1, 1), Linear())
    x, y = jnp.ones((1, 1)), jnp.zeros((1, 1))
    values, slopes = [], []
    for size in (0.0, -1e3, -1e6):
        value, g = by_hand({"W": jnp.full((1, 1), size), "b": jnp.zeros(1)}, x, y)
        values.append(float(value))
        slopes.append(float(g["W"][0, 0]))
    assert values == [0.0, -1e3, -1e6] and slopes == [1.0, 1.0, 1.0]


def test_B1_the_risk_of_the_best_predictor_is_the_noise():
    from experiments.bias_variance import NOISE, curve

    rng = random("B1")
    x = rng.uniform(-1.5, 1.5, (20_000, 1))
    y = curve(x) + NOISE * rng.normal(size=x.shape)
    # the empirical risk of E[Y|X]: a mean of squares of normal numbers, deviation √2 of its mean for each
    risk = float(fnn.squared_error(jnp.asarray(curve(x), jnp.float32), jnp.asarray(y, jnp.float32)))
    assert abs(risk / NOISE**2 - 1) <= 5 * np.sqrt(2 / 20_000)
    assert float(fnn.squared_error(jnp.asarray(0 * x, jnp.float32), jnp.asarray(y, jnp.float32))) > 2 * risk


def test_D5_backward_multiplies_a_vector_by_each_matrix():
    net, params = fnn.mlp(100, 100, 100, 1, activation="identity"), parameters(jnp.dtype("float32"), 100, 100, 100, 1)
    kept = jax.eval_shape(net.forward, params, jnp.ones(100))[1]
    way = jax.jit(lambda params, kept, y_bar: net.backward(params, kept, y_bar)[1])
    # from the output: 100 and twice 100 × 100 multiplications, two operations each; from the input a hundred times more
    counted = costs.operations(way.lower(params, kept, jnp.ones(1)).compile())
    assert 40_000 <= counted <= 45_000


def test_E1_descent_on_the_bowl_is_a_power_of_one_minus_twice_the_rate():
    for rate in (0.02, 0.3, 0.95, 1.02):
        x, optimizer = 0.5, fnn.optimizers.sgd(rate)
        for _ in range(12):
            x += float(optimizer.update(2 * (x - 4), ())[0])
        assert abs(abs(x - 4) / 3.5 - abs(1 - 2 * rate) ** 12) < 1e-12


def test_A10_a_pass_over_the_graph_gives_44(x64):
    from experiments.graphs import a10

    box = fnn.graph(a10, 1.0, 3.0)
    assert [float(box[name].value) for name in "ce"] == [11, 121] and float(box.value) == 124
    assert [float(box[name].cotangent) for name in "ec"] == [1, 22]
    assert [float(each) for each in box.gradients] == [44, 66]


def test_A13_gradients_of_a_sigmoid_net_vanish_as_predicted(x64):
    from experiments.depth import predicted

    rng, layer, depth = random("A13"), fnn.dense(64, 64, activation="sigmoid"), 6
    a, kept = jnp.asarray(rng.normal(size=(16, 64))), []
    for _ in range(depth):
        params = {"W": jnp.asarray(rng.normal(size=(64, 64)) / 8), "b": jnp.zeros(64)}
        a, residuals = layer.forward(params, a)
        kept.append((params, residuals))
    bar, sizes = jnp.asarray(rng.normal(size=(16, 64))), []
    for params, residuals in reversed(kept):
        sizes.append(float(jnp.mean(layer.activation.backward(residuals[1], bar) ** 2) ** 0.5))
        bar = layer.backward(params, residuals, bar)[1]
    wanted = np.sqrt(predicted("sigmoid", 1.0, depth)["gradient"])
    # first over last, in decades per layer; and it vanishes
    assert abs(np.log10(sizes[-1] / sizes[0]) - np.log10(wanted[0] / wanted[-1])) / depth < 0.05
    assert sizes[-1] / sizes[0] < 1e-3
