"""Quantizes nano-wiki alone and beside a busy process for each core, in turn, and fails where the second takes
more than 3.5 times as long.

    python3 tools/busy_machine.py [RUNS] [EMBERQ]

Threads that spin where they wait make it 40 times. The smallest time of RUNS (3) counts. The machine must be
quiet otherwise.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOST = 3.5


def quantize(emberq):
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        subprocess.run(
            [emberq, "quantize", ROOT / "models" / "nano-wiki", "--recipe", "emberq4",
             "--calib", ROOT / "data" / "enwiki-excerpt.txt", "--num-samples", "4", "--seq-len", "512",
             "-o", pathlib.Path(folder) / "out"],
            check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - start


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    emberq = sys.argv[2] if len(sys.argv) > 2 else ROOT / "build" / "cpu" / "emberq"
    alone, busy = [], []
    for _ in range(runs):
        alone.append(quantize(emberq))
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
        try:
            busy.append(quantize(emberq))
        finally:
            for other in others:
                other.kill()
                other.wait()
    ratio = min(busy) / min(alone)
    print(f"alone {min(alone):.1f} s, beside {len(others)} busy processes {min(busy):.1f} s: {ratio:.1f} times")
    return ratio > MOST


if __name__ == "__main__":
    sys.exit(main())
