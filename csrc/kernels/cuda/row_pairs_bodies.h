// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Several 3x3 convolutions of up to 32 channels in one kernel by wgmma (sm_90a). The 64 rows of the weights are two image rows of
// 32 channels, so a product makes a pair of rows from four; the weights of a layer stay in 48 registers. Two buffers, as in
// chain_bodies.h.
//
// The tensor cores are what should be busy always, so the two warpgroups take turns: while one multiplies, the other makes bytes
// of the sums of its strip. They meet once a strip, from different places (a named barrier may be), when the last product of it
// is under way and the other may begin. A strip needs what the strips at least two turns before have made, so it makes no
// difference where a layer begins, but at the image's border. Blocks persist: the next tile comes during the last layer, where
// that has read what it replaces.
#pragma once

#include "kernels/cuda/wgmma_bodies.h"

namespace fastcodec::cuda {

struct RowPairs32 {
  static constexpr int kWidth = 64, kHeight = 52, kMaxLayers = 5;  // of the tile with its halo
  static constexpr int kPlane = kWidth * (kHeight + 2) * 16 + 512;  // the rows behind the tile and what is read behind them
  static constexpr int kStageAt = 4 * kPlane, kSharedBytes = kStageAt + kStageBytes;
  static_assert(kSharedBytes <= 227 << 10, "more than a block may have");

  // What is valid after layer n: columns and rows from n + 1 to before these.
  static constexpr FASTCODEC_DEV int end_x(int n) { return kWidth - 1 - n; }
  static constexpr FASTCODEC_DEV int end_y(int n) { return kHeight - 1 - n; }
  static constexpr FASTCODEC_DEV int strips(int n) { return (end_x(n) - n - 1 + 7) / 8; }
  static constexpr FASTCODEC_DEV int steps(bool narrow) { return narrow ? 6 : 12; }
  // Pairs of rows of a strip: even, as the products want it.
  static constexpr FASTCODEC_DEV int pairs(int n) { return (end_y(n) - n - 1 + 3) / 4 * 2; }

  static FASTCODEC_DEV int tile_width(const FusedJob& j) { return kWidth - 2 * j.n_layers; }
  static FASTCODEC_DEV int tile_height(const FusedJob& j) { return kHeight - 2 * j.n_layers; }
  static FASTCODEC_DEV int tiles_x(const FusedJob& j) { return (j.out.width + tile_width(j) - 1) / tile_width(j); }
  static FASTCODEC_DEV int tiles(const FusedJob& j) {
    return tiles_x(j) * ((j.out.height + tile_height(j) - 1) / tile_height(j));
  }
  static FASTCODEC_BLOCK Tile tile_of(const FusedJob& j, int index) {
    const int x = index % tiles_x(j) * tile_width(j), y = index / tiles_x(j) * tile_height(j);
    return {kWidth, kHeight, x - j.n_layers, y - j.n_layers, kPlane};
  }

  // Begins to copy columns of a tile, a multiple of 8, by n_threads threads of which this is number `thread`.
  static FASTCODEC_BLOCK void fetch_columns(const ImageView& image, const Tile& t, uint32_t to, int first, int end, int thread,
                                            int n_threads) {
    const bool two = image.channels > kPlaneChannels;
    const int columns = end - first;
    FASTCODEC_NO_UNROLL
    for (int i = thread; i < columns * kHeight; i += n_threads) {
      const int x = columns == 8 ? first + (i & 7) : first + i % columns, y = columns == 8 ? i >> 3 : i / columns;
      const uint8_t* from = static_cast<const uint8_t*>(image.data) + element(image, t.left + x, t.top + y, 0);
      dev::copy_16(to + (y * kWidth + x) * 16, from);
      if (two) dev::copy_16(to + kPlane + (y * kWidth + x) * 16, from + image.plane);
    }
    dev::commit_copies();
  }

  using Weights = Words4[12];
  static FASTCODEC_BLOCK void load_weights(const FusedLayer& layer, Weights& weight) {
    FASTCODEC_UNROLL
    for (int k = 0; k < 12; ++k) weight[k] = static_cast<const Words4*>(layer.weight)[k * 128 + (dev::thread() & 127)];
  }

  // What a thread does in turn for a layer.
  struct Turn {
    int n;         // the layer
    int mine;      // first strip of this warpgroup: 0 or 1
    int src, dst;  // buffers
    int tile;
    int next;      // in the last layer: the tile to be brought to src meanwhile, if not negative
  };

  // 16-bit results of one pair of rows, straight from the sums: 8 lanes write the 32 bytes of a pixel, and those of the next one.
  static FASTCODEC_BLOCK void store_shorts(uint8_t* to, const int32_t* acc, const Requantiser& by, uint32_t add, int n) {
    FASTCODEC_UNROLL
    for (int e = 0; e < 2; ++e) {
      const int32_t v0 = requantise(acc, by, e) + dev::byte_of<false>(add, 2 * e);
      const int32_t v1 = requantise(acc, by, 2 + e) + dev::byte_of<false>(add, 2 * e + 1);
      if (e < n) *reinterpret_cast<uint32_t*>(to + e * 2 * kPlaneChannels) = dev::pack_shorts(v0, v1);
    }
  }

  // First of the two halves of k of a step: `row` of the four of a pair and column; where the other lies.
  struct Half {
    int row, column, to_other;
  };
  static constexpr FASTCODEC_DEV Half half(bool narrow, int step) {
    if (!narrow) return {step / 3, step % 3, kPlane};
    return step < 4 ? Half{step, 0, 16} : Half{step % 2 * 2, 2, kWidth * 16};
  }

  // One layer from buffer to buffer, or to the output image if it is the last. `weight` is then that of the next one.
  // kNarrow: from one plane, so that the halves of k are neighbouring taps.
  template <int kPairs, bool kNarrow>
  static FASTCODEC_BLOCK void layer(const FusedJob& j, const Turn& turn, Weights& weight) {
    uint8_t* memory = dev::shared();
    const FusedLayer& layer = j.layers[turn.n];
    const int lane = dev::lane(), warp = dev::warp() & 3, plane = warp & 1, parity = warp >> 1;
    const uint32_t base = dev::shared_address(memory);
    const Requantiser by = requantiser(layer, plane * 16 + (lane >> 2) * 2);
    const bool last = kPairs != pairs(0) && turn.n + 1 == j.n_layers;  // a chain has two layers at least
    const bool adds = layer.add != Add::kNone, wide = last && j.out.type == Dtype::kI16;
    const uint32_t added = base + (layer.add == Add::kInput ? turn.src : turn.dst);
    const int low = turn.n + 1, n_strips = strips(turn.n);
    // Of the part of the tile that is in the output image.
    const Tile t = tile_of(j, turn.tile);
    const int past_x = t.left + end_x(turn.n) < j.out.width ? end_x(turn.n) : j.out.width - t.left;
    const int past_y = t.top + end_y(turn.n) < j.out.height ? end_y(turn.n) : j.out.height - t.top;
    const int past = plane * kPlaneChannels < j.out.channels ? past_y : 0, pixel = wide ? 32 : 16;
    FASTCODEC_NO_UNROLL
    for (int strip = turn.mine; strip < n_strips; strip += 2) {
      if (strip > 0) dev::sync_named(1, kWgmmaThreads);
      const int left = low + strip * 8;
      int32_t acc[kPairs * 4];
      dev::begin_products();
      FASTCODEC_UNROLL
      for (int k = 0; k < steps(kNarrow); ++k) {
        const Half h = half(kNarrow, k);
        const uint32_t at = base + turn.src + ((low - 1 + h.row) * kWidth + left - 1 + h.column) * 16;
        dev::multiply_registers<kPairs * 8>(acc, weight[k].w, dev::operand(at, h.to_other, 2 * kWidth * 16), k > 0);
        if (k >= steps(kNarrow) - 2) dev::commit_products();
      }
      const int top = dev::opaque(low + parity);
      // Where 4 pairs of rows lie in a buffer at `buffer`; rows behind the last pair are this lane's own memory.
      const uint32_t own = base + kStageAt + dev::warp() * 512 + lane * 16;
      const auto rows_at = [&](uint32_t buffer, int pair) {
        const int y = top + 2 * (pair + (lane >> 3)), x = left + (lane & 7);
        return pair + (lane >> 3) < kPairs ? buffer + plane * kPlane + (y * kWidth + x) * 16 : own;
      };
      uint32_t add[2][4] = {};  // of these pairs and the next
      if (adds) dev::load_matrices_transposed(add[0], rows_at(added, 0));
      if (last) dev::wait_products<0>();  // the other may replace what this has read
      else dev::wait_products<1>();
      dev::sync_named(1, kWgmmaThreads);
      dev::finish_products(acc);
      if (strip + 2 >= n_strips) load_weights(j.layers[last ? 0 : turn.n + 1], weight);
      if (last && turn.next >= 0 && strip > 0) {  // no strip from this one on reads these columns
        fetch_columns(j.in, tile_of(j, turn.next), base + turn.src, strip * 8 - 8, strip * 8, dev::thread() & 127, 128);
      }
      const ptrdiff_t first_pixel = static_cast<ptrdiff_t>(t.top + top) * j.out.width + t.left;
      uint8_t* out = static_cast<uint8_t*>(j.out.data) + plane * j.out.plane * (pixel / 16) + first_pixel * pixel;
      const auto store = [&](int pair) {
        const int y = 2 * (pair + (lane >> 3)), x = left + (lane & 7);
        const bool ok = pair + (lane >> 3) < kPairs && x < past_x && top + y < past;
        store_pixels(memory, kStageAt, out + (static_cast<ptrdiff_t>(y) * j.out.width + x) * 16, ok);
      };
      FASTCODEC_UNROLL
      for (int pair = 0; pair < kPairs; pair += 4) {
        const int now = pair / 4 % 2;
        if (adds && pair + 4 < kPairs) dev::load_matrices_transposed(add[1 - now], rows_at(added, pair + 4));
        const auto sums = [&](int q) { return &acc[(pair + q < kPairs ? pair + q : kPairs - 1) * 4]; };
        if (wide) {
          FASTCODEC_UNROLL
          for (int q = 0; q < 4 && pair + q < kPairs; ++q) {
            const int y = 2 * (pair + q), first = left + (lane & 3) * 2;
            uint8_t* to = out + (static_cast<ptrdiff_t>(y) * j.out.width + first) * 32 + (lane >> 2) * 4;
            if (top + y < past) store_shorts(to, sums(q), by, add[now][q], past_x - first);
          }
          continue;
        }
        uint32_t r[4];
        if (adds) {
          FASTCODEC_UNROLL
          for (int q = 0; q < 4; ++q) r[q] = requantise(sums(q), by, add[now][q]);
        } else {
          FASTCODEC_UNROLL
          for (int q = 0; q < 4; ++q) r[q] = requantise(sums(q), by);
        }
        if (last) {
          if (pair > 0) store(pair - 4);  // while the next are made
          stage_pixels(memory, kStageAt, r);
          if (pair + 4 >= kPairs) store(pair);
        } else dev::store_matrices_transposed(rows_at(base + turn.dst, pair), r);
      }
      if (!last) dev::publish_shared();
    }
    if ((n_strips - turn.mine) % 2 == 0) dev::sync_named(1, kWgmmaThreads);  // the other's last strip
  }

  static FASTCODEC_BLOCK void block(const FusedJob& j) {
    static_assert(strips(kMaxLayers - 1) >= 4, "a strip needs what was made at least two turns before");
    uint8_t* memory = dev::shared();
    const uint32_t base = dev::shared_address(memory);
    const int n_tiles = tiles(j), last = j.n_layers - 1;
    Turn turn{0, dev::thread() >> 7, 0, 2 * kPlane, 0, 0};
    Weights weight;
    load_weights(j.layers[0], weight);
    fetch_columns(j.in, tile_of(j, dev::block_x()), base, 0, kWidth, dev::thread(), kWgmmaThreads);
    for (turn.tile = dev::block_x(); turn.tile < n_tiles; turn.tile += dev::grid_x()) {
      dev::wait_copies<0>();
      dev::publish_shared();
      dev::sync_block();
      const int next = turn.tile + dev::grid_x();
      for (turn.n = 0; turn.n <= last; ++turn.n) {
        turn.next = turn.n == last && next < n_tiles ? next : -1;
        switch (pairs(turn.n)) {
          case pairs(0):
            if (j.in.channels <= kPlaneChannels) layer<pairs(0), true>(j, turn, weight);
            else layer<pairs(0), false>(j, turn, weight);
            break;
          case pairs(1): layer<pairs(1), false>(j, turn, weight); break;
          default: layer<pairs(kMaxLayers - 1), false>(j, turn, weight); break;
        }
        turn.mine = (turn.mine + strips(turn.n)) & 1;
        if (turn.n == last) break;
        const int made = turn.dst;
        turn.dst = turn.src;
        turn.src = made;
        const Tile t = tile_of(j, turn.tile);
        if (crosses_border(t, turn.n + 1, j.out.width, j.out.height)) {
          dev::sync_block();
          replicate_border(memory + made, 2, t, turn.n + 1, j.out.width, j.out.height, kWgmmaThreads);
          dev::publish_shared();
          dev::sync_block();
        }
      }
      if (turn.next >= 0) {
        if (j.layers[last].add == Add::kInput) dev::sync_block();  // it has read src until now
        if (turn.mine == 0) {  // not by the warpgroup that has just made the last strip
          fetch_columns(j.in, tile_of(j, turn.next), base + turn.src, strips(last) * 8 - 8, kWidth, dev::thread() & 127, 128);
        }
      }
    }
  }
};

}  // namespace fastcodec::cuda
