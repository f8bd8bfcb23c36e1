// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace fastcodec {

struct BackendStatus {
  std::string name;
  bool available;
  std::string reason;  // why not; empty when available
};

// All backends, best first, the CUDA one last.
std::vector<BackendStatus> backends();

// The CPU kernels of that name. An empty name means FASTCODEC_BACKEND (read once) or, without it, the best that this CPU
// runs. Throws kBackend with the valid names when it is unknown or cannot run here.
const Kernels& find_kernels(const std::string& name = "");

// A loop of nothing but the int8 products of that backend; returns how many it did. `reference` stands for `scalar` here.
int64_t run_peak(const std::string& name, int64_t rounds);

}  // namespace fastcodec
