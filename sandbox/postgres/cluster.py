"""A data directory for PostgreSQL, copied from a template that is made once per machine."""

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from sandbox.postgres.binaries import major_version
from sandbox.postgres.owner import Owner
from sandbox.tls import Authority

SUPERUSER = "postgres"
TEMPLATE_PASSWORD = "of-the-template"  # each server replaces it
_SHAPE = 2  # of the template: raise it when what makes it changes
_INITDB_SECONDS = 120.0


class ClusterError(Exception):
    """The data directory could not be made; the message holds what initdb said."""


def make_cluster(
    binaries: Path, owner: Owner, directory: Path, authority: Authority | None
) -> None:
    """Make *directory* a data directory of *owner*."""
    shutil.copytree(_template(binaries, owner), directory, symlinks=True)
    (directory / "pg_hba.conf").write_text(_access(tls=authority is not None))
    if authority is not None:
        shutil.copy(authority.cert_file, directory / "server.crt")
        shutil.copy(authority.key_file, directory / "server.key")
        (directory / "server.key").chmod(0o600)
    if os.getuid() != owner.user:
        owner.give(directory)


def _access(*, tls: bool) -> str:
    """Over TCP with a password alone; with TLS alone where there is TLS, as on Azure."""
    kind = "hostssl" if tls else "host"
    return "".join(
        f"{kind} {database} all 127.0.0.1/32 scram-sha-256\n" for database in ("all", "replication")
    )


def _template(binaries: Path, owner: Owner) -> Path:
    """Return a fresh data directory to copy. initdb takes a second or two; a copy, little."""
    name = f"slipway-postgres-{owner.user}-template-{major_version(binaries)}-{_SHAPE}"
    template = Path(tempfile.gettempdir()) / name
    if template.is_dir() and template.stat().st_uid in {os.getuid(), owner.user}:
        return template
    making = Path(tempfile.mkdtemp(prefix="slipway-postgres-making-"))
    try:
        _initialize(binaries, owner, making)
        with suppress(OSError):  # another process was first
            (making / "data").rename(template)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return template


def _initialize(binaries: Path, owner: Owner, making: Path) -> None:
    password = making / "password"
    password.write_text(TEMPLATE_PASSWORD)
    if os.getuid() != owner.user:
        owner.give(making)
    command = [
        str(binaries / "initdb"),
        f"--pgdata={making / 'data'}",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--wal-segsize=1",
        "--no-sync",
        "--no-instructions",
    ]
    said = subprocess.run(
        owner.command(command),
        cwd=making,
        capture_output=True,
        text=True,
        timeout=_INITDB_SECONDS,
        check=False,
    )
    if said.returncode:
        raise ClusterError(f"initdb failed:\n{said.stdout}{said.stderr}")
