"""Writes what transformers computes in FP32 for the models of the tests, to tests/golden/model/.

    pip install torch transformers safetensors
    python3 tools/make_model_golden.py FOLDER...        (the folders of ../shared/models/golden)

NAME.safetensors: logits of each folder. nano-wiki.json: of the bundled model, the negative log likelihood
of each window of the bundled excerpt, and a greedy continuation.

The input ids are those of the folder's golden_logits.safetensors. That file's own logits were computed
by a model that had been cast to BF16 and back, which leaves RoPE's frequencies rounded to BF16; a model
loaded in FP32 keeps them, and so do serving engines.
"""
import json
import pathlib
import sys

import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).parent.parent
OUT = ROOT / "tests" / "golden" / "model"
VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}
PROMPT = "The city of Paris is the capital of France and one of the most"
WINDOW = 512


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def write_logits(folder):
    ids = safetensors.torch.load_file(folder / "golden_logits.safetensors")["input_ids"]
    logits = load(folder)(ids.long()).logits
    safetensors.torch.save_file(
        {"input_ids": ids, "logits": logits.contiguous()}, OUT / f"{folder.name}.safetensors", VERSIONS
    )


def write_bundled():
    folder = ROOT / "models" / "nano-wiki"
    model = load(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = (ROOT / "data" / "wikitext2-excerpt.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]
    nll = []
    for window in ids[: len(ids) // WINDOW * WINDOW].reshape(-1, WINDOW):
        logits = model(window[None]).logits[0, :-1]
        nll.append(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item())
    prompt = tokenizer(PROMPT, return_tensors="pt").input_ids
    greedy = model.generate(prompt, max_new_tokens=64, do_sample=False)[0]
    golden = {
        "versions": VERSIONS,
        "tokens": len(ids),
        "window": WINDOW,
        "nll": nll,
        "prompt": PROMPT,
        "prompt_ids": prompt[0].tolist(),
        "greedy_ids": greedy.tolist(),
    }
    (OUT / "nano-wiki.json").write_text(json.dumps(golden) + "\n")


@torch.no_grad()
def main(folders):
    for folder in map(pathlib.Path, folders):
        write_logits(folder)
    write_bundled()


if __name__ == "__main__":
    main(sys.argv[1:])
