"""The page at `/` and its files, served so that browsers need not guess nor trust.

What is served is listed once, at the start: no path of a request ever touches the file system.
"""

from pathlib import Path
from typing import Final

from aiohttp import web

# One origin only: the page runs no inline script, loads nothing from elsewhere, is framed by none.
POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    # Asked for again each time, but sent again only if it has changed.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """`index.html` of the folder at `/`, every file of it under `/web/`."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self._index)
        router.add_get("/web/{path:.+}", self._file)

    async def _index(self, _: web.Request) -> web.StreamResponse:
        return self._served("index.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return self._served(request.match_info["path"])

    def _served(self, name: str) -> web.StreamResponse:
        path = self._files.get(name)
        if path is None:
            raise web.HTTPNotFound(headers={"X-Content-Type-Options": "nosniff"})
        return web.FileResponse(path, headers=HEADERS)
