"""Markdown with pictures as one HTML file."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import markdown
from markdown.treeprocessors import Treeprocessor

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84em; margin: 2em auto; padding: 0 1em;
       color: #1c1c1c; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { background: #f5f5f5; } img { max-width: 100%; } code, pre { background: #f5f5f5; }
pre { padding: .7em; overflow-x: auto; }"""


def plain_text(text: Any) -> str:
    """Text of the data as text of a page of Markdown: no HTML, table, link or style comes of it."""
    escaped = html.escape(" ".join(str(text).split()))
    for mark in "|*`[]\\":
        escaped = escaped.replace(mark, f"&#{ord(mark)};")
    return escaped


def code_text(text: Any) -> str:
    """Text of the data as code of a page of Markdown."""
    return f"`{' '.join(str(text).replace('`', '?').split())}`"


class _OwnLinks(Treeprocessor):
    """Pictures of the page alone, and links to files, web pages and places in the page."""

    def __init__(self, pictures: Collection[str]) -> None:
        super().__init__()
        self._pictures = pictures

    def run(self, root: Element) -> None:
        for element in root.iter():
            if element.tag == "img" and element.get("src") not in self._pictures:
                element.tag = "span"
                element.attrib.clear()
            address = element.get("href", "")
            if ":" in address and not address.startswith(("https://", "http://")):
                del element.attrib["href"]


def page_html(text: str, pictures: Mapping[str, bytes], title: str) -> str:
    """The page as one HTML file, with the pictures inside.

    Args:
        text: Markdown.
        pictures: PNG of each file name that the text shows.
        title: of the page.
    """
    converter = markdown.Markdown(extensions=["tables", "fenced_code", "toc"])
    # names of files and data sets are in the text: what looks like HTML is shown, not obeyed
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    converter.treeprocessors.register(_OwnLinks(pictures), "own_links", 0)
    body = converter.convert(text)
    for name, content in pictures.items():
        data = base64.b64encode(content).decode("ascii")
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{data}"')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
