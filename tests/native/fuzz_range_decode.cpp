// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: decodes any bytes. Input: options, size of the head without its CRC, stream. The checksums are made right
// first (unless an option says no), so that the damage goes past them. All backends must say the same.
#include <algorithm>
#include <cstring>

#include "codec/range_bits.h"
#include "common/crc32c.h"
#include "fuzz_range.h"

using namespace fastcodec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const int options = data[0];
  const size_t head_size = data[1];
  // Exactly as long as the stream, so that a read past its end is noticed.
  const size_t n_bytes = size - 2;
  const std::unique_ptr<uint8_t[]> stream(new uint8_t[n_bytes]);
  if (n_bytes > 0) std::memcpy(stream.get(), data + 2, n_bytes);
  const bool sign = !(options & 1);
  if (sign && head_size + 4 <= n_bytes) put_u32(stream.get() + head_size, crc32c(stream.get(), head_size, 0));

  RangeHead head;
  try {
    head = range_read_head(stream.get(), n_bytes);
  } catch (const Error&) {
    return 0;
  }
  constexpr uint64_t kMostSymbols = 1 << 18;  // a few bytes may promise more than a fuzzer should wait for
  if (head.n_symbols > kMostSymbols) return 0;
  const size_t n = static_cast<size_t>(head.n_symbols);
  if (sign && head.kind != RangeKind::kStored) {
    for (size_t c = 0; c < head.n_chunks(); ++c) {
      uint8_t* chunk = stream.get() + head.chunk_at[c];
      const size_t chunk_size = static_cast<size_t>(head.chunk_at[c + 1] - head.chunk_at[c]);
      if (chunk_size >= 4) put_u32(chunk, crc32c(chunk + 4, chunk_size - 4, 0));
    }
  }
  const RangeTables& tables = fuzz::tables((options >> 1) % 3);
  if (head.kind == RangeKind::kSymbols) head.tables_id = tables.id();
  std::vector<uint8_t> index(n);
  uint32_t state = options * 2654435761u + 1;
  for (uint8_t& t : index) t = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 16) % static_cast<uint8_t>(tables.size());

  std::string first;
  bool have_first = false;
  for (const RangeKernels* kernels : fuzz::backends()) {
    const std::string got = fuzz::outcome([&] {
      if (head.kind != RangeKind::kSymbols) {
        std::string out(n, '\0');
        range_decode_bytes(stream.get(), head, reinterpret_cast<uint8_t*>(out.data()), *kernels, 1);
        return out;
      }
      const bool wide = head.wide || options & 64;
      std::vector<uint8_t> out(n * (wide ? 4 : 2));
      range_decode(stream.get(), head, index.data(), n, tables, out.data(), wide ? RangeType::kInt32 : RangeType::kInt16, *kernels, 1);
      return std::string(out.begin(), out.end());
    });
    fuzz::require(!have_first || got == first, "backends differ");
    first = got;
    have_first = true;
  }
  return 0;
}
