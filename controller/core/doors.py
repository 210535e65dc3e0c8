"""The doors that a shared secret opens, and what the secret is called."""

from typing import Final

REGISTRY_DOORS: Final = ("acr", "dockerhub", "ghcr", "harbor", "oci")
ALERTS: Final = "alerts"


def secret_name(door: str) -> str:
    """Return the Key Vault name of a door's shared secret."""
    return f"webhook-{door}"


def secret_names() -> tuple[str, ...]:
    """Return those of all doors; only the doors in use have one."""
    return tuple(secret_name(door) for door in (*REGISTRY_DOORS, ALERTS))
