// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs the blocks of a kernel on the CPU, for tests on machines without a GPU. Each thread of a block is a fiber that goes on
// until it must wait for others. Shared memory is poisoned and exactly as large as asked for; asynchronous work (cp.async,
// wgmma) takes effect as late as the program allows: at the wait; copies in some orders also at once. The order in which threads run is a parameter: a missing
// barrier shows as a result that depends on it. Threads that wait for each other for ever are reported.
//
// Not seen here: missing proxy fences, memory order between blocks, bank conflicts, speed.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>

namespace fastcodec::emulate {

// Greedy: one warp as far as it can go, then the next.
enum class Order { kForward, kBackward, kShuffled, kGreedy, kGreedyBackward };
constexpr int kOrders = 5;
constexpr int kWarp = 32, kWarpgroup = 128;

// Runs body() for each thread of each block of a grid_x x grid_y grid. n_threads is a multiple of 32. Throws std::logic_error
// where the body breaks a rule.
void launch(int grid_x, int grid_y, int n_threads, size_t n_shared_bytes, Order order, const std::function<void()>& body);

// ---- for the primitives, called by a thread of a running block ----
int thread();
int block_x();
int block_y();
int grid_x();
uint8_t* shared();
// The n bytes of shared memory at an address; reports one that is not all inside, or not a multiple of `alignment`.
uint8_t* shared_at(uint32_t address, size_t n, uint32_t alignment);

// Reports that the body breaks a rule.
[[noreturn]] void fail(const char* what);

// Waits until all threads of the group have come. Each leaves a pointer; the one that comes last passes them all to `act`.
using Act = void (*)(const void* const* given);
void meet_warp(const char* where, const void* mine, Act act);
void meet_warpgroup(const char* where, const void* mine, Act act);
void meet_block(const char* where);
// `n` threads at barrier 1..15.
void meet_named(const char* where, int barrier, int n);

// cp.async of this thread
void copy_later(uint8_t* to, const void* from);
void commit_copies();
void finish_copies(int n_left);

// wgmma of this thread's warpgroup: called by one thread of it
void multiply_later(std::function<void()> work);
void commit_multiplications();
void finish_multiplications(int n_left);

}  // namespace fastcodec::emulate
