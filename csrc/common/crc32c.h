// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastcodec {

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in iSCSI, RFC 3720). Start with seed 0; the result of one
// piece is the seed of the next. Uses the SSE4.2 instruction where the CPU has it; crc32c_table is the same by table.
uint32_t crc32c(const uint8_t* data, size_t n_bytes, uint32_t seed);
uint32_t crc32c_table(const uint8_t* data, size_t n_bytes, uint32_t seed);

}  // namespace fastcodec
