// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "codec/range_tables.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace fastcodec {
namespace {

[[noreturn]] void bad_table(size_t t, const std::string& what) {
  throw Error(ErrorCode::kValue, "range coder table " + std::to_string(t) + ": " + what);
}

void check(const RangeTable& table, size_t t) {
  if (table.freqs.size() < 3) bad_table(t, "expected frequencies [below, low..high, above], got " + std::to_string(table.freqs.size()));
  if (table.low < -126 || table.low > 126 || table.high() > 126) {
    bad_table(t, "symbols must be in -126..126, got " + std::to_string(table.low) + ".." + std::to_string(table.high()));
  }
  if (table.shift < 0 || table.shift > kRangeMaxShift) {
    bad_table(t, "shift must be in 0.." + std::to_string(kRangeMaxShift) + ", got " + std::to_string(table.shift));
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < table.freqs.size(); ++i) {
    const bool escape = i == 0 || i + 1 == table.freqs.size();
    if ((table.freqs[i] == 0 && !escape) || table.freqs[i] >= kRangeSlots) {
      bad_table(t, "frequency " + std::to_string(i) + " must be in 1..4095, got " + std::to_string(table.freqs[i]));
    }
    sum += table.freqs[i];
  }
  if (sum != kRangeSlots) bad_table(t, "frequencies must sum to 4096, got " + std::to_string(sum));
}

bool symmetric(const RangeTable& table) {
  return std::equal(table.freqs.begin(), table.freqs.end(), table.freqs.rbegin()) && table.low == -table.high();
}

}  // namespace

RangeTables::RangeTables(std::vector<RangeTable> tables, std::array<uint8_t, 4> id)
    : n_tables_(static_cast<int>(tables.size())), mirrored_(true), id_(id) {
  if (tables.empty() || tables.size() > kRangeMaxTables) {
    throw Error(ErrorCode::kValue, "a range coder table set has 1..256 tables, got " + std::to_string(tables.size()));
  }
  // All 256 rows: an index that changes while it is coded finds something to divide by.
  entries_ = std::make_unique<uint32_t[]>(256 * 256);
  std::fill(entries_.get() + tables.size() * 256, entries_.get() + 256 * 256, kRangeEscapeFlag | 1);
  for (size_t t = 0; t < tables.size(); ++t) {
    const RangeTable& table = tables[t];
    check(table, t);
    if (t > 0 && table.shift < tables[t - 1].shift) bad_table(t, "shifts must not fall from table to table");
    if (table.shift > 0 && wide_from_ == 256) wide_from_ = static_cast<int>(t);
    mirrored_ = mirrored_ && symmetric(table);
    shifts_[t] = static_cast<uint8_t>(table.shift);
    low_[t] = static_cast<int16_t>(table.low);
    high_[t] = static_cast<int16_t>(table.high());
    std::vector<uint32_t> start(table.freqs.size());
    for (size_t i = 1; i < start.size(); ++i) start[i] = start[i - 1] + table.freqs[i - 1];
    for (int symbol = -128; symbol < 128; ++symbol) {
      const size_t i = static_cast<size_t>(std::clamp(symbol - table.low + 1, 0, static_cast<int>(table.freqs.size()) - 1));
      const bool escape = i == 0 || i + 1 == table.freqs.size();
      entries_[t << 8 | static_cast<uint8_t>(symbol)] = (escape ? kRangeEscapeFlag : 0) | start[i] << 15 | table.freqs[i];
    }
  }
  for (size_t t = tables.size(); t < 256; ++t) shifts_[t] = shifts_[tables.size() - 1];
}

RangeTables::RangeTables(const std::array<uint16_t, 256>& byte_freqs) : n_tables_(1), bytes_(true) {
  entries_ = std::make_unique<uint32_t[]>(256);
  uint32_t start = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (byte_freqs[s] >= kRangeSlots) {
      throw Error(ErrorCode::kFormat, "byte table: a frequency must be at most 4095, got " + std::to_string(byte_freqs[s]));
    }
    // An absent byte has no slots; its entry still divides by 1, should the caller's buffer change while it is coded.
    entries_[s] = byte_freqs[s] ? start << 15 | byte_freqs[s] : kRangeEscapeFlag | 1;
    start += byte_freqs[s];
  }
  if (start != kRangeSlots) throw Error(ErrorCode::kFormat, "byte table: frequencies must sum to 4096, got " + std::to_string(start));
}

const uint32_t* RangeTables::lookup() const {
  std::call_once(lookup_once_, [this] {
    const uint32_t n_slots = mirrored_ ? kRangeHalf : kRangeSlots;
    lookup_ = std::make_unique<uint32_t[]>(static_cast<size_t>(bytes_ ? 1 : 256) * n_slots);
    for (int t = 0; t < n_tables_; ++t) {
      uint32_t* slots = lookup_.get() + static_cast<size_t>(t) * n_slots;
      // Every encoder entry names its run of slots; an escape's run is named by -127 and 127 (and -128, the same as -127).
      for (int symbol = -127; symbol <= 128; ++symbol) {
        const uint8_t byte = static_cast<uint8_t>(symbol);
        const uint32_t entry = entries_[static_cast<size_t>(t) << 8 | byte];
        const bool escape = entry & kRangeEscapeFlag;
        if (escape && (bytes_ || (symbol != kRangeEscape && symbol != -kRangeEscape))) continue;
        const uint32_t freq = range_entry_freq(entry), start = range_entry_start(entry);
        for (uint32_t k = 0; k < freq && start + k < n_slots; ++k) slots[start + k] = freq << 20 | k << 8 | byte;
      }
    }
  });
  return lookup_.get();
}

std::array<uint16_t, 256> range_byte_freqs(const std::array<uint64_t, 256>& histogram) {
  uint64_t total = 0;
  for (uint64_t h : histogram) total += h;
  std::array<uint16_t, 256> freqs{};
  int64_t sum = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (histogram[s] == 0) continue;
    const uint64_t rounded = (histogram[s] * kRangeSlots + total / 2) / total;
    freqs[s] = static_cast<uint16_t>(std::clamp<uint64_t>(rounded, 1, kRangeSlots - 1));
    sum += freqs[s];
  }
  // Move single slots where that costs least or gains most. One slot more or less changes the cost of a byte by about
  // histogram / (freq +- 1/2), compared here by cross-multiplication.
  while (sum != kRangeSlots) {
    const bool grow = sum < kRangeSlots;
    int best = -1;
    for (int s = 0; s < 256; ++s) {
      const auto& f = freqs[static_cast<size_t>(s)];
      if (f == 0 || (grow ? f >= kRangeSlots - 1 : f < 2)) continue;
      if (best >= 0) {
        const uint64_t h = histogram[static_cast<size_t>(s)], h_best = histogram[static_cast<size_t>(best)];
        const uint64_t mid = 2u * f + (grow ? 1 : 0) - (grow ? 0 : 1);
        const uint64_t mid_best = 2u * freqs[static_cast<size_t>(best)] + (grow ? 1 : 0) - (grow ? 0 : 1);
        if (grow ? h * mid_best <= h_best * mid : h * mid_best >= h_best * mid) continue;
      }
      best = s;
    }
    if (best < 0) {  // a lone byte: its neighbour takes the slot that it must not have
      for (size_t s = 0; s < 256; ++s) {
        if (freqs[s]) { freqs[s ^ 1] = 1; break; }
      }
      ++sum;
      continue;
    }
    freqs[static_cast<size_t>(best)] = static_cast<uint16_t>(freqs[static_cast<size_t>(best)] + (grow ? 1 : -1));
    sum += grow ? 1 : -1;
  }
  return freqs;
}

}  // namespace fastcodec
