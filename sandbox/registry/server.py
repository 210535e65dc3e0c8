"""The registry's HTTPS server: the OCI distribution API over a `Store`."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.registry.auth import TokenService
from sandbox.registry.errors import RegistryError, digest_invalid, upload_unknown
from sandbox.registry.events import Action, PushEvent
from sandbox.registry.faults import RegistryFaults
from sandbox.registry.media_types import OCI_INDEX
from sandbox.registry.store import DIGEST, Manifest, Store, digest_of
from sandbox.tls import Authority
from sandbox.web import WebServer

Listener = Callable[[PushEvent], Awaitable[object]]

_LOG = logging.getLogger(__name__)
_LARGEST_BODY = 512 * 1024 * 1024


class Registry:
    """One registry.

    Each listener in ``on_push`` is called, beside the request, for every manifest that comes or
    goes. ``requests`` counts by (method, kind); kinds are ping, exchange, token, catalog, tags,
    manifest, referrers, blob, upload. *login_server_name* is the host that events carry, by
    default the real one. One that is older than OCI 1.1 does not *list_referrers*.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        login_server_name: str | None = None,
        anonymous_pull: bool = False,
        access_token_seconds: int = 75 * 60,
        lists_referrers: bool = True,
    ) -> None:
        self.on_push: list[Listener] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        self.faults = RegistryFaults()
        self.tokens = TokenService(
            anonymous_pull=anonymous_pull, access_token_seconds=access_token_seconds
        )
        self._store = Store()
        self._login_server_name = login_server_name
        self.lists_referrers = lists_referrers
        self._announcements: set[asyncio.Task[None]] = set()
        self._server = WebServer(self._application(), tls=authority.server_context())

    @property
    def url(self) -> str:
        """Base address. Meaningful after `start`."""
        return self._server.url

    @property
    def host(self) -> str:
        """What stands before the first slash of an image reference: ``127.0.0.1:port``."""
        return f"127.0.0.1:{self._server.port}"

    @property
    def login_server(self) -> str:
        """The host that events carry."""
        return self._login_server_name or self.host

    async def start(self, port: int = 0) -> None:
        """Listen on *port*, or on a free one."""
        await self._server.start(port)
        self.tokens.host = self.host

    async def stop(self) -> None:
        """Stop listening and drop announcements still under way. Safe twice."""
        await self._server.stop()
        for task in tuple(self._announcements):
            task.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Return when every listener has been told of every push so far."""
        while self._announcements:
            await asyncio.wait(self._announcements)

    def move_tag(self, repository: str, tag: str, digest: str) -> None:
        """Point *tag* elsewhere without an event, as a push that nobody reported."""
        found = self._store.existing(repository)
        found.tags[tag] = found.find(digest).digest

    def digest(self, repository: str, tag: str) -> str:
        """Return what *tag* points at now."""
        return self._store.existing(repository).find(tag).digest

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        manifest = "/v2/{name:.+}/manifests/{reference}"
        blob, upload = "/v2/{name:.+}/blobs/{digest}", "/v2/{name:.+}/blobs/uploads/{upload}"
        for method, path, kind, handler in (
            ("GET", "/v2/", "ping", self._ping),
            ("POST", "/oauth2/exchange", "exchange", self.tokens.exchange),
            ("POST", "/oauth2/token", "token", self.tokens.token),
            ("GET", "/oauth2/token", "token", self.tokens.anonymous_token),
            ("GET", "/v2/_catalog", "catalog", self._catalog),
            ("GET", "/v2/{name:.+}/tags/list", "tags", self._tags),
            ("GET", manifest, "manifest", self._get_manifest),
            ("HEAD", manifest, "manifest", self._get_manifest),
            ("PUT", manifest, "manifest", self._put_manifest),
            ("DELETE", manifest, "manifest", self._delete_manifest),
            ("GET", "/v2/{name:.+}/referrers/{digest}", "referrers", self._referrers),
            ("POST", "/v2/{name:.+}/blobs/uploads/", "upload", self._begin_upload),
            ("GET", upload, "upload", self._upload_status),
            ("PATCH", upload, "upload", self._add_chunk),
            ("PUT", upload, "upload", self._finish_upload),
            ("DELETE", upload, "upload", self._cancel_upload),
            ("GET", blob, "blob", self._get_blob),
            ("HEAD", blob, "blob", self._get_blob),
            ("DELETE", blob, "blob", self._delete_blob),
        ):
            app.router.add_route(method, path, self._counted(kind, handler))
        return app

    def _counted(self, kind: str, handler: Handler) -> Handler:
        """Count, fail on demand, and turn refusals into answers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests[request.method, kind] += 1
            failure = await self.faults.strike(kind)
            if failure is not None:
                return failure
            try:
                answer = await handler(request)
            except RegistryError as error:
                answer = error.response()
            answer.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
            return answer

        return handle

    def _allow(self, request: web.Request, action: str) -> str:
        """Return the repository's name if the caller may do *action* there."""
        name = request.match_info["name"]
        self.tokens.authorize(request, "repository", name, action)
        return name

    async def _ping(self, request: web.Request) -> web.Response:
        self.tokens.authorize(request)
        return web.json_response({})

    async def _catalog(self, request: web.Request) -> web.Response:
        self.tokens.authorize(request, "registry", "catalog", "*")
        return _listing(request, "repositories", sorted(self._store.repositories), {})

    async def _tags(self, request: web.Request) -> web.Response:
        name = self._allow(request, "pull")
        return _listing(request, "tags", sorted(self._store.existing(name).tags), {"name": name})

    async def _get_manifest(self, request: web.Request) -> web.Response:
        name = self._allow(request, "pull")
        manifest = self._store.existing(name).find(request.match_info["reference"])
        _check_accept(request, manifest)
        return web.Response(
            body=manifest.content,
            content_type=manifest.media_type,
            headers={
                "Docker-Content-Digest": manifest.digest,
                "ETag": f'"{manifest.digest}"',
            },
        )

    async def _put_manifest(self, request: web.Request) -> web.Response:
        name = self._allow(request, "push")
        reference = request.match_info["reference"]
        content = await request.read()
        manifest = self._store.opened(name).add(reference, request.content_type, content)
        self._announce("push", name, manifest, request)
        subject = manifest.subject if self.lists_referrers else None
        return web.Response(
            status=201,
            headers={
                "Location": f"/v2/{name}/manifests/{manifest.digest}",
                "Docker-Content-Digest": manifest.digest,
                **({"OCI-Subject": subject} if subject else {}),
            },
        )

    async def _delete_manifest(self, request: web.Request) -> web.Response:
        """Delete; ACR is silent about a tag that goes while its manifest stays."""
        name = self._allow(request, "delete")
        manifest = self._store.existing(name).remove(request.match_info["reference"])
        if manifest is not None:
            self._announce("delete", name, manifest, request)
        return web.Response(status=202)

    async def _referrers(self, request: web.Request) -> web.Response:
        name = self._allow(request, "pull")
        if not self.lists_referrers:
            raise RegistryError(404, "NOT_FOUND", "there is no such route")
        wanted = request.query.get("artifactType")
        found = self._store.existing(name).referrers(request.match_info["digest"], wanted)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        filtered = {"OCI-Filters-Applied": "artifactType"} if wanted else None
        return web.json_response(index, content_type=OCI_INDEX, headers=filtered)

    async def _get_blob(self, request: web.Request) -> web.Response:
        name, digest = self._allow(request, "pull"), request.match_info["digest"]
        content = self._store.existing(name).blob(digest)
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        begin, end, _ = request.http_range.indices(len(content))
        part = content[begin:end]
        if "Range" in request.headers:  # azure-containerregistry downloads in parts
            headers["Content-Range"] = f"bytes {begin}-{begin + len(part) - 1}/{len(content)}"
        return web.Response(
            body=part,
            status=206 if "Range" in request.headers else 200,
            content_type="application/octet-stream",
            headers=headers,
        )

    async def _delete_blob(self, request: web.Request) -> web.Response:
        name, digest = self._allow(request, "delete"), request.match_info["digest"]
        repository = self._store.existing(name)
        repository.blob(digest)
        del repository.blobs[digest]
        return web.Response(status=202)

    async def _begin_upload(self, request: web.Request) -> web.Response:
        """Begin an upload, finish one in a single request, or mount another repository's blob."""
        name = self._allow(request, "push")
        digest = request.query.get("mount", "")
        source = self._store.repositories.get(request.query.get("from", ""))
        if source is not None and digest in source.blobs:
            return self._keep(name, digest, source.blobs[digest])
        if "digest" in request.query:
            return self._keep(name, request.query["digest"], await request.read())
        upload = uuid.uuid4().hex
        self._store.opened(name)
        self._store.uploads[upload] = bytearray()
        return self._progress(202, name, upload)

    async def _upload_status(self, request: web.Request) -> web.Response:
        name, upload, _ = self._upload(request)
        return self._progress(204, name, upload)

    async def _add_chunk(self, request: web.Request) -> web.Response:
        name, upload, received = self._upload(request)
        chunk = await request.read()
        begin = request.headers.get("Content-Range", "").partition("-")[0]
        if begin and begin != str(len(received)):
            raise RegistryError(
                416,
                "BLOB_UPLOAD_INVALID",
                f"the next chunk begins at {len(received)}",
                headers=self._progress(416, name, upload).headers,
            )
        received += chunk
        return self._progress(202, name, upload)

    async def _finish_upload(self, request: web.Request) -> web.Response:
        name, upload, received = self._upload(request)
        received += await request.read()
        answer = self._keep(name, request.query.get("digest", ""), bytes(received))
        del self._store.uploads[upload]
        return answer

    async def _cancel_upload(self, request: web.Request) -> web.Response:
        _, upload, _ = self._upload(request)
        del self._store.uploads[upload]
        return web.Response(status=204)

    def _upload(self, request: web.Request) -> tuple[str, str, bytearray]:
        name, upload = self._allow(request, "push"), request.match_info["upload"]
        if upload not in self._store.uploads:
            raise upload_unknown()
        return name, upload, self._store.uploads[upload]

    def _progress(self, status: int, name: str, upload: str) -> web.Response:
        last = max(len(self._store.uploads[upload]) - 1, 0)
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Range": f"0-{last}",
            "Docker-Upload-UUID": upload,
        }
        return web.Response(status=status, headers=headers)

    def _keep(self, name: str, digest: str, content: bytes) -> web.Response:
        if not DIGEST.match(digest) or digest_of(content) != digest:
            raise digest_invalid(f"the content's digest is {digest_of(content)}")
        self._store.opened(name).blobs[digest] = content
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return web.Response(status=201, headers=headers)

    def _announce(
        self, action: Action, repository: str, manifest: Manifest, request: web.Request
    ) -> None:
        reference = request.match_info["reference"]
        event = PushEvent(
            action=action,
            media_type=manifest.media_type,
            size=len(manifest.content),
            digest=manifest.digest,
            repository=repository,
            tag=None if DIGEST.match(reference) else reference,
            host=self.login_server,
            user_agent=request.headers.get("User-Agent", ""),
        )
        for listener in self.on_push:
            task = asyncio.create_task(_tell(listener, event))
            self._announcements.add(task)
            task.add_done_callback(self._announcements.discard)


async def _tell(listener: Listener, event: PushEvent) -> None:
    """A listener that fails must not fail the push, nor keep the others from hearing of it."""
    try:
        await listener(event)
    except Exception:  # noqa: BLE001 - listeners are anybody's code
        _LOG.exception("A listener failed on the event %s.", event.id)


def _check_accept(request: web.Request, manifest: Manifest) -> None:
    """Refuse as ACR does when the client cannot read what the reference names."""
    header = ",".join(request.headers.getall("Accept", []))
    accepted = {part.partition(";")[0].strip() for part in header.split(",")} - {""}
    if accepted and not accepted & {"*/*", "application/*", manifest.media_type}:
        raise RegistryError(
            404,
            "MANIFEST_UNKNOWN",
            f"{manifest.media_type} found, but the Accept header does not support it",
        )


def _listing(
    request: web.Request, key: str, names: list[str], more: dict[str, str]
) -> web.Response:
    """Return one page of *names*, with a Link to the next."""
    rest = [name for name in names if name > request.query.get("last", "")]
    try:
        size = int(request.query.get("n", len(rest)))
    except ValueError as error:
        raise RegistryError(400, "PAGINATION_NUMBER_INVALID", "n is not a number") from error
    page = rest[:size]
    headers: dict[str, str] = {}
    if page and len(page) < len(rest):
        following = request.path + f"?last={page[-1]}&n={size}"
        headers["Link"] = f'<{following}>; rel="next"'
    return web.json_response({**more, key: page}, headers=headers)
