"""The messages of reflection.proto, as classes made from its compiled description."""

from dragoman.proto.described import described, message_classes

DESCRIPTOR = described("reflection")
globals().update(message_classes(DESCRIPTOR))
