"""The messages of seldon.proto, as classes made from its compiled description; `google.protobuf.Any` is packed and unpacked as ever."""

from google.protobuf import any_pb2

from dragoman.proto.described import described, message_classes

DESCRIPTOR = described("seldon", any_pb2.DESCRIPTOR)
globals().update(message_classes(DESCRIPTOR))
