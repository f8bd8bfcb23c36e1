// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What all instruction sets with vectors share: pieces of 16 bytes whose bytes go anywhere.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace fastcodec::FASTCODEC_ISA {
namespace {

#define FASTCODEC_SIMD_PIECES 1
using Piece = __m128i;
inline Piece load_piece(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
inline void store_piece(void* p, Piece a) { _mm_storeu_si128(static_cast<__m128i*>(p), a); }
inline Piece load_halves(const void* low, const void* high) {  // 8 bytes each
  return _mm_unpacklo_epi64(_mm_loadl_epi64(static_cast<const __m128i*>(low)), _mm_loadl_epi64(static_cast<const __m128i*>(high)));
}
inline Piece broadcast_piece(int byte) { return _mm_set1_epi8(static_cast<char>(byte)); }
// Byte i is byte from[i] of a, or 0 where from[i] is 128 and more.
inline Piece shuffle_piece(Piece a, Piece from) { return _mm_shuffle_epi8(a, from); }
inline Piece exclusive_or(Piece a, Piece b) { return _mm_xor_si128(a, b); }
inline Piece either(Piece a, Piece b) { return _mm_or_si128(a, b); }

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
