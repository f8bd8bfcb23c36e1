// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What simd_avx2.h and simd_avxvnni.h share: 256-bit vectors. See simd_scalar.h for what each function means.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/simd_pieces.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

using V = __m256i;
constexpr int kLanes = 8;
constexpr int kPixels = 6;

inline V zero() { return _mm256_setzero_si256(); }
inline V load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void store(int32_t* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
inline V load_u8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline V load_i8(const int8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline V load_i16(const int16_t* p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V add(V a, V b) { return _mm256_add_epi32(a, b); }
inline __m128i interleave(const void* a, const void* b) {
  return _mm_unpacklo_epi8(_mm_loadl_epi64(static_cast<const __m128i*>(a)), _mm_loadl_epi64(static_cast<const __m128i*>(b)));
}
inline V load_pair_u8(const uint8_t* a, const uint8_t* b) { return _mm256_cvtepu8_epi16(interleave(a, b)); }
inline V load_pair_i8(const int8_t* a, const int8_t* b) { return _mm256_cvtepi8_epi16(interleave(a, b)); }

// In assembly because GCC 12 otherwise runs out of its 16 registers: it loads weights again and spills sums.
typedef int32_t __attribute__((may_alias)) FourBytes;
inline V broadcast_four(const void* p) {
  V x;
  asm("vpbroadcastd %1, %0" : "=x"(x) : "m"(*static_cast<const FourBytes*>(p)));
  return x;
}
inline V load_aligned(const void* p) {
  V v;
  asm("vmovdqa %1, %0" : "=x"(v) : "m"(*static_cast<const __m256i*>(p)));
  return v;
}

inline V mul_shift_32(V a, V mult) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a, mult), 32);
  const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(mult, 32));
  return _mm256_blend_epi32(even, odd, 0xAA);
}

// Products with 1 extend the signs of a vector's even lanes.
inline V mul_add_shift_16(V a, V mult, V bias) {
  const V one = _mm256_set1_epi32(1);
  const V even = _mm256_add_epi64(_mm256_mul_epi32(a, mult), _mm256_mul_epi32(bias, one));
  const V odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(mult, 32)),
                                 _mm256_mul_epi32(_mm256_srli_epi64(bias, 32), one));
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 16), _mm256_slli_epi64(odd, 16), 0xAA);
}

inline __m128i pack_i16(V a) { return _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1)); }
inline void store_u8(uint8_t* p, V a) {
  const __m128i words = pack_i16(a);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
inline void store_i8(int8_t* p, V a) {
  const __m128i words = pack_i16(a);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}
inline void store_i16(int16_t* p, V a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), pack_i16(a)); }

inline V once(V a) {
  asm("" : "+x"(a));
  return a;
}
inline V load_bytes(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void store_bytes(uint8_t* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a); }
inline V zip8_low(V a, V b) { return _mm256_unpacklo_epi8(a, b); }
inline V zip8_high(V a, V b) { return _mm256_unpackhi_epi8(a, b); }
inline V narrow_u8(V a, V b, V c, V d) { return _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)); }
inline V odd_lanes(V a) { return _mm256_srli_epi64(a, 32); }
inline V mul_shift_32(V a, V mult, V mult_odd) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a, mult), 32), odd = _mm256_mul_epi32(odd_lanes(a), mult_odd);
  return _mm256_blend_epi32(even, odd, 0xAA);
}

// What conv_winograd.cpp needs beside: 16 values of 16 bits, and some arithmetic on V; all modulo 2^16 and 2^32.
#define FASTCODEC_SIMD_WINOGRAD 1
using V16 = __m256i;
constexpr int kLanes16 = 16, kWideLanes16 = 16;
using Wide16 = V16;  // the widest vector of the kind
inline void load16_u8(const uint8_t* p, V16* a) { *a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void load16_i8(const uint8_t* p, V16* a) { *a = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void store16(int16_t* p, V16 a) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), a); }
inline V16 add16(V16 a, V16 b) { return _mm256_add_epi16(a, b); }
inline V16 sub16(V16 a, V16 b) { return _mm256_sub_epi16(a, b); }
template <int n> inline V16 shift_left16(V16 a) { return _mm256_slli_epi16(a, n); }
inline V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
inline V mul(V a, V b) { return _mm256_mullo_epi32(a, b); }
inline V broadcast_lane(int32_t v) { return _mm256_set1_epi32(v); }
template <int n> inline V shift_left(V a) { return _mm256_slli_epi32(a, n); }
// The bytes of narrow_u8, those of each of its arguments `pitch` further.
inline void store_quad(uint8_t* p, ptrdiff_t pitch, V narrow) {
  const V bytes = _mm256_permutevar8x32_epi32(narrow, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
  auto store_high = [](uint8_t* to, __m128i a) { _mm_storeh_pi(reinterpret_cast<__m64*>(to), _mm_castsi128_ps(a)); };
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), low);
  store_high(p + pitch, low);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 2 * pitch), high);
  store_high(p + 3 * pitch, high);
}
// store_u8 of mul_shift_32(v, mult) of each; mult_odd = odd_lanes(mult). One shuffle takes the upper halves of all products, in
// fours whose middle two are exchanged; for all vectors together they go back to their places.
inline void store_u8_quad(uint8_t* p, ptrdiff_t pitch, const V (&v)[4], V mult, V mult_odd) {
  V scaled[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 even = _mm256_castsi256_ps(_mm256_mul_epi32(v[i], mult));
    const __m256 odd = _mm256_castsi256_ps(_mm256_mul_epi32(odd_lanes(v[i]), mult_odd));
    scaled[i] = _mm256_castps_si256(_mm256_shuffle_ps(even, odd, _MM_SHUFFLE(3, 1, 3, 1)));
  }
  const V exchanged = narrow_u8(scaled[0], scaled[1], scaled[2], scaled[3]);
  const V places = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  store_quad(p, pitch, _mm256_shuffle_epi8(exchanged, places));
}
template <int n> inline V shift_right(V a) { return _mm256_srai_epi32(a, n); }

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
