"""Measure parts of the experiment again, and enter them into a record: `python -m experiments.scale.again FOLDER
PART…`.

Promises: the other parts stay as they are; predictions and pictures are made again for all. If there is no record, one
is started.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from experiments import results, scale, trial
from experiments.progress import shown


def main(folder: Path, names: list[str]) -> int:
    """Measure these parts; return the status."""
    if not names or not set(names) <= scale.PARTS.keys():
        print(f"usage: FOLDER of a record, then some of {', '.join(scale.PARTS)}.", file=sys.stderr)
        return 2
    results.claim(folder)
    record = results.read(folder / results.FILE) or results.write(folder, "scale", scale.Options(), {})
    options = scale.Options(**record["options"])
    console = Console()
    with shown(console) as watch:
        for name in names:
            record["result"][name], facts = scale.measured(scale.PARTS[name], options, watch)
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            record["measured"].setdefault("parts", {})[name] = facts | {"finished": finished}
            # part by part, so that what is measured stays where a later one fails
            record = results.store(folder, trial.judged(scale, record))
    print("\n".join(trial.lines(record)))
    if scale.PARTS.keys() <= record["result"].keys():
        scale.show(record, console)
        trial.draw(scale, folder, record)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(), sys.argv[2:]))
