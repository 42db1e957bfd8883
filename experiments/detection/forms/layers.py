"""Layers and modules, as users of Flax and Equinox write their rules."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from experiments.detection.forms.drawing import Case, Draw, case, form, static

# ---- parameters of every kind ----------------------------------------------------------------------------------------


@form("flax")
def dense_of_a_dict(draw: Draw) -> Case:
    @jax.custom_vjp
    def dense(params, x):
        return jnp.dot(x, params["kernel"]) + params["bias"]

    def forward(params, x):
        return dense(params, x), (params["kernel"], x)

    def backward(residuals, bar):
        kernel, x = residuals
        return {"kernel": x.T @ bar, "bias": bar.sum(0)}, bar @ kernel.T

    dense.defvjp(forward, backward)
    params = {"kernel": draw.normal(draw.width, draw.classes), "bias": jnp.zeros(draw.classes, draw.dtype)}
    return case(
        lambda params, x: jnp.mean(jax.nn.relu(dense(params, x)) ** 2), params, draw.normal(draw.rows, draw.width)
    )


class Linear(NamedTuple):
    """Parameters as a named tuple."""

    weight: jax.Array
    bias: jax.Array | None


@form("equinox")
def dense_of_a_named_tuple(draw: Draw) -> Case:
    @jax.custom_vjp
    def call(layer: Linear, x):
        return layer.weight @ x + layer.bias

    call.defvjp(
        lambda layer, x: (call(layer, x), (layer, x)),
        lambda kept, bar: (Linear(jnp.outer(bar, kept[1]), bar), kept[0].weight.T @ bar),
    )
    layer = Linear(draw.normal(draw.classes, draw.width), draw.normal(draw.classes))
    return case(
        lambda layer, x: jnp.sum(jnp.tanh(jax.vmap(call, (None, 0))(layer, x))),
        layer,
        draw.normal(draw.rows, draw.width),
    )


@form("equinox")
def dense_without_bias(draw: Draw) -> Case:
    @jax.custom_vjp
    def call(layer: Linear, x):
        return x @ layer.weight.T

    call.defvjp(
        lambda layer, x: (call(layer, x), (layer.weight, x)),
        lambda kept, bar: (Linear(bar.T @ kept[1], None), bar @ kept[0]),
    )
    return case(
        lambda layer, x: jnp.sum(call(layer, x) ** 2),
        Linear(draw.normal(3, draw.width), None),
        draw.normal(draw.rows, draw.width),
    )


@functools.partial(jax.tree_util.register_dataclass, data_fields=["scale", "shift"], meta_fields=["axis"])
class Affine:
    """A module: two arrays and a number that is static."""

    def __init__(self, scale: Any, shift: Any, axis: int = -1) -> None:
        self.scale, self.shift, self.axis = scale, shift, axis

    def __call__(self, x):
        return _affine(self, x)


@jax.custom_vjp
def _affine(module: Affine, x):
    return module.scale * x / jnp.sum(jnp.abs(x), module.axis, keepdims=True) + module.shift


def _affine_backward(kept, bar):
    module, x = kept
    size = jnp.sum(jnp.abs(x), module.axis, keepdims=True)
    y_bar = module.scale * bar
    x_bar = y_bar / size - jnp.sign(x) * jnp.sum(y_bar * x, module.axis, keepdims=True) / size**2
    return Affine((bar * x / size).sum(0), bar.sum(0), module.axis), x_bar


_affine.defvjp(lambda module, x: (_affine(module, x), (module, x)), _affine_backward)


@form("equinox")
def module_that_is_a_dataclass(draw: Draw) -> Case:
    module = Affine(draw.normal(draw.width), draw.normal(draw.width))
    return case(lambda module, x: jnp.sum(module(x) ** 2), module, draw.normal(draw.rows, draw.width))


@form("equinox")
def nested_modules(draw: Draw) -> Case:
    modules = [Affine(draw.normal(draw.width), draw.normal(draw.width)) for _ in range(2)]

    def loss(modules, x):
        for module in modules:
            x = jax.nn.silu(module(x))
        return jnp.mean(x)

    return case(loss, modules, draw.normal(draw.rows, draw.width))


@form("equinox")
def static_and_dynamic_parts(draw: Draw) -> Case:
    @static(0)
    def apply(static, dynamic, x):
        activation, power = static
        return activation(x @ dynamic) ** power

    def forward(static, dynamic, x):
        return apply(static, dynamic, x), (dynamic, x)

    def backward(static, kept, bar):
        _, pull = jax.vjp(lambda dynamic, x: static[0](x @ dynamic) ** static[1], *kept)
        return pull(bar)

    apply.defvjp(forward, backward)
    return case(
        lambda w, x: jnp.sum(apply((jnp.tanh, 2), w, x)) + jnp.sum(apply((jnp.sin, 3), w, x)),
        draw.normal(draw.width, 2), draw.normal(draw.rows, draw.width),
    )  # fmt: skip


@form("flax")
def activation_by_name(draw: Draw) -> Case:
    @static(1)
    def activate(x, name="tanh"):
        return jnp.tanh(x) if name == "tanh" else jax.nn.sigmoid(x)

    def forward(x, name):
        y = activate(x, name)
        return y, y

    def backward(name, y, bar):
        return (bar * (1 - y**2) if name == "tanh" else bar * y * (1 - y),)

    activate.defvjp(forward, backward)
    return case(lambda x: jnp.sum(activate(x, "tanh") * activate(x, "sigmoid")), draw.normal(draw.rows))


# ---- normalizations --------------------------------------------------------------------------------------------------


@form("flax")
def layer_norm(draw: Draw) -> Case:
    @static(3)
    def norm(x, scale, bias, eps):
        return forward(x, scale, bias, eps)[0]

    def forward(x, scale, bias, eps):
        mean = x.mean(-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x - mean), -1, keepdims=True) + eps)
        normal = (x - mean) * inverse
        return normal * scale + bias, (normal, inverse, scale)

    def backward(eps, kept, bar):
        normal, inverse, scale = kept
        n_bar = bar * scale
        x_bar = n_bar - n_bar.mean(-1, keepdims=True) - normal * (n_bar * normal).mean(-1, keepdims=True)
        return inverse * x_bar, (bar * normal).sum(0), bar.sum(0)

    norm.defvjp(forward, backward)
    return case(
        lambda x, g, b: jnp.sum(jnp.sin(norm(x, g, b, 1e-5))),
        draw.normal(draw.rows, draw.width), jnp.ones(draw.width, draw.dtype), jnp.zeros(draw.width, draw.dtype),
    )  # fmt: skip


@form("flax")
def rms_norm_in_float32(draw: Draw) -> Case:
    def forward(x, scale):
        wide = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + 1e-6)
        return (wide * inverse).astype(x.dtype) * scale, (x, inverse, scale)

    @jax.custom_vjp
    def norm(x, scale):
        return forward(x, scale)[0]

    def backward(kept, bar):
        x, inverse, scale = kept
        wide, n_bar = x.astype(jnp.float32), (bar * scale).astype(jnp.float32)
        mean = jnp.mean(n_bar * wide, -1, keepdims=True)
        x_bar = inverse * n_bar - inverse**3 * wide * mean
        return x_bar.astype(x.dtype), jnp.sum(bar * (wide * inverse).astype(x.dtype), 0)

    norm.defvjp(forward, backward)
    return case(lambda x, g: jnp.sum(norm(x, g) ** 3), draw.normal(draw.rows, draw.width), draw.positive(draw.width))


@form("flax")
def batch_norm_with_statistics(draw: Draw) -> Case:
    def forward(x, scale):
        mean, variance = x.mean(0), x.var(0)
        normal = (x - mean) / jnp.sqrt(variance + 1e-3)
        return (scale * normal, mean, variance), (x - mean, normal, variance, scale)

    @jax.custom_vjp
    def norm(x, scale):
        return forward(x, scale)[0]

    def backward(kept, bars):
        centred, normal, variance, scale = kept
        bar, mean_bar, variance_bar = bars
        n_bar = scale * bar
        x_bar = (n_bar - n_bar.mean(0) - normal * (n_bar * normal).mean(0)) / jnp.sqrt(variance + 1e-3)
        return x_bar + (mean_bar + 2 * centred * variance_bar) / len(centred), (bar * normal).sum(0)

    norm.defvjp(forward, backward)

    def loss(x, scale, running):
        y, mean, variance = norm(x, scale)
        return jnp.sum(y**3) + jnp.sum((running - mean) ** 2) + 0.1 * jnp.sum(variance)

    return case(loss, draw.normal(draw.rows, draw.width), draw.positive(draw.width), draw.normal(draw.width))


@form("flax")
def group_norm_by_reshape(draw: Draw) -> Case:
    def plain(x):
        groups = x.reshape(x.shape[0], 2, -1)
        centred = groups - groups.mean(-1, keepdims=True)
        return (centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)).reshape(x.shape)

    norm = jax.custom_vjp(plain)

    def backward(x, bar):
        groups, g = x.reshape(x.shape[0], 2, -1), bar.reshape(x.shape[0], 2, -1)
        centred = groups - groups.mean(-1, keepdims=True)
        deviation = jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        n = centred / deviation
        return (((g - g.mean(-1, keepdims=True) - n * (g * n).mean(-1, keepdims=True)) / deviation).reshape(x.shape),)

    norm.defvjp(lambda x: (plain(x), x), backward)
    return case(lambda x: jnp.sum(jnp.exp(norm(x))), draw.normal(draw.rows, 2 * draw.width))


@form("flax")
def unit_norm_of_weights(draw: Draw) -> Case:
    @jax.custom_jvp
    def unit(v):
        return v / jnp.linalg.norm(v, axis=0)

    @unit.defjvp
    def unit_jvp(primals, tangents):
        (v,), (t,) = primals, tangents
        size = jnp.linalg.norm(v, axis=0)
        u = v / size
        return u, (t - u * jnp.sum(u * t, axis=0)) / size

    return case(
        lambda v, g, x: jnp.sum(jnp.tanh(x @ (g * unit(v)))),
        draw.normal(draw.width, 2), draw.positive(2), draw.normal(draw.rows, draw.width),
    )  # fmt: skip


# ---- look-ups, pooling, convolution ----------------------------------------------------------------------------------


@form("flax")
def embedding_with_float0(draw: Draw) -> Case:
    @jax.custom_vjp
    def lookup(table, ids):
        return jnp.take(table, ids, axis=0)

    def backward(kept, bar):
        ids, size = kept
        table_bar = jnp.zeros((size.shape[0], bar.shape[-1]), bar.dtype).at[ids].add(bar)
        return table_bar, np.zeros(ids.shape, jax.dtypes.float0)

    lookup.defvjp(lambda table, ids: (lookup(table, ids), (ids, jnp.zeros(table.shape[0]))), backward)
    return case(
        lambda table, ids: jnp.sum(lookup(table, ids) ** 2), draw.normal(draw.classes, draw.width), draw.labels()
    )


@form("flax")
def embedding_by_one_hot(draw: Draw) -> Case:
    @jax.custom_vjp
    def lookup(table, ids):
        return table[ids]

    lookup.defvjp(
        lambda table, ids: (table[ids], (ids, table)),
        lambda kept, bar: (jax.nn.one_hot(kept[0], len(kept[1]), dtype=bar.dtype).T @ bar, None),
    )
    ids = draw.labels()
    return case(lambda table: jnp.sum(jnp.cos(lookup(table, ids))), draw.normal(draw.classes, draw.width))


@form("flax")
def segment_sum_of_edges(draw: Draw) -> Case:
    @static(2)
    def aggregate(messages, receivers, nodes):
        return jax.ops.segment_sum(messages, receivers, nodes)

    aggregate.defvjp(
        lambda messages, receivers, nodes: (aggregate(messages, receivers, nodes), receivers),
        lambda nodes, receivers, bar: (bar[receivers], None),
    )
    receivers = draw.labels()
    return case(lambda m: jnp.sum(aggregate(m, receivers, draw.classes) ** 2), draw.normal(draw.rows, draw.width))


@form("flax")
def max_pooling_by_argmax(draw: Draw) -> Case:
    @jax.custom_vjp
    def pool(x):
        return x.reshape(x.shape[0], -1, 2).max(-1)

    def forward(x):
        windows = x.reshape(x.shape[0], -1, 2)
        return windows.max(-1), jnp.argmax(windows, -1)

    def backward(index, bar):
        return ((jax.nn.one_hot(index, 2, dtype=bar.dtype) * bar[..., None]).reshape(bar.shape[0], -1),)

    pool.defvjp(forward, backward)
    return case(lambda x: jnp.sum(jnp.sin(pool(x))), draw.normal(draw.rows, 2 * draw.width))


@form("flax")
def convolution_by_linear_transpose(draw: Draw) -> Case:
    def plain(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    convolve = jax.custom_vjp(plain)

    def backward(kept, bar):
        x, kernel = kept
        (x_bar,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(bar)
        (kernel_bar,) = jax.linear_transpose(lambda k: plain(x, k), kernel)(bar)
        return x_bar, kernel_bar

    convolve.defvjp(lambda x, kernel: (plain(x, kernel), (x, kernel)), backward)
    return case(lambda k, x: jnp.mean(convolve(x, k) ** 2), draw.normal(3, 2, 3), draw.normal(2, draw.rows, 2))


@form("flax")
def convolution_of_a_signal_by_hand(draw: Draw) -> Case:
    @jax.custom_vjp
    def correlate(x, k):
        return jnp.correlate(x, k, mode="valid")

    correlate.defvjp(
        lambda x, k: (correlate(x, k), (x, k)),
        lambda kept, bar: (jnp.convolve(bar, kept[1], mode="full"), jnp.correlate(kept[0], bar, mode="valid")),
    )
    return case(lambda k, x: jnp.sum(correlate(x, k) ** 2), draw.normal(3), draw.normal(draw.rows + 4))


# ---- activations in forward mode -------------------------------------------------------------------------------------


@form("flax")
def gelu_by_tanh(draw: Draw) -> Case:
    @jax.custom_jvp
    def gelu(x):
        return 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    @gelu.defjvp
    def gelu_jvp(primals, tangents):
        (x,), (t,) = primals, tangents
        inner = jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
        return 0.5 * x * (1 + inner), t * (0.5 * (1 + inner) + 0.5 * x * (1 - inner**2) * slope)

    return case(lambda x: jnp.sum(gelu(x)), draw.normal(draw.rows, draw.width))


@form("flax")
def silu_by_defjvps(draw: Draw) -> Case:
    @jax.custom_jvp
    def silu(x, beta):
        return x * jax.nn.sigmoid(beta * x)

    silu.defjvps(
        lambda t, y, x, beta: (
            t * (jax.nn.sigmoid(beta * x) + beta * x * jax.nn.sigmoid(beta * x) * jax.nn.sigmoid(-beta * x))
        ),
        lambda t, y, x, beta: t * x**2 * jax.nn.sigmoid(beta * x) * jax.nn.sigmoid(-beta * x),
    )
    return case(lambda x, beta: jnp.sum(silu(x, beta)), draw.normal(draw.rows), jnp.asarray(1.5, draw.dtype))


@form("flax")
def one_of_two_jvps_is_none(draw: Draw) -> Case:
    @jax.custom_jvp
    def scaled(x, shift):
        return jnp.sin(x) + jax.lax.stop_gradient(shift)

    scaled.defjvps(lambda t, y, x, shift: jnp.cos(x) * t, None)
    return case(lambda x: jnp.sum(scaled(x, 2 * jnp.ones_like(x))), draw.normal(draw.rows))


@form("flax")
def relu_with_a_chosen_zero(draw: Draw) -> Case:
    @jax.custom_jvp
    def relu(x):
        return jnp.maximum(x, 0)

    relu.defjvps(lambda t, y, x: jnp.where(x > 0, t, jnp.zeros_like(t)))
    x = draw.normal(draw.rows, draw.width).at[0, 0].set(0.0)
    return case(lambda x: jnp.sum(jax.jit(relu)(x) ** 2 + relu(x)), x)


@form("equinox")
def stable_softplus(draw: Draw) -> Case:
    @jax.custom_jvp
    def softplus(x):
        return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))

    softplus.defjvp(lambda p, t: (softplus(*p), jax.nn.sigmoid(p[0]) * t[0]))
    return case(lambda x: jnp.sum(softplus(x)), 3 * draw.normal(draw.rows).at[0].set(0.0))


@form("flax")
def prelu_with_a_learned_slope(draw: Draw) -> Case:
    @jax.custom_vjp
    def prelu(x, slope):
        return jnp.where(x >= 0, x, slope * x)

    prelu.defvjp(
        lambda x, slope: (prelu(x, slope), (x, slope)),
        lambda kept, bar: (
            jnp.where(kept[0] >= 0, bar, kept[1] * bar),
            jnp.sum(jnp.where(kept[0] >= 0, 0, kept[0] * bar)),
        ),
    )
    return case(lambda x, a: jnp.sum(prelu(x, a) ** 2), draw.normal(draw.rows, 2), jnp.asarray(0.25, draw.dtype))


@form("flax")
def glu_in_halves(draw: Draw) -> Case:
    @static(1)
    def glu(x, axis=-1):
        a, b = jnp.split(x, 2, axis)
        return a * jax.nn.sigmoid(b)

    def forward(x, axis):
        a, b = jnp.split(x, 2, axis)
        s = jax.nn.sigmoid(b)
        return a * s, (a, s)

    def backward(axis, kept, bar):
        a, s = kept
        return (jnp.concatenate([bar * s, bar * a * s * (1 - s)], axis),)

    glu.defvjp(forward, backward)
    return case(lambda x: jnp.sum(glu(x, 0) ** 2), draw.normal(4, draw.rows))


# ---- attention -------------------------------------------------------------------------------------------------------


def _attention():
    @jax.custom_vjp
    def attend(q, k, v):
        return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v

    def forward(q, k, v):
        p = jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1]))
        return p @ v, (q, k, v, p)

    def backward(kept, bar):
        q, k, v, p = kept
        p_bar = bar @ v.T
        s_bar = p * (p_bar - jnp.sum(p_bar * p, -1, keepdims=True)) / np.sqrt(q.shape[-1])
        return s_bar @ k, s_bar.T @ q, p.T @ bar

    attend.defvjp(forward, backward)
    return attend


@form("flax")
def self_attention_of_one_array(draw: Draw) -> Case:
    attend = _attention()
    return case(lambda x: jnp.sum(attend(x, x, x) ** 2), draw.normal(draw.rows, draw.width))


@form("flax")
def heads_by_vmap(draw: Draw) -> Case:
    attend = jax.vmap(_attention(), in_axes=1, out_axes=1)

    def loss(params, x):
        q, k, v = (x @ params[name] for name in "qkv")
        split = lambda a: a.reshape(len(x), 2, -1)  # noqa: E731
        return jnp.mean(attend(split(q), split(k), split(v)) ** 2)

    params = {name: draw.normal(draw.width, 4) for name in "qkv"}
    return case(loss, params, draw.normal(draw.rows, draw.width))


@form("flax")
def attention_that_recomputes(draw: Draw) -> Case:
    """The output and the log of the sum of the exponentials are kept, the probabilities are not."""

    @static(3)
    def attend(q, k, v, causal):
        return forward(q, k, v, causal)[0]

    def scores(q, k, causal):
        s = q @ k.T * q.shape[-1] ** -0.5
        return jnp.where(jnp.tril(jnp.ones(s.shape, bool)), s, -1e9) if causal else s

    def forward(q, k, v, causal):
        s = scores(q, k, causal)
        total = jax.nn.logsumexp(s, -1, keepdims=True)
        out = jnp.exp(s - total) @ v
        return out, (q, k, v, out, total)

    def backward(causal, kept, bar):
        q, k, v, out, total = kept
        p = jnp.exp(scores(q, k, causal) - total)
        s_bar = p * (bar @ v.T - jnp.sum(bar * out, -1, keepdims=True)) * q.shape[-1] ** -0.5
        return s_bar @ k, s_bar.T @ q, p.T @ bar

    attend.defvjp(forward, backward)
    shape = draw.rows, draw.width
    return case(lambda q, k, v: jnp.sum(jnp.sin(attend(q, k, v, True))), *(draw.normal(*shape) for _ in range(3)))


@form("flax")
def attention_with_a_padding_mask(draw: Draw) -> Case:
    @jax.custom_vjp
    def masked_softmax(s, keep):
        return jax.nn.softmax(jnp.where(keep, s, -1e9))

    def forward(s, keep):
        p = masked_softmax(s, keep)
        return p, (p, keep)

    def backward(kept, bar):
        p, keep = kept
        return jnp.where(keep, p * (bar - jnp.sum(p * bar, -1, keepdims=True)), 0), np.zeros(
            keep.shape, jax.dtypes.float0
        )

    masked_softmax.defvjp(forward, backward)
    keep = draw.mask(draw.rows, draw.width).at[:, 0].set(1) > 0
    return case(
        lambda s, v: jnp.sum((masked_softmax(s, keep) @ v) ** 2),
        draw.normal(draw.rows, draw.width),
        draw.normal(draw.width, 2),
    )


@form("flax")
def rotary_positions(draw: Draw) -> Case:
    def angles(positions, half):
        return positions[:, None] * 10_000.0 ** (-jnp.arange(half) / half)

    @jax.custom_vjp
    def rotate(x, positions):
        a, b = jnp.split(x, 2, -1)
        t = angles(positions, a.shape[-1]).astype(x.dtype)
        return jnp.concatenate([a * jnp.cos(t) - b * jnp.sin(t), a * jnp.sin(t) + b * jnp.cos(t)], -1)

    def backward(positions, bar):
        a, b = jnp.split(bar, 2, -1)
        t = angles(positions, a.shape[-1]).astype(bar.dtype)
        return jnp.concatenate([a * jnp.cos(t) + b * jnp.sin(t), b * jnp.cos(t) - a * jnp.sin(t)], -1), None

    rotate.defvjp(lambda x, positions: (rotate(x, positions), positions), backward)
    positions = jnp.arange(draw.rows)
    return case(lambda x, w: jnp.sum(rotate(x, positions) * w), draw.normal(draw.rows, 4), draw.normal(draw.rows, 4))


# ---- recurrences and holders of rules --------------------------------------------------------------------------------


def _cell():
    @jax.custom_vjp
    def cell(params, h, x):
        return jnp.tanh(h @ params["recurrent"] + x @ params["input"] + params["bias"])

    def forward(params, h, x):
        new = cell(params, h, x)
        return new, (params, h, x, new)

    def backward(kept, bar):
        params, h, x, new = kept
        z_bar = bar * (1 - new * new)
        grads = {"recurrent": jnp.outer(h, z_bar), "input": jnp.outer(x, z_bar), "bias": z_bar}
        return grads, params["recurrent"] @ z_bar, params["input"] @ z_bar

    cell.defvjp(forward, backward)
    return cell


@form("flax")
def recurrent_cell_in_scan(draw: Draw) -> Case:
    cell = _cell()

    def loss(params, xs):
        h, hs = jax.lax.scan(lambda h, x: (cell(params, h, x),) * 2, jnp.zeros(3, xs.dtype), xs)
        return jnp.sum(hs**2) + jnp.sum(h)

    params = {"recurrent": draw.normal(3, 3) / 2, "input": draw.normal(draw.width, 3), "bias": draw.normal(3)}
    return case(loss, params, draw.normal(draw.rows, draw.width))


@form("flax")
def gated_cell(draw: Draw) -> Case:
    @jax.custom_vjp
    def gate(c, f, i, g):
        return jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)

    def backward(kept, bar):
        c, f, i, g = kept
        sf, si, tg = jax.nn.sigmoid(f), jax.nn.sigmoid(i), jnp.tanh(g)
        return bar * sf, bar * c * sf * (1 - sf), bar * tg * si * (1 - si), bar * si * (1 - tg**2)

    gate.defvjp(lambda *a: (gate(*a), a), backward)

    def loss(w, xs):
        def step(c, x):
            f, i, g = jnp.split(w @ jnp.concatenate([c, x]), 3)
            c = gate(c, f, i, g)
            return c, c

        return jnp.sum(jax.lax.scan(step, jnp.zeros(2, xs.dtype), xs)[1] ** 2)

    return case(loss, draw.normal(6, 2 + draw.width), draw.normal(draw.rows, draw.width))


@form("flax")
def stacked_layers_in_scan(draw: Draw) -> Case:
    @jax.custom_vjp
    def block(w, x):
        return x + jax.nn.relu(x @ w)

    block.defvjp(
        lambda w, x: (block(w, x), (w, x)),
        lambda kept, bar: (
            kept[1].T @ (bar * (kept[1] @ kept[0] > 0)), bar + (bar * (kept[1] @ kept[0] > 0)) @ kept[0].T,
        ),
    )  # fmt: skip
    return case(
        lambda ws, x: jnp.mean(jax.lax.scan(lambda x, w: (block(w, x), None), x, ws)[0] ** 2),
        draw.normal(3, draw.width, draw.width) / 2, draw.normal(draw.rows, draw.width),
    )  # fmt: skip


def _sine():
    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), lambda c, bar: (bar * c,))
    return sine


@form("flax")
def rule_under_checkpoint(draw: Draw) -> Case:
    sine = _sine()
    block = jax.checkpoint(lambda w, x: sine(x @ w), policy=jax.checkpoint_policies.nothing_saveable)
    return case(lambda w, x: jnp.sum(block(w, block(w, x))), draw.normal(3, 3), draw.normal(draw.rows, 3))


@form("flax")
def rule_under_cond_and_switch(draw: Draw) -> Case:
    sine = _sine()

    def f(x, k):
        y = jax.lax.cond(x[0] > 0, sine, lambda x: 2 * x, x)
        return jnp.sum(jax.lax.switch(k, [sine, jnp.tanh, lambda y: sine(y) ** 2], y))

    return case(f, draw.normal(draw.rows), 2)


@form("flax")
def rule_under_shard_map(draw: Draw) -> Case:
    sine = _sine()
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))

    def local(w, x):
        return jax.lax.pmean(jnp.mean(sine(x @ w) ** 2), "batch")

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P())
    return case(mapped, draw.normal(draw.width), draw.normal(draw.rows, draw.width))


@form("flax")
def rule_under_jit_with_static_arguments(draw: Draw) -> Case:
    sine = _sine()

    @functools.partial(jax.jit, static_argnames=("times", "mode"))
    def repeat(x, times, mode="sum"):
        for _ in range(times):
            x = sine(x) + 1
        return x.sum() if mode == "sum" else x.mean()

    return case(lambda x: repeat(x, 3) + repeat(x, times=2, mode="mean"), draw.normal(draw.rows))


@form("flax")
def rule_in_a_fori_loop(draw: Draw) -> Case:
    sine = _sine()
    return case(lambda x: jnp.sum(jax.lax.fori_loop(0, 4, lambda i, x: sine(x) + 0.1 * i, x)), draw.normal(draw.rows))


@form("equinox")
def rule_in_nested_vmaps(draw: Draw) -> Case:
    @jax.custom_vjp
    def kernel(x, y):
        return jnp.exp(-0.5 * jnp.sum((x - y) ** 2))

    kernel.defvjp(
        lambda x, y: (kernel(x, y), (x - y, kernel(x, y))),
        lambda kept, bar: (-bar * kept[1] * kept[0], bar * kept[1] * kept[0]),
    )
    gram = jax.vmap(jax.vmap(kernel, (None, 0)), (0, None))
    return case(lambda x, y: jnp.sum(jnp.log1p(gram(x, y))), draw.normal(draw.rows, 2), draw.normal(3, 2))


@form("equinox")
def rule_in_a_rule(draw: Draw) -> Case:
    sine = _sine()

    @jax.custom_vjp
    def outer(x, y):
        return sine(x) * y

    def forward(x, y):
        s, pull = jax.vjp(sine, x)
        return s * y, (pull, s, y)

    outer.defvjp(forward, lambda kept, bar: (kept[0](bar * kept[2])[0], bar * kept[1]))
    return case(lambda x, y: jnp.sum(outer(x, y) ** 2), draw.normal(draw.rows), draw.normal(draw.rows))


@form("equinox")
def block_that_recomputes_by_hand(draw: Draw) -> Case:
    def body(w, x):
        return jax.nn.gelu(x @ w["a"]) @ w["b"]

    @jax.custom_vjp
    def block(w, x):
        return body(w, x)

    block.defvjp(lambda w, x: (body(w, x), (w, x)), lambda kept, bar: jax.vjp(body, *kept)[1](bar))
    weights = {"a": draw.normal(draw.width, 6), "b": draw.normal(6, draw.width)}
    return case(lambda w, x: jnp.mean(block(w, x) ** 2), weights, draw.normal(draw.rows, draw.width))


@form("equinox")
def reversible_block(draw: Draw) -> Case:
    """Backward finds its inputs again from its outputs."""

    def f(w, x):
        return jnp.tanh(x @ w)

    @jax.custom_vjp
    def block(w, a, b):
        y = a + f(w[0], b)
        return y, b + f(w[1], y)

    def forward(w, a, b):
        out = block(w, a, b)
        return out, (w, out)

    def backward(kept, bars):
        w, (y, z) = kept
        y_bar, z_bar = bars
        out, pull = jax.vjp(f, w[1], y)
        b = z - out
        w1_bar, more = pull(z_bar)
        y_bar = y_bar + more
        _, pull = jax.vjp(f, w[0], b)
        w0_bar, b_bar = pull(y_bar)
        return [w0_bar, w1_bar], y_bar, z_bar + b_bar

    block.defvjp(forward, backward)

    def loss(w, a, b):
        return jnp.sum(jnp.stack(block(w, *block(w, a, b))) ** 2)

    w = [draw.normal(3, 3), draw.normal(3, 3)]
    return case(loss, w, draw.normal(draw.rows, 3), draw.normal(draw.rows, 3))


@form("equinox")
def symbolic_zeros(draw: Draw) -> Case:
    @jax.custom_vjp
    def product(x, y):
        return x * y

    def forward(x, y):
        kept = x.value if y.perturbed else None, y.value if x.perturbed else None
        return x.value * y.value, kept

    def backward(kept, bar):
        x, y = kept
        if isinstance(bar, jax.custom_derivatives.SymbolicZero):
            return None, None
        return None if y is None else bar * y, None if x is None else bar * x

    product.defvjp(forward, backward, symbolic_zeros=True)
    y = draw.normal(draw.rows)
    return case(lambda x: jnp.sum(product(x, y) ** 2), draw.normal(draw.rows))


@form("equinox")
def symbolic_zeros_in_forward_mode(draw: Draw) -> Case:
    @jax.custom_jvp
    def product(x, y):
        return x * y

    def rule(primals, tangents):
        (x, y), (s, t) = primals, tangents
        zero = jax.custom_derivatives.SymbolicZero
        parts = [a * b for a, b in ((y, s), (x, t)) if not isinstance(b, zero)]
        return x * y, sum(parts) if parts else zero.from_primal_value(x * y)

    product.defjvp(rule, symbolic_zeros=True)
    y = draw.normal(draw.rows)
    return case(lambda x: jnp.sum(jnp.sin(product(x, y))), draw.normal(draw.rows))


@form("equinox")
def closure_that_is_converted(draw: Draw) -> Case:
    """Arrays that a function captured are lifted to arguments, as solvers do it."""

    @static(0)
    def squared(f, x, captured):
        return f(x, *captured) ** 2

    def forward(f, x, captured):
        y, pull = jax.vjp(f, x, *captured)
        return y**2, (y, pull)

    def backward(f, kept, bar):
        y, pull = kept
        x_bar, *rest = pull(2 * y * bar)
        return x_bar, tuple(rest)

    squared.defvjp(forward, backward)

    def loss(w, x):
        f, captured = jax.closure_convert(lambda x: jnp.tanh(x @ w), x)
        return jnp.sum(squared(f, x, tuple(captured)))

    return case(loss, draw.normal(draw.width, 2), draw.normal(draw.rows, draw.width))


@form("flax")
def experts_with_a_router(draw: Draw) -> Case:
    @static(1)
    def top(logits, k):
        return forward(logits, k)[0]

    def forward(logits, k):
        values, index = jax.lax.top_k(logits, k)
        gates = jax.nn.softmax(values)
        return gates, (gates, index, logits)

    def backward(k, kept, bar):
        gates, index, logits = kept
        values_bar = gates * (bar - jnp.sum(gates * bar, -1, keepdims=True))
        return (jnp.sum(values_bar[..., None] * jax.nn.one_hot(index, logits.shape[-1], dtype=bar.dtype), -2),)

    top.defvjp(forward, backward)
    return case(lambda x: jnp.sum(top(x, 2) ** 2), draw.normal(draw.rows, draw.classes + 2))


@form("flax")
def spectrum_of_a_signal(draw: Draw) -> Case:
    """The power of the Fourier transform; its gradient by the inverse transform."""

    @jax.custom_vjp
    def power(x):
        return jnp.abs(jnp.fft.fft(x)) ** 2

    power.defvjp(lambda x: (power(x), jnp.fft.fft(x)), lambda z, bar: (2 * z.size * jnp.real(jnp.fft.ifft(bar * z)),))
    return case(lambda x, w: jnp.sum(w * power(x)), draw.normal(2 * draw.rows), draw.positive(2 * draw.rows))


@form("flax")
def complex_rotation_of_real_pairs(draw: Draw) -> Case:
    @jax.custom_vjp
    def turn(x, angle):
        z = jax.lax.complex(x[0], x[1]) * jnp.exp(1j * angle)
        return jnp.stack([z.real, z.imag])

    def backward(kept, bar):
        x, angle = kept
        back = jax.lax.complex(bar[0], bar[1]) * jnp.exp(-1j * angle)
        moved = 1j * jax.lax.complex(x[0], x[1])
        return jnp.stack([back.real, back.imag]), jnp.sum(back.real * moved.real + back.imag * moved.imag)

    turn.defvjp(lambda x, angle: (turn(x, angle), (x, angle)), backward)
    return case(lambda x, a: jnp.sum(turn(x, a) ** 3), draw.normal(2, draw.rows), jnp.asarray(0.7, draw.dtype))


@form("flax")
def parameters_in_bfloat16(draw: Draw) -> Case:
    @jax.custom_vjp
    def dense(w, x):
        return jnp.dot(x, w.astype(x.dtype))

    dense.defvjp(
        lambda w, x: (dense(w, x), (w, x)),
        lambda kept, bar: ((kept[1].T @ bar).astype(kept[0].dtype), bar @ kept[0].astype(bar.dtype).T),
    )
    return case(
        lambda w, x: jnp.sum(dense(w, x) ** 2),
        draw.normal(draw.width, 2).astype(jnp.bfloat16),
        draw.normal(draw.rows, draw.width),
    )


@form("flax")
def half_precision_inside(draw: Draw) -> Case:
    @jax.custom_vjp
    def dense(w, x):
        return jnp.dot(x.astype(jnp.float16), w.astype(jnp.float16)).astype(x.dtype)

    def backward(kept, bar):
        w, x = (a.astype(jnp.float16) for a in kept)
        small = bar.astype(jnp.float16)
        return (x.T @ small).astype(bar.dtype), (small @ w.T).astype(bar.dtype)

    dense.defvjp(lambda w, x: (dense(w, x), (w, x)), backward)
    return case(lambda w, x: jnp.mean(dense(w, x) ** 2), draw.normal(draw.width, 2), draw.normal(draw.rows, draw.width))


# ---- random numbers --------------------------------------------------------------------------------------------------


@form("flax")
def dropout_with_a_key(draw: Draw) -> Case:
    @static(2)
    def dropout(x, key, rate):
        return forward(x, key, rate)[0]

    def forward(x, key, rate):
        keep = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0), keep

    dropout.defvjp(forward, lambda rate, keep, bar: (jnp.where(keep, bar / (1 - rate), 0), None))
    return case(lambda x, key: jnp.sum(dropout(x, key, 0.4) ** 2), draw.normal(draw.rows, draw.width), draw.key())


@form("equinox")
def dropout_with_a_raw_key(draw: Draw) -> Case:
    @jax.custom_vjp
    def dropout(x, key):
        return x * jax.random.bernoulli(key, 0.5, x.shape) * 2

    def backward(key, bar):
        keep = jax.random.bernoulli(key, 0.5, bar.shape)
        return bar * keep * 2, np.zeros(key.shape, jax.dtypes.float0)

    dropout.defvjp(lambda x, key: (dropout(x, key), key), backward)
    key = jax.random.PRNGKey(int(draw.random.integers(1000)))
    return case(lambda x: jnp.sum(jnp.tanh(dropout(x, key))), draw.normal(draw.rows, draw.width))


# ---- on purpose ------------------------------------------------------------------------------------------------------


@form("flax")
def straight_through_declared(draw: Draw) -> Case:
    @jax.custom_vjp
    def binarize(x):
        return jnp.where(x > 0, 1.0, -1.0).astype(x.dtype)

    binarize.defvjp(lambda x: (binarize(x), x), lambda x, bar: (bar * (jnp.abs(x) <= 1),))
    return case(
        lambda w, x: jnp.mean((x @ binarize(w)) ** 2),
        draw.normal(draw.width, 2),
        draw.normal(draw.rows, draw.width),
        expected=("binarize",),
    )


@form("flax")
def reversed_gradient_declared(draw: Draw) -> Case:
    @static(1)
    def reverse(x, strength):
        return x

    reverse.defvjp(lambda x, strength: (x, None), lambda strength, _, bar: (-strength * bar,))
    return case(lambda x: jnp.sum(jnp.sin(reverse(x, 0.5))), draw.normal(draw.rows), expected="reverse")


@form("equinox")
def clipped_gradient_declared(draw: Draw) -> Case:
    @jax.custom_vjp
    def clipped(x, low, high):
        return x

    clipped.defvjp(lambda x, low, high: (x, (low, high)), lambda kept, bar: (jnp.clip(bar, *kept), None, None))
    return case(lambda x: jnp.sum(clipped(x, -0.1, 0.1) ** 3), draw.normal(draw.rows), expected=("clipped",))
