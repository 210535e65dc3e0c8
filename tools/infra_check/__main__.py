"""python -m tools.infra_check [FOLDER]: tells what is wrong with the templates."""

import argparse
import sys
from pathlib import Path

from tools.infra_check.check import check
from tools.infra_check.policies import check_policies


def main() -> int:
    """Print what all checks find."""
    parser = argparse.ArgumentParser(prog="python -m tools.infra_check", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("infra"))
    parser.add_argument("--no-policies", action="store_true", help="without checkov (10 s)")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    found = check(folder.resolve())
    if not arguments.no_policies:
        found += check_policies(folder.resolve())
    for each in found:
        print(each)
    print(f"{len(found)} finding(s)", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
