"""Compiles our code and the tests once; else every test worker and every child process does it.

What it leaves in `__pycache__` is read where nothing may be written as well
(PYTHONDONTWRITEBYTECODE). Tests are compiled as pytest does, which rewrites their asserts; it
offers no way to do that alone, so that its own functions are called; its version is locked.
"""

import compileall
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from _pytest.assertion import rewrite

ROOT: Final = Path(__file__).parents[1]
CODE: Final = ("controller", "sandbox", "tests", "bench", "tools")
ANY: Final = "tests/test_traps.py"
_read: Final[Any] = getattr(rewrite, "_read_pyc")  # noqa: B009 - the rewriter's own, see above
_compile: Final[Any] = getattr(rewrite, "_rewrite_test")  # noqa: B009
_write: Final[Any] = getattr(rewrite, "_write_pyc")  # noqa: B009


def main() -> None:
    """Compile what has changed since it was compiled."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    tests = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "tests").rglob("conftest.py")]
    stale = [test for test in tests if _read(test, _compiled(test)) is None]
    if stale:
        # In passing it compiles the plugins' modules, whose asserts are rewritten as well.
        pytest = [sys.executable, "-m", "pytest", "--collect-only", "-qq", ANY]
        plugins = subprocess.Popen(pytest, cwd=ROOT, stdout=subprocess.DEVNULL)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_rewrite, stale, chunksize=4))
        plugins.wait()
    for name in CODE:
        compileall.compile_dir(ROOT / name, quiet=2, workers=0)


def _compiled(test: Path) -> Path:
    return Path(rewrite.get_cache_dir(test), test.stem + rewrite.PYC_TAIL)


def _rewrite(test: Path) -> None:
    source_hash, code = _compile(test, None)
    _compiled(test).parent.mkdir(exist_ok=True)
    _write(None, code, source_hash, _compiled(test))


if __name__ == "__main__":
    main()
