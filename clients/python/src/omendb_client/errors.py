"""What can go wrong: one exception per status code of the service.

Every error carries `code` (a grpc.StatusCode), `reason` (a word for programs, such as
COLLECTION_NOT_FOUND; empty when the error comes from the transport and not from the server) and
`message` (a sentence that names field, value and limit). Where the server lacks memory or disk
(MEMORY_LIMIT, DISK_FULL) `figures` has bytes "used", "limit" and "needed", and `retry_after_s` says
when another try may be worth it.
"""
from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

_DETAILS_KEY = "grpc-status-details-bin"


class OmenError(Exception):
    """Any failure of a call; the subclasses are for codes that a program may tell apart."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, reason: str = "", code: grpc.StatusCode | None = None) -> None:
        if code is not None:
            self.code = code
        self.reason = reason
        self.message = message
        self.figures: dict[str, int] = {}
        self.retry_after_s: float | None = None
        label = f"{self.code.name} {reason}" if reason else self.code.name
        super().__init__(f"{label}: {message}")


class InvalidArgument(OmenError, ValueError):
    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(OmenError, LookupError):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(OmenError):
    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(OmenError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(OmenError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Aborted(OmenError):
    code = grpc.StatusCode.ABORTED


class Unimplemented(OmenError, NotImplementedError):
    code = grpc.StatusCode.UNIMPLEMENTED


class Unavailable(OmenError, ConnectionError):
    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(OmenError, TimeoutError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(OmenError):
    code = grpc.StatusCode.CANCELLED


class DataLoss(OmenError):
    code = grpc.StatusCode.DATA_LOSS


class Internal(OmenError):
    code = grpc.StatusCode.INTERNAL


_BY_CODE: dict[grpc.StatusCode, type[OmenError]] = {
    kind.code: kind for kind in OmenError.__subclasses__()
}


def make(code: grpc.StatusCode, message: str, reason: str = "") -> OmenError:
    """The exception of a status code."""
    kind = _BY_CODE.get(code)
    return kind(message, reason) if kind else OmenError(message, reason, code)


def from_rpc(error: grpc.RpcError) -> OmenError:
    """Translates what grpcio raised."""
    code = error.code() if callable(getattr(error, "code", None)) else grpc.StatusCode.UNKNOWN
    message = error.details() if callable(getattr(error, "details", None)) else str(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    try:
        for detail in _details(error):
            for known in (info, retry):
                if detail.Is(known.DESCRIPTOR):
                    detail.Unpack(known)
    except DecodeError:
        pass  # an intermediary's own format: the code and the sentence still hold
    made = make(code, message or "", info.reason)
    made.figures = {key: int(value) for key, value in info.metadata.items() if value.isdigit()}
    if retry.HasField("retry_delay"):
        made.retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return made


def _details(error: grpc.RpcError) -> list:
    status = status_pb2.Status()
    metadata = getattr(error, "trailing_metadata", lambda: None)()
    for key, value in metadata or ():
        if key == _DETAILS_KEY:
            status.ParseFromString(value)
    return list(status.details)
