"""Hub ids, against a local server that speaks the hub's API; each in a process of its own, as the library reads its
settings once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves one model, ``org/tiny``, at main and at SHA; ``org/closed`` wants a token."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self, True)

            def do_HEAD(self) -> None:
                hub.answer(self, False)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, to: Any, body: bool) -> None:
        path = to.path.split("?")[0]
        self.asked.append(path)
        headers: dict[str, str] = {"X-Repo-Commit": SHA}
        code, said = 404, b""
        files = sorted(file.name for file in self.folder.iterdir())
        if "org/closed" in path and to.headers.get("Authorization") != "Bearer right":
            code, headers = 401, {"X-Error-Code": "RepoNotFound"}
        elif "org/tiny" not in path and "org/closed" not in path:
            headers = {"X-Error-Code": "RepoNotFound"}
        elif "/nowhere" in path:
            headers = {"X-Error-Code": "RevisionNotFound"}
        elif path.startswith("/api/models/"):
            listed = [{"rfilename": name} for name in files]
            code, said = 200, json.dumps({"id": "org/tiny", "sha": SHA, "siblings": listed}).encode()
            if "/tree/" in path:
                said = json.dumps([{"type": "file", "path": n, "size": (self.folder / n).stat().st_size, "oid": n}
                                   for n in files]).encode()  # fmt: skip
        elif path.rpartition("/")[2] in files:
            code, said = 200, (self.folder / path.rpartition("/")[2]).read_bytes()
            headers["ETag"] = f'"{hashlib.sha1(said).hexdigest()}"'
        to.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(said))}.items():
            to.send_header(key, value)
        to.end_headers()
        if body:
            to.wfile.write(said)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=29, n_positions=16, n_embd=12, n_layer=2, n_head=3)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "served")
    (tmp_path / "served" / "flax_model.msgpack").write_text("not wanted")
    served = Hub(tmp_path / "served")
    yield served
    served.server.shutdown()


def convert(source: str, place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Convert in a fresh process; the cache lies in the place."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    (place / "home").mkdir(exist_ok=True)
    target = f"out-{len(list(place.iterdir()))}"
    return subprocess.run(
        [sys.executable, "-c", "from dougong.cli import main; main()", "convert", source, target],
        cwd=place, env={**kept, "HF_HOME": str(place / "home"), "HF_HUB_DISABLE_XET": "1", **environment},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_fetched_pinned_cached_and_local_first(hub: Hub, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    first = convert("org/tiny", tmp_path, HF_ENDPOINT=hub.url)
    assert first.returncode == 0, first.stderr
    out = next(tmp_path.glob("out-*"))
    before, after = load_file(tmp_path / "served/model.safetensors"), load_file(out / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any("msgpack" in path for path in hub.asked)
    assert convert(f"org/tiny@{SHA}", tmp_path, HF_ENDPOINT=hub.url).returncode == 0
    assert convert("org/tiny", tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1").returncode == 0
    n_asked = len(hub.asked)
    (tmp_path / "org").mkdir()
    (tmp_path / "served").rename(tmp_path / "org" / "tiny")
    assert convert("org/tiny", tmp_path, HF_ENDPOINT=hub.url).returncode == 0
    assert len(hub.asked) == n_asked  # a folder of that name comes first


@pytest.mark.parametrize(
    ("source", "environment", "said"),
    [
        ("org/absent", {}, "no such model on the hub"),
        ("org/closed", {}, "set HF_TOKEN"),
        ("org/tiny@nowhere", {}, "has no revision nowhere"),
        ("org/tiny", {"HF_HUB_OFFLINE": "1"}, "is not in the cache"),
        ("org/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_one_clear_line(source: str, environment: dict[str, str], said: str, hub: Hub, tmp_path: Path) -> None:
    found = convert(source, tmp_path, **{"HF_ENDPOINT": hub.url, **environment})
    assert found.returncode == 2 and said in found.stderr and source in found.stderr
    assert found.stderr.count("\n") == 1 and not list(tmp_path.glob("out-*"))


def test_token(hub: Hub, tmp_path: Path) -> None:
    assert convert("org/closed", tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="right").returncode == 0
