// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include <new>
#include <string>

#include "common/error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/image_bodies.h"

namespace fastcodec::cuda {
namespace {

constexpr int kBlockX = 32, kBlockY = 4;

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // leave no error behind for the next call
  if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw Error(ErrorCode::kBackend, std::string(what) + ": " + cudaGetErrorString(status));
}

// Grids are at most 65535 high and deep, so rows are strided; depth is the blocks of channels, at most 128.
template <ImageOp kOp>
__global__ void __launch_bounds__(kBlockX* kBlockY) image_kernel(const ImageJob job) {
  const int x = blockIdx.x * kBlockX + threadIdx.x;
  if (x >= job.out.width) return;
  for (int y = blockIdx.y * kBlockY + threadIdx.y; y < job.out.height; y += gridDim.y * kBlockY) {
    image_body<kOp>(job, x, y, blockIdx.z);
  }
}

using Kernel = void (*)(ImageJob);
constexpr Kernel kKernels[kImageOps] = {
    image_kernel<ImageOp::kCopy>,          image_kernel<ImageOp::kConv>,       image_kernel<ImageOp::kDepthwise>,
    image_kernel<ImageOp::kPixelUnshuffle>, image_kernel<ImageOp::kPhase>,      image_kernel<ImageOp::kPixelShuffle>,
    image_kernel<ImageOp::kBicubicUp2>,    image_kernel<ImageOp::kBicubicDown2>, image_kernel<ImageOp::kResidual>,
};

void* allocate(size_t n_bytes, void* stream) {
  void* data = nullptr;
  check(cudaMallocAsync(&data, n_bytes, static_cast<cudaStream_t>(stream)), "cudaMallocAsync");
  return data;
}

void release(void* data, void* stream) { cudaFreeAsync(data, static_cast<cudaStream_t>(stream)); }

void upload(void* to, const void* from, size_t n_bytes, void* stream) {
  check(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}

void launch(const ImageJob& job, void* stream) {
  const unsigned rows = (job.out.height + kBlockY - 1) / kBlockY;
  const dim3 grid((job.out.width + kBlockX - 1) / kBlockX, rows < 65535 ? rows : 65535, n_blocks(job));
  const dim3 block(kBlockX, kBlockY);
  kKernels[static_cast<int>(job.op)]<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(job);
  check(cudaGetLastError(), "image_kernel");
}

void wait() { cudaDeviceSynchronize(); }

int use(int index) {
  int previous = 0;
  check(cudaGetDevice(&previous), "cudaGetDevice");
  if (index != previous) check(cudaSetDevice(index), "cudaSetDevice");
  return previous;
}

const Device kDevice = {"cuda", allocate, release, upload, launch, wait, use};

}  // namespace

const Device& cuda_device() {
  const std::string reason = unavailable_reason();
  if (!reason.empty()) throw Error(ErrorCode::kBackend, "cuda: " + reason + "; use device='cpu'");
  return kDevice;
}

}  // namespace fastcodec::cuda
