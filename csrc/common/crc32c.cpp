// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "common/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace fastcodec {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kTable = make_table();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(const uint8_t* data, size_t n_bytes, uint32_t seed) {
  uint64_t crc = ~seed;
  while (n_bytes >= 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    crc = _mm_crc32_u64(crc, word);
    data += 8;
    n_bytes -= 8;
  }
  uint32_t crc32 = static_cast<uint32_t>(crc);
  while (n_bytes-- > 0) crc32 = _mm_crc32_u8(crc32, *data++);
  return ~crc32;
}
#endif

}  // namespace

uint32_t crc32c_table(const uint8_t* data, size_t n_bytes, uint32_t seed) {
  uint32_t crc = ~seed;
  for (size_t i = 0; i < n_bytes; ++i) crc = (crc >> 8) ^ kTable[(crc ^ data[i]) & 0xFF];
  return ~crc;
}

uint32_t crc32c(const uint8_t* data, size_t n_bytes, uint32_t seed) {
#if defined(__x86_64__)
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2");
  if (has_sse42) return crc32c_sse42(data, n_bytes, seed);
#endif
  return crc32c_table(data, n_bytes, seed);
}

}  // namespace fastcodec
