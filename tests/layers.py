"""Checks the layers: a module includes only modules that stand before it and that its CMake DEPS name, and pure modules
name no operating system, thread, clock or random source.

    tests/layers.py SOURCE_DIR MODULE,MODULE,...      (the modules in layer order)
"""
import pathlib
import re
import sys

PURE = {"wire", "tunnel", "paths", "lan", "games", "relay", "party", "tasks", "agents", "node"}
IMPURE_HEADERS = re.compile(
    r"<(thread|mutex|shared_mutex|condition_variable|future|random|ctime|time\.h|fstream|iostream|filesystem|csignal|"
    r"unistd\.h|fcntl\.h|poll\.h|ifaddrs\.h|signal\.h|"
    r"(sys|net|netinet|netpacket|arpa|linux|asm|boost/asio|boost/beast)/[^>]*)>")
CLOCKS = re.compile(r"::now\(|system_clock|steady_clock|high_resolution_clock")


def deps_of(cmake: pathlib.Path) -> set[str]:
    match = re.search(r"\bDEPS\s+([a-z ]+)", cmake.read_text())
    return set(match.group(1).split()) if match else set()


def main() -> int:
    src = pathlib.Path(sys.argv[1]) / "src"
    order = sys.argv[2].split(",")
    faults = []
    present = [m for m in order if (src / m / "CMakeLists.txt").exists()]
    faults += [f"src/{p.name}: not in the list of modules" for p in src.iterdir() if p.is_dir() and p.name not in order]
    for module in present:
        deps = deps_of(src / module / "CMakeLists.txt")
        faults += [f"src/{module}: DEPS names {d}, which does not stand before it"
                   for d in deps if d not in order[: order.index(module)]]
        for path in sorted((src / module).rglob("*.[hc]*")):
            if path.suffix not in {".h", ".cc"}:
                continue
            text = path.read_text()
            where = path.relative_to(src.parent)
            for included in re.findall(r'#include "([a-z]+)/', text):
                if included in order and included != module and included not in deps:
                    faults.append(f"{where}: includes {included}/, which is not in the DEPS of {module}")
            if module in PURE and not path.name.endswith(("_test.cc", "_fuzz.cc")):
                faults += [f"{where}: a pure module includes <{m}>" for m in
                           (found.group(1) for found in IMPURE_HEADERS.finditer(text))]
                if CLOCKS.search(text):
                    faults.append(f"{where}: a pure module reads a clock")
    print("\n".join(faults) or f"{len(present)} modules keep their layers")
    return 1 if faults or not present else 0


if __name__ == "__main__":
    sys.exit(main())
