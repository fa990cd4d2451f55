"""The page's server: this machine only, one token a start, and nothing answered that the page itself did not ask.

The page and its script hold no data; all data is asked for with the token in a
header of our own, which no other site's page can send without being asked first,
and we never say yes.

Source: OWASP ASVS 4.0, chapters 13 and 14; Fetch Metadata Request Headers (W3C).
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from imaging_pipeline.errors import ConfigurationError, PipelineError, RefusedError, SpaceError
from imaging_pipeline.review.desk import Desk
from imaging_pipeline.review.documents import problem_document
from imaging_pipeline.review.requests import REQUEST_BYTES, parsed

ADDRESS = "127.0.0.1"
TOKEN_HEADER = "X-Review-Token"  # noqa: S105 - a header's name

#: A reader's browser answers in milliseconds; a connection that says nothing is let go.
PATIENCE_SECONDS = 30

_JSON = "application/json"
_BYTES = "application/octet-stream"
_CASE = r"/api/cases/([A-Za-z0-9_-]{1,80})"
_DIGEST = r"([0-9a-f]{64})"

#: What may be asked, in full; anything else is refused.
_ROUTES = (
    ("GET", re.compile(r"/"), "page"),
    ("GET", re.compile(r"/api/worklist"), "worklist"),
    ("GET", re.compile(_CASE), "case"),
    ("GET", re.compile(f"{_CASE}/pixels/{_DIGEST}"), "pixels"),
    ("GET", re.compile(f"{_CASE}/outlines/{_DIGEST}/{_DIGEST}"), "outline"),
    ("POST", re.compile(f"{_CASE}/acts"), "act"),
    ("POST", re.compile(f"{_CASE}/recompute"), "recompute"),
    ("POST", re.compile(f"{_CASE}/mend"), "mend"),
)


class ReviewServer(ThreadingHTTPServer):
    """Serves one reader's desk until it is stopped.

    Parameters
    ----------
    desk
        What is served.
    port
        0 takes any free one.
    """

    daemon_threads = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                "E-REVIEW-PORT",
                f"port {port}",
                found=os.strerror(error.errno or 0),
                expected="a port nobody listens on",
                remedy="leave --port away, or name another",
            ) from error
        self.desk = desk
        self.token = secrets.token_urlsafe(32)
        self.host = f"{ADDRESS}:{self.server_port}"

    @property
    def url(self) -> str:
        """Where the page is; the token stands behind the #, which browsers send to nobody."""
        return f"http://{self.host}/#{self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that hung up is no error of ours, and its words are not for a log."""


class _Refused(Exception):  # noqa: N818 - it is an answer, not an error
    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    timeout = PATIENCE_SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def version_string(self) -> str:
        return "review"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a request line may hold anything."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse in one word, without repeating what was asked."""
        self.close_connection = True
        self._answer(HTTPStatus(code), _JSON, _document({"refused": HTTPStatus(code).phrase}))

    def _serve(self, method: str) -> None:
        try:
            action, arguments = self._allowed(method)
            if action == "page":
                self._page()
            elif method == "GET":
                self._data(action, arguments)
            else:
                self._deed(action, arguments, self._body())
        except _Refused as refused:
            self.send_error(refused.status)
        except PipelineError as error:
            found = isinstance(error, (RefusedError, SpaceError))
            status = HTTPStatus.UNPROCESSABLE_ENTITY if found else HTTPStatus.CONFLICT
            self._answer(status, _JSON, _document({"problem": problem_document(error.problem)}))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - the page must say that it went wrong; the text may hold anything
            self.close_connection = True
            answer = {"refused": f"an error of this program ({type(error).__name__})"}
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, _document(answer))

    # ---- Who may ask

    def _allowed(self, method: str) -> tuple[str, tuple[str, ...]]:
        """What is asked for, if the asker is our own page."""
        _require(self._only("Host") == self.server.host, HTTPStatus.MISDIRECTED_REQUEST)
        site, origin = self._only("Sec-Fetch-Site"), self._only("Origin")
        _require(site in (None, "same-origin") or (site == "none" and self.path == "/"), HTTPStatus.FORBIDDEN)
        _require(origin in (None, f"http://{self.server.host}"), HTTPStatus.FORBIDDEN)
        _require(self.headers.get("Transfer-Encoding") is None, HTTPStatus.BAD_REQUEST)
        if method == "GET":
            _require(self._only("Content-Length") in (None, "0"), HTTPStatus.BAD_REQUEST)
        else:
            _require(origin is not None, HTTPStatus.FORBIDDEN)
        route = self._route(method)
        if route[0] != "page":
            token = self._only(TOKEN_HEADER) or ""
            known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
            _require(known, HTTPStatus.UNAUTHORIZED)
        return route

    def _route(self, method: str) -> tuple[str, tuple[str, ...]]:
        methods = set()
        for each, pattern, action in _ROUTES:
            match = pattern.fullmatch(self.path)
            if match and each == method:
                return action, match.groups()
            if match:
                methods.add(each)
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED if methods else HTTPStatus.NOT_FOUND)

    def _only(self, name: str) -> str | None:
        """A header's value; one that is sent twice is one that two programs may read differently."""
        values = self.headers.get_all(name) or []
        _require(len(values) < 2, HTTPStatus.BAD_REQUEST)
        return values[0] if values else None

    def _body(self) -> bytes:
        _require(self._only("Content-Type") == _JSON, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        stated = self._only("Content-Length") or ""
        _require(bool(re.fullmatch(r"[0-9]{1,12}", stated)), HTTPStatus.LENGTH_REQUIRED)
        _require(int(stated) <= REQUEST_BYTES, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        content = self.rfile.read(int(stated))
        _require(len(content) == int(stated), HTTPStatus.BAD_REQUEST)
        return content

    # ---- What is answered

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        )
        page = _asset("page.html").replace("NONCE", nonce)
        page = page.replace("/* STYLE */", _asset("review.css")).replace("/* SCRIPT */", _asset("review.js"))
        self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.encode(), policy)

    def _data(self, action: str, arguments: tuple[str, ...]) -> None:
        answer = getattr(self.server.desk, action)(*arguments)
        kind = _BYTES if isinstance(answer, bytes) else _JSON
        self._answer(HTTPStatus.OK, kind, answer if isinstance(answer, bytes) else _document(answer))

    def _deed(self, action: str, arguments: tuple[str, ...], content: bytes) -> None:
        desk = self.server.desk
        deeds: dict[str, Callable[[str], Any]] = {
            "act": lambda name: {"mask": desk.act(name, parsed(content))},
            "recompute": desk.recompute,
            "mend": desk.mend,
        }
        self._answer(HTTPStatus.OK, _JSON, _document(deeds[action](*arguments)))

    def _answer(self, status: HTTPStatus, kind: str, content: bytes, policy: str = "default-src 'none'") -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Connection": "close" if self.close_connection else "keep-alive",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _require(condition: bool, status: HTTPStatus) -> None:
    if not condition:
        raise _Refused(status)


def _document(answer: object) -> bytes:
    return json.dumps(answer, ensure_ascii=True, allow_nan=False).encode()


@cache
def _asset(name: str) -> str:
    return files("imaging_pipeline.review").joinpath("page", name).read_text(encoding="utf-8")
