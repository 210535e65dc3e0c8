"""The doors that a shared secret opens, the channels that lead out, and their secrets' names."""

from typing import Final

REGISTRY_DOORS: Final = ("acr", "dockerhub", "ghcr", "harbor", "oci")
ALERTS: Final = "alerts"
CHANNELS: Final = ("slack",)  # where people are told of alerts


def secret_name(door: str) -> str:
    """Return the Key Vault name of a door's shared secret."""
    return f"webhook-{door}"


def channel_secret(channel: str) -> str:
    """Return the Key Vault name of a channel's address: who knows it may post."""
    return f"notify-{channel}"


def secret_names() -> tuple[str, ...]:
    """Return those of all doors and channels; only those in use have one."""
    doors = tuple(secret_name(door) for door in (*REGISTRY_DOORS, ALERTS))
    return (*doors, *map(channel_secret, CHANNELS))
