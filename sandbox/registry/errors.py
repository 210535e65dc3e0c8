"""Refusals in the form of the OCI distribution specification."""

from collections.abc import Mapping

from aiohttp import web


class RegistryError(Exception):
    """One entry of an ``errors`` body."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers

    def response(self) -> web.Response:
        """Return the answer."""
        body = {"errors": [{"code": self.code, "message": str(self), "detail": None}]}
        return web.json_response(body, status=self.status, headers=self.headers)


def manifest_unknown(reference: str) -> RegistryError:
    """No manifest has this tag or digest."""
    return RegistryError(404, "MANIFEST_UNKNOWN", f"manifest {reference} is not found")


def blob_unknown(digest: str) -> RegistryError:
    """The repository has no such blob."""
    return RegistryError(404, "BLOB_UNKNOWN", f"blob {digest} is not found")


def upload_unknown() -> RegistryError:
    """The upload was finished, cancelled, or never begun."""
    return RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")


def digest_invalid(message: str) -> RegistryError:
    """What was sent is not what it was announced as."""
    return RegistryError(400, "DIGEST_INVALID", message)
