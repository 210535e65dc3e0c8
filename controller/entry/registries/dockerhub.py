"""Docker Hub: a webhook that names a tag and no digest, and is sent once.

Source: docs.docker.com/docker-hub/repos/manage/webhooks. ``callback_url`` is never called.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from controller.entry.http import json_value
from controller.entry.registries.artifacts import judge
from controller.entry.registries.pushes import DOCKER_HUB, Notice
from controller.entry.registries.reading import Loose, Tag, Text, incomplete, moment, validated


class _Pushed(Loose):
    tag: Tag = ""
    pushed_at: Any = None
    media_type: Text = ""


class _Repository(Loose):
    repo_name: Text = ""
    namespace: Text = ""
    name: Text = ""


class _Webhook(Loose):
    push_data: _Pushed
    repository: _Repository = Field(default_factory=_Repository)


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:  # noqa: ARG001 - one form for all
    """Return the push; its digest is for the registry to tell.

    Raises:
        MalformedError: not such a webhook.
    """
    said = validated(_Webhook, json_value(body))
    name = _name_of(said.repository)
    if not name:
        raise incomplete("names no repository")
    pushed = said.push_data
    return (
        judge(
            registry=DOCKER_HUB,
            repository=name,
            digest=None,
            tag=pushed.tag,
            media_type=pushed.media_type,
            pushed_at=moment(pushed.pushed_at),
        ),
    )


def _name_of(repository: _Repository) -> str:
    if repository.repo_name:
        return repository.repo_name
    return f"{repository.namespace}/{repository.name}".strip("/") if repository.name else ""
