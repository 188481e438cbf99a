"""Holds emberq's files to the real `compressed-tensors` package.

    interop.py OUT [--source MODEL]   checks a folder that emberq wrote
    interop.py --golden DIR           writes what emberq's tests read

Every quantized linear of OUT goes through the package: codes, scales, zero points, shapes and the
weight that they make. With --source, for a recipe that only rounds (fireq-w4), each code must equal
what the package makes of MODEL with our scales and zero points, and each scale of integers around
zero what MODEL's weights ask for.

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

SUFFIX = ".weight_scale"
BESIDE_CODES = ["weight_scale", "weight_zero_point"]  # the second where there are zero points


def load(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text())["weight_map"].values())
    tensors = {}
    for name in sorted(names):
        with safe_open(folder / name, "pt") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return tensors


def scheme_of(config: QuantizationConfig, module: str) -> QuantizationScheme:
    schemes = list(config.config_groups.values())
    for scheme in schemes:  # names come before classes
        if any(match_name(module, target) for target in scheme.targets):
            return scheme
    for scheme in schemes:
        if "Linear" in scheme.targets:
            return scheme
    raise SystemExit(f"{module}: no config group names it")


def keys_of(scheme: QuantizationScheme) -> list[str]:
    """A linear's tensors in its format."""
    packed = scheme.format == "pack-quantized"
    codes = ["weight_packed", "weight_shape"] if packed else ["weight"]
    return codes + BESIDE_CODES[: 1 if scheme.weights.symmetric else 2]


def codes_of(state: dict[str, torch.Tensor], scheme: QuantizationScheme) -> torch.Tensor:
    if "weight" in state:
        return state["weight"]
    return unpack_from_int32(
        state["weight_packed"], scheme.weights.num_bits, state["weight_shape"]
    )


def zero_points_of(state: dict[str, torch.Tensor], scheme: QuantizationScheme, n: int):
    """int8 [n, groups], or None."""
    zero_point, args = state.get("weight_zero_point"), scheme.weights
    if zero_point is None or "weight" in state:
        return zero_point
    shape = (n, state["weight_scale"].shape[1])
    return unpack_from_int32(zero_point, args.num_bits, shape, packed_dim=0)


def rounded_scale(source: torch.Tensor, scheme, state, emberq_config: dict, module: str):
    """docs/formats.md: the group's largest magnitude over the largest code, rounded. None where
    the scale follows another rule."""
    args, dtype = scheme.weights, state["weight_scale"].dtype
    if args.type != "int" or not args.symmetric:
        return None
    group_size = args.group_size or source.shape[1]
    absmax = source.unflatten(1, (-1, group_size)).abs().amax(-1).clamp(min=1e-5)
    step = absmax / (2 ** (args.num_bits - 1) - 1)
    if emberq_config.get("dequant_dtype") != "e4m3" or args.num_bits != 4:
        return step.to(dtype)
    p = emberq_config.get("global_scale", {}).get(module, 1)
    scale = (step * p).float().to(torch.float8_e4m3fn).float().clamp(min=2**-9)
    return (scale / p).to(dtype)


def packing_differences(state: dict[str, torch.Tensor], scheme: QuantizationScheme):
    bits = scheme.weights.num_bits
    if state["weight_shape"].dtype != torch.int64:
        yield f"weight_shape is {state['weight_shape'].dtype}"
    codes = codes_of(state, scheme)
    if not torch.equal(pack_to_int32(codes, bits), state["weight_packed"]):
        yield "the codes packed again are other words"
    zero_point = zero_points_of(state, scheme, len(codes))
    if zero_point is not None and not torch.equal(
        pack_to_int32(zero_point, bits, packed_dim=0), state["weight_zero_point"]
    ):
        yield "the zero points packed again are other words"


def differences(state: dict[str, torch.Tensor], scheme: QuantizationScheme):
    """What is wrong with one linear's tensors by themselves, as sentences."""
    args, scale = scheme.weights, state["weight_scale"]
    codes = codes_of(state, scheme)
    n, k = codes.shape
    group_size = args.group_size or k
    if codes.dtype != args.pytorch_dtype() or scale.dtype not in (torch.bfloat16, torch.float32):
        yield f"the codes are {codes.dtype}, weight_scale {scale.dtype}"
    if list(scale.shape) != [n, k // group_size]:
        yield f"weight_scale is {list(scale.shape)} for a weight of {[n, k]}"
        return
    if "weight_packed" in state:
        yield from packing_differences(state, scheme)
    if not torch.isfinite(scale).all() or (scale < 0).any():
        yield "a scale is not a finite number >= 0"
    value = codes.float()
    zero_point = zero_points_of(state, scheme, n)
    if zero_point is not None:
        value = value - zero_point.float().repeat_interleave(group_size, 1)
    value = value * scale.float().repeat_interleave(group_size, 1)
    decompressed = BaseCompressor.get_value_from_registry(scheme.format).decompress(state, scheme)
    if not torch.equal(decompressed["weight"].float(), value.to(scale.dtype).float()):
        yield "the package's weight is not (code - zero point) * scale"


def differences_from(source: torch.Tensor, state, scheme: QuantizationScheme, expected_scale):
    """Whether the package, rounding the source by our scales, comes to other codes; and scales."""
    args, scale = scheme.weights, state["weight_scale"]
    codes = codes_of(state, scheme)
    zero_point = zero_points_of(state, scheme, len(codes))
    expected = quantize(source, scale.double(), zero_point, args, args.pytorch_dtype())
    different = int((codes.float() != expected.float()).sum())
    if different:
        yield f"{different} codes differ from the source's"
    if expected_scale is not None and not torch.equal(scale, expected_scale):
        yield f"{int((scale != expected_scale).sum())} scales differ from the source's"


def check(out: pathlib.Path, source: pathlib.Path | None) -> int:
    config = json.loads((out / "config.json").read_text())
    method = config["quantization_config"]["quant_method"]
    if method != "compressed-tensors":
        raise SystemExit(f"{out}: the package does not read quant_method {method}")
    quantization = QuantizationConfig.model_validate(config["quantization_config"])
    side_path = out / "emberq.json"
    emberq_config = json.loads(side_path.read_text()) if side_path.exists() else {}
    tensors = load(out)
    originals = load(source) if source else {}
    modules = [name.removesuffix(SUFFIX) for name in tensors if name.endswith(SUFFIX)]
    failures = codes = scales = 0
    for module in modules:
        scheme = scheme_of(quantization, module)
        state = {key: tensors[f"{module}.{key}"] for key in keys_of(scheme)}
        found = list(differences(state, scheme))
        if source and not found:
            original = originals[module + ".weight"].double()
            expected = rounded_scale(original, scheme, state, emberq_config, module)
            found = list(differences_from(original, state, scheme, expected))
        for difference in found:
            print(f"{module}: {difference}")
        failures += len(found)
        codes += codes_of(state, scheme).numel()
        scales += state["weight_scale"].numel()
    print(
        f"{out}: {len(modules)} linears, {codes} codes, {scales} scales, {failures} differences "
        f"(compressed-tensors {compressed_tensors.__version__})"
    )
    return bool(failures or not modules)


# The goldens. tests/checkpoint/checkpoint_test.cpp has the same formulas.


def golden_codes(n: int, k: int, args: QuantizationArgs) -> torch.Tensor:
    row, column = torch.arange(n)[:, None], torch.arange(k)[None, :]
    stored = (37 * row + 11 * column + row * column) % (1 << args.num_bits)
    if args.type == "float":
        stored -= (stored % 128 == 127).long()  # the number before NaN
        return stored.to(torch.uint8).view(torch.float8_e4m3fn)
    return (stored - (1 << (args.num_bits - 1))).to(torch.int8)


def golden_zero_points(n: int, groups: int) -> torch.Tensor:
    row, group = torch.arange(n)[:, None], torch.arange(groups)[None, :]
    return ((5 * row + 3 * group) % 16 - 8).to(torch.int8)


def golden_scale(n: int, groups: int) -> torch.Tensor:
    row, group = torch.arange(n)[:, None], torch.arange(groups)[None, :]
    return ((8 + (3 * row + group) % 8) / 512).to(torch.bfloat16)


FP8_TOKEN = QuantizationArgs(num_bits=8, type="float", strategy="token", dynamic=True)
INT8_TOKEN = QuantizationArgs(num_bits=8, strategy="token", dynamic=True)
INT6_GROUP = QuantizationArgs(num_bits=6, strategy="group", group_size=128, dynamic=True)


def golden_scheme(targets, bits, storage, group_size, activations, **weights) -> QuantizationScheme:
    strategy = "group" if group_size else "channel"
    return QuantizationScheme(
        targets=targets,
        format=storage,
        weights=QuantizationArgs(
            num_bits=bits, strategy=strategy, group_size=group_size, **weights
        ),
        input_activations=activations,
    )


def write_golden(folder: pathlib.Path, schemes, linears, storage: str, ignore) -> None:
    """linears: (module, n, k, scheme's index)."""
    tensors = {"lm_head.weight": torch.ones(2, 128, dtype=torch.bfloat16)}
    for module, n, k, index in linears:
        scheme = schemes[index]
        scale = golden_scale(n, k // (scheme.weights.group_size or k))
        codes = golden_codes(n, k, scheme.weights).float()
        steps = scale.float().repeat_interleave(k // scale.shape[1], 1)
        state = {"weight_scale": scale.float()}
        if not scheme.weights.symmetric:
            state["weight_zero_point"] = golden_zero_points(n, scale.shape[1])
            codes -= state["weight_zero_point"].float().repeat_interleave(k // scale.shape[1], 1)
        # In FP32: codes of more than 4 bits times a scale do not fit in BF16.
        state["weight"] = codes * steps
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
        [golden_scheme(["Linear"], 4, "pack-quantized", 128, FP8_TOKEN)],
        [(layer + "self_attn.q_proj", 5, 128, 0), (layer + "self_attn.o_proj", 3, 256, 0),
         (layer + "mlp.down_proj", 7, 384, 0)],
        "pack-quantized",
        ["lm_head"],
    )
    write_golden(
        folder / "ct_mixed",
        [golden_scheme([layer + "self_attn.q_proj"], 4, "int-quantized", 128, FP8_TOKEN),
         golden_scheme(["re:.*self_attn"], 6, "pack-quantized", 128, None),
         golden_scheme(["Linear"], 8, "pack-quantized", None, None)],
        [(layer + "self_attn.q_proj", 5, 128, 0), (layer + "self_attn.o_proj", 3, 256, 1),
         (layer + "mlp.down_proj", 7, 384, 2)],
        "mixed-precision",
        ["re:lm_.*"],
    )
    names = [layer + name for name in
             ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj", "mlp.up_proj")]
    write_golden(
        folder / "ct_schemes",
        [golden_scheme(names[:1], 8, "int-quantized", None, INT8_TOKEN),
         golden_scheme(names[1:2], 8, "float-quantized", None, FP8_TOKEN, type="float"),
         golden_scheme(names[2:3], 4, "pack-quantized", 128, None, symmetric=False),
         golden_scheme(names[3:], 6, "pack-quantized", 128, INT6_GROUP)],
        [(names[0], 5, 130, 0), (names[1], 3, 257, 1), (names[2], 11, 384, 2),
         (names[3], 5, 128, 3)],
        "mixed-precision",
        ["lm_head"],
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
