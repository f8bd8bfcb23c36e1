// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The most that the int8 products of one instruction set can do: a loop of nothing else.
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

int64_t peak_macs(int64_t rounds);  // dispatch.cpp declares it too

#if defined(FASTCODEC_SIMD_TILES)

int64_t peak_macs(int64_t rounds) {
  constexpr int64_t kTileMacs = 16 * 16 * 64;
  constexpr int kSteps = 64;
  tiles_begin();
  for (int64_t i = 0; i < rounds * kSteps; ++i) {
    tile_dot<0, 4, 6, false>();
    tile_dot<1, 4, 7, false>();
    tile_dot<2, 5, 6, false>();
    tile_dot<3, 5, 7, false>();
  }
  tiles_end();
  return rounds * kSteps * 4 * kTileMacs;
}

#else
namespace {

constexpr int kSteps = 64;
constexpr int kVectors = 2;
alignas(64) constexpr Weight kWeights[kSteps * kVectors * kLanes * kGroup] = {};
alignas(64) constexpr Act kActs[(kSteps + kPixels) * kGroup] = {};

// As the convolutions have it: so the compiler keeps all sums in registers.
inline void sum_once(const Act* in, int32_t* sums) {
  V acc[kPixels][kVectors];
  for (auto& pixel : acc) {
    for (V& v : pixel) v = zero();
  }
  accumulate<kPixels, kVectors>(acc, in, kGroup, kWeights, kSteps);
  for (auto& pixel : acc) {
    for (V& v : pixel) {
      store(sums, v);
      sums += kLanes;
    }
  }
}

}  // namespace

int64_t peak_macs(int64_t rounds) {
  alignas(64) int32_t sums[kPixels * kVectors * kLanes] = {};
  for (int64_t i = 0; i < rounds; ++i) {
    sum_once(kActs, sums);
    asm volatile("" : : "r"(sums) : "memory");  // somebody wants them
  }
  return rounds * kSteps * kPixels * kVectors * kLanes * kGroup;
}

#endif

}  // namespace fastcodec::FASTCODEC_ISA
