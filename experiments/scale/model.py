"""A model of the time of one step on D devices: operations over rate, bytes over bandwidth, a ring all-reduce.

Letters: P parameters, B rows of a batch, D devices, r operations a second of a device, w bytes a second of a link, l
seconds of one turn.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Machine(NamedTuple):
    """The speed of a device and its links: assumed, not measured, except for the CPU of this machine."""

    rate: float
    """r: operations per second that a net achieves."""
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


def parameters(sizes: Sequence[int]) -> int:
    """P."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def step(machine: Machine, sizes: Sequence[int], batch: int, devices: int) -> float:
    """Seconds of a step: forward and backward take 6 operations for each parameter and row."""
    count = parameters(sizes)
    work = 6 * count * batch / devices / machine.rate
    exchange = 2 * (devices - 1) / devices * 4 * count / machine.bandwidth + 2 * (devices - 1) * machine.latency
    return work + exchange


def table() -> list[dict[str, Any]]:
    """What is predicted of GPUs, in seconds a step, for each net at its usual batch, and at 64 and 4096 times that."""
    found = []
    for name, (sizes, usual) in NETS.items():
        for times in (1, 64, 4096):
            batch = times * usual
            found.append({
                "net": name, "batch": batch, "1 GPU": step(GPUS, sizes, batch, 1),
                "8 GPUs": step(GPUS, sizes, batch, 8), "64 hosts": step(HOSTS, sizes, batch, 64),
                "1024 hosts": step(HOSTS, sizes, batch, 1024), "pays until": pays_until(HOSTS, sizes, batch),
            })  # fmt: skip
    return found


class Shared(NamedTuple):
    """CPU devices of one machine: its cores are shared, so the work takes equally long on any number of devices."""

    turn: float
    """l."""
    byte: float
    """1 / w, seconds."""

    def step(self, alone: float, sizes: Sequence[int], devices: int) -> float:
        """Seconds of a step that takes `alone` on one device."""
        moved = 2 * (devices - 1) / devices * 4 * parameters(sizes)
        return alone + moved * self.byte + 2 * (devices - 1) * self.turn


def shared(measured: Sequence[Mapping[str, Any]]) -> Shared:
    """The machine that explains the times of two devices with the smallest and the largest net."""
    small, *_, large = sorted(measured, key=lambda each: parameters(each["sizes"]))
    one, two, *_ = small["seconds"]
    turn = max(two - one, 0) / 2
    one, two, *_ = large["seconds"]
    return Shared(turn, max(two - one - 2 * turn, 0) / (4 * parameters(large["sizes"])))


def off(measured: Sequence[Mapping[str, Any]]) -> list[float]:
    """Measured over predicted, for every time except the three that the machine was fitted to."""
    machine = shared(measured)
    *others, _ = rest = sorted(measured, key=lambda each: parameters(each["sizes"]))
    two = [each["seconds"][1] / machine.step(each["seconds"][0], each["sizes"], 2) for each in others[1:]]
    four = [each["seconds"][2] / machine.step(each["seconds"][0], each["sizes"], 4) for each in rest]
    return two + four


def pays_until(machine: Machine, sizes: Sequence[int], batch: int) -> int:
    """The number of devices, a power of two, with the shortest step."""
    return min((2**k for k in range(11)), key=lambda devices: step(machine, sizes, batch, devices))
