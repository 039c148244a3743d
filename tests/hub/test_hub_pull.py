"""Pulling from a hub, against a local server that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import HfApi
from safetensors.numpy import load_file

from freehold.errors import PullError, WeightsError
from freehold.hub.home import models_folder
from freehold.hub.hub_client import HubClient, check_address, hub_endpoint
from freehold.hub.manifest import read_manifest
from freehold.hub.pull import ensure, installed, pull, remove, resolve
from freehold.hub.staging import PARTIAL_PREFIX
from tests.support.gguf_files import gguf_from_folder
from tests.support.hub_server import HubServer
from tests.support.tiny_models import tiny_folder

NAME = "org--tiny"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tiny_folder("llama", tmp_path_factory.mktemp("tiny") / "tiny")
    published = {path.name: path.read_bytes() for path in folder.iterdir()}
    return published | {
        "README.md": b"# tiny",
        "LICENSE": b"as you like",
        "LICENSE (1).txt": b"an odd name",
        "license.py": b"open('/tmp/ran', 'w')",
        "modeling_tiny.py": b"open('/tmp/ran', 'w')",
        "pytorch_model.bin": b"a pickle",
        "original/consolidated.00.pth": b"another",
        "consolidated.safetensors": b"a second copy of all weights",
    }


pytestmark = pytest.mark.usefixtures("empty_home")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setattr("freehold.hub.repository.RETRY_SECONDS", 0.0)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def partial_folder() -> Path:
    return models_folder() / f"{PARTIAL_PREFIX}{NAME}"


def test_a_pull_writes_a_checked_folder(hub: HubServer, files: dict[str, bytes]) -> None:
    commit = hub.add("org/tiny", files, license="mit")
    seen: list[tuple[str, int, int | None]] = []
    folder = pull("hf:org/tiny", lambda *step: seen.append(step))

    assert folder == models_folder() / NAME == resolve("hf:org/tiny") == ensure("hf:org/tiny") == resolve(NAME)
    kept = {path.name for path in folder.iterdir()}
    assert kept == set(files) - {
        "README.md",
        "modeling_tiny.py",
        "license.py",
        "LICENSE (1).txt",
        "pytorch_model.bin",
        "original/consolidated.00.pth",
        "consolidated.safetensors",
    } | {"freehold.json"}
    assert all((folder / name).read_bytes() == files[name] for name in kept - {"freehold.json"})
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.source, manifest.revision, manifest.licence) == ("hf:org/tiny", commit, "mit")
    assert manifest.architecture == "LlamaForCausalLM"
    assert manifest.context_length == 512
    assert {name: entry.sha256 for name, entry in manifest.files.items()} == {
        name: hashlib.sha256(files[name]).hexdigest() for name in kept - {"freehold.json"}
    }
    size = len(files["model.safetensors"])
    assert ("model.safetensors", size, size) in seen
    assert [model.name for model in installed()] == [NAME]


def test_the_server_speaks_the_protocol_of_the_hubs_own_client(hub: HubServer, files: dict[str, bytes]) -> None:
    commit = hub.add("org/tiny", files)
    info = HfApi(endpoint=hub.url).model_info("org/tiny", files_metadata=True)
    assert info.sha == commit
    weights = next(sibling for sibling in info.siblings or [] if sibling.rfilename == "model.safetensors")
    assert weights.lfs is not None
    assert weights.lfs.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()


def test_a_second_pull_asks_nothing(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    pull("hf:org/tiny")
    hub.requests.clear()
    assert pull("hf:org/tiny") == ensure("hf:org/tiny")
    assert hub.requests == []


def test_nothing_is_sent_but_the_request(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    pull("hf:org/tiny")
    for request in hub.requests:
        names = {name.lower() for name in request.headers}
        assert names <= {"host", "accept", "accept-encoding", "connection", "user-agent", "range"}
        assert request.headers["User-Agent"].startswith("freehold/")


def test_a_cut_connection_is_resumed_within_a_pull(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.cut_after, hub.faults.cuts = {"model.safetensors": 1000}, 2
    folder = pull("hf:org/tiny")
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    ranges = [request.headers.get("Range") for request in hub.asked("/storage/")]
    assert ranges == [None, "bytes=1000-", "bytes=2000-"]


def test_an_interrupted_pull_goes_on_where_it_stopped(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.cut_after, hub.faults.cuts = {"model.safetensors": 1000}, 6
    with pytest.raises(PullError, match=r"failed 6 times.*Run the same pull again"):
        pull("hf:org/tiny")
    assert installed() == []
    assert resolve("hf:org/tiny") is None
    part = partial_folder() / ".model.safetensors.part"
    assert part.stat().st_size == 6000

    hub.requests.clear()
    folder = pull("hf:org/tiny")
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert [request.headers.get("Range") for request in hub.asked("/storage/")] == ["bytes=6000-"]
    assert not hub.asked("config.json"), "files that were whole are not fetched again"
    assert not partial_folder().exists()


def test_a_server_without_ranges_gives_the_whole_file(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.cut_after, hub.faults.cuts, hub.faults.ignore_range = {"model.safetensors": 1000}, 1, True
    assert (pull("hf:org/tiny") / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_a_new_commit_discards_what_was_fetched_of_the_old(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.cut_after, hub.faults.cuts = {"model.safetensors": 1000}, 6
    with pytest.raises(PullError):
        pull("hf:org/tiny")
    commit = hub.add("org/tiny", files | {"LICENSE": b"other terms"})
    folder = pull("hf:org/tiny")
    assert (folder / "LICENSE").read_bytes() == b"other terms"
    assert getattr(read_manifest(folder), "revision", None) == commit


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_wrong_hash_is_refused_and_thrown_away(hub: HubServer, files: dict[str, bytes], name: str) -> None:
    hub.add("org/tiny", files)
    hub.faults.corrupt = {name}
    with pytest.raises(PullError, match=f"{name} of org/tiny hashes to .* the hub says .* thrown away"):
        pull("hf:org/tiny")
    assert installed() == []
    assert not (partial_folder() / name).exists()
    assert not (partial_folder() / f".{name}.part").exists()
    hub.faults.corrupt = set()
    assert (pull("hf:org/tiny") / name).read_bytes() == files[name]


def test_a_file_changed_in_the_unfinished_folder_is_fetched_again(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.cut_after, hub.faults.cuts = {"model.safetensors": 1000}, 6
    with pytest.raises(PullError):
        pull("hf:org/tiny")
    (partial_folder() / "config.json").write_bytes(b"x" * len(files["config.json"]))
    assert (pull("hf:org/tiny") / "config.json").read_bytes() == files["config.json"]


def test_only_the_weights_that_the_index_names_are_fetched(hub: HubServer, files: dict[str, bytes]) -> None:
    tensors = json.loads(files["model.safetensors"][8 : 8 + int.from_bytes(files["model.safetensors"][:8], "little")])
    where = {name: "model.safetensors" for name in tensors if name != "__metadata__"}
    index = json.dumps({"metadata": {}, "weight_map": where}).encode()
    hub.add("org/tiny", files | {"model.safetensors.index.json": index, "other.safetensors": b"not needed"})
    assert not (pull("hf:org/tiny") / "other.safetensors").exists()


def test_an_index_that_leads_out_of_the_folder_is_refused(hub: HubServer, files: dict[str, bytes]) -> None:
    index = json.dumps({"weight_map": {"model.norm.weight": "../../../etc/passwd"}}).encode()
    hub.add("org/tiny", files | {"model.safetensors.index.json": index})
    with pytest.raises(WeightsError, match=r"index\.json is malformed"):
        pull("hf:org/tiny")
    assert installed() == []


def test_a_folder_that_is_no_usable_model_is_not_finished(hub: HubServer, files: dict[str, bytes]) -> None:
    cut = files["model.safetensors"][:-64]
    hub.add("org/tiny", files | {"model.safetensors": cut})
    with pytest.raises(WeightsError, match="is damaged"):
        pull("hf:org/tiny")
    assert installed() == []


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"config.json", "tokenizer.json", "pytorch_model.bin"}, "only as pickles .* convert it"),
        ({"config.json", "tokenizer.json"}, "holds no safetensors"),
        ({"model.safetensors", "tokenizer.json"}, "has no config.json"),
        ({"model.safetensors", "config.json"}, "has no tokenizer.json"),
    ],
)
def test_a_repository_that_cannot_be_loaded_is_refused_first(
    hub: HubServer, files: dict[str, bytes], kept: set[str], message: str
) -> None:
    hub.add("org/tiny", {name: files[name] for name in kept})
    with pytest.raises(PullError, match=message):
        pull("hf:org/tiny")
    assert not hub.asked("/resolve/")


def test_a_repository_of_gguf_files_names_the_remedy(hub: HubServer) -> None:
    hub.add("org/tiny", {"tiny.Q4_0.gguf": b"GGUF"})
    with pytest.raises(PullError, match=r"freehold pull FILE\.gguf"):
        pull("hf:org/tiny")


def test_what_is_not_there_or_not_open_is_told(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        PullError, match=r"answered 401 for hf:org/none@main: there is none of that name, or it is private"
    ):
        pull("hf:org/none")
    hub.add("org/tiny", files, private_token="secret")
    with pytest.raises(PullError, match="answered 401"):
        pull("hf:org/tiny")
    hub.faults.status = {"/api/models/org/gated": (403, {"X-Error-Code": "GatedRepo"})}
    with pytest.raises(PullError, match=r"it is gated\. Accept its terms"):
        pull("hf:org/gated")
    hub.faults.status = {"/api/models/org/busy": (429, {})}
    with pytest.raises(PullError, match="too many requests"):
        pull("hf:org/busy")
    monkeypatch.setenv("HF_TOKEN", "secret")
    with pytest.raises(PullError, match="there is no such revision"):
        pull("hf:org/tiny@v9")
    assert pull("hf:org/tiny").name == NAME


def test_the_token_goes_to_the_endpoint_alone(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.add("org/tiny", files, private_token="secret")
    with HubServer() as elsewhere:
        elsewhere.add("org/tiny", files)
        hub.faults.redirects = {"model.safetensors": f"{elsewhere.url}/storage/org/tiny/model.safetensors"}
        with pytest.raises(PullError, match="refused"):
            pull("hf:org/tiny")
        assert elsewhere.requests == []
    assert {request.headers["Authorization"] for request in hub.requests} == {"Bearer secret"}


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://huggingface.co@127.0.0.1/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::1]/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://0177.0.0.1/x",
        "https://huggingface.co.evil.example/x",
        "https://evil-hf.co/x",
        "file:///etc/passwd",
        "https://huggingface.co\\@evil.example/x",
    ],
)
def test_a_redirect_to_a_forbidden_host_is_refused(hub: HubServer, files: dict[str, bytes], target: str) -> None:
    hub.add("org/tiny", files)
    hub.faults.redirects = {"model.safetensors": target}
    with pytest.raises(PullError, match="refused"):
        pull("hf:org/tiny")
    assert installed() == []


def test_endless_redirects_end(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    hub.faults.redirects = {"model.safetensors": "model.safetensors"}
    with pytest.raises(PullError, match="redirected more than"):
        pull("hf:org/tiny")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://huggingface.co/x", True),
        ("https://cdn-lfs-us-1.hf.co/x", True),
        ("https://cas-bridge.xethub.hf.co/x", True),
        ("https://cdn-lfs.huggingface.co:443/x", True),
        ("https://cdn-lfs.hf.co:8443/x", False),
        ("http://cdn-lfs.hf.co/x", False),
        ("https://a@cdn-lfs.hf.co/x", False),
        ("https://127.0.0.1/x", False),
        ("https://169.254.169.254/x", False),
        ("https://[::ffff:127.0.0.1]/x", False),
        ("https://2130706433/x", False),
        ("https://hf.co.evil.example/x", False),
    ],
)
def test_addresses_from_the_real_hub(address: str, allowed: bool) -> None:
    endpoint = httpx2.URL("https://huggingface.co")
    if allowed:
        check_address(httpx2.URL(address), endpoint)
    else:
        with pytest.raises(PullError, match="refused"):
            check_address(httpx2.URL(address), endpoint)


@pytest.mark.parametrize(
    "endpoint",
    ["http://mirror.example", "ftp://127.0.0.1", "https://user@mirror.example", "https://", "mirror.example"],
)
def test_an_unsafe_endpoint_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(PullError, match="HF_ENDPOINT"):
        hub_endpoint()


def test_no_network_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PullError, match=r"cannot be reached .* Check the network"):
        pull("hf:org/tiny")


def test_an_answer_that_is_not_the_hubs_is_refused(hub: HubServer) -> None:
    hub.faults.status = {"/api/models/org/odd": (200, {})}
    with HubClient() as client, pytest.raises(PullError, match="not the hub's"):
        client.model_info("org/odd", "main")


def test_two_pulls_at_once_fetch_once(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(pull("hf:org/tiny"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [models_folder() / NAME] * 4
    assert len(hub.asked("/storage/")) == 1


def test_a_pull_that_is_interrupted_leaves_nothing_that_looks_finished(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    for stop_at in ("config.json", "model.safetensors", "checking"):

        def interrupt(step: str, *_: object, stop_at: str = stop_at) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pull("hf:org/tiny", interrupt)
        assert installed() == []
        assert not (models_folder() / NAME).exists()
    folder = pull("hf:org/tiny")
    assert load_file(folder / "model.safetensors").keys()


def test_a_full_disk_is_told_and_the_pull_can_go_on(
    hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/tiny", files)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000_000})())
        with pytest.raises(
            PullError, match=r"needs 0\.00 GB and a reserve of 0\.2 GB; .* has 0\.00 GB free\. Make room"
        ):
            pull("hf:org/tiny")

    def full(step: str, *_: object) -> None:
        if step == "model.safetensors":
            raise OSError(28, "No space left on device", "model.safetensors")

    with pytest.raises(PullError, match=r"No space left on device.*The disk is full: make room"):
        pull("hf:org/tiny", full)
    assert installed() == []
    assert pull("hf:org/tiny").is_dir()


def test_a_removed_model_is_gone_with_what_was_left_of_it(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("org/tiny", files)
    pull("hf:org/tiny")
    remove(NAME)
    assert resolve(NAME) is None
    assert [path.name for path in models_folder().iterdir()] == [f".lock-{NAME}"]


def test_a_model_of_the_catalog_is_pulled_by_its_name(hub: HubServer, tmp_path: Path) -> None:
    repository = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    folder = tiny_folder("qwen2", tmp_path / "tiny")
    commit = hub.add(repository, {path.name: path.read_bytes() for path in folder.iterdir()})
    pulled = pull("deepseek-r1-distill-qwen-1.5b")
    assert pulled.name == "deepseek-r1-distill-qwen-1.5b"
    assert resolve(f"hf:{repository}") == resolve(f"hf:{repository}@main") == pulled
    assert resolve(f"hf:{repository}@{commit}") is None, "a pinned commit is a model of its own"
    manifest = read_manifest(pulled)
    assert manifest is not None
    assert (manifest.chat_format, manifest.revision, manifest.context_length) == ("deepseek-r1", commit, 131072)
    defaults = json.loads((pulled / "generation_config.json").read_text())
    assert (defaults["temperature"], defaults["top_p"]) == (0.6, 0.95)
    assert defaults["eos_token_id"] == json.loads((folder / "config.json").read_text())["eos_token_id"]


def test_another_model_under_a_known_name_is_refused(hub: HubServer, files: dict[str, bytes]) -> None:
    hub.add("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", files)
    with pytest.raises(PullError, match="holds a LlamaForCausalLM; the catalog says Qwen2ForCausalLM"):
        pull("deepseek-r1-distill-qwen-1.5b")
    assert installed() == []


def test_offline_mode_is_honoured(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PullError, match="HF_HUB_OFFLINE is set"):
        pull("hf:org/tiny")
    assert hub.requests == []


def test_a_name_that_is_taken_by_another_source_is_told(
    hub: HubServer, files: dict[str, bytes], tmp_path: Path
) -> None:
    hub.add("org/tiny", files)
    pull(gguf_from_folder(tiny_folder("llama", tmp_path / "tiny"), tmp_path / "org--tiny.gguf"))
    with pytest.raises(
        PullError, match=r"org--tiny is taken by a model from file:.*, not hf:org/tiny; remove that one"
    ):
        pull("hf:org/tiny")


def test_an_endless_answer_is_cut_off(hub: HubServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/tiny", files)
    monkeypatch.setattr("freehold.hub.hub_client.MAX_ANSWER_BYTES", 100)
    with pytest.raises(PullError, match="longer than 100 bytes"):
        pull("hf:org/tiny")
