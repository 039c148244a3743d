"""One member out of a wheel, through the user's own pip; only its hash decides."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from freehold.errors import PullError
from freehold.hub.catalog import WheelMember
from freehold.hub.home import models_folder
from freehold.hub.pull import ensure, installed
from freehold.hub.wheel import fetch_member
from tests.support.gguf_files import gguf_from_folder
from tests.support.tiny_models import tiny_folder

DATA = bytes(range(256)) * 500


def write_wheel(folder: Path, members: dict[str, bytes], name: str = "tiny_model") -> Path:
    """A wheel that pip accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: not-to-be-fetched\n"
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the user's package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def member(data: bytes = DATA, name: str = "tiny_model/model.gguf") -> WheelMember:
    return WheelMember(name, hashlib.sha256(data).hexdigest(), len(data))


def test_a_member_is_fetched_without_dependencies(index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(index, {"tiny_model/model.gguf": DATA})
    seen: list[tuple[str, int, int | None]] = []
    target = tmp_path / "target" / "model.gguf"
    target.parent.mkdir()
    size = wheel.stat().st_size
    fetch_member(member(), "tiny-model==1.0", target, size, lambda *step: seen.append(step))
    assert target.read_bytes() == DATA
    assert list(target.parent.iterdir()) == [target], "the wheel itself is not kept"
    assert seen[0] == ("downloading tiny-model==1.0", 0, size)
    assert seen[-1] == ("unpacking", len(DATA), len(DATA))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (member(DATA[:-1] + b"x"), "has the SHA-256 .*; the catalog says .* nothing was kept"),
        (member(DATA + b"x"), "has 128000 bytes; the catalog says 128001"),
        (member(name="tiny_model/other.gguf"), "holds no tiny_model/other.gguf"),
    ],
)
def test_another_file_than_the_catalogs_is_refused(
    index: Path, tmp_path: Path, wanted: WheelMember, message: str
) -> None:
    write_wheel(index, {"tiny_model/model.gguf": DATA})
    with pytest.raises(PullError, match=message):
        fetch_member(wanted, "tiny-model==1.0", tmp_path / "model.gguf", None, lambda *_: None)
    assert not (tmp_path / "model.gguf").exists()


def test_a_member_that_would_lead_out_of_its_folder_stays_where_it_is_put(index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"../../escaped.gguf": DATA, "/absolute.gguf": DATA})
    (tmp_path / "a" / "b").mkdir(parents=True)
    target = tmp_path / "a" / "b" / "model.gguf"
    fetch_member(member(name="../../escaped.gguf"), "tiny-model==1.0", target, None, lambda *_: None)
    assert target.read_bytes() == DATA
    assert not (tmp_path / "escaped.gguf").exists()
    assert not Path("/absolute.gguf").exists()


def test_a_member_that_lies_about_its_size_cannot_unpack_to_more(index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(index, {"tiny_model/model.gguf": b"\0" * 10_000_000})
    raw = wheel.read_bytes().replace((10_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    wheel.write_bytes(raw)
    with pytest.raises(PullError, match=r"damaged|SHA-256"):
        fetch_member(member(b"\0" * 1000), "tiny-model==1.0", tmp_path / "model.gguf", None, lambda *_: None)
    assert not (tmp_path / "model.gguf").exists()


def test_a_wheel_that_is_not_to_be_had_is_told_with_the_remedy(index: Path, tmp_path: Path) -> None:
    del index
    with pytest.raises(PullError, match=r"pip could not download tiny-model==1\.0: .*Check the network"):
        fetch_member(member(), "tiny-model==1.0", tmp_path / "model.gguf", None, lambda *_: None)


def test_an_interruption_ends_pip_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    write_wheel(index, {"tiny_model/model.gguf": DATA})
    target = tmp_path / "target" / "model.gguf"
    target.parent.mkdir()
    for stop_at in ("downloading", "unpacking"):

        def interrupt(step: str, *_: object, stop_at: str = stop_at) -> None:
            if step.startswith(stop_at):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch_member(member(), "tiny-model==1.0", target, None, interrupt)
        assert list(target.parent.iterdir()) == []


def test_a_model_of_ones_own_catalog_comes_out_of_a_wheel(index: Path, tmp_path: Path, empty_home: Path) -> None:
    gguf = gguf_from_folder(tiny_folder("llama", tmp_path / "tiny"), tmp_path / "tiny.gguf").read_bytes()
    write_wheel(index, {"tiny_model/tiny.gguf": gguf})
    empty_home.mkdir()
    entry = f"""
        [models.tiny]
        title = "Tiny"
        source = "wheel:tiny-model==1.0"
        member = "tiny_model/tiny.gguf"
        member_bytes = {len(gguf)}
        sha256 = "{hashlib.sha256(gguf).hexdigest()}"
        revision = "1.0"
        licence = "MIT"
        architecture = "LlamaForCausalLM"
        chat_format = "llama3"
        context_length = 512
        size_bytes = 500_000
        sampling = {{ temperature = 0.5 }}
    """
    (empty_home / "catalog.toml").write_text(entry)
    folder = ensure("tiny")
    assert folder == models_folder() / "tiny"
    [model] = installed()
    assert model.manifest is not None
    assert (model.manifest.chat_format, model.manifest.licence) == ("llama3", "MIT")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "freehold.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sorted(path.name for path in models_folder().iterdir()) == [".lock-tiny", "tiny"]
