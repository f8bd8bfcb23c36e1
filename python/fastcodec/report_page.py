# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The rate-distortion report as a Markdown page and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastcodec import machine, matched
from fastcodec.codecs import by_name

Json = dict[str, Any]


def markdown(report: Json) -> str:
    """The report as Markdown: where it was measured, BD-rates, then the mean curves."""
    here = report["machine"]
    low, high = report["rates_bpp"]
    count = len({result["image"] for result in report["images"]})
    colours = ", as grey (BT.601 luma)" if report["grey"] else ""
    lines = [
        "# Rate-distortion",
        "",
        f"{count} images{colours}; every number is from written and decoded files. {here['cpu']}, "
        f"{here['cores']} cores, {here['system']}; commit {here['commit'] or 'not known'}; "
        + ", ".join(f"{name} {version}" for name, version in here["versions"].items())
        + f"; {report['processes']} process(es).",
        "",
        "JPEG has optimised Huffman tables everywhere, and progressive scans unless the row says sequential.",
        "",
        f"## BD-rate over {low}-{high} bpp",
        "",
        f"Mean curves over the images, both cut to {low}-{high} bpp, PCHIP, averaged over the qualities that both "
        "reach. Negative is better. (SSIM and MS-SSIM as -10 log10(1 - x).)",
        "",
        "| codec | against | PSNR RGB | BD-PSNR | PSNR luma | SSIM | MS-SSIM | mean of images (worst) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for codec, part in report["codecs"].items():
        for anchor, bd in part["bd"].items():
            each = bd["per_image_psnr_rgb"]
            cells = [_cell(bd[name] and bd[name]["bd_rate"], "+.2f", " %") for name in report["metrics"]]
            cells.insert(1, _cell(bd["psnr_rgb"] and bd["psnr_rgb"]["bd_db"], "+.2f", " dB"))
            cells.append(f"{each['mean']:+.2f} % ({each['worst']:+.2f} %)" if each else "-")
            lines.append(f"| fastcodec[{codec}] | {anchor} | " + " | ".join(cells) + " |")
    parts = report["codecs"].items()
    around = {title: part["matched"] for title, part in parts if by_name(part["codec"]).kind == "image"}
    if around and report["same_bytes"]:
        lines += ["", "## At the same bytes", "", _MATCHED.format(high=high), ""]
        lines += matched.table(around, lambda codec: bool(report["codecs"][codec]["models"]))
    for codec, part in report["codecs"].items():
        lines += ["", f"## {codec}", ""]
        lines.append(
            "| method | quality | bpp | PSNR RGB | PSNR luma | SSIM | MS-SSIM | encode s | decode s | networks |"
        )
        lines.append("|---|---|---|---|---|---|---|---|---|---|")
        for label, curve in part["curves"].items():
            for row in curve:
                cells = [_cell(row[name], spec) for name, spec in _COLUMNS]
                used = row.get("networks_on")
                cells.append("-" if used is None else f"{used:.0%} on, {row['half_scale']:.0%} half size")
                lines.append(f"| {label} | {row['quality']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_MATCHED = (
    "For every image, each bare file up to {high} bpp that no other bare file beats (all rows of its codec below "
    "together) sets a budget; fastcodec writes its best stream of at most so many bytes, container included. Gain: "
    "PSNR over RGB above the bare file's; negative is worse."
)
_COLUMNS = (
    ("bpp", ".4f"), ("psnr_rgb", ".3f"), ("psnr_luma", ".3f"), ("ssim", ".4f"), ("ms_ssim", ".4f"),
    ("encode_s", ".3f"), ("decode_s", ".3f"),
)  # fmt: skip


def _cell(value: float | None, spec: str, unit: str = "") -> str:
    return "-" if value is None else format(value, spec) + unit


def _has_networks(curve: list[Json]) -> bool:
    return any(row.get("networks_on") for row in curve)


def _styles(labels: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and line of each curve: a colour each, or where several codecs are beside one another a colour a codec."""
    codecs = list(dict.fromkeys(label.split()[0] for label in labels))
    if len(codecs) == 1:
        return {label: (f"C{number}", "--") for number, label in enumerate(labels, 1)}
    variants: dict[str, list[str]] = {codec: [] for codec in codecs}
    for label in labels:
        variants[label.split()[0]].append(label)
    lines = ("--", ":", "-.", (0, (1, 4)))
    return {
        label: (f"C{number}", lines[turn % len(lines)])  # type: ignore[misc]
        for number, codec in enumerate(codecs, 1)
        for turn, label in enumerate(variants[codec])
    }


def draw(report: Json, path: Path) -> None:
    """Plots PSNR over RGB against bpp, one panel a codec, as PNG (needs matplotlib)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    restored = {k: v for k, v in report["codecs"].items() if any(map(_has_networks, v["curves"].values()))}
    parts = restored or report["codecs"]  # the container alone says nothing beside networks
    columns = min(len(parts), 3)
    rows = -(-len(parts) // columns)
    figure = Figure(figsize=(6.4 * columns, 4.8 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[len(parts) :]:
        axes.remove()
    for axes, (codec, part) in zip(panels, parts.items(), strict=False):
        styles = _styles([label for label in part["curves"] if not label.startswith("fastcodec")])
        for label, curve in part["curves"].items():
            wrapped = label.startswith("fastcodec")
            color, linestyle = ("#0b6bcb", "-") if wrapped else styles[label]
            axes.plot(
                [row["bpp"] for row in curve],
                [row["psnr_rgb"] for row in curve],
                marker="o",
                markersize=4,
                linewidth=2.2 if wrapped else 1.4,
                linestyle=linestyle,
                color=color,
                zorder=3 if wrapped else 2,
                label=label,
            )
        headline = part["bd"][part["anchor"]]["psnr_rgb"] if part["anchor"] else None
        title = f"fastcodec[{codec}]"
        if headline:
            title += f": BD-rate {headline['bd_rate']:+.1f} % against {part['anchor']}"
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="bits per pixel", ylabel="PSNR over RGB (dB)", xlim=(0, 1.25 * report["rates_bpp"][1]))
        inside = [row["psnr_rgb"] for c in part["curves"].values() for row in c if row["bpp"] <= axes.get_xlim()[1]]
        if inside:
            axes.set_ylim(min(inside) - 0.5, max(inside) + 0.5)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small" if len(part["curves"]) > 6 else "medium", loc="lower right")
    with machine.atomic(path) as file:
        figure.savefig(file, format="png")
