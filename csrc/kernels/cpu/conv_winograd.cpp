// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// 3x3 convolution as Winograd's F(4x4, 3x3) in integers: 36 products for 16 outputs instead of 144, and exactly the same
// sums.
//
// Over the rationals, with d a 6x6 piece of the input and g the 3x3 weights,
//     Y = A^T [ (G g G^T) * (B^T d B) ] A        (* element by element, summed over input channels)
// and B, A have small integers, but G has the fractions 1/4, 1/6, 1/12, 1/24. So G is taken 24 times (its last row, which
// would become 24, 6 times, with the missing 4 in A):
//     G' g = ( 6 g0, -4 (g0 + g1 + g2), -4 (g0 - g1 + g2), g0 + 2 g1 + 4 g2, g0 - 2 g1 + 4 g2, 6 g2 ).
// Then Y comes out 576 = 9 * 64 times too large. 9 has an inverse modulo 2^32, so a multiplication gives 64 times the sum
// modulo 2^32, and if the sum is below 2^25 an arithmetic shift by 6 gives the sum itself. All that happens in between may
// wrap around, as long as it is arithmetic modulo 2^32. What must not wrap: the transformed inputs and weights in 16 bits.
//     |B^T d B| <= 10 * 10 * 255 = 25500,  |G' g G'^T| <= 12 * 12 * 128 = 18432.
#include "kernels/cpu/conv.h"

#include <string.h>

#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

#if defined(FASTCODEC_SIMD_WINOGRAD)
namespace {

constexpr int kTiles = 6;         // 4x4 tiles, side by side, of one pass
constexpr int kBlockVectors = 2;  // vectors of output channels of one pass; the last pass may have one
constexpr int kOutBlock = kBlockVectors * kLanes;
constexpr int kPositions = 36;
constexpr int32_t kInverseOf9 = 954437177;
constexpr int kMaxInChannels = 128;  // more would crowd the transformed weights out of the cache

static_assert(9u * static_cast<uint32_t>(kInverseOf9) == 1u, "inverse modulo 2^32");

int padded_in(const ConvShape& s) { return round_up(s.in_channels, kLanes16); }
int n_vectors(const ConvShape& s) { return round_up(s.out_channels, kLanes) / kLanes; }
// Weights of one vector of output channels at one position.
size_t vector_weights(const ConvShape& s) { return static_cast<size_t>(padded_in(s)) * kLanes; }

// o = B^T d
template <class T>
inline void transform_in(const T* d, T* o) {
  const T a = sub16(d[4], shift_left16<2>(d[2])), b = sub16(d[3], shift_left16<2>(d[1]));
  const T c = sub16(d[4], d[2]), e = sub16(d[3], d[1]), e2 = add16(e, e);
  o[0] = add16(shift_left16<2>(sub16(d[0], d[2])), c);
  o[1] = add16(a, b);
  o[2] = sub16(a, b);
  o[3] = add16(c, e2);
  o[4] = sub16(c, e2);
  o[5] = sub16(sub16(d[5], d[3]), add16(e2, e2));
}

// o = A^T m
inline void transform_out(const V* m, V* o) {
  const V sum12 = add(m[1], m[2]), difference12 = sub(m[1], m[2]), sum34 = add(m[3], m[4]), difference34 = sub(m[3], m[4]);
  o[0] = add(add(m[0], sum12), sum34);
  o[1] = add(difference12, add(difference34, difference34));
  o[2] = add(sum12, shift_left<2>(sum34));
  o[3] = add(add(difference12, shift_left<3>(difference34)), shift_left<2>(m[5]));
}

// Transformed inputs of a tile, of the channels in one vector T; rows[y] at the first tap and channel.
template <bool kSigned, class T>
inline void transform_channels(const uint8_t* const rows[6], ptrdiff_t offset, int pixel, ptrdiff_t pitch, int16_t* v) {
  T half[6][6];
  for (int x = 0; x < 6; ++x) {
    T d[6], o[6];
    for (int y = 0; y < 6; ++y) {
      const uint8_t* p = rows[y] + offset + x * pixel;
      if (kSigned) load16_i8(p, &d[y]);
      else load16_u8(p, &d[y]);
    }
    transform_in(d, o);
    for (int y = 0; y < 6; ++y) half[y][x] = o[y];
  }
  for (int y = 0; y < 6; ++y) {
    T o[6];
    transform_in(half[y], o);
    for (int x = 0; x < 6; ++x) store16(v + (y * 6 + x) * pitch, o[x]);
  }
}

// Of n tiles: v[position][tile][channel]. rows[y] at the first tap of the first tile.
template <bool kSigned>
void transform_tiles(const ConvShape& s, const uint8_t* const rows[6], int n, int16_t* v) {
  const int channels = padded_in(s);
  const ptrdiff_t pitch = static_cast<ptrdiff_t>(kTiles) * channels;
  for (int tile = 0; tile < n; ++tile, v += channels) {
    const ptrdiff_t offset = static_cast<ptrdiff_t>(tile) * 4 * s.in_pixel;
    int c = 0;
    for (; c + kWideLanes16 <= channels; c += kWideLanes16) {
      transform_channels<kSigned, Wide16>(rows, offset + c, s.in_pixel, pitch, v + c);
    }
    for (; c < channels; c += kLanes16) transform_channels<kSigned, V16>(rows, offset + c, s.in_pixel, pitch, v + c);
  }
}

// Sums over the channels, for B vectors of output channels: m[position][tile][kOutBlock]. The weights of the next position
// are `stride` further.
template <int B>
void multiply(const int16_t* v, const int16_t* weight, size_t stride, int channels, int32_t* m) {
  for (int position = 0; position < kPositions; ++position) {
    V acc[kTiles][B];
    for (auto& tile : acc) {
      for (V& sum : tile) sum = zero();
    }
    accumulate<kTiles, B>(acc, v, channels, weight, channels / 2);
    for (auto& tile : acc) {
      for (int b = 0; b < B; ++b) store(m + b * kLanes, tile[b]);
      m += kOutBlock;
    }
    v += kTiles * channels;
    weight += stride;
  }
}

// Outputs of n tiles from column x on, kLanes channels from c on.
void finish_tiles(const ConvArgs& a, const int32_t* m, int n, int x, int c) {
  const V bias = load(a.bias + c), mult = load(a.mult + c), mult_odd = odd_lanes(mult), inverse = broadcast_lane(kInverseOf9);
  const bool plain = is_plain(a);
  for (int tile = 0; tile < n; ++tile, m += kOutBlock) {
    V half[4][6];
    for (int column = 0; column < 6; ++column) {
      V d[6], o[4];
      for (int row = 0; row < 6; ++row) d[row] = load(m + (row * 6 + column) * kTiles * kOutBlock);
      transform_out(d, o);
      for (int row = 0; row < 4; ++row) half[row][column] = o[row];
    }
    for (int row = 0; row < a.n_rows; ++row) {
      V o[4];
      transform_out(half[row], o);
      for (V& v : o) v = shift_right<6>(mul(v, inverse));
      const ptrdiff_t at = x + tile * 4;
      if (plain) {
        for (V& v : o) v = add(v, bias);
        store_u8_quad(static_cast<uint8_t*>(a.out[row]) + at * a.out_pixel + c, a.out_pixel, o, mult, mult_odd);
      } else {
        for (int column = 0; column < 4; ++column) finish(a, o[column], bias, mult, row, at + column, c);
      }
    }
  }
}

int16_t transformed_weight(const int8_t* taps, int in_channels, int row, int column) {
  constexpr int kG[6][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};
  int sum = 0;
  for (int ky = 0; ky < 3; ++ky) {
    for (int kx = 0; kx < 3; ++kx) sum += kG[row][ky] * kG[column][kx] * taps[(ky * 3 + kx) * in_channels];
  }
  return static_cast<int16_t>(sum);
}

}  // namespace

bool conv_winograd_fits(const ConvShape& s, int64_t max_abs_acc) {
  return !s.depthwise && s.kernel == 3 && s.stride == 1 && s.in_channels >= 12 && s.in_channels <= kMaxInChannels &&
         4 * s.out_channels >= 3 * kLanes && max_abs_acc < (int64_t{1} << 25);
}

size_t conv_winograd_packed_bytes(const ConvShape& s) {
  return kPositions * n_vectors(s) * vector_weights(s) * sizeof(int16_t);
}

// [position][block of output channels][pair of input channels][output channel of the block][2]
void conv_winograd_pack(const ConvShape& s, const int8_t* weight, uint8_t* packed, int32_t* bias_shift) {
  memset(bias_shift, 0, s.out_channels * sizeof *bias_shift);
  memset(packed, 0, conv_winograd_packed_bytes(s));
  auto* out = reinterpret_cast<int16_t*>(packed);
  for (int position = 0; position < kPositions; ++position) {
    for (int o = 0; o < s.out_channels; ++o) {
      const int first = o / kOutBlock * kBlockVectors;  // vector
      const int width = (n_vectors(s) - first < kBlockVectors ? n_vectors(s) - first : kBlockVectors) * kLanes;
      int16_t* block = out + (position * n_vectors(s) + first) * vector_weights(s);
      const int8_t* taps = weight + static_cast<ptrdiff_t>(o) * 9 * s.in_channels;
      for (int i = 0; i < s.in_channels; ++i) {
        block[(i / 2 * width + o % kOutBlock) * 2 + i % 2] =
            transformed_weight(taps + i, s.in_channels, position / 6, position % 6);
      }
    }
  }
}

size_t conv_winograd_scratch_bytes(const ConvShape& s) {
  return kPositions * kTiles * (padded_in(s) * sizeof(int16_t) + kOutBlock * sizeof(int32_t));
}

void conv_winograd(const ConvArgs& a) {
  const ConvShape& s = a.shape;
  const int channels = padded_in(s);
  const size_t stride = n_vectors(s) * vector_weights(s);
  auto* v = reinterpret_cast<int16_t*>(a.scratch);
  auto* m = reinterpret_cast<int32_t*>(v + kPositions * kTiles * channels);
  for (int x = 0; x < a.n_cols; x += 4 * kTiles) {
    const int tiles_left = round_up(a.n_cols - x, 4) / 4, n = tiles_left < kTiles ? tiles_left : kTiles;
    const uint8_t* rows[6];
    for (int y = 0; y < 6; ++y) {  // rows below the last one only meet outputs that are not wanted
      rows[y] = a.in[y < a.n_rows + 2 ? y : a.n_rows + 1] + static_cast<ptrdiff_t>(x) * s.in_pixel;
    }
    if (s.in_signed) transform_tiles<true>(s, rows, n, v);
    else transform_tiles<false>(s, rows, n, v);
    for (int vector = 0; vector < n_vectors(s); vector += kBlockVectors) {
      const auto* weight = reinterpret_cast<const int16_t*>(a.packed) + vector * vector_weights(s);
      const bool single = vector + 1 == n_vectors(s);
      if (single) multiply<1>(v, weight, stride, channels, m);
      else multiply<kBlockVectors>(v, weight, stride, channels, m);
      finish_tiles(a, m, n, x, vector * kLanes);
      if (!single) finish_tiles(a, m + kLanes, n, x, (vector + 1) * kLanes);
    }
  }
}

#else  // an instruction set without the 16-bit functions

bool conv_winograd_fits(const ConvShape&, int64_t) { return false; }
size_t conv_winograd_packed_bytes(const ConvShape&) { return 0; }
void conv_winograd_pack(const ConvShape&, const int8_t*, uint8_t*, int32_t*) {}
size_t conv_winograd_scratch_bytes(const ConvShape&) { return 0; }
void conv_winograd(const ConvArgs&) {}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
