"""No test asserts on wall time, those that search for examples neither: machines are busy."""

from hypothesis import settings

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")
