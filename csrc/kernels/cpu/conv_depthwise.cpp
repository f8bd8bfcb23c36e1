// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution of the most usual kind: stride 1, bytes to bytes, nothing to add. Pixels lie without gaps, so a row
// is one long run of bytes, 64 at a time, whatever the number of channels; the weights repeat with it. The bytes of four
// rows, zipped, make lanes of four rows of one channel: with the weights w0 w1 w2 0 they give the products of one output
// row, with 0 w0 w1 w2 those of the next.
#include <string.h>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_BYTES)
namespace {

constexpr int kBlockBytes = 4 * kLanes;
constexpr int kPieces = kLanes / 4;
constexpr int kPiece = 16;  // bytes that zip together; four of their channels go into a vector of sums
constexpr int kMaxPeriod = 4 * 1024 / kBlockBytes;  // 1024: kMaxChannels of a program

// Blocks after which the channels come again.
int period_of(const ConvShape& s) {
  int n = 1;
  while (n * kBlockBytes % s.in_pixel) ++n;
  return n;
}

// First of the four channels in lanes 4 * piece .. 4 * piece + 3 of the vector of sums `vector` of a block.
int channel_of(const ConvShape& s, int block, int vector, int piece) {
  return (block * kBlockBytes + piece * kPiece) % s.in_pixel + vector * 4;
}

// [channel] to [block][vector][lane]
void spread(const ConvShape& s, const int32_t* from, int32_t* to) {
  for (int block = 0; block < period_of(s); ++block) {
    for (int i = 0; i < kBlockBytes / 4; ++i, to += 4) memcpy(to, from + channel_of(s, block, i / kPieces, i % kPieces), 16);
  }
}

struct Column {
  V v[4];  // lanes of four rows; 4 channels of each piece
};

inline Column load_column(const uint8_t* const rows[4], ptrdiff_t at) {
  const V a = load_bytes(rows[0] + at), b = load_bytes(rows[1] + at), c = load_bytes(rows[2] + at), d = load_bytes(rows[3] + at);
  const V low = zip8_low(a, b), high = zip8_high(a, b), low2 = zip8_low(c, d), high2 = zip8_high(c, d);
  return {{zip16_low(low, low2), zip16_high(low, low2), zip16_low(high, high2), zip16_high(high, high2)}};
}

}  // namespace

bool conv_depthwise_fits(const ConvShape& s) {
  return s.depthwise && s.stride == 1 && !s.in_signed && s.in_pixel == round_up(s.out_channels, kChannelAlign);
}

size_t conv_depthwise_packed_bytes(const ConvShape& s) { return static_cast<size_t>(period_of(s)) * 3 * 2 * 4 * kBlockBytes; }

// [block][column][output row][vector][lane][4 rows]
void conv_depthwise_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed) {
  for (int block = 0; block < period_of(s); ++block) {
    for (int kx = 0; kx < 3; ++kx) {
      for (int i = 0; i < 2 * 4 * kLanes * 4; ++i) {
        const int row = i / (4 * kLanes * 4), ky = i % 4 - row, c = channel_of(s, block, i / 4 / kLanes % 4, i / 16 % kPieces) + i / 4 % 4;
        const bool real = ky >= 0 && ky < 3 && c < s.out_channels;
        *packed++ = real ? static_cast<uint8_t>(weight[c * 9 + ky * 3 + kx]) : 0;
      }
    }
  }
}

void conv_depthwise(const ConvArgs& a, const uint8_t* packed) {
  const ConvShape& s = a.shape;
  const int period = period_of(s);
  alignas(64) int32_t bias[kMaxPeriod * kBlockBytes], mult[kMaxPeriod * kBlockBytes];
  spread(s, a.bias, bias);
  spread(s, a.mult, mult);
  const ptrdiff_t n = static_cast<ptrdiff_t>(a.n_cols) * s.in_pixel;
  for (int y = 0; y < a.n_rows; y += 2) {
    const bool both = y + 1 < a.n_rows;
    const uint8_t* const rows[4] = {a.in[y], a.in[y + 1], a.in[y + 2], a.in[both ? y + 3 : y + 2]};
    int block = 0;
    for (ptrdiff_t i = 0; i < n; i += kBlockBytes, block = block + 1 == period ? 0 : block + 1) {
      const auto* w = reinterpret_cast<const Weight*>(packed) + static_cast<ptrdiff_t>(block) * 3 * 2 * 4 * kBlockBytes;
      V sums[2][4];
      for (int v = 0; v < 4; ++v) sums[0][v] = sums[1][v] = load(bias + block * kBlockBytes + v * kLanes);
      for (int kx = 0; kx < 3; ++kx) {
        const Column column = load_column(rows, i + kx * static_cast<ptrdiff_t>(s.in_pixel));
        for (int row = 0; row < 2; ++row) {
          for (int v = 0; v < 4; ++v, w += kBlockBytes) sums[row][v] = dot(sums[row][v], column.v[v], load_weights(w));
        }
      }
      for (int v = 0; v < 4; ++v) {
        const V m = load(mult + block * kBlockBytes + v * kLanes), odd = odd_lanes(m);
        for (int row = 0; row < 2; ++row) sums[row][v] = mul_shift_32(sums[row][v], m, odd);
      }
      const V lower = narrow_u8(sums[1][0], sums[1][1], sums[1][2], sums[1][3]);
      const V upper = narrow_u8(sums[0][0], sums[0][1], sums[0][2], sums[0][3]);
      store_bytes(static_cast<uint8_t*>(a.out[both ? y + 1 : y]) + i, lower);  // of a single row, written over by the next
      store_bytes(static_cast<uint8_t*>(a.out[y]) + i, upper);
    }
  }
}

#else  // an instruction set without vectors of bytes

bool conv_depthwise_fits(const ConvShape&) { return false; }
size_t conv_depthwise_packed_bytes(const ConvShape&) { return 0; }
void conv_depthwise_pack(const ConvShape&, const int8_t*, uint8_t*) {}
void conv_depthwise(const ConvArgs&, const uint8_t*) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
