// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// The range coder for data that lies on a device: the host's part of it. The streams are those of range_coder.h.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "codec/range_coder.h"
#include "kernels/cuda/range_device.h"

namespace fastcodec {

// A table set on one device. Calls may come from several threads.
class RangeOnDevice {
 public:
  // `device_index` is made current for each call. Throws kBackend, std::bad_alloc.
  RangeOnDevice(const RangeTables& tables, const cuda::RangeDevice& device, int device_index);
  ~RangeOnDevice();
  RangeOnDevice(const RangeOnDevice&) = delete;
  RangeOnDevice& operator=(const RangeOnDevice&) = delete;

  // symbols, index: device pointers, n elements each. `make_out(size)` gives the device memory for the stream (at an even
  // address), which is complete in the order of `stream` when the call returns. Throws as range_encode does.
  void encode(const void* symbols, RangeType type, const uint8_t* index, uint64_t n, uint32_t chunk_symbols, void* stream,
              const std::function<void*(uint64_t size)>& make_out) const;
  // data: device pointer to n_bytes. `make_out(wide)` gives the device memory for n symbols, int32 if wide. as_type: 0 the
  // stream's own, 2 int16, 4 int32. Throws as range_decode does.
  void decode(const uint8_t* data, uint64_t n_bytes, const uint8_t* index, uint64_t n, int as_type, void* stream,
              const std::function<void*(bool wide)>& make_out) const;

 private:
  const RangeTables& tables_;
  const cuda::RangeDevice& device_;
  int device_index_;
  cuda::RangeDeviceTables on_device_{};
  std::vector<void*> owned_;
};

}  // namespace fastcodec
