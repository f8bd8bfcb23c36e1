// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// For .cu files: CUDA's errors as ours, and launches with as much shared memory as the kernel asks for.
#pragma once

#include <cuda_runtime.h>

#include <new>
#include <string>

#include "common/error.h"

namespace fastcodec::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // leave no error behind for the next call
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw Error(ErrorCode::kBackend, std::string(what) + ": " + cudaGetErrorString(status));
}

template <class Job>
void launch_block_kernel(const char* name, void (*kernel)(Job), dim3 grid, int n_threads, size_t n_shared_bytes, const Job& job,
                         void* stream) {
  if (n_shared_bytes > 48 << 10) {
    const int n = static_cast<int>(n_shared_bytes);
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, n), name);
  }
  kernel<<<grid, n_threads, n_shared_bytes, static_cast<cudaStream_t>(stream)>>>(job);
  check(cudaGetLastError(), name);
}

}  // namespace fastcodec::cuda
