// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Linked instead of the CUDA files in a build without CUDA.
#include "kernels/cuda/device.h"

namespace fastcodec::cuda {

std::string unavailable_reason() {
  return "built without CUDA; reinstall with nvcc on PATH (FASTCODEC_CUDA=ON makes a missing one an error)";
}

}  // namespace fastcodec::cuda
