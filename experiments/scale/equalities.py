"""What many devices compute, compared with one device, in float64 and float32.

Promises: a distance is the largest difference of a leaf over its largest entry, of the leaf where that is largest.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import fnn
from experiments.scale import model

#: Rows, batch, optimizer: those of the first measurement.
ROWS, BATCH, ADAM = 1792, 32, optax.adam
#: The member of a sweep that is made to fail, and its rate.
FAILS, RATE = 7, 1e38


def mesh(devices: int | None = None) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = fnn.data.digits()
    return images[:ROWS], labels[:ROWS]


def digest(tree: Any) -> str:
    """SHA-256 of the bytes of every array."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def off(one: Any, other: Any) -> float:
    """The distance of two trees."""
    pairs = zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (one, other)), strict=True)
    return max(float(np.abs(a.astype(np.float64) - b).max() / np.abs(a).max()) for a, b in pairs)


def ulps(one: Any, other: Any) -> dict[str, float]:
    """The largest difference of two entries, in units in the last place of the larger one and of its leaf's largest."""
    pairs = list(zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (one, other)), strict=True))
    apart = [(np.abs(a.astype(np.float64) - b), np.maximum(np.abs(a), np.abs(b))) for a, b in pairs]
    return {
        "entry": max(float((off / np.spacing(size)).max()) for off, size in apart),
        "leaf": max(float(off.max() / np.spacing(size.max())) for off, size in apart),
    }


@dataclass(frozen=True, repr=False)
class Narrow(fnn.initializers.Initializer):
    """Glorot's numbers as float32 has them, in any dtype: runs of two dtypes begin at one place."""

    def __call__(self, key: Any, shape: Any, dtype: Any = jnp.float32) -> Any:
        return fnn.initializers.glorot_uniform(key, shape, jnp.float32).astype(dtype)


def gradient() -> Any:
    net = fnn.mlp(64, 32, 10, weight_init=Narrow())
    return fnn.backprop(net, "softmax_cross_entropy")


def fits(devices: list[int]) -> dict[str, Any]:
    """`fit` for five epochs on each number of devices against one: distances, and whether a second run has its bits."""
    jax.config.update("jax_enable_x64", True)
    by_hand, (images, labels) = gradient(), digits()

    def one(dtype: Any, count: int) -> Any:
        params = jax.jit(by_hand.net.init, static_argnums=1)(jax.random.key(0), dtype)
        state, _ = fnn.fit(
            by_hand, params, (images.astype(dtype), labels), optimizer=ADAM(1e-3), epochs=5, batch_size=BATCH,
            key=jax.random.key(1), mesh=mesh(count) if count > 1 else None,
        )  # fmt: skip
        return jax.device_get(state.params)

    truth, narrow = one(jnp.float64, 1), one(jnp.float32, 1)
    found: dict[str, Any] = {"narrow": {"1": off(truth, narrow)}, "wide": {}, "repeats": True}
    for count in devices:
        wide = one(jnp.float64, count)
        found["wide"][str(count)] = off(truth, wide)
        found["narrow"][str(count)] = off(truth, one(jnp.float32, count))
        found["repeats"] &= digest(wide) == digest(one(jnp.float64, count))
    return found | {"model": {str(parts): layers(parts) for parts in (2, 4)}}


def layers(parts: int) -> dict[str, float]:
    """1024-1024-1024-10 with its wide layers split over the axis "model", two steps: how far off; the share of the
    bytes of parameters and optimizer state that a device has, and that it should have."""
    net = fnn.mlp(1024, 1024, 1024, 10, activation="tanh", weight_init=Narrow())
    by_hand, (_, labels) = fnn.backprop(net, "softmax_cross_entropy"), digits()
    params = jax.jit(net.init, static_argnums=1)(jax.random.key(0), jnp.float64)
    rows = np.random.default_rng(0).normal(size=(64, 1024))
    on = Mesh(np.array(jax.devices()[:parts])[None], ("data", "model"))

    def kept(on: Mesh | None) -> Any:
        state, _ = fnn.fit(
            by_hand, params, (rows, labels[:64]), optimizer=ADAM(1e-4), epochs=1, batch_size=32, key=jax.random.key(1),
            mesh=on,
        )  # fmt: skip
        return state.params, state.optimizer_state

    one, many = kept(None), kept(on)
    last = 1024 * 10 + 10
    wide = model.parameters((1024, 1024, 1024, 10)) - last
    return {
        "off": off(jax.device_get(one), jax.device_get(many)),
        "share": held(many) / held(one), "should": (wide / parts + last) / (wide + last),
    }  # fmt: skip


def held(tree: Any) -> int:
    """Bytes of these arrays on the first device."""
    shards = [each for leaf in jax.tree.leaves(tree) for each in leaf.addressable_shards]
    return sum(each.data.nbytes for each in shards if each.device == jax.devices()[0])


def members(count: int, epochs: int) -> dict[str, Any]:
    """A sweep of so many nets on two devices against one: float64, float32, after one epoch and after many."""
    jax.config.update("jax_enable_x64", True)
    # the net whose sweeps are timed
    by_hand, (images, labels) = gradient(), digits()

    def sweep(dtype: Any, devices: int, *, epochs: int = epochs, fails: bool = False) -> list[Any]:
        rates = [RATE if fails and k == FAILS else 1e-3 for k in range(count)]
        found = fnn.sweep(
            by_hand, (images.astype(dtype), labels), over={"seed": range(count), "learning_rate": rates},
            optimizer=ADAM, epochs=epochs, batch_size=BATCH, dtype=dtype, mesh=mesh(2) if devices == 2 else None,
        )  # fmt: skip
        failed = found.failed.tolist()
        assert failed == [fails and k == FAILS for k in range(count)], failed
        return found.params

    wide, narrow = jnp.float64, jnp.float32
    truth, two, one = sweep(wide, 1), sweep(narrow, 2), sweep(narrow, 1)
    distances = [[off(true, each) for true, each in zip(truth, runs, strict=True)] for runs in (one, two)]
    others = [[params for k, params in enumerate(runs) if k != FAILS] for runs in (two, sweep(narrow, 2, fails=True))]
    return {
        "members": count, "epochs": epochs, "wide": off(truth, sweep(wide, 2)),
        "after_one": ulps(sweep(narrow, 1, epochs=1), sweep(narrow, 2, epochs=1)), "after_all": ulps(one, two),
        "distances": distances,
        "repeats": digest(two) == digest(sweep(narrow, 2)), "undisturbed": digest(others[0]) == digest(others[1]),
    }  # fmt: skip


def many(devices: int) -> dict[str, Any]:
    """Twenty steps of `fit` and of a sweep on very many devices against one, in float64."""
    jax.config.update("jax_enable_x64", True)
    by_hand, (images, labels) = gradient(), digits()
    params = jax.jit(by_hand.net.init, static_argnums=1)(jax.random.key(0), jnp.float64)

    def fit(on: Mesh | None) -> Any:
        few = images[: 10 * 128].astype(np.float64), labels[: 10 * 128]
        state, _ = fnn.fit(
            by_hand, params, few, optimizer=ADAM(1e-3), epochs=2, batch_size=128, key=jax.random.key(1), mesh=on
        )
        return state.params

    def sweep(on: Mesh | None) -> Any:
        few = images[: 20 * BATCH].astype(np.float64), labels[: 20 * BATCH]
        return fnn.sweep(
            by_hand, few, over={"seed": range(devices)}, optimizer=ADAM(1e-3), epochs=1, batch_size=BATCH,
            dtype=jnp.float64, mesh=on,
        ).params  # fmt: skip

    return {
        "fit": off(jax.device_get(fit(None)), jax.device_get(fit(mesh(devices)))),
        "sweep": off(sweep(None), sweep(mesh(devices))),
    }
