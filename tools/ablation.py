"""What each step of emberq4 and emberq6 is worth: the table of docs/quantization.md.

    python3 tools/ablation.py [--windows N] [RECIPE...]        (./dev ablation; needs ../shared)

Each row quantizes small-wiki with the recipe less one step, or with plain rounding and that step alone, from N
calibration windows (fewer than the recipe takes, so that a table is an hour and not a day), and compares the packed
checkpoint with the original on Wikipedia that calibration has not seen.
"""
import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
EMBERQ = ROOT / "build" / "cpu" / "emberq"
MODEL = SHARED / "models" / "small-wiki"
CALIBRATION = SHARED / "data" / "calibration"
HELD_OUT_BYTES = 200_000  # the last of enwiki_valid.txt; calibration takes from its beginning

NEAREST = {"method": "nearest", "scale": "absmax"}
PLAIN = {"smoothing": {}, "rotation": {}, "center_cache": False, "rounding": NEAREST}
SEARCH = {"qkv": "search", "o": "search", "up_gate": "search", "down": "search"}

# recipe: (plain rounding, rows of a step, what the recipe is without it, what plain rounding is with it)
STEPS = {
    "emberq4": (
        PLAIN | {"weights": "int4-g128", "kv": "kv4-head"},
        [
            ("error feedback (GPTQ)", {"rounding": {"method": "nearest", "scale": "least-squares"}}, {"rounding": {"method": "gptq", "input_correction": 0, "residual_correction": 0, "refinements": 0}}),
            ("targets: the original's outputs", {"rounding": {"input_correction": 0}}, None),
            ("targets: the residual stream", {"rounding": {"residual_correction": 0}}, None),
            ("refinement", {"rounding": {"refinements": 0}}, None),
            ("lut4 codebook", {"weights": {"default": "int4-g128", "v_proj": "fp6-g128"}}, {"weights": "lut4-g128"}),
            ("6 bits for v_proj", {"weights": "lut4-g128"}, {"weights": {"default": "int4-g128", "v_proj": "fp6-g128"}}),
            ("λ by search", {"smoothing": {"qkv": None, "o": None, "up_gate": None, "down": None}}, {"smoothing": SEARCH}),
            ("N, balanced", {"smoothing": {"pre_rope": None}}, {"smoothing": {"pre_rope": {"balance": 0.5}}}),
            ("Hadamard of K and Q", {"rotation": {"keys": False}}, {"rotation": {"keys": True}}),
            ("means taken off K and V", {"center_cache": False}, {"center_cache": True}),
            ("lut4 cache, scales by search", {"kv": "kv4-head"}, {"kv": "kv4-lut"}),
            ("no rounding of the cache", {"kv": "fp"}, None),
            ("no rounding of activations, Q, P", {"activations": "none", "query": "none", "probability": "none"}, None),
        ],
    ),
    "emberq6": (
        PLAIN | {"weights": "int6-g128"},
        [
            ("error feedback (GPTQ)", {"rounding": {"method": "nearest", "scale": "least-squares"}}, {"rounding": {"method": "gptq", "input_correction": 0, "residual_correction": 0, "refinements": 0}}),
            ("8 bits for v_proj", {"weights": "int6-g128"}, {"weights": {"default": "int6-g128", "v_proj": "int8-g128"}}),
            ("residual rotation", {"rotation": {"residual": False}}, {"rotation": {"residual": True}}),
            ("V rotation", {"rotation": {"values": False}}, {"rotation": {"values": True}}),
            ("down_proj rotation", {"rotation": {"down": 0}}, {"rotation": {"down": 512}}),
            ("λ of down_proj, balanced", {"smoothing": {"down": None}}, {"smoothing": {"down": {"balance": 0.5}}}),
            ("Hadamard of K and Q", {"rotation": {"keys": False}}, {"rotation": {"keys": True}}),
            ("no rounding of activations", {"activations": "none"}, None),
        ],
    ),
}


def emberq(*arguments):
    done = subprocess.run([EMBERQ, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def changed(recipe, changes):
    """The recipe with these keys; where both are objects, with these inside."""
    result = copy.deepcopy(recipe)
    for key, value in changes.items():
        inside = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "weights"
        replaced = key == "rounding" and value.get("method")  # another method has other keys
        result[key] = changed(result[key], value) if inside and not replaced else value
    return result


def measure(recipe, windows, scratch, held_out):
    path, out = scratch / "recipe.json", scratch / "quantized"
    path.write_text(json.dumps(recipe))
    texts = ["--calib", CALIBRATION / "enwiki_valid.txt", "--calib", CALIBRATION / "c4_sample.txt"]
    report = emberq("quantize", MODEL, "--recipe", path, *texts, "--calib-windows", str(windows), "-o", out)
    result = emberq("eval", "kl", MODEL, out, "--text", held_out)
    subprocess.run(["rm", "-r", out], check=True)
    return report["bits_per_weight"], result["kl"], result["ppl_b"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("recipes", nargs="*", help=f"of {', '.join(STEPS)}; absent: all")
    arguments = parser.parse_args()
    if not SHARED.is_dir() or not set(arguments.recipes) <= set(STEPS):
        parser.error(f"unknown recipe among {arguments.recipes}" if SHARED.is_dir() else f"needs {SHARED}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        held_out = scratch / "held-out.txt"
        text = (CALIBRATION / "enwiki_valid.txt").read_bytes()[-HELD_OUT_BYTES:]
        held_out.write_text(text.decode("utf-8", "ignore"), encoding="utf-8")
        for name in arguments.recipes or STEPS:
            plain_changes, steps = STEPS[name]
            full = emberq("recipe", name)
            plain = full | plain_changes

            def cell(recipe):
                bits, kl, ppl = measure(recipe, arguments.windows, scratch, held_out)
                return f"{kl:.5f} ({ppl:.3f}, {bits:.3f})"

            print(f"\n{name}: KL (perplexity, bits per weight)\n\n| step | without it | it alone |\n|---|---:|---:|", flush=True)
            print(f"| all of them; none | {cell(full)} | {cell(plain)} |", flush=True)
            for step, less, more in steps:
                alone = cell(changed(plain, more)) if more else "–"
                print(f"| {step} | {cell(changed(full, less))} | {alone} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
