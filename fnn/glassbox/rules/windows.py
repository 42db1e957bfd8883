"""Convolution and pooling: sums, products and extremes over windows that slide along axes.

Each output reads the inputs under its window. In the backward pass each input reads the outputs that had it in their
window: the reversed window slides over the cotangents, and strides and dilations swap roles.
Ties: if several entries of a window are the largest, JAX gives everything to the first, and so does this rule.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import NOTHING, Primitive, Symbol, each, enter


def _dilated(sizes, dilation):
    """Sizes after `dilation − 1` gaps are inserted between neighbours."""
    return [(size - 1) * gap + 1 if size else 0 for size, gap in zip(sizes, dilation, strict=True)]


def _back_to_inputs(inputs, window, outputs, strides, padding, dilation, window_dilation):
    """The padding of the cotangents with which the reversed window meets every input where the window met it."""
    wide, reach, spread = _dilated(inputs, dilation), _dilated(window, window_dilation), _dilated(outputs, strides)
    before = [size - 1 - low for size, (low, _) in zip(reach, padding, strict=True)]
    after = [n + w - 1 - m - b for n, w, m, b in zip(wide, reach, spread, before, strict=True)]
    return tuple(zip(before, after, strict=True))


def conv_general_dilated(
    y_bar, y, x, kernel, *, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count,
    batch_group_count, precision=None,
):  # fmt: skip
    # y[n, o, t] = Σ x[n, i, t · stride + k] kernel[o, i, k] over input features i and window places k
    x_axes, kernel_axes, y_axes = dimension_numbers
    features, examples = feature_group_count, batch_group_count
    if not y_bar.size:
        # the window is longer than x: no sum reads anything
        return jnp.zeros_like(x), jnp.zeros_like(kernel)
    # the sums may be in a wider dtype than the factors
    y_bar = y_bar.astype(x.dtype)
    arrays = ((x, x_axes), (kernel, kernel_axes), (y_bar, y_axes))
    inputs, window, outputs = ([a.shape[axis] for axis in axes[2:]] for a, axes in arrays)
    # x: every output that read it, with the kernel reversed and its input and output features swapped
    turned = lax.rev(_regrouped(kernel, kernel_axes[0], kernel_axes[1], features * examples), kernel_axes[2:])
    x_bar = lax.conv_general_dilated(
        y_bar, turned, window_strides=lhs_dilation, lhs_dilation=window_strides, rhs_dilation=rhs_dilation,
        padding=_back_to_inputs(inputs, window, outputs, window_strides, padding, lhs_dilation, rhs_dilation),
        dimension_numbers=lax.ConvDimensionNumbers(y_axes, _exchanged(kernel_axes), x_axes),
        feature_group_count=features * examples, precision=precision,
    )  # fmt: skip
    # kernel: x under y_bar as a window, summed over examples as the forward pass sums over features
    wide, reach, spread = (
        _dilated(inputs, lhs_dilation), _dilated(window, rhs_dilation), _dilated(outputs, window_strides)
    )  # fmt: skip
    ends = [m - n + w - 1 - low for n, w, m, (low, _) in zip(wide, reach, spread, padding, strict=True)]
    kernel_bar = lax.conv_general_dilated(
        x, y_bar, window_strides=rhs_dilation, lhs_dilation=lhs_dilation, rhs_dilation=window_strides,
        padding=tuple((low, end) for (low, _), end in zip(padding, ends, strict=True)),
        dimension_numbers=lax.ConvDimensionNumbers(*map(_exchanged, (x_axes, y_axes, kernel_axes))),
        feature_group_count=examples, batch_group_count=features, precision=precision,
    )  # fmt: skip
    return _regrouped(x_bar, x_axes[1], x_axes[0], examples), kernel_bar


def _exchanged(axes):
    """Swap the first two axes: examples and features, or output and input features."""
    return (axes[1], axes[0], *axes[2:])


def _regrouped(array, source, target, groups):
    """The array with its groups moved from one axis to another, in front of what was there."""
    if groups == 1:
        return array
    shape, split = list(array.shape), list(array.shape)
    split[source : source + 1] = [groups, split[source] // groups]
    shape[source], shape[target] = shape[source] // groups, shape[target] * groups
    return jnp.moveaxis(array.reshape(split), source, target).reshape(shape)


def reduce_window_sum(
    y_bar, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation
):  # fmt: skip
    # y[t] = Σ x[t · stride + k] over the places k of a window
    back = _back_to_inputs(
        x.shape, window_dimensions, y_bar.shape, window_strides, padding, base_dilation, window_dilation
    )
    zero = np.zeros((), y_bar.dtype)
    return (
        lax.reduce_window(
            y_bar, zero, lax.add, window_dimensions, base_dilation, back, window_strides, window_dilation
        ),
    )


def reduce_window_max(y_bar, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    # y[t] = the largest x[t · stride + k], which gets y_bar[t]
    return (
        _to_selected(y_bar, x, lax.ge_p, window_dimensions, window_strides, padding, base_dilation, window_dilation),
    )


def reduce_window_min(y_bar, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation):
    # y[t] = the smallest x[t · stride + k]
    return (
        _to_selected(y_bar, x, lax.le_p, window_dimensions, window_strides, padding, base_dilation, window_dilation),
    )


def _to_selected(y_bar, x, which, dimensions, strides, padding, base_dilation, window_dilation):
    if any(gap != 1 for gap in (*base_dilation, *window_dilation)):
        raise NotImplementedError(
            "an extreme over windows with dilation has no rule in the glass box, and none in JAX. Cut out the windows "
            "with slices."
        )
    return lax.select_and_scatter_add_p.bind(
        y_bar, x, select_prim=which, window_dimensions=tuple(dimensions), window_strides=tuple(strides),
        padding=tuple(padding),
    )  # fmt: skip


def select_and_scatter_add(y_bar, y, source, x, *, select_prim, window_dimensions, window_strides, padding):
    # y = for each window, its source added where x is largest; x only chooses
    ones = (1,) * x.ndim
    return lax.select_and_gather_add_p.bind(
        y_bar, x, select_prim=select_prim, window_dimensions=window_dimensions, window_strides=window_strides,
        padding=padding, base_dilation=ones, window_dilation=ones,
    ), NOTHING  # fmt: skip


def select_and_gather_add(
    y_bar, y, source, x, *, select_prim, window_dimensions, window_strides, padding, base_dilation, window_dilation
):  # fmt: skip
    # y = for each window, the source where x is largest; x only chooses
    dilations = base_dilation, window_dilation
    return _to_selected(y_bar, x, select_prim, window_dimensions, window_strides, padding, *dilations), NOTHING


# ---- the table -------------------------------------------------------------------------------------------------------


def _cost(params, inputs, outputs):
    # a multiplication and an addition for every position in the window and every input feature of the group
    _, kernel_axes, _ = params["dimension_numbers"]
    per_output = math.prod(inputs[1].shape) // max(inputs[1].shape[kernel_axes[0]], 1)
    return 2 * math.prod(outputs[0].shape) * per_output


def _window_cost(params, inputs, outputs):
    return math.prod(outputs[0].shape) * math.prod(params["window_dimensions"])


def _convolution(g, p, y):
    ones = {"lhs_dilation": 1, "rhs_dilation": 1, "feature_group_count": 1, "batch_group_count": 1}
    words = [f"{g[0].text}, {g[1].text}, {tuple(p['window_strides'])}, {py.pairs(p['padding'])}"]
    for name, plain in ones.items():
        value = p[name]
        if any(n != plain for n in np.atleast_1d(value).tolist()):
            words.append(f"{name}={tuple(value) if isinstance(value, tuple | list) else value}")
    numbers = p["dimension_numbers"]
    words.append(
        f"dimension_numbers=lax.ConvDimensionNumbers({', '.join(str(tuple(map(int, axes))) for axes in numbers)})"
    )
    precision = py.precision(p.get("precision"))
    words += [f"precision={precision}"] if precision else []
    words += [f"preferred_element_type=jnp.{y.dtype.name}"] if y.dtype != g[0].dtype else []
    return f"lax.conv_general_dilated({', '.join(words)})"


def _pooled(operation, start):
    def text(g, p, y):
        dilations = [tuple(p["base_dilation"]), tuple(p["window_dilation"])]
        dilated = f", {dilations[0]}, {dilations[1]}" if any(n != 1 for each in dilations for n in each) else ""
        first = start if jnp.issubdtype(y.dtype, jnp.inexact) else f"jnp.iinfo(jnp.{y.dtype.name}).{_ENDS[operation]}"
        first = "0" if operation == "add" else first
        window = f"{tuple(p['window_dimensions'])}, {tuple(p['window_strides'])}, {py.pairs(p['padding'])}"
        return f"lax.reduce_window({g[0].text}, jnp.{y.dtype.name}({first}), lax.{operation}, {window}{dilated})"

    return py.call(text)


_ENDS = {"max": "min", "min": "max", "add": ""}


def _bound(name):
    """The primitive itself: JAX has no other name for it."""

    def text(g, p, y):
        params = {key: f"lax.{value}_p" if key == "select_prim" else value for key, value in p.items()}
        words = ", ".join(f"{key}={value}" for key, value in params.items())
        return f"lax.{name}_p.bind({g[0].text}, {g[1].text}, {words})"

    return py.call(text)


enter(
    Primitive(
        "conv_general_dilated", conv_general_dilated, py.call(_convolution), tex.infix(" * ", 3, 2, 3), "convolved",
        symbol=Symbol(infix="∗"), cost=_cost,
        back=("{g} × {b}, added up over the windows", "{g} × {a}, added up over the windows"),
    ),
    Primitive(
        "reduce_window_sum", reduce_window_sum, _pooled("add", "0"), word="window_sums",
        symbol=Symbol(label="Σ of windows"), cost=_window_cost,
        back=("{g} of every window around the entry, added up",),
    ),
    Primitive(
        "reduce_window_max", reduce_window_max, _pooled("max", "-jnp.inf"), word="window_maxima",
        symbol=Symbol(label="max of windows"), cost=_window_cost,
        back=("{g} of each window, to its largest entry",),
    ),
    Primitive(
        "reduce_window_min", reduce_window_min, _pooled("min", "jnp.inf"), word="window_minima",
        symbol=Symbol(label="min of windows"), cost=_window_cost,
        back=("{g} of each window, to its smallest entry",),
    ),
    Primitive(
        "reduce_window", python=py.unwritten,
        refused="JAX has no derivative of it either. For sums start at 0, for a maximum at -jnp.inf, for a minimum at "
        "jnp.inf",
    ),
    Primitive(
        "select_and_scatter_add", select_and_scatter_add, _bound("select_and_scatter_add"), word="scattered",
        symbol=Symbol(label="add at max"), cost=each,
    ),
    Primitive(
        "select_and_gather_add", select_and_gather_add, _bound("select_and_gather_add"), word="taken",
        symbol=Symbol(label="x[max]"), cost=each,
    ),
)  # fmt: skip
