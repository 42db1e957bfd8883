"""Which operations of JAX the glass box covers: every primitive that the installed release can differentiate.

`python -m experiments.primitives` rewrites the table in `docs/glassbox.md`.
"""

from collections.abc import Iterable
from pathlib import Path

import jax
from jax.interpreters import ad

from fnn.glassbox import table
from fnn.glassbox.trace.devices import CASTS, EXCHANGES
from fnn.glassbox.trace.program import HIGH, LOOKED_THROUGH

PAGE = Path(__file__).parents[1] / "docs" / "glassbox.md"
BEGIN, END = "<!-- primitives: written by python -m experiments.primitives -->", "<!-- end of primitives -->"
#: Written out where they stand: names of values, maps over one device, and which of several ways a device takes.
INSIDE = {"name", "shard_map", HIGH, *LOOKED_THROUGH, *EXCHANGES, *CASTS}
GROUPS = {
    "rule": "a local rule",
    "inside": "looked through: the glass box shows and differentiates what they hold",
    "none": "needs none: whole numbers, truths, keys, steps that are flat, and what makes nothing",
    "refused": "refused, by name and line",
}


def differentiable() -> list[str]:
    """The names of the primitives for which the installed JAX has a derivative or a transpose."""
    return sorted({primitive.name for primitive in {*ad.primitive_jvps, *ad.primitive_transposes}})


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """{group: names}."""
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in names:
        known = table.known(name)
        if name in INSIDE:
            group = "inside"
        elif known.rule is not None:
            group = "rule"
        else:
            group = "none" if known.flat else "refused"
        groups[group].append(name)
    return groups


def written() -> str:
    """The table of the docs."""
    names = differentiable()
    groups = grouped(names)
    covered = len(names) - len(groups["refused"])
    lines = [f"JAX {jax.__version__} can differentiate {len(names)} operations; {covered} are covered.", ""]
    lines += ["| | count | operations |", "|---|---|---|"]
    for group, title in GROUPS.items():
        lines.append(f"| {title} | {len(groups[group])} | {', '.join(f'`{name}`' for name in groups[group])} |")
    return "\n".join(lines)


def main() -> None:
    """Write the table into the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{written()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
