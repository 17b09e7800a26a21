"""The reference: as little as a grpc.aio server can do and still speak our messages.

python -m bench.echo_server 127.0.0.1:PORT /tastemaker.v1.RecommendationService/Recommend response.bin
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc

from tastemaker.v1 import recommendation_service_pb2 as pb


async def serve(address: str, method: str, response: pb.RecommendResponse) -> None:
    """Answers every call of `method` with `response`, parsed and serialised as a real server must."""

    async def answer(request: pb.RecommendRequest, context: Any) -> pb.RecommendResponse:  # noqa: ARG001  # gRPC's form
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=pb.RecommendRequest.FromString,
        response_serializer=pb.RecommendResponse.SerializeToString,
    )
    _, service, name = method.split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(address)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], pb.RecommendResponse.FromString(Path(sys.argv[3]).read_bytes())))
