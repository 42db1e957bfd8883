"""Steps through which nothing flows back: integers, Booleans, keys, and functions that are flat wherever they have a
slope."""

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.spelling.pieces import Piece
from fnn.glassbox.table import UNSIGNED, Primitive, Symbol, each, enter, free, read


def _flat(name, python, latex=None, word="", symbol=UNSIGNED, cost=each, **more):
    enter(Primitive(name, None, python, latex, word, symbol, cost, flat=True, **more))


def _bits(g, p, y):
    return Piece(f"jax.random.bits({g[0].text}, {tuple(p['shape'])}, jnp.uint{p['bit_width']})", 0)


# ---- comparisons and logic

_flat("eq", py.infix("==", 4, 4, 5), tex.infix(" = ", 4, 4, 5), "equal", Symbol("="))
_flat("ne", py.infix("!=", 4, 4, 5), tex.infix(r" \ne ", 4, 4, 5), "unequal", Symbol("≠"))
_flat("lt", py.infix("<", 4, 4, 5), tex.infix(" < ", 4, 4, 5), "less", Symbol("<"))
_flat("le", py.infix("<=", 4, 4, 5), tex.infix(r" \le ", 4, 4, 5), "less_or_equal", Symbol("≤"))
_flat("gt", py.infix(">", 4, 4, 5), tex.infix(" > ", 4, 4, 5), "greater", Symbol(">"))
_flat("ge", py.infix(">=", 4, 4, 5), tex.infix(r" \ge ", 4, 4, 5), "greater_or_equal", Symbol("≥"))
_flat("and", py.infix("&", 0, 0, 5), tex.infix(r" \wedge ", 4, 4, 5), symbol=Symbol("and"))
_flat("or", py.infix("|", 0, 0, 5), tex.infix(r" \vee ", 4, 4, 5), symbol=Symbol("or"))
_flat("xor", py.infix("^", 0, 0, 5), symbol=Symbol("xor"))
_flat("not", py.inverted, symbol=Symbol(formula="not x"))
_flat("is_finite", py.function("jnp.isfinite"))
_flat("reduce_and", py.reduced("jnp.all"), symbol=Symbol(label="all"), cost=read)
_flat("reduce_or", py.reduced("jnp.any"), symbol=Symbol(label="any"), cost=read)
_flat("reduce_xor", py.reduced("lax.reduce_xor"), cost=read)

# ---- steps, and stop_gradient

_flat("floor", py.function("jnp.floor"), symbol=Symbol(formula="⌊x⌋", sentence="⌊x⌋"))
_flat("ceil", py.function("jnp.ceil"), symbol=Symbol(formula="⌈x⌉", sentence="⌈x⌉"))
_flat(
    "round", py.call(lambda g, p, y: f"lax.round({g[0].text}, lax.RoundingMethod({int(p['rounding_method'])}))"),
    word="rounded",
)  # fmt: skip
_flat("stop_gradient", py.function("lax.stop_gradient"), tex.silent, "stopped", Symbol(label="stop"), free)

# ---- places and counts

_flat("argmax", py.place("lax.argmax"), cost=free)
_flat("argmin", py.place("lax.argmin"), cost=free)
_flat("iota", py.iota, word="numbers", symbol=Symbol(label="0, 1, 2, …"), cost=free)
_flat("population_count", py.function("lax.population_count"))
_flat("clz", py.function("lax.clz"))

# ---- bits and keys

_flat("shift_left", py.exactly("lax.shift_left"))
_flat("shift_right_logical", py.exactly("lax.shift_right_logical"))
_flat("shift_right_arithmetic", py.exactly("lax.shift_right_arithmetic"))
enter(
    Primitive(
        "bitcast_convert_type", None,
        py.call(lambda g, p, y: f"lax.bitcast_convert_type({g[0].text}, jnp.{y.dtype.name})"),
        cost=free, refused="it makes a number from the bits of another",
    )
)  # fmt: skip
_flat("random_bits", _bits, foldable=False)
_flat("random_fold_in", py.function("jax.random.fold_in"), foldable=False)
_flat("random_split", py.call(lambda g, p, y: f"jax.random.split({g[0].text}, {tuple(p['shape'])})"), foldable=False)
_flat("random_seed", py.function("jax.random.key"), foldable=False)
_flat("random_wrap", py.function("jax.random.wrap_key_data"), foldable=False)
_flat("random_unwrap", py.function("jax.random.key_data"), foldable=False)
for _name in ("eq_to", "le_to", "lt_to"):
    # JAX has no other name for comparisons in the total order of floating numbers
    _flat(_name, py.exactly(f"lax.{_name}_p.bind"))
for _name in ("debug_callback", "debug_print", "inspect_sharding", "dce_sink"):
    # they produce no value
    _flat(_name, py.unwritten, foldable=False)
_flat("mulhi", py.exactly("lax.mulhi"))
for _name in ("empty", "threefry2x32", "rng_bit_generator", "rng_uniform"):
    _flat(_name, py.unwritten, foldable=False)
