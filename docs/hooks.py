"""For mkdocs: what the pages link to outside of docs/ becomes a page of the site, below source/.

In: links as GitHub resolves them, from file to file. Out: links from page to page. So the same
Markdown is right in the checkout and on the site, which needs no address of a repository.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(\]\()([^()\s#]+)((?:#[^()\s]*)?(?:\s[^()]*)?\))")
HOME = {"README.md": "docs/index.md"}  # the first page of a checkout, and that of the site
LANGUAGES = {".py": "python", ".yml": "yaml", ".json": "json"}
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


def on_files(files: Any, config: Any) -> Any:
    """A page for every file outside of docs/ that a page, or such a file, links to."""
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    seen = {*pages}
    while pages:
        page = pages.pop()
        for _, link, _ in LINK.findall(_markdown(page)):
            target = _target(page, link)
            if target is None or target in seen:
                continue
            seen.add(target)
            if not target.startswith("docs/"):
                files.append(File.generated(config, _uri(target), content=_content(target)))
                pages.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The links of a page, to pages of the site."""
    uri = page.file.src_uri
    here = uri.removeprefix("source/").removesuffix(".md") if _is_source(uri) else f"docs/{uri}"

    def moved(link: re.Match[str]) -> str:
        target = _target(here, link[2])
        if target is None:
            return link[0]
        return link[1] + posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".") + link[3]

    return LINK.sub(moved, markdown)


def _target(page: str, link: str) -> str | None:
    """What a link leads to, from the root of the checkout; None for an address or nothing."""
    if re.match(r"\w+:", link):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return HOME.get(path, path) if (ROOT / path).exists() else None


def _uri(target: str) -> str:
    """The name of a page in the site: docs/x.md is x.md, others lie below source/."""
    return target.removeprefix("docs/") if target.startswith("docs/") else f"source/{target}.md"


def _is_source(uri: str) -> bool:
    return uri.startswith("source/")


def _markdown(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8") if page.endswith(".md") else ""


def _content(target: str) -> str:
    path = ROOT / target
    if path.is_dir():
        names = sorted(name for name in os.listdir(path) if not name.startswith(("_", ".")))
        return f"{NOT_SEARCHED}# {target}\n\n" + "\n".join(f"- `{name}`" for name in names)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    language = LANGUAGES.get(path.suffix, "text")
    return f"{NOT_SEARCHED}# {target}\n\n````{language}\n{text}\n````\n"
