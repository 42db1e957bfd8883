"""Several real processes: one run in two shapes of the group, killed and taken up again, and refused together."""

import io
import json
import os
import random
import re
import select
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from fnn import leaves
from fnn.training import group
from fnn.training.group import Group, GroupError, Word

#: A group starts, compiles and trains anew for several of these.
pytestmark = pytest.mark.timeout(900)
STARTED: list[subprocess.Popen] = []


def started(count, devices, folder, part="all"):
    """The processes of a group."""
    port = random.SystemRandom().randint(20_000, 60_000)
    # the number of threads changes bits; what processes tell each other is settled before LLVM: it may work less
    mine = {"JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    mine["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    environment = {**os.environ, **mine}
    command = [sys.executable, "-m", "tests.training.group"]
    processes = [
        subprocess.Popen(
            [*command, *map(str, (number, count, port, folder, part))],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(count)
    ]  # fmt: skip
    STARTED.extend(processes)
    return processes


def finished(processes):
    """What each process printed last, as JSON."""
    ends = [process.communicate(timeout=800) for process in processes]
    assert not any(process.returncode for process in processes), [error[-2000:] for _, error in ends]
    return [json.loads(out.splitlines()[-1]) for out, _ in ends]


@pytest.fixture(scope="module", autouse=True)
def none_is_left():
    yield
    for process in STARTED:
        # of a test that failed
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("group")


@pytest.fixture(scope="module")
def two(folder):
    return finished(started(2, 1, folder / "two"))


def test_two_processes_give_the_bits_of_two_devices(two, folder):
    (one,) = finished(started(1, 2, folder / "one"))
    for each in two:
        for name in ("run", "memory", "stream", "sweep", "wide", "enough"):
            assert each[name] == one[name], name
        # the last one, of 9 epochs, was ended by a callback after 3, which the others were told
        assert each["memory"] == each["stream"] == each["enough"] and each["wide"] is True


def test_each_process_reads_its_own_rows(two):
    """3 epochs of 301 rows; 258 rows more tell what run it is."""
    for each in two:
        assert each["read"] - 258 <= 0.55 * 3 * 301
    assert sum(each["read"] - 258 for each in two) == 3 * 301


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("data", "GroupError: fit: all processes must be given the same run, got another data in process 1 than in"),
        ("option", "GroupError: fit: all processes must be given the same run, got another clip_norm in process 1"),
        (
            "length",
            "GroupError: fit: all processes must be given the same run, got another number of rows in process 1",
        ),
        (
            "epochs",
            "GroupError: fit: all processes must be given the same run, got another epochs in process 1 than in",
        ),
    ],
)
def test_processes_that_disagree_are_told_what_differs(two, case, says):
    assert all(each["refused"][case].startswith(says) for each in two)


def test_an_error_of_one_process_ends_all(two):
    for case, says in (
        ("log", "ValueError: fit: log cannot be written"), ("folder", "CheckpointError: no checkpoints can be kept in"),
        ("folder of a sweep", "CheckpointError: no checkpoints can be kept in"),
    ):  # fmt: skip
        first, second = (each["refused"][case] for each in two)
        assert first.startswith(says) and second.startswith(f"GroupError: process 0 of 2 raised {says}")
    first, second = (each["refused"]["sweep"] for each in two)
    assert second.startswith("ValueError: sweep: batch_size") and first.startswith("GroupError: process 1 of 2 raised")
    row, callback = ([each["refused"][case] for each in two] for case in ("row", "callback"))
    assert row[1].startswith("ValueError: x must be finite; row 3, column 3 is nan")
    assert row[0].startswith("GroupError: process 1 of 2 raised ValueError: x must be finite; row 3")
    assert callback[0] == "ValueError: of the user's own"
    assert callback[1] == ("GroupError: process 0 of 2 raised ValueError: of the user's own. All processes stop here.")


def test_a_signal_to_one_stops_all_at_the_same_step(two):
    """The second was signalled while it read."""
    first, second = (each["refused"]["signal"] for each in two)
    assert first == second and re.match(r"SystemExit: 143 after 0 epochs, [1-9] steps", first)


def test_a_killed_group_ends_and_goes_on_bit_for_bit(two, folder):
    first, other = started(2, 1, folder / "killed", "killed")
    # the first process alone calls on_epoch
    assert select.select([first.stdout], [], [], 600)[0]
    # an empty line is the end: it died before
    while (line := first.stdout.readline()) and "training" not in line:
        pass
    other.send_signal(signal.SIGKILL)
    (out, error), _ = (process.communicate(timeout=200) for process in (first, other))
    assert first.returncode == 1, (out, error[-2000:])
    assert (
        "GroupError: another process of the group was lost, got " in error and "with checkpoints they continue" in error
    )
    resumed = finished(started(2, 1, folder / "killed", "run"))
    assert [each["run"] for each in resumed] == [each["run"] for each in two]


@pytest.fixture
def second(monkeypatch):
    """This process as the second of two, and what the two say."""
    said = []
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(group, "_exchanged", lambda content: [json.dumps(each).encode() for each in said])
    return said


def test_all_do_what_the_first_says_and_stop_when_any_does(second):
    own = Word(3, False, 4, 15)
    second[:] = [{"word": Word(7, True, 0, 0)}, {"word": own}]
    assert Group(True).agree(own) == Word(7, True, 4, 15) and not Group(True).first
    second[:] = [{"word": Word(7, False, 0, 2)}, {"word": own}]
    assert Group(True).agree(own) == Word(7, False, 4, 2)
    second[:] = [{"error": "ValueError: of one", "saves": True}, {"word": own}]
    with pytest.raises(
        GroupError, match=r"process 0 of 2 raised ValueError: of one\. All processes stop here\."
    ) as told:
        Group(True).agree(own)
    assert told.value.saves


def test_errors_of_the_runtime_say_that_a_process_is_gone(second, monkeypatch):
    left = []
    monkeypatch.setattr(group.atexit, "register", left.append)
    own = ValueError("batch_size: of the user's")
    assert Group(True).named(own) is own and Group().named(ValueError("UNKNOWN: Gloo")).args == ("UNKNOWN: Gloo",)
    assert not left
    for error in (ValueError("UNKNOWN: Gloo all-reduce failed\nat a place"), jax.errors.JaxRuntimeError("INTERNAL: x")):
        named = Group(True).named(error)
        assert isinstance(named, GroupError) and not named.saves
        assert str(named).startswith(
            f"another process of the group was lost, got {str(error).splitlines()[0]}. Start all"
        )
    assert left == [group._leave] * 2


def test_what_is_made_by_the_first_has_its_structure_everywhere(second, monkeypatch):
    made = {"a": np.arange(3.0, dtype=np.float32), "key": jax.random.key(4)}
    file = io.BytesIO()
    np.savez(file, *[leaves.stored(leaf) for leaf in jax.tree.leaves(made)])
    monkeypatch.setattr(group, "_exchanged", lambda content: [file.getvalue() if content == b"" else b"{}", b"{}"])
    got = Group(True).from_first(lambda: pytest.fail("the second makes nothing"), made)
    assert got["a"].tolist() == [0, 1, 2] and (got["key"] == made["key"]) and got["a"].dtype == np.float32


def test_one_process_agrees_with_itself():
    word = Word(7, True, False, 15)
    assert Group().agree(word) is word and Group().first
    assert Group().from_first(lambda: {"a": 1}, None) == {"a": 1}
    Group().tell(ValueError("told to nobody"))
    Group().require_same("fit", {"data": 1})
    assert issubclass(GroupError, RuntimeError)
