// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/cuda/conv_ops.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/image_bodies.h"

namespace fastcodec::cuda {
namespace {

constexpr int kBlockX = 32, kBlockY = 4;

// Grids are at most 65535 high and deep, so rows are strided; depth is the blocks of channels, at most 128.
template <ImageOp kOp>
__global__ void __launch_bounds__(kBlockX* kBlockY, 4) image_kernel(const __grid_constant__ ImageJob job) {
  const int x = blockIdx.x * kBlockX + threadIdx.x;
  const ImageThreads threads = image_threads(job);
  if (x >= threads.width) return;
  for (int y = blockIdx.y * kBlockY + threadIdx.y; y < threads.height; y += gridDim.y * kBlockY) {
    image_body<kOp>(job, x, y, blockIdx.z);
  }
}

using Kernel = void (*)(ImageJob);
constexpr Kernel kKernels[kImageOps] = {
    image_kernel<ImageOp::kCopy>,          image_kernel<ImageOp::kDepthwise>, image_kernel<ImageOp::kPixelUnshuffle>,
    image_kernel<ImageOp::kUnshufflePhase>, image_kernel<ImageOp::kPhase>,    image_kernel<ImageOp::kScale>,
    image_kernel<ImageOp::kLookup>,
    image_kernel<ImageOp::kPixelShuffle>,  image_kernel<ImageOp::kPixelShuffleTwice>, image_kernel<ImageOp::kBicubicUp2>,
    image_kernel<ImageOp::kBicubicDown2>,  image_kernel<ImageOp::kResidual>,  image_kernel<ImageOp::kShuffleResidual>,
};

// Stream-ordered memory of the current device that keeps up to kKeptBytes between runs.
constexpr uint64_t kKeptBytes = 256 << 20;
cudaMemPool_t memory_pool() {
  static std::mutex mutex;
  static std::map<int, cudaMemPool_t> pools;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = pools.find(device);
  if (found != pools.end()) return found->second;
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  cudaMemPool_t pool = nullptr;
  check(cudaMemPoolCreate(&pool, &properties), "cudaMemPoolCreate");
  uint64_t kept = kKeptBytes;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "cudaMemPoolSetAttribute");
  return pools[device] = pool;
}

void* allocate(size_t n_bytes, void* stream) {
  void* data = nullptr;
  check(cudaMallocFromPoolAsync(&data, n_bytes, memory_pool(), static_cast<cudaStream_t>(stream)), "cudaMallocFromPoolAsync");
  return data;
}

void release(void* data, void* stream) { cudaFreeAsync(data, static_cast<cudaStream_t>(stream)); }

void upload(void* to, const void* from, size_t n_bytes, void* stream) {
  check(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}

void launch(const ImageJob& job, void* stream) {
  const ImageThreads threads = image_threads(job);
  const unsigned rows = (threads.height + kBlockY - 1) / kBlockY;
  const dim3 grid((threads.width + kBlockX - 1) / kBlockX, rows < 65535 ? rows : 65535, threads.blocks);
  const dim3 block(kBlockX, kBlockY);
  kKernels[static_cast<int>(job.op)]<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(job);
  check(cudaGetLastError(), "image_kernel");
}

void* capture(const std::function<void(void*)>& work) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  const std::unique_ptr<CUstream_st, cudaError_t (*)(cudaStream_t)> stream_owner(stream, cudaStreamDestroy);
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    work(stream);
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  const cudaError_t status = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  return ready;
}
void replay(void* graph, void* stream) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)), "cudaGraphLaunch");
}
void drop(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

bool is_recording(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const bool known = cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess;
  if (!known) cudaGetLastError();
  return !known || status != cudaStreamCaptureStatusNone;
}

void wait() { cudaDeviceSynchronize(); }

int use(int index) {
  int previous = 0;
  check(cudaGetDevice(&previous), "cudaGetDevice");
  if (index != previous) check(cudaSetDevice(index), "cudaSetDevice");
  return previous;
}

void launch_fused(const FusedJob& job, void* stream) {
  switch (job.kernel) {
    case FusedKernel::kChain32: return launch_chain(job, stream);
    case FusedKernel::kRowPairs32: return launch_row_pairs(job, stream);
    case FusedKernel::kPair64:
    case FusedKernel::kSparsePair64: return launch_pair(job, stream);
  }
}

DeviceLimits limits() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const auto attribute = [&](cudaDeviceAttr what) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, what, device), "cudaDeviceGetAttribute");
    return value;
  };
  const bool hopper = attribute(cudaDevAttrComputeCapabilityMajor) == 9 && attribute(cudaDevAttrComputeCapabilityMinor) == 0;
  return {static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)), FASTCODEC_WGMMA && hopper,
          attribute(cudaDevAttrMultiProcessorCount)};
}

const Device kDevice = {"cuda", allocate, release, upload, launch, launch_conv, launch_fused, wait, use, limits,
                        capture, replay,  drop,    is_recording};

}  // namespace

const Device& cuda_device() {
  const std::string reason = unavailable_reason();
  if (!reason.empty()) throw Error(ErrorCode::kBackend, "cuda: " + reason + "; use device='cpu'");
  return kDevice;
}

}  // namespace fastcodec::cuda
