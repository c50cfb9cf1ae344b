"""A local server that speaks as much of the hub's API as the `datasets` library asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class DatasetsHub:
    """Serves each folder ``org/name`` under a folder as a data set, at main and at SHA.

    Args:
        folder: that holds the data sets.
        closed: the name of one that wants a token, "right".
    """

    def __init__(self, folder: Path, closed: str = "org/closed") -> None:
        self.folder, self.closed, self.asked = folder, closed, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, "GET")

            def do_HEAD(self) -> None:
                hub.answer(self, "HEAD")

            def do_POST(self) -> None:
                hub.answer(self, "POST")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def files(self, name: str) -> dict[str, Path]:
        """The files of a data set by their paths."""
        root = self.folder / name
        return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}

    def answer(self, to: Any, method: str) -> None:
        """One answer; HEAD is GET without its body."""
        path = unquote(urlsplit(to.path).path)
        sent = to.rfile.read(int(to.headers.get("Content-Length") or 0)) if method == "POST" else b""
        self.asked.append(f"{method} {path}")
        code, headers, said = self._said(path, sent, to.headers)
        if method == "GET" and "Range" in to.headers and code == 200:
            start, _, stop = to.headers["Range"].removeprefix("bytes=").partition("-")
            last = min(int(stop or len(said) - 1), len(said) - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/{len(said)}"
            code, said = 206, said[int(start) : last + 1]
        to.send_response(code)
        for key, value in {"X-Repo-Commit": SHA, **headers, "Content-Length": str(len(said))}.items():
            to.send_header(key, value)
        to.end_headers()
        if method != "HEAD":
            to.wfile.write(said)

    def _said(self, path: str, sent: bytes, headers: Any) -> tuple[int, dict[str, str], bytes]:
        api = path.startswith("/api/datasets/")
        rest = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        name, rest = "/".join(rest[:2]), rest[2:]
        if name == self.closed and headers.get("Authorization") != "Bearer right":
            return 401, {"X-Error-Code": "GatedRepo"}, b""
        if not (self.folder / name).is_dir() or "/datasets/" not in path:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        files = self.files(name)
        if len(rest) > 1 and rest[0] in ("revision", "tree", "resolve", "paths-info") and rest[1] not in ("main", SHA):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if not api and rest[:1] == ["resolve"]:
            wanted = "/".join(rest[2:])
            if wanted not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            held = files[wanted].read_bytes()
            return 200, {"ETag": f'"{hashlib.sha1(held).hexdigest()}"', "Accept-Ranges": "bytes"}, held
        if api and rest[:1] in ([], ["revision"]):
            value: Any = {"id": name, "sha": SHA, "siblings": [{"rfilename": each} for each in files]}
        elif api and rest[0] == "tree":
            under = "/".join(rest[2:])
            value = self._listed(files, under)
            if under and not value:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
        elif api and rest[0] == "paths-info":
            wanted_ = self._paths(sent)
            value = [self._entry(each, files[each]) for each in wanted_ if each in files]
            folders = {str(parent) for each in files for parent in Path(each).parents} - {"."}
            value += [{"type": "directory", "path": each, "oid": each} for each in wanted_ if each in folders]
        else:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def _listed(self, files: dict[str, Path], under: str) -> list[dict[str, Any]]:
        inside = {each: path for each, path in files.items() if each.startswith(f"{under}/" if under else "")}
        folders = {str(parent) for each in inside for parent in Path(each).parents if str(parent) not in (".", under)}
        found = [self._entry(each, path) for each, path in inside.items()]
        return found + [{"type": "directory", "path": each, "oid": each} for each in sorted(folders)]

    @staticmethod
    def _paths(sent: bytes) -> list[str]:
        try:
            return list(json.loads(sent)["paths"])
        except ValueError:
            from urllib.parse import parse_qs

            return parse_qs(sent.decode())["paths"]

    @staticmethod
    def _entry(name: str, path: Path) -> dict[str, Any]:
        oid = hashlib.sha1(path.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}
