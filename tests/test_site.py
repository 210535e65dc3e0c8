"""The documentation builds as a site without a warning, and the site needs nobody else."""

import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).resolve().parents[1]
LOADED = {  # what a browser fetches by itself
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and set(found.get("rel", "").split()) & FETCHED_LINKS:
            self.loads.append(found["href"])
        self.loads += [found[name] for name in LOADED.get(tag, ()) if name in found]


@contextmanager
def mkdocs_says() -> Iterator[io.StringIO]:
    """Catch the warnings of MkDocs, whose logger goes its own way."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("mkdocs")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def built(configuration: Path, target: Path) -> str:
    """Build a site and return what MkDocs warned of."""
    with mkdocs_says() as said:
        config = load_config(str(configuration), site_dir=str(target))
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return said.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.setattr("socket.socket.connect", _no_network)
        assert built(ROOT / "mkdocs.yml", target) == ""
    return target


def _no_network(*_: object) -> None:
    raise AssertionError("the build asked the network")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def test_every_page_of_the_documentation_is_there(site: Path) -> None:
    sources = [p for p in (ROOT / "docs").rglob("*.md") if p.name != "README.md"]
    expected = [site / p.relative_to(ROOT / "docs").with_suffix(".html") for p in sources]

    assert len(expected) > 40
    assert [page for page in expected if not page.exists()] == []
    assert (site / "index.html").exists()


def test_every_link_within_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Only the page for what is not found, which is shown anywhere, says where from the root."""
    broken = []
    count = 0
    for file, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            path = unquote(parts.path)
            if file.name == "404.html":
                path = f"{site}{path}"
            target = (file.parent / path).resolve() if path else file
            fine = target.is_file()
            if fine and parts.fragment and target in pages and parts.fragment != "__top":
                fine = unquote(parts.fragment) in pages[target].places
            if not fine:
                broken.append(f"{file.name}: {link}")

    assert count > 4_000
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loaded = {load for page in pages.values() for load in page.loads}
    styles = "".join(p.read_text(encoding="utf-8") for p in site.rglob("*.css"))

    assert any(load.endswith(".css") for load in loaded)
    assert {load for load in loaded if load.startswith(("http:", "https:", "//"))} == set()
    assert "@import" not in styles
    assert "url(http" not in styles.replace('"', "").replace("'", "")
    assert "url(//" not in styles.replace('"', "").replace("'", "")


def test_no_diagram_waits_for_a_script_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    """Elements of class mermaid would make the theme fetch a library."""
    assert [p for p in pages if 'class="mermaid"' in p.read_text(encoding="utf-8")] == []
    assert "unpkg.com" not in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [
        ("[there](nowhere.md)", "nowhere.md"),
        ("[there](README.md#no-such-place)", "no-such-place"),
        ("[there](../nowhere.md)", "nowhere.md"),
        ("![there](no-picture.png)", "no-picture.png"),
    ],
    ids=["page", "anchor", "outside", "picture"],
)
def test_a_broken_link_makes_the_build_fail(
    tmp_path: Path, sabotage: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    small = _small_copy(tmp_path)
    page = small.parent / "docs" / "README.md"

    assert built(small, tmp_path / "good") == ""
    assert (tmp_path / "good" / "repository" / "github" / "release.yml.html").exists()
    page.write_text(f"# Start\n\n{sabotage}\n", encoding="utf-8")
    with mkdocs_says() as said, pytest.raises(Abort):
        built(small, tmp_path / "bad")
    assert complaint in said.getvalue()


def test_a_page_that_the_navigation_forgets_makes_the_build_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    small = _small_copy(tmp_path)
    (small.parent / "docs" / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")

    with mkdocs_says() as said, pytest.raises(Abort):
        built(small, tmp_path / "bad")
    assert "forgotten.md" in said.getvalue()


def _small_copy(place: Path) -> Path:
    """Our configuration and hook over one page, without the theme's weight."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    before, _, rest = text.partition("\ntheme:\n")
    rest = "\nextra:\n" + rest.partition("\nextra:\n")[2].partition("\nnav:\n")[0]
    rest = rest.replace("extra_css:\n  - site.css\n", "")
    rest = "".join(line for line in rest.splitlines(keepends=True) if "- offline" not in line)
    configuration = place / "mkdocs.yml"
    nav = "\nnav:\n  - README.md\n  - repository/CHANGELOG.md\n"
    configuration.write_text(f"{before}\ntheme: mkdocs\n{rest}{nav}", encoding="utf-8")
    (place / "docs").mkdir()
    (place / "tools").mkdir()
    (place / ".github").mkdir()
    (place / ".github" / "release.yml").write_text("on: push\n", encoding="utf-8")
    start = "# Start\n\n[it](../CHANGELOG.md), [that](../.github/release.yml)\n"
    (place / "docs" / "README.md").write_text(start, encoding="utf-8")
    (place / "CHANGELOG.md").write_text("# Changes\n", encoding="utf-8")
    shutil.copy(ROOT / "tools" / "site_hook.py", place / "tools")
    return configuration


def test_the_steps_of_a_list_keep_their_numbers(site: Path) -> None:
    """Python-Markdown alone ends a list at what is indented by three, and begins at 1 again."""
    text = (site / "azure.html").read_text(encoding="utf-8")
    steps = text.partition('id="step-by-step"')[2].partition("<h3")[0]

    assert steps.count("<ol>") == 1
    assert steps.count("<li>") > 5
