"""What clients were answered, counted by slot and by build."""

from collections import Counter
from typing import NamedTuple


class Answer(NamedTuple):
    """One kind of answer."""

    site: str
    slot: str
    release: str | None  # the answer's x-release-digest
    status_class: str  # "2xx"
    public: bool  # came through the site's public host, not through a slot's own


class Failure(NamedTuple):
    """One kind of request that no container answered; the front door did, or nobody."""

    site: str
    slot: str
    reason: str
    public: bool


class Traffic:
    """Counts since the start or the last `clear`."""

    def __init__(self) -> None:
        self.answers: Counter[Answer] = Counter()
        self.failures: Counter[Failure] = Counter()

    def count(
        self,
        *,
        site: str | None = None,
        slot: str | None = None,
        release: str | None = None,
        status_class: str | None = None,
        public: bool | None = None,
    ) -> int:
        """Return how many answers fit; an argument left out fits all."""
        wanted = (site, slot, release, status_class, public)
        return sum(number for key, number in self.answers.items() if _fits(key, wanted))

    def failed(
        self,
        *,
        site: str | None = None,
        slot: str | None = None,
        reason: str | None = None,
        public: bool | None = None,
    ) -> int:
        """Return how many requests no container answered."""
        wanted = (site, slot, reason, public)
        return sum(number for key, number in self.failures.items() if _fits(key, wanted))

    def table(self) -> dict[tuple[str, str | None, str], int]:
        """Return the answers through public hosts as {(slot, release, status class): count}."""
        table: Counter[tuple[str, str | None, str]] = Counter()
        for answer, number in self.answers.items():
            if answer.public:
                table[answer.slot, answer.release, answer.status_class] += number
        return dict(table)

    def clear(self) -> None:
        """Forget everything."""
        self.answers.clear()
        self.failures.clear()


def _fits(key: tuple[object, ...], wanted: tuple[object, ...]) -> bool:
    return all(want is None or have == want for have, want in zip(key, wanted, strict=True))
