// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Out of memory at every place in turn: a run on several threads ends in std::bad_alloc, or does with fewer threads, and
// gives the right pixels afterwards. A hang is the test's time limit.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "kernels/dispatch.h"
#include "model/program.h"

namespace {
std::atomic<long> n_left{-1};  // allocations until one fails; negative: none does
}

void* operator new(size_t n) {
  if (n_left.load() >= 0 && n_left.fetch_sub(1) == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(n)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

using namespace fastcodec;

int main() {
  constexpr int kSide = 200, kChannels = 8;
  std::vector<int8_t> weights(kChannels * 9 * kChannels);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<int8_t>(i * 37 % 61 - 30);
  const std::vector<int32_t> bias(kChannels, 1000), mult(kChannels, 1 << 24);
  ProgramSpec spec{{{"image", {kChannels, "u8"}}}, "v3", 1, {}, {}};
  spec.tensors = {{"w", {TensorView::Type::kI8, {kChannels, 3, 3, kChannels}, weights.data()}},
                  {"b", {TensorView::Type::kI32, {1, kChannels}, bias.data()}},
                  {"m", {TensorView::Type::kI32, {1, kChannels}, mult.data()}}};
  for (int i = 0; i < 4; ++i) {
    const std::string before = i ? "v" + std::to_string(i - 1) : "image";
    spec.ops.push_back({{"op", "conv"}, {"in", std::vector<std::string>{before}}, {"out", "v" + std::to_string(i)}, {"type", "u8"},
                        {"stride", int64_t{1}}, {"weight", "w"}, {"bias", "b"}, {"mult", "m"}});
  }
  const Program program(spec, find_kernels(""));
  std::vector<uint8_t> image(kSide * kSide * kChannels), expected(image.size()), out(image.size());
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<uint8_t>(i * 2654435761u >> 21);
  RunArgs args{image.data(), kSide, kSide, 0, kSide, kSide, 0, 0, kSide, kSide, expected.data(), 1, 0};
  run_program(program, args);

  args.out = out.data();
  args.n_threads = 4;
  int n_failed = 0;
  for (long at = 0, last_failed = 0; at < last_failed + 100; ++at) {
    n_left = at;
    try {
      run_program(program, args);
    } catch (const std::bad_alloc&) {
      ++n_failed;
      last_failed = at;
    }
    n_left = -1;
    run_program(program, args);
    if (out != expected) {
      std::fprintf(stderr, "check_memory: other pixels after allocation %ld failed\n", at);
      return 1;
    }
  }
  std::printf("check_memory: %d runs ended in std::bad_alloc\n", n_failed);
  return n_failed > 20 ? 0 : 1;
}
