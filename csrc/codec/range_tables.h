// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Probability tables of the range coder: validated frequencies, and the two look-up tables that the inner loops use.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/range.h"

namespace fastcodec {

// One distribution over the integers low..high and "below" / "above" (the two escapes), in 1/4096.
struct RangeTable {
  int low = 0;                  // >= -126
  int shift = 0;                // the table codes symbol >> shift; the low bits are stored as they are
  std::vector<uint16_t> freqs;  // [below, low, low + 1, ..., high, above]; high <= 126
  int high() const { return low + static_cast<int>(freqs.size()) - 3; }
};

constexpr int kRangeMaxTables = 256;
constexpr int kRangeMaxShift = 15;

class RangeTables {
 public:
  // Throws kValue, naming table and fault, unless there are 1..256 tables, each with frequencies in 1..4095 (the escapes
  // may be 0: then such symbols cannot be coded) that sum to 4096, and shifts that never fall from table to table.
  // `id` is what a stream carries to name this set: the first four bytes of the SHA-256 of its canonical form.
  RangeTables(std::vector<RangeTable> tables, std::array<uint8_t, 4> id);
  // Order-0 bytes: one table over 0..255 without escapes; freqs of absent bytes are 0. Throws kFormat if they do not sum
  // to 4096 or one is over 4095.
  explicit RangeTables(const std::array<uint16_t, 256>& byte_freqs);

  int size() const { return n_tables_; }
  const std::array<uint8_t, 4>& id() const { return id_; }
  bool mirrored() const { return mirrored_; }                // every table is symmetric around 0
  const uint32_t* entries() const { return entries_.get(); } // encoder, [256 * 256], of which size * 256 mean something
  const uint32_t* lookup() const;                            // decoder, [256 * 4096, or * 2048 if mirrored]; made when first asked for
  const uint8_t* shifts() const { return shifts_.data(); }   // [256]
  int wide_from() const { return wide_from_; }               // first table with a shift; 256: none
  int low(int table) const { return low_[static_cast<size_t>(table)]; }
  int high(int table) const { return high_[static_cast<size_t>(table)]; }

 private:
  int n_tables_ = 0;
  bool mirrored_ = false;
  bool bytes_ = false;
  int wide_from_ = 256;
  std::array<uint8_t, 4> id_{};
  std::array<uint8_t, 256> shifts_{};
  std::array<int16_t, 256> low_{}, high_{};
  std::unique_ptr<uint32_t[]> entries_;
  mutable std::unique_ptr<uint32_t[]> lookup_;
  mutable std::once_flag lookup_once_;
};

// Frequencies for a histogram of bytes: at least 1 for every byte that occurs, 4096 in all, at most 4095 each (a lone byte
// shares with a neighbour), close to the best. Integers only. The total must be positive and below 2^48.
std::array<uint16_t, 256> range_byte_freqs(const std::array<uint64_t, 256>& histogram);

}  // namespace fastcodec
