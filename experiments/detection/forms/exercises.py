"""Losses and gradients in NumPy, as exercises of courses write them; and parts of this package in users' functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.detection.forms.drawing import Case, Draw, case, form


def _arrays(*values: Any) -> list[np.ndarray]:
    return [np.asarray(value) for value in values]


@form("course")
def linear_regression(draw: Draw) -> Case:
    x, y, w = _arrays(draw.normal(draw.rows, draw.width), draw.normal(draw.rows), draw.normal(draw.width))

    def cost(theta, X, y):
        m = len(y)
        return 1 / (2 * m) * np.sum((X.dot(theta) - y) ** 2)

    def gradient(theta, X, y):
        return X.T.dot(X.dot(theta) - y) / len(y)

    return case(cost, w, x, y, gradient=gradient)


@form("course")
def logistic_regression_in_a_loop(draw: Draw) -> Case:
    x, y, w = _arrays(draw.normal(draw.rows, draw.width), draw.mask(draw.rows), draw.normal(draw.width))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def cost(theta, X, y, reg):
        h = sigmoid(X @ theta)
        return -np.mean(y * np.log(h) + (1 - y) * np.log(1 - h)) + reg / (2 * len(y)) * np.sum(theta[1:] ** 2)

    def gradient(theta, X, y, reg):
        grad = np.zeros_like(theta)
        for j in range(len(theta)):
            for i in range(len(y)):
                grad[j] += (sigmoid(X[i] @ theta) - y[i]) * X[i, j] / len(y)
            if j > 0:
                grad[j] += reg / len(y) * theta[j]
        return grad

    return case(cost, w, x, y, 0.5, gradient=gradient)


@form("course")
def softmax_regression(draw: Draw) -> Case:
    x, y, w = _arrays(draw.normal(draw.rows, draw.width), draw.labels(), draw.normal(draw.width, draw.classes))

    def probabilities(W, X):
        scores = X @ W
        scores = scores - scores.max(axis=1, keepdims=True)
        e = np.exp(scores)
        return e / e.sum(axis=1, keepdims=True)

    def loss(W, X, y):
        return -np.log(probabilities(W, X)[np.arange(len(y)), y]).mean() + 0.1 * np.sum(W * W)

    def gradient(W, X, y):
        p = probabilities(W, X)
        p[np.arange(len(y)), y] -= 1
        return X.T @ p / len(y) + 0.2 * W

    return case(loss, w, x, y, gradient=gradient)


@form("course")
def support_vectors(draw: Draw) -> Case:
    x, y, w = _arrays(draw.normal(draw.rows, draw.width), draw.labels(), draw.normal(draw.width, draw.classes))

    def loss(W, X, y):
        total = 0.0
        for row, label in zip(X, y, strict=True):
            scores = row @ W
            margins = scores - scores[label] + 1
            margins[label] = 0
            total += margins[margins > 0].sum()
        return total / len(y)

    def gradient(W, X, y):
        scores = X @ W
        on = (scores - scores[np.arange(len(y)), y][:, None] + 1 > 0).astype(W.dtype)
        on[np.arange(len(y)), y] = 0
        on[np.arange(len(y)), y] = -on.sum(axis=1)
        return X.T @ on / len(y)

    return case(loss, w, x, y, gradient=gradient)


@form("course")
def two_layers_in_a_dict(draw: Draw) -> Case:
    x, y = _arrays(draw.normal(draw.rows, draw.width), draw.labels())
    params = {
        "W1": draw.normal(draw.width, 3),
        "b1": draw.normal(3),
        "W2": draw.normal(3, draw.classes),
        "b2": draw.normal(draw.classes),
    }
    params = {name: np.asarray(value) for name, value in params.items()}

    def scores(p, X):
        h = np.maximum(0, X @ p["W1"] + p["b1"])
        return h, h @ p["W2"] + p["b2"]

    def loss(p, X, y):
        s = scores(p, X)[1]
        s = s - s.max(1, keepdims=True)
        return np.mean(np.log(np.exp(s).sum(1)) - s[np.arange(len(y)), y])

    def gradient(p, X, y):
        h, s = scores(p, X)
        e = np.exp(s - s.max(1, keepdims=True))
        ds = e / e.sum(1, keepdims=True)
        ds[range(len(y)), y] -= 1
        ds /= len(y)
        dh = ds.dot(p["W2"].T)
        dh[h <= 0] = 0
        return {"W1": X.T.dot(dh), "b1": dh.sum(0), "W2": h.T.dot(ds), "b2": ds.sum(0)}

    return case(loss, params, x, y, gradient=gradient)


@form("course")
def columns_as_examples(draw: Draw) -> Case:
    """Examples in columns, m in the denominator, as one well-known course has it."""
    x, y = _arrays(draw.normal(draw.width, draw.rows), draw.mask(1, draw.rows))
    params = {"W": np.asarray(draw.normal(1, draw.width)), "b": np.asarray(draw.normal(1, 1))}

    def forward(p, X):
        return 1 / (1 + np.exp(-(np.dot(p["W"], X) + p["b"])))

    def cost(p, X, Y):
        A, m = forward(p, X), X.shape[1]
        return np.squeeze(-1 / m * np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)))

    def gradient(p, X, Y):
        dZ, m = forward(p, X) - Y, X.shape[1]
        return {"W": np.dot(dZ, X.T) / m, "b": np.sum(dZ, axis=1, keepdims=True) / m}

    return case(cost, params, x, y, gradient=gradient)


@form("course")
def batch_norm_step_by_step(draw: Draw) -> Case:
    w, gamma, beta, x = _arrays(draw.normal(draw.rows, 3), draw.positive(3), draw.normal(3), draw.normal(draw.rows, 3))

    def forward(x, gamma, beta):
        mu, var = x.mean(0), x.var(0)
        std = np.sqrt(var + 1e-5)
        return (x - mu) / std, std

    def f(params, w):
        n, _ = forward(*params)
        return np.sum(w * (params[1] * n + params[2]) ** 2)

    def gradient(params, w):
        _, gamma, beta = params
        n, std = forward(*params)
        dout = 2 * w * (gamma * n + beta)
        dn = dout * gamma
        dx = (dn - dn.mean(0) - n * (dn * n).mean(0)) / std
        return dx, (dout * n).sum(0), dout.sum(0)

    return case(f, (x, gamma, beta), w, gradient=gradient)


@form("course")
def convolution_in_loops(draw: Draw) -> Case:
    x, w = _arrays(draw.normal(5, 5), draw.normal(2, 2))

    def forward(w, x):
        return np.array([[np.sum(x[i : i + 2, j : j + 2] * w) for j in range(4)] for i in range(4)])

    def loss(w, x):
        return 0.5 * np.sum(forward(w, x) ** 2)

    def gradient(w, x):
        out, dw = forward(w, x), np.zeros_like(w)
        for i in range(4):
            for j in range(4):
                dw += out[i, j] * x[i : i + 2, j : j + 2]
        return dw

    return case(loss, w, x, gradient=gradient)


@form("course")
def recurrent_net_through_time(draw: Draw) -> Case:
    xs = np.asarray(draw.normal(4, 2))
    params = {"Wx": draw.normal(3, 2), "Wh": draw.normal(3, 3) / 2, "v": draw.normal(3)}
    params = {name: np.asarray(value) for name, value in params.items()}

    def states(p, xs):
        h = [np.zeros(3, p["Wh"].dtype)]
        for x in xs:
            h.append(np.tanh(p["Wx"] @ x + p["Wh"] @ h[-1]))
        return h

    def loss(p, xs):
        return sum((p["v"] @ h) ** 2 for h in states(p, xs)[1:])

    def gradient(p, xs):
        h = states(p, xs)
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        dnext = np.zeros_like(h[0])
        for t in reversed(range(len(xs))):
            dy = 2 * p["v"] @ h[t + 1]
            grads["v"] += dy * h[t + 1]
            dz = (dy * p["v"] + dnext) * (1 - h[t + 1] ** 2)
            grads["Wx"] += np.outer(dz, xs[t])
            grads["Wh"] += np.outer(dz, h[t])
            dnext = p["Wh"].T @ dz
        return grads

    return case(loss, params, xs, gradient=gradient)


@form("course")
def word_vectors(draw: Draw) -> Case:
    center, outside = _arrays(draw.normal(3), draw.normal(5, 3))

    def loss(vectors, index):
        center, outside = vectors
        s = outside @ center
        return np.log(np.sum(np.exp(s))) - s[index]

    def gradient(vectors, index):
        center, outside = vectors
        s = outside @ center
        y = np.exp(s) / np.sum(np.exp(s))
        y[index] -= 1
        return outside.T @ y, np.outer(y, center)

    return case(loss, (center, outside), 2, gradient=gradient)


@form("course")
def negative_samples(draw: Draw) -> Case:
    center, outside = _arrays(draw.normal(3), draw.normal(5, 3))

    def sigmoid(z):
        return 1.0 / (1.0 + np.exp(-z))

    def loss(center, outside):
        return -np.log(sigmoid(outside[0] @ center)) - np.sum(np.log(sigmoid(-outside[1:] @ center)))

    def gradient(center, outside):
        grad = (sigmoid(outside[0] @ center) - 1) * outside[0]
        for u in outside[1:]:
            grad = grad + sigmoid(u @ center) * u
        return grad

    return case(loss, center, outside, gradient=gradient)


@form("course")
def factors_of_ratings(draw: Draw) -> Case:
    """Users and items, with the ratings that are there; what is missing is NaN."""
    u, v = _arrays(draw.normal(4, 2), draw.normal(3, 2))
    ratings = np.asarray(draw.normal(4, 3)).copy()
    ratings[0, 1] = ratings[2, 2] = np.nan
    there = ~np.isnan(ratings)

    def loss(factors):
        U, V = factors
        return 0.5 * np.sum((U @ V.T - ratings)[there] ** 2) + 0.05 * (np.sum(U**2) + np.sum(V**2))

    def gradient(factors):
        U, V = factors
        e = np.where(there, U @ V.T - np.nan_to_num(ratings), 0)
        return e @ V + 0.1 * U, e.T @ U + 0.1 * V

    return case(loss, (u, v), gradient=gradient)


@form("course")
def loss_in_jax_and_gradient_in_numpy(draw: Draw) -> Case:
    x, y = _arrays(draw.normal(draw.rows, draw.width), draw.normal(draw.rows))

    def gradient(w):
        error = x @ np.asarray(w) - y
        return 2 * np.einsum("ni,n->i", x, error) / len(y)

    return case(lambda w: jnp.mean((x @ w - y) ** 2), draw.normal(draw.width), gradient=gradient)


@form("course")
def distance_to_the_nearest_center(draw: Draw) -> Case:
    x, centers = _arrays(draw.normal(6, 2), draw.normal(3, 2))

    def nearest(C):
        return np.argmin(((x[:, None] - C) ** 2).sum(-1), axis=1)

    def loss(C):
        return np.sum((x - C[nearest(C)]) ** 2)

    def gradient(C):
        grad = np.zeros_like(C)
        np.add.at(grad, nearest(C), -2 * (x - C[nearest(C)]))
        return grad

    return case(loss, centers, gradient=gradient)


# ---- parts of this package -------------------------------------------------------------------------------------------


@form("fnn")
def lent_net(draw: Draw) -> Case:
    net = fnn.mlp(draw.width, 3, draw.classes)
    params = jax.tree.map(lambda leaf: draw.normal(*leaf.shape) / 2, net.init(jax.random.key(0)))
    lent = fnn.custom_vjp(fnn.backprop(net, fnn.softmax_cross_entropy))
    labels = draw.labels()
    return case(lambda params, x: 2 * lent(params, x, labels), params, draw.normal(draw.rows, draw.width))


@form("fnn")
def lent_loss_with_float_targets(draw: Draw) -> Case:
    loss, target = fnn.custom_vjp(fnn.squared_error), draw.normal(draw.rows, 2)
    return case(lambda w, x: loss(x @ w, target), draw.normal(draw.width, 2), draw.normal(draw.rows, draw.width))


@form("fnn")
def record_of_a_net(draw: Draw) -> Case:
    net = fnn.mlp(draw.width, 3, 2, activation="tanh")
    params = jax.tree.map(lambda leaf: draw.normal(*leaf.shape) / 2, net.init(jax.random.key(0)))
    return case(
        fnn.backprop(net, fnn.squared_error), params, draw.normal(draw.rows, draw.width), draw.normal(draw.rows, 2)
    )


@form("fnn")
def gradient_of_a_record_beside_its_objective(draw: Draw) -> Case:
    net = fnn.mlp(draw.width, 3, 2)
    params = jax.tree.map(lambda leaf: draw.normal(*leaf.shape) / 2, net.init(jax.random.key(0)))
    by_hand = fnn.backprop(net, fnn.squared_error)
    return case(
        by_hand.objective, params, draw.normal(draw.rows, draw.width), draw.normal(draw.rows, 2),
        gradient=lambda *args: by_hand(*args)[1],
    )  # fmt: skip
