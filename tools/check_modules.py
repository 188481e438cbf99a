"""Fails when a file includes a module that its own may not, opens a third-party header or prints behind the
back of its one door, or outgrows its limit.

MAY_INCLUDE is the architecture: a module may include itself and the modules listed.
"""
import pathlib
import re
import sys

BASE = ["base"]
FORMAT = BASE + ["format"]
TENSOR = FORMAT + ["tensor"]
OPS = TENSOR + ["ops"]
MODEL = OPS + ["checkpoint", "model"]
ENGINE = MODEL + ["text", "engine"]
EVAL = MODEL + ["text", "eval"]
QUANT = sorted(set(ENGINE + EVAL + ["quant"]))

MAY_INCLUDE = {
    "src/base": [],
    "src/report": BASE + ["report"],
    "src/format": BASE,
    "src/tensor": FORMAT,
    "src/checkpoint": TENSOR,
    "src/text": TENSOR,
    "src/ops": TENSOR,
    "src/ops/cpu": OPS,
    "src/ops/no_cuda": OPS,
    "src/ops/cuda": OPS + ["ops/cuda/device"],
    "src/ops/cuda/device": ["format"],
    "src/measure": OPS + ["measure"],
    "src/measure/no_cuda": OPS + ["measure"],
    "src/measure/cuda": OPS + ["ops/cuda", "ops/cuda/device", "measure"],
    "src/model": MODEL,
    "src/engine": ENGINE,
    "src/eval": EVAL,
    "src/quant": QUANT,
    "apps": QUANT + ["measure", "report", "apps"],
}

# Third-party headers and the only places that may open them.
DOORS = {
    r"nlohmann/json_fwd": ["src/base/json_fwd.h"],
    r"nlohmann/json.hpp": ["src/base/json.h"],
    r"fmt/format-inl": ["src/base/fmt.cpp"],
    r"onig": ["src/base/regex.cpp"],
    r"utf8proc": ["src/text/unicode.cpp"],
    r"cblas": ["src/base/openblas.cpp", "src/ops/cpu/sgemm.cpp", "src/quant/linear_algebra.cpp"],
    r"omp\.h": ["src/base/parallel.h", "src/base/parallel.cpp"],
    r"CLI/": ["apps/command.cpp"],
    r"cuda": ["src/ops/cuda/", "src/measure/cuda/"],
    r"(cutlass|cute)/": ["src/measure/cuda/cutlass/"],
    r"cublas": ["src/measure/cuda/cublaslt.cpp"],
    r"dlfcn": ["src/base/openblas.cpp", "src/measure/cuda/shared_library.h"],
}

# What prints, where a failure would be overlooked, and the only places that may.
PRINTS = r"fmt::print\(|printf\(|std::c(?:out|err)\b|\bstd(?:out|err)\b"
PRINT_DOOR = "src/base/print."

MAX_LINES = {".h": 300, ".cuh": 400, ".cpp": 500, ".cu": 500}


def module_of(path: str, modules) -> str:
    return max((m for m in modules if path.startswith(m + "/")), key=len, default="?")


def problems_of(path: str, text: str):
    own = module_of(path, MAY_INCLUDE)
    names = [m.removeprefix("src/") for m in MAY_INCLUDE]
    for included in re.findall(r'^#include "([^"]+)"', text, re.M):
        other = module_of(included, names)
        if other != own.removeprefix("src/") and other not in MAY_INCLUDE[own]:
            yield f"{path}: {own} may not include {other} ({included})"
    for included in re.findall(r"^#include <([^>]+)>", text, re.M):
        for pattern, doors in DOORS.items():
            if re.match(pattern, included) and not any(path.startswith(d) for d in doors):
                yield f"{path}: <{included}> is opened by {', '.join(doors)} only"
    code = re.sub(r"//.*|\"(?:[^\"\\\n]|\\.)*\"", "", text)
    if not path.startswith(PRINT_DOOR) and (found := re.search(PRINTS, code)):
        yield f"{path}: {found[0]} is for base/print.cpp only"
    lines = text.count("\n")
    limit = MAX_LINES[pathlib.Path(path).suffix]
    if lines > limit:
        yield f"{path}: {lines} lines, the limit is {limit}"


def main(root: pathlib.Path) -> int:
    files = [f for top in ("src", "apps") for f in (root / top).rglob("*") if f.suffix in MAX_LINES]
    problems = [
        problem
        for file in sorted(files)
        for problem in problems_of(file.relative_to(root).as_posix(), file.read_text())
    ]
    print("\n".join(problems) or f"modules: {len(files)} files in order")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
