"""Nothing lost: whatever ends a run, what was done is in the error, and what watches a run never ends it."""

import io
import json
import os
import random
import re
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import checkpoints as kept_files
from fnn.training import progress
from fnn.training import run as run_module
from tests.training.test_run import BY_HAND, X, Y, cut, run, same

pytestmark = pytest.mark.quick_compilation
SGD = optax.sgd(0.1)


@pytest.fixture(autouse=True)
def _interrupts_are_heard():
    # a shell lets what it starts in the background ignore SIGINT, and these tests would wait for one in vain
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def at(epoch, act):
    return lambda number, values: act() if number == epoch else None


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("mine")])
def test_what_a_callback_raises_carries_the_work(error):
    with pytest.raises(type(error)) as raised:
        run(epochs=50, optimizer=SGD, on_epoch=at(20, raising(error)))
    state, history = raised.value.state, raised.value.history
    assert int(state.epoch) >= 20 and len(history.metrics["loss"]) == int(state.epoch)
    assert "state and history" in raised.value.__notes__[0]
    # it goes on from there as if nothing had been
    rest = 60 - int(state.epoch)
    assert same(run(params=state, epochs=rest, optimizer=SGD)[0].params, run(epochs=60, optimizer=SGD)[0].params)


def test_ctrl_c_carries_the_work_without_checkpoints():
    with pytest.raises(KeyboardInterrupt) as raised:
        run(epochs=10**6, optimizer=SGD, on_epoch=at(20, lambda: signal.raise_signal(signal.SIGINT)))
    assert int(raised.value.state.epoch) >= 20 and len(raised.value.history.metrics["loss"]) >= 20
    assert re.fullmatch(r"fit, epoch \d+ of 1000000: stopped by Ctrl-C, after the steps in flight\.", str(raised.value))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("error", [StopIteration, fnn.StopTraining])
def test_a_callback_ends_the_run_at_the_epoch_that_asked(error, tmp_path, monkeypatch):
    """Also where the call after which it is asked went on for epochs: the steps up to there are taken once more."""
    monkeypatch.setattr(run_module.Run, "advance", cut(run_module.Run.advance, 20))
    kinds = {
        "memory": {"batch_size": 5}, "stream": {"data": fnn.Stream(X, Y, 4)},
        "best": {"validation": (X, Y), "patience": 50},
    }  # fmt: skip
    for name, options in kinds.items():
        log = tmp_path / name
        state, history = run(epochs=50, optimizer=SGD, on_epoch=at(5, raising(error())), log=log, **options)
        whole, curves = run(epochs=5, optimizer=SGD, **options)
        assert same(state, whole) and same(history, curves), name
        assert len(log.read_text().splitlines()) == 5


def test_a_callback_that_takes_three_gets_the_state_after_each_epoch():
    states = []
    whole, _ = run(epochs=4, on_epoch=lambda number, values, state: states.append((number, state)))
    assert [number for number, _ in states] == [1, 2, 3, 4]
    for number, state in states:
        assert same(state.params, run(epochs=number)[0].params)
    seen = []
    run(epochs=2, on_epoch=lambda *all_of_it: seen.append(len(all_of_it)))
    run(epochs=2, on_epoch=lambda number, values, mine=(): seen.append(len(mine)))
    assert seen == [3, 3, 0, 0] and same(whole.params, run(epochs=4)[0].params)


def test_a_save_that_fails_carries_the_work(tmp_path, monkeypatch):
    def full(target, write):
        raise OSError(28, "the disk is full")

    monkeypatch.setattr(kept_files.leaves, "written", full)
    with pytest.raises(fnn.CheckpointError, match=r"could not be written: .*the disk is full") as raised:
        run(optimizer=SGD, epochs=3, checkpoints=fnn.Checkpoints(tmp_path))
    assert int(raised.value.state.epoch) == 3 and len(raised.value.history.metrics["loss"]) == 3


@pytest.mark.parametrize("seconds", [0.001, 0.1])
def test_a_signal_is_heard_within_one_call_of_the_program(seconds):
    steps = []

    def slow(w):
        steps.append(0)
        time.sleep(seconds)
        return w

    def gradient(w, x, y):
        w = jax.pure_callback(slow, jax.ShapeDtypeStruct(w.shape, w.dtype), w)
        return jnp.sum(w * 0), w * 0

    sent = []

    def send():
        sent.append(len(steps))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(1.0, send).start()
    with pytest.raises(KeyboardInterrupt) as raised:
        run(gradient, jnp.ones(2), optimizer=SGD, epochs=10**6, batch_size=1)
    # a call is a quarter of a second long, and a step is no shorter than its sleep: a count, whatever the machine does
    assert len(steps) - sent[0] <= run_module.SECONDS / seconds + 2
    assert raised.value.state is not None


def test_an_interrupted_sweep_keeps_what_is_finished(monkeypatch):
    gradients = [fnn.backprop(fnn.mlp(3, width, 2), "softmax_cross_entropy") for width in (4, 5, 6)]
    over, options = {"seed": [0, 1, 2]}, {"optimizer": SGD, "epochs": 3, "batch_size": 4}
    whole = fnn.sweep(gradients, (X, Y), over=over, **options)
    order, stake = random.Random(0), 0
    from fnn.training import _sweep

    advance = _sweep.advance
    for _ in range(10):
        calls, when = [], order.randrange(1, 13)

        def advanced(*args, calls=calls, when=when):
            calls.append(args)
            if len(calls) == when:
                signal.raise_signal(signal.SIGINT)
            return advance(*args)

        monkeypatch.setattr(_sweep, "advance", advanced)
        with pytest.raises(KeyboardInterrupt) as raised:
            fnn.sweep(gradients, (X, Y), over=over, **options)
        # each of the three runs takes nine steps, in calls of 1, 1, 4 and 3
        finished = (when - 1) // 4
        stake += finished
        result = raised.value.result
        assert (0 if result is None else len(result.runs)) >= finished
        for k in range(finished):
            assert same(result.params[k], whole.params[k]) and result.runs[k] == whole.runs[k]
    print(f"{stake} finished members were at stake in ten interrupts")
    assert stake > 3


def test_an_interrupted_sweep_keeps_the_runs_that_had_stopped_beside_others(monkeypatch):
    over = {"learning_rate": [1e-30, 0.05, 1e-30], "seed": [0, 1, 2]}
    options = {"optimizer": optax.sgd, "epochs": 40, "batch_size": 4, "patience": 3, "min_improvement": 1e-5}
    whole = fnn.sweep(BY_HAND, (X, Y), over=over, **options)
    from fnn.training import _sweep

    advance = _sweep.advance

    def advanced(*args):
        states, chunk = advance(*args)
        if int(states.best.waited[0]) >= 3:
            signal.raise_signal(signal.SIGINT)
        return states, chunk

    monkeypatch.setattr(_sweep, "advance", advanced)
    with pytest.raises(KeyboardInterrupt) as raised:
        fnn.sweep(BY_HAND, (X, Y), over=over, **options)
    result = raised.value.result
    assert result.runs == [whole.runs[0], whole.runs[2]]
    for one, k in zip(range(2), (0, 2), strict=True):
        assert same(result.params[one], whole.params[k])
        assert np.array_equal(result.metrics["loss"][one], whole.metrics["loss"][k], equal_nan=True)


# ---- what watches a run ---------------------------------------------------------------------------------------------


class NoTerminal:
    def write(self, text):
        return len(text)

    def flush(self):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def broken():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


@pytest.mark.parametrize("make", [lambda: None, NoTerminal, closed, broken, io.StringIO,
                                  lambda: io.TextIOWrapper(io.BytesIO(), "ascii")])  # fmt: skip
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_screen_that_is_gone_ends_no_run(monkeypatch, make):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream := make())
        state, _ = run(epochs=20, optimizer=SGD, progress_bar=True)
        if stream is not None:
            # its last words must not disturb the tests
            patched.setattr(stream, "flush", lambda: None, raising=False)
    assert int(state.epoch) == 20


def test_a_terminal_that_knows_no_lines_gets_plain_ones(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal(io.BytesIO(), "ascii"))
    with progress.shown(1, 2) as watch:
        watch(1, {"loss": 1.0})
        sys.stderr.flush()
        text = sys.stderr.buffer.getvalue()
    assert text.startswith(b"epoch 1 of 2: loss 1")


def test_a_file_that_is_no_log_is_refused_and_stays(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes of three weeks\n")
    with pytest.raises(ValueError, match=r"log must be a new file or a log written by fit, got .*notes.txt"):
        run(log=notes)
    assert notes.read_text() == "my notes of three weeks\n"
    (tmp_path / "latin").write_bytes(b'{"note": "\xe9"}\n')
    with pytest.raises(ValueError, match="log must be a new file or a log written by fit"):
        run(log=tmp_path / "latin")
    with pytest.raises(ValueError, match=r"log cannot be written, got .*Give the name of a file"):
        run(log=tmp_path)
    with open(tmp_path / "open", "w") as file, pytest.raises(TypeError, match="log must be the name of a file, got <"):
        run(log=file)


def test_a_second_run_moves_the_log_of_the_first_aside(tmp_path):
    log = tmp_path / "new" / "run.jsonl"
    run(log=log, epochs=3)
    first = log.read_text()
    run(log=log, epochs=2)
    assert log.with_name("run.jsonl.1").read_text() == first and len(log.read_text().splitlines()) == 2
    # a state that is continued goes on in its log; another branch of it does not wipe the first
    state, _ = run(log=log, epochs=2)
    run(params=state, log=log, epochs=2)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]
    branch = log.read_text()
    run(params=state, log=log, epochs=1)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]
    assert branch in [path.read_text() for path in log.parent.iterdir()]


def test_a_log_that_cannot_grow_is_said_once_and_training_goes_on():
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no device that is always full")
    with pytest.warns(UserWarning, match=r"/dev/full could not be written: .*Training continues") as said:
        assert int(run(log="/dev/full", epochs=3)[0].epoch) == 3
    assert len(said) == 1


def test_the_home_of_the_user_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run(log="~/a.jsonl", checkpoints=fnn.Checkpoints("~/kept"))
    assert (tmp_path / "a.jsonl").exists() and (tmp_path / "kept" / "lock").exists() and not (tmp_path / "~").exists()
    run(log="~.jsonl", epochs=1)
    assert (tmp_path / "~.jsonl").exists()


def test_without_file_locks_checkpoints_say_so_and_training_works(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_files, "fcntl", None)
    with pytest.raises(fnn.CheckpointError, match="checkpoints need POSIX file locks, which this system"):
        run(checkpoints=fnn.Checkpoints(tmp_path))
    assert int(run(epochs=1)[0].epoch) == 1


def test_importing_needs_nothing_that_windows_lacks():
    import subprocess

    script = "import sys; sys.modules['fcntl'] = sys.modules['resource'] = None; import fnn; fnn.fit; print('ok')"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "ok"
