"""What the documentation as a site needs besides MkDocs: its version, its pictures, a last look.

Pages are written to be read in the repository too. So a picture is a mermaid block there, and on
the site the drawing of exactly that block, made beforehand (see `draw.py`). A link may lead out of
``docs``, to a file of the repository: the site shows such files as pages below ``repository``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ELSEWHERE = "repository"
PICTURES = "site/pictures"
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"^ *accTitle: (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
IMAGES = (".png", ".svg", ".jpg")  # pages show those that lie below docs
PUBLIC = re.compile(r"^(?:class |async )?(wren_sessions\.[\w.]+)", re.MULTILINE)
LOADED = {"href": ("link",), "src": ("script", "img", "iframe", "source")}
log = logging.getLogger("mkdocs.hooks")  # `mkdocs build --strict` fails if there are warnings


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say which version of the package the site is about, in the title of every page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    config.site_name = f"{project['name']} {project['version']}"
    return config


# --- files of the repository, as pages ---


def _in_repository(uri: str) -> str:
    """Where the source of a page lies in the repository."""
    if not uri.startswith(f"{ELSEWHERE}/"):
        return f"docs/{uri}"
    path = uri.removeprefix(f"{ELSEWHERE}/")
    return path if (ROOT / path).exists() else path.removesuffix(".md")


def _on_site(path: str) -> str:
    """The source of a page for a file of the repository; its name always ends with ``.md``."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{ELSEWHERE}/{path}" + ("" if path.endswith(".md") else ".md")


def _targets(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The files that a page links to: as it is written, and from the top of the repository."""
    for written in LINK.findall(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), written))
        if (ROOT / target).is_file() and not target.endswith(IMAGES):
            yield written, target


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the repository that pages link to, and those that these link to."""
    waiting = [_in_repository(file.src_uri) for file in files.documentation_pages()]
    seen = {*waiting, "CHANGELOG.md", "CONTRIBUTING.md"}  # these two stand in the navigation
    waiting += ["CHANGELOG.md", "CONTRIBUTING.md"]
    for path in waiting:
        text = (ROOT / path).read_text("utf-8")
        if not path.startswith("docs/"):
            shown = text if path.endswith(".md") else f"# {path}\n\n~~~~~ python\n{text}\n~~~~~\n"
            files.append(File.generated(config, _on_site(path), content=shown))
        if path.endswith(".md"):
            found = dict.fromkeys(target for _, target in _targets(path, text))
            waiting += [each for each in found if each not in seen]
            seen.update(found)
    return files


# --- pages ---


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show pictures as they were drawn, and lead links to the repository to pages of the site."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # the page is the navigation
    here = posixpath.dirname(page.file.src_uri)
    path = _in_repository(page.file.src_uri)
    for written, target in dict(_targets(path, markdown)).items():
        if not (path.startswith("docs/") and target.startswith("docs/")):
            led = posixpath.relpath(_on_site(target), here or ".")
            markdown = markdown.replace(f"]({written}", f"]({led}")
    for block in MERMAID.finditer(markdown):
        name = f"{PICTURES}/{picture_name(block[1])}"
        if not files.get_file_from_path(name):  # its text is shown then
            log.info("%s: a picture has no drawing yet: run docs/site/draw.py", path)
            continue
        titled = TITLE.search(block[1])
        image = f"![{titled[1] if titled else ''}]({posixpath.relpath(name, here or '.')})"
        markdown = markdown.replace(block[0], image + "{ .picture }")
    return markdown


def picture_name(mermaid: str) -> str:
    """The file with the drawing of a mermaid block: another block has another name."""
    return hashlib.sha256(mermaid.encode()).hexdigest()[:12] + ".svg"


# --- the last look ---


class _Seen(HTMLParser):
    """What a page of HTML has to be checked: its anchors, its links, what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"id", "name"}:
                self.ids.add(value or "")
            elif tag == "a" and name == "href":
                self.links.append(value or "")
            elif tag in LOADED.get(name, ()):
                self.loaded.append(value or "")


def on_post_build(config: MkDocsConfig) -> None:
    """Follow every link; no page loads anything from elsewhere, and every public name is shown."""
    site = Path(config.site_dir)
    pages = {file: _Seen(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}
    shown = set().union(*(seen.ids for seen in pages.values()))
    for name in PUBLIC.findall((ROOT / "tests/public_names.txt").read_text("utf-8")):
        if name not in shown:
            log.warning("no page of the API reference shows %s", name)
    for file, seen in pages.items():
        for url in (*seen.loaded, *seen.links):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                if url in seen.loaded:
                    log.warning("%s loads %s: all it needs has to be here", file, url)
                continue
            path = unquote(parts.path) or file.name
            target = Path(os.path.normpath(file.parent / path))
            anchors = pages[target].ids if target in pages else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                log.warning("%s: the link %s leads nowhere", file.relative_to(site), url)
