"""The apps under our care, read again when the text changed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.config.load import load_text
from controller.core.plan import AppId, AppSpec
from controller.ports import Clock


@dataclass(slots=True, kw_only=True)
class TextConfiguration:
    """Parses what *read* returns; looks again after *refresh*.

    A text that became wrong raises: an app whose configuration cannot be read is not touched.
    Rollouts in flight carry their own copy and go on.
    """

    read: Callable[[], Awaitable[str]]
    name: str
    clock: Clock
    refresh: timedelta = timedelta(seconds=30)
    _text: str | None = field(default=None, init=False)
    _apps: Mapping[AppId, AppSpec] = field(default_factory=dict[AppId, AppSpec], init=False)
    _checked: datetime | None = field(default=None, init=False)

    async def apps(self) -> Mapping[AppId, AppSpec]:
        """Return every configured app. See `Configuration.apps`."""
        now = self.clock.now()
        if self._checked is not None and now - self._checked < self.refresh:
            return self._apps
        text = await self.read()
        if text != self._text:
            self._apps = load_text(text, name=self.name)
            self._text = text
        self._checked = now
        return self._apps
