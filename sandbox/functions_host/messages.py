"""The messages of the Functions worker protocol that Microsoft's Python worker library uses.

`azure_functions_runtime` takes the generated protobuf module as an argument and touches nothing of
it but the names and fields below, so this module stands in for it: no gRPC, no code generation.
Names and fields are those of FunctionRpc.proto; a field we do not know raises TypeError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


class TypedData:
    """One value of one kind: ``TypedData(string="x")``, ``TypedData(json="{}")``, or nothing."""

    KINDS = frozenset(
        {
            "string",
            "json",
            "bytes",
            "http",
            "int",
            "double",
            "collection_bytes",
            "collection_string",
            "collection_sint64",
        }
    )

    def __init__(self, **value: object) -> None:
        if len(value) > 1 or not self.KINDS.issuperset(value):
            raise TypeError(f"TypedData takes one of {sorted(self.KINDS)}, got {sorted(value)}.")
        self._kind: str | None = next(iter(value), None)
        self._content: object = value.get(self._kind or "")

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's spelling
        """Return the kind that is set."""
        del group
        return self._kind

    def __getattr__(self, name: str) -> object:
        if name == self._kind:
            return self._content
        raise AttributeError(f"This TypedData holds {self._kind!r}, not {name!r}.")

    def __repr__(self) -> str:
        return f"TypedData({self._kind}={self._content!r})"


@dataclass(kw_only=True)
class RpcHttp:
    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: TypedData = field(default_factory=TypedData)
    status_code: str = ""
    enable_content_negotiation: bool = False
    cookies: "list[RpcHttpCookie] | None" = None


class SameSites:
    """How FunctionRpc.proto numbers a cookie's SameSite attribute. ``None`` is 0, set below."""

    Lax = 1
    Strict = 2
    ExplicitNone = 3


setattr(SameSites, "None", 0)  # the worker asks for it by this name, a keyword in Python


@dataclass(kw_only=True)
class NullableString:
    value: str = ""


@dataclass(kw_only=True)
class NullableBool:
    value: bool = False


@dataclass(kw_only=True)
class NullableDouble:
    value: float = 0.0


@dataclass(kw_only=True)
class Timestamp:
    seconds: int = 0


@dataclass(kw_only=True)
class NullableTimestamp:
    value: Timestamp = field(default_factory=Timestamp)


@dataclass(kw_only=True)
class RpcHttpCookie:
    SameSite: ClassVar[type[SameSites]] = SameSites

    name: str = ""
    value: str = ""
    domain: NullableString | None = None
    path: NullableString | None = None
    expires: NullableTimestamp | None = None
    secure: NullableBool | None = None
    http_only: NullableBool | None = None
    same_site: int = 0
    max_age: NullableDouble | None = None


@dataclass(kw_only=True)
class ParameterBinding:
    name: str = ""
    data: TypedData | None = None

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's spelling
        """Return where the value is: ``data``, never shared memory."""
        del group
        return None if self.data is None else "data"


@dataclass(kw_only=True)
class RpcException:
    source: str = ""
    stack_trace: str = ""
    message: str = ""
    is_user_exception: bool = False
    type: str = ""


@dataclass(kw_only=True)
class StatusResult:
    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1
    Cancelled: ClassVar[int] = 2

    status: int = 1
    exception: RpcException | None = None


@dataclass(kw_only=True)
class BindingInfo:
    inout: ClassVar[int] = 2
    out: ClassVar[int] = 1
    undefined: ClassVar[int] = 0

    type: str = ""
    direction: int = 0
    data_type: int | None = None


@dataclass(kw_only=True)
class RpcRetryOptions:
    max_retry_count: int = 0
    delay_interval: object = None
    minimum_interval: object = None
    maximum_interval: object = None
    retry_strategy: object = None


@dataclass(kw_only=True)
class RpcFunctionMetadata:
    name: str = ""
    function_id: str = ""
    directory: str = ""
    script_file: str = ""
    entry_point: str = ""
    language: str = ""
    is_proxy: bool = False
    managed_dependency_enabled: bool = False
    bindings: Mapping[str, BindingInfo] = field(default_factory=dict[str, BindingInfo])
    raw_bindings: list[str] = field(default_factory=list[str])
    retry_options: RpcRetryOptions | None = None
    properties: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(kw_only=True)
class WorkerMetadata:
    runtime_name: str = ""
    runtime_version: str = ""
    worker_version: str = ""
    worker_bitness: str = ""
    custom_properties: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(kw_only=True)
class WorkerInitRequest:
    host_version: str = ""
    capabilities: Mapping[str, str] = field(default_factory=dict[str, str])
    function_app_directory: str = ""


@dataclass(kw_only=True)
class WorkerInitResponse:
    result: StatusResult
    capabilities: Mapping[str, str] = field(default_factory=dict[str, str])
    worker_metadata: WorkerMetadata | None = None


@dataclass(kw_only=True)
class FunctionsMetadataRequest:
    function_app_directory: str = ""


@dataclass(kw_only=True)
class FunctionMetadataResponse:
    result: StatusResult
    function_metadata_results: list[RpcFunctionMetadata] | None = None
    use_default_metadata_indexing: bool = False


@dataclass(kw_only=True)
class FunctionLoadRequest:
    function_id: str = ""
    metadata: RpcFunctionMetadata | None = None


@dataclass(kw_only=True)
class FunctionLoadResponse:
    result: StatusResult
    function_id: str = ""


@dataclass(kw_only=True)
class RpcTraceContext:
    trace_parent: str = ""
    trace_state: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(kw_only=True)
class RetryContext:
    retry_count: int = 0
    max_retry_count: int = 0
    exception: RpcException | None = None


@dataclass(kw_only=True)
class InvocationRequest:
    invocation_id: str = ""
    function_id: str = ""
    input_data: list[ParameterBinding] = field(default_factory=list[ParameterBinding])
    trigger_metadata: Mapping[str, TypedData] = field(default_factory=dict[str, TypedData])
    trace_context: RpcTraceContext = field(default_factory=RpcTraceContext)
    retry_context: RetryContext = field(default_factory=RetryContext)


@dataclass(kw_only=True)
class InvocationResponse:
    result: StatusResult
    invocation_id: str = ""
    return_value: TypedData | None = None
    output_data: list[ParameterBinding] = field(default_factory=list[ParameterBinding])
