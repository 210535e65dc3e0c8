"""What MkDocs does beyond its own when it builds the site.

Lists are read as repository browsers read them, and links out of docs/ stay within the site.

Pages link to files elsewhere in the repository, as ``../infra/README.md``: right in a repository
browser, nowhere on the site. Each such file is put under ``repository/``: Markdown as a page like
any other, a source and the list of a folder as plain pages of their own, so that hundreds of them
cost little. Links to it are turned there.
"""

import html
import posixpath
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

PLACE: Final = "repository"
_ALWAYS: Final = ("CHANGELOG.md",)  # in the navigation, whoever links to it
_LINK: Final = re.compile(
    r"(?P<before>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<to>[^)\s]+)(?P<after>\))"
)
_ITEM: Final = re.compile(r"(?:-|\d+\.) +")
_FENCE: Final = re.compile(r"^ *(`{3,}|~{3,})", re.MULTILINE)
_PLAIN: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{name}</title>
<style>
body {{ max-width: 64rem; margin: 2rem auto; padding: 0 1rem; font-family: sans-serif; }}
pre {{ font-size: .85rem; line-height: 1.4; overflow-x: auto; }}
</style>
</head>
<body>
<h1>{name}</h1>
<pre>{text}</pre>
</body>
</html>
"""


def on_files(files: Files, config: "MkDocsConfig") -> Files:
    """Add a page for every file outside docs/ that a page, or such a page, links to."""
    root, docs = _roots(config)
    waiting = [
        target
        for file in files.documentation_pages()
        for target in _targets(file.content_string, docs / file.src_uri, root)
        if not target.is_relative_to(docs)
    ]
    waiting += [root / name for name in _ALWAYS]
    done: set[Path] = set()
    while waiting:
        target = waiting.pop()
        if target in done:
            continue
        done.add(target)
        files.append(_page(target, root, docs, config))
        if target.suffix == ".md":
            text = target.read_text(encoding="utf-8")
            waiting += [t for t in _targets(text, target, root) if not t.is_relative_to(docs)]
    return files


def on_page_markdown(
    markdown: str,
    *,
    page: "Page",
    config: "MkDocsConfig",
    files: Files,  # noqa: ARG001 - MkDocs hands it over by name
) -> str:
    """Turn the links of a page of docs/ that lead out of it."""
    if page.file.src_uri.startswith(f"{PLACE}/"):
        return _indented(markdown)  # its links were turned when it was made
    root, docs = _roots(config)
    return _indented(_turned(markdown, docs / page.file.src_uri, root, docs))


def _indented(text: str) -> str:
    """Indent what belongs to an item of a list by four.

    Repository browsers want as much as the item's mark is wide, Python-Markdown four; with less it
    ends the list, and the next item is number 1 again.
    """
    lines, width, fence = [], 0, ""
    for line in text.splitlines(keepends=True):
        mark, opens = _ITEM.match(line), _FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif opens and not line.startswith(" "):
            fence, width = opens[1], 0
        elif mark:
            width = len(mark[0])
        elif line.strip() and not line.startswith(" " * (width or 1)):
            width = 0
        inside = width and not mark and line.startswith(" " * width)
        lines.append(" " * 4 + line[width:] if inside else line)
    return "".join(lines)


def _roots(config: "MkDocsConfig") -> tuple[Path, Path]:
    docs = Path(config.docs_dir).resolve()
    return docs.parent, docs


def _address(target: Path, root: Path, docs: Path) -> str:
    """Return where *target* is on the site, as the path of its source."""
    if target.is_relative_to(docs):
        return target.relative_to(docs).as_posix()
    parts = [part.lstrip(".") for part in target.relative_to(root).parts]  # MkDocs leaves .* out
    name = "/".join((PLACE, *parts))
    return name if target.suffix == ".md" else f"{name}.html"


def _page(target: Path, root: Path, docs: Path, config: "MkDocsConfig") -> File:
    name = target.relative_to(root).as_posix()
    address = _address(target, root, docs)
    if target.is_dir():
        return File.generated(config, address, content=_plain(f"{name}/", _entries(target)))
    text = target.read_text(encoding="utf-8")
    if target.suffix == ".md":
        return File.generated(config, address, content=_turned(text, target, root, docs))
    return File.generated(config, address, content=_plain(name, text))


def _plain(name: str, text: str) -> str:
    return _PLAIN.format(name=html.escape(name), text=html.escape(text))


def _entries(folder: Path) -> str:
    return "\n".join(
        sorted(
            f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith((".", "__"))
        )
    )


def _targets(text: str, source: Path, root: Path) -> Iterator[Path]:
    """Yield the existing files of the repository that *text*, the content of *source*, links to."""
    for prose in _prose(text):
        for match in _LINK.finditer(prose):
            target = _file(match["to"], source)
            if target is not None and target.is_relative_to(root) and target.exists():
                yield target


def _turned(text: str, source: Path, root: Path, docs: Path) -> str:
    turn = partial(_turn, source=source, root=root, docs=docs)
    parts = _split(text)
    return "".join(part if is_code else _LINK.sub(turn, part) for part, is_code in parts)


def _turn(match: re.Match[str], *, source: Path, root: Path, docs: Path) -> str:
    target = _file(match["to"], source)
    if target is None or not target.is_relative_to(root) or not target.exists():
        return match[0]  # MkDocs says what is wrong with it
    here = posixpath.dirname(_address(source, root, docs))
    to = posixpath.relpath(_address(target, root, docs), here or ".")
    _, mark, anchor = match["to"].partition("#")
    return f"{match['before']}{to}{mark}{anchor}{match['after']}"


def _file(link: str, source: Path) -> Path | None:
    path = link.partition("#")[0]
    if not path or re.match(r"[a-z]+:", path):
        return None
    return (source.parent / path).resolve()


def _prose(text: str) -> Iterator[str]:
    return (part for part, is_code in _split(text) if not is_code)


def _split(text: str) -> list[tuple[str, bool]]:
    """Split into prose and fenced blocks of code, in order; together they are *text*."""
    parts: list[tuple[str, bool]] = []
    fence, current = "", ""
    for line in text.splitlines(keepends=True):
        match = _FENCE.match(line)
        if match and not fence:
            parts.append((current, False))
            fence, current = match[1], line
        elif match and line.strip() == fence:
            parts.append((current + line, True))
            fence, current = "", ""
        else:
            current += line
    parts.append((current, bool(fence)))
    return parts
