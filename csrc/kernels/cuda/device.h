// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace fastcodec::cuda {

// Why no CUDA kernel can run in this process; empty when device 0 can run them. Never throws, needs no driver.
std::string unavailable_reason();

}  // namespace fastcodec::cuda
