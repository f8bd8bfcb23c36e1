# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder around a codec: a search among candidates, each decoded exactly as the decoder will.

It keeps the best by measured bytes and squared error, so the networks are on only where they help. Candidates at a byte
budget: the bare codec; RecCNN on the bare codec's payload; ComCNN, codec and RecCNN at full size ("scale 1") and at
half size ("scale 2") with the largest codec quality that fits, unless halving alone would harm more; the first two in
the codec's other chroma formats as well, where sub-sampling alone would be a notable part of the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import container, metrics
from ._core import crc32c
from .container import Header, Networks
from .errors import ModelError
from .flow import Settings, Target, buffer, checked_program, decibels, encode_alpha, squared_error

if TYPE_CHECKING:
    from .codecs import Codec, Image, Options, Shape
    from .packed_model import PackedModel, Program

_WORST_QUALITY, _BEST_QUALITY = 1, 100
_SAME_SSIM = 0.003  # a smaller difference is not worth any squared error
_COMPACT_KEPT = 2
# At full size 4:4:4 is tried where chroma sub-sampling by itself makes at least this share of the best error so far.
# Below that it gained at most 0.05 dB on photographs (AVIF). At a byte target the steps of quality may leave a fifth of
# the bytes unused, which 4:4:4 can fill: there only what is nearly grey is left out.
_CHROMA_SHARE, _CHROMA_SHARE_AT_BYTES = 0.05, 0.005
# Half size is not tried where halving by itself makes more than so many times the best error so far. Where half size
# won on Kodak, halving made at most 0.86 times the error.
_HALVING_SHARE = 1.2
# A form of the codec's files is left out where the other is smaller by so much at a quality nearby.
_FORM_MARGIN, _FORM_SLOPE, _FORM_BYTES = 0.01, 0.01, 8192
# What a step of quality adds to the logarithm of the bytes and to the PSNR, for the first guess; how many values are
# taken before the search becomes one by halves; and the PSNR of equal images, there.
_LOG_BYTES, _DECIBELS, _INTERPOLATED, _BEST_PSNR = 0.035, 0.15, 8, 200.0


@dataclass(frozen=True)
class _Way:
    """One way to code the image; `rec` of `model` restores it, `com` makes it compact."""

    scale: int
    subsampling: str
    rec: Program | None = None
    com: Program | None = None
    model: PackedModel | None = None

    @property
    def options(self) -> Options:
        """What the model was trained behind."""
        return self.model.codec_options if self.model and self.rec else {}


@dataclass
class _Coded:
    """A codec's file at one scale and quality; the CRC-32C of what comes out of it, once decoded."""

    file: bytes
    payload: bytes
    trimmed: bool
    shape: Shape
    inner_crc: int = 0


@dataclass(frozen=True)
class _Trial:
    """A measured candidate; `ssim` only where the choice is by it."""

    way: _Way
    quality: float
    error: int
    size: int
    ssim: float = 0.0


def _pair(model: PackedModel | None, scale: int, channels: int) -> tuple[Program | None, Program | None]:
    """RecCNN and ComCNN of a model for one scale."""
    if model is None:
        return None, None
    return checked_program(model, f"rec{scale}", channels), checked_program(model, f"com{scale}", channels)


def _ways(settings: Settings, channels: int) -> list[_Way]:
    """The candidates that settings and model allow, the plainest first.

    The best chroma format depends on image and rate, so "auto" tries them all; at full size the default's ways come
    first, then the others without ComCNN.
    """
    chroma = settings.subsampling
    several = settings.codec.subsamplings if chroma == "auto" and channels == 3 else ()
    model, half = (settings.model, settings.half) if settings.networks != "off" else (None, None)
    rec1, com1 = _pair(model, 1, channels)
    if _pair(model, 2, channels) != (None, None):
        half = model
    rec2, com2 = _pair(half, 2, channels)
    full: list[Program | None] = [None] if settings.networks != "on" else []
    full += [] if rec1 is None else [rec1]
    if settings.scale == 2:
        full = []
    ways = [_Way(1, chroma, rec, model=model) for rec in full]
    if full and rec1 is not None and com1 is not None:
        ways.append(_Way(1, chroma, rec1, com1, model))
    if rec2 is not None and com2 is not None and settings.scale != 1 and settings.container == "fcd":
        ways += [_Way(2, each, rec2, com2, half) for each in several or (chroma,)]
    ways += [_Way(1, each, rec, model=model) for each in several[1:] for rec in full]
    if not ways:
        colour = "RGB" if channels == 3 else "grey"
        held = f"model {settings.model.name} without a fitting program" if settings.model else "no model"
        raise ModelError(
            f"networks={settings.networks!r}, scale={settings.scale or 'auto'} for a {colour} image and codec "
            f"{settings.codec.name}: there is {held}; use networks='auto' and scale='auto', or another model"
        )
    return ways


_Files = tuple[int, bool, str, str]  # scale, without ComCNN, chroma format, options: those that differ in quality only


@dataclass
class _Search:
    """One image on its way through the candidates; files and the last decoded image are kept for reuse."""

    image: Image
    settings: Settings
    alpha: bytes | None
    metadata: dict[str, bytes]
    coded: dict[tuple[_Files, float], _Coded] = field(default_factory=dict)
    forms: dict[_Files, list[tuple[float, int, int]]] = field(default_factory=dict)
    prepared: tuple[Image, Options, tuple[Codec, Image, Options, bytes]] | None = None
    compact: dict[tuple[int, int], Image] = field(default_factory=dict)
    decoded: tuple[_Coded, Image] | None = None
    harm: dict[str, int] = field(default_factory=dict)

    def source(self, way: _Way, quality: float) -> Image:
        """What the inner codec is given: the image, or ComCNN's compact one for that quality."""
        if way.com is None:
            return self.image
        key = (way.scale, way.com.level_for(quality))
        if key not in self.compact:
            while len(self.compact) >= _COMPACT_KEPT:  # each may be as large as the image
                del self.compact[next(iter(self.compact))]
            height, width = (-(-side // way.scale) for side in self.image.shape[:2])
            self.compact[key] = way.com.run(self.image, key[1], (height, width), threads=self.settings.threads)
        return self.compact[key]

    def options(self, way: _Way) -> Options:
        options = {**way.options, **self.settings.options}
        if self.settings.container == "jpeg":  # which other viewers open
            options.pop("colours", None)
        return options

    def encode(self, way: _Way, quality: float) -> _Coded:
        options = self.options(way)
        group = self.files(way)
        if (group, quality) not in self.coded:
            source, codec = self.source(way, quality), self.settings.codec
            if self.prepared is None or self.prepared[0] is not source or self.prepared[1] != options:
                self.prepared = source, options, codec.prepare(source, options)
            of, image, rest, head = self.prepared[2]
            shape = (source.shape[0], source.shape[1], source.shape[2])
            coded = []
            for file in of.encode_all(image, quality, way.subsampling, {**rest, **self.form(group, quality)}):
                trimmed = None if self.settings.container == "jpeg" else codec.trim(head + file, shape, quality)
                payload = head + file if trimmed is None else trimmed
                coded.append(_Coded(head + file, payload, trimmed is not None, shape))
            if len(coded) == 2:
                one, other = (len(form.payload) for form in coded)
                self.forms.setdefault(group, []).append((quality, one, other))
            self.coded[group, quality] = min(coded, key=lambda form: len(form.payload))
        return self.coded[group, quality]

    def form(self, group: _Files, quality: float) -> Options:
        """The codec's `either` option where a quality nearby has shown clearly that one of its two forms is smaller.

        What one needs more than the other changes by up to 0.9 % of the bytes of a photograph as quality changes by 1
        (JPEG). In small files it may change by more.
        """
        for known, on, off in self.forms.get(group, ()):
            margin = _FORM_MARGIN + _FORM_SLOPE * abs(quality - known)
            if min(on, off) >= _FORM_BYTES and abs(off / on - 1) > margin:
                return {self.settings.codec.either: off > on}
        return {}

    def files(self, way: _Way) -> _Files:
        return way.scale, way.com is None, way.subsampling, repr(sorted(self.options(way).items()))

    def pack(self, way: _Way, quality: float) -> bytes:
        """The whole stream; `inner` must have run before for its checksum to be right, the size always is."""
        coded, networks = self.encode(way, quality), None
        if way.rec is not None and way.model is not None:
            networks = Networks(way.scale, way.rec.level_for(quality), way.model.id)
        height, width, channels = self.image.shape
        header = Header(
            width, height, channels, self.settings.codec.id, int(quality), coded.inner_crc,
            alpha=self.alpha is not None, trimmed=coded.trimmed, networks=networks,
        )  # fmt: skip
        write = container.write_jpeg if self.settings.container == "jpeg" else container.write_fcd
        return write(header, coded.payload, self.alpha, self.metadata)

    def inner(self, way: _Way, quality: float) -> Image:
        """The image that the decoder gets out of the payload."""
        coded = self.encode(way, quality)
        if self.decoded is None or self.decoded[0] is not coded:
            image = self.settings.codec.decode(coded.file, coded.shape)
            coded.inner_crc = crc32c(buffer(image))
            self.decoded = (coded, image)
        return self.decoded[1]

    def measure(self, way: _Way, quality: float) -> _Trial:
        decoded = self.inner(way, quality)
        if way.rec is not None:
            size = (self.image.shape[0], self.image.shape[1])
            decoded = way.rec.run(decoded, way.rec.level_for(quality), size, threads=self.settings.threads)
        error = squared_error(self.image, decoded)
        by_ssim = self.settings.tune == "ssim" and min(self.image.shape[:2]) >= metrics.SSIM_SIDE
        ssim = metrics.ssim(self.image, decoded) if by_ssim else 0.0
        return _Trial(way, quality, error, len(self.pack(way, quality)), ssim)

    def payload(self, way: _Way, quality: float) -> float:
        """The logarithm of the payload's bytes."""
        return math.log(max(1, len(self.encode(way, quality).payload)))

    def stream(self, way: _Way, quality: float) -> float:
        """The logarithm of the stream's bytes."""
        return math.log(len(self.pack(way, quality)))

    def last_within(
        self, way: _Way, value: Callable[[_Way, float], float], limit: float, last: float = _BEST_QUALITY,
        near: float | None = None, slope: float = _LOG_BYTES, *, levels: bool = True,
    ) -> float | None:  # fmt: skip
        """As last_within, over the qualities of a way; `slope` is that of a quality. With `levels` each of ComCNN's."""
        steps = self.settings.codec.steps(self.options(way))

        def place(quality: float) -> int:
            return math.floor((quality - _WORST_QUALITY) * steps) + 1

        def quality(place: int) -> float:
            return place if steps == 1 else _WORST_QUALITY + (place - 1) / steps

        def level(place: int) -> int:
            return way.com.level_for(quality(place)) if way.com else 0

        def search(near: int | None, within: int = 0) -> int | None:
            return last_within(lambda at: value(way, quality(at)), limit, place(last), near, slope / steps, within)

        found = search(None if near is None else place(near))
        # ComCNN makes another image at its next level, which may need fewer bytes.
        while found is not None and way.com and levels:
            after = next((at for at in range(found + 1, place(last) + 1) if level(at) != level(found)), None)
            if after is None or value(way, quality(after)) > limit:
                break
            found = search(after + 1, within=after)
        return None if found is None else quality(found)

    def is_other_chroma(self, way: _Way) -> bool:
        """Full size in another chroma format than the codec's default, or than the one asked for."""
        return way.scale == 1 and way.subsampling != self.settings.subsampling

    def is_hopeless(self, way: _Way, best: _Trial, chroma_share: float = _CHROMA_SHARE) -> bool:
        """Half size, though halving alone harms more than the best trial so far lost; or another chroma format, though
        sub-sampling is only a small part of what that lost."""
        if way.scale == 2 and best.way.scale == 1:
            return self.settings.tune == "psnr" and self.harm_of(halving_error) > _HALVING_SHARE * best.error
        return self.is_other_chroma(way) and self.harm_of(subsampling_error) < chroma_share * best.error

    def harm_of(self, step: Callable[[Image], int]) -> int:
        """The squared error that a step of coding makes by itself."""
        if step.__name__ not in self.harm:
            self.harm[step.__name__] = step(self.image)
        return self.harm[step.__name__]

    # ------------------------------------------------------------ the three targets

    def at_quality(self, ways: list[_Way], quality: int) -> _Trial:
        """The best with a payload of at most the bare codec's bytes at `quality`."""
        bare = _Way(1, self.settings.subsampling)
        budget = self.payload(bare, quality)
        trials: list[_Trial] = []
        for way in ways:
            if trials and self.is_hopeless(way, _best(trials)):
                continue
            fitting: float | None = quality
            if self.is_other_chroma(way) or (way.com is None and self.options(way) != self.options(bare)):
                fitting = self.last_within(way, self.payload, budget, near=quality)
            elif way.com is not None:
                fitting = self.last_within(way, self.payload, budget)
            if fitting is not None:
                trials.append(self.measure(way, fitting))
        if not trials:  # half size was asked for, and even its worst quality is above the budget
            trials = [self.measure(way, _WORST_QUALITY) for way in ways]
        return _best(trials)

    def at_bytes(self, ways: list[_Way], budget: int) -> _Trial:
        """The best in a stream of at most `budget` bytes."""
        trials: list[_Trial] = []
        for way in ways:
            if trials and self.is_hopeless(way, _best(trials), _CHROMA_SHARE_AT_BYTES):
                continue
            near = [t.quality for t in trials if t.way.scale == 1 and t.way.com is None]
            guess = near[-1] if near and self.is_other_chroma(way) else None
            fitting = self.last_within(way, self.stream, math.log(budget), near=guess)
            if fitting is not None:
                trials.append(self.measure(way, fitting))
        if not trials:
            smallest = min(
                len(self.pack(way, quality))
                for way in ways
                for files, quality in [*self.coded]
                if files == self.files(way)
            )
            other = "leave out the metadata, or use another codec" if self.metadata else "or use another codec"
            raise ValueError(
                f"a stream of {budget} bytes is out of reach: the smallest with codec {self.settings.codec.name} has "
                f"{smallest}; raise the target, {other}"
            )
        return _best(trials)

    def at_psnr(self, ways: list[_Way], psnr: float) -> _Trial | None:
        """The smallest stream that reaches `psnr`, None when none does."""
        best: _Trial | None = None
        for way in ways:
            last: float | None = _BEST_QUALITY
            if best is not None and self.is_hopeless(way, best):
                continue
            if best is not None and _same_files(best.way, way):
                last = best.quality  # a better quality is a larger stream
            elif best is not None:
                near = best.quality if self.is_other_chroma(way) and best.way.scale == 1 else None
                last = self.last_within(way, self.stream, math.log(best.size - 1), near=near)
            trial = None if last is None else self.cheapest(way, psnr, last)
            if trial is not None and (best is None or trial.size < best.size):
                best = trial
        return best

    def cheapest(self, way: _Way, psnr: float, last: float) -> _Trial | None:
        """The smallest seen to reach `psnr` on the way to the lowest quality of 1..last; None when none does."""
        trials: dict[float, _Trial] = {}
        psnr = min(psnr, _BEST_PSNR)

        def reached(way: _Way, quality: float) -> float:
            if quality not in trials:
                trials[quality] = self.measure(way, quality)
            return min(decibels(trials[quality].error, self.image.size), _BEST_PSNR)

        near: float | None = None
        if last < _BEST_QUALITY:  # which is often not enough
            best = reached(way, last)
            if best < psnr:
                return None
            near = max(last - (best - psnr) / _DECIBELS, last / 2)
        self.last_within(way, reached, math.nextafter(psnr, -math.inf), last, near, _DECIBELS, levels=False)
        fitting = (trial for quality, trial in trials.items() if reached(way, quality) >= psnr)
        return min(fitting, key=lambda trial: trial.size, default=None)


def _best(trials: list[_Trial]) -> _Trial:
    """The smallest error, where SSIM was measured among those near the best of it."""
    least = max(trial.ssim for trial in trials) - _SAME_SSIM
    return min((trial for trial in trials if trial.ssim >= least), key=lambda trial: (trial.error, trial.size))


def _same_files(a: _Way, b: _Way) -> bool:
    return (a.scale, a.subsampling, a.com, a.options) == (b.scale, b.subsampling, b.com, b.options)


def last_within(
    value: Callable[[int], float], limit: float, last: int = _BEST_QUALITY, near: int | None = None,
    slope: float = _LOG_BYTES, within: int = 0,
) -> int | None:  # fmt: skip
    """The largest of 1..last whose value is at most `limit`, taking values to rise; None where that of 1 is above.

    By the Illinois method (Dowell, Jarratt 1971, BIT 11): on the straight line between the nearest values on both sides
    of the limit, one that stays for a second time counting half. As long as all are on one side, on the line through
    two of them, or from the first, `near`, on one that rises by `slope`. After some calls it halves what is left.
    `within` is known to be, if it is not 0.
    """
    low, high, calls = within, last + 1, 0
    at = (low + high) // 2 if near is None else min(max(near, low + 1), high - 1)
    ends: dict[bool, tuple[int, float]] = {}  # whether within: the place, and how far above the limit
    was = None
    while high - low > 1:
        above = value(at) - limit
        fits, calls = above <= 0, calls + 1
        low, high = (at, high) if fits else (low, at)
        if fits == was and (not fits) in ends:
            ends[not fits] = (ends[not fits][0], ends[not fits][1] / 2)
        elif fits == was and (above - ends[fits][1]) * (at - ends[fits][0]) > 0:
            slope = (above - ends[fits][1]) / (at - ends[fits][0])
        ends[fits], was = (at, above), fits
        if len(ends) == 2 and ends[False][1] > ends[True][1]:
            slope = (ends[False][1] - ends[True][1]) / (high - low)
        place, above = ends.get(True, ends[fits])
        guess = math.floor(min(max(place - above / slope, 0), last))
        # What is within has been found when the next one is shown not to be.
        at = min(max(guess, low + 1), high - 1) if calls < _INTERPOLATED else (low + high) // 2
    return low or None


def halving_error(image: Image) -> int:
    """The squared error of an image that went to half size and back, without any codec."""
    from PIL import Image as pil
    from PIL.Image import Resampling

    full = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    half = full.resize((-(-full.width // 2), -(-full.height // 2)), Resampling.BICUBIC)
    return squared_error(image, np.asarray(half.resize(full.size, Resampling.BICUBIC)).reshape(image.shape))


def subsampling_error(image: Image) -> int:
    """The squared error that chroma at half size and back makes in an RGB image, without any codec; 0 in grey."""
    from PIL import Image as pil
    from PIL.Image import Resampling

    planes = pil.fromarray(image).convert("YCbCr")
    luma, *chroma = planes.split()
    half = ((luma.width + 1) // 2, (luma.height + 1) // 2)
    blurred = [plane.resize(half, Resampling.BOX).resize(luma.size, Resampling.BILINEAR) for plane in chroma]
    through = pil.merge("YCbCr", (luma, *blurred))
    return squared_error(np.asarray(planes.convert("RGB")), np.asarray(through.convert("RGB")))


def encode_image(
    image: Image, alpha: Image | None, metadata: dict[str, bytes], settings: Settings, target: Target
) -> bytes:
    """One image to one stream; see flow.encode_image.

    Raises:
        ValueError: the target is out of reach.
        ModelError, CodecError: networks or codec are missing or fail.
    """
    search = _Search(image, settings, None if alpha is None else encode_alpha(alpha), metadata)
    ways = _ways(settings, image.shape[2])
    if target.kind == "quality":
        best: _Trial | None = search.at_quality(ways, int(target.value))
    elif target.kind == "bytes":
        best = search.at_bytes(ways, int(target.value))
    else:
        best = search.at_psnr(ways, target.value)
    if best is not None:
        return search.pack(best.way, best.quality)
    reached = min(search.measure(way, _BEST_QUALITY).error for way in ways)
    raise ValueError(
        f"target_psnr={target.value} dB is out of reach: codec {settings.codec.name} gives "
        f"{decibels(reached, image.size):.2f} dB at quality 100; lower the target or use another codec"
    )
