// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder's rows on AVX-512 (F, BW, VL, DQ): two vectors of sixteen lanes. Included by range.cpp only. The same
// steps as range_avx2.h, which has the derivations; compress and expand replace its permutation tables.
#pragma once

#include <immintrin.h>

namespace fastcodec {
namespace FASTCODEC_ISA {
namespace {

inline __m512i load512(const void* p) { return _mm512_loadu_si512(p); }
inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline __m128i look_up4(const uint32_t* table, __m128i at) {
  const uint64_t a = static_cast<uint64_t>(_mm_cvtsi128_si64(at)), b = static_cast<uint64_t>(_mm_extract_epi64(at, 1));
  __m128i v = _mm_cvtsi32_si128(static_cast<int>(table[a & 0xffffffff]));
  v = _mm_insert_epi32(v, static_cast<int>(table[a >> 32]), 1);
  v = _mm_insert_epi32(v, static_cast<int>(table[b & 0xffffffff]), 2);
  return _mm_insert_epi32(v, static_cast<int>(table[b >> 32]), 3);
}
inline __m512i look_up(const uint32_t* table, __m512i at) {
  const __m128i a = look_up4(table, _mm512_castsi512_si128(at)), b = look_up4(table, _mm512_extracti32x4_epi32(at, 1));
  const __m128i c = look_up4(table, _mm512_extracti32x4_epi32(at, 2)), d = look_up4(table, _mm512_extracti32x4_epi32(at, 3));
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// A row of symbols as 32 bytes: saturated to int8, in order.
inline __m256i load_row(const uint8_t* p) { return load256(p); }
inline __m256i load_row(const int16_t* p) { return _mm512_cvtsepi16_epi8(load512(p)); }
inline __m256i load_row(const int32_t* p) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtsepi32_epi8(load512(p))), _mm512_cvtsepi32_epi8(load512(p + 16)), 1);
}
inline void store_row(uint8_t* p, __m256i row) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), row); }
inline void store_row(int16_t* p, __m256i row) { _mm512_storeu_si512(p, _mm512_cvtepi8_epi16(row)); }
inline void store_row(int32_t* p, __m256i row) {
  _mm512_storeu_si512(p, _mm512_cvtepi8_epi32(_mm256_castsi256_si128(row)));
  _mm512_storeu_si512(p + 16, _mm512_cvtepi8_epi32(_mm256_extracti128_si256(row, 1)));
}

template <class In>
bool encode_avx512(RangeEncode* job) {
  constexpr bool kBytes = sizeof(In) == 1;
  const In* symbols = static_cast<const In*>(job->symbols);
  const bool any_wide = !kBytes && job->wide_from < 256;
  const __m256i wide_from = _mm256_set1_epi8(static_cast<char>(job->wide_from));
  const __m512i mask15 = _mm512_set1_epi32(0x7fff);
  uint16_t* top = job->top;
  size_t n_escapes = job->n_escapes;
  __m512i x[2] = {load512(job->states), load512(job->states + 16)};

  for (size_t i = job->n_rows * kRangeLanes; i > 0;) {
    i -= kRangeLanes;
    __m256i row = load_row(symbols + i);
    __m512i at[2];
    if (kBytes) {
      at[0] = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(row));
      at[1] = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(row, 1));
    } else {
      const __m256i index = load256(job->index + i);
      if (any_wide && _mm256_cmpge_epu8_mask(index, wide_from)) {
        int8_t high[kRangeLanes];
        for (size_t k = 0; k < kRangeLanes; ++k) {
          high[k] = static_cast<int8_t>(clamp_symbol(symbols[i + k] >> job->shifts[job->index[i + k]]));
        }
        row = load256(high);
      }
      const __m512i both = _mm512_or_si512(_mm512_slli_epi16(_mm512_cvtepu8_epi16(index), 8), _mm512_cvtepu8_epi16(row));
      at[0] = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(both));
      at[1] = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(both, 1));
    }
    const __m512i entry[2] = {look_up(job->entries, at[0]), look_up(job->entries, at[1])};
    if (!kBytes) {
      const uint32_t flags = static_cast<uint32_t>(_mm512_movepi32_mask(entry[0])) | static_cast<uint32_t>(_mm512_movepi32_mask(entry[1])) << 16;
      if (__builtin_expect(flags != 0, 0)) {
        uint32_t e[kRangeLanes];
        _mm512_storeu_si512(e, entry[0]);
        _mm512_storeu_si512(e + 16, entry[1]);
        for (uint32_t left = flags; left;) {
          const int k = 31 - __builtin_clz(left);
          left ^= 1u << k;
          job->escapes[n_escapes++] = static_cast<uint32_t>(i + static_cast<size_t>(k));
          if (range_entry_freq(e[k]) == 0) {
            job->n_escapes = n_escapes;
            return false;
          }
        }
      }
    }
    for (int k = 1; k >= 0; --k) {
      const __m512i freq = _mm512_and_si512(entry[k], mask15);
      const __m512i start = _mm512_and_si512(_mm512_srli_epi32(entry[k], 15), mask15);
      const __mmask16 emit = _mm512_cmple_epi32_mask(freq, _mm512_srli_epi32(x[k], 31 - kRangeBits));
      const unsigned count = static_cast<unsigned>(__builtin_popcount(emit));
      top -= count;
      const __m256i words = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(emit, x[k]));
      _mm256_mask_storeu_epi16(top, static_cast<__mmask16>((1u << count) - 1), words);
      const __m512i y = _mm512_mask_srli_epi32(x[k], emit, x[k], 16);
      const __m512 estimate = _mm512_mul_ps(_mm512_div_ps(_mm512_cvtepi32_ps(y), _mm512_cvtepi32_ps(freq)), _mm512_set1_ps(1.0f + 0x1p-22f));
      const __m512i q = _mm512_cvttps_epi32(estimate);
      const __m512i r = _mm512_sub_epi32(y, _mm512_mullo_epi32(q, freq));
      // q * 4096 + r + start, and where q was one too many: (q - 1) * 4096 + r + freq + start
      const __mmask16 over = _mm512_movepi32_mask(r);
      const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(q, kRangeBits), r), start);
      x[k] = _mm512_mask_add_epi32(sum, over, sum, _mm512_sub_epi32(freq, _mm512_set1_epi32(kRangeSlots)));
    }
  }
  _mm512_storeu_si512(job->states, x[0]);
  _mm512_storeu_si512(job->states + 16, x[1]);
  job->top = top;
  job->n_escapes = n_escapes;
  return true;
}

template <bool kMirrored, class Out>
bool decode_avx512(RangeDecode* job) {
  constexpr bool kBytes = sizeof(Out) == 1;
  constexpr int kTableBits = kMirrored ? kRangeBits - 1 : kRangeBits;
  Out* symbols = static_cast<Out*>(job->symbols);
  const __m512i slot_mask = _mm512_set1_epi32((1 << kTableBits) - 1), mask12 = _mm512_set1_epi32(0xfff);
  const __m512i low = _mm512_set1_epi32(static_cast<int>(kRangeLow));
  const __m256i wide_from = _mm256_set1_epi8(static_cast<char>(job->wide_from));
  const uint32_t narrow = job->wide_from > 255 ? 0 : 0xffffffff;
  size_t n_marks = job->n_marks;
  __m512i x[2] = {load512(job->states), load512(job->states + 16)};
  const uint8_t* words = job->words;
  const uint8_t* end = words + 2 * job->n_words;
  uint8_t padded[4 * 2 * kRangeLanes] = {};
  bool in_padded = false;

  for (size_t i = 0; i < job->n_rows * kRangeLanes; i += kRangeLanes) {
    if (__builtin_expect(end - words < 2 * kRangeLanes, 0)) {
      if (words > end) return false;
      if (!in_padded) {
        const size_t left = static_cast<size_t>(end - words);
        memcpy(padded, words, left);
        job->words = end;
        words = padded;
        end = padded + left;
        in_padded = true;
      }
    }
    __m512i entry[2];
    __m512i upper[2];
    for (int k = 0; k < 2; ++k) {
      __m512i slot = x[k];
      if (kMirrored) {
        upper[k] = _mm512_srai_epi32(_mm512_slli_epi32(x[k], 32 - kRangeBits), 31);
        slot = _mm512_xor_si512(x[k], upper[k]);
      }
      slot = _mm512_and_si512(slot, slot_mask);
      if (!kBytes) {
        const __m512i table = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(job->index + i + 16 * static_cast<size_t>(k))));
        slot = _mm512_or_si512(slot, _mm512_slli_epi32(table, kTableBits));
      }
      entry[k] = look_up(job->lookup, slot);
    }
    for (int k = 0; k < 2; ++k) {
      const __m512i freq = _mm512_srli_epi32(entry[k], 20);
      __m512i offset = _mm512_and_si512(_mm512_srli_epi32(entry[k], 8), mask12);
      if (kMirrored) {
        offset = _mm512_add_epi32(_mm512_xor_si512(offset, upper[k]), _mm512_and_si512(freq, upper[k]));
        entry[k] = _mm512_sub_epi32(_mm512_xor_si512(entry[k], upper[k]), upper[k]);
      }
      const __m512i y = _mm512_add_epi32(_mm512_mullo_epi32(freq, _mm512_srli_epi32(x[k], kRangeBits)), offset);
      const __mmask16 need = _mm512_cmplt_epi32_mask(y, low);
      const __m512i word = _mm512_maskz_expand_epi32(need, _mm512_cvtepu16_epi32(load256(words)));
      words += 2 * __builtin_popcount(need);
      x[k] = _mm512_mask_or_epi32(y, need, _mm512_slli_epi32(y, 16), word);
    }
    const __m256i row = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8(entry[0])), _mm512_cvtepi32_epi8(entry[1]), 1);
    store_row(symbols + i, row);
    if (!kBytes) {
      const uint32_t wide = narrow & _mm256_cmpge_epu8_mask(load256(job->index + i), wide_from);
      uint32_t marked = wide | _mm256_cmpeq_epi8_mask(_mm256_abs_epi8(row), _mm256_set1_epi8(kRangeEscape));
      for (; marked; marked &= marked - 1) {
        job->marks[n_marks++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(marked));
      }
    }
  }
  if (words > end) return false;
  _mm512_storeu_si512(job->states, x[0]);
  _mm512_storeu_si512(job->states + 16, x[1]);
  job->n_words = static_cast<size_t>(end - words) / 2;
  job->words = in_padded ? job->words - 2 * job->n_words : words;
  job->n_marks = n_marks;
  return true;
}

}  // namespace
}  // namespace FASTCODEC_ISA
}  // namespace fastcodec
