// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 with VNNI: vpdpbusd multiplies four u8 by four int8 and adds them to a lane, exactly (it does not saturate).
// A signed input is staged as x + 128, and conv_pack takes 128 times the sum of the weights off the bias. See
// simd_scalar.h for what each function means.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/simd_pieces.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

using Act = uint8_t;
using Weight = int8_t;
using V = __m512i;
constexpr int kLanes = 16;
constexpr int kGroup = 4;
constexpr int kPixels = 12;
constexpr bool kActIsU8 = true;
constexpr int kStageShift = 128;

inline V zero() { return _mm512_setzero_si512(); }
inline V load(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void store(int32_t* p, V a) { _mm512_storeu_si512(p, a); }
inline V load_u8(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V load_i8(const int8_t* p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V load_i16(const int16_t* p) { return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline V add(V a, V b) { return _mm512_add_epi32(a, b); }
inline __m256i interleave(const void* a, const void* b) {
  const __m128i a16 = _mm_loadu_si128(static_cast<const __m128i*>(a)), b16 = _mm_loadu_si128(static_cast<const __m128i*>(b));
  return _mm256_set_m128i(_mm_unpackhi_epi8(a16, b16), _mm_unpacklo_epi8(a16, b16));
}
inline V load_pair_u8(const uint8_t* a, const uint8_t* b) { return _mm512_cvtepu8_epi16(interleave(a, b)); }
inline V load_pair_i8(const int8_t* a, const int8_t* b) { return _mm512_cvtepi8_epi16(interleave(a, b)); }
inline V mul_add_pairs(V a, V x, V w) { return _mm512_dpwssd_epi32(a, x, w); }

inline V broadcast(const Act* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
inline V load_weights(const Weight* p) { return _mm512_load_si512(p); }
inline V dot(V a, V x, V w) { return _mm512_dpbusd_epi32(a, x, w); }
inline void stage(const uint8_t* row, bool is_signed, ptrdiff_t n, Act* out) {
  const __m128i flip = _mm_set1_epi8(is_signed ? static_cast<char>(0x80) : 0);
  for (ptrdiff_t i = 0; i < n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_xor_si128(bytes, flip));
  }
}

// Shuffles, because another port than that of the products does them.
inline V odd_lanes(V a) { return _mm512_shuffle_epi32(a, _MM_PERM_DDBB); }
inline V mul_shift_32(V a, V mult) {
  const __m512i even = _mm512_mul_epi32(a, mult), odd = _mm512_mul_epi32(odd_lanes(a), odd_lanes(mult));
  return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

// Products with 1 extend the signs of a vector's even lanes.
inline V mul_add_shift_16(V a, V mult, V bias) {
  const V one = _mm512_set1_epi32(1);
  const V even = _mm512_add_epi64(_mm512_mul_epi32(a, mult), _mm512_mul_epi32(bias, one));
  const V odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(mult, 32)),
                                 _mm512_mul_epi32(_mm512_srli_epi64(bias, 32), one));
  return _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 16), _mm512_slli_epi64(odd, 16));
}

inline void store_u8(uint8_t* p, V a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512())));
}
inline void store_i8(int8_t* p, V a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a)); }
inline void store_i16(int16_t* p, V a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(a)); }

// For conv_winograd.cpp, see simd_avx2.h.
#define FASTCODEC_SIMD_WINOGRAD 1
using V16 = __m256i;
constexpr int kLanes16 = 16, kWideLanes16 = 32;
struct PairWeights {
  V v;
};
inline V broadcast(const int16_t* p) {
  int32_t pair;
  memcpy(&pair, p, 4);
  return _mm512_set1_epi32(pair);
}
inline PairWeights load_weights(const int16_t* p) { return {_mm512_load_si512(p)}; }
inline V dot(V a, V x, PairWeights w) { return _mm512_dpwssd_epi32(a, x, w.v); }
inline void load16_u8(const uint8_t* p, V16* a) { *a = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void load16_i8(const uint8_t* p, V16* a) { *a = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void store16(int16_t* p, V16 a) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), a); }
inline V16 add16(V16 a, V16 b) { return _mm256_add_epi16(a, b); }
inline V16 sub16(V16 a, V16 b) { return _mm256_sub_epi16(a, b); }
template <int n> inline V16 shift_left16(V16 a) { return _mm256_slli_epi16(a, n); }
using Wide16 = __m512i;
inline void load16_u8(const uint8_t* p, Wide16* a) { *a = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void load16_i8(const uint8_t* p, Wide16* a) { *a = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void store16(int16_t* p, Wide16 a) { _mm512_storeu_si512(p, a); }
inline Wide16 add16(Wide16 a, Wide16 b) { return _mm512_add_epi16(a, b); }
inline Wide16 sub16(Wide16 a, Wide16 b) { return _mm512_sub_epi16(a, b); }
template <int n> inline Wide16 shift_left16(Wide16 a) { return _mm512_slli_epi16(a, n); }
inline V sub(V a, V b) { return _mm512_sub_epi32(a, b); }
inline V mul(V a, V b) { return _mm512_mullo_epi32(a, b); }
inline V broadcast_lane(int32_t v) { return _mm512_set1_epi32(v); }
template <int n> inline V shift_left(V a) { return _mm512_slli_epi32(a, n); }
template <int n> inline V shift_right(V a) { return _mm512_srai_epi32(a, n); }

// For conv_depthwise_bytes.cpp: vectors of bytes, all in pieces of 16.
#define FASTCODEC_SIMD_BYTES 1
constexpr int kMaxPairs = 2;  // of rows whose sums fit the registers
// Of a load that serves several instructions: the compiler would make it part of each.
inline V once(V a) {
  asm("" : "+v"(a));
  return a;
}
inline V load_bytes(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline void store_bytes(uint8_t* p, V a) { _mm512_storeu_si512(p, a); }
inline V zip8_low(V a, V b) { return _mm512_unpacklo_epi8(a, b); }
inline V zip8_high(V a, V b) { return _mm512_unpackhi_epi8(a, b); }
// Lanes of four bytes, from zipped bytes of two rows and of the next two.
struct Fours {
  V v;
};
inline Fours low_fours(V upper, V lower) { return {_mm512_unpacklo_epi16(upper, lower)}; }
inline Fours high_fours(V upper, V lower) { return {_mm512_unpackhi_epi16(upper, lower)}; }
inline Fours load_fours(const Weight* w) { return {once(load_weights(w))}; }
inline V dot4(V a, Fours x, Fours w) { return dot(a, x.v, w.v); }
// Piece by piece the four int32 of a and b, clamped to i16, or of a, b, c, d, clamped to u8.
inline V narrow_i16(V a, V b) { return _mm512_packs_epi32(a, b); }
inline V narrow_u8(V a, V b, V c, V d) { return _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)); }

// The same as mul_shift_32 with mult_odd = odd_lanes(mult), where shuffles already keep their port busy.
inline V mul_shift_32(V a, V mult, V mult_odd) {
  const __m512i even = _mm512_mul_epi32(a, mult), odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), mult_odd);
  return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

// For conv_sparse_pixels.cpp: 16 bytes of four places in one vector, each `pitch` from the one before.
#define FASTCODEC_SIMD_TRANSPOSE 1
inline V load_pieces(const uint8_t* p, ptrdiff_t pitch) {
  auto piece = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * pitch)); };
  const V low = _mm512_inserti32x4(_mm512_castsi128_si512(piece(0)), piece(1), 1);
  return _mm512_inserti32x4(_mm512_inserti32x4(low, piece(2), 2), piece(3), 3);
}
// 64 bytes in pieces, the next one `pitch` further.
template <int pieces>
inline void store_pieces(uint8_t* p, ptrdiff_t pitch, V v) {
  if (pieces == 2) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(v));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + pitch), _mm512_extracti64x4_epi64(v, 1));
  } else {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + pitch), _mm512_extracti32x4_epi32(v, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * pitch), _mm512_extracti32x4_epi32(v, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 3 * pitch), _mm512_extracti32x4_epi32(v, 3));
  }
}
inline V exclusive_or(V a, V b) { return _mm512_xor_si512(a, b); }
// In each piece: int32 i of vector j becomes int32 j of vector i.
inline void transpose4(V (&v)[4]) {
  const V a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
  const V c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm512_unpacklo_epi64(a, c);
  v[1] = _mm512_unpackhi_epi64(a, c);
  v[2] = _mm512_unpacklo_epi64(b, d);
  v[3] = _mm512_unpackhi_epi64(b, d);
}
// In each piece: byte i of int32 j becomes byte j of int32 i.
inline V transpose_bytes(V a) {
  return _mm512_shuffle_epi8(a, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

// Four vectors as 64 bytes, clamped to u8, in order.
inline V pack_u8(V a, V b, V c, V d) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, narrow_u8(a, b, c, d));
}
// See simd_256.h.
inline void store_u8_quad(uint8_t* p, ptrdiff_t pitch, const V (&v)[4], V mult, V) {
  auto scaled = [&](int i) { return mul_shift_32(v[i], mult); };
  store_pieces<4>(p, pitch, pack_u8(scaled(0), scaled(1), scaled(2), scaled(3)));
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
