// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// A depthwise 3x3 convolution and the 1x1 convolution behind it in one kernel: what is between stays in shared memory. A block is
// one of the 1x1 convolution (conv_bodies.h), whose input it makes from a tile with a border of one pixel, a chunk of planes at a
// time.
#pragma once

#include "kernels/cuda/conv_bodies.h"

namespace fastcodec::cuda {

constexpr int kDepthwiseSide = kConvTile + 2, kDepthwisePixels = kDepthwiseSide * kDepthwiseSide;

FASTCODEC_DEV int depthwise_tile_bytes(const ConvJob& j) { return j.chunk_planes * kDepthwisePixels * 16; }
FASTCODEC_DEV size_t depthwise_shared_bytes(const ConvJob& j) {
  return static_cast<size_t>(conv_stage_bytes(j)) + depthwise_tile_bytes(j);
}

FASTCODEC_BLOCK void depthwise_load(const ConvJob& j, int x0, int y0, const ConvChunk& chunk, uint8_t* to) {
  const uint32_t tile = dev::shared_address(to);
  for (int i = dev::thread(); i < chunk.planes * kDepthwisePixels; i += kConvThreads) {
    const int at = i % kDepthwisePixels, plane = chunk.plane + i / kDepthwisePixels;
    const size_t from = element(j.in, x0 + at % kDepthwiseSide, y0 + at / kDepthwiseSide, plane * kPlaneChannels);
    dev::copy_16(tile + i * 16, static_cast<const uint8_t*>(j.in.data) + from);
  }
  dev::commit_copies();
}

// One plane of 16 x 16 pixels: a thread makes four channels of a column of 4.
FASTCODEC_BLOCK void depthwise_plane(const ConvJob& j, int plane, const uint8_t* tile, uint8_t* to) {
  const int q = dev::thread() & 3, x = dev::thread() >> 2 & (kConvTile - 1), y = dev::thread() / (4 * kConvTile) * 4;
  const DepthwiseFour four = depthwise_four(j.before, plane * kPlaneChannels + 4 * q);
  const auto* from = reinterpret_cast<const uint32_t*>(tile) + (y * kDepthwiseSide + x) * 4 + q;
  auto* out = reinterpret_cast<uint32_t*>(to) + (y * kConvTile + x) * 4 + q;
  uint32_t taps[9];
  FASTCODEC_UNROLL
  for (int t = 3; t < 9; ++t) taps[t] = from[((t / 3 - 1) * kDepthwiseSide + t % 3) * 4];
  FASTCODEC_UNROLL
  for (int row = 0; row < 4; ++row) {
    FASTCODEC_UNROLL
    for (int t = 0; t < 9; ++t) taps[t] = t < 6 ? taps[t + 3] : from[((row + 2) * kDepthwiseSide + t % 3) * 4];
    int32_t v[4];
    depthwise_pixel<false>(taps, four, v);
    out[row * kConvTile * 4] = dev::pack_bytes<false>(v[0], v[1], v[2], v[3]);
  }
}

template <int kTiles>
FASTCODEC_BLOCK void depthwise_conv_block(const ConvJob& j) {
  const int tiles_x = (j.out.width + kConvTile - 1) / kConvTile, lane = dev::lane(), warp = dev::warp();
  const int out_x = dev::block_x() % tiles_x * kConvTile, out_y = dev::block_x() / tiles_x * kConvTile;
  uint8_t* stage = dev::shared();
  uint8_t* middle = stage + conv_weight_bytes(j) + conv_offset_bytes(j);
  const uint8_t* tile = stage + conv_stage_bytes(j);
  const int half = lane >> 3 & 1;
  const uint32_t first = dev::shared_address(middle) + (2 * warp * kConvTile + (lane >> 4) * 8 + (lane & 7)) * 16;
  const uint32_t rows[2] = {first, first + kConvTile * 16};
  int32_t acc[kTiles][4][4] = {};
  for (int plane = 0; plane * kPlaneChannels < j.in.channels; plane += j.chunk_planes) {
    const ConvChunk chunk = conv_chunk(j, plane / j.chunk_planes, dev::block_y());
    conv_load_weights(j, chunk, stage);
    depthwise_load(j, out_x - 1, out_y - 1, chunk, stage + conv_stage_bytes(j));
    dev::wait_copies<0>();
    dev::sync_block();
    FASTCODEC_NO_UNROLL
    for (int p = 0; p < chunk.planes; ++p) {
      depthwise_plane(j, plane + p, tile + p * kDepthwisePixels * 16, middle + p * kConvThreads * 16);
    }
    dev::sync_block();
    const auto* offsets = reinterpret_cast<const int32_t*>(stage + conv_weight_bytes(j));
    conv_multiply<kTiles, false>(acc, reinterpret_cast<const Words4*>(stage) + lane, offsets, conv_steps(j, chunk.planes), rows, half);
    dev::sync_block();  // all have read what the next chunk replaces
  }
  conv_finish<kTiles>(j, out_x, out_y, acc);
}

}  // namespace fastcodec::cuda
