#!/usr/bin/env python
"""Write config-keys.md: every key that this project adds to Detectron2's config.

    python docs/reference/config_keys.py

Keys and defaults are those of the config, texts are the comments above them in
maskrcnnpp/config.py.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from maskrcnnpp import config
from maskrcnnpp.files import write_text

PAGE = Path(__file__).resolve().parent / "config-keys.md"

INTRODUCTION = """\
# Config keys

Every key that this project adds to Detectron2's, with its default. Set a key in a yaml file, or
after the other arguments of a command, such as `MODEL.NESTED_FPN.DEPTH 2`.

The page is written by `python docs/reference/config_keys.py` from
[maskrcnnpp/config.py](../../maskrcnnpp/config.py).
"""


def texts_of_keys(source: str) -> dict[str, str]:
    """The comment above each assignment to a config, by the key's full name; "" for none."""
    lines = source.splitlines()
    texts = {}
    for function in ast.parse(source).body:
        names = {"cfg": ""}  # variables that stand for a node of the config
        for statement in getattr(function, "body", []):
            if not isinstance(statement, ast.Assign):
                continue
            *variables, target = [ast.unparse(target) for target in statement.targets]
            if "." not in target:  # a variable for a node that is there: head = cfg.MODEL...
                variables, target = [target], ast.unparse(statement.value)
            variable, _, rest = target.partition(".")
            if variable not in names:
                continue
            key = f"{names[variable]}.{rest}".lstrip(".")
            names |= dict.fromkeys(variables, key)
            texts[key] = _comment_above(lines, statement.lineno - 1)
    return texts


def _comment_above(lines: list[str], number: int) -> str:
    comment: list[str] = []
    while lines[number - 1].lstrip().startswith("#"):
        number -= 1
        comment.insert(0, lines[number].strip().removeprefix("#").strip())
    return re.sub(r" *<br> *", "<br>", " ".join(line or "<br>" for line in comment))


def new_keys(cfg: CfgNode, stock: CfgNode, path: str = "") -> Iterator[tuple[str, object]]:
    """Name and default of each key that stock does not have, in order."""
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from new_keys(value, stock.get(name, CfgNode()), f"{path}{name}.")
        elif name not in stock:
            yield path + name, value


def page() -> str:
    cfg = get_cfg()
    config.add_maskrcnnpp_config(cfg)
    texts = texts_of_keys(inspect.getsource(config))
    nodes: dict[str, list[tuple[str, object]]] = {}
    for key, default in new_keys(cfg, get_cfg()):
        node, _, name = key.rpartition(".")
        nodes.setdefault(node, []).append((name, default))
    lines = [INTRODUCTION]
    for node, keys in sorted(nodes.items()):
        lines += [f"## {node}", ""]
        if about := texts.get(node):
            lines += [about.replace("<br>", "\n\n"), ""]
        lines += ["| key | default | meaning |", "|:--|:--|:--|"]
        for name, default in keys:
            text = texts[f"{node}.{name}"].replace("|", "\\|")
            lines.append(f"| `{name}` | `{_yaml(default)}` | {text} |")
        lines.append("")
    return "\n".join(lines)


def _yaml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')


if __name__ == "__main__":
    write_text(PAGE, page())
