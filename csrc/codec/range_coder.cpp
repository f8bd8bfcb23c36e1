// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "codec/range_coder.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <type_traits>

#include "codec/range_bits.h"
#include "common/crc32c.h"
#include "common/error.h"
#include "common/parallel.h"

namespace fastcodec {
namespace {

// The kernels for one symbol type behind one name each.
struct Type {
  size_t size;
  bool (*encode)(RangeEncode*);
  bool (*decode)(RangeDecode*);
};
Type type_of(RangeType type, const RangeKernels& k, bool mirrored) {
  if (type == RangeType::kInt32) return {4, k.encode_i32, mirrored ? k.decode_i32_mirrored : k.decode_i32};
  return {2, k.encode_i16, mirrored ? k.decode_i16_mirrored : k.decode_i16};
}
Type type_of_bytes(const RangeKernels& k) { return {1, k.encode_u8, k.decode_u8}; }

int64_t symbol_at(const void* symbols, size_t size, size_t i) {
  if (size == 1) return static_cast<const uint8_t*>(symbols)[i];
  if (size == 2) return static_cast<const int16_t*>(symbols)[i];
  return static_cast<const int32_t*>(symbols)[i];
}

// A reduction of bytes that compilers make vectors of.
int largest(const uint8_t* v, size_t n) {
  uint8_t most = 0;
  for (size_t i = 0; i < n; ++i) most = std::max(most, v[i]);
  return most;
}

void check_index(int most, const RangeTables& tables) {
  if (most < tables.size()) return;
  throw Error(ErrorCode::kValue,
              "index must be below the number of tables (" + std::to_string(tables.size()) + "), got " + std::to_string(most));
}

// Memory that a thread uses again from chunk to chunk.
struct Scratch {
  explicit Scratch(size_t chunk_symbols)
      : n_words(chunk_symbols + 2 * kRangeLanes), words(new uint16_t[n_words]), marks(new uint32_t[chunk_symbols + kRangeLanes]) {}
  size_t n_words;
  std::unique_ptr<uint16_t[]> words;
  std::unique_ptr<uint32_t[]> marks;
};

// ---- encoder ---------------------------------------------------------------------------------------------------------

// Codes symbols [end - n, end) of a chunk with one lane into bytes: the state, then the words. Stops at the first multiple
// of 32 where `enough` bytes are there, or max_rows rows and a part of one; `first` says where. Escapes as in RangeEncode.
struct Tail {
  size_t first;
  std::vector<uint8_t> bytes;
  std::vector<uint32_t> escapes;
};
template <class In>
bool encode_tail(const In* symbols, const uint8_t* index, size_t n, const RangeTables& tables, size_t enough, size_t max_rows,
                 Tail* tail) {
  std::vector<uint16_t> words(n % kRangeLanes + std::min(n, max_rows * kRangeLanes));
  uint16_t* const end = words.data() + words.size();
  uint16_t* top = end;
  uint32_t x = kRangeLow;
  const size_t stop = n - (n % kRangeLanes) - std::min(n - n % kRangeLanes, max_rows * kRangeLanes);
  size_t i = n;
  for (;; --i) {
    const size_t n_bytes = i == n ? 0 : 4 + 2 * static_cast<size_t>(end - top);
    if (i == stop || (i % kRangeLanes == 0 && n_bytes >= enough)) break;
    const uint32_t table = index ? index[i - 1] : 0;
    int v = symbols[i - 1];
    if (index) v = std::clamp(v >> tables.shifts()[table], -kRangeEscape, kRangeEscape);
    const uint32_t entry = tables.entries()[table << 8 | static_cast<uint8_t>(v)];
    if (entry & kRangeEscapeFlag) {
      tail->escapes.push_back(static_cast<uint32_t>(i - 1));
      if (range_entry_freq(entry) == 0) return false;
    }
    range_push(&x, entry, &top);
  }
  tail->first = i;
  if (i == n) return true;
  tail->bytes.resize(4 + 2 * static_cast<size_t>(end - top));
  put_u32(tail->bytes.data(), x);
  for (uint8_t* to = tail->bytes.data() + 4; top < end; ++top, to += 2) {
    to[0] = static_cast<uint8_t>(*top);
    to[1] = static_cast<uint8_t>(*top >> 8);
  }
  return true;
}
bool encode_tail(const void* symbols, size_t size, const uint8_t* index, size_t n, const RangeTables& tables, size_t enough,
                 size_t max_rows, Tail* tail) {
  if (size == 1) return encode_tail(static_cast<const uint8_t*>(symbols), index, n, tables, enough, max_rows, tail);
  if (size == 2) return encode_tail(static_cast<const int16_t*>(symbols), index, n, tables, enough, max_rows, tail);
  return encode_tail(static_cast<const int32_t*>(symbols), index, n, tables, enough, max_rows, tail);
}

// The low bits of the symbols whose table has a shift, in order. Most pictures have few such symbols, in a few places.
std::vector<uint8_t> encode_low_bits(const void* symbols, size_t size, const uint8_t* index, size_t n, const RangeTables& tables) {
  constexpr size_t kBlock = 64;
  BitWriter bits;
  for (size_t first = 0; first < n; first += kBlock) {
    const size_t end = std::min(n, first + kBlock);
    if (largest(index + first, end - first) < tables.wide_from()) continue;
    for (size_t i = first; i < end; ++i) {
      const int shift = tables.shifts()[index[i]];
      if (shift) bits.put(static_cast<uint32_t>(symbol_at(symbols, size, i)) & ((1u << shift) - 1), shift);
    }
  }
  return bits.finish();
}

void encode_escapes(const uint32_t* positions, size_t n, const void* symbols, size_t size, const uint8_t* index,
                    const RangeTables& tables, std::vector<uint8_t>* out) {
  while (n-- > 0) {  // they were recorded falling
    const size_t i = positions[n];
    const int table = index[i];
    const int64_t high_part = symbol_at(symbols, size, i) >> tables.shifts()[table];
    put_varint(out, static_cast<uint64_t>(high_part < tables.low(table) ? tables.low(table) - 1 - high_part
                                                                        : high_part - tables.high(table) - 1));
  }
}

std::vector<uint8_t> encode_chunk(const void* symbols, const Type& type, const uint8_t* index, size_t n, const RangeTables& tables,
                                  uint64_t chunk_first, Scratch* scratch) {
  std::vector<uint8_t> inner;  // what the lanes' first states may carry: the tail, then the low bits
  const int most = index ? largest(index, n) : 0;
  check_index(most, tables);
  const bool any_wide = most >= tables.wide_from();
  const std::vector<uint8_t> low_bits = any_wide ? encode_low_bits(symbols, type.size, index, n, tables) : std::vector<uint8_t>();
  Tail tail{n, {}, {}};
  const bool all_tail = n < kRangeTailOnly;
  const size_t enough = kRangePayload - std::min(kRangePayload, low_bits.size());
  bool ok = encode_tail(symbols, type.size, index, n, tables, all_tail ? std::numeric_limits<size_t>::max() : enough,
                        all_tail ? n : range_max_tail_rows(n), &tail);
  inner = tail.bytes;
  inner.insert(inner.end(), low_bits.begin(), low_bits.end());

  RangeEncode job{};
  uint32_t states[kRangeLanes];
  uint16_t* const words_end = scratch->words.get() + scratch->n_words;
  job.escapes = scratch->marks.get();
  job.top = words_end;
  const size_t n_rows = tail.first / kRangeLanes;
  size_t n_payload = 0;
  if (ok && n_rows > 0) {
    n_payload = std::min(inner.size(), kRangePayload);
    uint8_t payload[kRangePayload] = {};
    std::copy_n(inner.begin(), n_payload, payload);
    BitReader bits(payload, kRangePayload);
    for (uint32_t& state : states) state = kRangeLow | bits.get(15);
    job.entries = tables.entries();
    job.index = index;
    job.symbols = symbols;
    job.n_rows = n_rows;
    job.shifts = tables.shifts();
    job.wide_from = tables.wide_from();
    job.states = states;
    ok = type.encode(&job);
  }
  if (!ok) {
    const size_t i = n_rows > 0 && job.n_escapes > 0 ? job.escapes[job.n_escapes - 1] : tail.escapes.back();
    throw Error(ErrorCode::kValue, "symbol " + std::to_string(symbol_at(symbols, type.size, i)) + " at position " +
                                       std::to_string(chunk_first + i) + " is outside table " + std::to_string(index[i]) +
                                       ", which has no escape; make the tables with escapes");
  }
  std::vector<uint8_t> rest(inner.begin() + static_cast<std::ptrdiff_t>(n_payload), inner.end());
  if (index) {
    encode_escapes(job.escapes, job.n_escapes, symbols, type.size, index, tables, &rest);
    encode_escapes(tail.escapes.data(), tail.escapes.size(), symbols, type.size, index, tables, &rest);
  }

  std::vector<uint8_t> out(4);  // the CRC comes last
  const size_t word_bytes = 2 * static_cast<size_t>(words_end - job.top);
  out.reserve(160 + rest.size() + word_bytes);
  if (!all_tail) out.push_back(static_cast<uint8_t>((n - tail.first) / kRangeLanes));
  put_varint(&out, rest.size());
  if (n_rows > 0) {
    BitWriter bits;
    for (uint32_t state : states) bits.put(static_cast<uint32_t>(bit_length(state) - 16), 4);
    for (uint32_t state : states) bits.put(state ^ (1u << (bit_length(state) - 1)), bit_length(state) - 1);
    const std::vector<uint8_t> packed = bits.finish();
    out.insert(out.end(), packed.begin(), packed.end());
  }
  out.insert(out.end(), rest.begin(), rest.end());
  if (out.size() % 2) out.push_back(0);
  const uint8_t* words = reinterpret_cast<const uint8_t*>(job.top);
  out.insert(out.end(), words, words + word_bytes);
  put_u32(out.data(), crc32c(out.data() + 4, out.size() - 4, 0));
  return out;
}

// ---- decoder ---------------------------------------------------------------------------------------------------------

[[noreturn]] void bad_chunk(const std::string& what) { throw Error(ErrorCode::kFormat, "range coder chunk: " + what); }

template <class Out>
void store_symbol(Out* out, int64_t v) {
  if (v < std::numeric_limits<Out>::min() || v > std::numeric_limits<Out>::max()) {
    bad_chunk("a symbol is out of the range of its type");
  }
  *out = static_cast<Out>(v);
}

// Escapes and low bits: puts right what the rows and the tail left as +-127 or as a high part only.
template <class Out>
void patch(Out* out, const uint8_t* index, const uint32_t* marks, size_t n_marks, const RangeTables& tables, BitReader* low_bits,
           ByteReader* escapes) {
  for (size_t m = 0; m < n_marks; ++m) {
    const size_t i = marks[m];
    const int table = index[i];
    int64_t v = out[i];
    if (v == kRangeEscape || v == -kRangeEscape) {
      const int64_t beyond = escapes->varint32();
      v = v < 0 ? tables.low(table) - 1 - beyond : tables.high(table) + 1 + beyond;
    }
    const int shift = tables.shifts()[table];
    v = v * (int64_t{1} << shift) + low_bits->get(shift);
    store_symbol(out + i, v);
  }
}

template <class Out>
void decode_chunk(const uint8_t* chunk, size_t n_bytes, const Type& type, const uint8_t* index, size_t n, const RangeTables& tables,
                  Out* out, Scratch* scratch) {
  if (index) check_index(largest(index, n), tables);
  ByteReader in(chunk, n_bytes, "range coder chunk");
  const uint32_t crc = in.u32();
  if (crc != crc32c(chunk + 4, n_bytes - 4, 0)) throw Error(ErrorCode::kChecksum, "range coder chunk: CRC-32C does not match");
  const bool all_tail = n < kRangeTailOnly;
  const size_t tail_rows = all_tail ? n / kRangeLanes : in.u8();
  const size_t n_tail = n % kRangeLanes + tail_rows * kRangeLanes;
  if (n_tail > n) bad_chunk("the tail is longer than the chunk");
  const uint64_t n_rest = in.varint();
  RangeDecode job{};
  job.marks = scratch->marks.get();
  const size_t n_rows = (n - n_tail) / kRangeLanes;
  uint32_t states[kRangeLanes];
  if (n_rows > 0) {
    BitReader lengths(in.take(kRangeLanes / 2), kRangeLanes / 2);
    int length[kRangeLanes];
    size_t n_bits = 0;
    for (int& l : length) n_bits += static_cast<size_t>(l = 15 + static_cast<int>(lengths.get(4)));
    BitReader bits(in.take((n_bits + 7) / 8), (n_bits + 7) / 8);
    for (int lane = 0; lane < kRangeLanes; ++lane) states[lane] = 1u << length[lane] | bits.get(length[lane]);
    if (!bits.rest_is_zero()) bad_chunk("padding bits of the states are not zero");
  }
  if (n_rest > in.left()) bad_chunk("its parts are longer than the chunk");
  const uint8_t* rest = in.take(static_cast<size_t>(n_rest));
  if (in.position() % 2 && in.u8() != 0) bad_chunk("a padding byte is not zero");

  if (n_rows > 0) {
    job.lookup = tables.lookup();
    job.index = index;
    job.symbols = out;
    job.n_rows = n_rows;
    job.wide_from = tables.wide_from();
    job.states = states;
    job.words = chunk + in.position();
    job.n_words = in.left() / 2;
    if (!type.decode(&job)) bad_chunk("the words end too early");
    if (job.n_words != 0) bad_chunk("words are left over");
  } else if (in.left() != 0) {
    bad_chunk("words without rows");
  }

  // All of the side data in one piece: the lanes' last states give back its first part.
  std::vector<uint8_t> side;
  if (n_rows > 0) {
    BitWriter bits;
    for (uint32_t state : states) {
      if (state >= 2 * kRangeLow) bad_chunk("a lane does not end where it must");
      bits.put(state - kRangeLow, 15);
    }
    side = bits.finish();
  }
  side.insert(side.end(), rest, rest + n_rest);
  ByteReader reader(side.data(), side.size(), "range coder chunk: side data");
  if (n_tail > 0) {
    uint32_t x = reader.u32();
    if (x < kRangeLow || x >> 31) bad_chunk("the tail's state is out of range");
    for (size_t i = n - n_tail; i < n; ++i) {
      const uint32_t table = index ? index[i] : 0;
      const int symbol = tables.mirrored() ? range_pop<true>(&x, tables.lookup(), table) : range_pop<false>(&x, tables.lookup(), table);
      if (x < kRangeLow) {
        const uint32_t low_byte = reader.u8();
        x = x << 16 | low_byte | static_cast<uint32_t>(reader.u8()) << 8;
      }
      out[i] = static_cast<Out>(symbol);
      const bool escape = symbol == kRangeEscape || symbol == -kRangeEscape;
      if (index && (escape || static_cast<int>(table) >= tables.wide_from())) job.marks[job.n_marks++] = static_cast<uint32_t>(i);
    }
    if (x != kRangeLow) bad_chunk("the tail does not end where it must");
  }
  if (index) {
    size_t n_low_bits = 0;
    for (size_t m = 0; m < job.n_marks; ++m) n_low_bits += tables.shifts()[index[job.marks[m]]];
    const size_t n_low_bytes = (n_low_bits + 7) / 8;
    BitReader low_bits(reader.take(n_low_bytes), n_low_bytes);
    if (n_rows > 0 && reader.position() < kRangePayload) {
      while (reader.position() < kRangePayload) {
        if (reader.u8() != 0) bad_chunk("unused payload is not zero");
      }
    }
    if constexpr (!std::is_same_v<Out, uint8_t>) patch(out, index, job.marks, job.n_marks, tables, &low_bits, &reader);
    if (!low_bits.rest_is_zero()) bad_chunk("padding bits of the low bits are not zero");
  } else if (n_rows > 0) {
    while (reader.position() < kRangePayload) {
      if (reader.u8() != 0) bad_chunk("unused payload is not zero");
    }
  }
  if (reader.left() != 0) bad_chunk("side data is left over");
}

// ---- all chunks ------------------------------------------------------------------------------------------------------

// Runs task(c, scratch) for all chunks, which checks the chunk's part of the index: that puts it into the cache as well. Of
// several failures a bad index is thrown, wherever it is, or else the first chunk's, whatever the threads did.
template <class Task>
void for_chunks(size_t n_chunks, size_t chunk_symbols, const uint8_t* index, size_t n, const RangeTables& tables, int n_threads,
                const Task& task) {
  const int n_workers = static_cast<int>(std::clamp<size_t>(n_chunks, 1, static_cast<size_t>(std::max(n_threads, 1))));
  std::vector<std::unique_ptr<Scratch>> scratch(static_cast<size_t>(n_workers));
  std::vector<std::exception_ptr> failures(n_chunks);
  parallel_for(n_chunks, n_workers, [&](size_t c, int worker) {
    auto& mine = scratch[static_cast<size_t>(worker)];
    if (!mine) mine = std::make_unique<Scratch>(chunk_symbols);
    try {
      task(c, mine.get());
    } catch (const Error&) {
      failures[c] = std::current_exception();
    }
  });
  for (const auto& failure : failures) {
    if (!failure) continue;
    if (index) check_index(largest(index, n), tables);
    std::rethrow_exception(failure);
  }
}

RangeStream encode_all(const void* symbols, const Type& type, const uint8_t* index, const RangeTables& tables, RangeHead head,
                                int n_threads) {
  const size_t n = static_cast<size_t>(head.n_symbols), step = head.chunk_symbols;
  RangeStream stream;
  stream.parts.resize(1 + (n + step - 1) / step);
  for_chunks(stream.parts.size() - 1, std::min(n, step), index, n, tables, n_threads, [&](size_t c, Scratch* scratch) {
    const size_t first = c * step;
    stream.parts[1 + c] = encode_chunk(static_cast<const uint8_t*>(symbols) + first * type.size, type, index ? index + first : nullptr,
                                       std::min(step, n - first), tables, first, scratch);
  });
  std::vector<uint64_t> sizes;
  for (size_t c = 1; c < stream.parts.size(); ++c) sizes.push_back(stream.parts[c].size());
  stream.parts[0] = range_write_head(head, sizes);
  return stream;
}

template <class Out>
void decode_all(const uint8_t* stream, const RangeHead& head, const Type& type, const uint8_t* index, const RangeTables& tables,
                Out* out, int n_threads) {
  const size_t n = static_cast<size_t>(head.n_symbols), step = head.chunk_symbols;
  for_chunks(head.n_chunks(), std::min(n, step), index, n, tables, n_threads, [&](size_t c, Scratch* scratch) {
    const size_t first = c * step;
    decode_chunk(stream + head.chunk_at[c], static_cast<size_t>(head.chunk_at[c + 1] - head.chunk_at[c]), type,
                 index ? index + first : nullptr, head.chunk_size(c), tables, out + first, scratch);
  });
}

}  // namespace

size_t RangeStream::size() const {
  size_t n = 0;
  for (const auto& part : parts) n += part.size();
  return n;
}

void RangeStream::copy_to(uint8_t* to) const {
  for (const auto& part : parts) to = std::copy(part.begin(), part.end(), to);
}

std::vector<uint8_t> RangeStream::bytes() const {
  std::vector<uint8_t> out(size());
  copy_to(out.data());
  return out;
}

RangeStream range_encode(const void* symbols, RangeType type, const uint8_t* index, size_t n, const RangeTables& tables,
                         uint32_t chunk_symbols, const RangeKernels& kernels, int n_threads) {
  range_check_chunk_symbols(chunk_symbols);
  RangeHead head;
  head.chunk_symbols = chunk_symbols;
  head.n_symbols = n;
  head.tables_id = tables.id();
  if (type == RangeType::kInt32) {
    const int32_t* v = static_cast<const int32_t*>(symbols);
    uint32_t outside = 0;
    for (size_t i = 0; i < n; ++i) outside |= static_cast<uint32_t>(v[i] ^ static_cast<int16_t>(v[i]));
    head.wide = outside != 0;
  }
  return encode_all(symbols, type_of(type, kernels, tables.mirrored()), index, tables, head, n_threads);
}

RangeStream range_encode_bytes(const uint8_t* bytes, size_t n, uint32_t chunk_symbols, const RangeKernels& kernels, int n_threads) {
  range_check_chunk_symbols(chunk_symbols);
  RangeHead head;
  head.kind = RangeKind::kStored;
  head.chunk_symbols = chunk_symbols;
  head.n_symbols = n;
  if (n > 0) {
    std::array<uint64_t, 256> histogram{};
    uint64_t part[4][256] = {};  // four, so that runs of one byte do not wait for their own counter
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
      for (size_t k = 0; k < 4; ++k) ++part[k][bytes[i + k]];
    }
    for (; i < n; ++i) ++part[0][bytes[i]];
    for (size_t s = 0; s < 256; ++s) histogram[s] = part[0][s] + part[1][s] + part[2][s] + part[3][s];
    RangeHead coded = head;
    coded.kind = RangeKind::kBytes;
    coded.byte_freqs = range_byte_freqs(histogram);
    const RangeTables tables(coded.byte_freqs);
    RangeStream stream = encode_all(bytes, type_of_bytes(kernels), nullptr, tables, coded, n_threads);
    if (stream.size() < n) return stream;
  }
  std::vector<uint8_t> crc(4);
  put_u32(crc.data(), crc32c(bytes, n, 0));
  return {{range_write_head(head, {}), {bytes, bytes + n}, crc}};
}

void range_decode(const uint8_t* stream, const RangeHead& head, const uint8_t* index, size_t n, const RangeTables& tables, void* out,
                  RangeType type, const RangeKernels& kernels, int n_threads) {
  range_check_head(head, n, tables, type);
  const Type kernel = type_of(type, kernels, tables.mirrored());
  if (type == RangeType::kInt16) {
    decode_all(stream, head, kernel, index, tables, static_cast<int16_t*>(out), n_threads);
  } else {
    decode_all(stream, head, kernel, index, tables, static_cast<int32_t*>(out), n_threads);
  }
}

void range_decode_bytes(const uint8_t* stream, const RangeHead& head, uint8_t* out, const RangeKernels& kernels, int n_threads) {
  if (head.kind == RangeKind::kSymbols) throw Error(ErrorCode::kFormat, "range coder stream holds indexed symbols; use decode");
  if (head.kind == RangeKind::kStored) {
    const uint8_t* stored = stream + head.chunk_at.front();
    const size_t n = static_cast<size_t>(head.n_symbols);
    if (get_u32(stored + n) != crc32c(stored, n, 0)) throw Error(ErrorCode::kChecksum, "range coder stream: CRC-32C does not match");
    if (n > 0) std::memcpy(out, stored, n);
    return;
  }
  const RangeTables tables(head.byte_freqs);
  decode_all(stream, head, type_of_bytes(kernels), nullptr, tables, out, n_threads);
}

}  // namespace fastcodec
