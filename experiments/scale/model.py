"""A model of the time of one step on D devices: operations over rate, bytes over bandwidth, a ring all-reduce.

Letters: P parameters, B rows of a batch, D devices, r operations a second of a device, w bytes a second of a link, l
seconds of one turn.
"""

from itertools import pairwise
from typing import NamedTuple


class Machine(NamedTuple):
    """What a device and its links do; stated, not measured, but for the CPU of this machine."""

    rate: float
    """r: operations a second that a net gets out of it."""
    bandwidth: float
    """w."""
    latency: float
    """l."""


#: An H100 at half of its dense TF32 peak, within a host by NVLink, between hosts by 400 Gb/s a device.
GPUS, HOSTS = Machine(2.5e14, 4.5e11, 5e-6), Machine(2.5e14, 5e10, 1e-5)
#: Layer sizes and batch of the nets of the speed table.
NETS = {
    "64-32-10": ((64, 32, 10), 32), "784-512-256-10": ((784, 512, 256, 10), 128),
    "1024-1024-1024-10": ((1024, 1024, 1024, 10), 512),
}  # fmt: skip


def parameters(sizes: tuple[int, ...]) -> int:
    """P."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def step(machine: Machine, sizes: tuple[int, ...], batch: int, devices: int) -> float:
    """Seconds of a step: forward and backward take 6 operations for each parameter and row."""
    count = parameters(sizes)
    work = 6 * count * batch / devices / machine.rate
    exchange = 2 * (devices - 1) / devices * 4 * count / machine.bandwidth + 2 * (devices - 1) * machine.latency
    return work + exchange


def pays_until(machine: Machine, sizes: tuple[int, ...], batch: int) -> int:
    """The number of devices, a power of two, with the shortest step."""
    return min((2**k for k in range(11)), key=lambda devices: step(machine, sizes, batch, devices))
