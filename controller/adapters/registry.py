"""Image registries: which digest a reference names."""

import hashlib
from typing import Final

from controller.adapters.registry_calls import MISSING, RegistryCalls, check

_MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class OciRegistry:
    """Asks registries which digest a reference names.

    Args:
        calls: sends the requests.
    """

    def __init__(self, calls: RegistryCalls) -> None:
        self._calls = calls

    async def close(self) -> None:
        """Close what is open."""
        await self._calls.close()

    async def digest_of(self, registry: str, repository: str, reference: str) -> str | None:
        """See `Registry`."""
        path, headers = f"manifests/{reference}", {"Accept": _MANIFESTS}
        answer = await self._calls.call("HEAD", registry, repository, path, headers=headers)
        if answer.status == MISSING:
            return None
        check(answer, registry, f"read {repository}")
        digest = answer.headers.get("Docker-Content-Digest")
        if digest:
            return digest
        # The header is optional for registries; the digest is that of the bytes.
        answer = await self._calls.call("GET", registry, repository, path, headers=headers)
        check(answer, registry, f"read {repository}")
        return f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
