// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX2. Products by vpmaddwd on 16-bit pairs: u8 times the full range of int8 is exact there, where vpmaddubsw would
// saturate. See simd_scalar.h for what each function means.
#pragma once

#include "kernels/cpu/simd_256.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

using Act = int16_t;
using Weight = int16_t;
constexpr int kGroup = 2;
constexpr bool kActIsU8 = false;
constexpr int kStageShift = 0;

inline V mul_add_pairs(V a, V x, V w) { return _mm256_add_epi32(a, _mm256_madd_epi16(x, w)); }
inline V broadcast(const Act* p) { return broadcast_four(p); }
inline V load_weights(const Weight* p) { return load_aligned(p); }
inline V dot(V a, V x, V w) {
  V product;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(a), "=x"(product) : "x"(x), "x"(w));
  return a;
}

// For conv_joined.cpp. In assembly so that all sums stay in registers.
#define FASTCODEC_SIMD_JOINED 1
// a + the two 16-bit halves of x * v + y * w + offset: x, y four bytes for all lanes, * the saturating sum of two products
inline V add_joined(V a, const uint8_t* x, V v, const uint8_t* y, V w, V offset) {
  V t, u;
  asm("vpbroadcastd %[x], %[t]\n\tvpbroadcastd %[y], %[u]\n\t"
      "vpmaddubsw %[v], %[t], %[t]\n\tvpmaddubsw %[w], %[u], %[u]\n\t"
      "vpaddw %[offset], %[t], %[t]\n\tvpaddw %[u], %[t], %[t]\n\t"
      "vpmaddwd %[ones], %[t], %[t]\n\tvpaddd %[t], %[a], %[a]"
      : [a] "+x"(a), [t] "=&x"(t), [u] "=&x"(u)
      : [x] "m"(*reinterpret_cast<const FourBytes*>(x)), [y] "m"(*reinterpret_cast<const FourBytes*>(y)), [v] "x"(v),
        [w] "x"(w), [offset] "x"(offset), [ones] "x"(_mm256_set1_epi16(1)));
  return a;
}
inline ptrdiff_t once(ptrdiff_t n) {
  asm("" : "+r"(n));
  return n;
}

inline void stage(const uint8_t* row, bool is_signed, ptrdiff_t n, Act* out) {
  for (ptrdiff_t i = 0; i < n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i));
    const __m256i wide = is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), wide);
  }
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
