// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// 1x1 convolution that skips zero blocks of weights: kLanes outputs (8 on AVX2) x 4 inputs; where kLanes is more than 8,
// conv_sparse_pixels.cpp does it. For each vector of outputs a list says which groups of 4 inputs meet weights, and only
// their weights are stored. A block of twice as many pixels as in the dense convolution makes up for the single vector of
// weights.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

constexpr int kBlockInputs = 4;
constexpr int kSparsePixels = 2 * kPixels < kBlockPixels ? 2 * kPixels : kBlockPixels;
constexpr int kChunkPixels = 96;  // columns that pass through all channels while they are in the L1 cache
constexpr int kMaxPercent = 70;   // of the blocks; with more of them the dense convolution is as fast
constexpr size_t kBlockBytes = kBlockInputs * kLanes * sizeof(Weight);

static_assert(kChunkPixels % kSparsePixels == 0, "a block must end inside the slack of a row");

int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }
int n_groups(const ConvShape& s) { return round_up(s.in_channels, kBlockInputs) / kBlockInputs; }

bool is_zero(const ConvShape& s, const int8_t* weight, int vector, int group) {
  return is_zero_block(s, weight, vector * kLanes, kLanes, group * kBlockInputs, kBlockInputs);
}

// Packed weights: int32 first[n_vectors + 1], the blocks of each vector; int32 input[n_blocks], the first input of each
// block; then from a multiple of 64 bytes on [block][kBlockInputs / kGroup][lane][kGroup].
size_t lists_bytes(const ConvShape& s) {
  return (static_cast<size_t>(n_vectors(s) + 1 + s.n_blocks) * sizeof(int32_t) + 63) / 64 * 64;
}

bool needs_stage(const ConvShape& s) { return !kActIsU8 || s.in_signed; }

// Elements of a staged row: the pixels of a chunk, the overshoot of the last group and of stage() itself.
ptrdiff_t stage_elements(const ConvShape& s) {
  return round_up(((kChunkPixels - 1) * s.stride + 1) * s.in_pixel + kBlockInputs + 64, 64);
}

// Sums of kSparsePixels pixels, `step` apart, for one vector of outputs: sums[pixel][lane].
inline void sum_blocks(const Act* in, ptrdiff_t step, const int32_t* input, int n, const Weight* w, int32_t* sums) {
  V acc[kSparsePixels][1];
  for (auto& pixel : acc) pixel[0] = zero();
  for (int k = 0; k < n; ++k) w = accumulate<kSparsePixels, 1>(acc, in + input[k], step, w, kBlockInputs / kGroup);
  for (auto& pixel : acc) {
    store(sums, pixel[0]);
    sums += kLanes;
  }
}

}  // namespace

int conv_sparse_blocks(const ConvShape& s, const int8_t* weight) {
  if (conv_sparse_pixels_fits()) return conv_sparse_pixels_blocks(s, weight);
  if (s.depthwise || s.kernel != 1) return 0;
  int n_blocks = 0;
  for (int v = 0; v < n_vectors(s); ++v) {
    for (int g = 0; g < n_groups(s); ++g) n_blocks += !is_zero(s, weight, v, g);
  }
  return n_blocks * 100 <= n_vectors(s) * n_groups(s) * kMaxPercent ? n_blocks : 0;
}

size_t conv_sparse_packed_bytes(const ConvShape& s) {
  return conv_sparse_pixels_fits() ? conv_sparse_pixels_packed_bytes(s) : lists_bytes(s) + s.n_blocks * kBlockBytes;
}

void conv_sparse_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  if (conv_sparse_pixels_fits()) return conv_sparse_pixels_pack(s, weight, packed, bias_shift);
  memset(packed, 0, conv_sparse_packed_bytes(s));
  auto* first = reinterpret_cast<int32_t*>(packed);
  int32_t* input = first + n_vectors(s) + 1;
  auto* out = reinterpret_cast<Weight*>(packed + lists_bytes(s));
  for (int v = 0; v < n_vectors(s); ++v) {
    first[v + 1] = first[v];
    for (int g = 0; g < n_groups(s); ++g) {
      if (is_zero(s, weight, v, g)) continue;
      input[first[v + 1]++] = g * kBlockInputs;
      for (int i = g * kBlockInputs; i < (g + 1) * kBlockInputs; ++i) {
        for (int o = v * kLanes; o < (v + 1) * kLanes && o < s.out_channels && i < s.in_channels; ++o) {
          const int k = i % kBlockInputs;
          out[(k / kGroup * kLanes + o % kLanes) * kGroup + k % kGroup] = weight[o * s.in_channels + i];
        }
      }
      out += kBlockInputs * kLanes;
    }
  }
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  for (int o = 0; s.in_signed && o < s.out_channels; ++o) {
    for (int i = 0; i < s.in_channels; ++i) bias_shift[o] -= kStageShift * weight[o * s.in_channels + i];
  }
}

size_t conv_sparse_scratch_bytes(const ConvShape& s) {
  if (conv_sparse_pixels_fits()) return conv_sparse_pixels_scratch_bytes(s);
  return needs_stage(s) ? stage_elements(s) * sizeof(Act) : 0;
}

void conv_sparse(const ConvArgs& a) {
  if (conv_sparse_pixels_fits()) return conv_sparse_pixels(a);
  const ConvShape& s = a.shape;
  const ptrdiff_t step = static_cast<ptrdiff_t>(s.stride) * s.in_pixel;
  const auto* first = reinterpret_cast<const int32_t*>(a.packed);
  const int32_t* input = first + n_vectors(s) + 1;
  const auto* weights = reinterpret_cast<const Weight*>(a.packed + lists_bytes(s));
  for (int y = 0; y < a.n_rows; ++y) {
    for (int x = 0; x < a.n_cols; x += kChunkPixels) {
      const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
      const uint8_t* row = a.in[y * s.stride] + x * step;
      const Act* in = reinterpret_cast<const Act*>(row);
      if (needs_stage(s)) {
        auto* staged = reinterpret_cast<Act*>(a.scratch);
        stage(row, s.in_signed, (round_up(n, kSparsePixels) - 1) * step + s.in_pixel + kBlockInputs, staged);
        in = staged;
      }
      for (int v = 0; v < n_vectors(s); ++v) {
        const V bias[1] = {load(a.bias + v * kLanes)}, mult[1] = {load(a.mult + v * kLanes)};
        for (int i = 0; i < n; i += kSparsePixels) {
          alignas(64) int32_t sums[kSparsePixels * kLanes];
          sum_blocks(in + i * step, step, input + first[v], first[v + 1] - first[v],
                     weights + static_cast<ptrdiff_t>(first[v]) * kBlockInputs * kLanes, sums);
          finish_block<kSparsePixels, 1>(a, sums, bias, mult, y, x + i, v * kLanes);
        }
      }
    }
  }
}

}  // namespace fastcodec::FASTCODEC_ISA
