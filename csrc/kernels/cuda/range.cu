// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder's kernels and launches on CUDA. range_bodies.h has what they do.
#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "common/error.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/range_bodies.h"

namespace fastcodec::cuda {
namespace {

constexpr int kMaxThreads = 768;  // 80 registers each: at 1024 the decoder spills on sm_100 and newer
constexpr int kMinThreads = 256;  // enough to fill the tables quickly

struct CudaWarp {
  __device__ __forceinline__ int lane() const { return threadIdx.x & 31; }
  __device__ __forceinline__ uint32_t ballot(bool v) const { return __ballot_sync(0xffffffffu, v); }
  __device__ __forceinline__ uint32_t shfl(uint32_t v, int from) const { return __shfl_sync(0xffffffffu, v, from); }
  __device__ __forceinline__ void sync() const { __syncwarp(); }
  __device__ __forceinline__ uint32_t thread() const { return threadIdx.x; }
  __device__ __forceinline__ uint32_t n_threads() const { return blockDim.x; }
  __device__ __forceinline__ uint32_t block() const { return blockIdx.x; }
  __device__ __forceinline__ uint32_t n_blocks() const { return gridDim.x; }
  __device__ __forceinline__ void sync_block() const { __syncthreads(); }
  __device__ __forceinline__ uint8_t* shared() const {
    extern __shared__ __align__(16) uint8_t shared_memory[];
    return shared_memory;
  }
};

template <bool kShared>
__global__ void __launch_bounds__(kMaxThreads, 1) range_decode_kernel(const RangeDecodeGrid job) {
  CudaWarp warp;
  range_decode_block<kShared>(warp, job);
}
template <bool kShared>
__global__ void __launch_bounds__(kMaxThreads, 1) range_encode_kernel(const RangeEncodeGrid job) {
  CudaWarp warp;
  range_encode_block<kShared>(warp, job);
}
__global__ void __launch_bounds__(kMaxThreads, 1) range_pack_kernel(const RangeEncodeGrid job) {
  CudaWarp warp;
  range_pack_block(warp, job);
}

int attribute(cudaDeviceAttr what) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&value, what, device), "cudaDeviceGetAttribute");
  return value;
}

// Blocks that persist, as many threads each as the chunks need; the tables go to shared memory where they fit.
template <class Grid>
void launch(const char* name, void (*in_shared)(Grid), void (*in_global)(Grid), const Grid& job, size_t table_bytes, void* stream) {
  const int n_units = attribute(cudaDevAttrMultiProcessorCount);
  const uint32_t warps_each = (job.n_chunks + n_units - 1) / n_units;
  const int n_threads = std::clamp(static_cast<int>(std::min(warps_each, 32u)) * 32, kMinThreads, kMaxThreads);
  const size_t fixed = range_shared_bytes(n_threads / 32);
  const bool fits = in_shared != nullptr && fixed + table_bytes <= static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  const auto kernel = fits ? in_shared : in_global;
  const size_t n_shared = fixed + (fits ? table_bytes : 0);
  allow_shared(reinterpret_cast<const void*>(kernel), n_shared, name);
  kernel<<<std::min<uint32_t>(job.n_chunks, n_units), n_threads, n_shared, static_cast<cudaStream_t>(stream)>>>(job);
  check(cudaGetLastError(), name);
}

void decode(const RangeDecodeGrid& job, void* stream) {
  launch("range_decode_kernel", range_decode_kernel<true>, range_decode_kernel<false>, job, range_lookup_bytes(job.tables), stream);
}
void encode(const RangeEncodeGrid& job, void* stream) {
  launch("range_encode_kernel", range_encode_kernel<true>, range_encode_kernel<false>, job, range_entries_bytes(job.tables), stream);
}
void pack(const RangeEncodeGrid& job, void* stream) {
  launch<RangeEncodeGrid>("range_pack_kernel", nullptr, range_pack_kernel, job, 0, stream);
}

void* allocate(size_t n_bytes, void* stream) {
  void* data = nullptr;
  check(cudaMallocAsync(&data, n_bytes, static_cast<cudaStream_t>(stream)), "cudaMallocAsync");
  return data;
}
void release(void* data, void* stream) { cudaFreeAsync(data, static_cast<cudaStream_t>(stream)); }

void transfer(void* to, const void* from, size_t n_bytes, cudaMemcpyKind kind, void* stream) {
  check(cudaMemcpyAsync(to, from, n_bytes, kind, static_cast<cudaStream_t>(stream)), "cudaMemcpyAsync");
  if (kind != cudaMemcpyDeviceToDevice) check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}
void upload(void* to, const void* from, size_t n, void* stream) { transfer(to, from, n, cudaMemcpyHostToDevice, stream); }
void download(void* to, const void* from, size_t n, void* stream) { transfer(to, from, n, cudaMemcpyDeviceToHost, stream); }
void copy(void* to, const void* from, size_t n, void* stream) { transfer(to, from, n, cudaMemcpyDeviceToDevice, stream); }

void wait() { cudaDeviceSynchronize(); }

int use(int index) {
  int previous = 0;
  check(cudaGetDevice(&previous), "cudaGetDevice");
  if (index != previous) check(cudaSetDevice(index), "cudaSetDevice");
  return previous;
}

const RangeDevice kDevice = {"cuda", allocate, release, upload, download, copy, decode, encode, pack, wait, use};

}  // namespace

const RangeDevice& range_cuda_device() {
  const std::string reason = unavailable_reason();
  if (!reason.empty()) throw Error(ErrorCode::kBackend, "cuda: " + reason + "; use CPU arrays");
  return kDevice;
}

}  // namespace fastcodec::cuda
