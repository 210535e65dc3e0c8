"""The words after ``slipway``, one module each."""

from typing import Final

from controller.cli.verb import Group, Verb
from controller.cli.verbs import (
    abort,
    approve,
    apps,
    backup,
    deploy,
    explain,
    infra,
    migrations,
    pause,
    promote,
    reject,
    resume,
    retry,
    rollback,
    schema,
    status,
    validate,
    wait,
)

VERBS: Final[tuple[Verb | Group, ...]] = (
    validate.VERB,
    schema.VERB,
    apps.VERB,
    status.VERB,
    explain.VERB,
    deploy.VERB,
    wait.VERB,
    rollback.VERB,
    abort.VERB,
    approve.VERB,
    reject.VERB,
    pause.VERB,
    resume.VERB,
    promote.VERB,
    retry.VERB,
    backup.GROUP,
    migrations.GROUP,
    infra.GROUP,
)
