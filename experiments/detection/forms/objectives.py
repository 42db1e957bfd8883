"""Losses and transformations of gradients, as users of Optax write their rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.detection.forms.drawing import Case, Draw, case, form, static

# ---- cross-entropies -------------------------------------------------------------------------------------------------


@form("optax")
def cross_entropy_with_labels(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(logits, labels):
        picked = jnp.take_along_axis(logits, labels[:, None], -1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, -1) - picked)

    def backward(kept, bar):
        logits, labels = kept
        p = jax.nn.softmax(logits)
        return bar * p.at[jnp.arange(len(p)), labels].add(-1) / len(p), np.zeros(labels.shape, jax.dtypes.float0)

    loss.defvjp(lambda z, y: (loss(z, y), (z, y)), backward)
    labels = draw.labels()
    return case(
        lambda w, x: loss(x @ w, labels), draw.normal(draw.width, draw.classes), draw.normal(draw.rows, draw.width)
    )


@form("optax")
def cross_entropy_with_any_targets(draw: Draw) -> Case:
    """The whole rule, which holds whatever the rows of the targets sum to."""

    @jax.custom_vjp
    def loss(logits, targets):
        return -jnp.sum(targets * jax.nn.log_softmax(logits), -1)

    def backward(kept, bar):
        logits, targets = kept
        total = jnp.sum(targets, -1, keepdims=True)
        return bar[:, None] * (jax.nn.softmax(logits) * total - targets), -bar[:, None] * jax.nn.log_softmax(logits)

    loss.defvjp(lambda z, t: (loss(z, t), (z, t)), backward)
    return case(lambda z, t: jnp.mean(loss(z, t)), draw.normal(draw.rows, draw.classes), draw.one_hot())


@form("optax")
def cross_entropy_with_one_hot_targets(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(logits, targets):
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))

    loss.defvjp(
        lambda z, t: (loss(z, t), (jax.nn.softmax(z), t)),
        lambda kept, bar: (bar * (kept[0] - kept[1]) / len(kept[0]), None),
    )
    targets = draw.one_hot()
    return case(
        lambda w, x: loss(x @ w, targets), draw.normal(draw.width, draw.classes), draw.normal(draw.rows, draw.width)
    )


@form("optax")
def cross_entropy_with_smoothed_targets(draw: Draw) -> Case:
    @static(2)
    def loss(logits, targets, alpha):
        smooth = targets * (1 - alpha) + alpha / targets.shape[-1]
        return jnp.sum(smooth * -jax.nn.log_softmax(logits))

    def forward(logits, targets, alpha):
        return loss(logits, targets, alpha), (logits, targets)

    def backward(alpha, kept, bar):
        logits, targets = kept
        smooth = targets * (1 - alpha) + alpha / targets.shape[-1]
        return bar * (jax.nn.softmax(logits) - smooth), jnp.zeros_like(targets)

    loss.defvjp(forward, backward)
    targets = draw.one_hot()
    return case(lambda z: loss(z, targets, 0.1), draw.normal(draw.rows, draw.classes))


@form("optax")
def binary_cross_entropy_of_logits(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(logits, labels):
        return jnp.mean(jax.nn.softplus(logits) - labels * logits)

    loss.defvjp(
        lambda z, y: (loss(z, y), (z, y)),
        lambda kept, bar: (bar * (jax.nn.sigmoid(kept[0]) - kept[1]) / kept[0].size, -bar * kept[0] / kept[0].size),
    )
    return case(loss, draw.normal(draw.rows, 2), draw.mask(draw.rows, 2))


@form("optax")
def binary_cross_entropy_by_log_sigmoid(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(logits, labels):
        return -jnp.sum(labels * jax.nn.log_sigmoid(logits) + (1 - labels) * jax.nn.log_sigmoid(-logits))

    loss.defvjp(lambda z, y: (loss(z, y), jax.nn.sigmoid(z) - y), lambda residual, bar: (bar * residual, None))
    labels = draw.mask(draw.rows)
    return case(lambda w, x: loss(x @ w, labels), draw.normal(draw.width), draw.normal(draw.rows, draw.width))


@form("optax")
def weighted_cross_entropy(draw: Draw) -> Case:
    """Weights of the examples get their gradients too."""

    @jax.custom_vjp
    def loss(logits, labels, weights):
        each = jax.nn.logsumexp(logits, -1) - logits[jnp.arange(len(labels)), labels]
        return jnp.sum(weights * each) / jnp.sum(weights)

    def backward(kept, bar):
        logits, labels, weights, value = kept
        each = jax.nn.logsumexp(logits, -1) - logits[jnp.arange(len(labels)), labels]
        p = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
        total = weights.sum()
        return bar * weights[:, None] * p / total, None, bar * (each - value) / total

    def forward(logits, labels, weights):
        value = loss(logits, labels, weights)
        return value, (logits, labels, weights, value)

    loss.defvjp(forward, backward)
    labels = draw.labels()
    return case(lambda z, w: loss(z, labels, w), draw.normal(draw.rows, draw.classes), draw.positive(draw.rows))


@form("optax")
def masked_mean_of_errors(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(prediction, target, mask):
        return jnp.sum(mask * (prediction - target) ** 2) / jnp.maximum(jnp.sum(mask), 1)

    def backward(kept, bar):
        prediction, target, mask = kept
        g = bar * 2 * mask * (prediction - target) / jnp.maximum(mask.sum(), 1)
        return g, -g, None

    loss.defvjp(lambda *a: (loss(*a), a), backward)
    mask = draw.mask(draw.rows, 2)
    return case(lambda p, t: loss(p, t, mask), draw.normal(draw.rows, 2), draw.normal(draw.rows, 2))


@form("optax")
def focal_loss(draw: Draw) -> Case:
    @static(2)
    def loss(logits, signs, gamma):
        z = logits * signs
        return jnp.sum((1 - jax.nn.sigmoid(z)) ** gamma * -jax.nn.log_sigmoid(z))

    def backward(gamma, kept, bar):
        logits, signs = kept
        z = logits * signs
        p, q = jax.nn.sigmoid(z), jax.nn.sigmoid(-z)
        slope = q**gamma * (gamma * p * jax.nn.log_sigmoid(z) - q)
        return bar * slope * signs, bar * slope * logits

    loss.defvjp(lambda z, s, gamma: (loss(z, s, gamma), (z, s)), backward)
    signs = 2 * draw.mask(draw.rows) - 1
    return case(lambda z: loss(z, signs, 2.0), draw.normal(draw.rows))


@form("optax")
def contrast_of_two_views(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(a, b, temperature):
        logits = a @ b.T / temperature
        return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(logits)))

    def backward(kept, bar):
        a, b, temperature = kept
        logits = a @ b.T / temperature
        s = bar * (jax.nn.softmax(logits) - jnp.eye(len(a), dtype=a.dtype)) / len(a)
        return s @ b / temperature, s.T @ a / temperature, -jnp.sum(s * logits) / temperature

    loss.defvjp(lambda *a: (loss(*a), a), backward)
    return case(loss, draw.normal(draw.rows, 3), draw.normal(draw.rows, 3), jnp.asarray(0.8, draw.dtype))


@form("optax")
def divergence_of_log_probabilities(draw: Draw) -> Case:
    @jax.custom_vjp
    def divergence(log_q, log_p):
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)

    def backward(kept, bar):
        log_q, log_p = kept
        p = jnp.exp(log_p) * bar[..., None]
        return -p, p * (log_p - log_q + 1)

    divergence.defvjp(lambda q, p: (divergence(q, p), (q, p)), backward)

    def loss(z, teacher):
        return jnp.mean(divergence(jax.nn.log_softmax(z), jax.nn.log_softmax(teacher)))

    return case(loss, draw.normal(draw.rows, draw.classes), draw.normal(draw.rows, draw.classes))


@form("optax")
def cross_entropy_of_probabilities(draw: Draw) -> Case:
    """Right on (0, 1) alone, where the function demands its predictions."""

    @jax.custom_vjp
    def loss(p, y):
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p))

    loss.defvjp(
        lambda p, y: (loss(p, y), (p, y)),
        lambda kept, bar: (bar * (kept[0] - kept[1]) / (kept[0] * (1 - kept[0])) / kept[0].size, None),
    )
    y = draw.mask(draw.rows)
    return case(lambda z: loss(jax.nn.sigmoid(z), y), draw.normal(draw.rows))


@form("optax")
def poisson_loss(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(log_rate, counts):
        return jnp.mean(jnp.exp(log_rate) - counts * log_rate)

    loss.defvjp(
        lambda z, n: (loss(z, n), (jnp.exp(z) - n, z)),
        lambda kept, bar: (bar * kept[0] / kept[0].size, -bar * kept[1] / kept[1].size),
    )
    return case(lambda z, n: loss(z, n.astype(z.dtype)), draw.normal(draw.rows), draw.labels())


# ---- regression ------------------------------------------------------------------------------------------------------


@form("optax")
def huber_with_a_static_delta(draw: Draw) -> Case:
    @static(2)
    def huber(prediction, target, delta=1.0):
        error = jnp.abs(prediction - target)
        return jnp.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))

    def backward(delta, error, bar):
        g = bar * jnp.clip(error, -delta, delta)
        return g, -g

    huber.defvjp(lambda p, t, delta: (huber(p, t, delta), p - t), backward)
    return case(
        lambda p, t: huber(p, t, 0.5).mean() + huber(p, t).sum(), draw.normal(draw.rows), draw.normal(draw.rows)
    )


@form("optax")
def squared_error_by_reduction(draw: Draw) -> Case:
    @static(2)
    def loss(prediction, target, reduction):
        return {"sum": jnp.sum, "mean": jnp.mean}[reduction]((prediction - target) ** 2)

    def backward(reduction, error, bar):
        g = bar * 2 * error / (error.size if reduction == "mean" else 1)
        return g, -g

    loss.defvjp(lambda p, t, reduction: (loss(p, t, reduction), p - t), backward)
    return case(
        lambda p, t: loss(p, t, "sum") + loss(p, t, "mean"), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3)
    )


@form("optax")
def squared_error_of_whole_targets(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(prediction, target):
        return jnp.mean((prediction - target) ** 2)

    loss.defvjp(
        lambda p, t: (loss(p, t), p - t),
        lambda error, bar: (2 * bar * error / error.size, np.zeros(error.shape, jax.dtypes.float0)),
    )
    return case(lambda p, t: loss(p, t), draw.normal(draw.rows), draw.labels())


@form("optax")
def logarithm_of_cosh(draw: Draw) -> Case:
    @jax.custom_jvp
    def log_cosh(e):
        return jnp.logaddexp(e, -e) - np.log(2)

    log_cosh.defjvps(lambda t, y, e: t * jnp.tanh(e))
    return case(lambda p, t: jnp.mean(log_cosh(p - t)), draw.normal(draw.rows), draw.normal(draw.rows))


@form("optax")
def quantile_loss_at_its_kink(draw: Draw) -> Case:
    @static(2)
    def pinball(p, t, tau):
        return jnp.mean(jnp.maximum(tau * (t - p), (tau - 1) * (t - p)))

    def backward(tau, error, bar):
        g = bar * jnp.where(error > 0, -tau, 1 - tau) / error.size
        return g, -g

    pinball.defvjp(lambda p, t, tau: (pinball(p, t, tau), t - p), backward)
    t = draw.normal(draw.rows)
    return case(lambda p: pinball(p, t, 0.3), t + draw.normal(draw.rows).at[0].set(0.0))


@form("optax")
def cosine_distance(draw: Draw) -> Case:
    @static(2)
    def cosine(a, b, eps):
        return jnp.sum(a * b, -1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1) + eps)

    def backward(eps, kept, bar):
        a, b = kept
        na, nb = (jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
        dot, size, bar = jnp.sum(a * b, -1, keepdims=True), na * nb + eps, bar[:, None]
        return bar * (b / size - dot * nb * a / (na * size**2)), bar * (a / size - dot * na * b / (nb * size**2))

    cosine.defvjp(lambda a, b, eps: (cosine(a, b, eps), (a, b)), backward)
    return case(lambda a, b: jnp.mean(1 - cosine(a, b, 1e-3)), draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@form("optax")
def hinge_of_signs(draw: Draw) -> Case:
    @jax.custom_vjp
    def hinge(score, sign):
        return jnp.mean(jnp.maximum(0, 1 - score * sign))

    hinge.defvjp(
        lambda s, y: (hinge(s, y), (s, y)),
        lambda kept, bar: (
            -bar * kept[1] * (kept[0] * kept[1] < 1) / kept[0].size,
            -bar * kept[0] * (kept[0] * kept[1] < 1) / kept[0].size,
        ),
    )
    signs = 2 * draw.mask(draw.rows) - 1
    return case(lambda w, x: hinge(x @ w, signs), draw.normal(draw.width), draw.normal(draw.rows, draw.width))


@form("optax")
def triplets_with_a_margin(draw: Draw) -> Case:
    @static(3)
    def triplet(a, p, n, margin):
        return jnp.sum(jnp.maximum(0, jnp.sum((a - p) ** 2 - (a - n) ** 2, -1) + margin))

    def backward(margin, kept, bar):
        a, p, n = kept
        on = bar * (jnp.sum((a - p) ** 2 - (a - n) ** 2, -1, keepdims=True) + margin > 0)
        return 2 * on * (n - p), -2 * on * (a - p), 2 * on * (a - n)

    triplet.defvjp(lambda a, p, n, margin: (triplet(a, p, n, margin), (a, p, n)), backward)
    shape = draw.rows, 3
    return case(lambda *x: triplet(*x, 1.0), draw.normal(*shape), draw.normal(*shape), draw.normal(*shape))


# ---- sums of exponentials, norms -------------------------------------------------------------------------------------


@form("optax")
def log_sum_of_exponentials(draw: Draw) -> Case:
    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def total(x, axis):
        top = jnp.max(x, axis, keepdims=True)
        return jnp.squeeze(top, axis) + jnp.log(jnp.sum(jnp.exp(x - top), axis))

    @total.defjvp
    def total_jvp(axis, primals, tangents):
        (x,), (t,) = primals, tangents
        y = total(x, axis)
        return y, jnp.sum(jnp.exp(x - jnp.expand_dims(y, axis)) * t, axis)

    return case(lambda x: jnp.sum(total(x, 0) ** 2) + total(x[0], -1), 5 * draw.normal(draw.rows, 3))


@form("optax")
def log_softmax_by_its_output(draw: Draw) -> Case:
    @jax.custom_vjp
    def log_softmax(z):
        return z - jax.nn.logsumexp(z, -1, keepdims=True)

    log_softmax.defvjp(
        lambda z: (log_softmax(z),) * 2, lambda y, bar: (bar - jnp.exp(y) * jnp.sum(bar, -1, keepdims=True),)
    )
    return case(lambda z: jnp.sum(jnp.sin(log_softmax(z))), draw.normal(draw.rows, draw.classes))


@form("optax")
def softmax_along_an_axis(draw: Draw) -> Case:
    @static(1)
    def softmax(z, axis=-1):
        e = jnp.exp(z - jax.lax.stop_gradient(z.max(axis, keepdims=True)))
        return e / e.sum(axis, keepdims=True)

    softmax.defvjp(
        lambda z, axis: (softmax(z, axis),) * 2,
        lambda axis, p, bar: (p * (bar - jnp.sum(p * bar, axis, keepdims=True)),),
    )
    return case(lambda z: jnp.sum(softmax(z, axis=0) ** 2) + jnp.sum(softmax(z) ** 3), draw.normal(draw.rows, 3))


@form("optax")
def norm_that_is_safe_at_zero(draw: Draw) -> Case:
    @jax.custom_vjp
    def norm(x):
        return jnp.sqrt(jnp.sum(x * x))

    norm.defvjp(
        lambda x: (norm(x), (x, norm(x))),
        lambda kept, bar: (jnp.where(kept[1] > 0, bar * kept[0] / jnp.where(kept[1] > 0, kept[1], 1), 0),),
    )
    return case(lambda x, y: norm(x) + norm(y), draw.normal(draw.rows), jnp.zeros(3, draw.dtype))


@form("optax")
def global_norm_of_a_tree(draw: Draw) -> Case:
    @jax.custom_vjp
    def norm(tree):
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))

    norm.defvjp(
        lambda tree: (norm(tree), (tree, norm(tree))),
        lambda kept, bar: (jax.tree.map(lambda leaf: bar * leaf / kept[1], kept[0]),),
    )
    tree = {"a": draw.normal(draw.rows), "b": [draw.normal(2, 2), None], "c": (draw.normal(1), ())}
    return case(lambda tree: norm(tree) ** 3, tree)


@form("optax")
def clip_to_a_global_norm(draw: Draw) -> Case:
    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def clip(x, limit):
        size = jnp.linalg.norm(x)
        return jnp.where(size > limit, x * limit / size, x)

    @clip.defjvp
    def clip_jvp(limit, primals, tangents):
        (x,), (t,) = primals, tangents
        size = jnp.linalg.norm(x)
        u = x / size
        return clip(x, limit), jnp.where(size > limit, limit / size * (t - u * jnp.sum(u * t)), t)

    return case(lambda x: jnp.sum(jnp.sin(clip(x, 1.0)) + clip(x, 100.0) ** 2), draw.normal(draw.rows + 2))


@form("optax")
def penalty_of_a_tree(draw: Draw) -> Case:
    @static(1)
    def penalty(params, rate):
        return 0.5 * rate * sum(jnp.vdot(w, w) for w in jax.tree.leaves(params))

    penalty.defvjp(
        lambda params, rate: (penalty(params, rate), params),
        lambda rate, params, bar: (jax.tree.map(lambda w: bar * rate * w, params),),
    )
    params = {"dense": {"kernel": draw.normal(3, 2), "bias": draw.normal(2)}}
    return case(lambda params: penalty(params, 1e-2), params)


@form("optax")
def safe_ratio(draw: Draw) -> Case:
    """Of where and where again."""

    @jax.custom_jvp
    def ratio(a, b):
        return jnp.where(b != 0, a / jnp.where(b != 0, b, 1), 0)

    ratio.defjvps(
        lambda t, y, a, b: jnp.where(b != 0, t / jnp.where(b != 0, b, 1), 0),
        lambda t, y, a, b: jnp.where(b != 0, -t * a / jnp.where(b != 0, b, 1) ** 2, 0),
    )
    return case(lambda a, b: jnp.sum(ratio(a, b) ** 2), draw.normal(draw.rows), draw.positive(draw.rows))


# ---- pairs of value and gradient -------------------------------------------------------------------------------------


@form("optax")
def gradient_made_in_the_forward_pass(draw: Draw) -> Case:
    def plain(params, x, y):
        return jnp.mean((jnp.tanh(x @ params["w"]) @ params["v"] - y) ** 2)

    @jax.custom_vjp
    def loss(params, x, y):
        return plain(params, x, y)

    def forward(params, x, y):
        return jax.value_and_grad(plain)(params, x, y)

    loss.defvjp(forward, lambda grads, bar: (jax.tree.map(lambda g: bar * g, grads), None, None))
    x, y = draw.normal(draw.rows, draw.width), draw.normal(draw.rows)
    return case(lambda params: loss(params, x, y), {"w": draw.normal(draw.width, 3), "v": draw.normal(3)})


@form("optax")
def loss_with_auxiliary_output(draw: Draw) -> Case:
    @jax.custom_vjp
    def loss(z, labels):
        p = jax.nn.softmax(z)
        value = -jnp.mean(jnp.log(p[jnp.arange(len(z)), labels]))
        return value, {"accuracy": jnp.mean(jnp.argmax(z, -1) == labels), "p": jax.lax.stop_gradient(p)}

    def backward(kept, bars):
        z, labels = kept
        one_hot = jax.nn.one_hot(labels, z.shape[-1], dtype=z.dtype)
        return bars[0] * (jax.nn.softmax(z) - one_hot) / len(z), None

    loss.defvjp(lambda z, labels: (loss(z, labels), (z, labels)), backward)
    labels = draw.labels()

    def objective(w, x):
        value, aux = loss(x @ w, labels)
        return value + 0 * aux["accuracy"]

    return case(objective, draw.normal(draw.width, draw.classes), draw.normal(draw.rows, draw.width))


@form("optax")
def logistic_regression_beside(draw: Draw) -> Case:
    x, y = draw.normal(draw.rows, draw.width), draw.mask(draw.rows)

    def loss(w, rate):
        return jnp.mean(jnp.logaddexp(0, x @ w) - y * (x @ w)) + rate * jnp.sum(w**2)

    def gradient(w, rate):
        return x.T @ (jax.nn.sigmoid(x @ w) - y) / len(y) + 2 * rate * w

    return case(loss, draw.normal(draw.width), jnp.asarray(0.1, draw.dtype), gradient=gradient)


@form("optax")
def two_layers_beside(draw: Draw) -> Case:
    def loss(params, x, y):
        return jnp.mean(jnp.square(jax.nn.relu(x @ params["w"] + params["b"]) @ params["v"] - y))

    def gradient(params, x, y):
        h = jax.nn.relu(x @ params["w"] + params["b"])
        out_bar = 2 * (h @ params["v"] - y) / len(y)
        h_bar = jnp.outer(out_bar, params["v"]) * (h > 0)
        return {"w": x.T @ h_bar, "b": h_bar.sum(0), "v": h.T @ out_bar}

    params = {"w": draw.normal(draw.width, 3), "b": draw.normal(3), "v": draw.normal(3)}
    return case(loss, params, draw.normal(draw.rows, draw.width), draw.normal(draw.rows), gradient=gradient)


@form("optax")
def methods_of_a_model(draw: Draw) -> Case:
    class Model:
        def __init__(self, x, y):
            self.x, self.y = x, y

        def loss(self, w):
            return jnp.mean((self.x @ w - self.y) ** 2)

        def gradient(self, w):
            return 2 / len(self.y) * self.x.T @ (self.x @ w - self.y)

    model = Model(draw.normal(draw.rows, draw.width), draw.normal(draw.rows))
    return case(model.loss, draw.normal(draw.width), gradient=model.gradient)


@form("optax")
def partials_with_keywords(draw: Draw) -> Case:
    def loss(w, *, x, y, power):
        return jnp.sum(jnp.abs(x @ w - y) ** power)

    def gradient(w, *, x, y, power):
        e = x @ w - y
        return x.T @ (power * jnp.abs(e) ** (power - 1) * jnp.sign(e))

    held = {"x": draw.normal(draw.rows, draw.width), "y": draw.normal(draw.rows), "power": 3}
    return case(functools.partial(loss, **held), draw.normal(draw.width), gradient=functools.partial(gradient, **held))


@form("optax")
def gradient_per_example_and_averaged(draw: Draw) -> Case:
    x, y = draw.normal(draw.rows, draw.width), draw.labels()

    def loss(w):
        return jnp.mean(jax.nn.logsumexp(x @ w, -1) - jnp.take_along_axis(x @ w, y[:, None], -1)[:, 0])

    def one(w, x, y):
        return jnp.outer(x, jax.nn.softmax(x @ w) - jax.nn.one_hot(y, w.shape[1], dtype=w.dtype))

    return case(
        loss, draw.normal(draw.width, draw.classes), gradient=lambda w: jax.vmap(one, (None, 0, 0))(w, x, y).mean(0)
    )


@form("optax")
def gradient_accumulated_by_scan(draw: Draw) -> Case:
    x, y = draw.normal(4, draw.rows, draw.width), draw.normal(4, draw.rows)

    def loss(w):
        return jnp.mean((x @ w - y) ** 2)

    def gradient(w):
        def step(total, batch):
            x, y = batch
            return total + 2 * x.T @ (x @ w - y) / len(y), None

        return jax.lax.scan(step, jnp.zeros_like(w), (x, y))[0] / len(x)

    return case(loss, draw.normal(draw.width), gradient=gradient)
