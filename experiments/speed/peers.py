"""One library training one job, in a separate process: `python -m experiments.speed.peers PEER JOB SECONDS`.

Promises: every library trains the same net on the same data with Adam, float32, reshuffled every epoch, as in its own
tutorial, and once more in the fastest form that we found (`FORMS`); prints JSON with the milliseconds per epoch of
several runs, without compilation. Batches are cut by NumPy if the tutorial does that: slices of JAX arrays outside a
compiled step cost three dispatches each.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

RATE = 1e-3


@dataclass(frozen=True)
class Job:
    """One row of the table."""

    sizes: tuple[int, ...]
    batch: int
    rows: int
    runs: int = 1

    @property
    def multiplications(self) -> float:
        """Multiplications and additions of one epoch, without the gradient of the first layer's input."""
        weights = [below * above for below, above in pairwise(self.sizes)]
        return self.runs * self.rows * 2.0 * (3 * sum(weights) - weights[0])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """(x, labels), drawn."""
        random = np.random.default_rng(0)
        x = random.normal(size=(self.rows, self.sizes[0])).astype(np.float32)
        return x, random.integers(0, self.sizes[-1], self.rows).astype(np.int32)


JOBS = {
    "64-32-10": Job((64, 32, 10), 32, 1792),
    "784-512-256-10": Job((784, 512, 256, 10), 128, 12_800),
    "1024-1024-1024-10": Job((1024, 1024, 1024, 10), 1024, 10_240),
    "64 nets": Job((64, 32, 10), 32, 1792, 64),
}
Train = Callable[[int], Any]


# ---- ours -----------------------------------------------------------------------------------------------------------


def _fit(job: Job, automatic: bool = False, sgd: bool = False) -> Train:
    import jax

    import fnn

    net = fnn.mlp(*job.sizes, activation="relu")
    loss = fnn.softmax_cross_entropy
    gradient = jax.value_and_grad(fnn.objective(net, loss)) if automatic else fnn.backprop(net, loss)
    params, data = net.init(jax.random.key(0)), job.data()
    optimizer = fnn.optimizers.sgd(RATE) if sgd else fnn.optimizers.adam(RATE)
    return lambda epochs: fnn.fit(
        gradient, params, data, optimizer=optimizer, epochs=epochs, batch_size=job.batch, key=jax.random.key(1)
    )


def _sweep(job: Job, shared: bool) -> Train:
    import fnn

    gradient = fnn.backprop(fnn.mlp(*job.sizes, activation="relu"), "softmax_cross_entropy")
    return lambda epochs: fnn.sweep(
        gradient, job.data(), over={"seed": range(job.runs)}, optimizer=fnn.optimizers.adam(RATE), epochs=epochs,
        batch_size=job.batch, shared_shuffle=shared,
    )  # fmt: skip


# ---- others ---------------------------------------------------------------------------------------------------------


def _plain_scan(job: Job) -> Train:
    """What a user of JAX and Optax writes: an epoch as one `lax.scan`, rows shuffled by `jax.random.permutation`."""
    import jax
    import jax.numpy as jnp
    import optax

    x, y = map(jnp.asarray, job.data())
    optimizer = optax.adam(RATE)
    keys = jax.random.split(jax.random.key(0), len(job.sizes) - 1)
    shapes = zip(keys, pairwise(job.sizes), strict=True)
    params = [(jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)) for k, (i, o) in shapes]

    def loss(params: Any, x: Any, y: Any) -> Any:
        for W, b in params[:-1]:
            x = jax.nn.relu(x @ W + b)
        logits = x @ params[-1][0] + params[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def epoch(params: Any, state: Any, key: Any) -> Any:
        order = jax.random.permutation(key, job.rows).reshape(-1, job.batch)

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            value, gradients = jax.value_and_grad(loss)(params, x[batch], y[batch])
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, state), order)

    def train(epochs: int) -> None:
        # what is donated is gone afterwards
        p, key = jax.tree.map(jnp.copy, params), jax.random.key(1)
        state = optimizer.init(p)
        for _ in range(epochs):
            key, sub = jax.random.split(key)
            (p, state), _ = epoch(p, state, sub)
        jax.block_until_ready(p)

    return train


def _torch_net(job: Job) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    layers = []
    for below, above in pairwise(job.sizes):
        layers += [torch.nn.Linear(below, above), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def _torch(job: Job, compiled: bool = False) -> Train:
    import torch  # pyright: ignore[reportMissingImports]

    x, y = (torch.from_numpy(each) for each in job.data())
    y = y.long()

    def loss(net: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(x), y)

    # compiled once, whatever net comes: all have one shape
    loss = torch.compile(loss) if compiled else loss

    def train(epochs: int) -> None:
        net = _torch_net(job)
        optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
        for _ in range(epochs):
            order = torch.randperm(job.rows)
            for first in range(0, job.rows, job.batch):
                batch = order[first : first + job.batch]
                optimizer.zero_grad()
                loss(net, x[batch], y[batch]).backward()
                optimizer.step()

    return train


def _torch_vmap(job: Job, compiled: bool = False) -> Train:
    """Many nets at once by `torch.func`, their gradients handed to PyTorch's fused Adam, one shuffle for all."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.func import functional_call, grad, stack_module_state, vmap  # pyright: ignore[reportMissingImports]

    x, y = (torch.from_numpy(each) for each in job.data())
    y = y.long()
    net = _torch_net(job)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(functional_call(net, params, (x,)), y)

    gradients = vmap(grad(loss), in_dims=(0, None, None))
    gradients = torch.compile(gradients) if compiled else gradients

    def train(epochs: int) -> None:
        params, _ = stack_module_state([_torch_net(job) for _ in range(job.runs)])
        params = {name: p.detach() for name, p in params.items()}
        optimizer = torch.optim.Adam(list(params.values()), lr=RATE, fused=True)
        for _ in range(epochs):
            order = torch.randperm(job.rows)
            for first in range(0, job.rows, job.batch):
                batch = order[first : first + job.batch]
                for name, g in gradients(params, x[batch], y[batch]).items():
                    params[name].grad = g
                optimizer.step()

    return train


def _scikit_learn(job: Job) -> Train:
    import warnings

    from sklearn.neural_network import MLPClassifier

    x, y = job.data()

    def train(epochs: int) -> None:
        net = MLPClassifier(
            job.sizes[1:-1], batch_size=job.batch,  # pyright: ignore[reportArgumentType]
            learning_rate_init=RATE, max_iter=epochs, tol=0.0,
            n_iter_no_change=epochs + 1, alpha=0.0,
        )  # fmt: skip
        with warnings.catch_warnings():
            # it says that it has not converged, which nobody asked
            warnings.simplefilter("ignore")
            net.fit(x, y)

    return train


def _batches(job: Job, random: np.random.Generator) -> Any:
    """Rows of the batches of an epoch, shuffled by NumPy, as loaders in the tutorials of Equinox and Flax do it."""
    order = random.permutation(job.rows)
    return (order[first : first + job.batch] for first in range(0, job.rows, job.batch))


def _equinox(job: Job, scanned: bool = False) -> Train:
    """A jitted step for each batch, as its tutorials have it; or an epoch of that step as one compiled scan."""
    import equinox as eqx  # pyright: ignore[reportMissingImports]
    import jax
    import jax.numpy as jnp
    import optax

    x, y = job.data()
    keys = jax.random.split(jax.random.key(0), len(job.sizes) - 1)
    layers: list[Any] = []
    for key, (below, above) in zip(keys, pairwise(job.sizes), strict=True):
        layers += [eqx.nn.Linear(below, above, key=key), eqx.nn.Lambda(jax.nn.relu)]
    model = eqx.nn.Sequential(layers[:-1])
    optimizer = optax.adam(RATE)

    def plain_step(model: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

        value, gradients = eqx.filter_value_and_grad(loss)(model)
        updates, state = optimizer.update(gradients, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state, value

    step = eqx.filter_jit(plain_step)
    data = tuple(map(jnp.asarray, (x, y)))

    @eqx.filter_jit
    def epoch(model: Any, state: Any, order: Any) -> Any:
        arrays, rest = eqx.partition(model, eqx.is_array)

        def one(carry: Any, batch: Any) -> Any:
            arrays, state = carry
            after, state, value = plain_step(eqx.combine(arrays, rest), state, data[0][batch], data[1][batch])
            return (eqx.filter(after, eqx.is_array), state), value

        (arrays, state), _ = jax.lax.scan(one, (arrays, state), order)
        return eqx.combine(arrays, rest), state

    def train(epochs: int) -> None:
        m, state, random = model, optimizer.init(eqx.filter(model, eqx.is_array)), np.random.default_rng(1)
        for _ in range(epochs):
            if scanned:
                m, state = epoch(m, state, random.permutation(job.rows).reshape(-1, job.batch))
                continue
            for batch in _batches(job, random):
                m, state, _ = step(m, state, x[batch], y[batch])
        jax.block_until_ready(eqx.filter(m, eqx.is_array))

    return train


def _flax(job: Job, scanned: bool = False) -> Train:
    """A jitted step for each batch, as its tutorials have it; or an epoch of that step as one compiled scan."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx  # pyright: ignore[reportMissingImports]

    x, y = job.data()
    layers: list[Any] = []
    for below, above in pairwise(job.sizes):
        layers += [nnx.Linear(below, above, rngs=nnx.Rngs(0)), jax.nn.relu]
    model = nnx.Sequential(*layers[:-1])
    optimizer = nnx.Optimizer(model, optax.adam(RATE), wrt=nnx.Param)

    def plain_step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        def loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    step = nnx.jit(plain_step)
    data = tuple(map(jnp.asarray, (x, y)))
    # the functional form that its guide to performance gives: split once, merge inside
    graph, begin = nnx.split((model, optimizer))

    @jax.jit
    def epoch(state: Any, order: Any) -> Any:
        def one(state: Any, batch: Any) -> Any:
            merged = nnx.merge(graph, state)
            value = plain_step(*merged, data[0][batch], data[1][batch])
            return nnx.state(merged), value

        return jax.lax.scan(one, state, order)[0]

    def train(epochs: int) -> None:
        state, random = begin, np.random.default_rng(1)
        for _ in range(epochs):
            if scanned:
                state = epoch(state, random.permutation(job.rows).reshape(-1, job.batch))
                continue
            for batch in _batches(job, random):
                step(model, optimizer, x[batch], y[batch])
        jax.block_until_ready(state if scanned else nnx.state(model))

    return train


#: name -> (what must be installed, makes the training of a job)
PEERS: dict[str, tuple[str, Callable[[Job], Train]]] = {
    "fnn": ("jax", _fit),
    "fnn, automatic": ("jax", lambda job: _fit(job, automatic=True)),
    "fnn, automatic again": ("jax", lambda job: _fit(job, automatic=True)),
    "fnn, SGD": ("jax", lambda job: _fit(job, sgd=True)),
    "plain scan": ("jax", _plain_scan),
    "PyTorch": ("torch", _torch),
    "PyTorch, compiled": ("torch", lambda job: _torch(job, compiled=True)),
    "scikit-learn": ("sklearn", _scikit_learn),
    "Equinox": ("equinox", _equinox),
    "Equinox, scanned": ("equinox", lambda job: _equinox(job, scanned=True)),
    "Flax": ("flax", _flax),
    "Flax, scanned": ("flax", lambda job: _flax(job, scanned=True)),
}
#: The same for many nets at once.
OF_MANY: dict[str, tuple[str, Callable[[Job], Train]]] = {
    "fnn, a shuffle each": ("jax", lambda job: _sweep(job, False)),
    "fnn, one shuffle": ("jax", lambda job: _sweep(job, True)),
    "torch.func.vmap": ("torch", _torch_vmap),
    "torch.func.vmap, compiled": ("torch", lambda job: _torch_vmap(job, compiled=True)),
}
#: Libraries with more than one form: the table shows the fastest, chosen on the first round and timed on the others.
FORMS = {
    "PyTorch": ("PyTorch", "PyTorch, compiled"),
    "Equinox": ("Equinox", "Equinox, scanned"),
    "Flax": ("Flax", "Flax, scanned"),
    "torch.func.vmap": ("torch.func.vmap", "torch.func.vmap, compiled"),
}


def of(job: str) -> list[str]:
    """The peers of a job that are installed."""
    every = OF_MANY if JOBS[job].runs > 1 else PEERS
    return [name for name, (needed, _) in every.items() if importlib.util.find_spec(needed) is not None]


def matmul_rate(size: int = 2048) -> float:
    """Multiplications and additions per second of float32 matrices of this size, the best of several."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    jax.block_until_ready(product(a, a))
    taken = []
    for _ in range(15):
        began = time.perf_counter()
        jax.block_until_ready(product(a, a))
        taken.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(taken)


def timed(train: Train, seconds: float, turns: int = 3) -> list[float]:
    """Milliseconds per epoch of several runs of about this length, the first left out."""
    train(2)
    began = time.perf_counter()
    train(2)
    epochs = max(2, round(2 * seconds / max(time.perf_counter() - began, 1e-6)))
    # once more at this length: what is compiled for it, or grows, is there then
    taken = []
    for _ in range(turns + 1):
        began = time.perf_counter()
        train(epochs)
        taken.append(1e3 * (time.perf_counter() - began) / epochs)
    return taken[1:]


def first_epoch(library: str) -> None:
    """One epoch of the digits, as a user's script would begin."""
    if library == "scikit-learn":
        import warnings

        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        warnings.simplefilter("ignore")
        x, y = load_digits(return_X_y=True)
        net = MLPClassifier((256, 128), batch_size=32, max_iter=1)  # pyright: ignore[reportArgumentType]
        net.fit(x / 16, y)
        return
    import jax

    import fnn

    x, y = fnn.data.digits()
    net = fnn.mlp(64, 256, 128, 10, activation="relu")
    fnn.fit(
        fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), (x, y),
        optimizer=fnn.optimizers.adam(RATE), epochs=1, batch_size=32, key=jax.random.key(1),
    )  # fmt: skip


if __name__ == "__main__":
    peer, job, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if peer == "matmul":
        print(json.dumps({"rate": matmul_rate()}))
    elif peer.startswith("first epoch, "):
        first_epoch(peer.removeprefix("first epoch, "))
        # from the start of the process, imports included
        print(json.dumps({"seconds": time.time() - float(os.environ["STARTED"])}))
    else:
        make = (PEERS | OF_MANY)[peer][1]
        print(json.dumps({"milliseconds": timed(make(JOBS[job]), seconds)}))
