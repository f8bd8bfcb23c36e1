// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution of the most usual kind: stride 1, bytes to bytes, nothing to add. Pixels lie without gaps, so a row
// is one long run of bytes, a vector at a time, whatever the number of channels; the weights repeat with it. The bytes of
// four rows, zipped, make lanes of four rows of one channel: with the weights w0 w1 w2 0 they give the products of one
// output row, with 0 w0 w1 w2 those of the next.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_BYTES)
namespace {

constexpr int kBlockBytes = 4 * kLanes;
constexpr int kPieces = kLanes / 4;
constexpr int kVectorWeights = 4 * kLanes;                  // of one vector of sums, for one column and output row
constexpr int kBlockWeights = 3 * 2 * 4 * kVectorWeights;
constexpr int kPiece = 16;  // bytes that zip together; four of their channels go into a vector of sums

// Blocks after which the channels come again.
int period_of(const ConvShape& s) {
  const int pieces = s.in_pixel / kPiece;
  int common = kPieces;
  while (pieces % common) common /= 2;
  return pieces / common;
}

// First of the four channels in lanes 4 * piece .. 4 * piece + 3 of the vector of sums `vector` of a block.
int channel_of(const ConvShape& s, int block, int vector, int piece) {
  return (block * kBlockBytes + piece * kPiece) % s.in_pixel + vector * 4;
}

// Lanes of four rows each, for kPairs pairs of output rows; 4 channels of each piece in a vector.
template <int kPairs>
inline void load_columns(const uint8_t* const* rows, ptrdiff_t at, Fours (&columns)[kPairs][4]) {
  V low[kPairs + 1], high[kPairs + 1];
  for (int i = 0; i <= kPairs; ++i) {
    const V a = once(load_bytes(rows[2 * i] + at)), b = once(load_bytes(rows[2 * i + 1] + at));
    low[i] = zip8_low(a, b);
    high[i] = zip8_high(a, b);
  }
  for (int i = 0; i < kPairs; ++i) {
    columns[i][0] = low_fours(low[i], low[i + 1]);
    columns[i][1] = high_fours(low[i], low[i + 1]);
    columns[i][2] = low_fours(high[i], high[i + 1]);
    columns[i][3] = high_fours(high[i], high[i + 1]);
  }
}

// Output rows y .. y + 2 kPairs; those from a.n_rows on are not wanted.
template <int kPairs>
void row_pairs(const ConvArgs& a, const uint8_t* packed, int y) {
  const ConvShape& s = a.shape;
  const int period = period_of(s), last = a.n_rows - 1;
  const int32_t *bias = a.bias + s.in_pixel, *mult = a.mult + s.in_pixel;
  const uint8_t* rows[2 * kPairs + 2];
  uint8_t* out[2 * kPairs];
  for (int i = 0; i < 2 * kPairs + 2; ++i) rows[i] = a.in[y + i < last + 2 ? y + i : last + 2];
  for (int i = 0; i < 2 * kPairs; ++i) out[i] = static_cast<uint8_t*>(a.out[y + i < last ? y + i : last]);
  const ptrdiff_t n = static_cast<ptrdiff_t>(a.n_cols) * s.in_pixel;
  int block = 0;
  for (ptrdiff_t i = 0; i < n; i += kBlockBytes, block = block + 1 == period ? 0 : block + 1) {
    const auto* w = reinterpret_cast<const Weight*>(packed) + static_cast<ptrdiff_t>(block) * kBlockWeights;
    V sums[kPairs][2][4];
    for (int v = 0; v < 4; ++v) {
      const V start = load(bias + block * kBlockBytes + v * kLanes);
      for (auto& pair : sums) pair[0][v] = pair[1][v] = start;
    }
    for (int kx = 0; kx < 3; ++kx) {
      Fours columns[kPairs][4];
      load_columns<kPairs>(rows, i + kx * static_cast<ptrdiff_t>(s.in_pixel), columns);
      for (int row = 0; row < 2; ++row) {
        for (int v = 0; v < 4; ++v, w += kVectorWeights) {
          const Fours weights = load_fours(w);
          for (int pair = 0; pair < kPairs; ++pair) sums[pair][row][v] = dot4(sums[pair][row][v], columns[pair][v], weights);
        }
      }
    }
    for (int v = 0; v < 4; ++v) {
      const V m = load(mult + block * kBlockBytes + v * kLanes), odd = odd_lanes(m);
      for (auto& pair : sums) {
        for (auto& row : pair) row[v] = mul_shift_32(row[v], m, odd);
      }
    }
    for (int row = 2 * kPairs - 1; row >= 0; --row) {  // downwards: rows that are not wanted are written over
      const V(&sum)[4] = sums[row / 2][row % 2];
      store_bytes(out[row] + i, narrow_u8(sum[0], sum[1], sum[2], sum[3]));
    }
  }
}

}  // namespace

bool conv_depthwise_bytes_fits(const ConvShape& s) {
  return s.depthwise && s.stride == 1 && !s.in_signed && s.in_pixel == round_up(s.out_channels, kChannelAlign);
}

size_t conv_depthwise_bytes_packed_bytes(const ConvShape& s) {
  return static_cast<size_t>(period_of(s)) * kBlockWeights * sizeof(Weight);
}

// [block][column][output row][vector], then of the four rows [pair or all][lane][row]
void conv_depthwise_bytes_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed) {
  auto* out = reinterpret_cast<Weight*>(packed);
  for (int block = 0; block < period_of(s); ++block) {
    for (int i = 0; i < kBlockWeights; ++i) {
      const int kx = i / (2 * 4 * kVectorWeights), row = i / (4 * kVectorWeights) % 2, vector = i / kVectorWeights % 4;
      const int lane = i / kGroup % kLanes, ky = i % kVectorWeights / (kGroup * kLanes) * kGroup + i % kGroup - row;
      const int c = channel_of(s, block, vector, lane / 4) + lane % 4;
      const bool real = ky >= 0 && ky < 3 && c < s.out_channels;
      *out++ = real ? weight[c * 9 + ky * 3 + kx] : 0;
    }
  }
}

int conv_depthwise_bytes_table_length(const ConvShape& s) { return period_of(s) * kBlockBytes; }

// Behind [channel], [block][vector][lane].
void conv_depthwise_bytes_table(const ConvShape& s, int32_t* table) {
  int32_t* out = table + s.in_pixel;
  for (int i = 0; i < period_of(s) * kBlockBytes; i += 4, out += 4) {
    const int vector = i / kLanes % 4, piece = i % kLanes / 4;
    memcpy(out, table + channel_of(s, i / kBlockBytes, vector, piece), 16);
  }
}

void conv_depthwise_bytes(const ConvArgs& a, const uint8_t* packed) {
  for (int y = 0; y < a.n_rows; y += 2 * kMaxPairs) {
    if (a.n_rows - y > 2) row_pairs<kMaxPairs>(a, packed, y);
    else row_pairs<1>(a, packed, y);
  }
}

#else  // an instruction set without vectors of bytes

bool conv_depthwise_bytes_fits(const ConvShape&) { return false; }
size_t conv_depthwise_bytes_packed_bytes(const ConvShape&) { return 0; }
void conv_depthwise_bytes_pack(const ConvShape&, const int8_t*, uint8_t*) {}
int conv_depthwise_bytes_table_length(const ConvShape&) { return 0; }
void conv_depthwise_bytes_table(const ConvShape&, int32_t*) {}
void conv_depthwise_bytes(const ConvArgs&, const uint8_t*) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
