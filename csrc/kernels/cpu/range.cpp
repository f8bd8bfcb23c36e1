// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows of the range coder for one instruction set; kernels/range.h has the contract. The plain loops here are the meaning
// and the `scalar` backend; range_avx2.h and range_avx512.h do whole rows at once and write the same bytes.
#include "kernels/range.h"

#define FASTCODEC_TEXT_(x) #x
#define FASTCODEC_TEXT(x) FASTCODEC_TEXT_(x)

namespace fastcodec {
namespace FASTCODEC_ISA {
namespace {

inline int clamp_symbol(int v) { return v < -127 ? -127 : v > 127 ? 127 : v; }
inline uint32_t load_word(const uint8_t* p) { return p[0] | static_cast<uint32_t>(p[1]) << 8; }

template <class In>
[[maybe_unused]] bool encode_scalar(RangeEncode* job) {
  const In* symbols = static_cast<const In*>(job->symbols);
  for (size_t i = job->n_rows * kRangeLanes; i-- > 0;) {
    const uint32_t table = job->index ? job->index[i] : 0;
    const int symbol = sizeof(In) == 1 ? symbols[i] : clamp_symbol(symbols[i] >> job->shifts[table]);
    const uint32_t entry = job->entries[table << 8 | static_cast<uint8_t>(symbol)];
    if (entry & kRangeEscapeFlag) {
      job->escapes[job->n_escapes++] = static_cast<uint32_t>(i);
      if (range_entry_freq(entry) == 0) return false;
    }
    range_push(&job->states[i % kRangeLanes], entry, &job->top);
  }
  return true;
}

template <bool kMirrored, class Out>
[[maybe_unused]] bool decode_scalar(RangeDecode* job) {
  Out* symbols = static_cast<Out*>(job->symbols);
  for (size_t i = 0; i < job->n_rows * kRangeLanes; ++i) {
    const uint32_t table = job->index ? job->index[i] : 0;
    uint32_t* x = &job->states[i % kRangeLanes];
    const int symbol = range_pop<kMirrored>(x, job->lookup, table);
    if (*x < kRangeLow) {
      if (job->n_words == 0) return false;
      *x = *x << 16 | load_word(job->words);
      job->words += 2;
      --job->n_words;
    }
    symbols[i] = static_cast<Out>(symbol);
    if (job->index && (symbol == kRangeEscape || symbol == -kRangeEscape || static_cast<int>(table) >= job->wide_from)) {
      job->marks[job->n_marks++] = static_cast<uint32_t>(i);
    }
  }
  return true;
}

}  // namespace
}  // namespace FASTCODEC_ISA
}  // namespace fastcodec

#if defined(__AVX512F__)
#include "kernels/cpu/range_avx512.h"
#define FASTCODEC_ENCODE encode_avx512
#define FASTCODEC_DECODE decode_avx512
#elif defined(__AVX2__)
#include "kernels/cpu/range_avx2.h"
#define FASTCODEC_ENCODE encode_avx2
#define FASTCODEC_DECODE decode_avx2
#else
#define FASTCODEC_ENCODE encode_scalar
#define FASTCODEC_DECODE decode_scalar
#endif

namespace fastcodec {
namespace FASTCODEC_ISA {

extern const RangeKernels range_kernels;
const RangeKernels range_kernels = {
    FASTCODEC_TEXT(FASTCODEC_ISA),
    FASTCODEC_ENCODE<int16_t>,
    FASTCODEC_ENCODE<int32_t>,
    FASTCODEC_ENCODE<uint8_t>,
    FASTCODEC_DECODE<false, int16_t>,
    FASTCODEC_DECODE<false, int32_t>,
    FASTCODEC_DECODE<true, int16_t>,
    FASTCODEC_DECODE<true, int32_t>,
    FASTCODEC_DECODE<false, uint8_t>,
};

}  // namespace FASTCODEC_ISA
}  // namespace fastcodec
