"""Slipway: progressive delivery for Azure App Service."""

__version__ = "0.1.0"
