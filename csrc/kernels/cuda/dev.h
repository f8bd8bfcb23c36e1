// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The seam between kernel bodies and the compiler: bodies are plain functions that use nothing but C++ and fastcodec::dev, so
// nvcc makes kernels of them and any C++ compiler makes the emulator that the tests run. Here: what one thread can do alone.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define FASTCODEC_DEV __host__ __device__ __forceinline__  // bodies of one thread
#define FASTCODEC_BLOCK __device__ __forceinline__         // bodies that need the other threads of their block
#define FASTCODEC_UNROLL _Pragma("unroll")
#define FASTCODEC_NO_UNROLL _Pragma("unroll 1")  // where it would take too many registers
#else
#define FASTCODEC_DEV inline
#define FASTCODEC_BLOCK inline
#define FASTCODEC_UNROLL
#define FASTCODEC_NO_UNROLL
#endif

namespace fastcodec::dev {

// a * b >> 32 in 64 bits, arithmetic
FASTCODEC_DEV int32_t mul_shift_32(int32_t a, int32_t b) {
#if defined(__CUDA_ARCH__)
  return __mulhi(a, b);
#else
  return static_cast<int32_t>((static_cast<int64_t>(a) * b) >> 32);
#endif
}

// A value of which the compiler knows nothing, so that what depends on it is not kept in registers over a loop.
FASTCODEC_DEV int opaque(int v) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(v));
#endif
  return v;
}

FASTCODEC_DEV int32_t clamp(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

// The four values, clamped to a byte, in the order of memory.
template <bool kSigned>
FASTCODEC_DEV uint32_t pack_bytes(int32_t v0, int32_t v1, int32_t v2, int32_t v3) {
#if defined(__CUDA_ARCH__)
  uint32_t high, all;
  if (kSigned) {
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(high) : "r"(v3), "r"(v2));
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(all) : "r"(v1), "r"(v0), "r"(high));
  } else {
    asm("cvt.pack.sat.u8.s32.b32 %0, %1, %2, 0;" : "=r"(high) : "r"(v3), "r"(v2));
    asm("cvt.pack.sat.u8.s32.b32 %0, %1, %2, %3;" : "=r"(all) : "r"(v1), "r"(v0), "r"(high));
  }
  return all;
#else
  const int32_t low = kSigned ? -128 : 0, top = kSigned ? 127 : 255;
  const auto byte = [&](int32_t v) { return static_cast<uint32_t>(static_cast<uint8_t>(clamp(v, low, top))); };
  return byte(v0) | byte(v1) << 8 | byte(v2) << 16 | byte(v3) << 24;
#endif
}

// Two values, clamped to 16 bits, in the order of memory.
FASTCODEC_DEV uint32_t pack_shorts(int32_t v0, int32_t v1) {
#if defined(__CUDA_ARCH__)
  uint32_t all;
  asm("cvt.pack.sat.s16.s32 %0, %1, %2;" : "=r"(all) : "r"(v1), "r"(v0));
  return all;
#else
  const auto half = [](int32_t v) { return static_cast<uint32_t>(static_cast<uint16_t>(clamp(v, -32768, 32767))); };
  return half(v0) | half(v1) << 16;
#endif
}

// The low (even) or high (odd) bytes of the four 16-bit values in two words, in the order of memory.
template <bool kOdd>
FASTCODEC_DEV uint32_t every_other_byte(uint32_t low, uint32_t high) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(low, high, kOdd ? 0x7531 : 0x6420);
#else
  const auto bytes = [](uint32_t word) {
    const uint32_t w = kOdd ? word >> 8 : word;
    return (w & 0xFF) | (w >> 8 & 0xFF00);
  };
  return bytes(low) | bytes(high) << 16;
#endif
}

// Bytes of eight, those of `low` first; nibble i of kWhich says which is byte i of the result.
template <unsigned kWhich>
FASTCODEC_DEV uint32_t choose_bytes(uint32_t low, uint32_t high) {
#if defined(__CUDA_ARCH__)
  return __byte_perm(low, high, kWhich);
#else
  const uint64_t all = low | static_cast<uint64_t>(high) << 32;
  uint32_t chosen = 0;
  for (int i = 0; i < 4; ++i) chosen |= static_cast<uint32_t>(all >> (kWhich >> 4 * i & 7) * 8 & 0xFF) << 8 * i;
  return chosen;
#endif
}

// acc + the sum of four products of bytes, of x (signed or not) and w (signed).
template <bool kSigned>
FASTCODEC_DEV int32_t dot4(uint32_t x, uint32_t w, int32_t acc) {
#if defined(__CUDA_ARCH__)
  int32_t sum;
  if (kSigned) asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(w), "r"(acc));
  else asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(x), "r"(w), "r"(acc));
  return sum;
#else
  for (int i = 0; i < 4; ++i) {
    const int32_t a = kSigned ? static_cast<int8_t>(x >> 8 * i) : static_cast<uint8_t>(x >> 8 * i);
    acc += a * static_cast<int8_t>(w >> 8 * i);
  }
  return acc;
#endif
}

// Byte `i` of a word as a number.
template <bool kSigned>
FASTCODEC_DEV int32_t byte_of(uint32_t word, int i) {
#if defined(__CUDA_ARCH__)
  if (!kSigned) return __byte_perm(word, 0, 0x4440 + i);
#endif
  const uint8_t byte = static_cast<uint8_t>(word >> 8 * i);
  return kSigned ? static_cast<int8_t>(byte) : byte;
}

// 16-bit number `i` of a word.
FASTCODEC_DEV int32_t short_of(uint32_t word, int i) { return static_cast<int16_t>(word >> 16 * i); }

}  // namespace fastcodec::dev
