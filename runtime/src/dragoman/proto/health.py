"""The messages of health.proto, as classes made from its compiled description."""

from dragoman.proto.described import described, message_classes

DESCRIPTOR = described("health")
globals().update(message_classes(DESCRIPTOR))
