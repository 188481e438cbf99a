"""Writes a Llama of random BF16 weights in several shards, as large as you like: to measure memory and time
where quality is of no interest. The tokenizer is the bundled model's.

    pip install numpy
    python3 tools/make_random_model.py OUT [--layers 16] [--hidden 2048] ...

Weights are normal with a standard deviation of 0.02, norms 1. The same options and version of numpy give the
same bytes. It holds a piece of one tensor at a time.
"""
import argparse
import json
import math
import pathlib
import shutil
import struct
import sys

import numpy

TOKENIZER = pathlib.Path(__file__).resolve().parent.parent / "models" / "nano-wiki"
COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
SIGMA = 0.02
PIECE = 4 << 20  # weights made at a time


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", type=pathlib.Path, help="the new folder, which must not exist")
    for name, default, what in (
        ("layers", 16, "transformer blocks"),
        ("hidden", 2048, "hidden size"),
        ("intermediate", 8192, "width of the MLP"),
        ("heads", 32, "query heads, of hidden / heads channels each"),
        ("kv-heads", 8, "key and value heads"),
        ("shard-mb", 1000, "largest shard in 10^6 bytes; a larger tensor gets one of its own"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default {default})")
    chosen = parser.parse_args()
    sizes = {name: value for name, value in vars(chosen).items() if name != "output"}
    for name, value in sizes.items():
        if value < 1:
            parser.error(f"--{name.replace('_', '-')} must be positive, got {value}")
    if chosen.hidden % (2 * chosen.heads):
        parser.error(f"--hidden {chosen.hidden} does not give {chosen.heads} heads an even number of channels")
    if chosen.heads % chosen.kv_heads:
        parser.error(f"--kv-heads {chosen.kv_heads} does not divide --heads {chosen.heads}")
    if chosen.output.exists():
        parser.error(f"{chosen.output} exists already")
    return chosen


def vocabulary():
    """How many ids the tokenizer gives out."""
    tokenizer = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    added = [token["id"] for token in tokenizer["added_tokens"]]
    return max([*tokenizer["model"]["vocab"].values(), *added]) + 1


def configuration(size, vocab):
    special = json.loads((TOKENIZER / "config.json").read_text())
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.hidden // size.heads,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": special["bos_token_id"],
        "eos_token_id": special["eos_token_id"],
    }


def tensors(config):
    """(name, shape) of each, in the order of the files."""
    hidden, intermediate, vocab = (config[f"{name}_size"] for name in ("hidden", "intermediate", "vocab"))
    q, kv = (config["head_dim"] * config[f"num_{name}_heads"] for name in ("attention", "key_value"))
    linears = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (hidden,)
        for linear, shape in linears.items():
            yield f"model.layers.{layer}.{linear}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def in_shards(all_tensors, limit):
    """Lists of (name, shape), each of at most `limit` bytes where its tensors allow it."""
    shard, used = [], 0
    for name, shape in all_tensors:
        needed = 2 * math.prod(shape)
        if shard and used + needed > limit:
            yield shard
            shard, used = [], 0
        shard.append((name, shape))
        used += needed
    yield shard


def to_bf16(values):
    """The upper halves of F32, rounded to the nearest and of two equally near ones to the even."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def write_shard(path, shard, random):
    """Returns the bytes of its tensors."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shard:
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shard:
            size = math.prod(shape)
            for first in range(0, size, PIECE):
                count = min(PIECE, size - first)
                if len(shape) == 1:
                    values = numpy.ones(count, numpy.float32)
                else:
                    values = random.standard_normal(count, numpy.float32) * numpy.float32(SIGMA)
                file.write(to_bf16(values).tobytes())
    return end


def main():
    size = options()
    config = configuration(size, vocabulary())
    shards = list(in_shards(tensors(config), size.shard_mb * 10**6))
    size.output.mkdir(parents=True)
    random = numpy.random.default_rng(1)
    weight_map, total = {}, 0
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        total += write_shard(size.output / name, shard, random)
        weight_map.update({tensor: name for tensor, _ in shard})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (size.output / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (size.output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for companion in COMPANIONS:
        shutil.copyfile(TOKENIZER / companion, size.output / companion)
    print(f"{size.output}: {total // 2 / 1e6:.1f} million weights in {len(shards)} shards")


if __name__ == "__main__":
    sys.exit(main())
