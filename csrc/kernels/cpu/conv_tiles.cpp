// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Convolution by tile products (AMX). A tile of activations is 16 pixels, as they lie in memory, x 64 bytes: all channels
// of the taps of one row, 64 bytes after 64 bytes; weights of 0 meet what lies behind the last one. A tile of weights is
// 64 bytes of input x 16 outputs. A block is 2 x 2 tiles of sums, which begin as the bias. The way from sums to outputs
// takes nearly as long as the products, in other parts of the core: so the sums of one block become outputs between the
// products of the next.
//
// i16 activations are bytes too: low ones without a sign, high ones with it. Weights that meet only low bytes, and the same
// weights on high bytes, give two sums; the result is low + 256 * high, modulo 2^32.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_TILES)
namespace {

constexpr int kTilePixels = 16;
constexpr int kTileInputs = 64;
constexpr int kTileWeights = kTileInputs * kLanes;
constexpr int kBlockTiles = 2;  // of pixels, and of outputs, in a block

constexpr int kMaxSteps = 3 * (2 * 1024 + 1024) / kTileInputs;  // 1024: kMaxChannels of a program

alignas(64) constexpr int32_t kNoBias[kLanes] = {};

enum class Out { kU8, kI16, kAny };  // u8 and nothing to add; i16, with or without i16 to add; all others

int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }
// Tiles of activations for one row of taps.
int row_steps(const ConvShape& s) {
  const int n_bytes = ((s.kernel - 1) * s.in_pixel + s.in_channels) * (s.wide ? 2 : 1);
  return round_up(n_bytes, kTileInputs) / kTileInputs;
}

// Sums that wait to become outputs: quads of four vectors of [pixel][N][lane], of i16 of [pixel][low, high][lane].
struct Waiting {
  const int32_t* next;
  const int32_t* end;
  int y, x;      // of the next one
  uint8_t* out;  // there, for u8 outputs
};

// A vector of outputs of pixel x of row w.y, channels from c on.
template <Out kOut>
inline void finish_one(const ConvArgs& a, V acc, V mult, V mult_odd, const Waiting& w, int x, int c) {
  if (kOut == Out::kAny) return finish(a, acc, zero(), mult, w.y, x, c);
  V v = mul_shift_32(acc, mult, mult_odd);
  if (a.add) v = add(v, load_i16(static_cast<const int16_t*>(a.add[w.y]) + static_cast<ptrdiff_t>(x) * a.add_pixel + c));
  store_i16(static_cast<int16_t*>(a.out[w.y]) + static_cast<ptrdiff_t>(x) * a.out_pixel + c, v);
}

// Makes one quad outputs, if one is left.
template <int N, bool kWide, Out kOut>
inline __attribute__((always_inline)) void finish_quad(const ConvArgs& a, const V (&mult)[N], const V (&mult_odd)[N], int c,
                                                       Waiting* w) {
  constexpr int kQuadPixels = 4 / N;
  if (w->next == w->end) return;
  const int32_t* sums = w->next;
  if (kOut == Out::kU8) {
    const V v0 = mul_shift_32(once(load(sums)), mult[0], mult_odd[0]);
    const V v1 = mul_shift_32(once(load(sums + kLanes)), mult[1 % N], mult_odd[1 % N]);
    const V v2 = mul_shift_32(once(load(sums + 2 * kLanes)), mult[0], mult_odd[0]);
    const V v3 = mul_shift_32(once(load(sums + 3 * kLanes)), mult[1 % N], mult_odd[1 % N]);
    store_pieces<kQuadPixels>(w->out, a.out_pixel, pack_u8(v0, v1, v2, v3));
    w->out += static_cast<ptrdiff_t>(kQuadPixels) * a.out_pixel;
  } else if (kWide) {
    for (int i = 0; i < 2; ++i) {
      const V acc = add(load(sums + 2 * i * kLanes), shift_left<8>(load(sums + (2 * i + 1) * kLanes)));
      finish_one<kOut>(a, acc, mult[0], mult_odd[0], *w, w->x + i, c);
    }
    w->x += kQuadPixels;
  } else {
    for (int i = 0; i < 4; ++i) {
      finish_one<kOut>(a, once(load(sums + i * kLanes)), mult[i % N], mult_odd[i % N], *w, w->x + i / N, c + i % N * kLanes);
    }
    w->x += kQuadPixels;
  }
  w->next = sums + 4 * kLanes;
}

// Sums of M tiles of pixels x N tiles of outputs into sums[pixel][N][lane]; in[step] + at is the first tile of activations
// of a step. Of i16, N == 2 are the products of low and of high bytes. The weights of a single step are in tiles 6 and 7
// already. between() is called after the products of each step.
template <int M, int N, bool kSigned, bool kWide, class Between>
inline void sum_block(const uint8_t* const* in, int n_steps, ptrdiff_t at, ptrdiff_t pixel, const uint8_t* w,
                      const int32_t* bias, int32_t* sums, Between&& between) {
  const int32_t* bias2 = kWide ? kNoBias : bias + kLanes;
  tile_load<0>(bias, 0);
  if (N == 2) tile_load<1>(bias2, 0);
  if (M == 2) tile_load<2>(bias, 0);
  if (M == 2 && N == 2) tile_load<3>(bias2, 0);
  for (int step = 0; step < n_steps; ++step) {
    const uint8_t* x = in[step] + at;
    tile_load<4>(x, pixel);
    if (n_steps > 1) tile_load<6>(w, kTileInputs);
    tile_dot<0, 4, 6, kSigned>();
    if (N == 2) {
      if (n_steps > 1) tile_load<7>(w + kTileWeights, kTileInputs);
      tile_dot<1, 4, 7, kSigned || kWide>();
    }
    if (M == 2) {
      tile_load<5>(x + kTilePixels * pixel, pixel);
      tile_dot<2, 5, 6, kSigned>();
      if (N == 2) tile_dot<3, 5, 7, kSigned || kWide>();
    }
    w += N * kTileWeights;
    between();
  }
  constexpr ptrdiff_t kPitch = N * kLanes * sizeof(int32_t);
  tile_store<0>(sums, kPitch);
  if (N == 2) tile_store<1>(sums + kLanes, kPitch);
  if (M == 2) tile_store<2>(sums + kTilePixels * N * kLanes, kPitch);
  if (M == 2 && N == 2) tile_store<3>(sums + kTilePixels * N * kLanes + kLanes, kPitch);
}

// All pixels of all rows, N vectors of channels from c on; of i16 one vector, by two tiles of weights.
template <int N, bool kSigned, bool kWide, Out kOut>
void conv_columns(const ConvArgs& a, const uint8_t* w, int c) {
  const ConvShape& s = a.shape;
  const int n_steps = s.kernel * row_steps(s);
  const ptrdiff_t pixel = static_cast<ptrdiff_t>(s.stride) * s.in_pixel * (kWide ? 2 : 1);
  V mult[N], mult_odd[N];
  for (int n = 0; n < N; ++n) {
    mult[n] = load(a.mult + c + (kWide ? 0 : n * kLanes));
    mult_odd[n] = odd_lanes(mult[n]);
  }
  alignas(64) int32_t sums[2][kBlockTiles * kTilePixels * N * kLanes];
  Waiting waiting{};
  constexpr int kQuads = kBlockTiles * kTilePixels * N / 4;
  const int quads_of_step = (kQuads + n_steps - 1) / n_steps;
  const auto finish_some = [&]() __attribute__((always_inline)) {
    for (int i = 0; i < quads_of_step; ++i) finish_quad<N, kWide, kOut>(a, mult, mult_odd, c, &waiting);
  };
  if (n_steps == 1) tile_load<6>(w, kTileInputs);
  if (n_steps == 1 && N == 2) tile_load<7>(w + kTileWeights, kTileInputs);
  int now = 0;
  for (int y = 0; y < a.n_rows; ++y) {
    const uint8_t* in[kMaxSteps];
    for (int i = 0; i < n_steps; ++i) in[i] = a.in[y * s.stride + i / row_steps(s)] + i % row_steps(s) * kTileInputs;
    for (int x = 0; x < a.n_cols; x += kBlockTiles * kTilePixels) {
      const bool both = a.n_cols - x > kTilePixels;
      if (both) sum_block<2, N, kSigned, kWide>(in, n_steps, x * pixel, pixel, w, a.bias + c, sums[now], finish_some);
      else sum_block<1, N, kSigned, kWide>(in, n_steps, x * pixel, pixel, w, a.bias + c, sums[now], finish_some);
      waiting = {sums[now], sums[now] + (both ? 2 : 1) * kTilePixels * N * kLanes, y, x,
                 static_cast<uint8_t*>(a.out[y]) + static_cast<ptrdiff_t>(x) * a.out_pixel + c};
      now ^= 1;
    }
  }
  for (int i = 0; i < kQuads; ++i) finish_quad<N, kWide, kOut>(a, mult, mult_odd, c, &waiting);
}

template <int N, bool kSigned, bool kWide>
void columns(const ConvArgs& a, const uint8_t* w, int c) {
  if (!kWide && is_plain(a)) conv_columns<N, kSigned, kWide, Out::kU8>(a, w, c);
  else if (is_stream(a)) conv_columns<N, kSigned, kWide, Out::kI16>(a, w, c);
  else conv_columns<N, kSigned, kWide, Out::kAny>(a, w, c);
}

size_t step_tiles(const ConvShape& s) { return static_cast<size_t>(s.kernel) * row_steps(s); }

// [vector][step][low, high][4 bytes][output][4]
void pack_wide(const ConvShape& s, const int8_t* weight, uint8_t* packed) {
  for (int o = 0; o < s.out_channels; ++o) {
    for (int i = 0; i < 2 * s.in_channels; ++i) {
      const int k = i % kTileInputs;
      uint8_t* tile = packed + ((o / kLanes * step_tiles(s) + i / kTileInputs) * 2 + i % 2) * kTileWeights;
      tile[(k / 4 * kLanes + o % kLanes) * 4 + k % 4] = static_cast<uint8_t>(weight[o * s.in_channels + i / 2]);
    }
  }
}

}  // namespace

bool conv_tiles_fits(const ConvShape& s) { return !s.depthwise; }

size_t conv_tiles_packed_bytes(const ConvShape& s) { return n_vectors(s) * step_tiles(s) * (s.wide ? 2 : 1) * kTileWeights; }

// [block of outputs][row of taps][step][vector of the block][4 inputs][output][4]
void conv_tiles_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(packed, 0, conv_tiles_packed_bytes(s));
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  if (s.wide) return pack_wide(s, weight, packed);
  for (int o = 0; o < s.out_channels; ++o) {
    const int first = o / kLanes / kBlockTiles * kBlockTiles;
    const int width = n_vectors(s) - first < kBlockTiles ? n_vectors(s) - first : kBlockTiles;
    uint8_t* block = packed + first * step_tiles(s) * kTileWeights;
    for (int ky = 0; ky < s.kernel; ++ky) {
      for (int kx = 0; kx < s.kernel; ++kx) {
        for (int i = 0; i < s.in_channels; ++i) {
          const int at = kx * s.in_pixel + i, step = ky * row_steps(s) + at / kTileInputs, k = at % kTileInputs;
          uint8_t* tile = block + (static_cast<size_t>(step) * width + o / kLanes - first) * kTileWeights;
          tile[(k / 4 * kLanes + o % kLanes) * 4 + k % 4] = static_cast<uint8_t>(*weight++);
        }
      }
    }
  }
}

void conv_tiles(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  tiles_begin();
  const size_t bytes = step_tiles(s) * kTileWeights;  // of the weights of a vector
  for (int v = 0; v < n_vectors(s);) {
    const int c = v * kLanes;
    if (s.wide) {
      columns<2, false, true>(a, a.packed + 2 * v * bytes, c);
      ++v;
    } else if (n_vectors(s) - v >= kBlockTiles) {
      s.in_signed ? columns<2, true, false>(a, a.packed + v * bytes, c) : columns<2, false, false>(a, a.packed + v * bytes, c);
      v += kBlockTiles;
    } else {
      s.in_signed ? columns<1, true, false>(a, a.packed + v * bytes, c) : columns<1, false, false>(a, a.packed + v * bytes, c);
      ++v;
    }
  }
  tiles_end();
}

#else  // an instruction set without tiles

bool conv_tiles_fits(const ConvShape&) { return false; }
size_t conv_tiles_packed_bytes(const ConvShape&) { return 0; }
void conv_tiles_pack(const ConvShape&, const int8_t*, uint8_t*, int32_t*) {}
void conv_tiles(const ConvArgs&) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
