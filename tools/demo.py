"""Quantizes the bundled model with FireQ and shows it beside FP32: one table, then a continuation of each.

Run by ./dev demo. Everything is done by the program itself, through its --json.
"""
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EMBERQ = ROOT / "build" / "cpu" / "emberq"
MODEL = ROOT / "models" / "nano-wiki"
TEXT = ROOT / "data" / "wikitext2-excerpt.txt"
CALIBRATION = ROOT / "data" / "enwiki-excerpt.txt"
FIREQ = ROOT / "build" / "demo" / "nano-wiki-fireq"
PROMPT = "The city of Paris is the capital of France and one of the most"


def emberq(*arguments):
    done = subprocess.run([EMBERQ, *arguments, "--json"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def measure(model):
    return {
        "inspect": emberq("inspect", model),
        "ppl": emberq("eval", "ppl", model, "--text", TEXT),
        "text": emberq("generate", model, "--prompt", PROMPT, "--greedy", "--max-new-tokens", "64"),
    }


def main():
    shutil.rmtree(FIREQ.parent, ignore_errors=True)
    FIREQ.parent.mkdir(parents=True)
    emberq("quantize", MODEL, "--recipe", "fireq", "--calib", CALIBRATION, "-o", FIREQ)
    columns = {"FP32": measure(MODEL), "FireQ": measure(FIREQ)}
    rows = [
        ("bits per weight, linears with scales", lambda c: f"{c['inspect']['bits_per_weight']:.3f}"),
        ("weights file", lambda c: f"{c['inspect']['file_bytes'] / 1e6:.2f} MB"),
        ("WikiText-2 perplexity (excerpt)", lambda c: f"{c['ppl']['ppl']:.3f}"),
        ("KV cache per token", lambda c: f"{c['inspect']['kv_bytes_per_token']} B"),
        ("decoding", lambda c: f"{c['text']['tokens_per_second']:.0f} tokens/s"),
    ]
    print(f"\n{MODEL.name}: FP32 computes in FP32 on the BF16 weights as published,")
    print("FireQ with INT4 weights, FP8 activations and queries and an INT4 KV cache\n")
    print(f"| {'':<36} | {'FP32':>14} | {'FireQ':>14} |")
    print(f"|{'-' * 38}|{'-' * 15}:|{'-' * 15}:|")
    for label, cell in rows:
        print(f"| {label:<36} | {cell(columns['FP32']):>14} | {cell(columns['FireQ']):>14} |")
    for name, column in columns.items():
        print(f"\n{name}: {column['text']['prompt']}{column['text']['text']}")
    print(f"\nThe FireQ checkpoint is in {FIREQ.relative_to(ROOT)}; try: build/cpu/emberq --help")


if __name__ == "__main__":
    main()
