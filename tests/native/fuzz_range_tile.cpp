// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Fuzz target: tiles of codec range. Input: options, two sizes, bytes. The bytes are symbols that must come back, from one
// state and from 32 lanes, or they are a tile, or damage to one; all backends must say the same.
#include <algorithm>
#include <cstring>

#include "codec/range_tile.h"
#include "fuzz_range.h"

using namespace fastcodec;

namespace {

struct Segment {
  std::vector<uint8_t> index;
  std::vector<int16_t> symbols;
};

// All segments of a tile, or the error, as text.
std::string decoded(const uint8_t* tile, size_t n_bytes, const std::vector<Segment>& segments, const RangeKernels& kernels) {
  // Exactly as long as the tile, so that a read past its end is noticed.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[n_bytes]);
  if (n_bytes > 0) std::memcpy(exact.get(), tile, n_bytes);
  return fuzz::outcome([&] {
    std::string out;
    RangeTileDecoder decoder(exact.get(), n_bytes, fuzz::tables(0), kernels);
    for (size_t s = 0; s < segments.size(); ++s) {
      const size_t n = segments[s].index.size(), room = (n + 31) / 32 * 32;
      const std::unique_ptr<uint8_t[]> index(new uint8_t[room]);
      const std::unique_ptr<int16_t[]> symbols(new int16_t[room]);
      std::copy(segments[s].index.begin(), segments[s].index.end(), index.get());
      decoder.take(index.get(), n, s + 1 == segments.size(), symbols.get());
      out.append(reinterpret_cast<const char*>(symbols.get()), 2 * n);
    }
    return out;
  });
}

void all_the_same(const uint8_t* tile, size_t n_bytes, const std::vector<Segment>& segments, const std::string* expected) {
  std::string first;
  bool have_first = false;
  for (const RangeKernels* kernels : fuzz::backends()) {
    const std::string got = decoded(tile, n_bytes, segments, *kernels);
    fuzz::require(!expected || got == *expected, "symbols do not come back");
    fuzz::require(!have_first || got == first, "backends differ");
    first = got;
    have_first = true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 6) return 0;
  const int options = data[0];
  const size_t n = static_cast<size_t>(data[1] | data[2] << 8) >> (options / 8 % 8);
  const size_t damage_at = data[3];
  const uint8_t damage = data[4];
  data += 5;
  size -= 5;
  std::vector<Segment> segments(1 + options % 3);
  std::string expected;
  for (size_t s = 0; s < segments.size(); ++s) {
    for (size_t i = 0; i < n >> s; ++i) {
      const uint8_t a = data[(i + s) % size], b = data[(i * 7 + i / size) % size];
      segments[s].index.push_back(a % 64);
      const int v = b == 127 ? (a << 8 | b) - 32768 : b % 16 < 12 ? static_cast<int8_t>(b) / 32 : static_cast<int8_t>(b) * (a % 4);
      segments[s].symbols.push_back(static_cast<int16_t>(v));
    }
    expected.append(reinterpret_cast<const char*>(segments[s].symbols.data()), 2 * segments[s].symbols.size());
  }
  if (options & 4) {
    all_the_same(data, size, segments, nullptr);
    return 0;
  }
  for (const size_t one_state : {size_t{0}, size_t{1} << 20}) {
    std::vector<uint8_t> tile;
    for (const RangeKernels* kernels : fuzz::backends()) {
      RangeTileEncoder encoder(fuzz::tables(0), *kernels);
      for (const Segment& s : segments) encoder.add(s.symbols.data(), s.index.data(), s.index.size());
      const std::vector<uint8_t> got = encoder.finish(one_state);
      fuzz::require(tile.empty() || got == tile, "backends write other bytes");
      tile = got;
    }
    all_the_same(tile.data(), tile.size(), segments, &expected);
    tile[damage_at * tile.size() / 256] ^= damage;
    all_the_same(tile.data(), tile.size(), segments, nullptr);
    all_the_same(tile.data(), damage_at * tile.size() / 256, segments, nullptr);
  }
  return 0;
}
