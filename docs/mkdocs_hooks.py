"""Hooks of MkDocs: the site also has the pages and files outside docs/ that its pages link to.

A link is written as GitHub needs it, relative to the page's file. In the site, a file outside docs/
is copied to files/, and a link to a folder becomes plain text.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Pages outside docs/ and what they are called in the site.
PAGES = {
    "README.md": "index.md",
    "MODEL_ZOO.md": "model-zoo.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "datasets/README.md": "datasets.md",
}
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<path>[^()#\s:]+)(?P<anchor>#[^()\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = Path(page.file.abs_src_path).relative_to(ROOT).as_posix()

    def in_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        if (ROOT / target).is_dir():
            return link["text"]
        if target in PAGES:
            target = PAGES[target]
        elif target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif (ROOT / target).is_file():
            path, target = ROOT / target, f"files/{target}"
            if target not in files.src_uris:
                files.append(File.generated(config, target, abs_src_path=str(path)))
        else:
            return link[0]  # a link that leads nowhere: MkDocs reports it
        target = os.path.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"[{link['text']}]({Path(target).as_posix()}{link['anchor'] or ''})"

    return LINK.sub(in_site, markdown)
