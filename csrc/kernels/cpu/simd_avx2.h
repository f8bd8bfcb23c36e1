// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX2. Products by vpmaddwd on 16-bit pairs: u8 times the full range of int8 is exact there, where vpmaddubsw would
// saturate. See simd_scalar.h for what each function means.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace fastcodec::FASTCODEC_ISA {
namespace {

using Act = int16_t;
using Weight = int16_t;
using V = __m256i;
constexpr int kLanes = 8;
constexpr int kGroup = 2;
constexpr int kPixels = 6;
constexpr bool kActIsU8 = false;
constexpr int kStageShift = 0;

inline V zero() { return _mm256_setzero_si256(); }
inline V load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline V load_u8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline V load_i8(const int8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline V load_i16(const int16_t* p) { return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V add(V a, V b) { return _mm256_add_epi32(a, b); }
// x sign-extends to 16 bits or is below 256, so the low halves hold it; the high halves of w may only meet 0 or -1 there:
// mask them off.
inline V mul_add(V a, V x, V w) {
  return _mm256_add_epi32(a, _mm256_madd_epi16(x, _mm256_and_si256(w, _mm256_set1_epi32(0xFFFF))));
}

inline V broadcast(const Act* p) {
  int32_t pair;
  memcpy(&pair, p, 4);
  return _mm256_set1_epi32(pair);
}
inline V load_weights(const Weight* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
inline V dot(V a, V x, V w) { return _mm256_add_epi32(a, _mm256_madd_epi16(x, w)); }
inline void stage(const uint8_t* row, bool is_signed, ptrdiff_t n, Act* out) {
  for (ptrdiff_t i = 0; i < n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i));
    const __m256i wide = is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), wide);
  }
}

inline V mul_shift_32(V a, V mult) {
  const __m256i even = _mm256_srli_epi64(_mm256_mul_epi32(a, mult), 32);
  const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(mult, 32));
  return _mm256_blend_epi32(even, odd, 0xAA);
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

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
