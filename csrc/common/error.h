// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The one exception of the native code. Each code becomes a Python exception: the first group the class of that name in
// fastcodec.errors, the last two the built-in ones. A message says name, expected, got and remedy.
#pragma once

#include <stdexcept>
#include <string>

namespace fastcodec {

enum class ErrorCode {
  kFormat,     // FormatError: the bytes do not follow the format
  kTruncated,  // TruncatedError: the bytes end too early
  kChecksum,   // ChecksumError
  kLimit,      // LimitError: allowed by the format, refused by the caller's limits
  kModel,      // ModelError: a packed model that cannot be run
  kBackend,    // BackendError: a backend that is unknown, not built or not available
  kType,       // TypeError: a wrong argument
  kValue,      // ValueError: a wrong argument
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace fastcodec
