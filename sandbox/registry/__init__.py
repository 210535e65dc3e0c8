"""A container registry on loopback: OCI distribution API, ACR's tokens, ACR's events."""

from sandbox.registry.client import RegistryClient, push_image
from sandbox.registry.events import PushEvent
from sandbox.registry.image import ImageSpec
from sandbox.registry.server import Registry
from sandbox.registry.webhook import WebhookSender

__all__ = ["ImageSpec", "PushEvent", "Registry", "RegistryClient", "WebhookSender", "push_image"]
