"""A server between Marquee and a real Milvus that passes calls on, and answers some of them with errors."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
from pymilvus.grpc_gen import milvus_pb2

from ops.local.ports import HOST

Fault = Any  # a gRPC status code, a SearchResults to answer, or None


class MilvusProxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers searches with the queued faults, one each, or with the result of `fault_of`; passes all other calls on."""

    def __init__(self, uri: str) -> None:
        self.next_faults: deque[Fault] = deque()
        self.fault_of: Callable[[milvus_pb2.SearchRequest], Fault] = lambda _: None
        self.searches = 0
        self._channel = grpc.insecure_channel(urlsplit(uri).netloc)
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        self.uri = f"http://{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def service(self, details: Any) -> Any:
        """gRPC's question for the handler of a call."""
        call = self._channel.unary_unary(details.method)

        def handle(request: bytes, context: Any) -> bytes:
            fault = self._fault(request) if details.method.endswith("/Search") else None
            if isinstance(fault, grpc.StatusCode):
                context.abort(fault, "by a fault of the test")
            if fault is not None:
                return bytes(fault.SerializeToString())
            try:
                answer: bytes = call(request, metadata=context.invocation_metadata(), timeout=30)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def _fault(self, request: bytes) -> Fault:
        self.searches += 1
        if self.next_faults:
            return self.next_faults.popleft()
        return self.fault_of(milvus_pb2.SearchRequest.FromString(request))


def refusal(reason: str, code: int = 65535) -> milvus_pb2.SearchResults:
    """What Milvus answers to a search that it cannot do."""
    answer = milvus_pb2.SearchResults()
    answer.status.code, answer.status.error_code, answer.status.reason = code, 1, reason
    return answer
