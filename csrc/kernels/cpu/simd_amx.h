// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 with VNNI and, for conv_tiles.cpp, AMX: eight tile registers of 16 rows x 64 bytes. One instruction multiplies
// 16 x 64 bytes by 64 x 16 and adds the products to 16 x 16 int32, modulo 2^32, without saturation.
#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace fastcodec::FASTCODEC_ISA {
namespace {

#define FASTCODEC_SIMD_TILES 1

// All tiles at full size, until tiles_end(): the layout that LDTILECFG reads.
struct TileConfig {
  uint8_t palette, start_row, zero[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
alignas(64) constexpr TileConfig kFullTiles = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
static_assert(sizeof(TileConfig) == 64, "as the instruction reads it");

inline void tiles_begin() { asm volatile("ldtilecfg %0" : : "m"(kFullTiles)); }
inline void tiles_end() { asm volatile("tilerelease"); }

// In assembly because the intrinsics of GCC are macros that want the tile as a literal, and some lack "memory".
template <int tile>
inline void tile_load(const void* p, ptrdiff_t pitch) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(pitch), "i"(tile) : "memory");
}
template <int tile>
inline void tile_store(void* p, ptrdiff_t pitch) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(pitch), "i"(tile) : "memory");
}
// sum += x * w; lane 4 of row i of w holds the weights of output i for inputs 4 r .. 4 r + 3
template <int sum, int x, int w, bool x_signed>
inline void tile_dot() {
  if (x_signed) asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(x), "i"(w));
  else asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(x), "i"(w));
}

}  // namespace
}  // namespace fastcodec::FASTCODEC_ISA
