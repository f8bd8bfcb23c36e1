// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Bounds-checked bytes and bits of the range coder's streams: little-endian, bits from the lowest up, and varints (seven
// bits a byte, lowest first, the high bit says that more follow; the shortest form only).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/error.h"

namespace fastcodec {

inline void put_u32(uint8_t* to, uint32_t v) {
  for (int k = 0; k < 4; ++k) to[k] = static_cast<uint8_t>(v >> (8 * k));
}
inline uint32_t get_u32(const uint8_t* from) {
  return from[0] | static_cast<uint32_t>(from[1]) << 8 | static_cast<uint32_t>(from[2]) << 16 | static_cast<uint32_t>(from[3]) << 24;
}
inline void put_varint(std::vector<uint8_t>* out, uint64_t v) {
  for (; v > 127; v >>= 7) out->push_back(static_cast<uint8_t>(v | 128));
  out->push_back(static_cast<uint8_t>(v));
}
inline int bit_length(uint32_t v) { return v ? 32 - __builtin_clz(v) : 0; }

class BitWriter {
 public:
  void put(uint32_t v, int n_bits) {  // v < 2^n_bits, n_bits <= 32
    held_ |= static_cast<uint64_t>(v) << n_held_;
    for (n_held_ += n_bits; n_held_ >= 8; n_held_ -= 8, held_ >>= 8) out_.push_back(static_cast<uint8_t>(held_));
  }
  std::vector<uint8_t> finish() {
    if (n_held_ > 0) out_.push_back(static_cast<uint8_t>(held_));
    n_held_ = 0;
    return std::move(out_);
  }

 private:
  std::vector<uint8_t> out_;
  uint64_t held_ = 0;
  int n_held_ = 0;
};

class BitReader {
 public:
  BitReader(const uint8_t* data, size_t n_bytes) : data_(data), end_(data + n_bytes) {}
  uint32_t get(int n_bits) {  // n_bits <= 32
    while (n_held_ < n_bits) {
      if (data_ == end_) throw Error(ErrorCode::kFormat, "range coder: the bits end too early");
      held_ |= static_cast<uint64_t>(*data_++) << n_held_;
      n_held_ += 8;
    }
    const uint32_t v = static_cast<uint32_t>(held_ & ((uint64_t{1} << n_bits) - 1));
    held_ >>= n_bits;
    n_held_ -= n_bits;
    return v;
  }
  const uint8_t* position() const { return data_; }  // the first byte of which nothing was read
  bool rest_is_zero() const {
    for (const uint8_t* p = data_; p < end_; ++p) {
      if (*p) return false;
    }
    return held_ == 0;
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
  uint64_t held_ = 0;
  int n_held_ = 0;
};

// Reads past the end throw `at_end`.
class ByteReader {
 public:
  ByteReader(const uint8_t* data, size_t n_bytes, const char* what, ErrorCode at_end = ErrorCode::kFormat)
      : data_(data), n_bytes_(n_bytes), what_(what), at_end_(at_end) {}
  size_t position() const { return at_; }
  size_t left() const { return n_bytes_ - at_; }
  const uint8_t* take(size_t n) {
    if (n > left()) {
      throw Error(at_end_, std::string(what_) + " ends too early: expected " + std::to_string(n) + " more bytes, got " +
                               std::to_string(left()));
    }
    at_ += n;
    return data_ + (at_ - n);
  }
  uint8_t u8() { return *take(1); }
  uint32_t u32() { return get_u32(take(4)); }
  uint64_t varint() {
    uint64_t v = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t byte = u8();
      v |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) {
        if (byte == 0 && shift > 0) throw Error(ErrorCode::kFormat, std::string(what_) + ": a number is not in its shortest form");
        return v;
      }
    }
    throw Error(ErrorCode::kFormat, std::string(what_) + ": a number is too long");
  }
  int64_t varint32() {
    const uint64_t v = varint();
    if (v >> 32) throw Error(ErrorCode::kFormat, std::string(what_) + ": a number is over 32 bits");
    return static_cast<int64_t>(v);
  }

 private:
  const uint8_t* data_;
  size_t n_bytes_;
  size_t at_ = 0;
  const char* what_;
  ErrorCode at_end_;
};

}  // namespace fastcodec
