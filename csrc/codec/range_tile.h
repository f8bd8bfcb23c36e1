// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// One tile of the `range` codec: its symbols as bytes, and what stands between the networks and the coder. FORMAT.md,
// "Range payload", gives the bytes and the arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "codec/range_tables.h"

namespace fastcodec {

// Up to so many symbols one state codes them: 32 lanes cost some 15 bytes more, and the time does not matter yet.
constexpr size_t kRangeOneStateSymbols = 1u << 17;

// A tile's symbols come in segments that both sides know the number of: the hyper-latent, then each pass of the latent,
// which needs what came before it. Together they are one bare stream: no name, no count, no checksum, one set of states.
class RangeTileEncoder {
 public:
  // tables and kernels must live as long as this. Table 0 must be able to code 0 and have no shift.
  RangeTileEncoder(const RangeTables& tables, const RangeKernels& kernels) : tables_(tables), kernels_(kernels) {}
  // Appends a segment of n symbols, each with its table. Throws kValue for an index past the tables, or a symbol that its
  // table cannot code.
  void add(const int16_t* symbols, const uint8_t* index, size_t n);
  // The tile, after all segments.
  std::vector<uint8_t> finish(size_t one_state_symbols = kRangeOneStateSymbols);

 private:
  const RangeTables& tables_;
  const RangeKernels& kernels_;
  std::vector<int16_t> symbols_;  // each segment filled up with zeros of table 0 to whole rows
  std::vector<uint8_t> index_;
  std::vector<size_t> segments_;  // symbols of each, without the filling
  std::vector<uint8_t> side_;     // low bits and distances
};

class RangeTileDecoder {
 public:
  // The bytes, tables and kernels must live as long as this. Throws kFormat.
  RangeTileDecoder(const uint8_t* tile, size_t n_bytes, const RangeTables& tables, const RangeKernels& kernels);
  // Fills out with the next segment. Both index and out have room for n rounded up to a multiple of 32; what stands behind
  // n is overwritten. `last`: no segment follows, the tile must end here. Throws kFormat; kValue for an index past the
  // tables.
  void take(uint8_t* index, size_t n, bool last, int16_t* out);

 private:
  void take_one_lane(const uint8_t* index, size_t n, int16_t* out);
  void finish_lanes();
  void patch(const uint8_t* index, size_t n_marks, int16_t* out);

  const RangeTables& tables_;
  const RangeKernels& kernels_;
  const uint8_t* at_;          // the next word
  const uint8_t* end_;         // behind the next side byte: side data goes backwards from the end of the tile
  size_t tail_rows_ = 0;
  bool lanes_ = false;
  uint32_t x_ = 0;             // the state of the one lane, or of the tail
  uint32_t states_[kRangeLanes] = {};
  std::vector<uint8_t> tail_;  // the words of the tail that the lanes carried
  const uint8_t* tail_at_ = nullptr;
  std::unique_ptr<uint32_t[]> marks_;
  size_t n_marks_room_ = 0;
};

// ---- the latent ------------------------------------------------------------------------------------------------------

// One pass over a tile's latent [height][width][channels]. `prior` is [height][width][2 * channels]: means in 1/16 of a
// symbol, then raw table indexes. The channels are in `passes` = 1, 2 or 4 parts, part q from channels * q / passes on. Of
// two, pass k has part k ^ ((y + x) & 1) of each pixel; of four, part k ^ (((y + x) & 1) * 2 + (y & 1)).
struct LatentPass {
  const int16_t* prior;
  int height;
  int width;
  int channels;
  int pass;
  int passes;
  int skip;      // elements of tables below this one are not coded: their symbol is 0
  int n_tables;  // indexes are clamped to 0..n_tables - 1
};

// Elements of the pass, coded or not.
size_t latent_elements(const LatentPass& pass);

// index[i] = table of the i-th coded element; returns how many there are. Room for latent_elements().
size_t latent_index(const LatentPass& pass, uint8_t* index);

// Puts symbols where latent_index() found elements: y_hat = clamp((q * dequant[c] + 2^15) >> 16) with
// q = clamp(16 * symbol + mean), both clamped to int16. Only elements of the pass are written.
// symbols: one more than there are coded elements may be read.
void latent_scatter(const LatentPass& pass, const int16_t* symbols, const int32_t* dequant, int16_t* y_hat);

// Encoder: symbols[i] of the i-th coded element of latent y. With t = (y * quant[c] + 2^15) >> 16 in 1/16 of a symbol,
// clamped to int16, the magnitude of (t - mean) / 16 is rounded up where its fraction is at least
// thresholds[table][min(magnitude, 15)] sixteenths, else down; a threshold of 8 is plain rounding.
void latent_quantise(const LatentPass& pass, const int16_t* y, const int32_t* quant, const uint8_t* thresholds, int16_t* symbols);
constexpr int kLatentThresholds = 16;  // of each table

}  // namespace fastcodec
