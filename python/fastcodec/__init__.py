# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Learned image compression: the codec `range`, and ComCNN and RecCNN around JPEG, AVIF and others.

>>> import fastcodec, numpy as np
>>> x = np.zeros((48, 64, 3), np.uint8)
>>> data = fastcodec.encode(x, target_bpp=2)
>>> y = fastcodec.decode(data)
"""

from ._api import Info, Status, backends, codecs, decode, encode, info, verify
from ._core import __version__
from .container import Limits
from .errors import (
    BackendError,
    ChecksumError,
    CodecError,
    Error,
    FormatError,
    LimitError,
    ModelError,
    TruncatedError,
)

__all__ = [
    "BackendError",
    "ChecksumError",
    "CodecError",
    "Error",
    "FormatError",
    "Info",
    "LimitError",
    "Limits",
    "ModelError",
    "Status",
    "TruncatedError",
    "__version__",
    "backends",
    "codecs",
    "decode",
    "encode",
    "info",
    "verify",
]
