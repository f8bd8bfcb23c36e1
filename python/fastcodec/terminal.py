# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands of `fastcodec.cli` share: exit codes, files in and out, tables, progress."""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

import fastcodec
from fastcodec import images, machine, report
from fastcodec.codecs import Codec, by_name

if TYPE_CHECKING:
    from PIL.Image import Image

    from fastcodec.compare import Comparison

OK, BAD_DATA, USAGE, MISSING, SYSTEM, INTERRUPTED = 0, 1, 2, 3, 4, 130

Json = dict[str, Any]
#: Show tracebacks; set by --debug.
debug = False
#: Standard streams that were closed when the command began; they lead nowhere.
closed: set[str] = set()


# Errors ------------------------------------------------------------------------------------------


class Failure(Exception):
    """An error with its exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def fail(code: int, message: str) -> NoReturn:
    """Ends the command, or this input's part of it, with a message."""
    raise Failure(code, message)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and one-line message of an exception."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Failure):
        return error.code, message
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, "interrupted"
    if hasattr(error, "format_message"):  # the option parser's exceptions, wherever typer keeps them
        message = " ".join(error.format_message().split())
        context = getattr(error, "ctx", None)
        return USAGE, f"{message} (see: {context.command_path if context else 'fastcodec'} --help)"
    if isinstance(error, (fastcodec.BackendError, fastcodec.ModelError, ImportError)):
        return MISSING, message
    if isinstance(error, fastcodec.LimitError):
        return BAD_DATA, _as_options(message)
    if isinstance(error, (fastcodec.Error, TypeError, ValueError)):
        return BAD_DATA, message
    if isinstance(error, MemoryError):
        return SYSTEM, "out of memory"
    if isinstance(error, OSError) and error.errno is None:  # what Pillow raises at files that are no images
        return BAD_DATA, message
    if isinstance(error, OSError):
        return SYSTEM, f"{error.strerror or message}{f': {error.filename}' if error.filename else ''}"
    return BAD_DATA, f"{type(error).__name__}: {message}"


def _as_options(message: str) -> str:
    """A LimitError's remedy as the command line has it."""
    found = re.search(r"pass limits=Limits\((max_pixels|max_memory)=(\d+)\)", message)
    if found is None:
        return message.partition("; if you trust")[0]
    return message.replace(found[0], f"give --{found[1].replace('_', '-')} {found[2]}")


def complain(error: BaseException, about: str = "") -> int:
    """Prints an exception as one line on stderr; returns its exit code."""
    if debug:
        traceback.print_exception(error)
    code, message = explain(error)
    print(f"fastcodec: error: {about}{message}", file=sys.stderr)
    return code


# Many inputs -------------------------------------------------------------------------------------


def each(
    inputs: Sequence[str],
    work: Callable[[str, Path | None], Json],
    line: Callable[[Json], str] | None,
    *,
    ending: str = "",
    output: str | None = None,
    output_dir: Path | None = None,
    force: bool = False,
    as_json: bool = False,
) -> list[Json]:
    """Runs work(source, target) on every input; prints JSON or a line for each; returns the rows.

    With an `ending` every input has an output, planned before the first one is touched; the target
    None is stdout. Without one the targets are None and mean nothing. One input's failure is
    printed and the others go on; then the command ends with the first failure's code.
    """
    sources = expand(inputs)
    targets: list[Path | None] = [None] * len(sources)
    if ending:
        targets = plan(sources, ending, output, output_dir, force)
        if as_json and None in targets:
            fail(USAGE, "--json needs stdout; give the output a file name")
    rows: list[Json] = []
    first_failure = OK
    with bar(len(sources) > 1 and line is not None) as advance:
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            advance(index, len(sources), source)
            row: Json = {"input": source}
            if ending:
                row["output"] = "-" if target is None else str(target)
            try:
                row.update(work(source, target))
            except Exception as error:
                code = complain(error, f"{source}: ")
                row.update(error=explain(error)[1], exit_code=code)
                first_failure = first_failure or code
            else:
                if line and not as_json and not (ending and target is None):
                    arrow = f" -> {target}" if target else ""
                    print(f"{source}{arrow}: {line(row)}")
            rows.append(row)
        advance(len(sources), len(sources), "")
    if as_json:
        print_json(rows)
    if first_failure:
        raise typer.Exit(first_failure)
    return rows


def expand(inputs: Sequence[str]) -> list[str]:
    """Input names with patterns expanded; Failure for what is missing or a folder."""
    found: list[str] = []
    for name in inputs:
        if name == "-" or os.path.exists(name):
            matches = [name]
        elif glob.has_magic(name):
            matches = sorted(match for match in glob.glob(name, recursive=True) if os.path.isfile(match))
            if not matches:
                fail(USAGE, f"no file matches {name!r}")
        else:
            fail(USAGE, f"no such file: {name}")
        for match in matches:
            if os.path.isdir(match):
                fail(USAGE, f"{match} is a folder; use a pattern like '{os.path.join(match, '*')}'")
            if match in found:
                fail(USAGE, f"{match} is given twice")
            found.append(match)
    return found


def plan(
    sources: Sequence[str], ending: str, output: str | None, output_dir: Path | None, force: bool
) -> list[Path | None]:
    """Where each source's output goes: a path, or None for stdout. Failure for a bad or unsafe plan."""
    if output is not None and output_dir is not None:
        fail(USAGE, "give one of --output and --output-dir")
    if output is not None and not names_file(output):
        output_dir, output = Path(output), None
    if output_dir is not None and output_dir.exists() and not output_dir.is_dir():
        fail(USAGE, f"{output_dir} is a file, not a folder")
    if output is not None and len(sources) > 1:
        fail(USAGE, f"--output {output} is one file, but there are {len(sources)} inputs; use --output-dir")
    targets: list[Path | None] = []
    for source in sources:
        if output == "-" or (source == "-" and output is None and output_dir is None):
            if sys.stdout.isatty() and not force:
                fail(USAGE, "not writing binary data to the terminal; use -o FILE, or --force")
            targets.append(None)
            continue
        stem = "stdin" if source == "-" else _stem(Path(source).name)
        folder = Path(source).parent if output_dir is None else output_dir
        target = folder / (stem + ending) if output is None else Path(output)
        if source != "-" and target.exists() and target.samefile(source):
            fail(USAGE, f"{source} would be overwritten by its own output; use --output or --output-dir")
        may_write(target, force, make=output is None)
        if target in targets:
            fail(USAGE, f"two inputs would write {target}; use different --output-dir")
        targets.append(target)
    return targets


def names_file(output: str) -> bool:
    """Whether an -o argument means a file (or stdout) rather than a folder."""
    return output == "-" or not (output.endswith(("/", os.sep)) or os.path.isdir(output))


def _stem(name: str) -> str:
    for ending in (".fcd.jpg", ".fcd"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return Path(name).stem


# Files -------------------------------------------------------------------------------------------


def may_write(path: Path, force: bool, *, make: bool = False) -> None:
    """Failure when `path` is a folder, or exists and `force` is off, or its folder is missing and `make` is off."""
    if not make and not path.parent.is_dir():
        fail(USAGE, f"no such folder: {path.parent}")
    if path.is_dir():
        fail(USAGE, f"{path} is a folder")
    if path.exists() and not force and path.is_file():
        fail(USAGE, f"{path} exists; use --force to overwrite it")


@contextlib.contextmanager
def opened(target: Path | None) -> Iterator[Any]:
    """A binary file to write: atomic for a path, stdout for None (written when the block ends well)."""
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with machine.atomic(target) as file:
            yield file
        return
    if "stdout" in closed:
        fail(SYSTEM, "stdout is closed")
    buffer = io.BytesIO()
    yield buffer
    rest = buffer.getbuffer()
    try:
        while rest:  # with PYTHONUNBUFFERED a full disk takes a part without an error
            rest = rest[sys.stdout.buffer.write(rest) or 0 :]
        sys.stdout.buffer.flush()
    except OSError:  # what is left in the buffer shall not fail once more when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def write(target: Path | None, data: bytes) -> None:
    """Writes a whole output: see `opened`."""
    with opened(target) as file:
        file.write(data)


def _stdin() -> Any:
    if "stdin" in closed:
        fail(SYSTEM, "stdin is closed")
    return sys.stdin.buffer


def read(source: str) -> bytes:
    """A stream's bytes from a file or stdin; LimitError above Limits().max_bytes, before reading on."""
    limits = fastcodec.Limits()
    if source != "-":
        limits.check("max_bytes", os.path.getsize(source), source)
    with contextlib.ExitStack() as stack:
        file: Any = _stdin() if source == "-" else stack.enter_context(open(source, "rb"))
        data: bytes = file.read(limits.max_bytes + 1)
    limits.check("max_bytes", len(data), source)
    return data


def need_codec(name: str) -> Codec:
    """The codec of that name; Failure when its library is missing here."""
    codec = by_name(name)
    if reason := codec.reason():
        fail(MISSING, f"codec {name} is not available: {reason}")
    return codec


def open_image(source: str) -> Image:
    """A picture file, or stdin for "-", as a loaded PIL image; of an animation the first frame."""
    import PIL.Image

    PIL.Image.MAX_IMAGE_PIXELS = fastcodec.Limits().max_pixels
    warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
    stream: Any = source
    if source == "-":
        stream = io.BytesIO(_stdin().read())
    elif not os.path.isfile(source):  # a pipe, which Pillow could not seek in
        stream = io.BytesIO(Path(source).read_bytes())
    try:
        with PIL.Image.open(stream) as found:
            if images.deep_mode(found):
                images.read(found)  # says what to do
            exif = images.tiff_exif(found) if found.format == "TIFF" else b""  # which loading closes
            found.load()
            image: Image = found.copy()
            if exif:
                image.info.setdefault("exif", exif)
            return image
    except PIL.UnidentifiedImageError:
        fail(BAD_DATA, "not an image that Pillow can open")
    except PIL.Image.DecompressionBombError as error:
        fail(BAD_DATA, str(error))
    except OSError as error:
        if error.errno is not None:
            raise
        fail(BAD_DATA, f"damaged image: {error}")
    except (SyntaxError, ValueError, EOFError, RuntimeError) as error:  # what Pillow's readers raise at damaged files
        fail(BAD_DATA, f"damaged image: {error}")


def save_picture(picture: Image, file: Any, kind: str, options: Json, source: str) -> None:
    """Writes a decoded picture; metadata that the format cannot hold is left out, with a word on stderr."""
    start = file.tell()
    if kind in ("BMP", "PPM") and picture.info:
        print(f"fastcodec: {source}: {kind} cannot hold its metadata, left out", file=sys.stderr)
    try:
        picture.save(file, kind, **{**options, **_kept_metadata(picture, kind)})
    except Exception as error:  # of many kinds, as the metadata is whatever the encoder was given
        if not picture.info or (isinstance(error, OSError) and error.errno is not None):
            raise
        print(f"fastcodec: {source}: {kind} cannot hold its metadata, left out: {explain(error)[1]}", file=sys.stderr)
        file.seek(start)
        file.truncate()
        picture.info.clear()
        picture.getexif().clear()
        picture.save(file, kind, **options)


def _kept_metadata(picture: Any, kind: str) -> Json:
    """ICC, EXIF and XMP of a decoded image as options of Pillow's save."""
    kept = {name: picture.info[name] for name in ("icc_profile", "exif", "xmp") if picture.info.get(name)}
    if kind in ("BMP", "PPM"):
        return {}
    xmp = kept.get("xmp")
    if kind == "PNG" and xmp is not None:
        from PIL.PngImagePlugin import PngInfo

        del kept["xmp"]
        kept["pnginfo"] = PngInfo()
        kept["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8") if isinstance(xmp, bytes) else xmp)
    if kind == "TIFF" and ("exif" in kept or xmp is not None):
        from PIL.Image import Exif

        exif = Exif()
        exif.load(kept.pop("exif", b""))
        if any(directory in exif for directory in (0x8769, 0x8825, 0xA005)):
            kept["compression"] = "raw"  # with another the writer loses what EXIF keeps in directories of its own
        if xmp is not None:
            exif[700] = kept.pop("xmp")
        kept["exif"] = exif
    return kept


# Printing ----------------------------------------------------------------------------------------


def console() -> Console:
    """Where tables go: stdout, never narrower than they need when it is not a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def print_json(value: Any) -> None:
    only_ascii = (sys.stdout.encoding or "").lower().replace("-", "") not in ("utf8", "utf16", "utf32")
    print(json.dumps(report.plain(value), indent=2, ensure_ascii=only_ascii))


def prepare_streams() -> None:
    """Standard streams that take any name of a file, and are there even where the caller has closed them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            closed.add(name)
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_rows(rows: Sequence[Json], as_json: bool, nothing: str) -> None:
    """Rows as JSON or as a table whose columns are the first row's keys."""
    if as_json:
        print_json(list(rows))
    elif not rows:
        print(nothing)
    else:
        table = Table(*rows[0])
        for row in rows:
            table.add_row(*(escape(_word(value)) for value in row.values()))
        console().print(table)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)


def print_info(row: Json) -> None:
    """One stream's fields."""
    table = Table("field", "value", title=escape(str(row["input"])), title_justify="left")
    for name, value in row.items():
        if name != "input":
            table.add_row(name, escape(json.dumps(value) if isinstance(value, dict) else _word(value)))
    console().print(table)


def print_comparison(found: Comparison) -> None:
    """The table of `compare`, as many columns as fit; the best PSNR is bold."""
    height, width = found.image.shape[:2]
    out = console()
    table = Table(
        title=f"{escape(found.name)}: {width} x {height}, every file at most {found.budget_bytes:,} bytes",
        title_justify="left",
    )
    names = ["method", "bytes", "bpp", "PSNR RGB", "PSNR luma", "SSIM"]
    names += ["MS-SSIM", "encode s", "decode s"] if out.width >= 105 else []
    for name in names:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    if wide := out.width >= 150:
        table.add_column("settings", no_wrap=True)
    best = max((entry.psnr_rgb for entry in found.entries), default=0.0)
    for entry in found.entries:
        decibel = f"{entry.psnr_rgb:.2f}"
        ratios = ["-" if value is None else f"{value:.4f}" for value in (entry.ssim, entry.ms_ssim)]
        cells = [
            escape(entry.title), f"{entry.bytes:,}", f"{entry.bpp:.4f}",
            f"[bold]{decibel}[/bold]" if entry.psnr_rgb == best else decibel, f"{entry.psnr_luma:.2f}", *ratios,
            f"{entry.encode_s:.2f}", f"{entry.decode_s:.3f}",
        ]  # fmt: skip
        table.add_row(*cells[: len(names)], *([entry.settings] if wide else []))
    out.print(table)
    for entry in [] if wide else found.entries:
        print(f"{entry.title}: {entry.settings}")
    for title, reason in found.missing.items():
        print(f"{title} took no part: {reason}")


def print_bd(result: Json) -> None:
    """The BD-rates of `bench rd`, as many columns as fit."""
    low, high = result["rates_bpp"]
    out = console()
    names = ["codec", "against", "PSNR RGB", "BD-PSNR"]
    names += ["PSNR luma", "SSIM", "MS-SSIM"] if out.width >= 110 else []
    table = Table(*names, title=f"BD-rate over {low}-{high} bpp (negative is better)", title_justify="left")
    for codec, part in result["codecs"].items():
        for anchor, bd in part["bd"].items():
            cells = [f"{bd[name]['bd_rate']:+.2f} %" if bd[name] else "-" for name in report.METRICS]
            cells.insert(1, f"{bd['psnr_rgb']['bd_db']:+.2f} dB" if bd["psnr_rgb"] else "-")
            table.add_row(*[escape(f"fastcodec[{codec}]"), anchor, *cells][: len(names)])
    out.print(table)
    for codec, part in result["codecs"].items():
        if same := part["matched"]:
            print(
                f"fastcodec[{codec}] at the bytes of {same['files']} bare files: {same['mean_gain_db']:+.2f} dB in the "
                f"mean, {same['worst_file']['gain_db']:+.2f} dB at worst, {same['worse']} worse, "
                f"{same['out_of_reach']} out of reach"
            )


@contextlib.contextmanager
def bar(wanted: bool = True) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr when that is a terminal; yields advance(done, total, name)."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda done, total, name: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, name: progress.update(task, completed=done, total=total, description=escape(name))


@contextlib.contextmanager
def training_bar() -> Iterator[Callable[[Json], None]]:
    """Shows training's log records on stderr: a bar on a terminal, else a line about every minute."""
    if not sys.stderr.isatty():
        last = [float("-inf")]

        def tell(record: Json) -> None:
            seconds = float(record.get("seconds", 0.0))
            if seconds - last[0] >= 60 or seconds < last[0]:
                last[0] = seconds
                print("train: " + ", ".join(f"{key} {value}" for key, value in record.items()), file=sys.stderr)

        yield tell
        return
    columns = (TextColumn("stage {task.fields[stage]}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("loss {task.fields[loss]}"))  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, stage="-", loss="-")

        def advance(record: Json) -> None:
            fields = {name: record[name] for name in ("stage", "loss") if name in record}
            progress.update(task, completed=record.get("step"), total=record.get("of"), **fields)

        yield advance


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """One line on stderr that says what is going on, when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    with Console(stderr=True).status("") as shown:
        yield lambda text: shown.update(escape(text))
