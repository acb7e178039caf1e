"""What tests of the benchmark share: scripts of docs, rows of tables."""

import importlib.util
import sys


def script(name):
    """A module of docs/benchmarks."""
    spec = importlib.util.spec_from_file_location(name, f"docs/benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def cells(table, arm):
    """Of the row of an arm, without its name."""
    lines = [line for line in table.splitlines() if f"[{arm}]" in line or f"| {arm} " in line]
    return [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
