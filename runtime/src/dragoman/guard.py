"""Guards: where tokens are configured, a path is answered only to who presents one; before admission, and before a body is read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Sequence

from dragoman.asgi import App, Receive, Scope, Send
from dragoman.auth import Tokens, admin_tokens_of, tokens_of
from dragoman.dialects import DIALECTS, OPTIONS
from dragoman.dialects.dialect import Answer, Kept, Predict, Reply, Request, Surface, bearer, error_reply
from dragoman.errors import CallError, Forbidden, Unauthorized, UnknownToken
from dragoman.exchange import Worker, request_of, send_reply
from dragoman.registry import Registry

Check = Callable[[Request], None]  # raises what keeps the request out
Shape = Callable[[CallError, Request], Reply]  # of an error
Credentials = Callable[[Request], str]  # the token that it presents; raises `Unauthorized`


class Guards:
    """Who may ask what, of the models that one process serves. A check is None where everybody may."""

    def __init__(self, models: Registry, worker: Worker) -> None:
        self._worker = worker
        self._users = {name: tokens for name, model in models.items() if (tokens := tokens_of(model.manifest)) is not None}
        self._admins = {name: tokens for name, model in models.items() if (tokens := admin_tokens_of(model.manifest)) is not None}
        self._speaking = {option: {n for n, m in models.items() if option in m.dialects} for option in set(OPTIONS.values())}

    def predict(self, app: App, dialect: str, surface: Surface, predict: Predict | Kept) -> App:
        """A predict path, past the check of its model's tokens."""
        check = self.of_model(predict.model.name, surface.credentials)
        error = (predict.error if isinstance(predict, Predict) else None) or DIALECTS[dialect].error
        return app if check is None else Guarded(app, check, error, self._worker, (predict.model.name, dialect))

    def answer(self, app: App, dialect: str, surface: Surface, answer: Answer) -> App:
        """A path that the dialect answers by itself, past the check that it names."""
        model = answer.model.name if answer.model is not None else ""
        shape: Shape = DIALECTS[dialect].error
        credentials, error = (bearer_or_basic, _offering_basic(shape)) if answer.browsed else (surface.credentials, shape)
        check: Check | None = None
        if answer.admin:
            check = self.of_admin(model, credentials)
        elif answer.guarded:
            check = self.of_model(model, credentials) if model else self.of_dialect(dialect, credentials)
        return app if check is None else Guarded(app, check, error, self._worker, ("", dialect))

    def docs(self, app: App) -> App:
        """What is the runtime's own. Browsers ask for the token as a password, and send it as Basic."""
        check = self._one_of(self._users, bearer_or_basic)
        return app if check is None else Guarded(app, check, _offering_basic(lambda error, _: error_reply(error)), self._worker, ("", ""))

    def of_model(self, name: str, credentials: Credentials) -> Check | None:
        """One of the model's own tokens."""
        return self._one_of({name}, credentials)

    def of_dialect(self, name: str, credentials: Credentials) -> Check | None:
        """For paths of no one model: a token of any model that speaks the dialect."""
        return self._one_of(self._speaking[OPTIONS[name]], credentials)

    def of_admin(self, name: str, credentials: Credentials) -> Check:
        """One of the model's admin tokens; where it has none, nobody may."""
        if name in self._admins:
            return _Presented([self._admins[name]], credentials)
        return _SwitchedOff(self.of_model(name, credentials))

    def of_all(self) -> Check | None:
        """For what is no model's and no dialect's: a token of any model."""
        return self._one_of(self._users, bearer)

    def all_need_a_token(self, dialect: str) -> bool:
        """Whether no model that speaks the dialect is open."""
        return self._speaking[OPTIONS[dialect]] <= self._users.keys()

    @property
    def configured(self) -> bool:
        """Whether any model has tokens, or admin tokens."""
        return bool(self._users or self._admins)

    def _one_of(self, names: Collection[str], credentials: Credentials) -> Check | None:
        tokens = [self._users[name] for name in self._users if name in names]
        return _Presented(list(dict.fromkeys(tokens)), credentials) if tokens else None


class _Presented:
    """Asks a request for one of some tokens."""

    def __init__(self, tokens: Sequence[Tokens], credentials: Credentials) -> None:
        self._tokens, self._credentials = tokens, credentials

    def __call__(self, request: Request) -> None:
        """Raises `Unauthorized`."""
        token = self._credentials(request)
        accepted = False
        for tokens in self._tokens:
            accepted |= tokens.accepts(token)
        if not accepted:
            raise UnknownToken("the token is not one that is accepted here")


class _SwitchedOff:
    """What needs an admin token where none is configured; whether it is there is told only to who may ask the model."""

    def __init__(self, first: Check | None) -> None:
        self._first = first

    def __call__(self, request: Request) -> None:
        if self._first is not None:
            self._first(request)
        raise Forbidden(
            "loading and unloading models is off: it needs an admin token, and none is configured (spec.serving.auth.adminTokens)"
        )


class Guarded:
    """An ASGI application that is reached only past a check."""

    def __init__(
        self, app: App, check: Check, error: Callable[[CallError, Request], Reply], worker: Worker, labels: tuple[str, str]
    ) -> None:
        """`labels`: model and dialect, as refused requests are counted."""
        self._app, self._check, self._error, self._worker, self._labels = app, check, error, worker, labels

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        try:
            self._check(request)
        except CallError as error:
            self._worker.note(error, request, entered=False)
            reply = self._error(error, request)
        else:
            await self._app(scope, receive, send)
            return
        await send_reply(send, reply, request.request_id)
        self._worker.observe(*self._labels, reply.status, request.started, request)


def bearer_or_basic(request: Request) -> str:
    """The token of `Authorization: Bearer <token>`, or `Basic`, where it is the password of any user. Raises `Unauthorized`."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() == "basic":
            return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        return bearer(request)
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized("the credentials are not those of Basic: base64 of user:token") from None


def _offering_basic(shape: Shape) -> Shape:
    """A browser asks for a password only where Basic is offered."""

    def refusal(error: CallError, request: Request) -> Reply:
        if isinstance(error, Unauthorized):
            error.headers = (("www-authenticate", 'Bearer, Basic realm="Dragoman"'),)
        return shape(error, request)

    return refusal
