// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs the range coder's kernel bodies on the CPU, for tests on machines without a GPU. Each thread of a block is a fiber
// that goes on until it must wait for others (ballot, shfl, sync); in which order they go on is a parameter, so a missing
// sync shows as a result that depends on it. Threads that wait for each other for ever are an error. Shared memory is
// poisoned and exactly as large as asked for.
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <vector>

#include "common/error.h"
#include "kernels/cuda/range_bodies.h"

namespace fastcodec::cuda {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr uint32_t kThreads = 96, kBlocks = 2;

thread_local int order_of_this_thread = 0;

// Threads that meet. Results are kept twice: a thread may be one meeting ahead of another, never two.
struct Group {
  uint32_t want = 0, have = 0;
  uint64_t generation = 0;
  uint32_t given[kThreads];
  uint32_t result[2][kThreads];
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  Group* waits_for = nullptr;
  uint64_t generation = 0;
};

struct Block {
  uint32_t index = 0;
  std::vector<Fiber> fibers{kThreads};
  std::vector<Group> warps{kThreads / kRangeLanes};
  Group all;
  std::unique_ptr<uint8_t[]> shared;
  ucontext_t main;
  uint32_t current = 0;
  std::function<void(uint32_t)> body;

  // Waits for all of the group; gives back what they gave.
  const uint32_t* meet(Group& group, uint32_t place, uint32_t value) {
    group.given[place] = value;
    const uint64_t generation = group.generation;
    if (++group.have == group.want) {
      std::copy_n(group.given, group.want, group.result[generation % 2]);
      group.have = 0;
      ++group.generation;
    } else {
      Fiber& fiber = fibers[current];
      fiber.waits_for = &group;
      fiber.generation = generation;
      const uint32_t self = current;
      swapcontext(&fiber.context, &main);
      current = self;
      fiber.waits_for = nullptr;
    }
    return group.result[generation % 2];
  }
};

thread_local Block* running = nullptr;

void enter() {
  Block& block = *running;
  const uint32_t self = block.current;
  block.body(self);
  block.fibers[self].done = true;
  swapcontext(&block.fibers[self].context, &block.main);
}

class EmulatedWarp {
 public:
  EmulatedWarp(Block* block, uint32_t thread) : block_(block), thread_(thread) {}
  int lane() const { return static_cast<int>(thread_ % kRangeLanes); }
  uint32_t ballot(bool v) {
    const uint32_t* all = meet(v);
    uint32_t mask = 0;
    for (int i = 0; i < kRangeLanes; ++i) mask |= all[i] << i;
    return mask;
  }
  uint32_t shfl(uint32_t v, int from) { return meet(v)[from & 31]; }
  void sync() { meet(0); }
  uint32_t thread() const { return thread_; }
  uint32_t n_threads() const { return kThreads; }
  uint32_t block() const { return block_->index; }
  uint32_t n_blocks() const { return kBlocks; }
  void sync_block() { block_->meet(block_->all, thread_, 0); }
  uint8_t* shared() { return block_->shared.get(); }

 private:
  const uint32_t* meet(uint32_t v) { return block_->meet(block_->warps[thread_ / kRangeLanes], thread_ % kRangeLanes, v); }
  Block* block_;
  uint32_t thread_;
};

void run_block(Block& block, int order) {
  std::vector<uint32_t> sequence(kThreads);
  for (uint32_t i = 0; i < kThreads; ++i) sequence[i] = order == 1 ? kThreads - 1 - i : i;
  std::mt19937 random(block.index + 1);
  size_t left = kThreads;
  while (left > 0) {
    if (order == 2) std::shuffle(sequence.begin(), sequence.end(), random);
    bool moved = false;
    for (size_t k = 0; k < sequence.size(); ++k) {
      if (order == 3 && moved && k % kRangeLanes == 0) break;  // the first warp that can go on does, as far as it can
      Fiber& fiber = block.fibers[sequence[k]];
      if (fiber.done || (fiber.waits_for && fiber.waits_for->generation == fiber.generation)) continue;
      block.current = sequence[k];
      swapcontext(&block.main, &fiber.context);
      moved = true;
      left -= fiber.done;
    }
    if (!moved) throw Error(ErrorCode::kBackend, "emulator: threads wait for each other for ever");
  }
}

template <class Body>
void launch(size_t n_shared, const Body& body) {
  for (uint32_t b = kBlocks; b-- > 0;) {
    Block block;
    block.index = b;
    block.all.want = kThreads;
    for (Group& warp : block.warps) warp.want = kRangeLanes;
    block.shared.reset(new uint8_t[n_shared]);
    std::memset(block.shared.get(), 0xa5, n_shared);
    block.body = [&](uint32_t thread) {
      EmulatedWarp warp(&block, thread);
      body(warp);
    };
    for (Fiber& fiber : block.fibers) {
      fiber.stack.reset(new char[kStackBytes]);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, enter, 0);
    }
    running = &block;
    run_block(block, order_of_this_thread);
    running = nullptr;
  }
}

// Orders 0 and 2 have the tables in shared memory, the others in global memory: both kinds are run.
bool tables_in_shared() { return order_of_this_thread % 2 == 0; }

void decode(const RangeDecodeGrid& job, void*) {
  const size_t fixed = range_shared_bytes(kThreads / kRangeLanes);
  if (tables_in_shared()) {
    launch(fixed + range_lookup_bytes(job.tables), [&](EmulatedWarp& warp) { range_decode_block<true>(warp, job); });
  } else {
    launch(fixed, [&](EmulatedWarp& warp) { range_decode_block<false>(warp, job); });
  }
}
void encode(const RangeEncodeGrid& job, void*) {
  const size_t fixed = range_shared_bytes(kThreads / kRangeLanes);
  if (tables_in_shared()) {
    launch(fixed + range_entries_bytes(job.tables), [&](EmulatedWarp& warp) { range_encode_block<true>(warp, job); });
  } else {
    launch(fixed, [&](EmulatedWarp& warp) { range_encode_block<false>(warp, job); });
  }
}
void pack(const RangeEncodeGrid& job, void*) {
  launch(range_shared_bytes(kThreads / kRangeLanes), [&](EmulatedWarp& warp) { range_pack_block(warp, job); });
}

void* allocate(size_t n_bytes, void*) {
  void* data = ::operator new(n_bytes);
  std::memset(data, 0xa5, n_bytes);
  return data;
}
void release(void* data, void*) { ::operator delete(data); }
void copy(void* to, const void* from, size_t n_bytes, void*) {
  if (n_bytes > 0) std::memcpy(to, from, n_bytes);
}
void wait() {}
int use(int) { return 0; }

const RangeDevice kDevice = {"emulator", allocate, release, copy, copy, copy, decode, encode, pack, wait, use};

}  // namespace

const RangeDevice& range_emulator(int order) {
  order_of_this_thread = order;
  return kDevice;
}

}  // namespace fastcodec::cuda
