// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The most that the int8 products of one instruction set can do: a loop of nothing else.
#include "kernels/cpu/conv_block.h"

namespace fastcodec::FASTCODEC_ISA {

int64_t peak_macs(int64_t rounds);  // dispatch.cpp declares it too
int64_t peak_macs(int64_t rounds) {
#if defined(FASTCODEC_SIMD_TILES)
  constexpr int64_t kTileMacs = 16 * 16 * 64;
  tiles_begin();
  for (int64_t i = 0; i < rounds; ++i) {
    tile_dot<0, 4, 6, false>();
    tile_dot<1, 4, 7, false>();
    tile_dot<2, 5, 6, false>();
    tile_dot<3, 5, 7, false>();
  }
  tiles_end();
  return rounds * 4 * kTileMacs;
#else
  alignas(64) Weight weight[kLanes * kGroup] = {};
  alignas(64) Act act[kGroup] = {};
  alignas(64) static int32_t sink[kLanes];  // so that the sums are wanted; zeros, whoever writes them
  V acc[kPixels];
  for (V& v : acc) v = zero();
  const auto w = load_weights(weight);
  for (int64_t i = 0; i < rounds; ++i) {
    const Act* from = act;
    asm volatile("" : "+r"(from));  // unknown, so that the loop stays a loop
    const auto x = broadcast(from);
    for (V& v : acc) v = dot(v, x, w);
  }
  for (int p = 1; p < kPixels; ++p) acc[0] = add(acc[0], acc[p]);
  store(sink, acc[0]);
  return rounds * kPixels * kLanes * kGroup;
#endif
}

}  // namespace fastcodec::FASTCODEC_ISA
