"""Say a trouble that lasts once, not at every poll."""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from controller.core.errors import TransientError

_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class Once:
    """Remembers what was said. Another process says it once more."""

    log: logging.Logger
    _said: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])

    def warn(self, key: str, message: str, error: Exception) -> None:
        """Log *message* unless *key* was logged lately; a bug comes with its traceback."""
        if key in self._said:
            return
        self._said[key] = None
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        if isinstance(error, TransientError):
            self.log.warning("%s: %s", message, error)
        else:
            self.log.error("%s", message, exc_info=error)
