// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/emulate.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace fastcodec::emulate {
namespace {

constexpr size_t kStackBytes = 128 << 10;
constexpr int kBarriers = 16;

// ---- fibers: a stack and a place to go on -------------------------------------------------------------------------
#if defined(__x86_64__)
// The registers that a call preserves lie on the stack; swapcontext would do, but asks the kernel for signal masks each time.
extern "C" void fastcodec_switch_fiber(void** save, void* load);
asm(R"(
.text
.type fastcodec_switch_fiber,@function
fastcodec_switch_fiber:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size fastcodec_switch_fiber,.-fastcodec_switch_fiber
)");

struct Context {
  void* top = nullptr;
  void start(char* stack, void (*entry)()) {
    const auto end = (reinterpret_cast<uintptr_t>(stack) + kStackBytes) & ~uintptr_t{15};
    auto* at = reinterpret_cast<void**>(end - 8);  // 8 off a multiple of 16, as behind a call
    *--at = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; ++i) *--at = nullptr;
    top = at;
  }
  void switch_to(Context& other) { fastcodec_switch_fiber(&top, other.top); }
};
#else
struct Context {
  ucontext_t context;
  void start(char* stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
  }
  void switch_to(Context& other) { swapcontext(&context, &other.context); }
};
#endif

// Threads that meet.
struct Group {
  int want = 0;
  int have = 0;
  uint64_t generation = 0;
  std::vector<const void*> given;
};

struct Copy {
  uint8_t* to;
  const void* from;
};

struct Thread {
  Context context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  Group* waits_for = nullptr;
  uint64_t generation = 0;
  const char* where = "";
  std::vector<Copy> copies;
  std::deque<std::vector<Copy>> committed;
  void* fake_stack = nullptr;
};

struct Multiplications {
  std::vector<std::function<void()>> open;
  std::deque<std::vector<std::function<void()>>> committed;
};

struct Block {
  int x = 0, y = 0, grid_x = 0, n_threads = 0, current = 0;
  const std::function<void()>* body = nullptr;
  bool early = false;  // copies also take effect at once
  std::vector<Thread> threads;
  std::vector<Group> warps, warpgroups;
  Group all, named[kBarriers];
  std::vector<Multiplications> multiplications;
  uint8_t* shared = nullptr;
  size_t n_shared_bytes = 0;
  Context main;
  std::string fault;
  void* main_fake_stack = nullptr;
  const void* main_bottom = nullptr;
  size_t main_size = 0;
};

thread_local Block* running = nullptr;

Thread& self() { return running->threads[running->current]; }

void leave() {
  Block& block = *running;
  Thread& thread = self();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(thread.done ? nullptr : &thread.fake_stack, block.main_bottom, block.main_size);
#endif
  thread.context.switch_to(block.main);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(thread.fake_stack, nullptr, nullptr);
#endif
}

void resume(Block& block, int i) {
  block.current = i;
  Thread& thread = block.threads[i];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&block.main_fake_stack, thread.stack.get(), kStackBytes);
#endif
  block.main.switch_to(thread.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(block.main_fake_stack, nullptr, nullptr);
#endif
}

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &running->main_bottom, &running->main_size);
#endif
  (*running->body)();
  self().done = true;
  leave();
}

void set_fault(const std::string& what) { running->fault = what + " (thread " + std::to_string(running->current) + ")"; }
// Behind set_fault: a fiber that is never resumed, so nothing on its stack may own memory.
[[noreturn]] void stop() {
  for (;;) leave();
}

void meet(Group& group, size_t place, const char* where, const void* mine, Act act) {
  if (act) group.given[place] = mine;
  if (++group.have == group.want) {
    group.have = 0;
    if (act) act(group.given.data());
    ++group.generation;
    return;
  }
  Thread& thread = self();
  thread.waits_for = &group;
  thread.generation = group.generation;
  thread.where = where;
  leave();
  thread.waits_for = nullptr;
}

void run_block(Block& block, Order order, std::mt19937& random) {
  const int n = block.n_threads;
  const bool greedy = order == Order::kGreedy || order == Order::kGreedyBackward;
  const bool backward = order == Order::kBackward || order == Order::kGreedyBackward;
  std::vector<int> sequence(n);
  for (int i = 0; i < n; ++i) sequence[i] = backward ? n - 1 - i : i;
  int left = n;
  while (left > 0) {
    if (order == Order::kShuffled) std::shuffle(sequence.begin(), sequence.end(), random);
    bool moved = false;
    for (int at = 0; at < n; ++at) {
      if (greedy && moved && at % kWarp == 0) break;  // back to the first warp that can go on
      Thread& thread = block.threads[sequence[at]];
      if (thread.done || (thread.waits_for && thread.waits_for->generation == thread.generation)) continue;
      resume(block, sequence[at]);
      moved = true;
      left -= thread.done;
      if (!block.fault.empty()) throw std::logic_error("emulated block: " + block.fault);
    }
    if (moved) continue;
    std::string text = "emulated block: threads wait for each other for ever:";
    int shown = 0;
    for (int i = 0; i < n; ++i) {
      const Thread& thread = block.threads[i];
      if (!thread.done && shown++ < 4) text += " thread " + std::to_string(i) + " in " + thread.where + ";";
    }
    throw std::logic_error(text);
  }
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

void launch(int grid_x, int grid_y, int n_threads, size_t n_shared_bytes, Order order, const std::function<void()>& body) {
  if (n_threads % kWarp) throw std::logic_error("emulated block: its size must be a multiple of 32");
  const size_t n_bytes = std::max<size_t>(n_shared_bytes, 1);
  void* memory = nullptr;
  if (posix_memalign(&memory, 1024, n_bytes) != 0) throw std::bad_alloc();
  const std::unique_ptr<void, Free> owner(memory);
  std::mt19937 random(1);
  std::vector<std::unique_ptr<char[]>> stacks(n_threads);
  for (auto& stack : stacks) stack.reset(new char[kStackBytes]);
  for (int i = 0; i < grid_x * grid_y; ++i) {
    Block block;
    block.x = i % grid_x;
    block.y = i / grid_x;
    block.grid_x = grid_x;
    block.n_threads = n_threads;
    block.body = &body;
    block.early = order == Order::kShuffled || order == Order::kGreedyBackward;
    block.threads = std::vector<Thread>(n_threads);
    block.warps.resize(n_threads / kWarp);
    for (Group& group : block.warps) group = {kWarp, 0, 0, std::vector<const void*>(kWarp)};
    block.warpgroups.resize((n_threads + kWarpgroup - 1) / kWarpgroup);
    for (Group& group : block.warpgroups) group = {kWarpgroup, 0, 0, std::vector<const void*>(kWarpgroup)};
    block.all.want = n_threads;
    block.multiplications.resize(block.warpgroups.size());
    block.shared = static_cast<uint8_t*>(memory);
    block.n_shared_bytes = n_shared_bytes;
    std::memset(memory, 0xA5, n_bytes);
    for (int k = 0; k < n_threads; ++k) {
      block.threads[k].stack = std::move(stacks[k]);
      block.threads[k].context.start(block.threads[k].stack.get(), enter);
    }
    running = &block;
    run_block(block, order, random);
    for (int k = 0; k < n_threads; ++k) {
      const Thread& thread = block.threads[k];
      if (!thread.copies.empty() || !thread.committed.empty()) throw std::logic_error("emulated block: ends with copies under way");
      stacks[k] = std::move(block.threads[k].stack);
    }
    for (const auto& group : block.multiplications) {
      if (!group.open.empty() || !group.committed.empty()) throw std::logic_error("emulated block: ends with wgmma under way");
    }
    running = nullptr;
  }
}

int thread() { return running->current; }
int block_x() { return running->x; }
int block_y() { return running->y; }
int grid_x() { return running->grid_x; }
uint8_t* shared() { return running->shared; }

void fail(const char* what) {
  set_fault(what);
  stop();
}

uint8_t* shared_at(uint32_t address, size_t n, uint32_t alignment) {
  if (address % alignment != 0 || address + n > running->n_shared_bytes) {
    set_fault("shared memory of " + std::to_string(running->n_shared_bytes) + " bytes: access of " + std::to_string(n) +
              " bytes at " + std::to_string(address));
    stop();
  }
  return running->shared + address;
}

void meet_warp(const char* where, const void* mine, Act act) {
  meet(running->warps[running->current / kWarp], running->current % kWarp, where, mine, act);
}
void meet_warpgroup(const char* where, const void* mine, Act act) {
  meet(running->warpgroups[running->current / kWarpgroup], running->current % kWarpgroup, where, mine, act);
}
void meet_block(const char* where) { meet(running->all, 0, where, nullptr, nullptr); }
void meet_named(const char* where, int barrier, int n) {
  Group& group = running->named[barrier];
  if (group.have > 0 && group.want != n) {
    set_fault("barrier " + std::to_string(barrier) + " with two sizes");
    stop();
  }
  group.want = n;
  meet(group, 0, where, nullptr, nullptr);
}

void copy_later(uint8_t* to, const void* from) {
  if (running->early) std::memcpy(to, from, 16);
  self().copies.push_back({to, from});
}
void commit_copies() {
  self().committed.push_back(std::move(self().copies));
  self().copies.clear();
}
void finish_copies(int n_left) {
  auto& groups = self().committed;
  for (; static_cast<int>(groups.size()) > n_left; groups.pop_front()) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, 16);
  }
}

namespace {
Multiplications& my_multiplications() { return running->multiplications[running->current / kWarpgroup]; }
}  // namespace

void multiply_later(std::function<void()> work) { my_multiplications().open.push_back(std::move(work)); }
void commit_multiplications() {
  my_multiplications().committed.push_back(std::move(my_multiplications().open));
  my_multiplications().open.clear();
}
void finish_multiplications(int n_left) {
  auto& groups = my_multiplications().committed;
  for (; static_cast<int>(groups.size()) > n_left; groups.pop_front()) {
    for (const auto& work : groups.front()) work();
  }
}

}  // namespace fastcodec::emulate
