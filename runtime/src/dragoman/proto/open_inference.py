"""The messages of open_inference.proto, as classes made from its compiled description.

They are in a descriptor pool of their own. What protoc writes for Python would go into the process's default pool, where a second copy
of the protocol (tritonclient brings one) is an error, and would tie this distribution to one major version of protobuf.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def _described() -> Any:
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorSet.FromString((files(__package__) / "open_inference.binpb").read_bytes())
    for file in described.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName("open_inference.proto")


DESCRIPTOR = _described()
globals().update({name: message_factory.GetMessageClass(message) for name, message in DESCRIPTOR.message_types_by_name.items()})
