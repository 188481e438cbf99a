"""What each step of emberq4 and emberq6 is worth: the table of docs/results.md.

    python3 tools/ablation.py [OPTION...] [RECIPE...]        (./dev ablation; needs ../shared)

Each row quantizes small-wiki with the recipe less one step, or with plain rounding and that step alone, from fewer
calibration windows than the recipe takes, so that a table is an hour and not a day, and compares the packed checkpoint
with the original on Wikipedia that calibration has not seen: KL in nats (perplexity).
"""
import argparse
import concurrent.futures
import copy
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HELD_OUT_BYTES = 130_000  # the last of enwiki_valid.txt, some 16 windows; calibration takes from its beginning

NEAREST = {"method": "rtn", "scale": "absmax"}
PLAIN = {"smoothing": {}, "rotation": {}, "subtract_kv_mean": False, "rounding": NEAREST}
SEARCH = {"qkv": "search", "o": "search", "gate_up": "search", "down": "search"}

# recipe: (plain rounding, rows of a step, what the recipe is without it, what plain rounding is with it)
STEPS = {
    "emberq4": (
        PLAIN | {"weights": "int4-g128", "kv": "int4-head"},
        [
            ("error feedback (GPTQ)", {"rounding": {"method": "rtn", "scale": "least-squares"}}, {"rounding": {"method": "gptq", "input_correction": 0, "residual_correction": 0, "refinements": 0}}),
            ("targets: the original's outputs", {"rounding": {"input_correction": 0}}, None),
            ("targets: the residual stream", {"rounding": {"residual_correction": 0}}, None),
            ("refinement", {"rounding": {"refinements": 0}}, None),
            ("lut4 codebook", {"weights": {"default": "int4-g128", "v_proj": "fp6e2m3-g128"}}, {"weights": "lut4-g128"}),
            ("6 bits for v_proj", {"weights": "lut4-g128"}, {"weights": {"default": "int4-g128", "v_proj": "fp6e2m3-g128"}}),
            ("λ by search", {"smoothing": {"qkv": None, "o": None, "gate_up": None, "down": None}}, {"smoothing": SEARCH}),
            ("N, balanced", {"smoothing": {"pre_rope": None}}, {"smoothing": {"pre_rope": {"rms_balance": 0.5}}}),
            ("Hadamard of K and Q", {"rotation": {"keys": False}}, {"rotation": {"keys": True}}),
            ("means taken off K and V", {"subtract_kv_mean": False}, {"subtract_kv_mean": True}),
            ("lut4 cache, scales by search", {"kv": "int4-head"}, {"kv": "lut4-head"}),
            ("no rounding of the cache", {"kv": "fp"}, None),
            ("no rounding of activations, Q, P", {"activations": "none", "query": "none", "probability": "none"}, None),
        ],
    ),
    "emberq6": (
        PLAIN | {"weights": "int6-g128"},
        [
            ("error feedback (GPTQ)", {"rounding": {"method": "rtn", "scale": "least-squares"}}, {"rounding": {"method": "gptq", "input_correction": 0, "residual_correction": 0, "refinements": 0}}),
            ("8 bits for v_proj", {"weights": "int6-g128"}, {"weights": {"default": "int6-g128", "v_proj": "int8-g128"}}),
            ("residual rotation", {"rotation": {"residual": False}}, {"rotation": {"residual": True}}),
            ("V rotation", {"rotation": {"values": False}}, {"rotation": {"values": True}}),
            ("down_proj rotation", {"rotation": {"down": 0}}, {"rotation": {"down": 512}}),
            ("λ of down_proj, balanced", {"smoothing": {"down": None}}, {"smoothing": {"down": {"rms_balance": 0.5}}}),
            ("Hadamard of K and Q", {"rotation": {"keys": False}}, {"rotation": {"keys": True}}),
            ("no rounding of activations", {"activations": "none"}, None),
        ],
    ),
}


def changed(recipe, changes):
    """The recipe with these keys; where both are objects, with these inside."""
    result = copy.deepcopy(recipe)
    for key, value in changes.items():
        inside = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "weights"
        replaced = key == "rounding" and value.get("method")  # another method has other keys
        result[key] = changed(result[key], value) if inside and not replaced else value
    return result


class Bench:
    """Recipes measured side by side."""

    def __init__(self, options, scratch):
        self.options, self.scratch = options, scratch
        self.model = options.shared / "models" / "small-wiki"
        self.texts = [options.shared / "data" / "calibration" / name for name in ("enwiki_valid.txt", "c4_sample.txt")]
        self.held_out = scratch / "held-out.txt"
        text = self.texts[0].read_bytes()[-HELD_OUT_BYTES:].decode("utf-8", "ignore")
        self.held_out.write_text(text, encoding="utf-8")
        self.pool = concurrent.futures.ThreadPoolExecutor(options.jobs)
        self.measured = {}  # the same recipe is measured once

    def emberq(self, *arguments):
        threads = max(1, len(os.sched_getaffinity(0)) // self.options.jobs)
        command = [self.options.emberq, *arguments, "--json", "--threads", str(threads)]
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout)

    def measure(self, recipe):
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            path, out = pathlib.Path(folder) / "recipe.json", pathlib.Path(folder) / "quantized"
            path.write_text(json.dumps(recipe))
            texts = [word for text in self.texts for word in ("--calib", text)]
            self.emberq("quantize", self.model, "--recipe", path, *texts, "--num-samples", str(self.options.windows),
                        "-o", out)
            result = self.emberq("eval", "kl", self.model, out, "--text", self.held_out)
        return f"{result['kl']:.5f} ({result['ppl']:.3f})"

    def start(self, recipe):
        key = json.dumps(recipe, sort_keys=True)
        if key not in self.measured:
            self.measured[key] = self.pool.submit(self.measure, recipe)
        return self.measured[key].result


def table(bench, name):
    plain_changes, steps = STEPS[name]
    full = bench.emberq("recipe", name)
    plain = full | plain_changes
    rows = [("all of them; none", bench.start(full), bench.start(plain))]
    for step, less, more in steps:
        rows.append((step, bench.start(changed(full, less)), bench.start(changed(plain, more)) if more else lambda: "–"))
    print(f"\n| {name}: step | without it | it alone |\n|---|---:|---:|", flush=True)
    for step, without, alone in rows:
        print(f"| {step} | {without()} | {alone()} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=24, help="calibration windows (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="recipes at once, which share the cores (%(default)s)")
    parser.add_argument("--emberq", default=ROOT / "build" / "cpu" / "emberq", help="the program (%(default)s)")
    parser.add_argument("--shared", type=pathlib.Path, default=ROOT.parent / "shared", help="%(default)s")
    parser.add_argument("recipes", nargs="*", help=f"of {', '.join(STEPS)}; absent: all")
    options = parser.parse_args()
    if not options.shared.is_dir() or not set(options.recipes) <= set(STEPS):
        parser.error(f"needs {options.shared}" if not options.shared.is_dir() else f"recipes: {', '.join(STEPS)}")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, pathlib.Path(scratch))
        for name in options.recipes or STEPS:
            table(bench, name)


if __name__ == "__main__":
    main()
