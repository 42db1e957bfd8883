"""Functions as users write them, for the glass box: each with arguments, all smooth or with ties where ties are stated.

`CORPUS` maps a name to (function, arguments as NumPy arrays); floats become arrays of the dtype under test.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import fnn
from tests.cases import drawn, random

CORPUS: dict = {}


def numbers(*shape, low=-1.3, high=1.7, name="corpus"):
    return random(name, *shape).uniform(low, high, shape)


def entry(*args):
    def enter(f):
        CORPUS[f.__name__] = (f, args)
        return f

    return enter


V, W, M, S = numbers(5), numbers(5, name="w"), numbers(4, 3), numbers(3, 3, name="square")
POSITIVE, UNIT = numbers(5, low=0.3, high=2.1), numbers(5, low=-0.8, high=0.9)
LABELS = np.array([2, 0, 1, 1], np.int32)


# ---- the lectures' own graphs ---------------------------------------------------------------------------------------


@entry(1.0, 3.0)
def a10(x1, x2):
    c = 2 * x1 + 3 * x2
    e = c**2
    return e + 3


@entry(1.0, 2.0, 4.0)
def c7(x, y, z):
    d = x + y
    e = d * z
    return (e - 1) ** 2


@entry(1.2, -0.7)
def d3(x1, x2):
    y1, y2 = x1**2 * x2, x1 + x2
    return y1**2 + y2**3


@entry(-2.0, 5.0, -4.0)
def e3(x, y, z):
    q = x + y
    return q * z


@entry((2.0, -3.0, -3.0), (-1.0, -2.0))
def e4(theta, x):
    z = theta[0] * x[0] + theta[1] * x[1] + theta[2]
    return 1 / (1 + jnp.exp(-z))


@entry(3.0, 3.0, -1.0)
def e5(a, b, c):
    largest = jnp.maximum(a, b)
    average = (a + b + c) / 3
    return largest * average


# ---- one function each ----------------------------------------------------------------------------------------------


@entry(V, POSITIVE, UNIT)
def elementary(x, positive, unit):
    anywhere = (jnp.exp, jnp.exp2, jnp.expm1, jnp.sin, jnp.cos, jnp.arctan, jnp.sinh, jnp.cosh, jnp.tanh, jnp.arcsinh)
    above_zero = (jnp.sqrt, jnp.cbrt, jnp.log, jnp.log1p, jnp.reciprocal)
    within_one = (jnp.tan, jnp.arcsin, jnp.arccos, jnp.arctanh)
    weights = jnp.arange(1, 6, dtype=x.dtype)
    total = sum(f(x) for f in (*anywhere, jnp.abs, jnp.square, jnp.negative))
    return jnp.sum(weights * (total + sum(f(positive) for f in above_zero) + sum(f(unit) for f in within_one)))


@entry(POSITIVE)
def special(x):
    total = lax.erf(x) + lax.erfc(x) + lax.erf_inv(x / 3) + lax.lgamma(x) + lax.digamma(x) + lax.rsqrt(x)
    return jnp.sum(total + jnp.arccosh(x + 1) + lax.logistic(x))


@entry(POSITIVE, V)
def powers(a, b):
    return jnp.sum(a**b + a**3 + a**-2 + a**0.5 + jnp.arctan2(a, b) + a % 0.7)


@entry(V, W)
def extremes(a, b):
    return jnp.sum(jnp.maximum(a, b) * a + jnp.minimum(a, b) ** 2 + jnp.clip(a, -0.5, 0.6) * b)


@entry(np.array([1.0, 1.0, -2.0, 1.0]))
def ties(x):
    return jnp.max(x) + jnp.min(jnp.abs(x)) + jnp.sum(jnp.maximum(x, 1.0)) + jnp.sum(jax.nn.relu(x - 1))


@entry(M)
def products_with_zeros(x):
    rows = x.at[1, 2].set(0.0)
    return jnp.sum(jnp.prod(rows, axis=1) ** 2 + jnp.prod(rows)) + jnp.prod(rows, axis=0).sum()


@entry(M)
def running(x):
    sums = jnp.cumsum(x, axis=0) * jnp.cumsum(x[::-1], axis=1)
    return jnp.sum(sums) + jnp.sum(lax.cumsum(x, 1, reverse=True) ** 2)


@entry(M)
def running_others(x):
    return jnp.sum(lax.cumprod(x, 0) * x) + jnp.sum(lax.cumlogsumexp(x, 1) ** 2) + jnp.sum(lax.cummax(x, 0) * x)


@entry(M)
def running_backwards(x):
    reverse = {"axis": 1, "reverse": True}
    total = lax.cumprod(x, **reverse) + lax.cumlogsumexp(x, **reverse) + lax.cummin(x, **reverse)
    return jnp.sum(total * x)


@entry(V, W)
def sorting(x, y):
    order = jnp.argsort(x)
    return jnp.sum(jnp.sort(x) * jnp.arange(5, dtype=x.dtype)) + jnp.sum(y[order] ** 2 * x) + jnp.median(x * y)


@entry(V)
def largest_three(x):
    values, _ = lax.top_k(x, 3)
    return jnp.sum(values * jnp.array([3, 2, 1], x.dtype))


@entry(M, S)
def moving(x, s):
    joined = jnp.concatenate([x, s], axis=0)
    padded = lax.pad(joined, jnp.zeros((), x.dtype), [(1, 2, 0), (0, -1, 1)])
    flipped = padded[::-1, ::2].T.reshape(-1)
    return jnp.sum(flipped * jnp.arange(flipped.size, dtype=x.dtype)) + jnp.sum(jnp.stack([x[0], s[0]]) ** 2)


@entry(M)
def splitting(x):
    left, right = jnp.split(x, 2, axis=0)
    return jnp.sum(left * right[::-1]) + jnp.sum(jnp.tile(x, (2, 1))[3:6] ** 2) + jnp.sum(jnp.roll(x, 1, 0) * x)


@entry(M, LABELS)
def indexing(x, labels):
    picked = x[jnp.arange(4), labels]
    table = x[labels]
    return jnp.sum(picked**2) + jnp.sum(table * x) + x[1, 2] * x[-1, 0] + jnp.sum(x[:, labels[0]])


@entry(M, LABELS)
def putting(x, labels):
    added = jnp.zeros_like(x).at[labels].add(x**2)
    once = x.at[jnp.array([3, 0])].set(x[:2] * 2)
    scaled = x.at[jnp.array([1, 2])].multiply(x[2:], unique_indices=True)
    return jnp.sum(added * x) + jnp.sum(once**3) + jnp.sum(scaled * x)


@entry(M, np.int32(1))
def dynamic(x, k):
    window = lax.dynamic_slice(x, (k, jnp.zeros_like(k)), (2, 3))
    replaced = lax.dynamic_update_slice(x, window**2, (k - 1, jnp.zeros_like(k)))
    return jnp.sum(replaced * x) + x[k, k]


@entry(M)
def segments(x):
    sums = jax.ops.segment_sum(x, jnp.array([0, 1, 0, 2]), num_segments=3)
    return jnp.sum(sums**2)


@entry(numbers(2, 4, 3), numbers(2, 3, 5), numbers(4, 3))
def einsums(a, b, c):
    product = jnp.einsum("nij,njk->nik", a, b)
    crossed = jnp.einsum("nij,ij->nj", a, c)
    return jnp.sum(product**2) + jnp.sum(crossed**3) + jnp.sum(jnp.tensordot(a, b, axes=((0, 2), (0, 1))))


@entry(V, W, S[:, :1], M)
def linear_algebra(u, v, column, m):
    return u @ v + jnp.sum(jnp.outer(u, v) ** 2) + jnp.linalg.norm(m @ column) + jnp.trace(m[:3] @ m[:3].T)


# ---- as users write -------------------------------------------------------------------------------------------------


@entry(numbers(6, 4), numbers(4, 4, name="q"), numbers(4, 4, name="k"), numbers(4, 4, name="v"))
def attention(x, query, key, value):
    q, k, v = x @ query, x @ key, x @ value
    scores = q @ k.T / jnp.sqrt(jnp.array(4, x.dtype))
    mask = jnp.tril(jnp.ones((6, 6), bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
    return jnp.sum((weights @ v) ** 2)


@entry(numbers(2, 5, 4), numbers(4, 8, name="qkv"), numbers(4, 4, name="out"))
def two_heads(x, project, out):
    q, k = jnp.split((x @ project).reshape(2, 5, 2, 4), 2, axis=-1)
    weights = jax.nn.softmax(jnp.einsum("nqhd,nkhd->nhqk", q, k), axis=-1)
    mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, k).reshape(2, 5, 4)
    return jnp.mean((mixed @ out) ** 2)


@entry(M, V[:3], W[:3])
def layer_norm(x, scale, shift):
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    normal = (x - mean) / jnp.sqrt(variance + 1e-5)
    return jnp.sum((normal * scale + shift) ** 3)


@entry(M, V[:3])
def batch_norm(x, scale):
    normal = (x - x.mean(0)) * lax.rsqrt(x.var(0) + 1e-3)
    return jnp.sum(jnp.tanh(normal * scale))


@entry(M)
def rms_norm(x):
    return jnp.sum(x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * jnp.arange(3, dtype=x.dtype))


@entry(numbers(6, 6), numbers(3, 3, name="kernel"))
def convolution(image, kernel):
    out = sum(kernel[i, j] * image[i : i + 4, j : j + 4] for i in range(3) for j in range(3))
    return jnp.sum(jax.nn.relu(out) ** 2)


@entry(numbers(6, 6))
def pooling(image):
    blocks = image.reshape(3, 2, 3, 2)
    return jnp.sum(blocks.max(axis=(1, 3)) * blocks.mean(axis=(1, 3)))


@entry(V)
def log_sum_exp(x):
    top = jnp.max(x)
    return top + jnp.log(jnp.sum(jnp.exp(x - top)))


@entry(M, LABELS)
def cross_entropy(logits, labels):
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(4), labels])


@entry(M, LABELS)
def one_hot_loss(logits, labels):
    return jnp.sum((jax.nn.softmax(logits) - jax.nn.one_hot(labels, 3, dtype=logits.dtype)) ** 2)


@entry(M)
def library_softmaxes(x):
    return jax.nn.logsumexp(x) + jnp.sum(jax.nn.log_softmax(x, axis=0) ** 2) + jnp.sum(jax.nn.softplus(x))


@entry(M)
def library_activations(x):
    kinds = (jax.nn.relu, jax.nn.gelu, jax.nn.silu, jax.nn.elu, jax.nn.leaky_relu, jax.nn.sigmoid, jax.nn.selu)
    return sum(jnp.sum(kind(x) ** 2) for kind in kinds) + jnp.sum(jax.nn.gelu(x, approximate=False))


@entry(V, 0.7)
def polynomial(coefficients, x):
    total = 0.0 * x
    for c in coefficients:
        total = total * x + c
    return total


@entry(V, 0.7)
def library_polynomial(coefficients, x):
    return jnp.polyval(coefficients, x) ** 2


@entry(numbers(7, 3), S, S.T, V[:3])
def recurrent(xs, W, U, b):
    def turn(h, x):
        h = jnp.tanh(x @ W + h @ U + b)
        return h, jnp.sum(h)

    last, sums = lax.scan(turn, jnp.zeros_like(b), xs)
    return jnp.sum(last**2) + jnp.sum(sums * jnp.arange(7, dtype=b.dtype))


@entry(numbers(4, 3), S, V[:3])
def recurrent_backwards(xs, W, b):
    _, hs = lax.scan(lambda h, x: (jnp.sin(x @ W + h), h * x), b, xs, reverse=True)
    return jnp.sum(hs**2)


@entry(0.4, 1.3)
def newton(x, a):
    return lax.fori_loop(0, 5, lambda k, x: x - (x * x - a) / (2 * x), x + 1)


@entry(0.4)
def counted_loop(x):
    return lax.scan(lambda c, _: ((c[0] + 1, c[1] * x + c[0]), None), (0, x), None, length=4)[0][1]


@entry(V, np.int32(1))
def branches(x, k):
    one = lax.cond(x[0] > 0, lambda x: x**2, jnp.sin, x)
    many = lax.switch(k, [jnp.cos, lambda x: x * x[0], jnp.exp], x)
    return jnp.sum(one * many)


@entry(M, np.array([True, False, True, True]))
def masked_mean(x, keep):
    weights = keep[:, None].astype(x.dtype)
    return jnp.sum((jnp.sum(x * weights, axis=0) / jnp.sum(weights)) ** 2)


@entry(numbers(9, 4, name="table"), LABELS)
def table_lookup(table, words):
    return jnp.sum(jnp.tanh(jnp.take(table, words, axis=0)).mean(axis=0) ** 2)


@entry(M, S)
def distances(a, b):
    squares = jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=-1)
    return jnp.sum(jnp.exp(-squares / 2))


@entry(V)
def stopped(x):
    return jnp.sum(x * lax.stop_gradient(x**2)) + jnp.sum(jnp.round(x) * x) + jnp.sum(jnp.floor(x) + jnp.sign(x) * x)


@entry(V, W)
def chosen(x, y):
    return jnp.sum(jnp.where(x > y, x * y, jnp.where(x < 0, y**2, x)))


@entry(V)
def huber(x):
    small = jnp.abs(x) < 0.5
    return jnp.sum(jnp.where(small, 0.5 * x**2, 0.5 * (jnp.abs(x) - 0.25)))


@entry(V, POSITIVE)
def gaussian(x, sigma):
    return jnp.mean(0.5 * (x / sigma) ** 2 + jnp.log(sigma)) + jax.scipy.stats.norm.logpdf(x, 0.2, sigma).sum()


@entry({"layers": [{"W": M.T, "b": V[:4]}, {"W": M[:, :1], "b": W[:1]}], "scale": 0.5}, M)
def nested_parameters(params, x):
    for layer in params["layers"]:
        x = jnp.tanh(x @ layer["W"] + layer["b"])
    return params["scale"] * jnp.sum(x)


@entry(V, numbers(5, name="target"))
def with_jit_inside(x, y):
    @jax.jit
    def sigma(z):
        return 1 / (1 + jnp.exp(-z))

    return jnp.mean((sigma(x) - sigma(2 * y)) ** 2)


@entry(M, V[:3])
def mapped(x, w):
    return jnp.sum(jax.vmap(lambda row: jnp.tanh(row @ w) * row)(x))


@entry(M, S)
def rematerialized(x, w):
    layer = jax.checkpoint(lambda h: jnp.sin(h @ w))
    return jnp.sum(layer(layer(x)))


@entry(0.3, 1.1)
def pendulum(angle, length):
    def turn(state, _):
        angle, speed = state
        speed = speed - 0.1 * 9.81 / length * jnp.sin(angle)
        return (angle + 0.1 * speed, speed), angle

    return jnp.sum(lax.scan(turn, (angle, jnp.zeros_like(angle)), None, length=6)[1] ** 2)


@entry(M)
def normalised(x):
    unit = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return jnp.sum((unit @ unit.T) ** 2)


@entry(V, W)
def correlation(x, y):
    x, y = x - x.mean(), y - y.mean()
    return jnp.sum(x * y) / jnp.sqrt(jnp.sum(x**2) * jnp.sum(y**2))


@entry(numbers(6, 2, name="points"), numbers(3, 2, name="centres"))
def nearest_centre(points, centres):
    squares = jnp.sum((points[:, None] - centres[None]) ** 2, axis=-1)
    return jnp.mean(jnp.min(squares, axis=1))


@entry(numbers(8, name="signal"))
def smoothness(signal):
    return jnp.sum(jnp.diff(signal) ** 2) + jnp.sum(jnp.tile(signal[:4], 2) * signal)


@entry(M)
def entropy(x):
    p = jax.nn.softmax(x.ravel())
    return -jnp.sum(p * jnp.log(p))


@entry(M)
def rare(x):
    a, b, c, d = jnp.unstack(x)
    exact = lax.reduce_precision(a * c, 11, 52)
    return jnp.sum(jnp.copy(a) * b + exact + lax.clamp(-0.5, x[:, 0], 0.7)[:3]) + jnp.sum(
        d.at[jnp.array([0, 2])].subtract(a[:2] * c[1:]) ** 2
    )


@entry(V)
def half(x):
    return jnp.sum(x.astype(jnp.float32))


@entry(POSITIVE)
def polygammas(x):
    return jnp.sum(lax.polygamma(jnp.ones_like(x), x) + jax.scipy.special.digamma(x + 1) * x)


def _nets():
    for activation in ("tanh", "relu", "gelu", "sigmoid"):
        net = fnn.mlp(3, 4, 3, activation=activation)
        loss = fnn.softmax_cross_entropy
        yield f"mlp_{activation}", fnn.objective(net, loss), net, LABELS
    penalized = fnn.objective(fnn.mlp(3, 4, 2), fnn.squared_error, fnn.elastic_net)

    def mlp_penalized(params, x, y, strength):
        return penalized(params, x, y, strength=(strength, 0.3))

    yield "mlp_penalized", mlp_penalized, penalized.net, numbers(4, 2)
    deep = fnn.sequential(fnn.dense(3, 4), fnn.skip(fnn.dense(4, 4, activation="tanh")), fnn.dense(4, 1))
    yield "skip", fnn.objective(deep, fnn.sigmoid_cross_entropy), deep, np.array([[0.0], [1.0], [1.0], [0.0]])
    looped = fnn.sequential(fnn.dense(3, 4), fnn.repeated(fnn.dense(4, 4, activation="tanh"), 3), fnn.dense(4, 3))
    yield "repeated", fnn.objective(looped, fnn.softmax_cross_entropy), looped, LABELS


for _name, _function, _net, _target in _nets():
    _params = jax.tree.map(np.asarray, drawn(_net, random("corpus", _name)))
    CORPUS[_name] = (_function, (_params, M, _target, *((0.1,) if _name == "mlp_penalized" else ())))
