"""The paths of the service, and what each answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles

from distilvox import __version__
from distilvox.serve import forms
from distilvox.serve.answers import Embedded, Enrolled, Health, Identified, Listed, Removed, Verified
from distilvox.serve.desk import Desk
from distilvox.serve.guard import KEY, Guard, check_key
from distilvox.serve.problems import RESPONSES, Turned, add_handlers
from distilvox.serve.service import Service
from distilvox.serve.settings import Settings
from distilvox.serve.upload import Upload, read_form

PAGE = Path(__file__).parent / "page"

ABOUT = """Whose voice is it? Recordings go in as a form; nothing of them is kept but, where you enrol somebody, their
embeddings. Every error is JSON: `what` is wrong, what was `got`, what is `allowed`, and the `remedy`."""


def make_app(service: Service, settings: Settings, *, keeps: bool) -> FastAPI:
    """The service as an ASGI application.

    Args:
        service: the model and the book.
        settings: limits and key.
        keeps: whether the book outlives the service; told by /health.
    """
    desk = Desk(settings.threads, settings.queue, settings.wait_seconds)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(
        title="distilvox",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    add_handlers(app)
    app.add_middleware(Guard, settings=settings)
    app.include_router(routes(service, settings, desk), responses=RESPONSES)

    @app.get("/health", summary="What runs here, and the most that it takes")
    async def health() -> Health:
        card = service.verifier.card
        return Health(
            ready=True,
            version=__version__,
            model=str(card.model.get("name")),
            space=service.verifier.space,
            threshold=card.operating_point is not None or card.calibration is not None,
            calibrated=card.calibration is not None,
            keeps=keeps,
            needs_key=settings.key is not None,
            inside=desk.inside,
            most_inside=desk.most,
            most_bytes=settings.most_bytes,
            most_seconds=settings.most_seconds,
            most_files=settings.most_files,
        )

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def routes(service: Service, settings: Settings, desk: Desk) -> APIRouter:
    """What needs the key where there is one: each takes a place at the desk first, then reads, then waits its turn."""

    async def keyed(request: Request) -> None:
        check_key(request, settings)

    scheme = [Security(APIKeyHeader(name=KEY, auto_error=False))] if settings.key else []
    router = APIRouter(dependencies=[Depends(keyed), *scheme])

    async def answered(
        request: Request, fields: forms.Fields, work: Callable[[Upload], Callable[[], Any]]
    ) -> JSONResponse:
        with desk.place():
            job = work(await read_form(request, settings, fields))
            return JSONResponse(asdict(await desk.do(job)))

    @router.post(
        "/embed",
        summary="A recording → its embedding, and how good the recording is",
        response_model=Embedded,
        openapi_extra=forms.body(forms.EMBED, "file"),
    )
    async def embed(request: Request) -> JSONResponse:
        def work(form: Upload) -> Callable[[], Embedded]:
            file = form.one("file")
            return lambda: service.embed(file)

        return await answered(request, forms.EMBED, work)

    @router.post(
        "/verify",
        summary="Are two recordings of one speaker, or is one of them of a person in the book?",
        response_model=Verified,
        openapi_extra=forms.body(forms.VERIFY, "file"),
    )
    async def verify(request: Request) -> JSONResponse:
        def work(form: Upload) -> Callable[[], Verified]:
            file, rate = form.one("file"), form.number("false_accept", 1e-9, 1)
            threshold = form.number("threshold", -1, 1)
            if ("other" in form.files) == ("name" in form.values):
                given = sorted({*form.files, *form.values})
                raise Turned(400, "with what is it to be compared?", got=given, allowed="other, or name")
            if "name" in form.values:
                name = form.text("name")
                return lambda: service.verify_person(file, name, threshold, rate)
            other = form.one("other")
            return lambda: service.verify(file, other, threshold, rate)

        return await answered(request, forms.VERIFY, work)

    @router.post(
        "/enrol",
        summary="A person's recordings → the book: their embeddings, no audio",
        response_model=Enrolled,
        openapi_extra=forms.body(forms.ENROL, "name", "file"),
    )
    async def enrol(request: Request) -> JSONResponse:
        def work(form: Upload) -> Callable[[], Enrolled]:
            name, files, force = form.text("name"), form.some("file"), form.flag("force")
            return lambda: service.enrol(name, files, force)

        return await answered(request, forms.ENROL, work)

    @router.post(
        "/identify",
        summary="Who of the people in the book is it, if anybody?",
        response_model=Identified,
        openapi_extra=forms.body(forms.IDENTIFY, "file"),
    )
    async def identify(request: Request) -> JSONResponse:
        def work(form: Upload) -> Callable[[], Identified]:
            file, top = form.one("file"), round(form.number("top", 1, 100) or 5)
            threshold = form.number("threshold", -1, 1)
            return lambda: service.identify(file, top, threshold)

        return await answered(request, forms.IDENTIFY, work)

    @router.get("/people", summary="Who is in the book", response_model=list[Listed])
    async def people() -> JSONResponse:
        with desk.place():
            return JSONResponse([asdict(one) for one in await desk.do(service.people)])

    @router.delete(
        "/people", summary="Deletes a person, the embeddings' bytes included", response_model=Removed
    )
    async def remove(name: str) -> JSONResponse:
        with desk.place():
            await desk.do(lambda: service.remove(name))
            return JSONResponse({"name": name})

    return router
