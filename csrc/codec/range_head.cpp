// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What stands before the chunks of a range coder stream, and which kernels code them.
#include <algorithm>
#include <string>

#include "codec/range_bits.h"
#include "codec/range_coder.h"
#include "common/crc32c.h"
#include "common/error.h"
#include "kernels/dispatch.h"

namespace fastcodec {

#if defined(FASTCODEC_BUILT_AMX)
namespace amx { extern const RangeKernels range_kernels; }
#endif
#if defined(FASTCODEC_BUILT_AVX512)
namespace avx512 { extern const RangeKernels range_kernels; }
#endif
#if defined(FASTCODEC_BUILT_AVXVNNI)
namespace avxvnni { extern const RangeKernels range_kernels; }
#endif
#if defined(FASTCODEC_BUILT_AVX2)
namespace avx2 { extern const RangeKernels range_kernels; }
#endif
namespace scalar { extern const RangeKernels range_kernels; }

const RangeKernels& range_kernels(const std::string& backend) {
  const std::string name = find_kernels(backend).name;
#if defined(FASTCODEC_BUILT_AMX)
  if (name == "amx") return amx::range_kernels;
#endif
#if defined(FASTCODEC_BUILT_AVX512)
  if (name == "avx512") return avx512::range_kernels;
#endif
#if defined(FASTCODEC_BUILT_AVXVNNI)
  if (name == "avxvnni") return avxvnni::range_kernels;
#endif
#if defined(FASTCODEC_BUILT_AVX2)
  if (name == "avx2") return avx2::range_kernels;
#endif
  return scalar::range_kernels;  // also for `reference`: the plain loops are both
}

namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kWide = 0x80;

uint32_t chunk_symbols_of(unsigned code) { return 1u << (14 + 2 * code); }

// Byte frequencies as tokens of 4 bits: 0 = absent; 1..12 = a frequency of so many bits, whose lower bits follow;
// 13 = 2..17 absent ones (4 bits follow); 14 = 18..273 (8 bits follow); 15 = all others are absent.
void write_byte_freqs(const std::array<uint16_t, 256>& freqs, std::vector<uint8_t>* out) {
  BitWriter bits;
  for (int s = 0; s < 256;) {
    const uint32_t freq = freqs[static_cast<size_t>(s)];
    if (freq > 0) {
      const int length = bit_length(freq);
      bits.put(static_cast<uint32_t>(length), 4);
      bits.put(freq ^ (1u << (length - 1)), length - 1);
      ++s;
      continue;
    }
    int run = 1;
    while (s + run < 256 && freqs[static_cast<size_t>(s + run)] == 0) ++run;
    s += run;
    if (s == 256) {
      bits.put(15, 4);
    } else if (run == 1) {
      bits.put(0, 4);
    } else if (run < 18) {
      bits.put(13, 4);
      bits.put(static_cast<uint32_t>(run - 2), 4);
    } else {
      bits.put(14, 4);
      bits.put(static_cast<uint32_t>(run - 18), 8);
    }
  }
  const std::vector<uint8_t> packed = bits.finish();
  out->insert(out->end(), packed.begin(), packed.end());
}

std::array<uint16_t, 256> read_byte_freqs(ByteReader* in) {
  std::array<uint16_t, 256> freqs{};
  uint32_t held = 0;
  int n_held = 0;
  auto get = [&](int n_bits) {
    for (; n_held < n_bits; n_held += 8) held |= static_cast<uint32_t>(in->u8()) << n_held;
    const uint32_t v = held & ((1u << n_bits) - 1);
    held >>= n_bits;
    n_held -= n_bits;
    return v;
  };
  for (size_t s = 0; s < 256;) {
    const uint32_t token = get(4);
    if (token == 15) break;
    if (token >= 1 && token <= 12) {
      freqs[s++] = static_cast<uint16_t>(1u << (token - 1) | get(static_cast<int>(token) - 1));
      continue;
    }
    const size_t run = token == 0 ? 1 : token == 13 ? 2 + get(4) : 18 + get(8);
    if (run > 256 - s) throw Error(ErrorCode::kFormat, "range coder stream: the byte table has more than 256 entries");
    s += run;
  }
  if (held != 0) throw Error(ErrorCode::kFormat, "range coder stream: padding bits of the byte table are not zero");
  uint32_t sum = 0;
  for (uint16_t f : freqs) sum += f;
  if (sum != kRangeSlots) {
    throw Error(ErrorCode::kFormat, "range coder stream: byte frequencies must sum to 4096, got " + std::to_string(sum));
  }
  return freqs;
}

}  // namespace

size_t RangeHead::chunk_size(size_t c) const {
  return static_cast<size_t>(std::min<uint64_t>(chunk_symbols, n_symbols - static_cast<uint64_t>(c) * chunk_symbols));
}

uint64_t range_max_size(uint64_t n_symbols, uint32_t chunk_symbols) {
  // A symbol: a word (2 bytes), an escape (at most 5), low bits (at most 15). A chunk: CRC 4, tail 1, lengths 5 + 5,
  // states 16 + 120, the tail's state 4, padding 2, the unused payload 0. The head: 2 + 10 + 400 for a byte table + 5.
  const uint64_t n_chunks = n_symbols / chunk_symbols + 1;
  return 512 + n_chunks * 192 + n_symbols * 9;
}

std::vector<uint8_t> range_write_head(const RangeHead& head, const std::vector<uint64_t>& chunk_sizes) {
  unsigned code = 0;
  while (chunk_symbols_of(code) != head.chunk_symbols) ++code;
  std::vector<uint8_t> out = {static_cast<uint8_t>(kVersion << 4 | static_cast<uint8_t>(head.kind)),
                              static_cast<uint8_t>(code | (head.wide ? kWide : 0))};
  put_varint(&out, head.n_symbols);
  if (head.kind == RangeKind::kSymbols) out.insert(out.end(), head.tables_id.begin(), head.tables_id.end());
  if (head.kind == RangeKind::kBytes) write_byte_freqs(head.byte_freqs, &out);
  for (uint64_t size : chunk_sizes) put_varint(&out, size / 2);
  if (out.size() % 2) out.push_back(0);
  const uint32_t crc = crc32c(out.data(), out.size(), 0);
  out.resize(out.size() + 4);
  put_u32(out.data() + out.size() - 4, crc);
  return out;
}

void range_check_chunk_symbols(uint32_t chunk_symbols) {
  if (chunk_symbols != 1u << 14 && chunk_symbols != 1u << 16 && chunk_symbols != 1u << 18) {
    throw Error(ErrorCode::kValue, "chunk must be 16384, 65536 or 262144, got " + std::to_string(chunk_symbols));
  }
}

void range_check_head(const RangeHead& head, uint64_t n_index, const RangeTables& tables, RangeType type) {
  if (head.kind != RangeKind::kSymbols) throw Error(ErrorCode::kFormat, "range coder stream holds bytes; use decode_bytes");
  if (head.tables_id != tables.id()) throw Error(ErrorCode::kFormat, "range coder stream was coded with other tables than these");
  if (head.n_symbols != n_index) {
    throw Error(ErrorCode::kFormat, "range coder stream has " + std::to_string(head.n_symbols) + " symbols, and the index " +
                                        std::to_string(n_index));
  }
  if (head.wide && type == RangeType::kInt16) {
    throw Error(ErrorCode::kValue, "dtype must be int32: the stream has symbols outside int16");
  }
}

RangeHead range_read_head(const uint8_t* stream, size_t n_bytes) { return range_read_head(stream, n_bytes, n_bytes); }

RangeHead range_read_head(const uint8_t* stream, size_t n_available, uint64_t n_bytes) {
  ByteReader in(stream, n_available, "range coder stream", ErrorCode::kTruncated);
  RangeHead head;
  const uint8_t first = in.u8(), second = in.u8();
  if (first >> 4 != kVersion || (first & 15) > 2) throw Error(ErrorCode::kFormat, "not a range coder stream of version 1");
  head.kind = static_cast<RangeKind>(first & 15);
  head.wide = second & kWide;
  if ((second & 0x7f) > 2 || (head.wide && head.kind != RangeKind::kSymbols)) {
    throw Error(ErrorCode::kFormat, "range coder stream: unknown flags");
  }
  head.chunk_symbols = chunk_symbols_of(second & 0x7f);
  head.n_symbols = in.varint();
  if (head.kind == RangeKind::kSymbols) std::copy_n(in.take(4), 4, head.tables_id.begin());
  if (head.kind == RangeKind::kBytes) head.byte_freqs = read_byte_freqs(&in);
  std::vector<uint64_t> sizes;
  if (head.kind == RangeKind::kStored) {
    sizes.push_back(head.n_symbols);
  } else {
    const uint64_t n_chunks = head.n_symbols / head.chunk_symbols + (head.n_symbols % head.chunk_symbols != 0);
    if (n_chunks > in.left()) {  // before anything of that size is allocated: each chunk has a byte or more here
      throw Error(ErrorCode::kTruncated, "range coder stream ends too early: expected " + std::to_string(n_chunks) + " chunks");
    }
    for (uint64_t c = 0; c < n_chunks; ++c) {
      const uint64_t half = in.varint();
      if (half == 0 || half > n_bytes) {
        throw Error(half ? ErrorCode::kTruncated : ErrorCode::kFormat, "range coder stream: chunk " + std::to_string(c) +
                                                                           " has " + std::to_string(half) + " words, the stream " +
                                                                           std::to_string(n_bytes) + " bytes");
      }
      sizes.push_back(2 * half);
    }
  }
  if (in.position() % 2 && in.u8() != 0) throw Error(ErrorCode::kFormat, "range coder stream: a padding byte is not zero");
  const size_t n_head = in.position();
  if (in.u32() != crc32c(stream, n_head, 0)) throw Error(ErrorCode::kChecksum, "range coder stream: CRC-32C of the head does not match");
  head.chunk_at.push_back(in.position());
  for (uint64_t size : sizes) {
    if (size > n_bytes - head.chunk_at.back()) {
      throw Error(ErrorCode::kTruncated, "range coder stream ends too early: expected at least " +
                                             std::to_string(head.chunk_at.back() + size) + " bytes, got " + std::to_string(n_bytes));
    }
    head.chunk_at.push_back(head.chunk_at.back() + size);
  }
  const uint64_t after = head.kind == RangeKind::kStored ? 4 : 0;  // the CRC of stored bytes
  const uint64_t left = n_bytes - head.chunk_at.back();
  if (left < after) throw Error(ErrorCode::kTruncated, "range coder stream ends too early: its CRC-32C is missing");
  if (left > after) throw Error(ErrorCode::kFormat, "range coder stream: " + std::to_string(left - after) + " bytes too many");
  return head;
}

}  // namespace fastcodec
