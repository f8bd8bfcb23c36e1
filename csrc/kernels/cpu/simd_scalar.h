// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The functions that the kernels are written in, here as plain C++. Every simd_<isa>.h has the same ones:
//   V            kLanes int32
//   Act, Weight  the types a convolution multiplies; kGroup neighbouring input channels make one lane of dot()
//   kActIsU8     rows of u8 are used as they lie in memory; all others are first copied by stage()
//   kStageShift  what stage() adds to a signed input
//   kPixels      output pixels of one block of a convolution
// and, if it defines FASTCODEC_SIMD_WINOGRAD, those at the end of simd_avx2.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fastcodec::FASTCODEC_ISA {
namespace {

using Act = int16_t;
using Weight = int16_t;
constexpr int kLanes = 4;
constexpr int kGroup = 2;
constexpr int kPixels = 2;
constexpr bool kActIsU8 = false;
constexpr int kStageShift = 0;

struct V {
  int32_t lane[kLanes];
};

template <class F>
inline V each(F f) {
  V v;
  for (int i = 0; i < kLanes; ++i) v.lane[i] = f(i);
  return v;
}

inline V zero() { return each([](int) { return 0; }); }
inline V load(const int32_t* p) { return each([=](int i) { return p[i]; }); }
inline void store(int32_t* p, V a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.lane[i];
}
inline V load_u8(const uint8_t* p) { return each([=](int i) { return p[i]; }); }
inline V load_i8(const int8_t* p) { return each([=](int i) { return p[i]; }); }
inline V load_i16(const int16_t* p) { return each([=](int i) { return p[i]; }); }
// Sums are modulo 2^32.
inline V add(V a, V b) {
  return each([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.lane[i]) + static_cast<uint32_t>(b.lane[i])); });
}
// Lanes of two 16-bit values: a in the low half, b in the high one.
inline int32_t pair_of(int a, int b) { return static_cast<int32_t>((a & 0xFFFF) | static_cast<uint32_t>(b) << 16); }
inline V load_pair_u8(const uint8_t* a, const uint8_t* b) { return each([=](int i) { return pair_of(a[i], b[i]); }); }
inline V load_pair_i8(const int8_t* a, const int8_t* b) { return each([=](int i) { return pair_of(a[i], b[i]); }); }
// a + low * low + high * high of two vectors of pairs
inline V mul_add_pairs(V a, V x, V w) {
  return each([&](int i) {
    const int32_t low = static_cast<int16_t>(x.lane[i]) * static_cast<int16_t>(w.lane[i]);
    return a.lane[i] + low + (x.lane[i] >> 16) * (w.lane[i] >> 16);
  });
}

// kGroup activations in every lane, kLanes x kGroup weights, and the sum of their products added to a.
struct Acts {
  Act value[kGroup];
};
struct Weights {
  Weight value[kLanes * kGroup];
};
inline Acts broadcast(const Act* p) { return {{p[0], p[1]}}; }
inline Weights load_weights(const Weight* p) {
  Weights w;
  for (int i = 0; i < kLanes * kGroup; ++i) w.value[i] = p[i];
  return w;
}
inline V dot(V a, Acts x, Weights w) {
  return each([&](int i) { return a.lane[i] + x.value[0] * w.value[2 * i] + x.value[1] * w.value[2 * i + 1]; });
}
inline void stage(const uint8_t* row, bool is_signed, ptrdiff_t n, Act* out) {
  for (ptrdiff_t i = 0; i < n; ++i) out[i] = is_signed ? static_cast<int8_t>(row[i]) : row[i];
}

// a * mult >> 32 in 64 bits, arithmetic
inline V mul_shift_32(V a, V mult) {
  return each([&](int i) { return static_cast<int32_t>((static_cast<int64_t>(a.lane[i]) * mult.lane[i]) >> 32); });
}

// a * mult + bias >> 16 in 64 bits, arithmetic, for a result that fits 32 bits
inline V mul_add_shift_16(V a, V mult, V bias) {
  return each([&](int i) {
    return static_cast<int32_t>((static_cast<int64_t>(a.lane[i]) * mult.lane[i] + bias.lane[i]) >> 16);
  });
}

template <int n> inline V shift_right(V a) {
  return each([&](int i) { return a.lane[i] >> n; });
}

inline int32_t clamp_lane(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }
// Saturating stores.
inline void store_u8(uint8_t* p, V a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(clamp_lane(a.lane[i], 0, 255));
}
// store_u8 of four times mul_shift_32(v, mult), each `pitch` from the one before; mult_odd serves vectors that multiply even and
// odd lanes one after another.
inline V odd_lanes(V a) { return a; }
inline void store_u8_quad(uint8_t* p, ptrdiff_t pitch, const V (&v)[4], V mult, V) {
  for (int i = 0; i < 4; ++i) store_u8(p + i * pitch, mul_shift_32(v[i], mult));
}
inline void store_i8(int8_t* p, V a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int8_t>(clamp_lane(a.lane[i], -128, 127));
}
inline void store_i16(int16_t* p, V a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int16_t>(clamp_lane(a.lane[i], -32768, 32767));
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
