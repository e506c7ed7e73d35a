"""MkDocs hook: whatever the documents link to outside `docs/` becomes part of the site, under `project/`.

On disk and on a forge links lead to files where they lie (`../PRIVACY.md`, `../deploy/compose/gpu.yaml`).
Here each of those files gets a place in the site, and the links are led there, so that none is dead.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# The target of `[words](target#anchor)` and `![words](target)`, where it is a file of ours.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[/#])[^)\s#]+(?=(?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file that is linked from a document, and from the documents among those, to any depth."""
    read = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    for document in read:
        for target in targets(document):
            uri = in_site(target)
            if files.get_file_from_path(uri) or not (ROOT / target).is_file():
                continue  # what is not there MkDocs reports, as it does for any link
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
            if target.endswith(".md"):
                read.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Lead the links of one document to where their files stand in the site."""
    here = page.file.src_uri
    document = in_project(here)

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), link[0]))
        return posixpath.relpath(in_site(target), posixpath.dirname(here) or ".")

    return LINK.sub(led, markdown)


def targets(document: str) -> Iterator[str]:
    """Paths in the project that a document links to."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in LINK.findall(text):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(document), link))


def in_site(path: str) -> str:
    """Where a file of the project stands in the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"project/{path}"


def in_project(uri: str) -> str:
    """The reverse of `in_site`."""
    return uri.removeprefix("project/") if uri.startswith("project/") else f"docs/{uri}"
