"""Runs of quantize beside each other on one output, killed at random.

    python3 tests/apps/two_runs_test.py build/cpu/emberq [N]

N times, two or three runs begin at the same or nearly the same time, each with or without --resume, and some are killed.
Whatever happens, an output that is there has the bytes of a run alone, a run that says 0 has written it, a run that was
not killed and did not write it says why with status 2, and a last --resume ends with those bytes and nothing beside them.
"""
import collections
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "nano-wiki"
REASONS = ("another run is writing", "exists already", "File exists", "interrupted")
PATIENCE = 300


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Trial:
    def __init__(self, emberq, folder):
        self.emberq, self.out = emberq, folder / "out"
        self.command = [emberq, "quantize", str(MODEL), "--recipe", "fireq-w4", "-o", str(self.out)]

    def start(self, resume):
        return subprocess.Popen(self.command + ["--resume"] * resume, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def one_trial(emberq, expected, seconds, rng, seen):
    with tempfile.TemporaryDirectory(prefix="emberq-two-runs-") as name:
        trial = Trial(emberq, pathlib.Path(name))
        runs = []
        for _ in range(rng.choice((2, 2, 3))):
            runs.append(trial.start(resume=rng.random() < 0.6))
            time.sleep(rng.choice((0, 0, rng.random() * seconds)))
        killed = set()
        for run in rng.sample(runs, rng.randrange(len(runs) + 1)):
            time.sleep(rng.random() * seconds / len(runs))
            if run.poll() is None:
                run.send_signal(rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                killed.add(run)
        for run in runs:
            message = run.communicate(timeout=PATIENCE)[1].decode()
            seen["killed" if run.returncode < 0 else f"status {run.returncode}"] += 1
            if run.returncode == 0:
                assert contents(trial.out) == expected, "status 0 and an output that is not whole"
            elif run.returncode > 0 or run not in killed:
                assert run.returncode == 2, (run.returncode, message)
                assert any(reason in message for reason in REASONS), message
                assert message.count("\n") == 1, message
        if not trial.out.exists():
            last = trial.start(resume=True)
            message = last.communicate(timeout=PATIENCE)[1].decode()
            assert last.returncode == 0, message
            seen["ended by the last --resume"] += 1
            assert list(trial.out.parent.iterdir()) == [trial.out], list(trial.out.parent.iterdir())
        assert contents(trial.out) == expected, "an output that is not whole"


def main():
    emberq, trials = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with tempfile.TemporaryDirectory(prefix="emberq-two-runs-") as name:
        alone = Trial(emberq, pathlib.Path(name))
        begin = time.monotonic()
        assert alone.start(resume=False).wait() == 0
        seconds = time.monotonic() - begin
        expected = contents(alone.out)
    seen = collections.Counter()
    for i in range(trials):
        one_trial(emberq, expected, seconds, random.Random(seed + i), seen)
    print(f"{trials} trials, a run alone takes {seconds:.2f} s:", dict(seen))


if __name__ == "__main__":
    main()
