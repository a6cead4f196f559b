"""The messages of open_inference.proto, as classes made from its compiled description."""

from dragoman.proto.described import described, message_classes

DESCRIPTOR = described("open_inference")
globals().update(message_classes(DESCRIPTOR))
