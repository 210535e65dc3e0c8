"""Secrets in a dict."""

from collections.abc import Mapping

from controller.adapters.memory.world import Weather
from controller.core.errors import TransientError


class MemorySecrets:
    """Implements `Secrets`. A fault planned for the operation ``secret`` meets the next call."""

    def __init__(
        self, values: Mapping[str, str] | None = None, *, weather: Weather | None = None
    ) -> None:
        self.weather = weather or Weather()
        self._values = dict(values or {})

    def __repr__(self) -> str:
        return f"MemorySecrets({len(self._values)} secrets)"

    def put(self, name: str, value: str | None) -> None:
        """Give *name* a new value; None takes it away."""
        if value is None:
            self._values.pop(name, None)
        else:
            self._values[name] = value

    async def get(self, name: str) -> str | None:
        """See `Secrets.get`."""
        if self.weather.take("secret"):
            raise TransientError(f"Secret {name!r} cannot be read.")
        return self._values.get(name)
