"""When each criterion was fixed, and every change since: `criteria.json`, an append-only log.

Promises: a record is judged by the criterion of the last entry, whose SHA-256 it carries; an entry says what was fixed,
on which day and at which commit, and, if it changes an earlier one, why, and what the old bounds say about the numbers.
The verdicts of the committed records are kept in the same way.
Refuses: a change without a reason.

    python -m experiments.criteria                  what has changed without an entry; status 1 where something has
    python -m experiments.criteria "why" [FOLDER]   the entries for it, of the records in the folder (the committed)
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from experiments import frame, results, trial
from experiments.registry import EXPERIMENTS, load

FILE = Path(__file__).with_name("criteria.json")
#: {claim: {experiment: {"criteria": entries, "verdicts": entries}}}
Account = dict[str, dict[str, dict[str, list[dict[str, Any]]]]]


def account(file: Path = FILE) -> Account:
    """All entries, the oldest of each claim and experiment first."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def unexplained(experiment: Any, record: dict[str, Any], kept: Account) -> list[str]:
    """Where this record or today's criteria differ from the last entries, one line each; empty if all is well."""
    name, lines = record["experiment"], []
    for claim, criterion in frame.criteria(experiment, experiment.predictions(trial.seen(record))).items():
        entries = kept.get(claim, {}).get(name, {"criteria": [], "verdicts": []})
        last, sha = _last(entries["criteria"], "sha256"), frame.digest(criterion)
        if last != sha:
            lines.append(f"{claim}, {name}: the criterion changed without an entry.")
        if record["criteria"].get(claim) != sha:
            lines.append(f"{claim}, {name}: the record was judged by another criterion. Judge or run it again.")
        verdict, before = record["verdicts"][claim][0], _last(entries["verdicts"], "verdict")
        if verdict != before:
            lines.append(f"{claim}, {name}: the verdict went from {before} to {verdict} without an entry.")
    return lines


def explained(experiment: Any, record: dict[str, Any], kept: Account, why: str, commit: str) -> Account:
    """The account with an entry for each change. Raises `ValueError` for a change without a reason."""
    name = record["experiment"]
    today = datetime.now(UTC).date().isoformat()
    made = experiment.predictions(trial.seen(record))
    kept = json.loads(json.dumps(kept))
    for claim, criterion in frame.criteria(experiment, made).items():
        entries = kept.setdefault(claim, {}).setdefault(name, {"criteria": [], "verdicts": []})
        entry = {"date": today, "commit": commit, "why": why}
        if _last(entries["criteria"], "sha256") != (sha := frame.digest(criterion)):
            _require_reason(why, f"the criterion of {claim}")
            old = _last(entries["criteria"], "criterion")
            said = {"old_bounds_say": by_bounds(old, made)} if old else {}
            entries["criteria"].append(entry | {"sha256": sha, "criterion": criterion} | said)
        verdict = frame.judge(experiment, trial.seen(record), record.get("seeds", ()))[claim].verdict
        if _last(entries["verdicts"], "verdict") != verdict:
            _require_reason(why, f"the verdict on {claim}")
            entries["verdicts"].append(entry | {"verdict": verdict})
    return kept


def by_bounds(criterion: Mapping[str, Any], made: Mapping[str, frame.Prediction]) -> str:
    """What an earlier criterion says about the current measurements, as far as they still exist."""
    same = {key: made[key]._replace(relation=r, bound=b, miss=m)
            for key, (_, r, b, m) in criterion["predictions"].items() if key in made}  # fmt: skip
    gone = [key for key in criterion["predictions"] if key not in made]
    missed = [key for key, each in same.items() if each.held is not True]
    parts = [frame.verdict(each.held for each in same.values()) if same else "nothing"]
    parts += [f"missed: {', '.join(missed)}"] if missed else []
    parts += [f"no longer measured as such: {', '.join(gone)}"] if gone else []
    return "; ".join(parts)


def _last(entries: list[dict[str, Any]], key: str) -> Any:
    return entries[-1].get(key) if entries else None


def _require_reason(why: str, what: str) -> None:
    if len(why.split()) < 3:
        raise ValueError(f'{what} changed; its entry needs a reason of some words, got {why!r}. Add one: "why".')


def _records(folder: Path) -> list[dict[str, Any]]:
    read = (results.read(folder / name / results.FILE) for name, each in EXPERIMENTS.items() if each.claims)
    return [record for record in read if record is not None and "result" in record]


def main(arguments: list[str]) -> int:
    """Print what has no entry, or add the entries."""
    folder = Path(arguments[1]) if len(arguments) > 1 else trial.COMMITTED
    kept, records = account(), _records(folder)
    if not arguments:
        lines = [line for each in records for line in unexplained(load(each["experiment"]), each, kept)]
        print("\n".join(lines) or "every criterion and verdict has its entry.")
        return 1 if lines else 0
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=FILE.parent)
    for record in records:
        kept = explained(load(record["experiment"]), record, kept, arguments[0], head.stdout.strip())
    order = {claim: kept[claim] for claim in sorted(kept, key=lambda claim: (claim[0], int(claim[1:])))}
    text = json.dumps(order, indent=1, ensure_ascii=False)
    # a prediction on one line
    text = re.sub(r"\[[^\[\]{}]*\]", lambda list_: " ".join(list_[0].split()), text)
    results.replace(FILE, text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
