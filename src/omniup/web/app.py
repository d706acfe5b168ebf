"""Define the HTTP routes of the demo, and the answers to errors. `schemas` defines the bodies of answers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from uuid import UUID

from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import Json
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from omniup import __version__
from omniup.errors import InputError, is_out_of_memory
from omniup.files import SAMPLES, sample_image
from omniup.web.features import similarities
from omniup.web.fields import FieldError, RequestError, field
from omniup.web.jobs import CancelledError, Job, QueueFullError
from omniup.web.language import LANGUAGE, parts, phrases, said, texts, translated, validation_parts
from omniup.web.runs import Kept
from omniup.web.schemas import (
    CompareAnswer,
    CompareConfig,
    FeaturesAnswer,
    FeaturesConfig,
    Health,
    MaskConfig,
    Options,
    Problem,
    Progress,
    Recognition,
    RestoreAnswer,
    RestoreConfig,
    RunAnswer,
    RunConfig,
    Segmentation,
    SimilaritiesAnswer,
    SimilaritiesRequest,
    SimilarityAnswer,
    SimilarityRequest,
    UpsampleAnswer,
    UpsampleConfig,
)
from omniup.web.security import HEADERS, Guard
from omniup.web.service import Service
from omniup.web.settings import Settings
from omniup.web.similarity import similarity

STATIC = Path(__file__).with_name("static")
CHUNK = 2**18
POLL = 0.05
"""Seconds between two looks at what a thread has done."""
OVERHEAD = 2**20
"""Bytes that a request may take beside its files."""

JSON_ANSWER = "application/json"

Problems = dict[int | str, dict[str, Any]]


class NotKeptError(RequestError):
    """No run of this id exists, or it is not kept any more."""

    def __init__(self, id: UUID) -> None:
        super().__init__(
            404, "run_id", "is {id}, which is not kept here: it is too old, was removed, or never was", id=id
        )


def _problems(*statuses: int) -> Problems:
    """Describe the refusals of a route."""
    meanings = {
        400: "The body is not what its content type says.",
        403: "The request comes from a page of another site, or calls this server by a name that is not its own.",
        404: "There is no such run, or it is not kept any more.",
        409: "There is a run of this id, or the run was cancelled.",
        413: "The body is larger than the server accepts.",
        503: "The queue is full; Retry-After says in how many seconds to try again.",
        507: "The server's disk is full.",
    }
    return {status: {"model": Problem, "description": meanings[status]} for status in (403, *statuses)}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the demo's server.

    Args:
        settings: how to serve.
    """
    settings = settings or Settings()
    service = Service(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.warm_up()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    # FastAPI's own pages of documentation load scripts from another host.
    app = FastAPI(
        title="OmniUp", version=__version__, description=__doc__, lifespan=life, docs_url=None, redoc_url=None
    )
    app.state.service = service
    _add_runs(app, service)
    _add_upsampling(app, service)
    _add_restoration(app, service)
    _add_facts(app, service)
    _add_errors(app)
    app.mount("/static", GZipMiddleware(StaticFiles(directory=STATIC)), name="static")
    most = 2 * settings.upload_bytes + OVERHEAD
    app.add_middleware(Guard, hosts=settings.hosts, max_bytes=most, frame_ancestors=settings.frame_ancestors)
    return app


def _add_runs(app: FastAPI, service: Service) -> None:
    @app.post("/api/run", response_model=RunAnswer, responses=_problems(400, 409, 413, 503, 507), tags=["runs"])
    async def run(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM.")],
        config: Annotated[
            Json[RunConfig] | None,
            Form(
                description="A `RunConfig` as JSON.",
                examples=["{}", '{"size": 224, "stride": 14, "preset": "paper"}'],
            ),
        ] = None,
    ) -> Response:
        """Fit kernels to a picture, upsample it and its features in every way, and compare."""
        return await _finished(request, service, await service.submit_run(config or RunConfig(), image))

    @app.post("/api/compare", response_model=CompareAnswer, responses=_problems(400, 409, 413, 503), tags=["runs"])
    async def compare(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM.")],
        config: Annotated[
            Json[CompareConfig] | None,
            Form(description="A `CompareConfig` as JSON.", examples=["{}", '{"methods": [{"method": "bilinear"}]}']),
        ] = None,
    ) -> Response:
        """Give a picture back from its low-resolution version by some methods, side by side."""
        return await _finished(request, service, await service.submit_comparison(config or CompareConfig(), image))

    @app.post(
        "/api/features", response_model=FeaturesAnswer, responses=_problems(400, 409, 413, 503, 507), tags=["features"]
    )
    async def features(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM.")],
        other: Annotated[UploadFile | None, File(description="Another photograph, to find the same things in.")] = None,
        config: Annotated[
            Json[FeaturesConfig] | None,
            Form(description="A `FeaturesConfig` as JSON.", examples=["{}", '{"size": 224, "segments": 4}']),
        ] = None,
    ) -> Response:
        """Upsample the features of one photograph, or of two, by several methods, side by side."""
        images = [each for each in (image, other) if each is not None]
        return await _finished(request, service, await service.submit_features(config or FeaturesConfig(), images))

    @app.post("/api/similarities", responses=_problems(400, 404, 413), tags=["features"])
    async def similar_by_all(wanted: SimilaritiesRequest) -> SimilaritiesAnswer:
        """Compare the features at one pixel with those of all others, and of another photograph, by every method."""
        kept: Kept | None = service.runs.find(wanted.run_id)
        if kept is None or kept.features is None:
            raise NotKeptError(wanted.run_id)
        with field("x"):
            return await service.quickly(similarities, kept.features, wanted)

    @app.get(
        "/api/progress/{run_id}",
        response_class=EventSourceResponse,
        responses=_problems(404)
        | {200: {"description": "Events, whose data are `Progress` as JSON.", "content": {"text/event-stream": {}}}},
        tags=["runs"],
    )
    async def progress(run_id: UUID) -> EventSourceResponse:
        """Follow a run, from its beginning. A run that is not there yet is waited for, some seconds."""
        for _ in range(1 + round(service.settings.patience / POLL)):
            if events := service.jobs.events(run_id):
                return EventSourceResponse(_sent(events))
            await asyncio.sleep(POLL)
        raise RequestError(404, "run_id", "is {id}, and there is no such run", id=run_id)

    @app.delete("/api/runs/{run_id}", status_code=204, responses=_problems(404), tags=["runs"])
    async def delete(run_id: UUID) -> None:
        """Cancel a run, at its next step, or remove what is kept of it."""
        if not service.jobs.cancel(run_id) and not service.runs.remove(run_id):
            raise NotKeptError(run_id)

    @app.get(
        "/api/runs/{run_id}/files/{name}",
        response_class=Response,
        responses=_problems(404, 507)
        | {200: {"content": {"application/octet-stream": {}, "image/png": {}}, "description": "The file."}},
        tags=["runs"],
    )
    async def file(run_id: UUID, name: str) -> Response:
        """Get a file of a run: its `files` has the names."""
        kept = service.runs.find(run_id)
        if kept is None or name not in kept.makers:
            raise NotKeptError(run_id)
        try:
            opened = await service.quickly(kept.open, name)
        except FileNotFoundError as error:
            raise NotKeptError(run_id) from error
        picture = name.endswith(".png")
        headers = {"Content-Length": str(opened.seek(0, io.SEEK_END)), "Cache-Control": "private, max-age=600"}
        if not picture:
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        opened.seek(0)
        media_type = "image/png" if picture else "application/octet-stream"
        return StreamingResponse(_chunks(opened), headers=headers, media_type=media_type)

    @app.post("/api/similarity", responses=_problems(400, 404, 413), tags=["runs"])
    async def similar(wanted: SimilarityRequest) -> SimilarityAnswer:
        """Compare the features at one pixel of a run with those of all others."""
        kept: Kept | None = service.runs.find(wanted.run_id)
        if kept is None or kept.comparison is None:
            raise NotKeptError(wanted.run_id)
        with field("x"):
            return await service.quickly(similarity, kept.comparison, wanted)


def _add_upsampling(app: FastAPI, service: Service) -> None:
    @app.post(
        "/api/upsample",
        response_model=UpsampleAnswer,
        responses=_problems(400, 409, 413, 503, 507),
        tags=["upsampling"],
    )
    async def upsample(
        request: Request,
        image: Annotated[
            UploadFile,
            File(
                description="The image that the signal was computed from: a picture; the bands of a sensor as TIFF, "
                ".npy, .npz or .safetensors."
            ),
        ],
        signal: Annotated[
            UploadFile,
            File(
                description="[C, h, w] or [h, w]: .npy, .npz, .safetensors or a picture; masks as COCO's run lengths, "
                ".json."
            ),
        ],
        config: Annotated[
            Json[UpsampleConfig] | None,
            Form(description="An `UpsampleConfig` as JSON.", examples=["{}", '{"method": "bilinear"}']),
        ] = None,
    ) -> Response:
        """Upsample one's own signal to the resolution of one's own image."""
        job = await service.submit_upsampling(config or UpsampleConfig(), image, signal)
        return await _finished(request, service, job)

    @app.post("/api/recognise", responses=_problems(400, 413), tags=["upsampling"])
    async def recognise(
        image: Annotated[UploadFile, File(description="The image, as for /api/upsample.")],
        signal: Annotated[UploadFile, File(description="The signal, as for /api/upsample.")],
        config: Annotated[
            Json[UpsampleConfig] | None,
            Form(
                description="An `UpsampleConfig` as JSON; what it declares is kept.",
                examples=["{}", '{"grid": [16, 16]}'],
            ),
        ] = None,
    ) -> Recognition:
        """Say what a signal is taken for, before it is upsampled: its type, its layout, its holes."""
        return await service.recognise(config or UpsampleConfig(), image, signal)

    @app.post("/api/mask", response_model=Segmentation, responses=_problems(400, 409, 413, 503), tags=["upsampling"])
    async def mask(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM.")],
        mask: Annotated[UploadFile, File(description="A picture over the whole image, of any size: white inside.")],
        config: Annotated[
            Json[MaskConfig] | None, Form(description="A `MaskConfig` as JSON.", examples=["{}", '{"stride": 8}'])
        ] = None,
    ) -> Response:
        """Average a drawn mask down to the cells of a grid, and upsample it by several methods."""
        return await _finished(request, service, await service.submit_mask(config or MaskConfig(), image, mask))

    @app.get("/api/segmentation/example", response_model=Segmentation, responses=_problems(), tags=["upsampling"])
    async def example() -> Response:
        """Get class probabilities of a bundled photograph, upsampled."""
        return Response(await service.quickly(lambda: service.example), media_type=JSON_ANSWER)


def _add_restoration(app: FastAPI, service: Service) -> None:
    @app.post(
        "/api/restore", response_model=RestoreAnswer, responses=_problems(400, 409, 413, 503, 507), tags=["restoration"]
    )
    async def restore(
        request: Request,
        image: Annotated[UploadFile, File(description="PNG, JPEG, WEBP, BMP, TIFF, GIF or PPM.")],
        config: Annotated[
            Json[RestoreConfig] | None,
            Form(description="A `RestoreConfig` as JSON.", examples=["{}", '{"scale": 4, "prompt": "a street"}']),
        ] = None,
    ) -> Response:
        """Draw what a small, old or compressed picture may have shown."""
        job = await service.submit_restoration(config or RestoreConfig(), image)
        return await _finished(request, service, job, accepted="a smaller scale or tile")


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.api_route("/", methods=["GET", "HEAD"], response_class=FileResponse, include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/options", responses=_problems(), tags=["facts"])
    async def options() -> Options:
        """Return the choices, and their limits."""
        return await service.quickly(service.options)  # which looks for files

    @app.get("/api/health", responses=_problems(), tags=["facts"])
    async def health() -> Health:
        """Return the state of the server."""
        return service.health()

    @app.get(
        "/api/samples/{name}",
        response_class=Response,
        responses=_problems(404) | {200: {"content": {"image/jpeg": {}}, "description": "The photograph."}},
        tags=["facts"],
    )
    async def sample(
        name: str, size: Annotated[int | None, Query(ge=16, le=1024, description="Pixels of the longer side.")] = None
    ) -> Response:
        """Return one of the bundled photographs."""
        if name not in SAMPLES:
            raise RequestError(404, "sample", "is {name!r}", "{samples}", name=name, samples=", ".join(SAMPLES))
        content = await service.quickly(_jpeg, name, size)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "public, max-age=86400"})


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        """Refuse invalid fields by name; what was sent is not sent back."""
        problems = []
        for each in error.errors():
            name = next(part for part in reversed(each["loc"]) if isinstance(part, str))  # not the place in a list
            text, found, both = validation_parts(name, each)
            problems.append(_problem(each["loc"], text, each["type"], found, both))
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(FieldError)
    async def refused(_: Request, error: FieldError) -> JSONResponse:
        place = ("body", *error.field.split("."))
        return JSONResponse({"detail": [_problem(place, said(error), "value_error", parts(error), texts(error))]}, 422)

    @app.exception_handler(RequestError)
    async def unserved(_: Request, error: RequestError) -> JSONResponse:
        headers = {"Retry-After": str(error.seconds)} if isinstance(error, QueueFullError) else None
        return JSONResponse({"detail": said(error), **parts(error), "texts": texts(error)}, error.status, headers)

    @app.exception_handler(StarletteHTTPException)
    async def http(_: Request, error: StarletteHTTPException) -> JSONResponse:
        """Answer what starlette and FastAPI refuse: unknown paths, wrong methods, bodies that are no forms."""
        both = phrases(error.detail)
        return JSONResponse({"detail": both[LANGUAGE.get()], "texts": both}, error.status_code, error.headers)

    @app.exception_handler(CancelledError)
    async def cancelled(_: Request, error: CancelledError) -> JSONResponse:
        return JSONResponse({"detail": translated("cancelled")}, 409)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        """Answer a defect of ours, which the log has in full."""
        failure = InputError("the server", "failed: {type}", type=type(error).__name__)
        return JSONResponse({"detail": said(failure), "texts": texts(failure)}, 500, HEADERS)


def _problem(
    place: Sequence[int | str], text: str, error_type: str, found: dict[str, str], both: dict[str, str]
) -> dict[str, Any]:
    """Describe what is wrong with a field: to FastAPI's keys, its name and the parts of the text are added."""
    return {
        "loc": [*place],
        "msg": text,
        "type": error_type,
        "field": ".".join(map(str, place[1:])),
        **found,
        "texts": both,
    }


async def _finished(
    request: Request, service: Service, job: Job, *, accepted: str = "a smaller size and fewer channels"
) -> Response:
    """Wait for a job, and cancel it where the browser goes away; `accepted` is what needs less memory."""
    future = asyncio.wrap_future(job.future)
    while not future.done():
        await asyncio.wait({future}, timeout=2 * POLL)
        if not future.done() and await request.is_disconnected():
            service.jobs.cancel(job.id)
    try:
        with field("config"):  # what only the computation finds out, such as a fit that diverges
            return Response(future.result(), media_type=JSON_ANSWER)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise FieldError("config", "config", "needs more than there is: out of memory", accepted) from error


async def _sent(events: list[Progress]) -> AsyncIterator[dict[str, str]]:
    """Send the events of a job as they are added, until the last."""
    sent = 0
    while True:
        added = events[sent:]
        for event in added:
            yield {"data": event.model_dump_json(exclude_none=True)}
        sent += len(added)
        if added and added[-1].stage in ("done", "failed", "cancelled"):
            return
        await asyncio.sleep(POLL)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def _jpeg(name: str, size: int | None) -> bytes:
    picture, file = sample_image(name), io.BytesIO()
    if size is not None:
        picture.thumbnail((size, size))
    picture.save(file, format="JPEG", quality=90 if size is None else 80)
    return file.getvalue()
