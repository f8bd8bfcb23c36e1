// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Table indexes from scales, by integer compares only.
#include <algorithm>
#include <array>

#include "codec/range_coder.h"

namespace fastcodec {

// Keys are first sorted into cells by their upper bits: first[cell] is the answer for the cell's lowest key. Where no cell
// holds two thresholds (16 cells an octave of float keys, 64 scales in 9 octaves), one compare finishes; else a few.
void range_scale_index(const int32_t* keys, size_t n, const int32_t* thresholds, int n_thresholds, uint8_t* index) {
  constexpr int kShift = 19;  // of a float: sign, exponent and 4 bits of the fraction remain
  constexpr int kCells = 1 << (31 - kShift);
  if (n_thresholds == 0) {
    std::fill_n(index, n, uint8_t{0});
    return;
  }
  std::array<uint8_t, kCells> first{};
  int most = 0;  // thresholds in one cell
  for (int cell = 0, at = 0; cell < kCells; ++cell) {
    const int64_t low = int64_t{cell} << kShift, end = low + (1 << kShift);
    while (at < n_thresholds && thresholds[at] <= low) ++at;
    first[static_cast<size_t>(cell)] = static_cast<uint8_t>(at);
    int inside = 0;
    while (at + inside < n_thresholds && thresholds[at + inside] < end) ++inside;
    most = std::max(most, inside);
  }
  std::array<int32_t, 256> limit;  // one past the last: never reached
  limit.fill(INT32_MAX);
  std::copy_n(thresholds, n_thresholds, limit.begin());
  const int last = n_thresholds;
  if (most <= 1) {
    for (size_t i = 0; i < n; ++i) {
      const int32_t key = std::max(keys[i], 0);
      const uint32_t at = first[static_cast<size_t>(key >> kShift)];
      index[i] = static_cast<uint8_t>(at + ((key >= limit[at]) & (at < static_cast<uint32_t>(last))));
    }
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    const int32_t key = std::max(keys[i], 0);
    int at = first[static_cast<size_t>(key >> kShift)];
    while (at < last && key >= thresholds[at]) ++at;
    index[i] = static_cast<uint8_t>(at);
  }
}

}  // namespace fastcodec
