// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The seam between kernel bodies and the compiler: bodies are plain functions marked FASTCODEC_DEV that use nothing but
// C++ and the functions below, so nvcc makes kernels of them and any C++ compiler makes the emulator that the tests run.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define FASTCODEC_DEV __host__ __device__ __forceinline__
#else
#define FASTCODEC_DEV inline
#endif

namespace fastcodec::dev {

// acc + the four products of the bytes of x (int8 if kSigned, else u8) and of w (int8)
template <bool kSigned>
FASTCODEC_DEV int32_t dot4(int32_t acc, uint32_t x, uint32_t w) {
#if defined(__CUDA_ARCH__)
  int32_t out;
  if (kSigned) asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(x), "r"(w), "r"(acc));
  else asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(x), "r"(w), "r"(acc));
  return out;
#else
  for (int i = 0; i < 4; ++i) {
    const uint8_t byte = static_cast<uint8_t>(x >> 8 * i);
    acc += (kSigned ? static_cast<int8_t>(byte) : byte) * static_cast<int8_t>(w >> 8 * i);
  }
  return acc;
#endif
}

// a * b >> 32 in 64 bits, arithmetic
FASTCODEC_DEV int32_t mul_shift_32(int32_t a, int32_t b) {
  return static_cast<int32_t>((static_cast<int64_t>(a) * b) >> 32);
}

FASTCODEC_DEV int32_t clamp(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

}  // namespace fastcodec::dev
