"""The service's routes, a module a subject; each has `routes(parts) -> APIRouter`."""
