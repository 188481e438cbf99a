"""Compares the machine code of two builds: compare_sass.py BEFORE AFTER

BEFORE and AFTER are object files, or folders that are searched for *.cu.o. Kernels are matched by their
instructions, with encodings, since a rename changes their names. Fails, and names the kernels, where one build has
code that the other has not. Needs cuobjdump in PATH.
"""
import collections
import pathlib
import re
import subprocess
import sys


def kernels_of(path: pathlib.Path):
    """Maps the machine code of each kernel to the names of the kernels that have it."""
    objects = sorted(path.rglob("*.cu.o")) if path.is_dir() else [path]
    kernels = collections.defaultdict(list)
    for file in objects:
        sass = subprocess.run(["cuobjdump", "-sass", file], check=True, capture_output=True, text=True).stdout
        for kernel in sass.split("\t\tFunction : ")[1:]:
            name, body = kernel.split("\n", 1)
            instructions = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/.*$|^\s+/\* 0x[0-9a-f]{16} \*/$", body, re.M)
            kernels[re.sub(r"\b_Z\w+", "NAME", "\n".join(instructions))].append(f"{file.name}: {name}")
    return kernels


def main(before: pathlib.Path, after: pathlib.Path) -> int:
    old, new = kernels_of(before), kernels_of(after)
    same = sum(len(names) for code, names in new.items() if len(names) == len(old.get(code, [])))
    problems = [
        f"{what} {name}, {code.count(';')} instructions"
        for what, these, others in (("only before:", old, new), ("only after:", new, old))
        for code, names in these.items()
        if len(names) != len(others.get(code, []))
        for name in names
    ]
    print("\n".join([*problems, f"{same} kernels have the same machine code, {len(problems)} have not"]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
