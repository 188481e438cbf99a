"""Measures the accuracy table of docs/accuracy.md and says which rows hold.

    python3 tools/accuracy.py [ROW...]        (./dev accuracy; needs ../shared)

A row is a model, a recipe that quantizes it, and the perplexity on the WikiText-2 test text, all 175 windows.
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
CALIBRATION = SHARED / "data" / "calibration"

# Rows are named by model and recipe; "outliers-P" is small-wiki with the outliers of pattern P. A recipe may have an
# option behind it. name: (expected perplexity, bound); bound None: at most the expected.
ROWS = {
    "small-wiki": (38.1188, 0.004),
    "small-wiki fireq": (43.9, 0.15),
    "small-wiki fireq-unsmoothed": (46.4, 0.2),
    "small-wiki fireq-w4": (42.27, 0.1),
    "small-wiki kv4-only": (41.06, 0.1),
    "small-wiki fireq-kv4": (39.58, 0.1),
    "nano-wiki": (58.563, 0.006),
    "nano-wiki fireq": (70.6, 0.5),
    "nano-wiki fireq-unsmoothed": (76.1, 0.5),
    "small-wiki flexq": (38.60, 0.06),
    "small-wiki emberq4": (39.0, None),
    "small-wiki emberq4 --weights int4": (39.7, None),
    "small-wiki emberq6": (38.22, None),
    "small-wiki mixed --target-bits 4.5": (38.7, None),
}
for pattern, fireq, flexq in ((0, 43.85, 39.83), (1, 43.89, 39.71), (2, 44.02, 39.99)):
    ROWS |= {
        f"outliers-{pattern} fireq": (fireq, 0.3),
        f"outliers-{pattern} flexq": (flexq, 0.15),
        f"outliers-{pattern} emberq4": (39.6, None),
        f"outliers-{pattern} emberq4 --weights int4": (40.4, None),
        f"outliers-{pattern} emberq6": (38.30, None),
        f"outliers-{pattern} mixed --target-bits 4.5": (39.2, None),
    }
# Recipes that look at more text than the ten windows of the published ones.
BOTH_TEXTS = ("emberq4", "emberq6", "mixed")


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
    for name, (expected, bound) in ROWS.items():
        if wanted and name not in wanted:
            continue
        model, *recipe = name.split()
        with tempfile.TemporaryDirectory() as scratch:
            folder, quantize_seconds = SHARED / "models" / model, 0.0
            if model.startswith("outliers-"):
                folder = pathlib.Path(scratch) / model
                emberq("debug", "inject-outliers", SHARED / "models" / "small-wiki", "-o", folder,
                       "--pattern", model.removeprefix("outliers-"))
            if recipe:
                out = pathlib.Path(scratch) / "quantized"
                texts = ["--calib", CALIBRATION / "enwiki_valid.txt"]
                if recipe[0] in BOTH_TEXTS:
                    texts += ["--calib", CALIBRATION / "c4_sample.txt"]
                _, quantize_seconds = emberq("quantize", folder, "--recipe", *recipe, *texts, "-o", out)
                folder = out
            result, seconds = emberq("eval", "ppl", folder, "--text", TEXT)
        holds = result["ppl"] <= expected if bound is None else abs(result["ppl"] - expected) <= bound
        must_be = f"≤ {expected}" if bound is None else f"{expected} ± {bound}"
        failed |= not holds
        print(
            f"| {name} | {result['ppl']:.4f} | {must_be} | {'yes' if holds else 'NO'} "
            f"| {quantize_seconds:.0f} | {seconds:.0f} |",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
