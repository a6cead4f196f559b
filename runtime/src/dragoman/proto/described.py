"""Message classes made from the compiled description of a .proto file.

They are in a descriptor pool of their own. What protoc writes for Python would go into the process's default pool, where a second copy
of a protocol (tritonclient brings one) is an error, and would tie this distribution to one major version of protobuf.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def described(name: str, *imported: Any) -> Any:
    """The file descriptor of `<name>.binpb` beside this module; `imported` are the descriptors of the files that it imports."""
    pool = descriptor_pool.DescriptorPool()
    for file in imported:
        pool.AddSerializedFile(file.serialized_pb)
    for file in descriptor_pb2.FileDescriptorSet.FromString((files(__package__) / f"{name}.binpb").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(f"{name}.proto")


def message_classes(descriptor: Any) -> dict[str, Any]:
    """The classes of a file's messages, by their names."""
    return {name: message_factory.GetMessageClass(message) for name, message in descriptor.message_types_by_name.items()}
