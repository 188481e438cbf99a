"""Made-up data of a report, of any size; the schema is in src/report/report.h.

    python3 tests/apps/report_data.py LAYERS KV_HEADS >data.json
"""
import json
import random
import sys

MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SITES = ["q, k, v input", "o_proj input", "gate, up input", "down_proj input"]
HEAD_DIM = 64
SCHEMES = {4.125: "lut4-g128", 6.125: "fp6e2m3-g128", 8.125: "int8-g128"}

METHODS = [
    {"name": "FP32", "ppl": 38.119, "ppl_increase": 0.0, "kl": 0, "bits_per_weight": 32, "kv_bits": 32,
     "file_bytes": 92e6, "note": "the reference", "measured": True, "source": "this run"},
    {"name": "emberq4", "ppl": 38.402, "ppl_increase": 0.283, "kl": 0.0071, "bits_per_weight": 4.25, "kv_bits": 4.2,
     "file_bytes": 12.3e6, "note": "", "measured": True, "source": "this run"},
    {"name": "fireq", "ppl": 39.214, "ppl_increase": 1.095, "kl": 0.0262, "bits_per_weight": 4.125, "kv_bits": 4.25,
     "file_bytes": 12.1e6, "note": "", "measured": True, "source": "this run"},
    {"name": "round to nearest, no smoothing", "ppl": 71.3, "ppl_increase": 33.181, "kl": 0.61, "bits_per_weight": 4.125,
     "kv_bits": 4.25, "file_bytes": 12.1e6, "note": "a cache of 4 bits with outliers in its keys", "measured": True,
     "source": "this run"},
    {"name": "GPTQ", "ppl": 38.9, "ppl_increase": 0.781, "kl": None, "bits_per_weight": 4.125, "kv_bits": 16,
     "file_bytes": None, "note": "", "measured": False, "source": "published"},
]


def linear(rng, layer, layers, module):
    depth = layer / max(1, layers - 1)
    edge = 2.5 if layer in (0, layers - 1) else 1.0
    weight = {"down_proj": 3.0, "v_proj": 2.2, "o_proj": 1.4}.get(module.split(".")[1], 0.7)
    kl = 1.2e-3 * weight * edge * rng.lognormvariate(0, 0.5)
    bits = 8.125 if kl > 7e-3 else 6.125 if kl > 4e-3 else 4.125
    return {"layer": layer, "module": module, "scheme": SCHEMES[bits], "bits": bits,
            "sqnr_db": 20 + 6 * (bits - 4.125) + rng.gauss(0, 0.8),
            "output_sqnr_db": 19 + 6 * (bits - 4.125) - 4 * depth + rng.gauss(0, 1.2),
            "kl": kl, "ppl": 38.119 * (1 + kl), "mac_share": 0.011,
            "input_absmax": 4 * weight**2 * (1 + 6 * depth) * rng.lognormvariate(0, 0.4),
            "input_rms": 0.8 + 0.3 * depth, "activation": "fp8-token"}


def key(rng, layer, head):
    original = [abs(rng.gauss(2, 0.5)) + 0.2 for _ in range(HEAD_DIM)]
    for _ in range(rng.randrange(1, 5)):
        original[rng.randrange(HEAD_DIM)] *= rng.uniform(4, 12)
    return {"layer": layer, "kv_head": head, "original": original,
            "smoothed": [3 + abs(rng.gauss(0, 0.4)) for _ in range(HEAD_DIM)]}


def activation(rng, layer, layers, site):
    size = (1 + 3 * layer / layers) * rng.lognormvariate(0, 0.15) * {"o_proj input": 0.3, "down_proj input": 2}.get(site, 1)
    outlier = 60 if site == "down_proj input" and layer in (1, layers - 1) else 1
    return {"layer": layer, "site": site, "absmax": 12 * size * outlier, "p999": 4 * size, "rms": size}


def layer_error(rng, layer, layers):
    attention, mlp = rng.uniform(0.1, 0.3), rng.uniform(0.2, 0.4)
    if layer == 0:
        attention, mlp = 0.4, 0.6
    return {"layer": layer, "hidden_error": 0.012 + 0.05 * (layer + 1) / layers + rng.uniform(0, 0.004),
            "attention_share": attention, "mlp_share": mlp, "kv_share": 0.4 * attention}


def report(layers, kv_heads, seed=1):
    rng = random.Random(seed)
    each = range(layers)
    return {
        "title": "small-wiki · emberq4", "model": "models/small-wiki", "recipe": "emberq4", "created": "2026-11-21",
        "version": "0.1.0",
        "command": "emberq quantize models/small-wiki --recipe emberq4 --calib data/enwiki-excerpt.txt --report report.html -o small-wiki-emberq4",
        "summary": {"bits_per_weight": 4.25, "kv_bits": 4.2, "file_bytes": 12_300_000, "original_bytes": 92_000_000,
                    "seconds": 83.2, "peak_rss_bytes": 412_000_000, "calibration_tokens": 20480, "parameters": 23_100_000},
        "methods": METHODS,
        "linears": [linear(rng, layer, layers, module) for layer in each for module in MODULES],
        "keys": [key(rng, layer, head) for layer in each for head in range(kv_heads)],
        "activations": [activation(rng, layer, layers, site) for layer in each for site in SITES],
        "layer_errors": [layer_error(rng, layer, layers) for layer in each],
        "choices": [{"what": f"layer {layer} v_proj", "chosen": "int8-g128",
                     "why": "KL 0.0031 of 0.0290 in all, for 0.4 % more bytes"} for layer in range(min(3, layers))],
        "notes": ["Perplexity is of the first 8 windows of 2048 tokens.", "KL is over the same windows."],
    }


if __name__ == "__main__":
    json.dump(report(*map(int, sys.argv[1:3])), sys.stdout)
