"""How long one passing check of 784-512-256-10 takes, from call to report: ours, or PyTorch's gradcheck in fast mode.

Run as `python -m experiments.detection.clock NAME`, each in a process of its own, so that neither finds the other's
threads; it prints JSON.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

SIZES, EXAMPLES = (784, 512, 256, 10), 128
PEERS = ("fnn", "torch")


def ours() -> dict[str, Any]:
    """Seconds of the first check, compilation included; of a second that keeps the programs; and of one gradient."""
    import jax
    import jax.numpy as jnp

    import fnn

    net = fnn.mlp(*SIZES, activation="tanh")
    by_hand = fnn.backprop(net, "softmax_cross_entropy")
    params = jax.block_until_ready(jax.jit(net.init)(jax.random.key(0)))
    x = jax.block_until_ready(jax.random.normal(jax.random.key(1), (EXAMPLES, SIZES[0])))
    y = jnp.arange(EXAMPLES, dtype=jnp.int32) % SIZES[-1]
    programs = fnn.checker.Programs()
    began = time.perf_counter()
    report = fnn.check(by_hand, params, x, y, programs=programs)
    first = time.perf_counter() - began
    again = []
    for _ in range(5):
        began = time.perf_counter()
        fnn.check(by_hand, params, x, y, programs=programs)
        again.append(time.perf_counter() - began)
    gradient = jax.jit(by_hand)
    jax.block_until_ready(gradient(params, x, y))
    began = time.perf_counter()
    for _ in range(50):
        jax.block_until_ready(gradient(params, x, y))
    one = (time.perf_counter() - began) / 50
    return {
        "ok": report.ok, "first": first, "again": sorted(again)[2], "one_gradient": one, "missed": report.missed,
        "whole_net": _whole_net(by_hand, params, x, y, programs),
    }  # fmt: skip


def _whole_net(by_hand: Any, params: Any, x: Any, y: Any, programs: Any) -> float:
    """Seconds of the evaluations of the whole net in a check: by hand and autodiff in float64 and in the working dtype,
    and the random directions. It looks inside the checker, whose report does not tell times."""
    import jax

    from fnn.checker import rules
    from fnn.checker.directions import along_random_directions
    from fnn.checker.pairs import OfRecord
    from fnn.checker.points import Settings, at, cast

    settings, taken = Settings(programs=programs), []
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        whole = rules.Rule(
            "gradient", "", OfRecord(by_hand, by_hand.objective), (params, x), ("params", "x"), (y, {}), whole=True
        )  # fmt: skip
        for _ in range(7):
            point = at(whole, settings)
            began = time.perf_counter()
            settings.witnesses(whole).compare(point)
            settings.working(whole).working((params, x), (y, {}), cast(point.y_bar, jax.numpy.float32))
            along_random_directions(point, settings, 1e-3)
            taken.append(time.perf_counter() - began)
    return sorted(taken)[3]


def torch_fast() -> dict[str, Any]:
    """Seconds of gradcheck in fast mode on the same net in float64, which it demands."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    params = [
        p
        for below, above in pairwise(SIZES)
        for p in (torch.randn(below, above, dtype=torch.float64) / below**0.5, torch.zeros(above, dtype=torch.float64))
    ]
    params = [p.requires_grad_() for p in params]
    x = torch.randn(EXAMPLES, SIZES[0], dtype=torch.float64)
    y = torch.arange(EXAMPLES) % SIZES[-1]

    def loss(*params: Any) -> Any:
        a = x
        for k in range(0, len(params), 2):
            a = a @ params[k] + params[k + 1]
            a = torch.tanh(a) if k < len(params) - 2 else a
        return torch.nn.functional.cross_entropy(a, y)

    taken, ok = [], False
    for _ in range(6):
        began = time.perf_counter()
        ok = torch.autograd.gradcheck(loss, tuple(params), fast_mode=True)
        taken.append(time.perf_counter() - began)
    return {"ok": bool(ok), "first": taken[0], "again": sorted(taken[1:])[2]}


if __name__ == "__main__":
    print(json.dumps(ours() if sys.argv[1] == "fnn" else torch_fast()))
