// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// A packed program on a device with memory of its own: whole images, a few kernels one after the other.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cuda/image_ops.h"
#include "model/program.h"

namespace fastcodec {

// What one kernel does: one operation, several convolutions one after the other, or several moves of pixels.
struct DeviceStep {
  std::vector<int> ops;           // the first reads the step's input, the last makes its result
  std::vector<cuda::Add> adds;    // of each convolution, if there are several; else empty
  cuda::FusedKernel kernel{};     // the same
  bool sparse = false;            // a convolution alone: 2:4 weights, in products that skip their zeros
};

// For people: the operations, or the kernel and how many convolutions it does if they are several.
std::string describe(const DeviceStep& step, const Program& program);

// Chooses the kernels: the steps in the order in which they run. `sparse`: products that skip zeros where weights are 2:4.
std::vector<DeviceStep> plan_steps(const Program& program, const cuda::DeviceLimits& limits, bool sparse);

class DeviceProgram {
 public:
  // Uploads the tables to device number `index`; `sparse` as plan_steps. Throws kBackend or std::bad_alloc.
  DeviceProgram(std::shared_ptr<const Program> program, const cuda::Device& device, int index, bool sparse = false);
  ~DeviceProgram();
  DeviceProgram(const DeviceProgram&) = delete;
  DeviceProgram& operator=(const DeviceProgram&) = delete;

  const Program& program() const { return *program_; }
  const std::vector<DeviceStep>& steps() const { return steps_; }

  // Bytes of device memory that run() with these arguments needs beside image and out. Throws kValue.
  size_t workspace_bytes(const RunArgs& args) const;
  // args.image and args.out are device memory; n_threads is not used. Returns when all work is in the stream. `workspace`:
  // workspace_bytes of device memory aligned to 256, which later work in the same stream may use again; null: one
  // allocation in the order of the stream. Throws kValue, kLimit, kBackend or std::bad_alloc; nothing leaks.
  //
  // Calls with the same arguments and addresses are replayed as one graph from the second on; a few graphs are kept, each with
  // a workspace of its own if the caller gives none.
  void run(const RunArgs& args, void* stream, void* workspace = nullptr) const;

 private:
  struct Tables {
    void* weight = nullptr;
    void* bias = nullptr;  // [levels or 1][padded channels]
    void* mult = nullptr;
    void* table = nullptr;
  };
  struct Layout;
  struct Graph;

  void* upload(const void* data, size_t n_bytes);
  void upload_step(const DeviceStep& step);
  void upload_weight(const DeviceStep& step, int i);
  void* upload_rows(const std::vector<TableRow>& rows, int channels);
  void release_tables() noexcept;
  Layout layout(const RunArgs& args) const;
  void launch_all(const Layout& layout, void* workspace, const RunArgs& args, void* stream) const;
  bool run_as_graph(const RunArgs& args, const Layout& layout, void* stream, void* workspace) const;
  void release_graph(Graph& graph) const;
  void launch(const DeviceStep& step, const Layout& layout, const RunArgs& args, void* stream) const;
  const int32_t* level_row(const void* table, size_t n_rows, int channels, int level) const;

  std::shared_ptr<const Program> program_;
  const cuda::Device& device_;
  int index_;
  cuda::DeviceLimits limits_{};
  std::vector<DeviceStep> steps_;
  std::vector<Tables> tables_;  // one for each operation
  std::vector<void*> owned_;
  mutable std::mutex graphs_mutex_;
  mutable std::vector<Graph> graphs_;  // latest last; the first time that a call is seen it is only noted
};

}  // namespace fastcodec
