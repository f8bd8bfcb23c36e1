# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Streams of earlier versions decode to the same pixels; damaged ones give an error or the same pixels."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import fastcodec
import make_golden
import numpy as np
import pytest
from fastcodec import Error, _core, container, decode, info, verify
from fastcodec.codecs import CODECS
from make_golden import ERRORS, GOLDEN, HASHES, MODELS, pixel_hash

NAMES = json.loads(HASHES.read_text())
BAD = json.loads(ERRORS.read_text())
N_FLIPS = 2000


@pytest.fixture(autouse=True)
def golden_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCODEC_MODELS", str(MODELS))


def stream(name: str) -> bytes:
    reason = CODECS[name.split("_")[0]].reason() if name.endswith(".fcd") else ""
    if reason:
        pytest.skip(reason)
    return (GOLDEN / name).read_bytes()


def test_the_files_are_those_of_the_maker() -> None:
    for listed, made, folder in ((NAMES, make_golden.good(), GOLDEN), (BAD, make_golden.bad(), ERRORS.parent)):
        files = {path.name for path in folder.iterdir() if path.suffix in (".fcd", ".jpg")}
        assert files == set(listed) == set(made)
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 250_000


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_the_recorded_ones(name: str) -> None:
    data = stream(name)
    assert pixel_hash(data) == NAMES[name]
    assert pixel_hash(data, threads=1) == NAMES[name]
    assert verify(data) == info(data)
    assert info(data).networks == ("_rec" in name or name.startswith("range"))


@pytest.mark.parametrize("name", NAMES)
def test_every_cut_is_an_error(name: str) -> None:
    data = stream(name)
    for n in range(len(data)):
        with pytest.raises(fastcodec.FormatError):
            decode(data[:n])


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits_give_an_error_or_the_same_pixels(name: str) -> None:
    data = stream(name)
    expected = NAMES[name]
    for at in np.random.default_rng(len(data)).integers(0, 8 * len(data), N_FLIPS).tolist():
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            found = pixel_hash(bytes(flipped))
        except Error:
            continue
        assert found == expected, f"bit {at} of {name}"


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".fcd")])
def test_a_forger_with_right_checksums_gets_an_error_or_an_image_of_that_size(name: str) -> None:
    limits = fastcodec.Limits(max_pixels=1 << 20, max_memory=64 << 20)
    found = container.read(stream(name), limits)
    rng = np.random.default_rng(len(found.payload))
    slow = _core.active_backend() in ("scalar", "reference")  # and it is the container that is forged
    for _ in range(30 if slow else 150):
        payload = bytearray(found.payload)
        for _ in range(rng.integers(0, 4)):
            payload[rng.integers(len(payload))] = rng.integers(256)
        alpha = None if found.alpha is None else bytes(found.alpha)[: rng.integers(1, 2 * len(found.alpha))]
        networks = found.header.networks
        if networks and rng.random() < 0.3:
            networks = container.Networks(int(rng.choice((1, 2))), int(rng.integers(4)), networks.model_id)
        changed = {
            "width": int(rng.choice((1, 30, 61, 62, 5000, 1 << 20))),
            "height": int(rng.choice((1, 47, 48, 4000, 1 << 18))),
            "channels": int(rng.choice((1, 3))),
            "codec": int(rng.integers(0, 8)),
            "quality": int(rng.integers(1, 101)),
            "trimmed": bool(rng.integers(2)),
        }
        fields = {key: value for key, value in changed.items() if rng.random() < 0.25}
        header = replace(found.header, networks=networks, **fields)
        forged = container.write_fcd(header, bytes(payload), alpha, found.metadata)
        with contextlib.suppress(Error):
            assert decode(forged, strict=False, limits=limits).shape[:2] == (header.height, header.width)


@pytest.mark.parametrize("name", BAD)
def test_bad_streams_give_the_named_error(name: str) -> None:
    with pytest.raises(Error) as caught:
        decode((ERRORS.parent / name).read_bytes())
    assert type(caught.value).__name__ == BAD[name]
    assert len(str(caught.value)) > 20


def test_metadata_of_the_golden_streams() -> None:
    for name in ("jpeg_metadata.fcd", "plain.jpg"):
        i = info(stream(name))
        assert (i.width, i.height) == (30, 44)
        assert i.icc == b"icc" * 20
        assert i.exif == make_golden.EXIF.replace(b"\0\x06\0\0", b"\0\x01\0\0")
        assert i.xmp is not None
        assert i.xmp.startswith(b"<x:xmpmeta")
