// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder on a device with memory of its own: a GPU, or the emulator that runs the same kernel bodies on the CPU.
// One warp codes one chunk; a lane of the format is a lane of the warp. All pointers in the jobs are device pointers. No
// CUDA header is needed here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/range.h"

namespace fastcodec::cuda {

// A table set in device memory.
struct RangeDeviceTables {
  const uint8_t* positions;   // [n_tables][4096, or 2048 if mirrored] which run of its table a slot belongs to
  const uint32_t* runs;       // freq << 20 | start << 8 | (uint8_t)symbol; -127 and 127 are the escapes
  const uint32_t* first_run;  // [n_tables] where each table's runs begin
  const uint32_t* entries;    // [n_tables * 256] as the CPU's encoder has them
  const uint8_t* shifts;      // [256]
  const int16_t* low;         // [256]
  const int16_t* high;        // [256]
  int n_tables;
  int n_runs;
  int wide_from;
  bool mirrored;
};

// What went wrong with a chunk. The host turns the first chunk's fault into an Error.
enum RangeFault : uint32_t {
  kRangeOk,
  kRangeCrc,      // ChecksumError; all others but the last two are FormatError
  kRangeShort,    // its parts are longer than the chunk
  kRangeNumber,   // a varint is too long or not in its shortest form
  kRangePadding,  // padding is not zero
  kRangeTail,     // the tail is longer than the chunk, its state is out of range, or it does not end where it must
  kRangeWords,    // too few or too many words
  kRangeLane,     // a lane does not end where it must
  kRangeSide,     // side data is left over
  kRangeSymbol,   // a symbol does not fit its type
  kRangeIndex,    // ValueError: an index is not below n_tables
  kRangeNoSlot,   // ValueError (encoder): a symbol that its table cannot code
};

struct RangeDecodeGrid {
  RangeDeviceTables tables;
  const uint8_t* stream;     // at an even address
  const uint64_t* chunk_at;  // [n_chunks + 1] offsets in the stream, even
  const uint8_t* index;
  void* symbols;
  uint64_t n_symbols;
  uint32_t chunk_symbols;
  uint32_t n_chunks;
  bool wide;                 // symbols are int32, else int16
  uint32_t* faults;          // [n_chunks]
};

constexpr uint32_t kRangeTailWords = 2080;  // room for a tail's words: fewer than 2048, or range_max_tail_rows rows and a part

// What the first encoder pass leaves of a chunk for the second.
struct RangeChunk {
  uint32_t states[kRangeLanes];
  uint32_t n_tail;          // symbols
  uint32_t n_tail_words;
  uint32_t tail_state;
  uint32_t n_words;
  uint32_t n_low_bits;
  uint32_t n_state_bits;
  uint32_t n_distance_bytes;
  uint32_t fault, fault_at;
  uint32_t outside;         // 1: a symbol does not fit int16
};

struct RangeEncodeGrid {
  RangeDeviceTables tables;
  const void* symbols;
  const uint8_t* index;
  uint64_t n_symbols;
  uint32_t chunk_symbols;
  uint32_t n_chunks;
  bool wide;
  uint16_t* words;           // [n_chunks * chunk_symbols]; chunk c's words end at the end of its room
  uint16_t* tail_words;      // [n_chunks * kRangeTailWords]; likewise
  RangeChunk* chunks;        // [n_chunks]
  // second pass
  uint8_t* stream;
  const uint64_t* chunk_at;
};

// Functions throw Error{kBackend} with the driver's words, or std::bad_alloc. `stream` is a cudaStream_t; work is in its
// order; download waits for it.
struct RangeDevice {
  const char* name;
  void* (*allocate)(size_t n_bytes, void* stream);
  void (*release)(void* data, void* stream);
  void (*upload)(void* to, const void* from, size_t n_bytes, void* stream);
  void (*download)(void* to, const void* from, size_t n_bytes, void* stream);
  void (*copy)(void* to, const void* from, size_t n_bytes, void* stream);  // within the device
  void (*decode)(const RangeDecodeGrid&, void* stream);
  void (*encode)(const RangeEncodeGrid&, void* stream);  // first pass
  void (*pack)(const RangeEncodeGrid&, void* stream);    // second pass
  void (*wait)();         // for all work of the current device; never throws
  int (*use)(int index);  // makes device `index` current in this thread; the one that was
};

const RangeDevice& range_cuda_device();  // kBackend in a build without CUDA or where no device can be used
// order: 0 lanes forward, 1 backward, 2 shuffled, 3 one warp as far as it can go. For the calling thread's next calls.
const RangeDevice& range_emulator(int order);

}  // namespace fastcodec::cuda
