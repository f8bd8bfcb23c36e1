// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Streams of the range coder: head, directory, chunks. FORMAT.md, "Range coder stream", gives the bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "codec/range_tables.h"

namespace fastcodec {

enum class RangeKind : uint8_t { kSymbols = 0, kBytes = 1, kStored = 2 };
enum class RangeType { kInt16, kInt32 };

struct RangeHead {
  RangeKind kind = RangeKind::kSymbols;
  bool wide = false;                     // some symbol does not fit int16
  uint32_t chunk_symbols = 1u << 16;     // 2^14, 2^16 or 2^18
  uint64_t n_symbols = 0;
  std::array<uint8_t, 4> tables_id{};    // kSymbols
  std::array<uint16_t, 256> byte_freqs{};  // kBytes
  std::vector<uint64_t> chunk_at;        // start of each chunk in the stream, and one more entry: the end of the stream
  size_t n_chunks() const { return chunk_at.size() - 1; }
  size_t chunk_size(size_t c) const;     // symbols in chunk c
};

// Layout constants of a chunk.
constexpr size_t kRangeTailOnly = 2048;     // a chunk of fewer symbols is all tail
// Else the encoder puts up to so many rows into the tail.
constexpr size_t range_max_tail_rows(size_t n) { return std::max<size_t>(16, n >> 13); }
constexpr size_t kRangePayload = kRangeLanes * 15 / 8;  // bytes that the lanes' first states carry

// No stream of n symbols (of bytes: kind kBytes) is longer.
uint64_t range_max_size(uint64_t n_symbols, uint32_t chunk_symbols);

// Names of backends: "" picks FASTCODEC_BACKEND or the best. Throws kBackend.
const RangeKernels& range_kernels(const std::string& backend);

// A stream as it is made: the head and the chunks, which are copied only once, to where they shall be in the end.
struct RangeStream {
  std::vector<std::vector<uint8_t>> parts;
  size_t size() const;
  void copy_to(uint8_t* to) const;
  std::vector<uint8_t> bytes() const;
};

// symbols: n values of the given type, index: their tables. Throws kValue for an index past the tables, or a symbol that
// its table cannot code (one without escapes).
RangeStream range_encode(const void* symbols, RangeType type, const uint8_t* index, size_t n, const RangeTables& tables,
                         uint32_t chunk_symbols, const RangeKernels& kernels, int n_threads);
RangeStream range_encode_bytes(const uint8_t* bytes, size_t n, uint32_t chunk_symbols, const RangeKernels& kernels, int n_threads);

// Parses and checks everything before the chunks. Throws kFormat, kTruncated, kChecksum. The second one sees only the first
// n_available bytes of a stream of n_bytes: kTruncated may then mean that it needs more of them.
RangeHead range_read_head(const uint8_t* stream, size_t n_bytes);
RangeHead range_read_head(const uint8_t* stream, size_t n_available, uint64_t n_bytes);
// What range_decode asks of the head: throws kFormat or kValue as it does.
void range_check_head(const RangeHead& head, uint64_t n_index, const RangeTables& tables, RangeType type);
void range_check_chunk_symbols(uint32_t chunk_symbols);

// head: of this stream. `out` has head.n_symbols elements. Throws kFormat, kTruncated, kChecksum; kValue where index or type
// do not fit the stream's promise (an index past the tables; int16 asked for, and head.wide).
void range_decode(const uint8_t* stream, const RangeHead& head, const uint8_t* index, size_t n, const RangeTables& tables, void* out,
                  RangeType type, const RangeKernels& kernels, int n_threads);
void range_decode_bytes(const uint8_t* stream, const RangeHead& head, uint8_t* out, const RangeKernels& kernels, int n_threads);

// What stands before the chunks, given their sizes in bytes (even); head.chunk_at is not used.
std::vector<uint8_t> range_write_head(const RangeHead& head, const std::vector<uint64_t>& chunk_sizes);

// index[i] = how many of the rising thresholds (at most 255, each > 0) are <= keys[i]. A negative key counts as 0.
void range_scale_index(const int32_t* keys, size_t n, const int32_t* thresholds, int n_thresholds, uint8_t* index);

}  // namespace fastcodec
