// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over files and folders without libFuzzer, and over random changes of each: `target FILE...
// [-changes=N]`. Any compiler builds it, so that every test run replays the corpus.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  int changes = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "-changes=", 9) == 0) {
      changes = std::atoi(argv[i] + 9);
    } else if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
    } else {
      files.emplace_back(argv[i]);
    }
  }
  std::mt19937 random(1);
  size_t runs = 0;
  for (const auto& path : files) {
    std::ifstream in(path, std::ios::binary);
    if (!in) {
      std::fprintf(stderr, "cannot read %s\n", path.c_str());
      return 2;
    }
    const std::vector<uint8_t> input((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    for (int c = 0; c <= changes; ++c, ++runs) {
      std::vector<uint8_t> changed = input;
      for (int k = 0; c > 0 && !changed.empty() && k <= c % 3; ++k) {
        // Near the front most of the time: that is where the lengths are.
        const size_t range = random() % 4 ? std::min<size_t>(changed.size(), 64) : changed.size();
        changed[random() % range] = static_cast<uint8_t>(random() % 4 ? changed[random() % range] ^ (1u << random() % 8) : random());
      }
      LLVMFuzzerTestOneInput(changed.data(), changed.size());
    }
  }
  std::printf("%zu inputs, %zu runs\n", files.size(), runs);
  return files.empty() ? 2 : 0;
}
