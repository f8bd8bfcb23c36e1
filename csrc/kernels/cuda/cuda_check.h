// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// For .cu files: CUDA's errors as ours, and launches with as much shared memory as the kernel asks for.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#include "common/error.h"

namespace fastcodec::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // leave no error behind for the next call
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw Error(ErrorCode::kBackend, std::string(what) + ": " + cudaGetErrorString(status));
}

// Lets a kernel have so many bytes of shared memory on the current device. This belongs to the kernel, not to a launch: it is only
// ever raised, so that threads do not take it from one another.
inline void allow_shared(const void* kernel, size_t n_bytes, const char* name) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, size_t> allowed;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard<std::mutex> hold(mutex);
  size_t& most = allowed[{kernel, device}];
  if (n_bytes <= most) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(n_bytes)), name);
  most = n_bytes;
}

template <class Job>
void launch_block_kernel(const char* name, void (*kernel)(Job), dim3 grid, int n_threads, size_t n_shared_bytes, const Job& job,
                         void* stream) {
  allow_shared(reinterpret_cast<const void*>(kernel), n_shared_bytes, name);
  kernel<<<grid, n_threads, n_shared_bytes, static_cast<cudaStream_t>(stream)>>>(job);
  check(cudaGetLastError(), name);
}

}  // namespace fastcodec::cuda
