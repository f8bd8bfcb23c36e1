# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The exceptions that fastcodec raises about data; a wrong argument is TypeError or ValueError."""


class Error(Exception):
    """Base of every error that fastcodec raises about streams, models and backends."""


class FormatError(Error):
    """The bytes are not a valid fastcodec stream."""


class TruncatedError(FormatError):
    """The stream ends before its content does."""


class ChecksumError(FormatError):
    """A CRC-32C does not match: the stream was damaged, or the inner codec decoded other pixels."""


class LimitError(Error):
    """The stream asks for more than the caller's Limits allow."""


class ModelError(Error):
    """A packed model is missing, damaged or unfit for the stream."""


class BackendError(Error):
    """A compute backend or device is unknown or not available here."""


class CodecError(Error):
    """An inner codec is missing, or failed on this image or payload."""
