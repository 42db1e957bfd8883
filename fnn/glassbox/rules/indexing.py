"""Reading and writing entries by index: an entry that was read gets its cotangent back, summed if it was read twice.

Source: claim E5.
"""

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter, free, updates

#: The program has already converted indices that count from the end to count from the start.
_AS_THEY_ARE = {"allow_negative_indices": False}


def dynamic_slice(y_bar, y, x, *starts):
    # y = the box of x that starts at `starts`
    return (lax.dynamic_update_slice(jnp.zeros_like(x), y_bar, starts, **_AS_THEY_ARE), *(None for _ in starts))


def dynamic_update_slice(y_bar, y, x, update, *starts):
    # y = x with the box at starts replaced
    x_bar = lax.dynamic_update_slice(y_bar, jnp.zeros_like(update), starts, **_AS_THEY_ARE)
    return x_bar, lax.dynamic_slice(y_bar, starts, update.shape, **_AS_THEY_ARE), *(None for _ in starts)


def gather(y_bar, y, x, indices, *, dimension_numbers, indices_are_sorted, unique_indices, mode):
    # y[i] = x[indices[i]]
    numbers = _scatter_numbers(dimension_numbers)
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices, "mode": mode}
    return lax.scatter_add(jnp.zeros_like(x), indices, y_bar, numbers, **options), None


def scatter_add(y_bar, y, x, indices, updates, *, dimension_numbers, mode):
    # y[indices[i]] = x[indices[i]] + Σ updates[i]
    return y_bar, None, _taken(y_bar, indices, updates, dimension_numbers, mode)


def scatter_sub(y_bar, y, x, indices, updates, *, dimension_numbers, mode):
    # y[indices[i]] = x[indices[i]] − Σ updates[i]
    return y_bar, None, -_taken(y_bar, indices, updates, dimension_numbers, mode)


def scatter(y_bar, y, x, indices, updates, *, dimension_numbers, mode, unique_indices, update_jaxpr):
    if update_jaxpr is not None:
        raise NotImplementedError(
            "scatter that applies a function (`.at[].apply`) has no rule, in JAX neither. Write x.at[i].set(f(x[i]))."
        )
    # y[indices[i]] = updates[i]: what was there no longer counts. If an index occurs twice, the last one written
    # counts, and the program leaves open which one that is: the entry that is there tells
    numbers = dimension_numbers
    options = {"mode": mode}
    x_bar = lax.scatter(y_bar, indices, jnp.zeros_like(updates), numbers, unique_indices=unique_indices, **options)
    if unique_indices:
        return x_bar, None, _taken(y_bar, indices, updates, numbers, mode)
    # number the updates, let the same scatter choose, and give the cotangent only to the chosen ones
    order = jnp.arange(1, updates.size + 1, dtype=jnp.int32).reshape(updates.shape)
    chosen = lax.scatter(jnp.zeros(x.shape, jnp.int32), indices, order, numbers, **options)
    won = _taken(chosen, indices, updates, numbers, mode) == order
    taken = _taken(y_bar, indices, updates, numbers, mode)
    return x_bar, None, jnp.where(won, taken, jnp.zeros_like(taken))


def scatter_mul(y_bar, y, x, indices, updates, *, dimension_numbers, mode, unique_indices):
    # y[indices[i]] = x[indices[i]] · updates[i]
    if not unique_indices:
        raise NotImplementedError("scatter_mul with indices that may come twice has no rule. Pass unique_indices=True.")
    x_bar = lax.scatter_mul(y_bar, indices, updates, dimension_numbers, mode=mode, unique_indices=True)
    taken = _taken(y_bar, indices, updates, dimension_numbers, mode)
    return x_bar, None, taken * _taken(x, indices, updates, dimension_numbers, mode)


def scatter_extreme(y_bar, y, x, indices, updates, *, dimension_numbers, mode):
    # y[indices[i]] = the largest (smallest) of x[indices[i]] and the updates[i]; those that are equal share
    numbers = dimension_numbers
    stayed = (x == y).astype(y.dtype)
    reached = (updates == _taken(y, indices, updates, numbers, mode)).astype(y.dtype)
    count = lax.scatter_add(stayed, indices, reached, numbers, mode=mode)
    share = y_bar / jnp.where(count == 0, jnp.ones_like(count), count)
    return stayed * share, None, reached * _taken(share, indices, updates, numbers, mode)


def _taken(values, indices, updates, numbers, mode):
    """The entries of `values` where the scatter puts its updates; 0 for updates that it drops."""
    inserted = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    kept = [axis for axis in range(values.ndim) if axis not in inserted]
    window = {axis: updates.shape[k] for axis, k in zip(kept, numbers.update_window_dims, strict=True)}
    sizes = [window.get(axis, 1) for axis in range(values.ndim)]
    gathering = lax.GatherDimensionNumbers(
        offset_dims=numbers.update_window_dims,
        collapsed_slice_dims=numbers.inserted_window_dims,
        start_index_map=numbers.scatter_dims_to_operand_dims,
        operand_batching_dims=numbers.operand_batching_dims,
        start_indices_batching_dims=numbers.scatter_indices_batching_dims,
    )
    return lax.gather(values, indices, gathering, sizes, mode=mode, fill_value=0)


def _scatter_numbers(numbers):
    return lax.ScatterDimensionNumbers(
        update_window_dims=numbers.offset_dims,
        inserted_window_dims=numbers.collapsed_slice_dims,
        scatter_dims_to_operand_dims=numbers.start_index_map,
        operand_batching_dims=numbers.operand_batching_dims,
        scatter_indices_batching_dims=numbers.start_indices_batching_dims,
    )


# ---- the table -------------------------------------------------------------------------------------------------------


def _box(g, p, y):
    return f"lax.dynamic_slice({g[0].text}, {py.starts(g[1:])}, {tuple(p['slice_sizes'])}{_negative(g[1:])})"


def _replaced(g, p, y):
    return f"lax.dynamic_update_slice({g[0].text}, {g[1].text}, {py.starts(g[2:])}{_negative(g[2:])})"


def _negative(starts):
    # by default a negative start would be counted from the end once more
    safe = all(each.literal for each in starts)
    return "" if safe else ", allow_negative_indices=False"


enter(
    Primitive(
        "dynamic_slice", dynamic_slice, py.call(_box), word="taken", symbol=Symbol(formula="x[i:j]"), cost=free,
        back=("{g} in its place, 0 elsewhere", ""),
    ),
    Primitive(
        "dynamic_update_slice", dynamic_update_slice, py.call(_replaced), symbol=Symbol(label="replace"), cost=free,
        back=("{g}, 0 in the part that was replaced", "{g} in the part that was replaced", ""),
    ),
    Primitive(
        "gather", gather, py.gather, word="taken", symbol=Symbol(formula="x[i]"), cost=free,
        back=("{g} added up where it was read, 0 elsewhere", ""),
    ),
    Primitive(
        "scatter", scatter, py.scatter("set"), word="scattered", symbol=Symbol(label="set at"), cost=free,
        back=("{g}, 0 where it was replaced", "", "{g} at the indices"),
    ),
    Primitive(
        "scatter-add", scatter_add, py.scatter("add"), word="scattered", symbol=Symbol(label="add at"), cost=updates,
        back=("{g}", "", "{g} at the indices"),
    ),
    Primitive("scatter-sub", scatter_sub, py.scatter("subtract"), cost=updates),
    Primitive("scatter-max", scatter_extreme, py.scatter("max"), symbol=Symbol(label="max at"), cost=updates),
    Primitive("scatter-min", scatter_extreme, py.scatter("min"), symbol=Symbol(label="min at"), cost=updates),
    Primitive(
        "scatter-mul", scatter_mul, py.scatter("multiply"), symbol=Symbol(label="multiply at"), cost=updates
    ),
)  # fmt: skip
