// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs the fuzz target of packed programs over pseudo-random inputs: `check_kernels [inputs [first seed]]`. Without a
// sanitizer it compares the backends, with one it also watches every access.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern int n_programs_run;  // the other inputs were refused, as they must be

int main(int argc, char** argv) {
  const int n_inputs = argc > 1 ? std::atoi(argv[1]) : 1000;
  const int first = argc > 2 ? std::atoi(argv[2]) : 0;
  for (int seed = first; seed < first + n_inputs; ++seed) {
    std::mt19937 random(seed);
    std::vector<uint8_t> input(200 + random() % 2000);
    for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("check_kernels: %d inputs, %d programs run, no difference\n", n_inputs, n_programs_run);
  return n_programs_run > 0 ? 0 : 1;
}
