# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The command `fastcodec`.

Results go to stdout, messages and progress to stderr; an error is one line. Output files appear
whole or not at all, and nothing is overwritten without --force.

Exit codes: 0 done; 1 bad data (not an image, a damaged stream, a target out of reach); 2 wrong usage
(option, missing input, existing output); 3 an optional part is missing (codec, device, extra);
4 the system refused (disk, permissions); 130 interrupted. With several inputs the others are still
done, and the code is that of the first failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import fastcodec
from fastcodec import _api, images, machine, packed_model, report, terminal
from fastcodec.codecs import CODECS, DEFAULT
from fastcodec.terminal import MISSING, OK, SYSTEM, USAGE, Json, fail

_EXIT_CODES = "Exit codes: 0 done, 1 bad data, 2 wrong usage, 3 optional part missing, 4 system error, 130 interrupted."
#: Lossless formats that `decode` writes, by file ending, and how Pillow is asked for them.
OUTPUT_FORMATS: dict[str, tuple[str, Json]] = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
    ".bmp": ("BMP", {}),
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}

DEMO_IMAGES = ("astronaut", "coffee", "cat")

app = typer.Typer(
    name="fastcodec",
    help="Learned image compression: a codec of its own, and networks around JPEG, AVIF and others.",
    epilog=_EXIT_CODES + " --debug, anywhere, shows the traceback of an error.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(help="Measure.", context_settings={"help_option_names": ["-h", "--help"]})
app.add_typer(bench, name="bench")


def _choice(*names: str, short: str = "", **options: Any) -> Any:
    """A typer option that takes one of `names`, or a list of them."""

    def check(value: Any) -> Any:
        for name in [value] if isinstance(value, str) else value or []:
            if name not in names:
                raise typer.BadParameter(f"must be one of {', '.join(names)}, got {name!r}")
        return value

    flags = [short, options.pop("flag")] if short else []
    return typer.Option(*flags, callback=check, metavar="|".join(names), **options)


Inputs = Annotated[list[str], typer.Argument(help="Files or patterns (* ? **); - reads stdin.", metavar="INPUT...")]
Output = Annotated[str | None, typer.Option("-o", "--output", help="File, folder (ends with /) or - for stdout.")]
Folder = Annotated[Path | None, typer.Option("-d", "--output-dir", help="Output folder, made when missing.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Refuse larger images; default: 268435456.")]
MaxMemory = Annotated[int | None, typer.Option(min=1, help="Refuse what needs more bytes; default: 4294967296.")]
Threads = Annotated[int | None, typer.Option(min=1, max=_api.MAX_THREADS, help="Threads to use; default: all cores.")]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and exits; see the module's text for the exit codes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in (given[: given.index("--")] if "--" in given else given):
        given.remove("--debug")
        terminal.debug = True
    terminal.prepare_streams()
    if not (terminal.debug or sys.warnoptions):
        warnings.simplefilter("ignore")  # of libraries, about damaged files
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code = app(given, prog_name="fastcodec", standalone_mode=False) or OK
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away: be quiet, also when Python closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = SYSTEM
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending
        code = terminal.complain(error)
    sys.exit(code)


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """Arguments that do not fit are wrong usage, not bad data."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error, fastcodec.Error) or "out of reach" in str(error):
            raise
        fail(USAGE, str(error))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(f"fastcodec {fastcodec.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


# encode, decode ----------------------------------------------------------------------------------


@app.command()
def encode(
    inputs: Inputs,
    output: Output = None,
    output_dir: Folder = None,
    codec: Annotated[
        str | None, _choice(*CODECS, short="-c", flag="--codec", help=f"Default: {DEFAULT}, or that of --model.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option("-q", "--quality", min=1, max=100, help="1..100; 75 (range: 60) without a target.")
    ] = None,
    target_bytes: Annotated[int | None, typer.Option("--bytes", min=1, help="Largest file in bytes.")] = None,
    bpp: Annotated[float | None, typer.Option(min=0.0, help="Largest file in bits per pixel.")] = None,
    psnr: Annotated[float | None, typer.Option(min=0.0, help="Smallest file with this PSNR in dB.")] = None,
    networks: Annotated[str, _choice("auto", "on", "off", help="auto: only where they help.")] = "auto",
    scale: Annotated[str, _choice("auto", "1", "2", help="Size of the coded image: full (1) or half (2).")] = "auto",
    subsampling: Annotated[str, _choice("auto", "4:2:0", "4:4:4", help="Chroma sub-sampling.")] = "auto",
    tune: Annotated[str, _choice("psnr", "ssim", help="What the best of networks, sizes and chroma is by.")] = "psnr",
    container: Annotated[str, _choice("fcd", "jpeg", help="jpeg: a .jpg that every viewer opens.")] = "fcd",
    model: Annotated[str | None, typer.Option(help="Name of a packed model; see `fastcodec models`.")] = None,
    codec_option: Annotated[
        list[str] | None,
        typer.Option("--codec-option", metavar="KEY=VALUE", help="More for the codec; `fastcodec codecs` lists them."),
    ] = None,
    metadata: Annotated[bool, typer.Option("--metadata/--no-metadata", help="Keep ICC, EXIF and XMP.")] = True,
    threads: Threads = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compress images: photo.png becomes photo.fcd."""
    targets = {"quality": quality, "target_bytes": target_bytes, "target_bpp": bpp, "target_psnr": psnr}
    targets = {name: value for name, value in targets.items() if value is not None}
    if len(targets) > 1:
        fail(USAGE, "give one of --quality, --bytes, --bpp and --psnr")
    for flag, value in (("--bpp", bpp), ("--psnr", psnr)):
        if value is not None and not 0 < value < float("inf"):
            fail(USAGE, f"{flag} must be a number above 0, got {value}")
    if model is not None and model.endswith(packed_model.SUFFIX) and not os.path.isfile(model):
        fail(USAGE, f"no such file: {model}")
    chosen: Json = {
        "codec": codec or _api.default_codec(model, networks, scale, subsampling, container),
        "model": model,
        "networks": networks,
        "scale": "auto" if scale == "auto" else int(scale),
        "subsampling": subsampling,
        "tune": tune,
        "container": container,
        "codec_options": _codec_options(codec_option or []),
        "threads": threads,
    }
    codec = chosen["codec"]
    if model is None or CODECS[codec].kind == "image":
        terminal.need_codec(codec)
    with _usage():
        _api.settings_for(*chosen.values())
    ending = Path(output or "").suffix.lower()
    others = {*report.IMAGE_SUFFIXES, *(entry.extension for entry in CODECS.values())} - {".fcd"}
    if ending in others - ({".jpg", ".jpeg"} if container == "jpeg" else set()):
        fail(USAGE, f"encode writes .fcd files, got {output}; a .jpg goes with --container jpeg")

    def work(source: str, target: Path | None) -> Json:
        image = terminal.open_image(source)
        with _usage():
            data = report.encode_one(image, **chosen, **targets, metadata=metadata)
        terminal.write(target, data)
        if image.width * image.height > fastcodec.Limits().max_pixels:
            print(f"fastcodec: {source}: decoding needs --max-pixels {image.width * image.height}", file=sys.stderr)
        return report.info_json(data, fastcodec.Limits(max_pixels=1 << 62))

    def has_model() -> bool:
        return model is not None or packed_model.default_for(codec) is not None

    def line(row: Json) -> str:
        why = "" if row["networks"] or networks == "off" or has_model() else f" (no model for {codec})"
        return f"{row['total_bytes']:,} bytes, {row['bpp']:.3f} bpp, networks {'on' if row['networks'] else 'off'}{why}"

    terminal.each(
        inputs, work, None if quiet else line, ending=".fcd.jpg" if container == "jpeg" else ".fcd",
        output=output, output_dir=output_dir, force=force, as_json=as_json,
    )  # fmt: skip


@app.command()
def decode(
    inputs: Inputs,
    output: Output = None,
    output_dir: Folder = None,
    to: Annotated[str, typer.Option("--format", help="Ending of the files when -o names none.")] = "png",
    region: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Only this part.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict/--no-strict", help="--no-strict accepts other pixels from another codec build.")
    ] = True,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
    threads: Threads = None,
    force: Force = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Decompress: photo.fcd becomes photo.png."""
    ending = "." + to.lower().lstrip(".")
    named = output if output and terminal.names_file(output) and output != "-" else ending
    for wanted in (ending, Path("x" + named).suffix.lower()):
        if wanted not in OUTPUT_FORMATS:
            known = " ".join(OUTPUT_FORMATS)
            fail(USAGE, f"decode writes lossless formats ({known}), got {wanted or 'no ending'}")
    part = _region(region)
    limits = _limits(max_pixels, max_memory)

    def work(source: str, target: Path | None) -> Json:
        data = terminal.read(source)
        _need_codec_of(data, limits)
        with _usage():
            picture = fastcodec.decode(data, out="pil", region=part, strict=strict, limits=limits, threads=threads)
        written = target.suffix.lower() if target else ending
        kind, options = OUTPUT_FORMATS[written]
        if "A" in picture.mode and kind in ("BMP", "PPM"):
            fail(USAGE, f"{written} holds no alpha, which this image has; write .png, .tif or .webp")
        if written == ".pgm" and picture.mode != "L":
            fail(USAGE, f"{written} is for grey images, this one is {picture.mode}; write .ppm")
        with terminal.opened(target) as file:
            terminal.save_picture(picture, file, kind, options, source)
        return {"width": picture.width, "height": picture.height, "mode": picture.mode}

    def line(row: Json) -> str:
        return f"{row['width']} x {row['height']} {row['mode']}"

    terminal.each(
        inputs, work, None if quiet else line, ending=ending, output=output, output_dir=output_dir, force=force,
        as_json=as_json,
    )  # fmt: skip


def _codec_options(pairs: list[str]) -> Json:
    """KEY=VALUE words as codec_options: whole numbers, true/false and JSON objects become what they look like."""
    options: Json = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            fail(USAGE, f"--codec-option must be KEY=VALUE, got {pair!r}")
        if text.lower() in ("true", "false"):
            options[key] = text.lower() == "true"
        elif text.startswith("{"):
            try:
                options[key] = json.loads(text)
            except ValueError as error:
                fail(USAGE, f"--codec-option {key} must be JSON where it begins with a brace: {error}")
        else:
            try:
                options[key] = int(text)
            except ValueError:
                options[key] = text
    return options


def _region(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", part) for part in parts):
        fail(USAGE, f"--region must be X,Y,W,H in pixels, got {text!r}")
    x, y, w, h = (int(part) for part in parts)
    return x, y, w, h


def _limits(max_pixels: int | None, max_memory: int | None) -> fastcodec.Limits:
    given = {"max_pixels": max_pixels, "max_memory": max_memory}
    return fastcodec.Limits(**{name: value for name, value in given.items() if value is not None})


def _need_codec_of(data: bytes, limits: fastcodec.Limits) -> None:
    """Failure (an optional part is missing) when the stream's codec is known but not installed."""
    name = fastcodec.info(data, limits=limits).codec
    if name in CODECS and CODECS[name].kind == "image":  # decoding says which model is missing
        terminal.need_codec(name)


# info, verify ------------------------------------------------------------------------------------


@app.command()
def info(inputs: Inputs, max_pixels: MaxPixels = None, as_json: AsJson = False) -> None:
    """Show what is in files, without decoding pixels."""
    limits = _limits(max_pixels, None)

    def work(source: str, target: Path | None) -> Json:
        row = report.info_json(terminal.read(source), limits)
        if not as_json:
            terminal.print_info({"input": source, **row})
        return row

    terminal.each(inputs, work, None, as_json=as_json)


@app.command()
def verify(
    inputs: Inputs,
    max_pixels: MaxPixels = None,
    max_memory: MaxMemory = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check files by decoding them fully."""
    limits = _limits(max_pixels, max_memory)

    def work(source: str, target: Path | None) -> Json:
        data = terminal.read(source)
        _need_codec_of(data, limits)
        fastcodec.verify(data, limits=limits)
        return {"ok": True, **report.info_json(data, limits)}

    terminal.each(inputs, work, None if quiet else lambda row: "ok", as_json=as_json)


# compare, demo -----------------------------------------------------------------------------------

Budget = Annotated[int | None, typer.Option("--bytes", min=1, help="Byte budget; or --bpp.")]
Rate = Annotated[float | None, typer.Option("--bpp", min=0.0, help="Budget in bits per pixel; 0.3 when not given.")]


@app.command()
def compare(
    image: Annotated[str, typer.Argument(help="An image file; - reads stdin.")],
    target_bytes: Budget = None,
    bpp: Rate = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="HTML page; default: <image>.html.")] = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Also write the coded files into this folder.")] = None,
    threads: Threads = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """One image at the same bytes by JPEG, WebP, AVIF, JPEG 2000 and fastcodec: a table and a page."""
    sources = terminal.expand([image])
    if len(sources) != 1:
        fail(USAGE, f"compare takes one image, {image!r} matches {len(sources)}")
    source = sources[0]
    page = output or Path("stdin" if source == "-" else Path(source).name).with_suffix(".html")
    own = None if source == "-" else Path(source)
    _compare(lambda: _pixels(source), Path(source).name, own, page, keep, target_bytes, bpp, threads, force, as_json)


@app.command()
def demo(
    image: Annotated[str, _choice(*DEMO_IMAGES, help="Which photograph of scikit-image.")] = "astronaut",
    bpp: Rate = None,
    output_dir: Annotated[Path, typer.Option("-d", "--output-dir", help="Output folder.")] = Path("fastcodec-demo"),
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """`compare` on a photograph that scikit-image brings (extra: demo); an earlier demo is overwritten."""
    from fastcodec import compare as comparison

    pixels = comparison.demo_image(image)
    page = output_dir / f"{image}.html"
    _compare(lambda: pixels, image, None, page, output_dir, None, bpp, threads, True, as_json)


def _compare(
    load: Callable[[], Any],
    name: str,
    source: Path | None,
    page: Path,
    keep: Path | None,
    target_bytes: int | None,
    bpp: float | None,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    from fastcodec import compare as comparison

    if target_bytes is not None and bpp is not None:
        fail(USAGE, "give one of --bytes and --bpp")
    if bpp is not None and not 0 < bpp < float("inf"):
        fail(USAGE, f"--bpp must be a number above 0, got {bpp}")
    terminal.may_write(page, force, make=page.parent == keep)
    stem = "stdin" if name == "-" else Path(name).stem
    kept = [keep / f"{stem}{ending}" for ending in comparison.endings()] if keep else []
    for path in kept:
        terminal.may_write(path, force, make=True)
    for path in (page, *kept):
        if source is not None and path.exists() and path.samefile(source):
            fail(USAGE, f"{source} would be overwritten by {path}; use another --output or --keep")
    try:
        pixels = load()
    except Exception as error:
        raise typer.Exit(terminal.complain(error, f"{name}: ")) from error
    with terminal.status() as say, _usage():
        found = comparison.compare(
            pixels, name, target_bytes=target_bytes, target_bpp=bpp, threads=threads,
            progress=lambda title: say(f"{title} ..."),
        )  # fmt: skip
        say("writing the page ...")
        text = comparison.html(found)
    files = {keep / f"{stem}{entry.ending}": entry.data for entry in found.entries} if keep else {}
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    for path, data in {**files, page: text.encode("utf-8", "backslashreplace")}.items():
        terminal.write(path, data)
    if as_json:
        terminal.print_json({**found.as_json(), "page": str(page), "files": [str(path) for path in files]})
        return
    terminal.print_comparison(found)
    print(f"page: {page}")


def _pixels(source: str) -> Any:
    """An image file as uint8 (h, w, 1 or 3), upright; alpha is dropped."""
    return images.read(terminal.open_image(source)).image


# bench, train ------------------------------------------------------------------------------------


@bench.command("rd")
def bench_rd(
    folder: Annotated[str, typer.Argument(help="Folder of images, an image or a pattern.")],
    codec: Annotated[
        list[str] | None, _choice(*CODECS, short="-c", flag="--codec", help="Default: jpeg; repeat for several.")
    ] = None,
    output_dir: Annotated[Path | None, typer.Option("-d", "--output-dir", help="Default: rd-<folder>.")] = None,
    qualities: Annotated[str | None, typer.Option(help="Such as 5,10,20; default: some over the whole range.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images.")] = None,
    processes: Annotated[int, typer.Option("-j", "--processes", min=1, help="Images side by side.")] = 1,
    threads: Threads = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what is already there.")] = False,
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw rd.png (extra: plot).")] = True,
    grey: Annotated[bool, typer.Option("--grey", help="Measure the luma of the images.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="Name of a packed model for the one codec measured; repeat to compare.")
    ] = None,
    same_bytes: Annotated[
        bool, typer.Option("--same-bytes/--no-same-bytes", help="Also compare at the bytes of every bare file.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Rate-distortion over images, from real files: JSON, Markdown table and plot. Can be stopped and resumed."""
    names = list(dict.fromkeys(codec or ["jpeg"]))
    for name in names:
        terminal.need_codec(name)
    try:
        chosen = sorted({int(part) for part in qualities.split(",")}) if qualities else None
    except ValueError:
        fail(USAGE, f"--qualities must be numbers like 5,10,20, got {qualities!r}")
    if chosen and (chosen[0] < 1 or chosen[-1] > 100):
        fail(USAGE, f"--qualities must be 1 to 100, got {qualities!r}")
    root = Path(folder)
    paths = sorted(root.iterdir()) if root.is_dir() else [Path(name) for name in terminal.expand([folder])]
    paths = [path for path in paths if path.suffix.lower() in report.IMAGE_SUFFIXES][:limit]
    if not paths:
        fail(USAGE, f"no images in {folder}")
    out = output_dir or Path(f"rd-{root.resolve().name if root.is_dir() else 'images'}")
    with _usage():
        report.check_models(model or (), names)
    with terminal.bar() as advance:
        result = report.bench_rd(
            paths, out, codec_names=names, qualities=chosen, processes=processes, threads=threads, fresh=fresh,
            plot=plot, grey=grey, models=model or (), same_bytes=same_bytes, progress=advance,
        )  # fmt: skip
    if as_json:
        terminal.print_json({key: value for key, value in result.items() if key != "images"})
        return
    terminal.print_bd(result)
    print(f"written: {out / 'rd.json'}, {out / 'rd.md'}" + (f", {out / 'rd.png'}" if plot else ""))


@bench.command("paper")
def bench_paper(
    folder: Annotated[
        Path, typer.Argument(help="Folder with butterfly, cameraman, house, lena, peppers, leaves and parrots.")
    ],
    output_dir: Annotated[Path | None, typer.Option("-d", "--output-dir", help="Default: paper-<folder>.")] = None,
    replace: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Another file for one of them; repeat for several.")
    ] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw paper.png (extra: plot).")] = True,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """The tables of Jiang et al. 2017 at the bytes of JPEG QF 5 and 10: Markdown, JSON, picture, and all files."""
    measuring = importlib.import_module("fastcodec.bench_paper")
    if not folder.is_dir():
        fail(USAGE, f"no such folder: {folder}")
    others: dict[str, Path] = {}
    for pair in replace or []:
        name, equals, path = pair.partition("=")
        if not equals or name not in measuring.NAMES:
            fail(USAGE, f"--replace must be NAME=FILE with a name of {', '.join(measuring.NAMES)}, got {pair!r}")
        others[name] = Path(path)
    out = output_dir or Path(f"paper-{folder.resolve().name}")
    try:
        with terminal.status() as say:
            result = measuring.bench_paper(
                folder, out, replace=others, picture=picture, threads=threads, progress=lambda text: say(f"{text} ...")
            )
    except measuring.MissingImages as error:
        fail(USAGE, str(error))
    if as_json:
        terminal.print_json(result)
        return
    print((out / "paper.md").read_text(encoding="utf-8"), end="")
    print(f"written: {out / 'paper.json'}, {out / 'paper.md'}" + (f", {out / 'paper.png'}" if picture else ""))


@bench.command("networks")
def bench_networks(
    name: Annotated[
        list[str] | None,
        typer.Option("-n", "--network", help="P, F, D, S, S50, S50x16 or a model's name; repeat for several."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the image.")] = "768x512",
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Calls of each engine.")] = 7,
    peers: Annotated[bool, typer.Option("--peers/--no-peers", help="Also time other engines (extra: bench).")] = True,
    output_dir: Annotated[Path | None, typer.Option("-d", "--output-dir", help="For networks.json and .md.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=_api.MAX_THREADS, help="Threads of every engine.")] = 1,
    isa: Annotated[
        str | None, _choice("avx2", "avxvnni", help="Limit all engines that can be to these instructions.")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Speed of the integer networks beside torch, onnxruntime and OpenVINO: times, GMAC/s, memory."""
    measuring = importlib.import_module("fastcodec.bench_networks")
    sides = [int(side) for side in size.lower().split("x") if side.isdigit()]
    if len(sides) != 2 or any(side < 4 or side % 4 or side > 1 << 15 for side in sides):
        fail(USAGE, f"--size must be WIDTHxHEIGHT in multiples of 4 up to {1 << 15}, got {size!r}")
    try:
        networks = measuring.choose(name)
    except ValueError as error:
        fail(USAGE, f"--network: {error}")
    try:
        measuring.cpu_backends(isa)
    except ValueError as error:
        fail(MISSING, f"--isa: {error}")
    files = [output_dir / f"networks.{ending}" for ending in ("json", "md")] if output_dir else []
    for path in files:
        terminal.may_write(path, force, make=True)
    with terminal.status() as say:
        result = measuring.bench(
            networks, size=(sides[1], sides[0]), threads=threads, repeats=repeats, peers=peers, isa=isa, progress=say
        )
    text = measuring.markdown(result)
    if output_dir:
        output_dir.mkdir(parents=True, exist_ok=True)
        for path, content in zip(files, (json.dumps(result, indent=1) + "\n", text), strict=True):
            machine.write_text(path, content)
    if as_json:
        terminal.print_json(result)
    else:
        print(text + "".join(f"written: {path}\n" for path in files), end="")


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped config.")],
    data: Annotated[Path, typer.Option(help="Folder of photographs.", exists=True, file_okay=False)],
    output_dir: Annotated[Path, typer.Option("-d", "--output-dir", help="Checkpoint, log and packed model.")],
    budget_minutes: Annotated[float, typer.Option(min=0.0, help="Stop in good order after this time.")] = float("inf"),
    resume: Annotated[bool, typer.Option("--resume/--restart", help="Go on from the folder's checkpoints.")] = True,
    init: Annotated[
        Path | None, typer.Option(help="Float weights of an earlier run to start from.", exists=True, dir_okay=False)
    ] = None,
    scale: Annotated[int | None, typer.Option(min=1, max=2, help="Train only the networks of this scale.")] = None,
    threads: Threads = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train networks and export a packed model (extra: train)."""
    if importlib.util.find_spec("torch") is None:
        fail(MISSING, "training needs torch, which is not installed; run: pip install 'fastcodec[train]'")
    training = importlib.import_module("fastcodec.train.train")
    with _usage():
        training.load_config(config)
    with terminal.training_bar() as progress:
        path = training.main(
            config, data=data, out=output_dir, budget_minutes=budget_minutes, resume=resume, init=init, device=device,
            threads=threads, progress=progress, scales=(1, 2) if scale is None else (scale,),
        )  # fmt: skip
    if as_json:
        logs = sorted(str(log) for log in output_dir.glob("log*.jsonl"))
        terminal.print_json({"model": str(path), "logs": logs})
    else:
        print(f"written: {path}")


# backends, codecs, models ------------------------------------------------------------------------


@app.command()
def backends(as_json: AsJson = False) -> None:
    """List the compute backends, best first, and why one is missing."""
    terminal.print_rows([dataclasses.asdict(status) for status in fastcodec.backends()], as_json, "no backends")


@app.command("codecs")
def list_codecs(as_json: AsJson = False) -> None:
    """List the codecs with their options, and what to install for those that are missing."""
    rows = [
        {
            "name": codec.name,
            "available": not codec.reason(),
            "reason": codec.reason(),
            "subsamplings": list(codec.subsamplings),
            "options": [f"{name}={option.said}" for name, option in sorted(codec.options.items())],
        }
        for codec in CODECS.values()
    ]
    terminal.print_rows(rows, as_json, "no codecs")


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the packed models that are installed."""
    rows = machine.models()
    shown = rows if as_json else [{key: value for key, value in row.items() if key != "path"} for row in rows]
    terminal.print_rows(shown, as_json, "no packed models are installed")
