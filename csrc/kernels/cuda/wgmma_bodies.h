// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fused 3x3 convolutions by wgmma (sm_90a). Weights are the A operand, 64 rows; a strip of 8 columns of pixels is the B operand,
// read where it lies in planes of 16 channels: a filter tap is another start address. A block is two warpgroups that take strips
// in turn.
#pragma once

#include "kernels/cuda/chain_bodies.h"
#include "kernels/cuda/dev_wgmma.h"

namespace fastcodec::cuda {

constexpr int kWgmmaThreads = 256;
constexpr int kStageBytes = kWgmmaThreads / 32 * 512;  // where each warp turns 32 pixels of a plane around

// The two channels and two pixels of one group of 8 columns, requantised: channel c of pixels x and x + 1 in bytes 0 and 2,
// channel c + 1 in bytes 1 and 3. `add` is in the same order.
FASTCODEC_BLOCK uint32_t requantise(const int32_t* acc, const int32_t (&bias)[2], const int32_t (&mult)[2], uint32_t add) {
  int32_t v[4];
  FASTCODEC_UNROLL
  for (int i = 0; i < 4; ++i) v[i] = dev::mul_shift_32(acc[i] + bias[i / 2], mult[i / 2]) + dev::byte_of<false>(add, i % 2 * 2 + i / 2);
  return dev::pack_bytes<false>(v[0], v[2], v[1], v[3]);
}

// Writes 4 x 8 pixels of one plane: lane l has pixel l % 8 of row l / 8, at (x, y) of the image where `ok`.
FASTCODEC_BLOCK void store_pixels(uint8_t* memory, uint32_t stage, uint32_t (&r)[4], const ImageView& out, int plane, int x, int y, bool ok) {
  const int at = dev::warp() * 512 + dev::lane() * 16;
  dev::sync_warp();  // all have read what was there
  dev::store_matrices_transposed(dev::shared_address(memory) + stage + at, r);
  dev::sync_warp();
  if (!ok || plane >= (out.channels + kPlaneChannels - 1) / kPlaneChannels) return;
  *reinterpret_cast<Words4*>(static_cast<uint8_t*>(out.data) + element(out, x, y, plane * kPlaneChannels)) =
      *reinterpret_cast<const Words4*>(memory + stage + at);
}

// ---- two layers of up to 64 channels ------------------------------------------------------------------------------
// Blocks persist: the weights of both layers stay in shared memory, and the next tile is fetched during the second layer.
struct Pair64 {
  static constexpr int kMid = 32, kIn = kMid + 2, kOut = kMid - 2;  // sides of the tile of the value between, the input, the output
  static constexpr int kWeightBytes = 9 * 64 * 64, kInPlane = kIn * kIn * 16, kMidPlane = kMid * kMid * 16;
  static constexpr int kInAt = 2 * kWeightBytes, kMidAt = kInAt + 4 * kInPlane;
  static constexpr int kStageAt = kMidAt + 4 * kMidPlane + 32;  // unused columns of the second layer read 2 pixels too far
  static constexpr int kSharedBytes = kStageAt + kStageBytes;
  static_assert(kSharedBytes <= 227 << 10, "more than a block may have");

  static FASTCODEC_DEV int tiles(const FusedJob& j) { return ((j.out.width + kOut - 1) / kOut) * ((j.out.height + kOut - 1) / kOut); }

  static FASTCODEC_BLOCK Tile tile_of(const FusedJob& j, int index) {
    const int tiles_x = (j.out.width + kOut - 1) / kOut;
    return {kIn, kIn, index % tiles_x * kOut - 2, index / tiles_x * kOut - 2, kInPlane};
  }

  // A tile of which a layer adds the pixels from (x, y) on; no row behind the last is read.
  struct Added {
    uint32_t tile;
    int side, x, y;
  };

  // One layer on 4 strips: source planes `kPlane` bytes apart, rows `kPitch` pixels long. put(strip, row, words of 4 rows)
  template <bool kAdds, int kRows, int kPitch, int kPlane, class Put>
  static FASTCODEC_BLOCK void layer(const FusedLayer& layer, uint32_t weights, uint32_t source, const Added& added, Put put) {
    const int lane = dev::lane(), c = (dev::warp() & 3) * 16 + (lane >> 2) * 2;
    const int32_t bias[2] = {layer.bias[c], layer.bias[c + 1]}, mult[2] = {layer.mult[c], layer.mult[c + 1]};
    for (int strip = dev::thread() >> 7; strip < kMid / 8; strip += 2) {
      int32_t acc[kRows * 4];
      dev::begin_products();
      FASTCODEC_UNROLL
      for (int k = 0; k < 18; ++k) {
        const int tap = k / 2, shift = (tap / 3 * kPitch + tap % 3 + strip * 8) * 16;
        dev::multiply_shared<kRows * 8>(acc, dev::operand(weights + k * 2048, 1024, 128),
                                        dev::operand(source + k % 2 * 2 * kPlane + shift, kPlane, kPitch * 16), k > 0);
      }
      dev::finish_products(acc);
      FASTCODEC_UNROLL
      for (int row = 0; row < kRows; row += 4) {
        uint32_t r[4], add[4] = {};
        if (kAdds && layer.add != Add::kNone) {
          const int y = row + (lane >> 3) + added.y, side = added.side, kept = y < side ? y : side - 1;
          const int pixel = ((dev::warp() & 3) * side + kept) * side + strip * 8 + (lane & 7) + added.x;
          dev::load_matrices_transposed(add, added.tile + pixel * 16);
        }
        FASTCODEC_UNROLL
        for (int q = 0; q < 4; ++q) r[q] = requantise(&acc[(row + q < kRows ? row + q : kRows - 1) * 4], bias, mult, add[q]);
        put(strip, row, r);
      }
    }
  }

  static FASTCODEC_DEV bool adds(const FusedJob& j) { return j.layers[0].add != Add::kNone || j.layers[1].add != Add::kNone; }

  // kAdds: as adds() says; without, the code that could add is not there and takes no time.
  template <bool kAdds>
  static FASTCODEC_BLOCK void block(const FusedJob& j) {
    uint8_t* memory = dev::shared();
    const uint32_t base = dev::shared_address(memory);
    const int lane = dev::lane(), plane = dev::warp() & 3, n_tiles = tiles(j);
    for (int i = dev::thread(); i < 2 * kWeightBytes / 16; i += kWgmmaThreads) {
      const int n = i < kWeightBytes / 16 ? 0 : 1;
      dev::copy_16(base + i * 16, static_cast<const Words4*>(j.layers[n].weight) + i - n * kWeightBytes / 16);
    }
    fetch_tile(j.in, tile_of(j, dev::block_x()), 4, base + kInAt, kWgmmaThreads);
    for (int index = dev::block_x(); index < n_tiles; index += dev::grid_x()) {
      dev::wait_copies<0>();
      dev::publish_shared();
      dev::sync_block();
      const Tile in = tile_of(j, index), mid{kMid, kMid, in.left + 1, in.top + 1, kMidPlane};
      const Added input{base + kInAt, kIn, 1, 1};  // for the first layer; the second is one pixel further in
      layer<kAdds, kMid, kIn, kInPlane>(j.layers[0], base, base + kInAt, input, [&](int strip, int row, uint32_t (&r)[4]) {
        dev::store_matrices_transposed(base + kMidAt + plane * kMidPlane + ((row + (lane >> 3)) * kMid + strip * 8 + (lane & 7)) * 16, r);
      });
      if (crosses_border(mid, 0, j.out.width, j.out.height)) {
        dev::sync_block();
        replicate_border(memory + kMidAt, 4, mid, 0, j.out.width, j.out.height, kWgmmaThreads);
      }
      dev::publish_shared();
      dev::sync_block();
      const bool still_read = kAdds && j.layers[1].add == Add::kInputBefore, more = index + dev::grid_x() < n_tiles;
      if (more && !still_read) fetch_tile(j.in, tile_of(j, index + dev::grid_x()), 4, base + kInAt, kWgmmaThreads);
      const Added added = still_read ? Added{base + kInAt, kIn, 2, 2} : Added{base + kMidAt, kMid, 1, 1};
      layer<kAdds, kOut, kMid, kMidPlane>(j.layers[1], base + kWeightBytes, base + kMidAt, added, [&](int strip, int row, uint32_t (&r)[4]) {
        const int x = strip * 8 + (lane & 7), y = row + (lane >> 3), out_x = in.left + 2 + x, out_y = in.top + 2 + y;
        store_pixels(memory, kStageAt, r, j.out, plane, out_x, out_y, x < kOut && y < kOut && out_x < j.out.width && out_y < j.out.height);
      });
      if (more && still_read) {
        dev::sync_block();
        fetch_tile(j.in, tile_of(j, index + dev::grid_x()), 4, base + kInAt, kWgmmaThreads);
      }
    }
  }
};

// ---- several layers of up to 32 channels --------------------------------------------------------------------------
// The 64 rows are two image rows of 32 channels, so a product makes a pair of rows from four; the weights of a layer stay in 48
// registers. Two buffers, as in chain_bodies.h.
struct RowPairs32 {
  static constexpr int kWidth = 64, kHeight = 52, kPairs = 26;  // of the tile with its halo; pairs of rows of a strip
  static constexpr int kPlane = kWidth * (kHeight + 2) * 16 + 512;  // the rows behind the tile and what is read behind them
  static constexpr int kStageAt = 4 * kPlane, kSharedBytes = kStageAt + kStageBytes;
  static_assert(kSharedBytes <= 227 << 10, "more than a block may have");
  static_assert(2 * kPairs >= kHeight - 2, "all rows");

  static FASTCODEC_DEV int tile_width(const FusedJob& j) { return kWidth - 2 * j.n_layers; }
  static FASTCODEC_DEV int tile_height(const FusedJob& j) { return kHeight - 2 * j.n_layers; }
  static int tiles(const FusedJob& j) {
    return ((j.out.width + tile_width(j) - 1) / tile_width(j)) * ((j.out.height + tile_height(j) - 1) / tile_height(j));
  }

  static FASTCODEC_BLOCK void layer(const FusedJob& j, const Tile& t, int n, uint8_t* memory, int src, int dst) {
    const FusedLayer& layer = j.layers[n];
    const int lane = dev::lane(), warp = dev::warp() & 3, plane = warp & 1, parity = warp >> 1;
    const uint32_t base = dev::shared_address(memory);
    Words4 weight[12];
    FASTCODEC_UNROLL
    for (int k = 0; k < 12; ++k) weight[k] = static_cast<const Words4*>(layer.weight)[k * 128 + (dev::thread() & 127)];
    const int c = plane * 16 + (lane >> 2) * 2;
    const int32_t bias[2] = {layer.bias[c], layer.bias[c + 1]}, mult[2] = {layer.mult[c], layer.mult[c + 1]};
    const bool last = n + 1 == j.n_layers;
    const int low = n + 1, high_x = kWidth - 1 - n, high_y = kHeight - 1 - n;  // valid after this layer
    for (int strip = dev::thread() >> 7; low + strip * 8 < high_x; strip += 2) {
      const int left = low + strip * 8;
      int32_t acc[kPairs * 4];
      dev::begin_products();
      FASTCODEC_UNROLL
      for (int k = 0; k < 12; ++k) {  // input row k / 3 of the pair, column k % 3
        const uint32_t at = base + src + (k / 3 * kWidth + left - 1 + k % 3) * 16;
        dev::multiply_registers<kPairs * 8>(acc, weight[k].w, dev::operand(at, kPlane, 2 * kWidth * 16), k > 0);
      }
      dev::finish_products(acc);
      FASTCODEC_UNROLL
      for (int pair = 0; pair < kPairs; pair += 4) {
        const int row = 1 + 2 * (pair + (lane >> 3)) + parity, x = left + (lane & 7);
        const bool inside = row < kHeight - 1;
        const int kept = inside ? row : kHeight + 1;  // rows behind the tile: what is added there means nothing
        const int at = plane * kPlane + (kept * kWidth + x) * 16;
        uint32_t r[4], add[4] = {};
        if (layer.add != Add::kNone) dev::load_matrices_transposed(add, base + (layer.add == Add::kInput ? src : dst) + at);
        FASTCODEC_UNROLL
        for (int q = 0; q < 4; ++q) r[q] = requantise(&acc[(pair + q < kPairs ? pair + q : kPairs - 1) * 4], bias, mult, add[q]);
        if (!last) {
          // Rows behind the tile go where nobody reads.
          dev::store_matrices_transposed(base + (inside ? dst + at : kStageAt + dev::warp() * 512 + lane * 16), r);
        } else {
          const bool ok = x < high_x && row >= low && row < high_y && t.left + x < j.out.width && t.top + row < j.out.height;
          store_pixels(memory, kStageAt, r, j.out, plane, t.left + x, t.top + row, ok);
        }
      }
    }
  }

  static FASTCODEC_BLOCK void block(const FusedJob& j) {
    const int tiles_x = (j.out.width + tile_width(j) - 1) / tile_width(j);
    const Tile t{kWidth, kHeight, dev::block_x() % tiles_x * tile_width(j) - j.n_layers,
                 dev::block_x() / tiles_x * tile_height(j) - j.n_layers, kPlane};
    uint8_t* memory = dev::shared();
    fetch_tile(j.in, t, 2, dev::shared_address(memory), kWgmmaThreads);
    dev::wait_copies<0>();
    for (int n = 0; n < j.n_layers; ++n) {
      const int src = n % 2 * 2 * kPlane, dst = 2 * kPlane - src;
      dev::publish_shared();
      dev::sync_block();
      layer(j, t, n, memory, src, dst);
      if (n + 1 < j.n_layers && crosses_border(t, n + 1, j.out.width, j.out.height)) {
        dev::sync_block();
        replicate_border(memory + dst, 2, t, n + 1, j.out.width, j.out.height, kWgmmaThreads);
      }
    }
  }
};

}  // namespace fastcodec::cuda
