// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "codec/range_on_device.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace fastcodec {
namespace {

using cuda::RangeDevice;

// Makes a device current until the end of the scope.
class Current {
 public:
  Current(const RangeDevice& device, int index) : device_(device), previous_(device.use(index)) {}
  ~Current() {
    try {
      device_.use(previous_);
    } catch (...) {  // the call's own result counts
    }
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  const RangeDevice& device_;
  int previous_;
};

template <class T>
class DeviceArray {
 public:
  DeviceArray(const RangeDevice& device, size_t n, void* stream)
      : device_(device), stream_(stream), data_(static_cast<T*>(device.allocate(std::max<size_t>(1, n) * sizeof(T), stream))) {}
  ~DeviceArray() { device_.release(data_, stream_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* get() const { return data_; }

 private:
  const RangeDevice& device_;
  void* stream_;
  T* data_;
};

uint64_t varint_size(uint64_t v) {
  uint64_t n = 1;
  for (; v > 127; v >>= 7) ++n;
  return n;
}

// Size of a chunk of n symbols, as the second encoder pass writes it.
uint64_t chunk_bytes(const cuda::RangeChunk& chunk, uint64_t n) {
  const bool rows = n > chunk.n_tail;
  const uint64_t inner = (chunk.n_tail > 0 ? 4 + 2 * uint64_t{chunk.n_tail_words} : 0) + (chunk.n_low_bits + 7) / 8;
  const uint64_t rest = inner - (rows ? std::min<uint64_t>(inner, kRangePayload) : 0) + chunk.n_distance_bytes;
  uint64_t size = 4 + (n >= kRangeTailOnly ? 1 : 0) + varint_size(rest) + rest;
  if (rows) size += kRangeLanes / 2 + (chunk.n_state_bits + 7) / 8;
  return size + size % 2 + 2 * uint64_t{chunk.n_words};
}

// The first chunk's fault as an Error; an index past the tables first, since the CPU looks for it before it codes.
void check_faults(const std::vector<uint32_t>& faults) {
  if (std::count(faults.begin(), faults.end(), cuda::kRangeIndex)) {
    throw Error(ErrorCode::kValue, "index must be below the number of tables");
  }
  for (uint32_t fault : faults) {
    switch (fault) {
      case cuda::kRangeOk: break;
      case cuda::kRangeCrc: throw Error(ErrorCode::kChecksum, "range coder chunk: CRC-32C does not match");
      case cuda::kRangeShort: throw Error(ErrorCode::kFormat, "range coder chunk: its parts are longer than the chunk");
      case cuda::kRangeNumber: throw Error(ErrorCode::kFormat, "range coder chunk: a number is too long or not in its shortest form");
      case cuda::kRangePadding: throw Error(ErrorCode::kFormat, "range coder chunk: padding is not zero");
      case cuda::kRangeTail: throw Error(ErrorCode::kFormat, "range coder chunk: the tail is longer than the chunk or does not end where it must");
      case cuda::kRangeWords: throw Error(ErrorCode::kFormat, "range coder chunk: too few or too many words");
      case cuda::kRangeLane: throw Error(ErrorCode::kFormat, "range coder chunk: a lane does not end where it must");
      case cuda::kRangeSymbol: throw Error(ErrorCode::kFormat, "range coder chunk: a symbol is out of the range of its type");
      default: throw Error(ErrorCode::kFormat, "range coder chunk: side data is left over");
    }
  }
}

}  // namespace

RangeOnDevice::RangeOnDevice(const RangeTables& tables, const RangeDevice& device, int device_index)
    : tables_(tables), device_(device), device_index_(device_index) {
  const Current current(device_, device_index_);
  const size_t n_tables = static_cast<size_t>(tables.size());
  const size_t n_slots = tables.mirrored() ? kRangeHalf : kRangeSlots;
  std::vector<uint8_t> positions(n_tables * n_slots);
  std::vector<uint32_t> runs, first_run;
  std::vector<int16_t> low(256), high(256);
  const uint32_t* lookup = tables.lookup();
  for (size_t t = 0; t < n_tables; ++t) {
    first_run.push_back(static_cast<uint32_t>(runs.size()));
    // A run begins where the offset within it is 0.
    for (size_t slot = 0; slot < n_slots; ++slot) {
      const uint32_t entry = lookup[t * n_slots + slot];
      if ((entry >> 8 & 0xfff) == 0) runs.push_back((entry & 0xfff000ff) | static_cast<uint32_t>(slot) << 8);
      positions[t * n_slots + slot] = static_cast<uint8_t>(runs.size() - 1 - first_run.back());
    }
    low[t] = static_cast<int16_t>(tables.low(static_cast<int>(t)));
    high[t] = static_cast<int16_t>(tables.high(static_cast<int>(t)));
  }
  auto put = [&](const auto* data, size_t n) {
    auto* to = static_cast<std::decay_t<decltype(*data)>*>(device_.allocate(n * sizeof *data, nullptr));
    owned_.push_back(to);
    device_.upload(const_cast<void*>(static_cast<const void*>(to)), data, n * sizeof *data, nullptr);
    return to;
  };
  try {
    on_device_.positions = put(positions.data(), positions.size());
    on_device_.runs = put(runs.data(), runs.size());
    on_device_.first_run = put(first_run.data(), first_run.size());
    on_device_.entries = put(tables.entries(), n_tables * 256);
    on_device_.shifts = put(tables.shifts(), 256);
    on_device_.low = put(low.data(), low.size());
    on_device_.high = put(high.data(), high.size());
  } catch (...) {
    for (void* data : owned_) device_.release(data, nullptr);
    throw;
  }
  on_device_.n_tables = tables.size();
  on_device_.n_runs = static_cast<int>(runs.size());
  on_device_.wide_from = tables.wide_from();
  on_device_.mirrored = tables.mirrored();
}

RangeOnDevice::~RangeOnDevice() {
  try {
    const Current current(device_, device_index_);
    device_.wait();  // for kernels that still read the tables
    for (void* data : owned_) device_.release(data, nullptr);
  } catch (...) {  // the device is gone, and its memory with it
  }
}

void RangeOnDevice::encode(const void* symbols, RangeType type, const uint8_t* index, uint64_t n, uint32_t chunk_symbols, void* stream,
                           const std::function<void*(uint64_t)>& make_out) const {
  range_check_chunk_symbols(chunk_symbols);
  const Current current(device_, device_index_);
  RangeHead head;
  head.chunk_symbols = chunk_symbols;
  head.n_symbols = n;
  head.tables_id = tables_.id();
  const size_t n_chunks = static_cast<size_t>((n + chunk_symbols - 1) / chunk_symbols);
  const DeviceArray<uint16_t> words(device_, static_cast<size_t>(n), stream);
  const DeviceArray<uint16_t> tail_words(device_, n_chunks * cuda::kRangeTailWords, stream);
  const DeviceArray<cuda::RangeChunk> chunks(device_, n_chunks, stream);
  cuda::RangeEncodeGrid job{};
  job.tables = on_device_;
  job.symbols = symbols;
  job.index = index;
  job.n_symbols = n;
  job.chunk_symbols = chunk_symbols;
  job.n_chunks = static_cast<uint32_t>(n_chunks);
  job.wide = type == RangeType::kInt32;
  job.words = words.get();
  job.tail_words = tail_words.get();
  job.chunks = chunks.get();
  std::vector<cuda::RangeChunk> done(n_chunks);
  if (n_chunks > 0) {
    device_.encode(job, stream);
    device_.download(done.data(), chunks.get(), n_chunks * sizeof(cuda::RangeChunk), stream);
  }
  std::vector<uint32_t> faults;
  for (const auto& chunk : done) faults.push_back(chunk.fault == cuda::kRangeNoSlot ? uint32_t{cuda::kRangeOk} : chunk.fault);
  check_faults(faults);
  for (size_t c = 0; c < n_chunks; ++c) {
    if (done[c].fault == cuda::kRangeNoSlot) {
      throw Error(ErrorCode::kValue, "the symbol at position " + std::to_string(c * uint64_t{chunk_symbols} + done[c].fault_at) +
                                         " is outside its table, which has no escape; make the tables with escapes");
    }
  }
  std::vector<uint64_t> sizes, chunk_at;
  for (size_t c = 0; c < n_chunks; ++c) {
    sizes.push_back(chunk_bytes(done[c], std::min<uint64_t>(chunk_symbols, n - c * uint64_t{chunk_symbols})));
    head.wide = head.wide || done[c].outside;
  }
  const std::vector<uint8_t> front = range_write_head(head, sizes);
  chunk_at.push_back(front.size());
  for (uint64_t size : sizes) chunk_at.push_back(chunk_at.back() + size);
  uint8_t* out = static_cast<uint8_t*>(make_out(chunk_at.back()));
  const DeviceArray<uint64_t> chunk_at_there(device_, chunk_at.size(), stream);
  device_.upload(chunk_at_there.get(), chunk_at.data(), chunk_at.size() * sizeof(uint64_t), stream);
  device_.upload(out, front.data(), front.size(), stream);
  job.stream = out;
  job.chunk_at = chunk_at_there.get();
  if (n_chunks > 0) device_.pack(job, stream);
}

void RangeOnDevice::decode(const uint8_t* data, uint64_t n_bytes, const uint8_t* index, uint64_t n, int as_type, void* stream,
                           const std::function<void*(bool)>& make_out) const {
  const Current current(device_, device_index_);
  // The head may be anywhere between 12 bytes and most of the stream: look at more and more of it.
  RangeHead head;
  for (uint64_t n_front = std::min<uint64_t>(n_bytes, 4096);; n_front = std::min<uint64_t>(n_bytes, 8 * n_front)) {
    std::vector<uint8_t> front(static_cast<size_t>(n_front));
    if (n_front > 0) device_.download(front.data(), data, front.size(), stream);
    try {
      head = range_read_head(front.data(), front.size(), n_bytes);
      break;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kTruncated || n_front == n_bytes) throw;
    }
  }
  const bool wide = as_type == 4 || (as_type == 0 && head.wide);
  range_check_head(head, n, tables_, wide ? RangeType::kInt32 : RangeType::kInt16);
  void* out = make_out(wide);
  const size_t n_chunks = head.n_chunks();
  if (n_chunks == 0) return;
  // The kernels load words: the stream must begin at an even address.
  const bool odd = reinterpret_cast<uintptr_t>(data) % 2 != 0;
  const DeviceArray<uint8_t> moved(device_, odd ? static_cast<size_t>(n_bytes) : 0, stream);
  if (odd) device_.copy(moved.get(), data, static_cast<size_t>(n_bytes), stream);
  const DeviceArray<uint64_t> chunk_at(device_, n_chunks + 1, stream);
  const DeviceArray<uint32_t> faults_there(device_, n_chunks, stream);
  device_.upload(chunk_at.get(), head.chunk_at.data(), (n_chunks + 1) * sizeof(uint64_t), stream);
  cuda::RangeDecodeGrid job{};
  job.tables = on_device_;
  job.stream = odd ? moved.get() : data;
  job.chunk_at = chunk_at.get();
  job.index = index;
  job.symbols = out;
  job.n_symbols = n;
  job.chunk_symbols = head.chunk_symbols;
  job.n_chunks = static_cast<uint32_t>(n_chunks);
  job.wide = wide;
  job.faults = faults_there.get();
  device_.decode(job, stream);
  std::vector<uint32_t> faults(n_chunks);
  device_.download(faults.data(), faults_there.get(), n_chunks * sizeof(uint32_t), stream);
  check_faults(faults);
}

}  // namespace fastcodec
