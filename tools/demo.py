"""Quantizes the bundled model with three recipes and shows it beside FP32: a table in Markdown, a continuation
of each, and where the report's page lies.

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
FOLDER = ROOT / "build" / "demo"
REPORT = FOLDER / "emberq4.html"
PROMPT = "The city of Paris is the capital of France and one of the most"
RECIPES = {"FireQ": "fireq", "emberq4": "emberq4", "emberq6": "emberq6"}


def emberq(*arguments):
    done = subprocess.run([EMBERQ, *arguments, "--json"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def quantize(recipe):
    output = FOLDER / f"nano-wiki-{recipe}"
    report = ["--report", REPORT, "--report-against", "fireq"] if recipe == REPORT.stem else []
    emberq("quantize", MODEL, "--recipe", recipe, "--calib", CALIBRATION, "--num-samples", "8",
           "--seq-len", "512", "-o", output, *report)
    return output


def measure(model):
    return {
        "inspect": emberq("inspect", model),
        "ppl": emberq("eval", "ppl", model, "--text", TEXT, "--seq-len", "512"),
        "text": emberq("generate", model, "--prompt", PROMPT, "--greedy", "--max-new-tokens", "64"),
        "prompt": emberq("generate", model, "--prompt", TEXT.read_text()[:4000], "--max-new-tokens", "1"),
    }


ROWS = [
    ("bits per weight, scales included", lambda m: f"{m['inspect']['bits_per_weight']:.2f}"),
    ("weights file, MB", lambda m: f"{m['inspect']['file_bytes'] / 1e6:.2f}"),
    ("KV cache, bytes per token", lambda m: f"{m['inspect']['kv_bytes_per_token']}"),
    ("perplexity, WikiText-2 excerpt", lambda m: f"{m['ppl']['ppl']:.3f}"),
    ("prompt, tokens per second", lambda m: f"{m['prompt']['prompt_tokens_per_second']:.0f}"),
    ("decoding, tokens per second", lambda m: f"{m['text']['tokens_per_second']:.0f}"),
]


def markdown(columns):
    lines = [["", *columns], *([label, *map(cell, columns.values())] for label, cell in ROWS)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    aligned = [[line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
               for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in aligned)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    columns = {"FP32": measure(MODEL)}
    columns |= {name: measure(quantize(recipe)) for name, recipe in RECIPES.items()}
    print(f"\n{MODEL.name} on the CPU backend, which defines the results and is not made for speed.")
    print("FP32 computes in FP32 on the BF16 weights as published.\n")
    print(markdown(columns))
    for name, column in columns.items():
        print(f"\n{name}: {column['text']['prompt']}{column['text']['text']}")
    print(f"\nThe checkpoints are in {FOLDER.relative_to(ROOT)}, and a page on emberq4 is in")
    print(f"{REPORT.relative_to(ROOT)}. Next: build/cpu/emberq --help")


if __name__ == "__main__":
    main()
