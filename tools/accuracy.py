"""Measures the accuracy table of docs/accuracy.md and says which rows hold.

    python3 tools/accuracy.py [ROW...]        (./dev accuracy; needs ../shared)

A row is a model, what is done to it, and the perplexity on the WikiText-2 test text, all 175 windows.
"""
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
EMBERQ = ROOT / "build" / "cpu" / "emberq"
TEXT = SHARED / "data" / "wikitext2" / "wiki.test.gptqjoin.txt"
CALIBRATION = SHARED / "data" / "calibration" / "enwiki_valid.txt"

# name: (model, recipe or None, expected perplexity, bound)
ROWS = {
    "small-fp32": ("small-wiki", None, 38.1188, 0.004),
    "small-fireq": ("small-wiki", "fireq", 43.9, 0.15),
    "small-fireq-unsmoothed": ("small-wiki", "fireq-unsmoothed", 46.4, 0.2),
    "small-fireq-w4": ("small-wiki", "fireq-w4", 42.27, 0.1),
    "small-kv4": ("small-wiki", "kv4", 41.06, 0.1),
    "small-fireq-kv4": ("small-wiki", "fireq-kv4", 39.58, 0.1),
    "nano-fp32": ("nano-wiki", None, 58.563, 0.006),
    "nano-fireq": ("nano-wiki", "fireq", 70.6, 0.5),
    "nano-fireq-unsmoothed": ("nano-wiki", "fireq-unsmoothed", 76.1, 0.5),
}


def emberq(*arguments):
    """The command's JSON and the core-seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([EMBERQ, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return json.loads(done.stdout), seconds


def main(wanted):
    unknown = [name for name in wanted if name not in ROWS]
    if unknown or not SHARED.is_dir():
        sys.exit(f"unknown rows {unknown}: choose from {', '.join(ROWS)}" if unknown else f"needs {SHARED}")
    print("| row | perplexity | must be | holds | quantize, core s | evaluate, core s |", flush=True)
    print("|---|---:|---:|---|---:|---:|", flush=True)
    failed = False
    for name, (model, recipe, expected, bound) in ROWS.items():
        if wanted and name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder, quantize_seconds = SHARED / "models" / model, 0.0
            if recipe:
                out = pathlib.Path(scratch) / recipe
                _, quantize_seconds = emberq(
                    "quantize", folder, "--recipe", recipe, "--calib", CALIBRATION, "-o", out
                )
                folder = out
            result, seconds = emberq("eval", "ppl", folder, "--text", TEXT)
        holds = abs(result["ppl"] - expected) <= bound
        failed |= not holds
        print(
            f"| {name} | {result['ppl']:.4f} | {expected} ± {bound} | {'yes' if holds else 'NO'} "
            f"| {quantize_seconds:.0f} | {seconds:.0f} |",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
