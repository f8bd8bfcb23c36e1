// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// A packed program on a device with memory of its own: whole images, one operation after the other.
#pragma once

#include <memory>
#include <vector>

#include "kernels/cuda/image_ops.h"
#include "model/program.h"

namespace fastcodec {

class DeviceProgram {
 public:
  // Uploads the tables to device number `index`. Throws kBackend or std::bad_alloc.
  DeviceProgram(std::shared_ptr<const Program> program, const cuda::Device& device, int index);
  ~DeviceProgram();
  DeviceProgram(const DeviceProgram&) = delete;
  DeviceProgram& operator=(const DeviceProgram&) = delete;

  const Program& program() const { return *program_; }

  // args.image and args.out are device memory; n_threads is not used. Returns when all work is in the stream. Device
  // memory is as large as the values alive at one time. Throws kValue, kLimit, kBackend or std::bad_alloc; nothing leaks.
  void run(const RunArgs& args, void* stream) const;

 private:
  struct Tables {
    void* weight = nullptr;
    void* bias = nullptr;  // [levels or 1][padded channels]
    void* mult = nullptr;
    void* table = nullptr;
  };

  void* upload(const void* data, size_t n_bytes);
  void upload_conv(const Op& op, Tables* tables);
  void release_tables() noexcept;

  std::shared_ptr<const Program> program_;
  const cuda::Device& device_;
  int index_;
  std::vector<Tables> tables_;  // one for each operation
  std::vector<void*> owned_;
};

}  // namespace fastcodec
