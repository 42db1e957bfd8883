"""The table that the families of rules fill."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """A local rule, and which of the primitive's parameters it reads."""

    function: Callable[..., tuple[Any, ...]]
    params: tuple[str, ...]

    def __call__(self, y_bar: Any, y: Any, /, *inputs: Any, **params: Any) -> tuple[Any, ...]:
        # releases of JAX add parameters; a rule names those that it needs
        return self.function(y_bar, y, *inputs, **{name: params[name] for name in self.params if name in params})


#: {name of the primitive: its rule}.
RULES: dict[str, Rule] = {}

#: Primitives through which nothing flows back: their outputs are whole numbers, truths, keys, or steps that are flat
#: wherever they have a slope (floor, sign), or they were told to stop it.
DISCRETE = {
    "eq", "ne", "lt", "le", "gt", "ge", "eq_to", "le_to", "lt_to", "empty", "and", "or", "not", "xor", "is_finite",
    "floor", "ceil", "round", "sign", "stop_gradient", "argmax", "argmin", "iota", "shift_left",
    "shift_right_logical", "shift_right_arithmetic", "population_count", "clz", "reduce_and", "reduce_or",
    "reduce_xor", "random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "random_split",
    "threefry2x32", "nextafter", "bitcast_convert_type", "rng_bit_generator", "rng_uniform",
}  # fmt: skip


def rule(*primitives: str) -> Callable[[Callable[..., tuple[Any, ...]]], Callable[..., tuple[Any, ...]]]:
    """Enter a function as the rule of these primitives."""

    def enter(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        spoken = inspect.signature(function).parameters.values()
        read = tuple(p.name for p in spoken if p.kind is p.KEYWORD_ONLY)
        RULES.update(dict.fromkeys(primitives, Rule(function, read)))
        return function

    return enter
