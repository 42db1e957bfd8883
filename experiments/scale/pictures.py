"""The pictures of the experiment, from what was saved."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments import figures
from experiments.scale import groups, model

COLORS = (figures.BLUE, figures.ORANGE, figures.GREEN)
MARKERS = "os^"


def devices(measured: Sequence[Mapping[str, Any]]) -> Figure:
    """Milliseconds a step: on hosts, as the model says; on CPU devices, measured and as the model says."""
    figure, ((hosts, cores),) = figures.blank(11, 4.4, columns=2)
    numbers = [2**k for k in range(11)]
    machine = model.shared(measured)
    for (name, (sizes, batch)), each, color, marker in zip(model.NETS.items(), measured, COLORS, MARKERS, strict=True):
        # 64 times the batch: there devices are worth thinking of at all
        ms = [1e3 * model.step(model.HOSTS, sizes, 64 * batch, n) for n in numbers]
        hosts.plot(numbers, ms, marker=marker, ms=4, color=color, label=f"{name}, batch {64 * batch}")
        alone = each["seconds"][0]
        cores.plot(
            [1, 2, 4],
            [1e3 * machine.step(alone, sizes, n) for n in (1, 2, 4)],
            "--",
            color=color,
            label=f"{name}, model",
        )
        cores.plot([1, 2, 4], [1e3 * s for s in each["seconds"]], marker, color=color, ms=7, label=f"{name}, measured")
    hosts.set(xlabel="hosts of one GPU each", ylabel="ms a step", xscale="log", yscale="log", title="Model of hosts")
    cores.set(xlabel="CPU devices of one machine", ylabel="ms a step", yscale="log", title="CPU devices")
    cores.set_xticks([1, 2, 4])
    hosts.legend(fontsize=9)
    cores.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def sweeps(measured: Sequence[Mapping[str, Any]]) -> Figure:
    """How many times as fast two devices are, pair by pair."""
    figure, ((axes,),) = figures.blank(5.5, 3.8)
    for place, (each, color) in enumerate(zip(measured, COLORS, strict=False)):
        ratios = sorted(one / two for one, two in zip(each["one"], each["two"], strict=True))
        spread = [place + 0.3 * (k / max(len(ratios) - 1, 1) - 0.5) for k in range(len(ratios))]
        axes.plot(spread, ratios, "o", color=color)
    axes.axhline(1.45, color="black", ls="--", lw=1)
    axes.annotate("promised: 1.45", (-0.45, 1.45), xytext=(0, -12), textcoords="offset points")
    axes.axhline(1, color="grey", lw=1)
    axes.set(
        xlim=(-0.5, len(measured) - 0.5), ylim=(0, None), ylabel="time on one device over time on two",
        title="Sweeps on two CPU devices, pair by pair",
    )  # fmt: skip
    axes.set_xticks(range(len(measured)), [f"{each['members']} nets" for each in measured])
    return figure


def kills(found: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds until all processes had ended, kill by kill."""
    figure, ((axes,),) = figures.blank(6.5, 3.8)
    kinds = {
        "first process, while it wrote": lambda each: each["writing"],
        "first process": lambda each: not each["writing"] and each["rank"] == 0,
        "second process": lambda each: not each["writing"] and each["rank"] == 1,
    }
    for (label, belongs), color, marker in zip(kinds.items(), COLORS, MARKERS, strict=True):
        mine = [(k + 1, each["seconds"]) for k, each in enumerate(found) if belongs(each)]
        axes.plot([k for k, _ in mine], [s for _, s in mine], marker, color=color, label=label)
    axes.axhline(groups.SOON, color="black", ls="--", lw=1, label=f"promised: {groups.SOON} s")
    axes.set(
        xlabel="kill", ylabel="s until all had ended", yscale="log", ylim=(0.03, 2 * groups.SOON),
        title="Kills in a group of two",
    )  # fmt: skip
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=9, loc="center right")
    return figure
