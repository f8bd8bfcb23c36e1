// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of the range coder: contract (RangeKernels) and meaning (range_push, range_pop). FORMAT.md, "Range
// coder stream", is the authority on the bytes.
//
// rANS in one paragraph. A table gives each symbol a run of the 4096 slots: `freq` slots from `start` on. A state x holds
// everything coded so far as one number. Pushing a symbol replaces x by
//     x' = (x / freq) * 4096 + x % freq + start,
// which is larger by the factor 4096 / freq, so by log2 of one over the symbol's probability. Popping reads the slot
// x' % 4096, which names the symbol, and gives back x = freq * (x' / 4096) + slot - start. The last symbol pushed is the
// first popped: the encoder runs backwards. States live in [2^15, 2^31): before a push that would leave it, the low 16
// bits go out as one word; after a pop that did leave it, one word comes in. One word is always enough, since a pop shrinks
// a state by at most 2^12 < 2^16, and 31 bits let SIMD code use signed compares and exact float conversions.
//
// 32 states ("lanes") are coded side by side: symbol i belongs to lane i % 32, and a row is 32 symbols. In a row the lanes
// that need a word take consecutive words in ascending order of lanes. A loop, a movemask with a permute, and a ballot with
// a popcount all do just that, so every backend reads and writes the same bytes.
//
// C headers only and internal linkage only: this is compiled once for each instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace fastcodec {

constexpr int kRangeBits = 12;                      // a table has 2^12 slots
constexpr uint32_t kRangeSlots = 1u << kRangeBits;
constexpr uint32_t kRangeLow = 1u << 15;            // states are in [kRangeLow, kRangeLow << 16)
constexpr int kRangeLanes = 32;
constexpr int kRangeEscape = 127;                   // decoded symbols of +-127 mean "escape"; real ones are in -126..126

// Encoder entry, one for each table and each 8-bit symbol: entries[table << 8 | (uint8_t)symbol]
//     bit 31: escape (the value is recorded elsewhere) | start << 15 | freq.   freq is 0 where nothing can be coded.
constexpr uint32_t kRangeEscapeFlag = 1u << 31;
static inline uint32_t range_entry_freq(uint32_t entry) { return entry & 0x7fff; }
static inline uint32_t range_entry_start(uint32_t entry) { return entry >> 15 & 0x7fff; }

// Decoder entry, one for each table and slot: freq << 20 | (slot - start) << 8 | (uint8_t)symbol, 0 < freq < 4096
//     plain:    lookup[table << 12 | slot]
//     mirrored: lookup[table << 11 | min(slot, 4095 - slot)], lower half only. Such a table has freq(-s) = freq(s), and
//     slots ordered by symbol, so slot 4095 - j holds minus the symbol of slot j, at offset freq - 1 - (offset at j).
//     Half the table is half the cache.
constexpr uint32_t kRangeHalf = kRangeSlots / 2;

// Adds a symbol to x. Words grow downwards from *top.
static inline void range_push(uint32_t* x, uint32_t entry, uint16_t** top) {
  const uint32_t freq = range_entry_freq(entry);
  if (*x >> (31 - kRangeBits) >= freq) {  // x' would be 2^31 or more
    *--*top = (uint16_t)*x;
    *x >>= 16;
  }
  *x = (*x / freq << kRangeBits) + *x % freq + range_entry_start(entry);
}

// Takes a symbol (-127..127, or a byte as int8) from x, without the word that x may need then.
template <bool kMirrored>
static inline int range_pop(uint32_t* x, const uint32_t* lookup, uint32_t table) {
  uint32_t slot = *x & (kRangeSlots - 1);
  const bool upper = kMirrored && slot >= kRangeHalf;
  if (upper) slot = kRangeSlots - 1 - slot;
  const uint32_t entry = lookup[(table << (kMirrored ? kRangeBits - 1 : kRangeBits)) | slot];
  const uint32_t freq = entry >> 20;
  const int symbol = (int8_t)(entry & 0xff);
  uint32_t offset = entry >> 8 & 0xfff;
  if (upper) offset = freq - 1 - offset;
  *x = freq * (*x >> kRangeBits) + offset;
  return upper ? -symbol : symbol;
}

// One run of whole rows. The caller owns all memory; index and symbols have n_rows * 32 elements, unaligned.
struct RangeEncode {
  const uint32_t* entries;
  const uint8_t* index;     // table of each symbol; null: table 0 for all, no escapes (bytes)
  const void* symbols;      // the function says of which type
  size_t n_rows;
  const uint8_t* shifts;    // [256] low bits of each table's symbols that are coded elsewhere: the rest is symbol >> shift
  int wide_from;            // tables from this one on have shift > 0; 256: none
  uint32_t* states;         // [32], in and out
  uint16_t* top;            // in: end of the room for words, at least n_rows * 32 + 32; out: the first word
  uint32_t* escapes;        // out: positions of escaped symbols, falling; room for n_rows * 32
  size_t n_escapes;         // out
};
struct RangeDecode {
  const uint32_t* lookup;
  const uint8_t* index;     // as above
  void* symbols;            // out
  size_t n_rows;
  int wide_from;            // as above
  uint32_t* states;         // [32], in and out
  const uint8_t* words;     // in: little-endian words, unaligned; out: the first one not used
  size_t n_words;           // in: words there are; out: words left
  uint32_t* marks;          // out: positions, rising, of symbols +-127 and of tables from wide_from on; room for all
  size_t n_marks;           // out
};

struct RangeKernels {
  const char* name;
  // False: a symbol that its table cannot code (entry with freq 0); its position is then escapes[n_escapes - 1].
  bool (*encode_i16)(RangeEncode*);
  bool (*encode_i32)(RangeEncode*);
  bool (*encode_u8)(RangeEncode*);  // index is null
  // False: the words do not suffice. Nothing past words[2 * n_words] is read.
  bool (*decode_i16)(RangeDecode*);
  bool (*decode_i32)(RangeDecode*);
  bool (*decode_i16_mirrored)(RangeDecode*);
  bool (*decode_i32_mirrored)(RangeDecode*);
  bool (*decode_u8)(RangeDecode*);  // index is null, lookup is one plain table
};

}  // namespace fastcodec
