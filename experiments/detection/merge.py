"""Puts the shares of a detection run together: `python -m experiments.detection.merge OUT SHARE…`.

Promises: mutants, alarms and counts are added, parts that only one share holds are taken over, and nothing is measured
anew. Refuses: shares of other versions of a package, and the same share twice.
"""

import json
import sys
from pathlib import Path
from typing import Any

from experiments import results


def merged(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One record out of several: of each part what the shares hold, one after the other."""
    first = records[0]
    for part in {part for each in records for part in each["result"]}:
        shares = [each["options"]["share"] for each in records if part in each["result"]]
        if len(set(shares)) < len(shares):
            raise ValueError(f"got the same share twice: {shares} of {part}. Give each folder once.")
    for each in records[1:]:
        if each["versions"] != first["versions"]:
            raise ValueError(f"the shares ran on {first['versions']} and {each['versions']}. Run them on the same.")
    result: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for each in records:
        for part, held in each["result"].items():
            result[part] = _added(result[part], held) if part in result else held
        measured |= each["measured"]
    options = first["options"] | {
        "share": 0,
        "shares": 1,
        "parts": sorted({*result, *measured} - {"finished", "machine"}),
    }
    return first | {"options": options, "result": result, "measured": measured}


def _added(one: Any, other: Any) -> Any:
    """Lists end to end, counts added, dictionaries key by key; what describes the draw is the same in both."""
    if isinstance(one, dict):
        same, both = ("seed", "do_not_run"), one.keys() & other.keys()
        return {**one, **other} | {k: one[k] if k in same else _added(one[k], other[k]) for k in both}
    return one + other


def main(arguments: list[str]) -> int:
    """Merge the folders; exit status 2 where they cannot be."""
    if len(arguments) < 2:
        print("usage: python -m experiments.detection.merge OUT SHARE…", file=sys.stderr)
        return 2
    from rich.console import Console

    from experiments import detection, trial

    out = Path(arguments[0])
    try:
        results.claim(out)
        records = [json.loads((Path(each) / results.FILE).read_text(encoding="utf-8")) for each in arguments[1:]]
        saved = results.store(out, trial.judged(detection, merged(records)))
    except (OSError, ValueError, results.FolderError) as error:
        print(error, file=sys.stderr)
        return 2
    detection.show(saved, console := Console())
    for line in trial.lines(saved):
        console.print(line, highlight=False)
    for name, figure in detection.draw(saved).items():
        figure.savefig(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
