"""Measures emberq4 where calibration text is little or unlike what follows: the table of docs/results.md.

    python3 tools/little_text.py

A random model of 2 layers is calibrated on windows of random letters, 26 different tokens. Then KL(original ||
quantized) in nats on more random letters, and on Wikipedia, most of whose tokens the calibration text does not have:
with emberq4, with emberq4 that rounds to nearest, and with FireQ.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {"layers": 2, "hidden": 256, "intermediate": 512, "heads": 4, "kv-heads": 2}
WINDOWS = ((1, 64), (4, 128), (32, 256))  # and tokens of each


def letters(count, seed):
    source = random.Random(seed)
    return " ".join(source.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(count))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emberq", default=ROOT / "build" / "cpu" / "emberq", help="the program (%(default)s)")
    options = parser.parse_args()

    def emberq(*arguments):
        command = [options.emberq, *map(str, arguments), "--json"]
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        model = scratch / "model"
        sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
        subprocess.run([sys.executable, ROOT / "tools" / "make_random_model.py", model, *sizes], check=True,
                       stdout=subprocess.DEVNULL)
        calibration, like, unlike = (scratch / f"{name}.txt" for name in ("calibration", "like", "unlike"))
        calibration.write_text(letters(20_000, 1))
        like.write_text(letters(3_000, 2))
        unlike.write_text((ROOT / "data" / "enwiki-excerpt.txt").read_text(encoding="utf-8")[:12_000], encoding="utf-8")
        ours = emberq("recipe", "emberq4")
        recipes = {"emberq4": ours, "fireq": emberq("recipe", "fireq")}
        for scale in ("least-squares", "absmax"):
            recipes[f"emberq4, nearest, {scale}"] = ours | {"rounding": {"method": "rtn", "scale": scale}}
        print("| recipe | windows | letters | Wikipedia |\n|---|---:|---:|---:|", flush=True)
        for windows, length in WINDOWS:
            for name, recipe in recipes.items():
                out = scratch / f"{name} {windows}"
                (scratch / "recipe.json").write_text(json.dumps(recipe))
                emberq("quantize", model, "--recipe", scratch / "recipe.json", "--calib", calibration, "--num-samples",
                       windows, "--seq-len", length, "-o", out)
                kl = [emberq("eval", "kl", model, out, "--text", text, "--seq-len", 256)["kl"] for text in (like, unlike)]
                print(f"| {name} | {windows} of {length} | {kl[0]:.6f} | {kl[1]:.6f} |", flush=True)


if __name__ == "__main__":
    main()
