// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Direct convolution. A block of P pixels x B vectors of output channels stays in registers
// while all taps and input channels run by; activations are broadcast, weights lie in the order of use:
// [block of output channels][tap][group of input channels][B][lane][kGroup].
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

constexpr int kChunkPixels = 96;  // columns that pass through all rows and channels while they are in the L1 cache

// One row of taps is a few runs of consecutive bytes: a single one when the pixels lie without gaps, else one a tap.
struct Runs {
  int n_runs;   // runs in one row of taps
  int n_steps;  // groups of kGroup channels in a run
};

Runs runs_of(const ConvShape& s) {
  if (s.in_pixel == s.in_channels) return {1, round_up(s.kernel * s.in_channels, kGroup) / kGroup};
  return {s.kernel, round_up(s.in_channels, kGroup) / kGroup};
}

int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }

// B of the block from vector v on: two vectors, but three where one would be left over.
int block_vectors(const ConvShape& s, int v) {
  const int left = n_vectors(s) - v;
  return left == 3 ? 3 : left < 2 ? left : 2;
}
template <int B>
constexpr int kBlockOf = B == 3 ? kPixels * 2 / 3 : kPixels;  // P: as many sums as registers hold
static_assert(kPixels <= kBlockPixels && kChunkPixels % kPixels == 0 && kChunkPixels % kBlockOf<3> == 0, "a block must end inside the slack of a row");

bool needs_stage(const ConvShape& s) { return !kActIsU8 || s.in_signed; }

// Elements of one staged row: the pixels of a chunk, and the overshoot of the last group and of stage() itself.
ptrdiff_t stage_pitch(const ConvShape& s) {
  return round_up(((kChunkPixels - 1) * s.stride + s.kernel) * s.in_pixel + kGroup + 64, 64);
}

// The sums of P pixels and B vectors of channels: sums[pixel][B][lane]. A function of its own that ends in plain
// stores, because the compiler only then keeps all sums in registers.
template <int B>
inline void sum_block(const ConvShape& s, Runs runs, const Act* const* rows, ptrdiff_t at, const Weight* w, int32_t* sums) {
  V acc[kBlockOf<B>][B];
  for (auto& pixel : acc) {
    for (V& v : pixel) v = zero();
  }
  const ptrdiff_t step = static_cast<ptrdiff_t>(s.stride) * s.in_pixel;
  for (int ky = 0; ky < s.kernel; ++ky) {
    for (int run = 0; run < runs.n_runs; ++run) {
      w = accumulate<kBlockOf<B>, B>(acc, rows[ky] + at + static_cast<ptrdiff_t>(run) * s.in_pixel, step, w, runs.n_steps);
    }
  }
  for (auto& pixel : acc) {
    for (V& v : pixel) {
      store(sums, v);
      sums += kLanes;
    }
  }
}

// Output pixels x .. x + n of row y for B vectors of channels from c on; rows[ky] at the first tap of pixel x.
template <int B>
void conv_span(const ConvArgs& a, const Act* const* rows, const Weight* w, int y, int x, int n, int c) {
  const Runs runs = runs_of(a.shape);
  const ptrdiff_t step = static_cast<ptrdiff_t>(a.shape.stride) * a.shape.in_pixel;
  V bias[B], mult[B];
  for (int b = 0; b < B; ++b) {
    bias[b] = load(a.bias + c + b * kLanes);
    mult[b] = load(a.mult + c + b * kLanes);
  }
  constexpr int P = kBlockOf<B>;
  for (int i = 0; i < n; i += P) {
    alignas(64) int32_t sums[P * B * kLanes];
    sum_block<B>(a.shape, runs, rows, i * step, w, sums);
    finish_block<P, B>(a, sums, bias, mult, y, x + i, c);
  }
}

void pack_dense(const ConvShape& s, const int8_t* weight, Weight* packed) {
  const Runs runs = runs_of(s);
  const int run_taps = s.kernel / runs.n_runs;  // taps in a run
  for (int v = 0, n_block; v < n_vectors(s); v += n_block) {
    n_block = block_vectors(s, v);
    for (int row = 0; row < s.kernel * runs.n_runs; ++row) {  // all runs, in order
      for (int step = 0; step < runs.n_steps; ++step) {
        for (int lane = 0; lane < n_block * kLanes; ++lane) {
          for (int g = 0; g < kGroup; ++g) {
            const int o = v * kLanes + lane, k = step * kGroup + g;  // k counts channels inside the run
            const bool real = o < s.out_channels && k < run_taps * s.in_channels;
            *packed++ = real ? weight[(o * s.kernel * runs.n_runs + row) * run_taps * s.in_channels + k] : 0;
          }
        }
      }
    }
  }
}

}  // namespace

size_t conv_direct_packed_bytes(const ConvShape& s) {
  if (s.depthwise) return conv_depthwise_packed_bytes(s);
  const Runs runs = runs_of(s);
  return static_cast<size_t>(n_vectors(s)) * kLanes * s.kernel * runs.n_runs * runs.n_steps * kGroup * sizeof(Weight);
}

void conv_direct_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(packed, 0, conv_direct_packed_bytes(s));
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  if (s.depthwise) return conv_depthwise_pack(s, weight, packed);
  pack_dense(s, weight, reinterpret_cast<Weight*>(packed));
  if (!s.in_signed) return;
  const int n = s.kernel * s.kernel * s.in_channels;
  for (int o = 0; o < s.out_channels; ++o) {
    for (int i = 0; i < n; ++i) bias_shift[o] -= kStageShift * weight[o * n + i];
  }
}

size_t conv_direct_scratch_bytes(const ConvShape& s) {
  if (s.depthwise || !needs_stage(s)) return 0;
  return static_cast<size_t>((kMaxRows - 1) * s.stride + s.kernel) * stage_pitch(s) * sizeof(Act);
}

void conv_direct(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  if (s.depthwise) return conv_depthwise(a);
  const int n_in = (a.n_rows - 1) * s.stride + s.kernel;
  const size_t vector_weights = conv_direct_packed_bytes(s) / sizeof(Weight) / n_vectors(s);
  for (int x = 0; x < a.n_cols; x += kChunkPixels) {
    const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
    const Act* rows[(kMaxRows - 1) * 2 + 3];
    for (int i = 0; i < n_in; ++i) {
      const uint8_t* row = a.in[i] + static_cast<ptrdiff_t>(x) * s.stride * s.in_pixel;
      if (needs_stage(s)) {
        Act* staged = reinterpret_cast<Act*>(a.scratch) + i * stage_pitch(s);
        stage(row, s.in_signed, static_cast<ptrdiff_t>((round_up(n, kPixels) - 1) * s.stride + s.kernel) * s.in_pixel + kGroup, staged);
        rows[i] = staged;
      } else {
        rows[i] = reinterpret_cast<const Act*>(row);
      }
    }
    for (int v = 0, n_block; v < n_vectors(s); v += n_block) {
      n_block = block_vectors(s, v);
      const auto* weights = reinterpret_cast<const Weight*>(a.packed) + v * vector_weights;
      for (int y = 0; y < a.n_rows; ++y) {
        if (n_block == 3) conv_span<3>(a, rows + y * s.stride, weights, y, x, n, v * kLanes);
        else if (n_block == 2) conv_span<2>(a, rows + y * s.stride, weights, y, x, n, v * kLanes);
        else conv_span<1>(a, rows + y * s.stride, weights, y, x, n, v * kLanes);
      }
    }
  }
}

}  // namespace fastcodec::FASTCODEC_ISA
