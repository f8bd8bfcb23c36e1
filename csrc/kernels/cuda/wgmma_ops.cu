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
template <bool kSparse, bool kAdds>
__global__ void __launch_bounds__(kWgmmaThreads, 1) pair_kernel(const __grid_constant__ FusedJob job) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  Pair64<kSparse>::template block<kAdds>(job);
#endif
}

}  // namespace

void launch_row_pairs(const FusedJob& job, void* stream) {
  launch_block_kernel("row_pairs_kernel", row_pairs_kernel, std::min(RowPairs32::tiles(job), job.n_units), kWgmmaThreads,
                      RowPairs32::kSharedBytes, job, stream);
}

template <bool kSparse>
void launch_pair_of(const FusedJob& job, void* stream) {
  using Pair = Pair64<kSparse>;
  launch_block_kernel("pair_kernel", Pair::adds(job) ? pair_kernel<kSparse, true> : pair_kernel<kSparse, false>,
                      std::min(Pair::tiles(job), job.n_units), kWgmmaThreads, Pair::kSharedBytes, job, stream);
}
void launch_pair(const FusedJob& job, void* stream) {
  if (job.kernel == FusedKernel::kSparsePair64) launch_pair_of<true>(job, stream);
  else launch_pair_of<false>(job, stream);
}

}  // namespace fastcodec::cuda
