"""Hand-written gradients that were published with a mistake: each is rewritten after a public report, which is cited.

Promises: the mistake is that of the report, the code is not; what counts as the right diagnosis was fixed before the
checker was run on it (2026-11-26), and a changed pattern is dated.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.detection.forms.drawing import Case, Draw, case, mistake, static

#: A factor that is said to be a mean for a sum, or the other way round.
FIVE, FIFTH = r"factor of 5 too many", r"factor of 1/5 too many"
#: A term that is a multiple of what is at hand.
OF_THE_INPUT = r"times the input"
ROWS = r"rows must sum to 0"
BELOW = r"(at most 0|below)"


def _rule(name: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """The function with backward(bar, *args) as its rule, under a name."""

    def primal(*args):
        return forward(*args)

    primal.__name__ = primal.__qualname__ = name
    rule = jax.custom_vjp(primal)
    rule.defvjp(lambda *args: (forward(*args), args), lambda args, bar: backward(bar, *args))
    return rule


def _true(forward: Callable[..., Any], bar: Any, *args: Any) -> Any:
    return jax.vjp(forward, *args)[1](bar)


# ---- means, sums and factors -----------------------------------------------------------------------------------------


def _cross_entropy(z, y):
    return jnp.mean(jax.nn.logsumexp(z, -1) - z[jnp.arange(len(z)), y])


def _residual(z, y):
    return jax.nn.softmax(z) - jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype)


@mistake("victorlempitsky/Mate#2", "cross_entropy", says=r"factor of 1/3 too many")
def divided_by_all_entries(draw: Draw) -> Case:
    """The loss is a mean over examples; its gradient is divided by the number of all entries."""
    loss = _rule("cross_entropy", _cross_entropy, lambda bar, z, y: (bar * _residual(z, y) / z.size, None))
    y = draw.labels()
    return case(lambda w, x: loss(x @ w, y), draw.normal(draw.width, 3), draw.normal(draw.rows, draw.width))


@mistake("tensorflow/swift-apis#42", "cross_entropy", says=FIVE)
def mean_of_the_loss_forgotten(draw: Draw) -> Case:
    """The forward pass takes the mean, backward does not divide by the number of examples."""
    loss = _rule("cross_entropy", _cross_entropy, lambda bar, z, y: (bar * _residual(z, y), None))
    y = draw.labels()
    return case(lambda w, x: loss(x @ w, y), draw.normal(draw.width, 3), draw.normal(draw.rows, draw.width))


@mistake("paiml/aprender#2182", "cross_entropy", says=FIFTH)
def sum_divided_by_the_batch(draw: Draw) -> Case:
    """The reduction is a sum; backward divides by the number of examples all the same."""

    @static(2)
    def cross_entropy(z, y, reduction):
        each = jax.nn.logsumexp(z, -1) - z[jnp.arange(len(z)), y]
        return each.mean() if reduction == "mean" else each.sum()

    cross_entropy.defvjp(
        lambda z, y, reduction: (cross_entropy(z, y, reduction), (z, y)),
        lambda reduction, kept, bar: (bar * _residual(*kept) / len(kept[0]), None),
    )
    y = draw.labels()
    return case(lambda z: cross_entropy(z, y, "sum"), draw.normal(draw.rows, 3))


@mistake("deeplearning4j/deeplearning4j#1452", "gradient", "0", says=r"factor of 1.25 too many")
def divided_by_the_columns(draw: Draw) -> Case:
    """The gradient is divided by the size of the wrong axis."""
    x, y = np.asarray(draw.normal(5, 4)), np.asarray(draw.normal(5))
    return case(
        lambda w: np.mean((x @ w - y) ** 2), np.asarray(draw.normal(4)),
        gradient=lambda w: 2 * x.T @ (x @ w - y) / x.shape[1],
    )  # fmt: skip


@mistake("markroxor/fromscratchtoml#65", "softmax", says=r"factor of 2 too many")
def softmax_off_by_two(draw: Draw) -> Case:
    """The gradient of softmax is twice what it should be."""

    def backward(bar, z):
        p = jax.nn.softmax(z)
        return (2 * p * (bar - jnp.sum(p * bar, -1, keepdims=True)),)

    softmax = _rule("softmax", jax.nn.softmax, backward)
    return case(lambda z, w: jnp.sum(w * softmax(z)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("RubixML/ML#446", "pseudo_huber", says=r"factor of 2 too many")
def factor_that_is_one_by_default(draw: Draw) -> Case:
    """The pseudo-Huber loss lacks its α in the gradient, which nobody sees at α = 1."""
    alpha = 0.5
    loss = _rule(
        "pseudo_huber", lambda e: alpha**2 * (jnp.sqrt(1 + (e / alpha) ** 2) - 1),
        lambda bar, e: (bar * e / jnp.sqrt(e**2 + alpha**2),),
    )  # fmt: skip
    return case(lambda p, t: jnp.sum(loss(p - t)), draw.normal(draw.rows), draw.normal(draw.rows))


# ---- regularizers ----------------------------------------------------------------------------------------------------


def _regression(draw: Draw) -> tuple[jax.Array, jax.Array, jax.Array]:
    return draw.normal(draw.rows, draw.width), draw.normal(draw.rows), draw.normal(draw.width)


@mistake("jingtinghuang/CS231n-Spring-2017#3", "gradient", "0", says=OF_THE_INPUT)
def two_of_the_square_forgotten(draw: Draw) -> Case:
    """reg Σ w² is differentiated to reg w."""
    x, y, w = _regression(draw)
    return case(
        lambda w: jnp.mean((x @ w - y) ** 2) + 0.1 * jnp.sum(w**2), w,
        gradient=lambda w: 2 * x.T @ (x @ w - y) / len(y) + 0.1 * w,
    )  # fmt: skip


@mistake("stephencwelch/Neural-Networks-Demystified#15", "gradient", "0", says=r"one of two terms is wrong")
def mean_forgotten_beside_a_penalty(draw: Draw) -> Case:
    """The term of the data lacks its 1/N, the penalty is right."""
    x, y, w = _regression(draw)
    return case(
        lambda w: 0.5 * jnp.mean((x @ w - y) ** 2) + 0.05 * jnp.sum(w**2), w,
        gradient=lambda w: x.T @ (x @ w - y) + 0.1 * w,
    )  # fmt: skip


@mistake(
    "ddbourgin/numpy-ml#53", "penalty", says=r"(equals .*the input|local derivative is missing|a factor is missing)"
)
def norm_taken_for_its_square(draw: Draw) -> Case:
    """The penalty is the norm, the gradient that of half its square."""
    penalty = _rule("penalty", lambda w: 0.3 * jnp.sqrt(w @ w), lambda bar, w: (bar * 0.3 * w,))
    return case(
        lambda w, x: jnp.sum((x @ w) ** 2) + penalty(w), draw.normal(draw.width), draw.normal(draw.rows, draw.width)
    )


# ---- biases and broadcasting -----------------------------------------------------------------------------------------


def _dense(x, W, b):
    return x @ W + b


@mistake("kvfrans/notes#5", "dense", "2", says=FIFTH)
def bias_averaged_over_the_batch(draw: Draw) -> Case:
    """The gradient of the bias is a mean over the examples, not their sum."""
    dense = _rule("dense", _dense, lambda bar, x, W, b: (bar @ W.T, x.T @ bar, bar.mean(0)))
    return case(lambda x, W, b: jnp.sum(jnp.sin(dense(x, W, b))), draw.normal(5, 4), draw.normal(4, 3), draw.normal(3))


@mistake("mlpack/mlpack#3679", "add", "1", says=r"shape")
def bias_not_summed_over_the_batch(draw: Draw) -> Case:
    """The gradient of the bias is the error of the whole batch."""
    add = _rule("add", lambda x, b: x + b, lambda bar, x, b: (bar, bar))
    return case(lambda x, b: jnp.sum(add(x, b) ** 2), draw.normal(draw.rows, 3), draw.normal(3))


@mistake(
    "rust0258/Deeplearning.ai-Natural-Language-Processing-Specialization#64", "gradient", "['b']", says=r"(term|factor)"
)
def bias_multiplied_by_the_input(draw: Draw) -> Case:
    """The gradient of the bias is the row sum of the gradient of the weights."""
    x, y = np.asarray(draw.normal(4, draw.rows)), np.asarray(draw.normal(2, draw.rows))

    def loss(p):
        return np.sum((p["W"] @ x + p["b"] - y) ** 2) / x.shape[1]

    def gradient(p):
        error = 2 * (p["W"] @ x + p["b"] - y) / x.shape[1]
        return {"W": error @ x.T, "b": np.sum(error @ x.T, axis=1, keepdims=True)}

    return case(loss, {"W": np.asarray(draw.normal(2, 4)), "b": np.asarray(draw.normal(2, 1))}, gradient=gradient)


@mistake("rasbt/stat453-deep-learning-ss21#5", "gradient", "['b']", says=r"shape")
def bias_summed_over_everything(draw: Draw) -> Case:
    """One sum over all examples and classes stands for the gradient of every bias."""
    x, y = np.asarray(draw.normal(draw.rows, 4)), np.asarray(draw.one_hot())

    def probabilities(p):
        z = x @ p["W"] + p["b"]
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    def gradient(p):
        residual = probabilities(p) - y
        return {"W": x.T @ residual, "b": np.sum(residual)}

    return case(
        lambda p: -np.sum(y * np.log(probabilities(p))),
        {"W": np.asarray(draw.normal(4, 3)), "b": np.asarray(draw.normal(3))}, gradient=gradient,
    )  # fmt: skip


@mistake("tenstorrent/tt-metal#40008", "multiply", "1", says=r"shape")
def product_not_summed_where_broadcast(draw: Draw) -> Case:
    """The smaller operand of a product gets a gradient of the larger shape."""
    multiply = _rule("multiply", lambda h, m: h * m, lambda bar, h, m: (bar * m, bar * h))
    return case(lambda h, m: jnp.sum(jnp.sin(multiply(h, m))), draw.normal(draw.rows, 4), draw.normal(draw.rows, 1))


@mistake("KhawajaAbaid/micrograd_c#1", "subtract", "1", says=r"sign is wrong")
def sign_of_the_subtrahend(draw: Draw) -> Case:
    """The second operand of a − b gets the gradient of the first."""
    subtract = _rule("subtract", lambda a, b: a - b, lambda bar, a, b: (bar, bar))
    return case(lambda a, b: jnp.sum(subtract(a, b) ** 2), draw.normal(draw.rows), draw.normal(draw.rows))


@mistake("PaddlePaddle/Paddle#1805", "transposed", says=r"a term is missing that equals the cotangent")
def branch_overwritten(draw: Draw) -> Case:
    """An array goes on in two branches; the gradient of the second is lost."""
    rule = _rule("transposed", lambda x: (x.T, x), lambda bar, x: (bar[0].T,))

    def f(x, w):
        a, b = rule(x)
        return jnp.sum(jnp.sin(a @ w)) + jnp.sum(b**2)

    return case(f, draw.normal(draw.rows, 3), draw.normal(draw.rows))


@mistake("apache/tvm#5695", "dense", "0", "1", says=r"(product|a wrong term|local derivative)")
def entries_multiplied_for_a_product(draw: Draw) -> Case:
    """The gradient of a dense layer multiplies entry by entry, which runs on square matrices."""
    dense = _rule("dense", lambda x, W: x @ W.T, lambda bar, x, W: (bar.T * W, x * bar.T))
    return case(lambda x, W: jnp.sum(dense(x, W) ** 2), draw.normal(4, 4), draw.normal(4, 4))


# ---- cotangents ------------------------------------------------------------------------------------------------------


@mistake("pytorch/tutorials#216", "add", says=r"cotangent of the output")
def filled_with_ones(draw: Draw) -> Case:
    """The gradient of a sum of two arrays is ones, whatever comes back."""
    add = _rule("add", lambda a, b: a + b, lambda bar, a, b: (jnp.ones_like(a), jnp.ones_like(b)))
    return case(lambda a, b: jnp.sum(add(a, b) ** 2), draw.normal(draw.rows), draw.normal(draw.rows))


@mistake("chainer/chainer#1175", "huber", says=r"cotangent of the output")
def loss_that_ignores_what_comes_after(draw: Draw) -> Case:
    """The backward pass of the Huber loss does not use the gradient of its output."""
    huber = _rule(
        "huber", lambda x, t: jnp.sum(jnp.where(jnp.abs(x - t) < 1, 0.5 * (x - t) ** 2, jnp.abs(x - t) - 0.5), 1),
        lambda bar, x, t: (jnp.clip(x - t, -1, 1), -jnp.clip(x - t, -1, 1)),
    )  # fmt: skip
    return case(lambda x, t: 3 * jnp.mean(huber(x, t)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("Bot-Academy/NeuralNetworkFromScratch#3", "sigmoid", says=r"local derivative is missing")
def derivative_of_the_last_sigmoid_missing(draw: Draw) -> Case:
    """The error is handed on without the derivative of the activation."""
    sigmoid = _rule("sigmoid", jax.nn.sigmoid, lambda bar, z: (bar,))
    return case(
        lambda w, x: jnp.mean((sigmoid(x @ w) - 0.3) ** 2), draw.normal(draw.width), draw.normal(draw.rows, draw.width)
    )


@mistake("wy1iu/sphereface#24", "normalized", says=r"local derivative is missing")
def gradient_of_the_normalized_weights(draw: Draw) -> Case:
    """w/‖w‖ is used forward; its gradient is handed to w as it is."""
    unit = _rule("normalized", lambda w: w / jnp.linalg.norm(w, axis=0), lambda bar, w: (bar,))
    return case(lambda w, x: jnp.sum(jnp.tanh(x @ unit(w))), draw.normal(4, 3), draw.normal(draw.rows, 4))


@mistake("jax-ml/jax#17496", "matvec", "1", says=r"gradient is zero")
def vector_that_gets_no_gradient(draw: Draw) -> Case:
    """A product of matrix and vector gives a gradient for the matrix only; layers before it get none."""
    matvec = _rule("matvec", lambda A, v: A @ v, lambda bar, A, v: (jnp.outer(bar, v), jnp.zeros_like(v)))

    def f(params, v):
        for A in params:
            v = jnp.tanh(matvec(A, v))
        return jnp.sum(v)

    return case(f, [draw.normal(4, 4), draw.normal(4, 4)], draw.normal(4))


@mistake("arthurdouillard/deepcourse#6", "gradient", "['W']", "['b']", says=r"(local derivative|before the activation)")
def gradient_before_the_activation(draw: Draw) -> Case:
    """Weights and biases get the gradient of the activation's output in place of its input."""
    x, y = draw.normal(draw.rows, 4), draw.normal(draw.rows)

    def loss(p):
        return jnp.mean((jnp.tanh(x @ p["W"] + p["b"]) @ p["v"] - y) ** 2)

    def gradient(p):
        h = jnp.tanh(x @ p["W"] + p["b"])
        error = 2 * (h @ p["v"] - y) / len(y)
        h_bar = jnp.outer(error, p["v"])
        return {"W": x.T @ h_bar, "b": h_bar.sum(0), "v": h.T @ error}

    return case(loss, {"W": draw.normal(4, 3), "b": draw.normal(3), "v": draw.normal(3)}, gradient=gradient)


# ---- values kept -----------------------------------------------------------------------------------------------------


@mistake("PacktPublishing/Neural-Network-Projects-with-Python#4", "sigmoid", says=r"right with .*kept")
def derivative_of_the_output_at_the_input(draw: Draw) -> Case:
    """a (1 − a) is taken of the input."""

    @jax.custom_vjp
    def sigmoid(x):
        return jax.nn.sigmoid(x)

    sigmoid.defvjp(lambda x: (jax.nn.sigmoid(x), x), lambda x, bar: (bar * x * (1 - x),))
    return case(lambda w, x: jnp.sum(sigmoid(x @ w)), draw.normal(draw.width), draw.normal(draw.rows, draw.width))


@mistake("nicklashansen/rnn_lstm_from_scratch#1", "tanh", says=r"taken at the output")
def derivative_at_the_output(draw: Draw) -> Case:
    """1 − tanh² is taken at tanh(c)."""
    tanh = _rule("tanh", jnp.tanh, lambda bar, c: (bar * (1 - jnp.tanh(jnp.tanh(c)) ** 2),))
    return case(lambda c, o: jnp.sum(o * tanh(c)), draw.normal(draw.rows), draw.normal(draw.rows))


@mistake("mlpack/mlpack#1540", "elu", says=r"(right with .*kept|" + BELOW + ")")
def elu_of_its_input(draw: Draw) -> Case:
    """Below 0 the derivative is y + α, with the input for y."""

    @jax.custom_vjp
    def elu(x):
        return jnp.where(x > 0, x, 0.7 * (jnp.exp(x) - 1))

    elu.defvjp(lambda x: (elu(x), x), lambda y, bar: (bar * jnp.where(y > 0, 1, y + 0.7),))
    return case(lambda x: jnp.sum(elu(x) ** 2), draw.normal(draw.rows, 3))


@mistake("CaptainE/RNN-LSTM-in-numpy#1", "gate", "1", says=r"(local derivative is wrong|factor is missing)")
def gate_without_its_derivative(draw: Draw) -> Case:
    """The forget gate is multiplied by its value, not by its derivative."""

    def cell(c, f, i, g):
        return jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)

    def backward(bar, c, f, i, g):
        true = _true(cell, bar, c, f, i, g)
        return true[0], bar * c * jax.nn.sigmoid(f), true[2], true[3]

    gate = _rule("gate", cell, backward)
    return case(lambda *a: jnp.sum(gate(*a) ** 2), *(draw.normal(draw.rows) for _ in range(4)))


@mistake("hanbt/learn_dl#53", "gradient", "['bi']", "['bo']", says=r"(\['bf'\]|another)")
def biases_copied_from_another_gate(draw: Draw) -> Case:
    """Two biases get the gradient of a third, by copying the line."""
    x = np.asarray(draw.normal(3))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def loss(p):
        return np.sum(sigmoid(x + p["bf"]) * 0.3 + sigmoid(x + p["bi"]) ** 2 + np.tanh(x + p["bo"]))

    def gradient(p):
        delta_f = 0.3 * sigmoid(x + p["bf"]) * (1 - sigmoid(x + p["bf"]))
        return {"bf": delta_f, "bi": delta_f, "bo": delta_f}

    return case(loss, {name: np.asarray(draw.normal(3)) for name in ("bf", "bi", "bo")}, gradient=gradient)


# ---- softmax and normalizations --------------------------------------------------------------------------------------


@mistake("RubixML/ML#438", "softmax", says=ROWS)
def diagonal_of_softmax_only(draw: Draw) -> Case:
    """s (1 − s), entry by entry."""
    softmax = _rule("softmax", jax.nn.softmax, lambda bar, z: (bar * jax.nn.softmax(z) * (1 - jax.nn.softmax(z)),))
    return case(lambda z, w: jnp.sum(w * softmax(z)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("deeplearning4j/libnd4j#440", "softmax", says=ROWS)
def diagonal_of_softmax_in_forward_mode(draw: Draw) -> Case:
    """The same as a tangent rule."""

    @jax.custom_jvp
    def softmax(z):
        return jax.nn.softmax(z)

    softmax.defjvps(lambda t, y, z: y * (1 - y) * t)
    return case(lambda z, w: jnp.sum(w * softmax(z) ** 2), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("HomericIntelligence/Odyssey#2134", "softmax", says=ROWS)
def softmax_without_its_dot_product(draw: Draw) -> Case:
    """s ȳ without the sum over the classes."""
    softmax = _rule("softmax", jax.nn.softmax, lambda bar, z: (bar * jax.nn.softmax(z),))
    return case(lambda z, w: jnp.sum(w * softmax(z)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("mlpack/mlpack#2360", "log_softmax", says=ROWS)
def log_softmax_that_adds(draw: Draw) -> Case:
    """ȳ + s where ȳ − s Σ ȳ belongs."""
    rule = _rule("log_softmax", jax.nn.log_softmax, lambda bar, z: (bar + jax.nn.softmax(z),))
    return case(lambda z, w: jnp.sum(w * rule(z)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("flagos-ai/FlagGems#59", "softmax", says=ROWS)
def sum_over_the_whole_block(draw: Draw) -> Case:
    """The sum of a row is taken over all rows."""

    def backward(bar, z):
        p = jax.nn.softmax(z)
        return (p * (bar - jnp.sum(p * bar)),)

    softmax = _rule("softmax", jax.nn.softmax, backward)
    return case(lambda z, w: jnp.sum(w * softmax(z)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


def _normal(x, axis):
    return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True) + 1e-5)


def _normal_bar(bar, x, axis):
    return _true(functools.partial(_normal, axis=axis), bar, x)[0]


@mistake("denizyuret/Knet.jl#288", "batch_norm", "0", says=r"each column has a wrong factor")
def batch_norm_without_its_gain(draw: Draw) -> Case:
    """The gradient of the input forgets γ."""
    norm = _rule(
        "batch_norm", lambda x, g, b: g * _normal(x, 0) + b,
        lambda bar, x, g, b: (_normal_bar(bar, x, 0), (bar * _normal(x, 0)).sum(0), bar.sum(0)),
    )  # fmt: skip
    return case(
        lambda *a: jnp.sum(jnp.sin(norm(*a))),
        draw.normal(draw.rows, 3),
        jnp.ones(3, draw.dtype),
        jnp.zeros(3, draw.dtype),
    )


@mistake("abhiskk/ladder#2", "batch_norm", says=r"(a term is missing|off by)")
def variance_held_constant(draw: Draw) -> Case:
    """The gradient does not go through the variance."""

    def backward(bar, x):
        return ((bar - bar.mean(0)) / jnp.sqrt(x.var(0) + 1e-5),)

    norm = _rule("batch_norm", lambda x: _normal(x, 0), backward)
    return case(lambda x: jnp.sum(jnp.sin(norm(x))), draw.normal(draw.rows, 3))


@mistake("deepspeedai/DeepSpeed#692", "layer_norm", "1", says=r"(off by one|shifted|another)")
def gain_read_at_the_wrong_place(draw: Draw) -> Case:
    """The normalized input is found again from the output with the gain of a neighbour."""

    def forward(x, g, b):
        return g * _normal(x, -1) + b

    def backward(bar, x, g, b):
        found = (forward(x, g, b) - b) / jnp.roll(g, 1)
        return _normal_bar(bar * g, x, -1), (bar * found).sum(0), bar.sum(0)

    norm = _rule("layer_norm", forward, backward)
    return case(lambda *a: jnp.sum(jnp.sin(norm(*a))), draw.normal(draw.rows, 4), draw.positive(4), draw.normal(4))


@mistake("tenstorrent/tt-metal#53204", "layer_norm", "0", says=ROWS + r"|a term too many")
def mean_subtracted_twice(draw: Draw) -> Case:
    """The mean of ȳ γ is subtracted twice."""

    def backward(bar, x, g):
        inverse = 1 / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        more = inverse * (bar * g).mean(-1, keepdims=True)
        return _normal_bar(bar * g, x, -1) - more, (bar * _normal(x, -1)).sum(0)

    norm = _rule("layer_norm", lambda x, g: g * _normal(x, -1), backward)
    return case(lambda *a: jnp.sum(jnp.sin(norm(*a))), draw.normal(draw.rows, 4), draw.positive(4))


@mistake("Oneflow-Inc/oneflow#6149", "layer_norm", "1", "2", says=r"(exchanged|swapped)")
def gain_and_shift_exchanged(draw: Draw) -> Case:
    """The gradients of γ and β are swapped."""
    norm = _rule(
        "layer_norm", lambda x, g, b: g * _normal(x, -1) + b,
        lambda bar, x, g, b: (_normal_bar(bar * g, x, -1), bar.sum(0), (bar * _normal(x, -1)).sum(0)),
    )  # fmt: skip
    return case(lambda *a: jnp.sum(jnp.sin(norm(*a))), draw.normal(draw.rows, 4), draw.positive(4), draw.normal(4))


# ---- branches, kinks and masks ---------------------------------------------------------------------------------------


@mistake("BobMcDear/attorch#13", "smooth_l1", says=r"(where the input is below|at most 0)")
def threshold_without_the_absolute_value(draw: Draw) -> Case:
    """The linear piece is chosen by the signed difference."""
    loss = _rule(
        "smooth_l1", lambda e: jnp.where(jnp.abs(e) < 1, 0.5 * e**2, jnp.abs(e) - 0.5),
        lambda bar, e: (bar * jnp.where(e < 1, e, jnp.sign(e)),),
    )  # fmt: skip
    return case(lambda p, t: jnp.sum(loss(2 * (p - t))), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@mistake("RubixML/ML#427", "selu", says=BELOW)
def selu_scaled_twice(draw: Draw) -> Case:
    """Below 0 the derivative is scaled once more."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772

    def forward(x):
        return scale * jnp.where(x > 0, x, alpha * (jnp.exp(x) - 1))

    selu = _rule("selu", forward, lambda bar, x: (bar * jnp.where(x > 0, scale, scale * (forward(x) + alpha)),))
    return case(lambda x: jnp.sum(selu(x) ** 2), draw.normal(draw.rows, 3))


@mistake("chainer/chainer#5898", "leaky_relu", says=BELOW)
def leak_of_zero(draw: Draw) -> Case:
    """The sign is read from the output, which at slope 0 is never negative."""

    @static(1)
    def leaky_relu(x, slope):
        return jnp.where(x >= 0, x, slope * x)

    leaky_relu.defvjp(
        lambda x, slope: (leaky_relu(x, slope),) * 2, lambda slope, y, bar: (jnp.where(y >= 0, bar, slope * bar),)
    )
    return case(lambda x: jnp.sum(leaky_relu(x, 0.0) + 1.5 * x), draw.normal(draw.rows, 3))


@mistake("pytorch/pytorch#31938", "leaky_relu", says=BELOW)
def leak_that_changes_the_sign(draw: Draw) -> Case:
    """The sign is read from the output, which a negative slope turns round."""

    @static(1)
    def leaky_relu(x, slope):
        return jnp.where(x >= 0, x, slope * x)

    leaky_relu.defvjp(
        lambda x, slope: (leaky_relu(x, slope),) * 2, lambda slope, y, bar: (jnp.where(y >= 0, bar, slope * bar),)
    )
    return case(lambda x: jnp.sum(jnp.sin(leaky_relu(x, -2.0))), draw.normal(draw.rows, 3))


@mistake("pytorch/pytorch#47671", "elu", says=BELOW)
def elu_with_a_negative_alpha(draw: Draw) -> Case:
    """The branch is chosen by the output, which is positive on both sides."""

    @static(1)
    def elu(x, alpha):
        return jnp.where(x > 0, x, alpha * jnp.expm1(x))

    elu.defvjp(lambda x, alpha: (elu(x, alpha),) * 2, lambda alpha, y, bar: (bar * jnp.where(y > 0, 1, y + alpha),))
    return case(lambda x: jnp.sum(jnp.cos(elu(x, -2.0))), draw.normal(draw.rows, 3))


@mistake("tenstorrent/tt-metal#48201", "clamp", says=r"gradient is zero")
def mask_with_its_comparisons_turned(draw: Draw) -> Case:
    """Both comparisons of a clamp are the wrong way round, so that nothing passes."""
    low, high = -1.0, 1.0
    clamp = _rule("clamp", lambda x: jnp.clip(x, low, high), lambda bar, x: (bar * ((x <= low) & (x >= high)),))
    return case(lambda x: jnp.sum(clamp(x) ** 2), draw.normal(draw.rows))


@mistake("Theano/Theano#4568", "maximum_of_all", says=r"together")
def ties_that_all_get_everything(draw: Draw) -> Case:
    """Every entry that equals the maximum gets all of the slope."""
    rule = _rule("maximum_of_all", jnp.max, lambda bar, x: (bar * (x == x.max()).astype(x.dtype),))
    return case(lambda x: rule(x) ** 2, jnp.asarray([1.0, 2.0, 2.0, 0.5], draw.dtype))


@mistake("pytorch/pytorch#56734", "maximum", says=r"together")
def both_of_two_equals_get_everything(draw: Draw) -> Case:
    """The larger of two arrays, which are equal in one entry: both get the slope there."""
    maximum = _rule("maximum", jnp.maximum, lambda bar, a, b: (bar * (a >= b), bar * (b >= a)))
    a = draw.normal(draw.rows)
    b = draw.normal(draw.rows).at[1].set(a[1])
    return case(lambda a, b: jnp.sum(jnp.exp(maximum(a, b))), a, b)


@mistake("mni-ml/framework#22", "row_max", says=r"(entry|index|together|near)")
def maximum_found_by_a_loose_comparison(draw: Draw) -> Case:
    """Entries within a hundredth of the maximum count as the maximum."""
    rule = _rule(
        "row_max", lambda x: x.max(1),
        lambda bar, x: (bar[:, None] * (jnp.abs(x - x.max(1, keepdims=True)) < 1e-2).astype(x.dtype),),
    )  # fmt: skip
    x = jnp.asarray([[1.0, 0.995, 0.2], [0.3, -1.0, 2.0], [0.5, 0.1, -0.2]], draw.dtype)
    return case(lambda x: jnp.sum(rule(x) ** 2), x)


@mistake("FluxML/Flux.jl#1197", "max_pool", says=r"(overlap|accumul|a term is missing|set)")
def windows_that_overlap(draw: Draw) -> Case:
    """An entry that is the maximum of two windows gets the gradient of one."""

    def windows(n):
        return jnp.arange(0, n - 2)[:, None] + jnp.arange(3)

    def forward(x):
        return x[windows(len(x))].max(1)

    def backward(bar, x):
        index = windows(len(x))
        at = jnp.take_along_axis(index, x[index].argmax(1)[:, None], 1)[:, 0]
        return (jnp.zeros_like(x).at[at].set(bar),)

    pool = _rule("max_pool", forward, backward)
    return case(lambda x: jnp.sum(jnp.sin(pool(x))), draw.normal(draw.rows + 4))


@mistake("kaldi-asr/kaldi#3890", "dropout", says=r"(entry|index|at most 0)")
def mask_found_from_a_quotient(draw: Draw) -> Case:
    """The mask is output / input, and 1 where the input is 0, though it be dropped."""
    keep = jnp.asarray([[1, 0, 1], [0, 1, 1]], draw.dtype)

    @jax.custom_vjp
    def dropout(x):
        return 2 * x * keep

    dropout.defvjp(
        lambda x: (dropout(x), (x, dropout(x))),
        lambda kept, bar: (bar * jnp.where(kept[0] == 0, 1, kept[1] / jnp.where(kept[0] == 0, 1, kept[0])),),
    )
    x = draw.normal(2, 3).at[0, 1].set(0.0)
    return case(lambda x: jnp.sum(jnp.sin(dropout(x)) + dropout(x)), x)


@mistake("ddbourgin/numpy-ml#94", "dropout", "0", says=r"(only where|mask)")
def mask_of_dropout_forgotten(draw: Draw) -> Case:
    """The gradient is scaled, but not masked."""
    dropout = _rule("dropout", lambda x, keep: x * keep / 0.5, lambda bar, x, keep: (bar / 0.5, None))
    keep = draw.mask(draw.rows, 4)
    return case(lambda x: jnp.sum(jnp.sin(dropout(x, keep))), draw.normal(draw.rows, 4))


# ---- places and powers -----------------------------------------------------------------------------------------------


@mistake("tensorflow/tfjs-core#1376", "power", "0", says=r"not finite")
def power_divided_by_its_base(draw: Draw) -> Case:
    """y x^y / x is not a number at 0."""
    power = _rule("power", lambda x: x**3, lambda bar, x: (bar * 3 * x**3 / x,))
    return case(lambda x: jnp.sum(power(x)), draw.normal(draw.rows).at[1].set(0.0))


@mistake("tinygrad/tinygrad#155", "power", "1", says=r"not finite")
def logarithm_of_a_negative_base(draw: Draw) -> Case:
    """x^y log x is not a number for negative x, though y be a whole number."""
    power = _rule(
        "power", lambda x, y: jnp.sign(x) * jnp.abs(x) ** y,
        lambda bar, x, y: (bar * y * jnp.abs(x) ** (y - 1), bar * jnp.sign(x) * jnp.abs(x) ** y * jnp.log(x)),
    )  # fmt: skip
    return case(lambda x, y: jnp.sum(power(x, y)), draw.normal(draw.rows), draw.positive(draw.rows) + 1)


@mistake("ooples/AiDotNet.Tensors#894", "gather", "0", says=r"(accumul|scatter|places|another)")
def gather_for_a_scatter(draw: Draw) -> Case:
    """The gradient of a look-up is a look-up again."""
    ids = jnp.asarray([0, 2, 2, 1, 0], jnp.int32)
    gather = _rule("gather", lambda table: table[ids], lambda bar, table: (bar[ids[: len(table)]],))
    return case(lambda table: jnp.sum(gather(table) ** 2), draw.normal(4, 3))


@mistake("tenstorrent/tt-metal#6232", "embedding", "0", says=r"(accumul|a term is missing|index|more than once)")
def rows_that_are_looked_up_twice(draw: Draw) -> Case:
    """Of a row that is looked up several times only the last gradient stays."""
    embedding = _rule(
        "embedding",
        lambda table, ids: table[ids],
        lambda bar, table, ids: (jnp.zeros_like(table).at[ids].set(bar), None),
    )
    ids = jnp.asarray([0, 2, 2, 1], jnp.int32)
    return case(lambda table: jnp.sum(jnp.sin(embedding(table, ids))), draw.normal(4, 3))


@mistake("rasmusbergpalm/DeepLearnToolbox#41", "correlate", "0", says=r"(reversed|flip|right with)")
def kernel_not_turned(draw: Draw) -> Case:
    """Backward of a convolution lacks one reversal of the kernel."""
    rule = _rule(
        "correlate", lambda x, k: jnp.correlate(x, k, mode="valid"),
        lambda bar, x, k: (jnp.convolve(bar, k[::-1], mode="full"), jnp.correlate(x, bar, mode="valid")),
    )  # fmt: skip
    return case(lambda x, k: jnp.sum(rule(x, k) ** 2), draw.normal(draw.rows + 3), draw.normal(3))


@mistake("ooples/AiDotNet.Tensors#49", "attention", "0", "1", says=r"(exchanged|swapped)")
def queries_and_keys_exchanged(draw: Draw) -> Case:
    """The gradients of queries and keys are swapped."""

    def attend(q, k, v):
        return jax.nn.softmax(q @ k.T / 2) @ v

    def backward(bar, q, k, v):
        dq, dk, dv = _true(attend, bar, q, k, v)
        return dk, dq, dv

    rule = _rule("attention", attend, backward)
    return case(lambda *a: jnp.sum(jnp.sin(rule(*a))), *(draw.normal(draw.rows, 4) for _ in range(3)))


@mistake("pytorch/pytorch#18825", "cholesky", says=r"(diagonal|transposed|symmetr|triang)")
def factor_not_made_symmetric(draw: Draw) -> Case:
    """The gradient of the factor of a symmetric matrix is left as a triangle."""

    def factor(a):
        return jnp.linalg.cholesky(0.5 * (a + a.T))

    def backward(bar, a):
        (true,) = _true(factor, bar, a)
        return (jnp.tril(2 * true) - jnp.diag(jnp.diagonal(true)),)

    rule = _rule("cholesky", factor, backward)

    def f(a, w):
        # symmetric input in, so that the whole gradient is off as well
        return jnp.sum(w * rule(a))

    return case(f, draw.definite(3), draw.normal(3, 3))


@mistake("ooples/AiDotNet#722", "gradient", "['Wh']", "['Wx']", says=r"(a term is missing|wrong term)")
def nothing_goes_back_through_time(draw: Draw) -> Case:
    """The gradient of the hidden state is set to 0 before each earlier step."""
    xs = np.asarray(draw.normal(4, 2))

    def states(p):
        h = [np.zeros(3, p["Wh"].dtype)]
        for x in xs:
            h.append(np.tanh(p["Wx"] @ x + p["Wh"] @ h[-1]))
        return h

    def gradient(p):
        h = states(p)
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        for t in reversed(range(len(xs))):
            dy = 2 * p["v"] @ h[t + 1]
            grads["v"] += dy * h[t + 1]
            dz = dy * p["v"] * (1 - h[t + 1] ** 2)
            grads["Wx"] += np.outer(dz, xs[t])
            grads["Wh"] += np.outer(dz, h[t])
        return grads

    p = {"Wx": np.asarray(draw.normal(3, 2)), "Wh": np.asarray(draw.normal(3, 3)) / 2, "v": np.asarray(draw.normal(3))}
    return case(lambda p: sum((p["v"] @ h) ** 2 for h in states(p)[1:]), p, gradient=gradient)
