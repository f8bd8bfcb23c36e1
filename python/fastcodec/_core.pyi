"""
Native core of fastcodec.
"""
from __future__ import annotations
import collections.abc
import numpy
import typing
import typing_extensions
__all__: list[str] = ['DeviceProgram', 'Program', 'RansDevice', 'RansTables', 'TileDecoder', 'TileEncoder', 'active_backend', 'backends', 'build_info', 'crc32c', 'crc32c_table', 'get_num_threads', 'rans_decode', 'rans_decode_bytes', 'rans_encode', 'rans_encode_bytes', 'rans_gaussian_tables', 'rans_info', 'rans_max_size', 'rans_scale_index', 'run_peak', 'set_num_threads']
class Program:
    """
    A checked integer program with its weights packed for one CPU backend.
    """
    def __init__(self, inputs: dict, output: str, n_levels: int, ops: list, tensors: dict, backend: str = '') -> None:
        """
        Raises ModelError naming the operation that is wrong.
        """
    def macs(self, height: int, width: int) -> int:
        """
        Multiplications for an image of that size.
        """
    def run(self, image: numpy.ndarray, out: numpy.ndarray, level: int, out_size: tuple[int, int], origin: tuple[int, int] = (0, 0), threads: int = 0, max_memory: int = 0) -> None:
        """
        Writes the part of the result that starts at origin (x, y) and has the shape of out. Releases the GIL.
        """
    def work_space_bytes(self, size: tuple[int, int], out_size: tuple[int, int], region_size: tuple[int, int], threads: int = 0) -> int:
        """
        Bytes that run() allocates.
        """
    @property
    def align(self) -> int:
        """
        What the edges of a window must be multiples of, in input pixels.
        """
    @property
    def backend(self) -> str:
        """
        Name of its CPU backend.
        """
    @property
    def halo(self) -> int:
        """
        Input pixels around a window's middle that it needs; a multiple of align.
        """
    @property
    def in_channels(self) -> int:
        """
        Channels of the image that run() takes.
        """
    @property
    def in_type(self) -> str:
        """
        uint8, int8 or int16.
        """
    @property
    def n_bytes(self) -> int:
        """
        What the loaded program takes, about.
        """
    @property
    def out_channels(self) -> int:
        """
        Channels of the result.
        """
    @property
    def out_type(self) -> str:
        """
        uint8, int8 or int16.
        """
    @property
    def scale_log2(self) -> int:
        """
        log2 of output size over image size.
        """
class DeviceProgram:
    """
    A program with its tables on a device: 'cuda', or 'emulator' for tests.
    """
    def __init__(self, program: Program, device: str = 'cuda', index: int = 0, sparse: bool = False) -> None:
        """
        Raises BackendError where there is no such device. sparse: products that skip zeros where two of each four neighbouring weights are zero (2:4); the results are the same. Nothing chooses them by itself before a GPU was seen to be faster.
        """
    def run(self, image: int, size: tuple[int, int], out: int, level: int, out_size: tuple[int, int], origin: tuple[int, int], region_size: tuple[int, int], stream: int = 0, max_memory: int = 0, workspace: int = 0) -> None:
        """
        As Program.run, with addresses of dense device memory, aligned to the elements; queues the work on a CUDA stream. workspace: address of workspace_bytes() of device memory aligned to 256; 0: allocated in the order of the stream.
        """
    def workspace_bytes(self, size: tuple[int, int], out_size: tuple[int, int], region_size: tuple[int, int]) -> int:
        """
        Bytes of device memory that run() needs beside image and out.
        """
    @property
    def steps(self) -> list[str]:
        """
        The kernels chosen for the device, in their order.
        """
class RansTables:
    """
    Validated tables of the range coder.
    """
    def __init__(self, tables: collections.abc.Sequence[tuple[int, int, collections.abc.Sequence[int]]], id: bytes) -> None:
        """
        tables: (low, shift, frequencies) of each. Raises FormatError for one that is not valid.
        """
    def __len__(self) -> int:
        ...
    @property
    def mirrored(self) -> bool:
        """
        Whether every table is symmetric around 0; for tests.
        """
class RansDevice:
    """
    Tables on a device: 'cuda', or 'emulator' for tests (order 0..3). Pointers are checked by the caller.
    """
    def __init__(self, tables: RansTables, device: str, index: int, order: int) -> None:
        ...
    def decode(self, data: int, n_bytes: int, index: int, n: int, as_type: int, stream: int, make_out: collections.abc.Callable) -> None:
        """
        Symbols in the device memory that make_out(wide) gives the address of, int32 where wide, else int16.
        """
    def encode(self, symbols: int, item_size: int, index: int, n: int, chunk: int, stream: int, make_out: collections.abc.Callable) -> None:
        """
        Stream in the device memory that make_out(bytes) gives the address of; its length.
        """
class TileEncoder:
    """
    Makes the bytes of one tile of the range codec: hyper(), latents() of each pass, finish().
    """
    def __init__(self, tables: RansTables, backend: str = '') -> None:
        ...
    def finish(self, one_state_symbols: int = 131072) -> bytes:
        """
        The bytes; one state codes up to so many symbols, 32 lanes more.
        """
    def hyper(self, z: numpy.ndarray, index: numpy.ndarray) -> None:
        """
        z int16 [h, w, Z] with table index[c] uint8 [Z].
        """
    def latents(self, y: numpy.ndarray, prior: numpy.ndarray, pass_: int, passes: int, skip: int, quant: numpy.ndarray, dequant: numpy.ndarray, thresholds: numpy.ndarray, y_hat: numpy.ndarray) -> None:
        """
        One pass over y int16 [h, w, M] with prior int16 [h, w, 2 M], quant and dequant int32 [M], thresholds uint8 [tables, 16]; fills in the pass's elements of y_hat int16 [h, w, M].
        """
class TileDecoder:
    """
    Reads one tile of the range codec: hyper(), then latents() of each pass.
    """
    def __init__(self, tile: typing_extensions.Buffer, tables: RansTables, backend: str = '') -> None:
        """
        Raises FormatError.
        """
    def hyper(self, index: numpy.ndarray, z: numpy.ndarray) -> None:
        """
        Fills z int16 [h, w, Z]. Raises FormatError.
        """
    def latents(self, prior: numpy.ndarray, pass_: int, passes: int, skip: int, dequant: numpy.ndarray, y_hat: numpy.ndarray) -> None:
        """
        Fills in the pass's elements of y_hat int16 [h, w, M]. Raises FormatError.
        """
def active_backend() -> str:
    """
    Name of the CPU backend in use; for tests.
    """
def backends() -> list[tuple[str, bool, str]]:
    """
    Backends, best first: (name, available, reason why not).
    """
def build_info() -> dict:
    """
    Versions and options this module was built with.
    """
def crc32c(buffer: typing.Any, seed: int = 0) -> int:
    """
    CRC-32C of a buffer; seed = the CRC so far.
    """
def crc32c_table(buffer: typing.Any, seed: int = 0) -> int:
    """
    The same without the CPU's own instruction, for tests.
    """
def get_num_threads() -> int:
    """
    Threads used where a call does not say.
    """
def rans_decode(data: typing.Any, index: typing.Any, tables: RansTables, out: typing.Any, item_size: int, threads: int, backend: str) -> None:
    """
    Fills out, int16 or int32 of item_size bytes, one symbol for each of index. Raises FormatError.
    """
def rans_decode_bytes(data: typing.Any, out: typing.Any, threads: int, backend: str) -> None:
    """
    Fills out, the bytes of the stream. Raises FormatError.
    """
def rans_encode(symbols: typing.Any, item_size: int, index: typing.Any, tables: RansTables, chunk: int, threads: int, backend: str) -> bytes:
    """
    Stream of int16 or int32 symbols.
    """
def rans_encode_bytes(data: typing.Any, chunk: int, threads: int, backend: str) -> bytes:
    """
    Stream of bytes.
    """
def rans_gaussian_tables() -> list[tuple[int, int, list[int]]]:
    """
    The default tables: (low, shift, frequencies) of each.
    """
def rans_info(data: typing.Any) -> dict:
    """
    Head of a stream.
    """
def rans_max_size(n_symbols: int, chunk: int) -> int:
    """
    Bound of a stream's size.
    """
def rans_scale_index(keys: typing.Any, thresholds: typing.Any, out: typing.Any) -> None:
    """
    Fills out, uint8, with the place of each key among the rising thresholds, all int32.
    """
def run_peak(backend: str, rounds: int) -> int:
    """
    A loop of nothing but the int8 products of a CPU backend, to be timed; returns the number of products.
    """
def set_num_threads(n: int) -> None:
    """
    Set the number of threads used where a call does not say.
    """
__version__: str = '0.1.0'
