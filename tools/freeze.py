"""Freezes what this version stores, for the tests of later ones: tests/upgrades/vVERSION/.

    python tools/freeze.py 0.1.0            write it; once, before the version is released
    python tools/freeze.py 0.1.0 --again    write it anew: only while nobody runs that version

Released folders never change. What must happen when a form does: docs/upgrading.md.
"""

import argparse
import asyncio
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


class FreezeError(SystemExit):
    """Nothing was written; the text says why."""


def checked_target(version: str, *, again: bool, root: Path = ROOT) -> Path:
    """Return the folder to write to.

    Raises:
        FreezeError: the program is of another version, or this one was released or frozen.
    """
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if declared != version:
        raise FreezeError(f"This is Slipway {declared}, not {version}: check out its tag.")
    target = root / "tests" / "upgrades" / f"v{version}"
    if f"\n## [{version}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise FreezeError(f"{version} is released (CHANGELOG.md): what it stores is out there.")
    if target.exists() and not again:
        raise FreezeError(f"{target} is there already; --again, while nobody runs {version}.")
    return target


async def _freeze(target: Path) -> None:
    from sandbox.storage import Storage  # noqa: PLC0415 - not before the arguments are checked
    from sandbox.tls import create_authority  # noqa: PLC0415
    from tests.upgrades.freezing import Tables, freeze  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        authority = create_authority(Path(directory))
        async with Storage(authority, Path(directory) / "azurite") as storage:
            await freeze(Tables(storage, authority), target)


def main() -> None:
    """Freeze, and say how much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version")
    parser.add_argument("--again", action="store_true", help="write over what is there")
    given = parser.parse_args()
    target = checked_target(given.version, again=given.again)
    asyncio.run(_freeze(target))
    files = [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{target.relative_to(ROOT)}: {len(files)} files, {size:,} bytes")


if __name__ == "__main__":
    main()
