// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// One convolution of any shape by mma.sync (sm_80 and later), as an implicit matrix product: weights are the A operand (16
// output channels), pixels the B operand, read where they lie in shared memory.
//
// The 32 values of k of one product are two halves of 16: a half is one plane of input channels at one filter tap, so its
// pixels are rows of 16 bytes at some offset in the tile. With n planes in shared memory half h is plane h % n of tap h / n.
// The last half may be missing; its weights are zero, and pixels of half 0 are read for it.
#pragma once

#include "kernels/cuda/dev_block.h"
#include "kernels/cuda/image_bodies.h"

namespace fastcodec::cuda {

// Output channel (in its block of 16 * n_tiles) of row `row` of tile `tile`: a lane, which has rows g and g + 8 of each tile, has
// 2 * n_tiles neighbouring channels, in the order tile, row.
FASTCODEC_DEV int conv_channel(int n_tiles, int tile, int row) { return row % 8 * 2 * n_tiles + tile * 2 + row / 8; }

FASTCODEC_DEV int conv_halves(int kernel, int planes) { return kernel * kernel * planes; }
FASTCODEC_DEV int conv_steps(int kernel, int planes) { return (conv_halves(kernel, planes) + 1) / 2; }

// Side of the input tile: a 1x1 convolution of stride 2 loads only the pixels it reads.
FASTCODEC_DEV int conv_step(const ConvJob& j) { return j.kernel == 1 ? 1 : j.stride; }
FASTCODEC_DEV int conv_side(const ConvJob& j) { return (kConvTile - 1) * conv_step(j) + j.kernel; }

FASTCODEC_DEV int conv_weight_bytes(const ConvJob& j) { return conv_steps(j.kernel, j.chunk_planes) * j.n_tiles * 512; }
FASTCODEC_DEV int conv_offset_bytes(const ConvJob& j) { return (conv_steps(j.kernel, j.chunk_planes) * 8 + 15) / 16 * 16; }
FASTCODEC_DEV size_t conv_shared_bytes(const ConvJob& j) {
  return conv_weight_bytes(j) + conv_offset_bytes(j) + static_cast<size_t>(j.chunk_planes) * conv_side(j) * conv_side(j) * 16;
}
inline int conv_grid_x(const ConvJob& j) {
  return ((j.out.width + kConvTile - 1) / kConvTile) * ((j.out.height + kConvTile - 1) / kConvTile);
}
inline int conv_grid_y(const ConvJob& j) { return (j.out.channels + 16 * j.n_tiles - 1) / (16 * j.n_tiles); }

struct alignas(16) Words4 {
  uint32_t w[4];
};

// kCount (2, 4 or 8) channels from c, all in one plane.
template <int kCount>
FASTCODEC_BLOCK void load_channels(const ImageView& v, int x, int y, int c, int32_t (&values)[kCount]) {
  struct alignas(kCount) Bytes {
    uint8_t b[kCount];
  };
  struct alignas(2 * kCount) Shorts {
    int16_t s[kCount];
  };
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kI16) {
    const Shorts loaded = *reinterpret_cast<const Shorts*>(static_cast<const int16_t*>(v.data) + at);
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount; ++i) values[i] = loaded.s[i];
  } else {
    const Bytes loaded = *reinterpret_cast<const Bytes*>(static_cast<const uint8_t*>(v.data) + at);
    const bool is_signed = v.type == Dtype::kI8;
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount; ++i) values[i] = is_signed ? static_cast<int8_t>(loaded.b[i]) : loaded.b[i];
  }
}

// Saturates.
template <int kCount>
FASTCODEC_BLOCK void store_channels(const ImageView& v, int x, int y, int c, const int32_t (&values)[kCount]) {
  struct alignas(kCount < 4 ? 4 : kCount) Bytes {
    uint32_t w[(kCount + 3) / 4];
  };
  struct alignas(2 * kCount) Shorts {
    int16_t s[kCount];
  };
  const size_t at = element(v, x, y, c);
  if (v.type == Dtype::kI16) {
    Shorts out;
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount; ++i) out.s[i] = static_cast<int16_t>(dev::clamp(values[i], -32768, 32767));
    *reinterpret_cast<Shorts*>(static_cast<int16_t*>(v.data) + at) = out;
    return;
  }
  uint32_t words[(kCount + 3) / 4];
  const bool is_signed = v.type == Dtype::kI8;
  FASTCODEC_UNROLL
  for (int i = 0; i < kCount; i += 4) {
    const int i2 = i + 2 < kCount ? i + 2 : i, i3 = i + 3 < kCount ? i + 3 : i;  // for 2 channels anything will do
    words[i / 4] = is_signed ? dev::pack_bytes<true>(values[i], values[i + 1], values[i2], values[i3])
                             : dev::pack_bytes<false>(values[i], values[i + 1], values[i2], values[i3]);
  }
  uint8_t* to = static_cast<uint8_t*>(v.data) + at;
  if constexpr (kCount == 2) {
    *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(words[0]);
  } else {
    Bytes out;
    FASTCODEC_UNROLL
    for (int i = 0; i < kCount / 4; ++i) out.w[i] = words[i];
    *reinterpret_cast<Bytes*>(to) = out;
  }
}

// Brings the input of `planes` planes from `plane` on, and their weights, to shared memory.
FASTCODEC_BLOCK void conv_load(const ConvJob& j, int x0, int y0, int plane, int planes, const uint8_t* weight, uint32_t to_weight,
                               int32_t* offsets, uint32_t to_tile) {
  const int side = conv_side(j), n_pixels = side * side, steps = conv_steps(j.kernel, planes);
  for (int i = dev::thread(); i < steps * j.n_tiles * 32; i += kConvThreads) dev::copy_16(to_weight + i * 16, weight + i * 16);
  const int pitch = j.kernel == 1 ? j.stride : 1;  // between loaded pixels
  for (int i = dev::thread(); i < planes * n_pixels; i += kConvThreads) {
    const int p = i / n_pixels, at = i % n_pixels;
    const size_t from = element(j.in, x0 + at % side * pitch, y0 + at / side * pitch, (plane + p) * kPlaneChannels);
    dev::copy_16(to_tile + i * 16, static_cast<const uint8_t*>(j.in.data) + from);
  }
  dev::commit_copies();
  for (int h = dev::thread(); h < 2 * steps; h += kConvThreads) {
    const int tap = h / planes;
    const bool real = h < conv_halves(j.kernel, planes);
    offsets[h] = real ? (h % planes * n_pixels + tap / j.kernel * side + tap % j.kernel) * 16 : 0;
  }
  dev::wait_copies<0>();
}

template <int kTiles, bool kSigned>
FASTCODEC_BLOCK void conv_block(const ConvJob& j) {
  const int tiles_x = (j.out.width + kConvTile - 1) / kConvTile;
  const int out_x = dev::block_x() % tiles_x * kConvTile, out_y = dev::block_x() / tiles_x * kConvTile;
  const int in_x = out_x * j.stride - j.kernel / 2, in_y = out_y * j.stride - j.kernel / 2;
  const int step = conv_step(j), side = conv_side(j), lane = dev::lane(), warp = dev::warp();

  uint8_t* memory = dev::shared();
  auto* offsets = reinterpret_cast<int32_t*>(memory + conv_weight_bytes(j));
  const uint32_t weights = dev::shared_address(memory), tile = weights + conv_weight_bytes(j) + conv_offset_bytes(j);
  // A warp makes two rows of 16 pixels; lanes 0..7 and 8..15 hold the addresses of the first 8 of them for either half of k.
  const int column = (lane >> 4) * 8 + (lane & 7), half = lane >> 3 & 1;
  const uint32_t row0 = tile + (2 * warp * step * side + column * step) * 16, row1 = row0 + step * side * 16;

  const int all_planes = (j.in.channels + kPlaneChannels - 1) / kPlaneChannels;
  const int n_chunks = (all_planes + j.chunk_planes - 1) / j.chunk_planes;
  const auto* weight = static_cast<const uint8_t*>(j.weight) + static_cast<size_t>(dev::block_y()) * n_chunks * conv_weight_bytes(j);
  int32_t acc[kTiles][4][4] = {};
  for (int plane = 0; plane < all_planes; plane += j.chunk_planes) {
    const int left = all_planes - plane, planes = left < j.chunk_planes ? left : j.chunk_planes;
    if (plane > 0) dev::sync_block();  // all have read what was there
    conv_load(j, in_x, in_y, plane, planes, weight, weights, offsets, tile);
    weight += conv_weight_bytes(j);
    dev::sync_block();
    const auto* a_words = reinterpret_cast<const Words4*>(memory) + lane;
    const int steps = conv_steps(j.kernel, planes);
    for (int s = 0; s < steps; ++s) {
      const int32_t offset = offsets[2 * s + half];
      uint32_t b0[4], b1[4];
      dev::load_matrices(b0, row0 + offset);
      dev::load_matrices(b1, row1 + offset);
      FASTCODEC_UNROLL
      for (int m = 0; m < kTiles; ++m) {
        const Words4 words = a_words[(s * kTiles + m) * 32];
        const uint32_t a[4] = {words.w[0], words.w[1], words.w[2], words.w[3]};
        dev::multiply<kSigned>(acc[m][0], a, b0[0], b0[1]);
        dev::multiply<kSigned>(acc[m][1], a, b0[2], b0[3]);
        dev::multiply<kSigned>(acc[m][2], a, b1[0], b1[1]);
        dev::multiply<kSigned>(acc[m][3], a, b1[2], b1[3]);
      }
    }
  }

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

}  // namespace fastcodec::cuda
