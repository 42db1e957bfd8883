"""Training on virtual devices, in a process of its own that prints JSON:
`JAX_NUM_CPU_DEVICES=64 python -m tests.training.many_devices`.

Each entry is measured against the same run on one device.
"""

import contextlib
import json
import signal
import sys
import tempfile
import warnings
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import fnn
from experiments.scale import collectives
from fnn.training import _sweep, placement, programs

X, Y = fnn.data.digits()
X, Y = X[:150].astype(np.float64), Y[:150]
#: 5 batches of 29 rows, which no number of devices divides, and one of 5, fewer than 8 devices.
OPTIONS = {"epochs": 5, "batch_size": 29, "optimizer": optax.adam(1e-2)}
NET = fnn.mlp(64, 8, 10, activation="tanh")
#: Runs of this net are validated wherever that does no harm, so that they share programs.
HELD_OUT = {"validation": (X[:31], Y[:31])}


@dataclass(frozen=True)
class Scale(fnn.Layer):
    """A layer of the user's own."""

    size: int

    def init(self, key, dtype=jnp.float32):
        return {"s": jnp.ones(self.size, dtype)}

    def forward(self, params, x):
        return params["s"] * x, x

    def backward(self, params, x, y_bar):
        return {"s": jnp.sum(y_bar * x, axis=0)}, params["s"] * y_bar


def bare(params, x, y):
    """A gradient that knows no objective."""
    return jax.value_and_grad(lambda p: jnp.mean(jnp.sum((x @ p["W"]) ** 2, axis=1)))(params)


def mesh(data, model=0):
    devices = np.array(jax.devices()[: data * max(model, 1)])
    return Mesh(devices.reshape(data, model), ("data", "model")) if model else Mesh(devices, ("data",))


def off(one, other):
    """The largest difference between two trees, each leaf by its largest entry."""
    leaves = [jax.tree.leaves(jax.device_get(tree)) for tree in (one, other)]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-300)) for a, b in zip(*leaves, strict=True))


def same(one, other):
    leaves = [jax.tree.leaves(jax.device_get(tree)) for tree in (one, other)]
    return all(bool(np.array_equal(a, b, equal_nan=True)) for a, b in zip(*leaves, strict=True))


def fit(gradient, params, data=(X, Y), **changed):
    return fnn.fit(gradient, params, data, **OPTIONS | {"key": jax.random.key(1)} | changed)


def start(net, dtype=jnp.float64):
    return jax.jit(net.init, static_argnums=1)(jax.random.key(0), dtype)


def cases():
    """name -> (gradient, parameters, options, numbers of devices)."""
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    body = fnn.sequential(fnn.dense(64, 8), fnn.skip(fnn.repeated(fnn.dense(8, 8, activation="tanh"), 2)), Scale(8))
    rich = fnn.sequential(body, fnn.dense(8, 10))
    # statistics of the whole batch, and noise that does not depend on where a row lies
    # (a bias right before a batch normalization has the gradient 0, and Adam would move it by its rounding alone)
    first = fnn.dense(64, 8, activation="tanh")
    modes = fnn.sequential(first, fnn.batch_norm(8), fnn.dropout(0.2), fnn.dense(8, 10))
    return {
        "plain": (fnn.backprop(NET, "softmax_cross_entropy"), start(NET), {"data": (X, Y), **HELD_OUT}, (2, 4, 8)),
        "rich": (
            fnn.backprop(rich, "softmax_cross_entropy", "l2"), start(rich),
            {"data": (X, Y, weights), "strength": 1e-3, "clip_norm": 0.5, "accumulate": 2, "on_nonfinite": "skip",
             "patience": 2, "min_improvement": 0.3, "monitor": "loss"},
            (4,),
        ),
        "modes": (fnn.backprop(modes, "softmax_cross_entropy"), start(modes), {"data": (X, Y), **HELD_OUT}, (2,)),
        "bare": (
            bare, {"W": jnp.ones((64, 3))},
            {"data": (X, Y), "metrics": {"norm": lambda p, x, y: jnp.sum((x @ p["W"]) ** 2)}}, (2,),
        ),
        "stream": (fnn.backprop(NET, "softmax_cross_entropy"), start(NET), {"data": fnn.Stream(X, Y, rows=58)}, (8,)),
    }  # fmt: skip


def equalities():
    found = {}
    for name, (gradient, params, options, numbers) in cases().items():
        one, curves = fit(gradient, params, **options)
        for devices in numbers:
            state, history = fit(gradient, params, mesh=mesh(devices), **options)
            again, _ = fit(gradient, params, mesh=mesh(devices), **options)
            found[f"{name} on {devices}"] = {
                "off": off((*one[:2], one.statistics), (*state[:2], state.statistics)),
                "losses off": off((curves.step_loss, curves.metrics), (history.step_loss, history.metrics)),
                "epochs": [int(one.epoch), int(state.epoch)],
                "repeats": same((state.params, state.optimizer_state), (again.params, again.optimizer_state)),
            }
    return found


def continued(folder):
    """Three epochs and two are five, also with a checkpoint between them; on another number of devices it is said."""
    gradient, params, on = fnn.backprop(NET, "softmax_cross_entropy"), start(NET), mesh(4)
    whole, _ = fit(gradient, params, mesh=on, **HELD_OUT)
    first, _ = fit(gradient, params, mesh=on, epochs=3, **HELD_OUT)
    second, _ = fit(gradient, first, mesh=on, epochs=2, key=None, **HELD_OUT)
    kept = fnn.Checkpoints(folder)
    fit(gradient, params, mesh=on, epochs=3, checkpoints=kept, **HELD_OUT)
    resumed, _ = fit(gradient, params, mesh=on, checkpoints=kept, **HELD_OUT)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        elsewhere, _ = fit(gradient, params, mesh=mesh(2), checkpoints=kept, epochs=6, **HELD_OUT)
    alone, _ = fit(gradient, params, epochs=6, **HELD_OUT)
    return {
        "state": same(whole.params, second.params), "checkpoint": same(whole.params, resumed.params),
        "elsewhere": off(alone.params, elsewhere.params), "said": [str(each.message) for each in said],
    }  # fmt: skip


def narrow():
    """float32: how far from the float64 truth, on one device and on eight."""
    truth, _ = fit(fnn.backprop(NET, "softmax_cross_entropy"), start(NET), **HELD_OUT)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), start(NET))
    data = (X.astype(np.float32), Y)
    runs = [fit(fnn.backprop(NET, "softmax_cross_entropy"), rounded, data, mesh=on)[0] for on in (None, mesh(8))]
    return [off(truth.params, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), run.params)) for run in runs]


def faults():
    """A run that diverges is named as on one device."""
    named = []
    for on in (None, mesh(4)):
        try:
            fit(fnn.backprop(NET, "half_squared_error"), start(NET), (X, np.eye(10)[Y]), mesh=on,
                optimizer=optax.sgd(1e150))  # fmt: skip
        except fnn.NonFiniteError as error:
            named.append([error.step, error.where, off(error.state.params, error.state.params)])
    return named


def planted():
    """What a mistake in one entry of the data makes."""
    moved = X.copy()
    moved[7, 20] += 1e-6
    runs = [
        fit(fnn.backprop(NET, "softmax_cross_entropy"), start(NET), (x, Y), **HELD_OUT)[0].params for x in (X, moved)
    ]
    return off(*runs)


def wide():
    """256-256-256-10, split along the outputs."""
    net = fnn.mlp(256, 256, 256, 10, activation="tanh")
    x = np.random.default_rng(0).normal(size=(64, 256))
    options = {"data": (x, Y[:64]), "epochs": 1, "batch_size": 32, "optimizer": optax.adam(1e-4)}
    gradient, params = fnn.backprop(net, "softmax_cross_entropy"), start(net)
    one, _ = fit(gradient, params, **options)
    kept = lambda state: (state.params, state.optimizer_state)  # noqa: E731
    layers = [sum(leaf.size for leaf in jax.tree.leaves(layer)) for layer in params]
    found = {}
    for model in (2, 4):
        placed, whole = params, layers[2]
        if model == 2:
            # the last layer, too narrow to be split by its outputs, as the user would have it
            sharding = NamedSharding(mesh(1, 2), PartitionSpec("model", None))
            placed = (*params[:2], {"W": jax.device_put(params[2]["W"], sharding), "b": params[2]["b"]})
            whole = 10
        state, _ = fit(gradient, placed, mesh=mesh(1, model), **options)
        found[model] = {
            "off": off(kept(one), kept(state)),
            "last": list(state.params[2]["W"].sharding.spec),
            "first": list(state.params[0]["W"].sharding.spec),
            "share": on_device(kept(state)) / on_device(kept(one)),
            "should": ((sum(layers) - whole) / model + whole) / sum(layers),
        }
    return found


def on_device(tree):
    """Bytes of these arrays on the first device."""
    shards = [each for leaf in jax.tree.leaves(tree) for each in leaf.addressable_shards]
    return sum(each.data.nbytes for each in shards if each.device == jax.devices()[0])


def exchanged():
    """The collectives of programs, and of programs with planted mistakes."""
    gradient, params = fnn.backprop(NET, "softmax_cross_entropy"), start(NET)

    def of(devices, rows=150, batch=64, weights=False, **changed):
        data = (X[:rows], Y[:rows], np.ones(rows)) if weights else (X[:rows], Y[:rows])
        options = {"data": data, "mesh": mesh(devices), "batch_size": batch} | changed
        streamed = isinstance(options["data"], fnn.Stream)
        return collectives.read(collectives.text_of(lambda: fit(gradient, params, **options)), streamed=streamed)

    found = {f"{devices} devices": of(devices) for devices in (2, 4, 64)}
    found["fewer rows, weights"] = of(4, rows=140, weights=True)
    found["stream"] = of(4, data=fnn.Stream(X, Y, rows=64))

    def moved(params, x, y):
        return gradient(params, x[::-1], y[::-1])

    found["rows moved"] = collectives.read(
        collectives.text_of(lambda: fit(moved, params, (X[:128], Y[:128]), mesh=mesh(4), batch_size=64))
    )
    whole = placement.Placement.whole
    placement.Placement.whole = lambda self, tree: tree
    jax.clear_caches()
    programs._PROGRAMS.clear()
    found["order split"] = of(4)
    placement.Placement.whole = whole
    found["sweep"] = collectives.read(collectives.text_of(lambda: sweep(mesh(2))))
    return found


def sweep(on, members=5, **changed):
    """One member fails."""
    over = {"seed": range(members), "learning_rate": [0.1] * (members - 1) + [1e308]}
    options = {"optimizer": optax.sgd, "epochs": 4, "batch_size": 29, "dtype": "float64", "mesh": on}
    return fnn.sweep(fnn.backprop(NET, "softmax_cross_entropy"), (X, Y), over=over, **HELD_OUT, **options | changed)


def sweeps(folder):
    found = {}
    for name, changed in {
        "each": {},
        "shared": {
            "shared_shuffle": True, "memory": 1, "patience": 1, "monitor": "loss", "min_improvement": 0.02,
        },
    }.items():  # fmt: skip
        one, many = sweep(None, **changed), sweep(mesh(2), **changed)
        right = ~one.failed
        curves = [{k: np.nan_to_num(v[right]) for k, v in each.metrics.items()} for each in (one, many)]
        params = [[p for p, f in zip(each.params, one.failed, strict=True) if not f] for each in (one, many)]
        found[name] = {
            "off": off(params[0], params[1]), "curves off": off(*curves), "failed": [one.failed.tolist(),
            many.failed.tolist()], "best": [one.best, many.best],
        }  # fmt: skip
    whole, called, before, advance = sweep(mesh(2)), [], [], _sweep.advance
    found["repeats"] = same(sweep(mesh(2)).params, whole.params)

    def interrupted(*arguments):
        called.append(0)
        if len(called) == 2 and not before:
            signal.raise_signal(signal.SIGINT)
        return advance(*arguments)

    kept = {"checkpoints": fnn.Checkpoints(folder, every_seconds=0.0)}
    _sweep.advance = interrupted
    with contextlib.suppress(KeyboardInterrupt):
        sweep(mesh(2), **kept)
    before.append(len(called))
    resumed = sweep(mesh(2), **kept)
    called.clear()
    again = sweep(mesh(2), **kept)
    _sweep.advance = advance
    found["resumed"] = {
        "calls": [*before, len(called)], "same": same(resumed.params, whole.params), "again": same(again.params,
        whole.params), "curves": same(jax.tree.map(np.nan_to_num, resumed.metrics), jax.tree.map(np.nan_to_num,
        whole.metrics)),
    }  # fmt: skip
    return found


def main():
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = {
            "equalities": equalities(), "continued": continued(one), "narrow": narrow(), "faults": faults(),
            "wide": wide(), "planted": planted(), "sweeps": sweeps(other), "exchanged": exchanged(),
        }  # fmt: skip
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "fit: a batch must have a row")
    main()
