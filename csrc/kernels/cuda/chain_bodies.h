// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Several 3x3 convolutions of up to 32 channels in one kernel by mma.sync (sm_80 and later). A block has two buffers for its
// tile, each two planes of 16 channels, and goes back and forth between them; each layer is valid one pixel less on each side.
// A warp keeps the weights of a layer in 72 registers and walks over runs of 16 pixels; a run may go on in the next row, so
// it also makes pixels between the valid ones that mean nothing.
#pragma once

#include "kernels/cuda/conv_bodies.h"

namespace fastcodec::cuda {

// A tile in shared memory: position (x, y) is pixel (left + x, top + y) of an image.
struct Tile {
  int width, height;
  int left, top;
  int plane_bytes;
};

// Gives the positions outside the image, except the outer `margin`, the values of the nearest pixel: what the next layer takes
// for its border. The nearest pixel is in the tile, because a tile begins inside the image. Call between two sync_block.
FASTCODEC_BLOCK void replicate_border(uint8_t* memory, int planes, const Tile& t, int margin, int width, int height, int n_threads) {
  for (int i = dev::thread(); i < t.width * t.height; i += n_threads) {
    const int x = i % t.width, y = i / t.width;
    if (x < margin || x >= t.width - margin || y < margin || y >= t.height - margin) continue;
    const int from_x = dev::clamp(t.left + x, 0, width - 1) - t.left, from_y = dev::clamp(t.top + y, 0, height - 1) - t.top;
    if (from_x == x && from_y == y) continue;
    for (int p = 0; p < planes; ++p) {
      *reinterpret_cast<Words4*>(memory + p * t.plane_bytes + (y * t.width + x) * 16) =
          *reinterpret_cast<const Words4*>(memory + p * t.plane_bytes + (from_y * t.width + from_x) * 16);
    }
  }
}
FASTCODEC_BLOCK bool crosses_border(const Tile& t, int margin, int width, int height) {
  return t.left + margin < 0 || t.top + margin < 0 || t.left + t.width - margin > width || t.top + t.height - margin > height;
}

// Begins to copy planes of the tile of an image with its halo to shared memory, replicated outside the image (see wait_copies), by
// n_threads threads of which this is number `thread`. Planes that the image lacks become copies of its last one; their weights are zero.
FASTCODEC_BLOCK void fetch_planes(const ImageView& image, const Tile& t, int first, int end, uint32_t to, int thread, int n_threads) {
  const int n_pixels = t.width * t.height, last = (image.channels + kPlaneChannels - 1) / kPlaneChannels - 1;
  for (int p = first; p < end; ++p) {
    for (int i = thread; i < n_pixels; i += n_threads) {
      const size_t from = element(image, t.left + i % t.width, t.top + i / t.width, (p < last ? p : last) * kPlaneChannels);
      dev::copy_16(to + p * t.plane_bytes + i * 16, static_cast<const uint8_t*>(image.data) + from);
    }
  }
  dev::commit_copies();
}

FASTCODEC_BLOCK void fetch_tile(const ImageView& image, const Tile& t, int planes, uint32_t to, int n_threads) {
  fetch_planes(image, t, 0, planes, to, dev::thread(), n_threads);
}

constexpr int kChainThreads = 512, kChainMaxSide = 56;
// The planes are an odd number of 16 bytes apart, so that lanes that store to both use different banks; behind the last pixel is
// room for what a run reads too far.
FASTCODEC_DEV int chain_plane_bytes(int side) { return (side * side + 18) / 2 * 32 + 16; }
FASTCODEC_DEV size_t chain_shared_bytes(int side) { return 4 * static_cast<size_t>(chain_plane_bytes(side)); }
// The largest tile that fits.
inline int chain_side(size_t shared_bytes) {
  int side = kChainMaxSide;
  while (chain_shared_bytes(side) > shared_bytes) --side;
  return side;
}
inline int chain_grid(const FusedJob& j) {
  const int tile = j.side - 2 * j.n_layers;
  return ((j.out.width + tile - 1) / tile) * ((j.out.height + tile - 1) / tile);
}

// One layer from buffer to buffer, or to the output image if it is the last.
FASTCODEC_BLOCK void chain_layer(const FusedJob& j, const Tile& t, int n, uint8_t* memory, int src, int dst) {
  const FusedLayer& layer = j.layers[n];
  const int lane = dev::lane(), side = j.side, c = (lane >> 2) * 4;
  Words4 weight[9][2];
  FASTCODEC_UNROLL
  for (int k = 0; k < 18; ++k) weight[k / 2][k % 2] = static_cast<const Words4*>(layer.weight)[k * 32 + lane];
  int32_t bias[4], mult[4];
  FASTCODEC_UNROLL
  for (int i = 0; i < 4; ++i) {
    bias[i] = layer.bias[c + i];
    mult[i] = layer.mult[c + i];
  }
  const bool last = n + 1 == j.n_layers;
  const int low = n + 1, high = side - 1 - n;
  const int first = low * side + low, count = (high - 1) * side + high - first;
  const uint32_t source = dev::shared_address(memory) + src + (lane >> 3 & 1) * t.plane_bytes + ((lane >> 4) * 8 + (lane & 7)) * 16;
  // This lane's 4 channels of its first pixel, in either buffer.
  const int mine = (c >> 4) * t.plane_bytes + (lane & 3) * 32 + (c & 15);
  for (int run = dev::warp(); run * 16 < count; run += kChainThreads / 32) {
    const int p0 = first + run * 16;
    int32_t acc[2][2][4] = {};
    FASTCODEC_UNROLL
    for (int k = 0; k < 9; ++k) {
      uint32_t b[4];
      dev::load_matrices(b, source + (p0 + (k / 3 - 1) * side + k % 3 - 1) * 16);
      FASTCODEC_UNROLL
      for (int m = 0; m < 2; ++m) {
        dev::multiply<false>(acc[m][0], weight[k][m].w, b[0], b[1]);
        dev::multiply<false>(acc[m][1], weight[k][m].w, b[2], b[3]);
      }
    }
    FASTCODEC_UNROLL
    for (int q = 0; q < 4; ++q) {  // pixels p0 + (q / 2) * 8 + 2 * (lane & 3) + q % 2
      const int at = mine + (p0 + q / 2 * 8 + q % 2) * 16;
      int32_t v[4];
      FASTCODEC_UNROLL
      for (int i = 0; i < 4; ++i) v[i] = dev::mul_shift_32(acc[i / 2][q / 2][i % 2 * 2 + q % 2] + bias[i], mult[i]);
      if (layer.add != Add::kNone) {
        const uint32_t add = *reinterpret_cast<const uint32_t*>(memory + (layer.add == Add::kInput ? src : dst) + at);
        FASTCODEC_UNROLL
        for (int i = 0; i < 4; ++i) v[i] += dev::byte_of<false>(add, i);
      }
      if (!last) {
        *reinterpret_cast<uint32_t*>(memory + dst + at) = dev::pack_bytes<false>(v[0], v[1], v[2], v[3]);
        continue;
      }
      const int p = p0 + q / 2 * 8 + q % 2 + (lane & 3) * 2, y = p / side, x = p % side;
      const bool valid = x >= low && x < high && y < high && t.left + x < j.out.width && t.top + y < j.out.height;
      if (valid && c < (j.out.channels + 15) / 16 * 16) store_channels(j.out, t.left + x, t.top + y, c, v);
    }
  }
}

FASTCODEC_BLOCK void chain_block(const FusedJob& j) {
  const int tile = j.side - 2 * j.n_layers, tiles_x = (j.out.width + tile - 1) / tile;
  const Tile t{j.side, j.side, dev::block_x() % tiles_x * tile - j.n_layers, dev::block_x() / tiles_x * tile - j.n_layers,
               chain_plane_bytes(j.side)};
  uint8_t* memory = dev::shared();
  fetch_tile(j.in, t, 2, dev::shared_address(memory), kChainThreads);
  dev::wait_copies<0>();
  dev::sync_block();
  for (int n = 0; n < j.n_layers; ++n) {
    const int src = n % 2 * 2 * t.plane_bytes, dst = 2 * t.plane_bytes - src;
    chain_layer(j, t, n, memory, src, dst);
    if (n + 1 == j.n_layers) break;
    dev::sync_block();
    if (crosses_border(t, n + 1, j.out.width, j.out.height)) {
      replicate_border(memory + dst, 2, t, n + 1, j.out.width, j.out.height, kChainThreads);
      dev::sync_block();
    }
  }
}

}  // namespace fastcodec::cuda
