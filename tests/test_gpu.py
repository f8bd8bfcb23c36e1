# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels on a GPU, beside the CPU, with torch; test_device.py runs their bodies in the emulator."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
from fastcodec import Limits, _core, container, decode, packed_model, range_codec
from fastcodec.packed_model import Program

torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
pytestmark = pytest.mark.gpu
GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("height", [37, 130])
@pytest.mark.parametrize("network", ["fast", "paper"])
def test_small_networks(network: str, height: int) -> None:
    """What compute-sanitizer runs; the later calls are replays of a graph."""
    program = Program(*(cases.network_fast() if network == "fast" else cases.network_paper(widths=(64,) * 6)))
    size = (height, 141)
    image = torch.zeros((*size, 3), dtype=torch.uint8, device="cuda")
    out = torch.empty_like(image)
    stream = torch.cuda.current_stream().cuda_stream
    for turn in range(4):
        picture = cases.image(*size, seed=turn)
        image.copy_(torch.from_numpy(picture))
        program.run_device(image.data_ptr(), size, out.data_ptr(), 0, size, stream=stream)
        np.testing.assert_array_equal(out.cpu().numpy(), program.run(picture, 0, size))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_small_sparse_convolutions(kernel: int, stride: int) -> None:
    """Products that skip the zeros of 2:4 weights, of u8 and i8; two layers of 64 channels in a kernel too."""
    for width in (5, 33, 64, 130):
        b = cases.ProgramBuilder(3, seed=width)
        x = b.conv("image", width, kernel=kernel, stride=stride, dtype="i8")
        x = b.conv(b.conv(b.conv(b.conv(x, width, kernel=kernel), width, kernel=1), width), width)
        spec, tensors = b.program(b.conv(x, 3, kernel=1)), cases.two_of_four(b.tensors, width)
        program, picture = Program(spec, tensors), cases.image(75, 141, seed=kernel)
        native = _core.DeviceProgram(program.native, "cuda", 0, sparse=True)
        assert "sparse conv" in native.steps
        size = cases.out_size(spec, 75, 141)
        out = torch.empty((*size, 3), dtype=torch.uint8, device="cuda")
        image = torch.from_numpy(picture).cuda()
        stream = torch.cuda.current_stream().cuda_stream
        native.run(image.data_ptr(), (75, 141), out.data_ptr(), 0, size, (0, 0), size, stream=stream)
        np.testing.assert_array_equal(out.cpu().numpy(), program.run(picture, 0, size))


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int, typed: bool) -> None:
    spec, tensors = cases.random_program(seed, typed=typed)
    height, width = 61 + seed, 300 - 3 * seed
    picture = cases.input_for(spec, height, width, seed)
    size = cases.out_size(spec, height, width)
    program = Program(spec, tensors)
    expected = program.run(picture, 0, size)
    image = torch.from_numpy(picture).cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        out = program.run_torch(image, 0, size)
        region = (1, 0, size[1] - 1, size[0] // 2)
        part = program.run_torch(image, 0, size, region=region)
    stream.synchronize()
    np.testing.assert_array_equal(out.cpu().numpy(), expected)
    np.testing.assert_array_equal(part.cpu().numpy(), expected[: size[0] // 2, 1:])


@pytest.mark.parametrize("height", [3, 10])
@pytest.mark.parametrize("network", ["synthesis", "analysis"])
def test_small_range_networks(network: str, height: int) -> None:
    """For compute-sanitizer too."""
    make = cases.range_synthesis if network == "synthesis" else cases.range_analysis
    program = Program(*make(latent=36, width=33 + 4 * height, hidden=40))
    side = 1 if network == "synthesis" else 16
    picture = cases.input_of(program, side * height, side * 7, height)
    size = cases.result_size(program, *picture.shape[:2])
    image = torch.from_numpy(picture).cuda()
    for level in range(3):
        got = program.run_torch(image, level, size)
        np.testing.assert_array_equal(got.cpu().numpy(), program.run(picture, level, size))


def model_files() -> list[Path]:
    return sorted([*packed_model.MODEL_FOLDER.glob("*.safetensors"), *(GOLDEN / "models").glob("*.safetensors")])


@pytest.mark.parametrize("path", model_files(), ids=lambda path: path.stem)
def test_all_programs_of_models(path: Path) -> None:
    for turn, (name, program) in enumerate(packed_model.load(path).programs.items()):
        for height, width in [(1, 1), (37, 61), (150, 130)]:
            if program.scale > 2:  # small inputs have large results
                height, width = (height + 3) // 4, (width + 3) // 4
            picture = cases.input_of(program, height, width, turn)
            size = cases.result_size(program, height, width)
            level = turn % len(program.levels)
            expected = program.run(picture, level, size)
            got = program.run_torch(torch.from_numpy(picture).cuda(), level, size)
            np.testing.assert_array_equal(got.cpu().numpy(), expected, name)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*range_*.fcd")), ids=lambda path: path.stem)
def test_streams_of_codec_range(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCODEC_MODELS", str(GOLDEN / "models"))
    data = path.read_bytes()
    expected = decode(data, out="torch")
    assert torch.equal(decode(data, out="torch", device="cuda").cpu(), expected)
    # This does not fall back to the CPU.
    pixels = range_codec.decode_pixels(container.read(data, Limits()), Limits(), device="cuda")
    assert pixels.is_cuda
    assert torch.equal(pixels.permute(2, 0, 1).cpu(), expected[: pixels.shape[2]])


def test_a_stream_of_many_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles decoded side by side, synthesis in strips; whole and in part."""
    import range_cases
    from fastcodec import encode

    monkeypatch.setenv("FASTCODEC_MODELS", str(tmp_path))
    model = packed_model.load(range_cases.write(tmp_path / "range-many-1.safetensors"))
    packed_model._installed.cache_clear()
    data = encode(cases.image(331, 517), codec="range", model=model, codec_options={"tile": 128})
    stream = container.read(data, Limits())
    for region in (None, (70, 100, 301, 200)):
        expected = decode(data, out="torch", region=region).permute(1, 2, 0)
        for threads in (1, 4):
            got = range_codec.decode_pixels(stream, Limits(), region=region, threads=threads, device="cuda")
            assert torch.equal(got.cpu(), expected)
