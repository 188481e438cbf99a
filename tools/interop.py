"""Holds emberq's files to the real `compressed-tensors` package.

    interop.py OUT [--source MODEL]   checks a folder that emberq wrote
    interop.py --golden DIR           writes what emberq's tests read

Every quantized linear of OUT goes through the package: codes, scales, shapes and the weight that
they make. With --source, for a recipe that only rounds (fireq-w4), each code must equal what the
package makes of MODEL with our scales, and each scale what MODEL's weights ask for.

Needs compressed-tensors, torch and safetensors from PyPI; exits with 1 on any difference.
"""
import argparse
import json
import pathlib
import sys

import compressed_tensors
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.utils.match import match_name
from safetensors import safe_open
from safetensors.torch import save_file

SUFFIX = ".weight_packed"
STATE = ("weight_packed", "weight_scale", "weight_shape")


def load(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text())["weight_map"].values())
    tensors = {}
    for name in sorted(names):
        with safe_open(folder / name, "pt") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys()}
    return tensors


def scheme_of(config: QuantizationConfig, module: str) -> QuantizationScheme:
    for scheme in config.config_groups.values():
        if any(target == "Linear" or match_name(module, target) for target in scheme.targets):
            return scheme
    raise SystemExit(f"{module}: no config group names it")


def rounded_scale(source: torch.Tensor, args: QuantizationArgs, side_file: dict, module: str):
    """docs/quantization.md: the group's largest magnitude over the largest code, rounded."""
    absmax = source.unflatten(1, (-1, args.group_size)).abs().amax(-1).clamp(min=1e-5)
    step = absmax / (2 ** (args.num_bits - 1) - 1)
    if side_file.get("weight_product") != "e4m3":
        return step.to(torch.bfloat16)
    p = side_file.get("per_tensor_scale", {}).get(module, 1)
    scale = (step * p).float().to(torch.float8_e4m3fn).float().clamp(min=2**-9)
    return (scale / p).to(torch.bfloat16)


def differences(state: dict[str, torch.Tensor], scheme: QuantizationScheme):
    """What is wrong with one linear's tensors by themselves, as sentences."""
    args = scheme.weights
    packed, scale, shape = (state["weight_" + key] for key in ("packed", "scale", "shape"))
    n, k = shape.tolist()
    if shape.dtype != torch.int64 or scale.dtype != torch.bfloat16:
        yield f"weight_shape is {shape.dtype}, weight_scale {scale.dtype}"
    if list(scale.shape) != [n, k // args.group_size]:
        yield f"weight_scale is {list(scale.shape)} for a weight of {[n, k]}"
        return
    codes = unpack_from_int32(packed, args.num_bits, shape)
    if not torch.equal(pack_to_int32(codes, args.num_bits), packed):
        yield "the codes packed again are other words"
    if not torch.isfinite(scale).all() or (scale < 0).any():
        yield "a scale is not a finite number >= 0"
    value = codes.float() * scale.float().repeat_interleave(args.group_size, 1)
    decompressed = BaseCompressor.get_value_from_registry(scheme.format).decompress(state, scheme)
    if not torch.equal(decompressed["weight"].float(), value.to(scale.dtype).float()):
        yield "the package's weight is not code * scale"


def differences_from(source: torch.Tensor, state, scheme: QuantizationScheme, expected_scale):
    """Whether the package, rounding the source by our scales, comes to other codes; and scales."""
    args, scale = scheme.weights, state["weight_scale"]
    codes = unpack_from_int32(state["weight_packed"], args.num_bits, state["weight_shape"])
    expected = quantize(source, scale.double(), None, args, torch.int8)
    if not torch.equal(codes, expected):
        yield f"{int((codes != expected).sum())} codes differ from the source's"
    if not torch.equal(scale, expected_scale):
        yield f"{int((scale != expected_scale).sum())} scales differ from the source's"


def check(out: pathlib.Path, source: pathlib.Path | None) -> int:
    config = json.loads((out / "config.json").read_text())
    quantization = QuantizationConfig.model_validate(config["quantization_config"])
    side_path = out / "emberq.json"
    side_file = json.loads(side_path.read_text()) if side_path.exists() else {}
    tensors = load(out)
    originals = load(source) if source else {}
    modules = [name.removesuffix(SUFFIX) for name in tensors if name.endswith(SUFFIX)]
    failures = codes = scales = 0
    for module in modules:
        scheme = scheme_of(quantization, module)
        state = {key: tensors[f"{module}.{key}"] for key in STATE}
        found = list(differences(state, scheme))
        if source and not found:
            original = originals[module + ".weight"].double()
            expected = rounded_scale(original, scheme.weights, side_file, module)
            found = list(differences_from(original, state, scheme, expected))
        for difference in found:
            print(f"{module}: {difference}")
        failures += len(found)
        codes += state["weight_shape"].prod().item()
        scales += state["weight_scale"].numel()
    print(
        f"{out}: {len(modules)} linears, {codes} codes, {scales} scales, {failures} differences "
        f"(compressed-tensors {compressed_tensors.__version__})"
    )
    return bool(failures or not modules)


# The goldens. tests/checkpoint/checkpoint_test.cpp has the same two formulas.


def golden_codes(n: int, k: int, bits: int) -> torch.Tensor:
    row, column = torch.arange(n)[:, None], torch.arange(k)[None, :]
    stored = (37 * row + 11 * column + row * column) % (1 << bits)
    return (stored - (1 << (bits - 1))).to(torch.int8)


def golden_scale(n: int, groups: int) -> torch.Tensor:
    row, group = torch.arange(n)[:, None], torch.arange(groups)[None, :]
    return ((8 + (3 * row + group) % 8) / 512).to(torch.bfloat16)


def golden_scheme(targets, bits, storage, group_size, activations) -> QuantizationScheme:
    fp8 = QuantizationArgs(num_bits=8, type="float", strategy="token", dynamic=True)
    return QuantizationScheme(
        targets=targets,
        format=storage,
        weights=QuantizationArgs(
            num_bits=bits, strategy="group" if group_size else "channel", group_size=group_size
        ),
        input_activations=fp8 if activations else None,
    )


def write_golden(folder: pathlib.Path, schemes, linears, storage: str, ignore) -> None:
    """linears: (module, n, k, scheme's index)."""
    tensors = {"lm_head.weight": torch.ones(2, 128, dtype=torch.bfloat16)}
    for module, n, k, index in linears:
        scheme = schemes[index]
        scale = golden_scale(n, k // (scheme.weights.group_size or k))
        codes = golden_codes(n, k, scheme.weights.num_bits)
        steps = scale.float().repeat_interleave(k // scale.shape[1], 1)
        # In FP32: codes of more than 4 bits times a scale do not fit in BF16.
        state = {"weight": codes.float() * steps, "weight_scale": scale.float()}
        compressor = BaseCompressor.get_value_from_registry(scheme.format)
        state = compressor.compress(state, scheme)
        state["weight_scale"] = scale
        tensors |= {f"{module}.{key}": tensor for key, tensor in state.items()}
    quantization = QuantizationConfig(
        config_groups={f"group_{i}": scheme for i, scheme in enumerate(schemes)},
        format=storage,
        quantization_status="compressed",
        ignore=ignore,
    )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 2,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "quantization_config": quantization.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def write_goldens(folder: pathlib.Path) -> None:
    layer = "model.layers.0."
    write_golden(
        folder / "ct_w4afp8",
        [golden_scheme(["Linear"], 4, "pack-quantized", 128, True)],
        [(layer + "self_attn.q_proj", 5, 128, 0), (layer + "self_attn.o_proj", 3, 256, 0),
         (layer + "mlp.down_proj", 7, 384, 0)],
        "pack-quantized",
        ["lm_head"],
    )
    write_golden(
        folder / "ct_mixed",
        [golden_scheme([layer + "self_attn.q_proj"], 4, "int-quantized", 128, True),
         golden_scheme(["re:.*self_attn"], 6, "pack-quantized", 128, False),
         golden_scheme(["Linear"], 8, "pack-quantized", None, False)],
        [(layer + "self_attn.q_proj", 5, 128, 0), (layer + "self_attn.o_proj", 3, 256, 1),
         (layer + "mlp.down_proj", 7, 384, 2)],
        "mixed-precision",
        ["re:lm_.*"],
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=pathlib.Path, nargs="?", metavar="OUT")
    parser.add_argument("--source", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--golden", type=pathlib.Path, metavar="DIR")
    arguments = parser.parse_args()
    if (arguments.out is None) == (arguments.golden is None):
        parser.error("give OUT or --golden DIR")
    if arguments.golden:
        write_goldens(arguments.golden)
        return 0
    return check(arguments.out, arguments.source)


if __name__ == "__main__":
    sys.exit(main())
