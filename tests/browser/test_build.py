"""What the build leaves: small to begin with, complete, and nothing in it that leads elsewhere. No browser needed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from tests.browser.conftest import StartServer
from tests.support.fake_model import FakeModel

FIRST_BYTES = 120_000


def _entry(built_app: Path) -> str:
    page = (built_app / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="module"[^>]* src="/(assets/[^"]+\.js)"', page)
    assert found is not None, page
    return found[1]


def test_the_first_paint_needs_little(built_app: Path) -> None:
    page = (built_app / "index.html").read_text(encoding="utf-8")
    needed = re.findall(r'(?:src|href)="/(assets/[^"]+\.(?:js|css))"', page)
    assert _entry(built_app) in needed
    size = sum(len(gzip.compress((built_app / name).read_bytes())) for name in needed)
    assert size < FIRST_BYTES, f"{needed} take {size} bytes packed; at most {FIRST_BYTES}"


def test_all_that_is_named_is_there(built_app: Path) -> None:
    page = (built_app / "index.html").read_text(encoding="utf-8")
    manifest = (built_app / "manifest.webmanifest").read_text(encoding="utf-8")
    for name in [*re.findall(r'(?:src|href)="/([^"]+)"', page), *re.findall(r'"src": "/([^"]+)"', manifest)]:
        assert (built_app / name).is_file(), name
    for style in built_app.glob("assets/*.css"):
        for name in re.findall(r"url\(([^)]+)\)", style.read_text(encoding="utf-8")):
            assert (built_app / name.strip("\"'").lstrip("/")).is_file(), f"{style.name}: {name}"


def test_nothing_in_it_evaluates_text_or_compiles_webassembly(built_app: Path) -> None:
    for script in built_app.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"\bnew Function\(|[^.\w]eval\(|WebAssembly\.(?:instantiate|compile)", text), script.name


def test_scripts_travel_packed_where_that_is_taken(built_app: Path, start_server: StartServer) -> None:
    server = start_server(FakeModel())
    name = _entry(built_app)
    plain = (built_app / name).read_bytes()
    with server.client() as client:
        packed = client.get(f"/{name}", headers={"Accept-Encoding": "br, gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["content-type"].startswith("text/javascript")
        assert "Accept-Encoding" in packed.headers["vary"]
        assert "immutable" in packed.headers["cache-control"]
        assert int(packed.headers["content-length"]) < len(plain) / 2
        assert packed.content == plain
        for offer in ("identity", "gzip;q=0", ""):
            answer = client.get(f"/{name}", headers={"Accept-Encoding": offer})
            assert "content-encoding" not in answer.headers
            assert answer.content == plain
        assert "content-encoding" not in client.get("/", headers={"Accept-Encoding": "gzip"}).headers
