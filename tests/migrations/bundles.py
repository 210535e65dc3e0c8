"""Makes bundles for tests, and reads the corpus."""

from dataclasses import dataclass
from pathlib import Path

from controller.migrations.bundle import Bundle
from controller.migrations.reading import manifest_of, read_bundle

CORPUS = Path(__file__).parent / "corpus"
SAMPLES = Path(__file__).parent / "samples"
THEMES = sorted(path.stem for path in CORPUS.glob("*.sql") if path.stem != "before")


def bundle_of(*ups: str, downs: dict[int, str] | None = None) -> Bundle:
    """Return a bundle of SQL migrations 001_step, 002_step, ... with these up scripts."""
    files = {f"{n:03}_step.up.sql": up.encode() for n, up in enumerate(ups, start=1)}
    for n, down in (downs or {}).items():
        files[f"{n:03}_step.down.sql"] = down.encode()
    return read_bundle({**files, "manifest.json": manifest_of(files)})


@dataclass(frozen=True, slots=True)
class Case:
    """One statement of the corpus and what is expected of it."""

    theme: str
    line: int
    sql: str
    kind: str
    locks: dict[str, str]
    codes: list[str]
    also: list[str]

    def __str__(self) -> str:
        return f"{self.theme}:{self.line} {self.sql[:50]}"


def cases() -> list[Case]:
    """Return all statements of the corpus."""
    return [case for theme in THEMES for case in _of(theme)]


def _of(theme: str) -> list[Case]:
    lines = (CORPUS / f"{theme}.sql").read_text().splitlines()
    return [
        _case(theme, number, lines[number - 2], lines[number - 1])
        for number in range(2, len(lines) + 1, 2)
    ]


def _case(theme: str, line: int, comment: str, sql: str) -> Case:
    kind, locks, codes, *also = comment.removeprefix("-- ").split(" | ")
    return Case(
        theme=theme,
        line=line,
        sql=sql,
        kind=kind,
        locks=dict(part.split(" ", 1) for part in _list(locks)),
        codes=_list(codes),
        also=_list(also[0]) if also else [],
    )


def _list(text: str) -> list[str]:
    return [] if text == "-" else text.split(", ")
