// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX2 with VNNI, of CPUs that have no AVX-512: vpdpbusd adds four products of u8 and int8, vpdpwssd two of 16 bits, both
// without saturation. See simd_scalar.h for what each function means.
#pragma once

#include "kernels/cpu/simd_256.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

using Act = uint8_t;
using Weight = int8_t;
constexpr int kGroup = 4;
constexpr bool kActIsU8 = true;
constexpr int kStageShift = 128;

inline V mul_add_pairs(V a, V x, V w) { return _mm256_dpwssd_avx_epi32(a, x, w); }
inline V broadcast(const Act* p) { return broadcast_four(p); }
inline V load_weights(const Weight* p) { return load_aligned(p); }
inline V dot(V a, V x, V w) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(a) : "x"(x), "x"(w));
  return a;
}
inline void stage(const uint8_t* row, bool is_signed, ptrdiff_t n, Act* out) {
  const __m128i flip = _mm_set1_epi8(is_signed ? static_cast<char>(0x80) : 0);
  for (ptrdiff_t i = 0; i < n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_xor_si128(bytes, flip));
  }
}

// For conv_depthwise_bytes.cpp, see simd_avx512.h.
#define FASTCODEC_SIMD_BYTES 1
constexpr int kMaxPairs = 1;
struct Fours {
  V v;
};
inline Fours low_fours(V upper, V lower) { return {_mm256_unpacklo_epi16(upper, lower)}; }
inline Fours high_fours(V upper, V lower) { return {_mm256_unpackhi_epi16(upper, lower)}; }
inline Fours load_fours(const Weight* w) { return {load_weights(w)}; }
inline V dot4(V a, Fours x, Fours w) { return dot(a, x.v, w.v); }

// For conv_winograd.cpp: the same with pairs of 16 bits.
struct PairWeights {
  V v;
};
inline V broadcast(const int16_t* p) { return broadcast_four(p); }
inline PairWeights load_weights(const int16_t* p) { return {load_aligned(p)}; }
inline V dot(V a, V x, PairWeights w) {
  asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(a) : "x"(x), "x"(w.v));
  return a;
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
