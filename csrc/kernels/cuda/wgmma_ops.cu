// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/conv_ops.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/row_pairs_bodies.h"

namespace fastcodec::cuda {
namespace {

// Code for other architectures is empty; the device's limits say that it must not be launched there.
__global__ void __launch_bounds__(kWgmmaThreads, 1) row_pairs_kernel(const __grid_constant__ FusedJob job) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  RowPairs32::block(job);
#endif
}
template <bool kAdds>
__global__ void __launch_bounds__(kWgmmaThreads, 1) pair_kernel(const __grid_constant__ FusedJob job) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  Pair64::block<kAdds>(job);
#endif
}

}  // namespace

void launch_row_pairs(const FusedJob& job, void* stream) {
  launch_block_kernel("row_pairs_kernel", row_pairs_kernel, std::min(RowPairs32::tiles(job), job.n_units), kWgmmaThreads,
                      RowPairs32::kSharedBytes, job, stream);
}

void launch_pair(const FusedJob& job, void* stream) {
  launch_block_kernel("pair_kernel", Pair64::adds(job) ? pair_kernel<true> : pair_kernel<false>,
                      std::min(Pair64::tiles(job), job.n_units), kWgmmaThreads, Pair64::kSharedBytes, job, stream);
}

}  // namespace fastcodec::cuda
