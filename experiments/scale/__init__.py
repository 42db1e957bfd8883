"""Question: does a run on many devices or in many processes give the same results as one device, and what does it cost?

Prediction: in every step the devices exchange the gradients and a number, no more on 64 devices than on two, and
nothing in a sweep; a sweep on two CPU devices takes at most 1/1.45 of the time on one; parameters are those of one
device, in float64 to 1e-12 of the largest entry, in float32 as near the truth as one device is; two processes give the
bits of one with two devices, and each reads half of the rows of a stream; if a process of a group is killed at any
moment, the group ends within 20 s and later continues bit for bit; a signal to one process stops all at the same step;
a process that hangs, fails or was given something else ends all, with a sentence.
Refuted by: one collective more; a sweep that is slower; a number beyond its bound; a group that hangs, or continues
with different bits.

Each part runs in separate processes. To measure parts again, on a machine that does nothing else, and enter them into
a record: python -m experiments.scale.again FOLDER times
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Many devices and processes: speed, exchanges, equality, kills and other faults.

    Twenty kills take about ten minutes on two cores; the times need a machine that does nothing else.
    """

    kills: int = frame.at_least(2, 20)
    """How many times a process of a group is killed: half of them a random one at a random moment, half the one that
    writes a checkpoint while it does."""
    epochs: int = frame.at_least(1, 150)
    """Length of a run that is killed; it must outlast four kills."""
    pairs: int = frame.at_least(1, 7)
    """How many times one device and two are timed in turn."""
    rows: int = frame.at_least(2048, 1_000_000)
    """Of the stream."""
    devices: int = frame.at_least(2, 64)
    """The most virtual devices whose programs are read and run."""


EXPERIMENT = frame.Experiment(
    Options,
    precision=None,
    apart=True,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

from rich.console import Console
from rich.table import Table

from experiments.frame import Prediction
from experiments.progress import Watch, silent
from experiments.scale import groups, model

#: Kills of one run, after which it is left to finish.
EACH = 4
#: Members and epochs of the sweeps that are timed; of the one that is held against one device, which does not divide.
TIMED, LONG, ODD = (64, 256), 40, 65
#: Epochs of eight batches in which a step is timed, for each net.
STEPS = {"64-32-10": 400, "784-512-256-10": 20, "1024-1024-1024-10": 5}
#: Of float64, by the largest entry of each leaf; of float32, in distances of one device from the truth.
OFF, NARROW = 1e-12, 4
#: Units in the last place of the largest entry of a leaf, between float32 sweeps after one epoch. (2026-11-26: fixed
#: first as units of each entry; 7045 were seen, of an entry next to zero. The bound stays.) And the difference of the
#: losses of one process with four devices, whose sums may have an order of their own, from those of four processes.
ULPS, LOSSES = 16, 2e-6
#: Share of the bytes of a stream that each of two processes reads at most.
SHARE = 0.55
#: How many times as fast a sweep on two devices is.
GAIN = 1.45
#: A model of the time is taken to hold if it is right within this factor.
WITHIN = 3


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure every part, each in processes of its own."""
    result, began = {}, {}
    for number, (name, part) in enumerate(PARTS.items()):
        watch("parts", number + 1, len(PARTS), name)
        result[name], began[name] = measured(part, options, watch)
    return result | {"measured": {"parts": began}}


def measured(part: Callable[..., Any], options: Options, watch: Watch) -> tuple[Any, dict[str, float]]:
    """What a part found; how long it took, and how busy the machine was before."""
    load, began = os.getloadavg()[0], time.perf_counter()
    found = part(options, watch)
    return found, {"seconds": round(time.perf_counter() - began, 1), "load": round(load, 2)}


def times(options: Options, watch: Watch) -> dict[str, Any]:
    """Sweeps on one device and two in turn; steps on one, two and four."""
    return {
        "sweeps": [
            groups.alone("sweeps", 2, {"members": members, "epochs": LONG, "pairs": options.pairs}) for members in TIMED
        ],
        "steps": [
            groups.alone(
                "steps", 4, {"sizes": list(sizes), "batch": batch, "devices": [1, 2, 4], "epochs": STEPS[name]}
            )
            for name, (sizes, batch) in model.NETS.items()
        ],
    }  # fmt: skip


def programs(options: Options, watch: Watch) -> dict[str, Any]:
    """What devices exchange, on two and on very many."""
    return {str(n): groups.alone("programs", n, {"devices": n}) for n in (2, options.devices)}


def equal(options: Options, watch: Watch) -> dict[str, Any]:
    """`fit` and `sweep` on several devices and on very many against one."""
    many = {"devices": options.devices}
    return {
        "fits": groups.alone("fits", 8, {"devices": [2, 4, 8]}),
        "members": groups.alone("members", 2, {"count": ODD, "epochs": LONG}),
        "many": groups.alone("many", options.devices, many) | groups.alone("virtual", options.devices, many),
    }


def stream(options: Options, watch: Watch) -> dict[str, Any]:
    """Rows that are read by two processes, and by one with two devices."""
    return {
        "two processes": groups.ended(groups.group("stream", {"rows": options.rows})),
        "one process": groups.alone("stream", 2, {"rows": options.rows}),
    }


def shapes(options: Options, watch: Watch) -> dict[str, Any]:
    """The same run in processes × devices."""
    found = {
        f"{processes} x {devices}": groups.ended(groups.group("short_run", {}, processes, devices))
        for processes, devices in ((1, 2), (2, 1), (1, 4), (2, 2), (4, 1))
    }
    first = {name: ends[0] for name, ends in found.items()}
    pairs = zip(first["4 x 1"]["losses"], first["1 x 4"]["losses"], strict=True)
    return {
        "digests": {name: sorted({each["digest"] for each in ends}) for name, ends in found.items()},
        "losses_off": max(abs(one - other) / abs(one) for one, other in pairs),
    }


def kills(options: Options, watch: Watch) -> dict[str, Any]:
    """Kill, stop by a signal, and start again."""
    order, found = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        whole = groups.finished(place / "whole", options.epochs)
        while len(found) < options.kills:
            folder, times = place / f"run {len(found)}", range(len(found), min(len(found) + EACH, options.kills))
            lives = [groups.killed(folder, options.epochs, order, writing=number % 2 == 1) for number in times]
            same = groups.finished(folder, options.epochs) == whole
            found += [each | {"same_bits": same} for each in lives]
            watch("kills", len(found), options.kills, f"{sum(not each['same_bits'] for each in found)} of other bits")
        return {"kills": found, "signal": groups.signalled(place / "signal", options.epochs, whole)}


def faults(options: Options, watch: Watch) -> dict[str, Any]:
    """Whatever else may happen to a process of a group."""
    epochs = options.epochs
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        whole = groups.finished(place / "whole", epochs)
        tried: dict[str, Callable[[], dict[str, Any]]] = {
            "the first hangs": lambda: groups.hung(place / "first", epochs, whole, 0),
            "the second hangs": lambda: groups.hung(place / "second", epochs, whole, 1),
            "the second is killed in a sweep": lambda: groups.swept(place / "sweep", epochs),
            "the second raises": lambda: groups.raising(8 * 65_536),
            "the port is in use": lambda: groups.taken(epochs, place / "port"),
            "no folder": lambda: groups.unwritable(epochs),
            "other data": lambda: groups.unequal(place / "data", epochs, {"moved": 1e-3}),
            "another option": lambda: groups.unequal(place / "option", epochs, {"clip_norm": 1.0}),
            "another length": lambda: groups.unequal(place / "length", epochs, {"epochs": epochs + 1}),
            "the second pauses": lambda: groups.paused(place / "paused", epochs, whole),
            "the second waits for its source": lambda: groups.slow(8 * 65_536),
            "the second sees no folder": lambda: groups.unseen(place / "unseen", epochs, whole),
        }
        found = {}
        for number, (name, attempt) in enumerate(tried.items()):
            found[name] = attempt()
            watch("faults", number + 1, len(tried), name)
        return found


def predicted(options: Options, watch: Watch) -> list[dict[str, Any]]:
    """What the model says of machines that are not here."""
    return model.table()


PARTS: dict[str, Callable[[Options, Watch], Any]] = {
    "times": times, "programs": programs, "equal": equal, "stream": stream, "shapes": shapes, "kills": kills,
    "faults": faults, "predicted": predicted,
}  # fmt: skip
#: What each process must say, of the faults after which all must end: the first, the second; one that is killed says
#: nothing.
SAID = {
    "the first hangs": ("", ""), "the second hangs": ("", ""),
    "the second is killed in a sweep": ("another process of the group is gone", None),
    "the second raises": ("process 1 of 2 raised", "the disk of the second process"),
    "the port is in use": ("Failed to start RPC server", "fatal errors"),
    "no folder": ("no checkpoints can be kept in", "process 0 of 2 raised CheckpointError"),
    "other data": ("another data in process 1",) * 2, "another option": ("another clip_norm in process 1",) * 2,
    "another length": ("another epochs in process 1",) * 2,
}  # fmt: skip
#: The groups that are started again after them.
WOKEN = ("the first hangs", "the second hangs", "the second is killed in a sweep")
#: The faults that must change nothing but the time.
HARMLESS = ("the second pauses", "the second waits for its source", "the second sees no folder")


def gain(times: dict[str, Any]) -> float:
    """How many times as fast two devices are, the median of the pairs."""
    return statistics.median(one / two for one, two in zip(times["one"], times["two"], strict=True))


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    judges = {
        "programs": _of_programs, "equal": _of_numbers, "times": _of_times, "stream": _of_stream, "shapes": _of_shapes,
        "kills": _of_kills, "faults": _of_faults,
    }  # fmt: skip
    made: dict[str, Prediction] = {}
    for part, judge in judges.items():
        made |= judge(result[part]) if part in result else {}
    return made


def _of_programs(programs: dict[str, Any]) -> dict[str, Prediction]:
    steps = [
        (name, [each for each in found["fit"][name] if each["where"] == "step"])
        for found in programs.values() for name in model.NETS
    ]  # fmt: skip
    sizes = {name: 4 * (model.parameters(net) + 1) for name, (net, _) in model.NETS.items()}
    return {
        "exchange": Prediction(
            f"in a step devices exchange the gradients and one number, on 2 devices as on {max(map(int, programs))}",
            all(
                [(each["kind"], each["bytes"]) for each in step] == [("all-reduce", sizes[name])]
                for name, step in steps
            ),
        ),
        "nothing": Prediction(
            "in a sweep they exchange nothing: collectives", [len(found["sweep"]) for found in programs.values()],
            "at most", 0,
        ),
    }  # fmt: skip


def _of_numbers(equal: dict[str, Any]) -> dict[str, Prediction]:
    fits, members, many = equal["fits"], equal["members"], equal["many"]
    one, two = members["distances"]
    narrow = [distance / fits["narrow"]["1"] for count, distance in fits["narrow"].items() if count != "1"]
    return {
        "wide": Prediction(
            "fit on 2, 4 and 8 devices, five epochs in float64: difference from one device", fits["wide"], "at most",
            OFF,
        ),
        "narrow": Prediction(
            "in float32: distance from the float64 truth over that of one device", narrow, "at most", NARROW
        ),
        "layers": Prediction(
            "wide layers split over 2 and 4 devices, in float64: difference from one device",
            [each["off"] for each in fits["model"].values()], "at most", OFF,
        ),
        "halved": Prediction(
            "share of parameters and optimizer state on a device, over half and a quarter of what is split",
            [each["share"] / each["should"] for each in fits["model"].values()], "within", [0.999, 1.001],
        ),
        "again": Prediction("a second run has the bits of the first", fits["repeats"] and members["repeats"]),
        "members": Prediction(
            f"sweep of {members['members']} nets on two devices, {members['epochs']} epochs in float64: difference "
            "from one device", members["wide"], "at most", OFF,
        ),
        "ulps": Prediction(
            "in float32 after one epoch: units in the last place of the largest entry of each leaf",
            members["after_one"]["leaf"], "at most", ULPS,
        ),
        "truth": Prediction(
            f"in float32 after {members['epochs']}: median distance from the float64 truth over that of one device",
            statistics.median(two) / statistics.median(one), "at most", NARROW,
        ),
        "undisturbed": Prediction("a member that fails changes no bit of another", members["undisturbed"]),
        "many": Prediction(
            "twenty steps of fit and sweep on very many devices, in float64: difference from one",
            [many["fit"], many["sweep"]], "at most", OFF,
        ),
    }  # fmt: skip


def _of_times(times: dict[str, Any]) -> dict[str, Prediction]:
    return {
        "sweeps": Prediction(
            "sweeps of 64 and 256 nets on two devices: times as fast as on one",
            [gain(each) for each in times["sweeps"]], "at least", GAIN,
        ),
        "model": Prediction(
            "steps on two and four devices take what the model says: measured over predicted",
            model.off(times["steps"]), "within", [1 / WITHIN, WITHIN],
        ),
    }  # fmt: skip


def _of_stream(stream: dict[str, Any]) -> dict[str, Prediction]:
    two, one = stream["two processes"], stream["one process"]
    return {
        "stream": Prediction(
            "share of the bytes of a stream that each of two processes reads",
            [each["bytes"] / one["bytes"] for each in two], "at most", SHARE,
        ),
        "streamed": Prediction(
            "the result of both is that of one process", all(each["digest"] == one["digest"] for each in two)
        ),
    }  # fmt: skip


def _of_shapes(shapes: dict[str, Any]) -> dict[str, Prediction]:
    digests = shapes["digests"]
    same = [digests["2 x 1"] + digests["1 x 2"], digests["4 x 1"] + digests["2 x 2"]]
    return {
        "shapes": Prediction(
            "two processes give the bits of two devices, four the bits of two with two",
            all(len(set(each)) == 1 for each in same),
        ),
        "order": Prediction(
            "one process with four devices may add in another order: relative difference of the losses",
            shapes["losses_off"], "at most", LOSSES,
        ),
    }  # fmt: skip


def _of_kills(found: dict[str, Any]) -> dict[str, Prediction]:
    kills, signal = found["kills"], found["signal"]
    fair = [each for each in kills if not each["ran_out"]]
    told = [0 not in each["status"] and all(said for k, said in enumerate(each["said"]) if k != each["rank"])
            for each in fair]  # fmt: skip
    return {
        "kills": Prediction(
            f"{len(kills)} kills: seconds until all processes have ended", [each["seconds"] for each in kills],
            "at most", groups.SOON,
        ),
        "told": Prediction(
            "each ends with a status that is not 0, and those that were not killed with a sentence",
            bool(told) and all(told),
        ),
        "bits": Prediction("and all go on bit for bit", all(each["same_bits"] for each in kills)),
        "halves": Prediction(
            "some kills fell into the writing of a checkpoint: halves left",
            sum(each["half_written"] for each in kills), "at least", 1,
        ),
        "signal": Prediction(
            "SIGTERM to one process stops both at the same step with a checkpoint, and they go on bit for bit",
            signal["same_bits"] and signal["status"] == [143, 143] and signal["checkpoints"] > 0
            and signal["stopped_at"][0] is not None and signal["stopped_at"][0] == signal["stopped_at"][1],
        ),
    }  # fmt: skip


def _of_faults(faults: dict[str, Any]) -> dict[str, Prediction]:
    ends = {name: faults[name] for name in SAID}
    clear = {
        name: 0 not in found["status"]
        and all(part is None or (said and part in said) for part, said in zip(SAID[name], found["said"], strict=True))
        for name, found in ends.items()
    }
    return {
        "faults": Prediction(
            "a process hangs or raises, a port is in use, there is no folder, data or options differ: seconds until "
            "all have ended", [each["seconds"] for each in ends.values()], "at most", groups.SOON,
        ),
        "clear": Prediction("each with a status that is not 0 and a sentence that says why", all(clear.values())),
        "woken": Prediction(
            "a group of which one hung, and a sweep of which one was killed, go on bit for bit",
            all(faults[name]["same_bits"] for name in WOKEN),
        ),
        "harmless": Prediction(
            "a process that pauses, waits for its source or sees no folder changes no bit",
            all(faults[name]["same_bits"] for name in HARMLESS),
        ),
    }  # fmt: skip


def show(saved: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    result, parts = saved["result"], saved["measured"]["parts"]
    table = Table("step of", "batch", *(f"{n} devices, ms" for n in (1, 2, 4)))
    for each in result["times"]["steps"]:
        sizes = "-".join(map(str, each["sizes"]))
        table.add_row(sizes, str(each["batch"]), *(f"{1e3 * s:.3f}" for s in each["seconds"]))
    console.print(table)
    for each in result["times"]["sweeps"]:
        console.print(f"sweep of {each['members']} nets: two devices {gain(each):.2f} × as fast as one")
    console.print(f"load of the machine before the times: {parts['times']['load']:.1f}", highlight=False)
    table = Table("fault", "s until all ended", "status", "what the first says", "what the second says")
    for name in SAID:
        found = result["faults"][name]
        table.add_row(name, f"{found['seconds']:.1f}", str(found["status"]), *(said[:100] for said in found["said"]))
    console.print(table)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}: what the model says of large machines, and how a sweep and the kills went."""
    from experiments.scale import pictures

    result = saved["result"]
    return {
        "model.svg": pictures.devices(result["times"]["steps"]),
        "sweeps.svg": pictures.sweeps(result["times"]["sweeps"]),
        "kills.svg": pictures.kills(result["kills"]["kills"]),
    }  # fmt: skip
