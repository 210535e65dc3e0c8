"""The apps under our care, read again when the text changed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.config.load import ReadFile, load_text
from controller.core.plan import AppId, AppSpec
from controller.ports import Clock


@dataclass(slots=True, kw_only=True)
class TextConfiguration:
    """Parses what *read* returns; looks again after *refresh*.

    *read_file* reads what the text names beside itself, where there is such a place.

    A text that became wrong raises: an app whose configuration cannot be read is not touched.
    Rollouts in flight carry their own copy and go on.
    """

    read: Callable[[], Awaitable[str]]
    name: str
    clock: Clock
    refresh: timedelta = timedelta(seconds=30)
    read_file: ReadFile | None = None
    _files: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _text: str | None = field(default=None, init=False)
    _apps: Mapping[AppId, AppSpec] = field(default_factory=dict[AppId, AppSpec], init=False)
    _checked: datetime | None = field(default=None, init=False)

    async def apps(self) -> Mapping[AppId, AppSpec]:
        """Return every configured app. See `Configuration.apps`."""
        now = self.clock.now()
        if self._checked is not None and now - self._checked < self.refresh:
            return self._apps
        text = await self.read()
        if text != self._text or self._files_changed():
            self._text, self._files = None, {}
            noted = self._noting if self.read_file is not None else None
            self._apps = load_text(text, name=self.name, read_file=noted)
            self._text = text
        self._checked = now
        return self._apps

    def _noting(self, name: str) -> str:
        if self.read_file is None:
            raise AssertionError("nothing is read beside a text that stands alone")
        self._files[name] = self.read_file(name)
        return self._files[name]

    def _files_changed(self) -> bool:
        try:
            return any(self._noted_anew(name) != text for name, text in self._files.items())
        except (OSError, UnicodeDecodeError):
            return True  # loading says what is wrong with it

    def _noted_anew(self, name: str) -> str | None:
        return self.read_file(name) if self.read_file is not None else None
