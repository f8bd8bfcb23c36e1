// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Linked instead of the CUDA files in a build without CUDA.
#include "common/error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/image_ops.h"
#include "kernels/cuda/range_device.h"

namespace fastcodec::cuda {

std::string unavailable_reason() {
  return "built without CUDA; reinstall with nvcc on PATH (FASTCODEC_CUDA=ON makes a missing one an error)";
}

const Device& cuda_device() { throw Error(ErrorCode::kBackend, "cuda: " + unavailable_reason() + "; use device='cpu'"); }

const RangeDevice& range_cuda_device() { throw Error(ErrorCode::kBackend, "cuda: " + unavailable_reason() + "; use CPU arrays"); }

}  // namespace fastcodec::cuda
