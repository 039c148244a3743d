"""`freehold cost` and `freehold check` as they are typed: figures, formats, errors, and no torch."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main.call(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_model_by_name_offline(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "cost", "model", "deepseek-r1", "--context", "4096", "--json")
    values = json.loads(out)
    assert code == 0
    assert values["params_total"] == 671_026_419_200
    assert values["kv_bytes_per_token"] == 70_272
    assert {
        "params_active", "params_active_head_only", "params_with_mtp", "train_flops_per_token", "weight_bytes",
    } <= set(values)  # fmt: skip


def test_a_model_by_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"],
                "vocab_size": 10,
                "hidden_size": 4,
                "intermediate_size": 6,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            }
        )
    )
    code, out, _ = run(capsys, "cost", "model", str(tmp_path), "--csv")
    table = dict(csv.reader(io.StringIO(out)))
    assert code == 0
    assert int(table["params_total"]) == 2 * 40 + 4 * 16 + 3 * 24 + 3 * 4
    assert "params_total" in run(capsys, "cost", "model", str(tmp_path))[1]


def test_a_model_that_is_here(capsys: pytest.CaptureFixture[str], empty_home: Path) -> None:
    folder = empty_home / "models" / "mine"
    folder.mkdir(parents=True)
    fields = {"vocab_size": 10, "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1}
    raw = {"architectures": ["LlamaForCausalLM"], "num_attention_heads": 2, **fields}
    (folder / "config.json").write_text(json.dumps(raw))
    _, out, _ = run(capsys, "cost", "model", "mine", "--json")
    assert json.loads(out)["params_total"] == 2 * 40 + 4 * 16 + 3 * 24 + 3 * 4


def test_a_training_run(capsys: pytest.CaptureFixture[str]) -> None:
    common = ("cost", "train", "--model", "deepseek-v3", "--tokens", "14.8e12", "--gpu", "h800", "--json")
    _, out, _ = run(capsys, *common, "--gpu-hours", "2.664e6", "--usd-per-gpu-hour", "2", "--gpus", "2048")
    values = json.loads(out)
    assert values["usd"] == pytest.approx(5.328e6)
    assert values["mfu_bf16"] == pytest.approx(0.3906, abs=1e-4)
    assert values["days"] == pytest.approx(54.2, abs=0.1)
    _, out, _ = run(capsys, *common, "--mfu", "0.3906")
    assert json.loads(out)["gpu_hours"] == pytest.approx(2.664e6, rel=1e-3)
    assert json.loads(out)["usd"] is None


def test_a_replica(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "cost", "serve", "--model", "deepseek-v3", "--gpu", "h800", "--gpus", "8", "--weights", "fp8", "--json"
    )
    values = json.loads(out)
    assert not values["fits"]  # 671 GB into 8 x 80
    assert values["decode_tokens_per_second"] == 0
    assert values["weight_bytes"] > 671e9


def test_chips(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "cost", "chips", "--date", "2024-12-27", "--usd-per-gpu-hour", "2", "--json")
    rows = {row["chip"]: row for row in json.loads(out)["rows"]}
    assert set(rows) == {"h800", "h100", "h200", "h20", "a100"}
    assert rows["h20"]["rules"] == "none"
    assert "revised" in rows["h800"]["rules"]
    assert rows["h800"]["usd"] == pytest.approx(5.33e6, rel=1e-2)
    code, _, err = run(capsys, "cost", "chips", "--date", "yesterday")
    assert code == 1
    assert "--date is 'yesterday'; write it as YYYY-MM-DD" in err


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "plan", "deepseek-r1", "--hardware", "8xh200", "--usd-per-hour", "3", "--json")
    rows = {row["format"]: row for row in json.loads(out)["rows"]}
    assert rows["fp8"]["fits"]
    assert not rows["bfloat16"]["fits"]
    assert rows["fp8"]["usd_per_mtok_output"] > 0
    code, _, err = run(capsys, "plan", "deepseek-r1", "--hardware", "0xh200")
    assert code == 1
    assert "it must be at least 1, as in 8xh200" in err
    assert "this machine" in run(capsys, "plan", "smollm2-135m-instruct")[1]


def test_owning_against_an_api(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("own", "--input-tokens", "1e9", "--output-tokens", "3e8", "--purchase-usd", "300000", "--kilowatts", "10")
    _, out, _ = run(capsys, *load, "--output-tokens-per-second", "5000", "--json")
    values = json.loads(out)
    assert values["api_usd_per_day"] == pytest.approx(1000 * 0.55 + 300 * 2.19)
    assert values["days_to_break_even"] > 0
    _, out, _ = run(capsys, *load, "--output-tokens-per-second", "500")
    assert "cannot carry the load" in out


def test_the_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "cost", "ladder", "--set", "people=150", "--json")
    rows = {row["rung"]: row for row in json.loads(out)["rows"]}
    assert rows["final run of V3"]["usd_low"] == 5.576e6
    assert rows["staff"]["usd_low"] == pytest.approx(150 * 100e3)
    assert rows["sum, machines owned"]["usd_high"] > rows["sum, machines rented"]["usd_high"]
    code, _, err = run(capsys, "cost", "ladder", "--set", "people")
    assert code == 1
    assert "--set 'people' is not of the form FACTOR=VALUE" in err


def test_claims(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "CLAIMS.toml"
    file.write_text(
        """
[[claim]]
id = "v3-hours"
says = "DeepSeek-V3 was trained in 2.788M H800 GPU hours"
source = "DeepSeek-V3 report, Table 1"
model = "deepseek-v3"
facts = { gpu = "h800", gpu_hours = 2.788e6, tokens = 14.8e12, usd_per_gpu_hour = 2.0, usd = 5.576e6 }
[[claim]]
id = "too-fast"
model = "deepseek-v3"
facts = { gpu = "h800", gpu_hours = 2.0e5, tokens = 14.8e12 }
[[claim]]
id = "nobody-knows"
model = "some-other-model"
facts = { usd = 1e9 }
"""
    )
    code, out, _ = run(capsys, "check", str(file), "--json")
    assert code == 0
    assert [row["verdict"] for row in json.loads(out)] == ["supported", "impossible", "unverifiable"]
    assert json.loads(out)[0]["intervals"]["mfu_bf16"][0] == pytest.approx(0.372, abs=1e-3)
    rows = list(csv.DictReader(io.StringIO(run(capsys, "check", str(file), "--csv")[1])))
    assert rows[1]["id"] == "too-fast"
    assert "gpu_hours 2787500.0 to 2788500.0" in rows[0]["intervals"]
    text = run(capsys, "check", str(file))[1]
    assert "v3-hours: supported" in text
    assert "would settle it:" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cost", "model", "no-such-model"), "'no-such-model' is neither a file"),
        (("cost", "model", "deepseek-r1", "--json", "--csv"), "--json and --csv are both given"),
        (("cost", "train", "--model", "deepseek-r1", "--tokens", "1e12", "--gpu", "h900"), "'h900' is not known"),
        (("cost", "train", "--model", "deepseek-r1", "--tokens", "-1"), "tokens is -1; it must be a positive number"),
        (("cost", "serve", "--model", "deepseek-r1", "--weights", "fp3"), "'fp3' is not known"),
        (("check", "/no/such/file.toml"), "cannot be read as TOML"),
    ],
)
def test_what_cannot_be_is_named(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert not out
    assert message in err


def test_torch_is_not_imported() -> None:
    script = (
        "import sys; from freehold.cli.main import call; call(['cost', 'model', 'deepseek-r1']);"
        "print([name for name in ('torch', 'transformers', 'numpy', 'rich.table') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "[]"
