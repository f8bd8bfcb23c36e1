// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "codec/range_tile.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "codec/range_bits.h"
#include "codec/range_coder.h"
#include "common/error.h"

namespace fastcodec {
namespace {

constexpr size_t kMaxTailRows = 254;  // the first byte is 1 + the number of rows

size_t to_rows(size_t n) { return (n + kRangeLanes - 1) / kRangeLanes * kRangeLanes; }

[[noreturn]] void bad_tile(const std::string& what) { throw Error(ErrorCode::kFormat, "range payload: tile: " + what); }

void check_tables(const uint8_t* index, size_t n, const RangeTables& tables) {
  uint8_t most = 0;
  for (size_t i = 0; i < n; ++i) most = std::max(most, index[i]);
  if (most >= tables.size()) {
    throw Error(ErrorCode::kValue, "index must be below the number of tables (" + std::to_string(tables.size()) + "), got " +
                                       std::to_string(most));
  }
}

// Pushes the symbol with one state.
void push(uint32_t* x, int symbol, uint32_t table, const RangeTables& tables, uint16_t** top) {
  const int v = std::clamp(symbol >> tables.shifts()[table], -kRangeEscape, kRangeEscape);
  range_push(x, tables.entries()[table << 8 | static_cast<uint8_t>(v)], top);
}

void append_words(const uint16_t* from, const uint16_t* end, std::vector<uint8_t>* out) {
  for (; from < end; ++from) {
    out->push_back(static_cast<uint8_t>(*from));
    out->push_back(static_cast<uint8_t>(*from >> 8));
  }
}

}  // namespace

// ---- encoder ---------------------------------------------------------------------------------------------------------

void RangeTileEncoder::add(const int16_t* symbols, const uint8_t* index, size_t n) {
  check_tables(index, n, tables_);
  BitWriter low_bits;
  std::vector<uint8_t> distances;
  for (size_t i = 0; i < n; ++i) {
    const int table = index[i], shift = tables_.shifts()[table];
    if (shift) low_bits.put(static_cast<uint32_t>(symbols[i]) & ((1u << shift) - 1), shift);
    const int high_part = symbols[i] >> shift;
    const bool below = high_part < tables_.low(table);
    if (!below && high_part <= tables_.high(table)) continue;
    const uint8_t escape = static_cast<uint8_t>(below ? -kRangeEscape : kRangeEscape);
    if (range_entry_freq(tables_.entries()[table << 8 | escape]) == 0) {
      throw Error(ErrorCode::kValue, "symbol " + std::to_string(symbols[i]) + " is outside table " + std::to_string(table) +
                                         ", which has no escape; use tables with escapes");
    }
    put_varint(&distances, static_cast<uint64_t>(below ? tables_.low(table) - 1 - high_part : high_part - tables_.high(table) - 1));
  }
  const std::vector<uint8_t> bits = low_bits.finish();
  side_.insert(side_.end(), bits.begin(), bits.end());
  side_.insert(side_.end(), distances.begin(), distances.end());
  segments_.push_back(n);
  symbols_.insert(symbols_.end(), symbols, symbols + n);
  index_.insert(index_.end(), index, index + n);
  symbols_.resize(to_rows(symbols_.size()));
  index_.resize(symbols_.size());
}

std::vector<uint8_t> RangeTileEncoder::finish(size_t one_state_symbols) {
  const size_t total = symbols_.size();
  std::vector<uint16_t> words(total + 2 * kRangeLanes);
  uint16_t* const words_end = words.data() + words.size();
  uint16_t* top = words_end;
  uint32_t x = kRangeLow;
  std::vector<uint8_t> out;
  if (total <= one_state_symbols) {
    size_t end = total;
    for (size_t s = segments_.size(); s-- > 0;) {
      const size_t first = end - to_rows(segments_[s]);
      for (size_t i = first + segments_[s]; i-- > first;) push(&x, symbols_[i], index_[i], tables_, &top);
      end = first;
    }
    out.assign(5, 0);
    put_u32(out.data() + 1, x);
    append_words(top, words_end, &out);
  } else {
    // The last rows, by one state, make what the lanes' first states carry.
    const size_t max_rows = segments_.empty() ? 0 : std::min(kMaxTailRows, to_rows(segments_.back()) / kRangeLanes);
    size_t n_tail = 0;
    while (n_tail < max_rows && 4 + 2 * static_cast<size_t>(words_end - top) < kRangePayload) {
      for (size_t k = 0; k < kRangeLanes; ++k) {
        const size_t i = total - n_tail * kRangeLanes - 1 - k;
        push(&x, symbols_[i], index_[i], tables_, &top);
      }
      ++n_tail;
    }
    uint8_t payload[kRangePayload] = {};
    const size_t carried = std::min<size_t>(static_cast<size_t>(words_end - top), (kRangePayload - 4) / 2);
    if (n_tail > 0) {
      std::vector<uint8_t> tail(4);
      put_u32(tail.data(), x);
      append_words(top, top + carried, &tail);
      std::copy(tail.begin(), tail.end(), payload);
    }
    const uint16_t* const more = top + carried;  // words of the tail that follow those of the lanes
    std::vector<uint8_t> tail_words;
    append_words(more, words_end, &tail_words);

    uint32_t states[kRangeLanes];
    BitReader bits(payload, kRangePayload);
    for (uint32_t& state : states) state = kRangeLow | bits.get(15);
    std::vector<uint32_t> escapes(total);
    RangeEncode job{};
    job.entries = tables_.entries();
    job.index = index_.data();
    job.symbols = symbols_.data();
    job.n_rows = total / kRangeLanes - n_tail;
    job.shifts = tables_.shifts();
    job.wide_from = tables_.wide_from();
    job.states = states;
    job.top = words_end;
    job.escapes = escapes.data();
    kernels_.encode_i16(&job);  // add() has refused what it cannot code

    out.push_back(static_cast<uint8_t>(1 + n_tail));
    BitWriter packed;
    for (const uint32_t state : states) packed.put(static_cast<uint32_t>(bit_length(state) - 16), 4);
    for (const uint32_t state : states) packed.put(state ^ (1u << (bit_length(state) - 1)), bit_length(state) - 1);
    const std::vector<uint8_t> head = packed.finish();
    out.insert(out.end(), head.begin(), head.end());
    append_words(job.top, words_end, &out);
    out.insert(out.end(), tail_words.begin(), tail_words.end());
  }
  out.insert(out.end(), side_.rbegin(), side_.rend());
  return out;
}

// ---- decoder ---------------------------------------------------------------------------------------------------------

RangeTileDecoder::RangeTileDecoder(const uint8_t* tile, size_t n_bytes, const RangeTables& tables, const RangeKernels& kernels)
    : tables_(tables), kernels_(kernels), at_(tile), end_(tile + n_bytes) {
  ByteReader in(tile, n_bytes, "range payload: tile");
  const size_t kind = in.u8();
  lanes_ = kind > 0;
  if (lanes_) {
    tail_rows_ = kind - 1;
    BitReader lengths(in.take(kRangeLanes / 2), kRangeLanes / 2);
    int length[kRangeLanes];
    size_t n_bits = 0;
    for (int& l : length) n_bits += static_cast<size_t>(l = 15 + static_cast<int>(lengths.get(4)));
    BitReader bits(in.take((n_bits + 7) / 8), (n_bits + 7) / 8);
    for (int lane = 0; lane < kRangeLanes; ++lane) states_[lane] = 1u << length[lane] | bits.get(length[lane]);
    if (!bits.rest_is_zero()) bad_tile("padding bits of the states are not zero");
  } else {
    x_ = in.u32();
    if (x_ < kRangeLow || x_ >> 31) bad_tile("the state is out of range");
  }
  at_ = tile + in.position();
  tail_at_ = tail_.data();
}

void RangeTileDecoder::take(uint8_t* index, size_t n, bool last, int16_t* out) {
  check_tables(index, n, tables_);
  const size_t padded = to_rows(n);
  if (padded > n_marks_room_) {
    marks_.reset(new uint32_t[padded + kRangeLanes]);
    n_marks_room_ = padded;
  }
  RangeDecode job{};
  if (lanes_) {
    std::fill(index + n, index + padded, uint8_t{0});
    const size_t n_rows = padded / kRangeLanes, tail = last ? tail_rows_ : 0;
    if (tail > n_rows) bad_tile("the tail is longer than its segment");
    job.lookup = tables_.lookup();
    job.index = index;
    job.symbols = out;
    job.n_rows = n_rows - tail;
    job.wide_from = tables_.wide_from();
    job.states = states_;
    job.words = at_;
    job.n_words = static_cast<size_t>(end_ - at_) / 2;
    job.marks = marks_.get();
    if (!(tables_.mirrored() ? kernels_.decode_i16_mirrored : kernels_.decode_i16)(&job)) bad_tile("the words end too early");
    at_ = job.words;
    if (last) {
      finish_lanes();
      const size_t first = job.n_rows * kRangeLanes;
      take_one_lane(index + first, padded - first, out + first);
    }
    for (size_t i = n; i < padded; ++i) {
      if (out[i] != 0) bad_tile("the filling of a row is not zero");
    }
  } else {
    take_one_lane(index, n, out);
  }
  size_t n_marks = job.n_marks;
  for (size_t i = job.n_rows * kRangeLanes; i < n; ++i) {
    if (out[i] == kRangeEscape || out[i] == -kRangeEscape || index[i] >= tables_.wide_from()) {
      marks_[n_marks++] = static_cast<uint32_t>(i);
    }
  }
  patch(index, n_marks, out);
  if (!last) return;
  if ((!lanes_ || tail_rows_ > 0) && x_ != kRangeLow) bad_tile("the state does not end where it must");
  for (; tail_at_ != tail_.data() + tail_.size(); ++tail_at_) {
    if (*tail_at_ != 0) bad_tile("what the states carry is not used up");
  }
  if (at_ != end_) bad_tile("bytes are left over");
}

// After the last row of the lanes: what their states carry.
void RangeTileDecoder::finish_lanes() {
  BitWriter bits;
  for (const uint32_t state : states_) {
    if (state >= 2 * kRangeLow) bad_tile("a lane does not end where it must");
    bits.put(state - kRangeLow, 15);
  }
  tail_ = bits.finish();
  tail_at_ = tail_.data();
  if (tail_rows_ == 0) return;
  x_ = get_u32(tail_at_);
  tail_at_ += 4;
  if (x_ < kRangeLow || x_ >> 31) bad_tile("the tail's state is out of range");
}

void RangeTileDecoder::take_one_lane(const uint8_t* index, size_t n, int16_t* out) {
  const uint32_t* const lookup = tables_.lookup();
  const uint8_t* const tail_end = tail_.data() + tail_.size();
  const bool mirrored = tables_.mirrored();
  uint32_t x = x_;
  for (size_t i = 0; i < n; ++i) {
    out[i] = static_cast<int16_t>(mirrored ? range_pop<true>(&x, lookup, index[i]) : range_pop<false>(&x, lookup, index[i]));
    if (x < kRangeLow) {
      const uint8_t** from = tail_at_ != tail_end ? &tail_at_ : &at_;
      if (from == &at_ && end_ - at_ < 2) bad_tile("the words end too early");
      x = x << 16 | (*from)[0] | static_cast<uint32_t>((*from)[1]) << 8;
      *from += 2;
    }
  }
  x_ = x;
}

// Low bits and escapes of a segment, from the side data.
void RangeTileDecoder::patch(const uint8_t* index, size_t n_marks, int16_t* out) {
  if (n_marks == 0) return;
  const auto side_byte = [&]() -> uint32_t {
    if (end_ == at_) bad_tile("the side data ends too early");
    return *--end_;
  };
  size_t n_low_bits = 0;
  for (size_t m = 0; m < n_marks; ++m) n_low_bits += tables_.shifts()[index[marks_[m]]];
  std::vector<uint8_t> low_bytes;
  if ((n_low_bits + 7) / 8 > static_cast<size_t>(end_ - at_)) bad_tile("the side data ends too early");
  for (size_t k = 0; k < (n_low_bits + 7) / 8; ++k) low_bytes.push_back(static_cast<uint8_t>(side_byte()));
  BitReader low_bits(low_bytes.data(), low_bytes.size());
  for (size_t m = 0; m < n_marks; ++m) {
    const size_t i = marks_[m];
    const int table = index[i], shift = tables_.shifts()[table];
    int64_t v = out[i];
    if (v == kRangeEscape || v == -kRangeEscape) {
      uint64_t beyond = 0;
      for (int at = 0;; at += 7) {
        const uint32_t byte = side_byte();
        beyond |= static_cast<uint64_t>(byte & 127) << at;
        if (byte < 128) {
          if (byte == 0 && at > 0) bad_tile("a number is not in its shortest form");
          break;
        }
        if (at == 21) bad_tile("a number is too long");  // 28 bits are more than any int16 needs
      }
      v = v < 0 ? tables_.low(table) - 1 - static_cast<int64_t>(beyond) : tables_.high(table) + 1 + static_cast<int64_t>(beyond);
    }
    v = v * (int64_t{1} << shift) + low_bits.get(shift);
    if (v < std::numeric_limits<int16_t>::min() || v > std::numeric_limits<int16_t>::max()) bad_tile("a symbol is beyond 16 bits");
    out[i] = static_cast<int16_t>(v);
  }
  if (!low_bits.rest_is_zero()) bad_tile("padding bits of the low bits are not zero");
}

// ---- the latent ------------------------------------------------------------------------------------------------------

namespace {

// Calls run(pixel, first, end) for each pixel and the channels of it that are the pass's.
template <class Run>
void for_stretches(const LatentPass& p, const Run& run) {
  const size_t channels = static_cast<size_t>(p.channels), parts = static_cast<size_t>(p.passes);
  for (int y = 0; y < p.height; ++y) {
    for (int x = 0; x < p.width; ++x) {
      const size_t pixel = static_cast<size_t>(y) * static_cast<size_t>(p.width) + static_cast<size_t>(x);
      const int square = ((y + x) & 1) * (p.passes / 2) + (y & 1) * (p.passes / 4);
      const size_t part = static_cast<size_t>(square ^ p.pass);
      run(pixel, channels * part / parts, channels * (part + 1) / parts);
    }
  }
}

int clamp_i16(int64_t v) { return static_cast<int>(std::clamp<int64_t>(v, -32768, 32767)); }

// Raw indexes from here on are coded.
int first_coded(const LatentPass& p) { return p.skip == 0 ? -32768 : p.skip; }

}  // namespace

size_t latent_elements(const LatentPass& p) {
  size_t n = 0;
  for_stretches(p, [&](size_t, size_t first, size_t end) { n += end - first; });
  return n;
}

size_t latent_index(const LatentPass& p, uint8_t* index) {
  const int from = first_coded(p), most = p.n_tables - 1;
  const size_t channels = static_cast<size_t>(p.channels);
  size_t n = 0;
  for_stretches(p, [&](size_t pixel, size_t first, size_t end) {
    const int16_t* raw = p.prior + pixel * 2 * channels + channels;
    for (size_t c = first; c < end; ++c) {
      index[n] = static_cast<uint8_t>(std::clamp<int>(raw[c], 0, most));
      n += raw[c] >= from;
    }
  });
  return n;
}

void latent_scatter(const LatentPass& p, const int16_t* symbols, const int32_t* dequant, int16_t* y_hat) {
  const int from = first_coded(p);
  const size_t channels = static_cast<size_t>(p.channels);
  for_stretches(p, [&](size_t pixel, size_t first, size_t end) {
    const int16_t* mean = p.prior + pixel * 2 * channels;
    const int16_t* raw = mean + channels;
    int16_t* out = y_hat + pixel * channels;
    for (size_t c = first; c < end; ++c) {
      const int coded = raw[c] >= from;
      const int q = std::clamp(16 * (*symbols & -coded) + mean[c], -32768, 32767);
      symbols += coded;
      out[c] = static_cast<int16_t>(clamp_i16((static_cast<int64_t>(q) * dequant[c] + (1 << 15)) >> 16));
    }
  });
}

void latent_quantise(const LatentPass& p, const int16_t* y, const int32_t* quant, const uint8_t* thresholds, int16_t* symbols) {
  const int from = first_coded(p), most = p.n_tables - 1;
  const size_t channels = static_cast<size_t>(p.channels);
  for_stretches(p, [&](size_t pixel, size_t first, size_t end) {
    const int16_t* mean = p.prior + pixel * 2 * channels;
    const int16_t* raw = mean + channels;
    const int16_t* in = y + pixel * channels;
    for (size_t c = first; c < end; ++c) {
      if (raw[c] < from) continue;
      const int t = clamp_i16((static_cast<int64_t>(in[c]) * quant[c] + (1 << 15)) >> 16);
      const int distance = t - mean[c], size = distance < 0 ? -distance : distance;
      int magnitude = size >> 4;
      const int table = std::clamp<int>(raw[c], 0, most);
      magnitude += (size & 15) >= thresholds[table * kLatentThresholds + std::min(magnitude, kLatentThresholds - 1)];
      *symbols++ = static_cast<int16_t>(distance < 0 ? -magnitude : magnitude);
    }
  });
}

}  // namespace fastcodec
