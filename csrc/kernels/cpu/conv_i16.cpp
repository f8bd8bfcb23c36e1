// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution of i16: pairs of input channels times pairs of weights, which are widened to 16 bits when they are packed:
// [block of output channels][pair of input channels][B][lane][2]. The loader has proved that no sum overflows.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

constexpr int kBlockVectors = 2;  // B of all blocks but perhaps the last, which may have one
constexpr int kChunkPixels = 96;  // columns that pass through all channels while they are in the cache

static_assert(kPixels <= kBlockPixels && kChunkPixels % kPixels == 0, "a block must end inside the slack of a row");

int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }
int n_pairs(const ConvShape& s) { return round_up(s.in_channels, 2) / 2; }
size_t vector_weights(const ConvShape& s) { return static_cast<size_t>(n_pairs(s)) * kLanes * 2; }

// As sum_block of conv_i8.cpp.
template <int B>
inline void sum_block(const int16_t* in, ptrdiff_t step, const int16_t* w, int n, int32_t* sums) {
  V acc[kPixels][B];
  for (auto& pixel : acc) {
    for (V& v : pixel) v = zero();
  }
  accumulate<kPixels, B>(acc, in, step, w, n);
  for (auto& pixel : acc) {
    for (V& v : pixel) {
      store(sums, v);
      sums += kLanes;
    }
  }
}

// Output pixels x .. x + n of row y for B vectors of channels from c on; `in` at the pixel of x.
template <int B>
void conv_span(const ConvArgs& a, const int16_t* in, const int16_t* w, int y, int x, int n, int c) {
  const ptrdiff_t step = static_cast<ptrdiff_t>(a.shape.stride) * a.shape.in_pixel;
  V bias[B], mult[B];
  for (int b = 0; b < B; ++b) {
    bias[b] = load(a.bias + c + b * kLanes);
    mult[b] = load(a.mult + c + b * kLanes);
  }
  for (int i = 0; i < n; i += kPixels) {
    alignas(64) int32_t sums[kPixels * B * kLanes];
    sum_block<B>(in + i * step, step, w, n_pairs(a.shape), sums);
    finish_block<kPixels, B>(a, sums, bias, mult, y, x + i, c);
  }
}

}  // namespace

size_t conv_i16_packed_bytes(const ConvShape& s) { return n_vectors(s) * vector_weights(s) * sizeof(int16_t); }

void conv_i16_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  auto* out = reinterpret_cast<int16_t*>(packed);
  for (int v = 0; v < n_vectors(s); v += kBlockVectors) {
    const int n_block = n_vectors(s) - v < kBlockVectors ? n_vectors(s) - v : kBlockVectors;
    for (int pair = 0; pair < n_pairs(s); ++pair) {
      for (int lane = 0; lane < n_block * kLanes; ++lane) {
        for (int i = pair * 2; i < pair * 2 + 2; ++i) {
          const int o = v * kLanes + lane;
          *out++ = o < s.out_channels && i < s.in_channels ? weight[o * s.in_channels + i] : 0;
        }
      }
    }
  }
}

void conv_i16(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  const ptrdiff_t step = static_cast<ptrdiff_t>(s.stride) * s.in_pixel;
  for (int x = 0; x < a.n_cols; x += kChunkPixels) {
    const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
    for (int v = 0; v < n_vectors(s); v += kBlockVectors) {
      const auto* weights = reinterpret_cast<const int16_t*>(a.packed) + v * vector_weights(s);
      for (int y = 0; y < a.n_rows; ++y) {
        const auto* in = reinterpret_cast<const int16_t*>(a.in[y * s.stride]) + x * step;
        if (n_vectors(s) - v >= kBlockVectors) conv_span<kBlockVectors>(a, in, weights, y, x, n, v * kLanes);
        else conv_span<1>(a, in, weights, y, x, n, v * kLanes);
      }
    }
  }
}

}  // namespace fastcodec::FASTCODEC_ISA
