"""Asks the example over gRPC, with the message of its own: python ask.py localhost:9000"""

import sys
from pathlib import Path

import grpc
from google.protobuf import message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

sys.path.insert(0, str(Path(__file__).parent / "model"))

from google.protobuf.descriptor_pool import DescriptorPool
from iris_pb2 import IrisPredictRequest


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))  # the server tells its own messages
        request_class, reply_class = (
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"io.seldon.api.rpc.{name}"))
            for name in ("ClassificationRequest", "ClassificationReply")
        )
        request = request_class()
        request.meta.puid = "flower-1"
        request.data.Pack(IrisPredictRequest(f1=5.1, f2=3.5, f3=1.4, f4=0.2))
        ask = channel.unary_unary("/io.seldon.api.rpc.Seldon/Classify", request_class.SerializeToString, reply_class.FromString)
        reply = ask(request, timeout=10)
        print(f"{reply.meta.puid}, answered by {reply.meta.modelName} {reply.meta.variation}")
        for result in reply.predictions:
            print(f"{result.predictedClass:12} {result.prediction:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:9000")
