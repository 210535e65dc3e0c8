"""An ``az`` that records what it is told and answers from a script.

Beside it lie ``answers.json`` (a list of rules: ``when``: words in the command, ``out``, ``err``,
``status``, ``times``) and, once it was called, ``calls.jsonl``.
"""

import json
import sys
from pathlib import Path

HERE = Path(sys.argv[0]).parent
ANSWERS = HERE / "answers.json"


def main() -> int:
    arguments = sys.argv[1:]
    given = ""
    if any("/dev/stdin" in word for word in arguments):
        given = Path("/dev/stdin").read_text()
    with (HERE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"argv": arguments, "stdin": given}) + "\n")
    rules = json.loads(ANSWERS.read_text())
    words = f"{' '.join(arguments)} "
    for rule in rules:
        if rule["when"] in words and rule.get("times", 1) > 0:
            if "times" in rule:
                rule["times"] -= 1
                ANSWERS.write_text(json.dumps(rules))
            if "out" in rule:
                sys.stdout.write(json.dumps(rule["out"]))
            sys.stderr.write(rule.get("err", ""))
            return int(rule.get("status", 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
