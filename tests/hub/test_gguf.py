"""The GGUF reader refuses every header that lies, before anything is mapped; and reads honest files as the gguf "
"package does."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from freehold.errors import WeightsError
from freehold.hub import gguf as reader
from freehold.hub.gguf import GgufFile
from tests.support.gguf_files import ARRAY, BOOL, STRING, U32, raw_gguf, raw_tensor, text

MAX = 2**64 - 1


def opened(data: bytes, tmp_path: Path) -> GgufFile:
    path = tmp_path / "file.gguf"
    path.write_bytes(data)
    return GgufFile.open(path)


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def alignment(value: int) -> bytes:
    return entry("general.alignment", U32, struct.pack("<I", value))


HOSTILE = {
    "empty": (b"", "cannot be read"),
    "not a GGUF file": (raw_gguf(magic=b"GGML"), "begins with b'GGML'"),
    "version 1": (raw_gguf(version=1), "version 1; versions 2 and 3"),
    "big-endian": (raw_gguf(version=3 << 24), "big-endian"),
    "cut in the counts": (raw_gguf()[:12], "past the file's 12 bytes"),
    "more metadata than bytes": (raw_gguf(n_metadata=10**6), "declares 1000000 metadata entries"),
    "metadata near 2^64": (raw_gguf(n_metadata=MAX), "declares 18446744073709551615 metadata entries"),
    "more tensors than bytes": (raw_gguf(n_tensors=10**9), "declares 1000000000 tensors"),
    "tensors near 2^64": (raw_gguf(n_tensors=MAX), "declares 18446744073709551615 tensors"),
    "more tensors than entries": (raw_gguf(n_tensors=3, data_bytes=200), "0 dimensions"),
    "key longer than the file": (raw_gguf(metadata=[struct.pack("<Q", 60_000)]), "past the file's"),
    "key near 2^64": (raw_gguf(metadata=[struct.pack("<Q", MAX)]), "18446744073709551615 bytes long"),
    "key that is not UTF-8": (raw_gguf(metadata=[struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 8]), "not UTF-8"),
    "key twice": (raw_gguf(metadata=[entry("a", U32, b"\0" * 4)] * 2), "'a' occurs twice"),
    "unknown type": (raw_gguf(metadata=[entry("a", 13, b"\0" * 8)]), "type of 'a' is 13"),
    "boolean of 2": (raw_gguf(metadata=[entry("a", BOOL, b"\2")]), "boolean 'a' is 2"),
    "string past the end": (raw_gguf(metadata=[entry("a", STRING, struct.pack("<Q", 9999))]), "past the file's"),
    "string near 2^64": (raw_gguf(metadata=[entry("a", STRING, struct.pack("<Q", MAX))]), "bytes long; at most"),
    "array past the end": (
        raw_gguf(metadata=[entry("a", ARRAY, struct.pack("<IQ", U32, 10**6))]),
        "declares 1000000 items",
    ),
    "array whose bytes overflow": (
        raw_gguf(metadata=[entry("a", ARRAY, struct.pack("<IQ", U32, 2**62 + 1))]),
        "declares 4611686018427387905 items",
    ),
    "array of strings past the end": (
        raw_gguf(metadata=[entry("a", ARRAY, struct.pack("<IQ", STRING, 2**61))]),
        "declares 2305843009213693952 items",
    ),
    "array of more items than any model has": (
        raw_gguf(metadata=[entry("a", ARRAY, struct.pack("<IQ", 0, 2**22 + 1))], data_bytes=2**22 + 1),
        "at most 4194304 are read",
    ),
    "array of arrays": (
        raw_gguf(metadata=[entry("a", ARRAY, struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", ARRAY, 1) * 100)]),
        "not nested arrays",
    ),
    "alignment 0": (raw_gguf(metadata=[alignment(0)]), "alignment is 0"),
    "alignment 33": (raw_gguf(metadata=[alignment(33)]), "alignment is 33"),
    "alignment 2^31": (raw_gguf(metadata=[alignment(2**31)]), "alignment is 2147483648"),
    "alignment as text": (raw_gguf(metadata=[entry("general.alignment", STRING, text("32"))]), "alignment is '32'"),
    "tensor name too long": (raw_gguf(tensors=[raw_tensor("a" * 300, [8], 0)]), "300 bytes long; at most 256"),
    "tensor twice": (raw_gguf(tensors=[raw_tensor("a", [8], 0), raw_tensor("a", [8], 32)]), "'a' occurs twice"),
    "no dimensions": (raw_gguf(tensors=[raw_tensor("a", [], 0)]), "0 dimensions; 1 to 4"),
    "five dimensions": (raw_gguf(tensors=[raw_tensor("a", [1] * 5, 0)]), "5 dimensions; 1 to 4"),
    "2^32 - 1 dimensions": (
        raw_gguf(tensors=[text("a") + struct.pack("<I", 2**32 - 1) + b"\0" * 64]),
        "4294967295 dimensions",
    ),
    "dimension 0": (raw_gguf(tensors=[raw_tensor("a", [8, 0], 0)]), r"dimensions \[8, 0\]; each must be at least 1"),
    "negative dimension": (raw_gguf(tensors=[raw_tensor("a", [8, -4], 0)]), r"dimensions \[8, -4\]"),
    "negative dimensions whose product is positive": (
        raw_gguf(tensors=[raw_tensor("a", [-8, -4], 0)]),
        r"dimensions \[-8, -4\]",
    ),
    "dimensions that overflow to 0": (raw_gguf(tensors=[raw_tensor("a", [2**32, 2**32], 0)]), "product under"),
    "dimensions that overflow to 32": (
        raw_gguf(tensors=[raw_tensor("a", [2**40 + 1, 2**40, 2**40, 2**40], 0)]),
        "product under",
    ),
    "size past the end": (raw_gguf(tensors=[raw_tensor("a", [2**20], 0)]), r"ends at byte \d+ .* the file has"),
    "offset past the end": (raw_gguf(tensors=[raw_tensor("a", [8], 8192)]), r"ends at byte \d+ .* the file has"),
    "offset and size past the end by one block": (
        raw_gguf(tensors=[raw_tensor("a", [8], 4096)]),
        r"offset 4096, size 32\); the file has",
    ),
    "offset that overflows": (raw_gguf(tensors=[raw_tensor("a", [8], -32)]), "offset 18446744073709551584"),
    "offset that is not aligned": (raw_gguf(tensors=[raw_tensor("a", [8], 4)]), "offset 4, no multiple of"),
    "overlap": (
        raw_gguf(tensors=[raw_tensor("a", [16], 0), raw_tensor("b", [16], 32)]),
        r"'a' \(bytes \d+ to \d+\) and 'b' .* overlap",
    ),
    "the same place twice": (raw_gguf(tensors=[raw_tensor("a", [8], 64), raw_tensor("b", [8], 64)]), "overlap"),
    "unknown quantisation": (raw_gguf(tensors=[raw_tensor("a", [32], 0, kind=4)]), "unknown type 4"),
    "rows that cut a block": (
        raw_gguf(tensors=[raw_tensor("a", [16, 2], 0, kind=8)]),
        "no multiple of the 32 of a Q8_0",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_lying_header_is_refused(case: str, tmp_path: Path) -> None:
    data, message = HOSTILE[case]
    with pytest.raises(WeightsError, match=message) as caught:
        opened(data, tmp_path)
    assert str(tmp_path / "file.gguf") in str(caught.value)


def test_an_error_does_not_repeat_a_long_name_out_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"type of 'xxx.*…") as caught:
        opened(raw_gguf(metadata=[entry("x" * 60_000, 13, b"\0" * 8)]), tmp_path)
    assert len(str(caught.value)) < 1000


def test_a_giant_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_HEADER_BYTES", 4096)
    with pytest.raises(WeightsError, match="past the 4096 bytes a header may have"):
        opened(
            raw_gguf(metadata=[entry("a", STRING, text("x" * 4000)), entry("b", STRING, text("x" * 4000))]), tmp_path
        )


def test_a_declared_giant_takes_no_memory(tmp_path: Path) -> None:
    """A sparse file of 8 GB with a string of 4 GB in its header is refused at the length, not read."""
    path = tmp_path / "file.gguf"
    path.write_bytes(raw_gguf(metadata=[entry("a", STRING, struct.pack("<Q", 2**32))], data_bytes=0))
    with path.open("r+b") as file:
        file.truncate(2**33)
    with pytest.raises(WeightsError, match="4294967296 bytes long; at most 268435456"):
        GgufFile.open(path)


def test_no_damaged_byte_of_a_header_crashes_the_reader(tmp_path: Path) -> None:
    """Any change of a header gives a model or a WeightsError, nothing else."""
    whole = raw_gguf(
        metadata=[
            entry("name", STRING, text("tiny")),
            entry("list", ARRAY, struct.pack("<IQ", STRING, 2) + text("ab") + text("c")),
            alignment(64),
        ],
        tensors=[raw_tensor("a", [32, 2], 0, kind=8), raw_tensor("b", [4, 4], 128)],
        alignment=64,
    )
    header = len(whole) - 4096
    draw = random.Random(0)
    refused = 0
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(header)] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        try:
            opened(bytes(data[: draw.choice((len(data), header + 100, draw.randrange(header)))]), tmp_path)
        except WeightsError:
            refused += 1
    assert refused > 400


def test_an_honest_file_is_read_as_the_gguf_package_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    values = np.random.default_rng(0).standard_normal((3, 5, 256), dtype=np.float32)
    kinds = gguf.GGMLQuantizationType
    for kind in (kinds.F32, kinds.F16, kinds.BF16, kinds.Q8_0, kinds.Q4_0, kinds.Q4_1, kinds.Q5_0, kinds.Q5_1):
        writer.add_tensor(kind.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.add_string("text", "Ünïcode \0 and more")
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("words", ["a", "", "日本"])
    writer.add_array("flags", [True, False])
    writer.add_float32("real", 0.25)
    writer.add_int64("whole", -(2**40))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ours, theirs = GgufFile.open(path), gguf.GGUFReader(path)
    assert dict(ours.metadata) == {
        key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        entry = ours.tensors[tensor.name]
        assert (entry.offset, entry.n_bytes) == (tensor.data_offset, tensor.n_bytes)
        assert entry.shape == (3, 5, 256)
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(15, 256)
        np.testing.assert_array_equal(np.concatenate(list(ours.rows(tensor.name))), expected)
        order = np.array([14, 0, 7])
        np.testing.assert_array_equal(np.concatenate(list(ours.rows(tensor.name, order))), expected[order])


def test_rows_come_in_pieces_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS_BYTES", 4 * 8 * 10)
    file = opened(raw_gguf(tensors=[raw_tensor("a", [8, 25], 0)]), tmp_path)
    assert [len(rows) for rows in file.rows("a")] == [10, 10, 5]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = opened(raw_gguf(tensors=[raw_tensor("a", [256], 0, kind=int(gguf.GGMLQuantizationType.Q8_K))]), tmp_path)
    with pytest.raises(WeightsError, match="has no tensor 'b'"):
        file.tensor("b")
    with pytest.raises(WeightsError, match="stored as Q8_K, which cannot be de-quantised"):
        list(file.rows("a"))
