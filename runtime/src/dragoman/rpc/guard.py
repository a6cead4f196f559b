"""Tokens over gRPC: metadata `authorization: Bearer <token>`, asked for before a call's message is read, where that can be told by then."""

from __future__ import annotations

from dragoman.dialects.dialect import Request, Rpc, bearer
from dragoman.errors import CallError
from dragoman.guard import Check, Guards
from dragoman.rpc.unary import MessageCheck, parsed


class RpcGuards:
    """Who may call what. A check is None where everybody may."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards

    def before(self, dialect: str, rpc: Rpc) -> Check | None:
        """What is asked before the message is read."""
        if not rpc.guarded or rpc.admin or not (rpc.model is None or self._guards.all_need_a_token(dialect)):
            return None
        return self._guards.of_dialect(dialect, bearer)

    def of_message(self, dialect: str, rpc: Rpc) -> MessageCheck | None:
        """What is asked once the message tells its model. That a model is not there is told only to who presents some token."""
        find, guards = rpc.model, self._guards
        if find is None or not rpc.guarded or not guards.configured:
            return None
        anyone = guards.of_dialect(dialect, bearer)

        def check(sent: bytes, request: Request) -> None:
            try:
                name = find(parsed(rpc, sent)).name
            except CallError:
                asked = anyone
            else:
                asked = guards.of_admin(name, bearer) if rpc.admin else guards.of_model(name, bearer)
            if asked is not None:
                asked(request)

        return check

    def reflection(self) -> Check | None:
        """Reflection is documentation; standard health stays open."""
        return self._guards.of_all()
