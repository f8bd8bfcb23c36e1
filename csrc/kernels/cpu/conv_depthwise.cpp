// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution of any kind, kLanes channels at a time: lanes of two values above one another, and three columns of
// them, that move along the rows. Two output rows are made together where that is possible; four rows are two pairs, which
// meet the weights w0 w1 | w2 0 for the upper row and 0 w0 | w1 w2 for the lower.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

constexpr int kVectorWeights = 12 * kLanes;  // of a vector of channels
constexpr int kChunkPixels = 64;             // of all channels, while they are in the L1 cache
static_assert(kChunkPixels % 4 == 0, "finished in fours");

struct Column {
  V upper, lower;
};

template <bool kSigned>
inline Column load_column(const uint8_t* const rows[4], ptrdiff_t at) {
  if (!kSigned) return {load_pair_u8(rows[0] + at, rows[1] + at), load_pair_u8(rows[2] + at, rows[3] + at)};
  auto signed_row = [&](int i) { return reinterpret_cast<const int8_t*>(rows[i]) + at; };
  return {load_pair_i8(signed_row(0), signed_row(1)), load_pair_i8(signed_row(2), signed_row(3))};
}

inline V add_columns(V sum, const Column (&columns)[3], const int32_t* weight) {
  for (int i = 0; i < 3; ++i) {
    sum = mul_add_pairs(sum, columns[i].upper, load(weight + i * kLanes));
    sum = mul_add_pairs(sum, columns[i].lower, load(weight + (3 + i) * kLanes));
  }
  return sum;
}

// One output row for kLanes channels from c on; kStride of the three columns are new at each pixel.
template <int kStride, bool kSigned>
void any_row(const ConvArgs& a, const int32_t* weight, int y, int c) {
  const V bias = load(a.bias + c), mult = load(a.mult + c);
  const ptrdiff_t pixel = a.shape.in_pixel;
  const uint8_t* rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = a.in[y * kStride + (i < 3 ? i : 2)] + c;  // the fourth has weights of 0
  Column columns[3];
  for (int i = 0; i < 3 - kStride; ++i) columns[i] = load_column<kSigned>(rows, i * pixel);
  for (int x = 0; x < a.n_cols; ++x) {
    for (int i = 3 - kStride; i < 3; ++i) columns[i] = load_column<kSigned>(rows, (x * kStride + i) * pixel);
    finish(a, add_columns(zero(), columns, weight), bias, mult, y, x, c);
    for (int i = 0; i < 3 - kStride; ++i) columns[i] = columns[i + kStride];
  }
}

void any_rows(const ConvArgs& a, const int32_t* weight, int c) {
  for (int y = 0; y < a.n_rows; ++y) {
    if (a.shape.stride == 1) {
      if (a.shape.in_signed) any_row<1, true>(a, weight, y, c);
      else any_row<1, false>(a, weight, y, c);
    } else {
      if (a.shape.in_signed) any_row<2, true>(a, weight, y, c);
      else any_row<2, false>(a, weight, y, c);
    }
  }
}

// bias + sums of n pixels of two output rows, sums[row][pixel][lane]; rows at the first tap.
void sum_pair(const uint8_t* const rows[4], ptrdiff_t pixel, int n, V bias, const int32_t* weight, int32_t* sums) {
  const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  // One by one, because the compiler keeps an array of columns in memory.
  V upper0 = load_pair_u8(r0, r1), lower0 = load_pair_u8(r2, r3);
  V upper1 = load_pair_u8(r0 + pixel, r1 + pixel), lower1 = load_pair_u8(r2 + pixel, r3 + pixel);
  auto weighted = [&](V sum, V x, int i) { return mul_add_pairs(sum, x, load(weight + i * kLanes)); };
  for (ptrdiff_t at = 2 * pixel; n; --n, at += pixel, sums += kLanes) {
    const V upper2 = load_pair_u8(r0 + at, r1 + at), lower2 = load_pair_u8(r2 + at, r3 + at);
    for (int row = 0; row < 2; ++row) {
      V a = weighted(bias, upper0, 6 * row), b = weighted(zero(), lower0, 6 * row + 3);
      a = weighted(weighted(a, upper1, 6 * row + 1), upper2, 6 * row + 2);
      b = weighted(weighted(b, lower1, 6 * row + 4), lower2, 6 * row + 5);
      store(sums + row * kChunkPixels * kLanes, add(a, b));
    }
    upper0 = upper1;
    upper1 = upper2;
    lower0 = lower1;
    lower1 = lower2;
  }
}

// Output rows y and y + 1 for kLanes channels from c on, pixels x .. x + n.
void row_pair(const ConvArgs& a, const int32_t* weight, int y, int x, int n, int c) {
  const V mult = load(a.mult + c), mult_odd = odd_lanes(mult);
  const int last = a.n_rows - 1;
  const uint8_t* rows[4];
  for (int i = 0; i < 4; ++i) rows[i] = a.in[y + i < last + 2 ? y + i : last + 2] + static_cast<ptrdiff_t>(x) * a.shape.in_pixel + c;
  alignas(64) int32_t sums[2 * kChunkPixels * kLanes];
  sum_pair(rows, a.shape.in_pixel, round_up(n, 4), load(a.bias + c), weight, sums);
  for (int row = 0; row < 2 && y + row <= last; ++row) {
    auto* out = static_cast<uint8_t*>(a.out[y + row]) + static_cast<ptrdiff_t>(x) * a.out_pixel + c;
    const int32_t* sum = sums + row * kChunkPixels * kLanes;
    for (int i = 0; i < n; i += 4, out += 4 * static_cast<ptrdiff_t>(a.out_pixel)) {
      V v[4];
      for (V& one : v) {
        one = load(sum);
        sum += kLanes;
      }
      store_u8_quad(out, a.out_pixel, v, mult, mult_odd);
    }
  }
}

void row_pairs(const ConvArgs& a, const int32_t* packed) {
  for (int y = 0; y < a.n_rows; y += 2) {
    for (int x = 0; x < a.n_cols; x += kChunkPixels) {
      const int n = a.n_cols - x < kChunkPixels ? a.n_cols - x : kChunkPixels;
      const int32_t* weight = packed;
      for (int c = 0; c < a.shape.out_channels; c += kLanes, weight += kVectorWeights) row_pair(a, weight, y, x, n, c);
    }
  }
}

// Of the weights for this file; those for conv_depthwise_bytes follow.
size_t pairs_bytes(const ConvShape& s) {
  return static_cast<size_t>(round_up(s.out_channels, kLanes)) / kLanes * kVectorWeights * sizeof(int32_t);
}

int32_t pair_of_weights(int upper, int lower) { return static_cast<int32_t>((upper & 0xFFFF) | static_cast<uint32_t>(lower) << 16); }

}  // namespace

size_t conv_depthwise_packed_bytes(const ConvShape& s) {
  return pairs_bytes(s) + (conv_depthwise_bytes_fits(s) ? conv_depthwise_bytes_packed_bytes(s) : 0);
}

// [vector of channels][output row][pair of rows][column][lane]
void conv_depthwise_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed) {
  auto* out = reinterpret_cast<int32_t*>(packed);
  for (int c = 0; c < s.out_channels; ++c) {
    int32_t* block = out + c / kLanes * kVectorWeights + c % kLanes;
    for (int i = 0; i < 3; ++i) {
      const int8_t* taps = weight + c * 9 + i;
      block[i * kLanes] = pair_of_weights(taps[0], taps[3]);
      block[(3 + i) * kLanes] = pair_of_weights(taps[6], 0);
      block[(6 + i) * kLanes] = pair_of_weights(0, taps[0]);
      block[(9 + i) * kLanes] = pair_of_weights(taps[3], taps[6]);
    }
  }
  if (conv_depthwise_bytes_fits(s)) conv_depthwise_bytes_pack(s, weight, packed + pairs_bytes(s));
}

void conv_depthwise(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  if (is_plain(a) && conv_depthwise_bytes_fits(s)) return conv_depthwise_bytes(a, a.packed + pairs_bytes(s));
  const auto* packed = reinterpret_cast<const int32_t*>(a.packed);
  if (is_plain(a) && s.stride == 1 && !s.in_signed) return row_pairs(a, packed);
  for (int c = 0; c < s.out_channels; c += kLanes, packed += kVectorWeights) any_rows(a, packed, c);
}

}  // namespace fastcodec::FASTCODEC_ISA
