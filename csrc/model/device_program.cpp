// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "model/device_program.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "common/error.h"

namespace fastcodec {
namespace {

using cuda::Device;
using cuda::ImageJob;
using cuda::ImageOp;
using cuda::ImageView;

// Device memory of one value, given back to the stream at the end.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Device& device, size_t n_bytes, void* stream)
      : device_(&device), data_(device.allocate(n_bytes, stream)), stream_(stream) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~Buffer() {
    if (data_) device_->release(data_, stream_);
  }
  void* data() const { return data_; }

 private:
  const Device* device_ = nullptr;
  void* data_ = nullptr;
  void* stream_ = nullptr;
};

// Switches this thread to a device and back.
class CurrentDevice {
 public:
  CurrentDevice(const Device& device, int index) : device_(device), previous_(device.use(index)) {}
  ~CurrentDevice() { device_.use(previous_); }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  const Device& device_;
  int previous_;
};

ImageOp image_op(const Op& op) {
  switch (op.kind) {
    case OpKind::kConv: return op.conv.depthwise ? ImageOp::kDepthwise : ImageOp::kConv;
    case OpKind::kPixelUnshuffle: return ImageOp::kPixelUnshuffle;
    case OpKind::kPhase: return ImageOp::kPhase;
    case OpKind::kPixelShuffle: return ImageOp::kPixelShuffle;
    case OpKind::kBicubicUp2: return ImageOp::kBicubicUp2;
    case OpKind::kBicubicDown2: return ImageOp::kBicubicDown2;
    case OpKind::kResidual: return ImageOp::kResidual;
    default: return ImageOp::kCopy;  // input and store
  }
}

// Size and layout of an operation's value on the device, without its memory.
ImageView view_of(const Op& op, const RunArgs& args) {
  const bool requested = op.scale.requested;
  return {nullptr, requested ? args.out_height : op.scale.apply(args.height),
          requested ? args.out_width : op.scale.apply(args.width), op.channels, round_up(op.channels, 4), op.type};
}

size_t view_bytes(const ImageView& v) {
  return static_cast<size_t>(v.height) * v.width * v.pixel * (v.type == Dtype::kI16 ? 2 : 1);
}

}  // namespace

DeviceProgram::DeviceProgram(std::shared_ptr<const Program> program, const Device& device, int index)
    : program_(std::move(program)), device_(device), index_(index), tables_(program_->ops().size()) {
  const CurrentDevice current(device_, index_);
  try {
    for (size_t i = 0; i < tables_.size(); ++i) {
      const Op& op = program_->ops()[i];
      if (op.kind == OpKind::kConv) upload_conv(op, &tables_[i]);
      if (op.kind == OpKind::kPhase) tables_[i].table = upload(op.table.data(), op.table.size());
    }
  } catch (...) {
    release_tables();
    throw;
  }
}

DeviceProgram::~DeviceProgram() {
  try {
    const CurrentDevice current(device_, index_);
    device_.wait();  // for kernels that still read the tables
    release_tables();
  } catch (const Error&) {
    // The device is gone, and its memory with it.
  }
}

void DeviceProgram::release_tables() noexcept {
  for (void* data : owned_) device_.release(data, nullptr);
}

void* DeviceProgram::upload(const void* data, size_t n_bytes) {
  owned_.reserve(owned_.size() + 1);
  void* copy = device_.allocate(n_bytes, nullptr);
  owned_.push_back(copy);
  device_.upload(copy, data, n_bytes, nullptr);
  return copy;
}

void DeviceProgram::upload_conv(const Op& op, Tables* tables) {
  const int padded = round_up(op.channels, cuda::kConvBlock);
  if (op.conv.depthwise) {
    tables->weight = upload(op.weight.data(), op.weight.size());
  } else {
    const int n_in = op.conv.in_channels, pixel = round_up(n_in, 4), n_taps = op.conv.kernel * op.conv.kernel;
    std::vector<int8_t> weight(static_cast<size_t>(padded) * n_taps * pixel, 0);
    for (int run = 0; run < op.channels * n_taps; ++run) {
      std::memcpy(&weight[static_cast<size_t>(run) * pixel], &op.weight[static_cast<size_t>(run) * n_in], n_in);
    }
    tables->weight = upload(weight.data(), weight.size());
  }
  std::vector<int32_t> bias, mult;
  for (const auto& row : op.bias) {
    for (int o = 0; o < padded; ++o) {
      const uint32_t shift = o < op.channels ? static_cast<uint32_t>(op.bias_shift[o]) : 0;
      bias.push_back(static_cast<int32_t>(static_cast<uint32_t>(row[o]) - shift));
    }
  }
  for (const auto& row : op.mult) mult.insert(mult.end(), row.begin(), row.begin() + padded);
  tables->bias = upload(bias.data(), bias.size() * sizeof(int32_t));
  tables->mult = upload(mult.data(), mult.size() * sizeof(int32_t));
}

void DeviceProgram::run(const RunArgs& args, void* stream) const {
  check_run(*program_, args);
  const CurrentDevice current(device_, index_);
  const auto& ops = program_->ops();
  const int n_ops = static_cast<int>(ops.size());
  std::vector<ImageView> views;
  for (const Op& op : ops) views.push_back(view_of(op, args));
  // The caller's memory is dense.
  const ImageView image{const_cast<uint8_t*>(args.image), args.height, args.width, program_->in_channels(),
                        program_->in_channels(), Dtype::kU8};
  views.back() = {args.out, args.n_rows, args.n_cols, program_->out_channels(), program_->out_channels(), Dtype::kU8};

  size_t peak = 0, alive = 0;
  for (int i = 0; i + 1 < n_ops; ++i) {
    alive += view_bytes(views[i]);
    peak = std::max(peak, alive);
    for (int k = 0; k <= i; ++k) alive -= ops[k].readers.back() == i ? view_bytes(views[k]) : 0;
  }
  if (args.max_memory_bytes && peak > args.max_memory_bytes) {
    throw Error(ErrorCode::kLimit, "device memory of " + std::to_string(peak) + " bytes is more than the limit of " +
                                       std::to_string(args.max_memory_bytes) + "; decode regions, or raise the limit");
  }
  std::vector<Buffer> buffers(n_ops);
  for (int i = 0; i < n_ops; ++i) {
    const Op& op = ops[i];
    if (i + 1 < n_ops) {
      buffers[i] = Buffer(device_, view_bytes(views[i]), stream);
      views[i].data = buffers[i].data();
    }
    ImageJob job{};
    job.op = image_op(op);
    job.in = i == 0 ? image : views[op.in[0]];
    if (op.in[1] >= 0) job.in2 = views[op.in[1]];
    job.out = views[i];
    if (i + 1 == n_ops) {
      job.x0 = args.x;
      job.y0 = args.y;
    }
    if (op.kind == OpKind::kConv) {
      const int padded = round_up(op.channels, cuda::kConvBlock);
      job.kernel = op.conv.kernel;
      job.stride = op.conv.stride;
      job.weight = static_cast<const uint32_t*>(tables_[i].weight);
      job.bias = static_cast<const int32_t*>(tables_[i].bias) + (op.bias.size() == 1 ? 0 : args.level * padded);
      job.mult = static_cast<const int32_t*>(tables_[i].mult) + (op.mult.size() == 1 ? 0 : args.level * padded);
    }
    job.table = static_cast<const uint8_t*>(tables_[i].table);
    job.n_planes = op.n_planes;
    job.period = op.period;
    device_.launch(job, stream);
    for (int k = 0; k <= i; ++k) {
      if (k + 1 < n_ops && ops[k].readers.back() == i) buffers[k] = Buffer();
    }
  }
}

}  // namespace fastcodec
