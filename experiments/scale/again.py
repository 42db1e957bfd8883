"""Parts of the experiment measured again, and entered into a record: `python -m experiments.scale.again FOLDER PART…`.

Promises: the other parts stay as they are; predictions and pictures are made anew of all.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from experiments import results, scale, trial
from experiments.progress import shown


def main(folder: Path, names: list[str]) -> int:
    """Measure these parts; return the status."""
    record = results.read(folder / results.FILE)
    unknown = [name for name in names if name not in scale.PARTS]
    if record is None or unknown or not names:
        print(f"usage: FOLDER with a record of scale, then some of {', '.join(scale.PARTS)}.", file=sys.stderr)
        return 2
    options = scale.Options(**record["options"])
    console = Console()
    with shown(console) as watch:
        for name in names:
            found, facts = scale.measured(scale.PARTS[name], options, watch)
            record["result"][name] = found
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            record["measured"]["parts"][name] = facts | {"finished": finished}
    record = results.store(folder, trial.judged(scale, record))
    scale.show(record, console)
    print("\n".join(trial.lines(record)))
    trial.draw(scale, folder, record)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(), sys.argv[2:]))
