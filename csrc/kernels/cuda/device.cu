// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include "kernels/cuda/device.h"

namespace fastcodec::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

std::string unavailable_reason() {
  int n_devices = 0;
  cudaError_t status = cudaGetDeviceCount(&n_devices);
  if (status == cudaSuccess && n_devices == 0) return "no CUDA device";
  cudaFuncAttributes attributes{};
  // Fails where this build has no code for the device.
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, probe_kernel);
  if (status == cudaSuccess) return "";
  const std::string reason = cudaGetErrorString(status);
  cudaGetLastError();  // leave no sticky error behind
  return reason;
}

}  // namespace fastcodec::cuda
