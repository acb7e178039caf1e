"""Markdown with pictures as one HTML file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping

import markdown

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; max-width: 84em; margin: 2em auto; padding: 0 1em;
       color: #1c1c1c; }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto; }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { background: #f5f5f5; } img { max-width: 100%; } code, pre { background: #f5f5f5; }
pre { padding: .7em; overflow-x: auto; }"""


def page_html(text: str, pictures: Mapping[str, bytes], title: str) -> str:
    """The page as one HTML file, with the pictures inside.

    Args:
        text: Markdown.
        pictures: PNG of each file name that the text shows.
        title: of the page.
    """
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"])
    for name, content in pictures.items():
        data = base64.b64encode(content).decode("ascii")
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{data}"')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
