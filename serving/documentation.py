"""`/docs`, and what `/openapi.json` says beyond what FastAPI finds: bodies that routes read by themselves, errors."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from serving.guard import POLICY
from serving.problems import MEDIA_TYPE
from serving.schemas import SCORE_REQUEST, SENT_READING, SENT_READINGS, ProblemDetails

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

COMPONENTS = "#/components/schemas/"
FILES = "/docs/files"  # of Swagger UI, from a package
FACTS = {
    400: "The body is not JSON, or not an Arrow stream.",
    401: "No valid API key.",
    403: "The key's role is not enough.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "The registry does not allow it; the detail says why.",
    406: "None of the media types that the Accept header takes.",
    413: "Too many bytes, meters or readings.",
    415: "Another media type.",
    422: "A value is not acceptable; `errors` has its path.",
    503: "Not now; Retry-After says when to come back.",
}
USUAL = (400, 401, 403, 422, 503)


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route: the usual ones and those given."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{COMPONENTS}ProblemDetails"}}}
    return {code: {"description": FACTS[code], "content": content} for code in sorted({*USUAL, *codes})}


def body_of(name: str, *binary: str) -> dict[str, Any]:
    """The request body of a route that reads it by itself: JSON in a schema of `_components`, or binary types."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": COMPONENTS + name}}}
    content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in binary}
    return {"requestBody": {"required": True, "content": content}}


def rows_as(name: str, *, description: str = "Rows in order of time.") -> dict[int | str, dict[str, Any]]:
    """The answers of a route with rows: JSON with a list `name`, CSV or Arrow."""
    rows = {
        "type": "object",
        "properties": {
            name: {"type": "array", "items": {"type": "object"}},
            "next": {"type": ["string", "null"], "description": "the cursor of the next page; null on the last"},
        },
        "required": [name, "next"],
    }
    content: dict[str, Any] = {"application/json": {"schema": rows}, "text/csv": {"schema": {"type": "string"}}}
    content["application/vnd.apache.arrow.stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": description, "content": content}, **problems(404, 406)}


def install(app: FastAPI, *, keyed: bool) -> None:
    """Make `/openapi.json` whole and serve `/docs`, with nothing from elsewhere.

    Args:
        app: made without FastAPI's own `/docs`, whose scripts come from a public address.
        keyed: callers need a key.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(_components())
            if keyed:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"key": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    app.mount(FILES, StaticFiles(packages=[("fastapi_swagger", "resources")]))
    page = _page(app.title)

    async def docs(_: Request) -> Response:
        return page

    app.add_route("/docs", docs, include_in_schema=False)


def _page(title: str) -> Response:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=title,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon-32x32.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True, "defaultModelsExpandDepth": 0},
    )
    script = bytes(page.body).split(b"<script>")[1].split(b"</script>")[0]
    digest = b64encode(hashlib.sha256(script).digest()).decode()
    page.headers["content-security-policy"] = f"{POLICY}; script-src 'self' 'sha256-{digest}'"
    return page


def _components() -> dict[str, Any]:
    found: dict[str, Any] = {}
    template = COMPONENTS + "{model}"
    for name, schema in (
        ("ScoreRequest", SCORE_REQUEST.json_schema(ref_template=template)),
        ("SentReadings", SENT_READINGS.json_schema(ref_template=template)),
        ("SentReading", SENT_READING.json_schema(ref_template=template)),
        ("ProblemDetails", ProblemDetails.model_json_schema(ref_template=template)),
    ):
        found |= schema.pop("$defs", {})
        found[name] = schema
    return found
