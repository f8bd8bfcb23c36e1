// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace fastcodec {

struct Kernels {
  const char* name;
};

}  // namespace fastcodec
