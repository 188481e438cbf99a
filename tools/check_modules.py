"""Fails when a file includes a module that its own may not, opens a third-party header or prints behind the
back of its one door, or outgrows its limit.

The architecture is CMakeLists.txt: a module may include itself and what it links, directly or not. A module that
another links as PRIVATE implements headers of that one, and may include them.
"""
import pathlib
import re
import sys


def linked_modules(cmake: str):
    """The folders that each folder may include, by the lines emberq_module(NAME [FOLDER F...] LINK M...)."""
    folder, links = {}, {}
    for call in re.findall(r"emberq_module\((\w[^)]*)\)", cmake):
        lists, key = {"": []}, ""
        for word in call.split():
            if word in ("FOLDER", "LINK", "PRIVATE"):
                lists[key := word] = []
            else:
                lists[key].append(word)
        name = lists[""][0]
        for path in lists.get("FOLDER", [name]):  # a module of two builds has a folder for each
            folder.setdefault(name, []).append("src/" + path)
        links.setdefault(name, set()).update(re.findall(r"emberq_(\w+)", " ".join(lists.get("LINK", []))))
        for other in re.findall(r"emberq_(\w+)", " ".join(lists.get("PRIVATE", []))):
            links.setdefault(other, set()).add(name)
    for target in re.findall(r"target_link_libraries\(emberq PRIVATE ([^)]*)\)", cmake):
        folder["apps"], links["apps"] = ["apps"], set(re.findall(r"emberq_(\w+)", target))

    def reached(name):
        return {name}.union(*(reached(other) for other in links[name]))

    return {path: {f for n in reached(name) for f in folder[n]} for name in folder for path in folder[name]}


# Third-party headers and the only places that may open them.
DOORS = {
    r"nlohmann/json_fwd": ["src/base/json_fwd.h"],
    r"nlohmann/json.hpp": ["src/base/json.h"],
    r"fmt/format-inl": ["src/base/fmt.cpp"],
    r"onig": ["src/base/regex.cpp"],
    r"utf8proc": ["src/text/unicode.cpp"],
    r"cblas": ["src/base/openblas.cpp", "src/ops/cpu/sgemm.cpp", "src/quant/rounding/linear_algebra.cpp"],
    r"omp\.h": ["src/base/parallel.h", "src/base/parallel.cpp"],
    r"CLI/": ["apps/command.cpp"],
    r"cuda": ["src/ops/cuda/", "src/bench/cuda/"],
    r"(cutlass|cute)/": ["src/bench/cuda/cutlass/"],
    r"cublas": ["src/ops/cuda/cublaslt/cublaslt.cpp"],
    r"dlfcn": ["src/base/openblas.cpp", "src/ops/cuda/cublaslt/shared_library.h"],
}

# What prints, where a failure would be overlooked, and the only places that may.
PRINTS = r"fmt::print\(|printf\(|std::c(?:out|err)\b|\bstd(?:out|err)\b"
PRINT_DOOR = "src/base/print."

MAX_LINES = {".h": 300, ".cuh": 400, ".cpp": 500, ".cu": 500}


def module_of(path: str, modules) -> str:
    return max((m for m in modules if path.startswith(m + "/")), key=len, default="?")


def problems_of(path: str, text: str, may_include):
    own = module_of(path, may_include)
    if own == "?":
        yield f"{path}: no emberq_module() of CMakeLists.txt has its folder"
        return
    folder_of = {m.removeprefix("src/"): m for m in may_include}
    for included in re.findall(r'^#include "([^"]+)"', text, re.M):
        other = folder_of.get(module_of(included, folder_of), included)
        if other not in may_include[own]:
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
    may_include = linked_modules((root / "CMakeLists.txt").read_text())
    problems = [
        problem
        for file in sorted(files)
        for problem in problems_of(file.relative_to(root).as_posix(), file.read_text(), may_include)
    ]
    print("\n".join(problems) or f"modules: {len(files)} files in order")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
