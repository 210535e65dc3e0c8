"""A site's configuration as a set holds it, to be changed by tests."""

import json
from typing import Any

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db)"
SECRETS = ("s3cret-word", "Host=db;Password=hunter2", "bonjour-value")
SITE_ID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/sites/shop"


def slot(**changes: Any) -> dict[str, Any]:
    return {
        "settings": {
            "GREETING": "bonjour-value",
            "API_KEY": "s3cret-word",
            "PASSWORD": REFERENCE,
            "SLIPWAY_RELEASE": "sha256:then",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=sha256:then",
        },
        "connection_strings": {"Db": {"type": "PostgreSQL", "value": "Host=db;Password=hunter2"}},
        "configuration": {
            "alwaysOn": True,
            "healthCheckPath": "/ready",
            "linuxFxVersion": "DOCKER|r.io/shop@sha256:then",
        },
        "identity": {},
    } | changes


def document(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "site": {
            "resource_id": SITE_ID,
            "sticky": {"app_settings": ["API_KEY"], "connection_strings": ["Db"], "storage": []},
        },
        "slots": {"production": slot(), "blue": slot(), "green": slot()},
        "left_out": [],
    }
    return found | changes


def stored(found: dict[str, Any]) -> bytes:
    return json.dumps(found).encode()
