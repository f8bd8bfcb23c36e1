// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: codes symbols made from the input with every backend, compares the bytes, and decodes them again.
#include <algorithm>
#include <cstring>

#include "fuzz_range.h"

using namespace fastcodec;

namespace {

template <class Symbol>
void symbols_round_trip(const uint8_t* data, size_t size, size_t n, const RangeTables& tables, RangeType type) {
  const std::unique_ptr<Symbol[]> symbols(new Symbol[n]);
  const std::unique_ptr<uint8_t[]> index(new uint8_t[n]);
  for (size_t i = 0; i < n; ++i) {
    const uint8_t a = data[i % size], b = data[(i * 7 + i / size) % size];
    index[i] = static_cast<uint8_t>(a % tables.size());
    // Mostly small ones; sometimes anything.
    uint32_t v = static_cast<uint32_t>(static_cast<int8_t>(b));
    if (b == 127) v = (static_cast<uint32_t>(a) << 24) ^ (static_cast<uint32_t>(i) * 2654435761u);
    symbols[i] = static_cast<Symbol>(b % 16 < 12 ? static_cast<int8_t>(b) / 16 : static_cast<int32_t>(v));
  }
  std::string first;
  for (const RangeKernels* kernels : fuzz::backends()) {
    const std::string got = fuzz::outcome([&] {
      const std::vector<uint8_t> stream = range_encode(symbols.get(), type, index.get(), n, tables, 1 << 14, *kernels, 1).bytes();
      fuzz::require(stream.size() <= range_max_size(n, 1 << 14), "stream is over its bound");
      return std::string(stream.begin(), stream.end());
    });
    fuzz::require(first.empty() || got == first, "backends write other bytes");
    first = got;
    if (got.rfind("error", 0) == 0) continue;
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[got.size()]);
    std::memcpy(exact.get(), got.data(), got.size());
    const RangeHead head = range_read_head(exact.get(), got.size());
    const std::unique_ptr<Symbol[]> back(new Symbol[n]);
    range_decode(exact.get(), head, index.get(), n, tables, back.get(), type, *kernels, 1);
    fuzz::require(std::equal(back.get(), back.get() + n, symbols.get()), "symbols do not come back");
  }
}

void bytes_round_trip(const uint8_t* data, size_t size, size_t n) {
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[n]);
  for (size_t i = 0; i < n; ++i) bytes[i] = data[(i + i / size) % size];
  std::string first;
  for (const RangeKernels* kernels : fuzz::backends()) {
    const std::vector<uint8_t> stream = range_encode_bytes(bytes.get(), n, 1 << 14, *kernels, 1).bytes();
    const std::string got(stream.begin(), stream.end());
    fuzz::require(first.empty() || got == first, "backends write other bytes");
    first = got;
    const RangeHead head = range_read_head(stream.data(), stream.size());
    const std::unique_ptr<uint8_t[]> back(new uint8_t[n]);
    range_decode_bytes(stream.data(), head, back.get(), *kernels, 1);
    fuzz::require(std::equal(back.get(), back.get() + n, bytes.get()), "bytes do not come back");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  // Number of symbols: up to 20,000, and mostly fewer, since large ones take long.
  const size_t n = static_cast<size_t>((data[1] | data[2] << 8) % 20000) >> (data[0] / 7 % 8);
  const int what = data[0] % 7;
  data += 3;
  size -= 3;
  if (what == 6) {
    bytes_round_trip(data, size, n);
  } else if (what % 2) {
    symbols_round_trip<int16_t>(data, size, n, fuzz::tables(what / 2), RangeType::kInt16);
  } else {
    symbols_round_trip<int32_t>(data, size, n, fuzz::tables(what / 2), RangeType::kInt32);
  }
  return 0;
}
