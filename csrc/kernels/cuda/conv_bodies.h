// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// One convolution of any shape by mma.sync (sm_80 and later), as an implicit matrix product: weights are the A operand (16
// output channels), pixels the B operand, read where they lie in shared memory.
//
// The 32 values of k of one product are two halves of 16: a half is one plane of input channels at one filter tap, so its
// pixels are rows of 16 bytes at some offset in the tile. With n planes in shared memory half h is plane h % n of tap h / n.
// The last half may be missing; its weights are zero, and pixels of half 0 are read for it. Sparse weights, two of each four
// channels, have four halves in a product.
#pragma once

#include "kernels/cuda/dev_block.h"
#include "kernels/cuda/image_bodies.h"

namespace fastcodec::cuda {

// Output channel (in its block of 16 * n_tiles) of row `row` of tile `tile`: a lane, which has rows g and g + 8 of each tile, has
// 2 * n_tiles neighbouring channels, in the order tile, row.
FASTCODEC_DEV int conv_channel(int n_tiles, int tile, int row) { return row % 8 * 2 * n_tiles + tile * 2 + row / 8; }

FASTCODEC_DEV int conv_halves(int kernel, int planes) { return kernel * kernel * planes; }
FASTCODEC_DEV int conv_steps(int kernel, int planes, int halves) { return (conv_halves(kernel, planes) + halves - 1) / halves; }

// Side of the input tile: a 1x1 convolution of stride 2 loads only the pixels it reads.
FASTCODEC_DEV int conv_step(const ConvJob& j) { return j.kernel == 1 ? 1 : j.stride; }
FASTCODEC_DEV int conv_side(const ConvJob& j) { return (kConvTile - 1) * conv_step(j) + j.kernel; }

FASTCODEC_DEV int conv_parts(const ConvJob& j) { return j.in.type == Dtype::kI16 ? 2 : 1; }  // of 16 bytes, of a pixel's plane

// Of a tile in a product: a lane's 16 values, and of sparse weights 32 places.
FASTCODEC_DEV int conv_tile_words(int halves) { return halves == 4 ? 40 : 32; }
FASTCODEC_DEV int conv_steps(const ConvJob& j, int planes) { return conv_steps(j.kernel, planes, j.halves); }
FASTCODEC_DEV int conv_step_words(const ConvJob& j) { return j.n_tiles * conv_tile_words(j.halves); }
FASTCODEC_DEV int conv_weight_bytes(const ConvJob& j) { return conv_steps(j, j.chunk_planes) * conv_step_words(j) * 16; }
FASTCODEC_DEV int conv_offset_bytes(const ConvJob& j) { return (conv_steps(j, j.chunk_planes) * j.halves * 4 + 15) / 16 * 16; }
FASTCODEC_DEV int conv_stage_bytes(const ConvJob& j) {
  return conv_weight_bytes(j) + conv_offset_bytes(j) + j.chunk_planes * conv_parts(j) * conv_side(j) * conv_side(j) * 16;
}
FASTCODEC_DEV size_t conv_shared_bytes(const ConvJob& j) { return static_cast<size_t>(j.n_stages) * conv_stage_bytes(j); }
inline int conv_grid_x(const ConvJob& j) {
  return ((j.out.width + kConvTile - 1) / kConvTile) * ((j.out.height + kConvTile - 1) / kConvTile);
}
inline int conv_grid_y(const ConvJob& j) { return (j.out.channels + 16 * j.n_tiles - 1) / (16 * j.n_tiles); }

// What of the input lies in shared memory at a time: planes from `plane` on, and their weights.
struct ConvChunk {
  int plane, planes;
  const uint8_t* weight;
};
FASTCODEC_DEV ConvChunk conv_chunk(const ConvJob& j, int index, int block) {
  const int all = (j.in.channels + kPlaneChannels - 1) / kPlaneChannels, n = (all + j.chunk_planes - 1) / j.chunk_planes;
  const int plane = index * j.chunk_planes, left = all - plane;
  const size_t at = (static_cast<size_t>(block) * n + index) * conv_weight_bytes(j);
  return {plane, left < j.chunk_planes ? left : j.chunk_planes, static_cast<const uint8_t*>(j.weight) + at};
}

// Begins to bring the weights of a chunk to a stage of shared memory, and writes the offsets of the halves of k behind them.
FASTCODEC_BLOCK void conv_load_weights(const ConvJob& j, const ConvChunk& chunk, uint8_t* stage) {
  const int side = conv_side(j), n_pixels = side * side, steps = conv_steps(j, chunk.planes), parts = conv_parts(j);
  const uint32_t to = dev::shared_address(stage);
  const int n_words = steps * conv_step_words(j);
  for (int i = dev::thread(); i < n_words; i += kConvThreads) dev::copy_16(to + i * 16, chunk.weight + i * 16);
  auto* offsets = reinterpret_cast<int32_t*>(stage + conv_weight_bytes(j));
  for (int h = dev::thread(); h < j.halves * steps; h += kConvThreads) {
    const int tap = h / chunk.planes;
    const bool real = h < conv_halves(j.kernel, chunk.planes);
    offsets[h] = real ? (h % chunk.planes * parts * n_pixels + tap / j.kernel * side + tap % j.kernel) * 16 : 0;
  }
}

// Begins to bring a chunk: weights, and pixels from (x0, y0) on. A plane of i16 becomes two of 16 bytes a pixel, so that all pixels
// lie alike.
FASTCODEC_BLOCK void conv_load(const ConvJob& j, int x0, int y0, const ConvChunk& chunk, uint8_t* stage) {
  const int side = conv_side(j), n_pixels = side * side, parts = conv_parts(j);
  const uint32_t to_tile = dev::shared_address(stage) + conv_weight_bytes(j) + conv_offset_bytes(j);
  conv_load_weights(j, chunk, stage);
  const int pitch = j.kernel == 1 ? j.stride : 1;  // between loaded pixels
  for (int at = dev::thread(); at < n_pixels; at += kConvThreads) {
    const size_t first = element(j.in, x0 + at % side * pitch, y0 + at / side * pitch, chunk.plane * kPlaneChannels);
    const uint8_t* from = static_cast<const uint8_t*>(j.in.data) + first * parts;
    for (int p = 0; p < chunk.planes; ++p) {
      const uint32_t to = to_tile + (p * parts * n_pixels + at) * 16;
      dev::copy_16(to, from);
      if (parts == 2) dev::copy_16(to + n_pixels * 16, from + 16);
      from += j.in.plane * parts;
    }
  }
  dev::commit_copies();
}

// The products of 16 * kTiles channels and 2 x 16 pixels, one row at each of `rows`, with what lies in shared memory.
template <int kTiles, bool kSigned>
FASTCODEC_BLOCK void conv_multiply(int32_t (&acc)[kTiles][4][4], const Words4* weights, const int32_t* offsets, int steps,
                                   const uint32_t (&rows)[2], int half) {
  for (int s = 0; s < steps; ++s) {
    const int32_t offset = offsets[2 * s + half];
    uint32_t b0[4], b1[4];
    dev::load_matrices(b0, rows[0] + offset);
    dev::load_matrices(b1, rows[1] + offset);
    FASTCODEC_UNROLL
    for (int m = 0; m < kTiles; ++m) {
      const Words4 words = weights[(s * kTiles + m) * 32];
      const uint32_t a[4] = {words.w[0], words.w[1], words.w[2], words.w[3]};
      dev::multiply<kSigned>(acc[m][0], a, b0[0], b0[1]);
      dev::multiply<kSigned>(acc[m][1], a, b0[2], b0[3]);
      dev::multiply<kSigned>(acc[m][2], a, b1[0], b1[1]);
      dev::multiply<kSigned>(acc[m][3], a, b1[2], b1[3]);
    }
  }
}

// The same with sparse weights: behind the values of all tiles of a step stand their places.
template <int kTiles, bool kSigned>
FASTCODEC_BLOCK void conv_multiply_sparse(int32_t (&acc)[kTiles][4][4], const uint8_t* weights, const int32_t* offsets, int steps,
                                          const uint32_t (&rows)[2], int half) {
  const int lane = dev::lane();
  FASTCODEC_NO_UNROLL
  for (int s = 0; s < steps; ++s, weights += kTiles * 640) {
    uint32_t b[4][4];  // of 8 pixels each, 4 halves of k
    FASTCODEC_UNROLL
    for (int p = 0; p < 2; ++p) {
      FASTCODEC_UNROLL
      for (int r = 0; r < 2; ++r) {
        uint32_t two[4];
        dev::load_matrices(two, rows[r] + offsets[4 * s + 2 * p + half]);
        FASTCODEC_UNROLL
        for (int i = 0; i < 4; ++i) b[2 * r + i / 2][2 * p + i % 2] = two[i];
      }
    }
    FASTCODEC_UNROLL
    for (int m = 0; m < kTiles; ++m) {
      const Words4 a = reinterpret_cast<const Words4*>(weights)[m * 32 + lane];
      const uint32_t chosen = reinterpret_cast<const uint32_t*>(weights + kTiles * 512)[m * 32 + lane];
      FASTCODEC_UNROLL
      for (int n = 0; n < 4; ++n) dev::multiply_sparse<kSigned>(acc[m][n], a.w, chosen, b[n]);
    }
  }
}

// The same for i16: x = 256 * high + low with a signed high and an unsigned low byte, so two products of bytes.
template <int kTiles>
FASTCODEC_BLOCK void conv_multiply_wide(int32_t (&high)[kTiles][4][4], int32_t (&low)[kTiles][4][4], const Words4* weights,
                                        const int32_t* offsets, int steps, const uint32_t (&rows)[2]) {
  FASTCODEC_NO_UNROLL
  for (int s = 0; s < steps; ++s) {
    Words4 a[kTiles];
    FASTCODEC_UNROLL
    for (int m = 0; m < kTiles; ++m) a[m] = weights[(s * kTiles + m) * 32];
    FASTCODEC_UNROLL
    for (int r = 0; r < 2; ++r) {
      uint32_t b_high[2][2], b_low[2][2];  // of 8 pixels each, either half of k
      FASTCODEC_UNROLL
      for (int h = 0; h < 2; ++h) {
        uint32_t raw[4];
        dev::load_matrices(raw, rows[r] + offsets[2 * s + h]);
        FASTCODEC_UNROLL
        for (int p = 0; p < 2; ++p) {
          b_low[p][h] = dev::every_other_byte<false>(raw[2 * p], raw[2 * p + 1]);
          b_high[p][h] = dev::every_other_byte<true>(raw[2 * p], raw[2 * p + 1]);
        }
      }
      FASTCODEC_UNROLL
      for (int m = 0; m < kTiles; ++m) {
        FASTCODEC_UNROLL
        for (int p = 0; p < 2; ++p) {
          dev::multiply<false>(low[m][2 * r + p], a[m].w, b_low[p][0], b_low[p][1]);
          dev::multiply<true>(high[m][2 * r + p], a[m].w, b_high[p][0], b_high[p][1]);
        }
      }
    }
  }
}

// Stores what a warp has: rows 2 * warp and the next one of the block of pixels from (out_x, out_y) on.
template <int kTiles>
FASTCODEC_BLOCK void conv_finish(const ConvJob& j, int out_x, int out_y, const int32_t (&acc)[kTiles][4][4]) {
  const int lane = dev::lane(), warp = dev::warp();
  constexpr int kCount = 2 * kTiles;
  const int c = dev::block_y() * 16 * kTiles + (lane >> 2) * kCount;
  if (c >= (j.out.channels + kPlaneChannels - 1) / kPlaneChannels * kPlaneChannels) return;
  int32_t bias[kCount], mult[kCount];
  FASTCODEC_UNROLL
  for (int i = 0; i < kCount; ++i) {
    bias[i] = j.bias[c + i];
    mult[i] = j.mult[c + i];
  }
  FASTCODEC_UNROLL
  for (int n = 0; n < 4; ++n) {
    FASTCODEC_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int x = out_x + n % 2 * 8 + (lane & 3) * 2 + e, y = out_y + 2 * warp + n / 2;
      if (x >= j.out.width || y >= j.out.height) continue;
      int32_t values[kCount], add[kCount] = {};
      if (j.add.data) load_channels(j.add, x, y, c, add);
      FASTCODEC_UNROLL
      for (int i = 0; i < kCount; ++i) values[i] = dev::mul_shift_32(acc[i / 2][n][i % 2 * 2 + e] + bias[i], mult[i]) + add[i];
      store_channels(j.out, x, y, c, values);
    }
  }
}

template <int kTiles, Dtype kType, bool kSparse = false>
FASTCODEC_BLOCK void conv_block(const ConvJob& j) {
  const int tiles_x = (j.out.width + kConvTile - 1) / kConvTile;
  const int out_x = dev::block_x() % tiles_x * kConvTile, out_y = dev::block_x() / tiles_x * kConvTile;
  const int in_x = out_x * j.stride - j.kernel / 2, in_y = out_y * j.stride - j.kernel / 2;
  const int step = conv_step(j), side = conv_side(j), lane = dev::lane(), warp = dev::warp();
  uint8_t* memory = dev::shared();

  // A warp makes two rows of 16 pixels; lanes 0..7 and 8..15 hold the addresses of the first 8 of them for either half of k (of
  // i16: either part of a plane).
  constexpr bool kWide = kType == Dtype::kI16;
  const int column = (lane >> 4) * 8 + (lane & 7), half = lane >> 3 & 1;
  const int row = (2 * warp * step * side + column * step + (kWide ? half * side * side : 0)) * 16;

  const int all_planes = (j.in.channels + kPlaneChannels - 1) / kPlaneChannels;
  const int n_chunks = (all_planes + j.chunk_planes - 1) / j.chunk_planes;
  int32_t acc[kTiles][4][4] = {}, low[kWide ? kTiles : 1][4][4] = {};
  int loaded = 0;
  for (int index = 0; index < n_chunks; ++index) {
    for (; loaded < n_chunks && loaded < index + j.n_stages; ++loaded) {
      conv_load(j, in_x, in_y, conv_chunk(j, loaded, dev::block_y()), memory + (loaded & (j.n_stages - 1)) * conv_stage_bytes(j));
    }
    switch (loaded - index) {
      case 4: dev::wait_copies<3>(); break;
      case 3: dev::wait_copies<2>(); break;
      case 2: dev::wait_copies<1>(); break;
      default: dev::wait_copies<0>(); break;
    }
    dev::sync_block();
    uint8_t* stage = memory + (index & (j.n_stages - 1)) * conv_stage_bytes(j);
    const auto* a_words = reinterpret_cast<const Words4*>(stage) + lane;
    const auto* offsets = reinterpret_cast<const int32_t*>(stage + conv_weight_bytes(j));
    const uint32_t first = dev::shared_address(stage) + conv_weight_bytes(j) + conv_offset_bytes(j) + row;
    const uint32_t rows[2] = {first, first + step * side * 16};
    const int left = all_planes - index * j.chunk_planes, steps = conv_steps(j, left < j.chunk_planes ? left : j.chunk_planes);
    if constexpr (kSparse) conv_multiply_sparse<kTiles, kType == Dtype::kI8>(acc, stage, offsets, steps, rows, half);
    else if constexpr (kWide) conv_multiply_wide<kTiles>(acc, low, a_words, offsets, steps, rows);
    else conv_multiply<kTiles, kType == Dtype::kI8>(acc, a_words, offsets, steps, rows, half);
    dev::sync_block();  // all have read what the next chunk replaces
  }
  if constexpr (kWide) {
    FASTCODEC_UNROLL
    for (int i = 0; i < kTiles * 16; ++i) {
      int32_t& sum = acc[i / 16][i / 4 % 4][i % 4];
      sum = static_cast<int32_t>(static_cast<uint32_t>(sum) * 256 + static_cast<uint32_t>(low[i / 16][i / 4 % 4][i % 4]));
    }
  }
  conv_finish<kTiles>(j, out_x, out_y, acc);
}

}  // namespace fastcodec::cuda
