// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/conv_ops.h"

#include "kernels/cuda/chain_bodies.h"
#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/depthwise_conv_bodies.h"

namespace fastcodec::cuda {
namespace {

template <int kTiles, Dtype kType>
__global__ void __launch_bounds__(kConvThreads, 2) conv_kernel(const __grid_constant__ ConvJob job) {
  conv_block<kTiles, kType>(job);
}
template <int kTiles, Dtype kType>
__global__ void __launch_bounds__(kConvThreads, 2) sparse_conv_kernel(const __grid_constant__ ConvJob job) {
  conv_block<kTiles, kType, true>(job);
}
template <int kTiles>
__global__ void __launch_bounds__(kConvThreads, 2) depthwise_conv_kernel(const __grid_constant__ ConvJob job) {
  depthwise_conv_block<kTiles>(job);
}
__global__ void __launch_bounds__(kChainThreads, 1) chain_kernel(const __grid_constant__ FusedJob job) { chain_block(job); }

using ConvKernel = void (*)(ConvJob);
// By log2 of the tiles and type; 4 tiles of i16 would take too many registers.
constexpr ConvKernel kConvKernels[3][3] = {
    {conv_kernel<1, Dtype::kU8>, conv_kernel<1, Dtype::kI8>, conv_kernel<1, Dtype::kI16>},
    {conv_kernel<2, Dtype::kU8>, conv_kernel<2, Dtype::kI8>, conv_kernel<2, Dtype::kI16>},
    {conv_kernel<4, Dtype::kU8>, conv_kernel<4, Dtype::kI8>, nullptr},
};
constexpr ConvKernel kSparseConvKernels[3][2] = {
    {sparse_conv_kernel<1, Dtype::kU8>, sparse_conv_kernel<1, Dtype::kI8>},
    {sparse_conv_kernel<2, Dtype::kU8>, sparse_conv_kernel<2, Dtype::kI8>},
    {sparse_conv_kernel<4, Dtype::kU8>, sparse_conv_kernel<4, Dtype::kI8>},
};
constexpr ConvKernel kDepthwiseConvKernels[3] = {depthwise_conv_kernel<1>, depthwise_conv_kernel<2>, depthwise_conv_kernel<4>};

}  // namespace

void launch_conv(const ConvJob& job, void* stream) {
  const int tiles = job.n_tiles / 2, type = static_cast<int>(job.in.type);
  const ConvKernel kernel = job.before.weight ? kDepthwiseConvKernels[tiles]
                            : job.halves == 4 ? kSparseConvKernels[tiles][type]
                                              : kConvKernels[tiles][type];
  const size_t bytes = job.before.weight ? depthwise_shared_bytes(job) : conv_shared_bytes(job);
  launch_block_kernel("conv_kernel", kernel, dim3(conv_grid_x(job), conv_grid_y(job)), kConvThreads, bytes, job, stream);
}

void launch_chain(const FusedJob& job, void* stream) {
  launch_block_kernel("chain_kernel", chain_kernel, chain_grid(job), kChainThreads, chain_shared_bytes(job.side), job, stream);
}

}  // namespace fastcodec::cuda
