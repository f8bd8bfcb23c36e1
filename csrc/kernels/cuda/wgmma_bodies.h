// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fused 3x3 convolutions by wgmma (sm_90a). Weights are the A operand, 64 rows; a strip of 8 columns of pixels is the B operand,
// read where it lies in planes of 16 channels: a filter tap is another start address. A block is two warpgroups that take strips
// in turn. Here: what the kernels share, and two layers of up to 64 channels; row_pairs_bodies.h: up to 32.
#pragma once

#include "kernels/cuda/chain_bodies.h"
#include "kernels/cuda/dev_wgmma.h"

namespace fastcodec::cuda {

constexpr int kWgmmaThreads = 256;
constexpr int kStageBytes = kWgmmaThreads / 32 * 512;  // where each warp turns 32 pixels of a plane around

// Of a thread's two channels, c and c + 1.
struct Requantiser {
  int32_t bias[2], mult[2];
};
FASTCODEC_BLOCK Requantiser requantiser(const FusedLayer& layer, int c) {
  return {{layer.bias[c], layer.bias[c + 1]}, {layer.mult[c], layer.mult[c + 1]}};
}
// Sum i of a group of 8 columns: channel c + i / 2 of pixel x + i % 2.
FASTCODEC_BLOCK int32_t requantise(const int32_t* acc, const Requantiser& by, int i) {
  return dev::mul_shift_32(acc[i] + by.bias[i / 2], by.mult[i / 2]);
}
// All of them: channel c of pixels x and x + 1 in bytes 0 and 2, channel c + 1 in bytes 1 and 3.
FASTCODEC_BLOCK uint32_t requantise(const int32_t* acc, const Requantiser& by) {
  return dev::pack_bytes<false>(requantise(acc, by, 0), requantise(acc, by, 2), requantise(acc, by, 1), requantise(acc, by, 3));
}
// The same, plus values in the same order.
FASTCODEC_BLOCK uint32_t requantise(const int32_t* acc, const Requantiser& by, uint32_t add) {
  int32_t v[4];
  FASTCODEC_UNROLL
  for (int i = 0; i < 4; ++i) v[i] = requantise(acc, by, i) + dev::byte_of<false>(add, i % 2 * 2 + i / 2);
  return dev::pack_bytes<false>(v[0], v[2], v[1], v[3]);
}

// Turns 4 x 8 pixels of one plane around.
FASTCODEC_BLOCK void stage_pixels(uint8_t* memory, uint32_t stage, uint32_t (&r)[4]) {
  dev::sync_warp();  // all have read what was there
  dev::store_matrices_transposed(dev::shared_address(memory) + stage + dev::warp() * 512 + dev::lane() * 16, r);
}
// Writes them: lane l has pixel l % 8 of row l / 8, which goes to `to` where `ok`.
FASTCODEC_BLOCK void store_pixels(uint8_t* memory, uint32_t stage, uint8_t* to, bool ok) {
  dev::sync_warp();
  if (ok) *reinterpret_cast<Words4*>(to) = *reinterpret_cast<const Words4*>(memory + stage + dev::warp() * 512 + dev::lane() * 16);
}

// ---- two layers of up to 64 channels ------------------------------------------------------------------------------
// Blocks persist: the weights of both layers stay in shared memory, and the next tile is fetched during the second layer. The
// warpgroups take turns at the tensor cores: see row_pairs_bodies.h. kSparse: of both layers two of each four weights are zero.
template <bool kSparse>
struct Pair64 {
  static constexpr int kStrips = 4, kSteps = kSparse ? 9 : 18;  // products of a strip
  static constexpr int kMid = 8 * kStrips, kIn = kMid + 2, kOut = kMid - 2;  // sides of the tile of the value between, the input, the output
  static constexpr int kPlacesAt = 9 * 64 * 32, kWeightBytes = kSparse ? kPlacesAt + 9 * 128 * 4 : 9 * 64 * 64;
  static constexpr int kInPlane = kIn * kIn * 16, kMidPlane = kMid * kMid * 16;
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

  // One layer on 4 strips, in turns: source planes `kPlane` bytes apart, rows `kPitch` pixels long. put(strip, row, words of 4
  // rows), and behind each strip after(strip); when a strip is the last one, all products have read the source.
  template <bool kAdds, int kRows, int kPitch, int kPlane, class Put, class After>
  static FASTCODEC_BLOCK void layer(const FusedLayer& layer, uint32_t weights, uint32_t source, const Added& added, Put put, After after) {
    const int lane = dev::lane(), c = (dev::warp() & 3) * 16 + (lane >> 2) * 2;
    const Requantiser by = requantiser(layer, c);
    uint32_t places[kSteps];  // of this thread, where two of each four weights stand
    if constexpr (kSparse) {
      const uint8_t* all = dev::shared() + (weights - dev::shared_address(dev::shared())) + kPlacesAt;
      FASTCODEC_UNROLL
      for (int k = 0; k < kSteps; ++k) places[k] = reinterpret_cast<const uint32_t*>(all)[k * 128 + (dev::thread() & 127)];
    }
    FASTCODEC_NO_UNROLL
    for (int strip = dev::thread() >> 7; strip < kStrips; strip += 2) {
      if (strip > 0) dev::sync_named(2, kWgmmaThreads);
      int32_t acc[kRows * 4];
      dev::begin_products();
      FASTCODEC_UNROLL
      for (int k = 0; k < kSteps; ++k) {
        const int tap = kSparse ? k : k / 2, shift = (tap / 3 * kPitch + tap % 3 + strip * 8) * 16;
        const uint32_t pixels = source + (kSparse ? 0 : k % 2 * 2 * kPlane) + shift;
        const uint64_t a = dev::operand(weights + k * 2048, 1024, 128), b = dev::operand(pixels, kPlane, kPitch * 16);
        if constexpr (kSparse) dev::multiply_sparse_shared<kRows * 8>(acc, a, places[k], b, k > 0);
        else dev::multiply_shared<kRows * 8>(acc, a, b, k > 0);
        if (k + 2 >= kSteps) dev::commit_products();
      }
      if (strip + 1 == kStrips) dev::wait_products<0>();
      else dev::wait_products<1>();
      dev::sync_named(2, kWgmmaThreads);
      dev::finish_products(acc);
      FASTCODEC_UNROLL
      for (int row = 0; row < kRows; row += 4) {
        uint32_t r[4], add[4] = {};
        const auto sums = [&](int q) { return &acc[(row + q < kRows ? row + q : kRows - 1) * 4]; };
        if (kAdds && layer.add != Add::kNone) {
          const int y = row + (lane >> 3) + added.y, side = added.side, kept = y < side ? y : side - 1;
          const int pixel = ((dev::warp() & 3) * side + kept) * side + strip * 8 + (lane & 7) + added.x;
          dev::load_matrices_transposed(add, added.tile + pixel * 16);
        }
        FASTCODEC_UNROLL
        for (int q = 0; q < 4; ++q) r[q] = kAdds ? requantise(sums(q), by, add[q]) : requantise(sums(q), by);
        put(strip, row, r);
      }
      after(strip);
    }
    if (dev::thread() < 128) dev::sync_named(2, kWgmmaThreads);  // the other's last strip
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
      const int next = index + dev::grid_x();
      const bool still_read = kAdds && j.layers[1].add == Add::kInputBefore;
      // The next tile, once the first layer has read this one: two planes by each warpgroup when it is not its turn.
      const auto fetch_half = [&](int half) {
        if (next >= n_tiles || still_read) return;
        fetch_planes(j.in, tile_of(j, next), 2 * half, 2 * half + 2, base + kInAt, dev::thread() & 127, 128);
      };
      layer<kAdds, kMid, kIn, kInPlane>(j.layers[0], base, base + kInAt, input, [&](int strip, int row, uint32_t (&r)[4]) {
        dev::store_matrices_transposed(base + kMidAt + plane * kMidPlane + ((row + (lane >> 3)) * kMid + strip * 8 + (lane & 7)) * 16, r);
      }, [&](int strip) {
        dev::publish_shared();
        if (strip + 1 == kStrips) {
          if (kAdds) dev::sync_named(1, 128);  // the warpgroup's other warps may still add the input
          fetch_half(1);
        }
      });
      if (crosses_border(mid, 0, j.out.width, j.out.height)) {
        dev::sync_block();
        replicate_border(memory + kMidAt, 4, mid, 0, j.out.width, j.out.height, kWgmmaThreads);
        dev::publish_shared();
        dev::sync_block();
      }
      const Added added = still_read ? Added{base + kInAt, kIn, 2, 2} : Added{base + kMidAt, kMid, 1, 1};
      layer<kAdds, kOut, kMid, kMidPlane>(j.layers[1], base + kWeightBytes, base + kMidAt, added, [&](int strip, int row, uint32_t (&r)[4]) {
        const int x = strip * 8 + (lane & 7), y = row + (lane >> 3), out_x = in.left + 2 + x, out_y = in.top + 2 + y;
        const bool ok = x < kOut && y < kOut && out_x < j.out.width && out_y < j.out.height && plane * kPlaneChannels < j.out.channels;
        stage_pixels(memory, kStageAt, r);
        store_pixels(memory, kStageAt, static_cast<uint8_t*>(j.out.data) + element(j.out, out_x, out_y, plane * kPlaneChannels), ok);
      }, [&](int strip) {
        if (strip == 0) fetch_half(0);
      });
      if (next < n_tiles && still_read) {
        dev::sync_block();
        fetch_tile(j.in, tile_of(j, next), 4, base + kInAt, kWgmmaThreads);
      }
    }
  }
};

}  // namespace fastcodec::cuda
