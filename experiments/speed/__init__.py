"""Question: is a hand-written gradient slower than automatic differentiation?

Prediction: no. The two programs multiply the same matrices; a step, a compilation and the memory between them are
equal up to the noise of the machine. Depth by scan compiles in the time of one layer.
Refuted by: a median ratio (by hand over automatic, 9 blocks) above the largest ratio of the null pair, which is
autodiff compiled twice and run in the same blocks, or above 1.02; more temporary memory by over 2 %; 512 repeated
layers that compile 1.5 times as long as 8; a scan less than 1.5 times as fast as autodiff of the layers written out.

How it is measured: in every block the programs take turns in random order, so that a slow phase of the machine hits
all alike; a block's time is the median of its turns, and only ratios within a block are compared.
"""

from dataclasses import dataclass
from typing import Any, Literal

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


#: The trainings of the speed table.
JOBS = ("64-32-10", "784-512-256-10", "1024-1024-1024-10", "64 nets")


@dataclass(frozen=True)
class Options(frame.Options):
    """Compare the hand-written gradient with autodiff: time, compile time, memory, and depth by scan.

    Runs are paired in random order, with autodiff compiled twice as the null pair. Do not use the machine for anything
    else meanwhile.
    """

    parts: tuple[Literal["gradients", "training", "curves"], ...] = ("gradients", "training", "curves")
    """What to run: one gradient against autodiff, with depth by scan; whole trainings beside other libraries; training
    against width, depth, batch, rows and runs."""
    nets: tuple[str, ...] = ("64-32-10", "784-512-256-10", "1024-1024-1024-10")
    """Sizes of each net, joined by hyphens; batches are 32, 128 and 1024, by the size of the first layer."""
    depths: tuple[int, ...] = (8, 512)
    """Numbers of repeated layers of width 64 to compile and run; none to leave them out."""
    blocks: int = frame.at_least(1, 9)
    """How many blocks of paired runs."""
    compilations: int = frame.at_least(1, 9)
    """How many fresh compilations of each program."""
    seconds: float = frame.above(0, 1.0)
    """How long each program runs in each block, about."""
    jobs: tuple[str, ...] = JOBS
    """The trainings."""
    rounds: int = frame.at_least(1, 3)
    """How often each library trains each job, in processes of its own in random order."""
    largest: int = frame.at_least(16, 10_000_000)
    """Values of the curves above this are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for net in self.nets:
            sizes = net.split("-")
            frame.require(
                len(sizes) > 1 and all(s.isdigit() and int(s) > 0 for s in sizes), "--nets", net, "as 64-32-10"
            )
        for layers in self.depths:
            frame.require(layers >= 1, "--depths", layers, "at least 1")
        for job in self.jobs:
            frame.require(job in JOBS, "--jobs", job, f"of {', '.join(JOBS)}")


EXPERIMENT = frame.Experiment(
    Options,
    precision=None,
    apart=True,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

from rich.console import Console
from rich.table import Table

from experiments.progress import Watch, silent
from experiments.speed import curves, depth, gradients, training


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure everything; nearly all of it stands under "measured", since it differs from run to run."""
    result: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    if "gradients" in options.parts:
        nets = [gradients.measure(net, options, watch) for net in options.nets]
        result["nets"] = [
            {"net": each["net"], "batch": each["batch"], "operations": each.pop("operations")} for each in nets
        ]
        measured |= {"nets": nets, "depth": depth.measure(options, watch)}
    if "training" in options.parts:
        measured["training"] = training.measure(options, watch)
    if "curves" in options.parts:
        measured["curves"] = curves.measure(options, watch)
    return result | {"measured": measured}


def show(saved: dict[str, Any], console: Console) -> None:
    """Print the table of ratios."""
    measured = saved["measured"]
    if "training" in measured:
        training.show(measured["training"], console)
    for axis, rows in measured.get("curves", {}).items():
        shown = Table(axis, "milliseconds an epoch", "first epoch, s", "megabytes so far")
        for row in rows:
            numbers = (row["milliseconds"], row["first_epoch_seconds"], row["megabytes"])
            shown.add_row(f"{row['value']:,}", *(f"{number:.4g}" for number in numbers))
        console.print(shown)
        console.print(curves.BOUNDS[axis], highlight=False)
    for each in measured.get("nets", ()):
        console.print(f"\n{each['net']}, batch {each['batch']}", highlight=False)
        table = Table("")
        for heading in ("by hand", "automatic", "ratio", "largest null ratio", ""):
            table.add_column(heading, justify="right")
        for what, factor, unit in (("step", 1e6, "µs"), ("compile", 1.0, "s")):
            row = each[what]
            times = (f"{row[name] * factor:.4g} {unit}" for name in ("by_hand", "automatic"))
            held = verdict(row["ratio"], row["null_largest"])
            table.add_row(what, *times, f"{row['ratio']:.3f}", f"{row['null_largest']:.3f}", held)
        hand, auto = each["temporary_bytes"]["by_hand"], each["temporary_bytes"]["automatic"]
        held = "held" if hand <= auto else "within 2 %" if hand <= 1.02 * auto else "NOT HELD"
        table.add_row("memory", f"{hand / 1024:.0f} KiB", f"{auto / 1024:.0f} KiB", f"{hand / auto:.3f}", "", held)
        console.print(table)
    for line in depth.lines(measured["depth"]) if "depth" in measured else ():
        console.print(line, highlight=False, soft_wrap=True)


def verdict(ratio: float, null_largest: float) -> str:
    """ "held" where the ratio is at most the largest ratio of the null pair, and at most 1.02."""
    return "held" if ratio <= min(null_largest, 1.02) else "NOT HELD"


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}, from the saved record alone."""
    from experiments import figures

    measured = saved["measured"]
    drawn = {"speed.png": figures.ratios(measured["nets"])} if "nets" in measured else {}
    if "training" in measured:
        drawn["training.png"] = figures.training(training.table(measured["training"]))
    if "curves" in measured:
        drawn["curves.png"] = figures.growth(measured["curves"])
    return drawn
