// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The emulator of CUDA blocks must notice what the tests of the kernels rely on: a missing barrier, a missing wait, an address
// outside shared memory, threads that never meet. Each fault is planted here, beside the same code without it.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/dev_wgmma.h"

namespace {

using namespace fastcodec;
using emulate::Order;

int n_failed = 0;

void expect(bool ok, const char* what) {
  if (!ok) std::printf("FAILED: %s\n", what);
  n_failed += !ok;
}

template <class Body>
std::string fault_of(int n_threads, size_t n_shared_bytes, Body body) {
  try {
    emulate::launch(1, 1, n_threads, n_shared_bytes, Order::kForward, body);
  } catch (const std::logic_error& e) {
    return e.what();
  }
  return "";
}

// Each thread passes its number to its neighbour through shared memory; right in every order?
bool shift_is_right(bool with_barrier) {
  bool right = true;
  for (int order = 0; order < emulate::kOrders; ++order) {
    std::vector<int> got(256, -1);
    emulate::launch(1, 1, 256, 1024, static_cast<Order>(order), [&] {
      auto* words = reinterpret_cast<int*>(dev::shared());
      words[dev::thread()] = dev::thread();
      if (with_barrier) dev::sync_block();
      got[dev::thread()] = words[(dev::thread() + 1) % 256];
    });
    for (int i = 0; i < 256; ++i) right = right && got[i] == (i + 1) % 256;
  }
  return right;
}

// The first byte that arrives by an asynchronous copy.
int copied_byte(bool with_wait) {
  alignas(16) uint8_t from[16] = {42};
  int got = -1;
  emulate::launch(1, 1, 32, 16, Order::kForward, [&] {
    if (dev::thread() == 0) dev::copy_16(0, from);
    dev::commit_copies();
    if (with_wait) dev::wait_copies<0>();
    if (dev::thread() == 0) got = dev::shared()[0];
    dev::wait_copies<0>();
  });
  return got;
}

// A product of ones: 32, but only behind the wait.
bool product_is_there(bool with_wait) {
  bool there = true;
  emulate::launch(1, 1, 128, 208 * 32, Order::kGreedy, [&] {
    for (int i = dev::thread(); i < 208 * 32; i += 128) dev::shared()[i] = 1;
    dev::sync_block();
    const uint32_t ones[4] = {0x01010101, 0x01010101, 0x01010101, 0x01010101};
    int32_t acc[104] = {};
    dev::multiply_registers<208>(acc, ones, dev::operand(0, 208 * 16, 128), false);
    dev::commit_products();
    if (with_wait) dev::finish_products(acc);
    for (const int32_t v : acc) there = there && v == 32;
    dev::finish_products(acc);
  });
  return there;
}

}  // namespace

int main() {
  expect(shift_is_right(true), "a barrier makes every order right");
  expect(!shift_is_right(false), "without it some order is wrong");
  expect(copied_byte(true) == 42, "a copy is there after its wait");
  expect(copied_byte(false) == 0xA5, "before, shared memory is poison");
  expect(product_is_there(true), "a product is there after its wait");
  expect(!product_is_there(false), "not before");
  const auto load = [](uint32_t address) {
    return [=] {
      uint32_t r[4];
      dev::load_matrices(r, address);
    };
  };
  expect(fault_of(32, 256, load(240)).empty(), "an address inside");
  expect(fault_of(32, 256, load(256)).find("shared memory of 256 bytes") != std::string::npos, "an address outside");
  expect(fault_of(32, 256, load(8)).find("access of 16 bytes at 8") != std::string::npos, "an address between");
  const std::string stuck = fault_of(64, 0, [] {
    if (dev::warp() == 0) dev::sync_block();
  });
  expect(stuck.find("wait for each other for ever: thread 0 in sync_block") != std::string::npos, "a barrier that half the block reaches");
  const std::string unfinished = fault_of(32, 16, [] {
    alignas(16) static const uint8_t from[16] = {};
    dev::copy_16(0, from);
  });
  expect(unfinished.find("copies under way") != std::string::npos, "a block that ends before its copies");
  const auto sparse = [](uint32_t chosen) {
    return [=] {
      int32_t d[4] = {};
      const uint32_t a[4] = {}, b[4] = {};
      dev::multiply_sparse<false>(d, a, chosen, b);
    };
  };
  expect(fault_of(32, 16, sparse(0x44444444)).empty(), "the first two of each four");
  expect(fault_of(32, 16, sparse(0x11111111)).find("not in order") != std::string::npos, "the second before the first");
  std::printf("%d failed\n", n_failed);
  return n_failed != 0;
}
