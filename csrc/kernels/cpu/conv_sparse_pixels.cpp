// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// conv_sparse where a vector has more lanes than a block has outputs: lanes are pixels. Four channels of kLanes pixels make
// a vector, four weights of one output fill another, so a block may be as small as one likes; here it is kOutputs x
// kInputs. Activations are transposed when a chunk of pixels begins, results when it ends; but between two of these
// convolutions they stay as they are.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_TRANSPOSE)
namespace {

constexpr int kOutputs = 8, kInputs = 4;
constexpr int kVectors = 3;  // of pixels in a chunk: with 8 outputs as many sums as the registers hold
constexpr int kChunkPixels = kVectors * kLanes;
constexpr int kMaxPercent = 70;  // of the blocks; with more of them the dense convolution is as fast
constexpr int kPiece = 16;       // channels that are transposed together

static_assert(kVectors == 3, "as row_of_blocks has it");
static_assert(kGroup == kInputs && kActIsU8, "a lane holds the inputs of a block");

int n_rows_of_blocks(const ConvShape& s) { return round_up(s.out_channels, kOutputs) / kOutputs; }
int n_groups(const ConvShape& s) { return round_up(s.in_channels, kInputs) / kInputs; }

// Each row has a block, the last at least.
bool is_left_out(const ConvShape& s, const int8_t* weight, int row, int group, int n_before) {
  if (!n_before && group + 1 == n_groups(s)) return false;
  return is_zero_block(s, weight, row * kOutputs, kOutputs, group * kInputs, kInputs);
}

// Packed weights: int32 first[n_rows_of_blocks + 1], the blocks of each row; int32 group[n_blocks], the inputs of each block;
// then from a multiple of 64 bytes on [block][output][input].
size_t lists_bytes(const ConvShape& s) {
  return (static_cast<size_t>(n_rows_of_blocks(s) + 1 + s.n_blocks) * sizeof(int32_t) + 63) / 64 * 64;
}

// Four channels of n pixels a vector: acts[group][kChunkPixels][kInputs].
__attribute__((noinline)) void transpose_in(const uint8_t* in, ptrdiff_t step, V flip, int n_channels, int n, uint8_t* acts) {
  for (int c = 0; c < n_channels; c += kPiece, acts += 4 * kChunkPixels * kInputs) {
    const uint8_t* from = in + c;
    for (int x = 0; x < n; x += kLanes, from += kLanes * step) {
      V v[4];
      for (int i = 0; i < 4; ++i) v[i] = load_pieces(from + i * step, 4 * step);
      transpose4(v);
      for (int i = 0; i < 4; ++i) store_bytes(acts + (i * kChunkPixels + x) * kInputs, exclusive_or(v[i], flip));
    }
  }
}

// And back: 16 channels of n pixels.
__attribute__((noinline)) void transpose_out(const uint8_t* bytes, int n, uint8_t* out, ptrdiff_t step) {
  for (int x = 0; x < n; x += kLanes, out += kLanes * step) {
    V v[4];
    for (int i = 0; i < 4; ++i) v[i] = load_bytes(bytes + (i * kChunkPixels + x) * 4);
    transpose4(v);
    for (int i = 0; i < 4; ++i) store_pieces<4>(out + i * step, 4 * step, v[i]);
  }
}

// The results of P vectors of pixels for the kOutputs outputs of a row of n blocks, n > 0: as bytes, transposed as acts are,
// or just the sums[output][kChunkPixels]. With once() after each product, because else the compiler keeps each sum twice,
// in a register and in memory.
template <int P, bool kBytes>
inline void row_of_blocks(const uint8_t* acts, const int32_t* group, int n, const int8_t* w, const int32_t* bias,
                          const int32_t* mult, uint8_t* bytes, int32_t* sums) {
  V acc[kOutputs][P];
  for (auto& output : acc) {
    const V start = broadcast_lane(*bias++);
    for (V& v : output) v = start;
  }
  do {
    const uint8_t* in = acts + *group++ * kChunkPixels * kInputs;
    V x[P];
    for (int p = 0; p < P; ++p) x[p] = load_bytes(in + p * kLanes * kInputs);
    for (int o = 0; o < kOutputs; ++o) {
      const V weight = broadcast(reinterpret_cast<const uint8_t*>(w + o * kInputs));
      for (int p = 0; p < P; ++p) acc[o][p] = once(dot(acc[o][p], x[p], weight));
    }
    w += kOutputs * kInputs;
  } while (--n);
  if (!kBytes) {
    for (int o = 0; o < kOutputs; ++o) {
      for (int p = 0; p < P; ++p) store(sums + o * kChunkPixels + p * kLanes, acc[o][p]);
    }
    return;
  }
  for (auto& output : acc) {
    const V m = broadcast_lane(*mult++);
    for (V& v : output) v = mul_shift_32(v, m, m);
  }
  for (int o = 0; o < kOutputs; o += 4, bytes += 4 * kChunkPixels) {
    for (int p = 0; p < P; ++p) {
      const V quad = narrow_u8(acc[o][p], acc[o + 1][p], acc[o + 2][p], acc[o + 3][p]);
      store_bytes(bytes + p * kLanes * 4, transpose_bytes(quad));
    }
  }
}

template <bool kBytes>
void row_of_blocks(int n_vectors, const uint8_t* acts, const int32_t* group, int n, const int8_t* w, const int32_t* bias,
                   const int32_t* mult, uint8_t* bytes, int32_t* sums) {
  if (n_vectors == 3) row_of_blocks<3, kBytes>(acts, group, n, w, bias, mult, bytes, sums);
  else if (n_vectors == 2) row_of_blocks<2, kBytes>(acts, group, n, w, bias, mult, bytes, sums);
  else row_of_blocks<1, kBytes>(acts, group, n, w, bias, mult, bytes, sums);
}

// i16 outputs, nothing to add: kLanes pixels of 16 channels from c on.
void finish_i16(const ConvArgs& a, const int32_t* sums, int y, ptrdiff_t x, int c) {
  V v[4][4];
  for (int o = 0; o < kPiece; ++o) {
    const V mult = broadcast_lane(a.mult[c + o]);
    v[o / 4][o % 4] = mul_shift_32(load(sums + o * kChunkPixels), mult, mult);
  }
  for (auto& four : v) transpose4(four);
  const ptrdiff_t pixel = a.out_pixel * static_cast<ptrdiff_t>(sizeof(int16_t));
  auto* out = reinterpret_cast<uint8_t*>(static_cast<int16_t*>(a.out[y]) + c) + x * pixel;
  for (int i = 0; i < 4; ++i, out += pixel) {
    store_pieces<4>(out, 4 * pixel, narrow_i16(v[0][i], v[1][i]));
    store_pieces<4>(out + kPiece, 4 * pixel, narrow_i16(v[2][i], v[3][i]));
  }
}

inline void finish_any(const ConvArgs& a, const int32_t* sums, int y, ptrdiff_t x, int c) {
  alignas(64) int32_t by_pixel[kLanes * kPiece];
  for (int q = 0; q < 4; ++q) {
    V v[4];
    for (int i = 0; i < 4; ++i) v[i] = load(sums + (q * 4 + i) * kChunkPixels);
    transpose4(v);
    for (int i = 0; i < 4; ++i) store_pieces<4>(reinterpret_cast<uint8_t*>(by_pixel + i * kPiece + q * 4), 4 * kPiece * 4, v[i]);
  }
  const V none[1] = {zero()}, mult[1] = {load(a.mult + c)};
  finish_block<kLanes, 1>(a, by_pixel, none, mult, y, x, c);
}

// Calls each(row, blocks of that row: their number, groups and weights).
template <class F>
inline void for_rows_of_blocks(const ConvArgs& a, F each) {
  const int n_rows = n_rows_of_blocks(a.shape);
  const auto* first = reinterpret_cast<const int32_t*>(a.packed);
  const int32_t* group = first + n_rows + 1;
  const auto* w = reinterpret_cast<const int8_t*>(a.packed + lists_bytes(a.shape));
  for (int row = 0; row < n_rows; ++row) {
    const int n = first[row + 1] - first[row];
    each(row, n, group, w);
    group += n;
    w += n * kOutputs * kInputs;
  }
}

// The outputs of n pixels, 16 channels finished together.
void plain_chunk(const ConvArgs& a, const uint8_t* acts, int y, int x, int n, uint8_t* bytes) {
  const bool own = a.shape.own_out;
  const int n_vectors = round_up(n, kLanes) / kLanes, last = n_rows_of_blocks(a.shape) - 1;
  const ptrdiff_t pixel = own ? (last + 1) * kOutputs : a.out_pixel;
  uint8_t* out = static_cast<uint8_t*>(a.out[y]) + x * pixel;
  const int32_t *bias = a.bias, *mult = a.mult;
  for_rows_of_blocks(a, [&](int row, int n_blocks, const int32_t* group, const int8_t* w) {
    uint8_t* to = own ? out : bytes + row % 2 * kOutputs * kChunkPixels;
    row_of_blocks<true>(n_vectors, acts, group, n_blocks, w, bias, mult, to, nullptr);
    bias += kOutputs;
    mult += kOutputs;
    if (own) {
      out += kOutputs * kChunkPixels;
    } else if (row % 2 || row == last) {
      transpose_out(bytes, n, out, pixel);
      out += kPiece;
    }
  });
}

void any_chunk(const ConvArgs& a, const uint8_t* acts, int y, int x, int n, int32_t* sums) {
  const int n_vectors = round_up(n, kLanes) / kLanes, last = n_rows_of_blocks(a.shape) - 1;
  for_rows_of_blocks(a, [&](int row, int n_blocks, const int32_t* group, const int8_t* w) {
    int32_t* to = sums + row % 2 * kOutputs * kChunkPixels;
    row_of_blocks<false>(n_vectors, acts, group, n_blocks, w, a.bias + row * kOutputs, nullptr, nullptr, to);
    if (row % 2 == 0 && row < last) return;
    for (int i = 0; i < n; i += kLanes) {
      if (is_stream(a) && !a.add) finish_i16(a, sums + i, y, x + i, row / 2 * kPiece);
      else finish_any(a, sums + i, y, x + i, row / 2 * kPiece);
    }
  });
}

}  // namespace

bool conv_sparse_pixels_fits() { return true; }

int conv_sparse_pixels_blocks(const ConvShape& s, const int8_t* weight) {
  if (s.depthwise || s.kernel != 1) return 0;
  int n_blocks = 0;
  for (int row = 0; row < n_rows_of_blocks(s); ++row) {
    int n = 0;
    for (int g = 0; g < n_groups(s); ++g) n += !is_left_out(s, weight, row, g, n);
    n_blocks += n;
  }
  return n_blocks * 100 <= n_rows_of_blocks(s) * n_groups(s) * kMaxPercent ? n_blocks : 0;
}

size_t conv_sparse_pixels_packed_bytes(const ConvShape& s) { return lists_bytes(s) + s.n_blocks * kOutputs * kInputs; }

void conv_sparse_pixels_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(packed, 0, conv_sparse_pixels_packed_bytes(s));
  auto* first = reinterpret_cast<int32_t*>(packed);
  int32_t* group = first + n_rows_of_blocks(s) + 1;
  uint8_t* out = packed + lists_bytes(s);
  for (int row = 0; row < n_rows_of_blocks(s); ++row) {
    first[row + 1] = first[row];
    for (int g = 0; g < n_groups(s); ++g) {
      if (is_left_out(s, weight, row, g, first[row + 1] - first[row])) continue;
      group[first[row + 1]++] = g;
      for (int k = 0; k < kOutputs * kInputs; ++k) {
        const int o = row * kOutputs + k / kInputs, i = g * kInputs + k % kInputs;
        *out++ = o < s.out_channels && i < s.in_channels ? static_cast<uint8_t>(weight[o * s.in_channels + i]) : 0;
      }
    }
  }
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  for (int o = 0; s.in_signed && o < s.out_channels; ++o) {
    for (int i = 0; i < s.in_channels; ++i) bias_shift[o] -= kStageShift * weight[o * s.in_channels + i];
  }
}

size_t conv_sparse_pixels_scratch_bytes(const ConvShape& s) {
  return static_cast<size_t>(round_up(s.in_channels, kPiece)) * kChunkPixels + kPiece * kChunkPixels * sizeof(int32_t);
}

void conv_sparse_pixels(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  const ptrdiff_t step = static_cast<ptrdiff_t>(s.stride) * s.in_pixel;
  uint8_t* acts = a.scratch;
  uint8_t* results = acts + round_up(s.in_channels, kPiece) * kChunkPixels;
  const V flip = broadcast_lane(s.in_signed ? static_cast<int32_t>(0x80808080u) : 0);
  for (int y = 0; y < a.n_rows; ++y) {
    for (int x = 0; x < a.n_cols; x += kChunkPixels) {
      const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
      const uint8_t* in = a.in[y * s.stride] + (s.own_in ? x * round_up(s.in_channels, kOutputs) : x * step);
      if (!s.own_in) transpose_in(in, step, flip, s.in_channels, n, acts);
      if (is_plain(a)) plain_chunk(a, s.own_in ? in : acts, y, x, n, results);
      else any_chunk(a, s.own_in ? in : acts, y, x, n, reinterpret_cast<int32_t*>(results));
    }
  }
}

#else  // an instruction set with vectors as short as a block

bool conv_sparse_pixels_fits() { return false; }
int conv_sparse_pixels_blocks(const ConvShape&, const int8_t*) { return 0; }
size_t conv_sparse_pixels_packed_bytes(const ConvShape&) { return 0; }
void conv_sparse_pixels_pack(const ConvShape&, const int8_t*, uint8_t*, int32_t*) {}
size_t conv_sparse_pixels_scratch_bytes(const ConvShape&) { return 0; }
void conv_sparse_pixels(const ConvArgs&) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
