// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// What the threads of a block can do together: barriers, shared memory, asynchronous copies, and the tensor-core products of
// a warp (sm_80 and later). Inline PTX under nvcc, the emulator otherwise.
#pragma once

#include "kernels/cuda/dev.h"

#if !defined(__CUDACC__)
#include <string.h>

#include <vector>

#include "kernels/cuda/emulate.h"
#endif

namespace fastcodec::dev {

#if defined(__CUDACC__)
FASTCODEC_BLOCK int thread() { return threadIdx.x; }
FASTCODEC_BLOCK int block_x() { return blockIdx.x; }
FASTCODEC_BLOCK int block_y() { return blockIdx.y; }
FASTCODEC_BLOCK int grid_x() { return gridDim.x; }
FASTCODEC_BLOCK uint8_t* shared() {
  extern __shared__ __align__(1024) uint8_t fastcodec_block_memory[];
  return fastcodec_block_memory;
}
FASTCODEC_BLOCK uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
FASTCODEC_BLOCK void sync_warp() { __syncwarp(); }
FASTCODEC_BLOCK void sync_block() { __syncthreads(); }
// The n threads that come to barrier 1..15.
FASTCODEC_BLOCK void sync_named(int barrier, int n) { asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(n) : "memory"); }
#else
inline int thread() { return emulate::thread(); }
inline int block_x() { return emulate::block_x(); }
inline int block_y() { return emulate::block_y(); }
inline int grid_x() { return emulate::grid_x(); }
inline uint8_t* shared() { return emulate::shared(); }
inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(static_cast<const uint8_t*>(p) - emulate::shared()); }
inline void sync_warp() { emulate::meet_warp("sync_warp", nullptr, nullptr); }
inline void sync_block() { emulate::meet_block("sync_block"); }
inline void sync_named(int barrier, int n) { emulate::meet_named("sync_named", barrier, n); }
#endif
FASTCODEC_BLOCK int lane() { return thread() & 31; }
FASTCODEC_BLOCK int warp() { return thread() >> 5; }

// 16 bytes from global to shared memory, both aligned; there after commit_copies and wait_copies.
FASTCODEC_BLOCK void copy_16(uint32_t to, const void* from) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
#else
  emulate::copy_later(emulate::shared_at(to, 16, 16), from);
#endif
}
FASTCODEC_BLOCK void commit_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulate::commit_copies();
#endif
}
// Until at most kLeft groups of this thread's copies are under way.
template <int kLeft>
FASTCODEC_BLOCK void wait_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#else
  emulate::finish_copies(kLeft);
#endif
}

#if !defined(__CUDACC__)
struct Matrices {
  uint32_t* r;
  uint32_t address;
};
#endif

// Four 8x8 matrices of 16-bit elements; row i of matrix m lies at the address of lane 8 m + i. Register m of lane l holds
// elements 2 (l % 4) and the next one of row l / 4.
FASTCODEC_BLOCK void load_matrices(uint32_t (&r)[4], uint32_t address) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  const Matrices mine{r, (emulate::shared_at(address, 16, 16), address)};
  emulate::meet_warp("load_matrices", &mine, [](const void* const* given) {
    for (int l = 0; l < 32; ++l) {
      for (int m = 0; m < 4; ++m) {
        const uint32_t row = static_cast<const Matrices*>(given[m * 8 + l / 4])->address;
        memcpy(&static_cast<const Matrices*>(given[l])->r[m], emulate::shared() + row + l % 4 * 4, 4);
      }
    }
  });
#endif
}
// The same with each matrix transposed: register m of lane l holds element l / 4 of rows 2 (l % 4) and the next one.
FASTCODEC_BLOCK void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
#else
  const Matrices mine{r, (emulate::shared_at(address, 16, 16), address)};
  emulate::meet_warp("load_matrices_transposed", &mine, [](const void* const* given) {
    for (int l = 0; l < 32; ++l) {
      for (int m = 0; m < 4; ++m) {
        uint16_t pair[2];
        for (int h = 0; h < 2; ++h) {
          memcpy(&pair[h], emulate::shared() + static_cast<const Matrices*>(given[m * 8 + l % 4 * 2 + h])->address + l / 4 * 2, 2);
        }
        static_cast<const Matrices*>(given[l])->r[m] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
      }
    }
  });
#endif
}
// The inverse of load_matrices_transposed (sm_90 and later).
FASTCODEC_BLOCK void store_matrices_transposed(uint32_t address, uint32_t (&r)[4]) {
#if defined(__CUDACC__)
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(r[0]), "r"(r[1]),
               "r"(r[2]), "r"(r[3])
               : "memory");
#endif
#else
  const Matrices mine{r, (emulate::shared_at(address, 16, 16), address)};
  emulate::meet_warp("store_matrices_transposed", &mine, [](const void* const* given) {
    for (int l = 0; l < 32; ++l) {
      for (int m = 0; m < 4; ++m) {
        for (int h = 0; h < 2; ++h) {
          const uint16_t half = static_cast<uint16_t>(static_cast<const Matrices*>(given[l])->r[m] >> 16 * h);
          memcpy(emulate::shared() + static_cast<const Matrices*>(given[m * 8 + l % 4 * 2 + h])->address + l / 4 * 2, &half, 2);
        }
      }
    }
  });
#endif
}

#if !defined(__CUDACC__)
struct Product {
  int32_t* d;
  const uint32_t* a;
  uint32_t b[2];
};
struct SparseProduct {
  int32_t* d;
  const uint32_t *a, *b;
  uint32_t chosen;
};
// Where value `n` of a row of a sparse A operand stands in k. `chosen` has two bits for each of 16 values of the row, in order.
inline int chosen_k(uint32_t chosen, int n) {
  const auto place = [&](int i) { return static_cast<int>(chosen >> i % 16 * 2 & 3); };
  if (place(n / 2 * 2) >= place(n / 2 * 2 + 1)) emulate::fail("multiply_sparse: the two of four are not in order");
  return n / 2 * 4 + place(n);
}
#endif

// d (16 x 8) += a (16 x 32, int8) * b (32 x 8, int8 if kSigned, else u8). In lane l = 4 g + t: d = rows g, g, g + 8, g + 8 of
// columns 2 t, 2 t + 1 in turn; a = k 4 t .. 4 t + 3 of rows g and g + 8, then the same of k + 16; b = k 4 t .. 4 t + 3 and
// k + 16 of column g.
template <bool kSigned>
FASTCODEC_BLOCK void multiply(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDACC__)
  if (kSigned) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#else
  const Product mine{d, a, {b0, b1}};
  emulate::meet_warp("multiply", &mine, [](const void* const* given) {
    int16_t rows[16][32], columns[8][32];
    for (int l = 0; l < 32; ++l) {
      const auto& from = *static_cast<const Product*>(given[l]);
      for (int i = 0; i < 16; ++i) {
        rows[l / 4 + i / 4 % 2 * 8][l % 4 * 4 + i % 4 + i / 8 * 16] = static_cast<int16_t>(byte_of<true>(from.a[i / 4], i % 4));
      }
      for (int i = 0; i < 8; ++i) {
        columns[l / 4][l % 4 * 4 + i % 4 + i / 4 * 16] = static_cast<int16_t>(byte_of<kSigned>(from.b[i / 4], i % 4));
      }
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        const int16_t* row = rows[l / 4 + i / 2 * 8];
        const int16_t* column = columns[l % 4 * 2 + i % 2];
        int32_t sum = 0;
        for (int k = 0; k < 32; ++k) sum += row[k] * column[k];
        static_cast<const Product*>(given[l])->d[i] += sum;
      }
    }
  });
#endif
}

// The same with 64 of k, of which `a` has two of each four: their values lie as 32 of k in `multiply`. `chosen` says where they
// stand, in two bits each: lane 4 g + t has those of row g + t % 2 * 8 for k from t / 2 * 32 on. b = k 4 t .. 4 t + 3 of each 16.
template <bool kSigned>
FASTCODEC_BLOCK void multiply_sparse(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t chosen, const uint32_t (&b)[4]) {
#if defined(__CUDACC__)
  if (kSigned) {
    asm volatile("mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, 0x0;"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(chosen));
  } else {
    asm volatile("mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, 0x0;"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(chosen));
  }
#else
  const SparseProduct mine{d, a, b, chosen};
  emulate::meet_warp("multiply_sparse", &mine, [](const void* const* given) {
    const auto of = [&](int l) -> const SparseProduct& { return *static_cast<const SparseProduct*>(given[l]); };
    int16_t rows[16][64] = {}, columns[8][64];
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 16; ++i) {
        const int row = l / 4 + i / 4 % 2 * 8, n = l % 4 * 4 + i % 4 + i / 8 * 16;
        const uint32_t where = of(row % 8 * 4 + n / 16 * 2 + row / 8).chosen;
        rows[row][chosen_k(where, n)] = static_cast<int16_t>(byte_of<true>(of(l).a[i / 4], i % 4));
        columns[l / 4][l % 4 * 4 + i % 4 + i / 4 * 16] = static_cast<int16_t>(byte_of<kSigned>(of(l).b[i / 4], i % 4));
      }
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        int32_t sum = 0;
        for (int k = 0; k < 64; ++k) sum += rows[l / 4 + i / 2 * 8][k] * columns[l % 4 * 2 + i % 2][k];
        of(l).d[i] += sum;
      }
    }
  });
#endif
}

}  // namespace fastcodec::dev
