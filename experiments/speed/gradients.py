"""One gradient by hand against the same by autodiff: a step, its compilation, its memory, its operations."""

import random
import time
from typing import Any

import jax

import fnn
from experiments.progress import Watch
from experiments.speed import Options, pairs

PROGRAMS = ("by_hand", "automatic", "automatic_again")


def measure(name: str, options: Options, watch: Watch) -> dict[str, Any]:
    """Everything about one net, given as "64-32-10"."""
    sizes = [int(size) for size in name.split("-")]
    batch = 32 if sizes[0] < 512 else 128 if sizes[0] < 1024 else 1024
    net = fnn.mlp(sizes)
    keys = jax.random.split(jax.random.key(options.seed), 3)
    data = (
        net.init(keys[0]),
        jax.random.normal(keys[1], (batch, sizes[0])),
        jax.random.randint(keys[2], (batch,), 0, sizes[-1]),
    )
    compiled = {program: _program(program, net).lower(*data).compile() for program in PROGRAMS}
    memory = {program: compiled[program].memory_analysis().temp_size_in_bytes for program in PROGRAMS[:2]}
    operations = {program: compiled[program].cost_analysis()["flops"] for program in PROGRAMS[:2]}
    calls = {program: lambda step=step: jax.block_until_ready(step(*data)) for program, step in compiled.items()}
    taken: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    for block in range(options.blocks):
        for program, seconds in pairs.blocks(calls, 1, options.seconds, options.seed + block).items():
            taken[program] += seconds
        watch(f"{name}, steps", block + 1, options.blocks, f"ratio {taken['by_hand'][-1] / taken['automatic'][-1]:.3f}")
    return {
        "net": name,
        "batch": batch,
        "operations": operations,
        "temporary_bytes": memory,
        "step": pairs.compared(taken),
        "compile": pairs.compared(_compilations(net, data, options, watch, name)),
    }


def _program(program: str, net: fnn.Layer) -> Any:
    if program == "by_hand":
        return jax.jit(fnn.backprop(net, fnn.softmax_cross_entropy))
    return jax.jit(jax.value_and_grad(fnn.objective(net, fnn.softmax_cross_entropy)))


def _compilations(net: fnn.Layer, data: Any, options: Options, watch: Watch, name: str) -> dict[str, list[float]]:
    """Seconds to trace, lower and compile afresh: each time every cache of JAX is emptied before."""
    taken: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    order = random.Random(options.seed)
    for k in range(options.compilations):
        for program in order.sample(PROGRAMS, len(PROGRAMS)):
            jax.clear_caches()
            step = _program(program, net)
            began = time.perf_counter()
            step.lower(*data).compile()
            taken[program].append(time.perf_counter() - began)
        watch(f"{name}, compilations", k + 1, options.compilations, "")
    return taken
