// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/conv_ops.h"

#include "kernels/cuda/chain_bodies.h"
#include "kernels/cuda/cuda_check.h"

namespace fastcodec::cuda {
namespace {

template <int kTiles, bool kSigned>
__global__ void __launch_bounds__(kConvThreads, 2) conv_kernel(const __grid_constant__ ConvJob job) {
  conv_block<kTiles, kSigned>(job);
}
__global__ void __launch_bounds__(kChainThreads, 1) chain_kernel(const __grid_constant__ FusedJob job) { chain_block(job); }

using ConvKernel = void (*)(ConvJob);
constexpr ConvKernel kConvKernels[3][2] = {{conv_kernel<1, false>, conv_kernel<1, true>},
                                           {conv_kernel<2, false>, conv_kernel<2, true>},
                                           {conv_kernel<4, false>, conv_kernel<4, true>}};

}  // namespace

void launch_conv(const ConvJob& job, void* stream) {
  const ConvKernel kernel = kConvKernels[job.n_tiles / 2][job.in.type == Dtype::kI8];
  launch_block_kernel("conv_kernel", kernel, dim3(conv_grid_x(job), conv_grid_y(job)), kConvThreads, conv_shared_bytes(job), job, stream);
}

void launch_chain(const FusedJob& job, void* stream) {
  launch_block_kernel("chain_kernel", chain_kernel, chain_grid(job), kChainThreads, chain_shared_bytes(job.side), job, stream);
}

}  // namespace fastcodec::cuda
