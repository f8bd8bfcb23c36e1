// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Products of a warpgroup (128 threads) on sm_90a: int8 weights times u8 pixels that lie in shared memory. In code for another
// architecture they do nothing; nothing else may call them there.
//
// Operands in shared memory are K-major without swizzle: 8 rows of 16 bytes (16 of k) are contiguous; the other 16 of k lie
// `k_step` bytes further, the next 8 rows `row_step` bytes further. Any multiple of 16 may be the start.
#pragma once

#include "kernels/cuda/dev_block.h"

namespace fastcodec::dev {

FASTCODEC_DEV uint64_t operand(uint32_t address, uint32_t k_step, uint32_t row_step) {
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | static_cast<uint64_t>((k_step & 0x3FFFF) >> 4) << 16 |
         static_cast<uint64_t>((row_step & 0x3FFFF) >> 4) << 32;
}

// Lets products see what this thread has written to shared memory. Before the barrier in front of them.
FASTCODEC_BLOCK void publish_shared() {
#if defined(__CUDACC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// Before the first product that uses registers written otherwise.
FASTCODEC_BLOCK void begin_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
// Makes a group of the products since begin_products or the last group.
FASTCODEC_BLOCK void commit_products() {
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
#else
  emulate::meet_warpgroup("commit_products", nullptr, [](const void* const*) { emulate::commit_multiplications(); });
#endif
}
// Until at most kLeft groups are under way; while there are any, nothing may touch their registers.
template <int kLeft>
FASTCODEC_BLOCK void wait_products() {
#if defined(__CUDACC__)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
#endif
#else
  emulate::meet_warpgroup("wait_products", nullptr, [](const void* const*) { emulate::finish_multiplications(kLeft); });
#endif
}
// Waits for all committed products, which are in `d`.
template <int kCount>
FASTCODEC_BLOCK void finish_products(int32_t (&d)[kCount]) {
  wait_products<0>();
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  FASTCODEC_UNROLL
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(d[i])::"memory");
#else
  (void)d;
#endif
}

#if defined(__CUDACC__)

// "%10, %11, ... %19, " and the operands d[10] .. d[19]
#define FASTCODEC_NAMES_4(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3"
#define FASTCODEC_NAMES_6(t) FASTCODEC_NAMES_4(t) ", %" #t "4, %" #t "5"
#define FASTCODEC_NAMES_8(t) FASTCODEC_NAMES_4(t) ", %" #t "4, %" #t "5, %" #t "6, %" #t "7"
#define FASTCODEC_NAMES_10(t) FASTCODEC_NAMES_8(t) ", %" #t "8, %" #t "9"
#define FASTCODEC_NAMES_80                                                                                               \
  FASTCODEC_NAMES_10() ", " FASTCODEC_NAMES_10(1) ", " FASTCODEC_NAMES_10(2) ", " FASTCODEC_NAMES_10(3) ", "             \
  FASTCODEC_NAMES_10(4) ", " FASTCODEC_NAMES_10(5) ", " FASTCODEC_NAMES_10(6) ", " FASTCODEC_NAMES_10(7) ", "
#define FASTCODEC_NAMES_100 FASTCODEC_NAMES_80 FASTCODEC_NAMES_10(8) ", " FASTCODEC_NAMES_10(9) ", "
#define FASTCODEC_REGISTERS_4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define FASTCODEC_REGISTERS_8(i) FASTCODEC_REGISTERS_4(i), FASTCODEC_REGISTERS_4(i + 4)
#define FASTCODEC_REGISTERS_40(i)                                                                                     \
  FASTCODEC_REGISTERS_8(i), FASTCODEC_REGISTERS_8(i + 8), FASTCODEC_REGISTERS_8(i + 16), FASTCODEC_REGISTERS_8(i + 24), \
      FASTCODEC_REGISTERS_8(i + 32)
#define FASTCODEC_REGISTERS_88 FASTCODEC_REGISTERS_40(0), FASTCODEC_REGISTERS_40(40), FASTCODEC_REGISTERS_8(80)
#define FASTCODEC_REGISTERS_96 FASTCODEC_REGISTERS_88, FASTCODEC_REGISTERS_8(88)
#define FASTCODEC_REGISTERS_104 FASTCODEC_REGISTERS_96, FASTCODEC_REGISTERS_8(96)
#define FASTCODEC_REGISTERS_120 FASTCODEC_REGISTERS_40(0), FASTCODEC_REGISTERS_40(40), FASTCODEC_REGISTERS_40(80)
#define FASTCODEC_REGISTERS_128 FASTCODEC_REGISTERS_120, FASTCODEC_REGISTERS_8(120)
#define FASTCODEC_WGMMA_ANY(kind, shape, predicate, names, operands)                                          \
  "{\n\t.reg .pred p;\n\tsetp.ne.b32 p, " predicate ", 0;\n\twgmma.mma_async." kind "sync.aligned.m64n" shape \
  ".s32.s8.u8 {" names "}, " operands ", p;\n\t}"
#define FASTCODEC_WGMMA_TEXT(n, predicate, names, operands) FASTCODEC_WGMMA_ANY("", #n "k32", predicate, names, operands)
#define FASTCODEC_WGMMA_SPARSE(n, predicate, names, operands) FASTCODEC_WGMMA_ANY("sp.", #n "k64", predicate, names, operands)

// d (64 x kColumns) = or += a (64 x 32) * b (32 x kColumns); register 4 j + i of a thread is element i of `multiply` for columns
// 8 j .. 8 j + 7 and the 16 rows of its warp. Both operands in shared memory.
template <int kColumns>
FASTCODEC_BLOCK void multiply_shared(int32_t (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kColumns == 240 || kColumns == 256);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const int go_on = accumulate;
  if constexpr (kColumns == 240) {
    asm volatile(FASTCODEC_WGMMA_TEXT(240, "%122", FASTCODEC_NAMES_100 FASTCODEC_NAMES_10(10) ", " FASTCODEC_NAMES_10(11), "%120, %121")
                 : FASTCODEC_REGISTERS_120
                 : "l"(a), "l"(b), "r"(go_on));
  } else {
    asm volatile(FASTCODEC_WGMMA_TEXT(256, "%130",
                                 FASTCODEC_NAMES_100 FASTCODEC_NAMES_10(10) ", " FASTCODEC_NAMES_10(11) ", " FASTCODEC_NAMES_8(12),
                                 "%128, %129")
                 : FASTCODEC_REGISTERS_128
                 : "l"(a), "l"(b), "r"(go_on));
  }
#endif
}
// The same with 64 of k, of which `a` has two of each four: their values lie as 32 of k above. `chosen` says where they stand, as in
// `multiply_sparse` of each warp.
template <int kColumns>
FASTCODEC_BLOCK void multiply_sparse_shared(int32_t (&d)[kColumns / 2], uint64_t a, uint32_t chosen, uint64_t b, bool accumulate) {
  static_assert(kColumns == 240 || kColumns == 256);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const int go_on = accumulate;
  if constexpr (kColumns == 240) {
    asm volatile(FASTCODEC_WGMMA_SPARSE(240, "%123", FASTCODEC_NAMES_100 FASTCODEC_NAMES_10(10) ", " FASTCODEC_NAMES_10(11),
                                   "%120, %121, %122, 0")
                 : FASTCODEC_REGISTERS_120
                 : "l"(a), "l"(b), "r"(chosen), "r"(go_on));
  } else {
    asm volatile(FASTCODEC_WGMMA_SPARSE(256, "%131",
                                   FASTCODEC_NAMES_100 FASTCODEC_NAMES_10(10) ", " FASTCODEC_NAMES_10(11) ", " FASTCODEC_NAMES_8(12),
                                   "%128, %129, %130, 0")
                 : FASTCODEC_REGISTERS_128
                 : "l"(a), "l"(b), "r"(chosen), "r"(go_on));
  }
#endif
}
// The dense product with `a` in registers, as in `multiply`.
template <int kColumns>
FASTCODEC_BLOCK void multiply_registers(int32_t (&d)[kColumns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(kColumns == 176 || kColumns == 192 || kColumns == 208);
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  const int go_on = accumulate;
  if constexpr (kColumns == 176) {
    asm volatile(FASTCODEC_WGMMA_TEXT(176, "%93", FASTCODEC_NAMES_80 FASTCODEC_NAMES_8(8), "{%88, %89, %90, %91}, %92")
                 : FASTCODEC_REGISTERS_88
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(go_on));
  } else if constexpr (kColumns == 192) {
    asm volatile(FASTCODEC_WGMMA_TEXT(192, "%101", FASTCODEC_NAMES_80 FASTCODEC_NAMES_10(8) ", " FASTCODEC_NAMES_6(9),
                                 "{%96, %97, %98, %99}, %100")
                 : FASTCODEC_REGISTERS_96
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(go_on));
  } else {
    asm volatile(FASTCODEC_WGMMA_TEXT(208, "%109", FASTCODEC_NAMES_100 FASTCODEC_NAMES_4(10), "{%104, %105, %106, %107}, %108")
                 : FASTCODEC_REGISTERS_104
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(go_on));
  }
#endif
}

#else

// Row `row` of an operand in shared memory, kDepth of k.
template <int kDepth>
void load_operand(uint64_t operand, int row, uint8_t (&to)[kDepth]) {
  const auto field = [&](int at) { return static_cast<uint32_t>(operand >> at & 0x3FFF) << 4; };
  for (int h = 0; h < kDepth / 16; ++h) {
    memcpy(to + 16 * h, emulate::shared_at(field(0) + h * field(16) + row / 8 * field(32) + row % 8 * 16, 16, 16), 16);
  }
}

struct WarpgroupProduct {
  int32_t* d;
  uint32_t a[4];
};

// Adds a product to the work that runs at the wait. `rows` gives the A operand, kDepth of k.
template <int kColumns, int kDepth = 32, class Rows>
void multiply_when_waited(const void* const* given, Rows rows, uint64_t b, bool accumulate) {
  int32_t* d[128];
  for (int t = 0; t < 128; ++t) d[t] = static_cast<const WarpgroupProduct*>(given[t])->d;
  std::vector<int32_t*> registers(d, d + 128);
  emulate::multiply_later([=] {
    int16_t weight[64][kDepth], pixel[kColumns][kDepth];
    for (int r = 0; r < 64; ++r) rows(r, weight[r]);
    for (int r = 0; r < kColumns; ++r) {
      uint8_t bytes[kDepth];
      load_operand(b, r, bytes);
      for (int k = 0; k < kDepth; ++k) pixel[r][k] = bytes[k];
    }
    for (int t = 0; t < 128; ++t) {
      for (int i = 0; i < kColumns / 2; ++i) {
        const int16_t* w = weight[t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8];
        const int16_t* x = pixel[i / 4 * 8 + t % 4 * 2 + i % 2];
        int32_t sum = accumulate ? registers[t][i] : 0;
        for (int k = 0; k < kDepth; ++k) sum += w[k] * x[k];
        registers[t][i] = sum;
      }
    }
  });
}

// What all threads of the warpgroup pass alike.
struct SharedProduct {
  WarpgroupProduct own;
  uint64_t a, b;
  bool accumulate;
};

template <int kColumns>
void multiply_shared(int32_t (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
  const SharedProduct mine{{d, {}}, a, b, accumulate};
  emulate::meet_warpgroup("multiply_shared", &mine, [](const void* const* given) {
    const auto& all = *static_cast<const SharedProduct*>(given[0]);
    const uint64_t weights = all.a;
    multiply_when_waited<kColumns>(given, [=](int row, int16_t (&to)[32]) {
      uint8_t bytes[32];
      load_operand(weights, row, bytes);
      for (int k = 0; k < 32; ++k) to[k] = static_cast<int8_t>(bytes[k]);
    }, all.b, all.accumulate);
  });
}

template <int kColumns>
void multiply_sparse_shared(int32_t (&d)[kColumns / 2], uint64_t a, uint32_t chosen, uint64_t b, bool accumulate) {
  const SharedProduct mine{{d, {chosen}}, a, b, accumulate};
  emulate::meet_warpgroup("multiply_sparse_shared", &mine, [](const void* const* given) {
    const auto& all = *static_cast<const SharedProduct*>(given[0]);
    const uint64_t weights = all.a;
    std::vector<uint32_t> words;
    for (int t = 0; t < 128; ++t) words.push_back(static_cast<const SharedProduct*>(given[t])->own.a[0]);
    multiply_when_waited<kColumns, 64>(given, [=](int row, int16_t (&to)[64]) {
      uint8_t bytes[32];
      load_operand(weights, row, bytes);
      memset(to, 0, sizeof to);
      for (int n = 0; n < 32; ++n) {
        to[chosen_k(words[row / 16 * 32 + row % 8 * 4 + n / 16 * 2 + row % 16 / 8], n)] = static_cast<int8_t>(bytes[n]);
      }
    }, all.b, all.accumulate);
  });
}

template <int kColumns>
void multiply_registers(int32_t (&d)[kColumns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  const SharedProduct mine{{d, {a[0], a[1], a[2], a[3]}}, 0, b, accumulate};
  emulate::meet_warpgroup("multiply_registers", &mine, [](const void* const* given) {
    const auto& all = *static_cast<const SharedProduct*>(given[0]);
    std::vector<WarpgroupProduct> lanes;
    for (int t = 0; t < 128; ++t) lanes.push_back(static_cast<const SharedProduct*>(given[t])->own);
    multiply_when_waited<kColumns>(given, [lanes](int row, int16_t (&to)[32]) {
      for (int k = 0; k < 32; ++k) {
        const auto& lane = lanes[row / 16 * 32 + row % 8 * 4 + k % 16 / 4];
        to[k] = static_cast<int16_t>(byte_of<true>(lane.a[row % 16 / 8 + k / 16 * 2], k % 4));
      }
    }, all.b, all.accumulate);
  });
}

#endif

}  // namespace fastcodec::dev
