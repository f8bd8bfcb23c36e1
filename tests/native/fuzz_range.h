// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Shared by the range coder's fuzz targets: backends, tables, and a check that ends the process with a message.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "codec/gaussian_tables.h"
#include "codec/range_coder.h"
#include "common/error.h"
#include "kernels/dispatch.h"

namespace fuzz {

inline void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "fuzz target: %s\n", what);
  std::abort();
}

inline std::vector<const fastcodec::RangeKernels*> backends() {
  std::vector<const fastcodec::RangeKernels*> list;
  for (const auto& status : fastcodec::backends()) {
    if (status.available && status.name != "cuda") list.push_back(&fastcodec::range_kernels(status.name));
  }
  return list;
}

// 0: the default, mirrored set; 1: plain tables with escapes, some shifted; 2: plain tables without escapes.
inline const fastcodec::RangeTables& tables(int which) {
  using fastcodec::RangeTable;
  static const auto sets = [] {
    std::vector<RangeTable> gaussian;
    size_t at = 0;
    for (int t = 0; t < fastcodec::kGaussianTables; ++t) {
      const size_t n = fastcodec::kGaussianRadius[t] + 2u;
      RangeTable table{-static_cast<int>(fastcodec::kGaussianRadius[t]), fastcodec::kGaussianShift[t],
                       std::vector<uint16_t>(fastcodec::kGaussianFreqs + at, fastcodec::kGaussianFreqs + at + n)};
      for (size_t i = n - 1; i-- > 0;) table.freqs.push_back(table.freqs[i]);
      at += n;
      gaussian.push_back(table);
    }
    std::vector<RangeTable> plain = {{-1, 0, {1, 4000, 90, 4, 1}}, {5, 0, {2000, 95, 1, 2000}}, {-126, 0, {}}, {0, 3, {1, 1, 4000, 93, 1}}};
    plain[2].freqs.assign(255, 16);
    plain[2].freqs[100] = static_cast<uint16_t>(4096 - 254 * 16);
    std::vector<RangeTable> bare = {{0, 0, {0, 4095, 1, 0}}, {-3, 0, {0, 1000, 3000, 96, 0}}};
    std::vector<std::unique_ptr<fastcodec::RangeTables>> made;
    for (auto& set : {gaussian, plain, bare}) made.push_back(std::make_unique<fastcodec::RangeTables>(set, std::array<uint8_t, 4>{1, 2, 3, 4}));
    return made;
  }();
  return *sets[static_cast<size_t>(which)];
}

// The result of a call: its data, or the error's code and text.
template <class Call>
std::string outcome(const Call& call) {
  try {
    return call();
  } catch (const fastcodec::Error& error) {
    return "error " + std::to_string(static_cast<int>(error.code())) + ": " + error.what();
  }
}

}  // namespace fuzz
