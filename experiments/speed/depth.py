"""Depth by scan: `fnn.repeated` by hand, against autodiff of the same scan and of the layers written out."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.progress import Watch
from experiments.speed import Options, pairs

BATCH, WIDTH = 128, 64


def measure(options: Options, watch: Watch) -> dict[str, Any]:
    """For every depth the seconds to trace and compile, and per step, of the three programs."""
    rows = []
    for k, depth in enumerate(options.depths):
        layer = fnn.dense(WIDTH, WIDTH, activation="relu", weight_init="he_normal")
        scanned, written = fnn.repeated(layer, depth), fnn.sequential(*[layer] * depth)
        stacked = scanned.init(jax.random.key(options.seed))
        x = jax.random.normal(jax.random.key(options.seed + 1), (BATCH, WIDTH))
        y = jnp.zeros_like(x)
        # the layers written out take the same numbers
        separate = tuple(jax.tree.map(lambda leaf, n=n: leaf[n], stacked) for n in range(depth))
        programs = {
            "by_hand": (fnn.backprop(scanned, fnn.squared_error), stacked),
            "automatic_scan": (jax.value_and_grad(fnn.objective(scanned, fnn.squared_error)), stacked),
            "automatic_written_out": (jax.value_and_grad(fnn.objective(written, fnn.squared_error)), separate),
        }
        compiled, seconds = {}, {}
        for name, (gradient, params) in programs.items():
            # the program written out takes seconds to compile: three of them must do
            count = min(3, options.compilations) if name == "automatic_written_out" else options.compilations
            step, seconds[name] = _compiled(gradient, (params, x), count)
            compiled[name] = lambda step=step, params=params, x=x, y=y: jax.block_until_ready(step(params, x, y))
            watch(f"depth {depth}, compiled", len(compiled), len(programs), name)
        taken = pairs.blocks(compiled, options.blocks, options.seconds, options.seed)
        steps = {name: np.array(each) for name, each in taken.items()}
        rows.append({
            "depth": depth,
            "compile_seconds": seconds,
            "step_seconds": {name: float(np.median(each)) for name, each in steps.items()},
            "times_as_fast_as_written_out": float(np.median(steps["automatic_written_out"] / steps["by_hand"])),
            "over_automatic_scan": float(np.median(steps["by_hand"] / steps["automatic_scan"])),
        })  # fmt: skip
        watch("depths", k + 1, len(options.depths), "")
    return {"batch": BATCH, "width": WIDTH, "rows": rows}


def _compiled(gradient: Any, data: tuple[Any, jax.Array], count: int) -> tuple[Any, float]:
    """The compiled program, and the median of the seconds that `count` fresh compilations took."""
    params, x = data
    step, times = None, []
    for _ in range(count):
        jax.clear_caches()
        began = time.perf_counter()
        step = jax.jit(gradient).lower(params, x, jnp.zeros_like(x)).compile()
        times.append(time.perf_counter() - began)
    return step, float(np.median(times))


def lines(depth: dict[str, Any]) -> list[str]:
    """What the measurement says, a line each."""
    rows = depth["rows"]
    told = [
        f"{row['depth']} layers by scan, by hand: compiled in {row['compile_seconds']['by_hand']:.2f} s "
        f"(written out, automatic: {row['compile_seconds']['automatic_written_out']:.2f} s); a step takes "
        f"{row['step_seconds']['by_hand'] * 1e3:.2f} ms, {row['over_automatic_scan']:.2f} × autodiff of the same scan; "
        f"{row['times_as_fast_as_written_out']:.2f} times as fast as autodiff written out"
        for row in rows
    ]
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        ratio = last["compile_seconds"]["by_hand"] / first["compile_seconds"]["by_hand"]
        told += [
            f"{_held(ratio <= 1.5)}: compiling {last['depth']} layers takes {ratio:.2f} × as long as {first['depth']}",
            f"{_held(last['times_as_fast_as_written_out'] >= 1.5)}: {last['depth']} layers by scan are at least "
            "1.5 times as fast as autodiff of the layers written out",
        ]
    return told


def _held(holds: bool) -> str:
    return "held" if holds else "NOT HELD"
