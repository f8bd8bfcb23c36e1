// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights in the order in which the tensor-core kernels read them. Input: int8 [n_out][kernel][kernel][n_in].
#pragma once

#include <stdint.h>

#include <vector>

namespace fastcodec::cuda {

struct ConvWeights {
  const int8_t* data;
  int n_out;
  int kernel;
  int n_in;
};

// For mma.sync: blocks of 16 * n_tiles output channels, chunks of chunk_planes of all n_planes input planes, then steps, tiles,
// lanes and the 16 bytes of a lane, as conv_bodies.h says. Zero where nothing is; all chunks are equally long.
std::vector<int8_t> pack_conv(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes);

// The same for a 1x1 convolution of i16, whose operands take the 16 channels of a plane in the order in which their low and high
// bytes come out of shared memory.
std::vector<int8_t> pack_wide(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes);

// At most two of each four neighbouring input channels of a tap and an output are not zero ("2:4")?
bool is_two_of_four(const ConvWeights& w);

// Such weights for sparse mma.sync: as pack_conv, but a step has 4 halves of k, of which the values stand as in one of 2, and
// behind the tiles of a step their places: of each tile a word a lane.
std::vector<int8_t> pack_sparse_conv(const ConvWeights& w, int n_planes, int n_tiles, int chunk_planes);

// Depthwise [C][3][3]: three words a channel, as image_bodies.h says, for whole planes.
std::vector<uint32_t> pack_depthwise(const int8_t* weight, int channels);

// For wgmma, 64 inputs and outputs, kernel 3: steps of 32 inputs (tap, half), halves of 16, rows, 16 bytes.
std::vector<int8_t> pack_pair(const ConvWeights& w);

// The same for 2:4 weights: steps of the 32 values of 64 inputs (tap); then steps, threads of a warpgroup, words of places.
std::vector<int8_t> pack_sparse_pair(const ConvWeights& w);

// For wgmma, 32 inputs and outputs, kernel 3: the rows of the A operand are the outputs of two image rows, so its steps run over
// 4 input rows x 3 columns and a quarter of the weights is zero. Steps, threads of the warpgroup, 16 bytes. `narrow`: at most 16
// inputs, so that half as many steps have two of those taps each: columns 0 and 1 of a row, column 2 of two rows.
std::vector<int8_t> pack_row_pairs(const ConvWeights& w, bool narrow);

}  // namespace fastcodec::cuda
