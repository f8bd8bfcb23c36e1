# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of Jiang et al. 2017 (arXiv 1708.00838), measured again on their seven grey images.

The budget of an image is the size of a full-size JPEG file at quality factor 5 or 10, and every other method gets at
most those bytes: it searches over scale and codec quality for the smallest squared error. Two protocols:

* a, the paper's: JPEG with the default Huffman tables, as the budget and inside the methods;
* b, the hard one: JPEG with optimised Huffman tables, the smaller of sequential and progressive, as the budget.

Every figure comes from a file that lies in the output folder, read back and decoded; all bytes of the file count,
container included. Nothing written depends on the time, so a second run gives the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fastcodec
from fastcodec import flow, machine, metrics, packed_model
from fastcodec.codecs import Codec, Options, by_name
from fastcodec.images import read
from fastcodec.trim import jpeg_steps

Json = dict[str, Any]
Array = NDArray[Any]

NAMES = ("butterfly", "cameraman", "house", "lena", "peppers", "leaves", "parrots")
QUALITY_FACTORS = (5, 10)
SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp")
HOW_TO_GET = (
    "they are the usual grey test pictures of image restoration, 256x256 but lena and peppers 512x512: lena is the "
    "Lena.png of https://github.com/compression-framework/compression_framwork_for_tesing, peppers comes with Set14, "
    "butterfly with Set5, the others with NCSR (Dong et al. 2013); save each losslessly as NAME.png, or give it by "
    "--replace NAME=FILE"
)
#: PSNR in dB and SSIM as printed in the paper, in the order of NAMES, then the printed average.
PRINTED: dict[int, dict[str, tuple[tuple[float, float], ...]]] = {
    5: {
        "jpeg": (
            (22.58, 0.7378), (24.45, 0.7283), (27.77, 0.7733), (27.33, 0.7367), (27.17, 0.7087), (22.49, 0.7775),
            (26.19, 0.7581), (25.43, 0.7456),
        ),
        "only_com": (
            (23.05, 0.7488), (24.93, 0.7662), (29.17, 0.8119), (29.46, 0.8042), (29.33, 0.7966), (23.19, 0.7885),
            (27.67, 0.8377), (26.69, 0.7934),
        ),
        "only_rec": (
            (25.99, 0.8760), (26.33, 0.7945), (30.13, 0.8251), (29.63, 0.8195), (29.81, 0.8004), (25.21, 0.8803),
            (28.52, 0.8497), (28.02, 0.8351),
        ),
        "both": (
            (26.23, 0.8847), (26.53, 0.8167), (31.45, 0.8456), (31.14, 0.8486), (30.84, 0.8328), (25.52, 0.8912),
            (30.12, 0.8951), (28.83, 0.8535),
        ),
    },
    10: {
        "jpeg": (
            (25.24, 0.8325), (26.47, 0.7965), (30.56, 0.8183), (30.41, 0.8183), (30.14, 0.7839), (25.40, 0.8609),
            (28.96, 0.8336), (28.17, 0.8206),
        ),
        "only_com": (
            (26.32, 0.8796), (27.05, 0.8154), (31.82, 0.8497), (31.63, 0.8573), (31.04, 0.8296), (26.51, 0.9095),
            (29.97, 0.8766), (29.12, 0.8597),
        ),
        "only_rec": (
            (28.04, 0.9192), (27.33, 0.8429), (32.76, 0.8584), (32.35, 0.8679), (31.34, 0.8396), (28.53, 0.9443),
            (30.85, 0.8884), (30.17, 0.8801),
        ),
        "both": (
            (28.60, 0.9245), (27.44, 0.8448), (33.25, 0.8678), (33.11, 0.8838), (31.83, 0.8532), (28.77, 0.9475),
            (31.11, 0.9047), (30.59, 0.8895),
        ),
    },
}  # fmt: skip
#: An image whose full-size JPEG is farther than this from the printed one is not the paper's.
SAME_IMAGE_DB = 0.05
CROP = 96


# The images --------------------------------------------------------------------------------------


class MissingImages(ValueError):
    """The folder lacks some of the seven images; the message names them and says how to get them."""


def find_images(folder: Path, replace: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """The file of each of NAMES in `folder`; `replace` names other files for some of them.

    Raises:
        MissingImages: some are not there.
        ValueError: `replace` has an unknown name.
    """
    found = {
        path.stem.lower(): path
        for path in sorted(folder.iterdir(), reverse=True)
        if path.is_file() and path.suffix.lower() in SUFFIXES
    }
    for name, path in (replace or {}).items():
        if name not in NAMES:
            raise ValueError(f"replace: the names are {', '.join(NAMES)}, got {name!r}")
        found[name] = path
    missing = [name for name in NAMES if name not in found or not found[name].is_file()]
    if missing:
        raise MissingImages(f"{folder} lacks {len(missing)} of the 7 images: {', '.join(missing)}; {HOW_TO_GET}")
    return {name: found[name] for name in NAMES}


def grey(path: Path) -> metrics.Image:
    """An image file as uint8 (h, w, 1): grey as it is, colour by BT.601 luma, rounded."""
    with Image.open(path) as opened:
        image = read(opened).image
    return image if image.shape[2] == 1 else np.asarray(Image.fromarray(image).convert("L"))[:, :, None]


# JPEG with the default tables --------------------------------------------------------------------


def _jpeg(image: metrics.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[:, :, 0]).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _encode_default(image: metrics.Image, quality: float, subsampling: str, options: Options) -> bytes:
    if options.get("tables") == "tuned":
        return _jpeg(image, qtables=jpeg_steps(quality, tuned=True)[:1])
    return _jpeg(image, quality=quality)


def default_tables_codec() -> Codec:
    """The codec `jpeg`, but sequential with the default Huffman tables and with its whole head in the stream."""
    return dataclasses.replace(by_name("jpeg"), encode_file=_encode_default, trimmer=None, either="")


# Models with one network only --------------------------------------------------------------------


def _bicubic(levels: list[int], up: bool) -> tuple[Json, dict[str, Array]]:
    """A program that does bicubic x2 (or x1/2) and nothing else: a residual of zeros on the resampled image."""
    shape = (4, 1, 1, 1) if up else (1, 1, 1, 4)
    tensors: dict[str, Array] = {
        "w": np.zeros(shape, np.int8),
        "b": np.zeros((1, shape[0]), np.int32),
        "m": np.ones((1, shape[0]), np.int32),
    }
    prefix = "bicubic_up." if up else "bicubic_down."
    tables = {"weight": prefix + "w", "bias": prefix + "b", "mult": prefix + "m"}
    conv: Json = {"op": "conv", "out": "zeros", **tables, "stride": 1, "type": "i16"}
    ops: list[Json]
    if up:
        ops = [
            {**conv, "in": ["image"]},
            {"op": "pixel_shuffle", "in": ["zeros"], "out": "d", "factor": 2},
            {"op": "bicubic_up2", "in": ["image"], "out": "base", "type": "i16"},
        ]
    else:
        ops = [
            {"op": "pixel_unshuffle", "in": ["image"], "out": "p", "factor": 2},
            {**conv, "in": ["p"], "out": "d"},
            {"op": "bicubic_down2", "in": ["image"], "out": "base", "type": "i16"},
        ]
    ops.append({"op": "residual", "in": ["d", "base"], "out": "y"})
    spec = {"inputs": {"image": 1}, "output": "y", "levels": levels, "ops": ops}
    return spec, {prefix + name: tensor for name, tensor in tensors.items()}


def single_network(model: packed_model.PackedModel, which: str, path: Path) -> packed_model.PackedModel:
    """Writes a model for grey images with only one of the networks of `model`; bicubic resampling is the other one.

    Args: which: "com" (ComCNN, codec, bicubic up) or "rec" (bicubic down or full size, codec, RecCNN).
    """
    meta, tensors, _ = packed_model.read(model.path)
    kept = ("com2_grey",) if which == "com" else ("rec1_grey", "rec2_grey")
    programs = {name: meta["programs"][name] for name in kept if name in meta["programs"]}
    other, extra = _bicubic(model.programs[kept[-1]].levels, up=which == "com")
    programs["rec2_grey" if which == "com" else "com2_grey"] = other
    used = {
        value for spec in programs.values() for op in spec["ops"] for value in op.values() if isinstance(value, str)
    }
    kept_tensors = {name: tensor for name, tensor in {**tensors, **extra}.items() if name in used}
    own = {
        "format": meta["format"],
        "name": f"{model.name}-only-{which}",
        "codec": model.codec,
        "variant": f"only-{which}",
        "programs": programs,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    packed_model.save(path, own, kept_tensors)
    return packed_model.load(path)


def newest(codec: str, variant: str) -> packed_model.PackedModel | None:
    """The installed model of a codec and variant with the highest version; None when there is none."""
    found = [m for m in packed_model.installed().values() if (m.codec, m.variant) == (codec, variant)]
    last = max(found, key=lambda m: (len(m.name), m.name), default=None)
    return last.load() if last else None


@contextlib.contextmanager
def _also_from(folder: Path) -> Iterator[None]:
    """Streams may use the models in `folder` too, as with FASTCODEC_MODELS."""
    before = os.environ.get(packed_model.PATH_VARIABLE)
    os.environ[packed_model.PATH_VARIABLE] = os.pathsep.join([*([before] if before else []), str(folder)])
    try:
        yield
    finally:
        if before is None:
            del os.environ[packed_model.PATH_VARIABLE]
        else:
            os.environ[packed_model.PATH_VARIABLE] = before


# Measuring ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Row:
    """One method. Without `settings` it is JPEG itself; `missing` says why it cannot run."""

    key: str
    title: str
    settings: flow.Settings | None = None
    missing: str = ""


def rows_for(protocol: str, models: Mapping[str, packed_model.PackedModel | None], threads: int | None) -> list[Row]:
    """The methods of a protocol. `models`: "fast", "half" (for half size where "fast" has no networks for it), "paper",
    "only_com", "only_rec"; None where not installed."""
    shipped = by_name("jpeg")
    inside = default_tables_codec() if protocol == "a" else shipped

    def row(key: str, title: str, which: str, codec: Codec, networks: str, tune: str = "psnr") -> Row:
        model = models[which]
        if model is None:
            return Row(key, title, None, f"no model of variant `{which}` for codec jpeg is installed")
        half = models["half"] if which == "fast" else None
        return Row(
            key, f"{title}: {model.name}", flow.Settings(codec, model, networks, threads=threads, half=half, tune=tune)
        )

    rows = [
        Row("jpeg", "JPEG, default Huffman tables" if protocol == "a" else "JPEG, optimised Huffman tables"),
        row("only_com", "only ComCNN, bicubic up", "only_com", inside, "on"),
        row("only_rec", "only RecCNN", "only_rec", inside, "on"),
        row("both_paper", "both, `paper` networks", "paper", inside, "auto"),
    ]
    if protocol == "a":
        rows.append(row("both_fast", "both, `fast` int8, default Huffman tables inside", "fast", inside, "auto"))
    rows.append(row("shipped", "both, `fast` int8, as shipped", "fast", shipped, "auto"))
    rows.append(row("shipped_ssim", "both, `fast` int8, as shipped, tune='ssim'", "fast", shipped, "auto", "ssim"))
    for key, title, options in (
        ("tuned", "fastcodec without networks, tuned tables", {"tables": "tuned"}),
        ("container", "fastcodec without networks", {}),
    ):
        rows.append(Row(key, title, flow.Settings(shipped, None, "off", options=options, threads=threads)))
    return rows


def budget_file(image: metrics.Image, protocol: str, quality: int) -> tuple[bytes, str]:
    """The JPEG file whose size is the budget, and its setting in words."""
    if protocol == "a":
        return _jpeg(image, quality=quality), "default tables, sequential"
    files = {
        "optimised, sequential": _jpeg(image, quality=quality, optimize=True),
        "optimised, progressive": _jpeg(image, quality=quality, optimize=True, progressive=True),
    }
    setting = min(files, key=lambda name: len(files[name]))
    return files[setting], setting


def measure(image: metrics.Image, row: Row, budget: int, path: Path, threads: int | None) -> Json:
    """Writes the file of one method for one image; what it holds, or {"reason"} when the budget is out of reach.

    `path` has no ending yet.
    """
    assert row.settings is not None
    path = path.with_name(path.name + ".fcd")
    try:
        data = flow.encode_image(image, None, {}, row.settings, flow.Target("bytes", budget))
    except ValueError as error:
        path.unlink(missing_ok=True)
        return {"reason": str(error).partition(";")[0]}
    with machine.atomic(path) as file:
        file.write(data)
    stored = path.read_bytes()
    about = fastcodec.info(stored)
    decoded = np.asarray(fastcodec.decode(stored, threads=threads)).reshape(image.shape)
    return {
        **_point(image, decoded, stored, path),
        "scale": about.scale,
        "quality": about.quality,
        "networks": about.networks,
    }


def _point(image: metrics.Image, decoded: metrics.Image, stored: bytes, path: Path) -> Json:
    return {
        "bytes": len(stored),
        "bpp": 8 * len(stored) / (image.shape[0] * image.shape[1]),
        "psnr": metrics.psnr(image, decoded),
        "ssim": metrics.ssim(image, decoded),
        "file": f"{path.parent.name}/{path.name}",
    }


def bench_paper(
    folder: Path,
    out: Path,
    *,
    replace: Mapping[str, Path] | None = None,
    picture: bool = True,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Json:
    """Measures all rows and writes paper.json, paper.md, paper.png, files/ and models/ into `out`.

    Args:
        folder: holds the seven images; see `find_images`.
        replace: other files for some of NAMES.
        picture: draw paper.png (needs matplotlib).

    Returns:
        The contents of paper.json.

    Raises:
        MissingImages: images are missing.
        ImportError: picture without matplotlib; the message names the extra.
        fastcodec.ModelError: no model for JPEG is installed.
    """
    if picture and importlib.util.find_spec("matplotlib") is None:
        raise ImportError("matplotlib is not installed; run: pip install 'fastcodec[plot]', or use --no-picture")
    images = {name: grey(path) for name, path in find_images(folder, replace).items()}
    defaults = packed_model.default_for("jpeg"), packed_model.default_for("jpeg", "rec2")
    paper = newest("jpeg", "paper")
    if defaults[0] is None or defaults[1] is None:
        raise fastcodec.ModelError("no model for codec jpeg is installed; put one into a folder of FASTCODEC_MODELS")
    fast, half = (model.load() for model in defaults if model)
    singles = {
        f"only_{which}": single_network(paper or half, which, out / "models" / f"only-{which}.safetensors")
        for which in ("com", "rec")
    }
    parts = []
    with _also_from(out / "models"):
        for protocol in ("a", "b"):
            rows = rows_for(protocol, {"fast": fast, "half": half, "paper": paper, **singles}, threads)
            for quality in QUALITY_FACTORS:
                progress(f"protocol {protocol}, QF {quality}")
                parts.append(_part(images, protocol, quality, rows, out / "files", threads))
        result: Json = {
            "what": "the tables of arXiv 1708.00838 from real files; the budget is that of JPEG at full size",
            "machine": {key: value for key, value in machine.describe().items() if key != "time"},
            "models": {key: None if m is None else m.id.hex() for key, m in (("fast", fast), ("paper", paper))},
            "images": {name: {"width": x.shape[1], "height": x.shape[0]} for name, x in images.items()},
            "not_the_papers": _others(parts),
            "printed": {str(qf): {key: [list(v) for v in row] for key, row in t.items()} for qf, t in PRINTED.items()},
            "parts": parts,
        }
        machine.write_text(out / "paper.json", json.dumps(result, indent=1) + "\n")
        machine.write_text(out / "paper.md", markdown(result))
        if picture:
            progress("picture")
            draw(result, images, out)
    return result


def _part(
    images: Mapping[str, metrics.Image], protocol: str, quality: int, rows: list[Row], files: Path, threads: int | None
) -> Json:
    """One protocol at one quality factor: budgets and the values of every row."""
    folder = files / f"{protocol}_qf{quality}"
    folder.mkdir(parents=True, exist_ok=True)
    budgets: Json = {}
    values: dict[str, Json] = {row.key: {} for row in rows}
    for name, image in images.items():
        data, setting = budget_file(image, protocol, quality)
        path = folder / f"{name}.jpeg.jpg"
        with machine.atomic(path) as file:
            file.write(data)
        stored = path.read_bytes()
        decoded = np.asarray(Image.open(io.BytesIO(stored)))[:, :, None]
        budgets[name] = {"bytes": len(stored), "setting": setting}
        values["jpeg"][name] = _point(image, decoded, stored, path)
        for row in rows:
            if row.settings is not None:
                values[row.key][name] = measure(image, row, len(stored), folder / f"{name}.{row.key}", threads)
    return {
        "protocol": protocol,
        "qf": quality,
        "budgets": budgets,
        "rows": [
            {"key": row.key, "title": row.title, "missing": row.missing, "images": values[row.key]} for row in rows
        ],
    }


def _others(parts: list[Json]) -> dict[str, str]:
    """Images whose full-size JPEG is not that of the paper, with both figures."""
    part = next(part for part in parts if (part["protocol"], part["qf"]) == ("a", QUALITY_FACTORS[0]))
    printed = PRINTED[part["qf"]]["jpeg"]
    found = {}
    for name, (psnr, _) in zip(NAMES, printed, strict=False):
        here = part["rows"][0]["images"][name]["psnr"]
        if abs(here - psnr) > SAME_IMAGE_DB:
            found[name] = f"JPEG at QF {part['qf']} gives {here:.2f} dB here, {psnr:.2f} dB are printed"
    return found


# Table and picture -------------------------------------------------------------------------------


def average(row: Json, names: tuple[str, ...]) -> tuple[float, float] | None:
    """Mean PSNR and SSIM of a row over some images; None when one of them was out of reach."""
    points = [row["images"].get(name, {}) for name in names]
    if not names or any("psnr" not in point for point in points):
        return None
    return float(np.mean([p["psnr"] for p in points])), float(np.mean([p["ssim"] for p in points]))


def _value(pair: tuple[float, float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:.2f} / {pair[1]:.4f}"


def markdown(result: Json) -> str:
    """The result of `bench_paper` as a Markdown page."""
    here, others = result["machine"], result["not_the_papers"]
    same = tuple(name for name in NAMES if name not in others)
    lines = [
        "# The tables of Jiang et al. 2017 (arXiv 1708.00838), measured",
        "",
        f"PSNR in dB / SSIM (Gaussian window of 11, sigma 1.5), grey. {here['cpu']}, {here['cores']} cores, "
        f"{here['system']}; commit {here['commit'] or 'not known'}; "
        + ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        + ".",
        "",
        "Every value is from a file in `files/`; all its bytes count, and none has more than the JPEG of its table. "
        "Scale and codec quality are searched for each image, for the smallest squared error. Rows called *printed* "
        "are copied from the paper.",
    ]
    if others:
        lines += [
            "",
            "Not the paper's pictures, so that the printed rows do not compare with them (\\*): "
            + "; ".join(f"{name} ({_size(result, name)}): {why}" for name, why in others.items())
            + f". The last column leaves them out: the average over the other {len(same)}.",
        ]
    for part in result["parts"]:
        lines += _table(part, others, same)
    return "\n".join(lines) + "\n"


def _size(result: Json, name: str) -> str:
    image = result["images"][name]
    return f"{image['width']}x{image['height']}"


def _table(part: Json, others: Json, same: tuple[str, ...]) -> list[str]:
    """One protocol at one quality factor as Markdown."""
    quality = part["qf"]
    what = {
        "a": f"Protocol (a), the paper's: the bytes of JPEG QF {quality}, default Huffman tables",
        "b": f"Protocol (b): the bytes of JPEG QF {quality}, optimised Huffman tables",
    }[part["protocol"]]
    head = [f"{name}\\*" if name in others else name for name in NAMES]
    extra = [f"average of {len(same)}"] if others else []
    lines = ["", f"## {what}", "", "| | " + " | ".join([*head, "average", *extra]) + " |"]
    lines.append("|---|" + "---|" * (len(NAMES) + 1 + len(extra)))
    notes = []
    for row in part["rows"]:
        if row["missing"]:
            cells = [row["missing"], *[""] * (len(NAMES) + len(extra))]
        else:
            points = [row["images"][name] for name in NAMES]
            cells = [_value((p["psnr"], p["ssim"])) if "psnr" in p else "cannot reach" for p in points]
            cells += [_value(average(row, names)) for names in ((NAMES, same) if others else (NAMES,))]
            notes += [f"{row['title']}, {n}: {p['reason']}." for n, p in row["images"].items() if "reason" in p]
        bold = row["key"] == "shipped"
        lines.append(f"| {row['title']} | " + " | ".join(f"**{c}**" if bold and c else c for c in cells) + " |")
    if part["protocol"] == "a":
        titles = {"jpeg": "JPEG", "only_com": "only ComCNN", "only_rec": "only RecCNN", "both": "both"}
        for key, row in PRINTED[quality].items():
            cells = [_value(pair) for pair in row]
            if others:
                cells.append(_value(_mean([row[NAMES.index(name)] for name in same])))
            lines.append(f"| *printed: {titles[key]}* | " + " | ".join(cells) + " |")
    lines += _byte_rows(part, len(extra))
    lines += ["", *[f"- {note}" for note in notes]] if notes else []
    return lines


def _mean(pairs: list[tuple[float, float]]) -> tuple[float, float] | None:
    return (float(np.mean([p for p, _ in pairs])), float(np.mean([s for _, s in pairs]))) if pairs else None


def _byte_rows(part: Json, n_extra: int) -> list[str]:
    """The budgets, and what the shipped encoder made of them: bytes, scale, quality, networks."""
    budgets = [part["budgets"][name] for name in NAMES]
    short = {"optimised, sequential": "seq.", "optimised, progressive": "prog."}
    cells = [f"{b['bytes']:,}" + (f" {short[b['setting']]}" if b["setting"] in short else "") for b in budgets]
    empty = [""] * (1 + n_extra)
    lines = ["| budget, bytes | " + " | ".join([*cells, *empty]) + " |"]
    row = next(row for row in part["rows"] if row["key"] == "shipped")
    cells = []
    for name in NAMES:
        p = row["images"].get(name, {})
        size = "half" if p.get("scale") == 2 else "full"
        off = "" if p.get("networks", True) else ", off"
        cells.append(f"{p['bytes']:,}; {size}, q {p['quality']}{off}" if "bytes" in p else "-")
    lines.append("| as shipped: bytes; size, quality | " + " | ".join([*cells, *empty]) + " |")
    return lines


def draw(result: Json, images: Mapping[str, metrics.Image], out: Path) -> None:
    """Crops of every image as paper.png: protocol a at the lowest quality factor (needs matplotlib)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    part = result["parts"][0]
    rows = [row for row in part["rows"] if row["key"] not in ("container", "both_fast") and not row["missing"]]
    figure = Figure(figsize=(2.1 * (len(rows) + 1), 2.25 * len(NAMES)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(NAMES), len(rows) + 1, squeeze=False)
    for name, line in zip(NAMES, grid, strict=True):
        image = images[name]
        side = min(CROP, *image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        shown = [(name, "", image)]
        for row in rows:
            point = row["images"][name]
            if "psnr" in point:
                decoded = _decoded(out / "files" / point["file"], image.shape)
                shown.append((row["title"].partition(":")[0], f"{point['psnr']:.2f} dB, {point['ssim']:.3f}", decoded))
            else:
                shown.append((row["title"].partition(":")[0], "cannot reach", np.full_like(image, 255)))
        for axes, (title, values, pixels) in zip(line, shown, strict=True):
            crop = pixels[top : top + side, left : left + side, 0]
            axes.imshow(crop, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(textwrap.fill(title, 28) if name == NAMES[0] or not values else "", fontsize=7)
            axes.set_xlabel(values, fontsize=7)
            axes.set(xticks=[], yticks=[])
    figure.suptitle(f"The bytes of JPEG QF {part['qf']}, default Huffman tables", fontsize=9)
    with machine.atomic(out / "paper.png") as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _decoded(path: Path, shape: tuple[int, ...]) -> metrics.Image:
    data = path.read_bytes()
    pixels = np.asarray(Image.open(io.BytesIO(data)) if path.suffix == ".jpg" else fastcodec.decode(data))
    return pixels.reshape(shape)
