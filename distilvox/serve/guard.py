"""Who may ask: the right host, no other web page, the right key. And headers that protect the page."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distilvox.serve.problems import Turned, answer
from distilvox.serve.settings import Settings

KEY = "X-API-Key"

LOCAL = {"localhost", "127.0.0.1", "::1"}

PROTECTION = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""With every response: the page loads nothing from elsewhere, nobody frames it, and no answer is kept."""


class Guard:
    """Stands before the service and sees every request first.

    A browser sends what any page tells it to, to this machine too. So a request that says another page's origin is
    refused, and so is one for another host's name at a service that has no key (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(PROTECTION)
            await send(message)

        if (fault := self.fault(Headers(scope=scope))) is not None:
            await answer(fault)(scope, receive, protected)
        else:
            await self.app(scope, receive, protected)

    def fault(self, headers: Headers) -> Turned | None:
        """What speaks against a request, by its headers."""
        host, origin = headers.get("host", ""), headers.get("origin")
        allowed = LOCAL | {self.settings.host}
        if self.settings.key is None and (named := urlsplit(f"//{host}").hostname) not in allowed:
            return Turned(
                403,
                "this service answers under its own host's name",
                got=str(named)[:100],
                allowed=", ".join(sorted(allowed)),
            )
        if origin is not None and urlsplit(origin).netloc != host:
            return Turned(403, "this service answers its own page alone", got=origin[:100], allowed=host)
        return None


def check_key(request: Request, settings: Settings) -> None:
    """Refuses a request without the right key. Takes as long for a key that is nearly right as for any other."""
    if settings.key is None:
        return
    said = request.headers.get(KEY)
    if said is None or not hmac.compare_digest(said.encode(), settings.key.encode()):
        raise Turned(
            401,
            "no key" if said is None else "a wrong key",
            allowed=f"the key of this service in the header {KEY}",
            headers={"WWW-Authenticate": f'ApiKey header="{KEY}"'},
        )
