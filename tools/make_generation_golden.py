"""Writes tests/golden/engine/generation.json: what transformers makes of logits, and generates.

    pip install torch transformers
    python3 tools/make_generation_golden.py

Each case is a generation_config.json, the tokens so far and random logits; `scores` are the logits
after transformers' logits processors without sampling, `probabilities` what it samples from where
the case samples. `continuations` are greedy ids of the bundled model. Null stands for -infinity.
"""
import json
import math
import pathlib

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB = 24
EOS = 3
PROMPT = [7, 5, 9, 5, 9]
NEW = [11, 5, 9, 2]

RULES = [
    {},
    {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.7},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 40},
    {"bad_words_ids": [[4]]},
    {"bad_words_ids": [[EOS], [6]]},
    {"bad_words_ids": [[5, 9, 2, 8], [9, 2, 10], [2, 2], [9, 9, 12]]},
    {"bad_words_ids": [[1] + PROMPT + NEW + [13], PROMPT + NEW + [14]]},
    {"min_length": 9},
    {"min_length": 10},
    {"min_new_tokens": 4},
    {"min_new_tokens": 5},
    {"suppress_tokens": [0, 1, 23]},
    {"begin_suppress_tokens": [7, 8]},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "bad_words_ids": [[8], [2, 4]], "min_new_tokens": 20,
     "suppress_tokens": [10], "begin_suppress_tokens": [6]},
    {"repetition_penalty": None, "no_repeat_ngram_size": None, "bad_words_ids": None, "suppress_tokens": None},
]
WARPERS = [
    {},
    {"top_k": 0},
    {"temperature": 0.3},
    {"temperature": 2.5, "top_k": 5},
    {"top_k": 1},
    {"top_p": 0.8, "top_k": 0},
    {"top_p": 0.001},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"min_p": 0.0},
    {"temperature": 1.7, "top_k": 12, "top_p": 0.85, "min_p": 0.15, "repetition_penalty": 1.3},
    {"temperature": None, "top_k": None, "top_p": None, "min_p": None},
]


def tiny_model():
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                         num_attention_heads=1, eos_token_id=EOS, bos_token_id=0)
    return LlamaForCausalLM(config)


def processed(model, settings, sampling, prompt, new, logits):
    config = GenerationConfig(**(settings | {"do_sample": sampling, "eos_token_id": EOS, "pad_token_id": 0}))
    config, _ = model._prepare_generation_config(config)
    model._prepare_special_tokens(config, True, device="cpu")
    ids = torch.tensor([prompt + new])
    processors = model._get_logits_processor(
        generation_config=config, input_ids_seq_length=len(prompt), encoder_input_ids=torch.tensor([prompt]), device="cpu")
    return processors(ids, logits.clone()[None])[0]


def numbers(tensor):
    return [None if math.isinf(x) else x for x in tensor.tolist()]


def cases(model):
    generator = torch.Generator().manual_seed(1)
    for settings in RULES + WARPERS:
        for prompt, new in ((PROMPT, NEW), (PROMPT, []), ([6], [])):
            logits = 2 * torch.randn(VOCAB, generator=generator)
            logits[20] = logits[21] = logits[22]  # ties
            case = {"config": settings | {"eos_token_id": EOS}, "prompt": prompt, "new": new, "logits": logits.tolist(),
                    "scores": numbers(processed(model, settings, False, prompt, new, logits))}
            if settings in WARPERS:
                case["config"]["do_sample"] = True
                case["probabilities"] = processed(model, settings, True, prompt, new, logits).softmax(-1).tolist()
            yield case


def continuations():
    folder = ROOT / "models" / "nano-wiki"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = json.loads((ROOT / "tests/golden/model/nano-wiki.json").read_text())["prompt_ids"]
    start = torch.tensor([prompt])
    for settings in ({"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 32, "suppress_tokens": [5, 6]}):
        ids = model.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=32, do_sample=False, **settings)
        yield {"config": settings | {"eos_token_id": model.generation_config.eos_token_id}, "prompt": prompt,
               "ids": ids[0, len(prompt):].tolist()}


def main():
    golden = {"transformers": transformers.__version__, "torch": torch.__version__,
              "cases": list(cases(tiny_model())), "continuations": list(continuations())}
    folder = ROOT / "tests" / "golden" / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generation.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
