// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Kernel bodies of the range coder: one warp codes one chunk. They are templates over `Warp`, what a thread knows of its
// place: nvcc makes kernels of them (range.cu), any C++ compiler makes what the tests run (range_emulator.cpp).
//     lane(), ballot(bool) -> mask, shfl(value, from lane) -> value, sync(): as CUDA's *_sync functions with a full mask;
//     thread(), n_threads(), block(), n_blocks(), sync_block(), shared() -> the block's shared memory.
// Every lane of a warp must reach each call of the first group. Where the format is serial (the tail, escapes), all lanes
// walk through it together with the same values, and lane 0 writes.
#pragma once

#include "kernels/cuda/range_device.h"

#if defined(__CUDACC__)
#define FASTCODEC_WARP __device__ __forceinline__
#else
#define FASTCODEC_WARP inline
#endif

namespace fastcodec::cuda {

constexpr uint32_t kPayloadBytes = kRangeLanes * 15 / 8;
constexpr uint32_t kTailOnly = 2048;
constexpr uint32_t kCrcPolynomial = 0x82f63b78;  // CRC-32C, reflected

// Shared memory of a warp, of a block, and where a block's copy of the tables would be.
struct RangeWarpShared {
  uint32_t lanes[kRangeLanes];
};
struct RangeCrcTables {
  uint32_t byte[256];  // CRC register after one byte
  uint32_t power[32];  // x^(8 * 2^k) modulo the polynomial: factor for 2^k bytes of zeros
};

FASTCODEC_WARP uint32_t entry_freq(uint32_t entry) { return entry & 0x7fff; }  // as in kernels/range.h
FASTCODEC_WARP uint32_t entry_start(uint32_t entry) { return entry >> 15 & 0x7fff; }

template <class T>
FASTCODEC_WARP T range_min(T a, T b) { return a < b ? a : b; }
FASTCODEC_WARP uint32_t range_popcount(uint32_t v) {
#if defined(__CUDA_ARCH__)
  return __popc(v);
#else
  return static_cast<uint32_t>(__builtin_popcount(v));
#endif
}
FASTCODEC_WARP int range_lowest(uint32_t v) {  // v != 0
#if defined(__CUDA_ARCH__)
  return __ffs(v) - 1;
#else
  return __builtin_ctz(v);
#endif
}
FASTCODEC_WARP int range_bit_length(uint32_t v) {  // v != 0
#if defined(__CUDA_ARCH__)
  return 32 - __clz(v);
#else
  return 32 - __builtin_clz(v);
#endif
}
FASTCODEC_WARP float range_reciprocal(float v) {
#if defined(__CUDA_ARCH__)
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
#else
  return 1.0f / v;
#endif
}

// x / freq for x < freq << 19. The conversion, the reciprocal (one part in 2^23) and the product err by less than 2^-21 of
// the quotient together, so by less than a quarter: the estimate is the quotient, one more or one less.
FASTCODEC_WARP void range_divide(uint32_t x, uint32_t freq, uint32_t* quotient, uint32_t* remainder) {
  int32_t q = static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(x)) * range_reciprocal(static_cast<float>(freq)));
  int32_t r = static_cast<int32_t>(x) - q * static_cast<int32_t>(freq);
  if (r < 0) {
    r += static_cast<int32_t>(freq);
    --q;
  } else if (r >= static_cast<int32_t>(freq)) {
    r -= static_cast<int32_t>(freq);
    ++q;
  }
  *quotient = static_cast<uint32_t>(q);
  *remainder = static_cast<uint32_t>(r);
}

template <class Warp>
FASTCODEC_WARP uint32_t warp_sum(Warp& warp, uint32_t v) {
  for (int step = 16; step > 0; step /= 2) v += warp.shfl(v, warp.lane() ^ step);
  return v;
}
template <class Warp>
FASTCODEC_WARP uint32_t warp_sum_before(Warp& warp, uint32_t v) {  // of the lanes below
  uint32_t sum = v;
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t other = warp.shfl(sum, warp.lane() - step < 0 ? warp.lane() : warp.lane() - step);
    if (warp.lane() >= step) sum += other;
  }
  return sum - v;
}

// ---- CRC-32C by a warp ------------------------------------------------------------------------------------------------

FASTCODEC_WARP uint32_t crc_multiply(uint32_t a, uint32_t b) {  // of polynomials, bit 31 is x^0
  uint32_t product = 0;
  for (int k = 0; k < 32; ++k) {
    if (a & (0x80000000u >> k)) product ^= b;
    b = b >> 1 ^ (b & 1 ? kCrcPolynomial : 0);
  }
  return product;
}

// Each lane takes a run of bytes. The register is linear: that of A followed by B is (that of A) * x^(8 |B|) + (that of B
// from register 0), so the lanes' registers, moved past what follows them, add up.
template <class Warp>
FASTCODEC_WARP uint32_t warp_crc(Warp& warp, const RangeCrcTables& crc, const uint8_t* data, uint32_t n_bytes) {
  const uint32_t each = (n_bytes + 31) / 32;
  const uint32_t begin = range_min(n_bytes, warp.lane() * each), end = range_min(n_bytes, begin + each);
  uint32_t value = warp.lane() == 0 ? 0xffffffffu : 0;
  for (uint32_t i = begin; i < end; ++i) value = value >> 8 ^ crc.byte[(value ^ data[i]) & 255];
  for (uint32_t after = n_bytes - end, k = 0; after; after >>= 1, ++k) {
    if (after & 1) value = crc_multiply(crc.power[k], value);
  }
  for (int step = 16; step > 0; step /= 2) value ^= warp.shfl(value, warp.lane() ^ step);
  return ~value;
}

// Symbols of a job: int32 if wide, else int16.
struct RangeIn {
  const void* data;
  bool wide;
  FASTCODEC_WARP int32_t operator[](uint32_t i) const {
    return wide ? static_cast<const int32_t*>(data)[i] : static_cast<const int16_t*>(data)[i];
  }
};
struct RangeOut {
  void* data;
  bool wide;
  FASTCODEC_WARP int32_t operator[](uint32_t i) const {
    return wide ? static_cast<int32_t*>(data)[i] : static_cast<int16_t*>(data)[i];
  }
  FASTCODEC_WARP void set(uint32_t i, int32_t v) const {
    if (wide) static_cast<int32_t*>(data)[i] = v;
    else static_cast<int16_t*>(data)[i] = static_cast<int16_t>(v);
  }
  FASTCODEC_WARP bool fits(int64_t v) const { return v == (wide ? static_cast<int32_t>(v) : static_cast<int16_t>(v)); }
};

// ---- decoder ----------------------------------------------------------------------------------------------------------

// Bytes one after the other, the same for all lanes. Past the end: zeros, and `fault` says so.
struct RangeBytes {
  const uint8_t* data;
  uint32_t at, end;
  uint32_t fault;
  FASTCODEC_WARP uint32_t u8() {
    if (at >= end) {
      fault = kRangeShort;
      return 0;
    }
    return data[at++];
  }
};
// The side data: the payload, put together from the lanes, and after it the explicit part.
struct RangeSide {
  const RangeWarpShared* shared;
  const uint8_t* rest;
  uint32_t n_payload, n;  // bytes
  uint32_t at;
  uint32_t fault;
  FASTCODEC_WARP uint32_t peek(uint32_t i) const {
    if (i >= n_payload) return i < n ? rest[i - n_payload] : 0;
    const uint32_t lane = i * 8 / 15, bit = i * 8 % 15;
    const uint32_t next = lane + 1 < kRangeLanes ? shared->lanes[lane + 1] : 0;
    return (shared->lanes[lane] >> bit | next << (15 - bit)) & 255;
  }
  FASTCODEC_WARP uint32_t u8() {
    if (at >= n) fault = kRangeShort;
    return peek(at++);
  }
};
template <class Bytes>
FASTCODEC_WARP uint64_t range_varint(Bytes* in, int max_bits) {
  uint64_t v = 0;
  for (int shift = 0; shift < max_bits; shift += 7) {
    const uint32_t byte = in->u8();
    v |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) {
      if ((byte == 0 && shift > 0) || (max_bits < 63 && v >> 32)) in->fault = in->fault ? in->fault : kRangeNumber;
      return v;
    }
  }
  if (!in->fault) in->fault = kRangeNumber;
  return 0;
}

// One symbol from x; table: position and run tables, in shared or global memory.
struct RangeLookup {
  const uint8_t* positions;
  const uint32_t* runs;
  const uint32_t* first_run;
};
template <bool kMirrored>
FASTCODEC_WARP int range_take(uint32_t* x, const RangeLookup& lookup, uint32_t table) {
  uint32_t slot = *x & (kRangeSlots - 1);
  const bool upper = kMirrored && slot >= kRangeHalf;
  if (upper) slot = kRangeSlots - 1 - slot;
  const uint32_t run = lookup.runs[lookup.first_run[table] + lookup.positions[table * (kMirrored ? kRangeHalf : kRangeSlots) + slot]];
  const uint32_t freq = run >> 20;
  const int symbol = static_cast<int8_t>(run & 255);
  uint32_t offset = slot - (run >> 8 & 0xfff);
  if (upper) offset = freq - 1 - offset;
  *x = freq * (*x >> kRangeBits) + offset;
  return upper ? -symbol : symbol;
}

template <bool kMirrored, class Warp>
FASTCODEC_WARP uint32_t range_decode_chunk(Warp& warp, RangeWarpShared* shared, const RangeCrcTables& crc, const RangeLookup& lookup,
                                          const RangeDeviceTables& tables, const uint8_t* chunk, uint64_t chunk_bytes,
                                          const uint8_t* index, RangeOut out, uint32_t n) {
  const int lane = warp.lane();
  if (chunk_bytes < 4) return kRangeShort;
  if (chunk_bytes >> 31) return kRangeWords;
  const uint32_t n_bytes = static_cast<uint32_t>(chunk_bytes);
  RangeBytes in{chunk, 0, n_bytes, 0};
  uint32_t stored_crc = 0;
  for (int k = 0; k < 4; ++k) stored_crc |= in.u8() << (8 * k);
  if (stored_crc != warp_crc(warp, crc, chunk + 4, n_bytes - 4)) return kRangeCrc;

  const bool all_tail = n < kTailOnly;
  const uint32_t tail_rows = all_tail ? n / kRangeLanes : in.u8();
  const uint32_t n_tail = n % kRangeLanes + tail_rows * kRangeLanes;
  if (in.fault) return in.fault;
  if (n_tail > n) return kRangeTail;
  const uint64_t n_rest = range_varint(&in, 63);
  if (in.fault) return in.fault;
  const uint32_t n_rows = (n - n_tail) / kRangeLanes;

  uint32_t x = kRangeLow;
  if (n_rows > 0) {
    if (in.end - in.at < kRangeLanes / 2) return kRangeShort;
    const uint32_t length = 15 + (chunk[in.at + lane / 2] >> (lane % 2 * 4) & 15);
    in.at += kRangeLanes / 2;
    const uint32_t first_bit = warp_sum_before(warp, length);
    const uint32_t n_bits = warp.shfl(first_bit + length, 31);
    if (in.end - in.at < (n_bits + 7) / 8) return kRangeShort;
    uint64_t bits = 0;
    for (uint32_t k = 0; k < 5; ++k) {  // at most 30 bits from a place inside a byte
      const uint32_t at = first_bit / 8 + k;
      if (at < (n_bits + 7) / 8) bits |= static_cast<uint64_t>(chunk[in.at + at]) << (8 * k);
    }
    x = static_cast<uint32_t>(bits >> first_bit % 8) & ((1u << length) - 1);
    x |= 1u << length;
    if (n_bits % 8 && chunk[in.at + n_bits / 8] >> n_bits % 8) return kRangePadding;
    in.at += (n_bits + 7) / 8;
  }
  if (n_rest > in.end - in.at) return kRangeShort;
  const uint8_t* rest = chunk + in.at;
  in.at += static_cast<uint32_t>(n_rest);
  if (in.at % 2 && in.u8() != 0) return in.fault ? in.fault : kRangePadding;
  if (in.fault) return in.fault;

  // Rows. The next 64 words wait in two registers of each lane, and the next row's tables in one, so that no step waits
  // for memory: word k of the window is in lane k % 32.
  const uint16_t* words = reinterpret_cast<const uint16_t*>(chunk + in.at);
  const uint32_t n_words = (in.end - in.at) / 2;
  uint32_t n_low = 0, marked = 0, bad_index = 0;
  uint32_t at_word = 0;
  uint32_t window = static_cast<uint32_t>(lane) < n_words ? words[lane] : 0;
  uint32_t window_next = lane + 32u < n_words ? words[lane + 32] : 0;
  uint32_t next_table = n_rows > 0 ? index[lane] : 0;
  for (uint32_t row = 0; row < n_rows; ++row) {
    uint32_t table = next_table;
    if (row + 1 < n_rows) next_table = index[(row + 1) * kRangeLanes + lane];
    if (table >= static_cast<uint32_t>(tables.n_tables)) {
      bad_index = 1;
      table = 0;
    }
    const int symbol = range_take<kMirrored>(&x, lookup, table);
    const bool need = x < kRangeLow;
    const uint32_t mask = warp.ballot(need);
    const uint32_t from = at_word % 32 + range_popcount(mask & ((1u << lane) - 1));
    const uint32_t a = warp.shfl(window, from % 32), b = warp.shfl(window_next, from % 32);
    if (need) x = x << 16 | (from < 32 ? a : b);
    const uint32_t before = at_word / 32;
    at_word += range_popcount(mask);
    if (at_word > n_words) return kRangeWords;
    if (at_word / 32 != before) {
      window = window_next;
      const uint32_t at = (at_word / 32 + 1) * 32 + lane;
      window_next = at < n_words ? words[at] : 0;
    }
    out.set(row * kRangeLanes + lane, symbol);
    const bool is_wide = static_cast<int>(table) >= tables.wide_from;
    if (is_wide) n_low += tables.shifts[table];
    marked |= is_wide || symbol == kRangeEscape || symbol == -kRangeEscape;
  }
  if (warp.ballot(bad_index)) return kRangeIndex;
  if (at_word != n_words) return kRangeWords;
  if (warp.ballot(n_rows > 0 && x >= 2 * kRangeLow)) return kRangeLane;

  shared->lanes[lane] = x - kRangeLow;
  warp.sync();
  RangeSide side{shared, rest, n_rows > 0 ? kPayloadBytes : 0, (n_rows > 0 ? kPayloadBytes : 0) + static_cast<uint32_t>(n_rest), 0, 0};
  n_low = warp_sum(warp, n_low);
  if (n_tail > 0) {
    uint32_t y = 0;
    for (int k = 0; k < 4; ++k) y |= side.u8() << (8 * k);
    if (side.fault) return side.fault;
    if (y < kRangeLow || y >> 31) return kRangeTail;
    for (uint32_t i = n - n_tail; i < n; ++i) {
      const uint32_t table = index[i];
      if (table >= static_cast<uint32_t>(tables.n_tables)) return kRangeIndex;
      const int symbol = range_take<kMirrored>(&y, lookup, table);
      if (y < kRangeLow) {
        const uint32_t low_byte = side.u8();
        y = y << 16 | low_byte | side.u8() << 8;
        if (side.fault) return side.fault;
      }
      if (lane == 0) out.set(i, symbol);
      const bool is_wide = static_cast<int>(table) >= tables.wide_from;
      if (is_wide) n_low += tables.shifts[table];
      marked |= is_wide || symbol == kRangeEscape || symbol == -kRangeEscape;
    }
    if (y != kRangeLow) return kRangeTail;
  }
  warp.sync();  // lane 0's symbols are there for all

  const uint32_t low_begin = side.at, n_low_bytes = (n_low + 7) / 8;
  if (n_low_bytes > side.n - side.at) return kRangeShort;
  if (n_low % 8 && side.peek(low_begin + n_low / 8) >> n_low % 8) return kRangePadding;
  side.at += n_low_bytes;
  while (side.at < side.n_payload) {
    if (side.u8() != 0) return kRangePadding;
  }
  if (warp.ballot(marked)) {
    uint32_t low_at = 0;
    for (uint32_t group = 0; group < n; group += kRangeLanes) {
      const uint32_t i = group + lane;
      const int mine = i < n ? out[i] : 0;
      const uint32_t my_table = i < n ? index[i] : 0;
      const bool my_mark = i < n && (mine == kRangeEscape || mine == -kRangeEscape || static_cast<int>(my_table) >= tables.wide_from);
      for (uint32_t left = warp.ballot(my_mark); left; left &= left - 1) {
        const int from = range_lowest(left);
        const uint32_t table = warp.shfl(my_table, from);
        int64_t v = static_cast<int32_t>(warp.shfl(static_cast<uint32_t>(mine), from));
        if (v == kRangeEscape || v == -kRangeEscape) {
          const int64_t beyond = static_cast<int64_t>(range_varint(&side, 35));
          if (side.fault) return side.fault;
          v = v < 0 ? tables.low[table] - 1 - beyond : tables.high[table] + 1 + beyond;
        }
        const uint32_t shift = tables.shifts[table];
        uint32_t bits = 0;
        for (uint32_t k = 0; k < 3; ++k) bits |= side.peek(low_begin + low_at / 8 + k) << (8 * k);
        v = v * (int64_t{1} << shift) + (bits >> low_at % 8 & ((1u << shift) - 1));
        low_at += shift;
        if (!out.fits(v)) return kRangeSymbol;
        if (lane == from) out.set(i, static_cast<int32_t>(v));
      }
    }
  }
  return side.at == side.n ? kRangeOk : kRangeSide;
}

template <class Warp>
FASTCODEC_WARP void range_decode_body(Warp& warp, RangeWarpShared* shared, const RangeCrcTables& crc, const RangeLookup& lookup,
                                     const RangeDecodeGrid& job, uint32_t c) {
  const uint64_t first = static_cast<uint64_t>(c) * job.chunk_symbols;
  const uint32_t n = static_cast<uint32_t>(range_min<uint64_t>(job.chunk_symbols, job.n_symbols - first));
  const uint8_t* chunk = job.stream + job.chunk_at[c];
  const uint64_t n_bytes = job.chunk_at[c + 1] - job.chunk_at[c];
  const RangeOut out{static_cast<uint8_t*>(job.symbols) + first * (job.wide ? 4 : 2), job.wide};
  const uint8_t* index = job.index + first;
  uint32_t fault = job.tables.mirrored
                       ? range_decode_chunk<true>(warp, shared, crc, lookup, job.tables, chunk, n_bytes, index, out, n)
                       : range_decode_chunk<false>(warp, shared, crc, lookup, job.tables, chunk, n_bytes, index, out, n);
  if (fault != kRangeOk) {
    // As on the CPU, an index past the tables is told before any fault that it may have caused.
    bool past = false;
    for (uint32_t i = warp.lane(); i < n; i += kRangeLanes) past |= index[i] >= job.tables.n_tables;
    if (warp.ballot(past)) fault = kRangeIndex;
  }
  if (warp.lane() == 0) job.faults[c] = fault;
  warp.sync();  // the next chunk may use the shared memory
}

// ---- encoder ----------------------------------------------------------------------------------------------------------

FASTCODEC_WARP uint32_t range_entry(const uint32_t* entries, const RangeDeviceTables& tables, uint32_t table, int64_t symbol) {
  int64_t v = symbol >> tables.shifts[table];
  v = v < -kRangeEscape ? -kRangeEscape : v > kRangeEscape ? kRangeEscape : v;
  return entries[table << 8 | static_cast<uint8_t>(v)];
}
FASTCODEC_WARP uint32_t range_distance(const RangeDeviceTables& tables, uint32_t table, int64_t symbol) {
  const int64_t v = symbol >> tables.shifts[table];
  return static_cast<uint32_t>(v < tables.low[table] ? tables.low[table] - 1 - v : v - tables.high[table] - 1);
}
FASTCODEC_WARP uint32_t range_varint_size(uint32_t v) {
  uint32_t n = 1;
  for (; v > 127; v >>= 7) ++n;
  return n;
}
// Whether the word goes out, and the state after the symbol.
FASTCODEC_WARP bool range_put(uint32_t* x, uint32_t entry, uint32_t* word) {
  const uint32_t freq = entry_freq(entry);
  const bool emit = *x >> (31 - kRangeBits) >= freq;
  *word = *x & 0xffff;
  if (emit) *x >>= 16;
  uint32_t q, r;
  range_divide(*x, freq, &q, &r);
  *x = (q << kRangeBits) + r + entry_start(entry);
  return emit;
}

// Bits in order, the same for all lanes; whole bytes go to `sink(position, byte)`.
struct RangeBits {
  uint64_t held = 0;
  uint32_t n_held = 0, at = 0;
  template <class Sink>
  FASTCODEC_WARP void put(uint32_t v, uint32_t n_bits, const Sink& sink) {
    held |= static_cast<uint64_t>(v) << n_held;
    for (n_held += n_bits; n_held >= 8; n_held -= 8, held >>= 8) sink(at++, static_cast<uint8_t>(held));
  }
  template <class Sink>
  FASTCODEC_WARP void finish(const Sink& sink) {
    if (n_held > 0) sink(at++, static_cast<uint8_t>(held));
    n_held = 0;
  }
};

// The low bits of all symbols, in order, until `stop(bytes so far)`.
template <class Warp, class Sink, class Stop>
FASTCODEC_WARP void range_low_bits(Warp& warp, const RangeDeviceTables& tables, const RangeIn& symbols, const uint8_t* index, uint32_t n,
                                  const Sink& sink, const Stop& stop) {
  RangeBits bits;
  for (uint32_t group = 0; group < n && !stop(bits.at); group += kRangeLanes) {
    const uint32_t i = group + warp.lane();
    const uint32_t shift = i < n ? tables.shifts[index[i]] : 0;
    const uint32_t value = shift ? static_cast<uint32_t>(symbols[i]) & ((1u << shift) - 1) : 0;
    for (uint32_t left = warp.ballot(shift > 0); left; left &= left - 1) {
      const int from = range_lowest(left);
      const uint32_t v = warp.shfl(value, from), k = warp.shfl(shift, from);
      bits.put(v, k, sink);
    }
  }
  bits.finish(sink);
}

template <class Warp>
FASTCODEC_WARP void range_encode_chunk(Warp& warp, RangeWarpShared* shared, const uint32_t* entries, const RangeDeviceTables& tables,
                                      const RangeIn& symbols, const uint8_t* index, uint32_t n, uint32_t max_tail_rows, uint16_t* words_end,
                                      uint16_t* tail_end, RangeChunk* chunk) {
  const int lane = warp.lane();
  uint32_t fault = kRangeOk, fault_at = 0, n_low = 0, outside = 0, n_distances = 0;
  for (uint32_t i = lane; i < n; i += kRangeLanes) {
    const uint32_t table = index[i];
    if (table >= static_cast<uint32_t>(tables.n_tables)) fault = kRangeIndex;
    n_low += tables.shifts[table];
    outside |= symbols[i] != static_cast<int16_t>(symbols[i]);
  }
  n_low = warp_sum(warp, n_low);
  outside = warp.ballot(outside) ? 1 : 0;
  if (warp.ballot(fault != kRangeOk)) {
    if (lane == 0) chunk->fault = kRangeIndex;
    return;
  }

  // The tail, by one state.
  const uint32_t n_low_bytes = (n_low + 7) / 8;
  const bool all_tail = n < kTailOnly;
  const uint32_t enough = all_tail ? 0xffffffffu : kPayloadBytes - range_min(kPayloadBytes, n_low_bytes);
  const uint32_t stop = all_tail ? 0 : n - n % kRangeLanes - max_tail_rows * kRangeLanes;
  uint32_t y = kRangeLow, n_tail_words = 0, i = n;
  for (;; --i) {
    const uint32_t n_bytes = i == n ? 0 : 4 + 2 * n_tail_words;
    if (i == stop || (i % kRangeLanes == 0 && n_bytes >= enough)) break;
    const uint32_t table = index[i - 1];
    const int64_t symbol = symbols[i - 1];
    const uint32_t entry = range_entry(entries, tables, table, symbol);
    if (entry & kRangeEscapeFlag) {
      if (entry_freq(entry) == 0) {
        fault = kRangeNoSlot;
        fault_at = i - 1;
        break;
      }
      if (lane == 0) n_distances += range_varint_size(range_distance(tables, table, symbol));
    }
    uint32_t word;
    if (range_put(&y, entry, &word)) {
      ++n_tail_words;
      if (lane == 0) tail_end[-static_cast<int>(n_tail_words)] = static_cast<uint16_t>(word);
    }
  }
  const uint32_t n_rows = fault ? 0 : i / kRangeLanes, n_tail = n - i;
  warp.sync();

  uint32_t x = kRangeLow, n_words = 0;
  if (n_rows > 0) {
    // The payload, by bytes in shared memory: the tail, then low bits, then zeros. Each lane takes its 15 bits.
    uint8_t* payload = reinterpret_cast<uint8_t*>(shared->lanes);
    const uint32_t n_tail_bytes = n_tail > 0 ? 4 + 2 * n_tail_words : 0;
    for (uint32_t k = lane; k < 64; k += kRangeLanes) {
      uint32_t byte = 0;
      if (k < n_tail_bytes) byte = k < 4 ? y >> (8 * k) : tail_end[-static_cast<int>(n_tail_words) + static_cast<int>(k - 4) / 2] >> (k % 2 * 8);
      payload[k] = static_cast<uint8_t>(byte);
    }
    warp.sync();
    if (n_low > 0 && n_tail_bytes < kPayloadBytes) {
      range_low_bits(
          warp, tables, symbols, index, n,
          [&](uint32_t at, uint8_t byte) {
            if (lane == 0 && n_tail_bytes + at < kPayloadBytes) payload[n_tail_bytes + at] = byte;
          },
          [&](uint32_t at) { return n_tail_bytes + at >= kPayloadBytes; });
    }
    warp.sync();
    const uint32_t bit = 15 * lane;
    uint32_t three = 0;
    for (uint32_t k = 0; k < 3; ++k) three |= static_cast<uint32_t>(payload[bit / 8 + k]) << (8 * k);
    x = kRangeLow | (three >> bit % 8 & (kRangeLow - 1));
    warp.sync();

    for (uint32_t row = n_rows; row-- > 0;) {
      const uint32_t at = row * kRangeLanes + lane;
      const uint32_t table = index[at];
      const int64_t symbol = symbols[at];
      const uint32_t entry = range_entry(entries, tables, table, symbol);
      const bool none = entry_freq(entry) == 0;
      if (entry & kRangeEscapeFlag && !none) n_distances += range_varint_size(range_distance(tables, table, symbol));
      const uint32_t nones = warp.ballot(none);
      if (nones) {
        fault = kRangeNoSlot;
        fault_at = row * kRangeLanes + range_bit_length(nones) - 1;
        break;
      }
      uint32_t word;
      const bool emit = range_put(&x, entry, &word);
      const uint32_t mask = warp.ballot(emit);
      n_words += range_popcount(mask);
      if (emit) words_end[-static_cast<int>(n_words) + static_cast<int>(range_popcount(mask & ((1u << lane) - 1)))] = static_cast<uint16_t>(word);
    }
  }
  n_distances = warp_sum(warp, n_distances);
  const uint32_t n_state_bits = warp_sum(warp, n_rows > 0 ? range_bit_length(x) - 1 : 0);
  chunk->states[lane] = x;
  if (lane == 0) {
    chunk->n_tail = n_tail;
    chunk->n_tail_words = n_tail_words;
    chunk->tail_state = y;
    chunk->n_words = n_words;
    chunk->n_low_bits = n_low;
    chunk->n_state_bits = n_state_bits;
    chunk->n_distance_bytes = n_distances;
    chunk->fault = fault;
    chunk->fault_at = fault_at;
    chunk->outside = outside;
  }
}

template <class Warp>
FASTCODEC_WARP void range_encode_body(Warp& warp, RangeWarpShared* shared, const uint32_t* entries, const RangeEncodeGrid& job, uint32_t c) {
  const uint64_t first = static_cast<uint64_t>(c) * job.chunk_symbols;
  const uint32_t n = static_cast<uint32_t>(range_min<uint64_t>(job.chunk_symbols, job.n_symbols - first));
  const uint32_t by_size = n >> 13;
  const uint32_t max_tail_rows = by_size > 16 ? by_size : 16;
  uint16_t* words_end = job.words + first + n;
  uint16_t* tail_end = job.tail_words + static_cast<uint64_t>(c + 1) * kRangeTailWords;
  const RangeIn symbols{static_cast<const uint8_t*>(job.symbols) + first * (job.wide ? 4 : 2), job.wide};
  range_encode_chunk(warp, shared, entries, job.tables, symbols, job.index + first, n, max_tail_rows, words_end, tail_end,
                     job.chunks + c);
  warp.sync();
}

// Second pass: writes the chunk at its place.
template <class Warp>
FASTCODEC_WARP void range_pack_chunk(Warp& warp, const RangeCrcTables& crc, const uint32_t* entries, const RangeDeviceTables& tables,
                                    const RangeIn& symbols, const uint8_t* index, uint32_t n, const uint16_t* words_end,
                                    const uint16_t* tail_end, const RangeChunk& chunk, uint8_t* out) {
  const int lane = warp.lane();
  const uint32_t n_rows = (n - chunk.n_tail) / kRangeLanes;
  const uint32_t n_tail_bytes = chunk.n_tail > 0 ? 4 + 2 * chunk.n_tail_words : 0;
  const uint32_t n_inner = n_tail_bytes + (chunk.n_low_bits + 7) / 8;
  const uint32_t skip = n_rows > 0 ? range_min(n_inner, kPayloadBytes) : 0;
  const uint32_t n_rest = n_inner - skip + chunk.n_distance_bytes;
  uint32_t at = 4;
  auto put = [&](uint32_t byte) {
    if (lane == 0) out[at] = static_cast<uint8_t>(byte);
    ++at;
  };
  auto put_varint = [&](uint32_t v) {
    for (; v > 127; v >>= 7) put(v | 128);
    put(v);
  };
  if (n >= kTailOnly) put(chunk.n_tail / kRangeLanes);
  put_varint(n_rest);
  if (n_rows > 0) {
    const uint32_t x = chunk.states[lane];
    const uint32_t length = range_bit_length(x) - 1;
    const uint32_t above = warp.shfl(length, lane | 1);
    if (lane % 2 == 0) out[at + lane / 2] = static_cast<uint8_t>((length - 15) | (above - 15) << 4);
    at += kRangeLanes / 2;
    RangeBits bits;
    const uint32_t begin = at;
    auto sink = [&](uint32_t k, uint8_t byte) {
      if (lane == 0) out[begin + k] = byte;
    };
    for (int from = 0; from < kRangeLanes; ++from) {
      const uint32_t k = warp.shfl(length, from);
      bits.put(warp.shfl(x, from) ^ 1u << k, k, sink);
    }
    bits.finish(sink);
    at += bits.at;
  }
  for (uint32_t k = skip; k < n_tail_bytes; ++k) {
    put(k < 4 ? chunk.tail_state >> (8 * k) : tail_end[-static_cast<int>(chunk.n_tail_words) + static_cast<int>(k - 4) / 2] >> (k % 2 * 8));
  }
  if (chunk.n_low_bits > 0) {
    const uint32_t begin = at, hidden = skip > n_tail_bytes ? skip - n_tail_bytes : 0;
    range_low_bits(
        warp, tables, symbols, index, n,
        [&](uint32_t k, uint8_t byte) {
          if (lane == 0 && k >= hidden) out[begin + k - hidden] = byte;
        },
        [](uint32_t) { return false; });
    at += (chunk.n_low_bits + 7) / 8 - hidden;
  }
  if (chunk.n_distance_bytes > 0) {
    for (uint32_t group = 0; group < n; group += kRangeLanes) {
      const uint32_t i = group + lane;
      const bool escape = i < n && range_entry(entries, tables, index[i], symbols[i]) & kRangeEscapeFlag;
      const uint32_t distance = escape ? range_distance(tables, index[i], symbols[i]) : 0;
      for (uint32_t left = warp.ballot(escape); left; left &= left - 1) put_varint(warp.shfl(distance, range_lowest(left)));
    }
  }
  if (at % 2) put(0);
  for (uint32_t k = lane; k < chunk.n_words; k += kRangeLanes) {
    const uint32_t word = words_end[static_cast<int>(k) - static_cast<int>(chunk.n_words)];
    out[at + 2 * k] = static_cast<uint8_t>(word);
    out[at + 2 * k + 1] = static_cast<uint8_t>(word >> 8);
  }
  at += 2 * chunk.n_words;
  warp.sync();
  const uint32_t value = warp_crc(warp, crc, out + 4, at - 4);
  if (lane < 4) out[lane] = static_cast<uint8_t>(value >> (8 * lane));
}

template <class Warp>
FASTCODEC_WARP void range_pack_body(Warp& warp, const RangeCrcTables& crc, const RangeEncodeGrid& job, uint32_t c) {
  const uint64_t first = static_cast<uint64_t>(c) * job.chunk_symbols;
  const uint32_t n = static_cast<uint32_t>(range_min<uint64_t>(job.chunk_symbols, job.n_symbols - first));
  const uint16_t* words_end = job.words + first + n;
  const uint16_t* tail_end = job.tail_words + static_cast<uint64_t>(c + 1) * kRangeTailWords;
  uint8_t* out = job.stream + job.chunk_at[c];
  const RangeIn symbols{static_cast<const uint8_t*>(job.symbols) + first * (job.wide ? 4 : 2), job.wide};
  range_pack_chunk(warp, crc, job.tables.entries, job.tables, symbols, job.index + first, n, words_end, tail_end, job.chunks[c], out);
  warp.sync();
}

// ---- blocks -----------------------------------------------------------------------------------------------------------

// Shared memory of a block: the CRC tables, each warp's, and a copy of the tables where kShared.
inline size_t range_shared_bytes(uint32_t n_warps) { return sizeof(RangeCrcTables) + n_warps * sizeof(RangeWarpShared); }
inline size_t range_lookup_bytes(const RangeDeviceTables& t) {
  return 4 * (static_cast<size_t>(t.n_runs) + t.n_tables) + static_cast<size_t>(t.n_tables) * (t.mirrored ? kRangeHalf : kRangeSlots);
}
inline size_t range_entries_bytes(const RangeDeviceTables& t) { return static_cast<size_t>(t.n_tables) * 1024; }

template <class Warp>
FASTCODEC_WARP void range_copy_words(Warp& warp, uint32_t* to, const uint32_t* from, uint32_t n) {
  for (uint32_t i = warp.thread(); i < n; i += warp.n_threads()) to[i] = from[i];
}
template <class Warp>
FASTCODEC_WARP RangeCrcTables* range_make_crc(Warp& warp) {
  RangeCrcTables* crc = reinterpret_cast<RangeCrcTables*>(warp.shared());
  for (uint32_t k = warp.thread(); k < 256 + 32; k += warp.n_threads()) {
    if (k < 256) {
      uint32_t v = k;
      for (int bit = 0; bit < 8; ++bit) v = v >> 1 ^ (v & 1 ? kCrcPolynomial : 0);
      crc->byte[k] = v;
    } else {
      uint32_t power = 0x00800000u;  // x^8
      for (uint32_t step = 256; step < k; ++step) power = crc_multiply(power, power);
      crc->power[k - 256] = power;
    }
  }
  return crc;
}
template <class Warp>
FASTCODEC_WARP RangeWarpShared* range_warp_shared(Warp& warp) {
  return reinterpret_cast<RangeWarpShared*>(warp.shared() + sizeof(RangeCrcTables)) + warp.thread() / kRangeLanes;
}
template <class Warp>
FASTCODEC_WARP uint32_t* range_table_shared(Warp& warp) {
  return reinterpret_cast<uint32_t*>(warp.shared() + sizeof(RangeCrcTables) + warp.n_threads() / kRangeLanes * sizeof(RangeWarpShared));
}
template <class Warp, class Body>
FASTCODEC_WARP void range_each_chunk(Warp& warp, uint32_t n_chunks, const Body& body) {
  const uint32_t warps = warp.n_threads() / kRangeLanes;
  // Neighbouring chunks go to different blocks, so that a few chunks use all of the device.
  for (uint32_t c = warp.thread() / kRangeLanes * warp.n_blocks() + warp.block(); c < n_chunks; c += warps * warp.n_blocks()) body(c);
}

template <bool kShared, class Warp>
FASTCODEC_WARP void range_decode_block(Warp& warp, const RangeDecodeGrid& job) {
  const RangeCrcTables* crc = range_make_crc(warp);
  RangeLookup lookup{job.tables.positions, job.tables.runs, job.tables.first_run};
  if (kShared) {
    uint32_t* to = range_table_shared(warp);
    const uint32_t n_runs = job.tables.n_runs, n_tables = job.tables.n_tables;
    range_copy_words(warp, to, job.tables.runs, n_runs);
    range_copy_words(warp, to + n_runs, job.tables.first_run, n_tables);
    range_copy_words(warp, to + n_runs + n_tables, reinterpret_cast<const uint32_t*>(job.tables.positions),
                     n_tables * (job.tables.mirrored ? kRangeHalf : kRangeSlots) / 4);
    lookup = RangeLookup{reinterpret_cast<const uint8_t*>(to + n_runs + n_tables), to, to + n_runs};
  }
  warp.sync_block();
  RangeWarpShared* shared = range_warp_shared(warp);
  range_each_chunk(warp, job.n_chunks, [&](uint32_t c) { range_decode_body(warp, shared, *crc, lookup, job, c); });
}

template <bool kShared, class Warp>
FASTCODEC_WARP void range_encode_block(Warp& warp, const RangeEncodeGrid& job) {
  const uint32_t* entries = job.tables.entries;
  if (kShared) {
    range_copy_words(warp, range_table_shared(warp), job.tables.entries, job.tables.n_tables * 256);
    entries = range_table_shared(warp);
    warp.sync_block();
  }
  RangeWarpShared* shared = range_warp_shared(warp);
  range_each_chunk(warp, job.n_chunks, [&](uint32_t c) { range_encode_body(warp, shared, entries, job, c); });
}

template <class Warp>
FASTCODEC_WARP void range_pack_block(Warp& warp, const RangeEncodeGrid& job) {
  const RangeCrcTables* crc = range_make_crc(warp);
  warp.sync_block();
  range_each_chunk(warp, job.n_chunks, [&](uint32_t c) { range_pack_body(warp, *crc, job, c); });
}

}  // namespace fastcodec::cuda
