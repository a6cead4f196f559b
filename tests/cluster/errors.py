"""What can keep a cluster from starting."""

from __future__ import annotations


class ClusterError(Exception):
    """The message names what is missing or what failed, and where its log is."""


class NotHere(ClusterError):
    """This machine lacks something; the message says what, and how to get it."""
