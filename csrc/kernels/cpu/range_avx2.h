// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder's rows on AVX2: four vectors of eight lanes. Included by range.cpp only.
//
// Look-ups are scalar loads put together again: one load for each symbol is the floor either way, and on the AMD cores
// measured the gather instruction is slower than this (docs/range_coder.md).
#pragma once

#include <immintrin.h>

namespace fastcodec {
namespace FASTCODEC_ISA {
namespace {

struct LaneTables {
  // spread[m]: which word each of the 8 lanes takes when the lanes of mask m take consecutive ones (others: any).
  alignas(32) uint32_t spread[256][8];
  // collect[m]: byte shuffle that moves the 16-bit words of the lanes of m, in order, to the end of 16 bytes.
  alignas(16) uint8_t collect[256][16];
};
constexpr LaneTables make_lane_tables() {
  LaneTables t{};
  for (int m = 0; m < 256; ++m) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane) count += m >> lane & 1;
    for (int i = 0; i < 16; ++i) t.collect[m][i] = 0x80;
    int seen = 0;
    for (int lane = 0; lane < 8; ++lane) {
      t.spread[m][lane] = static_cast<uint32_t>(seen);
      if (!(m >> lane & 1)) continue;
      const int to = 8 - count + seen++;
      t.collect[m][2 * to] = static_cast<uint8_t>(2 * lane);
      t.collect[m][2 * to + 1] = static_cast<uint8_t>(2 * lane + 1);
    }
  }
  return t;
}
constexpr LaneTables kLaneTables = make_lane_tables();

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

inline __m256i look_up(const uint32_t* table, __m256i at) {
  const __m128i low = _mm256_castsi256_si128(at), high = _mm256_extracti128_si256(at, 1);
  const uint64_t a = static_cast<uint64_t>(_mm_cvtsi128_si64(low)), b = static_cast<uint64_t>(_mm_extract_epi64(low, 1));
  const uint64_t c = static_cast<uint64_t>(_mm_cvtsi128_si64(high)), d = static_cast<uint64_t>(_mm_extract_epi64(high, 1));
  auto value = [&](uint64_t i) { return static_cast<int>(table[i]); };
  __m128i x = _mm_cvtsi32_si128(value(a & 0xffffffff)), y = _mm_cvtsi32_si128(value(c & 0xffffffff));
  x = _mm_insert_epi32(x, value(a >> 32), 1);
  y = _mm_insert_epi32(y, value(c >> 32), 1);
  x = _mm_insert_epi32(x, value(b & 0xffffffff), 2);
  y = _mm_insert_epi32(y, value(d & 0xffffffff), 2);
  x = _mm_insert_epi32(x, value(b >> 32), 3);
  y = _mm_insert_epi32(y, value(d >> 32), 3);
  return _mm256_set_m128i(y, x);
}

// ---- a row of symbols as 32 bytes: saturated to int8, in order -------------------------------------------------------
inline __m256i load_row(const uint8_t* p) { return load256(p); }
inline __m256i load_row(const int16_t* p) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi16(load256(p), load256(p + 16)), 0xd8);
}
inline __m256i load_row(const int32_t* p) {
  const __m256i a = _mm256_packs_epi32(load256(p), load256(p + 8)), b = _mm256_packs_epi32(load256(p + 16), load256(p + 24));
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
inline void store_row(uint8_t* p, __m256i row) { store256(p, row); }
inline void store_row(int16_t* p, __m256i row) {
  store256(p, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(row)));
  store256(p + 16, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(row, 1)));
}
inline void store_row(int32_t* p, __m256i row) {
  const __m128i a = _mm256_castsi256_si128(row), b = _mm256_extracti128_si256(row, 1);
  store256(p, _mm256_cvtepi8_epi32(a));
  store256(p + 8, _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
  store256(p + 16, _mm256_cvtepi8_epi32(b));
  store256(p + 24, _mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)));
}
// Bit i: index[i] >= wide_from.
inline uint32_t wide_mask(__m256i index, __m256i wide_from) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(index, wide_from), index)));
}

// The exact quotient and remainder of x / freq, x < freq << 19, both positive int32, by float division:
// x as a float, the division and the product below each err by a factor within 1 +- 2^-24, and 3 such errors are less than
// the factor 1 + 2^-22. So the estimate is never below x / freq; being below 2^19 it exceeds it by less than
// 2^19 * 7 * 2^-24 < 1, so truncation gives the quotient or one more. In the second case the remainder is negative, and
// its sign mask (0 or -1) puts both right.
inline void divide(__m256i x, __m256i freq, __m256i* quotient, __m256i* remainder) {
  const __m256 estimate = _mm256_mul_ps(_mm256_div_ps(_mm256_cvtepi32_ps(x), _mm256_cvtepi32_ps(freq)),
                                        _mm256_set1_ps(1.0f + 0x1p-22f));
  const __m256i q = _mm256_cvttps_epi32(estimate);
  const __m256i r = _mm256_sub_epi32(x, _mm256_mullo_epi32(q, freq));
  const __m256i over = _mm256_srai_epi32(r, 31);
  *quotient = _mm256_add_epi32(q, over);
  *remainder = _mm256_add_epi32(r, _mm256_and_si256(freq, over));
}

template <class In>
bool encode_avx2(RangeEncode* job) {
  constexpr bool kBytes = sizeof(In) == 1;
  const In* symbols = static_cast<const In*>(job->symbols);
  const __m256i wide_from = _mm256_set1_epi8(static_cast<char>(job->wide_from));
  const bool any_wide = !kBytes && job->wide_from < 256;
  uint16_t* top = job->top;
  size_t n_escapes = job->n_escapes;
  __m256i x[4];
  for (int k = 0; k < 4; ++k) x[k] = load256(job->states + 8 * k);

  for (size_t i = job->n_rows * kRangeLanes; i > 0;) {
    i -= kRangeLanes;
    __m256i row = load_row(symbols + i);
    __m256i index = _mm256_setzero_si256();
    if (!kBytes) index = load256(job->index + i);
    if (any_wide && wide_mask(index, wide_from)) {
      int8_t high[kRangeLanes];
      for (size_t k = 0; k < kRangeLanes; ++k) {
        high[k] = static_cast<int8_t>(clamp_symbol(symbols[i + k] >> job->shifts[job->index[i + k]]));
      }
      row = load256(high);
    }

    // table << 8 | symbol for the 32 lanes, in order
    __m256i entry[4];
    const __m256i a = _mm256_unpacklo_epi8(row, index), b = _mm256_unpackhi_epi8(row, index);
    entry[0] = look_up(job->entries, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)));
    entry[1] = look_up(job->entries, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(b)));
    entry[2] = look_up(job->entries, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)));
    entry[3] = look_up(job->entries, _mm256_cvtepu16_epi32(_mm256_extracti128_si256(b, 1)));

    if (!kBytes) {
      const __m256i flags = _mm256_or_si256(_mm256_or_si256(entry[0], entry[1]), _mm256_or_si256(entry[2], entry[3]));
      if (__builtin_expect(_mm256_movemask_ps(_mm256_castsi256_ps(flags)), 0)) {
        uint32_t e[kRangeLanes];
        for (int k = 0; k < 4; ++k) store256(e + 8 * k, entry[k]);
        for (int k = kRangeLanes - 1; k >= 0; --k) {
          if (!(e[k] & kRangeEscapeFlag)) continue;
          job->escapes[n_escapes++] = static_cast<uint32_t>(i + static_cast<size_t>(k));
          if (range_entry_freq(e[k]) == 0) {
            job->n_escapes = n_escapes;
            return false;
          }
        }
      }
    }

    const __m256i mask15 = _mm256_set1_epi32(0x7fff);
    __m256i freq[4], start[4], out[4];
    int emit[4];
    for (int k = 0; k < 4; ++k) {
      freq[k] = _mm256_and_si256(entry[k], mask15);
      start[k] = _mm256_and_si256(_mm256_srli_epi32(entry[k], 15), mask15);
      const __m256i keep = _mm256_cmpgt_epi32(freq[k], _mm256_srli_epi32(x[k], 31 - kRangeBits));
      emit[k] = 255 ^ _mm256_movemask_ps(_mm256_castsi256_ps(keep));
      out[k] = _mm256_blend_epi16(x[k], _mm256_setzero_si256(), 0xaa);  // low 16 bits
      x[k] = _mm256_blendv_epi8(_mm256_srli_epi32(x[k], 16), x[k], keep);
    }
    // Downwards: lanes 31..0. Each store of 8 words ends at `top`; what it puts before the collected words is overwritten.
    for (int half = 1; half >= 0; --half) {
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(out[2 * half], out[2 * half + 1]), 0xd8);
      const int mask_high = emit[2 * half + 1], mask_low = emit[2 * half];
      _mm_storeu_si128(reinterpret_cast<__m128i*>(top - 8),
                       _mm_shuffle_epi8(_mm256_extracti128_si256(words, 1), load128(kLaneTables.collect[mask_high])));
      top -= __builtin_popcount(static_cast<unsigned>(mask_high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(top - 8),
                       _mm_shuffle_epi8(_mm256_castsi256_si128(words), load128(kLaneTables.collect[mask_low])));
      top -= __builtin_popcount(static_cast<unsigned>(mask_low));
    }
    for (int k = 0; k < 4; ++k) {
      __m256i q, r;
      divide(x[k], freq[k], &q, &r);
      x[k] = _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(q, kRangeBits), r), start[k]);
    }
  }
  for (int k = 0; k < 4; ++k) store256(job->states + 8 * k, x[k]);
  job->top = top;
  job->n_escapes = n_escapes;
  return true;
}

template <bool kMirrored, class Out>
bool decode_avx2(RangeDecode* job) {
  constexpr bool kBytes = sizeof(Out) == 1;
  constexpr int kTableBits = kMirrored ? kRangeBits - 1 : kRangeBits;
  Out* symbols = static_cast<Out*>(job->symbols);
  const __m256i slot_mask = _mm256_set1_epi32((1 << kTableBits) - 1), mask12 = _mm256_set1_epi32(0xfff);
  const __m256i low = _mm256_set1_epi32(static_cast<int>(kRangeLow)), mask8 = _mm256_set1_epi32(0xff);
  const __m256i wide_from = _mm256_set1_epi8(static_cast<char>(job->wide_from));
  const __m256i narrow = _mm256_set1_epi8(job->wide_from > 255 ? 0 : -1);
  size_t n_marks = job->n_marks;
  __m256i x[4];
  for (int k = 0; k < 4; ++k) x[k] = load256(job->states + 8 * k);

  // A row takes at most 32 words. When fewer are left, they go on in a buffer that is padded with zeros, and each row is
  // checked not to have gone past them.
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
    __m256i entry[4], upper[4];
    for (int k = 0; k < 4; ++k) {
      __m256i slot = x[k];
      if (kMirrored) {
        upper[k] = _mm256_srai_epi32(_mm256_slli_epi32(x[k], 32 - kRangeBits), 31);  // -1 in the upper half: xor mirrors
        slot = _mm256_xor_si256(x[k], upper[k]);
      }
      slot = _mm256_and_si256(slot, slot_mask);
      if (!kBytes) {
        const __m256i table = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(job->index + i + 8 * k)));
        slot = _mm256_or_si256(slot, _mm256_slli_epi32(table, kTableBits));
      }
      entry[k] = look_up(job->lookup, slot);
    }
    for (int k = 0; k < 4; ++k) {
      const __m256i freq = _mm256_srli_epi32(entry[k], 20);
      __m256i offset = _mm256_and_si256(_mm256_srli_epi32(entry[k], 8), mask12);
      if (kMirrored) {  // with m = -1: (offset ^ m) + (freq & m) = freq - 1 - offset, and (s ^ m) - m = -s
        offset = _mm256_add_epi32(_mm256_xor_si256(offset, upper[k]), _mm256_and_si256(freq, upper[k]));
        entry[k] = _mm256_sub_epi32(_mm256_xor_si256(entry[k], upper[k]), upper[k]);
      }
      x[k] = _mm256_add_epi32(_mm256_mullo_epi32(freq, _mm256_srli_epi32(x[k], kRangeBits)), offset);
    }
    for (int k = 0; k < 4; ++k) {
      const __m256i need = _mm256_cmpgt_epi32(low, x[k]);
      const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(need)));
      const __m256i word = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(load128(words)), load256(kLaneTables.spread[mask]));
      words += 2 * __builtin_popcount(mask);
      x[k] = _mm256_blendv_epi8(x[k], _mm256_or_si256(_mm256_slli_epi32(x[k], 16), word), need);
    }
    const __m256i ab = _mm256_packus_epi32(_mm256_and_si256(entry[0], mask8), _mm256_and_si256(entry[1], mask8));
    const __m256i cd = _mm256_packus_epi32(_mm256_and_si256(entry[2], mask8), _mm256_and_si256(entry[3], mask8));
    const __m256i row = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    store_row(symbols + i, row);
    if (!kBytes) {
      const __m256i index = load256(job->index + i);
      const __m256i is_wide = _mm256_and_si256(narrow, _mm256_cmpeq_epi8(_mm256_max_epu8(index, wide_from), index));
      const __m256i is_escape = _mm256_cmpeq_epi8(_mm256_abs_epi8(row), _mm256_set1_epi8(kRangeEscape));
      uint32_t marked = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_or_si256(is_wide, is_escape)));
      for (; marked; marked &= marked - 1) {
        job->marks[n_marks++] = static_cast<uint32_t>(i) + static_cast<uint32_t>(__builtin_ctz(marked));
      }
    }
  }
  if (words > end) return false;
  for (int k = 0; k < 4; ++k) store256(job->states + 8 * k, x[k]);
  job->n_words = static_cast<size_t>(end - words) / 2;
  job->words = in_padded ? job->words - 2 * job->n_words : words;
  job->n_marks = n_marks;
  return true;
}

}  // namespace
}  // namespace FASTCODEC_ISA
}  // namespace fastcodec
